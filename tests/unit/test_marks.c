#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/memory/marks.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

enum { REFERENCES = 300 };

static void test_empty(void **state)
{
    (void)state;
    struct marks marks;
    marks_init(&marks);
    assert_null(marks_find(&marks, 7));
    marks_forget(&marks, 7);
    marks_revived(&marks, 7);
    marks_clear(&marks);
    marks_release(&marks);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct marks marks;
    marks_init(&marks);
    heap_fail_at(0);
    assert_false(marks_reserve(&marks, 1, 0));
    heap_fail_at(-1);
    assert_true(marks_reserve(&marks, 1, 0));
    marks_born(&marks, 5, 1);
    heap_fail_at(0);
    assert_false(marks_reserve(&marks, 1000, 0));
    heap_fail_at(-1);
    assert_int_equal(marks_find(&marks, 5)->birth, 1);
    marks_release(&marks);
}

/* Against arrays of births and deaths; what the reserve may forget is what no
 * cursor can tell from what was always there. */
static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("marks");
    struct marks marks;
    uint64_t births[REFERENCES] = {0};
    uint64_t deaths[REFERENCES];
    for (unsigned i = 0; i < REFERENCES; i++) {
        deaths[i] = UINT64_MAX;
    }
    marks_init(&marks);
    uint64_t oldest = 0;
    for (uint64_t stamp = 1; stamp < 40000; stamp++) {
        uint32_t at = (uint32_t)random_below(&random, REFERENCES);
        oldest += random_below(&random, 20) == 0 ? (stamp - oldest) / 2 : 0;
        assert_true(marks_reserve(&marks, 1, oldest));
        switch (random_below(&random, 5)) {
        case 0:
            marks_born(&marks, at + 1, stamp);
            births[at] = stamp;
            deaths[at] = UINT64_MAX;
            break;
        case 1:
            marks_died(&marks, at + 1, stamp);
            deaths[at] = stamp;
            break;
        case 2:
            marks_revived(&marks, at + 1);
            deaths[at] = UINT64_MAX;
            break;
        case 3:
            marks_forget(&marks, at + 1);
            births[at] = 0;
            deaths[at] = UINT64_MAX;
            break;
        default:
            break;
        }
        at = (uint32_t)random_below(&random, REFERENCES);
        const struct mark *mark = marks_find(&marks, at + 1);
        assert_true(deaths[at] == (mark != NULL ? mark->death : UINT64_MAX));
        uint64_t birth = mark != NULL ? mark->birth : 0;
        assert_true(birth == births[at] || (birth == 0 && births[at] <= oldest));
    }
    marks_clear(&marks);
    assert_null(marks_find(&marks, 1));
    marks_release(&marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

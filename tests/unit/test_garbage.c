#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/memory/garbage.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void test_no_memory(void **state)
{
    (void)state;
    struct garbage garbage;
    garbage_init(&garbage);
    assert_null(garbage_oldest(&garbage));
    heap_fail_at(0);
    assert_false(garbage_reserve(&garbage, 1));
    heap_fail_at(1);
    assert_false(garbage_reserve(&garbage, GARBAGE_CHUNK_ENTRIES + 1));
    heap_fail_at(-1);
    assert_true(garbage_reserve(&garbage, GARBAGE_CHUNK_ENTRIES + 1));
    garbage_release(&garbage);
}

/* First in, first out, over many chunks; what was reserved never allocates. */
static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("garbage");
    struct garbage garbage;
    uint64_t pushed = 0;
    uint64_t popped = 0;
    garbage_init(&garbage);
    for (unsigned round = 0; round < 300; round++) {
        size_t count = random_below(&random, 600);
        assert_true(garbage_reserve(&garbage, count));
        heap_fail_at(0);
        for (size_t i = 0; i < count; i++) {
            struct garbage_entry entry = {.sequence = pushed, .reference = (uint32_t)pushed};
            garbage_push(&garbage, &entry);
            pushed++;
        }
        assert_false(heap_failed());
        heap_fail_at(-1);
        for (count = random_below(&random, 800); count > 0 && popped < pushed; count--) {
            assert_int_equal(garbage_oldest(&garbage)->sequence, popped);
            garbage_pop(&garbage);
            popped++;
        }
        assert_int_equal(garbage.count, pushed - popped);
        assert_int_equal(garbage_oldest(&garbage) == NULL, pushed == popped);
    }
    garbage_release(&garbage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

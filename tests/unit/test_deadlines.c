#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "layers/load/deadlines.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

enum { ITEMS = 300 };

static void test_against_a_scan(void **state)
{
    (void)state;
    const char *given = getenv("RELATA_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    struct deadlines deadlines = {0};
    struct deadline items[ITEMS] = {{0}};
    uint64_t at[ITEMS] = {0}; /* 0: not in it */
    for (unsigned step = 0; step < 40000; step++) {
        size_t i = (size_t)rand() % ITEMS;
        if (at[i] == 0 && rand() % 4 != 0) {
            at[i] = 1 + (uint64_t)rand() % (step % 1000 < 500 ? 10 : 100000);
            assert_int_equal(deadlines_add(&deadlines, &items[i], at[i]), 0);
        } else {
            deadlines_remove(&deadlines, &items[i]);
            at[i] = 0;
        }
        uint64_t soonest = 0;
        for (size_t k = 0; k < ITEMS; k++) {
            soonest = at[k] != 0 && (soonest == 0 || at[k] < soonest) ? at[k] : soonest;
        }
        uint64_t told = 0;
        struct deadline *first = deadlines_first(&deadlines, &told);
        assert_true(told == soonest);
        assert_true(soonest == 0 ? first == NULL : at[first - items] == soonest);
    }
    uint64_t last = 0;
    for (;;) {
        uint64_t told = 0;
        struct deadline *first = deadlines_first(&deadlines, &told);
        if (first == NULL) {
            break;
        }
        assert_true(told >= last);
        last = told;
        deadlines_remove(&deadlines, first);
        deadlines_remove(&deadlines, first); /* harmless */
    }
    deadlines_release(&deadlines);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct deadlines deadlines = {0};
    static struct deadline items[200];
    size_t refused = 0;
    for (size_t i = 0; i < 200; i++) {
        heap_fail_at(0);
        int status = deadlines_add(&deadlines, &items[i], 200 - i);
        heap_fail_at(-1);
        if (status != 0) {
            assert_int_equal(status, -CODE_OVERLOADED);
            assert_int_equal(items[i].place, 0);
            assert_int_equal(deadlines.count, i);
            refused++;
            assert_int_equal(deadlines_add(&deadlines, &items[i], 200 - i), 0);
        }
    }
    assert_true(refused > 0);
    for (size_t i = 200; i-- > 0;) {
        uint64_t at = 0;
        assert_ptr_equal(deadlines_first(&deadlines, &at), &items[i]);
        assert_int_equal(at, 200 - i);
        deadlines_remove(&deadlines, &items[i]);
    }
    deadlines_release(&deadlines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_scan),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

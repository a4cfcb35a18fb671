#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/memory/pages.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "tests/lib/random.h"

enum { RESERVED = 16 * REGION_BYTES, PAGES = RESERVED / PAGE_BYTES, RUNS = 64, RUN_MAX = 40 };

static uint8_t *page_memory(const struct pages *pages, uint32_t number)
{
    return pages_at(pages, page_reference(number));
}

static void test_take_and_give_all(void **state)
{
    (void)state;
    struct pages pages;
    assert_int_equal(pages_init(&pages, RESERVED), 0);
    assert_int_equal(pages_bytes(&pages), 0);
    assert_int_equal(pages_take(&pages, PAGES), 0); /* page 0 is nobody's */
    uint32_t all = pages_take(&pages, PAGES - 1);
    assert_int_equal(all, 1);
    assert_int_equal(pages_take(&pages, 1), 0);
    assert_int_equal(pages_bytes(&pages), RESERVED);
    pages_give(&pages, all);
    assert_int_equal(pages_take(&pages, PAGES - 1), 1);
    pages_give(&pages, 1);
    pages_release(&pages);
}

static void test_limit(void **state)
{
    (void)state;
    struct pages pages;
    assert_int_equal(pages_init(&pages, RESERVED), 0);
    pages.taken_max = 3;
    uint32_t first = pages_take(&pages, 2);
    assert_true(first != 0);
    assert_int_equal(pages_take(&pages, 2), 0);
    assert_true(pages_take(&pages, 1) != 0);
    assert_int_equal(pages_take(&pages, 1), 0);
    pages_give(&pages, first);
    assert_true(pages_take(&pages, 2) != 0);
    pages_release(&pages);
}

static void test_idle_regions_go_back(void **state)
{
    (void)state;
    struct pages pages;
    assert_int_equal(pages_init(&pages, RESERVED), 0);
    uint32_t run = pages_take(&pages, 10 * REGION_PAGES);
    memset(page_memory(&pages, run), 0xab, (size_t)10 * REGION_BYTES);
    uint64_t full = pages_bytes(&pages);
    assert_false(pages_trim(&pages));
    assert_int_equal(pages_bytes(&pages), full);
    pages_give(&pages, run);
    assert_int_equal(pages_bytes(&pages), full);
    while (pages_trim(&pages)) {
    }
    assert_true(pages_bytes(&pages) <= full / 2);
    /* What was given back comes again, and counts again. */
    run = pages_take(&pages, 10 * REGION_PAGES);
    assert_true(run != 0);
    assert_int_equal(pages_bytes(&pages), full);
    pages_release(&pages);
}

/* Runs taken at random never overlap: each is full of its own number. */
static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("pages");
    struct pages pages;
    uint32_t first[RUNS] = {0};
    uint32_t count[RUNS] = {0};
    uint32_t taken = 0;
    assert_int_equal(pages_init(&pages, RESERVED), 0);
    for (unsigned step = 0; step < 4000; step++) {
        unsigned at = (unsigned)random_below(&random, RUNS);
        if (first[at] == 0) {
            count[at] =
                1 + (uint32_t)random_below(&random, random_below(&random, 4) == 0 ? RUN_MAX : 3);
            first[at] = pages_take(&pages, count[at]);
            if (first[at] == 0) {
                assert_true(taken + count[at] > PAGES / 3);
                continue;
            }
            assert_true(first[at] > 0 && first[at] + count[at] <= PAGES);
            taken += count[at];
            for (uint32_t i = 0; i < count[at]; i++) {
                *page_memory(&pages, first[at] + i) = (uint8_t)at;
            }
            continue;
        }
        for (uint32_t i = 0; i < count[at]; i++) {
            assert_int_equal(*page_memory(&pages, first[at] + i), at);
        }
        pages_give(&pages, first[at]);
        taken -= count[at];
        first[at] = 0;
        if (random_below(&random, 10) == 0) {
            (void)pages_trim(&pages);
        }
        assert_int_equal(pages.taken, taken);
    }
    for (unsigned at = 0; at < RUNS; at++) {
        if (first[at] != 0) {
            pages_give(&pages, first[at]);
        }
    }
    assert_int_equal(pages_take(&pages, PAGES - 1), 1);
    pages_release(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_give_all),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_idle_regions_go_back),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

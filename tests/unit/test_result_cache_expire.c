#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/result_cache_fixture.h"

/* A result cache whose writes may have been missed (result_cache_expire). */

static const uint64_t SECOND = 1000000;

/* All counts as old at once, and may be served for the stale time from then on; what
 * is filled afterwards is not touched. */
static void test_expire(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1000000, 100 * SECOND, 10 * SECOND);
    results_fill_one(f, "s", 1, 11, 0);
    results_fill_one(f, "s", 2, 12, 0);
    result_cache_expire(f->cache, 5 * SECOND);
    results_fill_one(f, "s", 3, 13, 5 * SECOND);
    assert_int_equal(result_cache_count(f->cache), 3);
    assert_int_equal(results_found(f, "s", 1, false, 5 * SECOND), -1);
    assert_int_equal(results_found(f, "s", 1, true, 5 * SECOND), 11);
    assert_int_equal(results_found(f, "s", 3, false, 5 * SECOND), 13);
    results_fill_one(f, "s", 1, 21, 6 * SECOND); /* asked for anew: current again */
    assert_int_equal(results_found(f, "s", 1, false, 6 * SECOND), 21);
    assert_int_equal(results_found(f, "s", 2, true, 15 * SECOND - 1), 12);
    assert_int_equal(results_found(f, "s", 2, true, 15 * SECOND), -1);
    assert_int_equal(result_cache_count(f->cache), 2); /* and is gone */
    assert_int_equal(results_found(f, "s", 3, false, 80 * SECOND), 13);
    result_cache_expire(f->cache, 80 * SECOND);
    assert_int_equal(results_found(f, "s", 1, false, 80 * SECOND), -1);
    assert_int_equal(results_found(f, "s", 1, true, 80 * SECOND), 21);
    assert_int_equal(results_found(f, "s", 3, true, 90 * SECOND), -1);
}

/* Without a stale time it is as a drop of all. */
static void test_expire_without_stale(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1000000, 0, 0);
    results_fill_one(f, "s", 1, 11, 0);
    result_cache_expire(f->cache, 1 * SECOND);
    assert_int_equal(results_found(f, "s", 1, true, 1 * SECOND), -1);
    results_fill_one(f, "s", 1, 12, 1 * SECOND);
    assert_int_equal(results_found(f, "s", 1, false, 1000 * SECOND), 12);
}

/* What was too old already does not get younger by it. */
static void test_expire_of_what_is_old(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1000000, 10 * SECOND, 10 * SECOND);
    results_fill_one(f, "s", 1, 11, 0);
    results_fill_one(f, "s", 2, 12, 0);
    result_cache_expire(f->cache, 15 * SECOND);
    assert_int_equal(results_found(f, "s", 1, false, 15 * SECOND), -1);
    assert_int_equal(results_found(f, "s", 1, true, 18 * SECOND), 11);
    assert_int_equal(results_found(f, "s", 2, true, 20 * SECOND), -1);
}

/* One that is held stays as it is until it is given back. */
static void test_expire_while_held(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1000000, 0, 0);
    results_fill_one(f, "s", 1, 11, 0);
    const struct cached_result *held = results_find(f, "s", 1, false, 0);
    assert_non_null(held);
    result_cache_expire(f->cache, 1 * SECOND);
    assert_null(results_find(f, "s", 1, false, 1 * SECOND));
    assert_int_equal(results_id(f, held->records[0]), 11);
    cached_result_put(f->cache, held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_expire, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_expire_without_stale, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_expire_of_what_is_old, results_setup,
                                        results_teardown),
        cmocka_unit_test_setup_teardown(test_expire_while_held, results_setup, results_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The histogram against a sorted list of what was added. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "layers/load/latency.h"

static void test_empty(void **state)
{
    (void)state;
    struct latency latency = {0};
    assert_int_equal(latency_percentile(&latency, 50), 0);
    assert_int_equal(latency_percentile(&latency, 100), 0);
}

static void test_small_values_are_exact(void **state)
{
    (void)state;
    struct latency latency = {0};
    for (uint64_t us = 1; us <= 10; us++) {
        latency_add(&latency, us);
    }
    assert_int_equal(latency_percentile(&latency, 0), 1);
    assert_int_equal(latency_percentile(&latency, 50), 5);
    assert_int_equal(latency_percentile(&latency, 51), 6);
    assert_int_equal(latency_percentile(&latency, 99), 10);
    assert_int_equal(latency.max_us, 10);
}

static void test_one_value_is_told_as_it_came(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < 60000000; us = us * 5 / 4 + 1) {
        struct latency latency = {0};
        latency_add(&latency, us);
        assert_int_equal(latency_percentile(&latency, 50), us);
        /* Never told by the largest, it is at most 1/16 too high. */
        latency_add(&latency, UINT64_MAX);
        uint64_t told = latency_percentile(&latency, 50);
        assert_true(told >= us && told - us <= us / 16);
    }
}

static void test_beyond_the_range(void **state)
{
    (void)state;
    struct latency latency = {0};
    latency_add(&latency, 0);
    latency_add(&latency, UINT64_MAX);
    assert_int_equal(latency_percentile(&latency, 50), 0);
    assert_int_equal(latency_percentile(&latency, 99), ((uint64_t)1 << 26) - 1);
    assert_true(latency.max_us == UINT64_MAX);
}

static void test_a_full_counter_keeps_the_shape(void **state)
{
    (void)state;
    struct latency latency = {0};
    for (unsigned i = 0; i < 100; i++) {
        latency_add(&latency, 3);
    }
    latency_add(&latency, 7);
    latency.counts[7] = UINT32_MAX;
    latency.total = (uint64_t)UINT32_MAX + 100;
    latency_add(&latency, 7);
    assert_int_equal(latency.counts[3], 50);
    assert_int_equal(latency.counts[7], UINT32_MAX / 2 + 1);
    assert_int_equal(latency.total, (uint64_t)UINT32_MAX / 2 + 51);
    assert_int_equal(latency_percentile(&latency, 50), 7);
}

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void test_against_a_sorted_list(void **state)
{
    (void)state;
    const char *given = getenv("RELATA_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    enum { COUNT = 5000 };
    uint64_t *values = malloc(COUNT * sizeof(*values));
    assert_non_null(values);
    struct latency latency = {0};
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (uint64_t)rand() % ((uint64_t)2 << (rand() % 25));
        latency_add(&latency, values[i]);
    }
    qsort(values, COUNT, sizeof(*values), by_value);
    for (unsigned percent = 1; percent <= 100; percent++) {
        uint64_t exact = values[(COUNT * percent + 99) / 100 - 1];
        uint64_t told = latency_percentile(&latency, percent);
        assert_true(told >= exact && told - exact <= exact / 16);
    }
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_small_values_are_exact),
        cmocka_unit_test(test_one_value_is_told_as_it_came),
        cmocka_unit_test(test_beyond_the_range),
        cmocka_unit_test(test_a_full_counter_keeps_the_shape),
        cmocka_unit_test(test_against_a_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

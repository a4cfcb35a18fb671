#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/redis/value_sizes.h"
#include "tests/lib/random.h"

/* How many values are asked for at once, by what came lately. */

enum { TOGETHER = 1 << 20 };

static unsigned count(const struct value_sizes *sizes)
{
    return value_sizes_count(sizes, TOGETHER, 8, 1000);
}

static void before_any_was_seen(void **state)
{
    (void)state;
    struct value_sizes sizes = {0};
    assert_in_range(count(&sizes), 10, 20);
}

static void follows_what_comes(void **state)
{
    (void)state;
    struct value_sizes sizes = {0};
    value_sizes_add(&sizes, 100);
    assert_int_equal(count(&sizes), 1000);
    for (unsigned i = 0; i < 4; i++) {
        value_sizes_add(&sizes, 50000);
    }
    assert_in_range(count(&sizes), 20, 25); /* larger ones count soon */
    for (unsigned i = 0; i < 16; i++) {
        value_sizes_add(&sizes, 100);
    }
    assert_in_range(count(&sizes), 25, 50); /* smaller ones later */
    for (unsigned i = 0; i < 500; i++) {
        value_sizes_add(&sizes, 100);
    }
    assert_int_equal(count(&sizes), 1000);
    value_sizes_add(&sizes, SIZE_MAX / 64);
    assert_int_equal(count(&sizes), 8);
}

/* Of values that are about alike, those that are asked for are about the bound. */
static void is_about_the_bound(void **state)
{
    struct random random = random_start("is_about_the_bound");
    (void)state;
    for (unsigned round = 0; round < 1000; round++) {
        struct value_sizes sizes = {0};
        size_t typical = 1100 + (size_t)random_below(&random, 100000);
        for (unsigned i = 0; i < 100; i++) {
            value_sizes_add(&sizes, typical + (size_t)random_below(&random, typical / 10));
        }
        size_t together = count(&sizes) * typical;
        assert_in_range(together, TOGETHER / 2, TOGETHER);
    }
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct value_sizes sizes = {0};
    value_sizes_add(&sizes, 0);
    value_sizes_add(&sizes, 0);
    assert_int_equal(count(&sizes), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_any_was_seen),
        cmocka_unit_test(follows_what_comes),
        cmocka_unit_test(is_about_the_bound),
        cmocka_unit_test(nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

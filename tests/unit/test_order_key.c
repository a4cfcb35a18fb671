#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/memory/order_key.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"

static struct value datetime(int64_t seconds, uint32_t nanoseconds)
{
    return (struct value){.kind = VALUE_DATETIME, .datetime = {seconds, nanoseconds}};
}

static struct value real(double number)
{
    return (struct value){.kind = VALUE_FLOAT, .real = number};
}

/* Rising values have prefixes that never fall, and nil comes last. */
static void assert_rising(const struct value *values, unsigned count)
{
    struct value nil = value_nil();
    for (unsigned i = 0; i < count; i++) {
        if (i > 0) {
            assert_true(value_compare(&values[i - 1], &values[i]) < 0);
            assert_true(order_prefix(&values[i - 1]) <= order_prefix(&values[i]));
        }
        assert_true(order_prefix(&values[i]) <= order_prefix(&nil));
    }
}

static void test_prefixes_rise(void **state)
{
    (void)state;
    struct value numbers[] = {
        real(-1e300),
        memory_fixture_integer(INT64_MIN),
        real(-1.5),
        memory_fixture_integer(-1),
        real(-0.5),
        memory_fixture_integer(0),
        memory_fixture_integer(1),
        real(1.5),
        memory_fixture_integer(INT64_MAX),
        real(0x1p63),
        real(1e300),
    };
    assert_rising(numbers, ARRAY_COUNT(numbers));
    struct value texts[] = {
        memory_fixture_text(""),
        memory_fixture_text("a"),
        memory_fixture_text("aaaaaaaa"),
        memory_fixture_text("aaaaaaaab"),
        memory_fixture_text("b"),
        memory_fixture_text("\xc3\xa9"),
        memory_fixture_text("\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf"),
    };
    assert_rising(texts, ARRAY_COUNT(texts));
    struct value datetimes[] = {
        datetime(INT64_MIN, 0),
        datetime(-(1LL << 33) - 1, 5),
        datetime(-(1LL << 33), 0),
        datetime(-1, 999999999),
        datetime(0, 0),
        datetime(0, 1),
        datetime((1LL << 33) - 1, 999999999),
        datetime(1LL << 33, 0),
        datetime(INT64_MAX, 0),
    };
    assert_rising(datetimes, ARRAY_COUNT(datetimes));
}

static void test_random_prefixes(void **state)
{
    (void)state;
    struct random random = random_start("order key");
    for (unsigned i = 0; i < 20000; i++) {
        struct value a = memory_fixture_integer((int64_t)random_magnitude(&random));
        struct value b = random_below(&random, 2) == 0
                             ? memory_fixture_integer((int64_t)random_magnitude(&random))
                             : real((double)(int64_t)random_magnitude(&random) / 3);
        int order = value_compare(&a, &b);
        assert_true(order >= 0 || order_prefix(&a) <= order_prefix(&b));
        assert_true(order <= 0 || order_prefix(&a) >= order_prefix(&b));
    }
}

/* The primary key orders behind the index's fields, each of its fields once. */
static void test_primary_key_comes_behind(void **state)
{
    (void)state;
    struct memory_fixture fixture;
    memory_fixture_init(&fixture, "thing");
    for (unsigned i = 0; i < 4; i++) {
        memory_fixture_field(&fixture, i == 3 ? TYPE_STRING : TYPE_INTEGER);
    }
    memory_fixture_primary_key(&fixture, 2);
    memory_fixture_index(&fixture, (int[]){3, 1, -1});
    struct order_key key;
    order_key_init(&key, &fixture.resource, &fixture.indexes[0].fields);
    assert_int_equal(key.count, 3);
    assert_int_equal(key.fields[0], 3);
    assert_int_equal(key.fields[1], 1);
    assert_int_equal(key.fields[2], 0);
    assert_false(key.integer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes_rise),
        cmocka_unit_test(test_random_prefixes),
        cmocka_unit_test(test_primary_key_comes_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

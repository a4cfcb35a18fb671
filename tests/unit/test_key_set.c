#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/redis/key_set.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void test_add_and_take(void **state)
{
    struct key_set set;
    (void)state;
    key_set_init(&set);
    assert_false(key_set_take(&set, (const uint8_t *)"a", 1));
    assert_true(key_set_add(&set, (const uint8_t *)"ab", 2));
    assert_true(key_set_add(&set, (const uint8_t *)"ab", 2));
    assert_true(key_set_add(&set, (const uint8_t *)"", 0));
    assert_int_equal(key_set_count(&set), 2);
    assert_false(key_set_take(&set, (const uint8_t *)"a", 1));
    assert_true(key_set_take(&set, (const uint8_t *)"ab", 2));
    assert_false(key_set_take(&set, (const uint8_t *)"ab", 2));
    assert_true(key_set_take(&set, (const uint8_t *)"", 0));
    key_set_release(&set);
}

static void test_without_memory(void **state)
{
    struct key_set set;
    (void)state;
    key_set_init(&set);
    heap_fail_at(0);
    assert_false(key_set_add(&set, (const uint8_t *)"a", 1));
    heap_fail_at(-1);
    assert_int_equal(key_set_count(&set), 0);
    key_set_release(&set);
}

static void test_random(void **state)
{
    enum { KEYS = 500 };
    struct random random = random_start("key_set");
    bool model[KEYS] = {false};
    size_t count = 0;
    struct key_set set;
    (void)state;
    key_set_init(&set);
    for (int i = 0; i < 20000; i++) {
        uint16_t number = (uint16_t)random_below(&random, KEYS);
        const uint8_t *key = (const uint8_t *)&number;
        if (random_below(&random, 5000) == 0) {
            key_set_clear(&set);
            count = 0;
            for (size_t k = 0; k < KEYS; k++) {
                model[k] = false;
            }
        } else if (random_below(&random, 2) == 0) {
            assert_true(key_set_add(&set, key, sizeof number));
            count += !model[number];
            model[number] = true;
        } else {
            assert_int_equal(key_set_take(&set, key, sizeof number), model[number]);
            count -= model[number];
            model[number] = false;
        }
        assert_int_equal(key_set_count(&set), count);
    }
    key_set_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_take),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_random),
    };
    hash_seed(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

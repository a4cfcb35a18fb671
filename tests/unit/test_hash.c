#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "protocol/base/hash.h"

/* First, before any test seeds it. */
static void draws_a_seed_by_itself(void **state)
{
    (void)state;
    uint64_t drawn = hash_bytes("key", 3);
    assert_true(drawn == hash_bytes("key", 3));
    hash_seed(0);
    uint64_t unseeded = hash_bytes("key", 3);
    assert_true(drawn != unseeded);
}

static void depends_on_seed_bytes_and_size(void **state)
{
    (void)state;
    hash_seed(1);
    uint64_t one = hash_bytes("key", 3);
    assert_true(one != hash_bytes("key", 2));
    assert_true(one != hash_bytes("kez", 3));
    assert_true(hash_bytes("", 0) == hash_bytes("x", 0));
    hash_seed(2);
    assert_true(one != hash_bytes("key", 3));
    hash_seed(1);
    assert_true(one == hash_bytes("key", 3));
}

/* The low bits choose places in tables: small keys must not crowd there. */
static void spreads_small_keys_over_the_low_bits(void **state)
{
    (void)state;
    static uint8_t seen[4096];
    hash_seed(7);
    unsigned used = 0;
    for (uint32_t i = 0; i < 4096; i++) {
        uint64_t hash = hash_bytes(&i, sizeof(i));
        used += seen[hash % 4096]++ == 0 ? 1 : 0;
    }
    /* Thrown at random, 1 - 1/e of the places are hit: 2589. */
    assert_in_range(used, 2400, 2800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_a_seed_by_itself),
        cmocka_unit_test(depends_on_seed_bytes_and_size),
        cmocka_unit_test(spreads_small_keys_over_the_low_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/near_cache.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* The near cache as its home uses it: what is found, what leaves, how long a
 * value can be read after that (the address sanitizer sees what is freed too
 * early, and what never is). */

enum { FREED_MOST = 1024 }; /* by one turn */

struct fixture {
    struct near_cache *cache;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    hash_seed(1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->cache != NULL) {
        near_cache_free(f->cache);
    }
    free(f);
    return 0;
}

static void open_cache(struct fixture *f, uint64_t bytes_max)
{
    f->cache = near_cache_create(bytes_max);
    assert_non_null(f->cache);
}

static size_t key_of(char out[24], unsigned key)
{
    return (size_t)snprintf(out, 24, "key %u", key);
}

static void put(struct fixture *f, unsigned key, const void *value, uint32_t size,
                uint64_t sequence)
{
    char bytes[24];
    size_t key_size = key_of(bytes, key);
    const struct near_entry entry = {.value = value, .size = size, .cover = key};
    near_cache_put(f->cache, (const uint8_t *)bytes, key_size, &entry, sequence);
}

/* A value of 64 bytes that says whose it is. */
static void put_one(struct fixture *f, unsigned key, unsigned value, uint64_t sequence)
{
    unsigned bytes[16] = {value};
    put(f, key, bytes, sizeof bytes, sequence);
}

static unsigned read_one(const void *value)
{
    unsigned one;
    memcpy(&one, value, sizeof one);
    return one;
}

static const void *find(struct fixture *f, unsigned key)
{
    char bytes[24];
    struct near_entry entry;
    size_t key_size = key_of(bytes, key);
    bool found = near_cache_find(f->cache, (const uint8_t *)bytes, key_size, &entry);
    return found ? entry.value : NULL;
}

/* The value of a key, -1 where there is none. */
static int64_t found(struct fixture *f, unsigned key)
{
    const void *value = find(f, key);
    return value != NULL ? (int64_t)read_one(value) : -1;
}

static bool peek(const struct fixture *f, unsigned key)
{
    char bytes[24];
    struct near_entry entry;
    size_t key_size = key_of(bytes, key);
    return near_cache_peek(f->cache, (const uint8_t *)bytes, key_size, &entry);
}

static uint64_t drop(struct fixture *f, unsigned key, uint64_t sequence)
{
    char bytes[24];
    size_t key_size = key_of(bytes, key);
    return near_cache_drop(f->cache, (const uint8_t *)bytes, key_size, sequence);
}

/* How many turns say that there is more. */
static unsigned turns(struct fixture *f, uint64_t oldest_pin)
{
    unsigned count = 0;
    while (near_cache_turn(f->cache, oldest_pin)) {
        count++;
    }
    return count;
}

/* ---- Finding ---- */

static void test_put_and_find(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20);
    const struct near_entry entry = {
        .value = "hello", .size = 5, .cover = 7, .filled_us = 8, .expires_us = 9};
    struct near_entry out = {0};
    const uint8_t *key = (const uint8_t *)"a";
    assert_false(near_cache_find(f->cache, key, 1, &out));
    assert_false(near_cache_peek(f->cache, key, 1, &out));
    near_cache_put(f->cache, key, 1, &entry, 1);
    for (unsigned peeked = 0; peeked < 2; peeked++) {
        memset(&out, 0, sizeof out);
        assert_true(peeked ? near_cache_peek(f->cache, key, 1, &out)
                           : near_cache_find(f->cache, key, 1, &out));
        assert_int_equal(out.size, 5);
        assert_memory_equal(out.value, "hello", 5);
        assert_int_equal(out.cover, 7);
        assert_int_equal(out.filled_us, 8);
        assert_int_equal(out.expires_us, 9);
    }
    assert_int_equal(near_cache_count(f->cache), 1);
    assert_false(near_cache_find(f->cache, (const uint8_t *)"b", 1, &out));
    assert_false(near_cache_find(f->cache, (const uint8_t *)"a\0", 2, &out));
    put_one(f, 1, 10, 1);
    put_one(f, 1, 11, 2);
    assert_int_equal(found(f, 1), 11);
    assert_int_equal(near_cache_count(f->cache), 2);
}

static void test_absent_and_empty(void **state)
{
    struct fixture *f = *state;
    struct near_entry out;
    open_cache(f, 1 << 20);
    const struct near_entry absent = {.size = 99, .cover = 3};
    const struct near_entry empty = {.value = "", .cover = 4};
    near_cache_put(f->cache, (const uint8_t *)"a", 1, &absent, 1);
    assert_true(near_cache_find(f->cache, (const uint8_t *)"a", 1, &out));
    assert_null(out.value);
    assert_int_equal(out.size, 0);
    assert_int_equal(out.cover, 3);
    near_cache_put(f->cache, (const uint8_t *)"a", 1, &empty, 1);
    assert_true(near_cache_find(f->cache, (const uint8_t *)"a", 1, &out));
    assert_non_null(out.value);
    assert_int_equal(out.size, 0);
    assert_int_equal(out.cover, 4);
    /* The empty key is a key. */
    assert_false(near_cache_find(f->cache, NULL, 0, &out));
    near_cache_put(f->cache, NULL, 0, &empty, 1);
    assert_true(near_cache_find(f->cache, NULL, 0, &out));
    assert_int_equal(near_cache_drop(f->cache, NULL, 0, 1), 1);
}

static void test_values_are_aligned(void **state)
{
    struct fixture *f = *state;
    uint8_t key[40], value[40];
    open_cache(f, 1 << 20);
    for (size_t size = 0; size < sizeof key; size++) {
        memset(key, (int)size, sizeof key);
        memset(value, (int)size + 100, sizeof value);
        const struct near_entry entry = {.value = value, .size = (uint32_t)size};
        struct near_entry out;
        near_cache_put(f->cache, key, size, &entry, 1);
        assert_true(near_cache_find(f->cache, key, size, &out));
        assert_int_equal((uintptr_t)out.value % 8, 0);
        assert_memory_equal(out.value, value, size);
    }
}

/* A value may be put again as it was found. */
static void test_put_what_was_found(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20);
    put_one(f, 1, 5, 1);
    const void *value = find(f, 1);
    put(f, 1, value, 64, 2);
    assert_int_equal(found(f, 1), 5);
    assert_ptr_not_equal(find(f, 1), value);
    assert_int_equal(read_one(value), 5);
}

static void test_many(void **state)
{
    enum { MANY = 100000 };
    struct fixture *f = *state;
    open_cache(f, 1 << 30);
    for (unsigned key = 0; key < MANY; key++) {
        put(f, key, &key, sizeof key, 1);
    }
    assert_int_equal(near_cache_count(f->cache), MANY);
    for (unsigned key = 0; key < MANY; key++) {
        assert_int_equal(found(f, key), key);
    }
    for (unsigned key = 0; key < MANY; key += 2) {
        assert_int_equal(drop(f, key, 1), 1);
    }
    for (unsigned key = 0; key < MANY; key++) {
        assert_int_equal(peek(f, key), key % 2);
    }
    assert_int_equal(near_cache_drop_all(f->cache, 1), MANY / 2);
    assert_int_equal(turns(f, UINT64_MAX), (MANY - 1) / FREED_MOST);
}

/* ---- Leaving ---- */

static void test_drop(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20);
    for (unsigned key = 0; key < 10; key++) {
        put_one(f, key, key, 1);
    }
    assert_int_equal(drop(f, 10, 1), 0);
    assert_int_equal(drop(f, 3, 1), 1);
    assert_int_equal(drop(f, 3, 1), 0);
    assert_int_equal(found(f, 3), -1);
    assert_int_equal(found(f, 4), 4);
    assert_int_equal(near_cache_drop_all(f->cache, 2), 9);
    assert_int_equal(near_cache_drop_all(f->cache, 3), 0);
    assert_int_equal(near_cache_count(f->cache), 0);
    assert_int_equal(near_cache_bytes(f->cache), 0);
    assert_int_equal(found(f, 4), -1);
    put_one(f, 4, 40, 4);
    assert_int_equal(found(f, 4), 40);
    assert_int_equal(near_cache_evictions(f->cache), 0);
}

/* What leaves stays until a turn that no pin from before sees. */
static void test_turn(void **state)
{
    enum { MANY = 3000 };
    struct fixture *f = *state;
    const void *values[MANY];
    open_cache(f, 1 << 20);
    assert_false(near_cache_turn(f->cache, UINT64_MAX));
    for (unsigned key = 0; key < MANY; key++) {
        put_one(f, key, key, 1);
        values[key] = find(f, key);
    }
    assert_int_equal(near_cache_drop_all(f->cache, 5), MANY);
    for (unsigned oldest_pin = 0; oldest_pin <= 5; oldest_pin++) {
        assert_false(near_cache_turn(f->cache, oldest_pin));
    }
    for (unsigned key = 0; key < MANY; key++) {
        assert_int_equal(read_one(values[key]), key);
    }
    assert_true(near_cache_turn(f->cache, 6));
    assert_int_equal(turns(f, UINT64_MAX), 1);
}

/* Each of many that leave at sequences of their own waits at least until then,
 * and none for longer than until there are no pins. */
static void test_turn_by_sequence(void **state)
{
    enum { MANY = 4000, SEQUENCES = 200 };
    struct fixture *f = *state;
    const void *values[MANY];
    open_cache(f, 1 << 20);
    for (unsigned key = 0; key < MANY; key++) {
        put_one(f, key, key, 1);
        values[key] = find(f, key);
    }
    for (unsigned key = 0; key < MANY; key++) {
        drop(f, key, 10 + key / (MANY / SEQUENCES));
    }
    assert_int_equal(near_cache_count(f->cache), 0);
    for (unsigned sequence = 0; sequence < SEQUENCES; sequence++) {
        assert_false(near_cache_turn(f->cache, 10 + sequence));
        for (unsigned key = sequence * (MANY / SEQUENCES); key < MANY; key++) {
            assert_int_equal(read_one(values[key]), key);
        }
    }
    /* The last ones have waited together: the ring of batches was full. */
    assert_int_equal(turns(f, 10 + SEQUENCES), 2);
    assert_int_equal(turns(f, UINT64_MAX), 0);
}

static void test_replaced_stays(void **state)
{
    struct fixture *f = *state;
    const void *values[100];
    open_cache(f, 1 << 20);
    for (unsigned i = 0; i < 100; i++) {
        put_one(f, 1, i, i);
        values[i] = find(f, 1);
        near_cache_turn(f->cache, 1);
    }
    assert_int_equal(near_cache_count(f->cache), 1);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(read_one(values[i]), i);
    }
}

static void test_evicted_stays(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 64 << 10);
    put_one(f, 0, 7, 1);
    const void *value = find(f, 0);
    for (unsigned key = 1; key < 2000; key++) {
        put_one(f, key, key, 5);
        near_cache_turn(f->cache, 5);
    }
    assert_false(peek(f, 0));
    assert_int_equal(read_one(value), 7);
    assert_int_equal(near_cache_evictions(f->cache), 2000 - near_cache_count(f->cache));
}

/* ---- Bounds ---- */

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    static const uint8_t large[16384];
    open_cache(f, 16384);
    put(f, 1, large, 4096 - 200, 1);
    assert_true(peek(f, 1));
    /* The old value goes too: none may follow the newer one. */
    put(f, 1, large, 4096, 1);
    assert_false(peek(f, 1));
    const struct near_entry absent = {0};
    near_cache_put(f->cache, large, sizeof large, &absent, 1);
    assert_int_equal(near_cache_count(f->cache), 0);
    put(f, 1, large, UINT32_MAX, 1);
    assert_int_equal(near_cache_count(f->cache), 0);
}

static void test_bytes(void **state)
{
    struct fixture *f = *state;
    static const uint8_t value[1500];
    open_cache(f, 100000);
    put(f, 1, value, sizeof value, 0);
    assert_in_range(near_cache_bytes(f->cache), 1500, 1700);
    for (unsigned key = 2; key < 1000; key++) {
        put(f, key, value, sizeof value, 0);
        assert_true(near_cache_bytes(f->cache) <= 100000);
    }
    assert_in_range(near_cache_count(f->cache), 50, 66);
    assert_true(near_cache_bytes(f->cache) > 95000);
    /* One large entry takes the place of many small ones. */
    for (unsigned key = 0; key < 5000; key++) {
        put(f, key, value, 1, 0);
    }
    uint64_t small = near_cache_count(f->cache);
    put(f, 9999, value, 1500, 0);
    assert_true(near_cache_bytes(f->cache) <= 100000);
    assert_in_range(near_cache_count(f->cache), small - 20, small - 1);
}

static void test_resize(void **state)
{
    enum { MANY = 10000 };
    struct fixture *f = *state;
    open_cache(f, 10 << 20);
    for (unsigned key = 0; key < MANY; key++) {
        put_one(f, key, key, 1);
    }
    uint64_t bytes = near_cache_bytes(f->cache);
    near_cache_resize(f->cache, bytes - 1);
    assert_int_equal(near_cache_evictions(f->cache), 1);
    near_cache_resize(f->cache, bytes / 10);
    assert_in_range(near_cache_evictions(f->cache), 500, MANY / 2); /* a piece */
    uint64_t before = near_cache_bytes(f->cache);
    put_one(f, MANY, MANY, 2);
    assert_true(near_cache_bytes(f->cache) < before);
    assert_true(turns(f, UINT64_MAX) < MANY / 500);
    assert_true(near_cache_bytes(f->cache) <= bytes / 10);
    assert_int_equal(near_cache_count(f->cache), MANY + 1 - near_cache_evictions(f->cache));
    assert_in_range(near_cache_count(f->cache), MANY / 11, MANY / 10);
    near_cache_resize(f->cache, 0);
    assert_int_equal(near_cache_bytes(f->cache), 0);
    put_one(f, 1, 1, 3);
    assert_false(peek(f, 1));
    near_cache_resize(f->cache, 1 << 20);
    put_one(f, 1, 1, 3);
    assert_int_equal(found(f, 1), 1);
}

/* A new bound has no sequence: what it evicts stays while any pin is held, until
 * the next sequence is known. */
static void test_resized_stays(void **state)
{
    struct fixture *f = *state;
    const void *values[20];
    open_cache(f, 1 << 20);
    for (unsigned key = 0; key < 20; key++) {
        put_one(f, key, key, 1);
        values[key] = find(f, key);
    }
    near_cache_resize(f->cache, 100);
    assert_int_equal(near_cache_count(f->cache), 0);
    near_cache_turn(f->cache, 1000); /* a pin that was taken at 1000 */
    near_cache_resize(f->cache, 1 << 20);
    put_one(f, 1, 5, 1001);
    drop(f, 1, 1001); /* since then what left has a sequence: 1001 */
    near_cache_turn(f->cache, 1000);
    near_cache_turn(f->cache, 1001);
    for (unsigned key = 0; key < 20; key++) {
        assert_int_equal(read_one(values[key]), key);
    }
    near_cache_turn(f->cache, 1002);
}

static void test_without_memory(void **state)
{
    struct fixture *f = *state;
    heap_fail_at(0);
    assert_null(near_cache_create(4096));
    heap_fail_at(-1);
    open_cache(f, 16384);
    put_one(f, 1, 1, 1);
    heap_fail_at(0);
    put_one(f, 1, 2, 1);
    assert_true(heap_failed());
    heap_fail_at(-1);
    assert_false(peek(f, 1));
    /* Without memory for the tables or the ghosts all goes on. */
    for (unsigned key = 0; key < 2000; key++) {
        heap_fail_at(1);
        put_one(f, key, key, 1);
        heap_fail_at(-1);
        assert_int_equal(found(f, key), key);
        assert_true(near_cache_bytes(f->cache) <= 16384);
    }
}

/* ---- Who stays ---- */

/* Asks for keys from `from` on, and puts what is missing: how many were there. */
static unsigned ask_for(struct fixture *f, unsigned from, unsigned count)
{
    unsigned hits = 0;
    for (unsigned key = from; key < from + count; key++) {
        if (found(f, key) >= 0) {
            hits++;
        } else {
            put_one(f, key, key, 1);
        }
        near_cache_turn(f->cache, UINT64_MAX);
    }
    return hits;
}

/* One pass over ten times as many as there is room for. */
static void test_scan(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 256 << 10);
    ask_for(f, 0, 5000);
    unsigned room = (unsigned)near_cache_count(f->cache);
    unsigned hot = room * 8 / 10;
    assert_true(room > 500);
    for (unsigned round = 0; round < 10; round++) {
        ask_for(f, 10000, hot);
    }
    /* While the pass goes on, the hot ones are asked for from time to time. */
    unsigned hits = 0, asked = 0;
    for (unsigned part = 0; part < 20; part++) {
        ask_for(f, 100000 + part * (room / 2), room / 2);
        hits += ask_for(f, 10000, hot);
        asked += hot;
    }
    assert_true(hits > asked * 95 / 100);
    /* A pass in which nobody asks for them. */
    ask_for(f, 200000, 10 * room);
    assert_true(ask_for(f, 10000, hot) > hot * 9 / 10);
}

static void test_peek_is_no_use(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 64 << 10);
    put_one(f, 1, 1, 1);
    put_one(f, 2, 2, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(peek(f, 1));
        assert_int_equal(found(f, 2), 2);
    }
    ask_for(f, 10, 5000);
    assert_false(peek(f, 1));
    assert_true(peek(f, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_and_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent_and_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_are_aligned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_put_what_was_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turn_by_sequence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_evicted_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resized_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peek_is_no_use, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

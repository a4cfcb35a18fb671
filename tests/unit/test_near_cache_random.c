#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/near_cache.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* The near cache against a plain table, in a random run: it may forget what was
 * put, but never answers anything else; and what was seen in a turn, or is
 * pinned, stays readable (the address sanitizer watches). */

enum { KEYS = 300, HOT = 20, ROUNDS = 100000, SEEN_MAX = 64, PINS_MAX = 16, SIZE_MOST = 2000 };

/* A value's bytes follow from its number. */
struct plain {
    bool here;
    bool absent;
    uint64_t number;
    uint32_t size;
    uint64_t expires_us;
};

struct seen {
    const uint8_t *value;
    struct plain was;
};

struct held {
    bool taken;
    uint64_t sequence;
    struct seen seen;
};

struct model {
    struct near_cache *cache;
    struct random random;
    struct plain entries[KEYS];
    struct seen seen[SEEN_MAX]; /* in this turn */
    size_t seen_count;
    struct held held[PINS_MAX];
    uint64_t sequence;
    uint64_t pace; /* steps between two sequences, about */
    uint64_t pins; /* that are taken at one time, at most */
    uint64_t number;
    uint64_t bytes_max;
    uint64_t expected; /* entries, if none had been evicted */
    uint64_t hits, misses;
};

static void fill_bytes(uint8_t *bytes, uint32_t size, uint64_t number)
{
    struct random random = {.state = number};
    for (uint32_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)random_next(&random);
    }
}

static void expect_bytes(const struct seen *seen)
{
    uint8_t bytes[SIZE_MOST];
    fill_bytes(bytes, seen->was.size, seen->was.number);
    /* Compared here, where the sanitizer sees it, not in the test library. */
    assert_int_equal(memcmp(seen->value, bytes, seen->was.size), 0);
}

/* Of many sizes, and some of them with zeros inside. */
static size_t model_key(uint8_t out[64], unsigned key)
{
    memset(out, 0, 64);
    memcpy(out, &key, sizeof key);
    return sizeof key + key % 50;
}

static void model_see(struct model *m, const struct near_entry *entry, const struct plain *plain)
{
    assert_true(plain->here);
    assert_int_equal(entry->value == NULL, plain->absent);
    assert_int_equal(entry->size, plain->size);
    assert_int_equal(entry->cover, plain->number);
    assert_int_equal(entry->filled_us, plain->number + 1);
    assert_int_equal(entry->expires_us, plain->expires_us);
    struct seen seen = {.value = entry->value, .was = *plain};
    if (seen.value == NULL) {
        return;
    }
    expect_bytes(&seen);
    m->seen[m->seen_count < SEEN_MAX ? m->seen_count++ : random_below(&m->random, SEEN_MAX)] = seen;
    struct held *held = &m->held[random_below(&m->random, m->pins)];
    if (!held->taken && random_below(&m->random, 5) == 0) {
        *held = (struct held){.taken = true, .sequence = m->sequence, .seen = seen};
    }
}

/* It need not be there, but what is there is the newest. */
static void model_find(struct model *m, unsigned key, bool peeked)
{
    uint8_t bytes[64];
    size_t size = model_key(bytes, key);
    struct near_entry entry;
    bool found_one = peeked ? near_cache_peek(m->cache, bytes, size, &entry)
                            : near_cache_find(m->cache, bytes, size, &entry);
    m->hits += found_one;
    m->misses += !found_one && m->entries[key].here;
    if (found_one) {
        model_see(m, &entry, &m->entries[key]);
    }
}

static bool model_here(struct model *m, unsigned key)
{
    uint8_t bytes[64];
    size_t size = model_key(bytes, key);
    struct near_entry entry;
    return near_cache_peek(m->cache, bytes, size, &entry);
}

static void model_put(struct model *m, unsigned key)
{
    uint8_t bytes[64], value[SIZE_MOST];
    size_t size = model_key(bytes, key);
    struct plain *plain = &m->entries[key];
    uint32_t most = random_below(&m->random, 10) == 0 ? SIZE_MOST : 200;
    *plain = (struct plain){.here = true,
                            .absent = random_below(&m->random, 8) == 0,
                            .number = ++m->number,
                            .expires_us = random_next(&m->random)};
    plain->size = plain->absent ? 0 : (uint32_t)random_below(&m->random, most);
    fill_bytes(value, plain->size, plain->number);
    const struct near_entry entry = {.value = plain->absent ? NULL : value,
                                     .size = plain->size,
                                     .cover = plain->number,
                                     .filled_us = plain->number + 1,
                                     .expires_us = plain->expires_us};
    m->expected -= model_here(m, key);
    near_cache_put(m->cache, bytes, size, &entry, m->sequence);
    m->expected += model_here(m, key);
}

static void model_drop(struct model *m, unsigned key)
{
    uint8_t bytes[64];
    size_t size = model_key(bytes, key);
    bool here = model_here(m, key);
    assert_int_equal(near_cache_drop(m->cache, bytes, size, m->sequence), here);
    m->expected -= here;
    m->entries[key].here = false;
}

static void model_drop_all(struct model *m)
{
    uint64_t count = near_cache_count(m->cache);
    assert_int_equal(near_cache_drop_all(m->cache, m->sequence), count);
    assert_int_equal(near_cache_bytes(m->cache), 0);
    m->expected -= count;
    memset(m->entries, 0, sizeof m->entries);
}

/* Whatever was seen in this turn, or is pinned, is what it was. */
static void model_turn(struct model *m)
{
    uint64_t oldest_pin = UINT64_MAX;
    for (size_t i = 0; i < m->seen_count; i++) {
        expect_bytes(&m->seen[i]);
    }
    m->seen_count = 0;
    for (size_t i = 0; i < PINS_MAX; i++) {
        struct held *held = &m->held[i];
        if (held->taken) {
            expect_bytes(&held->seen);
            held->taken = random_below(&m->random, 30) != 0;
        }
        if (held->taken && held->sequence < oldest_pin) {
            oldest_pin = held->sequence;
        }
    }
    near_cache_turn(m->cache, oldest_pin);
}

static void model_step(struct model *m, uint64_t bytes_max)
{
    bool hot = random_below(&m->random, 2) == 0;
    unsigned key = (unsigned)random_below(&m->random, hot ? HOT : KEYS);
    unsigned action = (unsigned)random_below(&m->random, 1000);
    if (m->number % 500 == 0) {
        static const uint64_t paces[] = {1, 3, 100};
        m->pace = paces[random_below(&m->random, ARRAY_COUNT(paces))];
        m->pins = 1 + random_below(&m->random, 2) * (PINS_MAX - 1);
    }
    m->sequence += random_below(&m->random, m->pace) == 0;
    if (action < 450) {
        model_find(m, key, action < 50);
    } else if (action < 850) {
        model_put(m, key);
    } else if (action < 900) {
        model_drop(m, key);
    } else if (action < 902) {
        model_drop_all(m);
    } else if (action < 912) {
        m->bytes_max = bytes_max / (1 + random_below(&m->random, 4));
        near_cache_resize(m->cache, m->bytes_max);
    } else {
        model_turn(m);
    }
}

static void run_model(struct model *m, uint64_t bytes_max, bool failing)
{
    memset(m->entries, 0, sizeof m->entries);
    m->bytes_max = bytes_max;
    m->expected = 0;
    m->cache = near_cache_create(bytes_max);
    assert_non_null(m->cache);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t before = near_cache_bytes(m->cache);
        if (failing && random_below(&m->random, 5) == 0) {
            heap_fail_at((long)random_below(&m->random, 3));
        }
        model_step(m, bytes_max);
        heap_fail_at(-1);
        uint64_t bytes = near_cache_bytes(m->cache);
        assert_true(bytes <= m->bytes_max || bytes <= before);
        assert_int_equal(near_cache_count(m->cache), m->expected - near_cache_evictions(m->cache));
    }
    model_turn(m);
    memset(m->held, 0, sizeof m->held);
    near_cache_free(m->cache);
}

static void test_random(void **state)
{
    (void)state;
    hash_seed(1);
    struct model m = {.random = random_start("test_near_cache_random"), .pace = 1, .pins = 1};
    run_model(&m, 1 << 20, false);
    assert_true(m.hits > 1000 && m.misses < m.hits / 10);
    run_model(&m, 60000, false);
    assert_true(m.misses > 1000);
    run_model(&m, 60000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

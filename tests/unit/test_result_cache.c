#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/load/result_cache.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"
#include "tests/lib/result_cache_fixture.h"

/* The result cache as its relations use it: what is found for how long, what a
 * drop takes, what stays under pressure; and a random run against a plain list. */

enum { MOST_RECORDS = 8 };

static const uint64_t SECOND = 1000000;

static uint64_t drop(struct result_fixture *f, unsigned key)
{
    char bytes[24];
    size_t size = results_key(bytes, key);
    return result_cache_drop(f->cache, (const uint8_t *)bytes, size);
}

static void test_find(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1 << 20, 0, 0);
    assert_int_equal(results_found(f, "", 1, false, 0), -1);
    results_fill_one(f, "", 1, 11, 0);
    results_fill_one(f, "query", 1, 12, 0);
    results_fill_one(f, "query", 2, 13, 0);
    results_fill(f, "query", 3, NULL, 0, 0);
    assert_int_equal(results_found(f, "", 1, false, UINT64_MAX - 1), 11);
    assert_int_equal(results_found(f, "query", 1, false, 0), 12);
    assert_int_equal(results_found(f, "query", 2, false, 0), 13);
    assert_int_equal(results_found(f, "", 2, false, 0), -1);
    const struct cached_result *empty = results_find(f, "query", 3, false, 0);
    assert_non_null(empty);
    assert_int_equal(empty->count, 0);
    cached_result_put(f->cache, empty);
    assert_int_equal(result_cache_count(f->cache), 4);
    /* The newer answer replaces the older one. */
    uint64_t bytes = result_cache_bytes(f->cache);
    results_fill_one(f, "query", 2, 14, 0);
    assert_int_equal(results_found(f, "query", 2, false, 0), 14);
    assert_int_equal(result_cache_count(f->cache), 4);
    assert_int_equal(result_cache_bytes(f->cache), bytes);
}

static void test_drop(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1 << 20, 0, 0);
    static const char *const shown[] = {"", "a", "b", "c"};
    for (unsigned key = 0; key < 5; key++) {
        for (size_t i = 0; i < ARRAY_COUNT(shown); i++) {
            results_fill_one(f, shown[i], key, key, 0);
        }
    }
    assert_int_equal(drop(f, 9), 0);
    assert_int_equal(drop(f, 3), 4);
    assert_int_equal(drop(f, 3), 0);
    for (size_t i = 0; i < ARRAY_COUNT(shown); i++) {
        assert_int_equal(results_found(f, shown[i], 3, true, 0), -1);
        assert_int_equal(results_found(f, shown[i], 2, false, 0), 2);
    }
    results_fill_one(f, "b", 3, 3, 0);
    assert_int_equal(drop(f, 3), 1);
    assert_int_equal(result_cache_drop_all(f->cache), 16);
    assert_int_equal(result_cache_drop_all(f->cache), 0);
    assert_int_equal(result_cache_bytes(f->cache), 0);
    assert_int_equal(result_cache_count(f->cache), 0);
    assert_int_equal(results_found(f, "a", 1, true, 0), -1);
    results_fill_one(f, "a", 1, 5, 0);
    assert_int_equal(results_found(f, "a", 1, true, 0), 5);
}

static void test_time(void **state)
{
    struct result_fixture *f = *state;
    unsigned early = 0, late = 0;
    results_open(f, 1 << 20, 10 * SECOND, 5 * SECOND);
    for (unsigned key = 0; key < 200; key++) {
        results_fill_one(f, "", key, key, SECOND);
    }
    for (unsigned key = 0; key < 200; key++) {
        assert_int_equal(results_found(f, "", key, false, 10 * SECOND - 1), key);
        bool here = results_found(f, "", key, false, 10 * SECOND + SECOND / 2) >= 0;
        early += !here;
        late += here;
        assert_int_equal(results_found(f, "", key, false, 11 * SECOND), -1);
        assert_int_equal(results_found(f, "", key, true, 11 * SECOND), key);
        assert_int_equal(results_found(f, "", key, true, 15 * SECOND - 1), key);
        assert_int_equal(results_found(f, "", key, true, 16 * SECOND), -1);
        /* It is gone for good. */
        assert_int_equal(results_found(f, "", key, true, SECOND), -1);
    }
    /* They end spread over a tenth of the ttl. */
    assert_true(early > 60 && late > 60);
    assert_int_equal(result_cache_count(f->cache), 0);
    /* What was dropped is not served stale. */
    results_fill_one(f, "", 1, 1, SECOND);
    drop(f, 1);
    assert_int_equal(results_found(f, "", 1, true, SECOND), -1);
}

static void test_time_without_stale(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1 << 20, 10 * SECOND, 0);
    results_fill_one(f, "", 1, 1, 0);
    assert_int_equal(results_found(f, "", 1, true, 9 * SECOND - 1), 1);
    assert_int_equal(results_found(f, "", 1, true, 10 * SECOND), -1);
}

static void test_time_far_away(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 1 << 20, UINT64_MAX, UINT64_MAX);
    results_fill_one(f, "", 1, 1, UINT64_MAX / 2);
    assert_int_equal(results_found(f, "", 1, false, UINT64_MAX - 1), 1);
}

/* What is held stays what it was, whatever becomes of the entry. */
static void test_held(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 4096, 10 * SECOND, 0);
    const struct cached_result *held[5];
    results_fill_one(f, "", 1, 41, 0);
    held[0] = results_find(f, "", 1, false, 0);
    held[1] = results_find(f, "", 1, false, 0);
    assert_ptr_equal(held[0], held[1]);
    drop(f, 1);
    results_fill_one(f, "", 1, 42, 0);
    held[2] = results_find(f, "", 1, false, 0);
    results_fill_one(f, "", 1, 43, 0);
    held[3] = results_find(f, "", 1, false, 0);
    result_cache_drop_all(f->cache);
    results_fill_one(f, "", 1, 44, 0);
    held[4] = results_find(f, "", 1, false, 0);
    for (unsigned key = 10; key < 100; key++) {
        results_fill_one(f, "", key, key, 0);
    }
    assert_int_equal(results_found(f, "", 1, false, 20 * SECOND), -1);
    static const int64_t ids[] = {41, 41, 42, 43, 44};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        assert_non_null(held[i]);
        assert_int_equal(held[i]->count, 1);
        assert_int_equal(results_id(f, held[i]->records[0]), ids[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        cached_result_put(f->cache, held[i]);
    }
}

static void test_too_large(void **state)
{
    struct result_fixture *f = *state;
    const struct record *small = results_record(f, 1, 20);
    const struct record *large = results_record(f, 2, 5000);
    const struct record *many[300];
    results_open(f, 16384, 0, 0);
    results_fill(f, "", 1, &small, 1, 0);
    /* The old answer goes too: none may follow the newer one. */
    results_fill(f, "", 1, &large, 1, 0);
    assert_int_equal(results_found(f, "", 1, false, 0), -1);
    for (size_t i = 0; i < ARRAY_COUNT(many); i++) {
        many[i] = small;
    }
    results_fill(f, "", 1, many, ARRAY_COUNT(many), 0);
    assert_int_equal(result_cache_count(f->cache), 0);
    results_fill(f, "", 1, many, 20, 0);
    assert_int_equal(result_cache_count(f->cache), 1);
}

/* The bytes are those that the entries take, and never more than are allowed. */
static void test_bytes(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 100000, 0, 0);
    const struct record *records[2] = {results_record(f, 1, 1000), results_record(f, 2, 500)};
    results_fill(f, "", 1, records, 2, 0);
    assert_in_range(result_cache_bytes(f->cache), 1500, 2000);
    for (unsigned key = 2; key < 1000; key++) {
        results_fill(f, "", key, records, 2, 0);
        assert_true(result_cache_bytes(f->cache) <= 100000);
    }
    assert_in_range(result_cache_count(f->cache), 50, 66);
    assert_true(result_cache_bytes(f->cache) > 95000);
}

/* Asks for keys from `from` on, and fills what is missing: how many hits. */
static unsigned ask_for(struct result_fixture *f, unsigned from, unsigned count)
{
    unsigned hits = 0;
    for (unsigned key = from; key < from + count; key++) {
        if (results_found(f, "", key, false, 0) >= 0) {
            hits++;
        } else {
            results_fill_one(f, "", key, key, 0);
        }
    }
    return hits;
}

/* One pass over many keys leaves what is asked for often where it is. */
static void test_scan(void **state)
{
    enum { HOT = 60, SCANNED = 20000 };
    struct result_fixture *f = *state;
    unsigned kept = 0;
    results_open(f, 64 << 10, 0, 0); /* some 200 entries */
    for (unsigned round = 0; round < 4; round++) {
        ask_for(f, 0, HOT);
    }
    ask_for(f, HOT, SCANNED);
    assert_true(result_cache_count(f->cache) > HOT);
    for (unsigned key = 0; key < HOT; key++) {
        kept += results_found(f, "", key, false, 0) >= 0;
    }
    assert_int_equal(kept, HOT);
}

/* What comes back soon after it went is kept: it was evicted too early. */
static void test_ghosts(void **state)
{
    struct result_fixture *f = *state;
    results_open(f, 64 << 10, 0, 0);
    unsigned key = 0;
    while (key < 1000) {
        results_fill_one(f, "", key, key, 0);
        key++;
    }
    unsigned first = key - 300; /* evicted not long ago */
    assert_int_equal(results_found(f, "", first, false, 0), -1);
    results_fill_one(f, "", first, 7, 0);
    for (; key < 2000; key++) {
        results_fill_one(f, "", key, key, 0);
    }
    assert_int_equal(results_found(f, "", first, false, 0), 7);
    assert_int_equal(results_found(f, "", first + 1, false, 0), -1);
}

/* A new set of keys takes the place of the old one, however often that was hit. */
static void test_old_set_gives_way(void **state)
{
    enum { SET = 150 };
    struct result_fixture *f = *state;
    results_open(f, 64 << 10, 0, 0);
    for (unsigned set = 0; set < 2; set++) {
        unsigned hits = 0;
        for (unsigned round = 0; round < 40; round++) {
            hits = ask_for(f, set * SET, SET);
        }
        assert_true(hits > SET * 9 / 10);
    }
}

/* Thousands of variants of one key come, go and are dropped like others. */
static void test_variants(void **state)
{
    struct result_fixture *f = *state;
    char shown[24];
    results_open(f, 1 << 20, 0, 0);
    const struct record *record = results_record(f, 5, 20);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(shown, sizeof(shown), "query %u", i);
        results_fill(f, shown, 1, &record, 1, 0);
    }
    uint64_t count = result_cache_count(f->cache);
    assert_in_range(count, 2000, 6000);
    results_fill_one(f, "", 2, 6, 0);
    assert_in_range(drop(f, 1), count - 1, count);
    assert_int_equal(results_found(f, "", 2, false, 0), 6);
}

static void test_without_memory(void **state)
{
    struct result_fixture *f = *state;
    const struct result_cache_limits limits = {.bytes_max = 4096};
    heap_fail_at(0);
    assert_null(result_cache_create(&limits, 2));
    heap_fail_at(-1);
    results_open(f, 16384, 0, 0);
    const struct record *record = results_record(f, 1, 20);
    /* Without memory for the entry it is not kept, and neither is the older. */
    results_fill(f, "", 1, &record, 1, 0);
    heap_fail_at(0);
    results_fill(f, "", 1, &record, 1, 0);
    heap_fail_at(-1);
    assert_int_equal(results_found(f, "", 1, false, 0), -1);
    /* Without memory for the indexes or the ghosts all goes on. */
    for (unsigned key = 0; key < 500; key++) {
        heap_fail_at(1);
        results_fill(f, "", key, &record, 1, 0);
        heap_fail_at(-1);
        assert_int_equal(results_found(f, "", key, false, 0), 1);
        assert_true(result_cache_bytes(f->cache) <= 16384);
    }
}

/* ---- Random ---- */

enum { KEYS = 40, SHOWN = 4, ROUNDS = 60000, HELD = 16 };

struct plain {
    bool here;
    int64_t ids[MOST_RECORDS];
    size_t count;
    uint64_t filled_us;
    bool expired;
};

struct plain_held {
    const struct cached_result *result;
    struct plain was;
};

struct model {
    struct random random;
    struct plain entries[SHOWN][KEYS];
    struct plain_held held[HELD];
    const struct record *records[64];
    uint64_t now_us;
    uint64_t hits, misses;
};

static const char *const model_shown[SHOWN] = {"", "a", "b", "key 1"};

static void expect_result(struct result_fixture *f, const struct cached_result *result,
                          const struct plain *plain)
{
    assert_int_equal(result->count, plain->count);
    for (size_t i = 0; i < plain->count; i++) {
        assert_int_equal(results_id(f, result->records[i]), plain->ids[i]);
    }
}

static void model_fill(struct result_fixture *f, struct model *m, unsigned shown, unsigned key)
{
    struct plain *plain = &m->entries[shown][key];
    const struct record *records[MOST_RECORDS];
    *plain = (struct plain){
        .here = true, .count = random_below(&m->random, MOST_RECORDS), .filled_us = m->now_us};
    for (size_t i = 0; i < plain->count; i++) {
        records[i] = m->records[random_below(&m->random, ARRAY_COUNT(m->records))];
        plain->ids[i] = results_id(f, records[i]);
    }
    results_fill(f, model_shown[shown], key, records, plain->count, m->now_us);
}

/* It need not be there (evicted); but what is there is the newest, in time, and
 * nothing that was dropped. */
static void model_find(struct result_fixture *f, struct model *m, unsigned shown, unsigned key)
{
    struct plain *plain = &m->entries[shown][key];
    bool stale = random_below(&m->random, 4) == 0;
    const struct cached_result *result = results_find(f, model_shown[shown], key, stale, m->now_us);
    uint64_t age_us = m->now_us - plain->filled_us;
    m->hits += result != NULL;
    m->misses += result == NULL;
    if (result == NULL) {
        return;
    }
    assert_true(plain->here);
    assert_true(age_us < (stale ? 15 : 10) * SECOND);
    assert_true(stale || !plain->expired);
    expect_result(f, result, plain);
    struct plain_held *held = &m->held[random_below(&m->random, HELD)];
    if (held->result != NULL) {
        expect_result(f, held->result, &held->was);
        cached_result_put(f->cache, held->result);
    }
    *held = (struct plain_held){.result = result, .was = *plain};
}

static void model_drop(struct result_fixture *f, struct model *m, unsigned key)
{
    uint64_t most = 0;
    for (unsigned shown = 0; shown < SHOWN; shown++) {
        most += m->entries[shown][key].here;
        m->entries[shown][key].here = false;
    }
    assert_true(drop(f, key) <= most);
}

static void model_drop_all(struct result_fixture *f, struct model *m)
{
    uint64_t count = result_cache_count(f->cache);
    memset(m->entries, 0, sizeof(m->entries));
    assert_int_equal(result_cache_drop_all(f->cache), count);
    assert_int_equal(result_cache_count(f->cache), 0);
}

static void model_expire(struct result_fixture *f, struct model *m)
{
    result_cache_expire(f->cache, m->now_us);
    for (unsigned shown = 0; shown < SHOWN; shown++) {
        for (unsigned key = 0; key < KEYS; key++) {
            m->entries[shown][key].expired = true;
        }
    }
}

static void run_model(struct result_fixture *f, struct model *m, uint64_t bytes_max, bool failing)
{
    memset(m->entries, 0, sizeof(m->entries));
    results_open(f, bytes_max, 10 * SECOND, 5 * SECOND);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned key = (unsigned)random_below(&m->random, KEYS);
        unsigned shown = (unsigned)random_below(&m->random, SHOWN);
        unsigned action = (unsigned)random_below(&m->random, 1000);
        m->now_us += random_below(&m->random, 2000);
        if (failing && random_below(&m->random, 5) == 0) {
            heap_fail_at((long)random_below(&m->random, 3));
        }
        if (action < 600) {
            model_find(f, m, shown, key);
        } else if (action < 980) {
            model_fill(f, m, shown, key);
        } else if (action < 998) {
            model_drop(f, m, key);
        } else if (action < 999) {
            model_expire(f, m);
        } else {
            model_drop_all(f, m);
        }
        heap_fail_at(-1);
        assert_true(result_cache_bytes(f->cache) <= bytes_max);
    }
    for (size_t i = 0; i < HELD; i++) {
        if (m->held[i].result != NULL) {
            expect_result(f, m->held[i].result, &m->held[i].was);
            cached_result_put(f->cache, m->held[i].result);
            m->held[i].result = NULL;
        }
    }
    result_cache_free(f->cache);
    f->cache = NULL;
}

static void test_random(void **state)
{
    struct result_fixture *f = *state;
    struct model m = {.random = random_start("test_result_cache")};
    for (size_t i = 0; i < ARRAY_COUNT(m.records); i++) {
        m.records[i] = results_record(f, (int64_t)i, random_below(&m.random, 300));
    }
    run_model(f, &m, 1 << 20, false);
    assert_true(m.hits > m.misses / 2); /* all is expired now and then */
    run_model(f, &m, 40000, false);
    run_model(f, &m, 40000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_drop, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_time, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_time_without_stale, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_time_far_away, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_held, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_too_large, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_bytes, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_scan, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_ghosts, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_old_set_gives_way, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_variants, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_random, results_setup, results_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

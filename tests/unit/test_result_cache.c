#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/result_cache.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* The result cache as its relations use it: what is found for how long, what a
 * drop takes, what stays under pressure; and a random run against a plain list. */

enum { MOST_RECORDS = 8 };

static const uint64_t SECOND = 1000000;

struct fixture {
    struct schema *schema;
    const struct resource *resource;
    struct arena arena;
    struct result_cache *cache;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    hash_seed(1);
    f->schema = schema_fixture("version: 1\n"
                               "resources:\n"
                               "  thing:\n"
                               "    fields: {id: integer, text: string}\n");
    f->resource = fixture_resource(f->schema, "thing");
    arena_init(&f->arena, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->cache != NULL) {
        result_cache_free(f->cache);
    }
    arena_release(&f->arena);
    schema_put(f->schema);
    free(f);
    return 0;
}

static void open_cache(struct fixture *f, uint64_t bytes_max, uint64_t ttl_us, uint64_t stale_us)
{
    const struct result_cache_limits limits = {
        .bytes_max = bytes_max, .ttl_us = ttl_us, .stale_us = stale_us};
    f->cache = result_cache_create(&limits, f->resource->field_count);
    assert_non_null(f->cache);
}

/* A record with this number, whose text has so many bytes. */
static const struct record *record_of(struct fixture *f, int64_t id, size_t text_size)
{
    struct buffer map = BUFFER_INIT;
    char *text = malloc(text_size + 1);
    assert_non_null(text);
    memset(text, 'a', text_size);
    write_map(&map, 2);
    write_text(&map, "id");
    write_integer(&map, id);
    write_text(&map, "text");
    write_string(&map, text, text_size);
    const struct record *record = fixture_record(f->resource, &f->arena, map.bytes, map.size);
    buffer_release(&map);
    free(text);
    return record;
}

static int64_t id_of(const struct fixture *f, const struct record *record)
{
    struct value value;
    record_load(record, f->resource, 0, &value);
    return value.integer;
}

static size_t key_of(char out[24], unsigned key)
{
    return (size_t)snprintf(out, 24, "key %u", key);
}

static void fill(struct fixture *f, const char *shown, unsigned key,
                 const struct record *const *records, size_t count, uint64_t now_us)
{
    char bytes[24];
    size_t size = key_of(bytes, key);
    const struct cached_result answer = {.records = records, .count = count};
    result_cache_fill(f->cache, (const uint8_t *)shown, strlen(shown), (const uint8_t *)bytes, size,
                      &answer, now_us);
}

static void fill_one(struct fixture *f, const char *shown, unsigned key, int64_t id,
                     uint64_t now_us)
{
    const struct record *record = record_of(f, id, 20);
    fill(f, shown, key, &record, 1, now_us);
}

static const struct cached_result *find(struct fixture *f, const char *shown, unsigned key,
                                        bool stale, uint64_t now_us)
{
    char bytes[24];
    size_t size = key_of(bytes, key);
    return result_cache_find(f->cache, (const uint8_t *)shown, strlen(shown),
                             (const uint8_t *)bytes, size, stale, now_us);
}

/* The number of the one record that is found; -1 where nothing is. */
static int64_t found(struct fixture *f, const char *shown, unsigned key, bool stale,
                     uint64_t now_us)
{
    const struct cached_result *result = find(f, shown, key, stale, now_us);
    if (result == NULL) {
        return -1;
    }
    assert_int_equal(result->count, 1);
    int64_t id = id_of(f, result->records[0]);
    cached_result_put(f->cache, result);
    return id;
}

static uint64_t drop(struct fixture *f, unsigned key)
{
    char bytes[24];
    size_t size = key_of(bytes, key);
    return result_cache_drop(f->cache, (const uint8_t *)bytes, size);
}

static void test_find(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20, 0, 0);
    assert_int_equal(found(f, "", 1, false, 0), -1);
    fill_one(f, "", 1, 11, 0);
    fill_one(f, "query", 1, 12, 0);
    fill_one(f, "query", 2, 13, 0);
    fill(f, "query", 3, NULL, 0, 0);
    assert_int_equal(found(f, "", 1, false, UINT64_MAX - 1), 11);
    assert_int_equal(found(f, "query", 1, false, 0), 12);
    assert_int_equal(found(f, "query", 2, false, 0), 13);
    assert_int_equal(found(f, "", 2, false, 0), -1);
    const struct cached_result *empty = find(f, "query", 3, false, 0);
    assert_non_null(empty);
    assert_int_equal(empty->count, 0);
    cached_result_put(f->cache, empty);
    assert_int_equal(result_cache_count(f->cache), 4);
    /* The newer answer replaces the older one. */
    uint64_t bytes = result_cache_bytes(f->cache);
    fill_one(f, "query", 2, 14, 0);
    assert_int_equal(found(f, "query", 2, false, 0), 14);
    assert_int_equal(result_cache_count(f->cache), 4);
    assert_int_equal(result_cache_bytes(f->cache), bytes);
}

static void test_drop(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20, 0, 0);
    static const char *const shown[] = {"", "a", "b", "c"};
    for (unsigned key = 0; key < 5; key++) {
        for (size_t i = 0; i < ARRAY_COUNT(shown); i++) {
            fill_one(f, shown[i], key, key, 0);
        }
    }
    assert_int_equal(drop(f, 9), 0);
    assert_int_equal(drop(f, 3), 4);
    assert_int_equal(drop(f, 3), 0);
    for (size_t i = 0; i < ARRAY_COUNT(shown); i++) {
        assert_int_equal(found(f, shown[i], 3, true, 0), -1);
        assert_int_equal(found(f, shown[i], 2, false, 0), 2);
    }
    fill_one(f, "b", 3, 3, 0);
    assert_int_equal(drop(f, 3), 1);
    assert_int_equal(result_cache_drop_all(f->cache), 16);
    assert_int_equal(result_cache_drop_all(f->cache), 0);
    assert_int_equal(result_cache_bytes(f->cache), 0);
    assert_int_equal(result_cache_count(f->cache), 0);
    assert_int_equal(found(f, "a", 1, true, 0), -1);
    fill_one(f, "a", 1, 5, 0);
    assert_int_equal(found(f, "a", 1, true, 0), 5);
}

static void test_time(void **state)
{
    struct fixture *f = *state;
    unsigned early = 0, late = 0;
    open_cache(f, 1 << 20, 10 * SECOND, 5 * SECOND);
    for (unsigned key = 0; key < 200; key++) {
        fill_one(f, "", key, key, SECOND);
    }
    for (unsigned key = 0; key < 200; key++) {
        assert_int_equal(found(f, "", key, false, 10 * SECOND - 1), key);
        bool here = found(f, "", key, false, 10 * SECOND + SECOND / 2) >= 0;
        early += !here;
        late += here;
        assert_int_equal(found(f, "", key, false, 11 * SECOND), -1);
        assert_int_equal(found(f, "", key, true, 11 * SECOND), key);
        assert_int_equal(found(f, "", key, true, 15 * SECOND - 1), key);
        assert_int_equal(found(f, "", key, true, 16 * SECOND), -1);
        /* It is gone for good. */
        assert_int_equal(found(f, "", key, true, SECOND), -1);
    }
    /* They end spread over a tenth of the ttl. */
    assert_true(early > 60 && late > 60);
    assert_int_equal(result_cache_count(f->cache), 0);
    /* What was dropped is not served stale. */
    fill_one(f, "", 1, 1, SECOND);
    drop(f, 1);
    assert_int_equal(found(f, "", 1, true, SECOND), -1);
}

static void test_time_without_stale(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20, 10 * SECOND, 0);
    fill_one(f, "", 1, 1, 0);
    assert_int_equal(found(f, "", 1, true, 9 * SECOND - 1), 1);
    assert_int_equal(found(f, "", 1, true, 10 * SECOND), -1);
}

static void test_time_far_away(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1 << 20, UINT64_MAX, UINT64_MAX);
    fill_one(f, "", 1, 1, UINT64_MAX / 2);
    assert_int_equal(found(f, "", 1, false, UINT64_MAX - 1), 1);
}

/* What is held stays what it was, whatever becomes of the entry. */
static void test_held(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 4096, 10 * SECOND, 0);
    const struct cached_result *held[5];
    fill_one(f, "", 1, 41, 0);
    held[0] = find(f, "", 1, false, 0);
    held[1] = find(f, "", 1, false, 0);
    assert_ptr_equal(held[0], held[1]);
    drop(f, 1);
    fill_one(f, "", 1, 42, 0);
    held[2] = find(f, "", 1, false, 0);
    fill_one(f, "", 1, 43, 0);
    held[3] = find(f, "", 1, false, 0);
    result_cache_drop_all(f->cache);
    fill_one(f, "", 1, 44, 0);
    held[4] = find(f, "", 1, false, 0);
    for (unsigned key = 10; key < 100; key++) {
        fill_one(f, "", key, key, 0);
    }
    assert_int_equal(found(f, "", 1, false, 20 * SECOND), -1);
    static const int64_t ids[] = {41, 41, 42, 43, 44};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        assert_non_null(held[i]);
        assert_int_equal(held[i]->count, 1);
        assert_int_equal(id_of(f, held[i]->records[0]), ids[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        cached_result_put(f->cache, held[i]);
    }
}

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    const struct record *small = record_of(f, 1, 20);
    const struct record *large = record_of(f, 2, 5000);
    const struct record *many[300];
    open_cache(f, 16384, 0, 0);
    fill(f, "", 1, &small, 1, 0);
    /* The old answer goes too: none may follow the newer one. */
    fill(f, "", 1, &large, 1, 0);
    assert_int_equal(found(f, "", 1, false, 0), -1);
    for (size_t i = 0; i < ARRAY_COUNT(many); i++) {
        many[i] = small;
    }
    fill(f, "", 1, many, ARRAY_COUNT(many), 0);
    assert_int_equal(result_cache_count(f->cache), 0);
    fill(f, "", 1, many, 20, 0);
    assert_int_equal(result_cache_count(f->cache), 1);
}

/* The bytes are those that the entries take, and never more than are allowed. */
static void test_bytes(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 100000, 0, 0);
    const struct record *records[2] = {record_of(f, 1, 1000), record_of(f, 2, 500)};
    fill(f, "", 1, records, 2, 0);
    assert_in_range(result_cache_bytes(f->cache), 1500, 2000);
    for (unsigned key = 2; key < 1000; key++) {
        fill(f, "", key, records, 2, 0);
        assert_true(result_cache_bytes(f->cache) <= 100000);
    }
    assert_in_range(result_cache_count(f->cache), 50, 66);
    assert_true(result_cache_bytes(f->cache) > 95000);
}

/* Asks for keys from `from` on, and fills what is missing: how many hits. */
static unsigned ask_for(struct fixture *f, unsigned from, unsigned count)
{
    unsigned hits = 0;
    for (unsigned key = from; key < from + count; key++) {
        if (found(f, "", key, false, 0) >= 0) {
            hits++;
        } else {
            fill_one(f, "", key, key, 0);
        }
    }
    return hits;
}

/* One pass over many keys leaves what is asked for often where it is. */
static void test_scan(void **state)
{
    enum { HOT = 60, SCANNED = 20000 };
    struct fixture *f = *state;
    unsigned kept = 0;
    open_cache(f, 64 << 10, 0, 0); /* some 200 entries */
    for (unsigned round = 0; round < 4; round++) {
        ask_for(f, 0, HOT);
    }
    ask_for(f, HOT, SCANNED);
    assert_true(result_cache_count(f->cache) > HOT);
    for (unsigned key = 0; key < HOT; key++) {
        kept += found(f, "", key, false, 0) >= 0;
    }
    assert_int_equal(kept, HOT);
}

/* What comes back soon after it went is kept: it was evicted too early. */
static void test_ghosts(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 64 << 10, 0, 0);
    unsigned key = 0;
    while (key < 1000) {
        fill_one(f, "", key, key, 0);
        key++;
    }
    unsigned first = key - 300; /* evicted not long ago */
    assert_int_equal(found(f, "", first, false, 0), -1);
    fill_one(f, "", first, 7, 0);
    for (; key < 2000; key++) {
        fill_one(f, "", key, key, 0);
    }
    assert_int_equal(found(f, "", first, false, 0), 7);
    assert_int_equal(found(f, "", first + 1, false, 0), -1);
}

/* A new set of keys takes the place of the old one, however often that was hit. */
static void test_old_set_gives_way(void **state)
{
    enum { SET = 150 };
    struct fixture *f = *state;
    open_cache(f, 64 << 10, 0, 0);
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
    struct fixture *f = *state;
    char shown[24];
    open_cache(f, 1 << 20, 0, 0);
    const struct record *record = record_of(f, 5, 20);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(shown, sizeof(shown), "query %u", i);
        fill(f, shown, 1, &record, 1, 0);
    }
    uint64_t count = result_cache_count(f->cache);
    assert_in_range(count, 2000, 6000);
    fill_one(f, "", 2, 6, 0);
    assert_in_range(drop(f, 1), count - 1, count);
    assert_int_equal(found(f, "", 2, false, 0), 6);
}

static void test_without_memory(void **state)
{
    struct fixture *f = *state;
    const struct result_cache_limits limits = {.bytes_max = 4096};
    heap_fail_at(0);
    assert_null(result_cache_create(&limits, 2));
    heap_fail_at(-1);
    open_cache(f, 16384, 0, 0);
    const struct record *record = record_of(f, 1, 20);
    /* Without memory for the entry it is not kept, and neither is the older. */
    fill(f, "", 1, &record, 1, 0);
    heap_fail_at(0);
    fill(f, "", 1, &record, 1, 0);
    heap_fail_at(-1);
    assert_int_equal(found(f, "", 1, false, 0), -1);
    /* Without memory for the indexes or the ghosts all goes on. */
    for (unsigned key = 0; key < 500; key++) {
        heap_fail_at(1);
        fill(f, "", key, &record, 1, 0);
        heap_fail_at(-1);
        assert_int_equal(found(f, "", key, false, 0), 1);
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

static void expect_result(struct fixture *f, const struct cached_result *result,
                          const struct plain *plain)
{
    assert_int_equal(result->count, plain->count);
    for (size_t i = 0; i < plain->count; i++) {
        assert_int_equal(id_of(f, result->records[i]), plain->ids[i]);
    }
}

static void model_fill(struct fixture *f, struct model *m, unsigned shown, unsigned key)
{
    struct plain *plain = &m->entries[shown][key];
    const struct record *records[MOST_RECORDS];
    *plain = (struct plain){
        .here = true, .count = random_below(&m->random, MOST_RECORDS), .filled_us = m->now_us};
    for (size_t i = 0; i < plain->count; i++) {
        records[i] = m->records[random_below(&m->random, ARRAY_COUNT(m->records))];
        plain->ids[i] = id_of(f, records[i]);
    }
    fill(f, model_shown[shown], key, records, plain->count, m->now_us);
}

/* It need not be there (evicted); but what is there is the newest, in time, and
 * nothing that was dropped. */
static void model_find(struct fixture *f, struct model *m, unsigned shown, unsigned key)
{
    struct plain *plain = &m->entries[shown][key];
    bool stale = random_below(&m->random, 4) == 0;
    const struct cached_result *result = find(f, model_shown[shown], key, stale, m->now_us);
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

static void model_drop(struct fixture *f, struct model *m, unsigned key)
{
    uint64_t most = 0;
    for (unsigned shown = 0; shown < SHOWN; shown++) {
        most += m->entries[shown][key].here;
        m->entries[shown][key].here = false;
    }
    assert_true(drop(f, key) <= most);
}

static void model_drop_all(struct fixture *f, struct model *m)
{
    uint64_t count = result_cache_count(f->cache);
    memset(m->entries, 0, sizeof(m->entries));
    assert_int_equal(result_cache_drop_all(f->cache), count);
    assert_int_equal(result_cache_count(f->cache), 0);
}

static void model_expire(struct fixture *f, struct model *m)
{
    result_cache_expire(f->cache, m->now_us);
    for (unsigned shown = 0; shown < SHOWN; shown++) {
        for (unsigned key = 0; key < KEYS; key++) {
            m->entries[shown][key].expired = true;
        }
    }
}

static void run_model(struct fixture *f, struct model *m, uint64_t bytes_max, bool failing)
{
    memset(m->entries, 0, sizeof(m->entries));
    open_cache(f, bytes_max, 10 * SECOND, 5 * SECOND);
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
    struct fixture *f = *state;
    struct model m = {.random = random_start("test_result_cache")};
    for (size_t i = 0; i < ARRAY_COUNT(m.records); i++) {
        m.records[i] = record_of(f, (int64_t)i, random_below(&m.random, 300));
    }
    run_model(f, &m, 1 << 20, false);
    assert_true(m.hits > m.misses / 2); /* all is expired now and then */
    run_model(f, &m, 40000, false);
    run_model(f, &m, 40000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_without_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_far_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ghosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_set_gives_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_variants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

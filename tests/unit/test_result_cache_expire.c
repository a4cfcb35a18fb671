#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/result_cache.h"
#include "protocol/base/hash.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/schema_fixture.h"

/* A result cache whose writes may have been missed (result_cache_expire). */

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

/* All counts as old at once, and may be served for the stale time from then on; what
 * is filled afterwards is not touched. */
static void test_expire(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1000000, 100 * SECOND, 10 * SECOND);
    fill_one(f, "s", 1, 11, 0);
    fill_one(f, "s", 2, 12, 0);
    result_cache_expire(f->cache, 5 * SECOND);
    fill_one(f, "s", 3, 13, 5 * SECOND);
    assert_int_equal(result_cache_count(f->cache), 3);
    assert_int_equal(found(f, "s", 1, false, 5 * SECOND), -1);
    assert_int_equal(found(f, "s", 1, true, 5 * SECOND), 11);
    assert_int_equal(found(f, "s", 3, false, 5 * SECOND), 13);
    fill_one(f, "s", 1, 21, 6 * SECOND); /* asked for anew: current again */
    assert_int_equal(found(f, "s", 1, false, 6 * SECOND), 21);
    assert_int_equal(found(f, "s", 2, true, 15 * SECOND - 1), 12);
    assert_int_equal(found(f, "s", 2, true, 15 * SECOND), -1);
    assert_int_equal(result_cache_count(f->cache), 2); /* and is gone */
    assert_int_equal(found(f, "s", 3, false, 80 * SECOND), 13);
    result_cache_expire(f->cache, 80 * SECOND);
    assert_int_equal(found(f, "s", 1, false, 80 * SECOND), -1);
    assert_int_equal(found(f, "s", 1, true, 80 * SECOND), 21);
    assert_int_equal(found(f, "s", 3, true, 90 * SECOND), -1);
}

/* Without a stale time it is as a drop of all. */
static void test_expire_without_stale(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1000000, 0, 0);
    fill_one(f, "s", 1, 11, 0);
    result_cache_expire(f->cache, 1 * SECOND);
    assert_int_equal(found(f, "s", 1, true, 1 * SECOND), -1);
    fill_one(f, "s", 1, 12, 1 * SECOND);
    assert_int_equal(found(f, "s", 1, false, 1000 * SECOND), 12);
}

/* What was too old already does not get younger by it. */
static void test_expire_of_what_is_old(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1000000, 10 * SECOND, 10 * SECOND);
    fill_one(f, "s", 1, 11, 0);
    fill_one(f, "s", 2, 12, 0);
    result_cache_expire(f->cache, 15 * SECOND);
    assert_int_equal(found(f, "s", 1, false, 15 * SECOND), -1);
    assert_int_equal(found(f, "s", 1, true, 18 * SECOND), 11);
    assert_int_equal(found(f, "s", 2, true, 20 * SECOND), -1);
}

/* One that is held stays as it is until it is given back. */
static void test_expire_while_held(void **state)
{
    struct fixture *f = *state;
    open_cache(f, 1000000, 0, 0);
    fill_one(f, "s", 1, 11, 0);
    const struct cached_result *held = find(f, "s", 1, false, 0);
    assert_non_null(held);
    result_cache_expire(f->cache, 1 * SECOND);
    assert_null(find(f, "s", 1, false, 1 * SECOND));
    assert_int_equal(id_of(f, held->records[0]), 11);
    cached_result_put(f->cache, held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_expire, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expire_without_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expire_of_what_is_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expire_while_held, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

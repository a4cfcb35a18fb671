#include "tests/lib/result_cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/hash.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/schema_fixture.h"

int results_setup(void **state)
{
    struct result_fixture *f = calloc(1, sizeof(*f));
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

int results_teardown(void **state)
{
    struct result_fixture *f = *state;
    if (f->cache != NULL) {
        result_cache_free(f->cache);
    }
    arena_release(&f->arena);
    schema_put(f->schema);
    free(f);
    return 0;
}

void results_open(struct result_fixture *f, uint64_t bytes_max, uint64_t ttl_us, uint64_t stale_us)
{
    const struct result_cache_limits limits = {
        .bytes_max = bytes_max, .ttl_us = ttl_us, .stale_us = stale_us};
    f->cache = result_cache_create(&limits, f->resource->field_count);
    assert_non_null(f->cache);
}

/* A record with this number, whose text has so many bytes. */
const struct record *results_record(struct result_fixture *f, int64_t id, size_t text_size)
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

int64_t results_id(const struct result_fixture *f, const struct record *record)
{
    struct value value;
    record_load(record, f->resource, 0, &value);
    return value.integer;
}

size_t results_key(char out[24], unsigned key)
{
    return (size_t)snprintf(out, 24, "key %u", key);
}

void results_fill(struct result_fixture *f, const char *shown, unsigned key,
                  const struct record *const *records, size_t count, uint64_t now_us)
{
    char bytes[24];
    size_t size = results_key(bytes, key);
    const struct cached_result answer = {.records = records, .count = count};
    result_cache_fill(f->cache, (const uint8_t *)shown, strlen(shown), (const uint8_t *)bytes, size,
                      &answer, now_us);
}

void results_fill_one(struct result_fixture *f, const char *shown, unsigned key, int64_t id,
                      uint64_t now_us)
{
    const struct record *record = results_record(f, id, 20);
    results_fill(f, shown, key, &record, 1, now_us);
}

const struct cached_result *results_find(struct result_fixture *f, const char *shown, unsigned key,
                                         bool stale, uint64_t now_us)
{
    char bytes[24];
    size_t size = results_key(bytes, key);
    return result_cache_find(f->cache, (const uint8_t *)shown, strlen(shown),
                             (const uint8_t *)bytes, size, stale, now_us);
}

/* The number of the one record that is found; -1 where nothing is. */
int64_t results_found(struct result_fixture *f, const char *shown, unsigned key, bool stale,
                      uint64_t now_us)
{
    const struct cached_result *result = results_find(f, shown, key, stale, now_us);
    if (result == NULL) {
        return -1;
    }
    assert_int_equal(result->count, 1);
    int64_t id = results_id(f, result->records[0]);
    cached_result_put(f->cache, result);
    return id;
}

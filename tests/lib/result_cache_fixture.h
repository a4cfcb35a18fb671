#ifndef RELATA_TESTS_LIB_RESULT_CACHE_FIXTURE_H
#define RELATA_TESTS_LIB_RESULT_CACHE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/result_cache.h"
#include "layers/schema/schema.h"
#include "protocol/base/arena.h"

/* A result cache for a test, of a resource with an id and a text. */
struct result_fixture {
    struct schema *schema;
    const struct resource *resource;
    struct arena arena;         /* of the records */
    struct result_cache *cache; /* NULL until it is opened */
};

int results_setup(void **state);
int results_teardown(void **state);
void results_open(struct result_fixture *f, uint64_t bytes_max, uint64_t ttl_us, uint64_t stale_us);

/* A record with this number, whose text has so many bytes; and its number. */
const struct record *results_record(struct result_fixture *f, int64_t id, size_t text_size);
int64_t results_id(const struct result_fixture *f, const struct record *record);

/* The bytes of the source key of this number; how many they are. */
size_t results_key(char out[24], unsigned key);

/* `shown` says what was asked for, `key` of which source. */
void results_fill(struct result_fixture *f, const char *shown, unsigned key,
                  const struct record *const *records, size_t count, uint64_t now_us);
void results_fill_one(struct result_fixture *f, const char *shown, unsigned key, int64_t id,
                      uint64_t now_us);

/* The caller puts it back (cached_result_put); NULL where nothing is. */
const struct cached_result *results_find(struct result_fixture *f, const char *shown, unsigned key,
                                         bool stale, uint64_t now_us);
/* The number of the one record that is found; -1 where nothing is. */
int64_t results_found(struct result_fixture *f, const char *shown, unsigned key, bool stale,
                      uint64_t now_us);

#endif

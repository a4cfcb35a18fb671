#ifndef RELATA_LAYERS_LOAD_RESULT_CACHE_H
#define RELATA_LAYERS_LOAD_RESULT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/coalescer.h"
#include "layers/record.h"

/* The cached results of one relationship: loaders' answers before policies and
 * before the caller's query, so that all callers share them. A key is what the
 * loader is shown and the source's key. Bounded in bytes; an entry is dropped by
 * what may have changed it, ends with its ttl (spread by a tenth), and may then
 * still be served for `stale_us` where the loader fails. Empty results are kept
 * too, errors never. Pure: time is given.
 *
 * Eviction: S3-FIFO (a small queue, a main queue, a memory of who was evicted
 * lately), since one pass over many keys that are asked for once does not push
 * out what is asked for often, and a hit costs no more than a counter. */
struct result_cache;

struct result_cache_limits {
    uint64_t bytes_max;
    uint64_t ttl_us;   /* 0: until it is dropped; else up to a tenth less, by the key */
    uint64_t stale_us; /* 0: not at all */
};

/* An answer that is held: its records lie in it, and stay while it is held,
 * whatever happens to the entry. */
struct cached_result {
    const struct record *const *records;
    size_t count;
};

/* `field_count` is the destination's. NULL where memory lacks. */
struct result_cache *result_cache_create(const struct result_cache_limits *limits,
                                         unsigned field_count);
/* All results must have been given back. */
void result_cache_free(struct result_cache *cache);

/* The answer of a key; NULL where it is not there or too old. `stale` takes one
 * whose ttl has passed but not its stale time. It must be given back. */
const struct cached_result *result_cache_find(struct result_cache *cache, const uint8_t *shown,
                                              size_t shown_size, const uint8_t *key,
                                              size_t key_size, bool stale, uint64_t now_us);
void cached_result_put(struct result_cache *cache, const struct cached_result *result);

/* Keeps a copy of an answer (replacing one that is there). One that is larger
 * than a quarter of the cache is not kept, and neither is one without memory:
 * nobody needs to know. */
void result_cache_fill(struct result_cache *cache, const uint8_t *shown, size_t shown_size,
                       const uint8_t *key, size_t key_size, const struct cached_result *answer,
                       uint64_t now_us);

/* Drops a source's entries, whatever was shown; or all. How many there were.
 * Dropping all takes no longer for many: what is dropped is freed piece by piece
 * by later fills, and counts against `bytes_max` until then, but not as bytes. */
uint64_t result_cache_drop(struct result_cache *cache, const uint8_t *key, size_t key_size);
uint64_t result_cache_drop_all(struct result_cache *cache);

/* All that is kept counts as old from now on: only `stale` takes it, for stale_us. */
void result_cache_expire(struct result_cache *cache, uint64_t now_us);

uint64_t result_cache_bytes(const struct result_cache *cache);
uint64_t result_cache_count(const struct result_cache *cache);

#endif

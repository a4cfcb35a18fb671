#ifndef RELATA_LAYERS_REDIS_NEAR_CACHE_H
#define RELATA_LAYERS_REDIS_NEAR_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the daemon keeps of a resource whose home is Redis: values by key, those
 * that are known to be absent too. Bounded in bytes. It knows neither Redis nor
 * records, and judges nothing: whether an entry may be believed (its cover, its
 * time) is for the caller to say. Pure: time is given.
 *
 * A value's bytes are aligned to 8 and stay where they are until the end of the
 * turn in which their entry was replaced, dropped or evicted, and then as long as
 * a pin from before is held (layer.h): near_cache_turn frees what nobody holds.
 *
 * Eviction: S3-FIFO, since one pass over many keys that are asked for once does
 * not push out what is asked for often, and a hit costs no more than a counter. */
struct near_cache;

struct near_entry {
    const void *value; /* NULL: known to be absent */
    uint32_t size;
    uint64_t cover;      /* the tracking session that watches over it */
    uint64_t filled_us;  /* when it was read */
    uint64_t expires_us; /* 0: never */
};

/* NULL where memory lacks. */
struct near_cache *near_cache_create(uint64_t bytes_max);
void near_cache_free(struct near_cache *cache);

/* A new bound; what is over it is evicted at once, piece by piece by the next
 * puts and turns where it is much. */
void near_cache_resize(struct near_cache *cache, uint64_t bytes_max);

/* False where there is none. Counts as a use. */
bool near_cache_find(struct near_cache *cache, const uint8_t *key, size_t key_size,
                     struct near_entry *out);
/* The same without counting: for looking at what is about to be dropped. */
bool near_cache_peek(const struct near_cache *cache, const uint8_t *key, size_t key_size,
                     struct near_entry *out);

/* Keeps a copy of the value, replacing one that is there. One that is larger
 * than a quarter of the cache is not kept (what is there is dropped), and neither
 * is one without memory: nobody needs to know. `sequence` is the world's. */
void near_cache_put(struct near_cache *cache, const uint8_t *key, size_t key_size,
                    const struct near_entry *entry, uint64_t sequence);

/* How many entries there were. Dropping all takes no longer for many: what is
 * dropped is freed piece by piece by near_cache_turn. */
uint64_t near_cache_drop(struct near_cache *cache, const uint8_t *key, size_t key_size,
                         uint64_t sequence);
uint64_t near_cache_drop_all(struct near_cache *cache, uint64_t sequence);

/* At the end of each turn: frees what left the cache at a sequence below
 * `oldest_pin` (world_oldest_pin), some at a time. True where more could be freed
 * at once, or is still over the bound. */
bool near_cache_turn(struct near_cache *cache, uint64_t oldest_pin);

uint64_t near_cache_bytes(const struct near_cache *cache); /* of what can be found */
uint64_t near_cache_count(const struct near_cache *cache);
uint64_t near_cache_evictions(const struct near_cache *cache);

#endif

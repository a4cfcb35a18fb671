#include "layers/load/result_cache.h"

#include <string.h>

#include "layers/hash_table.h"
#include "layers/s3_fifo.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "protocol/base/list.h"

/* An entry is one piece of memory: this, the pointers to its records, the
 * records, what was shown, the key. It is found by both (an index over all), and
 * by the key alone: of the entries of a key the first is in the second index,
 * the others are linked to it.
 *
 * It leaves the cache in one of two ways. Removed alone, it is freed, or waits
 * detached for those who hold it. Dropped with all others, it is in a list of
 * garbage, which the next fills free piece by piece: so a write that drops
 * everything does not hold the loop for as many frees as there are entries. */

enum {
    ANSWER_SHARE = 4,     /* the largest answer's part */
    FREED_PER_FILL = 32,  /* garbage */
    FREED_AT_ONCE = 1024, /* garbage, by who made it */
    ENTRY_OVERHEAD = 80   /* its parts of both indexes and of the ghosts, malloc's own */
};

struct entry {
    struct cached_result result; /* first: results are cast back */
    struct entry *self;          /* results are given as what nobody changes */
    struct result_cache *cache;
    struct hash_table_node by_both;
    struct hash_table_node by_key; /* in the table where it leads its key's entries */
    struct list variants;          /* the other entries of its key */
    struct s3_fifo_node place;     /* its link: in a queue, or in the garbage */
    uint64_t expires_us;
    uint64_t generation; /* of the cache, when it was kept */
    uint8_t *shown;      /* the key's bytes follow */
    size_t shown_size;
    size_t key_size;
    uint32_t holders;
    bool leads;
    bool detached;
};

struct result_cache {
    struct result_cache_limits limits;
    unsigned field_count;
    struct hash_table by_both;
    struct hash_table by_key;
    struct s3_fifo fifo;
    struct list garbage;
    uint64_t garbage_bytes;
    uint64_t held;       /* results that were not given back */
    uint64_t generation; /* rises with result_cache_expire, */
    uint64_t expired_us; /* whose last time this is */
};

struct result_cache *result_cache_create(const struct result_cache_limits *limits,
                                         unsigned field_count)
{
    struct result_cache *cache = heap_zero(1, sizeof *cache);
    if (cache == NULL) {
        return NULL;
    }
    cache->limits = *limits;
    cache->field_count = field_count;
    hash_table_init(&cache->by_both);
    hash_table_init(&cache->by_key);
    s3_fifo_init(&cache->fifo);
    list_init(&cache->garbage);
    return cache;
}

uint64_t result_cache_bytes(const struct result_cache *cache)
{
    return s3_fifo_bytes(&cache->fifo);
}

uint64_t result_cache_count(const struct result_cache *cache)
{
    return cache->by_both.count;
}

/* ---- Hashes ---- */

struct hashes {
    uint64_t both;
    uint64_t key;
};

static struct hashes hashes_of(const uint8_t *shown, size_t shown_size, const uint8_t *key,
                               size_t key_size)
{
    struct hashes hashes = {.key = hash_bytes(key, key_size)};
    hashes.both = hashes.key ^ (hash_bytes(shown, shown_size) * UINT64_C(0x9e3779b97f4a7c15));
    return hashes;
}

static bool has_key(const struct entry *entry, const uint8_t *key, size_t key_size)
{
    return entry->key_size == key_size &&
           memcmp(entry->shown + entry->shown_size, key, key_size) == 0;
}

static struct entry *find_both(const struct result_cache *cache, uint64_t hash,
                               const uint8_t *shown, size_t shown_size, const uint8_t *key,
                               size_t key_size)
{
    struct hash_table_node *node = hash_table_find(&cache->by_both, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct entry *entry = CONTAINER_OF(node, struct entry, by_both);
        if (has_key(entry, key, key_size) && entry->shown_size == shown_size &&
            (shown_size == 0 || memcmp(entry->shown, shown, shown_size) == 0)) {
            return entry;
        }
    }
    return NULL;
}

/* The entry that leads those of a key. */
static struct entry *find_leader(const struct result_cache *cache, uint64_t hash,
                                 const uint8_t *key, size_t key_size)
{
    struct hash_table_node *node = hash_table_find(&cache->by_key, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct entry *entry = CONTAINER_OF(node, struct entry, by_key);
        if (has_key(entry, key, key_size)) {
            return entry;
        }
    }
    return NULL;
}

/* ---- Coming and going ---- */

static void insert(struct result_cache *cache, struct entry *entry, struct hashes hashes,
                   size_t bytes)
{
    const uint8_t *key = entry->shown + entry->shown_size;
    struct entry *leader = find_leader(cache, hashes.key, key, entry->key_size);
    hash_table_insert(&cache->by_both, &entry->by_both, hashes.both);
    entry->leads = leader == NULL;
    if (entry->leads) {
        hash_table_insert(&cache->by_key, &entry->by_key, hashes.key);
    } else {
        list_append(&leader->variants, &entry->variants);
    }
    s3_fifo_insert(&cache->fifo, &entry->place, bytes);
}

/* The next entry of the key leads the others. */
static void hand_over(struct result_cache *cache, struct entry *entry)
{
    hash_table_remove(&cache->by_key, &entry->by_key);
    if (!list_empty(&entry->variants)) {
        struct entry *next = CONTAINER_OF(entry->variants.next, struct entry, variants);
        next->leads = true;
        hash_table_insert(&cache->by_key, &next->by_key, entry->by_key.hash);
    }
}

static void free_or_detach(struct entry *entry)
{
    entry->detached = true;
    if (entry->holders == 0) {
        heap_free(entry);
    }
}

/* Takes it out of the indexes only. */
static void forget(struct result_cache *cache, struct entry *entry)
{
    hash_table_remove(&cache->by_both, &entry->by_both);
    if (entry->leads) {
        hand_over(cache, entry);
    }
    list_remove(&entry->variants);
}

static void take_out(struct result_cache *cache, struct entry *entry)
{
    forget(cache, entry);
    s3_fifo_remove(&cache->fifo, &entry->place);
    free_or_detach(entry);
}

static void free_garbage(struct result_cache *cache, size_t most)
{
    for (size_t i = 0; i < most && !list_empty(&cache->garbage); i++) {
        struct entry *entry = CONTAINER_OF(cache->garbage.next, struct entry, place.link);
        list_remove(&entry->place.link);
        cache->garbage_bytes -= entry->place.bytes;
        free_or_detach(entry);
    }
}

uint64_t result_cache_drop_all(struct result_cache *cache)
{
    uint64_t count = cache->by_both.count;
    cache->garbage_bytes += result_cache_bytes(cache);
    hash_table_clear(&cache->by_both);
    hash_table_clear(&cache->by_key);
    s3_fifo_move_all(&cache->fifo, &cache->garbage);
    free_garbage(cache, FREED_AT_ONCE);
    return count;
}

uint64_t result_cache_drop(struct result_cache *cache, const uint8_t *key, size_t key_size)
{
    struct entry *leader = find_leader(cache, hash_bytes(key, key_size), key, key_size);
    uint64_t count = 0;
    if (leader == NULL) {
        return 0;
    }
    for (; !list_empty(&leader->variants); count++) {
        take_out(cache, CONTAINER_OF(leader->variants.next, struct entry, variants));
    }
    take_out(cache, leader);
    return count + 1;
}

void result_cache_free(struct result_cache *cache)
{
    CHECK(cache->held == 0);
    result_cache_drop_all(cache);
    free_garbage(cache, SIZE_MAX);
    hash_table_release(&cache->by_both);
    hash_table_release(&cache->by_key);
    s3_fifo_release(&cache->fifo);
    heap_free(cache);
}

/* ---- Eviction ---- */

static void evict(struct result_cache *cache)
{
    struct s3_fifo_node *node = s3_fifo_victim(&cache->fifo, cache->limits.bytes_max);
    CHECK(node != NULL);
    struct entry *entry = CONTAINER_OF(node, struct entry, place);
    s3_fifo_evict(&cache->fifo, node, entry->by_both.hash);
    forget(cache, entry);
    free_or_detach(entry);
}

static void make_room(struct result_cache *cache, size_t bytes)
{
    free_garbage(cache, FREED_PER_FILL);
    while (result_cache_bytes(cache) + cache->garbage_bytes + bytes > cache->limits.bytes_max) {
        if (!list_empty(&cache->garbage)) {
            free_garbage(cache, 1);
        } else {
            evict(cache);
        }
    }
}

/* ---- Finding ---- */

static uint64_t later(uint64_t time_us, uint64_t by_us)
{
    return time_us > UINT64_MAX - by_us ? UINT64_MAX : time_us + by_us;
}

/* What was kept at one moment does not end at one moment: up to a tenth of the
 * ttl earlier, by the hash. */
static uint64_t expiry_of(const struct result_cache *cache, uint64_t hash, uint64_t now_us)
{
    uint64_t ttl_us = cache->limits.ttl_us;
    uint64_t part = (hash >> 32) % 1024;
    uint64_t tenth = ttl_us / 10;
    if (ttl_us == 0) {
        return UINT64_MAX;
    }
    return later(now_us, ttl_us - (tenth / 1024 * part + tenth % 1024 * part / 1024));
}

const struct cached_result *result_cache_find(struct result_cache *cache, const uint8_t *shown,
                                              size_t shown_size, const uint8_t *key,
                                              size_t key_size, bool stale, uint64_t now_us)
{
    struct hashes hashes = hashes_of(shown, shown_size, key, key_size);
    struct entry *entry = find_both(cache, hashes.both, shown, shown_size, key, key_size);
    if (entry == NULL) {
        return NULL;
    }
    uint64_t expires_us = entry->expires_us;
    if (entry->generation != cache->generation && cache->expired_us < expires_us) {
        expires_us = cache->expired_us;
    }
    if (now_us >= expires_us) {
        if (now_us >= later(expires_us, cache->limits.stale_us)) {
            take_out(cache, entry);
            return NULL;
        }
        if (!stale) {
            return NULL;
        }
    }
    s3_fifo_hit(&entry->place);
    entry->holders++;
    cache->held++;
    return &entry->result;
}

void result_cache_expire(struct result_cache *cache, uint64_t now_us)
{
    /* An entry of before an earlier one has had its stale time from there on: that
     * it may be served a little longer now is the price of one number for all. */
    cache->generation++;
    cache->expired_us = now_us;
}

void cached_result_put(struct result_cache *cache, const struct cached_result *result)
{
    struct entry *entry = ((const struct entry *)(const void *)result)->self;
    CHECK(entry->cache == cache && entry->holders > 0 && cache->held > 0);
    entry->holders--;
    cache->held--;
    if (entry->detached && entry->holders == 0) {
        heap_free(entry);
    }
}

/* ---- Filling ---- */

static size_t room_of(size_t bytes)
{
    const size_t alignment = _Alignof(struct record);
    return (bytes + alignment - 1) / alignment * alignment;
}

/* Bytes of an entry; 0 where the answer is too large. The sizes of the parts
 * are sizes of what is in memory, but their sum is watched, since a record may
 * stand in an answer many times. */
static size_t entry_size(const struct result_cache *cache, size_t key_bytes,
                         const struct cached_result *answer)
{
    uint64_t most = cache->limits.bytes_max / ANSWER_SHARE;
    uint64_t bytes = sizeof(struct entry) + ENTRY_OVERHEAD + key_bytes;
    if (answer->count > most / sizeof *answer->records) {
        return 0;
    }
    bytes += answer->count * sizeof *answer->records;
    for (size_t i = 0; i < answer->count && bytes <= most; i++) {
        bytes += room_of(record_bytes(answer->records[i], cache->field_count));
    }
    return bytes <= most ? (size_t)bytes : 0;
}

static struct entry *make_entry(struct result_cache *cache, size_t bytes,
                                const struct cached_result *answer)
{
    struct entry *entry = bytes > 0 ? heap_alloc(bytes - ENTRY_OVERHEAD) : NULL;
    if (entry == NULL) {
        return NULL;
    }
    const struct record **copies = (const struct record **)(entry + 1);
    uint8_t *at = (uint8_t *)(copies + answer->count);
    for (size_t i = 0; i < answer->count; i++) {
        size_t size = record_bytes(answer->records[i], cache->field_count);
        memcpy(at, answer->records[i], size);
        copies[i] = (const struct record *)(const void *)at;
        at += room_of(size);
    }
    *entry = (struct entry){.result = {.records = copies, .count = answer->count},
                            .self = entry,
                            .cache = cache,
                            .shown = at};
    list_init(&entry->variants);
    list_init(&entry->place.link);
    return entry;
}

static void set_key(struct entry *entry, const uint8_t *shown, size_t shown_size,
                    const uint8_t *key, size_t key_size)
{
    uint8_t *at = entry->shown;
    if (shown_size > 0) {
        memcpy(at, shown, shown_size);
    }
    memcpy(at + shown_size, key, key_size);
    entry->shown_size = shown_size;
    entry->key_size = key_size;
}

void result_cache_fill(struct result_cache *cache, const uint8_t *shown, size_t shown_size,
                       const uint8_t *key, size_t key_size, const struct cached_result *answer,
                       uint64_t now_us)
{
    struct hashes hashes = hashes_of(shown, shown_size, key, key_size);
    size_t bytes = entry_size(cache, shown_size + key_size, answer);
    struct entry *entry = make_entry(cache, bytes, answer);
    struct entry *old = find_both(cache, hashes.both, shown, shown_size, key, key_size);
    struct s3_fifo_node place = {.bytes = 0};
    s3_fifo_begin(&cache->fifo, &place, hashes.both);
    /* An older answer goes also where the new one cannot be kept: what was
     * answered since must not be followed by what was before. */
    if (old != NULL) {
        s3_fifo_inherit(&place, &old->place);
        take_out(cache, old);
    }
    if (entry == NULL) {
        return;
    }
    s3_fifo_inherit(&entry->place, &place);
    entry->expires_us = expiry_of(cache, hashes.both, now_us);
    entry->generation = cache->generation;
    set_key(entry, shown, shown_size, key, key_size);
    make_room(cache, bytes);
    insert(cache, entry, hashes, bytes);
}

#include "layers/redis/near_cache.h"

#include <string.h>

#include "layers/hash_table.h"
#include "layers/s3_fifo.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "protocol/base/list.h"

/* An entry is one piece of memory: this, the key's bytes up to a multiple of 8,
 * the value's. It is in one of many hash tables, by the upper bits of its key's
 * hash, so that where tables grow, no call moves more than one table's entries.
 *
 *          put                  replaced, dropped, evicted
 *   (none) ────► in a table ─────────────────────────────────► in the graveyard
 *                and a queue                                         │ turn
 *                                                                    ▼
 *                                                                 (freed)
 *
 * The graveyard is a ring of batches, oldest first: of those that left at one
 * sequence each. Where the ring is full, the newest batch takes in what leaves
 * at a later sequence, and waits until that may be freed: so burying needs no
 * memory, and an entry does not keep its sequence. */

enum {
    TABLES_BITS = 6,
    TABLES = 1 << TABLES_BITS,
    BATCHES_MAX = 64,
    VALUE_SHARE = 4,        /* the largest entry's part of the cache */
    EVICTED_PER_PUT = 64,   /* at least, where the cache is over its bound */
    EVICTED_AT_ONCE = 1024, /* by a new bound, or a turn */
    FREED_PER_TURN = 1024,
    LINES_AHEAD = 4,
    LINE_SIZE = 64,
    VALUE_ALIGNMENT = 8,
    MALLOC_ALIGNMENT = 16,
    MALLOC_OVERHEAD = 8,
    ENTRY_OVERHEAD = 48 /* its parts of the tables and of the ghosts, which grow by four */
};

static const uint32_t KEY_SIZE_MAX = INT32_MAX;

/* The sequence of a batch whose entries left since the last call that gave one.
 * The next that is given is none from before they left, so it is theirs. Until
 * then they are freed where nobody holds a pin. */
static const uint64_t NOT_YET_KNOWN = UINT64_MAX - 1;

struct entry {
    struct hash_table_node by_key;
    struct s3_fifo_node place; /* its link: in a queue, or in a batch */
    uint64_t cover;
    uint64_t filled_us;
    uint64_t expires_us;
    uint32_t size;
    uint32_t key_size : 31;
    uint32_t absent : 1;
};

_Static_assert(sizeof(struct entry) % VALUE_ALIGNMENT == 0, "values are aligned");

struct batch {
    struct list entries;
    uint64_t sequence;
};

struct near_cache {
    uint64_t bytes_max;
    uint64_t evictions;
    struct s3_fifo fifo;
    struct batch batches[BATCHES_MAX]; /* a ring */
    unsigned batch_first;
    unsigned batch_count;
    struct hash_table tables[TABLES];
};

struct near_cache *near_cache_create(uint64_t bytes_max)
{
    struct near_cache *cache = heap_zero(1, sizeof *cache);
    if (cache == NULL) {
        return NULL;
    }
    cache->bytes_max = bytes_max;
    s3_fifo_init(&cache->fifo);
    for (unsigned i = 0; i < BATCHES_MAX; i++) {
        list_init(&cache->batches[i].entries);
    }
    for (unsigned i = 0; i < TABLES; i++) {
        hash_table_init(&cache->tables[i]);
    }
    return cache;
}

uint64_t near_cache_bytes(const struct near_cache *cache)
{
    return s3_fifo_bytes(&cache->fifo);
}

uint64_t near_cache_count(const struct near_cache *cache)
{
    return cache->fifo.count;
}

uint64_t near_cache_evictions(const struct near_cache *cache)
{
    return cache->evictions;
}

/* ---- Finding ---- */

static uint64_t room_of(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

static uint8_t *key_of(struct entry *entry)
{
    return (uint8_t *)(entry + 1);
}

static uint8_t *value_of(struct entry *entry)
{
    return key_of(entry) + room_of(entry->key_size, VALUE_ALIGNMENT);
}

static unsigned table_of(uint64_t hash)
{
    return (unsigned)(hash >> (64 - TABLES_BITS));
}

/* The lines of memory that follow an entry's first: that of its key, and those in which
 * a short value begins and ends. It is most often the one that is sought; so they come
 * while its hash is waited for. An address past its end does no harm. */
static void fetch_ahead(const struct hash_table_node *first)
{
    const char *memory = (const char *)first;
    if (first == NULL) {
        return;
    }
    for (unsigned line = 1; line <= LINES_AHEAD; line++) {
        __builtin_prefetch(memory + (size_t)line * LINE_SIZE);
    }
}

static struct entry *find_entry(const struct near_cache *cache, uint64_t hash, const uint8_t *key,
                                size_t key_size)
{
    const struct hash_table *table = &cache->tables[table_of(hash)];
    fetch_ahead(hash_table_first(table, hash));
    struct hash_table_node *node = hash_table_find(table, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct entry *entry = CONTAINER_OF(node, struct entry, by_key);
        if (entry->key_size == key_size &&
            (key_size == 0 || memcmp(key_of(entry), key, key_size) == 0)) {
            return entry;
        }
    }
    return NULL;
}

static struct entry *look_up(const struct near_cache *cache, const uint8_t *key, size_t key_size,
                             struct near_entry *out)
{
    struct entry *entry = find_entry(cache, hash_bytes(key, key_size), key, key_size);
    if (entry != NULL) {
        *out = (struct near_entry){.value = entry->absent ? NULL : value_of(entry),
                                   .size = entry->size,
                                   .cover = entry->cover,
                                   .filled_us = entry->filled_us,
                                   .expires_us = entry->expires_us};
    }
    return entry;
}

bool near_cache_find(struct near_cache *cache, const uint8_t *key, size_t key_size,
                     struct near_entry *out)
{
    struct entry *entry = look_up(cache, key, key_size, out);
    if (entry == NULL) {
        return false;
    }
    s3_fifo_hit(&entry->place);
    return true;
}

bool near_cache_peek(const struct near_cache *cache, const uint8_t *key, size_t key_size,
                     struct near_entry *out)
{
    return look_up(cache, key, key_size, out) != NULL;
}

/* ---- The graveyard ---- */

static struct batch *batch_at(struct near_cache *cache, unsigned index)
{
    return &cache->batches[(cache->batch_first + index) % BATCHES_MAX];
}

/* Where those belong that leave now. */
static struct list *grave_of(struct near_cache *cache, uint64_t sequence)
{
    struct batch *newest = cache->batch_count > 0 ? batch_at(cache, cache->batch_count - 1) : NULL;
    if (newest != NULL && newest->sequence == NOT_YET_KNOWN) {
        newest->sequence = sequence;
    } else if (newest == NULL ||
               (sequence > newest->sequence && cache->batch_count < BATCHES_MAX)) {
        newest = batch_at(cache, cache->batch_count++);
        newest->sequence = sequence;
    } else if (sequence > newest->sequence) {
        newest->sequence = sequence;
    }
    return &newest->entries;
}

/* Takes it out of its table; it is in no queue any more. */
static void bury(struct near_cache *cache, struct entry *entry, uint64_t sequence)
{
    hash_table_remove(&cache->tables[table_of(entry->by_key.hash)], &entry->by_key);
    list_append(grave_of(cache, sequence), &entry->place.link);
}

/* Frees up to `most` of a batch; how many. */
static size_t free_some(struct batch *batch, size_t most)
{
    size_t count = 0;
    for (; count < most && !list_empty(&batch->entries); count++) {
        struct entry *entry = CONTAINER_OF(batch->entries.next, struct entry, place.link);
        list_remove(&entry->place.link);
        heap_free(entry);
    }
    return count;
}

/* True where more could be freed. */
static bool free_before(struct near_cache *cache, uint64_t oldest_pin, size_t most)
{
    while (cache->batch_count > 0) {
        struct batch *oldest = batch_at(cache, 0);
        if (oldest->sequence >= oldest_pin) {
            return false;
        }
        most -= free_some(oldest, most);
        if (!list_empty(&oldest->entries)) {
            return true;
        }
        cache->batch_first = (cache->batch_first + 1) % BATCHES_MAX;
        cache->batch_count--;
    }
    return false;
}

/* ---- Dropping ---- */

static void drop_entry(struct near_cache *cache, struct entry *entry, uint64_t sequence)
{
    s3_fifo_remove(&cache->fifo, &entry->place);
    bury(cache, entry, sequence);
}

uint64_t near_cache_drop(struct near_cache *cache, const uint8_t *key, size_t key_size,
                         uint64_t sequence)
{
    struct entry *entry = find_entry(cache, hash_bytes(key, key_size), key, key_size);
    if (entry == NULL) {
        return 0;
    }
    drop_entry(cache, entry, sequence);
    return 1;
}

uint64_t near_cache_drop_all(struct near_cache *cache, uint64_t sequence)
{
    uint64_t count = cache->fifo.count;
    if (count > 0) {
        s3_fifo_move_all(&cache->fifo, grave_of(cache, sequence));
        for (unsigned i = 0; i < TABLES; i++) {
            hash_table_clear(&cache->tables[i]);
        }
    }
    return count;
}

void near_cache_free(struct near_cache *cache)
{
    near_cache_drop_all(cache, 0);
    free_before(cache, UINT64_MAX, SIZE_MAX);
    for (unsigned i = 0; i < TABLES; i++) {
        hash_table_release(&cache->tables[i]);
    }
    s3_fifo_release(&cache->fifo);
    heap_free(cache);
}

/* ---- Eviction ---- */

/* How many bytes went. */
static uint64_t evict(struct near_cache *cache, uint64_t sequence)
{
    struct s3_fifo_node *node = s3_fifo_victim(&cache->fifo, cache->bytes_max);
    CHECK(node != NULL);
    struct entry *entry = CONTAINER_OF(node, struct entry, place);
    s3_fifo_evict(&cache->fifo, node, entry->by_key.hash);
    bury(cache, entry, sequence);
    cache->evictions++;
    return node->bytes;
}

/* A large entry may take the place of many small ones. What is over the bound
 * because that was lowered goes in pieces, but never becomes more. */
static void make_room(struct near_cache *cache, uint64_t bytes, uint64_t sequence)
{
    uint64_t evicted = 0;
    for (unsigned i = 0; near_cache_bytes(cache) + bytes > cache->bytes_max; i++) {
        if (i >= EVICTED_PER_PUT && evicted >= bytes) {
            return;
        }
        evicted += evict(cache, sequence);
    }
}

/* True where it is still over the bound. */
static bool shrink(struct near_cache *cache)
{
    for (unsigned i = 0; i < EVICTED_AT_ONCE && near_cache_bytes(cache) > cache->bytes_max; i++) {
        evict(cache, NOT_YET_KNOWN);
    }
    return near_cache_bytes(cache) > cache->bytes_max;
}

void near_cache_resize(struct near_cache *cache, uint64_t bytes_max)
{
    cache->bytes_max = bytes_max;
    shrink(cache);
}

bool near_cache_turn(struct near_cache *cache, uint64_t oldest_pin)
{
    bool over = shrink(cache);
    return free_before(cache, oldest_pin, FREED_PER_TURN) || over;
}

/* ---- Putting ---- */

/* NULL where it is too large, or memory lacks. `bytes` is what it counts for. */
static struct entry *make_entry(const struct near_cache *cache, size_t key_size,
                                const struct near_entry *from, uint64_t *bytes)
{
    uint32_t size = from->value != NULL ? from->size : 0;
    if (key_size > KEY_SIZE_MAX) {
        return NULL;
    }
    uint64_t room = sizeof(struct entry) + room_of(key_size, VALUE_ALIGNMENT) + size;
    *bytes = room_of(room + MALLOC_OVERHEAD, MALLOC_ALIGNMENT) + ENTRY_OVERHEAD;
    struct entry *entry = *bytes <= cache->bytes_max / VALUE_SHARE ? heap_alloc(room) : NULL;
    if (entry != NULL) {
        *entry = (struct entry){.cover = from->cover,
                                .filled_us = from->filled_us,
                                .expires_us = from->expires_us,
                                .size = size,
                                .key_size = key_size & KEY_SIZE_MAX,
                                .absent = from->value == NULL};
        list_init(&entry->place.link);
    }
    return entry;
}

static void copy(uint8_t *to, const void *from, size_t size)
{
    if (size > 0) {
        memcpy(to, from, size);
    }
}

void near_cache_put(struct near_cache *cache, const uint8_t *key, size_t key_size,
                    const struct near_entry *entry, uint64_t sequence)
{
    uint64_t hash = hash_bytes(key, key_size);
    uint64_t bytes = 0;
    struct entry *made = make_entry(cache, key_size, entry, &bytes);
    struct entry *old = find_entry(cache, hash, key, key_size);
    if (made != NULL) {
        copy(key_of(made), key, key_size);
        copy(value_of(made), entry->value, made->size);
        s3_fifo_begin(&cache->fifo, &made->place, hash);
    }
    if (made != NULL && old != NULL) {
        s3_fifo_inherit(&made->place, &old->place);
    }
    if (old != NULL) {
        drop_entry(cache, old, sequence);
    }
    if (made != NULL) {
        make_room(cache, bytes, sequence);
        hash_table_insert(&cache->tables[table_of(hash)], &made->by_key, hash);
        s3_fifo_insert(&cache->fifo, &made->place, bytes);
    }
}

#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "layers/redis/slots.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* A resource whose home is Redis: what is known of its keys, and what is heard of
 * them. All that concerns a key comes over one link in one order: answers to reads,
 * notices of writes by anybody, and the outcomes of writes from here. So an answer
 * that nothing overtook may be kept, and what is kept is true until a notice, as
 * long as its cover is the one that watches now. */

/* ---- Life ---- */

/* What is out when a store is closed still reads by the resource when it is back. */
static void use_resource(struct redis_store *store, const struct resource *resource)
{
    struct schema *before = store->schema;
    store->schema = schema_get(resource->schema);
    store->resource = resource;
    schema_put(before);
}

struct redis_store *redis_store_get(struct redis_store *store)
{
    store->users++;
    return store;
}

void redis_store_put(struct redis_store *store)
{
    CHECK(store->users > 0);
    if (--store->users > 0) {
        return;
    }
    CHECK(store->closed);
    redis_drop_echoes(store);
    key_set_release(&store->doubts);
    absents_release(&store->absents);
    hash_table_release(&store->echoes);
    write_locks_release(&store->locks);
    if (store->cache != NULL) {
        near_cache_free(store->cache);
    }
    buffer_release(&store->keeping);
    index_marks_free(store->built_marks);
    schema_put(store->schema);
    heap_free(store);
}

uint16_t redis_slot(const struct redis_store *store, const void *name, size_t size)
{
    return home_is_cluster(store->home) ? slot_of_key(name, size) : 0;
}

unsigned redis_index_number(const struct redis_store *store, const struct index *index)
{
    const struct resource *resource = store->resource;
    size_t number = ((uintptr_t)index - (uintptr_t)resource->indexes) / sizeof *index;
    if (number >= resource->index_count) {
        const struct index *same = resource_index(resource, &index->fields);
        CHECK(same != NULL);
        number = (size_t)(same - resource->indexes);
    }
    return (unsigned)number;
}

unsigned redis_identity_number(const struct redis_store *store, const struct identity *identity)
{
    const struct resource *resource = store->resource;
    size_t number = ((uintptr_t)identity - (uintptr_t)resource->identities) / sizeof *identity;
    if (number >= resource->identity_count) {
        const struct identity *same =
            resource_identity(resource, identity->name, strlen(identity->name));
        CHECK(same != NULL);
        number = (size_t)(same - resource->identities);
    }
    return (unsigned)number;
}

/* ---- What is known ---- */

static const struct kept_value *kept_of(const struct near_entry *entry)
{
    return entry->value;
}

static const struct record *record_of(const struct kept_value *kept)
{
    return kept->absent ? NULL : (const struct record *)(const void *)kept->record;
}

const struct record *redis_known(struct redis_store *store, const uint8_t *key, size_t size,
                                 bool *known)
{
    struct near_entry entry;
    *known = false;
    if (write_locks_hold(&store->locks, key, size) ||
        !near_cache_find(store->cache, key, size, &entry)) {
        return NULL;
    }
    const struct kept_value *kept = kept_of(&entry);
    if (entry.cover != home_cover(store->home, store->lane, kept->slot) ||
        (entry.expires_us != 0 && redis_now_us(store) >= entry.expires_us)) {
        return NULL;
    }
    *known = true;
    return record_of(kept);
}

/* What is in the cache is of the last sessions: it is emptied when the home is there
 * again. */
const struct record *redis_known_stale(struct redis_store *store, const uint8_t *key, size_t size,
                                       bool *known)
{
    uint64_t stale_us = store->resource->redis->stale_if_error_us;
    uint64_t lost_us = 0;
    struct near_entry entry;
    *known = false;
    if (stale_us == 0 || write_locks_hold(&store->locks, key, size) ||
        !near_cache_peek(store->cache, key, size, &entry)) {
        return NULL;
    }
    uint16_t slot = kept_of(&entry)->slot;
    bool up = home_is_up(store->home, store->lane, slot, &lost_us);
    uint64_t now_us = redis_now_us(store);
    /* One of a session before the last may have been changed in between. */
    if (up || lost_us == 0 || entry.cover != home_last_cover(store->home, store->lane, slot) ||
        now_us - lost_us > stale_us || (entry.expires_us != 0 && now_us >= entry.expires_us)) {
        return NULL;
    }
    *known = true;
    return record_of(kept_of(&entry));
}

static const struct record *store_known(struct store *face, const uint8_t *key, size_t size,
                                        bool *known)
{
    return redis_known(redis_store_of(face), key, size, known);
}

static const struct record *store_find(struct store *face, const uint8_t *key, size_t size)
{
    bool known;
    return redis_known(redis_store_of(face), key, size, &known);
}

/* What was cached of a key, where it may be believed to be what it was. */
const struct record *redis_last_known(struct redis_store *store, const uint8_t *key, size_t size,
                                      bool *known)
{
    struct near_entry entry;
    *known = near_cache_peek(store->cache, key, size, &entry) &&
             entry.cover == home_cover(store->home, store->lane, kept_of(&entry)->slot);
    return *known ? record_of(kept_of(&entry)) : NULL;
}

/* ---- The face of a store ---- */

static bool store_is_current_now(struct store *face)
{
    struct redis_store *store = redis_store_of(face);
    return store->table != NULL ? resident_is_current(store)
                                : home_is_current(store->home, store->lane);
}

static int store_ready_now(struct store *face, struct error *error)
{
    return resident_ready(redis_store_of(face), error);
}

static const struct error *store_fault_now(struct store *face, const uint8_t *key, size_t size)
{
    return resident_fault(redis_store_of(face), key, size);
}

static uint64_t store_invalidate(struct store *face, const uint8_t *key, size_t size)
{
    struct redis_store *store = redis_store_of(face);
    struct coalescer *coalescer = store->redis->engine.coalescer;
    uint64_t sequence = store->redis->engine.world->sequence;
    coalescer_overtake(coalescer, &store->records, key, size);
    if (key == NULL) {
        coalescer_overtake(coalescer, &store->identities, NULL, 0);
        coalescer_overtake(coalescer, &store->ranges, NULL, 0);
        return near_cache_drop_all(store->cache, sequence);
    }
    return near_cache_drop(store->cache, key, size, sequence);
}

static void store_count(struct store *face, struct store_home_counters *counters)
{
    struct redis_store *store = redis_store_of(face);
    *counters = store->counters;
    counters->evictions = store->cache != NULL ? near_cache_evictions(store->cache) : 0;
}

static const struct store_ops face_ops = {.find = store_find};

static const struct store_home_ops home_ops = {.ready = store_ready_now,
                                               .fault = store_fault_now,
                                               .is_current = store_is_current_now,
                                               .known = store_known,
                                               .fetch = redis_fetch,
                                               .fetch_end = redis_fetch_end,
                                               .write_open = redis_write_open,
                                               .write_begin = redis_write_begin,
                                               .write_go = redis_write_go,
                                               .write_close = redis_write_close,
                                               .invalidate = store_invalidate,
                                               .count = store_count};

/* Records that are fetched when they are asked for. */
static int open_remote(struct redis_store *store)
{
    store->store = (struct store){.ops = &face_ops,
                                  .resource = store->resource,
                                  .home = &home_ops,
                                  .home_own = store,
                                  .remote = true};
    store->cache = near_cache_create(store->resource->redis->cache_bytes_max);
    return store->cache != NULL ? redis_loaders_open(store) : -CODE_OVERLOADED;
}

static int open_resident(struct redis_store *store, struct store *table, struct error *error)
{
    const char *prefix;
    size_t size;
    store->table = table;
    store->lane = HOME_PREFIXES;
    table->home = &home_ops;
    table->home_own = store;
    key_text_prefix(store->resource, &prefix, &size);
    int status = home_add_prefix(store->home, prefix, size);
    return status < 0 ? status : resident_open(store, error);
}

struct store *redis_store_open(struct redis *redis, const struct resource *resource,
                               struct store *table, struct error *error)
{
    struct home *home = redis_home(redis, resource->redis->home);
    if (home == NULL) {
        error_set(error, CODE_INVALID_REQUEST,
                  "%s uses the Redis \"%s\", which the configuration does not name", resource->name,
                  resource->redis->home);
        return NULL;
    }
    struct redis_store *store = heap_zero(1, sizeof *store);
    if (store == NULL) {
        error_set(error, CODE_OVERLOADED, "no memory for %s", resource->name);
        return NULL;
    }
    store->redis = redis;
    use_resource(store, resource);
    store->home = home;
    store->lane = HOME_KEYS;
    store->users = 1;
    list_init(&store->built_waiters);
    key_set_init(&store->doubts);
    absents_init(&store->absents);
    hash_table_init(&store->echoes);
    list_init(&store->echoes_in_order);
    write_locks_init(&store->locks);
    list_append(&redis->stores, &store->link);
    redis_listen(store);
    int status = table != NULL ? open_resident(store, table, error) : open_remote(store);
    if (status < 0) {
        error_set(error, CODE_OVERLOADED, "no memory for %s", resource->name);
        redis_store_close(table != NULL ? table : &store->store);
        return NULL;
    }
    return table != NULL ? table : &store->store;
}

void redis_store_close(struct store *face)
{
    struct redis_store *store = redis_store_of(face);
    if (store == NULL) {
        return;
    }
    store->closed = true;
    home_unlisten(&store->listener);
    list_remove(&store->link);
    if (store->table != NULL) {
        resident_close(store);
        store->table->home = NULL;
        store->table->home_own = NULL;
    } else {
        redis_loaders_close(store);
    }
    redis_store_put(store);
}

void redis_store_adopt(struct store *face, const struct resource *resource)
{
    struct redis_store *store = redis_store_of(face);
    use_resource(store, resource);
    store->store.resource = resource;
    if (store->cache != NULL) {
        redis_loaders_name(store);
        near_cache_resize(store->cache, resource->redis->cache_bytes_max);
    }
}

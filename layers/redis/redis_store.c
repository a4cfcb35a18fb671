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

/* ---- What is heard ---- */

void redis_publish(struct redis_store *store, struct write_event *event)
{
    event->sequence = world_advance(store->redis->engine.world);
    event->resource = store->resource;
    world_publish(store->redis->engine.world, event);
}

void redis_forget(struct redis_store *store, const uint8_t *key, size_t size)
{
    if (store->table != NULL) {
        return;
    }
    near_cache_drop(store->cache, key, size, store->redis->engine.world->sequence);
    coalescer_overtake(store->redis->engine.coalescer, &store->records, key, size);
}

void redis_forget_hints(struct redis_store *store)
{
    struct coalescer *coalescer = store->redis->engine.coalescer;
    coalescer_overtake(coalescer, &store->identities, NULL, 0);
    coalescer_overtake(coalescer, &store->ranges, NULL, 0);
}

/* What was cached of a key, where it may be believed to be what it was. */
static const struct record *last_known(struct redis_store *store, const uint8_t *key, size_t size,
                                       bool *known)
{
    struct near_entry entry;
    *known = near_cache_peek(store->cache, key, size, &entry) &&
             entry.cover == home_cover(store->home, store->lane, kept_of(&entry)->slot);
    return *known ? record_of(kept_of(&entry)) : NULL;
}

/* Somebody else wrote the record. */
static void key_changed(struct redis_store *store, const uint8_t *key, size_t size)
{
    bool known;
    const struct record *old = last_known(store, key, size, &known);
    if (key_set_take(&store->doubts, key, size)) {
        old = NULL;
        known = false;
    }
    store->counters.invalidations +=
        near_cache_drop(store->cache, key, size, store->redis->engine.world->sequence);
    coalescer_overtake(store->redis->engine.coalescer, &store->records, key, size);
    struct write_event event = {.cause = WRITE_FOREIGN,
                                .old = old,
                                .old_unknown = !known,
                                .new_unknown = true,
                                .named = &store->resource->primary_key,
                                .key = key,
                                .key_size = size};
    redis_publish(store, &event);
}

/* Records came to a set of an index, or left it. */
static void index_changed(struct redis_store *store, const struct index *index,
                          const struct buffer *value)
{
    struct field_list first = {.count = 1, .fields = {index->fields.fields[0]}};
    struct write_event event = {.cause = WRITE_FOREIGN,
                                .old_unknown = true,
                                .new_unknown = true,
                                .named = &first,
                                .key = value->bytes,
                                .key_size = value->size,
                                .of_index = true};
    coalescer_overtake(store->redis->engine.coalescer, &store->ranges, NULL, 0);
    redis_publish(store, &event);
}

/* A record took a key of an identity, or gave one up. */
static void claim_changed(struct redis_store *store, const struct identity *identity,
                          const struct buffer *value)
{
    struct write_event event = {.cause = WRITE_FOREIGN, .old_unknown = true, .new_unknown = true};
    if (identity->fields.count == 1) {
        event.named = &identity->fields;
        event.key = value->bytes;
        event.key_size = value->size;
        event.of_index = true;
    }
    coalescer_overtake(store->redis->engine.coalescer, &store->identities, NULL, 0);
    redis_publish(store, &event);
}

/* Anything may have changed. */
static void all_changed(struct redis_store *store, enum write_cause cause)
{
    struct coalescer *coalescer = store->redis->engine.coalescer;
    if (store->table == NULL) {
        coalescer_overtake(coalescer, &store->records, NULL, 0);
        coalescer_overtake(coalescer, &store->identities, NULL, 0);
        coalescer_overtake(coalescer, &store->ranges, NULL, 0);
    }
    struct write_event event = {.cause = cause, .old_unknown = true, .new_unknown = true};
    redis_publish(store, &event);
}

static void everything_changed(struct redis_store *store)
{
    store->counters.invalidations +=
        near_cache_drop_all(store->cache, store->redis->engine.world->sequence);
    redis_drop_echoes(store);
    key_set_clear(&store->doubts);
    all_changed(store, WRITE_FOREIGN);
}

static bool begins_with(const uint8_t *name, size_t size, const char *prefix)
{
    size_t length = strlen(prefix);
    return size >= length && memcmp(name, prefix, length) == 0;
}

/* The marks of what is whole; those of other resources do not matter. */
static void marks_changed(struct redis_store *store, const uint8_t *name, size_t size)
{
    struct buffer own = BUFFER_INIT;
    index_marks_name(store->resource, &own);
    if (own.failed || (own.size == size && memcmp(own.bytes, name, size) == 0)) {
        redis_built_forget(store);
    }
    buffer_release(&own);
}

/* One of the layer's own keys, or a record's. */
static void name_changed(struct redis_store *store, const uint8_t *name, size_t size)
{
    struct buffer bytes = BUFFER_INIT;
    if (store->resource->redis->only_relata && begins_with(name, size, INDEX_SET_PREFIX)) {
        const struct index *index = index_set_of_name(store->resource, name, size, &bytes);
        const struct identity *identity =
            index == NULL ? claim_of_name(store->resource, name, size, &bytes) : NULL;
        if (index != NULL) {
            index_changed(store, index, &bytes);
        } else if (identity != NULL) {
            claim_changed(store, identity, &bytes);
        }
    } else if (key_text_read(store->resource, name, size, &bytes) && !bytes.failed &&
               !redis_take_echo(store, bytes.bytes, bytes.size)) {
        key_changed(store, bytes.bytes, bytes.size);
    }
    if (bytes.failed) {
        everything_changed(store); /* no memory to see what: it may be anything */
    }
    buffer_release(&bytes);
}

static void on_notice(struct home_listener *listener, enum home_lane lane, const uint8_t *name,
                      size_t size)
{
    struct redis_store *store = CONTAINER_OF(listener, struct redis_store, listener);
    store->flushes += name == NULL ? 1 : 0;
    if (name == NULL && lane == HOME_KEYS) {
        /* All resources ask at once, before one of them marks its own and the home is
         * empty no more. */
        redis_built_forget(store);
        redis_built_ask(store, NULL);
    }
    if (name != NULL && lane == HOME_KEYS && begins_with(name, size, INDEX_MARKS_PREFIX)) {
        marks_changed(store, name, size); /* a resident resource hears of them here, too */
        return;
    }
    if (lane != store->lane) {
        return;
    }
    if (store->table != NULL) {
        resident_notice(store, name, size);
    } else if (name != NULL) {
        name_changed(store, name, size);
    } else {
        everything_changed(store);
    }
}

static void on_lost(struct home_listener *listener, enum home_lane lane)
{
    struct redis_store *store = CONTAINER_OF(listener, struct redis_store, listener);
    if (lane == HOME_KEYS) {
        redis_built_forget(store);
    }
    if (lane != store->lane) {
        return;
    }
    if (store->table != NULL) {
        resident_lost(store);
    } else {
        redis_drop_echoes(store);
        key_set_clear(&store->doubts);
        if (store->resource->redis->stale_if_error_us == 0) {
            near_cache_drop_all(store->cache, store->redis->engine.world->sequence);
        }
    }
    all_changed(store, WRITE_LOST);
}

void redis_saw_absence(struct redis_store *store, const uint8_t *name, size_t size)
{
    uint64_t due_us = redis_now_us(store) + ABSENT_US;
    if (home_is_cluster(store->home) && !absents_add(&store->absents, name, size, due_us) &&
        store->absents_over_us == 0) {
        store->absents_over_us = due_us;
    }
}

static void doubt_absence(void *context, const uint8_t *name, size_t size)
{
    struct redis_store *store = context;
    uint64_t invalidations = store->counters.invalidations;
    name_changed(store, name, size);
    store->counters.invalidations = invalidations; /* nobody wrote, as far as is known */
}

bool redis_watch_absences(struct redis_store *store)
{
    uint64_t now_us = redis_now_us(store);
    unsigned taken = 0;
    if (store->absents_over_us != 0 && now_us >= store->absents_over_us) {
        store->absents_over_us = 0;
        absents_clear(&store->absents);
        all_changed(store, WRITE_LOST);
    }
    while (taken < ABSENTS_PER_TURN &&
           absents_take(&store->absents, now_us, doubt_absence, store)) {
        taken++;
    }
    return taken == ABSENTS_PER_TURN;
}

/* What is out to a server that is silent, or has just been, may be answered with what it
 * was asked for long ago: nobody joins that any more. */
void redis_watch_lapse(struct redis_store *store)
{
    uint64_t now_us = redis_now_us(store);
    if (store->table != NULL || now_us < store->lapse_us + LAPSE_EVERY_US ||
        coalescer_waiting(store->redis->engine.coalescer) == 0 ||
        home_is_current(store->home, store->lane)) {
        return;
    }
    store->lapse_us = now_us;
    all_changed(store, WRITE_LOST);
}

/* The start is refused where the policy is known by then (redis_check); it may change, or
 * be known later only. */
static void tell_eviction(struct redis_store *store)
{
    const char *policy = home_evicting_policy(store->home);
    const struct home_world *outside = &store->redis->outside;
    if (policy != NULL && !store->eviction_told) {
        struct buffer text = BUFFER_INIT;
        buffer_printf(&text,
                      "by %s it may drop the indexes of %s: expected noeviction, or volatile-*",
                      policy, store->resource->name);
        buffer_byte(&text, 0);
        if (!text.failed) {
            outside->log(outside->context, "redis_evicts", home_name(store->home),
                         (const char *)text.bytes, true);
        }
        buffer_release(&text);
    }
    store->eviction_told = policy != NULL;
}

static void on_ready(struct home_listener *listener, enum home_lane lane)
{
    struct redis_store *store = CONTAINER_OF(listener, struct redis_store, listener);
    if (lane == HOME_KEYS && redis_keeps_indexes(store)) {
        redis_built_ask(store, NULL);
        tell_eviction(store);
    }
    if (lane != store->lane) {
        return;
    }
    if (store->table != NULL) {
        resident_ready_again(store);
    } else {
        /* What was kept for the time of the absence. */
        near_cache_drop_all(store->cache, store->redis->engine.world->sequence);
    }
}

/* ---- Doubts ----
 *
 * Members of index sets, and claims, are there before the record is set. Who reads in
 * between is told of a record that does not bear it yet, and what is cached of that
 * lacks the record: no set will tell of it any more, so the record's own notice has to. */

void redis_doubt(struct redis_store *store, const uint8_t *key, size_t size)
{
    bool known;
    redis_known(store, key, size, &known);
    if (known && key_set_count(&store->doubts) < DOUBTS_MAX &&
        key_set_add(&store->doubts, key, size)) {
        return;
    }
    /* It may have been set since it was read. */
    struct write_event event = {.cause = WRITE_FOREIGN,
                                .old_unknown = true,
                                .new_unknown = true,
                                .named = &store->resource->primary_key,
                                .key = key,
                                .key_size = size};
    redis_publish(store, &event);
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
    store->listener =
        (struct home_listener){.on_notice = on_notice, .on_lost = on_lost, .on_ready = on_ready};
    list_init(&store->built_waiters);
    key_set_init(&store->doubts);
    absents_init(&store->absents);
    hash_table_init(&store->echoes);
    list_init(&store->echoes_in_order);
    write_locks_init(&store->locks);
    list_append(&redis->stores, &store->link);
    home_listen(home, &store->listener);
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

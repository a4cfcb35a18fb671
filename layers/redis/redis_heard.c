#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "protocol/base/check.h"

/* What is heard of a resource whose home is Redis: notices of what others wrote, that a
 * link is lost or ready again; and what is doubted though nobody told anything. It drops
 * what was cached, and is published, so that what depends on it is dropped too. */

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

/* Somebody else wrote the record. */
static void key_changed(struct redis_store *store, const uint8_t *key, size_t size)
{
    bool known;
    const struct record *old = redis_last_known(store, key, size, &known);
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
        if (store->cache != NULL) {
            near_cache_drop_all(store->cache, store->redis->engine.world->sequence);
        }
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

/* ---- Listening ---- */

void redis_listen(struct redis_store *store)
{
    store->listener =
        (struct home_listener){.on_notice = on_notice, .on_lost = on_lost, .on_ready = on_ready};
    home_listen(store->home, &store->listener);
}

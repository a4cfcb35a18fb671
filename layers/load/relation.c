#include "layers/load/relation.h"

#include <stddef.h>
#include <string.h>

#include "layers/load/invalidation.h"
#include "layers/load/outside.h"
#include "layers/load/records_loader.h"
#include "protocol/base/check.h"

static struct relation *relation_of(struct loader *loader)
{
    return CONTAINER_OF(loader, struct relation, loader);
}

static bool is_outside(const struct relation *relation)
{
    return relation->relationship->loader == LOADER_MODULE ||
           relation->relationship->loader == LOADER_REMOTE;
}

static const struct outside_loaders *loaders_of(const struct relation *relation)
{
    const struct relations_owner *shared = relation->owner->shared;
    return relation->relationship->loader == LOADER_MODULE ? shared->modules : shared->remotes;
}

/* ---- The loader's face ---- */

static void relation_start(struct loader *loader, struct batch *batch)
{
    struct relation *relation = relation_of(loader);
    if (!is_outside(relation)) {
        records_loader_start(relation, batch);
        return;
    }
    const struct outside_loaders *loaders = loaders_of(relation);
    loaders->start(loaders->context, relation, batch);
}

static bool relation_cancel(struct loader *loader, struct batch *batch)
{
    struct relation *relation = relation_of(loader);
    if (!is_outside(relation)) {
        return records_loader_cancel(relation, batch);
    }
    const struct outside_loaders *loaders = loaders_of(relation);
    return loaders->cancel(loaders->context, relation, batch);
}

/* An answer that nothing overtook goes into the cache, unless its source was
 * made up by a loader, and so means something within one call only. */
static void relation_filled(struct loader *loader, struct batch *batch, size_t key)
{
    struct relation *relation = relation_of(loader);
    const struct related_records *answer = batch->answers[key].value;
    const struct cached_result result = {.records = answer->records, .count = answer->count};
    if (is_outside(relation) ? outside_is_made_up(batch) : records_loader_is_made_up(batch)) {
        return;
    }
    if (!relation_is_current(relation)) {
        return;
    }
    result_cache_fill(relation->cache, batch->shown, batch->shown_size, batch->keys[key].bytes,
                      batch->keys[key].size, &result, relations_clock(relation->owner->shared));
}

/* ---- What is shown ---- */

void relation_shown(const struct relation *relation, const struct eval *eval, bool authorize,
                    const struct query *query, uint64_t made_up_by, struct buffer *out)
{
    if (is_outside(relation)) {
        outside_shown(relation, eval, authorize, query, made_up_by, out);
    } else {
        records_loader_shown(relation, eval, relation->relationship->manual ? made_up_by : 0, out);
    }
}

/* ---- Being overtaken ---- */

static void settle_active(struct relation *relation)
{
    list_remove(&relation->active);
    if (relation->cache != NULL || is_outside(relation) || relation->in_flight > 0) {
        list_append(&relation->owner->active, &relation->active);
    }
}

void relation_hold(struct relation *relation)
{
    if (relation->in_flight++ == 0) {
        settle_active(relation);
    }
}

void relation_let_go(struct relation *relation)
{
    CHECK(relation->in_flight > 0);
    if (--relation->in_flight == 0) {
        settle_active(relation);
    }
}

uint64_t relation_invalidate(struct relation *relation, const uint8_t *key, size_t size)
{
    coalescer_overtake(relation->owner->shared->coalescer, &relation->loader, key, size);
    if (relation->cache == NULL) {
        return 0;
    }
    return key != NULL ? result_cache_drop(relation->cache, key, size)
                       : result_cache_drop_all(relation->cache);
}

void relation_lose(struct relation *relation)
{
    coalescer_overtake(relation->owner->shared->coalescer, &relation->loader, NULL, 0);
    if (relation->cache != NULL) {
        result_cache_expire(relation->cache, relations_clock(relation->owner->shared));
    }
}

bool relation_is_current(const struct relation *relation)
{
    const struct relations *owner = relation->owner;
    if (!relation->reads_elsewhere) {
        return true;
    }
    for (unsigned i = 0; i < owner->schema->resource_count; i++) {
        bool looks = (relation->looks_at[i / 64] >> (i % 64)) & 1;
        if (looks && !store_is_current(owner->stores[i])) {
            return false;
        }
    }
    return true;
}

/* Most of the time no relation is active: batches from records end in the turn
 * in which they begin, and only outside loaders are worth a cache. */
static void on_write(struct write_listener *listener, const struct write_event *event)
{
    struct relations *relations = CONTAINER_OF(listener, struct relations, listener);
    LIST_EACH(node, &relations->active)
    {
        invalidation_on_write(CONTAINER_OF(node, struct relation, active), event);
    }
}

/* ---- Opening ---- */

static int open_cache(struct relation *relation)
{
    const struct relationship *relationship = relation->relationship;
    if (!relationship->cached || relation->uses_now) {
        return 0;
    }
    const struct result_cache_limits limits = {.bytes_max = relationship->cache_bytes_max,
                                               .ttl_us = relationship->cache_ttl_us,
                                               .stale_us = relationship->stale_if_error_us};
    relation->cache = result_cache_create(&limits, relationship->destination->field_count);
    if (relation->cache == NULL) {
        return -CODE_OVERLOADED;
    }
    relation->loader.filled = relation_filled;
    settle_active(relation);
    return 0;
}

static int open_loader(struct relation *relation, struct error *error)
{
    const struct outside_loaders *loaders = loaders_of(relation);
    if (!is_outside(relation)) {
        return 0;
    }
    if (loaders == NULL) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: this loader is not supported here",
                         relation->relationship->full_name);
    }
    return loaders->open(loaders->context, relation, error);
}

static void close_relation(struct relation *relation)
{
    struct relations_owner *shared = relation->owner->shared;
    coalescer_remove(shared->coalescer, &relation->loader);
    list_remove(&relation->active);
    if (is_outside(relation)) {
        loaders_of(relation)->close(loaders_of(relation)->context, relation);
    }
    if (relation->cache != NULL) {
        result_cache_free(relation->cache);
    }
}

static int open_relation(struct relation *relation, struct relations *owner,
                         const struct relationship *relationship, struct error *error)
{
    relation->relationship = relationship;
    relation->owner = owner;
    relation->loader.name = relationship->full_name;
    relation->loader.limits = relationship->batch;
    relation->loader.start = relation_start;
    relation->loader.cancel = relation_cancel;
    list_init(&relation->active);
    settle_active(relation);
    int status = open_loader(relation, error);
    if (status < 0) {
        return status;
    }
    status = invalidation_open(relation, &owner->arena);
    for (unsigned i = 0; status == 0 && i < owner->schema->resource_count; i++) {
        bool looks = (relation->looks_at[i / 64] >> (i % 64)) & 1;
        relation->reads_elsewhere |= looks && owner->stores[i]->home != NULL;
    }
    if (status == 0 && !is_outside(relation)) {
        status = records_loader_open(relation, &owner->arena);
    }
    relation->filter_per_source |= is_outside(relation) && relationship->filter != NULL;
    if (status == 0) {
        status = open_cache(relation);
    }
    if (status == 0) {
        status = coalescer_add(owner->shared->coalescer, &relation->loader);
    }
    if (status < 0) {
        close_relation(relation);
        error_set(error, CODE_OVERLOADED, "%s: no memory for the relationship",
                  relationship->full_name);
    }
    return status;
}

static void close_all(struct relations *relations)
{
    while (relations->opened > 0) {
        close_relation(&relations->all[--relations->opened]);
    }
    arena_release(&relations->arena);
}

int relations_open(struct relations *relations, const struct schema *schema,
                   struct store *const *stores, struct relations_owner *shared, struct error *error)
{
    *relations = (struct relations){.schema = schema, .stores = stores, .shared = shared};
    list_init(&relations->active);
    arena_init(&relations->arena, 0);
    relations->all =
        arena_zero(&relations->arena, schema->relationship_count + 1u, sizeof *relations->all);
    int status = relations->all != NULL
                     ? 0
                     : error_set(error, CODE_OVERLOADED, "no memory for the relationships");
    for (unsigned r = 0; status == 0 && r < schema->resource_count; r++) {
        const struct resource *resource = &schema->resources[r];
        for (unsigned i = 0; status == 0 && i < resource->relationship_count; i++) {
            const struct relationship *relationship = &resource->relationships[i];
            CHECK(relations->all != NULL && relationship->number == relations->opened);
            status =
                open_relation(&relations->all[relations->opened], relations, relationship, error);
            relations->opened += status == 0;
        }
    }
    if (status < 0) {
        close_all(relations);
        return status;
    }
    relations->listener.on_write = on_write;
    world_listen(shared->world, &relations->listener);
    return 0;
}

void relations_close(struct relations *relations)
{
    list_remove(&relations->listener.link);
    close_all(relations);
}

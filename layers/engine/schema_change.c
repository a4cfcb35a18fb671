#include <string.h>

#include "layers/engine/engine_inner.h"
#include "layers/redis/redis.h"
#include "protocol/base/check.h"

/* The next schema takes over the records of the one in force. A resource whose
 * fields, keys and indexes did not change keeps its table; one that got fields
 * or indexes is rebuilt, at once, and therefore only up to a size. What would
 * lose records or break a promise about them is refused, and nothing changes. */

enum { REBUILD_RECORDS_MAX = 100000 };

static bool same_list(const struct field_list *a, const struct field_list *b)
{
    return a->count == b->count &&
           memcmp(a->fields, b->fields, a->count * sizeof a->fields[0]) == 0;
}

static bool same_type(const struct type *a, const struct type *b)
{
    if (a->kind != b->kind || a->member_count != b->member_count) {
        return false;
    }
    for (unsigned i = 0; i < a->member_count; i++) {
        if (strcmp(a->members[i], b->members[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* Whether a table built for `old` serves `new` as it is. */
static bool same_table(const struct resource *old, const struct resource *new)
{
    if (old->field_count != new->field_count || old->index_count != new->index_count ||
        old->identity_count != new->identity_count ||
        !same_list(&old->primary_key, &new->primary_key)) {
        return false;
    }
    for (unsigned i = 0; i < old->field_count; i++) {
        if (strcmp(old->fields[i].name, new->fields[i].name) != 0) {
            return false;
        }
    }
    for (unsigned i = 0; i < old->index_count; i++) {
        if (!same_list(&old->indexes[i].fields, &new->indexes[i].fields)) {
            return false;
        }
    }
    for (unsigned i = 0; i < old->identity_count; i++) {
        if (strcmp(old->identities[i].name, new->identities[i].name) != 0 ||
            !same_list(&old->identities[i].fields, &new->identities[i].fields)) {
            return false;
        }
    }
    return true;
}

static int check_fields(const struct resource *old, const struct resource *new, struct error *error)
{
    for (unsigned i = 0; i < old->field_count; i++) {
        const struct field *field = &old->fields[i];
        const struct field *after = resource_field(new, field->name, field->name_size);
        if (after == NULL) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "%s.%s would be lost: fields can be added, not removed", old->name,
                             field->name);
        }
        if (!same_type(&field->type, &after->type)) {
            return error_set(error, CODE_INVALID_REQUEST, "%s.%s would change its type", old->name,
                             field->name);
        }
        if (after->required && !field->required) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "%s.%s would become required, and records may have none", old->name,
                             field->name);
        }
    }
    for (unsigned i = 0; i < new->field_count; i++) {
        const struct field *field = &new->fields[i];
        if (field->required && resource_field(old, field->name, field->name_size) == NULL) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "%s.%s is new and required, and the records there have none",
                             new->name, field->name);
        }
    }
    return 0;
}

static int check_primary_key(const struct resource *old, const struct resource *new,
                             struct error *error)
{
    bool same = old->primary_key.count == new->primary_key.count;
    for (unsigned i = 0; same && i < old->primary_key.count; i++) {
        same = strcmp(old->fields[old->primary_key.fields[i]].name,
                      new->fields[new->primary_key.fields[i]].name) == 0;
    }
    return same ? 0
                : error_set(error, CODE_INVALID_REQUEST, "%s would change its primary key",
                            old->name);
}

static bool same_part(const struct resource *old, const struct key_part *a,
                      const struct resource *new, const struct key_part *b)
{
    if (a->text == NULL || b->text == NULL) {
        return a->text == b->text &&
               strcmp(old->fields[a->field].name, new->fields[b->field].name) == 0;
    }
    return strcmp(a->text, b->text) == 0;
}

static bool same_key(const struct resource *old, const struct resource *new)
{
    bool same = old->redis->key_part_count == new->redis->key_part_count;
    for (unsigned i = 0; same && i < old->redis->key_part_count; i++) {
        same = same_part(old, &old->redis->key_parts[i], new, &new->redis->key_parts[i]);
    }
    return same;
}

/* What records are found by, and how they are read and kept, stays until the next
 * start. Only behind check_fields, which finds the fields that are missing. */
static int check_layer(const struct resource *old, const struct resource *new, struct error *error)
{
    const struct redis_options *a = old->redis, *b = new->redis;
    const char *changed = NULL;
    if (old->layer != new->layer) {
        changed = "layer";
    } else if (a != NULL && strcmp(a->home, b->home) != 0) {
        changed = "redis: use";
    } else if (a != NULL && !same_key(old, new)) {
        changed = "redis: key";
    } else if (a != NULL && a->encoding != b->encoding) {
        changed = "redis: encoding";
    } else if (a != NULL && a->only_relata != b->only_relata) {
        changed = "redis: writers";
    } else if (a != NULL && a->resident != b->resident) {
        changed = "redis: resident";
    }
    for (unsigned i = 0; changed == NULL && i < old->field_count; i++) {
        const struct field *field = &old->fields[i];
        const struct field *after = resource_field(new, field->name, field->name_size);
        if (strcmp(field->stored_as, after->stored_as) != 0) {
            return error_set(
                error, CODE_INVALID_REQUEST,
                "%s.%s would change its stored_as, which is possible at a restart only", old->name,
                field->name);
        }
    }
    return changed == NULL ? 0
                           : error_set(error, CODE_INVALID_REQUEST,
                                       "%s would change its %s, which is possible at a restart "
                                       "only",
                                       old->name, changed);
}

/* One record in the new layout; fields that the old one lacks get their default. */
static int copy_record(struct store *to, const struct resource *old, const struct record *record,
                       struct arena *arena, struct error *error)
{
    const struct resource *new = to->resource;
    struct buffer none = BUFFER_INIT;
    struct record_draft draft;
    struct record *image = NULL;
    const struct record *stored = NULL;
    arena_reset(arena);
    int status = record_draft_init(&draft, new, arena, &none);
    for (unsigned i = 0; status == 0 && i < old->field_count; i++) {
        const struct field *field = &old->fields[i];
        const struct field *after = resource_field(new, field->name, field->name_size);
        struct record_part *part = &draft.parts[after->position];
        part->bytes = record_field(record, old->field_count, i, &part->size);
    }
    if (status == 0) {
        status = record_draft_finish(&draft, NULL, error);
    }
    if (status == 0) {
        status = record_draft_build(&draft, arena, &image, error);
    }
    if (status == 0) {
        status = to->ops->put(to, NULL, image, &stored, error);
    }
    buffer_release(&none);
    return status;
}

static int copy_records(struct store *from, const struct resource *old, struct store *to,
                        struct error *error)
{
    struct store_cursor cursor;
    struct arena arena;
    arena_init(&arena, 0);
    int status = from->ops->scan(from, &cursor);
    if (status < 0) {
        return error_set(error, CODE_OVERLOADED, "no memory to rebuild %s", old->name);
    }
    to->ops->begin(to);
    const struct record *record = NULL;
    while (status == 0 && (record = from->ops->next(&cursor)) != NULL) {
        status = copy_record(to, old, record, &arena, error);
    }
    from->ops->close(&cursor);
    if (status == 0) {
        to->ops->commit(to);
    } else {
        to->ops->rollback(to);
        error_prefix(error, "%s cannot be rebuilt: ", old->name);
    }
    arena_release(&arena);
    return status;
}

static int rebuild(struct engine *engine, struct realm *realm, struct store *from,
                   const struct resource *old, const struct resource *new, struct error *error)
{
    if (from->counters.records > REBUILD_RECORDS_MAX) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "%s has %llu records, and its fields or indexes are changed while running "
                         "only up to %d: restart to apply",
                         old->name, (unsigned long long)from->counters.records,
                         REBUILD_RECORDS_MAX);
    }
    struct store *store = memory_table_create(engine->memory, new);
    if (store == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for a table of %s", new->name);
    }
    realm->stores[new->position] = store;
    realm->owned[new->position] = true;
    return copy_records(from, old, store, error);
}

/* Gives a resource of the new schema its store; those that stay as they are
 * are only borrowed until the change is certain. */
static int prepare(struct engine *engine, struct realm *realm, const struct resource *new,
                   struct error *error)
{
    const struct resource *old = schema_resource(engine->realm->schema, new->name, new->name_size);
    if (old == NULL) {
        realm->stores[new->position] = engine_open_store(engine, new, error);
        realm->owned[new->position] = true;
        return realm->stores[new->position] != NULL ? 0 : -(int)error->code;
    }
    realm->counters[new->position] = engine->realm->counters[old->position];
    int status = check_primary_key(old, new, error);
    if (status == 0) {
        status = check_fields(old, new, error);
    }
    if (status == 0) {
        status = check_layer(old, new, error);
    }
    if (status < 0) {
        return status;
    }
    struct store *store = engine->realm->stores[old->position];
    if (!same_table(old, new) && store->home != NULL) {
        /* Its records are elsewhere: they are read anew as they are needed. */
        realm->stores[new->position] = engine_open_store(engine, new, error);
        realm->owned[new->position] = true;
        return realm->stores[new->position] != NULL ? 0 : -(int)error->code;
    }
    if (!same_table(old, new)) {
        return rebuild(engine, realm, store, old, new, error);
    }
    realm->stores[new->position] = store;
    return 0;
}

static int check_resources(const struct schema *old, const struct schema *new, struct error *error)
{
    for (unsigned i = 0; i < old->resource_count; i++) {
        const struct resource *resource = &old->resources[i];
        if (schema_resource(new, resource->name, resource->name_size) == NULL) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "the resource %s would be lost: resources can be added, not removed",
                             resource->name);
        }
    }
    return 0;
}

/* The change is certain: the stores that stay have the new schema's resources,
 * and are the new realm's. */
static void take_over(struct engine *engine, struct realm *realm)
{
    struct realm *before = engine->realm;
    for (unsigned i = 0; i < realm->schema->resource_count; i++) {
        const struct resource *new = &realm->schema->resources[i];
        const struct resource *old = schema_resource(before->schema, new->name, new->name_size);
        if (!realm->owned[i]) {
            CHECK(old != NULL);
            realm->owned[i] = true;
            before->owned[old->position] = false;
            if (!realm->stores[i]->remote) {
                memory_table_adopt(realm->stores[i], new);
            }
            if (realm->stores[i]->home != NULL) {
                redis_store_adopt(realm->stores[i], new);
            }
        }
    }
    engine->realm = realm;
    realm_put(engine, before);
}

int engine_change_schema(struct engine *engine, struct schema *schema, struct error *error)
{
    int status = check_resources(engine->realm->schema, schema, error);
    if (status < 0) {
        return status;
    }
    struct realm *realm = realm_create(engine, schema);
    if (realm == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the schema");
    }
    for (unsigned i = 0; status == 0 && i < schema->resource_count; i++) {
        status = prepare(engine, realm, &schema->resources[i], error);
    }
    if (status == 0) {
        status = relations_open(&realm->relations, schema, realm->stores, &engine->shared, error);
    }
    if (status < 0) {
        realm_abandon(realm);
        return status;
    }
    take_over(engine, realm);
    return 0;
}

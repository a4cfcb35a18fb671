#include "layers/load/invalidation.h"

#include <string.h>

#include "layers/query/plan.h"
#include "protocol/base/buffer.h"

static bool bit_test(const uint64_t *bits, unsigned position)
{
    return (bits[position / 64] >> (position % 64)) & 1;
}

static void bit_set(uint64_t *bits, const struct resource *resource)
{
    bits[resource->position / 64] |= UINT64_C(1) << (resource->position % 64);
}

/* ---- Opening: what the loader looks at ---- */

/* What a relation reads, while it is gathered: each relationship once. */
struct reading {
    struct relation *relation;
    struct arena *arena;
    bool *seen; /* by relationship number */
};

/* The resources that a filter reads by paths and exists: their writes may
 * change any answer. */
static int add_expression(struct reading *reading, const struct expr *expr)
{
    struct relation *relation = reading->relation;
    struct arena *arena = reading->arena;
    struct expr_uses uses;
    if (expr == NULL) {
        return 0;
    }
    int status = expr_uses(expr, arena, &uses);
    if (status < 0) {
        return status;
    }
    relation->shows_actor |= uses.actor;
    relation->shows_tenant |= uses.tenant;
    relation->uses_now |= uses.now;
    for (size_t i = 0; status == 0 && i < uses.relationship_count; i++) {
        const struct relationship *step = uses.relationships[i];
        if (reading->seen[step->number]) {
            continue;
        }
        reading->seen[step->number] = true;
        /* Not its source: that is what another one leads to, or the record itself,
         * whose writes affect the keys that it names. */
        bit_set(relation->reads, step->destination);
        if (step->through != NULL) {
            bit_set(relation->reads, step->through);
        }
        status = add_expression(reading, step->loader_filter);
        if (status == 0) {
            status = add_expression(reading, step->filter);
        }
        for (unsigned o = 0; status == 0 && step->order != NULL && o < step->order->count; o++) {
            status = add_expression(reading, step->order->items[o].path);
        }
    }
    return status;
}

static void add_own(struct relation *relation, size_t words)
{
    const struct relationship *relationship = relation->relationship;
    memcpy(relation->looks_at, relation->reads, words * sizeof *relation->reads);
    bit_set(relation->looks_at, relationship->destination);
    if (relationship->manual) {
        bit_set(relation->looks_at, relationship->source);
    }
    if (relationship->through != NULL) {
        bit_set(relation->looks_at, relationship->through);
    }
    for (unsigned i = 0; i < relationship->dependency_count; i++) {
        bit_set(relation->looks_at, relationship->dependencies[i].resource);
    }
}

int invalidation_open(struct relation *relation, struct arena *arena)
{
    const struct relationship *relationship = relation->relationship;
    size_t words = (relation->owner->schema->resource_count + 63u) / 64u;
    relation->reads = arena_zero(arena, words, sizeof *relation->reads);
    relation->looks_at = arena_zero(arena, words, sizeof *relation->looks_at);
    struct reading reading = {
        .relation = relation,
        .arena = arena,
        .seen = arena_zero(arena, relation->owner->schema->relationship_count + 1u, sizeof(bool))};
    if (relation->reads == NULL || relation->looks_at == NULL || reading.seen == NULL) {
        return -CODE_OVERLOADED;
    }
    int status = add_expression(&reading, relationship->loader_filter);
    if (status == 0) {
        status = add_expression(&reading, relationship->filter);
    }
    for (unsigned i = 0;
         status == 0 && relationship->order != NULL && i < relationship->order->count; i++) {
        status = add_expression(&reading, relationship->order->items[i].path);
    }
    if (status == 0) {
        add_own(relation, words);
    }
    return status;
}

/* ---- Writes ---- */

/* The key that these fields of a record name, where it names one. */
static void affect_named(struct relation *relation, const struct resource *resource,
                         const struct field_list *fields, const struct record *record)
{
    struct buffer key = BUFFER_INIT;
    if (record != NULL && key_of_record(resource, fields, record, &key)) {
        relation_invalidate(relation, key.failed ? NULL : key.bytes, key.size);
    }
    buffer_release(&key);
}

static bool same_list(const struct field_list *a, const struct field_list *b)
{
    return a->count == b->count &&
           memcmp(a->fields, b->fields, a->count * sizeof a->fields[0]) == 0;
}

/* The way on which the loader finds records that are at home elsewhere: the plan's
 * first that leads there. NULL where it reads none itself, or may take another. */
static const struct access *way_of(const struct relation *relation)
{
    const struct plan *plan = relation->spec.plan;
    for (unsigned i = 0; plan != NULL && i < plan->access_count; i++) {
        const struct access *way = &plan->accesses[i];
        if (access_leads(way)) {
            return way->in_position < 0 ? way : NULL;
        }
    }
    return NULL;
}

/* Whether notices of an index, or of an identity, are of what the loader read. */
static bool is_read(const struct access *way, const struct field_list *named)
{
    bool by_key = way != NULL && way->kind == ACCESS_POINTS && way->identity == NULL;
    return way == NULL || (!by_key && named != NULL && named->fields[0] == way->fields->fields[0]);
}

/* Whether whatever joins one of the fields' keys is heard of by what the loader read. */
static bool is_told(const struct access *way, const struct resource *resource,
                    const struct field_list *fields)
{
    bool kept =
        resource->redis != NULL && resource->redis->only_relata && !resource->redis->resident;
    if (!kept || way == NULL) {
        return false;
    }
    return way->kind == ACCESS_RANGES ? way->fields->fields[0] == fields->fields[0]
                                      : same_list(way->fields, fields);
}

/* A foreign write, of which old or new is not known. */
static void affect_unknown(struct relation *relation, const struct write_event *event,
                           const struct field_list *fields, const struct access *way)
{
    const struct field_list *named = event->named;
    if (named != NULL && same_list(named, fields)) {
        relation_invalidate(relation, event->key, event->key_size);
    } else if (event->of_index ? is_read(way, named)
                               : event->old_unknown || !is_told(way, event->resource, fields)) {
        relation_invalidate(relation, NULL, 0);
    }
    /* Else the old record told whom it leaves, and the index tells whom it joins. */
}

static void affect_both(struct relation *relation, const struct write_event *event,
                        const struct field_list *fields, const struct access *way)
{
    affect_named(relation, event->resource, fields, event->old);
    affect_named(relation, event->resource, fields, event->new);
    if (event->old_unknown || event->new_unknown) {
        affect_unknown(relation, event, fields, way);
    }
}

static bool same_field(const struct write_event *event, unsigned field)
{
    uint32_t old_size = 0;
    uint32_t new_size = 0;
    unsigned count = event->resource->field_count;
    const uint8_t *old = record_field(event->old, count, field, &old_size);
    const uint8_t *new = record_field(event->new, count, field, &new_size);
    return old_size == new_size && memcmp(old, new, old_size) == 0;
}

/* Whether a source's write changed something that the loader is shown. */
static bool source_changed(const struct relationship *relationship, const struct write_event *event)
{
    if (event->old == NULL || event->new == NULL || relationship->shown_fields == NULL) {
        return true;
    }
    for (unsigned i = 0; i < relationship->shown_field_count; i++) {
        if (!same_field(event, relationship->shown_fields[i])) {
            return true;
        }
    }
    return false;
}

static void on_source(struct relation *relation, const struct write_event *event)
{
    /* The source itself was read by its key; its indexes say nothing new. */
    if (relation->relationship->manual && !event->of_index &&
        source_changed(relation->relationship, event)) {
        affect_both(relation, event, &event->resource->primary_key, NULL);
    }
}

static void on_join_destination(struct relation *relation, const struct write_event *event)
{
    if (relation->relationship->through != NULL) {
        relation_invalidate(relation, NULL, 0);
    } else {
        affect_both(relation, event, &relation->relationship->destination_fields, way_of(relation));
    }
}

/* A field of the destination that must equal the source's whole primary key:
 * then its value names the source. */
static bool filter_names_source(const struct relationship *relationship, struct field_list *out)
{
    const struct field_list *key = &relationship->source->primary_key;
    uint16_t field = 0;
    if (key->count != 1 ||
        !expr_equals_parent(relationship->loader_filter, key->fields[0], &field) ||
        relationship->destination->fields[field].type.kind !=
            relationship->source->fields[key->fields[0]].type.kind) {
        return false;
    }
    *out = (struct field_list){.count = 1, .fields = {field}};
    return true;
}

static void on_outside_write(struct relation *relation, const struct write_event *event)
{
    const struct relationship *relationship = relation->relationship;
    bool listed = false;
    for (unsigned i = 0; i < relationship->dependency_count; i++) {
        const struct dependency *dependency = &relationship->dependencies[i];
        if (dependency->resource != event->resource) {
            continue;
        }
        listed = true;
        if (dependency->fields.count == 0) {
            relation_invalidate(relation, NULL, 0);
        } else {
            affect_both(relation, event, &dependency->fields, NULL);
        }
    }
    bool none = relationship->has_dependencies && relationship->dependency_count == 0;
    if (!listed && !none && event->resource == relationship->destination) {
        relation_invalidate(relation, NULL, 0);
    }
}

static void on_destination(struct relation *relation, const struct write_event *event)
{
    struct field_list fields;
    switch (relation->relationship->loader) {
    case LOADER_JOIN:
        on_join_destination(relation, event);
        return;
    case LOADER_FILTER:
        if (filter_names_source(relation->relationship, &fields)) {
            affect_both(relation, event, &fields, way_of(relation));
        } else {
            relation_invalidate(relation, NULL, 0);
        }
        return;
    case LOADER_MODULE:
    case LOADER_REMOTE:
        return; /* on_outside_write */
    }
}

void invalidation_on_write(struct relation *relation, const struct write_event *event)
{
    const struct relationship *relationship = relation->relationship;
    /* Positions and pointers mean something within one schema only. */
    if (event->resource->schema != relation->owner->schema) {
        relation_invalidate(relation, NULL, 0);
        return;
    }
    if (!bit_test(relation->looks_at, event->resource->position)) {
        return;
    }
    if (event->cause == WRITE_LOST) {
        relation_lose(relation);
        return;
    }
    if (bit_test(relation->reads, event->resource->position)) {
        relation_invalidate(relation, NULL, 0);
        return;
    }
    if (event->resource == relationship->source) {
        on_source(relation, event);
    }
    if (event->resource == relationship->through) {
        affect_both(relation, event, &relationship->through_source,
                    &relation->spec.plan->through->source);
    }
    if (event->resource == relationship->destination) {
        on_destination(relation, event);
    }
    if (relationship->loader == LOADER_MODULE || relationship->loader == LOADER_REMOTE) {
        on_outside_write(relation, event);
    }
}

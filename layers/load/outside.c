#include "layers/load/outside.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/unique.h"
#include "layers/query/expr_shown.h"
#include "layers/record.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* What a batch keeps while a loader has it. */
struct outside_batch {
    const struct record **sources;
    void *extra;
};

static struct store *store_of(const struct relation *relation, const struct resource *resource)
{
    return relation->owner->stores[resource->position];
}

/* ---- The context: what a loader is shown, and the group's key ---- */

/* The shown facts in the order of the schema, so that equal facts make equal
 * keys; facts that the actor does not have are left out. */
static void write_some_facts(const struct relationship *relationship, const struct eval *eval,
                             struct buffer *out)
{
    size_t mark = write_open(out);
    uint32_t count = 0;
    for (unsigned i = 0; i < relationship->actor_fact_count; i++) {
        const char *fact = relationship->actor_facts[i];
        struct reader in = reader_of(eval->actor, eval->actor_size);
        uint32_t pairs = reader_next(&in).count;
        for (uint32_t p = 0; p < pairs; p++) {
            size_t size = 0;
            const uint8_t *value = NULL;
            size_t value_size = 0;
            const char *name = reader_name(&in, &size);
            if (!reader_value(&in, &value, &value_size) || name == NULL || strlen(fact) != size ||
                memcmp(name, fact, size) != 0) {
                continue;
            }
            write_text(out, fact);
            buffer_append(out, value, value_size);
            count++;
            break;
        }
    }
    write_close_map(out, mark, count);
}

static void write_actor(const struct relationship *relationship, const struct eval *eval,
                        struct buffer *out)
{
    if (relationship->actor == ACTOR_ALL) {
        buffer_append(out, eval->actor, eval->actor_size);
    } else {
        write_some_facts(relationship, eval, out);
    }
}

/* Fields that the daemon itself needs of an answer: to filter and sort it (of
 * the relationships that it follows from there, the uses have the fields that
 * join). A selection that is shown must not leave them out. */
static bool need_filter_fields(const struct expr *filter, struct arena *arena, bool *needed)
{
    struct expr_uses uses;
    if (filter == NULL) {
        return true;
    }
    if (expr_uses(filter, arena, &uses) < 0) {
        return false;
    }
    for (size_t i = 0; i < uses.field_count; i++) {
        needed[uses.fields[i]] = true;
    }
    return true;
}

static bool need_order_fields(const struct order *order, struct arena *arena, bool *needed)
{
    bool known = true;
    for (unsigned i = 0; known && order != NULL && i < order->count; i++) {
        if (order->items[i].path == NULL) {
            needed[order->items[i].field] = true;
        } else {
            known = need_filter_fields(order->items[i].path, arena, needed);
        }
    }
    return known;
}

static bool need_fields(const struct relation *relation, const struct query *query,
                        struct arena *arena, bool *needed)
{
    const struct relationship *relationship = relation->relationship;
    for (unsigned i = 0; i < query->selection.count; i++) {
        needed[query->selection.fields[i]] = true;
    }
    return need_filter_fields(query->filter, arena, needed) &&
           need_filter_fields(relationship->filter, arena, needed) &&
           need_order_fields(query->order, arena, needed) &&
           need_order_fields(relationship->order, arena, needed);
}

/* Nothing is written where all fields are wanted, or where further loads may
 * look at any. */
static bool write_select(const struct relation *relation, const struct eval *eval,
                         const struct query *query, struct buffer *out)
{
    const struct resource *destination = relation->relationship->destination;
    if (query->selection.all || query->loads != NULL) {
        return false;
    }
    bool *needed = arena_zero(eval->arena, destination->field_count, sizeof *needed);
    if (needed == NULL || !need_fields(relation, query, eval->arena, needed)) {
        out->failed = true;
        return false;
    }
    write_text(out, "select");
    size_t mark = write_open(out);
    uint32_t count = 0;
    for (unsigned i = 0; i < destination->field_count; i++) {
        if (needed[i]) {
            write_text(out, destination->fields[i].name);
            count++;
        }
    }
    write_close_array(out, mark, count);
    return true;
}

/* limit plus offset, for each source: only where the loader is shown every
 * condition, else it would cut too early. */
static bool write_limit(const struct relation *relation, const struct query *query, bool dropped,
                        struct buffer *out)
{
    const struct relationship *relationship = relation->relationship;
    uint64_t limit = relationship->has_limit ? relationship->limit : UINT64_MAX;
    uint64_t offset = relationship->offset + query->offset;
    if (query->has_limit && query->limit < limit) {
        limit = query->limit;
    }
    if (relationship->to_one && limit > 1) {
        limit = 1;
    }
    if (dropped || limit == UINT64_MAX || offset > INT64_MAX || limit > INT64_MAX) {
        return false;
    }
    write_text(out, "limit");
    write_unsigned(out, limit + offset);
    return true;
}

static bool write_sort(const struct relation *relation, const struct eval *eval,
                       const struct query *query, struct buffer *out)
{
    const struct order *own = relation->relationship->order;
    const struct order *callers = relation->relationship->hint ? query->order : NULL;
    const struct order *order = order_merge(eval->arena, callers, own);
    if (order == NULL) {
        out->failed |= own != NULL || callers != NULL;
        return false;
    }
    struct buffer text = BUFFER_INIT;
    order_print(order, &text);
    write_text(out, "sort");
    write_string(out, text.bytes, text.size);
    out->failed |= text.failed;
    buffer_release(&text);
    return true;
}

static uint32_t write_filter(struct expr_shown *shown, struct buffer *out)
{
    uint32_t pairs = 0;
    if (shown->text->size > 0) {
        write_text(out, "filter");
        write_string(out, shown->text->bytes, shown->text->size);
        pairs++;
    }
    if (shown->param_count > 0) {
        write_text(out, "params");
        write_map(out, shown->param_count);
        buffer_append(out, shown->params->bytes, shown->params->size);
        pairs++;
    }
    return pairs;
}

static void write_query(const struct relation *relation, const struct eval *eval,
                        const struct query *query, struct buffer *out)
{
    const struct relationship *relationship = relation->relationship;
    struct buffer text = BUFFER_INIT;
    struct buffer params = BUFFER_INIT;
    struct expr_shown shown = {
        .eval = eval, .relationship = relationship, .text = &text, .params = &params};
    expr_show(&shown, relationship->filter);
    if (relationship->hint) {
        expr_show(&shown, query->filter);
    }
    size_t mark = write_open(out);
    uint32_t pairs = write_filter(&shown, out);
    pairs += write_sort(relation, eval, query, out);
    if (relationship->hint) {
        pairs += write_limit(relation, query, shown.dropped, out);
        pairs += write_select(relation, eval, query, out);
    }
    write_close_map(out, mark, pairs);
    if (text.failed || params.failed) {
        out->failed = true;
    }
    buffer_release(&text);
    buffer_release(&params);
}

void outside_shown(const struct relation *relation, const struct eval *eval, bool authorize,
                   const struct query *query, uint64_t made_up_by, struct buffer *out)
{
    const struct relationship *relationship = relation->relationship;
    bool actor = relationship->actor != ACTOR_NONE && eval->actor != NULL;
    bool tenant = eval->tenant.kind != VALUE_NIL;
    bool asks = relationship->actor != ACTOR_NONE;
    write_array(out, 2);
    write_map(out, 1u + actor + asks + tenant);
    write_text(out, "query");
    write_query(relation, eval, query, out);
    if (actor) {
        write_text(out, "actor");
        write_actor(relationship, eval, out);
    }
    if (asks) {
        write_text(out, "authorize");
        write_boolean(out, authorize);
    }
    if (tenant) {
        write_text(out, "tenant");
        value_write(out, &eval->tenant);
    }
    if (made_up_by == 0) {
        write_nil(out);
    } else {
        write_unsigned(out, made_up_by);
    }
}

/* The context map within a batch's shown bytes, its pair count consumed. */
static struct reader context_of(const struct batch *batch, uint32_t *pairs)
{
    struct reader in = reader_of(batch->shown, batch->shown_size);
    reader_next(&in);
    struct reader map = in;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    CHECK(reader_value(&in, &bytes, &size));
    map = reader_of(bytes, size);
    *pairs = reader_next(&map).count;
    return map;
}

bool outside_is_made_up(const struct batch *batch)
{
    struct reader in = reader_of(batch->shown, batch->shown_size);
    reader_next(&in);
    reader_skip(&in);
    return reader_next(&in).kind != TOKEN_NIL;
}

void outside_context(const struct batch *batch, uint64_t timeout_ms, bool with_batch,
                     struct buffer *out)
{
    uint32_t pairs = 0;
    struct reader context = context_of(batch, &pairs);
    write_map(out, pairs + (timeout_ms > 0) + with_batch);
    buffer_append(out, context.at, (size_t)(context.end - context.at));
    if (timeout_ms > 0) {
        write_text(out, "timeout_ms");
        write_unsigned(out, timeout_ms);
    }
    if (with_batch) {
        write_text(out, "batch");
        write_unsigned(out, batch->number);
    }
}

void outside_identity(const struct batch *batch, struct outside_identity *out)
{
    uint32_t pairs = 0;
    struct reader in = context_of(batch, &pairs);
    *out = (struct outside_identity){.authorize = false}; /* as under `actor: none` */
    for (uint32_t i = 0; i < pairs; i++) {
        size_t size = 0;
        size_t value_size = 0;
        const uint8_t *value = NULL;
        const char *name = reader_name(&in, &size);
        CHECK(name != NULL && reader_value(&in, &value, &value_size));
        if (size == 5 && memcmp(name, "actor", 5) == 0) {
            out->actor = value;
            out->actor_size = (uint32_t)value_size;
        } else if (size == 6 && memcmp(name, "tenant", 6) == 0) {
            out->tenant = value;
            out->tenant_size = (uint32_t)value_size;
        } else if (size == 9 && memcmp(name, "authorize", 9) == 0) {
            out->authorize = value[0] == 0xc3;
        }
    }
}

/* ---- Sources ---- */

int outside_open(const struct relation *relation, struct batch *batch, size_t extra)
{
    struct arena *arena = &batch->arena;
    const struct resource *source = relation->relationship->source;
    struct store *store = store_of(relation, source);
    bool made_up = outside_is_made_up(batch);
    struct outside_batch *open = arena_zero(arena, 1, sizeof *open);
    const struct record **sources = arena_zero(arena, batch->count, sizeof *sources);
    void *room = arena_zero(arena, 1, extra > 0 ? extra : 1);
    if (open == NULL || sources == NULL || room == NULL) {
        return -CODE_OVERLOADED;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct load_key *key = &batch->keys[i];
        const struct record *record =
            made_up ? NULL : store->ops->find(store, key->bytes, key->size);
        record = record != NULL ? record : key->source;
        CHECK(record != NULL);
        sources[i] = arena_copy(arena, record, record_bytes(record, source->field_count));
        if (sources[i] == NULL) {
            return -CODE_OVERLOADED;
        }
    }
    open->sources = sources;
    open->extra = room;
    batch->context = open;
    return 0;
}

void *outside_extra(const struct batch *batch)
{
    return ((const struct outside_batch *)batch->context)->extra;
}

const struct record *outside_source(const struct batch *batch, size_t key)
{
    CHECK(key < batch->count);
    return ((const struct outside_batch *)batch->context)->sources[key];
}

static void write_source(const struct relationship *relationship, const struct record *record,
                         struct buffer *out)
{
    const struct resource *resource = relationship->source;
    bool whole = relationship->shown_fields == NULL;
    unsigned count = whole ? resource->field_count : relationship->shown_field_count;
    write_map(out, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned position = whole ? i : relationship->shown_fields[i];
        const struct field *field = &resource->fields[position];
        uint32_t size = 0;
        const uint8_t *bytes = record_field(record, resource->field_count, position, &size);
        buffer_append(out, field->name_bytes, field->name_bytes_size);
        buffer_append(out, bytes, size);
    }
}

void outside_sources(const struct relation *relation, const struct batch *batch, size_t from,
                     size_t count, struct buffer *out)
{
    write_array(out, (uint32_t)count);
    for (size_t i = from; i < from + count; i++) {
        write_source(relation->relationship, outside_source(batch, i), out);
    }
}

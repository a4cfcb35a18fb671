#include "layers/query/source.h"

#include <string.h>

#include "layers/query/source_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/msgpack/reader.h"

enum {
    ESTIMATE_MOST = 4096, /* beyond it, ways are alike */
    START_COST = 8,       /* going down an index, in visits */
    ESTIMATE_SLICE = 4,   /* entries that an estimate counts for one visit */
    THROUGH_SLICE = 256,
    SEEN_FIRST = 16
};

int source_lacks_memory(struct source *source)
{
    struct arena *arena = source->eval->arena;
    return error_limit_hit(source->eval->error, CODE_OVERLOADED, "work_bytes", arena->max,
                           arena->total);
}

bool source_visit(struct source *source)
{
    struct eval *eval = source->eval;
    if (eval->steps_left == 0) {
        error_limit_hit(eval->error, CODE_TOO_LARGE, "filter_steps", eval->steps_max,
                        eval->steps_max + 1);
        return false;
    }
    eval->steps_left--;
    return true;
}

int source_init(struct source *source, const struct search_spec *spec, struct eval *eval)
{
    const struct plan *plan = spec->plan;
    *source = (struct source){.spec = spec, .plan = plan, .eval = eval};
    unsigned count = plan->through != NULL ? plan->through->term_count : plan->term_count;
    source->values = arena_zero(eval->arena, count + 1u, sizeof(*source->values));
    if (source->values == NULL) {
        return -CODE_OVERLOADED;
    }
    walk_init(&source->walk, eval_store(eval, spec->resource), eval->arena);
    source_ahead_init(source);
    if (plan->through == NULL) {
        return 0;
    }
    source->destination_values =
        arena_zero(eval->arena, count + 1u, sizeof(*source->destination_values));
    if (source->destination_values == NULL) {
        return -CODE_OVERLOADED;
    }
    pile_init(&source->found, sizeof(void *), eval->arena);
    walk_init(&source->through, eval_store(eval, spec->through->through), eval->arena);
    walk_init(&source->destination, eval_store(eval, spec->resource), eval->arena);
    return 0;
}

/* ---- Values ---- */

/* The parts of a key as values of the fields that they are to equal. False
 * where nothing can. */
bool source_key_values(const struct resource *resource, const struct field_list *join,
                       const uint8_t *key, size_t size, struct term_value *out)
{
    struct reader reader = reader_of(key, size);
    for (unsigned i = 0; i < join->count; i++) {
        const struct field *field = &resource->fields[join->fields[i]];
        const uint8_t *bytes;
        size_t bytes_size;
        struct value value;
        if (!reader_value(&reader, &bytes, &bytes_size)) {
            return false;
        }
        type_load(&field->type, bytes, bytes_size, &value);
        if (!term_value_set(&out[i], field, CONJUNCT_EQUAL, &value)) {
            return false;
        }
    }
    return true;
}

/* The join's terms are the first of a plan. */
bool source_set_values(struct source *source, const struct search_input *input)
{
    const struct plan *plan = source->plan;
    const struct search_spec *spec = source->spec;
    if (spec->join != NULL && !source_key_values(spec->resource, spec->join, input->key,
                                                 input->key_size, source->values)) {
        return false;
    }
    for (unsigned i = spec->join != NULL ? spec->join->count : 0; i < plan->term_count; i++) {
        const struct plan_term *term = &plan->terms[i];
        struct value value;
        if (!term->used) {
            continue;
        }
        expr_operand(&term->conjunct, source->eval, input->outer, &value);
        if (!term_value_set(&source->values[i], &spec->resource->fields[term->field],
                            term->operator, & value)) {
            return false;
        }
    }
    return true;
}

/* ---- Choosing a way ---- */

static enum walk_bound bind(struct source *source, const struct access *access,
                            const struct search_input *input)
{
    return walk_bind(&source->walk, access, source->values, source->spec->join, input->key,
                     input->key_size);
}

struct choice {
    const struct access *access;
    uint64_t cost;
};

static void consider(struct source *source, const struct access *access, struct choice *best)
{
    if (access_for_order_alone(access)) {
        /* A walk in the order until the limit is reached, against making the
         * order of a great many. */
        if (best->access == NULL || (best->cost >= ESTIMATE_MOST && best->access->ordered == 0)) {
            *best = (struct choice){access, ESTIMATE_MOST};
        }
        return;
    }
    uint64_t most = best->access != NULL ? best->cost : ESTIMATE_MOST;
    uint64_t cost = walk_estimate(&source->walk, most);
    source->debt += START_COST + cost / ESTIMATE_SLICE;
    if (best->access == NULL || cost < best->cost) {
        *best = (struct choice){access, cost};
    }
}

/* The access that is the cheapest for these values, bound. The scan, which is
 * always possible, is the last and taken only where there is nothing else. */
static enum walk_bound choose(struct source *source, const struct search_input *input)
{
    const struct plan *plan = source->plan;
    struct choice best = {NULL, 0};
    const struct access *bound_to = NULL;
    for (unsigned i = 0; i < plan->access_count; i++) {
        const struct access *access = &plan->accesses[i];
        bool scan = access->kind == ACCESS_SCAN;
        if (scan && best.access != NULL) {
            break;
        }
        enum walk_bound bound = bind(source, access, input);
        if (bound == WALK_UNUSABLE) {
            continue;
        }
        if (bound != WALK_READY) {
            return bound;
        }
        bound_to = access;
        bool last = i + 2 >= plan->access_count && best.access == NULL;
        bool one = access->kind == ACCESS_POINTS && access->in_position < 0;
        if (scan || last || one) {
            best.access = access;
            break;
        }
        consider(source, access, &best);
    }
    source->access = best.access;
    return bound_to == best.access ? WALK_READY : bind(source, best.access, input);
}

static int start_walk(struct source *source, const struct search_input *input)
{
    int ready = store_ready(source->walk.store, source->eval->error);
    if (ready < 0) {
        return ready;
    }
    const struct access *first = &source->plan->accesses[0];
    enum walk_bound bound;
    if (first->key_as_given) {
        source->access = first;
        bound = bind(source, first, input);
    } else if (!source_set_values(source, input)) {
        bound = WALK_EMPTY;
    } else {
        bound = choose(source, input);
    }
    if (bound == WALK_EMPTY) {
        /* An operand for which there was no memory looks like nil. */
        return source->eval->arena->failed ? source_lacks_memory(source) : 0;
    }
    int code = bound == WALK_READY ? walk_open(&source->walk) : -CODE_OVERLOADED;
    if (code != 0) {
        return source_lacks_memory(source);
    }
    source->kind = SOURCE_WALK;
    source->debt += START_COST;
    return 0;
}

/* ---- Through ---- */

/* A key of a record: in place where it is one field. False where one is nil. */
int source_take_key(struct source *source, const struct resource *resource,
                    const struct field_list *fields, const struct record *record,
                    const uint8_t **key, size_t *size)
{
    size_t total = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        uint32_t bytes;
        if (record_is_nil(record, resource->field_count, fields->fields[i])) {
            return 0;
        }
        *key = record_field(record, resource->field_count, fields->fields[i], &bytes);
        total += bytes;
    }
    *size = total;
    if (fields->count == 1) {
        return 1;
    }
    if (total > source->room_size) {
        source->room = arena_alloc(source->eval->arena, total * 2);
        source->room_size = source->room != NULL ? total * 2 : 0;
    }
    if (source->room == NULL) {
        return -CODE_OVERLOADED;
    }
    struct buffer buffer = {
        .bytes = source->room, .capacity = source->room_size, .max = source->room_size};
    key_of_record(resource, fields, record, &buffer);
    *key = source->room;
    return 1;
}

static size_t seen_slot(const struct source_seen *seen, const struct resource *resource,
                        const uint8_t *key, size_t size)
{
    size_t at = hash_bytes(key, size) & seen->mask;
    while (seen->slots[at].stamp == seen->stamp &&
           !key_matches(resource, &resource->primary_key, seen->slots[at].record, key, size)) {
        at = (at + 1) & seen->mask;
    }
    return at;
}

static int seen_grow(struct source *source)
{
    struct source_seen *seen = &source->seen, grown = *seen;
    size_t count = seen->mask > 0 ? (seen->mask + 1) * 2 : SEEN_FIRST;
    grown.slots = arena_zero(source->eval->arena, count, sizeof(*grown.slots));
    if (grown.slots == NULL) {
        return -CODE_OVERLOADED;
    }
    grown.mask = count - 1;
    for (size_t i = 0; seen->mask > 0 && i <= seen->mask; i++) {
        const uint8_t *key;
        size_t size;
        if (seen->slots[i].stamp != seen->stamp) {
            continue;
        }
        if (source_take_key(source, source->spec->resource, &source->spec->resource->primary_key,
                            seen->slots[i].record, &key, &size) < 0) {
            return -CODE_OVERLOADED;
        }
        grown.slots[seen_slot(&grown, source->spec->resource, key, size)] = seen->slots[i];
    }
    *seen = grown;
    return 0;
}

/* 1 where the record is new, 0 where it was there, or a code. */
static int see(struct source *source, const struct record *record)
{
    struct source_seen *seen = &source->seen;
    const struct resource *resource = source->spec->resource;
    if (seen->count * 4 >= seen->mask * 3 && seen_grow(source) != 0) {
        return -CODE_OVERLOADED;
    }
    const uint8_t *key;
    size_t size;
    if (source_take_key(source, resource, &resource->primary_key, record, &key, &size) < 0) {
        return -CODE_OVERLOADED;
    }
    size_t at = seen_slot(seen, resource, key, size);
    if (seen->slots[at].stamp == seen->stamp) {
        return 0;
    }
    seen->slots[at].record = record;
    seen->slots[at].stamp = seen->stamp;
    seen->count++;
    return 1;
}

int source_keep_found(struct source *source, const struct record *record)
{
    int fresh = source->plan->through->unique ? 1 : see(source, record);
    if (fresh <= 0) {
        return fresh;
    }
    const struct record **place = pile_push(&source->found);
    if (place == NULL) {
        return -CODE_OVERLOADED;
    }
    *place = record;
    return 0;
}

/* Follows a through record to the destinations that it names. */
int source_follow(struct source *source, const struct record *record)
{
    const struct relationship *relationship = source->spec->through;
    const struct access *access = &source->plan->through->destination;
    const struct field_list *join = &relationship->destination_fields;
    const uint8_t *key;
    size_t size;
    int code = source_take_key(source, relationship->through, &relationship->through_destination,
                               record, &key, &size);
    if (code <= 0) {
        return code;
    }
    if (!access->key_as_given && !source_key_values(relationship->destination, join, key, size,
                                                    source->destination_values)) {
        return 0;
    }
    struct walk *walk = &source->destination;
    enum walk_bound bound = walk_bind(walk, access, source->destination_values, join, key, size);
    code = bound == WALK_FAILED ? -CODE_OVERLOADED : bound == WALK_READY ? walk_open(walk) : 0;
    if (code != 0 || bound != WALK_READY) {
        return code;
    }
    const struct record *found = NULL;
    while (code == 0 && (found = walk_next(walk)) != NULL) {
        if (walk_joins(walk, found)) {
            code = source_keep_found(source, found);
        }
    }
    walk_close(walk);
    return code;
}

/* Follows at most `most` records; *followed tells how many. */
static int follow_some(struct source *source, uint64_t most, uint64_t *followed)
{
    *followed = 0;
    if (source->found_at == source->found.count) {
        source->found_at = 0;
        source->found.count = 0;
    }
    while (*followed < most) {
        const struct record *record = walk_next(&source->through);
        if (record == NULL) {
            source->through_ended = true;
            break;
        }
        ++*followed;
        if (!source_visit(source)) {
            return -CODE_TOO_LARGE;
        }
        if (walk_joins(&source->through, record) && source_follow(source, record) != 0) {
            return source_lacks_memory(source);
        }
    }
    return source->eval->arena->failed ? source_lacks_memory(source) : 0;
}

void source_forget_found(struct source *source)
{
    source->through_ended = false;
    source->found.count = 0;
    source->found_at = 0;
    source->seen.count = 0;
    source->seen.stamp++;
}

static int start_through(struct source *source, const struct search_input *input)
{
    const struct relationship *relationship = source->spec->through;
    const struct access *access = &source->plan->through->source;
    const struct field_list *join = &relationship->through_source;
    int ready = store_ready(source->through.store, source->eval->error);
    if (ready == 0) {
        ready = store_ready(source->destination.store, source->eval->error);
    }
    if (ready < 0) {
        return ready;
    }
    source_forget_found(source);
    if (!access->key_as_given && !source_key_values(relationship->through, join, input->key,
                                                    input->key_size, source->values)) {
        return 0;
    }
    enum walk_bound bound =
        walk_bind(&source->through, access, source->values, join, input->key, input->key_size);
    if (bound == WALK_EMPTY) {
        return 0;
    }
    if (bound != WALK_READY || walk_open(&source->through) != 0) {
        return source_lacks_memory(source);
    }
    source->kind = SOURCE_THROUGH;
    /* Who takes records one by one may want the first alone. */
    uint64_t most = source->spec->unordered ? 0 : SOURCE_THROUGH_AT_ONCE;
    return follow_some(source, most, &source->debt);
}

static enum run_status next_through(struct source *source, uint64_t *budget,
                                    const struct record **record)
{
    while (source->found_at == source->found.count && !source->through_ended) {
        if (*budget == 0) {
            return RUN_MORE;
        }
        uint64_t most = source->spec->unordered ? 1 : THROUGH_SLICE, followed;
        most = *budget < most ? *budget : most;
        if (follow_some(source, most, &followed) != 0) {
            return RUN_FAILED;
        }
        *budget -= followed;
    }
    *record = NULL;
    if (source->found_at < source->found.count) {
        const struct record *const *place = pile_at(&source->found, source->found_at++);
        *record = *place;
    }
    return RUN_DONE;
}

/* ---- The face ---- */

int source_start(struct source *source, const struct search_input *input)
{
    source->kind = SOURCE_NOTHING;
    source->access = NULL;
    source->debt = 0;
    source->looked_ahead = false;
    source->asked_ahead = false;
    int code = 0;
    if (input->list != NULL) {
        source->kind = SOURCE_LIST;
        source->list = input->list;
        source->list_count = input->list_count;
        source->list_at = 0;
    } else if (source_is_elsewhere(source)) {
        code = source_start_fetch(source, input);
    } else if (source->plan->through != NULL) {
        code = start_through(source, input);
    } else {
        code = start_walk(source, input);
    }
    if (code != 0) {
        source_stop(source);
    }
    return code;
}

static bool pay_debt(struct source *source, uint64_t *budget)
{
    uint64_t paid = source->debt < *budget ? source->debt : *budget;
    source->debt -= paid;
    *budget -= paid;
    return source->debt == 0;
}

enum run_status source_next(struct source *source, uint64_t *budget, const struct record **record)
{
    *record = NULL;
    switch (source->kind) {
    case SOURCE_NOTHING:
        return RUN_DONE;
    case SOURCE_LIST:
        if (source->list_at == 0 && !source_look_ahead(source, source->list, source->list_count)) {
            return RUN_MORE;
        }
        if (source->list_at < source->list_count) {
            *record = source->list[source->list_at++];
        }
        return RUN_DONE;
    case SOURCE_FETCH:
        return source_next_fetched(source, record);
    case SOURCE_THROUGH:
        return pay_debt(source, budget) ? next_through(source, budget, record) : RUN_MORE;
    case SOURCE_WALK:
        if (source->debt > 0 && !pay_debt(source, budget)) {
            return RUN_MORE;
        }
        break;
    }
    *record = walk_next(&source->walk);
    if (*record == NULL && source->eval->arena->failed) {
        source_lacks_memory(source);
        return RUN_FAILED;
    }
    return RUN_DONE;
}

void source_stop(struct source *source)
{
    if (source->kind == SOURCE_WALK) {
        walk_close(&source->walk);
    } else if (source->kind == SOURCE_THROUGH) {
        walk_close(&source->through);
        walk_close(&source->destination);
    }
    fetch_end(&source->fetch);
    source_ahead_end(source);
    source->kind = SOURCE_NOTHING;
}

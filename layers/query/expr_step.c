#include "layers/query/expr_run.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/limits.h"

/* Related records for a run: a plain belongs_to asks the store for the key,
 * everything else is a search, so that a step gives what loading it would. */

enum { KEY_SLACK = 16 };

static int no_memory(const struct expr_run *run)
{
    return error_set(run->eval->error, CODE_OVERLOADED, "no memory to follow a relationship");
}

/* ---- Making ---- */

static bool same_fields(const struct field_list *a, const struct field_list *b)
{
    return a->count == b->count &&
           memcmp(a->fields, b->fields, a->count * sizeof(a->fields[0])) == 0;
}

static bool is_direct(const struct relationship *relationship)
{
    const struct field *source =
        &relationship->source->fields[relationship->source_fields.fields[0]];
    const struct field *destination =
        &relationship->destination->fields[relationship->destination_fields.fields[0]];
    return relationship->kind == BELONGS_TO && !relationship->manual &&
           relationship->filter == NULL && !relationship->has_limit && relationship->offset == 0 &&
           relationship->source_fields.count == 1 && source->type.kind == destination->type.kind &&
           same_fields(&relationship->destination_fields, &relationship->destination->primary_key);
}

/* The search may judge the filter itself, and choose its way by it, where the
 * relationship does not cut what it gives, and where the filter's `parent` is
 * the record that the relationship starts from. */
static bool may_push(const struct step *step, const struct search_spec *spec)
{
    return step->exists && !step->relationship->to_one && !spec->has_limit && spec->offset == 0 &&
           step->base < 0 && step->up == 0 && spec->filter_count < SEARCH_FILTERS_MAX;
}

static int create_search(struct expr_run *run, struct step_state *state)
{
    const struct step *step = state->step;
    int status = search_relationship_spec(step->relationship, run->arena, &state->spec);
    if (status != 0) {
        return status;
    }
    state->pushed = may_push(step, &state->spec);
    if (state->pushed) {
        if (step->filter != NULL) {
            state->spec.filters[state->spec.filter_count++] = step->filter;
        }
        state->spec.order = NULL;
        state->spec.unordered = true;
        status = search_plan(&state->spec, run->arena);
        if (status != 0) {
            return status;
        }
    }
    state->search = search_create(&state->spec, run->eval);
    return state->search != NULL ? 0 : no_memory(run);
}

static int create_step(struct expr_run *run, struct step_state *state, const struct step *step)
{
    state->step = step;
    state->direct = is_direct(step->relationship);
    if (!state->direct) {
        int status = create_search(run, state);
        if (status != 0) {
            return status;
        }
    }
    if (step->filter != NULL && !state->pushed) {
        state->inner = expr_run_create(run->arena, step->filter, run->eval);
        if (state->inner == NULL) {
            return no_memory(run);
        }
    }
    return 0;
}

int steps_create(struct expr_run *run)
{
    uint32_t count = run->expr->step_count;
    run->steps = arena_zero(run->arena, count, sizeof(struct step_state));
    if (run->steps == NULL) {
        return no_memory(run);
    }
    for (uint32_t i = 0; i < count; i++) {
        int status = create_step(run, &run->steps[i], &run->expr->steps[i]);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

void steps_stop(struct expr_run *run)
{
    for (uint32_t i = 0; i < run->expr->step_count; i++) {
        struct step_state *state = &run->steps[i];
        if (state->status == STEP_SEARCHING && state->search != NULL) {
            search_stop(state->search);
        }
        if (state->inner != NULL) {
            expr_run_stop(state->inner);
        }
        fetch_end(&state->fetch);
        state->status = STEP_UNKNOWN;
    }
}

void steps_reset(struct expr_run *run)
{
    for (uint32_t i = 0; i < run->expr->step_count; i++) {
        run->steps[i].status = STEP_UNKNOWN;
    }
}

/* ---- Finding ---- */

static const struct expr_records *source_of(struct expr_run *run, struct step_state *state)
{
    const struct step *step = state->step;
    if (step->base < 0) {
        const struct expr_records *records = records_out(run->records, step->up);
        return records != NULL && records->record != NULL ? records : NULL;
    }
    state->source = (struct expr_records){.record = run->steps[step->base].found};
    return state->source.record != NULL ? &state->source : NULL;
}

/* Whether the search asked for all that the step leads to before it judged the first
 * record (source_ahead.c). */
static bool was_asked_ahead(const struct expr_run *run, const struct step *step)
{
    return step->base < 0 && step->up == 0 && run->records->asked_ahead;
}

/* A record that is at home elsewhere: asked for once, and waited for. */
static enum run_status fetch_direct(struct expr_run *run, struct step_state *state,
                                    struct store *store, const uint8_t *key, size_t size)
{
    struct fetch *fetch = &state->fetch;
    struct error *error = run->eval->error;
    if (!fetch->begun) {
        state->sought = (struct store_key){.bytes = key, .size = size};
        *fetch = (struct fetch){.store = store,
                                .asker = run->eval->asker,
                                .kind = FETCH_KEYS,
                                .keys = &state->sought,
                                .asked = 1,
                                .counted = was_asked_ahead(run, state->step)};
        if (fetch_start(fetch, error) < 0) {
            return RUN_FAILED;
        }
    }
    if (!fetch->done) {
        return RUN_MORE;
    }
    bool failed =
        fetch->error.code != CODE_OK || (fetch->errors != NULL && fetch->errors[0] != NULL);
    if (failed) {
        *error = fetch->error.code != CODE_OK ? fetch->error : *fetch->errors[0];
    } else {
        state->found = fetch->records[0];
    }
    fetch_end(fetch);
    return failed ? RUN_FAILED : RUN_DONE;
}

static enum run_status find_direct(struct expr_run *run, struct step_state *state,
                                   const struct record *source, uint64_t *budget)
{
    const struct relationship *relationship = state->step->relationship;
    struct eval *eval = run->eval;
    uint32_t size;
    const uint8_t *key = record_field(source, relationship->source->field_count,
                                      relationship->source_fields.fields[0], &size);
    state->found = NULL;
    if (key[0] == 0xc0) {
        return RUN_DONE;
    }
    struct store *store = eval_store(eval, relationship->destination);
    if (state->fetch.begun) {
        return fetch_direct(run, state, store, key, size);
    }
    if (*budget == 0) {
        return RUN_MORE;
    }
    if (eval->steps_left == 0) {
        error_limit_hit(eval->error, CODE_TOO_LARGE, "filter_steps", eval->steps_max,
                        eval->steps_max + 1);
        return RUN_FAILED;
    }
    --*budget;
    eval->steps_left--;
    if (store->remote) {
        return fetch_direct(run, state, store, key, size);
    }
    if (store_ready(store, eval->error) < 0) {
        return RUN_FAILED;
    }
    state->found = store->ops->find(store, key, size);
    return RUN_DONE;
}

/* The join's key into the step's own room. */
static bool take_key(struct expr_run *run, struct step_state *state, const struct record *source,
                     bool *joins)
{
    const struct relationship *relationship = state->step->relationship;
    size_t needed = (size_t)KEY_SLACK * KEY_FIELDS_MAX;
    for (unsigned i = 0; i < relationship->source_fields.count; i++) {
        uint32_t size;
        record_field(source, relationship->source->field_count,
                     relationship->source_fields.fields[i], &size);
        needed += size;
    }
    if (needed > state->key_room) {
        size_t room = needed > 2 * state->key_room ? needed : 2 * state->key_room;
        uint8_t *key = arena_alloc(run->arena, room);
        if (key == NULL) {
            return false;
        }
        state->key = key;
        state->key_room = room;
    }
    struct buffer out = {.bytes = state->key, .capacity = state->key_room, .max = state->key_room};
    *joins = search_relationship_key(relationship, source, &out);
    state->input.key = state->key;
    state->input.key_size = out.size;
    return !out.failed;
}

/* Begins the search from the source. *joins false: there is nothing related. */
static enum run_status begin_search(struct expr_run *run, struct step_state *state,
                                    const struct expr_records *source, bool *joins)
{
    *joins = true;
    state->input = (struct search_input){.outer = source, .transient = true};
    if (!state->step->relationship->manual && !take_key(run, state, source->record, joins)) {
        no_memory(run);
        return RUN_FAILED;
    }
    if (*joins && search_start(state->search, &state->input) != 0) {
        return RUN_FAILED;
    }
    return RUN_DONE;
}

/* From STEP_UNKNOWN to STEP_SEARCHING, or to STEP_KNOWN where that is simple. */
static enum run_status begin(struct expr_run *run, struct step_state *state, uint64_t *budget)
{
    const struct expr_records *source = source_of(run, state);
    bool joins = source != NULL;
    enum run_status status = RUN_DONE;
    if (joins && state->direct) {
        status = find_direct(run, state, source->record, budget);
        if (status == RUN_DONE) {
            state->status = STEP_KNOWN;
        }
        return status;
    }
    if (joins) {
        status = begin_search(run, state, source, &joins);
    }
    if (status == RUN_DONE) {
        state->found = NULL;
        state->status = joins ? STEP_SEARCHING : STEP_KNOWN;
    }
    return status;
}

enum run_status step_go(struct expr_run *run, struct step_state *state, uint64_t *budget)
{
    enum run_status status = RUN_DONE;
    if (state->status == STEP_UNKNOWN) {
        status = begin(run, state, budget);
    }
    if (status == RUN_DONE && state->status == STEP_SEARCHING) {
        const struct record *const *records;
        size_t count;
        status = search_run(state->search, budget, &records, &count);
        if (status == RUN_DONE) {
            state->found = count > 0 ? records[0] : NULL;
            state->status = STEP_KNOWN;
        }
    }
    return status;
}

/* ---- exists ---- */

/* What was found becomes what is to be judged. */
static void begin_judging(struct step_state *state, const struct record *const *list, size_t count)
{
    state->list = list;
    state->list_count = count;
    state->list_at = 0;
    state->inner_started = false;
    state->status = STEP_JUDGING;
}

static enum run_status exists_search(struct step_state *state, uint64_t *budget)
{
    enum run_status status;
    if (state->pushed) {
        status = search_next(state->search, budget, &state->found);
        if (status == RUN_DONE) {
            search_stop(state->search);
            state->status = STEP_KNOWN;
        }
        return status;
    }
    const struct record *const *records;
    size_t count;
    status = search_run(state->search, budget, &records, &count);
    if (status == RUN_DONE) {
        begin_judging(state, records, count);
    }
    return status;
}

/* Until one is true. Nil is not enough. */
static enum run_status judge(struct expr_run *run, struct step_state *state, uint64_t *budget)
{
    while (state->list_at < state->list_count) {
        struct value verdict = {.kind = VALUE_BOOLEAN, .boolean = true};
        if (state->inner != NULL) {
            if (!state->inner_started) {
                state->candidate = (struct expr_records){.record = state->list[state->list_at],
                                                         .outer = run->records};
                expr_run_start(state->inner, &state->candidate);
                state->inner_started = true;
            }
            enum run_status status = expr_run_go(state->inner, budget, &verdict);
            if (status != RUN_DONE) {
                return status;
            }
        }
        if (verdict.kind == VALUE_BOOLEAN && verdict.boolean) {
            state->found = state->list[state->list_at];
            break;
        }
        state->list_at++;
        state->inner_started = false;
    }
    if (state->list_at == state->list_count) {
        state->found = NULL;
    }
    state->status = STEP_KNOWN;
    return RUN_DONE;
}

enum run_status exists_go(struct expr_run *run, struct step_state *state, uint64_t *budget,
                          bool *out)
{
    enum run_status status = RUN_DONE;
    if (state->status == STEP_UNKNOWN) {
        status = begin(run, state, budget);
        if (status == RUN_DONE && state->status == STEP_KNOWN && state->found != NULL) {
            begin_judging(state, &state->found, 1);
        }
    }
    if (status == RUN_DONE && state->status == STEP_SEARCHING) {
        status = exists_search(state, budget);
    }
    if (status == RUN_DONE && state->status == STEP_JUDGING) {
        status = judge(run, state, budget);
    }
    *out = state->found != NULL;
    return status;
}

/* ---- What is known of a step before it runs ---- */

size_t expr_direct_relationships(const struct expr *expr, const struct relationship **out,
                                 size_t most)
{
    size_t count = 0;
    for (uint32_t i = 0; i < expr->step_count && count < most; i++) {
        const struct step *step = &expr->steps[i];
        if (step->base < 0 && step->up == 0 && is_direct(step->relationship)) {
            out[count++] = step->relationship;
        }
    }
    return count;
}

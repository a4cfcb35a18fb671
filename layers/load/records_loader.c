#include "layers/load/records_loader.h"

#include <stddef.h>
#include <time.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* The happy path is records_loader_start -> work_run (a slice or several) ->
 * coalescer_complete. Where the records are at home elsewhere, many keys are
 * searched side by side, so that what they ask for goes there together, and the
 * task waits for all of it. Possible failures are: no memory for the work (the batch
 * fails at once), a search that fails (filter_steps, memory: the batch fails; what its
 * records' home says: that key fails), and the coalescer's cancel, after which the work
 * forgets the batch. */

/* One key that is being searched; side by side with others where records must be
 * fetched. */
struct lane {
    struct search *search;
    size_t key;
    bool searching;
    struct search_input input;
    struct expr_records source;
};

enum { LANES_MAX = 128 };

/* A batch that is being answered. It lives in the batch's arena, but for the
 * pin and the task, which are in lists: so it ends before the batch does. */
struct work {
    struct task task;
    struct relation *relation;
    struct batch *batch;
    struct eval eval;
    struct error error;
    struct pin pin;
    struct lane *lanes;
    size_t lane_count;
    struct related_records *answers;
    const struct record **sources; /* of a manual relationship, as the batch was formed */
    size_t at;                     /* the next key that no lane has had */
    size_t answered;
    bool made_up; /* the sources are a loader's own, not stored ones */
    bool held;    /* outlived its turn: pinned, can be overtaken */
};

static struct relations_owner *shared_of(const struct work *work)
{
    return work->relation->owner->shared;
}

/* The work leaves all lists; the batch's memory is the coalescer's again. */
static void work_end(struct work *work)
{
    for (size_t i = 0; i < work->lane_count; i++) {
        search_stop(work->lanes[i].search);
    }
    task_withdraw(&work->task);
    if (work->held) {
        pin_put(&work->pin);
        relation_let_go(work->relation);
    }
}

/* A batch that does not end in its turn keeps the records that it found, and
 * can be overtaken by writes from now on. */
static void work_hold(struct work *work)
{
    if (!work->held) {
        work->held = true;
        pin_take(shared_of(work)->world, &work->pin);
        relation_hold(work->relation);
    }
}

static void work_fail(struct work *work)
{
    struct relations_owner *shared = shared_of(work);
    struct batch *batch = work->batch;
    struct error error = work->error;
    work_end(work);
    coalescer_fail(shared->coalescer, batch, &error, shared->now_us);
}

static int lane_begin(struct work *work, struct lane *lane)
{
    lane->key = work->at++;
    lane->input = (struct search_input){0};
    if (work->relation->relationship->manual) {
        lane->source = (struct expr_records){.record = work->sources[lane->key]};
        lane->input.outer = &lane->source;
    } else {
        const struct load_key *key = &work->batch->keys[lane->key];
        lane->input.key = key->bytes;
        lane->input.key_size = key->size;
    }
    lane->searching = true;
    return search_start(lane->search, &lane->input);
}

/* What is wrong with the records of one key fails that key: others in the batch may be
 * anybody's. Not so where memory lacks, or the batch's steps are used up. */
static bool fail_key(struct work *work, struct lane *lane)
{
    struct batch *batch = work->batch;
    bool alone = work->error.code != CODE_OVERLOADED && work->eval.steps_left > 0;
    const struct error *error =
        alone ? arena_copy(&batch->arena, &work->error, sizeof work->error) : NULL;
    if (error == NULL) {
        return false;
    }
    search_stop(lane->search);
    error_clear(&work->error);
    batch->answers[lane->key] = (struct load_answer){.error = error};
    return true;
}

static enum run_status lane_search(struct work *work, struct lane *lane, uint64_t *budget)
{
    struct related_records *answer = &work->answers[lane->key];
    enum run_status status = search_run(lane->search, budget, &answer->records, &answer->count);
    if (status == RUN_DONE) {
        work->batch->answers[lane->key] = (struct load_answer){.value = answer};
    }
    return status;
}

/* One key after the other, until one has to wait or the budget is used up. */
static enum run_status lane_run(struct work *work, struct lane *lane, uint64_t *budget)
{
    const struct batch *batch = work->batch;
    while (lane->searching || work->at < batch->count) {
        bool begun = lane->searching || lane_begin(work, lane) == 0;
        enum run_status status = begun ? lane_search(work, lane, budget) : RUN_FAILED;
        if (status == RUN_MORE || (status == RUN_FAILED && !fail_key(work, lane))) {
            return status;
        }
        lane->searching = false;
        work->answered++;
        *budget -= *budget > 0; /* a key costs too, so that many empty ones end a slice */
        if (*budget == 0 && work->answered < batch->count) {
            return RUN_MORE;
        }
    }
    return RUN_DONE;
}

static bool work_run(struct task *task, uint64_t *budget)
{
    struct work *work = CONTAINER_OF(task, struct work, task);
    struct batch *batch = work->batch;
    for (size_t i = 0; i < work->lane_count && work->answered < batch->count; i++) {
        if (lane_run(work, &work->lanes[i], budget) == RUN_FAILED) {
            work_fail(work);
            return true;
        }
    }
    if (work->answered < batch->count) {
        work_hold(work);
        return false;
    }
    struct relations_owner *shared = shared_of(work);
    work_end(work);
    coalescer_complete(shared->coalescer, batch, relations_clock(shared));
    return true;
}

/* ---- What is shown ---- */

void records_loader_shown(const struct relation *relation, const struct eval *eval,
                          uint64_t made_up_by, struct buffer *out)
{
    if (!relation->shows_actor && !relation->shows_tenant && made_up_by == 0) {
        return;
    }
    write_array(out, 3);
    if (relation->shows_actor && eval->actor != NULL) {
        buffer_append(out, eval->actor, eval->actor_size);
    } else {
        write_nil(out);
    }
    if (relation->shows_tenant) {
        value_write(out, &eval->tenant);
    } else {
        write_nil(out);
    }
    if (made_up_by != 0) {
        write_unsigned(out, made_up_by);
    } else {
        write_nil(out);
    }
}

bool records_loader_is_made_up(const struct batch *batch)
{
    struct reader in = reader_of(batch->shown, batch->shown_size);
    if (batch->shown_size == 0) {
        return false;
    }
    reader_next(&in);
    reader_skip(&in);
    reader_skip(&in);
    return reader_next(&in).kind != TOKEN_NIL;
}

static void take_shown(struct work *work)
{
    struct eval *eval = &work->eval;
    const struct batch *batch = work->batch;
    if (batch->shown_size == 0) {
        return;
    }
    struct reader in = reader_of(batch->shown, batch->shown_size);
    const uint8_t *actor = NULL;
    size_t actor_size = 0;
    reader_next(&in);
    bool given = reader_peek(&in) == TOKEN_MAP;
    reader_value(&in, &actor, &actor_size);
    if (given) {
        eval->actor = actor;
        eval->actor_size = (uint32_t)actor_size;
    }
    eval_take_tenant(eval, &in);
    work->made_up = reader_next(&in).kind != TOKEN_NIL;
}

/* ---- Starting ---- */

static void eval_open(struct work *work)
{
    struct relations *owner = work->relation->owner;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    work->eval = (struct eval){.stores = owner->stores,
                               .arena = &work->batch->arena,
                               .now = {.seconds = now.tv_sec, .nanoseconds = (uint32_t)now.tv_nsec},
                               .steps_left = owner->shared->limits->filter_steps,
                               .steps_max = owner->shared->limits->filter_steps,
                               .error = &work->error,
                               .asker = {.task = &work->task,
                                         .tasks = owner->shared->tasks,
                                         .arena = &work->batch->arena,
                                         .origin = work->batch->number,
                                         .fresh = work->batch->fresh}};
    error_clear(&work->error);
    take_shown(work);
}

/* The source records as they are stored now, when the batch is formed; those
 * that a loader made up as they came. Later slices may come when a source was
 * replaced, or its call has gone. */
static bool take_sources(struct work *work)
{
    const struct batch *batch = work->batch;
    const struct resource *source = work->relation->relationship->source;
    struct store *store = work->relation->owner->stores[source->position];
    if (!work->relation->relationship->manual) {
        return true;
    }
    work->sources = arena_alloc(&work->batch->arena, batch->count * sizeof *work->sources);
    for (size_t i = 0; work->sources != NULL && i < batch->count; i++) {
        const struct load_key *key = &batch->keys[i];
        const struct record *record = key->source;
        if (work->made_up || store->remote) {
            /* Nobody keeps it but the call that brought it. */
            record =
                arena_copy(&work->batch->arena, record, record_bytes(record, source->field_count));
            if (record == NULL) {
                return false;
            }
        } else {
            const struct record *stored = store->ops->find(store, key->bytes, key->size);
            record = stored != NULL ? stored : record;
        }
        work->sources[i] = record;
    }
    return work->sources != NULL;
}

/* Whether what the relation finds may have to be fetched. */
static bool is_elsewhere(const struct relation *relation)
{
    struct store *const *stores = relation->owner->stores;
    const struct relationship *relationship = relation->relationship;
    return stores[relationship->destination->position]->remote ||
           (relationship->through != NULL && stores[relationship->through->position]->remote);
}

static bool make_lanes(struct work *work)
{
    size_t count = is_elsewhere(work->relation) ? work->batch->count : 1;
    count = count < LANES_MAX ? count : LANES_MAX;
    work->lanes = arena_zero(&work->batch->arena, count, sizeof *work->lanes);
    for (size_t i = 0; work->lanes != NULL && i < count; i++) {
        work->lanes[i].search = search_create(&work->relation->spec, &work->eval);
        if (work->lanes[i].search == NULL) {
            return false;
        }
        work->lane_count++;
    }
    return work->lanes != NULL;
}

void records_loader_start(struct relation *relation, struct batch *batch)
{
    struct relations_owner *shared = relation->owner->shared;
    struct work *work = arena_zero(&batch->arena, 1, sizeof *work);
    if (work != NULL) {
        task_init(&work->task, work_run);
        work->relation = relation;
        work->batch = batch;
        batch->context = work;
        eval_open(work);
        work->answers = arena_zero(&batch->arena, batch->count, sizeof *work->answers);
    }
    if (work == NULL || work->answers == NULL || !make_lanes(work) || !take_sources(work)) {
        struct error error = ERROR_INIT;
        error_set(&error, CODE_OVERLOADED, "%s: no memory for a batch", relation->loader.name);
        coalescer_fail(shared->coalescer, batch, &error, shared->now_us);
        return;
    }
    task_submit(shared->tasks, &work->task);
}

bool records_loader_cancel(struct relation *relation, struct batch *batch)
{
    (void)relation;
    work_end(batch->context);
    return true;
}

/* ---- Opening ---- */

/* The loader's spec: the join or the manual filter, the relationship's filter
 * where all sources of a key agree on it, and its order; no limit, no offset. */
int records_loader_open(struct relation *relation, struct arena *arena)
{
    const struct relationship *relationship = relation->relationship;
    struct search_spec *spec = &relation->spec;
    *spec =
        (struct search_spec){.resource = relationship->destination, .order = relationship->order};
    struct expr_uses uses = {0};
    if (relationship->filter != NULL) {
        int status = expr_uses(relationship->filter, arena, &uses);
        if (status < 0) {
            return status;
        }
    }
    relation->filter_per_source = uses.parent && !relationship->manual;
    if (relationship->manual) {
        spec->filters[spec->filter_count++] = relationship->loader_filter;
    } else if (relationship->through != NULL) {
        spec->join = &relationship->through_source;
        spec->through = relationship;
    } else {
        spec->join = &relationship->destination_fields;
    }
    if (relationship->filter != NULL && !relation->filter_per_source) {
        spec->filters[spec->filter_count++] = relationship->filter;
    }
    return search_plan(spec, arena);
}

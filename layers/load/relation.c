#include "layers/load/relation.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* The happy path is relation_start -> work_run (a slice or several) ->
 * coalescer_complete. Possible failures are: no memory for the work (the batch
 * fails at once), a search that fails (filter_steps, memory: the batch fails),
 * and the coalescer's cancel, after which the work forgets the batch. */

/* A batch that is being answered. It lives in the batch's arena, but for the
 * pin and the task, which are in lists: so it ends before the batch does. */
struct work {
    struct task task;
    struct relation *relation;
    struct batch *batch;
    struct eval eval;
    struct error error;
    struct pin pin;
    struct search *search;
    struct related_records *answers;
    const struct record **sources;   /* of a manual relationship, as the batch was formed */
    size_t at;                       /* the key that is searched */
    bool searching;
    bool held;                       /* outlived its turn: pinned, counted as busy */
    struct search_input input;
    struct expr_records source;
};

static bool work_run(struct task *task, uint64_t *budget);

static struct relation *relation_of(struct loader *loader)
{
    return CONTAINER_OF(loader, struct relation, loader);
}

static bool bit_test(const uint64_t *bits, unsigned position)
{
    return (bits[position / 64] >> (position % 64)) & 1;
}

static void bit_set(uint64_t *bits, unsigned position)
{
    bits[position / 64] |= UINT64_C(1) << (position % 64);
}

/* The work leaves all lists; the batch's memory is the coalescer's again. */
static void work_end(struct work *work)
{
    struct relation *relation = work->relation;
    search_stop(work->search);
    task_withdraw(&work->task);
    if (work->held) {
        pin_put(&work->pin);
        if (--relation->in_flight == 0) {
            list_remove(&relation->busy);
        }
    }
}

/* A batch that does not end in its turn keeps the records that it found, and
 * can be overtaken by writes from now on. */
static void work_hold(struct work *work)
{
    struct relation *relation = work->relation;
    if (work->held) {
        return;
    }
    work->held = true;
    pin_take(relation->owner->world, &work->pin);
    if (relation->in_flight++ == 0) {
        list_append(&relation->owner->busy, &relation->busy);
    }
}

static void work_fail(struct work *work)
{
    struct relation *relation = work->relation;
    struct batch *batch = work->batch;
    struct error error = work->error;
    work_end(work);
    coalescer_fail(relation->owner->coalescer, batch, &error, relation->owner->now_us);
}

/* The source record as it is stored now, when the batch is formed; one that a
 * loader made up is shown as it came. */
static const struct record *current_source(const struct relation *relation,
                                           const struct load_key *key)
{
    struct store *store = relation->owner->stores[relation->relationship->source->position];
    const struct record *stored = store->ops->find(store, key->bytes, key->size);
    return stored != NULL ? stored : key->source;
}

static int work_begin_key(struct work *work)
{
    const struct load_key *key = &work->batch->keys[work->at];
    work->input = (struct search_input){0};
    if (work->relation->relationship->manual) {
        work->source = (struct expr_records){.record = work->sources[work->at]};
        work->input.outer = &work->source;
    } else {
        work->input.key = key->bytes;
        work->input.key_size = key->size;
    }
    work->searching = true;
    return search_start(work->search, &work->input);
}

static bool work_run(struct task *task, uint64_t *budget)
{
    struct work *work = CONTAINER_OF(task, struct work, task);
    struct batch *batch = work->batch;
    while (work->at < batch->count) {
        if (!work->searching && work_begin_key(work) < 0) {
            work_fail(work);
            return true;
        }
        struct related_records *answer = &work->answers[work->at];
        switch (search_run(work->search, budget, &answer->records, &answer->count)) {
        case RUN_MORE:
            work_hold(work);
            return false;
        case RUN_FAILED:
            work_fail(work);
            return true;
        case RUN_DONE:
            break;
        }
        batch->answers[work->at] = (struct load_answer){.value = answer};
        work->searching = false;
        work->at++;
        *budget -= *budget > 0; /* a key costs too, so that many empty ones end a slice */
        if (*budget == 0 && work->at < batch->count) {
            work_hold(work);
            return false;
        }
    }
    struct relations *owner = work->relation->owner;
    work_end(work);
    coalescer_complete(owner->coalescer, batch, owner->now_us);
    return true;
}

/* ---- What is shown: [actor, tenant], nil for what the loader does not look at ---- */

void relation_shown(const struct relation *relation, const struct eval *eval, struct buffer *out)
{
    if (!relation->shows_actor && !relation->shows_tenant) {
        return;
    }
    write_array(out, 2);
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
}

static void take_shown(struct eval *eval, const struct batch *batch)
{
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
    struct token tenant = reader_next(&in);
    if (tenant.kind == TOKEN_STRING) {
        eval->tenant =
            (struct value){.kind = VALUE_TEXT, .size = tenant.size, .bytes = tenant.bytes};
    } else if (tenant.kind == TOKEN_INTEGER) {
        eval->tenant = (struct value){.kind = VALUE_INTEGER, .integer = tenant.integer};
    }
}

static void eval_open(struct work *work)
{
    struct relations *owner = work->relation->owner;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    work->eval = (struct eval){.stores = owner->stores,
                               .arena = &work->batch->arena,
                               .now = {.seconds = now.tv_sec,
                                       .nanoseconds = (uint32_t)now.tv_nsec},
                               .steps_left = owner->limits->filter_steps,
                               .steps_max = owner->limits->filter_steps,
                               .error = &work->error};
    error_clear(&work->error);
    take_shown(&work->eval, work->batch);
}

/* Later slices may come when a source was replaced, or its call has gone. */
static bool take_sources(struct work *work)
{
    const struct batch *batch = work->batch;
    if (!work->relation->relationship->manual) {
        return true;
    }
    work->sources = arena_alloc(&work->batch->arena, batch->count * sizeof *work->sources);
    for (size_t i = 0; work->sources != NULL && i < batch->count; i++) {
        work->sources[i] = current_source(work->relation, &batch->keys[i]);
    }
    return work->sources != NULL;
}

/* The loader's face: a batch becomes a task, run in this turn's flush. */
static void relation_start(struct loader *loader, struct batch *batch)
{
    struct relation *relation = relation_of(loader);
    struct relations *owner = relation->owner;
    struct work *work = arena_zero(&batch->arena, 1, sizeof *work);
    struct error error = ERROR_INIT;
    if (work == NULL) {
        error_set(&error, CODE_OVERLOADED, "%s: no memory for a batch", loader->name);
        coalescer_fail(owner->coalescer, batch, &error, owner->now_us);
        return;
    }
    task_init(&work->task, work_run);
    work->relation = relation;
    work->batch = batch;
    eval_open(work);
    batch->context = work;
    work->answers = arena_zero(&batch->arena, batch->count, sizeof *work->answers);
    work->search = search_create(&relation->spec, &work->eval);
    if (work->answers == NULL || work->search == NULL || !take_sources(work)) {
        error_set(&error, CODE_OVERLOADED, "%s: no memory for a batch", loader->name);
        coalescer_fail(owner->coalescer, batch, &error, owner->now_us);
        return;
    }
    task_submit(owner->tasks, &work->task);
}

static bool relation_cancel(struct loader *loader, struct batch *batch)
{
    (void)loader;
    work_end(batch->context);
    return true;
}

/* A write overtakes what is in flight of the relations that read its resource.
 * Most of the time none is: batches end in the turn in which they begin. */
static void on_write(struct write_listener *listener, const struct write_event *event)
{
    struct relations *relations = CONTAINER_OF(listener, struct relations, listener);
    LIST_EACH(node, &relations->busy)
    {
        struct relation *relation = CONTAINER_OF(node, struct relation, busy);
        /* Positions mean something within one schema only. */
        if (event->resource->schema != relations->schema ||
            bit_test(relation->reads, event->resource->position)) {
            coalescer_overtake(relations->coalescer, &relation->loader, NULL, 0);
        }
    }
}

uint64_t relation_invalidate(struct relation *relation, const uint8_t *key, size_t size)
{
    coalescer_overtake(relation->owner->coalescer, &relation->loader, key, size);
    return 0;
}

/* ---- Opening ---- */

static int add_reads(struct relation *relation, const struct relationship *relationship,
                     struct arena *arena);

/* The resources that a filter reads by paths and exists; a schema has no circles
 * among relationships that read each other, so this ends. */
static int add_filter_reads(struct relation *relation, const struct expr *filter,
                            struct arena *arena)
{
    struct expr_uses uses;
    if (filter == NULL) {
        return 0;
    }
    int status = expr_uses(filter, arena, &uses);
    relation->shows_actor |= uses.actor;
    relation->shows_tenant |= uses.tenant;
    for (size_t i = 0; status == 0 && i < uses.relationship_count; i++) {
        status = add_reads(relation, uses.relationships[i], arena);
    }
    return status;
}

static int add_reads(struct relation *relation, const struct relationship *relationship,
                     struct arena *arena)
{
    bit_set(relation->reads, relationship->source->position);
    bit_set(relation->reads, relationship->destination->position);
    if (relationship->through != NULL) {
        bit_set(relation->reads, relationship->through->position);
    }
    int status = add_filter_reads(relation, relationship->loader_filter, arena);
    if (status == 0) {
        status = add_filter_reads(relation, relationship->filter, arena);
    }
    for (unsigned i = 0; status == 0 && relationship->order != NULL &&
                         i < relationship->order->count;
         i++) {
        status = add_filter_reads(relation, relationship->order->items[i].path, arena);
    }
    return status;
}

/* The loader's spec: the join or the manual filter, the relationship's filter
 * where all sources of a key agree on it, and its order; no limit, no offset. */
static int make_spec(struct relation *relation, struct arena *arena)
{
    const struct relationship *relationship = relation->relationship;
    struct search_spec *spec = &relation->spec;
    *spec = (struct search_spec){.resource = relationship->destination,
                                 .order = relationship->order};
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

static int relation_open(struct relation *relation, struct relations *owner,
                         const struct relationship *relationship)
{
    size_t words = (owner->schema->resource_count + 63u) / 64u;
    relation->relationship = relationship;
    relation->owner = owner;
    relation->loader.name = relationship->full_name;
    relation->loader.limits = relationship->batch;
    relation->loader.start = relation_start;
    relation->loader.cancel = relation_cancel;
    list_init(&relation->busy);
    relation->reads = arena_zero(&owner->arena, words, sizeof *relation->reads);
    if (relation->reads == NULL) {
        return -CODE_OVERLOADED;
    }
    int status = add_reads(relation, relationship, &owner->arena);
    if (status == 0) {
        status = make_spec(relation, &owner->arena);
    }
    return status < 0 ? status : coalescer_add(owner->coalescer, &relation->loader);
}

static void remove_loaders(struct relations *relations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        coalescer_remove(relations->coalescer, &relations->all[i].loader);
    }
}

int relations_open(struct relations *relations, const struct schema *schema,
                   struct store *const *stores, struct world *world,
                   struct coalescer *coalescer, struct task_queue *tasks,
                   const struct limits *limits)
{
    *relations = (struct relations){.schema = schema,
                                    .stores = stores,
                                    .world = world,
                                    .coalescer = coalescer,
                                    .tasks = tasks,
                                    .limits = limits};
    list_init(&relations->busy);
    arena_init(&relations->arena, 0);
    size_t opened = 0;
    relations->all = arena_zero(&relations->arena, schema->relationship_count + 1u,
                                sizeof *relations->all);
    int status = relations->all == NULL ? -CODE_OVERLOADED : 0;
    for (unsigned r = 0; status == 0 && r < schema->resource_count; r++) {
        const struct resource *resource = &schema->resources[r];
        for (unsigned i = 0; status == 0 && i < resource->relationship_count; i++) {
            const struct relationship *relationship = &resource->relationships[i];
            CHECK(relationship->number == opened);
            status = relation_open(&relations->all[opened], relations, relationship);
            opened += status == 0;
        }
    }
    if (status < 0) {
        remove_loaders(relations, opened);
        arena_release(&relations->arena);
        return status;
    }
    relations->listener.on_write = on_write;
    world_listen(world, &relations->listener);
    return 0;
}

void relations_close(struct relations *relations)
{
    list_remove(&relations->listener.link);
    remove_loaders(relations, relations->schema->relationship_count);
    arena_release(&relations->arena);
}

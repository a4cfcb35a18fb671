#include "layers/engine/call.h"

#include <string.h>
#include <time.h>

#include "layers/engine/engine_inner.h"
#include "layers/load/outside.h"
#include "layers/load/unique.h"
#include "layers/query/render.h"
#include "protocol/base/check.h"

/* What a call may visit when it arrives, before it becomes a task; and how many
 * elements of an answer are rendered at once. */
enum { FIRST_SLICE = 2000, RENDER_AT_ONCE = 1000 };

static const struct {
    const char *name;
    unsigned params;
    uint32_t options;
} kinds[CALL_KIND_COUNT] = {
#define X(kind, text, count, bits) [CALL_##kind] = {text, count, bits},
    RELATA_CALLS(X)
#undef X
};

static bool call_run(struct task *task, uint64_t *budget);
static int after_search(struct call *call);
static int start_kind(struct call *call);

const char *call_kind_name(enum call_kind kind)
{
    return kinds[kind].name;
}

unsigned call_kind_params(enum call_kind kind)
{
    return kinds[kind].params;
}

uint32_t call_kind_options(enum call_kind kind)
{
    return kinds[kind].options;
}

void call_init(struct call *call)
{
    *call = (struct call){0};
    list_init(&call->link);
    list_init(&call->pin.link);
    list_init(&call->order.link);
    task_init(&call->task, call_run);
    arena_init(&call->arena, 0);
}

void call_release(struct call *call)
{
    arena_release(&call->arena);
    buffer_release(&call->rendered);
}

static void open_eval(struct call *call)
{
    const struct limits *limits = call->engine->limits;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call->eval = (struct eval){.stores = call->realm->stores,
                               .arena = &call->arena,
                               .now = {.seconds = now.tv_sec, .nanoseconds = (uint32_t)now.tv_nsec},
                               .steps_left = limits->filter_steps,
                               .steps_max = limits->filter_steps,
                               .error = &call->error,
                               .asker = {.task = &call->task,
                                         .tasks = &call->engine->tasks,
                                         .arena = &call->arena,
                                         .origin = call->origin}};
}

static int find_resource(struct call *call)
{
    struct reader in = call->params[0];
    struct token token = {.kind = TOKEN_NIL};
    if (in.at != NULL) {
        token = reader_next(&in);
    }
    if (token.kind != TOKEN_STRING && token.kind != TOKEN_BINARY) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "%s: expected a resource's name first, got %s", call_kind_name(call->kind),
                         token_describe(&token));
    }
    call->resource = schema_need_resource(call->realm->schema, (const char *)token.bytes,
                                          token.size, &call->error);
    return call->resource == NULL ? -CODE_UNKNOWN_RESOURCE : 0;
}

static enum run_status run_search(struct call *call, uint64_t *budget)
{
    call->eval.asker.task = &call->task;
    return call->kind == CALL_COUNT
               ? search_count(call->search, budget, &call->number)
               : search_run(call->search, budget, &call->records, &call->record_count);
}

/* ---- The steps after the search ---- */

/* Ready: a long answer is rendered in slices, so that it holds nobody up. */
static int before_render(struct call *call)
{
    if (call_element_count(call) <= RENDER_AT_ONCE) {
        return CALL_READY;
    }
    buffer_init(&call->rendered, call->engine->limits->answer_bytes);
    call->is_rendered = true;
    call->rendered_count = 0;
    return CALL_LATER;
}

static void on_loads(struct loads *loads);

static int after_search(struct call *call)
{
    if (call->query.loads == NULL || call->record_count == 0) {
        return before_render(call);
    }
    call->level = (struct level){
        .query = &call->query, .records = call->records, .count = call->record_count};
    call->loads = (struct loads){.relations = &call->realm->relations,
                                 .eval = &call->eval,
                                 .origin = call->origin,
                                 .deadline_us = call->deadline_us,
                                 .fresh = call->fresh,
                                 .authorize = call->authorize,
                                 .number = ++call->engine->call_number,
                                 .parent = call->parent,
                                 .done = on_loads};
    call->loading = true;
    int status = loads_start(&call->loads, &call->level, call->engine->now_us);
    return status < 0 ? status : CALL_LATER;
}

/* Answers: it is no longer under way; the owner renders or tells the error. */
static void finish(struct call *call)
{
    list_remove(&call->link);
    call->done(call);
}

/* Goes on after a step: to the queue, or to the end. */
static void go_on(struct call *call, int status, bool needs_task)
{
    if (status == CALL_LATER && needs_task) {
        task_requeue(&call->engine->tasks, &call->task);
    } else if (status != CALL_LATER) {
        finish(call);
    }
}

static void on_loads(struct loads *loads)
{
    struct call *call = CONTAINER_OF(loads, struct call, loads);
    int status = loads->failed ? -(int)call->error.code : before_render(call);
    go_on(call, status, true);
}

/* A step that had to wait goes on: the start itself, the records of the keys, a
 * write, or a reindex. */
static int run_waiting(struct call *call)
{
    int status;
    if (call->order.held) {
        status = call_start_held(call);
    } else if (call->catching_up) {
        call->catching_up = false;
        status = start_kind(call);
    } else if (call->writing != NULL) {
        status = call_write_home(call);
    } else if (call->reindexing != NULL) {
        status = call_reindex(call);
    } else {
        status = call_take_fetched(call);
        status = status < 0 ? status : after_search(call);
    }
    return status;
}

/* Whether a call that is to go on later does so by its task; else loads do it. */
static bool needs_task(const struct call *call)
{
    return !call->loading || call->is_rendered;
}

/* A slice of the search or of the rendering. Waiting for loads needs no task. */
static bool call_run(struct task *task, uint64_t *budget)
{
    struct call *call = CONTAINER_OF(task, struct call, task);
    bool waited = call->order.held || call->catching_up || call->writing != NULL ||
                  call->reindexing != NULL || call->fetching;
    if (waited) {
        *budget -= *budget > 0;
        int status = run_waiting(call);
        go_on(call, status, needs_task(call));
        return true;
    }
    if (call->is_rendered) {
        size_t most = *budget < RENDER_AT_ONCE ? (size_t)*budget : RENDER_AT_ONCE;
        *budget -= most;
        int status = call_render_slice(call, &call->rendered, most);
        if (status == CALL_LATER) {
            return false;
        }
        finish(call);
        return true;
    }
    enum run_status run = run_search(call, budget);
    if (run == RUN_MORE) {
        return false;
    }
    int status = run == RUN_FAILED ? -(int)call->error.code : after_search(call);
    go_on(call, status, call->is_rendered);
    return true;
}

/* ---- Start and end ---- */

static int start_invalidate(struct call *call)
{
    struct reader name_in = call->params[0];
    size_t size = 0;
    const char *name = name_in.at == NULL ? NULL : reader_name(&name_in, &size);
    const char *dot = name == NULL ? NULL : memchr(name, '.', size);
    const struct relationship *relationship = NULL;
    if (dot != NULL) {
        call->params[0] = reader_of(call->params[0].at, 0);
        call->resource =
            schema_need_resource(call->realm->schema, name, (size_t)(dot - name), &call->error);
        if (call->resource == NULL) {
            return -CODE_UNKNOWN_RESOURCE;
        }
        relationship =
            resource_need_relationship(call->resource, dot + 1, size - (size_t)(dot - name) - 1,
                                       CODE_UNKNOWN_RELATIONSHIP, &call->error);
        if (relationship == NULL) {
            return -CODE_UNKNOWN_RELATIONSHIP;
        }
    } else if (find_resource(call) < 0) {
        return -(int)call->error.code;
    }
    call->answer = ANSWER_NUMBER;
    return call_invalidate(call, relationship, call_param(call, 1));
}

/* The first slice of a search is run at once: most reads end in it. */
static int first_slice(struct call *call)
{
    uint64_t budget = FIRST_SLICE;
    switch (run_search(call, &budget)) {
    case RUN_DONE:
        return after_search(call);
    case RUN_FAILED:
        return -(int)call->error.code;
    case RUN_MORE:
        break;
    }
    return CALL_LATER;
}

static bool is_write(enum call_kind kind)
{
    return kind >= CALL_CREATE && kind <= CALL_DESTROY_MANY;
}

static int start_kind(struct call *call)
{
    if (call->kind == CALL_INVALIDATE) {
        return start_invalidate(call);
    }
    int status = find_resource(call);
    if (status < 0) {
        return status;
    }
    query_init(&call->query, call->resource);
    switch (call->kind) {
    case CALL_GET:
    case CALL_GET_MANY:
        status = call_start_get(call);
        return status != 0 ? status : after_search(call);
    case CALL_READ:
    case CALL_COUNT:
        status = call_start_read(call);
        return status < 0 ? status : first_slice(call);
    case CALL_LOAD:
        status = call_start_load(call);
        return status != 0 ? status : after_search(call);
    case CALL_CREATE:
    case CALL_UPSERT:
    case CALL_UPDATE:
    case CALL_DESTROY:
    case CALL_CREATE_MANY:
    case CALL_UPSERT_MANY:
    case CALL_DESTROY_MANY:
        status = call_read_shown(call);
        return status < 0                       ? status
               : call_store(call)->home != NULL ? call_write_home(call)
                                                : call_write(call);
    case CALL_REINDEX:
        return call_reindex(call);
    case CALL_INVALIDATE:
    case CALL_KIND_COUNT:
        break;
    }
    CHECK(!"a kind of call");
    return -CODE_INTERNAL;
}

static void stay(struct call *call)
{
    struct engine *engine = call->engine;
    pin_take(&engine->world, &call->pin);
    list_append(&engine->calls, &call->link);
    if (engine->next_deadline_us == 0 || call->deadline_us < engine->next_deadline_us) {
        engine->next_deadline_us = call->deadline_us;
    }
    if (!call->order.held && needs_task(call)) {
        task_requeue(&engine->tasks, &call->task);
    }
}

/* A loader's read works on the schema that its batch began with. */
static struct realm *choose_realm(const struct call *call)
{
    if (call->parent == NULL) {
        return call->engine->realm;
    }
    return realm_of_relation(CONTAINER_OF(call->parent->loader, struct relation, loader));
}

int call_start_held(struct call *call)
{
    call_order_begin(call); /* what waits for it goes on at its end, wherever it writes */
    return call_catches_up(call) ? CALL_LATER : start_kind(call);
}

/* A write to records that are at home in this memory, which nothing holds up. */
static bool ends_in_its_turn(const struct call *call)
{
    if (!is_write(call->kind) || call->order.held) {
        return false;
    }
    const struct resource *resource =
        call->engine->redis != NULL ? call_named_resource(call) : NULL;
    return resource == NULL || call->realm->stores[resource->position]->home == NULL;
}

int call_start(struct call *call, uint64_t now_us)
{
    error_clear(&call->error);
    call->engine->now_us = now_us;
    call->realm = realm_get(choose_realm(call));
    open_eval(call);
    int status = 0;
    if (call->engine->closing) {
        status = error_set(&call->error, CODE_UNAVAILABLE, "the daemon is stopping");
    }
    bool held = status == 0 && call_is_held(call);
    if (status == 0 && !ends_in_its_turn(call)) {
        status = call_keep_request(call);
    }
    if (status == 0) {
        status = call_read_options(call, now_us);
    }
    call->eval.asker.fresh = call->fresh;
    if (status == 0) {
        status = held || call_catches_up(call) ? CALL_LATER : start_kind(call);
    }
    if (status == CALL_LATER) {
        stay(call);
    }
    CHECK(status >= 0 || call->error.code != CODE_OK);
    return status;
}

/* Nothing of the call goes on: no load, no search, no task. */
static void stop(struct call *call)
{
    if (call->loading) {
        loads_release(&call->loads);
        call->loading = false;
    }
    if (call->search != NULL) {
        search_stop(call->search);
    }
    fetch_end(&call->fetch);
    redis_catch_up_end(&call->catch_up);
    call_write_home_end(call);
    call_reindex_end(call);
    call_order_end(call);
    task_withdraw(&call->task);
    list_remove(&call->link);
}

void call_abort(struct call *call)
{
    CHECK(call->error.code != CODE_OK);
    stop(call);
    call->done(call);
}

void call_end(struct call *call)
{
    struct engine *engine = call->engine;
    if (call->realm == NULL) {
        return;
    }
    stop(call);
    if (!list_empty(&call->pin.link)) {
        pin_put(&call->pin);
    }
    realm_put(engine, call->realm);
    buffer_release(&call->rendered);
    struct arena arena = call->arena;
    arena_reset(&arena);
    call_init(call);
    call->arena = arena;
}

/* The record of a key, where it is known at once what it is. */
static bool find_at_once(struct store *store, const struct buffer *key,
                         const struct record **record)
{
    bool known = true;
    if (store->remote) {
        *record = store->home->known(store, key->bytes, key->size, &known);
        return known;
    }
    if (!store_is_current(store)) {
        return false;
    }
    *record = store->ops->find(store, key->bytes, key->size);
    return *record != NULL || store_fault(store, key->bytes, key->size) == NULL;
}

bool call_get_at_once(struct engine *engine, uint64_t origin, const char *resource_name,
                      size_t resource_size, struct reader key_in, struct buffer *out)
{
    struct realm *realm = engine->realm;
    const struct resource *resource = schema_resource(realm->schema, resource_name, resource_size);
    if (resource == NULL || engine->closing || call_waits_for_writes(engine, origin, resource)) {
        return false;
    }
    struct buffer *key = &engine->scratch;
    key->size = 0;
    if (key_take(resource, &resource->primary_key, &key_in, key, NULL) < 0 || key->failed) {
        return false;
    }
    struct store *store = realm->stores[resource->position];
    const struct record *record = NULL;
    if (!find_at_once(store, key, &record)) {
        return false;
    }
    struct resource_counters *counters = &realm->counters[resource->position];
    counters->reads++;
    counters->hits += record != NULL || store->remote;
    counters->misses += record == NULL && !store->remote;
    if (record == NULL) {
        buffer_byte(out, 0xc0);
        return true;
    }
    struct query query;
    query_init(&query, resource);
    const struct render render = {.out = out};
    render_record(&render, &query, record, NULL, 0, NULL);
    return true;
}

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
    task_init(&call->task, call_run);
    arena_init(&call->arena, 0);
}

void call_release(struct call *call)
{
    arena_release(&call->arena);
    buffer_release(&call->rendered);
}

static int no_memory(struct call *call)
{
    return error_set(&call->error, CODE_OVERLOADED, "no memory for the call");
}

/* ---- Options ---- */

/* What is read later must not lie in the connection's buffer. */
static int keep_bytes(struct call *call, struct reader *reader)
{
    if (reader->at == NULL) {
        return 0;
    }
    size_t size = (size_t)(reader->end - reader->at);
    const uint8_t *bytes = arena_copy(&call->arena, reader->at, size);
    if (bytes == NULL) {
        return no_memory(call);
    }
    *reader = reader_of(bytes, size);
    return 0;
}

static int keep_request(struct call *call)
{
    int status = 0;
    for (unsigned i = 0; status == 0 && i < CALL_PARAMS_MAX; i++) {
        status = keep_bytes(call, &call->params[i]);
    }
    for (unsigned i = 0; status == 0 && i < OPTION_COUNT; i++) {
        status = keep_bytes(call, &call->options.at[i]);
    }
    return status;
}

static int read_actor(struct call *call)
{
    if (!options_given(&call->options, OPTION_ACTOR)) {
        return 0;
    }
    struct reader in = call->options.at[OPTION_ACTOR];
    struct token token = reader_next(&in);
    if (token.kind != TOKEN_MAP) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "actor: expected a map of facts, got %s", token_describe(&token));
    }
    call->eval.actor = call->options.at[OPTION_ACTOR].at;
    call->eval.actor_size =
        (uint32_t)(call->options.at[OPTION_ACTOR].end - call->options.at[OPTION_ACTOR].at);
    return 0;
}

static int read_tenant(struct call *call)
{
    if (!options_given(&call->options, OPTION_TENANT)) {
        return 0;
    }
    struct reader in = call->options.at[OPTION_TENANT];
    struct token token = reader_next(&in);
    if (token.kind == TOKEN_INTEGER) {
        call->eval.tenant = (struct value){.kind = VALUE_INTEGER, .integer = token.integer};
        return 0;
    }
    if (token.kind == TOKEN_STRING) {
        call->eval.tenant =
            (struct value){.kind = VALUE_TEXT, .size = token.size, .bytes = token.bytes};
        return 0;
    }
    return error_set(&call->error, CODE_INVALID_REQUEST,
                     "tenant: expected a text or an integer, got %s", token_describe(&token));
}

static int read_timeout(struct call *call, uint64_t now_us)
{
    uint64_t timeout_us = call->timeout_us;
    if (options_given(&call->options, OPTION_TIMEOUT_MS)) {
        bool given = false;
        uint64_t timeout_ms = 0;
        struct reader in = call->options.at[OPTION_TIMEOUT_MS];
        int status = query_read_natural(&in, "timeout_ms", &given, &timeout_ms, &call->error);
        if (status < 0) {
            return status;
        }
        timeout_us = timeout_ms > UINT64_MAX / 1000 / 2 ? UINT64_MAX / 2 : timeout_ms * 1000;
    }
    call->deadline_us = now_us + timeout_us;
    return 0;
}

/* A loader's read: as whoever the batch is loaded for. */
static void take_parent(struct call *call)
{
    struct outside_identity identity;
    outside_identity(call->parent, &identity);
    call->eval.actor = identity.actor;
    call->eval.actor_size = identity.actor_size;
    call->authorize = identity.authorize;
    if (identity.tenant != NULL) {
        struct reader in = reader_of(identity.tenant, identity.tenant_size);
        struct token token = reader_next(&in);
        call->eval.tenant =
            token.kind == TOKEN_INTEGER
                ? (struct value){.kind = VALUE_INTEGER, .integer = token.integer}
                : (struct value){.kind = VALUE_TEXT, .size = token.size, .bytes = token.bytes};
    }
}

static int read_options(struct call *call, uint64_t now_us)
{
    static const char *const shapes[] = {"map", "rows", NULL};
    unsigned shape = 0;
    int status = read_timeout(call, now_us);
    if (status == 0) {
        status = options_word(&call->options, OPTION_SHAPE, shapes, &shape, &call->error);
    }
    if (status == 0) {
        status = options_boolean(&call->options, OPTION_FRESH, false, &call->fresh, &call->error);
    }
    if (status == 0) {
        status = options_boolean(&call->options, OPTION_AUTHORIZE, true, &call->authorize,
                                 &call->error);
    }
    if (status == 0) {
        status = read_actor(call);
    }
    if (status == 0) {
        status = read_tenant(call);
    }
    if (status == 0 && call->parent != NULL) {
        take_parent(call);
    }
    call->rows = shape == 1;
    return status;
}

static void open_eval(struct call *call)
{
    const struct limits *limits = call->engine->limits;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call->eval = (struct eval){
        .stores = call->realm->stores,
        .arena = &call->arena,
        .now = {.seconds = now.tv_sec, .nanoseconds = (uint32_t)now.tv_nsec},
        .steps_left = limits->filter_steps,
        .steps_max = limits->filter_steps,
        .error = &call->error};
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

/* ---- By key ---- */

static int read_identity(struct call *call, const struct identity **out)
{
    *out = NULL;
    if (!options_given(&call->options, OPTION_IDENTITY)) {
        return 0;
    }
    struct reader in = call->options.at[OPTION_IDENTITY];
    size_t size = 0;
    const char *name = reader_name(&in, &size);
    *out = name == NULL ? NULL : resource_identity(call->resource, name, size);
    if (*out == NULL) {
        int status = error_set(&call->error, CODE_INVALID_REQUEST,
                               "identity: %s has no identity named %.*s", call->resource->name,
                               name == NULL ? 4 : size > 64 ? 64 : (int)size,
                               name == NULL ? "that" : name);
        error_resource(&call->error, call->resource->name);
        return status;
    }
    return 0;
}

static struct reader param(const struct call *call, unsigned position)
{
    return call->params[position].at != NULL ? call->params[position] : reader_of("\xc0", 1);
}

/* The record of one key; NULL where it is absent. */
static int find_record(struct call *call, const struct identity *identity, struct reader *in,
                       struct buffer *key, const struct record **out)
{
    struct store *store = call_store(call);
    const struct field_list *fields =
        identity != NULL ? &identity->fields : &call->resource->primary_key;
    key->size = 0;
    int status = key_take(call->resource, fields, in, key, &call->error);
    if (status < 0) {
        return status;
    }
    if (key->failed) {
        return no_memory(call);
    }
    *out = identity != NULL ? store->ops->find_identity(store, identity, key->bytes, key->size)
                            : store->ops->find(store, key->bytes, key->size);
    struct resource_counters *counters = call_counters(call);
    counters->reads++;
    counters->hits += *out != NULL;
    counters->misses += *out == NULL;
    return 0;
}

static int find_many(struct call *call, const struct identity *identity, struct reader *in,
                     uint32_t count, const struct record **records, uint32_t *asked)
{
    struct unique_pointers unique;
    struct buffer key = BUFFER_INIT;
    int status = unique_pointers_init(&unique, count);
    if (status < 0) {
        return no_memory(call);
    }
    uint32_t found = 0;
    for (uint32_t i = 0; status == 0 && i < count; i++) {
        const struct record *record = NULL;
        status = find_record(call, identity, in, &key, &record);
        if (status < 0) {
            error_prefix(&call->error, "key %u: ", i);
            call->error.index = i;
            break;
        }
        asked[i] = CALL_ABSENT;
        if (record != NULL) {
            asked[i] = unique_pointers_add(&unique, record, found);
            if (asked[i] == found) {
                records[found++] = record;
            }
        }
    }
    call->record_count = found;
    buffer_release(&key);
    unique_pointers_release(&unique);
    return status;
}

/* Finds the records of a list of keys, each once, and which key asked for which. */
static int take_keys(struct call *call, const struct identity *identity, struct reader in)
{
    struct token list = reader_next(&in);
    if (list.kind != TOKEN_ARRAY) {
        return error_set(&call->error, CODE_INVALID_REQUEST, "%s: expected a list of keys, got %s",
                         call_kind_name(call->kind), token_describe(&list));
    }
    if (list.count > call->engine->limits->keys_per_call) {
        return error_limit_hit(&call->error, CODE_TOO_LARGE, "keys_per_call",
                               call->engine->limits->keys_per_call, list.count);
    }
    const struct record **records = arena_alloc(&call->arena, (list.count + 1) * sizeof *records);
    uint32_t *asked = arena_alloc(&call->arena, (list.count + 1) * sizeof *asked);
    if (records == NULL || asked == NULL) {
        return no_memory(call);
    }
    call->records = records;
    call->asked = asked;
    call->asked_count = list.count;
    return find_many(call, identity, &in, list.count, records, asked);
}

static int read_shown(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    int status = 0;
    if (options_given(&call->options, OPTION_SELECT)) {
        if (!call->query.selection.all) {
            return error_set(&call->error, CODE_INVALID_REQUEST,
                             "select stands in the query and in the options");
        }
        struct reader in = call->options.at[OPTION_SELECT];
        status = query_read_select(&reader, call->resource, &in, &call->query.selection,
                                   &call->error);
    }
    if (status == 0 && options_given(&call->options, OPTION_LOAD)) {
        if (call->query.loads != NULL) {
            return error_set(&call->error, CODE_INVALID_REQUEST,
                             "load stands in the query and in the options");
        }
        struct reader in = call->options.at[OPTION_LOAD];
        status = query_read_loads(&reader, &call->query, &in, 1, &call->error);
    }
    return status;
}

static int start_get(struct call *call)
{
    const struct identity *identity = NULL;
    int status = read_identity(call, &identity);
    if (status == 0) {
        status = read_shown(call);
    }
    if (status < 0) {
        return status;
    }
    if (call->kind == CALL_GET_MANY) {
        call->answer = ANSWER_RECORDS;
        status = take_keys(call, identity, param(call, 1));
        return status < 0 ? status : after_search(call);
    }
    struct buffer key = BUFFER_INIT;
    struct reader in = param(call, 1);
    const struct record *record = NULL;
    status = find_record(call, identity, &in, &key, &record);
    buffer_release(&key);
    call->answer = ANSWER_RECORD;
    if (status < 0 || record == NULL) {
        return status;
    }
    call->records = arena_copy(&call->arena, &record, sizeof record);
    call->record_count = 1;
    return call->records == NULL ? no_memory(call) : after_search(call);
}

/* ---- load ---- */

static int read_loads(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    struct reader loads = param(call, 2);
    bool has_query = options_given(&call->options, OPTION_QUERY);
    enum token_kind kind = reader_peek(&loads);
    call->loads_single = kind == TOKEN_STRING || kind == TOKEN_BINARY;
    if (kind == TOKEN_NIL) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "load: expected what to load: a relationship's name, a list or a map");
    }
    if (call->loads_single) {
        struct reader query =
            has_query ? call->options.at[OPTION_QUERY] : reader_of("\xc0", 1);
        size_t size = 0;
        const char *name = reader_name(&loads, &size);
        return query_add_load(&reader, &call->query, name, size, &query, 1, &call->error);
    }
    if (has_query) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "load: the option query goes with one relationship's name alone; a map "
                         "{name: query} gives each its own");
    }
    return query_read_loads(&reader, &call->query, &loads, 1, &call->error);
}

static int start_load(struct call *call)
{
    int status = read_loads(call);
    if (status == 0) {
        status = take_keys(call, NULL, param(call, 1));
    }
    call->answer = ANSWER_RELATED;
    return status < 0 ? status : after_search(call);
}

/* ---- read and count ---- */

static int start_read(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    struct reader in = param(call, 1);
    int status = query_read(&reader, call->resource, NULL, &in, &call->query, &call->error);
    if (status == 0) {
        status = read_shown(call);
    }
    if (status < 0) {
        return status;
    }
    const struct query *query = &call->query;
    call->spec = (struct search_spec){.resource = call->resource,
                                      .filters = {query->filter},
                                      .filter_count = query->filter != NULL,
                                      .order = query->order,
                                      .has_limit = query->has_limit,
                                      .limit = query->limit,
                                      .offset = query->offset};
    if (call->kind == CALL_COUNT) {
        call->spec.order = NULL;
        call->spec.unordered = true;
        call->spec.has_limit = false;
        call->spec.offset = 0;
    }
    call->answer = call->kind == CALL_COUNT ? ANSWER_NUMBER : ANSWER_RECORDS;
    if (search_plan(&call->spec, &call->arena) < 0) {
        return no_memory(call);
    }
    call->search = search_create(&call->spec, &call->eval);
    if (call->search == NULL) {
        return no_memory(call);
    }
    static const struct search_input whole = {0};
    call_counters(call)->reads++;
    status = search_start(call->search, &whole);
    return status < 0 ? status : CALL_LATER;
}

static enum run_status run_search(struct call *call, uint64_t *budget)
{
    return call->kind == CALL_COUNT
               ? search_count(call->search, budget, &call->number)
               : search_run(call->search, budget, &call->records, &call->record_count);
}

/* ---- The steps after the search ---- */

static size_t element_count(const struct call *call)
{
    return call->asked != NULL ? call->asked_count : call->record_count;
}

/* Ready: a long answer is rendered in slices, so that it holds nobody up. */
static int before_render(struct call *call)
{
    if (element_count(call) <= RENDER_AT_ONCE) {
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
        task_submit(&call->engine->tasks, &call->task);
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

/* A slice of the search or of the rendering. Waiting for loads needs no task. */
static bool call_run(struct task *task, uint64_t *budget)
{
    struct call *call = CONTAINER_OF(task, struct call, task);
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
        call->resource = schema_need_resource(call->realm->schema, name, (size_t)(dot - name),
                                              &call->error);
        if (call->resource == NULL) {
            return -CODE_UNKNOWN_RESOURCE;
        }
        relationship = resource_need_relationship(call->resource, dot + 1,
                                                  size - (size_t)(dot - name) - 1,
                                                  CODE_UNKNOWN_RELATIONSHIP, &call->error);
        if (relationship == NULL) {
            return -CODE_UNKNOWN_RELATIONSHIP;
        }
    } else if (find_resource(call) < 0) {
        return -(int)call->error.code;
    }
    call->answer = ANSWER_NUMBER;
    return call_invalidate(call, relationship, param(call, 1));
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
        return start_get(call);
    case CALL_READ:
    case CALL_COUNT:
        return start_read(call);
    case CALL_LOAD:
        return start_load(call);
    case CALL_CREATE:
    case CALL_UPSERT:
    case CALL_UPDATE:
    case CALL_DESTROY:
    case CALL_CREATE_MANY:
    case CALL_UPSERT_MANY:
    case CALL_DESTROY_MANY:
        status = read_shown(call);
        return status < 0 ? status : call_write(call);
    case CALL_INVALIDATE:
    case CALL_KIND_COUNT:
        break;
    }
    CHECK(!"a kind of call");
    return -CODE_INTERNAL;
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

static void stay(struct call *call)
{
    struct engine *engine = call->engine;
    pin_take(&engine->world, &call->pin);
    list_append(&engine->calls, &call->link);
    if (engine->next_deadline_us == 0 || call->deadline_us < engine->next_deadline_us) {
        engine->next_deadline_us = call->deadline_us;
    }
    if (!call->loading) {
        task_submit(&engine->tasks, &call->task);
    }
}

int call_start(struct call *call, uint64_t now_us)
{
    error_clear(&call->error);
    call->engine->now_us = now_us;
    call->realm = realm_get(call->engine->realm);
    open_eval(call);
    int status = 0;
    if (call->engine->closing) {
        status = error_set(&call->error, CODE_UNAVAILABLE, "the daemon is stopping");
    }
    if (status == 0 && !is_write(call->kind)) {
        status = keep_request(call);
    }
    if (status == 0) {
        status = read_options(call, now_us);
    }
    if (status == 0) {
        status = start_kind(call);
    }
    if (status == CALL_LATER && call->search != NULL && !call->is_rendered) {
        status = first_slice(call);
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

bool call_get_at_once(struct engine *engine, const char *resource_name, size_t resource_size,
                      struct reader key_in, struct buffer *out)
{
    struct realm *realm = engine->realm;
    const struct resource *resource =
        schema_resource(realm->schema, resource_name, resource_size);
    if (resource == NULL || engine->closing) {
        return false;
    }
    struct buffer *key = &engine->scratch;
    key->size = 0;
    if (key_take(resource, &resource->primary_key, &key_in, key, NULL) < 0 || key->failed) {
        return false;
    }
    struct store *store = realm->stores[resource->position];
    const struct record *record = store->ops->find(store, key->bytes, key->size);
    struct resource_counters *counters = &realm->counters[resource->position];
    counters->reads++;
    counters->hits += record != NULL;
    counters->misses += record == NULL;
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

#include <string.h>

#include "layers/engine/engine_inner.h"
#include "layers/load/unique.h"

/* How the calls that read begin: by key (get, get_many, load), or by a search
 * (read, count). */

int call_read_identity(struct call *call, const struct identity **out)
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
                               name == NULL ? 4
                               : size > 64  ? 64
                                            : (int)size,
                               name == NULL ? "that" : name);
        error_resource(&call->error, call->resource->name);
        return status;
    }
    return 0;
}

static const struct field_list *fields_of(const struct call *call, const struct identity *identity)
{
    return identity != NULL ? &identity->fields : &call->resource->primary_key;
}

/* The record of one key; NULL where it is absent. */
static int find_record(struct call *call, const struct identity *identity, struct reader *in,
                       struct buffer *key, const struct record **out)
{
    struct store *store = call_store(call);
    const struct field_list *fields = fields_of(call, identity);
    key->size = 0;
    int status = key_take(call->resource, fields, in, key, &call->error);
    if (status < 0) {
        return status;
    }
    if (key->failed) {
        return call_no_memory(call);
    }
    *out = identity != NULL ? store->ops->find_identity(store, identity, key->bytes, key->size)
                            : store->ops->find(store, key->bytes, key->size);
    const struct error *fault =
        *out == NULL && identity == NULL ? store_fault(store, key->bytes, key->size) : NULL;
    if (fault != NULL) {
        call->error = *fault;
        return -(int)fault->code;
    }
    struct resource_counters *counters = call_counters(call);
    counters->reads++;
    counters->hits += *out != NULL;
    counters->misses += *out == NULL;
    return 0;
}

/* The keys' bytes, one behind the other in `bytes`. */
static int collect_keys(struct call *call, const struct identity *identity, struct reader *in,
                        struct store_key *keys, uint32_t count, struct buffer *bytes)
{
    const struct field_list *fields = fields_of(call, identity);
    for (uint32_t i = 0; i < count; i++) {
        size_t start = bytes->size;
        int status = key_take(call->resource, fields, in, bytes, &call->error);
        if (status < 0) {
            error_prefix(&call->error, "key %u: ", i);
            call->error.index = i;
            return status;
        }
        keys[i].size = bytes->size - start;
    }
    const uint8_t *at = bytes->bytes;
    for (uint32_t i = 0; i < count && !bytes->failed; i++) {
        keys[i].bytes = at;
        at += keys[i].size;
    }
    return bytes->failed ? call_no_memory(call) : 0;
}

static void find_all(struct call *call, const struct identity *identity,
                     const struct store_key *keys, uint32_t count, const struct record **found)
{
    struct store *store = call_store(call);
    struct resource_counters *counters = call_counters(call);
    if (identity == NULL) {
        store_find_many(store, keys, count, found);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (identity != NULL) {
            found[i] = store->ops->find_identity(store, identity, keys[i].bytes, keys[i].size);
        }
        counters->hits += found[i] != NULL;
        counters->misses += found[i] == NULL;
    }
    counters->reads += count;
}

/* Closes the gaps that absent records leave; what is loaded further needs each
 * record once. */
static int gather(struct call *call, const struct record **records, uint32_t count, uint32_t *asked)
{
    struct unique_pointers unique = {.slots = NULL};
    bool once = call->query.loads != NULL;
    uint32_t found = 0;
    if (once && unique_pointers_init(&unique, count) < 0) {
        return call_no_memory(call);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct record *record = records[i];
        if (record == NULL) {
            asked[i] = CALL_ABSENT;
            continue;
        }
        asked[i] = once ? unique_pointers_add(&unique, record, found) : found;
        if (asked[i] == found) {
            records[found++] = record;
        }
    }
    unique_pointers_release(&unique);
    call->record_count = found;
    return 0;
}

/* Keys that failed alone. */
static void mark_failures(const struct call *call, uint32_t *asked, uint32_t count)
{
    for (uint32_t i = 0; call->failures != NULL && i < count; i++) {
        asked[i] = call->failures[i] != NULL ? CALL_FAILED : asked[i];
    }
}

/* Of resident resources: keys whose values there do not fit. */
static int find_faults(struct call *call, const struct identity *identity,
                       const struct store_key *keys, uint32_t count,
                       const struct record *const *records)
{
    struct store *store = call_store(call);
    const struct error **failures = NULL;
    if (store->home == NULL || identity != NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct error *fault =
            records[i] == NULL ? store_fault(store, keys[i].bytes, keys[i].size) : NULL;
        if (fault == NULL) {
            continue;
        }
        if (failures == NULL) {
            failures = arena_zero(&call->arena, count, sizeof *failures);
        }
        const struct error *copy = arena_copy(&call->arena, fault, sizeof *fault);
        if (failures == NULL || copy == NULL) {
            return call_no_memory(call);
        }
        failures[i] = copy;
    }
    call->failures = failures;
    return 0;
}

/* ---- Keys of records that are at home elsewhere ---- */

static int fetch_keys(struct call *call, const struct identity *identity, struct store_key *keys,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        keys[i].bytes = arena_copy(&call->arena, keys[i].bytes, keys[i].size);
    }
    if (call->arena.failed) {
        return call_no_memory(call);
    }
    call->fetch = (struct fetch){.store = call_store(call),
                                 .asker = call->eval.asker,
                                 .kind = identity != NULL ? FETCH_IDENTITY : FETCH_KEYS,
                                 .identity = identity,
                                 .keys = keys,
                                 .asked = count};
    int status = fetch_start(&call->fetch, &call->error);
    call->fetching = status == 0;
    return status < 0 ? status : call->fetch.done ? call_take_fetched(call) : CALL_LATER;
}

/* A `get` has one key, and fails with it. */
static int take_fetched_one(struct call *call)
{
    const struct fetch *fetch = &call->fetch;
    if (fetch->errors != NULL && fetch->errors[0] != NULL) {
        call->error = *fetch->errors[0];
        return -(int)call->error.code;
    }
    call->records = fetch->records;
    call->record_count = fetch->records[0] != NULL;
    return 0;
}

static int take_fetched_many(struct call *call)
{
    const struct fetch *fetch = &call->fetch;
    const struct record **records = arena_alloc(&call->arena, (fetch->asked + 1) * sizeof *records);
    uint32_t *asked = arena_alloc(&call->arena, (fetch->asked + 1) * sizeof *asked);
    if (records == NULL || asked == NULL) {
        return call_no_memory(call);
    }
    memcpy(records, fetch->records, fetch->asked * sizeof *records);
    call->records = records;
    call->asked = asked;
    int status = gather(call, records, (uint32_t)fetch->asked, asked);
    call->failures = fetch->errors;
    mark_failures(call, asked, (uint32_t)fetch->asked);
    return status;
}

int call_take_fetched(struct call *call)
{
    const struct fetch *fetch = &call->fetch;
    call->fetching = false;
    if (fetch->error.code != CODE_OK) {
        call->error = fetch->error;
        return -(int)call->error.code;
    }
    call_counters(call)->reads += fetch->asked;
    return call->kind == CALL_GET ? take_fetched_one(call) : take_fetched_many(call);
}

/* ---- Many keys ---- */

static int find_many(struct call *call, const struct identity *identity, struct reader *in,
                     uint32_t count, const struct record **records, uint32_t *asked)
{
    struct buffer bytes = BUFFER_INIT;
    struct store_key *keys = arena_alloc(&call->arena, (count + 1) * sizeof *keys);
    if (keys == NULL) {
        return call_no_memory(call);
    }
    int status = collect_keys(call, identity, in, keys, count, &bytes);
    if (status == 0 && call_store(call)->remote) {
        status = fetch_keys(call, identity, keys, count);
    } else if (status == 0) {
        find_all(call, identity, keys, count, records);
        status = find_faults(call, identity, keys, count, records);
    }
    if (status == 0 && !call_store(call)->remote) {
        status = gather(call, records, count, asked);
        mark_failures(call, asked, count);
    }
    buffer_release(&bytes);
    return status;
}

/* Finds the records of a list of keys, and which key asked for which. */
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
        return call_no_memory(call);
    }
    call->records = records;
    call->asked = asked;
    call->asked_count = list.count;
    return find_many(call, identity, &in, list.count, records, asked);
}

int call_read_shown(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    int status = 0;
    if (options_given(&call->options, OPTION_SELECT)) {
        if (!call->query.selection.all) {
            return error_set(&call->error, CODE_INVALID_REQUEST,
                             "select stands in the query and in the options");
        }
        struct reader in = call->options.at[OPTION_SELECT];
        status =
            query_read_select(&reader, call->resource, &in, &call->query.selection, &call->error);
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

static int fetch_one(struct call *call, const struct identity *identity, struct reader in)
{
    struct buffer bytes = BUFFER_INIT;
    struct store_key *key = arena_zero(&call->arena, 1, sizeof *key);
    int status = key_take(call->resource, fields_of(call, identity), &in, &bytes, &call->error);
    if (status == 0 && key != NULL && !bytes.failed) {
        *key = (struct store_key){.bytes = bytes.bytes, .size = bytes.size};
        status = fetch_keys(call, identity, key, 1);
    } else if (status == 0) {
        status = call_no_memory(call);
    }
    buffer_release(&bytes);
    return status;
}

int call_start_get(struct call *call)
{
    const struct identity *identity = NULL;
    int status = call_read_identity(call, &identity);
    if (status == 0) {
        status = call_read_shown(call);
    }
    if (status < 0) {
        return status;
    }
    status = store_ready(call_store(call), &call->error);
    if (status < 0) {
        return status;
    }
    call->answer = call->kind == CALL_GET_MANY ? ANSWER_RECORDS : ANSWER_RECORD;
    if (call->kind == CALL_GET_MANY) {
        status = take_keys(call, identity, call_param(call, 1));
        return status;
    }
    if (call_store(call)->remote) {
        return fetch_one(call, identity, call_param(call, 1));
    }
    struct buffer key = BUFFER_INIT;
    struct reader in = call_param(call, 1);
    const struct record *record = NULL;
    status = find_record(call, identity, &in, &key, &record);
    buffer_release(&key);
    if (status < 0 || record == NULL) {
        return status;
    }
    call->records = arena_copy(&call->arena, &record, sizeof record);
    call->record_count = 1;
    return call->records == NULL ? call_no_memory(call) : 0;
}

/* ---- load ---- */

static int read_loads(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    struct reader loads = call_param(call, 2);
    bool has_query = options_given(&call->options, OPTION_QUERY);
    enum token_kind kind = reader_peek(&loads);
    call->loads_single = kind == TOKEN_STRING || kind == TOKEN_BINARY;
    if (kind == TOKEN_NIL) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "load: expected what to load: a relationship's name, a list or a map");
    }
    if (call->loads_single) {
        struct reader query = has_query ? call->options.at[OPTION_QUERY] : reader_of("\xc0", 1);
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

int call_start_load(struct call *call)
{
    int status = read_loads(call);
    call->answer = ANSWER_RELATED;
    if (status == 0) {
        status = store_ready(call_store(call), &call->error);
    }
    return status < 0 ? status : take_keys(call, NULL, call_param(call, 1));
}

/* ---- read and count ---- */

int call_start_read(struct call *call)
{
    struct query_reader reader = {.arena = &call->arena, .limits = call->engine->limits};
    struct reader in = call_param(call, 1);
    int status = query_read(&reader, call->resource, NULL, &in, &call->query, &call->error);
    if (status == 0) {
        status = call_read_shown(call);
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
        return call_no_memory(call);
    }
    call->search = search_create(&call->spec, &call->eval);
    if (call->search == NULL) {
        return call_no_memory(call);
    }
    static const struct search_input whole = {0};
    call_counters(call)->reads++;
    status = search_start(call->search, &whole);
    return status;
}

#include <string.h>

#include "layers/engine/writing.h"
#include "protocol/base/check.h"

/* Calls that change records. Where this memory is their home, each happens whole
 * within one turn: read what is there, judge, put, commit; so nobody sees a part of
 * it, and a condition holds at the moment of the write. (call_write_home.c has the
 * others, which go through the same steps.) */

/* What an `if` may visit by paths and exists: it cannot be sliced, since the
 * write must follow in the same turn. */
enum { CONDITION_STEPS_MAX = 100000 };

static int no_memory(struct writing *writing)
{
    return error_set(&writing->call->error, CODE_OVERLOADED, "no memory for the write");
}

static int not_found(struct writing *writing)
{
    const struct field_list *fields = &writing->resource->primary_key;
    struct error *error = &writing->call->error;
    char text[320]; /* more than details hold of a key */
    key_describe(fields, writing->key.bytes, writing->key.size, text, sizeof text);
    error_set(error, CODE_NOT_FOUND, "%s %s is not there", writing->resource->name, text);
    error_resource(error, writing->resource->name);
    struct buffer shown = BUFFER_INIT;
    key_write(&shown, fields, writing->key.bytes, writing->key.size);
    error_key(error, shown.bytes, shown.size);
    buffer_release(&shown);
    return -CODE_NOT_FOUND;
}

/* ---- Conditions ---- */

static int read_condition(struct writing *writing)
{
    struct call *call = writing->call;
    const struct expr_scope scope = {.resource = writing->resource};
    struct expr_compiler compiler = {
        .arena = &call->arena, .limits = call->engine->limits, .scope = &scope};
    if (!options_given(&call->options, OPTION_IF)) {
        return 0;
    }
    if (options_given(&call->options, OPTION_PARAMS)) {
        struct reader params = call->options.at[OPTION_PARAMS];
        if (reader_peek(&params) != TOKEN_MAP) {
            struct token token = reader_next(&params);
            return error_set(&call->error, CODE_INVALID_REQUEST, "params: expected a map, got %s",
                             token_describe(&token));
        }
        compiler.params = params.at;
        compiler.params_size = (size_t)(params.end - params.at);
    }
    struct reader in = call->options.at[OPTION_IF];
    int status = expr_compile(&compiler, &in, &writing->condition, &call->error);
    if (status < 0) {
        error_prefix(&call->error, "if: ");
        return status;
    }
    writing->run = expr_run_create(&call->arena, writing->condition, &call->eval);
    return writing->run == NULL ? no_memory(writing) : 0;
}

static int judge(struct writing *writing, const struct record *record)
{
    struct call *call = writing->call;
    if (writing->condition == NULL) {
        return 0;
    }
    struct value value;
    uint64_t budget = CONDITION_STEPS_MAX;
    if (!writing->judging) {
        writing->judged = (struct expr_records){.record = record};
        expr_run_start(writing->run, &writing->judged);
    }
    /* A write in one turn cannot wait: what it would have to fetch is refused. */
    call->eval.asker.task = writing->home_open ? &call->task : NULL;
    enum run_status status = expr_run_go(writing->run, &budget, &value);
    writing->judging = status == RUN_MORE && call->task.waits > 0;
    if (writing->judging) {
        /* Records that it looks at are elsewhere: it goes on in the next pass. */
        writing->home.lacking = true;
        return 0;
    }
    expr_run_stop(writing->run);
    if (status == RUN_FAILED) {
        return -(int)call->error.code;
    }
    if (status == RUN_MORE) {
        return error_set(&call->error, CODE_TOO_LARGE,
                         "if: the condition visits more than %d related records",
                         CONDITION_STEPS_MAX);
    }
    if (value.kind == VALUE_BOOLEAN && value.boolean) {
        return 0;
    }
    error_set(&call->error, CODE_CONFLICT, "%s: the condition in `if` does not hold",
              writing->resource->name);
    error_resource(&call->error, writing->resource->name);
    return -CODE_CONFLICT;
}

/* ---- One record ---- */

static int put(struct writing *writing, const struct record *old)
{
    struct call *call = writing->call;
    struct record *image = NULL;
    int status = record_draft_finish(&writing->draft, old, &call->error);
    if (status == 0) {
        status = record_draft_build(&writing->draft, &call->arena, &image, &call->error);
    }
    if (status == 0) {
        status =
            writing->store->ops->put(writing->store, old, image, &writing->stored, &call->error);
    }
    writing->changes += status == 0;
    return status;
}

static int take(struct writing *writing, struct reader *in)
{
    writing->taken.size = 0;
    CHECK(writing->draft.parts != NULL);
    memset(writing->draft.parts, 0, sizeof *writing->draft.parts * writing->resource->field_count);
    int status = record_draft_take(&writing->draft, in, &writing->call->error);
    return status == 0 && writing->taken.failed ? no_memory(writing) : status;
}

/* The draft's own key, from what was given: false where a field is not given or
 * nil. */
static bool draft_key(struct writing *writing, const struct field_list *fields)
{
    writing->key.size = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        const struct record_part *part = &writing->draft.parts[fields->fields[i]];
        const uint8_t *bytes =
            part->bytes != NULL ? part->bytes : writing->taken.bytes + part->offset;
        if (part->size == 0 || bytes[0] == 0xc0) {
            return false;
        }
        buffer_append(&writing->key, bytes, part->size);
    }
    return true;
}

/* Whether a primary key that is given is another than the record's. */
static bool other_primary_key(const struct writing *writing, const struct record *record)
{
    const struct resource *resource = writing->resource;
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        unsigned position = resource->primary_key.fields[i];
        const struct record_part *part = &writing->draft.parts[position];
        uint32_t size = 0;
        const uint8_t *stored = record_field(record, resource->field_count, position, &size);
        const uint8_t *bytes =
            part->bytes != NULL ? part->bytes : writing->taken.bytes + part->offset;
        if (part->size != 0 && (part->size != size || memcmp(bytes, stored, size) != 0)) {
            return true;
        }
    }
    return false;
}

/* An upsert without its key: the field that lacks is named. */
static int key_missing(struct writing *writing, const struct field_list *fields)
{
    struct error *error = &writing->call->error;
    const struct field *field = &writing->resource->fields[fields->fields[0]];
    for (unsigned i = 0; i < fields->count; i++) {
        const struct record_part *part = &writing->draft.parts[fields->fields[i]];
        if (part->size == 0) {
            field = &writing->resource->fields[fields->fields[i]];
            break;
        }
    }
    error_set(error, CODE_INVALID_VALUE, "%s.%s: expected a value, since it is part of the key",
              writing->resource->name, field->name);
    error_resource(error, writing->resource->name);
    error_field(error, field->name);
    return -CODE_INVALID_VALUE;
}

static int create_one(struct writing *writing, struct reader *in)
{
    int status = take(writing, in);
    return status < 0 ? status : put(writing, NULL);
}

static int find_for_upsert(struct writing *writing, const struct record **old)
{
    struct store *store = writing->store;
    const struct identity *identity = writing->identity;
    const struct field_list *fields =
        identity != NULL ? &identity->fields : &writing->resource->primary_key;
    *old = NULL;
    if (!draft_key(writing, fields)) {
        return key_missing(writing, fields);
    }
    if (writing->key.failed) {
        return no_memory(writing);
    }
    if (identity == NULL) {
        *old = store->ops->find(store, writing->key.bytes, writing->key.size);
        return 0;
    }
    *old = store->ops->find_identity(store, identity, writing->key.bytes, writing->key.size);
    if (*old != NULL && other_primary_key(writing, *old)) {
        error_set(&writing->call->error, CODE_CONFLICT,
                  "%s: the record that identity %s finds has another primary key",
                  writing->resource->name, identity->name);
        error_resource(&writing->call->error, writing->resource->name);
        return -CODE_CONFLICT;
    }
    return 0;
}

static int upsert_one(struct writing *writing, struct reader *in)
{
    const struct record *old = NULL;
    int status = take(writing, in);
    if (status == 0) {
        status = find_for_upsert(writing, &old);
    }
    if (status == 0 && old != NULL) {
        status = judge(writing, old);
    }
    return status < 0 ? status : put(writing, old);
}

static int find_by_key(struct writing *writing, struct reader *in, const struct record **out)
{
    writing->key.size = 0;
    int status = key_take(writing->resource, &writing->resource->primary_key, in, &writing->key,
                          &writing->call->error);
    if (status == 0 && writing->key.failed) {
        status = no_memory(writing);
    }
    if (status == 0) {
        *out = writing->store->ops->find(writing->store, writing->key.bytes, writing->key.size);
    }
    return status;
}

static int update_one(struct writing *writing, struct reader *key, struct reader *changes)
{
    const struct record *old = NULL;
    int status = find_by_key(writing, key, &old);
    if (status == 0) {
        status = take(writing, changes);
    }
    if (status < 0) {
        return status;
    }
    if (old == NULL) {
        return not_found(writing);
    }
    if (other_primary_key(writing, old)) {
        error_set(&writing->call->error, CODE_INVALID_VALUE, "%s: the primary key cannot change",
                  writing->resource->name);
        error_resource(&writing->call->error, writing->resource->name);
        return -CODE_INVALID_VALUE;
    }
    status = judge(writing, old);
    return status < 0 ? status : put(writing, old);
}

/* *removed tells whether it was there. */
static int destroy_one(struct writing *writing, struct reader *key, bool *removed)
{
    const struct record *old = NULL;
    *removed = false;
    int status = find_by_key(writing, key, &old);
    if (status < 0 || old == NULL) {
        return status;
    }
    status = judge(writing, old);
    if (status == 0) {
        status = writing->store->ops->remove(writing->store, old, &writing->call->error);
    }
    *removed = status == 0;
    writing->changes += status == 0;
    return status;
}

/* ---- Many ---- */

static int many_element(struct writing *writing, struct reader *in, uint64_t *count)
{
    bool removed = true;
    int status = 0;
    switch (writing->call->kind) {
    case CALL_CREATE_MANY:
        status = create_one(writing, in);
        break;
    case CALL_UPSERT_MANY:
        status = upsert_one(writing, in);
        break;
    default:
        status = destroy_one(writing, in, &removed);
        break;
    }
    *count += status == 0 && removed;
    return status;
}

static int many(struct writing *writing, struct reader in)
{
    struct call *call = writing->call;
    const struct limits *limits = call->engine->limits;
    struct token list = reader_next(&in);
    if (list.kind != TOKEN_ARRAY) {
        return error_set(&call->error, CODE_INVALID_REQUEST, "%s: expected a list, got %s",
                         call_kind_name(call->kind), token_describe(&list));
    }
    if (list.count > limits->records_per_write) {
        return error_limit_hit(&call->error, CODE_TOO_LARGE, "records_per_write",
                               limits->records_per_write, list.count);
    }
    call->number = 0;
    for (uint32_t i = 0; i < list.count; i++) {
        writing->home.element = i;
        int status = many_element(writing, &in, &call->number);
        if (status < 0 && !writing->home.lacking) {
            error_prefix(&call->error, "element %u: ", i);
            call->error.index = i;
            return status;
        }
    }
    return 0;
}

/* ---- The call ---- */

static int destroy_or_miss(struct writing *writing, struct reader *key)
{
    bool removed = false;
    int status = destroy_one(writing, key, &removed);
    return status == 0 && !removed ? not_found(writing) : status;
}

int writing_pass(struct writing *writing)
{
    struct call *call = writing->call;
    writing->changes = 0;
    struct reader first = call_param(call, 1);
    struct reader second = call_param(call, 2);
    call->answer = ANSWER_RECORD;
    switch (call->kind) {
    case CALL_CREATE:
        return create_one(writing, &first);
    case CALL_UPSERT:
        return upsert_one(writing, &first);
    case CALL_UPDATE:
        return update_one(writing, &first, &second);
    case CALL_DESTROY:
        call->answer = ANSWER_TRUE;
        return destroy_or_miss(writing, &first);
    case CALL_CREATE_MANY:
    case CALL_UPSERT_MANY:
    case CALL_DESTROY_MANY:
        call->answer = ANSWER_NUMBER;
        return many(writing, first);
    case CALL_GET:
    case CALL_GET_MANY:
    case CALL_READ:
    case CALL_COUNT:
    case CALL_LOAD:
    case CALL_INVALIDATE:
    case CALL_REINDEX:
    case CALL_KIND_COUNT:
        break;
    }
    CHECK(!"a call that writes");
    return -CODE_INTERNAL;
}

int writing_open(struct writing *writing, struct call *call)
{
    *writing = (struct writing){.call = call,
                                .store = call_store(call),
                                .resource = call->resource,
                                .taken = BUFFER_INIT,
                                .key = BUFFER_INIT};
    if (options_given(&call->options, OPTION_PARAMS) && !options_given(&call->options, OPTION_IF)) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "params: they belong to a condition in `if`, and there is none");
    }
    int status = call_read_identity(call, &writing->identity);
    if (status < 0) {
        return status;
    }
    status = record_draft_init(&writing->draft, writing->resource, &call->arena, &writing->taken);
    return status < 0 ? no_memory(writing) : read_condition(writing);
}

void writing_close(struct writing *writing)
{
    if (writing->judging) {
        expr_run_stop(writing->run);
        writing->judging = false;
    }
    buffer_release(&writing->taken);
    buffer_release(&writing->key);
}

int writing_keep_stored(struct writing *writing)
{
    struct call *call = writing->call;
    if (call->answer != ANSWER_RECORD) {
        return 0;
    }
    call->records = arena_copy(&call->arena, &writing->stored, sizeof writing->stored);
    call->record_count = 1;
    return call->records == NULL ? no_memory(writing) : 0;
}

int call_write(struct call *call)
{
    struct writing writing;
    int status = writing_open(&writing, call);
    if (status == 0) {
        writing.store->ops->begin(writing.store);
        status = writing_pass(&writing);
        if (status == 0) {
            status = writing_keep_stored(&writing);
        }
        if (status == 0) {
            writing.store->ops->commit(writing.store);
            call_counters(call)->writes += writing.changes;
        } else {
            writing.store->ops->rollback(writing.store);
        }
    }
    writing_close(&writing);
    return status;
}

/* ---- invalidate ---- */

/* Flights of the relations to and from a resource (of these sources, where keys
 * are given) are overtaken. A manual relationship's keys are the sources';
 * an ordinary one's are join values, so all of it is overtaken. */
static uint64_t overtake(struct call *call, const struct relationship *only,
                         const struct buffer *key)
{
    struct relations *relations = &call->realm->relations;
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < relations->schema->relationship_count; i++) {
        struct relation *relation = &relations->all[i];
        const struct relationship *relationship = relation->relationship;
        bool source = relationship->source == call->resource;
        if (only != NULL ? relationship != only
                         : !source && relationship->destination != call->resource) {
            continue;
        }
        bool by_key = key != NULL && source && relationship->manual;
        dropped +=
            relation_invalidate(relation, by_key ? key->bytes : NULL, by_key ? key->size : 0);
    }
    return dropped;
}

/* What is cached of records whose home is elsewhere. */
static uint64_t forget(struct call *call, const struct relationship *relationship,
                       const struct buffer *key)
{
    struct store *store = call_store(call);
    if (relationship != NULL || !store->remote) {
        return 0;
    }
    return store->home->invalidate(store, key != NULL ? key->bytes : NULL,
                                   key != NULL ? key->size : 0);
}

int call_invalidate(struct call *call, const struct relationship *relationship, struct reader keys)
{
    struct token list = reader_next(&keys);
    struct buffer key = BUFFER_INIT;
    int status = 0;
    call->number = 0;
    world_advance(&call->engine->world);
    if (list.kind == TOKEN_NIL) {
        call->number = forget(call, relationship, NULL) + overtake(call, relationship, NULL);
        return 0;
    }
    if (list.kind != TOKEN_ARRAY) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "invalidate: expected a list of primary keys or nil, got %s",
                         token_describe(&list));
    }
    if (list.count > call->engine->limits->keys_per_call) {
        return error_limit_hit(&call->error, CODE_TOO_LARGE, "keys_per_call",
                               call->engine->limits->keys_per_call, list.count);
    }
    for (uint32_t i = 0; status == 0 && i < list.count; i++) {
        key.size = 0;
        status = key_take(call->resource, &call->resource->primary_key, &keys, &key, &call->error);
        if (status == 0) {
            call->number += forget(call, relationship, &key);
            call->number += overtake(call, relationship, &key);
        } else {
            error_prefix(&call->error, "key %u: ", i);
            call->error.index = i;
        }
    }
    buffer_release(&key);
    return status;
}

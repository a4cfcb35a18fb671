#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/outside.h"
#include "layers/load/unique.h"
#include "layers/record.h"
#include "protocol/base/check.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/writer.h"

/* Answers of loaders outside, checked. What is wrong with one source's part
 * fails that source; what is wrong with the whole fails all that were asked. */

enum { ERROR_EXTENSION = 1 }; /* the protocol's: an error in the place of a value */

/* An answer in progress: rooms that are used for record after record. */
struct taking {
    const struct relation *relation;
    const struct resource *destination;
    struct batch *batch;
    struct record_draft draft;
    struct buffer taken;
    struct buffer key;
    const struct record **records; /* of the source in hand, in the batch's arena */
    size_t count;
    size_t capacity;
    struct error error;
};

static int no_memory(struct taking *taking)
{
    return error_set(&taking->error, CODE_OVERLOADED, "no memory for a loader's answer");
}

/* ---- Errors of single sources ---- */

static const struct error no_room = {.code = CODE_OVERLOADED,
                                     .message = "no memory for a loader's error",
                                     .index = -1,
                                     .position = -1,
                                     .written = -1};

/* The error of one source, which names the relationship and the source. */
static void fail_key(const struct relation *relation, struct batch *batch, size_t at,
                     const struct error *error)
{
    const struct field_list *fields = &relation->relationship->source->primary_key;
    const struct load_key *key = &batch->keys[at];
    struct error *kept = arena_copy(&batch->arena, error, sizeof *error);
    if (kept == NULL) {
        batch->answers[at] = (struct load_answer){.error = &no_room};
        return;
    }
    char text[ERROR_NAME_MAX];
    key_describe(fields, key->bytes, key->size, text, sizeof text);
    error_prefix(kept, "%s of %s: ", relation->relationship->full_name, text);
    error_resource(kept, relation->relationship->source->name);
    error_relationship(kept, relation->relationship->name);
    struct buffer shown = BUFFER_INIT;
    key_write(&shown, fields, key->bytes, key->size);
    error_key(kept, shown.bytes, shown.size);
    buffer_release(&shown);
    batch->answers[at] = (struct load_answer){.error = kept};
}

void outside_fail(const struct relation *relation, struct batch *batch, size_t from, size_t count,
                  const struct error *error)
{
    (void)relation;
    struct error *kept = arena_copy(&batch->arena, error, sizeof *error);
    for (size_t i = from; i < from + count; i++) {
        batch->answers[i] = (struct load_answer){.error = kept != NULL ? kept : &no_room};
    }
}

/* ---- Destination records ---- */

static int push(struct taking *taking, const struct record *record)
{
    if (arena_grow(&taking->batch->arena, (void **)&taking->records, taking->count,
                   &taking->capacity, sizeof *taking->records) < 0) {
        return no_memory(taking);
    }
    taking->records[taking->count++] = record;
    return 0;
}

/* Absent fields are nil; without its primary key it is no record. */
static int fill_absent(struct taking *taking)
{
    static const uint8_t nil = 0xc0;
    const struct resource *resource = taking->destination;
    for (unsigned i = 0; i < resource->field_count; i++) {
        struct record_part *part = &taking->draft.parts[i];
        if (part->size == 0) {
            part->bytes = &nil;
            part->size = 1;
        }
    }
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        unsigned position = resource->primary_key.fields[i];
        const struct record_part *part = &taking->draft.parts[position];
        const uint8_t *bytes =
            part->bytes != NULL ? part->bytes : taking->taken.bytes + part->offset;
        if (bytes[0] == nil) {
            return error_set(&taking->error, CODE_LOADER_FAILED,
                             "a %s without its primary key (%s)", resource->name,
                             resource->fields[position].name);
        }
    }
    return 0;
}

static int take_record(struct taking *taking, struct reader *in)
{
    struct record *record = NULL;
    taking->taken.size = 0;
    memset(taking->draft.parts, 0, sizeof *taking->draft.parts * taking->destination->field_count);
    int status = record_draft_take(&taking->draft, in, &taking->error);
    if (status == 0 && taking->taken.failed) {
        status = no_memory(taking);
    }
    if (status == 0) {
        status = fill_absent(taking);
    }
    if (status == 0) {
        status = record_draft_build(&taking->draft, &taking->batch->arena, &record, &taking->error);
    }
    return status < 0 ? status : push(taking, record);
}

/* A record that has only the key in `taking->key`: it keeps its place among the
 * cached, should it come to be there. */
static int take_absent(struct taking *taking)
{
    const struct resource *resource = taking->destination;
    const struct field_list *fields = &resource->primary_key;
    struct reader in = reader_of(taking->key.bytes, taking->key.size);
    struct record *record = NULL;
    memset(taking->draft.parts, 0, sizeof *taking->draft.parts * resource->field_count);
    for (unsigned i = 0; i < fields->count; i++) {
        size_t size = 0;
        struct record_part *part = &taking->draft.parts[fields->fields[i]];
        CHECK(reader_value(&in, &part->bytes, &size));
        part->size = (uint32_t)size;
    }
    int status = fill_absent(taking);
    if (status == 0) {
        status = record_draft_build(&taking->draft, &taking->batch->arena, &record, &taking->error);
    }
    return status < 0 ? status : push(taking, record);
}

/* A key: the record is fetched from its home. Copied, since the answer may
 * outlive the turn. */
static int take_key(struct taking *taking, struct reader *in)
{
    const struct resource *destination = taking->destination;
    struct store *store = taking->relation->owner->stores[destination->position];
    taking->key.size = 0;
    int status = key_take(destination, &destination->primary_key, in, &taking->key, &taking->error);
    if (status < 0) {
        return status;
    }
    const struct record *record = store->ops->find(store, taking->key.bytes, taking->key.size);
    if (record == NULL) {
        return taking->key.failed ? no_memory(taking) : take_absent(taking);
    }
    record =
        arena_copy(&taking->batch->arena, record, record_bytes(record, destination->field_count));
    return record == NULL ? no_memory(taking) : push(taking, record);
}

static int take_item(struct taking *taking, struct reader *in)
{
    return taking->relation->relationship->returns_keys ? take_key(taking, in)
                                                        : take_record(taking, in);
}

/* ---- One source ---- */

static bool is_container(enum token_kind kind)
{
    return kind == TOKEN_ARRAY || kind == TOKEN_MAP;
}

/* Whether a list is one composite key: its elements are neither lists nor maps. */
static bool is_one_key(const struct taking *taking, struct reader in)
{
    if (!taking->relation->relationship->returns_keys ||
        taking->destination->primary_key.count == 1) {
        return false;
    }
    uint32_t count = reader_next(&in).count;
    for (uint32_t i = 0; i < count; i++) {
        if (is_container(reader_peek(&in))) {
            return false;
        }
        reader_skip(&in);
    }
    return count > 0;
}

/* A text of the map in an error extension; false where it has none. */
static bool error_text(const struct token *error, const char *name, struct token *out)
{
    struct reader in = reader_of(error->bytes, error->size);
    struct token map = reader_next(&in);
    for (uint32_t i = 0; map.kind == TOKEN_MAP && i < map.count; i++) {
        size_t size = 0;
        size_t value_size = 0;
        const uint8_t *bytes = NULL;
        const char *key = reader_name(&in, &size);
        if (key == NULL || !reader_value(&in, &bytes, &value_size)) {
            return false;
        }
        if (size != strlen(name) || memcmp(key, name, size) != 0) {
            continue;
        }
        struct reader value = reader_of(bytes, value_size);
        *out = reader_next(&value);
        return out->kind == TOKEN_STRING && utf8_valid(out->bytes, out->size);
    }
    return false;
}

/* The error that a loader answered for one source. */
static int take_error(struct taking *taking, const struct token *token)
{
    struct error *error = &taking->error;
    struct token text;
    error_set(error, CODE_LOADER_FAILED, "the loader answered an error");
    if (error_text(token, "message", &text)) {
        error_set(error, CODE_LOADER_FAILED, "%.*s", (int)(text.size & INT32_MAX),
                  (const char *)text.bytes);
    }
    if (error_text(token, "code", &text)) {
        snprintf(error->cause, sizeof error->cause, "%.*s", (int)(text.size & INT32_MAX),
                 (const char *)text.bytes);
    }
    return -CODE_LOADER_FAILED;
}

static int take_list(struct taking *taking, struct reader *in)
{
    uint32_t count = reader_next(in).count;
    for (uint32_t i = 0; i < count; i++) {
        int status = take_item(taking, in);
        if (status < 0) {
            error_prefix(&taking->error, "element %u: ", i);
            return status;
        }
    }
    return 0;
}

static int take_source(struct taking *taking, struct reader in)
{
    struct reader whole = in;
    struct token token = reader_next(&in);
    if (token.kind == TOKEN_NIL) {
        return 0;
    }
    if (token.kind == TOKEN_EXTENSION && token.extension == ERROR_EXTENSION) {
        return take_error(taking, &token);
    }
    if (token.kind == TOKEN_ARRAY && !is_one_key(taking, whole)) {
        return take_list(taking, &whole);
    }
    if (token.kind == TOKEN_MAP || taking->relation->relationship->returns_keys) {
        return take_item(taking, &whole);
    }
    return error_set(&taking->error, CODE_LOADER_FAILED,
                     "expected a record, a list of records or nil, got %s", token_describe(&token));
}

static int answer_source(struct taking *taking, size_t at, struct reader in)
{
    struct batch *batch = taking->batch;
    taking->records = NULL;
    taking->count = 0;
    taking->capacity = 0;
    error_clear(&taking->error);
    int status = take_source(taking, in);
    if (status == -CODE_OVERLOADED) {
        return status;
    }
    if (status < 0) {
        taking->error.code = CODE_LOADER_FAILED;
        fail_key(taking->relation, batch, at, &taking->error);
        return 0;
    }
    struct related_records *answer = arena_alloc(&batch->arena, sizeof *answer);
    if (answer == NULL) {
        return no_memory(taking);
    }
    *answer = (struct related_records){.records = taking->records, .count = taking->count};
    batch->answers[at] = (struct load_answer){.value = answer};
    return 0;
}

/* ---- The whole ---- */

static int misshapen(const struct relation *relation, struct error *error, size_t asked,
                     const char *came)
{
    const char *name = relation->relationship->full_name;
    error_set(error, CODE_LOADER_FAILED,
              "%s: expected a list of %zu answers, one for each record, or a map by primary key, "
              "got %s",
              name, asked, came);
    error_resource(error, relation->relationship->source->name);
    error_relationship(error, relation->relationship->name);
    return -CODE_LOADER_FAILED;
}

static int take_answers_in_order(struct taking *taking, size_t from, size_t count,
                                 struct reader *in)
{
    for (size_t i = from; i < from + count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        CHECK(reader_value(in, &bytes, &size));
        int status = answer_source(taking, i, reader_of(bytes, size));
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

/* An integer's text, as numbers are written. */
static bool read_integer_text(const struct token *token, int64_t *out)
{
    char text[24];
    char again[24];
    if (token->size == 0 || token->size >= sizeof text) {
        return false;
    }
    memcpy(text, token->bytes, token->size);
    text[token->size] = '\0';
    *out = strtoll(text, NULL, 10);
    int size = snprintf(again, sizeof again, "%lld", (long long)*out);
    return (uint32_t)size == token->size && memcmp(text, again, token->size) == 0;
}

/* A key of the map: the text of an integer key is taken for it. */
static bool take_map_key(struct taking *taking, struct reader *in)
{
    const struct resource *source = taking->relation->relationship->source;
    const struct field_list *fields = &source->primary_key;
    struct reader after = *in;
    struct token token = reader_next(&after);
    int64_t number = 0;
    taking->key.size = 0;
    bool integer =
        fields->count == 1 && source->fields[fields->fields[0]].type.kind == TYPE_INTEGER;
    if (!integer || token.kind != TOKEN_STRING) {
        return key_take(source, fields, in, &taking->key, NULL) == 0;
    }
    if (!read_integer_text(&token, &number)) {
        return false;
    }
    write_integer(&taking->key, number);
    return true;
}

/* Where the keys that were asked stand; entries of the map that are none are
 * ignored, sources without an entry are empty. */
static int take_answers_by_key(struct taking *taking, size_t from, size_t count, uint32_t pairs,
                               struct reader *in)
{
    struct unique_keys unique;
    struct buffer bytes = BUFFER_INIT;
    int status = unique_keys_init(&unique, count + 1) < 0 ? no_memory(taking) : 0;
    for (size_t i = 0; status == 0 && i < count; i++) {
        const struct load_key *key = &taking->batch->keys[from + i];
        size_t start = bytes.size;
        buffer_append(&bytes, key->bytes, key->size);
        if (bytes.failed) {
            status = no_memory(taking);
        } else {
            unique_keys_add(&unique, bytes.bytes, start, key->size, (uint32_t)i);
            status = answer_source(taking, from + i, reader_of("\xc0", 1));
        }
    }
    for (uint32_t i = 0; status == 0 && i < pairs; i++) {
        const uint8_t *value = NULL;
        size_t value_size = 0;
        struct reader name = *in;
        bool known = take_map_key(taking, &name);
        reader_skip(in);
        CHECK(reader_value(in, &value, &value_size));
        uint32_t at =
            known ? unique_keys_find(&unique, bytes.bytes, taking->key.bytes, taking->key.size)
                  : UINT32_MAX;
        if (taking->key.failed) {
            status = no_memory(taking);
        } else if (at != UINT32_MAX) {
            status = answer_source(taking, from + at, reader_of(value, value_size));
        }
    }
    buffer_release(&bytes);
    unique_keys_release(&unique);
    return status;
}

int outside_take(const struct relation *relation, struct batch *batch, size_t from, size_t count,
                 struct reader *answer, struct error *error)
{
    struct reader in = *answer;
    struct token token = reader_next(&in);
    if (!reader_skip(answer) || !is_container(token.kind)) {
        return misshapen(relation, error, count, token_describe(&token));
    }
    if (token.kind == TOKEN_ARRAY && token.count != count) {
        char came[48];
        snprintf(came, sizeof came, "a list of %u", token.count);
        return misshapen(relation, error, count, came);
    }
    struct taking taking = {.relation = relation,
                            .destination = relation->relationship->destination,
                            .batch = batch,
                            .error = ERROR_INIT};
    int status =
        record_draft_init(&taking.draft, taking.destination, &batch->arena, &taking.taken) < 0
            ? no_memory(&taking)
            : 0;
    if (status == 0) {
        status = token.kind == TOKEN_ARRAY
                     ? take_answers_in_order(&taking, from, count, &in)
                     : take_answers_by_key(&taking, from, count, token.count, &in);
    }
    buffer_release(&taking.taken);
    buffer_release(&taking.key);
    if (status < 0) {
        *error = taking.error;
    }
    return status;
}

/* ---- Keys that were kept ---- */

static int fetch_one(struct store *store, const struct record *old, struct buffer *key,
                     struct arena *arena, const struct record **out)
{
    const struct resource *resource = store->resource;
    key->size = 0;
    *out = NULL;
    CHECK(key_of_record(resource, &resource->primary_key, old, key));
    if (key->failed) {
        return -CODE_OVERLOADED;
    }
    const struct record *record = store->ops->find(store, key->bytes, key->size);
    if (record == NULL) {
        return 0;
    }
    *out = arena_copy(arena, record, record_bytes(record, resource->field_count));
    return *out == NULL ? -CODE_OVERLOADED : 0;
}

int outside_fetch_again(const struct relation *relation, struct arena *arena,
                        const struct related_records **answer)
{
    struct store *store = relation->owner->stores[relation->relationship->destination->position];
    const struct related_records *old = *answer;
    struct related_records *now = arena_zero(arena, 1, sizeof *now);
    const struct record **records = arena_alloc(arena, (old->count + 1) * sizeof *records);
    struct buffer key = BUFFER_INIT;
    int status = now == NULL || records == NULL ? -CODE_OVERLOADED : 0;
    for (size_t i = 0; status == 0 && i < old->count; i++) {
        status = fetch_one(store, old->records[i], &key, arena, &records[now->count]);
        now->count += status == 0 && records[now->count] != NULL;
    }
    buffer_release(&key);
    if (status == 0) {
        now->records = records;
        *answer = now;
    }
    return status;
}

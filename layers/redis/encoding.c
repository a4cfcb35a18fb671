#include "layers/redis/encoding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/encoding_inner.h"
#include "layers/redis/key_text.h"
#include "layers/value.h"
#include "protocol/base/check.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/writer.h"

enum { NIL_BYTE = 0xc0, NAME_SHOWN_MAX = 120, NAME_BYTES_SHOWN_MAX = 100, VALUE_SHOWN_MAX = 160 };

const struct type mark_type = {.kind = TYPE_STRING};
static const uint8_t nil = NIL_BYTE;

const struct document_form *document_form(const struct resource *resource)
{
    switch (resource->redis->encoding) {
    case REDIS_HASH:
        return NULL;
    case REDIS_MSGPACK:
        return &msgpack_document;
    case REDIS_JSON:
        return &json_document;
    }
    CHECK(false);
    return NULL;
}

/* ---- Names ---- */

const char *stored_name(const struct field *field, size_t *size)
{
    *size = field->stored_as != NULL ? field->stored_as_size : field->name_size;
    return field->stored_as != NULL ? field->stored_as : field->name;
}

bool is_mark(const void *name, size_t size)
{
    return size == strlen(ENCODING_MARK) && memcmp(name, ENCODING_MARK, size) == 0;
}

static bool has_name(const struct field *field, const uint8_t *name, size_t size)
{
    size_t stored_size;
    const char *stored = stored_name(field, &stored_size);
    return stored_size == size && memcmp(stored, name, size) == 0;
}

const struct field *find_stored(const struct resource *resource, unsigned *expected,
                                const uint8_t *name, size_t size)
{
    unsigned count = resource->field_count;
    for (unsigned i = 0; i < count && size > 0; i++) {
        unsigned position = *expected + i < count ? *expected + i : *expected + i - count;
        if (has_name(&resource->fields[position], name, size)) {
            *expected = position + 1u < count ? position + 1u : 0;
            return &resource->fields[position];
        }
    }
    return NULL;
}

/* ---- Text ---- */

size_t real_write(double real, char out[REAL_TEXT_MAX])
{
    int size = 0;
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(out, REAL_TEXT_MAX, "%.*g", digits, real);
        if (strtod(out, NULL) == real) {
            break;
        }
    }
    return (size_t)size;
}

bool real_read(const uint8_t *text, size_t size, double *out)
{
    char room[400];
    if (size == 0 || size >= sizeof(room)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        /* No blanks, no hexadecimal, no words. */
        if (text[i] == '\0' || strchr("0123456789+-.eE", text[i]) == NULL) {
            return false;
        }
        room[i] = (char)text[i];
    }
    room[size] = '\0';
    char *end;
    *out = strtod(room, &end);
    return end == room + size && isfinite(*out);
}

void describe_bytes(const uint8_t *bytes, size_t size, char *out, size_t out_size)
{
    struct value value = {.kind = VALUE_TEXT, .size = (uint32_t)size, .bytes = bytes};
    if (size <= UINT32_MAX && utf8_valid(bytes, size)) {
        value_describe(&value, out, out_size);
    } else {
        snprintf(out, out_size, "%zu bytes that are no text", size);
    }
}

/* ---- Faults ---- */

/* The Redis key, which a message can hold: what a terminal would not show is
 * made visible by error_set, but for a zero, which would end the text. */
static void describe_name(const struct reading *reading, char out[NAME_SHOWN_MAX])
{
    struct buffer name = BUFFER_INIT;
    key_text_append(reading->resource, reading->key, reading->key_size, &name);
    size_t size = name.size < NAME_BYTES_SHOWN_MAX ? name.size : NAME_BYTES_SHOWN_MAX;
    for (size_t i = 0; i < size; i++) {
        out[i] = name.bytes[i] != '\0' ? (char)name.bytes[i] : ' ';
    }
    snprintf(out + size, NAME_SHOWN_MAX - size, "%s", name.size > size ? "..." : "");
    buffer_release(&name);
}

static void blame_key(struct reading *reading)
{
    struct buffer key = BUFFER_INIT;
    error_resource(reading->error, reading->resource->name);
    key_write(&key, &reading->resource->primary_key, reading->key, reading->key_size);
    error_key(reading->error, key.bytes, key.failed ? 0 : key.size);
    buffer_release(&key);
}

/* Puts the Redis key and the field (NULL: none) before the error that was set. */
static void blame(struct reading *reading, const struct field *field, int status)
{
    char name[NAME_SHOWN_MAX];
    reading->status = status;
    if (reading->error == NULL) {
        return;
    }
    describe_name(reading, name);
    if (field == NULL) {
        error_prefix(reading->error, "%s in Redis: ", name);
    } else if (field->stored_as == NULL || strcmp(field->stored_as, field->name) == 0) {
        error_prefix(reading->error, "%s in Redis: %s.%s: ", name, reading->resource->name,
                     field->name);
    } else {
        error_prefix(reading->error, "%s in Redis: %s.%s (there \"%s\"): ", name,
                     reading->resource->name, field->name, field->stored_as);
    }
    blame_key(reading);
    if (field != NULL) {
        error_field(reading->error, field->name);
    }
}

void reading_lacks(struct reading *reading)
{
    if (reading->status == 0) {
        reading->status = error_set(reading->error, CODE_OVERLOADED, "no memory for the record");
    }
}

void reading_refuse(struct reading *reading, const struct resp_token *token)
{
    bool hash = reading->resource->redis->encoding == REDIS_HASH;
    char name[NAME_SHOWN_MAX];
    describe_name(reading, name);
    int shown = (int)(token->size < 200 ? token->size : 200);
    if (token->kind != RESP_ERROR) {
        reading->status =
            error_set(reading->error, CODE_UNAVAILABLE, "%s in Redis: expected %s, got %s", name,
                      hash ? "a hash" : "a string", resp_describe(token));
    } else if (resp_begins(token, "WRONGTYPE")) {
        reading->status =
            error_set(reading->error, CODE_INVALID_VALUE, "%s in Redis is no %s: %.*s", name,
                      hash ? "hash" : "string", shown, (const char *)token->bytes);
    } else {
        reading->status =
            error_set(reading->error, CODE_UNAVAILABLE, "%s in Redis cannot be read: %.*s", name,
                      shown, (const char *)token->bytes);
    }
    blame_key(reading);
}

/* ---- Reading ---- */

void encoding_read_command(const struct resource *resource, const void *name, size_t size,
                           struct buffer *out)
{
    resp_command(out, 2);
    resp_word_text(out, document_form(resource) != NULL ? "GET" : "HGETALL");
    resp_word(out, name, size);
}

void reading_take(struct reading *reading, const struct field *field, const uint8_t *bytes,
                  size_t size)
{
    struct record_part *part = &reading->draft.parts[field->position];
    size_t before = reading->taken.size;
    if (reading->status != 0) {
        return;
    }
    if (part->size > 0) {
        blame(reading, field,
              error_set(reading->error, CODE_INVALID_VALUE, "expected it once, it stands twice"));
        return;
    }
    int status = reading->form->take(&field->type, bytes, size, &reading->scratch, &reading->taken,
                                     reading->error);
    if (reading->taken.failed || status == -CODE_OVERLOADED) {
        reading_lacks(reading);
        return;
    }
    size_t taken = reading->taken.size - before;
    if (status == 0 && taken > RECORD_VALUES_MAX) {
        status = error_set(reading->error, CODE_INVALID_VALUE, "expected at most %d bytes, got %zu",
                           RECORD_VALUES_MAX, taken);
    }
    if (status != 0) {
        blame(reading, field, status);
        return;
    }
    part->offset = before;
    part->size = (uint32_t)taken;
}

/* The mark of a document. One that is no text, or too long, is none of ours. */
static void take_mark(struct reading *reading, const struct member *member)
{
    struct buffer text = BUFFER_INIT;
    if (reading->form->take(&mark_type, member->value, member->value_size, &reading->scratch, &text,
                            NULL) == 0 &&
        !text.failed) {
        struct value value;
        type_load(&mark_type, text.bytes, text.size, &value);
        bool ours = value.kind == VALUE_TEXT && value.size <= ENCODING_MARK_MAX;
        reading->out->mark = ours ? arena_copy(reading->arena, value.bytes, value.size) : NULL;
        reading->out->mark_size = reading->out->mark != NULL ? value.size : 0;
    }
    if (text.failed || reading->arena->failed) {
        reading_lacks(reading);
    }
    buffer_release(&text);
}

static void read_member(struct reading *reading, const struct member *member)
{
    const struct field *field =
        find_stored(reading->resource, &reading->expected, member->name, member->name_size);
    if (field != NULL) {
        reading_take(reading, field, member->value, member->value_size);
        return;
    }
    if (member->name_size > 0 && is_mark(member->name, member->name_size)) {
        take_mark(reading, member);
    } else {
        reading->out->unknown_fields++;
    }
}

static void read_document(struct reading *reading, const struct document_form *form,
                          const struct resp_token *token)
{
    struct document document = {.at = NULL};
    struct member member;
    reading->out->bytes = arena_copy(reading->arena, token->bytes, token->size);
    reading->out->size = token->size;
    if (reading->out->bytes == NULL) {
        reading_lacks(reading);
        return;
    }
    int status = form->open(&document, token->bytes, token->size, reading->error);
    if (status == 0) {
        /* The first fault's words are not to be overwritten. */
        while ((status = form->next(&document, &member,
                                    reading->status == 0 ? reading->error : NULL)) > 0) {
            read_member(reading, &member);
        }
    }
    buffer_release(&document.name);
    if (status == -CODE_OVERLOADED) {
        reading_lacks(reading);
    } else if (status < 0 && reading->status == 0) {
        blame(reading, NULL, status);
    }
}

/* A field of the primary key is the key's, also where it stands in the value. */
static void settle_key_field(struct reading *reading, const struct field *field,
                             const uint8_t *bytes, size_t size)
{
    struct record_part *part = &reading->draft.parts[field->position];
    uint32_t given_size;
    const uint8_t *given = record_draft_field(&reading->draft, field->position, &given_size);
    bool absent = given == NULL || *given == NIL_BYTE;
    if (!absent && (given_size != size || memcmp(given, bytes, size) != 0)) {
        char expected[VALUE_SHOWN_MAX], came[VALUE_SHOWN_MAX];
        struct value value;
        type_load(&field->type, bytes, size, &value);
        value_describe(&value, expected, sizeof(expected));
        type_load(&field->type, given, given_size, &value);
        value_describe(&value, came, sizeof(came));
        blame(reading, field,
              error_set(reading->error, CODE_INVALID_VALUE, "expected %s as the key says, got %s",
                        expected, came));
        return;
    }
    part->bytes = bytes;
    part->size = (uint32_t)size;
}

static void settle_key(struct reading *reading)
{
    const struct resource *resource = reading->resource;
    struct reader in = reader_of(reading->key, reading->key_size);
    for (unsigned i = 0; i < resource->primary_key.count && reading->status == 0; i++) {
        const uint8_t *bytes;
        size_t size;
        CHECK(reader_value(&in, &bytes, &size));
        settle_key_field(reading, &resource->fields[resource->primary_key.fields[i]], bytes, size);
    }
}

/* What is absent is nil: defaults are for creating. */
static void settle_absent(struct reading *reading)
{
    for (unsigned i = 0; i < reading->resource->field_count && reading->status == 0; i++) {
        const struct field *field = &reading->resource->fields[i];
        struct record_part *part = &reading->draft.parts[i];
        bool absent = part->size == 0;
        if (absent) {
            part->bytes = &nil;
            part->size = 1;
        }
        uint32_t size;
        if (field->required && *record_draft_field(&reading->draft, i, &size) == NIL_BYTE) {
            blame(reading, field,
                  error_set(reading->error, CODE_INVALID_VALUE,
                            "expected a value, since it is required, got %s",
                            absent ? "none" : "nil"));
        }
    }
}

static void finish(struct reading *reading)
{
    settle_key(reading);
    settle_absent(reading);
    if (reading->status != 0) {
        return;
    }
    int status =
        record_draft_build(&reading->draft, reading->arena, &reading->out->record, reading->error);
    if (status == -CODE_TOO_LARGE) {
        /* For whoever asks, it is a value that no record can have. */
        if (reading->error != NULL) {
            reading->error->code = CODE_INVALID_VALUE;
        }
        blame(reading, NULL, -CODE_INVALID_VALUE);
    } else if (status != 0) {
        reading_lacks(reading);
    }
}

static void read_reply(struct reading *reading, struct resp_reader reply)
{
    const struct document_form *form = document_form(reading->resource);
    struct resp_token token = resp_next(&reply);
    uint64_t pairs = token.kind == RESP_ARRAY ? token.count / 2 : token.count;
    bool hash = token.kind == RESP_MAP || (token.kind == RESP_ARRAY && token.count % 2 == 0);
    if (token.kind == RESP_NIL || (form == NULL && hash && pairs == 0)) {
        return;
    }
    if (form != NULL ? token.kind != RESP_TEXT : !hash) {
        reading_refuse(reading, &token);
        return;
    }
    reading->out->exists = true;
    if (record_draft_init(&reading->draft, reading->resource, reading->arena, &reading->taken) !=
        0) {
        reading_lacks(reading);
        return;
    }
    if (form != NULL) {
        read_document(reading, form, &token);
    } else {
        hash_read(reading, &reply, pairs);
    }
    finish(reading);
}

int encoding_read(const struct resource *resource, const uint8_t *key, size_t key_size,
                  struct resp_reader reply, struct arena *arena, struct stored_value *out,
                  struct error *error)
{
    const struct document_form *form = document_form(resource);
    struct reading reading = {.resource = resource,
                              .key = key,
                              .key_size = key_size,
                              .arena = arena,
                              .out = out,
                              .form = form != NULL ? form->values : &hash_form,
                              .error = error};
    *out = (struct stored_value){.exists = false};
    read_reply(&reading, reply);
    buffer_release(&reading.taken);
    buffer_release(&reading.scratch);
    return reading.status;
}

#include "layers/redis/encoding_inner.h"

#include <string.h>

#include "layers/redis/decimal.h"
#include "layers/type.h"
#include "protocol/base/check.h"
#include "protocol/base/datetime.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* A Redis hash: each field is a text of its own, a nil is a field that is not there. */

/* ---- Values ---- */

/* What only hashes tell by a text: numbers, booleans, seconds. */
static bool take_plain(const struct type *type, const uint8_t *text, size_t size,
                       struct buffer *out)
{
    int64_t integer;
    double real;
    switch (type->kind) {
    case TYPE_INTEGER:
        if (!decimal_read(text, size, &integer)) {
            return false;
        }
        write_integer(out, integer);
        return true;
    case TYPE_FLOAT:
        if (!real_read(text, size, &real)) {
            return false;
        }
        write_float(out, real == 0 ? 0.0 : real);
        return true;
    case TYPE_BOOLEAN: {
        bool yes = size == 1 ? *text == '1' : size == 4 && memcmp(text, "true", 4) == 0;
        bool no = size == 1 ? *text == '0' : size == 5 && memcmp(text, "false", 5) == 0;
        if (!yes && !no) {
            return false;
        }
        write_boolean(out, yes);
        return true;
    }
    case TYPE_DATETIME:
        if (!decimal_read(text, size, &integer)) {
            return false;
        }
        write_datetime(out, &(struct datetime){.seconds = integer});
        return true;
    case TYPE_STRING:
    case TYPE_BINARY:
    case TYPE_UUID:
    case TYPE_ENUM:
    case TYPE_ANY:
    case TYPE_COUNT:
        break;
    }
    return false;
}

/* A hash has no timestamps, which a caller may give, but seconds. */
static int refuse_datetime(const uint8_t *bytes, size_t size, struct error *error)
{
    char came[100];
    describe_bytes(bytes, size, came, sizeof(came));
    return error_set(error, CODE_INVALID_VALUE,
                     "expected a datetime (ISO 8601 text, or whole seconds since 1970), got %s",
                     came);
}

static int take(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *scratch,
                struct buffer *out, struct error *error)
{
    if (type->kind == TYPE_ANY) {
        return json_form.take(type, bytes, size, scratch, out, error);
    }
    if (take_plain(type, bytes, size, out)) {
        return 0;
    }
    /* The rest is what any caller's text is, and most of it is refused alike. */
    buffer_truncate(scratch, 0);
    write_string(scratch, bytes, size);
    if (scratch->failed) {
        return -CODE_OVERLOADED;
    }
    struct reader in = reader_of(scratch->bytes, scratch->size);
    int status = type_take(type, &in, out, error);
    buffer_truncate(scratch, 0);
    return status == -CODE_INVALID_VALUE && type->kind == TYPE_DATETIME
               ? refuse_datetime(bytes, size, error)
               : status;
}

static void put(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *out)
{
    char text[DATETIME_TEXT_MAX];
    struct value value;
    type_load(type, bytes, size, &value);
    switch (value.kind) {
    case VALUE_BOOLEAN:
        buffer_append(out, value.boolean ? "true" : "false", value.boolean ? 4 : 5);
        return;
    case VALUE_INTEGER:
        buffer_append(out, text, decimal_write(value.integer, text));
        return;
    case VALUE_FLOAT:
        buffer_append(out, text, real_write(value.real, text));
        return;
    case VALUE_TEXT:
    case VALUE_BINARY:
        buffer_append(out, value.bytes, value.size);
        return;
    case VALUE_DATETIME:
        buffer_append(out, text, datetime_format(&value.datetime, text));
        return;
    case VALUE_ANY:
        json_form.put(type, bytes, size, out);
        return;
    case VALUE_NIL:
    case VALUE_LIST:
        break;
    }
    CHECK(!"a value that is stored");
}

const struct value_form hash_form = {.take = take, .put = put};

/* ---- Reading ---- */

static void keep(struct reading *reading, struct stored_field *field,
                 const struct resp_token *token)
{
    field->bytes = arena_copy(reading->arena, token->bytes, token->size);
    field->size = token->size;
    if (field->bytes == NULL) {
        reading_lacks(reading);
    }
}

static void read_pair(struct reading *reading, const struct resp_token *name,
                      const struct resp_token *value)
{
    const struct resource *resource = reading->resource;
    struct stored_field *fields = reading->out->fields;
    const struct field *field = find_stored(resource, &reading->expected, name->bytes, name->size);
    if (field != NULL) {
        keep(reading, &fields[field->position], value);
        reading_take(reading, field, value->bytes, value->size);
    } else if (is_mark(name->bytes, name->size)) {
        struct stored_field *mark = &fields[resource->field_count];
        keep(reading, mark, value);
        bool ours = mark->bytes != NULL && mark->size <= ENCODING_MARK_MAX;
        reading->out->mark = ours ? mark->bytes : NULL;
        reading->out->mark_size = ours ? mark->size : 0;
    } else {
        reading->out->unknown_fields++;
    }
}

void hash_read(struct reading *reading, struct resp_reader *reply, uint64_t pairs)
{
    size_t count = reading->resource->field_count + 1u;
    reading->out->fields = arena_zero(reading->arena, count, sizeof(*reading->out->fields));
    if (reading->out->fields == NULL) {
        reading_lacks(reading);
        return;
    }
    for (uint64_t i = 0; i < pairs; i++) {
        struct resp_token name = resp_next(reply);
        struct resp_token value = resp_next(reply);
        if (name.kind != RESP_TEXT || value.kind != RESP_TEXT) {
            reading_refuse(reading, name.kind != RESP_TEXT ? &name : &value);
            return;
        }
        read_pair(reading, &name, &value);
    }
}

/* ---- Writing ---- */

static void name_of(const struct writing *writing, unsigned position, const char **name,
                    size_t *size)
{
    if (position == writing->resource->field_count) {
        *name = ENCODING_MARK;
        *size = strlen(ENCODING_MARK);
    } else {
        *name = stored_name(&writing->resource->fields[position], size);
    }
}

static void put_name(struct writing *writing, unsigned position)
{
    const char *name;
    size_t size;
    name_of(writing, position, &name, &size);
    writing_word(writing, name, size);
}

void hash_expect(struct writing *writing)
{
    const struct stored_field *fields = writing->before->fields;
    unsigned count = writing->resource->field_count + 1u;
    unsigned there = 0;
    for (unsigned i = 0; i < count; i++) {
        there += fields[i].bytes != NULL ? 1 : 0;
    }
    writing_text(writing, "hash");
    writing_count(writing, there);
    for (unsigned i = 0; i < count; i++) {
        if (fields[i].bytes != NULL) {
            put_name(writing, i);
            writing_word(writing, fields[i].bytes, fields[i].size);
        }
    }
    writing_count(writing, count - there);
    for (unsigned i = 0; i < count; i++) {
        if (fields[i].bytes == NULL) {
            put_name(writing, i);
        }
    }
}

enum fate { FATE_STAYS, FATE_SET, FATE_GONE };

/* What becomes of a field, or of the mark behind the last. A value that is there
 * in another form keeps it: another program wrote it so. */
static enum fate fate_of(struct writing *writing, unsigned position)
{
    unsigned count = writing->resource->field_count;
    const struct stored_field *there =
        writing->before->exists ? &writing->before->fields[position] : NULL;
    bool absent = there == NULL || there->bytes == NULL;
    if (position == count) {
        bool same =
            writing->mark == NULL || (!absent && there->size == writing->mark_size &&
                                      memcmp(there->bytes, writing->mark, there->size) == 0);
        return same ? FATE_STAYS : FATE_SET;
    }
    uint32_t size;
    const uint8_t *value = record_field(writing->after, count, position, &size);
    if (record_is_nil(writing->after, count, position)) {
        return absent ? FATE_STAYS : FATE_GONE;
    }
    return !absent &&
                   writing_is_same(writing, &hash_form, &writing->resource->fields[position].type,
                                   there->bytes, there->size, value, size)
               ? FATE_STAYS
               : FATE_SET;
}

static void set(struct writing *writing, unsigned position)
{
    put_name(writing, position);
    if (position == writing->resource->field_count) {
        writing_word(writing, writing->mark, writing->mark_size);
        return;
    }
    uint32_t size;
    struct buffer *text = &writing->value;
    const uint8_t *value =
        record_field(writing->after, writing->resource->field_count, position, &size);
    buffer_truncate(text, 0);
    hash_form.put(&writing->resource->fields[position].type, value, size, text);
    writing_word(writing, text->bytes, text->size);
    writing->out->failed |= text->failed;
    buffer_truncate(text, 0);
}

/* Where nothing differs, the key is changed all the same: one field to what it is. */
static void set_as_it_is(struct writing *writing, unsigned position)
{
    const struct stored_field *field = &writing->before->fields[position];
    writing_count(writing, 1);
    put_name(writing, position);
    writing_word(writing, field->bytes, field->size);
    writing_count(writing, 0);
}

void hash_change(struct writing *writing)
{
    unsigned count = writing->resource->field_count + 1u;
    uint8_t fates[FIELDS_MAX + 1];
    unsigned sets = 0, gone = 0;
    for (unsigned i = 0; i < count; i++) {
        fates[i] = (uint8_t)fate_of(writing, i);
        sets += fates[i] == FATE_SET ? 1 : 0;
        gone += fates[i] == FATE_GONE ? 1 : 0;
    }
    writing_text(writing, "hash");
    if (sets + gone == 0) {
        set_as_it_is(writing, writing->resource->primary_key.fields[0]);
        return;
    }
    writing_count(writing, sets);
    for (unsigned i = 0; i < count; i++) {
        if (fates[i] == FATE_SET) {
            set(writing, i);
        }
    }
    writing_count(writing, gone);
    for (unsigned i = 0; i < count; i++) {
        if (fates[i] == FATE_GONE) {
            put_name(writing, i);
        }
    }
}

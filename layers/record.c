#include "layers/record.h"

#include <stdio.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

enum { NIL_BYTE = 0xc0 };

void record_load(const struct record *record, const struct resource *resource, unsigned field,
                 struct value *out)
{
    uint32_t size;
    const uint8_t *bytes = record_field(record, resource->field_count, field, &size);
    type_load(&resource->fields[field].type, bytes, size, out);
}

/* ---- Drafts ---- */

int record_draft_init(struct record_draft *draft, const struct resource *resource,
                      struct arena *arena, struct buffer *buffer)
{
    *draft = (struct record_draft){.resource = resource, .buffer = buffer};
    draft->parts = arena_zero(arena, resource->field_count, sizeof(*draft->parts));
    return draft->parts != NULL ? 0 : -CODE_OVERLOADED;
}

/* Names the field in the message and in the details. */
static int blame_field(struct error *error, const struct resource *resource,
                       const struct field *field)
{
    int status = error_prefix(error, "%s.%s: ", resource->name, field->name);
    error_resource(error, resource->name);
    error_field(error, field->name);
    return status;
}

static int refuse_nil(struct error *error, const struct resource *resource,
                      const struct field *field)
{
    int status = error_set(error, CODE_INVALID_VALUE, "%s.%s is required, got nil", resource->name,
                           field->name);
    error_resource(error, resource->name);
    error_field(error, field->name);
    return status;
}

/* Callers mostly send fields in schema order, so the next one is tried first. */
static const struct field *find_field(const struct resource *resource, unsigned expected,
                                      const char *name, size_t size, struct error *error)
{
    if (expected < resource->field_count) {
        const struct field *field = &resource->fields[expected];
        if (field->name_size == size && memcmp(field->name, name, size) == 0) {
            return field;
        }
    }
    return resource_need_field(resource, name, size, CODE_UNKNOWN_FIELD, error);
}

static int take_field(struct record_draft *draft, const struct field *field, struct reader *in,
                      struct error *error)
{
    const struct resource *resource = draft->resource;
    struct record_part *part = &draft->parts[field->position];
    if (part->size > 0) {
        int status = error_set(error, CODE_INVALID_REQUEST, "%s.%s is given twice", resource->name,
                               field->name);
        error_resource(error, resource->name);
        error_field(error, field->name);
        return status;
    }
    size_t before = draft->buffer->size;
    if (reader_peek(in) == TOKEN_NIL) {
        if (field->required) {
            return refuse_nil(error, resource, field);
        }
        reader_next(in);
        write_nil(draft->buffer);
    } else if (type_take(&field->type, in, draft->buffer, error) != 0) {
        return blame_field(error, resource, field);
    }
    if (draft->buffer->failed) {
        return error_set(error, CODE_OVERLOADED, "no memory for the record");
    }
    size_t size = draft->buffer->size - before;
    if (size > RECORD_VALUES_MAX) {
        error_set(error, CODE_TOO_LARGE, "the value takes %zu bytes, a record at most %d", size,
                  RECORD_VALUES_MAX);
        return blame_field(error, resource, field);
    }
    part->offset = before;
    part->size = (uint32_t)size;
    return 0;
}

int record_draft_take(struct record_draft *draft, struct reader *in, struct error *error)
{
    const struct resource *resource = draft->resource;
    struct token map = reader_next(in);
    if (map.kind != TOKEN_MAP) {
        int status = error_set(error, CODE_INVALID_REQUEST,
                               "expected a map of %s's fields to values, got %s", resource->name,
                               token_describe(&map));
        error_resource(error, resource->name);
        return status;
    }
    unsigned expected = 0;
    for (uint32_t i = 0; i < map.count; i++) {
        size_t size;
        const char *name = reader_name(in, &size);
        if (name == NULL) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "expected names of %s's fields as the map's keys", resource->name);
        }
        const struct field *field = find_field(resource, expected, name, size, error);
        if (field == NULL) {
            return -CODE_UNKNOWN_FIELD;
        }
        int status = take_field(draft, field, in, error);
        if (status != 0) {
            return status;
        }
        expected = field->position + 1u;
    }
    return 0;
}

unsigned record_draft_given(const struct record_draft *draft)
{
    unsigned given = 0;
    for (unsigned i = 0; i < draft->resource->field_count; i++) {
        given += draft->parts[i].size > 0 ? 1 : 0;
    }
    return given;
}

static const uint8_t *part_bytes(const struct record_draft *draft, const struct record_part *part)
{
    return part->bytes != NULL ? part->bytes : draft->buffer->bytes + part->offset;
}

const uint8_t *record_draft_field(const struct record_draft *draft, unsigned field, uint32_t *size)
{
    const struct record_part *part = &draft->parts[field];
    *size = part->size;
    return part->size > 0 ? part_bytes(draft, part) : NULL;
}

int record_draft_finish(struct record_draft *draft, const struct record *old, struct error *error)
{
    static const uint8_t nil = NIL_BYTE;
    const struct resource *resource = draft->resource;
    for (unsigned i = 0; i < resource->field_count; i++) {
        struct record_part *part = &draft->parts[i];
        const struct field *field = &resource->fields[i];
        if (part->size > 0) {
            continue;
        }
        if (old != NULL) {
            part->bytes = record_field(old, resource->field_count, i, &part->size);
        } else if (field->initial != NULL) {
            part->bytes = field->initial;
            part->size = field->initial_size;
        } else {
            part->bytes = &nil;
            part->size = 1;
        }
        if (field->required && *part->bytes == NIL_BYTE) {
            return refuse_nil(error, resource, field);
        }
    }
    return 0;
}

static void store_offset(uint8_t *table, unsigned index, unsigned width, uint32_t offset)
{
    uint16_t narrow = (uint16_t)offset;
    switch (width) {
    case 1:
        table[index] = (uint8_t)offset;
        return;
    case 2:
        memcpy(table + (size_t)index * 2, &narrow, sizeof(narrow));
        return;
    default:
        memcpy(table + (size_t)index * 4, &offset, sizeof(offset));
        return;
    }
}

int record_draft_build(const struct record_draft *draft, struct arena *arena, struct record **out,
                       struct error *error)
{
    const struct resource *resource = draft->resource;
    uint64_t total = 0;
    for (unsigned i = 0; i < resource->field_count; i++) {
        CHECK(draft->parts[i].size > 0);
        total += draft->parts[i].size;
    }
    if (total > RECORD_VALUES_MAX) {
        int status = error_set(error, CODE_TOO_LARGE,
                               "the values of the record take %llu bytes, a record at most %d",
                               (unsigned long long)total, RECORD_VALUES_MAX);
        error_resource(error, resource->name);
        return status;
    }
    unsigned width = record_offset_width((uint32_t)total);
    size_t offsets_bytes = (size_t)width * (resource->field_count - 1u);
    struct record *record = arena_alloc(arena, sizeof(*record) + offsets_bytes + total);
    if (record == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the record");
    }
    record->size = (uint32_t)total & RECORD_VALUES_MAX;
    record->flags = 0;
    record->layout = resource->layout;
    uint8_t *values = record->bytes + offsets_bytes;
    uint32_t at = 0;
    for (unsigned i = 0; i < resource->field_count; i++) {
        const struct record_part *part = &draft->parts[i];
        if (i > 0) {
            store_offset(record->bytes, i - 1, width, at);
        }
        memcpy(values + at, part_bytes(draft, part), part->size);
        at += part->size;
    }
    *out = record;
    return 0;
}

/* ---- Keys ---- */

static int take_key_scalar(const struct resource *resource, const struct field *field,
                           struct reader *in, struct buffer *out, struct error *error)
{
    if (type_take(&field->type, in, out, error) != 0) {
        return blame_field(error, resource, field);
    }
    return out->failed ? error_set(error, CODE_OVERLOADED, "no memory for the key") : 0;
}

static int take_key_value(const struct resource *resource, const struct field *field,
                          struct reader *in, struct buffer *out, struct error *error)
{
    if (reader_peek(in) != TOKEN_NIL) {
        return take_key_scalar(resource, field, in, out, error);
    }
    const char *type = type_name(field->type.kind);
    error_set(error, CODE_INVALID_VALUE, "a key has no nil: expected %s %s",
              strchr("aeiou", type[0]) != NULL ? "an" : "a", type);
    return blame_field(error, resource, field);
}

/* "[a, b]", the fields of a composite key. */
static void list_fields(const struct resource *resource, const struct field_list *fields, char *out,
                        size_t out_size)
{
    size_t used = 0;
    for (unsigned i = 0; i < fields->count && used < out_size; i++) {
        int more = snprintf(out + used, out_size - used, "%s%s", i > 0 ? ", " : "",
                            resource->fields[fields->fields[i]].name);
        used += more > 0 ? (size_t)more : 0;
    }
}

static int refuse_key_shape(const struct resource *resource, const struct field_list *fields,
                            const struct token *token, struct error *error)
{
    char names[200] = "";
    list_fields(resource, fields, names, sizeof(names));
    char count[24] = "";
    if (token->kind == TOKEN_ARRAY) {
        snprintf(count, sizeof(count), " of %u", token->count);
    }
    int status = error_set(
        error, CODE_INVALID_VALUE,
        "expected the key of %s, a list of the %u values [%s] or the map of them, got %s%s",
        resource->name, fields->count, names, token_describe(token), count);
    error_resource(error, resource->name);
    return status;
}

static int take_key_array(const struct resource *resource, const struct field_list *fields,
                          struct reader *in, struct buffer *out, struct error *error)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &resource->fields[fields->fields[i]];
        int status = take_key_value(resource, field, in, out, error);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static int key_position(const struct resource *resource, const struct field_list *fields,
                        const char *name, size_t size)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &resource->fields[fields->fields[i]];
        if (field->name_size == size && memcmp(field->name, name, size) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int refuse_key_name(const struct resource *resource, const struct field_list *fields,
                           const char *name, size_t size, struct error *error)
{
    char names[200] = "";
    list_fields(resource, fields, names, sizeof(names));
    const struct field *field =
        resource_need_field(resource, name, size, CODE_INVALID_VALUE, error);
    if (field == NULL) {
        return -CODE_INVALID_VALUE;
    }
    int status = error_set(error, CODE_INVALID_VALUE, "%s.%s is not of the key [%s]",
                           resource->name, field->name, names);
    error_resource(error, resource->name);
    error_field(error, field->name);
    return status;
}

/* The values may come in any order: each is found first, then taken in order. */
static int take_key_map(const struct resource *resource, const struct field_list *fields,
                        const struct token *map, struct reader *in, struct buffer *out,
                        struct error *error)
{
    struct reader values[KEY_FIELDS_MAX] = {{NULL, NULL, false}};
    for (uint32_t i = 0; i < map->count; i++) {
        size_t name_size, size;
        const uint8_t *bytes;
        const char *name = reader_name(in, &name_size);
        if (name == NULL) {
            return refuse_key_shape(resource, fields, map, error);
        }
        int position = key_position(resource, fields, name, name_size);
        if (position < 0) {
            return refuse_key_name(resource, fields, name, name_size, error);
        }
        if (values[position].at != NULL) {
            return error_set(error, CODE_INVALID_REQUEST, "%s.%.*s is given twice in a key",
                             resource->name, (int)name_size, name);
        }
        if (!reader_value(in, &bytes, &size)) {
            return error_set(error, CODE_INVALID_VALUE, "the key is cut short");
        }
        values[position] = reader_of(bytes, size);
    }
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &resource->fields[fields->fields[i]];
        if (values[i].at == NULL) {
            error_set(error, CODE_INVALID_VALUE, "is missing in the key");
            return blame_field(error, resource, field);
        }
        int status = take_key_value(resource, field, &values[i], out, error);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

/* Whether a value begins with this byte that is neither nil nor a list or map. */
static inline bool begins_scalar(uint8_t first)
{
    return first < 0x80 || (first >= 0xa0 && first < 0xdc && first != NIL_BYTE) || first >= 0xe0;
}

int key_take(const struct resource *resource, const struct field_list *fields, struct reader *in,
             struct buffer *out, struct error *error)
{
    size_t before = out->size;
    int status;
    const struct field *first = &resource->fields[fields->fields[0]];
    if (fields->count == 1 && !in->failed && in->at < in->end && begins_scalar(*in->at)) {
        /* The way of most keys: there is nothing to look at but the type. */
        status = take_key_scalar(resource, first, in, out, error);
    } else if (fields->count == 1 && reader_peek(in) == TOKEN_NIL) {
        status = take_key_value(resource, first, in, out, error);
    } else {
        struct token token = reader_next(in);
        if (token.kind == TOKEN_ARRAY && token.count == fields->count) {
            status = take_key_array(resource, fields, in, out, error);
        } else if (token.kind == TOKEN_MAP) {
            status = take_key_map(resource, fields, &token, in, out, error);
        } else {
            status = refuse_key_shape(resource, fields, &token, error);
        }
    }
    if (status != 0) {
        buffer_truncate(out, before);
    }
    return status;
}

bool key_of_record(const struct resource *resource, const struct field_list *fields,
                   const struct record *record, struct buffer *out)
{
    for (unsigned i = 0; i < fields->count; i++) {
        if (record_is_nil(record, resource->field_count, fields->fields[i])) {
            return false;
        }
    }
    for (unsigned i = 0; i < fields->count; i++) {
        uint32_t size;
        const uint8_t *bytes =
            record_field(record, resource->field_count, fields->fields[i], &size);
        buffer_append(out, bytes, size);
    }
    return true;
}

bool key_matches(const struct resource *resource, const struct field_list *fields,
                 const struct record *record, const uint8_t *key, size_t size)
{
    size_t at = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        uint32_t field_size;
        const uint8_t *bytes =
            record_field(record, resource->field_count, fields->fields[i], &field_size);
        if (field_size > size - at || memcmp(bytes, key + at, field_size) != 0) {
            return false;
        }
        at += field_size;
    }
    return at == size;
}

void key_write(struct buffer *out, const struct field_list *fields, const uint8_t *key, size_t size)
{
    if (fields->count > 1) {
        write_array(out, fields->count);
    }
    buffer_append(out, key, size);
}

/* One value of a key; which type it has shows in its bytes. */
static void describe_key_value(struct reader *in, char *out, size_t out_size)
{
    struct value value = value_nil();
    struct token token = reader_next(in);
    if (token.kind == TOKEN_INTEGER) {
        value = (struct value){.kind = VALUE_INTEGER, .integer = token.integer};
    } else if (token.kind == TOKEN_STRING || token.kind == TOKEN_BINARY) {
        value.kind = token.kind == TOKEN_STRING ? VALUE_TEXT : VALUE_BINARY;
        value.size = token.size;
        value.bytes = token.bytes;
    } else if (token_datetime(&token, &value.datetime)) {
        value.kind = VALUE_DATETIME;
    }
    value_describe(&value, out, out_size);
}

void key_describe(const struct field_list *fields, const uint8_t *key, size_t size, char *out,
                  size_t out_size)
{
    struct reader in = reader_of(key, size);
    if (fields->count == 1) {
        describe_key_value(&in, out, out_size);
        return;
    }
    size_t used = 0;
    for (unsigned i = 0; i < fields->count && used < out_size; i++) {
        char value[128];
        describe_key_value(&in, value, sizeof(value));
        int more = snprintf(out + used, out_size - used, "%s%s%s", i == 0 ? "[" : ", ", value,
                            i + 1u == fields->count ? "]" : "");
        used += more > 0 ? (size_t)more : 0;
    }
}

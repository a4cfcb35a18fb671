#include "layers/redis/index_set.h"

#include <stdio.h>
#include <string.h>

#include "layers/redis/key_text.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* Order-preserving bytes of a value: a tag (nil lies after all values), then
 * integers as eight bytes from the highest on, with the sign turned round; texts
 * with each zero byte followed by 0xff, ended by zero and one; datetimes as their
 * seconds and four bytes of nanoseconds. No value's bytes begin another's. */
enum { TAG_VALUE = 1, TAG_NIL = 2, TEXT_END = 1, TEXT_ZERO = 0xff };

/* ---- Values ---- */

static void put_number(struct buffer *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = bytes; i > 0; i--) {
        buffer_byte(out, (uint8_t)(number >> (8 * (i - 1))));
    }
}

static void put_signed(struct buffer *out, int64_t integer)
{
    put_number(out, (uint64_t)integer ^ (UINT64_C(1) << 63), 8);
}

static void put_text(struct buffer *out, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        buffer_byte(out, bytes[i]);
        if (bytes[i] == 0) {
            buffer_byte(out, TEXT_ZERO);
        }
    }
    buffer_byte(out, 0);
    buffer_byte(out, TEXT_END);
}

static void put_value(struct buffer *out, const struct value *value)
{
    buffer_byte(out, value->kind == VALUE_NIL ? TAG_NIL : TAG_VALUE);
    switch (value->kind) {
    case VALUE_NIL:
        return;
    case VALUE_INTEGER:
        put_signed(out, value->integer);
        return;
    case VALUE_TEXT:
    case VALUE_BINARY:
        put_text(out, value->bytes, value->size);
        return;
    case VALUE_DATETIME:
        put_signed(out, value->datetime.seconds);
        put_number(out, value->datetime.nanoseconds, 4);
        return;
    case VALUE_BOOLEAN:
    case VALUE_FLOAT:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    CHECK(!"a value of an index");
}

/* Passes over one value's bytes; false where they are cut short or none. */
static bool pass_value(const struct field *field, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *from = *at;
    if (from == end || (*from != TAG_VALUE && *from != TAG_NIL)) {
        return false;
    }
    if (*from++ == TAG_NIL) {
        *at = from;
        return true;
    }
    enum value_kind kind = type_value_kind(field->type.kind);
    if (kind == VALUE_INTEGER || kind == VALUE_DATETIME) {
        size_t size = kind == VALUE_INTEGER ? 8 : 12;
        if ((size_t)(end - from) < size) {
            return false;
        }
        *at = from + size;
        return true;
    }
    for (; end - from >= 2; from++) {
        if (from[0] != 0) {
            continue;
        }
        if (from[1] == TEXT_END) {
            *at = from + 2;
            return true;
        }
        from++; /* a zero byte of the text */
    }
    return false;
}

/* ---- Names ---- */

static void put_set_prefix(const struct resource *resource, const struct index *index,
                           struct buffer *out)
{
    buffer_printf(out, INDEX_SET_PREFIX "ix:%s:", resource->name);
    for (unsigned i = 0; i < index->fields.count; i++) {
        buffer_printf(out, "%s%s", i > 0 ? "," : "",
                      resource->fields[index->fields.fields[i]].name);
    }
    buffer_byte(out, ':');
}

bool index_set_name(const struct resource *resource, const struct index *index,
                    const struct record *record, struct buffer *out)
{
    unsigned first = index->fields.fields[0];
    if (record_is_nil(record, resource->field_count, first)) {
        return false;
    }
    uint32_t size;
    const uint8_t *bytes = record_field(record, resource->field_count, first, &size);
    put_set_prefix(resource, index, out);
    key_text_value(&resource->fields[first].type, bytes, size, out);
    return true;
}

void index_set_name_of_range(const struct resource *resource, const struct range *range,
                             struct buffer *out)
{
    struct buffer value = BUFFER_INIT;
    CHECK(range->equal_count > 0);
    value_write(&value, &range->equal[0]);
    put_set_prefix(resource, range->index, out);
    if (value.failed) {
        out->failed = true;
    } else {
        key_text_value(&resource->fields[range->index->fields.fields[0]].type, value.bytes,
                       value.size, out);
    }
    buffer_release(&value);
}

const struct index *index_set_of_name(const struct resource *resource, const void *name,
                                      size_t size, struct buffer *value)
{
    struct buffer prefix = BUFFER_INIT;
    const struct index *found = NULL;
    for (unsigned i = 0; found == NULL && i < resource->index_count; i++) {
        const struct index *index = &resource->indexes[i];
        buffer_truncate(&prefix, 0);
        put_set_prefix(resource, index, &prefix);
        if (!prefix.failed && size >= prefix.size && memcmp(name, prefix.bytes, prefix.size) == 0 &&
            key_text_take_value(&resource->fields[index->fields.fields[0]].type,
                                (const uint8_t *)name + prefix.size, size - prefix.size, value)) {
            found = index;
        }
    }
    buffer_release(&prefix);
    return found;
}

/* ---- Members ---- */

void index_set_member(const struct resource *resource, const struct index *index,
                      const struct record *record, const void *mark, size_t mark_size,
                      struct buffer *out)
{
    for (unsigned i = 1; i < index->fields.count; i++) {
        struct value value;
        record_load(record, resource, index->fields.fields[i], &value);
        put_value(out, &value);
    }
    CHECK(key_of_record(resource, &resource->primary_key, record, out));
    buffer_append(out, mark, mark_size);
}

/* What stands in Redis may have been written by anybody. */
static bool is_of_type(const struct type *type, const struct token *token)
{
    struct datetime datetime;
    switch (type_value_kind(type->kind)) {
    case VALUE_INTEGER:
        return token->kind == TOKEN_INTEGER;
    case VALUE_TEXT:
        return token->kind == TOKEN_STRING;
    case VALUE_BINARY:
        return token->kind == TOKEN_BINARY;
    case VALUE_DATETIME:
        return token_datetime(token, &datetime);
    case VALUE_NIL:
    case VALUE_BOOLEAN:
    case VALUE_FLOAT:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    return false;
}

/* A key and what is behind it. */
static bool take_key(const struct resource *resource, const uint8_t *bytes, const uint8_t *end,
                     struct store_key *key, struct store_key *mark)
{
    struct reader in = reader_of(bytes, (size_t)(end - bytes));
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        struct token token = reader_next(&in);
        if (!is_of_type(&resource->fields[resource->primary_key.fields[i]].type, &token)) {
            return false;
        }
    }
    *key = (struct store_key){.bytes = bytes, .size = (size_t)(in.at - bytes)};
    *mark = (struct store_key){.bytes = in.at, .size = (size_t)(end - in.at)};
    return true;
}

bool index_set_take_member(const struct resource *resource, const struct index *index,
                           const uint8_t *member, size_t size, struct store_key *key,
                           struct store_key *mark)
{
    const uint8_t *at = member;
    const uint8_t *end = member + size;
    for (unsigned i = 1; i < index->fields.count; i++) {
        if (!pass_value(&resource->fields[index->fields.fields[i]], &at, end)) {
            return false;
        }
    }
    return take_key(resource, at, end, key, mark);
}

/* ---- Bounds ---- */

/* What all members of the range begin with, but for its bounds. */
static void put_equal(const struct range *range, struct buffer *out)
{
    for (unsigned i = 1; i < range->equal_count; i++) {
        put_value(out, &range->equal[i]);
    }
}

/* Makes what begins at `from` the least that is above all that begin with it; where
 * there is none, it is taken back and false is answered. */
static bool raise_last(struct buffer *out, size_t from)
{
    while (!out->failed && out->size > from && out->bytes[out->size - 1] == 0xff) {
        out->size--;
    }
    if (out->failed || out->size == from) {
        return false;
    }
    out->bytes[out->size - 1]++;
    return true;
}

void index_set_lower(const struct resource *resource, const struct range *range, struct buffer *out)
{
    (void)resource;
    buffer_byte(out, '[');
    size_t from = out->size;
    put_equal(range, out);
    if (range->has_lower) {
        put_value(out, &range->lower);
        if (range->lower_open) {
            raise_last(out, from);
        }
    } else if (range->has_upper) {
        buffer_byte(out, TAG_VALUE);
    }
    if (out->size == from) {
        out->size--; /* there is nothing to begin with */
        buffer_byte(out, '-');
    }
}

void index_set_upper(const struct resource *resource, const struct range *range, struct buffer *out)
{
    (void)resource;
    buffer_byte(out, '(');
    size_t from = out->size;
    put_equal(range, out);
    if (range->has_upper) {
        put_value(out, &range->upper);
        if (!range->upper_open) {
            raise_last(out, from);
        }
        return;
    }
    if (range->has_lower) {
        buffer_byte(out, TAG_NIL);
    } else if (!raise_last(out, from)) {
        out->size--;
        buffer_byte(out, '+');
    }
}

/* ---- Claims ---- */

static void put_claim_prefix(const struct resource *resource, const struct identity *identity,
                             struct buffer *out)
{
    buffer_printf(out, INDEX_SET_PREFIX "id:%s:%s", resource->name, identity->name);
}

void claim_name(const struct resource *resource, const struct identity *identity,
                const uint8_t *key, size_t size, struct buffer *out)
{
    struct reader in = reader_of(key, size);
    put_claim_prefix(resource, identity, out);
    for (unsigned i = 0; i < identity->fields.count; i++) {
        const uint8_t *bytes;
        size_t bytes_size;
        CHECK(reader_value(&in, &bytes, &bytes_size));
        buffer_byte(out, ':');
        key_text_value(&resource->fields[identity->fields.fields[i]].type, bytes, bytes_size, out);
    }
}

const struct identity *claim_of_name(const struct resource *resource, const void *name, size_t size,
                                     struct buffer *value)
{
    struct buffer prefix = BUFFER_INIT;
    const struct identity *found = NULL;
    for (unsigned i = 0; found == NULL && i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        buffer_truncate(&prefix, 0);
        put_claim_prefix(resource, identity, &prefix);
        buffer_byte(&prefix, ':');
        if (prefix.failed || size < prefix.size || memcmp(name, prefix.bytes, prefix.size) != 0) {
            continue;
        }
        if (identity->fields.count > 1 ||
            key_text_take_value(&resource->fields[identity->fields.fields[0]].type,
                                (const uint8_t *)name + prefix.size, size - prefix.size, value)) {
            found = identity;
        }
    }
    buffer_release(&prefix);
    return found;
}

bool claim_take(const struct resource *resource, const uint8_t *value, size_t size,
                struct store_key *key, struct store_key *mark)
{
    return take_key(resource, value, value + size, key, mark);
}

/* ---- Marks ---- */

size_t mark_make(char out[MARK_MAX], uint64_t daemon, uint64_t number, uint64_t time_ms)
{
    int size = snprintf(out, MARK_MAX, "%016llx-%llx-%llx", (unsigned long long)daemon,
                        (unsigned long long)number, (unsigned long long)time_ms);
    CHECK(size > 0 && size < MARK_MAX);
    return (size_t)size;
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

uint64_t mark_time_ms(const void *mark, size_t size)
{
    const uint8_t *bytes = mark;
    uint64_t time_ms = 0;
    size_t at = size;
    while (at > 0 && bytes[at - 1] != '-') {
        at--;
    }
    if (at == 0 || size - at == 0 || size - at > 12) {
        return 0;
    }
    for (; at < size; at++) {
        int digit = hex_digit(bytes[at]);
        if (digit < 0) {
            return 0;
        }
        time_ms = time_ms << 4 | (unsigned)digit;
    }
    return time_ms;
}

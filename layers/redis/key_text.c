#include "layers/redis/key_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "layers/redis/decimal.h"
#include "protocol/base/check.h"
#include "protocol/base/datetime.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* Which bytes are percent-encoded in a value; none where the value is put in as
 * it is. */
struct escapes {
    bool encoded[256];
    bool any;
};

static const char hexadecimal[] = "0123456789ABCDEF";

/* Of a template with several values: `%`, and what each text between two of them begins
 * with. Where that is met a value is at its end: nothing else of the text needs to be
 * kept out of values, and keys that others made are read as they are. */
static void escapes_of(struct escapes *escapes, const struct redis_options *redis)
{
    *escapes = (struct escapes){.any = false};
    if (redis->key_part_count == 0) {
        return;
    }
    for (unsigned i = 1; i + 1u < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        if (part->text != NULL && part->size > 0) {
            escapes->encoded[(uint8_t)part->text[0]] = true;
            escapes->any = true;
        }
    }
    escapes->encoded['%'] = escapes->any;
}

/* Of the daemon's own names: all but letters, digits and `-_.`. */
static void escapes_own(struct escapes *escapes)
{
    escapes->any = true;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
        escapes->encoded[byte] = !plain;
    }
}

/* ---- Values as text ---- */

static void append_escaped(const struct escapes *escapes, const void *text, size_t size,
                           struct buffer *out)
{
    const uint8_t *bytes = text;
    if (!escapes->any) {
        buffer_append(out, bytes, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (escapes->encoded[bytes[i]]) {
            buffer_byte(out, '%');
            buffer_byte(out, (uint8_t)hexadecimal[bytes[i] >> 4]);
            buffer_byte(out, (uint8_t)hexadecimal[bytes[i] & 15]);
        } else {
            buffer_byte(out, bytes[i]);
        }
    }
}

static void append_value(const struct escapes *escapes, const struct type *type,
                         const uint8_t *bytes, size_t size, struct buffer *out)
{
    char text[DATETIME_TEXT_MAX];
    struct value value;
    type_load(type, bytes, size, &value);
    switch (value.kind) {
    case VALUE_INTEGER:
        append_escaped(escapes, text, decimal_write(value.integer, text), out);
        return;
    case VALUE_DATETIME:
        append_escaped(escapes, text, datetime_format(&value.datetime, text), out);
        return;
    case VALUE_TEXT:
    case VALUE_BINARY:
        append_escaped(escapes, value.bytes, value.size, out);
        return;
    case VALUE_NIL:
    case VALUE_BOOLEAN:
    case VALUE_FLOAT:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    CHECK(!"a value of a key, which is of a type that keys have");
}

/* ---- Text as values ---- */

static bool take_integer(const char *text, size_t size, struct buffer *out)
{
    int64_t integer;
    if (!decimal_read(text, size, &integer)) {
        return false;
    }
    write_integer(out, integer);
    return true;
}

static bool take_datetime(const char *text, size_t size, struct buffer *out)
{
    struct datetime datetime;
    char canonical[DATETIME_TEXT_MAX];
    if (!datetime_parse(text, size, &datetime) || datetime_format(&datetime, canonical) != size ||
        memcmp(canonical, text, size) != 0) {
        return false;
    }
    write_datetime(out, &datetime);
    return true;
}

/* Enum members and uuids; of the latter only lower case. */
static bool take_named(const struct type *type, const char *text, size_t size, struct buffer *out)
{
    char room[TYPE_UUID_TEXT];
    struct value value;
    if (!type_read_text(type, text, size, room, &value) || value.size != size ||
        memcmp(value.bytes, text, size) != 0) {
        return false;
    }
    write_string(out, text, size);
    return true;
}

/* Appends the value that is written as this text; false and nothing where none is. */
static bool take_text(const struct type *type, const char *text, size_t size, struct buffer *out)
{
    switch (type->kind) {
    case TYPE_INTEGER:
        return take_integer(text, size, out);
    case TYPE_STRING:
        if (!utf8_valid(text, size)) {
            return false;
        }
        write_string(out, text, size);
        return true;
    case TYPE_BINARY:
        write_binary(out, text, size);
        return true;
    case TYPE_DATETIME:
        return take_datetime(text, size, out);
    case TYPE_UUID:
    case TYPE_ENUM:
        return take_named(type, text, size, out);
    case TYPE_FLOAT:
    case TYPE_BOOLEAN:
    case TYPE_ANY:
    case TYPE_COUNT:
        break;
    }
    return false;
}

static int hexadecimal_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Appends the bytes that are written as this text; false where what must be
 * encoded is not, or what needs it not is. */
static bool append_plain(const struct escapes *escapes, const char *text, size_t size,
                         struct buffer *out)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == '%') {
            int high = i + 1 < size ? hexadecimal_digit(text[i + 1]) : -1;
            int low = i + 2 < size ? hexadecimal_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || !escapes->encoded[high * 16 + low]) {
                return false;
            }
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (escapes->encoded[byte]) {
            return false;
        }
        buffer_byte(out, byte);
    }
    return true;
}

enum { VALUE_HEADER_MAX = 16 }; /* and what a datetime or an integer takes */

static bool take_escaped(const struct escapes *escapes, const struct type *type, const char *text,
                         size_t size, struct buffer *out)
{
    if (!escapes->any) {
        return take_text(type, text, size, out);
    }
    /* The bytes are put behind `out`, the value behind them, and then they are
     * taken away. The room is made at once, so that they stay where they are. */
    size_t mark = out->size;
    if (!buffer_reserve(out, 2 * size + VALUE_HEADER_MAX)) {
        return false;
    }
    if (!append_plain(escapes, text, size, out)) {
        buffer_truncate(out, mark);
        return false;
    }
    size_t plain = out->size - mark;
    bool taken = take_text(type, (const char *)out->bytes + mark, plain, out);
    size_t value = out->size - mark - plain;
    memmove(out->bytes + mark, out->bytes + mark + plain, value);
    out->size = mark + value;
    return taken;
}

/* ---- Names ---- */

/* Where the value of each field of a key is, by its position in the key. */
struct span {
    const uint8_t *bytes;
    size_t size;
};

static unsigned position_in_key(const struct resource *resource, uint16_t field)
{
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        if (resource->primary_key.fields[i] == field) {
            return i;
        }
    }
    CHECK(!"the template's fields are the primary key's");
    return 0;
}

void key_text_append(const struct resource *resource, const uint8_t *key, size_t size,
                     struct buffer *out)
{
    const struct redis_options *redis = resource->redis;
    struct escapes escapes;
    struct span values[KEY_FIELDS_MAX] = {{NULL, 0}};
    struct reader in = reader_of(key, size);
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        CHECK(reader_value(&in, &values[i].bytes, &values[i].size));
    }
    CHECK(in.at == in.end);
    escapes_of(&escapes, redis);
    for (unsigned i = 0; i < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        if (part->text != NULL) {
            buffer_append(out, part->text, part->size);
        } else {
            const struct span *value = &values[position_in_key(resource, part->field)];
            append_value(&escapes, &resource->fields[part->field].type, value->bytes, value->size,
                         out);
        }
    }
}

/* Where the value at `at` ends: at the first byte that no value has. */
static size_t value_end(const struct escapes *escapes, const uint8_t *name, size_t at, size_t end)
{
    while (escapes->any && at < end && (name[at] == '%' || !escapes->encoded[name[at]])) {
        at += name[at] == '%' && end - at > 2 ? 3 : 1;
    }
    return escapes->any ? at : end;
}

/* Takes the name apart by the template's parts. The text behind the last value
 * is looked for at the end, since that one may be in the value too. */
static bool split(const struct resource *resource, const struct escapes *escapes,
                  const uint8_t *name, size_t size, struct span values[KEY_FIELDS_MAX])
{
    const struct redis_options *redis = resource->redis;
    const struct key_part *last = &redis->key_parts[redis->key_part_count - 1];
    size_t tail = last->text != NULL ? last->size : 0;
    size_t at = 0;
    if (size < tail) {
        return false;
    }
    for (unsigned i = 0; i < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        size_t end = part == last ? size : size - tail;
        if (part->text == NULL) {
            struct span *value = &values[position_in_key(resource, part->field)];
            value->bytes = name + at;
            value->size = value_end(escapes, name, at, end) - at;
            at += value->size;
        } else if (end - at >= part->size && memcmp(name + at, part->text, part->size) == 0) {
            at += part->size;
        } else {
            return false;
        }
    }
    return at == size;
}

bool key_text_read(const struct resource *resource, const void *name, size_t size,
                   struct buffer *out)
{
    struct escapes escapes;
    struct span values[KEY_FIELDS_MAX] = {{NULL, 0}};
    size_t mark = out->size;
    escapes_of(&escapes, resource->redis);
    if (!split(resource, &escapes, name, size, values)) {
        return false;
    }
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        const struct type *type = &resource->fields[resource->primary_key.fields[i]].type;
        if (!take_escaped(&escapes, type, (const char *)values[i].bytes, values[i].size, out)) {
            /* Lack of memory stays to be seen. */
            out->size = mark;
            return false;
        }
    }
    return !out->failed;
}

void key_text_prefix(const struct resource *resource, const char **bytes, size_t *size)
{
    const struct redis_options *redis = resource->redis;
    bool text = redis->key_part_count > 0 && redis->key_parts[0].text != NULL;
    *bytes = text ? redis->key_parts[0].text : "";
    *size = text ? redis->key_parts[0].size : 0;
}

void key_text_pattern(const struct resource *resource, struct buffer *out)
{
    const struct redis_options *redis = resource->redis;
    for (unsigned i = 0; i < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        if (part->text == NULL) {
            buffer_byte(out, '*');
            continue;
        }
        for (uint32_t at = 0; at < part->size; at++) {
            char c = part->text[at];
            if (c != '\0' && strchr("*?[]\\^-", c) != NULL) {
                buffer_byte(out, '\\');
            }
            buffer_byte(out, (uint8_t)c);
        }
    }
}

/* ---- Values alone ---- */

void key_text_value(const struct type *type, const uint8_t *value, size_t size, struct buffer *out)
{
    struct escapes escapes;
    escapes_own(&escapes);
    append_value(&escapes, type, value, size, out);
}

bool key_text_take_value(const struct type *type, const void *text, size_t size, struct buffer *out)
{
    struct escapes escapes;
    escapes_own(&escapes);
    size_t mark = out->size;
    if (!take_escaped(&escapes, type, text, size, out) || out->failed) {
        out->size = mark;
        return false;
    }
    return true;
}

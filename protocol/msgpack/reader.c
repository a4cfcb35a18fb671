#include "protocol/msgpack/reader.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/shape.h"

static struct token fail(struct reader *reader)
{
    reader->failed = true;
    return (struct token){.kind = TOKEN_INVALID};
}

/* A number of `size` bytes after the first one; false where they are missing. */
static inline bool has(const struct reader *reader, size_t size)
{
    return (size_t)(reader->end - reader->at) > size;
}

static inline struct token integer(struct reader *reader, size_t size, int64_t value)
{
    reader->at += size;
    return (struct token){.kind = TOKEN_INTEGER, .integer = value};
}

static inline struct token real(struct reader *reader, size_t size, double value)
{
    reader->at += size;
    return (struct token){.kind = TOKEN_FLOAT, .real = value};
}

static struct token natural(struct reader *reader, uint64_t value)
{
    if (value <= INT64_MAX) {
        return integer(reader, 9, (int64_t)value);
    }
    reader->at += 9;
    return (struct token){.kind = TOKEN_UNSIGNED, .natural = value};
}

/* A string or binary whose header has `header` bytes. */
static inline struct token body(struct reader *reader, enum token_kind kind, size_t header,
                                uint32_t size)
{
    if (size > (size_t)(reader->end - reader->at) - header) {
        return fail(reader);
    }
    const uint8_t *bytes = reader->at + header;
    reader->at = bytes + size;
    return (struct token){.kind = kind, .size = size, .bytes = bytes};
}

/* As `body`, where a type stands between the header and the bytes. */
static struct token extension(struct reader *reader, size_t header, uint32_t size)
{
    if (!has(reader, header)) {
        return fail(reader);
    }
    int8_t type = (int8_t)reader->at[header];
    struct token token = body(reader, TOKEN_EXTENSION, header + 1, size);
    token.extension = type;
    return token;
}

/* Each item has a byte at least: what announces more than there are is cut
 * short, and no caller makes room for it. */
static inline struct token container(struct reader *reader, enum token_kind kind, size_t header,
                                     uint32_t count)
{
    uint64_t items = kind == TOKEN_MAP ? (uint64_t)2 * count : count;
    if (items > (size_t)(reader->end - reader->at) - header) {
        return fail(reader);
    }
    reader->at += header;
    return (struct token){.kind = kind, .count = count};
}

/* The formats from 0xc0 to 0xdf. That the header is whole is checked by the
 * caller. */
static struct token next_long(struct reader *reader)
{
    const uint8_t *at = reader->at;
    switch (*at) {
    case 0xc0:
        reader->at++;
        return (struct token){.kind = TOKEN_NIL};
    case 0xc2:
    case 0xc3:
        reader->at++;
        return (struct token){.kind = TOKEN_BOOLEAN, .boolean = *at == 0xc3};
    case 0xc4:
        return body(reader, TOKEN_BINARY, 2, at[1]);
    case 0xc5:
        return body(reader, TOKEN_BINARY, 3, load16(at + 1));
    case 0xc6:
        return body(reader, TOKEN_BINARY, 5, load32(at + 1));
    case 0xc7:
        return extension(reader, 2, at[1]);
    case 0xc8:
        return extension(reader, 3, load16(at + 1));
    case 0xc9:
        return extension(reader, 5, load32(at + 1));
    case 0xca: {
        uint32_t bits = load32(at + 1);
        float value;
        memcpy(&value, &bits, sizeof(value));
        return real(reader, 5, (double)value);
    }
    case 0xcb: {
        uint64_t bits = load64(at + 1);
        double value;
        memcpy(&value, &bits, sizeof(value));
        return real(reader, 9, value);
    }
    case 0xcc:
        return integer(reader, 2, at[1]);
    case 0xcd:
        return integer(reader, 3, load16(at + 1));
    case 0xce:
        return integer(reader, 5, load32(at + 1));
    case 0xcf:
        return natural(reader, load64(at + 1));
    case 0xd0:
        return integer(reader, 2, (int8_t)at[1]);
    case 0xd1:
        return integer(reader, 3, (int16_t)load16(at + 1));
    case 0xd2:
        return integer(reader, 5, (int32_t)load32(at + 1));
    case 0xd3:
        return integer(reader, 9, (int64_t)load64(at + 1));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return extension(reader, 1, 1u << (*at - 0xd4));
    case 0xd9:
        return body(reader, TOKEN_STRING, 2, at[1]);
    case 0xda:
        return body(reader, TOKEN_STRING, 3, load16(at + 1));
    case 0xdb:
        return body(reader, TOKEN_STRING, 5, load32(at + 1));
    case 0xdc:
        return container(reader, TOKEN_ARRAY, 3, load16(at + 1));
    case 0xdd:
        return container(reader, TOKEN_ARRAY, 5, load32(at + 1));
    case 0xde:
        return container(reader, TOKEN_MAP, 3, load16(at + 1));
    case 0xdf:
        return container(reader, TOKEN_MAP, 5, load32(at + 1));
    default:
        return fail(reader);
    }
}

/* How many bytes the number after the first byte has, for 0xc0 to 0xdf. */
static const uint8_t number_size[32] = {
    0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4,
};

struct token reader_next(struct reader *reader)
{
    if (reader->failed || reader->at == reader->end) {
        return fail(reader);
    }
    uint8_t first = *reader->at;
    if (first < 0x80) {
        return integer(reader, 1, first);
    }
    if (first >= 0xe0) {
        return integer(reader, 1, (int8_t)first);
    }
    if (first >= 0xc0) {
        return has(reader, number_size[first - 0xc0]) ? next_long(reader) : fail(reader);
    }
    if (first >= 0xa0) {
        return body(reader, TOKEN_STRING, 1, first & 0x1f);
    }
    return container(reader, first < 0x90 ? TOKEN_MAP : TOKEN_ARRAY, 1, first & 0x0f);
}

/* The kinds of 0xc0 to 0xdf. */
static const uint8_t kinds[32] = {
    TOKEN_NIL,       TOKEN_INVALID,   TOKEN_BOOLEAN,   TOKEN_BOOLEAN,   TOKEN_BINARY,
    TOKEN_BINARY,    TOKEN_BINARY,    TOKEN_EXTENSION, TOKEN_EXTENSION, TOKEN_EXTENSION,
    TOKEN_FLOAT,     TOKEN_FLOAT,     TOKEN_INTEGER,   TOKEN_INTEGER,   TOKEN_INTEGER,
    TOKEN_INTEGER,   TOKEN_INTEGER,   TOKEN_INTEGER,   TOKEN_INTEGER,   TOKEN_INTEGER,
    TOKEN_EXTENSION, TOKEN_EXTENSION, TOKEN_EXTENSION, TOKEN_EXTENSION, TOKEN_EXTENSION,
    TOKEN_STRING,    TOKEN_STRING,    TOKEN_STRING,    TOKEN_ARRAY,     TOKEN_ARRAY,
    TOKEN_MAP,       TOKEN_MAP,
};

enum token_kind reader_peek(const struct reader *reader)
{
    if (reader->failed || reader->at == reader->end) {
        return TOKEN_INVALID;
    }
    uint8_t first = *reader->at;
    if (first < 0x80 || first >= 0xe0) {
        return TOKEN_INTEGER;
    }
    if (first < 0xc0) {
        return first < 0x90 ? TOKEN_MAP : first < 0xa0 ? TOKEN_ARRAY : TOKEN_STRING;
    }
    if (first == 0xcf && has(reader, 1) && reader->at[1] >= 0x80) {
        return TOKEN_UNSIGNED;
    }
    return (enum token_kind)kinds[first - 0xc0];
}

bool reader_skip(struct reader *reader)
{
    /* Values still to come, all levels together: how they nest is of no
     * interest here. It cannot overflow, since each header adds less than 2^33
     * and there are less than 2^31 times 2^32 bytes. */
    uint64_t pending = 1;
    const uint8_t *at = reader->at;
    const uint8_t *end = reader->end;
    while (pending > 0 && !reader->failed) {
        size_t left = (size_t)(end - at);
        enum shape shape = left > 0 ? (enum shape)shape_of[*at] : SHAPE_INVALID;
        uint64_t step = shape;
        pending--;
        if (shape > SHAPE_FIXED_MAX) {
            if (shape == SHAPE_INVALID || shape_header_size[shape] > left) {
                reader->failed = true;
                break;
            }
            struct extent extent = shape_extent(shape, at);
            step = extent.bytes;
            pending += extent.items;
        }
        if (step > left || pending > left - step) {
            reader->failed = true;
            break;
        }
        at += step;
    }
    if (reader->failed) {
        return false;
    }
    reader->at = at;
    return true;
}

bool reader_value(struct reader *reader, const uint8_t **bytes, size_t *size)
{
    const uint8_t *start = reader->at;
    if (!reader_skip(reader)) {
        *bytes = NULL;
        *size = 0;
        return false;
    }
    *bytes = start;
    *size = (size_t)(reader->at - start);
    return true;
}

const char *reader_name(struct reader *reader, size_t *size)
{
    struct token token = reader_next(reader);
    if (token.kind != TOKEN_STRING && token.kind != TOKEN_BINARY) {
        *size = 0;
        return NULL;
    }
    *size = token.size;
    return (const char *)token.bytes;
}

bool token_datetime(const struct token *token, struct datetime *out)
{
    if (token->kind != TOKEN_EXTENSION || token->extension != -1) {
        return false;
    }
    struct datetime datetime = {0};
    switch (token->size) {
    case 4:
        datetime.seconds = load32(token->bytes);
        break;
    case 8: {
        uint64_t both = load64(token->bytes);
        datetime.nanoseconds = (uint32_t)(both >> 34);
        datetime.seconds = (int64_t)(both & 0x3ffffffffu);
        break;
    }
    case 12:
        datetime.nanoseconds = load32(token->bytes);
        datetime.seconds = (int64_t)load64(token->bytes + 4);
        break;
    default:
        return false;
    }
    if (datetime.nanoseconds > 999999999) {
        return false;
    }
    *out = datetime;
    return true;
}

static const char *describe_extension(int8_t type)
{
    /* A message may describe several tokens at once, so there are several places. */
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % ARRAY_COUNT(texts)];
    snprintf(text, sizeof(texts[0]), "an extension of type %d", type);
    return text;
}

const char *token_describe(const struct token *token)
{
    switch (token->kind) {
    case TOKEN_INVALID:
        return "no MessagePack";
    case TOKEN_NIL:
        return "nil";
    case TOKEN_BOOLEAN:
        return "a boolean";
    case TOKEN_INTEGER:
        return "an integer";
    case TOKEN_UNSIGNED:
        return "an integer above 9223372036854775807";
    case TOKEN_FLOAT:
        return "a float";
    case TOKEN_STRING:
        return "a string";
    case TOKEN_BINARY:
        return "a binary";
    case TOKEN_ARRAY:
        return "an array";
    case TOKEN_MAP:
        return "a map";
    case TOKEN_EXTENSION:
        return token->extension == -1 ? "a timestamp" : describe_extension(token->extension);
    }
    return "no MessagePack";
}

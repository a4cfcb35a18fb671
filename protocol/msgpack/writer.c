#include "protocol/msgpack/writer.h"

#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/shape.h"

size_t encode_unsigned(uint8_t out[WRITE_HEADER_MAX], uint64_t value)
{
    if (value <= 0x7f) {
        out[0] = (uint8_t)value;
        return 1;
    }
    if (value <= UINT8_MAX) {
        out[0] = 0xcc;
        out[1] = (uint8_t)value;
        return 2;
    }
    if (value <= UINT16_MAX) {
        out[0] = 0xcd;
        store16(out + 1, (uint16_t)value);
        return 3;
    }
    if (value <= UINT32_MAX) {
        out[0] = 0xce;
        store32(out + 1, (uint32_t)value);
        return 5;
    }
    out[0] = 0xcf;
    store64(out + 1, value);
    return 9;
}

size_t encode_integer(uint8_t out[WRITE_HEADER_MAX], int64_t value)
{
    if (value >= 0) {
        return encode_unsigned(out, (uint64_t)value);
    }
    if (value >= -32) {
        out[0] = (uint8_t)value;
        return 1;
    }
    if (value >= INT8_MIN) {
        out[0] = 0xd0;
        out[1] = (uint8_t)value;
        return 2;
    }
    if (value >= INT16_MIN) {
        out[0] = 0xd1;
        store16(out + 1, (uint16_t)value);
        return 3;
    }
    if (value >= INT32_MIN) {
        out[0] = 0xd2;
        store32(out + 1, (uint32_t)value);
        return 5;
    }
    out[0] = 0xd3;
    store64(out + 1, (uint64_t)value);
    return 9;
}

/* A size or count behind one of three formats that follow each other. */
static size_t encode_sized(uint8_t *out, uint8_t format8, uint32_t value)
{
    if (value <= UINT8_MAX) {
        out[0] = format8;
        out[1] = (uint8_t)value;
        return 2;
    }
    if (value <= UINT16_MAX) {
        out[0] = (uint8_t)(format8 + 1);
        store16(out + 1, (uint16_t)value);
        return 3;
    }
    out[0] = (uint8_t)(format8 + 2);
    store32(out + 1, value);
    return 5;
}

size_t encode_string_header(uint8_t out[WRITE_HEADER_MAX], uint32_t size)
{
    if (size <= 31) {
        out[0] = (uint8_t)(0xa0 | size);
        return 1;
    }
    return encode_sized(out, 0xd9, size);
}

/* Arrays and maps: a short form, 16 and 32 bits. */
static size_t encode_count(uint8_t *out, uint8_t fixed, uint8_t format16, uint32_t count)
{
    if (count <= 15) {
        out[0] = (uint8_t)(fixed | count);
        return 1;
    }
    if (count <= UINT16_MAX) {
        out[0] = format16;
        store16(out + 1, (uint16_t)count);
        return 3;
    }
    out[0] = (uint8_t)(format16 + 1);
    store32(out + 1, count);
    return 5;
}

size_t encode_array_header(uint8_t out[WRITE_HEADER_MAX], uint32_t count)
{
    return encode_count(out, 0x90, 0xdc, count);
}

size_t encode_map_header(uint8_t out[WRITE_HEADER_MAX], uint32_t count)
{
    return encode_count(out, 0x80, 0xde, count);
}

void write_integer_long(struct buffer *out, int64_t value)
{
    uint8_t header[WRITE_HEADER_MAX];
    buffer_append(out, header, encode_integer(header, value));
}

void write_unsigned(struct buffer *out, uint64_t value)
{
    uint8_t header[WRITE_HEADER_MAX];
    buffer_append(out, header, encode_unsigned(header, value));
}

void write_float(struct buffer *out, double value)
{
    uint8_t bytes[9] = {0xcb};
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    store64(bytes + 1, bits);
    buffer_append(out, bytes, sizeof(bytes));
}

/* Header and body together or not at all, so that a buffer that failed never
 * ends in half a value. */
static void append_sized(struct buffer *out, const uint8_t *header, size_t header_size,
                         const void *bytes, size_t size)
{
    if (buffer_reserve(out, header_size + size)) {
        buffer_append(out, header, header_size);
        buffer_append(out, bytes, size);
    }
}

static bool too_long(struct buffer *out, size_t size)
{
    if (size > UINT32_MAX) {
        out->failed = true;
        return true;
    }
    return false;
}

void write_string_long(struct buffer *out, const void *text, size_t size)
{
    uint8_t header[WRITE_HEADER_MAX];
    if (!too_long(out, size)) {
        append_sized(out, header, encode_string_header(header, (uint32_t)size), text, size);
    }
}

void write_binary(struct buffer *out, const void *bytes, size_t size)
{
    uint8_t header[WRITE_HEADER_MAX];
    if (!too_long(out, size)) {
        append_sized(out, header, encode_sized(header, 0xc4, (uint32_t)size), bytes, size);
    }
}

void write_array_long(struct buffer *out, uint32_t count)
{
    uint8_t header[WRITE_HEADER_MAX];
    buffer_append(out, header, encode_array_header(header, count));
}

void write_map_long(struct buffer *out, uint32_t count)
{
    uint8_t header[WRITE_HEADER_MAX];
    buffer_append(out, header, encode_map_header(header, count));
}

void write_extension(struct buffer *out, int8_t type, const void *bytes, size_t size)
{
    uint8_t header[WRITE_HEADER_MAX];
    size_t header_size = 1;
    if (too_long(out, size)) {
        return;
    }
    if (size > 0 && size <= 16 && (size & (size - 1)) == 0) {
        header[0] = (uint8_t)(0xd4 + __builtin_ctz((unsigned)size));
    } else {
        header_size = encode_sized(header, 0xc7, (uint32_t)size);
    }
    header[header_size++] = (uint8_t)type;
    append_sized(out, header, header_size, bytes, size);
}

void write_datetime(struct buffer *out, const struct datetime *datetime)
{
    CHECK(datetime->nanoseconds < 1000000000);
    uint8_t bytes[12];
    uint64_t seconds = (uint64_t)datetime->seconds;
    if (seconds >> 34 != 0) {
        store32(bytes, datetime->nanoseconds);
        store64(bytes + 4, seconds);
        write_extension(out, -1, bytes, 12);
    } else if (datetime->nanoseconds != 0 || seconds > UINT32_MAX) {
        store64(bytes, ((uint64_t)datetime->nanoseconds << 34) | seconds);
        write_extension(out, -1, bytes, 8);
    } else {
        store32(bytes, (uint32_t)seconds);
        write_extension(out, -1, bytes, 4);
    }
}

enum { OPEN_BYTES = 5 };

size_t write_open(struct buffer *out)
{
    static const uint8_t room[OPEN_BYTES];
    size_t mark = out->size;
    buffer_append(out, room, sizeof(room));
    return mark;
}

static void close_at(struct buffer *out, size_t mark, const uint8_t *header, size_t header_size)
{
    if (out->failed) {
        return;
    }
    CHECK(mark + OPEN_BYTES <= out->size);
    uint8_t *at = out->bytes + mark;
    size_t body_size = out->size - mark - OPEN_BYTES;
    memcpy(at, header, header_size);
    if (header_size != OPEN_BYTES) {
        memmove(at + header_size, at + OPEN_BYTES, body_size);
        out->size = mark + header_size + body_size;
    }
}

void write_close_array(struct buffer *out, size_t mark, uint32_t count)
{
    uint8_t header[WRITE_HEADER_MAX];
    close_at(out, mark, header, encode_array_header(header, count));
}

void write_close_map(struct buffer *out, size_t mark, uint32_t count)
{
    uint8_t header[WRITE_HEADER_MAX];
    close_at(out, mark, header, encode_map_header(header, count));
}

static void write_token(struct buffer *out, const struct token *token)
{
    struct datetime datetime;
    switch (token->kind) {
    case TOKEN_NIL:
        write_nil(out);
        break;
    case TOKEN_BOOLEAN:
        write_boolean(out, token->boolean);
        break;
    case TOKEN_INTEGER:
        write_integer(out, token->integer);
        break;
    case TOKEN_UNSIGNED:
        write_unsigned(out, token->natural);
        break;
    case TOKEN_FLOAT:
        write_float(out, token->real);
        break;
    case TOKEN_STRING:
        write_string(out, token->bytes, token->size);
        break;
    case TOKEN_BINARY:
        write_binary(out, token->bytes, token->size);
        break;
    case TOKEN_ARRAY:
        write_array(out, token->count);
        break;
    case TOKEN_MAP:
        write_map(out, token->count);
        break;
    case TOKEN_EXTENSION:
        if (token_datetime(token, &datetime)) {
            write_datetime(out, &datetime);
        } else {
            write_extension(out, token->extension, token->bytes, token->size);
        }
        break;
    case TOKEN_INVALID:
        CHECK(token->kind != TOKEN_INVALID);
        break;
    }
}

int write_shortest(struct buffer *out, struct reader *in, unsigned levels_max)
{
    struct token token = reader_next(in);
    if (token.kind != TOKEN_ARRAY && token.kind != TOKEN_MAP) {
        write_token(out, &token);
        return 0;
    }
    if (levels_max == 0) {
        return -1;
    }
    write_token(out, &token);
    uint64_t items = token.kind == TOKEN_MAP ? (uint64_t)2 * token.count : token.count;
    for (uint64_t i = 0; i < items; i++) {
        if (write_shortest(out, in, levels_max - 1) != 0) {
            return -1;
        }
    }
    return 0;
}

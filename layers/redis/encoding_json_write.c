#include "layers/redis/encoding_inner.h"

#include <string.h>

#include "layers/redis/decimal.h"
#include "layers/type.h"
#include "protocol/base/check.h"
#include "protocol/base/datetime.h"
#include "protocol/msgpack/reader.h"

/* Values as JSON. */

/* ---- Base64 ---- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(struct buffer *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)bytes[i + 2] : 0;
        const char digits[4] = {
            base64_digits[group >> 18],
            base64_digits[group >> 12 & 63],
            left > 1 ? base64_digits[group >> 6 & 63] : '=',
            left > 2 ? base64_digits[group & 63] : '=',
        };
        buffer_append(out, digits, sizeof(digits));
    }
}

static int base64_digit(uint8_t c)
{
    const char *found = c != '\0' ? strchr(base64_digits, c) : NULL;
    return found != NULL ? (int)(found - base64_digits) : -1;
}

bool base64_read(const uint8_t *text, size_t size, struct buffer *out)
{
    if (size % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < size; i += 4) {
        /* Only the last group may be short, by one or two. */
        size_t digits = i + 4 < size || text[i + 3] != '=' ? 4 : text[i + 2] != '=' ? 3 : 2;
        uint32_t group = 0;
        for (size_t at = 0; at < 4; at++) {
            int digit = at < digits ? base64_digit(text[i + at]) : 0;
            if (digit < 0) {
                return false;
            }
            group = group << 6 | (uint32_t)digit;
        }
        const uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        buffer_append(out, bytes, digits - 1);
    }
    return !out->failed;
}

/* ---- Scalars ---- */

void json_put_text(struct buffer *out, const void *text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = text;
    size_t plain = 0; /* where what was not yet copied begins */
    buffer_byte(out, '"');
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] >= 0x20 && bytes[i] != '"' && bytes[i] != '\\') {
            continue;
        }
        buffer_append(out, bytes + plain, i - plain);
        plain = i + 1;
        if (bytes[i] >= 0x20) {
            buffer_append(out, (const char[]){'\\', (char)bytes[i]}, 2);
        } else {
            buffer_append(out, "\\u00", 4);
            buffer_byte(out, (uint8_t)digits[bytes[i] >> 4]);
            buffer_byte(out, (uint8_t)digits[bytes[i] & 15]);
        }
    }
    buffer_append(out, bytes + plain, size - plain);
    buffer_byte(out, '"');
}

/* With a point or an exponent, so that it comes back as a float. */
static void put_real(struct buffer *out, double real)
{
    char text[REAL_TEXT_MAX];
    size_t size = real_write(real, text);
    buffer_append(out, text, size);
    if (memchr(text, '.', size) == NULL && memchr(text, 'e', size) == NULL) {
        buffer_append(out, ".0", 2);
    }
}

static void put_base64(struct buffer *out, const uint8_t *bytes, size_t size)
{
    buffer_byte(out, '"');
    base64_write(out, bytes, size);
    buffer_byte(out, '"');
}

static void put_scalar(struct buffer *out, const struct token *token)
{
    char text[DATETIME_TEXT_MAX];
    struct datetime datetime;
    switch (token->kind) {
    case TOKEN_NIL:
        buffer_append(out, "null", 4);
        return;
    case TOKEN_BOOLEAN:
        buffer_append(out, token->boolean ? "true" : "false", token->boolean ? 4 : 5);
        return;
    case TOKEN_INTEGER:
        buffer_append(out, text, decimal_write(token->integer, text));
        return;
    case TOKEN_FLOAT:
        put_real(out, token->real);
        return;
    case TOKEN_STRING:
        json_put_text(out, token->bytes, token->size);
        return;
    case TOKEN_BINARY:
        put_base64(out, token->bytes, token->size);
        return;
    case TOKEN_EXTENSION:
        CHECK(token_datetime(token, &datetime));
        json_put_text(out, text, datetime_format(&datetime, text));
        return;
    case TOKEN_UNSIGNED:
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_INVALID:
        break;
    }
    CHECK(!"a value that is stored");
}

/* ---- Lists and maps ---- */

/* A name in an object must be a text. Another
 * scalar gives its text, what cannot be one the base64 of its MessagePack. */
static void put_key(struct buffer *out, struct reader *in)
{
    const uint8_t *bytes;
    size_t size;
    struct reader copy = *in;
    struct token token = reader_next(&copy);
    CHECK(reader_value(in, &bytes, &size));
    bool text = token.kind == TOKEN_STRING || token.kind == TOKEN_BINARY;
    if (token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP) {
        put_base64(out, bytes, size);
    } else if (text || token.kind == TOKEN_EXTENSION) {
        put_scalar(out, &token);
    } else {
        buffer_byte(out, '"');
        put_scalar(out, &token);
        buffer_byte(out, '"');
    }
}

struct json_level {
    uint32_t left; /* values; of a map, pairs */
    bool map;
    bool first;
};

/* What stands before the next value of a list or map; a map's name with it. */
static void put_lead(struct buffer *out, struct json_level *level, struct reader *in)
{
    if (!level->first) {
        buffer_byte(out, ',');
    }
    level->first = false;
    level->left--;
    if (level->map) {
        put_key(out, in);
        buffer_byte(out, ':');
    }
}

static void put_tree(struct buffer *out, struct reader *in)
{
    struct json_level levels[TYPE_ANY_LEVELS_MAX + 1] = {{.left = 0}};
    unsigned depth = 0;
    do {
        if (depth > 0) {
            put_lead(out, &levels[depth - 1], in);
        }
        struct token token = reader_next(in);
        if (token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP) {
            CHECK(depth < ARRAY_COUNT(levels));
            bool map = token.kind == TOKEN_MAP;
            buffer_byte(out, map ? '{' : '[');
            levels[depth++] = (struct json_level){.left = token.count, .map = map, .first = true};
        } else {
            put_scalar(out, &token);
        }
        while (depth > 0 && levels[depth - 1].left == 0) {
            depth--;
            buffer_byte(out, levels[depth].map ? '}' : ']');
        }
    } while (depth > 0);
}

void json_put(const struct type *type, const uint8_t *value, size_t size, struct buffer *out)
{
    (void)type;
    struct reader in = reader_of(value, size);
    put_tree(out, &in);
}

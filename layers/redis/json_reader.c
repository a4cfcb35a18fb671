#include "layers/redis/json_reader.h"

#include <string.h>

#include "protocol/base/utf8.h"

/* What may come next. */
enum expects {
    EXPECTS_VALUE,
    EXPECTS_FIRST_VALUE, /* or the end of the array */
    EXPECTS_NAME,
    EXPECTS_FIRST_NAME, /* or the end of the object */
    EXPECTS_MORE,       /* a comma, or the end */
    EXPECTS_END,
    EXPECTS_NOTHING /* it has failed */
};

void json_reader_init(struct json_reader *reader, const void *bytes, size_t size)
{
    reader->at = bytes;
    reader->end = reader->at + size;
    reader->depth = 0;
    reader->too_deep = false;
    reader->expects = EXPECTS_VALUE;
}

static struct json_token fail(struct json_reader *reader)
{
    reader->expects = EXPECTS_NOTHING;
    return (struct json_token){.kind = JSON_TOKEN_INVALID,
                               .bytes = reader->at,
                               .size = (size_t)(reader->end - reader->at)};
}

/* The next byte that is no blank, not consumed; zero at the end. */
static uint8_t peek(struct json_reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' ||
                                        *reader->at == '\r' || *reader->at == '\t')) {
        reader->at++;
    }
    return reader->at < reader->end ? *reader->at : '\0';
}

static struct json_token token_to(struct json_reader *reader, enum json_kind kind,
                                  const uint8_t *end)
{
    struct json_token token = {
        .kind = kind, .bytes = reader->at, .size = (size_t)(end - reader->at)};
    reader->at = end;
    return token;
}

/* ---- Levels ---- */

static bool in_object(const struct json_reader *reader)
{
    unsigned level = reader->depth - 1u;
    return (reader->objects[level / 8] >> level % 8 & 1) != 0;
}

static struct json_token open_level(struct json_reader *reader, bool object)
{
    if (reader->depth == JSON_READER_LEVELS_MAX) {
        reader->too_deep = true;
        return fail(reader);
    }
    unsigned level = reader->depth++;
    uint8_t bit = (uint8_t)(1u << level % 8);
    uint8_t others = reader->objects[level / 8] & (uint8_t)~bit;
    reader->objects[level / 8] = object ? others | bit : others;
    reader->expects = object ? EXPECTS_FIRST_NAME : EXPECTS_FIRST_VALUE;
    return token_to(reader, object ? JSON_TOKEN_OBJECT : JSON_TOKEN_ARRAY, reader->at + 1);
}

static void value_ended(struct json_reader *reader)
{
    reader->expects = reader->depth > 0 ? EXPECTS_MORE : EXPECTS_END;
}

static struct json_token close_level(struct json_reader *reader)
{
    reader->depth--;
    value_ended(reader);
    return token_to(reader, JSON_TOKEN_CLOSE, reader->at + 1);
}

/* ---- Scalars ---- */

static int hexadecimal_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* How many bytes an escape has behind its backslash; 0 where it is none. */
static size_t escape_size(const uint8_t *at, const uint8_t *end)
{
    if (at == end || *at == '\0' || strchr("\"\\/bfnrtu", *at) == NULL) {
        return 0;
    }
    if (*at != 'u') {
        return 1;
    }
    for (int i = 1; i <= 4; i++) {
        if (end - at <= i || hexadecimal_digit(at[i]) < 0) {
            return 0;
        }
    }
    return 5;
}

/* Behind the closing quote; NULL where there is none, or the text is wrong. */
static const uint8_t *string_end(const uint8_t *start, const uint8_t *end, bool *escaped)
{
    const uint8_t *at = start + 1;
    *escaped = false;
    while (at < end && *at != '"') {
        if (*at < 0x20) {
            return NULL;
        }
        if (*at++ == '\\') {
            size_t size = escape_size(at, end);
            if (size == 0) {
                return NULL;
            }
            at += size;
            *escaped = true;
        }
    }
    return at < end && utf8_valid(start + 1, (size_t)(at - start - 1)) ? at + 1 : NULL;
}

static struct json_token take_string(struct json_reader *reader, enum json_kind kind)
{
    bool escaped;
    const uint8_t *end = string_end(reader->at, reader->end, &escaped);
    if (end == NULL) {
        return fail(reader);
    }
    struct json_token token = token_to(reader, kind, end);
    token.escaped = escaped;
    return token;
}

static const uint8_t *digits_end(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    return at;
}

/* NULL where it is no number. */
static const uint8_t *number_end(const uint8_t *at, const uint8_t *end)
{
    at += at < end && *at == '-' ? 1 : 0;
    const uint8_t *start = at;
    at = digits_end(at, end);
    if (at == start || (*start == '0' && at - start > 1)) {
        return NULL;
    }
    if (at < end && *at == '.') {
        start = at + 1;
        at = digits_end(start, end);
        if (at == start) {
            return NULL;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-') ? 1 : 0;
        start = at;
        at = digits_end(start, end);
        if (at == start) {
            return NULL;
        }
    }
    return at;
}

static struct json_token take_number(struct json_reader *reader)
{
    const uint8_t *end = number_end(reader->at, reader->end);
    return end != NULL ? token_to(reader, JSON_TOKEN_NUMBER, end) : fail(reader);
}

static struct json_token take_word(struct json_reader *reader, enum json_kind kind,
                                   const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0) {
        return fail(reader);
    }
    return token_to(reader, kind, reader->at + size);
}

static struct json_token take_scalar(struct json_reader *reader, uint8_t first)
{
    switch (first) {
    case '"':
        return take_string(reader, JSON_TOKEN_STRING);
    case 't':
        return take_word(reader, JSON_TOKEN_TRUE, "true");
    case 'f':
        return take_word(reader, JSON_TOKEN_FALSE, "false");
    case 'n':
        return take_word(reader, JSON_TOKEN_NULL, "null");
    default:
        return take_number(reader);
    }
}

/* ---- Tokens ---- */

static struct json_token take_value(struct json_reader *reader, uint8_t first)
{
    if (first == '{' || first == '[') {
        return open_level(reader, first == '{');
    }
    struct json_token token = take_scalar(reader, first);
    if (token.kind != JSON_TOKEN_INVALID) {
        value_ended(reader);
    }
    return token;
}

static struct json_token take_name(struct json_reader *reader, uint8_t first)
{
    if (first != '"') {
        return fail(reader);
    }
    struct json_token token = take_string(reader, JSON_TOKEN_NAME);
    if (token.kind == JSON_TOKEN_INVALID) {
        return token;
    }
    if (peek(reader) != ':') {
        return fail(reader);
    }
    reader->at++;
    reader->expects = EXPECTS_VALUE;
    return token;
}

struct json_token json_next(struct json_reader *reader)
{
    uint8_t byte = peek(reader);
    if (reader->expects == EXPECTS_MORE && byte == ',') {
        reader->at++;
        reader->expects = in_object(reader) ? EXPECTS_NAME : EXPECTS_VALUE;
        byte = peek(reader);
    }
    switch ((enum expects)reader->expects) {
    case EXPECTS_FIRST_VALUE:
        return byte == ']' ? close_level(reader) : take_value(reader, byte);
    case EXPECTS_VALUE:
        return take_value(reader, byte);
    case EXPECTS_FIRST_NAME:
        return byte == '}' ? close_level(reader) : take_name(reader, byte);
    case EXPECTS_NAME:
        return take_name(reader, byte);
    case EXPECTS_MORE:
        return byte == (in_object(reader) ? '}' : ']') ? close_level(reader) : fail(reader);
    case EXPECTS_END:
        return reader->at == reader->end ? token_to(reader, JSON_TOKEN_END, reader->at)
                                         : fail(reader);
    case EXPECTS_NOTHING:
        break;
    }
    return fail(reader);
}

const uint8_t *json_peek(struct json_reader *reader)
{
    peek(reader);
    return reader->at;
}

bool json_skip(struct json_reader *reader)
{
    unsigned depth = reader->depth;
    struct json_token token;
    do {
        token = json_next(reader);
    } while (token.kind != JSON_TOKEN_INVALID && token.kind != JSON_TOKEN_END &&
             reader->depth > depth);
    return token.kind > JSON_TOKEN_NAME && reader->depth == depth;
}

/* ---- Text ---- */

static uint32_t read_unit(const uint8_t *digits)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        unit = unit << 4 | (uint32_t)hexadecimal_digit(digits[i]);
    }
    return unit;
}

/* Appends what \uXXXX says, with its other half where it has one. `at` is behind
 * the u; answers what is behind it all, NULL where a half stands alone. */
static const uint8_t *append_unit(const uint8_t *at, const uint8_t *end, struct buffer *out)
{
    uint32_t unit = read_unit(at);
    at += 4;
    if (unit >= 0xd800 && unit < 0xe000) {
        bool pair = unit < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u';
        uint32_t low = pair ? read_unit(at + 2) : 0;
        if (low < 0xdc00 || low >= 0xe000) {
            return NULL;
        }
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
    }
    utf8_encode(out, unit);
    return at;
}

static uint8_t escape_byte(uint8_t letter)
{
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return letter;
    }
}

bool json_text(const struct json_token *token, struct buffer *out)
{
    const uint8_t *at = token->bytes + 1;
    const uint8_t *end = token->bytes + token->size - 1;
    while (at != NULL && at < end) {
        const uint8_t *escape = token->escaped ? memchr(at, '\\', (size_t)(end - at)) : NULL;
        const uint8_t *plain_end = escape != NULL ? escape : end;
        buffer_append(out, at, (size_t)(plain_end - at));
        at = plain_end;
        if (escape != NULL && escape[1] == 'u') {
            at = append_unit(escape + 2, end, out);
        } else if (escape != NULL) {
            buffer_byte(out, escape_byte(escape[1]));
            at = escape + 2;
        }
    }
    return at != NULL;
}

#include "tests/lib/json_msgpack.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"

static const char *skip_space(const char *at)
{
    while (isspace((unsigned char)*at) || *at == ',' || *at == ':') {
        at++;
    }
    return at;
}

static const char *take_text(const char *at, struct buffer *out)
{
    char quote = *at++;
    struct buffer text = BUFFER_INIT;
    for (; *at != quote; at++) {
        CHECK(*at != '\0');
        if (*at == '\\') {
            at++;
        }
        buffer_byte(&text, (uint8_t)*at);
    }
    write_string(out, text.bytes, text.size);
    out->failed |= text.failed;
    buffer_release(&text);
    return at + 1;
}

static const char *take_number(const char *at, struct buffer *out)
{
    char *end = NULL;
    long long integer = strtoll(at, &end, 10);
    if (*end == '.' || *end == 'e' || *end == 'E') {
        write_float(out, strtod(at, &end));
    } else {
        CHECK(end != at);
        write_integer(out, integer);
    }
    return end;
}

static const char *take_value(const char *at, struct buffer *out);

static const char *take_list(const char *at, char close, struct buffer *out)
{
    size_t mark = write_open(out);
    uint32_t count = 0;
    for (at = skip_space(at + 1); *at != close; at = skip_space(at), count++) {
        at = take_value(at, out);
    }
    if (close == '}') {
        write_close_map(out, mark, count / 2);
    } else {
        write_close_array(out, mark, count);
    }
    return at + 1;
}

static const char *take_value(const char *at, struct buffer *out)
{
    at = skip_space(at);
    if (*at == '[' || *at == '{') {
        return take_list(at, *at == '[' ? ']' : '}', out);
    }
    if (*at == '"' || *at == '\'') {
        return take_text(at, out);
    }
    if (strncmp(at, "null", 4) == 0) {
        write_nil(out);
        return at + 4;
    }
    if (strncmp(at, "true", 4) == 0) {
        write_boolean(out, true);
        return at + 4;
    }
    if (strncmp(at, "false", 5) == 0) {
        write_boolean(out, false);
        return at + 5;
    }
    return take_number(at, out);
}

void json_to_msgpack(const char *json, struct buffer *out)
{
    const char *end = skip_space(take_value(json, out));
    CHECK(*end == '\0');
}

static void put_text(struct buffer *out, const uint8_t *bytes, uint32_t size)
{
    buffer_byte(out, '"');
    for (uint32_t i = 0; i < size; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\') {
            buffer_byte(out, '\\');
        }
        buffer_byte(out, bytes[i]);
    }
    buffer_byte(out, '"');
}

static void put_extension(struct buffer *out, const struct token *token)
{
    if (token->extension == MESSAGE_ERROR_EXTENSION) {
        struct error error = ERROR_INIT;
        message_error_read(&error, token->bytes, token->size);
        buffer_printf(out, "{\"error\":\"%s\"}", code_text(error.code));
        return;
    }
    struct datetime moment;
    if (token_datetime(token, &moment)) {
        char text[DATETIME_TEXT_MAX];
        datetime_format(&moment, text);
        buffer_printf(out, "\"%s\"", text);
        return;
    }
    buffer_printf(out, "{\"ext\":%d}", token->extension);
}

void msgpack_to_json(struct reader *in, struct buffer *out)
{
    struct token token = reader_next(in);
    switch (token.kind) {
    case TOKEN_INVALID:
        buffer_printf(out, "<invalid>");
        break;
    case TOKEN_NIL:
        buffer_printf(out, "null");
        break;
    case TOKEN_BOOLEAN:
        buffer_printf(out, token.boolean ? "true" : "false");
        break;
    case TOKEN_INTEGER:
        buffer_printf(out, "%lld", (long long)token.integer);
        break;
    case TOKEN_UNSIGNED:
        buffer_printf(out, "%llu", (unsigned long long)token.natural);
        break;
    case TOKEN_FLOAT:
        buffer_printf(out, "%.17g", token.real);
        break;
    case TOKEN_STRING:
        put_text(out, token.bytes, token.size);
        break;
    case TOKEN_BINARY:
        buffer_printf(out, "{\"bin\":%u}", token.size);
        break;
    case TOKEN_ARRAY:
        buffer_byte(out, '[');
        for (uint32_t i = 0; i < token.count; i++) {
            buffer_printf(out, i > 0 ? "," : "");
            msgpack_to_json(in, out);
        }
        buffer_byte(out, ']');
        break;
    case TOKEN_MAP:
        buffer_byte(out, '{');
        for (uint32_t i = 0; i < token.count; i++) {
            buffer_printf(out, i > 0 ? "," : "");
            msgpack_to_json(in, out);
            buffer_byte(out, ':');
            msgpack_to_json(in, out);
        }
        buffer_byte(out, '}');
        break;
    case TOKEN_EXTENSION:
        put_extension(out, &token);
        break;
    }
}

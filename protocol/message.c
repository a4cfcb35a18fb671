#include "protocol/message.h"

#include <string.h>

#include "protocol/base/utf8.h"
#include "protocol/msgpack/writer.h"

void message_request(struct buffer *out, uint32_t id, const char *method)
{
    write_array(out, 4);
    write_integer(out, 0);
    write_integer(out, id);
    write_text(out, method);
}

void message_notification(struct buffer *out, const char *method)
{
    write_array(out, 3);
    write_integer(out, 2);
    write_text(out, method);
}

void message_result(struct buffer *out, uint32_t id)
{
    write_array(out, 4);
    write_integer(out, 1);
    write_integer(out, id);
    write_nil(out);
}

void message_error(struct buffer *out, uint32_t id, const struct error *error, bool as_map)
{
    write_array(out, 4);
    write_integer(out, 1);
    write_integer(out, id);
    message_error_value(out, error, as_map);
    write_nil(out);
}

/* --- The map ---------------------------------------------------------------- */

/* The details that are text. */
#define DETAIL_TEXTS(X)             \
    X(resource, "resource")         \
    X(field, "field")               \
    X(relationship, "relationship") \
    X(path, "path")                 \
    X(limit, "limit")               \
    X(cause, "code")                \
    X(outcome, "outcome")

/* And those that are numbers. */
#define DETAIL_NUMBERS(X) \
    X(index)              \
    X(position)           \
    X(written)

static uint32_t count_details(const struct error *error)
{
    uint32_t count = 0;
#define X(name, text) count += error->name[0] != '\0' ? 1 : 0;
    DETAIL_TEXTS(X)
#undef X
#define X(name) count += error->name >= 0 ? 1 : 0;
    DETAIL_NUMBERS(X)
#undef X
    return count + (error->key_size > 0 ? 1 : 0);
}

static void write_details(struct buffer *out, const struct error *error)
{
    write_map(out, count_details(error));
#define X(name, text)                 \
    if (error->name[0] != '\0') {     \
        write_text(out, text);        \
        write_text(out, error->name); \
    }
    DETAIL_TEXTS(X)
#undef X
#define X(name)                          \
    if (error->name >= 0) {              \
        write_text(out, #name);          \
        write_integer(out, error->name); \
    }
    DETAIL_NUMBERS(X)
#undef X
    if (error->key_size > 0) {
        write_text(out, "key");
        buffer_append(out, error->key, error->key_size);
    }
}

static void write_error_map(struct buffer *out, const struct error *error)
{
    write_map(out, 3);
    write_text(out, "code");
    write_text(out, code_text(error->code));
    write_text(out, "message");
    write_text(out, error->message);
    write_text(out, "details");
    write_details(out, error);
}

void message_error_value(struct buffer *out, const struct error *error, bool as_map)
{
    if (as_map) {
        write_error_map(out, error);
        return;
    }
    const char *code = code_text(error->code);
    size_t code_size = strlen(code);
    size_t message_size = strlen(error->message);
    uint8_t header[WRITE_HEADER_MAX];
    size_t size = code_size + 2 + message_size;
    buffer_append(out, header, encode_string_header(header, (uint32_t)size));
    buffer_append(out, code, code_size);
    buffer_append(out, ": ", 2);
    buffer_append(out, error->message, message_size);
}

void message_error_extension(struct buffer *out, const struct error *error)
{
    struct buffer map = {.max = out->max};
    write_error_map(&map, error);
    if (map.failed) {
        out->failed = true;
    } else {
        write_extension(out, MESSAGE_ERROR_EXTENSION, map.bytes, map.size);
    }
    buffer_release(&map);
}

/* --- Reading ---------------------------------------------------------------- */

static bool text_is(const char *text, size_t size, const char *word)
{
    return text != NULL && strlen(word) == size && memcmp(text, word, size) == 0;
}

/* Text for `%.*s`: at most what a message may have. */
static int printable_size(size_t size)
{
    return size < ERROR_MESSAGE_MAX ? (int)size : ERROR_MESSAGE_MAX;
}

static void read_detail_text(char *out, size_t capacity, struct reader *in)
{
    size_t size;
    const char *text = reader_name(in, &size);
    if (text != NULL && size < capacity && utf8_valid(text, size) &&
        memchr(text, '\0', size) == NULL) {
        memcpy(out, text, size);
        out[size] = '\0';
    }
}

static void read_detail_number(int64_t *out, struct reader *in)
{
    struct token token = reader_next(in);
    if (token.kind == TOKEN_INTEGER && token.integer >= 0) {
        *out = token.integer;
    }
}

/* One detail. Its value was skipped already, so that one of another shape than
 * expected does no harm. */
static void read_detail(struct error *error, const char *name, size_t name_size,
                        const uint8_t *bytes, size_t size)
{
    struct reader in = reader_of(bytes, size);
    if (text_is(name, name_size, "key")) {
        error_key(error, bytes, size);
        return;
    }
#define X(detail, text)                                              \
    if (text_is(name, name_size, text)) {                            \
        read_detail_text(error->detail, sizeof(error->detail), &in); \
        return;                                                      \
    }
    DETAIL_TEXTS(X)
#undef X
#define X(detail)                                \
    if (text_is(name, name_size, #detail)) {     \
        read_detail_number(&error->detail, &in); \
        return;                                  \
    }
    DETAIL_NUMBERS(X)
#undef X
}

/* One pair of a map: its name (NULL where it is no text) and its value's bytes.
 * False at the end or where it is malformed. */
static bool next_pair(struct reader *in, const char **name, size_t *name_size,
                      const uint8_t **value, size_t *value_size)
{
    const uint8_t *key;
    size_t key_size;
    if (!reader_value(in, &key, &key_size) || !reader_value(in, value, value_size)) {
        return false;
    }
    struct reader key_reader = reader_of(key, key_size);
    *name = reader_name(&key_reader, name_size);
    return true;
}

static void read_details(struct error *error, const uint8_t *bytes, size_t size)
{
    struct reader in = reader_of(bytes, size);
    struct token map = reader_next(&in);
    const char *name;
    const uint8_t *value;
    size_t name_size, value_size;
    for (uint32_t i = 0; map.kind == TOKEN_MAP && i < map.count; i++) {
        if (!next_pair(&in, &name, &name_size, &value, &value_size)) {
            return;
        }
        read_detail(error, name, name_size, value, value_size);
    }
}

/* The string form. A code that is not known here may be from a newer daemon:
 * its text stays in the message. */
static void read_string(struct error *error, const char *text, size_t size)
{
    const char *colon = size > 0 ? memchr(text, ':', size) : NULL;
    enum code code = CODE_OK;
    if (colon != NULL) {
        code = code_from_text(text, (size_t)(colon - text));
    }
    if (code == CODE_OK) {
        error_set(error, CODE_INTERNAL, "%.*s", printable_size(size), text);
        return;
    }
    size_t skipped = (size_t)(colon - text) + 1;
    if (skipped < size && text[skipped] == ' ') {
        skipped++;
    }
    error_set(error, code, "%.*s", printable_size(size - skipped), text + skipped);
}

struct error_parts {
    const char *code;
    size_t code_size;
    const char *message;
    size_t message_size;
    const uint8_t *details;
    size_t details_size;
};

static bool read_parts(struct reader *in, uint32_t count, struct error_parts *parts)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *name;
        const uint8_t *value;
        size_t name_size, value_size;
        if (!next_pair(in, &name, &name_size, &value, &value_size)) {
            return false;
        }
        struct reader body = reader_of(value, value_size);
        if (text_is(name, name_size, "code")) {
            parts->code = reader_name(&body, &parts->code_size);
        } else if (text_is(name, name_size, "message")) {
            parts->message = reader_name(&body, &parts->message_size);
        } else if (text_is(name, name_size, "details")) {
            parts->details = value;
            parts->details_size = value_size;
        }
    }
    return parts->code != NULL && parts->message != NULL;
}

static void read_map(struct error *error, struct reader *in, uint32_t count)
{
    struct error_parts parts = {0};
    if (!read_parts(in, count, &parts)) {
        error_set(error, CODE_INTERNAL, "an error came as a map without code and message");
        return;
    }
    enum code code = code_from_text(parts.code, parts.code_size);
    int message_size = printable_size(parts.message_size);
    if (code == CODE_OK) {
        error_set(error, CODE_INTERNAL, "%.*s: %.*s", printable_size(parts.code_size), parts.code,
                  message_size, parts.message);
    } else {
        error_set(error, code, "%.*s", message_size, parts.message);
    }
    if (parts.details != NULL) {
        read_details(error, parts.details, parts.details_size);
    }
}

void message_error_read(struct error *error, const uint8_t *bytes, size_t size)
{
    struct reader in = reader_of(bytes, size);
    struct token token = reader_next(&in);
    if (token.kind == TOKEN_EXTENSION && token.extension == MESSAGE_ERROR_EXTENSION) {
        in = reader_of(token.bytes, token.size);
        token = reader_next(&in);
    }
    if (token.kind == TOKEN_STRING || token.kind == TOKEN_BINARY) {
        read_string(error, (const char *)token.bytes, token.size);
    } else if (token.kind == TOKEN_MAP) {
        read_map(error, &in, token.count);
    } else {
        error_set(error, CODE_INTERNAL, "an error came as %s", token_describe(&token));
    }
}

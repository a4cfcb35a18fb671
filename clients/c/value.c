#include "clients/c/relata.h"

#include <string.h>

#include "clients/c/fault.h"
#include "protocol/frame.h"
#include "protocol/message.h"
#include "protocol/msgpack/reader.h"

static struct token token_of(struct relata_value value)
{
    struct reader in = reader_of(value.bytes, value.size);
    return reader_next(&in);
}

enum relata_type relata_value_type(struct relata_value value)
{
    if (value.bytes == NULL) {
        return RELATA_TYPE_NONE;
    }
    struct token token = token_of(value);
    struct datetime datetime;
    switch (token.kind) {
    case TOKEN_INVALID:
        return RELATA_TYPE_NONE;
    case TOKEN_NIL:
        return RELATA_TYPE_NIL;
    case TOKEN_BOOLEAN:
        return RELATA_TYPE_BOOLEAN;
    case TOKEN_INTEGER:
        return RELATA_TYPE_INTEGER;
    case TOKEN_UNSIGNED:
        return RELATA_TYPE_UNSIGNED;
    case TOKEN_FLOAT:
        return RELATA_TYPE_FLOAT;
    case TOKEN_STRING:
        return RELATA_TYPE_STRING;
    case TOKEN_BINARY:
        return RELATA_TYPE_BINARY;
    case TOKEN_ARRAY:
        return RELATA_TYPE_ARRAY;
    case TOKEN_MAP:
        return RELATA_TYPE_MAP;
    case TOKEN_EXTENSION:
        if (token.extension == MESSAGE_ERROR_EXTENSION) {
            return RELATA_TYPE_ERROR;
        }
        return token_datetime(&token, &datetime) ? RELATA_TYPE_DATETIME : RELATA_TYPE_EXTENSION;
    }
    return RELATA_TYPE_NONE;
}

bool relata_value_boolean(struct relata_value value, bool *out)
{
    struct token token = token_of(value);
    if (token.kind == TOKEN_BOOLEAN) {
        *out = token.boolean;
    }
    return token.kind == TOKEN_BOOLEAN;
}

bool relata_value_integer(struct relata_value value, int64_t *out)
{
    struct token token = token_of(value);
    if (token.kind == TOKEN_INTEGER) {
        *out = token.integer;
    }
    return token.kind == TOKEN_INTEGER;
}

bool relata_value_unsigned(struct relata_value value, uint64_t *out)
{
    struct token token = token_of(value);
    if (token.kind == TOKEN_UNSIGNED) {
        *out = token.natural;
        return true;
    }
    if (token.kind == TOKEN_INTEGER && token.integer >= 0) {
        *out = (uint64_t)token.integer;
        return true;
    }
    return false;
}

bool relata_value_float(struct relata_value value, double *out)
{
    struct token token = token_of(value);
    if (token.kind == TOKEN_FLOAT) {
        *out = token.real;
        return true;
    }
    if (token.kind == TOKEN_INTEGER) {
        *out = (double)token.integer;
        return true;
    }
    return false;
}

bool relata_value_string(struct relata_value value, const char **text, size_t *size)
{
    struct token token = token_of(value);
    if (token.kind != TOKEN_STRING) {
        return false;
    }
    *text = (const char *)token.bytes;
    *size = token.size;
    return true;
}

bool relata_value_is(struct relata_value value, const char *text)
{
    struct token token = token_of(value);
    return token.kind == TOKEN_STRING && token.size == strlen(text) &&
           memcmp(token.bytes, text, token.size) == 0;
}

bool relata_value_binary(struct relata_value value, const uint8_t **bytes, size_t *size)
{
    struct token token = token_of(value);
    if (token.kind != TOKEN_BINARY) {
        return false;
    }
    *bytes = token.bytes;
    *size = token.size;
    return true;
}

bool relata_value_datetime(struct relata_value value, int64_t *seconds, uint32_t *nanoseconds)
{
    struct token token = token_of(value);
    struct datetime datetime;
    if (token.kind != TOKEN_EXTENSION || !token_datetime(&token, &datetime)) {
        return false;
    }
    *seconds = datetime.seconds;
    *nanoseconds = datetime.nanoseconds;
    return true;
}

bool relata_value_error(struct relata_value value, struct relata_error *error)
{
    struct token token = token_of(value);
    if (token.kind != TOKEN_EXTENSION || token.extension != MESSAGE_ERROR_EXTENSION) {
        return false;
    }
    struct error inner = ERROR_INIT;
    message_error_read(&inner, token.bytes, token.size);
    fault_give(error, &inner);
    return true;
}

size_t relata_value_count(struct relata_value value)
{
    struct token token = token_of(value);
    return token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP ? token.count : 0;
}

/* --- Walking ------------------------------------------------------------------ */

static struct relata_cursor cursor_of(struct relata_value value, enum token_kind kind)
{
    struct reader in = reader_of(value.bytes, value.size);
    struct token token = reader_next(&in);
    if (token.kind != kind) {
        return (struct relata_cursor){0};
    }
    return (struct relata_cursor){.at = in.at, .end = in.end, .left = token.count};
}

/* The next value; the caller has looked at `left`. */
static bool step(struct relata_cursor *cursor, struct relata_value *value)
{
    struct reader in = {.at = cursor->at, .end = cursor->end};
    if (!reader_value(&in, &value->bytes, &value->size)) {
        cursor->left = 0;
        return false;
    }
    cursor->at = in.at;
    return true;
}

struct relata_cursor relata_items(struct relata_value array)
{
    return cursor_of(array, TOKEN_ARRAY);
}

bool relata_next(struct relata_cursor *cursor, struct relata_value *item)
{
    if (cursor->left == 0) {
        return false;
    }
    cursor->left--;
    return step(cursor, item);
}

struct relata_cursor relata_pairs(struct relata_value map)
{
    return cursor_of(map, TOKEN_MAP);
}

bool relata_next_pair(struct relata_cursor *cursor, struct relata_value *key,
                      struct relata_value *value)
{
    if (cursor->left == 0) {
        return false;
    }
    cursor->left--;
    return step(cursor, key) && step(cursor, value);
}

struct relata_value relata_value_at(struct relata_value array, size_t index)
{
    struct relata_cursor cursor = relata_items(array);
    struct relata_value item;
    for (size_t i = 0; relata_next(&cursor, &item); i++) {
        if (i == index) {
            return item;
        }
    }
    return RELATA_NONE;
}

struct relata_value relata_value_get(struct relata_value map, const char *name)
{
    struct relata_cursor cursor = relata_pairs(map);
    struct relata_value key;
    struct relata_value value;
    while (relata_next_pair(&cursor, &key, &value)) {
        if (relata_value_is(key, name)) {
            return value;
        }
    }
    return RELATA_NONE;
}

bool relata_value_of(const void *bytes, size_t size, struct relata_value *value)
{
    struct frame_scanner scanner;
    frame_scanner_init(&scanner, (struct frame_limits){UINT32_MAX, FRAME_LEVELS_MAX});
    size_t whole;
    if (size == 0 || frame_scan(&scanner, bytes, size, &whole) != FRAME_WHOLE || whole != size) {
        return false;
    }
    *value = (struct relata_value){bytes, size};
    return true;
}

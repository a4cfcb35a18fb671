#ifndef RELATA_LAYERS_REDIS_JSON_READER_H
#define RELATA_LAYERS_REDIS_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"

/* Reads one JSON text (RFC 8259) from bytes in memory, token by token, without
 * copying, allocating or recursion. Errors are sticky. It is strict: what it goes
 * through to the end is JSON. Numbers may be of any size and names may stand twice:
 * that is for the caller to judge.
 *
 * It is our own since what stands in Redis must keep its bytes where the schema
 * does not know it, which a tree of values has forgotten, and since jansson takes
 * text for shorter than it is where memory lacks. */

enum { JSON_READER_LEVELS_MAX = 1024 };

enum json_kind {
    JSON_TOKEN_INVALID, /* no JSON, cut short, or nested deeper than the limit */
    JSON_TOKEN_END,     /* the text is through, and well */
    JSON_TOKEN_NAME,    /* of a member; its value follows */
    JSON_TOKEN_STRING,
    JSON_TOKEN_NUMBER,
    JSON_TOKEN_TRUE,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_NULL,
    JSON_TOKEN_OBJECT,
    JSON_TOKEN_ARRAY,
    JSON_TOKEN_CLOSE /* of the innermost object or array */
};

struct json_token {
    enum json_kind kind;
    bool escaped;         /* the text of a name or string has backslashes */
    const uint8_t *bytes; /* where the token begins, quotes and all; where it is */
    size_t size;          /* JSON_TOKEN_INVALID, what is wrong, up to the end */
};

struct json_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint16_t depth;
    bool too_deep;   /* what it failed on is an object or array beyond the limit */
    uint8_t expects; /* json_reader.c's */
    uint8_t objects[JSON_READER_LEVELS_MAX / 8]; /* a bit for each level: no array */
};

void json_reader_init(struct json_reader *reader, const void *bytes, size_t size);

struct json_token json_next(struct json_reader *reader);

/* Where the next token begins: passes over blanks. */
const uint8_t *json_peek(struct json_reader *reader);

/* Passes over the value that comes next, with all that is in it. False where it
 * is none. */
bool json_skip(struct json_reader *reader);

/* Appends the text of a name or a string, in UTF-8. False where it has half of a
 * surrogate pair, which UTF-8 cannot tell; what was appended is then unspecified. */
bool json_text(const struct json_token *token, struct buffer *out);

#endif

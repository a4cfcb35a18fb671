#ifndef RELATA_PROTOCOL_MSGPACK_READER_H
#define RELATA_PROTOCOL_MSGPACK_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/datetime.h"

/* Reads MessagePack from bytes in memory, without copying. Errors are sticky:
 * after the first, every read answers TOKEN_INVALID and `failed` stays set, so
 * a caller may read a whole shape and look once. It never reads past `end`.
 * Every legal encoding is taken, not only the shortest. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

enum token_kind {
    TOKEN_INVALID, /* cut short, or the byte 0xc1 */
    TOKEN_NIL,
    TOKEN_BOOLEAN,
    TOKEN_INTEGER,  /* fits int64 */
    TOKEN_UNSIGNED, /* above INT64_MAX, in `natural` */
    TOKEN_FLOAT,    /* from 32 or 64 bits */
    TOKEN_STRING,
    TOKEN_BINARY,
    TOKEN_ARRAY,
    TOKEN_MAP,
    TOKEN_EXTENSION
};

struct token {
    enum token_kind kind;
    int8_t extension; /* the type of an extension */
    uint32_t size;    /* bytes of a string, binary, extension */
    uint32_t count;   /* items of an array, pairs of a map */
    union {
        bool boolean;
        int64_t integer;
        uint64_t natural;
        double real;
        const uint8_t *bytes; /* in the reader's bytes */
    };
};

static inline struct reader reader_of(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    return (struct reader){.at = at, .end = size > 0 ? at + size : at, .failed = false};
}

/* The next header (with the body of what has one). Of arrays and maps only the
 * header is consumed. An array or map that announces more than could stand in
 * the bytes left is cut short, so a count may be trusted for making room. */
struct token reader_next(struct reader *reader);

/* The kind of what comes next by its first bytes, without consuming it; it may
 * still turn out to be cut short. */
enum token_kind reader_peek(const struct reader *reader);

/* Consumes one value with all that is in it, without recursion. False where it
 * is cut short or invalid. */
bool reader_skip(struct reader *reader);

/* As reader_skip; the value's bytes are then in *bytes, *size. */
bool reader_value(struct reader *reader, const uint8_t **bytes, size_t *size);

/* A string or binary (names come as both); NULL where it is neither, which is
 * then consumed as by reader_next, and not a failure of the reader. */
const char *reader_name(struct reader *reader, size_t *size);

/* The moment of an extension of type -1 with 4, 8 or 12 bytes; false where it
 * is none, or its nanoseconds are above 999999999. */
bool token_datetime(const struct token *token, struct datetime *out);

/* What came, for messages: "an integer", "a map", "an extension of type 5". The
 * text is good until some more tokens have been described. */
const char *token_describe(const struct token *token);

#endif

#ifndef RELATA_LAYERS_REDIS_RESP_H
#define RELATA_LAYERS_REDIS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"
#include "protocol/base/error.h"

/* RESP, the bytes that Redis speaks: commands out, replies in. Versions 2 and 3
 * are both read. Pure: bytes in, tokens out, nothing is copied or allocated.
 * Source of the rules: Redis' RESP3 specification, and what a 7.0 server sends. */

enum {
    RESP_LEVELS_MAX = 16,          /* arrays and maps within each other */
    RESP_REPLY_BYTES_MAX = 1 << 29 /* of one reply; a longer one breaks the link */
};

/* ---- Where a reply ends ---- */

/* Goes through bytes as they come, each once, also where a reply comes in many
 * pieces. Zeroed at first, and again after each whole reply. */
struct resp_scan {
    size_t at;     /* bytes that are known to belong to the reply */
    size_t looked; /* bytes behind them that do not end their line */
    uint8_t level;
    uint64_t left[RESP_LEVELS_MAX]; /* values that are missing, by level */
};

enum resp_scan_status { RESP_CUT, RESP_WHOLE, RESP_BROKEN };

/* `bytes` begins where the reply begins, and holds all that came of it so far
 * (it may have moved since the last call). RESP_WHOLE: the reply's size is in
 * scan->at. RESP_CUT: more must come. RESP_BROKEN: the bytes are no reply, or it
 * exceeds a limit; the error says what came. Attributes (|) count as a part of
 * the reply that they stand before. */
enum resp_scan_status resp_scan_go(struct resp_scan *scan, const uint8_t *bytes, size_t size,
                                   struct error *error);

/* ---- What a reply is ---- */

enum resp_kind {
    RESP_NIL,   /* $-1, *-1, _ */
    RESP_TEXT,  /* simple, bulk, verbatim (without its `txt:`), big numbers */
    RESP_ERROR, /* simple or bulk; in bytes, size: "MOVED 3999 127.0.0.1:6381" */
    RESP_INTEGER,
    RESP_REAL,
    RESP_BOOLEAN, /* in integer: 0 or 1 */
    RESP_ARRAY,   /* sets too */
    RESP_MAP,     /* `count` pairs */
    RESP_PUSH,    /* an array that is no answer to a command */
    RESP_END      /* nothing is left, or the bytes were no whole reply */
};

struct resp_token {
    enum resp_kind kind;
    const uint8_t *bytes; /* of texts and errors, in the reply's bytes */
    size_t size;
    uint64_t count; /* items of an array, pairs of a map */
    int64_t integer;
    double real;
};

/* Reads a whole reply that resp_scan_go has found to be one, token by token;
 * what is in an array or a map follows it. Attributes are passed over. */
struct resp_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct resp_reader resp_reader_of(const uint8_t *bytes, size_t size)
{
    return (struct resp_reader){.at = bytes, .end = bytes + size};
}

struct resp_token resp_next(struct resp_reader *reader);

/* Passes over one value with all that is in it. */
void resp_skip(struct resp_reader *reader);

/* Whether the token is this text. */
bool resp_is(const struct resp_token *token, const char *text);

/* Whether a text or an error begins with this: "MOVED ", "OOM". */
bool resp_begins(const struct resp_token *token, const char *text);

/* "the text \"QUEUED\"", "an integer", ...: for messages; good until some more
 * tokens have been described. */
const char *resp_describe(const struct resp_token *token);

/* ---- Commands ---- */

/* A command is its head and as many words. */
void resp_command(struct buffer *out, size_t words);
void resp_word(struct buffer *out, const void *bytes, size_t size);
void resp_word_text(struct buffer *out, const char *text);
void resp_word_integer(struct buffer *out, int64_t integer);

#endif

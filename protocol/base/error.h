#ifndef RELATA_PROTOCOL_BASE_ERROR_H
#define RELATA_PROTOCOL_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/code.h"

/* An error in words for a person, with the details that a program may want.
 * It is owned by the caller, set where the fault is found and prefixed on the
 * way up. It holds no pointers to anything that is freed: names are copied. */

enum { ERROR_MESSAGE_MAX = 480, ERROR_NAME_MAX = 64, ERROR_KEY_MAX = 96, ERROR_PATH_MAX = 160 };

struct error {
    enum code code;                  /* CODE_OK while unset */
    char message[ERROR_MESSAGE_MAX]; /* UTF-8, no code in front, terminated */
    /* Details; empty text or a negative number where they do not apply. */
    char resource[ERROR_NAME_MAX];
    char field[ERROR_NAME_MAX];
    char relationship[ERROR_NAME_MAX];
    char path[ERROR_PATH_MAX];  /* in the map form of a filter: "or.1.status" */
    char limit[ERROR_NAME_MAX]; /* a limit's name: "frame_bytes" */
    char cause[ERROR_NAME_MAX]; /* the code that a loader gave its error: details.code */
    char outcome[16];           /* "unknown" where a write may have been done */
    uint8_t key[ERROR_KEY_MAX]; /* MessagePack of a key; not kept where longer */
    uint16_t key_size;
    int64_t index;    /* of the element in a list, 0-based */
    int64_t position; /* in a filter's text, 0-based, in code points */
    int64_t written;  /* records of a failed write of many that are written all the same */
};

#define ERROR_INIT                                                  \
    {                                                               \
        .code = CODE_OK, .index = -1, .position = -1, .written = -1 \
    }

void error_clear(struct error *error);

/* Sets code and message (cut at a code point where too long, control
 * characters made visible), and clears the details. Answers -code, so that
 * `return error_set(error, CODE_NOT_FOUND, ...)` reads well. `error` may be
 * NULL. */
int error_set(struct error *error, enum code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts text before the message: "ticket.status: " + message. Answers -code. */
int error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts text behind the message, which is cut where both are too long. Answers -code. */
int error_append(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Says that a write may have been done: in the message, and in `outcome`. */
void error_outcome_unknown(struct error *error);

/* Details. Each copies, and does nothing where `error` is NULL. They are to be
 * called after error_set. */
void error_resource(struct error *error, const char *name);
void error_field(struct error *error, const char *name);
void error_relationship(struct error *error, const char *name);
void error_limit(struct error *error, const char *name);
void error_path(struct error *error, const char *path);
void error_key(struct error *error, const void *key, size_t size);

/* Limits told in one way everywhere: code, the limit's name, what it allows
 * and what came. `error_limit_hit(e, CODE_TOO_LARGE, "keys_per_call", 100000,
 * 120000)`. */
int error_limit_hit(struct error *error, enum code code, const char *limit, uint64_t allowed,
                    uint64_t came);

#endif

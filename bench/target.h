#ifndef RELATA_BENCH_TARGET_H
#define RELATA_BENCH_TARGET_H

#include <stdint.h>

#include "protocol/base/buffer.h"

/* A server that is measured: how it is asked for a record, and what it must
 * answer. Record `number` is the same bytes on every server: a map of an integer
 * id and a text, whose values are TARGET_RECORD_BYTES. Ids begin where all of
 * them are encoded in five bytes, so that all answers have one size. */

enum { TARGET_RECORD_BYTES = 200, TARGET_ID_FIRST = 0x10000 };

struct target {
    const char *name;
    /* A get of record `number`; `slot` tells it from others on the connection. */
    void (*put_get)(struct buffer *out, uint32_t slot, uint32_t number);
    /* Its answer, byte for byte. */
    void (*put_answer)(struct buffer *out, uint32_t slot, uint32_t number);
    /* Writes records, and what is answered to that. */
    void (*put_load)(struct buffer *out, uint32_t first, uint32_t count);
    void (*put_loaded)(struct buffer *out, uint32_t count);
};

/* NULL where there is none of that name. */
const struct target *target_named(const char *name);

/* Connects to a unix socket and waits for it to be there for up to ten seconds.
 * Ends the program where it is not. */
int target_connect(const char *path);
/* Sends and receives all of it, or ends the program. */
void target_send(int fd, const void *bytes, size_t size);
void target_receive(int fd, void *bytes, size_t size);

#endif

#ifndef RELATA_LAYERS_SCHEMA_FAULTS_H
#define RELATA_LAYERS_SCHEMA_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"

/* What is wrong with a file, collected so that all of it is told at once, in
 * the order of the places. Lives in an arena. A zeroed one with its arena set
 * is empty. */
struct fault {
    uint32_t line;   /* from 1 */
    uint32_t column; /* from 1, in code points */
    uint32_t order;
    const char *message;
};

struct faults {
    struct arena *arena;
    struct fault *items;
    size_t count; /* of what is kept, at most FAULTS_MAX */
    size_t capacity;
    size_t total;
};

/* Beyond these, faults are only counted. */
enum { FAULTS_MAX = 100 };

void faults_add(struct faults *faults, uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether more would be told: near misses are only looked for then. */
static inline bool faults_open(const struct faults *faults)
{
    return faults->count < FAULTS_MAX;
}

/* `NAME:LINE:COL: message` for each, sorted by place, the same one told once. */
void faults_print(struct faults *faults, const char *name, struct buffer *out);

#endif

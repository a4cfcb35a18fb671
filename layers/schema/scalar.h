#ifndef RELATA_LAYERS_SCHEMA_SCALAR_H
#define RELATA_LAYERS_SCHEMA_SCALAR_H

#include <stdbool.h>
#include <stdint.h>

#include "layers/schema/document.h"

/* What a YAML scalar means: YAML 1.2's core schema, so `yes` and `on` are text,
 * and whatever stands in quotes is text. */
enum scalar_kind {
    SCALAR_NIL,
    SCALAR_BOOLEAN,
    SCALAR_INTEGER,
    SCALAR_BEYOND, /* an integer beyond 64 bits signed */
    SCALAR_FLOAT,  /* maybe an infinity, or NaN */
    SCALAR_TEXT
};

struct scalar {
    enum scalar_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
    };
};

/* The node must be a scalar. */
struct scalar scalar_resolve(const struct node *node);

/* `5s`, `250ms`: an integer with us, ms, s, m, h or d. False where it is none or
 * beyond 64 bits. */
bool scalar_duration(const struct node *node, uint64_t *microseconds);

/* `64MiB`, `1024`: an integer with B, KiB, MiB or GiB, or bytes. */
bool scalar_size(const struct node *node, uint64_t *bytes);

#endif

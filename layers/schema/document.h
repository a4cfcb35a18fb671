#ifndef RELATA_LAYERS_SCHEMA_DOCUMENT_H
#define RELATA_LAYERS_SCHEMA_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/schema/faults.h"
#include "protocol/base/arena.h"

/* A YAML text as a tree of nodes with their places. Aliases point to the node
 * that they name, so the tree may share parts; it has no cycles, and no way
 * through it is longer than DOCUMENT_LEVELS_MAX. Keys of maps are scalars, each
 * given once. What scalars mean tells scalar.h. */
enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool plain;       /* a scalar without quotes, that may be more than text */
    bool open;        /* while it is read */
    uint16_t height;  /* levels of lists and maps in it, aliases followed */
    uint32_t line;    /* from 1 */
    uint32_t column;  /* from 1, in code points */
    size_t position;  /* code points from the start of the text */
    const char *text; /* of a scalar, terminated */
    uint32_t size;
    uint32_t count;      /* items of a list, pairs of a map */
    struct node **items; /* of a map: key and value in turn */
};

enum {
    DOCUMENT_BYTES_MAX = 4 * 1024 * 1024,
    DOCUMENT_LEVELS_MAX = 48,
    DOCUMENT_ANCHORS_MAX = 1024
};

/* The root, or NULL where the text is no single YAML document; faults then say
 * why. Nodes and their texts live in the arena. */
const struct node *document_read(const char *text, size_t size, struct arena *arena,
                                 struct faults *faults);

/* Where in its line the `position`th code point of a scalar's text stands, from
 * 1; the scalar's own column where that cannot be told (several lines, escapes). */
uint32_t document_column(const char *text, size_t size, const struct node *scalar, size_t position);

#endif

#ifndef RELATA_LAYERS_LOAD_LEVEL_H
#define RELATA_LAYERS_LOAD_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/query.h"
#include "layers/record.h"

/* What a call has loaded, level by level: the records of a level, each once,
 * and for each relationship that was asked for the related records of each of
 * them. The first level is the call's own records. All of it lives in the
 * call's arena and in the batches that its loads hold. */

/* The related records of one source, in order. */
struct loaded {
    const struct record *const *records;
    const uint32_t *positions; /* of the records in the next level; NULL where
                                   nothing is loaded further */
    size_t count;
    const struct error *error; /* not NULL where this source failed */
};

struct level_load {
    const struct load_item *item;
    struct loaded *results; /* one for each record of the level */
    struct level *next;     /* the related records, where the item loads further */
};

struct level {
    const struct query *query; /* what is shown and loaded of these records */
    const struct record *const *records;
    size_t count;
    bool made_up;             /* by a loader, not stored ones */
    struct level_load *loads; /* query->load_count of them */
};

#endif

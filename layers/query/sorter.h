#ifndef RELATA_LAYERS_QUERY_SORTER_H
#define RELATA_LAYERS_QUERY_SORTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/expr.h"
#include "layers/query/order.h"
#include "layers/query/pile.h"
#include "layers/record.h"
#include "protocol/base/arena.h"

/* Puts records in order. It takes them one by one, keeps all of them or the
 * first `most` under the order (in a heap), and sorts in slices, so that
 * millions do not hold up the loop. What already came in order is not sorted.
 * Each candidate carries 64 bits of its first sort value in their order, which
 * decides most comparisons without a look at the records. Its room is in an
 * arena and is used again. */

/* A candidate with values of paths, which are not in the record itself. */
struct sorter_row {
    const struct record *record;
    struct value paths[];
};

struct sorter_item {
    union {
        const struct record *record;
        struct sorter_row *row; /* where the order has paths */
    };
    uint64_t prefix;
};

struct sorter {
    const struct resource *resource;
    const struct order_item *keys; /* the primary key decides last */
    uint16_t key_count;
    uint16_t path_count;
    bool prefix_exact; /* the prefix says all of the first value */
    struct arena *arena;
    struct pile items; /* of struct sorter_item */
    struct pile other; /* what items are merged into */
    size_t most;       /* 0 keeps all */
    bool in_order;     /* as they came */
    bool heaped;       /* the last in order is the first item */
    /* Of the sort that is under way. */
    enum { SORTER_TAKING, SORTER_RUNS, SORTER_MERGES, SORTER_SORTED } phase;
    size_t width, left;  /* of the runs; where the merge begins */
    size_t one, two, to; /* in its halves, and in `other` */
    uint64_t looks;      /* comparisons of values, not paid for yet */
};

enum { SORTER_MOST_MAX = 16384 }; /* a heap of more is slower than sorting all */

void sorter_init(struct sorter *sorter, const struct resource *resource,
                 const struct order_item *keys, uint16_t key_count, struct arena *arena);

/* Forgets what it has. `most` (1 to SORTER_MOST_MAX) keeps the first so many
 * only, 0 all. */
void sorter_start(struct sorter *sorter, size_t most);

/* Takes a record; `paths` are the values of the keys that are paths, in their
 * order, NULL where there are none. Values are kept as they are: texts must
 * live on. 0, SORTER_REJECTED where `most` others come before it, or
 * -CODE_OVERLOADED. */
enum { SORTER_REJECTED = 1 };
int sorter_add(struct sorter *sorter, const struct record *record, const struct value *paths);

/* Whether a record that was rejected is behind the last one kept already by
 * the first `key_count` keys, none of them a path. */
bool sorter_beyond(const struct sorter *sorter, const struct record *record, unsigned key_count);

/* Sorts for a while:X
 * cost one of *budget. RUN_DONE or RUN_MORE;
 * RUN_FAILED where the arena lacks memory. */
enum run_status sorter_sort(struct sorter *sorter, uint64_t *budget);

static inline struct sorter_item *sorter_item(const struct sorter *sorter, size_t at)
{
    return pile_at(&sorter->items, at);
}

/* The record in one place, once sorted. */
static inline const struct record *sorter_at(const struct sorter *sorter, size_t at)
{
    const struct sorter_item *item = sorter_item(sorter, at);
    return sorter->path_count > 0 ? item->row->record : item->record;
}

#endif

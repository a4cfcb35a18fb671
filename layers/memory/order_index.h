#ifndef RELATA_LAYERS_MEMORY_ORDER_INDEX_H
#define RELATA_LAYERS_MEMORY_ORDER_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/memory/order_key.h"
#include "layers/memory/slab.h"

/* An ordered index: a B+tree of references with prefixes, in nodes of 512
 * bytes, leaves linked both ways. A separator is the first entry below its
 * child, and follows when that entry goes, so no node names a freed record.
 *
 * Like the hash index it may hold dead records until they are taken out. */

enum { NODE_BYTES = 512, LEAF_ENTRIES = 41, INNER_CHILDREN = 31, HEIGHT_MAX = 16 };

struct order_leaf {
    uint16_t count;
    uint16_t unused;
    uint32_t next, prev;
    uint32_t unused_too;
    uint64_t prefixes[LEAF_ENTRIES];
    uint32_t references[LEAF_ENTRIES];
};

/* Child i holds what is at or after separator i; separator 0 is not looked at. */
struct order_inner {
    uint16_t count;
    uint16_t unused[7];
    uint64_t prefixes[INNER_CHILDREN];
    uint32_t references[INNER_CHILDREN];
    uint32_t children[INNER_CHILDREN];
};

struct order_index {
    struct slab *nodes;
    const struct index *index;
    struct order_key key;
    uint32_t root;  /* 0 while empty */
    uint8_t height; /* of inner nodes above the leaves */
    uint64_t count;
    uint64_t version; /* rises with every change */
    uint64_t dead;    /* dead records still in; kept by the table */
    uint64_t bytes;
};

void order_index_init(struct order_index *index, struct slab *nodes,
                      const struct resource *resource, const struct index *definition);
void order_index_release(struct order_index *index);

/* 0, or -CODE_OVERLOADED with nothing changed. */
int order_index_insert(struct order_index *index, uint32_t reference);
/* It must be in. Never fails. */
void order_index_remove(struct order_index *index, uint32_t reference);
/* Puts `replacement`, whose fields are equal, in the place of `reference`.
 * No other entry may have equal fields. */
void order_index_replace(struct order_index *index, uint32_t reference, uint32_t replacement);

/* A place between entries: before entry `at` of the leaf (at may be its count).
 * leaf 0: the index is empty. */
struct order_place {
    uint32_t leaf;
    uint16_t at;
};

/* The place before the first entry that is not before the target. */
struct order_place order_index_seek(const struct order_index *index,
                                    const struct order_target *target);
/* The same within one leaf. */
uint16_t order_leaf_seek(const struct order_index *index, const struct order_leaf *leaf,
                         const struct order_target *target);

static inline struct order_leaf *order_leaf_at(const struct order_index *index, uint32_t reference)
{
    return pages_at(index->nodes->pages, reference);
}

/* Aborts where an invariant does not hold; for tests. */
void order_index_check(const struct order_index *index);

#endif

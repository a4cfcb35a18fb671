#ifndef RELATA_LAYERS_MEMORY_CHANGE_H
#define RELATA_LAYERS_MEMORY_CHANGE_H

#include <stdint.h>

#include "layers/memory/table.h"

/* The transactions of a table: what store_ops says of begin, put, remove,
 * commit and rollback. */

/* One change of an open transaction. */
struct change {
    uint32_t old;      /* 0 for a create */
    uint32_t new;      /* 0 for a remove */
    uint64_t replaced; /* ordered indexes, as bits, where new took old's place */
    uint64_t death;    /* of old, by the clock */
};

void table_begin(struct store *store);
int table_put(struct store *store, const struct record *old, const struct record *image,
              const struct record **stored, struct error *error);
int table_remove(struct store *store, const struct record *old, struct error *error);
void table_commit(struct store *store);
void table_rollback(struct store *store);

/* Takes a dead record out of the ordered indexes that it is still in. */
void table_unlink_orders(struct table *table, uint32_t reference, uint64_t replaced);

#endif

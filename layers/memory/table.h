#ifndef RELATA_LAYERS_MEMORY_TABLE_H
#define RELATA_LAYERS_MEMORY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/memory/garbage.h"
#include "layers/memory/hash_index.h"
#include "layers/memory/marks.h"
#include "layers/memory/memory.h"
#include "layers/memory/order_index.h"
#include "layers/memory/slab.h"
#include "protocol/base/check.h"
#include "protocol/base/list.h"

/* The records of one resource with their indexes.
 *
 * A change never fails half-way and can be taken back without allocation: a
 * record that is replaced or removed is only marked dead, and stays where it
 * is in the indexes until its transaction ends; finds pass over the dead. At
 * commit it leaves the hash indexes; it leaves the ordered ones too, unless a
 * cursor is open, which would meet it there. Its slot is freed by
 * table_reclaim, when no cursor and no pin from before its death is left.
 *
 *   live ──put/remove──► dead ──commit──► garbage ──reclaim──► free slot
 *     ▲                   │
 *     └─────rollback──────┘   (and the new one goes to the garbage)
 */

struct memory {
    struct world *world;
    struct pages pages;
    struct slab nodes; /* of all indexes */
    struct list busy;  /* tables with garbage, or growing */
    uint64_t clock;    /* rises with every change; cursors and marks use it */
    uint32_t tables;
};

struct change;

struct table {
    struct store store;
    struct memory *memory;
    struct list busy;    /* in memory->busy */
    struct list cursors; /* open ones, oldest first */
    struct slab records;
    struct hash_index primary;
    struct hash_index *identities;
    struct order_index *orders;
    struct marks marks;
    struct garbage garbage;
    struct change *changes; /* of the open transaction (change.h) */
    size_t change_count;
    size_t change_capacity;
    bool changing; /* between begin and commit or rollback */
    bool publishing;
    struct buffer key; /* scratch */
};

extern const struct store_ops table_ops;

int table_init(struct table *table, struct memory *memory, const struct resource *resource);
void table_release(struct table *table);

/* Frees up to `*budget` records (and counts it down) that nobody holds, and
 * splits some buckets. True where more could be done at once. */
bool table_reclaim(struct table *table, unsigned *budget);

/* Brings the store's counter of bytes up to date. */
void table_count_bytes(struct table *table);

static inline struct table *table_of(struct store *store)
{
    return CONTAINER_OF(store, struct table, store);
}

static inline struct record *table_record(const struct table *table, uint32_t reference)
{
    return pages_at(&table->memory->pages, reference);
}

static inline uint32_t table_reference(const struct table *table, const struct record *record)
{
    return pages_reference(&table->memory->pages, record);
}

/* Aborts where an invariant does not hold; for tests, as it visits everything. */
void table_check(struct table *table);

/* A memory of another size than the public one; for tests. */
struct memory *memory_create_sized(struct world *world, uint64_t reserve_bytes);

#endif

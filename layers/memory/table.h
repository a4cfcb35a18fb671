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

/* One change of an open transaction. */
struct change {
    uint32_t old;      /* 0 for a create */
    uint32_t new;      /* 0 for a remove */
    uint64_t replaced; /* ordered indexes, as bits, where new took old's place */
    uint64_t death;    /* of old, by the clock */
};

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
    struct change *changes;
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

/* The moment of the oldest open cursor, or UINT64_MAX. */
uint64_t table_oldest_cursor(const struct table *table);

/* Aborts where an invariant does not hold; for tests, as it visits everything. */
void table_check(struct table *table);

/* The transaction (change.c). */
void table_begin(struct store *store);
int table_put(struct store *store, const struct record *old, const struct record *image,
              const struct record **stored, struct error *error);
int table_remove(struct store *store, const struct record *old, struct error *error);
void table_commit(struct store *store);
void table_rollback(struct store *store);
void table_unlink_orders(struct table *table, uint32_t reference, uint64_t replaced);

/* Cursors (cursor.c). */
int table_scan(struct store *store, struct store_cursor *cursor);
int table_range(struct store *store, const struct range *range, struct store_cursor *cursor);
const struct record *table_next(struct store_cursor *cursor);
void table_close(struct store_cursor *cursor);
uint64_t table_estimate(struct store *store, const struct range *range, uint64_t most);

/* A memory of another size than the public one; for tests. */
struct memory *memory_create_sized(struct world *world, uint64_t reserve_bytes);

#endif

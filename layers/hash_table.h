#ifndef RELATA_LAYERS_HASH_TABLE_H
#define RELATA_LAYERS_HASH_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* A hash table of nodes that are embedded in what they find. Putting in cannot
 * fail: where there is no memory to grow, chains get longer. The nodes are the
 * owner's, and so is comparing keys; the table knows only hashes. A table must
 * not be moved. */
struct hash_table_node {
    struct hash_table_node *next;
    uint64_t hash;
};

enum { HASH_TABLE_FEW = 8, HASH_TABLE_KEEP = 8192 };

struct hash_table {
    struct hash_table_node **buckets;
    size_t mask;
    size_t count;
    struct hash_table_node *few[HASH_TABLE_FEW]; /* the buckets of a small table */
};

void hash_table_init(struct hash_table *table);
void hash_table_release(struct hash_table *table);

void hash_table_insert(struct hash_table *table, struct hash_table_node *node, uint64_t hash);
/* The node must be in the table. */
void hash_table_remove(struct hash_table *table, struct hash_table_node *node);

/* Forgets all nodes at once. Keeps up to HASH_TABLE_KEEP buckets for use again. */
void hash_table_clear(struct hash_table *table);

/* The first of this hash from `node` on, in its chain; NULL where none is. */
static inline struct hash_table_node *hash_table_same(struct hash_table_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

/* Where the search for a hash begins, whatever is there: to fetch it ahead. */
static inline struct hash_table_node *hash_table_first(const struct hash_table *table,
                                                       uint64_t hash)
{
    return table->buckets[hash & table->mask];
}

/* The nodes of a hash: for (n = hash_table_find(t, h); n != NULL; n = hash_table_next(n)) */
static inline struct hash_table_node *hash_table_find(const struct hash_table *table, uint64_t hash)
{
    return hash_table_same(hash_table_first(table, hash), hash);
}

static inline struct hash_table_node *hash_table_next(const struct hash_table_node *node)
{
    return hash_table_same(node->next, node->hash);
}

#endif

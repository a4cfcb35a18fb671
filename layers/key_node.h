#ifndef RELATA_LAYERS_KEY_NODE_H
#define RELATA_LAYERS_KEY_NODE_H

#include <string.h>

#include "layers/hash_table.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"

/* A node of a hash table that is found by bytes, such as a key's or a name's. The bytes are
 * the owner's, and stay as they are while the node is in a table. */
struct key_node {
    struct hash_table_node node;
    const uint8_t *bytes;
    size_t size;
};

static inline void key_node_insert(struct hash_table *table, struct key_node *node)
{
    hash_table_insert(table, &node->node, hash_bytes(node->bytes, node->size));
}

/* NULL where there is none. */
static inline struct key_node *key_node_find(const struct hash_table *table, const uint8_t *bytes,
                                             size_t size)
{
    struct hash_table_node *node =
        table->count > 0 ? hash_table_find(table, hash_bytes(bytes, size)) : NULL;
    for (; node != NULL; node = hash_table_next(node)) {
        struct key_node *found = CONTAINER_OF(node, struct key_node, node);
        if (found->size == size && memcmp(found->bytes, bytes, size) == 0) {
            return found;
        }
    }
    return NULL;
}

#endif

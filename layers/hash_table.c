#include "layers/hash_table.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

void hash_table_init(struct hash_table *table)
{
    memset(table, 0, sizeof(*table));
    table->buckets = table->few;
    table->mask = HASH_TABLE_FEW - 1;
}

static void free_buckets(struct hash_table *table)
{
    if (table->buckets != table->few) {
        heap_free(table->buckets);
    }
}

void hash_table_release(struct hash_table *table)
{
    free_buckets(table);
    hash_table_init(table);
}

static void grow(struct hash_table *table)
{
    size_t size = (table->mask + 1) * 4;
    struct hash_table_node **buckets = heap_zero(size, sizeof(struct hash_table_node *));
    if (buckets == NULL) {
        return;
    }
    for (size_t i = 0; i <= table->mask; i++) {
        struct hash_table_node *node = table->buckets[i];
        while (node != NULL) {
            struct hash_table_node *next = node->next;
            struct hash_table_node **bucket = &buckets[node->hash & (size - 1)];
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    free_buckets(table);
    table->buckets = buckets;
    table->mask = size - 1;
}

void hash_table_insert(struct hash_table *table, struct hash_table_node *node, uint64_t hash)
{
    if (table->count > table->mask) {
        grow(table);
    }
    struct hash_table_node **bucket = &table->buckets[hash & table->mask];
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    table->count++;
}

void hash_table_remove(struct hash_table *table, struct hash_table_node *node)
{
    struct hash_table_node **at = &table->buckets[node->hash & table->mask];
    while (*at != node) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = node->next;
    node->next = NULL;
    table->count--;
}

void hash_table_clear(struct hash_table *table)
{
    if (table->mask >= HASH_TABLE_KEEP) {
        hash_table_release(table);
        return;
    }
    memset(table->buckets, 0, (table->mask + 1) * sizeof(struct hash_table_node *));
    table->count = 0;
}

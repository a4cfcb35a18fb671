#include "layers/memory/table.h"

#include <string.h>

#include "layers/memory/change.h"
#include "layers/memory/cursor.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

enum { SPLITS_PER_TURN = 64, FIND_GROUP = 16 };

static const struct record *table_find(struct store *store, const uint8_t *key, size_t size)
{
    struct table *table = table_of(store);
    uint32_t reference = hash_index_find(&table->primary, key, size);
    return reference != 0 ? table_record(table, reference) : NULL;
}

static const struct record *table_find_identity(struct store *store,
                                                const struct identity *identity, const uint8_t *key,
                                                size_t size)
{
    struct table *table = table_of(store);
    const struct resource *resource = store->resource;
    size_t number = ((uintptr_t)identity - (uintptr_t)resource->identities) / sizeof(*identity);
    if (number >= resource->identity_count) { /* an earlier schema's: the same, by name */
        identity = resource_identity(resource, identity->name, strlen(identity->name));
        CHECK(identity != NULL);
        number = (size_t)(identity - resource->identities);
    }
    uint32_t reference = hash_index_find(&table->identities[number], key, size);
    return reference != 0 ? table_record(table, reference) : NULL;
}

/* Keys go in groups through three steps, so that the group waits once for its
 * buckets and once for its records. */
static void table_find_many(struct store *store, const struct store_key *keys, size_t count,
                            const struct record **out)
{
    const struct hash_index *index = &table_of(store)->primary;
    for (size_t start = 0; start < count; start += FIND_GROUP) {
        uint64_t hashes[FIND_GROUP];
        size_t group = count - start < FIND_GROUP ? count - start : FIND_GROUP;
        for (size_t i = 0; i < group; i++) {
            hashes[i] = hash_bytes(keys[start + i].bytes, keys[start + i].size);
            hash_index_prefetch_bucket(index, hashes[i]);
        }
        for (size_t i = 0; i < group; i++) {
            hash_index_prefetch_record(index, hashes[i]);
        }
        for (size_t i = 0; i < group; i++) {
            uint32_t reference = hash_index_find_hashed(index, hashes[i], keys[start + i].bytes,
                                                        keys[start + i].size);
            out[start + i] = reference != 0 ? table_record(table_of(store), reference) : NULL;
        }
    }
}

const struct store_ops table_ops = {
    .find = table_find,
    .find_identity = table_find_identity,
    .scan = table_scan,
    .range = table_range,
    .next = table_next,
    .close = table_close,
    .estimate = table_estimate,
    .begin = table_begin,
    .put = table_put,
    .remove = table_remove,
    .commit = table_commit,
    .rollback = table_rollback,
    .find_many = table_find_many,
};

void memory_table_adopt(struct store *store, const struct resource *resource)
{
    struct table *table = table_of(store);
    CHECK(resource->field_count == store->resource->field_count &&
          resource->index_count == store->resource->index_count &&
          resource->identity_count == store->resource->identity_count);
    store->resource = resource;
    table->primary.resource = resource;
    table->primary.fields = &resource->primary_key;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        table->identities[i].resource = resource;
        table->identities[i].fields = &resource->identities[i].fields;
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        table->orders[i].key.resource = resource;
        table->orders[i].index = &resource->indexes[i];
    }
}

int table_init(struct table *table, struct memory *memory, const struct resource *resource)
{
    memset(table, 0, sizeof(*table));
    table->identities = heap_zero(resource->identity_count, sizeof(*table->identities));
    if (table->identities == NULL) {
        return -CODE_OVERLOADED;
    }
    table->orders = heap_zero(resource->index_count, sizeof(*table->orders));
    if (table->orders == NULL) {
        heap_free(table->identities);
        return -CODE_OVERLOADED;
    }
    table->store.ops = &table_ops;
    table->store.resource = resource;
    table->memory = memory;
    list_init(&table->busy);
    list_init(&table->cursors);
    slab_init(&table->records, &memory->pages);
    hash_index_init(&table->primary, &memory->nodes, resource, &resource->primary_key);
    for (unsigned i = 0; i < resource->identity_count; i++) {
        hash_index_init(&table->identities[i], &memory->nodes, resource,
                        &resource->identities[i].fields);
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        order_index_init(&table->orders[i], &memory->nodes, resource, &resource->indexes[i]);
    }
    marks_init(&table->marks);
    garbage_init(&table->garbage);
    return 0;
}

void table_release(struct table *table)
{
    const struct resource *resource = table->store.resource;
    CHECK(list_empty(&table->cursors) && !table->changing && !table->publishing);
    list_remove(&table->busy);
    hash_index_release(&table->primary);
    for (unsigned i = 0; i < resource->identity_count; i++) {
        hash_index_release(&table->identities[i]);
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        order_index_release(&table->orders[i]);
    }
    slab_release(&table->records);
    marks_release(&table->marks);
    garbage_release(&table->garbage);
    buffer_release(&table->key);
    heap_free(table->changes);
    heap_free(table->orders);
    heap_free(table->identities);
}

/* ---- Freeing ---- */

static bool garbage_free(struct table *table, const struct garbage_entry *entry)
{
    if (table_oldest_cursor(table) < entry->death ||
        world_oldest_pin(table->memory->world) < entry->sequence) {
        return false;
    }
    if (entry->linked) {
        table_unlink_orders(table, entry->reference, entry->replaced);
    }
    if ((table_record(table, entry->reference)->flags & RECORD_MARKED) != 0) {
        marks_forget(&table->marks, entry->reference);
    }
    slab_free(&table->records, entry->reference);
    return true;
}

static bool table_grow(struct table *table)
{
    bool more = hash_index_grow(&table->primary, SPLITS_PER_TURN);
    for (unsigned i = 0; i < table->store.resource->identity_count; i++) {
        more = hash_index_grow(&table->identities[i], SPLITS_PER_TURN) || more;
    }
    return more;
}

void table_count_bytes(struct table *table)
{
    const struct resource *resource = table->store.resource;
    uint64_t bytes = table->records.bytes + table->primary.bytes;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        bytes += table->identities[i].bytes;
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        bytes += table->orders[i].bytes;
    }
    table->store.counters.bytes = bytes;
}

bool table_reclaim(struct table *table, unsigned *budget)
{
    CHECK(!table->changing);
    bool more = table_grow(table);
    struct garbage_entry *entry;
    while ((entry = garbage_oldest(&table->garbage)) != NULL && garbage_free(table, entry)) {
        garbage_pop(&table->garbage);
        if (--*budget == 0) {
            more = table->garbage.count > 0 || more;
            break;
        }
    }
    table_count_bytes(table);
    if (!more && table->garbage.count == 0) {
        list_remove(&table->busy);
    }
    return more;
}

/* ---- Checking ---- */

static void check_hashed(struct table *table, const struct hash_index *index,
                         const struct record *record)
{
    buffer_truncate(&table->key, 0);
    if (key_of_record(table->store.resource, index->fields, record, &table->key)) {
        uint32_t found = hash_index_find(index, table->key.bytes, table->key.size);
        CHECK(found == table_reference(table, record));
    }
}

void table_check(struct table *table)
{
    const struct resource *resource = table->store.resource;
    struct slab_walk walk = {0};
    uint64_t live = 0;
    const struct record *record;
    while ((record = slab_next(&table->records, &walk)) != NULL) {
        if ((record->flags & RECORD_LIVE) == 0) {
            continue;
        }
        live++;
        check_hashed(table, &table->primary, record);
        for (unsigned i = 0; i < resource->identity_count; i++) {
            check_hashed(table, &table->identities[i], record);
        }
    }
    CHECK(live == table->store.counters.records);
    CHECK(table->changing || table->primary.count == live);
    for (unsigned i = 0; i < resource->index_count; i++) {
        CHECK(table->orders[i].count == live + table->orders[i].dead);
        order_index_check(&table->orders[i]);
    }
}

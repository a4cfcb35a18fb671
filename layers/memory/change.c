/* Transactions of a table.
 *
 * The happy path of a put is: the keys are free, a slot is taken and filled,
 * room for everything that must not fail later is reserved, the new record goes
 * into each index, the old one is marked dead. Possible failures are a taken
 * key (conflict, nothing done) and lack of room at any step: then what was done
 * is taken back in reverse, and the put is as if it had not been. After the
 * last step nothing can fail any more: commit and rollback do not allocate. */
#include "layers/memory/change.h"

#include <string.h>

#include "layers/memory/cursor.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

enum { REPLACED_BITS = 64, CHANGES_KEPT = 1024 };

void table_begin(struct store *store)
{
    struct table *table = table_of(store);
    CHECK(!table->changing && !table->publishing);
    table->changing = true;
    table->change_count = 0;
}

/* ---- Conflicts ---- */

/* The key of the record in table->key: 1, 0 where a field is nil, or an error. */
static int key_load(struct table *table, const struct field_list *fields,
                    const struct record *record)
{
    buffer_truncate(&table->key, 0);
    bool whole = key_of_record(table->store.resource, fields, record, &table->key);
    if (table->key.failed) {
        return -CODE_OVERLOADED;
    }
    return whole ? 1 : 0;
}

static int no_room(const struct table *table, struct error *error)
{
    error_set(error, CODE_OVERLOADED, "no memory is left for records of %s",
              table->store.resource->name);
    error_resource(error, table->store.resource->name);
    return -CODE_OVERLOADED;
}

/* The key is in table->key. */
static int taken(const struct table *table, const struct identity *identity, struct error *error)
{
    return store_taken(table->store.resource, identity, table->key.bytes, table->key.size, error);
}

static int check_keys(struct table *table, uint32_t old, const struct record *image,
                      struct error *error)
{
    const struct resource *resource = table->store.resource;
    int rc = key_load(table, &resource->primary_key, image);
    if (rc < 0) {
        return no_room(table, error);
    }
    CHECK(rc == 1);
    uint32_t found = hash_index_find(&table->primary, table->key.bytes, table->key.size);
    if (old == 0 && found != 0) {
        return taken(table, NULL, error);
    }
    CHECK(found == old); /* a replacement has the same primary key */
    for (unsigned i = 0; i < resource->identity_count; i++) {
        rc = key_load(table, &resource->identities[i].fields, image);
        if (rc < 0) {
            return no_room(table, error);
        }
        if (rc == 0) {
            continue;
        }
        found = hash_index_find(&table->identities[i], table->key.bytes, table->key.size);
        if (found != 0 && found != old) {
            return taken(table, &resource->identities[i], error);
        }
    }
    return 0;
}

/* ---- Linking records into indexes, and out again ---- */

static bool same_fields(const struct table *table, const struct field_list *fields,
                        const struct change *change)
{
    return change->old != 0 && change->new != 0 &&
           order_same(table->store.resource, fields, table_record(table, change->old),
                      table_record(table, change->new));
}

static int hash_link(struct table *table, struct hash_index *index, const struct change *change)
{
    int rc = key_load(table, index->fields, table_record(table, change->new));
    if (rc <= 0) {
        return rc;
    }
    if (same_fields(table, index->fields, change)) {
        hash_index_replace(index, change->old, change->new);
        return 0;
    }
    return hash_index_insert(index, change->new, table->key.bytes, table->key.size);
}

static bool has_key(const struct table *table, const struct field_list *fields, uint32_t reference)
{
    const struct resource *resource = table->store.resource;
    for (unsigned i = 0; i < fields->count; i++) {
        if (record_is_nil(table_record(table, reference), resource->field_count,
                          fields->fields[i])) {
            return false;
        }
    }
    return true;
}

static void hash_unlink(struct table *table, struct hash_index *index, const struct change *change)
{
    if (!has_key(table, index->fields, change->new)) {
        return;
    }
    if (same_fields(table, index->fields, change)) {
        hash_index_replace(index, change->new, change->old);
    } else {
        hash_index_remove(index, change->new);
    }
}

/* At commit: the old record leaves, where the new one did not take its place. */
static void hash_settle(struct table *table, struct hash_index *index, const struct change *change)
{
    if (has_key(table, index->fields, change->old) && !same_fields(table, index->fields, change)) {
        hash_index_remove(index, change->old);
    }
}

static bool is_replaced(uint64_t replaced, unsigned number)
{
    return number < REPLACED_BITS && (replaced >> number & 1) != 0;
}

/* The new record takes the old one's place where its fields are the same and
 * nobody could meet the old one: then the tree keeps its shape. */
static int order_link(struct table *table, unsigned number, struct change *change)
{
    struct order_index *index = &table->orders[number];
    if (number < REPLACED_BITS && index->dead == 0 && list_empty(&table->cursors) &&
        same_fields(table, &index->index->fields, change)) {
        order_index_replace(index, change->old, change->new);
        change->replaced |= 1ULL << number;
        return 0;
    }
    return order_index_insert(index, change->new);
}

static void order_unlink(struct table *table, unsigned number, const struct change *change)
{
    struct order_index *index = &table->orders[number];
    if (is_replaced(change->replaced, number)) {
        order_index_replace(index, change->new, change->old);
    } else {
        order_index_remove(index, change->new);
    }
}

void table_unlink_orders(struct table *table, uint32_t reference, uint64_t replaced)
{
    for (unsigned i = 0; i < table->store.resource->index_count; i++) {
        if (!is_replaced(replaced, i)) {
            order_index_remove(&table->orders[i], reference);
            table->orders[i].dead--;
        }
    }
}

/* Index number 0 is the primary key, then come identities, then ordered ones. */
static unsigned link_count(const struct table *table)
{
    return 1U + table->store.resource->identity_count + table->store.resource->index_count;
}

static struct hash_index *hash_number(struct table *table, unsigned number)
{
    if (number == 0) {
        return &table->primary;
    }
    number--;
    return number < table->store.resource->identity_count ? &table->identities[number] : NULL;
}

/* The new record out of the first `count` indexes. */
static void unlink_first(struct table *table, unsigned count, const struct change *change)
{
    while (count-- > 0) {
        struct hash_index *hash = hash_number(table, count);
        if (hash != NULL) {
            hash_unlink(table, hash, change);
        } else {
            order_unlink(table, count - 1 - table->store.resource->identity_count, change);
        }
    }
}

static int link_all(struct table *table, struct change *change)
{
    for (unsigned i = 0; i < link_count(table); i++) {
        struct hash_index *hash = hash_number(table, i);
        int rc = hash != NULL
                     ? hash_link(table, hash, change)
                     : order_link(table, i - 1 - table->store.resource->identity_count, change);
        if (rc != 0) {
            unlink_first(table, i, change);
            return rc;
        }
    }
    return 0;
}

/* ---- Death and life ---- */

static void count_dead(struct table *table, uint64_t replaced, bool more)
{
    for (unsigned i = 0; i < table->store.resource->index_count; i++) {
        if (!is_replaced(replaced, i)) {
            table->orders[i].dead += more ? 1 : UINT64_MAX;
        }
    }
}

/* Marks what a change did, for cursors. Room was reserved. */
static void change_mark(struct table *table, struct change *change)
{
    bool watched = !list_empty(&table->cursors);
    uint64_t stamp = ++table->memory->clock;
    unsigned mark = watched ? RECORD_MARKED : 0;
    if (change->old != 0) {
        struct record *old = table_record(table, change->old);
        change->death = stamp;
        old->flags = (uint8_t)((old->flags & RECORD_MARKED) | RECORD_DEAD | mark);
        count_dead(table, change->replaced, true);
        if (watched) {
            marks_died(&table->marks, change->old, stamp);
        }
    }
    if (change->new != 0) {
        table_record(table, change->new)->flags = (uint8_t)(RECORD_LIVE | mark);
        if (watched) {
            marks_born(&table->marks, change->new, stamp);
        }
    }
}

/* Room for one change more, for its marks, and for all garbage to come. */
static bool reserve(struct table *table)
{
    if (table->change_count == table->change_capacity) {
        size_t capacity = table->change_capacity > 0 ? table->change_capacity * 2 : 16;
        struct change *changes = heap_resize(table->changes, capacity * sizeof(*changes));
        if (changes == NULL) {
            return false;
        }
        table->changes = changes;
        table->change_capacity = capacity;
    }
    if (!list_empty(&table->cursors) &&
        !marks_reserve(&table->marks, 2, table_oldest_cursor(table))) {
        return false;
    }
    return garbage_reserve(&table->garbage, table->change_count + 1);
}

/* ---- The operations ---- */

int table_put(struct store *store, const struct record *old, const struct record *image,
              const struct record **stored, struct error *error)
{
    struct table *table = table_of(store);
    CHECK(table->changing);
    struct change change = {.old = old != NULL ? table_reference(table, old) : 0};
    int rc = check_keys(table, change.old, image, error);
    if (rc != 0) {
        return rc;
    }
    size_t size = record_bytes(image, store->resource->field_count);
    if (!reserve(table)) {
        return no_room(table, error);
    }
    change.new = slab_alloc(&table->records, size);
    if (change.new == 0) {
        return no_room(table, error);
    }
    struct record *record = table_record(table, change.new);
    memcpy(record, image, size);
    record->flags = RECORD_LIVE;
    if (link_all(table, &change) != 0) {
        slab_free(&table->records, change.new);
        return no_room(table, error);
    }
    change_mark(table, &change);
    table->changes[table->change_count++] = change;
    store->counters.records += change.old == 0 ? 1 : 0;
    *stored = record;
    return 0;
}

int table_remove(struct store *store, const struct record *old, struct error *error)
{
    struct table *table = table_of(store);
    CHECK(table->changing && (old->flags & RECORD_LIVE) != 0);
    if (!reserve(table)) {
        return no_room(table, error);
    }
    struct change change = {.old = table_reference(table, old)};
    change_mark(table, &change);
    table->changes[table->change_count++] = change;
    store->counters.records--;
    return 0;
}

static void change_settle(struct table *table, const struct change *change, bool unlink)
{
    if (change->old == 0) {
        return;
    }
    for (unsigned i = 0; hash_number(table, i) != NULL; i++) {
        hash_settle(table, hash_number(table, i), change);
    }
    if (unlink) {
        table_unlink_orders(table, change->old, change->replaced);
    }
}

static void discard(struct table *table, const struct garbage_entry *entry)
{
    garbage_push(&table->garbage, entry);
    list_remove(&table->busy);
    list_append(&table->memory->busy, &table->busy);
}

static void transaction_end(struct table *table)
{
    table->change_count = 0;
    if (table->change_capacity > CHANGES_KEPT) {
        heap_free(table->changes);
        table->changes = NULL;
        table->change_capacity = 0;
    }
    if (table->primary.growing && list_empty(&table->busy)) {
        list_append(&table->memory->busy, &table->busy);
    }
    table_count_bytes(table);
}

void table_commit(struct store *store)
{
    struct table *table = table_of(store);
    struct world *world = table->memory->world;
    CHECK(table->changing);
    bool watched = !list_empty(&table->cursors);
    for (size_t i = 0; i < table->change_count; i++) {
        change_settle(table, &table->changes[i], !watched);
    }
    table->changing = false;
    table->publishing = true;
    for (size_t i = 0; i < table->change_count; i++) {
        const struct change *change = &table->changes[i];
        struct write_event event = {
            .sequence = world_advance(world),
            .cause = WRITE_CALL,
            .resource = store->resource,
            .old = change->old != 0 ? table_record(table, change->old) : NULL,
            .new = change->new != 0 ? table_record(table, change->new) : NULL,
        };
        if (change->old != 0) {
            struct garbage_entry entry = {event.sequence, change->death, change->replaced,
                                          change->old, watched};
            discard(table, &entry);
        }
        world_publish(world, &event);
    }
    table->publishing = false;
    transaction_end(table);
}

void table_rollback(struct store *store)
{
    struct table *table = table_of(store);
    CHECK(table->changing);
    uint64_t stamp = ++table->memory->clock;
    for (size_t i = table->change_count; i-- > 0;) {
        const struct change *change = &table->changes[i];
        if (change->new != 0) {
            unlink_first(table, link_count(table), change);
            /* Dead and not marked: no cursor gives it, whenever opened. */
            table_record(table, change->new)->flags = RECORD_DEAD;
            marks_forget(&table->marks, change->new);
            /* Whoever saw it in this turn may go on reading it. */
            struct garbage_entry entry = {table->memory->world->sequence + 1, stamp, 0, change->new,
                                          false};
            discard(table, &entry);
            store->counters.records -= change->old == 0 ? 1 : 0;
        } else {
            store->counters.records++;
        }
        if (change->old != 0) {
            struct record *old = table_record(table, change->old);
            old->flags = (uint8_t)((old->flags & RECORD_MARKED) | RECORD_LIVE);
            count_dead(table, change->replaced, false);
            marks_revived(&table->marks, change->old);
        }
    }
    table->changing = false;
    transaction_end(table);
}

#include <stddef.h>
#include <string.h>

#include "layers/redis/key_text.h"
#include "layers/redis/resident_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* Keys of a resident resource that are read, and what comes of it: a record in the
 * table, or a value that does not fit. The happy path is read_key -> on_read -> apply.
 * Possible failures are no memory, and what the home answers: what is here is then not
 * the whole. */

/* ---- The table ---- */

static const struct record *find(const struct redis_store *store, const uint8_t *key, size_t size)
{
    return store->table->ops->find(store->table, key, size);
}

static bool same_bytes(const struct redis_store *store, const struct record *a,
                       const struct record *b)
{
    unsigned count = store->resource->field_count;
    return a->size == b->size &&
           memcmp(record_values(a, count), record_values(b, count), a->size) == 0;
}

/* Puts or removes one record; its event is told by the table. */
static int change(struct redis_store *store, const struct record *old, const struct record *record)
{
    struct store *table = store->table;
    const struct record *stored;
    struct error error = ERROR_INIT;
    table->ops->begin(table);
    int status = record != NULL ? table->ops->put(table, old, record, &stored, &error)
                                : table->ops->remove(table, old, &error);
    if (status == 0) {
        table->ops->commit(table);
    } else {
        table->ops->rollback(table);
    }
    return status;
}

static void read_left_out(void *context, const uint8_t *key, size_t size)
{
    resident_look_again(context, key, size);
}

/* The record of this key is another one, or gone, or left out: those that were left out
 * because of it are looked at again. */
static void reconsider(struct redis_store *store, const uint8_t *key, size_t size)
{
    misfits_each_of_rival(&store->resident->misfits, key, size, read_left_out, store);
}

/* A record that conflicts with others by its identities. */
struct conflict {
    struct redis_store *store;
    const uint8_t *key;
    size_t size;
    const struct record *record;
    unsigned times; /* that it was met */
    bool loses;
};

/* Calls `with` for each record that has an identity's key which this one has now. */
static void each_rival(struct conflict *conflict,
                       void (*with)(struct conflict *, const struct record *rival,
                                    const struct identity *identity))
{
    struct redis_store *store = conflict->store;
    const struct resource *resource = store->resource;
    struct buffer bytes = BUFFER_INIT;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        buffer_truncate(&bytes, 0);
        if (!key_of_record(resource, &identity->fields, conflict->record, &bytes) || bytes.failed) {
            continue;
        }
        const struct record *rival =
            store->table->ops->find_identity(store->table, identity, bytes.bytes, bytes.size);
        if (rival != NULL && rival != find(store, conflict->key, conflict->size)) {
            with(conflict, rival, identity);
        }
    }
    buffer_release(&bytes);
}

static bool key_of_rival(const struct conflict *conflict, const struct record *rival,
                         struct buffer *key)
{
    const struct resource *resource = conflict->store->resource;
    return key_of_record(resource, &resource->primary_key, rival, key) && !key->failed;
}

static void read_again(struct conflict *conflict, const struct record *rival,
                       const struct identity *identity)
{
    struct redis_store *store = conflict->store;
    struct buffer key = BUFFER_INIT;
    (void)identity;
    if (key_of_rival(conflict, rival, &key)) {
        resident_read_key(store, key.bytes, key.size, store->resident->load, conflict->times + 1);
    }
    buffer_release(&key);
}

/* Takes a rival out of the table. */
static void take_out(struct conflict *conflict, const struct record *rival,
                     const struct buffer *key)
{
    change(conflict->store, rival, NULL);
    reconsider(conflict->store, key->bytes, key->size);
}

static void give_way(struct conflict *conflict, const struct record *rival,
                     const struct identity *identity)
{
    struct buffer key = BUFFER_INIT;
    read_again(conflict, rival, identity);
    if (key_of_rival(conflict, rival, &key)) {
        take_out(conflict, rival, &key);
    }
    buffer_release(&key);
}

/* Notes that of two records with one identity this one is left out. */
static void leave_out(struct redis_store *store, const struct store_key *loser,
                      const struct store_key *winner, const struct identity *identity)
{
    const struct resource *resource = store->resource;
    struct buffer name = BUFFER_INIT;
    struct buffer shown = BUFFER_INIT;
    struct error error = ERROR_INIT;
    char other[160];
    key_text_append(resource, loser->bytes, loser->size, &name);
    key_describe(&resource->primary_key, winner->bytes, winner->size, other, sizeof other);
    error_set(&error, CODE_INVALID_VALUE,
              "%.*s in Redis: another %s (%s) has the same identity %s, which is one record's",
              (int)(name.size < 100 ? name.size : 100), (const char *)name.bytes, resource->name,
              other, identity->name);
    error_resource(&error, resource->name);
    key_write(&shown, &resource->primary_key, loser->bytes, loser->size);
    error_key(&error, shown.bytes, shown.failed ? 0 : shown.size);
    buffer_release(&shown);
    buffer_release(&name);
    store->counters.misfits++;
    if (!misfits_put(&store->resident->misfits, loser->bytes, loser->size, &error, winner->bytes,
                     winner->size)) {
        resident_fail(store);
    }
}

static int compare_keys(const struct store_key *a, const struct store_key *b)
{
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* The one with the lesser key has it, so that all daemons show the same. */
static void yield_to_lesser(struct conflict *conflict, const struct record *rival,
                            const struct identity *identity)
{
    struct buffer key = BUFFER_INIT;
    if (!conflict->loses && key_of_rival(conflict, rival, &key)) {
        struct store_key own = {.bytes = conflict->key, .size = conflict->size};
        struct store_key other = {.bytes = key.bytes, .size = key.size};
        conflict->loses = compare_keys(&own, &other) > 0;
        if (conflict->loses) {
            leave_out(conflict->store, &own, &other, identity);
        }
    }
    buffer_release(&key);
}

static void leave_out_rival(struct conflict *conflict, const struct record *rival,
                            const struct identity *identity)
{
    struct buffer key = BUFFER_INIT;
    if (key_of_rival(conflict, rival, &key)) {
        struct store_key own = {.bytes = conflict->key, .size = conflict->size};
        struct store_key other = {.bytes = key.bytes, .size = key.size};
        leave_out(conflict->store, &other, &own, identity);
        take_out(conflict, rival, &key);
    }
    buffer_release(&key);
}

/* Both have it still: one is left out, until the other is changed. */
static void settle(struct conflict *conflict)
{
    each_rival(conflict, yield_to_lesser);
    if (!conflict->loses) {
        each_rival(conflict, leave_out_rival);
    }
}

/* Another record has an identity that this one now has: one of the two is old here. The
 * other is read again, and this one behind it. Where that does not help, as with two
 * that change their names with one another, or where this one was just written from
 * here, the other gives way until its answer comes. */
static void resolve_conflict(struct conflict *conflict)
{
    struct redis_store *store = conflict->store;
    if (conflict->times == 0) {
        each_rival(conflict, read_again);
        resident_read_key(store, conflict->key, conflict->size, store->resident->load, 1);
        return;
    }
    if (conflict->times < CONFLICTS_MAX) {
        each_rival(conflict, give_way);
    } else {
        settle(conflict);
    }
    const struct record *old = find(store, conflict->key, conflict->size);
    if (conflict->loses) {
        if (old != NULL) {
            change(store, old, NULL);
        }
    } else if (change(store, old, conflict->record) < 0) {
        resident_fail(store);
    }
    reconsider(store, conflict->key, conflict->size);
}

static bool apply(struct redis_store *store, const uint8_t *key, size_t size,
                  const struct record *record, unsigned conflicts)
{
    const struct record *old = find(store, key, size);
    if (record == NULL ? old == NULL : old != NULL && same_bytes(store, old, record)) {
        return false;
    }
    int status = change(store, old, record);
    if (status == -CODE_CONFLICT && record != NULL) {
        struct conflict conflict = {
            .store = store, .key = key, .size = size, .record = record, .times = conflicts};
        resolve_conflict(&conflict);
    } else if (status < 0) {
        resident_fail(store); /* no memory: what is here is not the whole */
    } else {
        reconsider(store, key, size);
    }
    return true;
}

void resident_apply(struct redis_store *store, const uint8_t *key, size_t size,
                    const struct record *record)
{
    if (store->resident != NULL) { /* else it was closed meanwhile */
        apply(store, key, size, record, 1);
    }
}

void resident_look_again(struct redis_store *store, const uint8_t *key, size_t size)
{
    if (store->resident != NULL) {
        resident_read_key(store, key, size, store->resident->load, 0);
    }
}

void resident_seen(struct redis_store *store, const uint8_t *key, size_t size,
                   const struct record *record)
{
    if (store->resident != NULL) {
        store->counters.invalidations += apply(store, key, size, record, 0) ? 1 : 0;
    }
}

const struct error *resident_fault(struct redis_store *store, const uint8_t *key, size_t size)
{
    return misfits_find(&store->resident->misfits, key, size);
}

/* ---- Reading a key ---- */

static struct resident_read *find_read(const struct resident *resident, const uint8_t *key,
                                       size_t size)
{
    struct hash_table_node *node = hash_table_find(&resident->reads, hash_bytes(key, size));
    for (; node != NULL; node = hash_table_next(node)) {
        struct resident_read *read = CONTAINER_OF(node, struct resident_read, node);
        if (read->key_size == size && memcmp(read->key, key, size) == 0) {
            return read;
        }
    }
    return NULL;
}

/* Those who wait for reads that are all back. */
void resident_tell_waiters(struct resident *resident)
{
    while (!list_empty(&resident->waiters)) {
        struct resident_waiter *waiter =
            CONTAINER_OF(resident->waiters.next, struct resident_waiter, link);
        const struct list *oldest = resident->reads_in_order.next;
        if (oldest != &resident->reads_in_order &&
            ((const struct resident_read *)(const void *)((const char *)oldest -
                                                          offsetof(struct resident_read, link)))
                    ->number <= waiter->number) {
            return;
        }
        list_remove(&waiter->link);
        waiter->done(waiter);
    }
}

void resident_wait(struct redis_store *store, struct resident_waiter *waiter)
{
    waiter->number = store->resident->read_number;
    list_append(&store->resident->waiters, &waiter->link);
    resident_tell_waiters(store->resident);
}

static void read_end(struct resident_read *read)
{
    struct redis_store *store = read->store;
    bool of_load = store->resident != NULL && read->load == store->resident->load;
    list_remove(&read->link);
    buffer_release(&read->bytes);
    heap_free(read);
    if (of_load) {
        store->resident->load_reads--;
        resident_load_go_on(store);
    }
    if (store->resident != NULL) {
        resident_tell_waiters(store->resident);
    }
    redis_store_put(store);
}

static void on_read(struct home_command *command, const struct home_answer *answer)
{
    struct resident_read *read = CONTAINER_OF(command, struct resident_read, command);
    struct redis_store *store = read->store;
    struct resident *resident = store->resident;
    if (resident == NULL) {
        read_end(read);
        return;
    }
    hash_table_remove(&resident->reads, &read->node);
    if (answer->outcome != HOME_ANSWERED) {
        resident_fail(store);
        read_end(read);
        return;
    }
    value_sizes_add(&store->sizes, (size_t)(answer->reply.end - answer->reply.at));
    struct arena arena;
    struct stored_value stored = {0};
    struct error error = ERROR_INIT;
    arena_init(&arena, 0);
    int status = encoding_read(store->resource, read->key, read->key_size, answer->reply, &arena,
                               &stored, &error);
    store->counters.unknown_fields += stored.unknown_fields;
    /* Whose record was left out for another one's need not be looked into again: where
     * that one is changed, its own notice leads here. */
    unsigned conflicts = misfits_has_rival(&resident->misfits, read->key, read->key_size)
                             ? CONFLICTS_MAX
                             : read->conflicts;
    if (misfits_remove(&resident->misfits, read->key, read->key_size)) {
        reconsider(store, read->key, read->key_size);
    }
    if (status == -CODE_INVALID_VALUE) {
        store->counters.misfits++;
        stored.record = NULL;
        status = misfits_put(&resident->misfits, read->key, read->key_size, &error, NULL, 0)
                     ? 0
                     : -CODE_OVERLOADED;
    }
    if (status == 0) {
        bool changed = apply(store, read->key, read->key_size, stored.record, conflicts);
        /* The notice of one's own write finds what was applied already. */
        store->counters.invalidations += changed && read->noticed ? 1 : 0;
    } else {
        resident_fail(store); /* what is here may be older than what was told of */
    }
    arena_release(&arena);
    read_end(read);
}

void resident_read_noticed(struct redis_store *store, const uint8_t *key, size_t size,
                           uint64_t load)
{
    resident_read_key(store, key, size, load, 0);
    struct resident_read *read = find_read(store->resident, key, size);
    if (read != NULL) {
        read->noticed = true;
    }
}

/* Asks for a key, unless it is asked for already. */
void resident_read_key(struct redis_store *store, const uint8_t *key, size_t size, uint64_t load,
                       unsigned conflicts)
{
    struct resident *resident = store->resident;
    struct resident_read *out = find_read(resident, key, size);
    if (out != NULL) {
        if (load == resident->load && out->load != load) {
            out->load = load; /* this load waits for it, too */
            resident->load_reads++;
        }
        return;
    }
    struct buffer name = BUFFER_INIT;
    key_text_append(store->resource, key, size, &name);
    struct resident_read *read = heap_zero(1, sizeof *read + size + name.size);
    if (read == NULL || name.failed) {
        heap_free(read);
        buffer_release(&name);
        resident_fail(store);
        return;
    }
    read->store = redis_store_get(store);
    read->load = load;
    read->conflicts = conflicts;
    read->key_size = size;
    memcpy(read->key, key, size);
    encoding_read_command(store->resource, name.bytes, name.size, &read->bytes);
    read->command = (struct home_command){.bytes = read->bytes.bytes,
                                          .size = read->bytes.size,
                                          .slot = redis_slot(store, name.bytes, name.size),
                                          .node = HOME_NODE_OF_SLOT,
                                          .lane = store->lane,
                                          .done = on_read};
    buffer_release(&name);
    hash_table_insert(&resident->reads, &read->node, hash_bytes(key, size));
    read->number = ++resident->read_number;
    list_append(&resident->reads_in_order, &read->link);
    resident->load_reads += load == resident->load;
    home_send(store->home, &read->command);
}

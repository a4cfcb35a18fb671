#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "layers/redis/slots.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* A resource that is in memory as a whole: a table, loaded from Redis and followed by
 * the notices of all writes to its keys. All of it goes over one link for each node,
 * so answers and notices come in the order in which things happened there: what a
 * reply says is newer than all that came before it.
 *
 *            on_ready                    each node's SCAN is at its end,
 *   AWAY ───────────────► LOADING ─────► and all that it named was read ─────► LOADED
 *     ▲                      │                                                   │
 *     └──── resident_lost ───┴───────────────────────────────────────────────────┘
 *
 * A notice asks for its key again, unless that is asked for already: a notice that
 * comes before the answer is of a write before the read. What was in the table before
 * a load, and was not met in it, goes at its end. While it is AWAY the table stays,
 * for stale_if_error. Possible failures are what the home answers (it loads again when
 * it is ready again) and values that do not fit (they are counted, and left out). */

enum resident_state { RESIDENT_AWAY, RESIDENT_LOADING, RESIDENT_LOADED };

enum {
    SCAN_COUNT = 1000,   /* keys that one SCAN looks at */
    CONFLICTS_MAX = 3,   /* times that a key is read again because an identity is taken */
    REMOVED_AT_ONCE = 1000
};

/* A key that is being read. */
struct resident_read {
    struct home_command command;
    struct hash_table_node node; /* in resident->reads */
    struct redis_store *store;
    uint64_t load; /* the number of the load that asked, 0: a notice did */
    unsigned conflicts;
    size_t key_size;
    size_t name_size;
    struct buffer bytes;
    uint8_t key[]; /* and behind it the name */
};

/* One node's keys. */
struct resident_scan {
    struct home_command command;
    struct redis_store *store;
    uint64_t load;
    uint16_t node;
    struct buffer bytes;
};

/* A key that the load has met, by its hash. */
struct met {
    struct hash_table_node node;
};

struct resident {
    enum resident_state state;
    uint64_t load;      /* number of the last load */
    size_t scans;       /* nodes whose SCAN is not at its end */
    size_t load_reads;  /* reads of this load that are out */
    bool failed;        /* this load lacks something */
    bool loaded_once;
    bool tried;         /* a load has come to an end, good or bad */
    struct hash_table reads;
    struct hash_table met;
    uint64_t lost_us;
};

static void load_start(struct redis_store *store);
static void read_key(struct redis_store *store, const uint8_t *key, size_t size, uint64_t load,
                     unsigned conflicts);

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

/* Calls `with` for each record that has an identity's key which this one has now. */
static void each_rival(struct redis_store *store, const struct record *old,
                       const struct record *record,
                       void (*with)(struct redis_store *, const struct record *))
{
    const struct resource *resource = store->resource;
    struct buffer bytes = BUFFER_INIT;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        buffer_truncate(&bytes, 0);
        if (!key_of_record(resource, &identity->fields, record, &bytes) || bytes.failed) {
            continue;
        }
        const struct record *rival =
            store->table->ops->find_identity(store->table, identity, bytes.bytes, bytes.size);
        if (rival != NULL && rival != old) {
            with(store, rival);
        }
    }
    buffer_release(&bytes);
}

static void read_again(struct redis_store *store, const struct record *rival)
{
    const struct resource *resource = store->resource;
    struct buffer key = BUFFER_INIT;
    if (key_of_record(resource, &resource->primary_key, rival, &key) && !key.failed) {
        read_key(store, key.bytes, key.size, store->resident->load, 1);
    }
    buffer_release(&key);
}

static void give_way(struct redis_store *store, const struct record *rival)
{
    read_again(store, rival);
    change(store, rival, NULL);
}

/* Another record has an identity that this one now has: one of the two is old here. The
 * other is read again, and this one behind it. Where that does not help, as with two
 * that change their names with one another, or where this one was just written from
 * here, the other gives way until its answer comes. */
static void resolve_conflict(struct redis_store *store, const uint8_t *key, size_t size,
                             const struct record *record, unsigned conflicts)
{
    const struct record *old = find(store, key, size);
    if (conflicts == 0) {
        each_rival(store, old, record, read_again);
        read_key(store, key, size, store->resident->load, 1);
        return;
    }
    if (conflicts < CONFLICTS_MAX) {
        each_rival(store, old, record, give_way);
        if (change(store, old, record) == 0) {
            return;
        }
    }
    store->counters.misfits++;
    if (old != NULL) {
        change(store, old, NULL);
    }
}

static void apply(struct redis_store *store, const uint8_t *key, size_t size,
                  const struct record *record, unsigned conflicts)
{
    const struct record *old = find(store, key, size);
    if (record == NULL ? old == NULL : old != NULL && same_bytes(store, old, record)) {
        return;
    }
    int status = change(store, old, record);
    if (status == -CODE_CONFLICT && record != NULL) {
        resolve_conflict(store, key, size, record, conflicts);
    } else if (status < 0) {
        store->resident->failed = true; /* no memory: what is here is not the whole */
    }
}

void resident_apply(struct redis_store *store, const uint8_t *key, size_t size,
                    const struct record *record)
{
    if (store->resident != NULL) { /* else it was closed meanwhile */
        apply(store, key, size, record, 1);
    }
}

void resident_seen(struct redis_store *store, const uint8_t *key, size_t size,
                   const struct record *record)
{
    if (store->resident != NULL) {
        apply(store, key, size, record, 0);
    }
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

static void load_go_on(struct redis_store *store);

static void read_end(struct resident_read *read)
{
    struct redis_store *store = read->store;
    bool of_load = store->resident != NULL && read->load == store->resident->load;
    buffer_release(&read->bytes);
    heap_free(read);
    if (of_load) {
        store->resident->load_reads--;
        load_go_on(store);
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
        resident->failed = true;
        read_end(read);
        return;
    }
    struct arena arena;
    struct stored_value stored = {0};
    struct error error = ERROR_INIT;
    arena_init(&arena, 0);
    int status = encoding_read(store->resource, read->key, read->key_size, answer->reply, &arena,
                               &stored, &error);
    store->counters.unknown_fields += stored.unknown_fields;
    if (status == -CODE_INVALID_VALUE) {
        store->counters.misfits++;
        stored.record = NULL;
    } else if (status < 0) {
        resident->failed = true;
    }
    if (status == 0 || status == -CODE_INVALID_VALUE) {
        apply(store, read->key, read->key_size, stored.record, read->conflicts);
    }
    arena_release(&arena);
    read_end(read);
}

/* Asks for a key, unless it is asked for already. */
static void read_key(struct redis_store *store, const uint8_t *key, size_t size, uint64_t load,
                     unsigned conflicts)
{
    struct resident *resident = store->resident;
    struct resident_read *out = find_read(resident, key, size);
    if (out != NULL) {
        return;
    }
    struct buffer name = BUFFER_INIT;
    key_text_append(store->resource, key, size, &name);
    struct resident_read *read = heap_zero(1, sizeof *read + size + name.size);
    if (read == NULL || name.failed) {
        heap_free(read);
        buffer_release(&name);
        resident->failed = true;
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
    resident->load_reads += load == resident->load;
    home_send(store->home, &read->command);
}

/* ---- Loading ---- */

static void forget_met(struct resident *resident)
{
    for (size_t i = 0; resident->met.count > 0 && i <= resident->met.mask; i++) {
        while (resident->met.buckets[i] != NULL) {
            struct met *met = CONTAINER_OF(resident->met.buckets[i], struct met, node);
            hash_table_remove(&resident->met, &met->node);
            heap_free(met);
        }
    }
}

static void meet(struct resident *resident, const uint8_t *key, size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    if (hash_table_find(&resident->met, hash) != NULL) {
        return;
    }
    struct met *met = heap_zero(1, sizeof *met);
    if (met == NULL) {
        resident->failed = true;
        return;
    }
    hash_table_insert(&resident->met, &met->node, hash);
}

/* What the load did not meet is no more. */
static void remove_unmet(struct redis_store *store)
{
    struct resident *resident = store->resident;
    struct store *table = store->table;
    struct store_cursor cursor;
    struct buffer key = BUFFER_INIT;
    const struct record *record;
    if (table->ops->scan(table, &cursor) < 0) {
        resident->failed = true;
        return;
    }
    while ((record = table->ops->next(&cursor)) != NULL) {
        buffer_truncate(&key, 0);
        if (key_of_record(store->resource, &store->resource->primary_key, record, &key) &&
            hash_table_find(&resident->met, hash_bytes(key.bytes, key.size)) == NULL) {
            /* It may have come since: then it is read once more. */
            read_key(store, key.bytes, key.size, 0, 0);
        }
    }
    table->ops->close(&cursor);
    resident->failed |= key.failed;
    buffer_release(&key);
}

static void load_go_on(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident->state != RESIDENT_LOADING || resident->scans > 0 || resident->load_reads > 0) {
        return;
    }
    if (!resident->failed) {
        remove_unmet(store);
    }
    forget_met(resident);
    resident->tried = true;
    if (resident->failed) {
        resident->state = RESIDENT_AWAY; /* until the home is ready again */
        return;
    }
    resident->state = RESIDENT_LOADED;
    resident->loaded_once = true;
}

static void scan_end(struct resident_scan *scan)
{
    struct redis_store *store = scan->store;
    bool of_load = store->resident != NULL && scan->load == store->resident->load;
    buffer_release(&scan->bytes);
    heap_free(scan);
    if (of_load) {
        store->resident->scans--;
        load_go_on(store);
    }
    redis_store_put(store);
}

static void on_scanned(struct home_command *command, const struct home_answer *answer);

static void scan_send(struct resident_scan *scan, const void *cursor, size_t size)
{
    struct redis_store *store = scan->store;
    struct buffer pattern = BUFFER_INIT;
    struct buffer bytes = BUFFER_INIT; /* the cursor lies in the old command's answer */
    key_text_pattern(store->resource, &pattern);
    resp_command(&bytes, 6);
    resp_word_text(&bytes, "SCAN");
    resp_word(&bytes, cursor, size);
    resp_word_text(&bytes, "MATCH");
    resp_word(&bytes, pattern.bytes, pattern.size);
    resp_word_text(&bytes, "COUNT");
    resp_word_integer(&bytes, SCAN_COUNT);
    bytes.failed |= pattern.failed;
    buffer_release(&pattern);
    buffer_release(&scan->bytes);
    scan->bytes = bytes;
    if (bytes.failed) {
        store->resident->failed = true;
        scan_end(scan);
        return;
    }
    scan->command = (struct home_command){.bytes = scan->bytes.bytes,
                                          .size = scan->bytes.size,
                                          .node = scan->node,
                                          .lane = store->lane,
                                          .done = on_scanned};
    home_send(store->home, &scan->command);
}

static void read_names(struct redis_store *store, struct resp_reader *in, uint64_t count)
{
    struct buffer key = BUFFER_INIT;
    for (uint64_t i = 0; i < count; i++) {
        struct resp_token name = resp_next(in);
        buffer_truncate(&key, 0);
        if (name.kind == RESP_TEXT && key_text_read(store->resource, name.bytes, name.size, &key) &&
            !key.failed) {
            meet(store->resident, key.bytes, key.size);
            read_key(store, key.bytes, key.size, store->resident->load, 0);
        }
    }
    store->resident->failed |= key.failed;
    buffer_release(&key);
}

static void on_scanned(struct home_command *command, const struct home_answer *answer)
{
    struct resident_scan *scan = CONTAINER_OF(command, struct resident_scan, command);
    struct redis_store *store = scan->store;
    struct resident *resident = store->resident;
    if (resident == NULL || scan->load != resident->load) {
        scan_end(scan);
        return;
    }
    struct resp_reader in = answer->reply;
    struct resp_token list = {.kind = RESP_ERROR};
    if (answer->outcome == HOME_ANSWERED) {
        list = resp_next(&in);
    }
    if (list.kind != RESP_ARRAY || list.count != 2) {
        resident->failed = true;
        scan_end(scan);
        return;
    }
    struct resp_token cursor = resp_next(&in);
    struct resp_token names = resp_next(&in);
    if (names.kind == RESP_ARRAY) {
        read_names(store, &in, names.count);
    }
    if (cursor.kind != RESP_TEXT || resp_is(&cursor, "0")) {
        scan_end(scan);
        return;
    }
    scan_send(scan, cursor.bytes, cursor.size);
}

static void load_start(struct redis_store *store)
{
    struct resident *resident = store->resident;
    uint16_t nodes = home_node_count(store->home);
    resident->load++;
    resident->state = RESIDENT_LOADING;
    resident->failed = nodes == 0;
    resident->scans = 1; /* this function */
    resident->load_reads = 0;
    forget_met(resident);
    for (uint16_t node = 0; node < nodes; node++) {
        struct resident_scan *scan = heap_zero(1, sizeof *scan);
        if (scan == NULL) {
            resident->failed = true;
            break;
        }
        scan->store = redis_store_get(store);
        scan->load = resident->load;
        scan->node = node;
        resident->scans++;
        scan_send(scan, "0", 1);
    }
    resident->scans--;
    load_go_on(store);
}

/* ---- What is heard ---- */

void resident_notice(struct redis_store *store, const uint8_t *name, size_t size)
{
    struct buffer key = BUFFER_INIT;
    if (store->resident->state == RESIDENT_AWAY) {
        return;
    }
    if (name == NULL) {
        store->counters.invalidations += store->table->counters.records;
        load_start(store);
    } else if (key_text_read(store->resource, name, size, &key) && !key.failed) {
        store->counters.invalidations++;
        if (store->resident->state == RESIDENT_LOADING) {
            meet(store->resident, key.bytes, key.size);
        }
        read_key(store, key.bytes, key.size, store->resident->load, 0);
    }
    buffer_release(&key);
}

void resident_lost(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident->state == RESIDENT_LOADED) {
        resident->lost_us = redis_now_us(store);
    }
    resident->state = RESIDENT_AWAY;
    resident->load++; /* what is out counts for no load any more */
}

void resident_ready_again(struct redis_store *store)
{
    load_start(store);
}

/* ---- What it may be asked ---- */

int resident_ready(struct redis_store *store, struct error *error)
{
    const struct resident *resident = store->resident;
    uint64_t stale_us = store->resource->redis->stale_if_error_us;
    if (resident->state == RESIDENT_LOADED && home_is_current(store->home, store->lane)) {
        return 0;
    }
    if (resident->state == RESIDENT_AWAY && resident->loaded_once && resident->lost_us != 0 &&
        redis_now_us(store) - resident->lost_us <= stale_us) {
        return 0;
    }
    if (resident->state == RESIDENT_LOADING) {
        error_set(error, CODE_UNAVAILABLE, "%s is being loaded from the Redis \"%s\"",
                  store->resource->name, home_name(store->home));
        error_resource(error, store->resource->name);
        return -CODE_UNAVAILABLE;
    }
    return redis_unavailable(store, error);
}

bool resident_is_current(struct redis_store *store)
{
    return store->resident->state == RESIDENT_LOADED &&
           home_is_current(store->home, store->lane);
}

bool resident_is_settled(const struct redis_store *store)
{
    uint64_t lost_us;
    return store->resident->tried || !home_is_up(store->home, store->lane, 0, &lost_us);
}

/* ---- Life ---- */

int resident_open(struct redis_store *store, struct error *error)
{
    (void)error;
    store->resident = heap_zero(1, sizeof *store->resident);
    if (store->resident == NULL) {
        return -CODE_OVERLOADED;
    }
    hash_table_init(&store->resident->reads);
    hash_table_init(&store->resident->met);
    return 0;
}

void resident_close(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident == NULL) {
        return;
    }
    forget_met(resident);
    hash_table_release(&resident->met);
    hash_table_release(&resident->reads); /* what is out is not looked for any more */
    heap_free(resident);
    store->resident = NULL;
}

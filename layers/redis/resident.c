#include "layers/redis/key_text.h"
#include "layers/redis/resident_inner.h"
#include "layers/redis/scan.h"
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
 * a load, and was not met in it, is asked for at its end: the table is swept, a part
 * in each turn. While it is AWAY the table stays, for stale_if_error. Possible failures
 * are what the home answers (it loads again when it is ready again) and values that do
 * not fit (they are counted, and left out). */

/* ---- Loading ---- */

static void forget_met(struct resident *resident)
{
    hash_table_clear(&resident->met);
    arena_release(&resident->met_nodes);
}

static void meet(struct resident *resident, const uint8_t *key, size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    if (hash_table_find(&resident->met, hash) != NULL) {
        return;
    }
    struct hash_table_node *met = arena_alloc(&resident->met_nodes, sizeof *met);
    if (met == NULL) {
        resident->failed = true;
        return;
    }
    hash_table_insert(&resident->met, met, hash);
}

static void sweep_end(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident->sweeping) {
        store->table->ops->close(&resident->sweep);
        resident->sweeping = false;
    }
}

static void sweep_begin(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (store->table->ops->scan(store->table, &resident->sweep) < 0) {
        resident->failed = true;
        return;
    }
    resident->sweeping = true;
}

/* What the load did not meet is no more. */
static void sweep_some(struct redis_store *store)
{
    struct resident *resident = store->resident;
    struct buffer key = BUFFER_INIT;
    const struct record *record = NULL;
    for (unsigned i = 0; i < SWEPT_PER_TURN && !key.failed; i++) {
        record = store->table->ops->next(&resident->sweep);
        if (record == NULL) {
            break;
        }
        buffer_truncate(&key, 0);
        if (key_of_record(store->resource, &store->resource->primary_key, record, &key) &&
            hash_table_find(&resident->met, hash_bytes(key.bytes, key.size)) == NULL) {
            /* It may have come since: then it is read once more. */
            resident_read_key(store, key.bytes, key.size, resident->load, 0);
        }
    }
    resident->failed |= key.failed;
    buffer_release(&key);
    if (record == NULL || resident->failed) {
        sweep_end(store);
        resident->swept = true;
        resident_load_go_on(store);
    }
}

void resident_fail(struct redis_store *store)
{
    struct resident *resident = store->resident;
    resident->failed = true;
    if (resident->state == RESIDENT_LOADED) {
        resident->state = RESIDENT_AWAY;
        resident->lost_us = redis_now_us(store);
        resident->retry_us = redis_now_us(store) + RETRY_US;
    }
}

void resident_load_go_on(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident->state != RESIDENT_LOADING || resident->scans > 0) {
        return;
    }
    if (!resident->failed && !resident->swept && !resident->sweeping) {
        sweep_begin(store);
    }
    if (resident->sweeping || resident->load_reads > 0) {
        return;
    }
    forget_met(resident);
    resident->tried = true;
    if (resident->failed) {
        resident->state = RESIDENT_AWAY;
        resident->retry_us = redis_now_us(store) + RETRY_US;
        return;
    }
    resident->state = RESIDENT_LOADED;
    resident->loaded_once = true;
    resident->lost_us = 0;
}

static void scan_end(struct resident_scan *scan)
{
    struct redis_store *store = scan->store;
    bool of_load = store->resident != NULL && scan->load == store->resident->load;
    buffer_release(&scan->bytes);
    heap_free(scan);
    if (of_load) {
        store->resident->scans--;
        resident_load_go_on(store);
    }
    redis_store_put(store);
}

static void on_scanned(struct home_command *command, const struct home_answer *answer);

static void scan_send(struct resident_scan *scan, const void *cursor, size_t size)
{
    struct redis_store *store = scan->store;
    struct buffer bytes = BUFFER_INIT; /* the cursor lies in the old command's answer */
    unsigned count = value_sizes_count(&store->sizes, SCANNED_BYTES, 10, SCAN_COUNT);
    scan_command(store->resource, cursor, size, count, &bytes);
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
            resident_read_key(store, key.bytes, key.size, store->resident->load, 0);
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
    sweep_end(store);
    resident->load++;
    resident->state = RESIDENT_LOADING;
    resident->failed = nodes == 0;
    resident->swept = false;
    resident->scans = 1; /* this function */
    resident->load_reads = 0;
    forget_met(resident);
    misfits_clear(&resident->misfits);
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
    resident_load_go_on(store);
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
        if (!store->resident->swept) {
            meet(store->resident, key.bytes, key.size);
        }
        /* While names come in, the load may rely on this read. Afterwards it waits for none
         * but its own: others may write faster than all of theirs ever come back. */
        bool of_load = !store->resident->swept && !store->resident->sweeping;
        resident_read_noticed(store, key.bytes, key.size, of_load ? store->resident->load : 0);
    }
    buffer_release(&key);
}

void resident_lost(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident->state == RESIDENT_LOADED) {
        resident->lost_us = redis_now_us(store);
    }
    sweep_end(store);
    resident->state = RESIDENT_AWAY;
    resident->load++; /* what is out counts for no load any more */
}

/* What nobody tells of cannot be followed. */
void resident_ready_again(struct redis_store *store)
{
    if (home_is_tracked(store->home, store->lane)) {
        load_start(store);
    } else {
        store->resident->tried = true;
    }
}

/* Whether a load may begin without anybody saying so: again after one that failed, and
 * where the store was opened over links that were up before. */
static bool may_load(const struct redis_store *store)
{
    return store->resident->tried ? home_is_tracked(store->home, store->lane)
                                  : home_is_current(store->home, store->lane);
}

bool resident_turn(struct redis_store *store)
{
    const struct resident *resident = store->resident;
    if (resident->sweeping && resident->load_reads < SWEPT_READS_MAX) {
        sweep_some(store);
        return resident->sweeping;
    }
    if (resident->state == RESIDENT_AWAY && redis_now_us(store) >= resident->retry_us &&
        may_load(store)) {
        load_start(store);
    }
    return false;
}

/* ---- What it may be asked ---- */

int resident_ready(struct redis_store *store, struct error *error)
{
    const struct resident *resident = store->resident;
    uint64_t stale_us = store->resource->redis->stale_if_error_us;
    if (resident->state == RESIDENT_LOADED) {
        /* Whether it counts as current was asked when the call began (or waited for, see
         * catch_up.c); since then it has only become newer. */
        return 0;
    }
    if (resident->loaded_once && resident->lost_us != 0 &&
        redis_now_us(store) - resident->lost_us <= stale_us) {
        return 0;
    }
    if (resident->state == RESIDENT_LOADING) {
        error_set(error, CODE_UNAVAILABLE, "%s is being loaded from the Redis \"%s\"",
                  store->resource->name, home_name(store->home));
        error_resource(error, store->resource->name);
        return -CODE_UNAVAILABLE;
    }
    uint64_t lost_us;
    if (home_is_up(store->home, store->lane, 0, &lost_us) &&
        !home_is_tracked(store->home, store->lane)) {
        error_set(error, CODE_UNAVAILABLE,
                  "%s: the Redis \"%s\" refuses tracking, without which a resident resource "
                  "cannot be followed",
                  store->resource->name, home_name(store->home));
        error_resource(error, store->resource->name);
        return -CODE_UNAVAILABLE;
    }
    return redis_unavailable(store, error);
}

bool resident_is_current(struct redis_store *store)
{
    return store->resident->state == RESIDENT_LOADED && home_is_current(store->home, store->lane);
}

bool resident_is_behind(const struct redis_store *store)
{
    return store->resident->state == RESIDENT_LOADED && !home_is_current(store->home, store->lane);
}

bool resident_is_settled(const struct redis_store *store)
{
    return store->resident->tried || !home_is_tracked(store->home, store->lane);
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
    list_init(&store->resident->reads_in_order);
    list_init(&store->resident->waiters);
    hash_table_init(&store->resident->met);
    misfits_init(&store->resident->misfits);
    return 0;
}

void resident_close(struct redis_store *store)
{
    struct resident *resident = store->resident;
    if (resident == NULL) {
        return;
    }
    sweep_end(store);
    forget_met(resident);
    misfits_release(&resident->misfits);
    hash_table_release(&resident->met);
    hash_table_release(&resident->reads); /* what is out is not looked for any more */
    list_remove(&resident->reads_in_order);
    resident->read_number = 0;
    list_init(&resident->reads_in_order);
    resident_tell_waiters(resident);
    heap_free(resident);
    store->resident = NULL;
}

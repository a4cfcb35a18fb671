#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/reindex_inner.h"
#include "layers/redis/scan.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* Building what a resource has in Redis beside its records: index sets and claims of
 * identities, for data that was there before. The happy path is
 *
 *   it is told -> SCAN of a node -> each key that it named is read and named
 *        -> ... the next SCAN -> ... the next node -> all are marked as whole -> done
 *
 * Whoever writes meanwhile puts members and claims in for itself, under a mark of its
 * own; or, with another schema, takes out first that it is told of, which is seen in the
 * end (unavailable). So a record that changes between the read and the ZADD leaves a member that
 * names too much, and none is lacking. Only one SCAN's keys are kept at a time.
 *
 * Keys that move between nodes could be missed by every SCAN: in a Cluster all nodes
 * are asked at the beginning and in the end which slots they have, and a slot that is
 * on the move or has moved, a node that was lost and a flush are the end of it
 * (unavailable). Other failures are no memory, what the home answers, a store that is
 * closed or gets another schema, and two records with the same identity (conflict).
 * Then nothing is marked; what was put in does no harm. */

enum { COMMANDS_OUT_MAX = 2000 }; /* about so many for records at a time */

/* ---- Failing ---- */

void reindex_fail(struct redis_reindex *reindex, const struct error *error)
{
    if (reindex->error.code == CODE_OK) {
        reindex->error = *error;
    }
}

void reindex_no_memory(struct redis_reindex *reindex)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_OVERLOADED, "no memory to reindex");
    reindex_fail(reindex, &error);
}

/* The resource's name may be gone: whoever waits puts it in front. */
void reindex_try_again(struct redis_reindex *reindex, const char *why)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_UNAVAILABLE, "%s while it was being reindexed: try again", why);
    reindex_fail(reindex, &error);
}

bool reindex_goes_on(struct redis_reindex *reindex)
{
    const struct redis_store *store = reindex->store;
    if (store->closed || store->resource != reindex->resource) {
        reindex_try_again(reindex, "another schema was loaded");
    } else if (reindex->lost) {
        reindex_try_again(reindex, "a node of Redis was lost or flushed, or slots moved,");
    }
    return reindex->error.code == CODE_OK;
}

bool reindex_take(struct redis_reindex *reindex, const struct home_answer *answer,
                  struct resp_reader *in, struct resp_token *first)
{
    struct error error = ERROR_INIT;
    bool taken = redis_take_reply(reindex->store, answer, in, first, &error);
    if (!taken) {
        reindex_fail(reindex, &error);
    }
    return taken;
}

static void unexpected(struct redis_reindex *reindex, const char *command,
                       const struct resp_token *token)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_UNAVAILABLE, "the Redis \"%s\" answered %s with %s",
              home_name(reindex->store->home), command, resp_describe(token));
    reindex_fail(reindex, &error);
}

/* ---- Commands of its own ---- */

/* Sends what stands in reindex->bytes. */
static void send_own(struct redis_reindex *reindex, enum home_lane lane, uint16_t node,
                     uint16_t slot, void (*done)(struct home_command *, const struct home_answer *))
{
    if (reindex->bytes.failed) {
        reindex_no_memory(reindex);
        return;
    }
    reindex->command = (struct home_command){.bytes = reindex->bytes.bytes,
                                             .size = reindex->bytes.size,
                                             .slot = slot,
                                             .node = node,
                                             .lane = lane,
                                             .done = done};
    reindex->out++;
    home_send(reindex->store->home, &reindex->command);
}

static struct redis_reindex *reindex_of(struct home_command *command)
{
    return CONTAINER_OF(command, struct redis_reindex, command);
}

/* ---- Slots ---- */

/* The text behind the first `count` words of a line. */
static struct store_key behind_words(const uint8_t *at, const uint8_t *end, unsigned count)
{
    while (at < end && count > 0) {
        count -= *at++ == ' ';
    }
    return (struct store_key){.bytes = at, .size = (size_t)(end - at)};
}

/* Of the line of the node that was asked: its slots, and "[" where one is on the move.
 * <id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slots>... */
static bool find_slots(const struct resp_token *nodes, struct store_key *slots)
{
    static const char self[] = "myself";
    const uint8_t *end = nodes->bytes + nodes->size;
    for (const uint8_t *at = nodes->bytes, *after; at < end; at = after + 1) {
        after = memchr(at, '\n', (size_t)(end - at));
        after = after != NULL ? after : end;
        struct store_key flags = behind_words(at, after, 2);
        if (flags.size >= sizeof self - 1 && memcmp(flags.bytes, self, sizeof self - 1) == 0) {
            *slots = behind_words(at, after, 8);
            return true;
        }
    }
    return false;
}

static void on_slots(struct home_command *command, const struct home_answer *answer)
{
    struct redis_reindex *reindex = reindex_of(command);
    bool first = reindex->phase == REINDEX_SLOTS;
    uint64_t *sum = first ? &reindex->slots : &reindex->slots_again;
    struct resp_reader in;
    struct resp_token nodes;
    struct store_key slots;
    if (reindex_goes_on(reindex) && reindex_take(reindex, answer, &in, &nodes)) {
        if (nodes.kind != RESP_TEXT || !find_slots(&nodes, &slots)) {
            unexpected(reindex, "CLUSTER NODES", &nodes);
        } else if (memchr(slots.bytes, '[', slots.size) != NULL) {
            reindex_try_again(reindex, "a slot was on the move");
        } else {
            *sum = *sum * 31 + hash_bytes(slots.bytes, slots.size);
        }
    }
    reindex_returned(reindex);
}

static void ask_slots(struct redis_reindex *reindex)
{
    resp_command(&reindex->bytes, 2);
    resp_word_text(&reindex->bytes, "CLUSTER");
    resp_word_text(&reindex->bytes, "NODES");
    send_own(reindex, reindex->store->lane, reindex->node, 0, on_slots);
}

/* ---- Keys ---- */

static void keep_keys(struct redis_reindex *reindex, struct resp_reader *in, uint64_t count)
{
    struct buffer key = BUFFER_INIT;
    for (uint64_t i = 0; i < count; i++) {
        struct resp_token name = resp_next(in);
        bool is_key =
            name.kind == RESP_TEXT && key_text_read(reindex->resource, name.bytes, name.size, &key);
        if (is_key) {
            uint32_t size = (uint32_t)key.size;
            buffer_append(&reindex->keys, &size, sizeof size);
            buffer_append(&reindex->keys, key.bytes, key.size);
        }
        reindex->keys.failed |= key.failed;
        buffer_truncate(&key, 0);
    }
    if (reindex->keys.failed) {
        reindex_no_memory(reindex);
    }
    buffer_release(&key);
}

static void on_scanned(struct home_command *command, const struct home_answer *answer)
{
    struct redis_reindex *reindex = reindex_of(command);
    struct resp_reader in;
    struct resp_token list;
    if (!reindex_goes_on(reindex) || !reindex_take(reindex, answer, &in, &list)) {
        reindex_returned(reindex);
        return;
    }
    struct resp_token cursor = resp_next(&in);
    struct resp_token names = resp_next(&in);
    if (list.kind != RESP_ARRAY || cursor.kind != RESP_TEXT || names.kind != RESP_ARRAY) {
        unexpected(reindex, "SCAN", &list);
    } else {
        reindex->node_done = resp_is(&cursor, "0");
        buffer_truncate(&reindex->cursor, 0);
        buffer_append(&reindex->cursor, cursor.bytes, cursor.size);
        keep_keys(reindex, &in, names.count);
    }
    reindex_returned(reindex);
}

static void scan(struct redis_reindex *reindex)
{
    scan_command(reindex->resource, reindex->cursor.bytes, reindex->cursor.size, SCAN_COUNT,
                 &reindex->bytes);
    reindex->bytes.failed |= reindex->cursor.failed;
    send_own(reindex, reindex->store->lane, reindex->node, 0, on_scanned);
}

/* Reads some more of the keys that the last SCAN named. */
static void read_keys(struct redis_reindex *reindex)
{
    const struct resource *resource = reindex->resource;
    size_t each = 1u + redis_index_count(reindex->store) + resource->identity_count;
    size_t most = COMMANDS_OUT_MAX / each + 1;
    while (reindex->error.code == CODE_OK && reindex->out < most &&
           reindex->keys_at < reindex->keys.size) {
        uint32_t size;
        const uint8_t *at = reindex->keys.bytes + reindex->keys_at;
        memcpy(&size, at, sizeof size);
        reindex->keys_at += sizeof size + size;
        reindex_record(reindex, at + sizeof size, size);
    }
}

/* ---- The mark ---- */

static void on_told(struct home_command *command, const struct home_answer *answer)
{
    struct redis_reindex *reindex = reindex_of(command);
    struct resp_reader in;
    struct resp_token token;
    if (reindex_goes_on(reindex) && reindex_take(reindex, answer, &in, &token) &&
        token.kind != RESP_INTEGER) {
        unexpected(reindex, "HSET", &token);
    }
    reindex_returned(reindex);
}

/* Sends what stands in reindex->bytes to whoever has the marks. */
static void send_marks(struct redis_reindex *reindex,
                       void (*done)(struct home_command *, const struct home_answer *))
{
    struct buffer name = BUFFER_INIT;
    index_marks_name(reindex->resource, &name);
    reindex->bytes.failed |= name.failed;
    uint16_t slot = redis_slot(reindex->store, name.bytes, name.size);
    buffer_release(&name);
    send_own(reindex, HOME_KEYS, HOME_NODE_OF_SLOT, slot, done);
}

static void tell(struct redis_reindex *reindex)
{
    index_marks_begin_command(reindex->resource, reindex->run, &reindex->bytes);
    send_marks(reindex, on_told);
}

static void on_marked(struct home_command *command, const struct home_answer *answer)
{
    struct redis_reindex *reindex = reindex_of(command);
    struct resp_reader in;
    struct resp_token token;
    if (reindex_take(reindex, answer, &in, &token)) {
        if (token.kind != RESP_INTEGER) {
            unexpected(reindex, "EVAL", &token);
        } else if (token.integer == 0) {
            reindex_try_again(reindex, "somebody wrote by another schema, or began anew,");
        }
    }
    if (!reindex->store->closed) {
        redis_built_forget(reindex->store);
    }
    reindex_returned(reindex);
}

static void mark(struct redis_reindex *reindex)
{
    if (reindex->slots != reindex->slots_again) {
        reindex_try_again(reindex, "slots moved");
        return;
    }
    index_marks_end_command(reindex->resource, reindex->run, &reindex->bytes);
    send_marks(reindex, on_marked);
}

/* ---- The way ---- */

static void begin_node(struct redis_reindex *reindex)
{
    reindex->node_done = false;
    buffer_truncate(&reindex->cursor, 0);
    buffer_byte(&reindex->cursor, '0');
}

/* Nothing is out: what comes now. */
static void next_step(struct redis_reindex *reindex)
{
    bool more = reindex->phase == REINDEX_SCAN && !reindex->node_done;
    if (!more && ++reindex->node >= reindex->node_count) {
        reindex->node = 0;
        reindex->phase++;
    }
    if (!more) {
        begin_node(reindex);
    }
    bool slots = reindex->phase == REINDEX_SLOTS || reindex->phase == REINDEX_SLOTS_AGAIN;
    if (slots && !home_is_cluster(reindex->store->home)) {
        reindex->phase++;
    }
}

static void take_step(struct redis_reindex *reindex)
{
    buffer_truncate(&reindex->bytes, 0);
    buffer_truncate(&reindex->keys, 0);
    reindex->keys_at = 0;
    switch (reindex->phase) {
    case REINDEX_TELL:
        reindex->node = reindex->node_count; /* it is one command */
        tell(reindex);
        return;
    case REINDEX_SLOTS:
    case REINDEX_SLOTS_AGAIN:
        ask_slots(reindex);
        return;
    case REINDEX_SCAN:
        scan(reindex);
        return;
    case REINDEX_MARK:
        reindex->node = reindex->node_count; /* it is one command */
        mark(reindex);
        return;
    case REINDEX_END:
        return;
    }
    CHECK(!"a phase of reindexing");
}

static void end(struct redis_reindex *reindex)
{
    struct redis_store *store = reindex->store;
    home_unlisten(&reindex->listener);
    store->reindex = NULL;
    if (reindex->done != NULL) {
        bool failed = reindex->error.code != CODE_OK;
        reindex->done(reindex->context, reindex->records, reindex->misfits,
                      failed ? &reindex->error : NULL);
    }
    buffer_release(&reindex->bytes);
    buffer_release(&reindex->cursor);
    buffer_release(&reindex->keys);
    heap_free(reindex);
    redis_store_put(store);
}

void reindex_returned(struct redis_reindex *reindex)
{
    CHECK(reindex->out > 0);
    reindex->out--;
    if (reindex_goes_on(reindex)) {
        read_keys(reindex);
    }
    if (reindex->out > 0) {
        return;
    }
    if (reindex->error.code == CODE_OK) {
        next_step(reindex);
        take_step(reindex);
    }
    if (reindex->out == 0) {
        end(reindex);
    }
}

/* ---- What is heard ---- */

static void on_notice(struct home_listener *listener, enum home_lane lane, const uint8_t *key,
                      size_t size)
{
    struct redis_reindex *reindex = CONTAINER_OF(listener, struct redis_reindex, listener);
    (void)size;
    reindex->lost |= key == NULL && lane == reindex->store->lane;
}

static void on_lost(struct home_listener *listener, enum home_lane lane)
{
    struct redis_reindex *reindex = CONTAINER_OF(listener, struct redis_reindex, listener);
    reindex->lost |= lane == reindex->store->lane;
}

static void on_ready(struct home_listener *listener, enum home_lane lane)
{
    (void)listener;
    (void)lane;
}

/* ---- The face ---- */

static int may_start(const struct redis_store *store, struct error *error)
{
    const char *name = store->resource->name;
    int status = 0;
    if (!store->resource->redis->only_relata) {
        status = error_set(error, CODE_INVALID_REQUEST,
                           "%s: nothing of it is indexed in Redis, since others write it too: that "
                           "takes `writers: relata`",
                           name);
    } else if (!redis_keeps_indexes(store)) {
        status = error_set(error, CODE_INVALID_REQUEST,
                           "%s has no index and no identity that could be built in Redis", name);
    } else if (store->reindex != NULL) {
        status = error_set(error, CODE_CONFLICT, "%s is being reindexed already", name);
    } else if (home_node_count(store->home) == 0) {
        return redis_unavailable(store, error);
    }
    error_resource(error, status < 0 ? name : "");
    return status;
}

int redis_reindex_start(struct store *face, redis_reindexed *done, void *context,
                        struct redis_reindex **out, struct error *error)
{
    struct redis_store *store = redis_store_of(face);
    int status = may_start(store, error);
    if (status < 0) {
        return status;
    }
    struct redis_reindex *reindex = heap_zero(1, sizeof *reindex);
    if (reindex == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory to reindex");
    }
    error_clear(&reindex->error);
    reindex->store = store;
    reindex->resource = store->resource;
    reindex->node_count = home_node_count(store->home);
    reindex->phase = REINDEX_TELL;
    mark_make(reindex->run, store->redis->daemon, ++store->redis->mark_number, 0);
    begin_node(reindex);
    take_step(reindex);
    if (reindex->out == 0) {
        *error = reindex->error;
        buffer_release(&reindex->bytes);
        buffer_release(&reindex->cursor);
        heap_free(reindex);
        return -(int)error->code;
    }
    reindex->done = done;
    reindex->context = context;
    reindex->listener =
        (struct home_listener){.on_notice = on_notice, .on_lost = on_lost, .on_ready = on_ready};
    home_listen(store->home, &reindex->listener);
    store->reindex = reindex;
    redis_store_get(store);
    *out = reindex;
    return 0;
}

void redis_reindex_forget(struct redis_reindex *reindex)
{
    reindex->done = NULL;
}

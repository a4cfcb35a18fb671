#include <stddef.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "layers/redis/scan.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Which indexes and identities of a resource are whole in Redis: that is said by a
 * hash there, with a field for each. The happy path is
 *
 *   ask -> HMGET -> all are marked -> known
 *               └-> some are not -> SCAN of each node -> it has no record -> HSET -> known
 *
 * An index that is not marked may lack records, and is not used: `reindex` builds it.
 * Where there is no record yet it lacks none; that is only looked for in homes of some
 * size, since it takes a look at every key.
 * What is known is forgotten when somebody writes the hash, and with the tracking that
 * would tell. Possible failures are what the home answers: then nothing is known, and
 * whoever waits goes on and meets the same failure. */

/* A check that is under way. What was asked before something changed counts for
 * nobody: its number is not the store's any more. */
struct check {
    struct home_command command;
    struct redis_store *store;
    uint64_t number;
    bool failed;
    bool *flags;
    bool found;     /* there is a record */
    unsigned scans; /* done so far */
    uint16_t node;  /* that is being scanned */
    struct buffer bytes;
};

enum { SCANS_MAX = 200 };

static unsigned flag_count(const struct redis_store *store)
{
    return (unsigned)store->resource->index_count + store->resource->identity_count;
}

static void put_field(const struct redis_store *store, unsigned flag, struct buffer *out)
{
    const struct resource *resource = store->resource;
    if (flag < resource->index_count) {
        index_built_field(resource, &resource->indexes[flag], out);
    } else {
        claim_built_field(resource, &resource->identities[flag - resource->index_count], out);
    }
}

/* Appends `verb name field [1] field [1] ...`; its slot. */
static uint16_t put_command(const struct redis_store *store, const char *verb, bool marks,
                            struct buffer *out)
{
    struct buffer text = BUFFER_INIT;
    unsigned count = flag_count(store);
    index_built_name(store->resource, &text);
    uint16_t slot = redis_slot(store, text.bytes, text.size);
    resp_command(out, 2 + (size_t)count * (marks ? 2 : 1));
    resp_word_text(out, verb);
    resp_word(out, text.bytes, text.size);
    for (unsigned i = 0; i < count; i++) {
        buffer_truncate(&text, 0);
        put_field(store, i, &text);
        resp_word(out, text.bytes, text.size);
        if (marks) {
            resp_word_text(out, "1");
        }
    }
    out->failed |= text.failed;
    buffer_release(&text);
    return slot;
}

uint16_t redis_built_mark_command(const struct redis_store *store, struct buffer *out)
{
    return put_command(store, "HSET", true, out);
}

/* ---- The end ---- */

static void tell_waiters(struct redis_store *store)
{
    struct list waiters;
    list_init(&waiters);
    list_move_all(&waiters, &store->built_waiters);
    while (!list_empty(&waiters)) {
        struct built_waiter *waiter = CONTAINER_OF(waiters.next, struct built_waiter, link);
        list_remove(&waiter->link);
        waiter->known(waiter);
    }
}

static bool is_wanted(const struct check *check)
{
    return check->store->built == BUILT_ASKING && check->store->built_number == check->number;
}

static void check_end(struct check *check)
{
    struct redis_store *store = check->store;
    if (is_wanted(check)) {
        bool known = !check->failed;
        if (known) {
            heap_free(store->built_flags);
            store->built_flags = check->flags;
            check->flags = NULL;
        }
        store->built = known ? BUILT_KNOWN : BUILT_UNKNOWN;
        tell_waiters(store);
        /* Without tracking it is known for this once only. */
        if (!home_is_current(store->home, HOME_KEYS)) {
            store->built = BUILT_UNKNOWN;
        }
    }
    heap_free(check->flags);
    buffer_release(&check->bytes);
    heap_free(check);
    redis_store_put(store);
}

/* ---- An empty home ---- */

static void on_marked(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct resp_reader in = answer->reply;
    check->failed = answer->outcome != HOME_ANSWERED || resp_next(&in).kind != RESP_INTEGER;
    for (unsigned i = 0; !check->failed && i < flag_count(check->store); i++) {
        check->flags[i] = true;
    }
    check_end(check);
}

static void mark(struct check *check)
{
    struct redis_store *store = check->store;
    buffer_truncate(&check->bytes, 0);
    uint16_t slot = redis_built_mark_command(store, &check->bytes);
    if (check->bytes.failed) {
        check->failed = true;
        check_end(check);
        return;
    }
    check->command = (struct home_command){.bytes = check->bytes.bytes,
                                           .size = check->bytes.size,
                                           .slot = slot,
                                           .node = HOME_NODE_OF_SLOT,
                                           .lane = HOME_KEYS,
                                           .done = on_marked};
    home_send(store->home, &check->command);
}

static void scan(struct check *check, const void *cursor, size_t size);

/* Whether any of these is the name of a record. */
static bool has_record(const struct redis_store *store, struct resp_reader *in, uint64_t count)
{
    struct buffer key = BUFFER_INIT;
    bool found = false;
    for (uint64_t i = 0; !found && i < count; i++) {
        struct resp_token name = resp_next(in);
        found =
            name.kind == RESP_TEXT && key_text_read(store->resource, name.bytes, name.size, &key);
    }
    buffer_release(&key);
    return found;
}

/* The next part of the node, or the next node; none is left: there is no record. */
static void scan_on(struct check *check, const struct resp_token *cursor)
{
    const struct redis_store *store = check->store;
    if (check->failed || check->found || !is_wanted(check)) {
        check_end(check);
    } else if (!resp_is(cursor, "0")) {
        scan(check, cursor->bytes, cursor->size);
    } else if (++check->node < home_node_count(store->home)) {
        scan(check, "0", 1);
    } else {
        mark(check);
    }
}

static void on_scanned(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct resp_reader in = answer->reply;
    struct resp_token list = {.kind = RESP_ERROR};
    struct resp_token cursor = {.kind = RESP_NIL};
    if (answer->outcome == HOME_ANSWERED) {
        list = resp_next(&in);
    }
    check->failed = list.kind != RESP_ARRAY || list.count != 2;
    if (!check->failed) {
        cursor = resp_next(&in);
        struct resp_token names = resp_next(&in);
        check->failed = cursor.kind != RESP_TEXT || names.kind != RESP_ARRAY;
        /* Of a large home it is not found out: as if there were one. */
        check->found = ++check->scans >= SCANS_MAX ||
                       (!check->failed && has_record(check->store, &in, names.count));
    }
    scan_on(check, &cursor);
}

static void scan(struct check *check, const void *cursor, size_t size)
{
    struct redis_store *store = check->store;
    struct buffer bytes = BUFFER_INIT; /* the cursor lies in an answer */
    scan_command(store->resource, cursor, size, SCAN_COUNT, &bytes);
    buffer_release(&check->bytes);
    check->bytes = bytes;
    if (bytes.failed || home_node_count(store->home) == 0) {
        check->failed = true;
        check_end(check);
        return;
    }
    check->command = (struct home_command){.bytes = bytes.bytes,
                                           .size = bytes.size,
                                           .node = check->node,
                                           .lane = HOME_KEYS,
                                           .done = on_scanned};
    home_send(store->home, &check->command);
}

/* ---- The hash ---- */

static void on_flags(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct redis_store *store = check->store;
    struct resp_reader in = answer->reply;
    struct resp_token list = {.kind = RESP_ERROR};
    bool all = true;
    if (answer->outcome == HOME_ANSWERED) {
        list = resp_next(&in);
    }
    check->failed = list.kind != RESP_ARRAY || list.count != flag_count(store);
    for (unsigned i = 0; !check->failed && i < flag_count(store); i++) {
        check->flags[i] = resp_next(&in).kind == RESP_TEXT;
        all = all && check->flags[i];
    }
    if (check->failed || all || !is_wanted(check)) {
        check_end(check);
    } else {
        scan(check, "0", 1);
    }
}

static void check_start(struct redis_store *store)
{
    struct check *check = heap_zero(1, sizeof *check);
    bool *flags = heap_zero(flag_count(store) + 1u, sizeof *flags);
    if (check == NULL || flags == NULL) {
        heap_free(check);
        heap_free(flags);
        store->built = BUILT_UNKNOWN;
        return;
    }
    check->flags = flags;
    check->store = redis_store_get(store);
    check->number = ++store->built_number;
    store->built = BUILT_ASKING;
    uint16_t slot = put_command(store, "HMGET", false, &check->bytes);
    check->command = (struct home_command){.bytes = check->bytes.bytes,
                                           .size = check->bytes.size,
                                           .slot = slot,
                                           .node = HOME_NODE_OF_SLOT,
                                           .lane = HOME_KEYS,
                                           .done = on_flags};
    home_send(store->home, &check->command);
}

/* ---- The face ---- */

bool redis_built_ask(struct redis_store *store, struct built_waiter *waiter)
{
    if (store->built == BUILT_KNOWN || !redis_keeps_indexes(store)) {
        return true;
    }
    if (waiter != NULL) {
        list_append(&store->built_waiters, &waiter->link);
    }
    if (store->built == BUILT_UNKNOWN) {
        check_start(store);
    }
    if (store->built == BUILT_UNKNOWN && waiter != NULL) {
        list_remove(&waiter->link); /* no memory: whoever asks meets that too */
        return true;
    }
    return false;
}

void redis_built_forget(struct redis_store *store)
{
    if (store->built == BUILT_UNKNOWN) {
        return;
    }
    bool waited_for = !list_empty(&store->built_waiters);
    store->built = BUILT_UNKNOWN;
    store->built_number++;
    if (waited_for) {
        check_start(store);
    }
}

static int not_whole(const struct redis_store *store, unsigned flag, const char *what,
                     struct error *error)
{
    struct buffer field = BUFFER_INIT;
    put_field(store, flag, &field);
    size_t skip = 3; /* "ix:", "id:" */
    error_set(
        error, CODE_INVALID_REQUEST,
        "%s: its %s %.*s was not built in Redis for the records that are there: `relata reindex "
        "%s` builds it",
        store->resource->name, what, (int)(field.size > skip ? field.size - skip : 0),
        field.size > skip ? (const char *)field.bytes + skip : "", store->resource->name);
    error_resource(error, store->resource->name);
    buffer_release(&field);
    return -CODE_INVALID_REQUEST;
}

static int is_whole(const struct redis_store *store, unsigned flag, const char *what,
                    struct error *error)
{
    if (store->built_flags == NULL || store->built == BUILT_ASKING) {
        return redis_unavailable(store, error);
    }
    return store->built_flags[flag] ? 0 : not_whole(store, flag, what, error);
}

int redis_index_is_whole(const struct redis_store *store, const struct index *index,
                         struct error *error)
{
    return is_whole(store, redis_index_number(store, index), "index", error);
}

int redis_claims_are_whole(const struct redis_store *store, struct error *error)
{
    int status = 0;
    for (unsigned i = 0; status == 0 && i < store->resource->identity_count; i++) {
        status = is_whole(store, store->resource->index_count + i, "identity", error);
    }
    return status;
}

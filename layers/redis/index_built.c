#include <stddef.h>
#include <string.h>

#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "layers/redis/scan.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Which indexes and identities of a resource are whole in Redis (index_marks.h). The
 * happy path is
 *
 *   ask -> HGETALL -> all are there -> known
 *                 ├-> some are absent -> SCAN of each node -> it has no record
 *                 │                                     -> they are marked -> known
 *                 └-> there are foreign ones, and a write waits -> HDEL -> known
 *
 * An index that is not marked may lack records, and is not used: `reindex` builds it.
 * Where there is no record yet it lacks none; that is only looked for in homes of some
 * size, since it takes a look at every key. A mark that somebody else has made in the
 * place of one's own is left alone until then, so that daemons with different schemas do
 * not take turns without a write.
 * Whoever writes keeps the resource's own sets and claims, and no others: of those the
 * marks have to be gone before a record is set. So every write asks, also of resources
 * that keep nothing. Those that others write too have no say: where Redis does not let
 * them look, they are written all the same.
 * What is known is forgotten when somebody writes the hash, and with the tracking that
 * would tell. Possible failures are what the home answers, and no memory: then nothing is
 * known, and whoever waits is told why. */

/* A check that is under way. What was asked before something changed counts for
 * nobody: its number is not the store's any more. */
struct check {
    struct home_command command;
    struct redis_store *store;
    uint64_t number;
    struct error error;
    struct index_marks *marks;
    uint64_t cover; /* under which they were read */
    bool looked;    /* for a record, since marks were absent */
    bool found;     /* there is one */
    unsigned scans; /* done so far */
    uint16_t node;  /* that is being scanned */
    struct buffer bytes;
};

enum { SCANS_MAX = 200 };

/* ---- The end ---- */

/* Whether a write has to wait until foreign marks are out. One that is refused, since an
 * identity is not whole, takes none out. */
static bool in_the_way(const struct index_marks *marks, const struct resource *resource)
{
    unsigned number = resource->index_count;
    while (number < index_marks_count(resource) && marks->whole[number]) {
        number++;
    }
    return marks->foreign > 0 && number >= index_marks_count(resource);
}

static void tell_waiters(struct redis_store *store, const struct error *error)
{
    struct list waiters;
    list_init(&waiters);
    store->built_telling = true;
    list_move_all(&waiters, &store->built_waiters);
    while (!list_empty(&waiters)) {
        struct built_waiter *waiter = CONTAINER_OF(waiters.next, struct built_waiter, link);
        list_remove(&waiter->link);
        if (error == NULL && waiter->writes && in_the_way(store->built_marks, store->resource)) {
            list_append(&store->built_waiters, &waiter->link);
        } else {
            waiter->known(waiter, error);
        }
    }
    store->built_telling = false;
}

static bool is_wanted(const struct check *check)
{
    return check->store->built == BUILT_ASKING && check->store->built_number == check->number;
}

static bool has_failed(const struct check *check)
{
    return check->error.code != CODE_OK;
}

static void ask_again(struct redis_store *store);

static void check_free(struct check *check)
{
    index_marks_free(check->marks);
    buffer_release(&check->bytes);
    redis_store_put(check->store);
    heap_free(check);
}

static void check_end(struct check *check)
{
    struct redis_store *store = check->store;
    if (is_wanted(check) && has_failed(check)) {
        store->built = BUILT_UNKNOWN;
        tell_waiters(store, &check->error);
    } else if (is_wanted(check)) {
        index_marks_free(store->built_marks);
        store->built_marks = check->marks;
        store->built_cover = check->cover;
        check->marks = NULL;
        store->built = BUILT_KNOWN;
        tell_waiters(store, NULL);
        /* Without tracking it is known for this once only. */
        if (store->built == BUILT_KNOWN && !redis_built_is_known(store)) {
            store->built = BUILT_UNKNOWN;
        }
    }
    if (store->built != BUILT_ASKING && !list_empty(&store->built_waiters)) {
        ask_again(store);
    }
    check_free(check);
}

/* ---- Commands ---- */

static void no_memory(const struct redis_store *store, struct error *error)
{
    error_set(error, CODE_OVERLOADED, "%s: no memory to ask which indexes are whole",
              store->resource->name);
    error_resource(error, store->resource->name);
}

/* Sends what stands in check->bytes. */
static void send_on(struct check *check, uint16_t node,
                    void (*done)(struct home_command *, const struct home_answer *))
{
    struct redis_store *store = check->store;
    if (check->bytes.failed) {
        no_memory(store, &check->error);
        check_end(check);
        return;
    }
    check->command = (struct home_command){.bytes = check->bytes.bytes,
                                           .size = check->bytes.size,
                                           .slot = store->built_slot,
                                           .node = node,
                                           .lane = HOME_KEYS,
                                           .done = done};
    home_send(store->home, &check->command);
}

/* The first token of an answer; false where it is none. */
static bool take(struct check *check, const struct home_answer *answer, struct resp_reader *in,
                 struct resp_token *first)
{
    const struct redis_store *store = check->store;
    bool taken = redis_take_reply(store, answer, in, first, &check->error);
    if (first->kind == RESP_ERROR) {
        error_prefix(&check->error, "%s: ", store->resource->name);
        error_resource(&check->error, store->resource->name);
    }
    return taken;
}

/* Another answer than the command has. */
static void misread(struct check *check, const struct resp_token *first)
{
    const struct redis_store *store = check->store;
    error_set(&check->error, CODE_UNAVAILABLE,
              "%s: the Redis \"%s\" answered %s to what asks which indexes are whole",
              store->resource->name, home_name(store->home), resp_describe(first));
    error_resource(&check->error, store->resource->name);
}

/* Whoever may not see or change the marks, and keeps none, has nothing to do with them,
 * for as long as would be known what they are. */
static void forgive(struct check *check, const struct resp_token *first)
{
    if (!check->store->resource->redis->only_relata && first->kind == RESP_ERROR &&
        resp_begins(first, "NOPERM")) {
        error_clear(&check->error);
        index_marks_removed(check->marks);
    }
}

static void go_on(struct check *check);

/* ---- An empty home ---- */

static void on_marked(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct resp_reader in;
    struct resp_token list;
    if (take(check, answer, &in, &list) &&
        !index_marks_read_absent(check->marks, check->store->resource, &list, &in)) {
        misread(check, &list);
    }
    go_on(check);
}

static void mark(struct check *check)
{
    buffer_truncate(&check->bytes, 0);
    index_marks_set_absent_command(check->store->resource, &check->bytes);
    send_on(check, HOME_NODE_OF_SLOT, on_marked);
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
    if (has_failed(check) || check->found || !is_wanted(check)) {
        go_on(check);
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
    struct resp_reader in;
    struct resp_token list;
    struct resp_token cursor = {.kind = RESP_NIL};
    if (take(check, answer, &in, &list)) {
        cursor = resp_next(&in);
        struct resp_token names = resp_next(&in);
        if (list.kind != RESP_ARRAY || cursor.kind != RESP_TEXT || names.kind != RESP_ARRAY) {
            misread(check, &list);
        }
        /* Of a large home it is not found out: as if there were one. */
        check->found = ++check->scans >= SCANS_MAX ||
                       (!has_failed(check) && has_record(check->store, &in, names.count));
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
    if (home_node_count(store->home) == 0) {
        redis_unavailable(store, &check->error);
        check_end(check);
        return;
    }
    send_on(check, check->node, on_scanned);
}

/* ---- The hash ---- */

static bool a_write_waits(const struct redis_store *store)
{
    LIST_EACH(node, &store->built_waiters)
    {
        if (CONTAINER_OF(node, struct built_waiter, link)->writes) {
            return true;
        }
    }
    return false;
}

static void on_removed(struct home_command *command, const struct home_answer *answer);

static void go_on(struct check *check)
{
    const struct redis_store *store = check->store;
    if (has_failed(check) || !is_wanted(check)) {
        check_end(check);
    } else if (check->marks->absent > 0 && !check->looked) {
        check->looked = true;
        check->scans = 0;
        check->node = 0;
        scan(check, "0", 1);
    } else if (a_write_waits(store) && in_the_way(check->marks, store->resource)) {
        buffer_truncate(&check->bytes, 0);
        index_marks_remove_command(check->marks, store->resource, &check->bytes);
        send_on(check, HOME_NODE_OF_SLOT, on_removed);
    } else {
        check_end(check);
    }
}

static void on_removed(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct resp_reader in;
    struct resp_token first;
    if (!take(check, answer, &in, &first)) {
        forgive(check, &first);
    } else if (first.kind != RESP_INTEGER) {
        misread(check, &first);
    } else {
        index_marks_removed(check->marks);
        check->looked = check->found; /* more may be absent now */
    }
    go_on(check);
}

static void on_read(struct home_command *command, const struct home_answer *answer)
{
    struct check *check = CONTAINER_OF(command, struct check, command);
    struct resp_reader in;
    struct resp_token first;
    check->cover = answer->cover;
    if (!take(check, answer, &in, &first)) {
        forgive(check, &first);
    } else if (!index_marks_read(check->marks, check->store->resource, &first, &in)) {
        if (check->marks->of.failed) {
            no_memory(check->store, &check->error);
        } else {
            misread(check, &first);
        }
    }
    go_on(check);
}

/* False where memory lacks. */
static bool check_start(struct redis_store *store)
{
    struct check *check = heap_zero(1, sizeof *check);
    if (check == NULL) {
        store->built = BUILT_UNKNOWN;
        return false;
    }
    struct buffer name = BUFFER_INIT;
    index_marks_name(store->resource, &name);
    store->built_slot = redis_slot(store, name.bytes, name.size);
    index_marks_read_command(store->resource, &check->bytes);
    check->bytes.failed |= name.failed;
    buffer_release(&name);
    error_clear(&check->error);
    check->store = redis_store_get(store);
    check->number = ++store->built_number;
    check->marks = index_marks_create(store->resource);
    if (check->marks == NULL || check->bytes.failed) {
        check_free(check);
        store->built = BUILT_UNKNOWN;
        return false;
    }
    store->built = BUILT_ASKING;
    send_on(check, HOME_NODE_OF_SLOT, on_read);
    return true;
}

/* For those who wait. */
static void ask_again(struct redis_store *store)
{
    struct error error = ERROR_INIT;
    if (!check_start(store)) {
        no_memory(store, &error);
        while (!list_empty(&store->built_waiters)) {
            tell_waiters(store, &error);
        }
    }
}

/* ---- The face ---- */

bool redis_built_is_known(const struct redis_store *store)
{
    return store->built == BUILT_KNOWN && store->built_cover != 0 &&
           store->built_cover == home_cover(store->home, HOME_KEYS, store->built_slot);
}

bool redis_built_ask(struct redis_store *store, struct built_waiter *waiter)
{
    bool writes = waiter != NULL && waiter->writes;
    if (!writes && !redis_keeps_indexes(store)) {
        return true;
    }
    if (redis_built_is_known(store) &&
        !(writes && in_the_way(store->built_marks, store->resource))) {
        return true;
    }
    if (waiter != NULL) {
        list_append(&store->built_waiters, &waiter->link);
    }
    if (store->built == BUILT_ASKING || store->built_telling) {
        return false;
    }
    if (!check_start(store)) {
        if (waiter != NULL) {
            list_remove(&waiter->link);
        }
        return true;
    }
    return false;
}

void redis_built_forget(struct redis_store *store)
{
    bool asking = store->built == BUILT_ASKING;
    if (store->built == BUILT_UNKNOWN) {
        return;
    }
    store->built = BUILT_UNKNOWN;
    store->built_number++;
    if (asking) {
        ask_again(store); /* also where nobody waits: an empty home is to be marked */
    }
}

static int not_whole(const struct redis_store *store, unsigned number, const char *what,
                     struct error *error)
{
    struct buffer field = BUFFER_INIT;
    index_marks_field(store->resource, number, &field);
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

static int is_whole(const struct redis_store *store, unsigned number, const char *what,
                    struct error *error)
{
    if (store->built != BUILT_KNOWN) {
        return redis_unavailable(store, error);
    }
    return store->built_marks->whole[number] ? 0 : not_whole(store, number, what, error);
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

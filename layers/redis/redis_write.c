#include <inttypes.h>

#include "layers/redis/transaction.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* A write, from the side of who asked for it: locks, the values and claims that a
 * pass lacked, and the way back. transaction.h has the whole way. */

static void reading_start(struct transaction *tx);

/* ---- Errors, and the way back ---- */

void tx_fail(struct transaction *tx, const struct error *error)
{
    if (tx->error.code == CODE_OK) {
        tx->error = *error;
    }
}

void tx_fail_at(struct transaction *tx, const struct view *view, struct error *error)
{
    if (view->element >= 0) {
        error_prefix(error, "element %" PRId64 ": ", view->element);
        error->index = view->element;
    }
    tx_fail(tx, error);
}

void tx_no_memory(struct transaction *tx)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_OVERLOADED, "%s: no memory for the write", tx->store->resource->name);
    tx_fail(tx, &error);
}

static void wake(struct transaction *tx)
{
    if (tx->write != NULL && tx->waited_for) {
        tx->waited_for = false;
        task_wake(tx->write->asker.tasks, tx->write->asker.task);
    }
}

void tx_judge_again(struct transaction *tx)
{
    tx->stage = TX_JUDGING;
    tx->committing = false;
    if (tx->write == NULL) {
        tx_unlock(tx);
        tx_free(tx);
        return;
    }
    tx->write->state = STORE_WRITE_JUDGING;
    tx->write->sent = false;
    wake(tx);
}

void tx_done(struct transaction *tx, uint64_t written)
{
    if (tx->write != NULL) {
        tx->write->state = STORE_WRITE_DONE;
        tx->write->written = written;
    }
    wake(tx);
}

void tx_failed(struct transaction *tx, uint64_t written)
{
    CHECK(tx->error.code != CODE_OK);
    if (tx->write != NULL) {
        tx->write->state = STORE_WRITE_FAILED;
        tx->write->error = tx->error;
        tx->write->written = written;
    }
    wake(tx);
}

/* ---- Commands ---- */

/* There was no memory to send it: it has failed, in a way that the others see. */
static void unsent(struct transaction *tx)
{
    tx_no_memory(tx);
    buffer_truncate(&tx->bytes, 0);
}

void tx_send(struct transaction *tx, void *about, uint16_t slot,
             void (*done)(struct home_command *, const struct home_answer *))
{
    struct tx_command *command = arena_zero(&tx->arena, 1, sizeof *command);
    const uint8_t *bytes =
        tx->bytes.failed ? NULL : arena_copy(&tx->arena, tx->bytes.bytes, tx->bytes.size);
    if (command == NULL || bytes == NULL) {
        unsent(tx);
        return;
    }
    command->tx = tx;
    command->about = about;
    command->command = (struct home_command){.bytes = bytes,
                                             .size = tx->bytes.size,
                                             .slot = slot,
                                             .node = HOME_NODE_OF_SLOT,
                                             .lane = tx->store->lane,
                                             .untracked = tx->untracked,
                                             .done = done};
    buffer_truncate(&tx->bytes, 0);
    tx->pending++;
    home_send(tx->store->home, &command->command);
}

void tx_returned(struct transaction *tx)
{
    CHECK(tx->pending > 0);
    if (--tx->pending > 0) {
        return;
    }
    if (tx->stage == TX_ASKING || tx->stage == TX_READING) {
        if (tx->error.code != CODE_OK) {
            tx_unlock(tx);
            tx_failed(tx, 0);
            if (tx->write == NULL) {
                tx_free(tx);
            }
            return;
        }
        tx_judge_again(tx);
        return;
    }
    commit_go_on(tx);
}

/* ---- Locks ---- */

void tx_unlock(struct transaction *tx)
{
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        view->granted = false;
        write_unlock(&tx->store->locks, &view->ticket);
    }
}

void tx_forget_values(struct transaction *tx)
{
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        view->known = false;
        view->staged = false;
        view->record = NULL;
        view->stored = (struct stored_value){0};
    }
    hash_table_clear(&tx->claims);
    list_init(&tx->claim_order);
}

static void locked(struct transaction *tx)
{
    if (tx->committing) {
        commit_start(tx);
    } else {
        reading_start(tx);
    }
}

static void on_granted(struct write_ticket *ticket)
{
    struct view *view = CONTAINER_OF(ticket, struct view, ticket);
    struct transaction *tx = view->tx;
    view->granted = true;
    CHECK(tx->stage == TX_LOCKING && tx->pending > 0);
    if (--tx->pending == 0) {
        locked(tx);
    }
}

static bool needs_lock(const struct view *view)
{
    return view->wanted || view->staged || view->known;
}

/* Whoever has locks takes no further ones: he gives his back, and takes all anew. */
static void give_back_for_more(struct transaction *tx)
{
    bool some = false;
    bool more = false;
    LIST_EACH(node, &tx->order)
    {
        const struct view *view = CONTAINER_OF(node, struct view, link);
        some |= view->granted;
        more |= needs_lock(view) && !view->granted;
    }
    if (!some || !more) {
        return;
    }
    tx_unlock(tx);
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        view->wanted |= view->known;
        tx->committing = tx->committing && !view->known;
        view->known = false;
    }
}

static void locking_start(struct transaction *tx)
{
    struct redis_store *store = tx->store;
    give_back_for_more(tx);
    tx->stage = TX_LOCKING;
    tx->pending = 1; /* this function */
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        if (!needs_lock(view) || view->granted) {
            continue;
        }
        view->ticket.granted = on_granted;
        int status = write_lock(&store->locks, &view->ticket, view->key, view->key_size);
        if (status < 0) {
            tx_no_memory(tx);
            break;
        }
        /* From here on no cache answers for the key, and nothing fills it. */
        redis_forget(store, view->key, view->key_size);
        view->granted = status == 1;
        tx->pending += status == 0;
    }
    if (tx->error.code != CODE_OK) {
        tx->pending = 0;
        tx_unlock(tx);
        tx->stage = TX_JUDGING;
        tx_failed(tx, 0);
        return;
    }
    if (--tx->pending == 0) {
        locked(tx);
    }
}

/* ---- Reading ---- */

static void on_read(struct home_command *command, const struct home_answer *answer)
{
    struct view *view = tx_command_of(command)->about;
    struct transaction *tx = view->tx;
    struct error error = ERROR_INIT;
    if (answer->outcome != HOME_ANSWERED) {
        error = answer->error;
        error.outcome[0] = '\0'; /* nothing was written yet */
        tx_fail(tx, &error);
    } else {
        int status = encoding_read(tx->store->resource, view->key, view->key_size, answer->reply,
                                   &tx->arena, &view->stored, &error);
        tx->store->counters.misfits += status == -CODE_INVALID_VALUE;
        if (status < 0) {
            tx_fail_at(tx, view, &error);
        }
        view->record = view->stored.record;
        view->known = true;
        view->wanted = false;
        if (status == 0 && tx->store->table != NULL) {
            /* Whoever asked may learn of it before its notice comes. */
            resident_seen(tx->store, view->key, view->key_size, view->record);
        }
    }
    tx_returned(tx);
}

static void reading_start(struct transaction *tx)
{
    tx->stage = TX_READING;
    tx->pending = 1; /* this function */
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        if (view->wanted && !view->known && tx->error.code == CODE_OK) {
            buffer_truncate(&tx->bytes, 0);
            encoding_read_command(tx->store->resource, view->name, view->name_size, &tx->bytes);
            tx_send(tx, view, view->slot, on_read);
        }
    }
    tx_returned(tx);
}

/* ---- Claims that a pass asked for ---- */

static void on_claim(struct home_command *command, const struct home_answer *answer)
{
    struct claim_view *claim = tx_command_of(command)->about;
    struct transaction *tx = claim->tx;
    struct store_key key, mark;
    if (answer->outcome != HOME_ANSWERED) {
        struct error error = answer->error;
        error.outcome[0] = '\0';
        tx_fail(tx, &error);
        tx_returned(tx);
        return;
    }
    struct resp_reader in = answer->reply;
    struct resp_token token = resp_next(&in);
    if (token.kind == RESP_TEXT &&
        claim_take(tx->store->resource, token.bytes, token.size, &key, &mark)) {
        claim->owner.bytes = arena_copy(&tx->arena, key.bytes, key.size);
        claim->owner.size = claim->owner.bytes != NULL ? key.size : 0;
    }
    claim->known = true;
    claim->wanted = false;
    tx_returned(tx);
}

static bool wants_claims(const struct transaction *tx)
{
    LIST_EACH(node, &tx->claim_order)
    {
        if (CONTAINER_OF(node, struct claim_view, link)->wanted) {
            return true;
        }
    }
    return false;
}

static void asking_start(struct transaction *tx)
{
    struct buffer name = BUFFER_INIT;
    tx->stage = TX_ASKING;
    tx->pending = 1; /* this function */
    LIST_EACH(node, &tx->claim_order)
    {
        struct claim_view *claim = CONTAINER_OF(node, struct claim_view, link);
        if (!claim->wanted || claim->known || tx->error.code != CODE_OK) {
            continue;
        }
        buffer_truncate(&name, 0);
        claim_name(tx->store->resource, claim->identity, claim->key, claim->key_size, &name);
        buffer_truncate(&tx->bytes, 0);
        resp_command(&tx->bytes, 2);
        resp_word_text(&tx->bytes, "GET");
        resp_word(&tx->bytes, name.bytes, name.size);
        tx->bytes.failed |= name.failed;
        tx_send(tx, claim, redis_slot(tx->store, name.bytes, name.size), on_claim);
    }
    buffer_release(&name);
    tx_returned(tx);
}

/* ---- The face ---- */

int redis_write_open(struct store_write *write, struct error *error)
{
    struct redis_store *store = redis_store_of(write->store);
    struct transaction *tx = heap_zero(1, sizeof *tx);
    if (tx == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the write");
    }
    tx->store = redis_store_get(store);
    tx->write = write;
    arena_init(&tx->arena, 0);
    hash_table_init(&tx->views);
    hash_table_init(&tx->claims);
    list_init(&tx->order);
    list_init(&tx->claim_order);
    list_init(&tx->built_waiter.link);
    error_clear(&tx->error);
    write->own = tx;
    write->facade =
        (struct store){.ops = &tx_facade_ops, .resource = store->resource, .home_own = tx};
    return 0;
}

void redis_write_begin(struct store_write *write)
{
    struct transaction *tx = write->own;
    LIST_EACH(node, &tx->order)
    {
        CONTAINER_OF(node, struct view, link)->staged = false;
    }
    LIST_EACH(node, &tx->claim_order)
    {
        CONTAINER_OF(node, struct claim_view, link)->staged = false;
    }
}

static bool stages_anything(const struct transaction *tx)
{
    LIST_EACH(node, &tx->order)
    {
        if (CONTAINER_OF(node, struct view, link)->staged) {
            return true;
        }
    }
    return false;
}

int redis_write_go(struct store_write *write, struct error *error)
{
    struct transaction *tx = write->own;
    if (tx->error.code != CODE_OK) {
        *error = tx->error;
        return -(int)tx->error.code;
    }
    if (!write->lacking && !stages_anything(tx)) {
        write->state = STORE_WRITE_DONE;
        return 0;
    }
    /* Beside records whose identities nobody knows, none can be promised. It is looked at
     * again where it is not known yet (redis_commit.c). */
    if (redis_built_is_known(tx->store) && redis_claims_are_whole(tx->store, error) < 0) {
        return -(int)error->code;
    }
    tx->committing = !write->lacking;
    tx->waited_for = true;
    task_wait(write->asker.task);
    if (write->lacking && wants_claims(tx)) {
        asking_start(tx);
    } else {
        locking_start(tx);
    }
    return 0;
}

void redis_write_close(struct store_write *write)
{
    struct transaction *tx = write->own;
    if (tx->waited_for) {
        tx->waited_for = false;
        task_wake(write->asker.tasks, write->asker.task);
    }
    tx->write = NULL;
    write->own = NULL;
    switch (tx->stage) {
    case TX_JUDGING:
    case TX_LOCKING:
        tx_unlock(tx);
        tx_free(tx);
        return;
    case TX_ASKING:
    case TX_READING:
    case TX_PREPARING:
    case TX_CHECKING:
    case TX_SETTING:
        break; /* it ends when what is out is back */
    }
    if (tx->pending == 0) {
        tx_unlock(tx);
        tx_free(tx);
    }
}

void tx_free(struct transaction *tx)
{
    struct redis_store *store = tx->store;
    CHECK(tx->write == NULL && (tx->pending == 0 || tx->stage == TX_LOCKING));
    list_remove(&tx->built_waiter.link);
    hash_table_release(&tx->views);
    hash_table_release(&tx->claims);
    buffer_release(&tx->bytes);
    arena_release(&tx->arena);
    heap_free(tx);
    redis_store_put(store);
}

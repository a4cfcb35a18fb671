#include <string.h>

#include "layers/redis/commit.h"
#include "protocol/base/heap.h"

/* The members of index sets that a write puts in and takes out, and the commands that
 * nobody waits for. index_set.h says what is in a set. */

/* ---- Commands that nobody waits for ---- */

struct loose_command {
    struct home_command command;
    struct redis_store *store;
    uint8_t bytes[];
};

static void on_loose(struct home_command *command, const struct home_answer *answer)
{
    struct loose_command *loose = CONTAINER_OF(command, struct loose_command, command);
    struct redis_store *store = loose->store;
    (void)answer; /* what it should have taken away is left over, and does no harm */
    heap_free(loose);
    redis_store_put(store);
}

void redis_send_loose(struct redis_store *store, struct buffer *bytes, uint16_t slot)
{
    struct loose_command *loose = bytes->failed ? NULL : heap_alloc(sizeof *loose + bytes->size);
    if (loose != NULL) {
        memcpy(loose->bytes, bytes->bytes, bytes->size);
        loose->store = redis_store_get(store);
        loose->command = (struct home_command){.bytes = loose->bytes,
                                               .size = bytes->size,
                                               .slot = slot,
                                               .node = HOME_NODE_OF_SLOT,
                                               .lane = store->lane,
                                               .done = on_loose};
        home_send(store->home, &loose->command);
    }
    buffer_truncate(bytes, 0);
}

void commit_send_loose(struct transaction *tx, uint16_t slot)
{
    redis_send_loose(tx->store, &tx->bytes, slot);
}

/* ---- Members of index sets ---- */

/* Appends `verb set [0] member` of a record for an index; its slot, or -1 where the
 * record is in no set of it. */
static int32_t put_member_command(struct transaction *tx, const char *verb,
                                  const struct index *index, const struct record *record,
                                  const void *mark, size_t mark_size)
{
    const struct resource *resource = tx->store->resource;
    struct buffer name = BUFFER_INIT;
    struct buffer member = BUFFER_INIT;
    int32_t slot = -1;
    bool adds = verb[1] == 'A';
    if (index_set_name(resource, index, record, &name)) {
        index_set_member(resource, index, record, mark, mark_size, &member);
        buffer_truncate(&tx->bytes, 0);
        resp_command(&tx->bytes, adds ? 4 : 3);
        resp_word_text(&tx->bytes, verb);
        resp_word(&tx->bytes, name.bytes, name.size);
        if (adds) {
            resp_word_text(&tx->bytes, "0");
        }
        resp_word(&tx->bytes, member.bytes, member.size);
        tx->bytes.failed |= name.failed || member.failed;
        slot = redis_slot(tx->store, name.bytes, name.size);
    }
    buffer_release(&name);
    buffer_release(&member);
    return slot;
}

/* False where it was certainly not done: nothing is written then. */
bool commit_was_done(struct transaction *tx, const struct home_answer *answer)
{
    struct error error = ERROR_INIT;
    struct resp_reader in;
    struct resp_token first;
    bool done = redis_take_reply(tx->store, answer, &in, &first, &error);
    if (!done) {
        tx_fail(tx, &error);
    }
    return done;
}

static void on_added(struct home_command *command, const struct home_answer *answer)
{
    struct transaction *tx = tx_command_of(command)->tx;
    commit_was_done(tx, answer);
    tx_returned(tx);
}

void commit_add_members(struct transaction *tx, const struct view *view)
{
    const struct commit *commit = tx->commit;
    for (unsigned i = 0; i < redis_index_count(tx->store); i++) {
        int32_t slot = put_member_command(tx, "ZADD", &tx->store->resource->indexes[i], view->after,
                                          commit->mark, commit->mark_size);
        if (slot >= 0) {
            tx_send(tx, NULL, (uint16_t)slot, on_added);
        }
    }
}

/* The members of a record for all indexes; nobody waits for them. */
static void send_members(struct transaction *tx, const char *verb, const struct record *record,
                         const void *mark, size_t mark_size)
{
    for (unsigned i = 0; i < redis_index_count(tx->store); i++) {
        int32_t slot =
            put_member_command(tx, verb, &tx->store->resource->indexes[i], record, mark, mark_size);
        if (slot >= 0) {
            commit_send_loose(tx, (uint16_t)slot);
        }
    }
}

void commit_add_members_again(struct transaction *tx, const struct view *view)
{
    send_members(tx, "ZADD", view->after, tx->commit->mark, tx->commit->mark_size);
}

void commit_remove_members(struct transaction *tx, const struct record *record, const void *mark,
                           size_t mark_size)
{
    send_members(tx, "ZREM", record, mark, mark_size);
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layers/redis/slots.h"
#include "layers/redis/transaction.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Doing what a pass staged. The happy path is
 *
 *   prepare -> (members and claims are in) -> set -> (the records are set) -> settle
 *
 * transaction.h has the whole way. Possible failures are no memory, a claim that
 * another record has (conflict), what the home answers before the records were set
 * (nothing is written: what was put in is taken out), a record that somebody else
 * wrote meanwhile (judged again, or conflict at last), and a link that is lost while
 * they are set: nobody knows then what is written. */

/* A claim that a staged record takes, or one that it gives up. */
struct claim_change {
    struct claim_change *next;
    struct view *view;
    const struct identity *identity;
    const uint8_t *key; /* of the identity */
    size_t key_size;
    const uint8_t *name;
    size_t name_size;
    uint16_t slot;
    bool takes;
    bool taken;
    const uint8_t *value; /* as it stands there: the one that was taken, or that is to go */
    size_t value_size;
    const uint8_t *replaced; /* what stood there before it was taken */
    size_t replaced_size;
    /* Refused: somebody else has it. */
    bool refused;
    bool again; /* taken over once; another refusal is a conflict */
    const uint8_t *other;
    size_t other_size;
    uint64_t age_ms;
    bool borne; /* the other record bears it */
};

enum set_outcome { SET_OUT, SET_DONE, SET_CHANGED, SET_LATE, SET_FAILED, SET_UNKNOWN };

/* Records of one slot, which are set together. */
struct set_group {
    struct transaction *tx;
    size_t first; /* in commit->views */
    size_t count;
    enum set_outcome outcome;
};

struct commit {
    char mark[MARK_MAX];
    size_t mark_size; /* 0: no mark */
    uint64_t deadline_ms;
    struct view **views; /* that are staged, by slot */
    size_t count;
    struct claim_change *claims;
    struct set_group *groups;
    size_t group_count;
};

/* Claims as a compare-and-set. KEYS[1] is the claim, ARGV[1] the value without its
 * time, ARGV[2] the primary key that it begins with, ARGV[3] a value that may be
 * replaced though it is another record's ("" for none). Behind the value come
 * CLAIM_DOUBLE where a claim of the same record stood there, and the time in
 * milliseconds. Answers the time, or {time, what stood there}; or {what stands there,
 * its age}. */
#define CLAIM_DOUBLE "!"
static const char claim_script[] =
    "local now = redis.call('TIME')\n"
    "local ms = now[1] * 1000 + math.floor(now[2] / 1000)\n"
    "local there = redis.call('GET', KEYS[1])\n"
    "local own = there and string.sub(there, 1, #ARGV[2]) == ARGV[2]\n"
    "if there and there ~= ARGV[3] and not own then\n"
    "  local since = tonumber(string.match(there, '@(%d+)$') or '0')\n"
    "  return {there, ms - since}\n"
    "end\n"
    "local value = own and ARGV[1] .. '" CLAIM_DOUBLE "' or ARGV[1]\n"
    "redis.call('SET', KEYS[1], value .. '@' .. string.format('%d', ms))\n"
    "return there and {ms, there} or ms\n";

/* Takes a claim away if it is exactly this, or puts back what it replaced (ARGV[2], ""
 * for nothing). */
static const char release_script[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
    "if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end\n"
    "redis.call('SET', KEYS[1], ARGV[2])\n"
    "return 1\n";

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

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

/* Sends what stands in tx->bytes. */
static void send_loose(struct transaction *tx, uint16_t slot)
{
    size_t size = tx->bytes.size;
    struct loose_command *loose =
        tx->bytes.failed ? NULL : heap_alloc(sizeof *loose + size);
    if (loose != NULL) {
        memcpy(loose->bytes, tx->bytes.bytes, size);
        loose->store = redis_store_get(tx->store);
        loose->command = (struct home_command){.bytes = loose->bytes,
                                               .size = size,
                                               .slot = slot,
                                               .node = HOME_NODE_OF_SLOT,
                                               .lane = tx->store->lane,
                                               .done = on_loose};
        home_send(tx->store->home, &loose->command);
    }
    buffer_truncate(&tx->bytes, 0);
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
static bool was_done(struct transaction *tx, const struct home_answer *answer)
{
    struct error error = ERROR_INIT;
    if (answer->outcome != HOME_ANSWERED) {
        error = answer->error;
        error.outcome[0] = '\0'; /* the record itself was not sent */
        tx_fail(tx, &error);
        return false;
    }
    struct resp_reader in = answer->reply;
    struct resp_token token = resp_next(&in);
    if (token.kind == RESP_ERROR) {
        bool full = token.size >= 3 && memcmp(token.bytes, "OOM", 3) == 0;
        error_set(&error, full ? CODE_OVERLOADED : CODE_UNAVAILABLE,
                  "the Redis \"%s\" answered: %.*s", home_name(tx->store->home),
                  (int)(token.size < 200 ? token.size : 200), (const char *)token.bytes);
        tx_fail(tx, &error);
        return false;
    }
    return true;
}

static void on_added(struct home_command *command, const struct home_answer *answer)
{
    struct transaction *tx = tx_command_of(command)->tx;
    was_done(tx, answer);
    tx_returned(tx);
}

static void add_members(struct transaction *tx, const struct view *view)
{
    const struct commit *commit = tx->commit;
    for (unsigned i = 0; i < redis_index_count(tx->store); i++) {
        int32_t slot = put_member_command(tx, "ZADD", &tx->store->resource->indexes[i],
                                          view->after, commit->mark, commit->mark_size);
        if (slot >= 0) {
            tx_send(tx, NULL, (uint16_t)slot, on_added);
        }
    }
}

static void remove_members(struct transaction *tx, const struct record *record, const void *mark,
                           size_t mark_size)
{
    for (unsigned i = 0; i < redis_index_count(tx->store); i++) {
        int32_t slot = put_member_command(tx, "ZREM", &tx->store->resource->indexes[i], record,
                                          mark, mark_size);
        if (slot >= 0) {
            send_loose(tx, (uint16_t)slot);
        }
    }
}

/* ---- Claims ---- */

/* The value without its time. */
static bool put_claim_value(struct transaction *tx, const struct view *view, struct buffer *out)
{
    buffer_append(out, view->key, view->key_size);
    buffer_append(out, tx->commit->mark, tx->commit->mark_size);
    return !out->failed;
}

/* It was taken at this time; what stood there is `replaced`, if anything did. */
static void claim_taken(struct claim_change *change, int64_t time_ms,
                        const struct resp_token *replaced)
{
    struct transaction *tx = change->view->tx;
    struct buffer value = BUFFER_INIT;
    bool is_double = replaced != NULL && replaced->size >= change->view->key_size &&
                     memcmp(replaced->bytes, change->view->key, change->view->key_size) == 0;
    put_claim_value(tx, change->view, &value);
    buffer_printf(&value, "%s@%lld", is_double ? CLAIM_DOUBLE : "", (long long)time_ms);
    change->value = value.failed ? NULL : arena_copy(&tx->arena, value.bytes, value.size);
    change->value_size = change->value != NULL ? value.size : 0;
    change->taken = true;
    change->refused = false;
    buffer_release(&value);
    if (replaced != NULL) {
        change->replaced = arena_copy(&tx->arena, replaced->bytes, replaced->size);
        change->replaced_size = change->replaced != NULL ? replaced->size : 0;
    }
    uint64_t until = (uint64_t)time_ms + TX_CLAIM_LEASE_MS;
    if (tx->commit->deadline_ms > until) {
        tx->commit->deadline_ms = until;
    }
}

static void on_claimed(struct home_command *command, const struct home_answer *answer)
{
    struct claim_change *change = tx_command_of(command)->about;
    struct transaction *tx = change->view->tx;
    if (!was_done(tx, answer)) {
        tx_returned(tx);
        return;
    }
    struct resp_reader in = answer->reply;
    struct resp_token token = resp_next(&in);
    if (token.kind == RESP_INTEGER) {
        claim_taken(change, token.integer, NULL);
    } else if (token.kind == RESP_ARRAY && token.count == 2) {
        struct resp_token first = resp_next(&in);
        struct resp_token second = resp_next(&in);
        if (first.kind == RESP_INTEGER) {
            claim_taken(change, first.integer, &second);
        } else {
            change->refused = true;
            change->other = arena_copy(&tx->arena, first.bytes, first.size);
            change->other_size = change->other != NULL ? first.size : 0;
            change->age_ms =
                second.kind == RESP_INTEGER && second.integer > 0 ? (uint64_t)second.integer : 0;
        }
    }
    if (tx->arena.failed) {
        tx_no_memory(tx);
    }
    tx_returned(tx);
}

static void take_claim(struct transaction *tx, struct claim_change *change)
{
    struct buffer value = BUFFER_INIT;
    put_claim_value(tx, change->view, &value);
    buffer_truncate(&tx->bytes, 0);
    resp_command(&tx->bytes, 7);
    resp_word_text(&tx->bytes, "EVAL");
    resp_word_text(&tx->bytes, claim_script);
    resp_word_text(&tx->bytes, "1");
    resp_word(&tx->bytes, change->name, change->name_size);
    resp_word(&tx->bytes, value.bytes, value.size);
    resp_word(&tx->bytes, change->view->key, change->view->key_size);
    resp_word(&tx->bytes, change->again ? change->other : (const uint8_t *)"",
              change->again ? change->other_size : 0);
    tx->bytes.failed |= value.failed;
    buffer_release(&value);
    tx_send(tx, change, change->slot, on_claimed);
}

/* A claim that replaced one of the same record may be that of another create, which is
 * under way. Where the record is removed, that one may still be done, and needs it. */
static bool may_be_needed(const struct claim_change *change, const struct store_key *mark)
{
    return change->view->after == NULL && memchr(mark->bytes, CLAIM_DOUBLE[0], mark->size) != NULL;
}

static void on_old_claim(struct home_command *command, const struct home_answer *answer)
{
    struct claim_change *change = tx_command_of(command)->about;
    struct transaction *tx = change->view->tx;
    struct store_key key, mark;
    if (was_done(tx, answer)) {
        struct resp_reader in = answer->reply;
        struct resp_token token = resp_next(&in);
        if (token.kind == RESP_TEXT &&
            claim_take(tx->store->resource, token.bytes, token.size, &key, &mark) &&
            key.size == change->view->key_size &&
            memcmp(key.bytes, change->view->key, key.size) == 0 && !may_be_needed(change, &mark)) {
            change->value = arena_copy(&tx->arena, token.bytes, token.size);
            change->value_size = change->value != NULL ? token.size : 0;
        }
    }
    tx_returned(tx);
}

/* What stands there now is what goes away in the end, if it is still that. */
static void look_at_claim(struct transaction *tx, struct claim_change *change)
{
    buffer_truncate(&tx->bytes, 0);
    resp_command(&tx->bytes, 2);
    resp_word_text(&tx->bytes, "GET");
    resp_word(&tx->bytes, change->name, change->name_size);
    tx_send(tx, change, change->slot, on_old_claim);
}

/* Where one was taken in vain, what it replaced stands there again: another write to the
 * same record, or the record that was to give it up in this write, may bear it. */
static void release_claim(struct transaction *tx, const struct claim_change *change)
{
    if (change->value_size == 0) {
        return;
    }
    buffer_truncate(&tx->bytes, 0);
    resp_command(&tx->bytes, 6);
    resp_word_text(&tx->bytes, "EVAL");
    resp_word_text(&tx->bytes, release_script);
    resp_word_text(&tx->bytes, "1");
    resp_word(&tx->bytes, change->name, change->name_size);
    resp_word(&tx->bytes, change->value, change->value_size);
    resp_word(&tx->bytes, change->replaced, change->replaced_size);
    send_loose(tx, change->slot);
}

static void change_claim(struct transaction *tx, struct view *view,
                         const struct identity *identity, const struct buffer *key, bool takes)
{
    struct claim_change *change = arena_zero(&tx->arena, 1, sizeof *change);
    struct buffer name = BUFFER_INIT;
    claim_name(tx->store->resource, identity, key->bytes, key->size, &name);
    if (change == NULL || name.failed) {
        tx_no_memory(tx);
        buffer_release(&name);
        return;
    }
    *change = (struct claim_change){.next = tx->commit->claims,
                                    .view = view,
                                    .identity = identity,
                                    .key = arena_copy(&tx->arena, key->bytes, key->size),
                                    .key_size = key->size,
                                    .name = arena_copy(&tx->arena, name.bytes, name.size),
                                    .name_size = name.size,
                                    .slot = redis_slot(tx->store, name.bytes, name.size),
                                    .takes = takes};
    buffer_release(&name);
    if (change->key == NULL || change->name == NULL) {
        tx_no_memory(tx);
        return;
    }
    tx->commit->claims = change;
    if (takes) {
        take_claim(tx, change);
    } else {
        look_at_claim(tx, change);
    }
}

/* The claims that change between the record before and the one after. */
static void change_claims(struct transaction *tx, struct view *view)
{
    const struct resource *resource = tx->store->resource;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        struct buffer before = BUFFER_INIT;
        struct buffer after = BUFFER_INIT;
        bool had = view->record != NULL &&
                   key_of_record(resource, &identity->fields, view->record, &before);
        bool has =
            view->after != NULL && key_of_record(resource, &identity->fields, view->after, &after);
        bool same = had && has && before.size == after.size &&
                    memcmp(before.bytes, after.bytes, before.size) == 0;
        if (has && !same) {
            change_claim(tx, view, identity, &after, true);
        }
        if (had && !same) {
            change_claim(tx, view, identity, &before, false);
        }
        buffer_release(&before);
        buffer_release(&after);
    }
}

/* ---- Giving up ---- */

/* Takes out what was put in. */
static void undo(struct transaction *tx)
{
    const struct commit *commit = tx->commit;
    for (size_t i = 0; i < commit->count; i++) {
        if (commit->views[i]->after != NULL) {
            remove_members(tx, commit->views[i]->after, commit->mark, commit->mark_size);
        }
    }
    for (const struct claim_change *change = commit->claims; change != NULL;
         change = change->next) {
        if (change->takes && change->taken) {
            release_claim(tx, change);
        }
    }
}

/* The transaction is over, and whoever asked is told; where nobody does, it goes. */
static void finish(struct transaction *tx, uint64_t written)
{
    bool left = tx->write == NULL;
    tx_unlock(tx);
    tx->stage = TX_JUDGING;
    if (left) {
        tx_free(tx);
    } else if (tx->error.code != CODE_OK) {
        tx_failed(tx, written);
    } else {
        tx_done(tx, written);
    }
}

static void give_up(struct transaction *tx)
{
    undo(tx);
    finish(tx, 0);
}

/* Somebody else was faster: all anew, a few times. */
static void try_again(struct transaction *tx)
{
    undo(tx);
    if (++tx->tries < TX_TRIES_MAX && tx->write != NULL) {
        tx->reads_created = true;
        tx_forget_values(tx);
        tx_judge_again(tx);
        return;
    }
    struct error error = ERROR_INIT;
    error_set(&error, CODE_CONFLICT,
              "%s: others wrote the same records, each time before this write could be done",
              tx->store->resource->name);
    error_resource(&error, tx->store->resource->name);
    tx_fail(tx, &error);
    finish(tx, 0);
}

/* ---- Setting the records ---- */

static int compare_slots(const void *a, const void *b)
{
    const struct view *const *left = a;
    const struct view *const *right = b;
    return (int)(*left)->slot - (int)(*right)->slot;
}

static void settle(struct transaction *tx);

static void on_set(struct home_command *command, const struct home_answer *answer)
{
    struct set_group *group = tx_command_of(command)->about;
    struct transaction *tx = group->tx;
    const struct commit *commit = tx->commit;
    group->outcome = SET_FAILED;
    if (answer->outcome == HOME_UNKNOWN) {
        group->outcome = SET_UNKNOWN;
        tx_fail(tx, &answer->error);
    } else if (was_done(tx, answer)) {
        struct resp_reader in = answer->reply;
        struct resp_token token = resp_next(&in);
        if (token.kind == RESP_INTEGER) {
            group->outcome = token.integer == 0  ? SET_DONE
                             : token.integer < 0 ? SET_LATE
                                                 : SET_CHANGED;
        }
    }
    /* The notice of each key comes right behind this answer. */
    for (size_t i = group->first; group->outcome == SET_DONE && tx->store->table == NULL &&
                                  i < group->first + group->count;
         i++) {
        redis_expect_echo(tx->store, commit->views[i]->key, commit->views[i]->key_size);
    }
    tx_returned(tx);
}

static void send_group(struct transaction *tx, struct set_group *group)
{
    const struct commit *commit = tx->commit;
    struct buffer changes = BUFFER_INIT;
    size_t words = 0;
    char deadline[32];
    for (size_t i = group->first; i < group->first + group->count; i++) {
        const struct view *view = commit->views[i];
        words += encoding_change(tx->store->resource, &view->stored, view->after,
                                 commit->mark_size > 0 ? commit->mark : NULL, commit->mark_size,
                                 &changes);
    }
    buffer_truncate(&tx->bytes, 0);
    resp_command(&tx->bytes, 4 + group->count + words);
    resp_word_text(&tx->bytes, "EVAL");
    resp_word_text(&tx->bytes, encoding_script);
    resp_word_integer(&tx->bytes, (int64_t)group->count);
    for (size_t i = group->first; i < group->first + group->count; i++) {
        resp_word(&tx->bytes, commit->views[i]->name, commit->views[i]->name_size);
    }
    snprintf(deadline, sizeof deadline, "%llu", (unsigned long long)commit->deadline_ms);
    resp_word_text(&tx->bytes, deadline);
    buffer_append(&tx->bytes, changes.bytes, changes.size);
    tx->bytes.failed |= changes.failed;
    buffer_release(&changes);
    tx_send(tx, group, commit->views[group->first]->slot, on_set);
}

static void set_start(struct transaction *tx)
{
    struct commit *commit = tx->commit;
    commit->groups = arena_zero(&tx->arena, commit->count, sizeof *commit->groups);
    if (commit->groups == NULL) {
        tx_no_memory(tx);
        give_up(tx);
        return;
    }
    qsort(commit->views, commit->count, sizeof(struct view *), compare_slots);
    for (size_t i = 0; i < commit->count; i++) {
        if (i == 0 || commit->views[i]->slot != commit->views[i - 1]->slot) {
            commit->groups[commit->group_count++] = (struct set_group){.tx = tx, .first = i};
        }
        commit->groups[commit->group_count - 1].count++;
        commit->views[i]->group = &commit->groups[commit->group_count - 1];
    }
    tx->stage = TX_SETTING;
    tx->pending = 1; /* this function */
    for (size_t i = 0; i < commit->group_count; i++) {
        send_group(tx, &commit->groups[i]);
    }
    tx_returned(tx);
}

/* ---- Settling ---- */

/* Everybody learns of a record that is set; what it left behind in index sets and
 * claims goes. */
static void publish(struct transaction *tx, const struct view *view)
{
    struct redis_store *store = tx->store;
    if (store->table != NULL) {
        resident_apply(store, view->key, view->key_size, view->after);
    } else {
        redis_forget(store, view->key, view->key_size);
        struct write_event event = {.cause = WRITE_CALL, .old = view->record, .new = view->after};
        redis_publish(store, &event);
    }
    if (view->record != NULL) {
        remove_members(tx, view->record, view->stored.mark, view->stored.mark_size);
    }
}

/* It may have been set, or not. */
static void publish_unknown(struct transaction *tx, const struct view *view)
{
    struct redis_store *store = tx->store;
    if (store->table != NULL) {
        return; /* the link is lost: it is all loaded anew */
    }
    redis_forget(store, view->key, view->key_size);
    struct write_event event = {.cause = WRITE_FOREIGN,
                                .old = view->record,
                                .new_unknown = true,
                                .named = &store->resource->primary_key,
                                .key = view->key,
                                .key_size = view->key_size};
    redis_publish(store, &event);
}

/* How many groups came out in a way; the records of those that were set. */
static size_t count_groups(const struct commit *commit, enum set_outcome outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < commit->group_count; i++) {
        count += commit->groups[i].outcome == outcome;
    }
    return count;
}

static uint64_t settle_groups(struct transaction *tx)
{
    const struct commit *commit = tx->commit;
    uint64_t written = 0;
    for (size_t g = 0; g < commit->group_count; g++) {
        const struct set_group *group = &commit->groups[g];
        for (size_t i = group->first; i < group->first + group->count; i++) {
            if (group->outcome == SET_DONE) {
                publish(tx, commit->views[i]);
                written++;
            } else if (group->outcome == SET_UNKNOWN) {
                publish_unknown(tx, commit->views[i]);
            } else if (commit->views[i]->after != NULL) {
                remove_members(tx, commit->views[i]->after, commit->mark, commit->mark_size);
            }
        }
    }
    return written;
}

/* Of records that were set the claims that they gave up, of others those that they
 * took in vain. */
static void settle_claims(struct transaction *tx)
{
    const struct commit *commit = tx->commit;
    for (const struct claim_change *change = commit->claims; change != NULL;
         change = change->next) {
        const struct set_group *group = change->view->group;
        bool done = group != NULL && group->outcome == SET_DONE;
        bool unknown = group != NULL && group->outcome == SET_UNKNOWN;
        if (done != change->takes && !unknown && (!change->takes || change->taken)) {
            release_claim(tx, change);
        }
    }
}

static void settle(struct transaction *tx)
{
    const struct commit *commit = tx->commit;
    size_t done = count_groups(commit, SET_DONE);
    size_t changed = count_groups(commit, SET_CHANGED) + count_groups(commit, SET_LATE);
    if (done == 0 && changed == commit->group_count) {
        try_again(tx);
        return;
    }
    uint64_t written = settle_groups(tx);
    settle_claims(tx);
    if (changed > 0 && tx->error.code == CODE_OK) {
        struct error error = ERROR_INIT;
        error_set(&error, CODE_CONFLICT,
                  "%s: others wrote some of the records meanwhile; %llu of %zu were written",
                  tx->store->resource->name, (unsigned long long)written, commit->count);
        error_resource(&error, tx->store->resource->name);
        tx_fail(tx, &error);
    }
    if (tx->error.code != CODE_OK && commit->count > 1) {
        tx->error.written = (int64_t)written;
    }
    finish(tx, written);
}

/* ---- Claims that were refused ---- */

static void conflict(struct transaction *tx, const struct claim_change *change)
{
    struct error error = ERROR_INIT;
    store_taken(tx->store->resource, change->identity, change->key, change->key_size, &error);
    tx_fail(tx, &error);
}

static void on_other(struct home_command *command, const struct home_answer *answer)
{
    struct claim_change *change = tx_command_of(command)->about;
    struct transaction *tx = change->view->tx;
    const struct resource *resource = tx->store->resource;
    struct error error = ERROR_INIT;
    struct store_key key, mark;
    struct stored_value stored;
    if (was_done(tx, answer)) {
        CHECK(claim_take(resource, change->other, change->other_size, &key, &mark));
        int status = encoding_read(resource, key.bytes, key.size, answer->reply, &tx->arena,
                                   &stored, &error);
        /* A record that cannot be read might bear it. */
        change->borne = status < 0 ||
                        (stored.record != NULL &&
                         key_matches(resource, &change->identity->fields, stored.record,
                                     change->key, change->key_size));
    }
    tx_returned(tx);
}

/* Another record of this same write may be giving it up. */
static bool is_given_up_here(struct transaction *tx, const struct claim_change *refused)
{
    for (const struct claim_change *change = tx->commit->claims; change != NULL;
         change = change->next) {
        if (!change->takes && change->name_size == refused->name_size &&
            memcmp(change->name, refused->name, change->name_size) == 0) {
            return true;
        }
    }
    return false;
}

/* Asks for the records that have what was refused. */
static void check_start(struct transaction *tx)
{
    const struct resource *resource = tx->store->resource;
    struct store_key key, mark;
    tx->stage = TX_CHECKING;
    tx->pending = 1; /* this function */
    for (struct claim_change *change = tx->commit->claims; change != NULL; change = change->next) {
        if (!change->refused || is_given_up_here(tx, change)) {
            continue;
        }
        if (!claim_take(resource, change->other, change->other_size, &key, &mark)) {
            continue; /* nobody's */
        }
        /* tx_view makes the name, and may be the view of no record of this write. */
        const struct view *other = tx_view(tx, key.bytes, key.size);
        if (other == NULL) {
            break;
        }
        buffer_truncate(&tx->bytes, 0);
        encoding_read_command(resource, other->name, other->name_size, &tx->bytes);
        tx_send(tx, change, other->slot, on_other);
    }
    tx_returned(tx);
}

/* What nobody bears, and nobody is just about to, is taken over. */
static void take_over(struct transaction *tx)
{
    tx->stage = TX_PREPARING;
    tx->pending = 1; /* this function */
    for (struct claim_change *change = tx->commit->claims; change != NULL; change = change->next) {
        if (!change->refused) {
            continue;
        }
        bool under_way = change->age_ms < TX_CLAIM_LEASE_MS && !is_given_up_here(tx, change);
        if (change->borne || under_way || change->again) {
            conflict(tx, change);
            break;
        }
        change->again = true;
        take_claim(tx, change);
    }
    tx_returned(tx);
}

static bool any_refused(const struct transaction *tx)
{
    for (const struct claim_change *change = tx->commit->claims; change != NULL;
         change = change->next) {
        if (change->refused) {
            return true;
        }
    }
    return false;
}

/* ---- The way ---- */

/* The staged records, copied: whoever asked may leave. */
static bool collect(struct transaction *tx)
{
    struct commit *commit = tx->commit;
    size_t count = 0;
    LIST_EACH(node, &tx->order)
    {
        count++;
    }
    commit->views = arena_alloc(&tx->arena, (count + 1) * sizeof(struct view *));
    LIST_EACH(node, &tx->order)
    {
        struct view *view = CONTAINER_OF(node, struct view, link);
        if (commit->views == NULL || !view->staged) {
            continue;
        }
        if (view->after != NULL) {
            view->after = arena_copy(&tx->arena, view->after,
                                     record_bytes(view->after, tx->store->resource->field_count));
        } else if (!view->stored.exists) {
            continue; /* created and removed in one write */
        }
        commit->views[commit->count++] = view;
    }
    return !tx->arena.failed;
}

static void prepare(struct transaction *tx)
{
    struct redis *redis = tx->store->redis;
    tx->commit = arena_zero(&tx->arena, 1, sizeof *tx->commit);
    if (tx->commit == NULL || !collect(tx)) {
        tx_no_memory(tx);
        finish(tx, 0);
        return;
    }
    if (redis_keeps_indexes(tx->store)) {
        uint64_t now_ms = wall_ms();
        tx->commit->mark_size =
            mark_make(tx->commit->mark, redis->daemon, ++redis->mark_number, now_ms);
        tx->commit->deadline_ms = now_ms + TX_DEADLINE_MS;
    }
    tx->pending = 1; /* this function */
    for (size_t i = 0; i < tx->commit->count; i++) {
        struct view *view = tx->commit->views[i];
        if (view->after != NULL) {
            add_members(tx, view);
        }
        change_claims(tx, view);
    }
    tx_returned(tx);
}

static void on_built_known(struct built_waiter *waiter)
{
    struct transaction *tx = CONTAINER_OF(waiter, struct transaction, built_waiter);
    struct error error = ERROR_INIT;
    tx->pending = 0;
    /* Beside records whose identities nobody knows, none can be promised. */
    if (redis_keeps_indexes(tx->store) && tx->store->resource->identity_count > 0 &&
        redis_claims_are_whole(tx->store, &error) < 0) {
        tx_fail(tx, &error);
        finish(tx, 0);
        return;
    }
    prepare(tx);
}

void commit_start(struct transaction *tx)
{
    tx->stage = TX_PREPARING;
    tx->pending = 1; /* while it is not known whether the indexes are whole */
    tx->built_waiter.known = on_built_known;
    if (!redis_keeps_indexes(tx->store) || redis_built_ask(tx->store, &tx->built_waiter)) {
        on_built_known(&tx->built_waiter);
    }
}

void commit_go_on(struct transaction *tx)
{
    switch (tx->stage) {
    case TX_PREPARING:
        if (tx->error.code != CODE_OK || tx->write == NULL) {
            give_up(tx);
        } else if (any_refused(tx)) {
            check_start(tx);
        } else if (tx->commit->count == 0) {
            finish(tx, 0);
        } else {
            set_start(tx);
        }
        return;
    case TX_CHECKING:
        if (tx->error.code != CODE_OK || tx->write == NULL) {
            give_up(tx);
        } else {
            take_over(tx);
        }
        return;
    case TX_SETTING:
        settle(tx);
        return;
    case TX_JUDGING:
    case TX_ASKING:
    case TX_LOCKING:
    case TX_READING:
        break;
    }
    CHECK(!"a stage of doing it");
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layers/redis/commit.h"
#include "protocol/base/check.h"

/* Doing what a pass staged. The happy path is
 *
 *   prepare -> (members and claims are in) -> set -> (the records are set) -> settle
 *
 * transaction.h has the whole way. Possible failures are no memory, a claim that
 * another record has (conflict), what the home answers before the records were set
 * (nothing is written: what was put in is taken out), a record that somebody else
 * wrote meanwhile (judged again, or conflict at last), and a link that is lost while
 * they are set: nobody knows then what is written. */

enum { TRACKED_MAX = 8 }; /* keys of one script */

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- Giving up ---- */

/* Takes out what was put in. */
static void undo(struct transaction *tx)
{
    const struct commit *commit = tx->commit;
    for (size_t i = 0; i < commit->count; i++) {
        if (commit->views[i]->after != NULL) {
            commit_remove_members(tx, commit->views[i]->after, commit->mark, commit->mark_size);
        }
    }
    for (const struct claim_change *change = commit->claims; change != NULL;
         change = change->next) {
        if (change->takes && change->taken) {
            commit_release_claim(tx, change);
        }
    }
}

/* The transaction is over, and whoever asked is told; where nobody does, it goes. */
static void finish(struct transaction *tx, uint64_t written)
{
    bool left = tx->write == NULL;
    tx_unlock(tx);
    tx->stage = TX_JUDGING;
    if (tx->error.outcome[0] != '\0') {
        tx->error.outcome[0] = '\0'; /* it is said in the end, of the write */
        error_outcome_unknown(&tx->error);
    }
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

/* Whether it failed within the script, which may have done a part by then; where
 * memory lacks, no write of a script is begun. */
static bool is_half_done(const struct resp_token *token)
{
    static const char within[] = "script:";
    return token->kind == RESP_ERROR && !resp_begins(token, "OOM") &&
           memmem(token->bytes, token->size, within, sizeof within - 1) != NULL;
}

/* Of an answer that says neither that it was done nor that it was not. */
static void tell_unknown(struct transaction *tx, const struct resp_token *token)
{
    struct error error = ERROR_INIT;
    bool text = token->kind == RESP_ERROR;
    error_set(&error, CODE_UNAVAILABLE, "the Redis \"%s\" answered: %.*s",
              home_name(tx->store->home), text ? (int)(token->size < 200 ? token->size : 200) : 200,
              text ? (const char *)token->bytes : resp_describe(token));
    snprintf(error.outcome, sizeof error.outcome, "unknown");
    tx_fail(tx, &error);
}

static enum set_outcome outcome_of(struct transaction *tx, const struct home_answer *answer)
{
    if (answer->outcome == HOME_UNKNOWN) {
        tx_fail(tx, &answer->error);
        return SET_UNKNOWN;
    }
    if (answer->outcome == HOME_ANSWERED) {
        struct resp_reader in = answer->reply;
        struct resp_token token = resp_next(&in);
        if (token.kind == RESP_INTEGER) {
            return token.integer == 0 ? SET_DONE : token.integer < 0 ? SET_LATE : SET_CHANGED;
        }
        if (token.kind != RESP_ERROR || is_half_done(&token)) {
            tell_unknown(tx, &token);
            return SET_UNKNOWN;
        }
    }
    commit_was_done(tx, answer);
    return SET_FAILED;
}

static void on_set(struct home_command *command, const struct home_answer *answer)
{
    struct set_group *group = tx_command_of(command)->about;
    struct transaction *tx = group->tx;
    const struct commit *commit = tx->commit;
    group->outcome = outcome_of(tx, answer);
    for (size_t i = group->first; group->outcome == SET_DONE && i < group->first + group->count;
         i++) {
        const struct view *view = commit->views[i];
        if (tx->store->table != NULL) {
            /* Now, and not when all groups are set: what comes behind this answer is newer. */
            resident_apply(tx->store, view->key, view->key_size, view->after);
        } else {
            /* Its notice comes right behind this answer. */
            redis_expect_echo(tx->store, view->key, view->key_size);
        }
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
    /* A server that tracks what a script reads remembers all of its keys at each read
     * anew, which takes as long as their number squared. */
    tx->untracked = group->count > TRACKED_MAX;
    tx_send(tx, group, commit->views[group->first]->slot, on_set);
    tx->untracked = false;
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
    tx->write->sent = true;
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
    if (view->after != NULL && tx->commit->flushes != store->flushes) {
        /* Redis may have been emptied between what leads to it and itself. */
        commit_add_members_again(tx, view);
        commit_put_claims_back(tx, view);
    }
    if (store->table == NULL) {
        redis_forget(store, view->key, view->key_size);
        if (!home_is_current(store->home, store->lane)) {
            /* No notice tells who reads sets and claims just now that they have changed. */
            redis_forget_hints(store);
        }
        struct write_event event = {.cause = WRITE_CALL, .old = view->record, .new = view->after};
        redis_publish(store, &event);
    }
    if (view->record != NULL) {
        commit_remove_members(tx, view->record, view->stored.mark, view->stored.mark_size);
    }
}

/* It may have been set, or not. */
static void publish_unknown(struct transaction *tx, const struct view *view)
{
    struct redis_store *store = tx->store;
    if (store->table != NULL) {
        resident_look_again(store, view->key, view->key_size);
        return;
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
                commit_remove_members(tx, commit->views[i]->after, commit->mark, commit->mark_size);
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
            commit_release_claim(tx, change);
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
        error_set(&error, CODE_CONFLICT, "%s: others wrote some of the records meanwhile",
                  tx->store->resource->name);
        error_resource(&error, tx->store->resource->name);
        tx_fail(tx, &error);
    }
    bool unknown = count_groups(commit, SET_UNKNOWN) > 0;
    if (tx->error.code != CODE_OK && commit->count > 1 && (written > 0 || !unknown)) {
        tx->error.written = (int64_t)written;
        error_append(&tx->error, "; %llu of %zu were written", (unsigned long long)written,
                     commit->count);
    }
    finish(tx, written);
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
    tx->commit->flushes = tx->store->flushes;
    tx->pending = 1; /* this function */
    for (size_t i = 0; i < tx->commit->count; i++) {
        struct view *view = tx->commit->views[i];
        if (view->after != NULL) {
            commit_add_members(tx, view);
        }
        commit_change_claims(tx, view);
    }
    tx_returned(tx);
}

static void on_built_known(struct built_waiter *waiter, const struct error *why_not)
{
    struct transaction *tx = CONTAINER_OF(waiter, struct transaction, built_waiter);
    bool only_relata = tx->store->resource->redis->only_relata;
    struct error error = ERROR_INIT;
    tx->pending = 0;
    if (tx->write == NULL) {
        finish(tx, 0); /* what was staged lay in the memory of whoever asked */
        return;
    }
    if (why_not != NULL && only_relata) {
        tx_fail(tx, why_not); /* somebody's index might be whole no more, and nobody know */
        finish(tx, 0);
        return;
    }
    /* Beside records whose identities nobody knows, none can be promised. */
    if (only_relata && redis_claims_are_whole(tx->store, &error) < 0) {
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
    tx->built_waiter.writes = true;
    tx->built_waiter.known = on_built_known;
    if (!redis_built_ask(tx->store, &tx->built_waiter)) {
        return;
    }
    if (redis_built_is_known(tx->store)) {
        on_built_known(&tx->built_waiter, NULL);
    } else {
        tx_no_memory(tx);
        finish(tx, 0);
    }
}

void commit_go_on(struct transaction *tx)
{
    switch (tx->stage) {
    case TX_PREPARING:
        if (tx->error.code != CODE_OK || tx->write == NULL) {
            give_up(tx);
        } else if (commit_any_refused(tx)) {
            commit_check_claims(tx);
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
            commit_take_over(tx);
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

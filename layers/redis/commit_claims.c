#include <string.h>

#include "layers/redis/commit.h"
#include "protocol/base/check.h"

/* The claims of identities that a write takes and gives up (index_set.h). The happy
 * path is change -> taken. A claim that stands there already is refused: the record
 * that has it is asked whether it bears it; where it does not, and the claim is not
 * that of a write under way, it is taken over, by compare-and-set. */

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
static const char release_script[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                                     "if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end\n"
                                     "redis.call('SET', KEYS[1], ARGV[2])\n"
                                     "return 1\n";

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
    if (!commit_was_done(tx, answer)) {
        tx_returned(tx);
        return;
    }
    struct resp_reader in = answer->reply;
    struct resp_token token = resp_next(&in);
    if (token.kind == RESP_INTEGER) {
        claim_taken(change, token.integer, NULL);
    } else if (token.kind != RESP_ARRAY || token.count != 2) {
        struct error error = ERROR_INIT;
        error_set(&error, CODE_UNAVAILABLE,
                  "the Redis \"%s\" answered to a claim of an identity: %s",
                  home_name(tx->store->home), resp_describe(&token));
        tx_fail(tx, &error);
    } else {
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
    if (commit_was_done(tx, answer)) {
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
void commit_release_claim(struct transaction *tx, const struct claim_change *change)
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
    commit_send_loose(tx, change->slot);
}

void commit_put_claims_back(struct transaction *tx, const struct view *view)
{
    for (const struct claim_change *change = tx->commit->claims; change != NULL;
         change = change->next) {
        if (change->view != view || !change->takes || change->value_size == 0) {
            continue;
        }
        buffer_truncate(&tx->bytes, 0);
        resp_command(&tx->bytes, 4);
        resp_word_text(&tx->bytes, "SET");
        resp_word(&tx->bytes, change->name, change->name_size);
        resp_word(&tx->bytes, change->value, change->value_size);
        resp_word_text(&tx->bytes, "NX"); /* who has it meanwhile keeps it */
        commit_send_loose(tx, change->slot);
    }
}

static const struct identity *identity_of(const struct transaction *tx, unsigned number)
{
    return &tx->store->resource->identities[number];
}

static void change_claim(struct transaction *tx, struct view *view, unsigned identity,
                         const struct buffer *key, bool takes)
{
    struct claim_change *change = arena_zero(&tx->arena, 1, sizeof *change);
    struct buffer name = BUFFER_INIT;
    claim_name(tx->store->resource, identity_of(tx, identity), key->bytes, key->size, &name);
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
void commit_change_claims(struct transaction *tx, struct view *view)
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
        if (before.failed || after.failed) {
            tx_no_memory(tx);
            has = false;
            had = false;
        }
        bool same = had && has && before.size == after.size &&
                    memcmp(before.bytes, after.bytes, before.size) == 0;
        if (has && !same) {
            change_claim(tx, view, i, &after, true);
        }
        if (had && !same) {
            change_claim(tx, view, i, &before, false);
        }
        buffer_release(&before);
        buffer_release(&after);
    }
}

/* ---- Claims that were refused ---- */

static void conflict(struct transaction *tx, const struct claim_change *change)
{
    struct error error = ERROR_INIT;
    store_taken(tx->store->resource, identity_of(tx, change->identity), change->key,
                change->key_size, &error);
    tx_fail_at(tx, change->view, &error);
}

static void on_other(struct home_command *command, const struct home_answer *answer)
{
    struct claim_change *change = tx_command_of(command)->about;
    struct transaction *tx = change->view->tx;
    const struct resource *resource = tx->store->resource;
    struct error error = ERROR_INIT;
    struct store_key key, mark;
    struct stored_value stored;
    const struct field_list *fields = &identity_of(tx, change->identity)->fields;
    if (commit_was_done(tx, answer)) {
        CHECK(claim_take(resource, change->other, change->other_size, &key, &mark));
        int status = encoding_read(resource, key.bytes, key.size, answer->reply, &tx->arena,
                                   &stored, &error);
        /* A record that cannot be read might bear it. */
        change->borne =
            status < 0 || (stored.record != NULL && key_matches(resource, fields, stored.record,
                                                                change->key, change->key_size));
    }
    tx_returned(tx);
}

/* Asks for the records that have what was refused. */
void commit_check_claims(struct transaction *tx)
{
    const struct resource *resource = tx->store->resource;
    struct store_key key, mark;
    tx->stage = TX_CHECKING;
    tx->pending = 1; /* this function */
    for (struct claim_change *change = tx->commit->claims; change != NULL; change = change->next) {
        if (!change->refused) {
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
void commit_take_over(struct transaction *tx)
{
    tx->stage = TX_PREPARING;
    tx->pending = 1; /* this function */
    for (struct claim_change *change = tx->commit->claims; change != NULL; change = change->next) {
        if (!change->refused) {
            continue;
        }
        bool under_way = change->age_ms < TX_CLAIM_LEASE_MS;
        if (change->borne || under_way || change->again) {
            conflict(tx, change);
            break;
        }
        change->again = true;
        take_claim(tx, change);
    }
    tx_returned(tx);
}

bool commit_any_refused(const struct transaction *tx)
{
    for (const struct claim_change *change = tx->commit->claims; change != NULL;
         change = change->next) {
        if (change->refused) {
            return true;
        }
    }
    return false;
}

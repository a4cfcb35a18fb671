#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/reindex_inner.h"
#include "layers/redis/transaction.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* One record of a resource that is reindexed. The happy path is
 *
 *   read -> ZADD of its member for each index, its claim of each identity -> done
 *
 * A claim that is this record's already stays as it is, since whoever took it may be
 * about to give exactly that up. Another record's is looked into:
 *
 *   refused -> read both records -> this one does not bear it any more: done
 *                                -> the other one does not: it is taken over
 *                                -> both do, once more as well: conflict
 *
 * Possible failures are those of reindex.c. */

enum {
    SURE = 2,     /* times that two records have to be seen with one identity */
    TRIES_MAX = 8 /* of a claim that changes hands all the time */
};

struct item {
    struct redis_reindex *reindex;
    struct arena arena;
    size_t pending;
    const uint8_t *key;
    size_t key_size;
    struct stored_value stored;
    struct buffer bytes; /* scratch, for commands */
};

/* A claim of the record. */
struct claim {
    struct item *item;
    const struct identity *identity;
    const uint8_t *key; /* of the identity */
    size_t key_size;
    const uint8_t *name;
    size_t name_size;
    uint16_t slot;
    unsigned tries;
    unsigned seen; /* with both */
    /* What is there instead. */
    const uint8_t *there;
    size_t there_size;
    struct store_key other; /* the record; size 0: nobody's */
    uint64_t age_ms;
    size_t reads; /* that are out */
    bool borne;
    bool other_borne;
};

struct item_command {
    struct home_command command;
    struct item *item;
    struct claim *claim;
};

/* KEYS[1] is the claim, ARGV[1] the value without its time, ARGV[2] the primary key
 * that it begins with, ARGV[3] another record's value that may be replaced ("" for
 * none). Answers 1, or what another record has there, and its age. What it puts there
 * is of no age: no write of the record is under way, so that whoever finds that the
 * record does not bear it may take it over at once. */
static const char claim_script[] =
    "local now = redis.call('TIME')\n"
    "local ms = now[1] * 1000 + math.floor(now[2] / 1000)\n"
    "local there = redis.call('GET', KEYS[1])\n"
    "if there and string.sub(there, 1, #ARGV[2]) == ARGV[2] then return 1 end\n"
    "if there and there ~= ARGV[3] then\n"
    "  local since = tonumber(string.match(there, '@(%d+)$') or '0')\n"
    "  return {there, ms - since}\n"
    "end\n"
    "redis.call('SET', KEYS[1], ARGV[1] .. '@0')\n"
    "return 1\n";

/* ---- Commands ---- */

static void item_returned(struct item *item)
{
    struct redis_reindex *reindex = item->reindex;
    if (--item->pending > 0) {
        return;
    }
    arena_release(&item->arena);
    buffer_release(&item->bytes);
    heap_free(item);
    reindex_returned(reindex);
}

/* Sends what stands in item->bytes. */
static void send_for(struct item *item, struct claim *claim, uint16_t slot,
                     void (*done)(struct home_command *, const struct home_answer *))
{
    struct redis_store *store = item->reindex->store;
    struct item_command *sent = arena_zero(&item->arena, 1, sizeof *sent);
    const uint8_t *bytes =
        item->bytes.failed ? NULL : arena_copy(&item->arena, item->bytes.bytes, item->bytes.size);
    if (sent == NULL || bytes == NULL) {
        reindex_no_memory(item->reindex);
        return;
    }
    sent->item = item;
    sent->claim = claim;
    sent->command = (struct home_command){.bytes = bytes,
                                          .size = item->bytes.size,
                                          .slot = slot,
                                          .node = HOME_NODE_OF_SLOT,
                                          .lane = store->lane,
                                          .done = done};
    item->pending++;
    home_send(store->home, &sent->command);
}

static struct item_command *sent_of(struct home_command *command)
{
    return CONTAINER_OF(command, struct item_command, command);
}

static void send_read(struct item *item, struct claim *claim, const uint8_t *key, size_t size,
                      void (*done)(struct home_command *, const struct home_answer *))
{
    struct redis_reindex *reindex = item->reindex;
    struct buffer name = BUFFER_INIT;
    key_text_append(reindex->resource, key, size, &name);
    buffer_truncate(&item->bytes, 0);
    encoding_read_command(reindex->resource, name.bytes, name.size, &item->bytes);
    item->bytes.failed |= name.failed;
    uint16_t slot = redis_slot(reindex->store, name.bytes, name.size);
    buffer_release(&name);
    send_for(item, claim, slot, done);
}

/* ---- Members of index sets ---- */

static void on_added(struct home_command *command, const struct home_answer *answer)
{
    struct item *item = sent_of(command)->item;
    struct resp_reader in;
    struct resp_token token;
    reindex_take(item->reindex, answer, &in, &token);
    item_returned(item);
}

static void add_member(struct item *item, const struct index *index)
{
    const struct resource *resource = item->reindex->resource;
    const struct stored_value *stored = &item->stored;
    struct buffer name = BUFFER_INIT;
    struct buffer member = BUFFER_INIT;
    if (index_set_name(resource, index, stored->record, &name)) {
        index_set_member(resource, index, stored->record, stored->mark, stored->mark_size, &member);
        buffer_truncate(&item->bytes, 0);
        resp_command(&item->bytes, 4);
        resp_word_text(&item->bytes, "ZADD");
        resp_word(&item->bytes, name.bytes, name.size);
        resp_word_text(&item->bytes, "0");
        resp_word(&item->bytes, member.bytes, member.size);
        item->bytes.failed |= name.failed || member.failed;
        send_for(item, NULL, redis_slot(item->reindex->store, name.bytes, name.size), on_added);
    }
    buffer_release(&name);
    buffer_release(&member);
}

/* ---- Claims ---- */

static void on_claimed(struct home_command *command, const struct home_answer *answer);

static void take_claim(struct claim *claim, bool over)
{
    struct item *item = claim->item;
    const struct stored_value *stored = &item->stored;
    struct buffer value = BUFFER_INIT;
    buffer_append(&value, item->key, item->key_size);
    buffer_append(&value, stored->mark, stored->mark_size);
    buffer_truncate(&item->bytes, 0);
    resp_command(&item->bytes, 7);
    resp_word_text(&item->bytes, "EVAL");
    resp_word_text(&item->bytes, claim_script);
    resp_word_text(&item->bytes, "1");
    resp_word(&item->bytes, claim->name, claim->name_size);
    resp_word(&item->bytes, value.bytes, value.size);
    resp_word(&item->bytes, item->key, item->key_size);
    resp_word(&item->bytes, over ? claim->there : (const uint8_t *)"",
              over ? claim->there_size : 0);
    item->bytes.failed |= value.failed;
    buffer_release(&value);
    send_for(item, claim, claim->slot, on_claimed);
}

static void conflict(const struct claim *claim)
{
    const struct item *item = claim->item;
    const struct resource *resource = item->reindex->resource;
    const struct field_list *fields = &claim->identity->fields;
    struct error error = ERROR_INIT;
    struct buffer shown = BUFFER_INIT;
    char what[128], one[96], other[96];
    key_describe(fields, claim->key, claim->key_size, what, sizeof what);
    key_describe(&resource->primary_key, item->key, item->key_size, one, sizeof one);
    key_describe(&resource->primary_key, claim->other.bytes, claim->other.size, other,
                 sizeof other);
    error_set(&error, CODE_CONFLICT,
              "both %s and %s have the identity %s (%s): one of them must change before it can be "
              "reindexed",
              other, one, claim->identity->name, what);
    if (fields->count == 1) {
        error_field(&error, resource->fields[fields->fields[0]].name);
    }
    key_write(&shown, fields, claim->key, claim->key_size);
    if (!shown.failed) {
        error_key(&error, shown.bytes, shown.size);
    }
    buffer_release(&shown);
    reindex_fail(item->reindex, &error);
}

/* Both records are read. */
static void judge(struct claim *claim)
{
    struct redis_reindex *reindex = claim->item->reindex;
    if (!claim->borne) {
        return; /* whoever changed it has seen to its claims */
    }
    if (++claim->tries > TRIES_MAX || (!claim->other_borne && claim->age_ms < TX_CLAIM_LEASE_MS)) {
        reindex_try_again(reindex, "a record with one of its identities was being written");
    } else if (!claim->other_borne) {
        take_claim(claim, true);
    } else if (++claim->seen < SURE) {
        take_claim(claim, false);
    } else {
        conflict(claim);
    }
}

/* Whether the record that was read has the claim. One that does not fit is in no
 * index. False, and it fails, where that cannot be told. */
static bool read_bearer(struct claim *claim, const struct store_key *key,
                        const struct home_answer *answer, bool *borne)
{
    struct redis_reindex *reindex = claim->item->reindex;
    const struct resource *resource = reindex->resource;
    struct stored_value stored = {0};
    struct error error = ERROR_INIT;
    struct resp_reader in;
    struct resp_token token;
    if (answer->outcome != HOME_ANSWERED) {
        return reindex_take(reindex, answer, &in, &token);
    }
    int status = encoding_read(resource, key->bytes, key->size, answer->reply, &claim->item->arena,
                               &stored, &error);
    if (status < 0 && status != -CODE_INVALID_VALUE) {
        reindex_fail(reindex, &error);
        return false;
    }
    *borne =
        status == 0 && stored.record != NULL &&
        key_matches(resource, &claim->identity->fields, stored.record, claim->key, claim->key_size);
    return true;
}

static void bearer_returned(struct claim *claim)
{
    if (--claim->reads == 0 && claim->item->reindex->error.code == CODE_OK) {
        judge(claim);
    }
    item_returned(claim->item);
}

static void on_other(struct home_command *command, const struct home_answer *answer)
{
    struct claim *claim = sent_of(command)->claim;
    if (reindex_goes_on(claim->item->reindex)) {
        read_bearer(claim, &claim->other, answer, &claim->other_borne);
    }
    bearer_returned(claim);
}

static void on_own(struct home_command *command, const struct home_answer *answer)
{
    struct claim *claim = sent_of(command)->claim;
    const struct store_key key = {.bytes = claim->item->key, .size = claim->item->key_size};
    if (reindex_goes_on(claim->item->reindex)) {
        read_bearer(claim, &key, answer, &claim->borne);
    }
    bearer_returned(claim);
}

/* Somebody else's claim, or no claim at all. */
static void look_into(struct claim *claim, const struct resp_token *there)
{
    struct item *item = claim->item;
    struct store_key mark;
    claim->there = arena_copy(&item->arena, there->bytes, there->size);
    claim->there_size = there->size;
    if (claim->there == NULL) {
        reindex_no_memory(item->reindex);
        return;
    }
    if (!claim_take(item->reindex->resource, claim->there, claim->there_size, &claim->other,
                    &mark)) {
        take_claim(claim, true);
        return;
    }
    claim->reads = 2;
    claim->borne = false;
    claim->other_borne = false;
    send_read(item, claim, claim->other.bytes, claim->other.size, on_other);
    send_read(item, claim, item->key, item->key_size, on_own);
}

static void on_claimed(struct home_command *command, const struct home_answer *answer)
{
    struct claim *claim = sent_of(command)->claim;
    struct item *item = claim->item;
    struct resp_reader in;
    struct resp_token token;
    if (reindex_goes_on(item->reindex) && reindex_take(item->reindex, answer, &in, &token) &&
        token.kind == RESP_ARRAY) {
        struct resp_token there = resp_next(&in);
        struct resp_token age = resp_next(&in);
        claim->age_ms = age.kind == RESP_INTEGER && age.integer > 0 ? (uint64_t)age.integer : 0;
        look_into(claim, &there);
    }
    item_returned(item);
}

static void claim_identity(struct item *item, const struct identity *identity)
{
    const struct redis_reindex *reindex = item->reindex;
    struct buffer key = BUFFER_INIT;
    struct buffer name = BUFFER_INIT;
    if (!key_of_record(reindex->resource, &identity->fields, item->stored.record, &key)) {
        buffer_release(&key);
        return; /* nil: it has none */
    }
    struct claim *claim = key.failed ? NULL : arena_zero(&item->arena, 1, sizeof *claim);
    if (claim != NULL) {
        claim_name(reindex->resource, identity, key.bytes, key.size, &name);
    }
    if (claim != NULL && !name.failed) {
        *claim = (struct claim){.item = item,
                                .identity = identity,
                                .key = arena_copy(&item->arena, key.bytes, key.size),
                                .key_size = key.size,
                                .name = arena_copy(&item->arena, name.bytes, name.size),
                                .name_size = name.size,
                                .slot = redis_slot(reindex->store, name.bytes, name.size)};
    }
    if (claim == NULL || claim->key == NULL || claim->name == NULL) {
        reindex_no_memory(item->reindex);
    } else {
        take_claim(claim, false);
    }
    buffer_release(&key);
    buffer_release(&name);
}

/* ---- The record ---- */

static void name_record(struct item *item)
{
    const struct redis_reindex *reindex = item->reindex;
    for (unsigned i = 0; i < redis_index_count(reindex->store); i++) {
        add_member(item, &reindex->resource->indexes[i]);
    }
    for (unsigned i = 0; i < reindex->resource->identity_count; i++) {
        claim_identity(item, &reindex->resource->identities[i]);
    }
}

static void on_read(struct home_command *command, const struct home_answer *answer)
{
    struct item *item = sent_of(command)->item;
    struct redis_reindex *reindex = item->reindex;
    struct error error = ERROR_INIT;
    struct resp_reader in;
    struct resp_token token;
    if (!reindex_goes_on(reindex)) {
        item_returned(item);
        return;
    }
    if (answer->outcome != HOME_ANSWERED) {
        reindex_take(reindex, answer, &in, &token);
        item_returned(item);
        return;
    }
    int status = encoding_read(reindex->resource, item->key, item->key_size, answer->reply,
                               &item->arena, &item->stored, &error);
    if (status == -CODE_INVALID_VALUE) {
        reindex->misfits++;
    } else if (status < 0) {
        reindex_fail(reindex, &error);
    } else if (item->stored.record != NULL) {
        reindex->records++;
        name_record(item);
    }
    item_returned(item);
}

void reindex_record(struct redis_reindex *reindex, const uint8_t *key, size_t size)
{
    struct item *item = heap_zero(1, sizeof *item);
    if (item == NULL) {
        reindex_no_memory(reindex);
        return;
    }
    arena_init(&item->arena, 0);
    item->reindex = reindex;
    item->key = arena_copy(&item->arena, key, size);
    item->key_size = size;
    if (item->key != NULL) {
        send_read(item, NULL, item->key, size, on_read);
    } else {
        reindex_no_memory(reindex);
    }
    if (item->pending == 0) {
        arena_release(&item->arena);
        buffer_release(&item->bytes);
        heap_free(item);
        return;
    }
    reindex->out++;
}

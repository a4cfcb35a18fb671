#include <stddef.h>
#include <string.h>

#include "layers/redis/index_set.h"
#include "layers/redis/key_text.h"
#include "layers/redis/redis_inner.h"
#include "protocol/base/check.h"

/* What is not known here is asked for through the coalescer, as loads of
 * relationships are: keys that are asked for at the same time leave together, each
 * once, a key in flight is joined unless something overtook it, and what nothing
 * overtook may be kept. Three loaders for each resource: records by primary key,
 * claims of identities, and sets of indexes.
 *
 * The happy path of a batch is start -> a command or two for each key -> on_... for
 * each reply -> complete. Possible failures are no memory (the batch fails), and what
 * the home answers: that fails keys one by one. A batch that is cancelled is
 * completed all the same when its last reply has come: until then the replies need
 * its memory. */

enum {
    IN_FLIGHT_MAX = 8, /* batches of one loader */
    BATCH_KEYS = 1000,
    BATCH_KEYS_LEAST = 8,
    BATCH_BYTES = 2 << 20,       /* of records, about: all that are out have 16 MiB */
    KEEPING_MAX = 1 << 20,       /* of scratch memory */
    BATCH_MEMBERS_MAX = 1000000, /* members of all index sets that one batch reads */
    NUMBER_BYTES = 2             /* an identity's or an index's number, in front of a key */
};

/* A batch that is out. In the batch's scratch memory, as its commands are. */
struct reading {
    struct redis_store *store;
    struct batch *batch;
    size_t missing; /* replies */
    size_t members; /* of index sets, so far */
    uint64_t sent_us;
    const uint8_t *commands;
    uint32_t *starts; /* of the commands, and where the last one ends */
    size_t count;     /* commands */
    union {           /* what the batch answers, one for each key */
        struct read_record *records;
        struct read_claim *claims;
        struct read_range *ranges;
    };
    const struct error *failure; /* of the last key that failed: most fail alike */
};

static struct reading *reading_create(struct redis_store *store, struct batch *batch, size_t most)
{
    struct reading *reading = arena_zero(&batch->scratch, 1, sizeof *reading);
    if (reading == NULL) {
        return NULL;
    }
    reading->store = store;
    reading->batch = batch;
    reading->sent_us = redis_now_us(store);
    reading->starts = arena_alloc(&batch->scratch, (most + 1) * sizeof *reading->starts);
    return reading->starts != NULL ? reading : NULL;
}

/* The next command begins here. */
static void reading_mark(struct reading *reading, const struct buffer *commands)
{
    reading->starts[reading->count++] = (uint32_t)commands->size;
}

/* The commands stay with the batch. */
static bool reading_keep(struct reading *reading, struct buffer *commands)
{
    reading->starts[reading->count] = (uint32_t)commands->size;
    reading->commands = commands->failed || commands->size > UINT32_MAX
                            ? NULL
                            : arena_copy(&reading->batch->scratch, commands->bytes, commands->size);
    buffer_release(commands);
    return reading->commands != NULL;
}

static void reading_send(struct reading *reading, struct home_command *command, size_t number,
                         uint16_t slot,
                         void (*done)(struct home_command *, const struct home_answer *))
{
    command->bytes = reading->commands + reading->starts[number];
    command->size = reading->starts[number + 1] - reading->starts[number];
    command->slot = slot;
    command->node = HOME_NODE_OF_SLOT;
    command->lane = reading->store->lane;
    command->done = done;
    reading->missing++;
    home_send(reading->store->home, command);
}

/* As many records at once as are bounded in bytes. */
static void limit_records(struct redis_store *store)
{
    store->records.limits.max_size =
        value_sizes_count(&store->sizes, BATCH_BYTES, BATCH_KEYS_LEAST, BATCH_KEYS);
}

static void reading_end(struct reading *reading)
{
    struct redis_store *store = reading->store;
    struct batch *batch = reading->batch;
    if (--reading->missing > 0) {
        return;
    }
    limit_records(store);
    coalescer_complete(store->redis->engine.coalescer, batch, redis_now_us(store));
    redis_store_put(store);
}

static void fail_batch(struct redis_store *store, struct batch *batch)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_OVERLOADED, "%s: no memory to read from Redis", store->resource->name);
    coalescer_fail(store->redis->engine.coalescer, batch, &error, redis_now_us(store));
}

/* Whether they say the same: the message has all that the details have. */
static bool same_error(const struct error *a, const struct error *b)
{
    return a->code == b->code && strcmp(a->message, b->message) == 0;
}

static void fail_key(struct reading *reading, size_t key, const struct error *error)
{
    static const struct error no_memory = {.code = CODE_OVERLOADED,
                                           .message = "no memory to read from Redis",
                                           .index = -1,
                                           .position = -1,
                                           .written = -1};
    struct batch *batch = reading->batch;
    if (reading->failure == NULL || !same_error(reading->failure, error)) {
        reading->failure = arena_copy(&batch->arena, error, sizeof *error);
    }
    batch->answers[key].error = reading->failure != NULL ? reading->failure : &no_memory;
}

/* False, with the key's error set, where there is no reply or it is an error. */
static bool take_reply(struct reading *reading, size_t key, const struct home_answer *answer,
                       struct resp_token *token, struct resp_reader *in)
{
    struct error error = ERROR_INIT;
    if (answer->outcome != HOME_ANSWERED) {
        /* A read may be asked again: nothing is unknown about it. */
        error = answer->error;
        error.outcome[0] = '\0';
        fail_key(reading, key, &error);
        return false;
    }
    *in = answer->reply;
    *token = resp_next(in);
    if (token->kind == RESP_ERROR) {
        error_set(&error, CODE_UNAVAILABLE, "the Redis \"%s\" answered: %.*s",
                  home_name(reading->store->home), (int)(token->size < 200 ? token->size : 200),
                  (const char *)token->bytes);
        fail_key(reading, key, &error);
        return false;
    }
    return true;
}

/* ---- Records ---- */

struct record_item {
    struct home_command value;
    struct home_command ttl;
    struct reading *reading;
    size_t key;
};

static void put_record_name(const struct redis_store *store, const struct load_key *key,
                            struct buffer *out)
{
    key_text_append(store->resource, key->bytes, key->size, out);
}

/* What the key's name is, is worked out where somebody wants to know. */
static void note_absence(struct redis_store *store, const struct load_key *key,
                         void (*put_name)(const struct redis_store *, const struct load_key *,
                                          struct buffer *))
{
    struct buffer name = BUFFER_INIT;
    if (home_is_cluster(store->home)) {
        put_name(store, key, &name);
        if (!name.failed) {
            redis_saw_absence(store, name.bytes, name.size);
        }
        buffer_release(&name);
    }
}

static void on_value(struct home_command *command, const struct home_answer *answer)
{
    struct record_item *item = CONTAINER_OF(command, struct record_item, value);
    struct reading *reading = item->reading;
    struct batch *batch = reading->batch;
    struct redis_store *store = reading->store;
    const struct load_key *key = &batch->keys[item->key];
    struct read_record *read = &reading->records[item->key];
    struct error error = ERROR_INIT;
    if (answer->outcome != HOME_ANSWERED) {
        error = answer->error;
        error.outcome[0] = '\0';
        fail_key(reading, item->key, &error);
    } else {
        struct stored_value stored = {0};
        value_sizes_add(&store->sizes, (size_t)(answer->reply.end - answer->reply.at));
        int status = encoding_read(store->resource, key->bytes, key->size, answer->reply,
                                   &batch->arena, &stored, &error);
        store->counters.unknown_fields += stored.unknown_fields;
        store->counters.misfits += status == -CODE_INVALID_VALUE;
        read->record = stored.record;
        read->cover = answer->cover;
        if (status < 0) {
            fail_key(reading, item->key, &error);
        } else if (stored.record == NULL) {
            note_absence(store, key, put_record_name);
        }
    }
    reading_end(reading);
}

/* A key's own time to live, counted from when it was asked for. */
static void on_ttl(struct home_command *command, const struct home_answer *answer)
{
    struct record_item *item = CONTAINER_OF(command, struct record_item, ttl);
    struct reading *reading = item->reading;
    struct read_record *read = &reading->records[item->key];
    struct resp_reader in = answer->reply;
    struct resp_token token = {.kind = RESP_NIL};
    if (answer->outcome == HOME_ANSWERED) {
        token = resp_next(&in);
    }
    if (token.kind != RESP_INTEGER) {
        read->cover = 0; /* not known how long it may be kept: not at all */
    } else if (token.integer >= 0) {
        read->expires_us = reading->sent_us + (uint64_t)token.integer * 1000;
        read->expires_us += read->expires_us == 0;
    }
    reading_end(reading);
}

static void put_ttl_command(const struct buffer *name, struct buffer *out)
{
    resp_command(out, 2);
    resp_word_text(out, "PTTL");
    resp_word(out, name->bytes, name->size);
}

static void start_records(struct loader *loader, struct batch *batch)
{
    struct redis_store *store = CONTAINER_OF(loader, struct redis_store, records);
    struct buffer commands = BUFFER_INIT;
    struct buffer name = BUFFER_INIT;
    struct reading *reading = reading_create(store, batch, 2 * batch->count);
    struct record_item *items = arena_zero(&batch->scratch, batch->count, sizeof *items);
    struct read_record *reads = arena_zero(&batch->arena, batch->count, sizeof *reads);
    if (reading == NULL || items == NULL || reads == NULL) {
        fail_batch(store, batch);
        return;
    }
    reading->records = reads;
    for (size_t i = 0; i < batch->count; i++) {
        const struct load_key *key = &batch->keys[i];
        buffer_truncate(&name, 0);
        key_text_append(store->resource, key->bytes, key->size, &name);
        reads[i].slot = redis_slot(store, name.bytes, name.size);
        reading_mark(reading, &commands);
        encoding_read_command(store->resource, name.bytes, name.size, &commands);
        reading_mark(reading, &commands);
        put_ttl_command(&name, &commands);
    }
    commands.failed |= name.failed;
    buffer_release(&name);
    if (!reading_keep(reading, &commands)) {
        fail_batch(store, batch);
        return;
    }
    redis_store_get(store);
    for (size_t i = 0; i < batch->count; i++) {
        items[i].reading = reading;
        items[i].key = i;
        batch->answers[i].value = &reads[i];
        reading_send(reading, &items[i].value, 2 * i, reads[i].slot, on_value);
        reading_send(reading, &items[i].ttl, 2 * i + 1, reads[i].slot, on_ttl);
    }
}

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us == 0 || (b_us != 0 && b_us < a_us) ? b_us : a_us;
}

/* Nothing overtook it: what was read under the cover that watches now is kept. */
static void keep_record(struct loader *loader, struct batch *batch, size_t key)
{
    struct redis_store *store = CONTAINER_OF(loader, struct redis_store, records);
    const struct read_record *read = batch->answers[key].value;
    const struct load_key *asked = &batch->keys[key];
    uint64_t ttl_us = store->resource->redis->ttl_us;
    uint64_t now_us = redis_now_us(store);
    if (read->cover == 0 || store->closed ||
        read->cover != home_cover(store->home, store->lane, read->slot) ||
        write_locks_hold(&store->locks, asked->bytes, asked->size)) {
        return;
    }
    unsigned fields = store->resource->field_count;
    size_t bytes = read->record != NULL ? record_bytes(read->record, fields) : 0;
    buffer_truncate(&store->keeping, 0);
    if (!buffer_reserve(&store->keeping, sizeof(struct kept_value) + bytes)) {
        store->keeping.failed = false;
        return;
    }
    struct kept_value *kept = (struct kept_value *)(void *)store->keeping.bytes;
    *kept = (struct kept_value){0};
    kept->slot = read->slot;
    kept->absent = read->record == NULL;
    if (read->record != NULL) {
        memcpy(kept->record, read->record, bytes);
    }
    uint64_t expires_us = earlier(read->expires_us, ttl_us != 0 ? now_us + ttl_us : 0);
    if (kept->absent && home_is_cluster(store->home)) {
        /* While its slot is moving it is created where nobody tells of it. */
        expires_us = earlier(expires_us, now_us + ABSENT_US);
    }
    const struct near_entry entry = {.value = kept,
                                     .size = (uint32_t)(sizeof *kept + bytes),
                                     .cover = read->cover,
                                     .filled_us = now_us,
                                     .expires_us = expires_us};
    near_cache_put(store->cache, asked->bytes, asked->size, &entry,
                   store->redis->engine.world->sequence);
    if (store->keeping.capacity > KEEPING_MAX) {
        buffer_release(&store->keeping);
    }
}

/* ---- Claims ---- */

/* One command for one key. */
struct key_item {
    struct home_command command;
    struct reading *reading;
    size_t key;
};

/* Sends a command for each key of the batch. */
static void send_keys(struct reading *reading, struct key_item *items, struct buffer *commands,
                      const uint16_t *slots,
                      void (*done)(struct home_command *, const struct home_answer *))
{
    if (!reading_keep(reading, commands)) {
        fail_batch(reading->store, reading->batch);
        return;
    }
    redis_store_get(reading->store);
    for (size_t i = 0; i < reading->batch->count; i++) {
        items[i].reading = reading;
        items[i].key = i;
        reading_send(reading, &items[i].command, i, slots[i], done);
    }
}

/* The number in front of a key. */
static unsigned take_number(const struct load_key *key)
{
    uint16_t number;
    CHECK(key->size >= sizeof number);
    memcpy(&number, key->bytes, sizeof number);
    return number;
}

static void put_claim_name(const struct redis_store *store, const struct load_key *key,
                           struct buffer *out)
{
    claim_name(store->resource, &store->resource->identities[take_number(key)],
               key->bytes + NUMBER_BYTES, key->size - NUMBER_BYTES, out);
}

static void on_claim(struct home_command *command, const struct home_answer *answer)
{
    struct key_item *item = CONTAINER_OF(command, struct key_item, command);
    struct reading *reading = item->reading;
    struct batch *batch = reading->batch;
    struct read_claim *read = &reading->claims[item->key];
    struct resp_token token;
    struct resp_reader in;
    struct store_key key, mark;
    bool came = take_reply(reading, item->key, answer, &token, &in);
    if (came && token.kind == RESP_TEXT &&
        claim_take(reading->store->resource, token.bytes, token.size, &key, &mark)) {
        read->key.bytes = arena_copy(&batch->arena, key.bytes, key.size);
        read->key.size = read->key.bytes != NULL ? key.size : 0;
    } else if (came) {
        note_absence(reading->store, &batch->keys[item->key], put_claim_name);
    }
    reading_end(reading);
}

static void start_identities(struct loader *loader, struct batch *batch)
{
    struct redis_store *store = CONTAINER_OF(loader, struct redis_store, identities);
    struct buffer commands = BUFFER_INIT;
    struct buffer name = BUFFER_INIT;
    struct reading *reading = reading_create(store, batch, batch->count);
    struct key_item *items = arena_zero(&batch->scratch, batch->count, sizeof *items);
    struct read_claim *reads = arena_zero(&batch->arena, batch->count, sizeof *reads);
    uint16_t *slots = arena_zero(&batch->scratch, batch->count, sizeof *slots);
    if (reading == NULL || items == NULL || reads == NULL || slots == NULL) {
        fail_batch(store, batch);
        return;
    }
    reading->claims = reads;
    for (size_t i = 0; i < batch->count; i++) {
        const struct load_key *key = &batch->keys[i];
        buffer_truncate(&name, 0);
        put_claim_name(store, key, &name);
        slots[i] = redis_slot(store, name.bytes, name.size);
        reading_mark(reading, &commands);
        resp_command(&commands, 2);
        resp_word_text(&commands, "GET");
        resp_word(&commands, name.bytes, name.size);
    }
    commands.failed |= name.failed;
    buffer_release(&name);
    for (size_t i = 0; i < batch->count; i++) {
        batch->answers[i].value = &reads[i];
    }
    send_keys(reading, items, &commands, slots, on_claim);
}

/* ---- Ranges ---- */

/* A length and bytes of a ranges key. */
static struct store_key take_part(const uint8_t **at)
{
    uint32_t size;
    memcpy(&size, *at, sizeof size);
    struct store_key part = {.bytes = *at + sizeof size, .size = size};
    *at += sizeof size + size;
    return part;
}

static void on_members(struct home_command *command, const struct home_answer *answer)
{
    struct key_item *item = CONTAINER_OF(command, struct key_item, command);
    struct reading *reading = item->reading;
    struct batch *batch = reading->batch;
    struct redis_store *store = reading->store;
    struct read_range *read = &reading->ranges[item->key];
    unsigned number = take_number(&batch->keys[item->key]);
    const struct index *index = &store->resource->indexes[number];
    struct error error = ERROR_INIT;
    struct resp_token token;
    struct resp_reader in;
    uint64_t most = store->redis->engine.limits->keys_per_call;
    if (!take_reply(reading, item->key, answer, &token, &in)) {
        reading_end(reading);
        return;
    }
    if (token.kind != RESP_ARRAY) {
        error_set(&error, CODE_UNAVAILABLE, "%s: a set of its index in Redis is %s",
                  store->resource->name, resp_describe(&token));
    } else if (token.count > most) {
        error_limit_hit(&error, CODE_TOO_LARGE, "keys_per_call", most, token.count);
    } else if (reading->members + token.count > BATCH_MEMBERS_MAX) {
        /* Many large sets at once: none of them alone is too large. */
        error_set(&error, CODE_OVERLOADED,
                  "%s: the sets that are read together name more than %d records",
                  store->resource->name, BATCH_MEMBERS_MAX);
    }
    size_t count = error.code == CODE_OK ? (size_t)token.count : 0;
    reading->members += count;
    read->keys = arena_alloc(&batch->arena, (count + 1) * sizeof *read->keys);
    read->members = arena_alloc(&batch->arena, (count + 1) * sizeof *read->members);
    for (size_t i = 0; read->members != NULL && read->keys != NULL && i < count; i++) {
        struct resp_token member = resp_next(&in);
        struct store_key key, mark;
        const uint8_t *copy = arena_copy(&batch->arena, member.bytes, member.size);
        if (copy != NULL &&
            index_set_take_member(store->resource, index, copy, member.size, &key, &mark)) {
            read->members[read->count] = (struct store_key){.bytes = copy, .size = member.size};
            read->keys[read->count++] = key;
        }
    }
    if (batch->arena.failed) {
        error_set(&error, CODE_OVERLOADED, "no memory for a set of an index");
    }
    if (error.code != CODE_OK) {
        fail_key(reading, item->key, &error);
    } else if (count == 0) {
        const uint8_t *at = batch->keys[item->key].bytes + NUMBER_BYTES;
        struct store_key name = take_part(&at);
        redis_saw_absence(store, name.bytes, name.size);
    }
    reading_end(reading);
}

static uint16_t put_range_command(const struct redis_store *store, const struct load_key *key,
                                  struct buffer *out)
{
    const uint8_t *at = key->bytes + NUMBER_BYTES;
    struct store_key name = take_part(&at);
    struct store_key lower = take_part(&at);
    struct store_key upper = take_part(&at);
    resp_command(out, 7);
    resp_word_text(out, "ZRANGEBYLEX");
    resp_word(out, name.bytes, name.size);
    resp_word(out, lower.bytes, lower.size);
    resp_word(out, upper.bytes, upper.size);
    resp_word_text(out, "LIMIT");
    resp_word_integer(out, 0);
    resp_word_integer(out, (int64_t)store->redis->engine.limits->keys_per_call + 1);
    return redis_slot(store, name.bytes, name.size);
}

static void start_ranges(struct loader *loader, struct batch *batch)
{
    struct redis_store *store = CONTAINER_OF(loader, struct redis_store, ranges);
    struct buffer commands = BUFFER_INIT;
    struct reading *reading = reading_create(store, batch, batch->count);
    struct key_item *items = arena_zero(&batch->scratch, batch->count, sizeof *items);
    struct read_range *reads = arena_zero(&batch->arena, batch->count, sizeof *reads);
    uint16_t *slots = arena_zero(&batch->scratch, batch->count, sizeof *slots);
    if (reading == NULL || items == NULL || reads == NULL || slots == NULL) {
        fail_batch(store, batch);
        return;
    }
    reading->ranges = reads;
    for (size_t i = 0; i < batch->count; i++) {
        reading_mark(reading, &commands);
        slots[i] = put_range_command(store, &batch->keys[i], &commands);
        batch->answers[i].value = &reads[i];
    }
    send_keys(reading, items, &commands, slots, on_members);
}

/* ---- Opening ---- */

static bool cancel(struct loader *loader, struct batch *batch)
{
    (void)loader;
    (void)batch;
    return false; /* it is completed when its replies have come */
}

static struct loader loader_of(void (*start)(struct loader *, struct batch *))
{
    return (struct loader){.limits = {.max_size = BATCH_KEYS,
                                      .max_bytes = UINT64_C(1) << 20,
                                      .max_in_flight = IN_FLIGHT_MAX},
                           .start = start,
                           .cancel = cancel};
}

void redis_loaders_name(struct redis_store *store)
{
    store->records.name = store->resource->name;
    store->identities.name = store->resource->name;
    store->ranges.name = store->resource->name;
}

int redis_loaders_open(struct redis_store *store)
{
    struct coalescer *coalescer = store->redis->engine.coalescer;
    store->records = loader_of(start_records);
    store->records.filled = keep_record;
    limit_records(store);
    store->identities = loader_of(start_identities);
    store->ranges = loader_of(start_ranges);
    redis_loaders_name(store);
    int status = coalescer_add(coalescer, &store->records);
    if (status == 0) {
        status = coalescer_add(coalescer, &store->identities);
    }
    return status < 0 ? status : coalescer_add(coalescer, &store->ranges);
}

void redis_loaders_close(struct redis_store *store)
{
    struct coalescer *coalescer = store->redis->engine.coalescer;
    coalescer_remove(coalescer, &store->records);
    coalescer_remove(coalescer, &store->identities);
    coalescer_remove(coalescer, &store->ranges);
}

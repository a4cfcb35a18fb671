#include <stddef.h>
#include <string.h>
#include <time.h>

#include "layers/redis/fetch_hints.h"
#include "layers/redis/index_set.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"

/* What claims of identities and sets of indexes name. They are hints: a record is given
 * only if it has the identity's key, or lies in the range. What they name in vain for
 * long is left over from a write that was not done, and is taken out. */

/* ---- Claims ---- */

static void on_claims(struct load *load)
{
    struct fetching *fetching = CONTAINER_OF(load, struct fetching, load);
    struct fetch *fetch = fetching->fetch;
    struct arena *arena = fetch_arena(fetching);
    struct store_key *keys = arena_alloc(arena, (fetch->asked + 1) * sizeof *keys);
    fetching->asked_by = arena_alloc(arena, (fetch->asked + 1) * sizeof *fetching->asked_by);
    fetch_load_done(fetching);
    for (size_t i = 0; keys != NULL && fetching->asked_by != NULL && i < fetch->asked; i++) {
        const struct load_answer *answer = &load->answers[i];
        if (answer->error != NULL) {
            fetch->error = *answer->error;
            fetch_fail(fetching);
            return;
        }
        const struct read_claim *claim = answer->value;
        if (claim->key.size > 0) {
            fetching->asked_by[fetching->count] = (uint32_t)i;
            keys[fetching->count++] =
                (struct store_key){.bytes = arena_copy(arena, claim->key.bytes, claim->key.size),
                                   .size = claim->key.size};
        }
    }
    if (arena->failed) {
        fetch_no_memory(fetching, &fetch->error);
        fetch_fail(fetching);
        return;
    }
    fetching->keys = keys;
    fetch_go_on_with_records(fetching);
}

static void put_number(struct buffer *out, size_t number)
{
    uint16_t small = (uint16_t)number;
    buffer_append(out, &small, sizeof small);
}

/* The keys of a load whose bytes were put one behind the other. */
static struct load_key *cut_keys(struct fetching *fetching, const struct buffer *bytes,
                                 const size_t *ends, size_t count)
{
    struct arena *arena = fetch_arena(fetching);
    struct load_key *keys = arena_zero(arena, count + 1, sizeof *keys);
    const uint8_t *copy = arena_copy(arena, bytes->bytes, bytes->size);
    size_t from = 0;
    for (size_t i = 0; keys != NULL && copy != NULL && i < count; i++) {
        keys[i] = (struct load_key){.bytes = copy + from, .size = (uint32_t)(ends[i] - from)};
        from = ends[i];
    }
    return copy != NULL && !bytes->failed ? keys : NULL;
}

static int ask_claims(struct fetching *fetching, struct error *error)
{
    struct fetch *fetch = fetching->fetch;
    struct buffer bytes = BUFFER_INIT;
    size_t *ends = arena_alloc(fetch_arena(fetching), (fetch->asked + 1) * sizeof *ends);
    for (size_t i = 0; ends != NULL && i < fetch->asked; i++) {
        put_number(&bytes, redis_identity_number(fetching->store, fetch->identity));
        buffer_append(&bytes, fetch->keys[i].bytes, fetch->keys[i].size);
        ends[i] = bytes.size;
    }
    const struct load_key *keys =
        ends != NULL ? cut_keys(fetching, &bytes, ends, fetch->asked) : NULL;
    buffer_release(&bytes);
    return keys == NULL ? fetch_no_memory(fetching, error)
                        : fetch_load(fetching, &fetching->store->identities, keys, fetch->asked,
                                     on_claims, error);
}

/* ---- Ranges ---- */

/* A key that several sets, or one set twice, name is fetched once. */
struct named_key {
    struct hash_table_node node;
    uint32_t position;
};

static bool is_named(const struct hash_table *table, const struct store_key *keys,
                     const struct store_key *key, uint64_t hash)
{
    struct hash_table_node *node = hash_table_find(table, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        const struct named_key *named = CONTAINER_OF(node, struct named_key, node);
        const struct store_key *other = &keys[named->position];
        if (other->size == key->size && memcmp(other->bytes, key->bytes, key->size) == 0) {
            return true;
        }
    }
    return false;
}

static bool collect_members(struct fetching *fetching, const struct load *load, size_t total)
{
    struct arena *arena = fetch_arena(fetching);
    struct store_key *keys = arena_alloc(arena, (total + 1) * sizeof *keys);
    struct named_key *named = arena_zero(arena, total + 1, sizeof *named);
    fetching->asked_by = arena_alloc(arena, (total + 1) * sizeof *fetching->asked_by);
    fetching->members = arena_alloc(arena, (total + 1) * sizeof *fetching->members);
    if (keys == NULL || named == NULL || fetching->asked_by == NULL || fetching->members == NULL) {
        return false;
    }
    struct hash_table table;
    hash_table_init(&table);
    for (size_t i = 0; i < fetching->fetch->asked; i++) {
        const struct read_range *range = load->answers[i].value;
        for (size_t j = 0; j < range->count; j++) {
            uint64_t hash = hash_bytes(range->keys[j].bytes, range->keys[j].size);
            if (is_named(&table, keys, &range->keys[j], hash)) {
                continue;
            }
            const struct store_key *member = &range->members[j];
            const uint8_t *copy = arena_copy(arena, member->bytes, member->size);
            if (copy == NULL) {
                hash_table_release(&table);
                return false;
            }
            struct named_key *entry = &named[fetching->count];
            entry->position = (uint32_t)fetching->count;
            fetching->asked_by[fetching->count] = (uint32_t)i;
            fetching->members[fetching->count] =
                (struct store_key){.bytes = copy, .size = member->size};
            /* The key lies in the member. */
            keys[fetching->count++] =
                (struct store_key){.bytes = copy + (range->keys[j].bytes - member->bytes),
                                   .size = range->keys[j].size};
            hash_table_insert(&table, &entry->node, hash);
        }
    }
    hash_table_release(&table);
    fetching->keys = keys;
    return true;
}

static void on_ranges(struct load *load)
{
    struct fetching *fetching = CONTAINER_OF(load, struct fetching, load);
    struct fetch *fetch = fetching->fetch;
    uint64_t most = fetching->store->redis->engine.limits->keys_per_call;
    size_t total = 0;
    fetch_load_done(fetching);
    for (size_t i = 0; i < fetch->asked; i++) {
        if (load->answers[i].error != NULL) {
            fetch->error = *load->answers[i].error;
            fetch_fail(fetching);
            return;
        }
        total += ((const struct read_range *)load->answers[i].value)->count;
    }
    if (total > most) {
        error_limit_hit(&fetch->error, CODE_TOO_LARGE, "keys_per_call", most, total);
        fetch_fail(fetching);
        return;
    }
    if (!collect_members(fetching, load, total)) {
        fetch_no_memory(fetching, &fetch->error);
        fetch_fail(fetching);
        return;
    }
    fetch_go_on_with_records(fetching);
}

static void put_part(struct buffer *out, const struct buffer *part)
{
    uint32_t size = (uint32_t)part->size;
    buffer_append(out, &size, sizeof size);
    buffer_append(out, part->bytes, part->size);
    out->failed |= part->failed;
}

static void put_range(const struct redis_store *store, const struct range *range,
                      struct buffer *part, struct buffer *out)
{
    const struct resource *resource = store->resource;
    put_number(out, redis_index_number(store, range->index));
    buffer_truncate(part, 0);
    index_set_name_of_range(resource, range, part);
    put_part(out, part);
    buffer_truncate(part, 0);
    index_set_lower(resource, range, part);
    put_part(out, part);
    buffer_truncate(part, 0);
    index_set_upper(resource, range, part);
    put_part(out, part);
}

static int ask_ranges(struct fetching *fetching, struct error *error)
{
    struct fetch *fetch = fetching->fetch;
    struct buffer bytes = BUFFER_INIT;
    struct buffer part = BUFFER_INIT;
    size_t *ends = arena_alloc(fetch_arena(fetching), (fetch->asked + 1) * sizeof *ends);
    for (size_t i = 0; ends != NULL && i < fetch->asked; i++) {
        put_range(fetching->store, &fetch->ranges[i], &part, &bytes);
        ends[i] = bytes.size;
    }
    const struct load_key *keys =
        ends != NULL ? cut_keys(fetching, &bytes, ends, fetch->asked) : NULL;
    buffer_release(&bytes);
    buffer_release(&part);
    return keys == NULL ? fetch_no_memory(fetching, error)
                        : fetch_load(fetching, &fetching->store->ranges, keys, fetch->asked,
                                     on_ranges, error);
}

/* ---- Hints, once it is known that they are whole ---- */

int fetch_ask_hints(struct fetching *fetching, struct error *error)
{
    const struct fetch *fetch = fetching->fetch;
    struct redis_store *store = fetching->store;
    int status = 0;
    if (fetch->kind == FETCH_IDENTITY) {
        status = redis_claims_are_whole(store, error);
        return status < 0 ? status : ask_claims(fetching, error);
    }
    for (size_t i = 0; status == 0 && i < fetch->asked; i++) {
        status = redis_index_is_whole(store, fetch->ranges[i].index, error);
    }
    return status < 0 ? status : ask_ranges(fetching, error);
}

void fetch_on_built_known(struct built_waiter *waiter, const struct error *why_not)
{
    struct fetching *fetching = CONTAINER_OF(waiter, struct fetching, built_waiter);
    if (why_not != NULL) {
        fetching->fetch->error = *why_not;
        fetch_fail(fetching);
    } else if (fetch_ask_hints(fetching, &fetching->fetch->error) < 0) {
        fetch_fail(fetching);
    }
}

/* ---- What is given ---- */

/* A set may still name a record that is in another one by now. */
static bool is_in_any(const struct fetch *fetch, const struct resource *resource,
                      const struct record *record)
{
    for (size_t i = 0; i < fetch->asked; i++) {
        if (range_keeps(&fetch->ranges[i], resource, record)) {
            return true;
        }
    }
    return false;
}

/* Claims and sets name what may have changed since. */
static bool is_meant(const struct fetching *fetching, size_t at, const struct record *record)
{
    const struct fetch *fetch = fetching->fetch;
    const struct resource *resource = fetching->store->resource;
    switch (fetch->kind) {
    case FETCH_KEYS:
        break;
    case FETCH_IDENTITY:
        return key_matches(resource, &fetch->identity->fields, record,
                           fetch->keys[fetching->asked_by[at]].bytes,
                           fetch->keys[fetching->asked_by[at]].size);
    case FETCH_RANGES:
        return range_keeps(&fetch->ranges[fetching->asked_by[at]], resource, record) ||
               is_in_any(fetch, resource, record);
    }
    return true;
}

/* The records by the keys of the identity that were asked for. */
int fetch_give_identities(struct fetching *fetching)
{
    struct fetch *fetch = fetching->fetch;
    const struct record **records =
        arena_zero(fetch_arena(fetching), fetch->asked + 1, sizeof *records);
    const struct error **errors = NULL;
    if (fetch->errors != NULL) {
        errors = arena_zero(fetch_arena(fetching), fetch->asked + 1, sizeof *errors);
    }
    if (records == NULL || (fetch->errors != NULL && errors == NULL)) {
        return fetch_no_memory(fetching, &fetch->error);
    }
    for (size_t i = 0; i < fetching->count; i++) {
        const struct record *record = fetch->records[i];
        if (record != NULL && is_meant(fetching, i, record)) {
            records[fetching->asked_by[i]] = record;
        } else {
            redis_doubt(fetching->store, fetching->keys[i].bytes, fetching->keys[i].size);
        }
        if (errors != NULL) {
            errors[fetching->asked_by[i]] = fetch->errors[i];
        }
    }
    fetch->records = records;
    fetch->errors = errors;
    fetch->count = fetch->asked;
    return 0;
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A member that its record does not bear, and that no write under way put in, goes. */
static void remove_stale(struct fetching *fetching, size_t at, uint64_t now_ms)
{
    struct redis_store *store = fetching->store;
    const struct store_key *member = &fetching->members[at];
    const struct range *range = &fetching->fetch->ranges[fetching->asked_by[at]];
    struct store_key key, mark;
    struct buffer name = BUFFER_INIT;
    struct buffer bytes = BUFFER_INIT;
    if (!index_set_take_member(store->resource, range->index, member->bytes, member->size, &key,
                               &mark)) {
        return;
    }
    uint64_t made_ms = mark_time_ms(mark.bytes, mark.size);
    if (made_ms == 0 || made_ms + MEMBER_STALE_MS > now_ms ||
        !home_is_current(store->home, store->lane)) {
        return;
    }
    index_set_name_of_range(store->resource, range, &name);
    resp_command(&bytes, 3);
    resp_word_text(&bytes, "ZREM");
    resp_word(&bytes, name.bytes, name.size);
    resp_word(&bytes, member->bytes, member->size);
    bytes.failed |= name.failed;
    redis_send_loose(store, &bytes, redis_slot(store, name.bytes, name.size));
    buffer_release(&name);
    buffer_release(&bytes);
}

/* A range is given whole or not at all, but for records that do not fit: they are
 * counted, and left out. */
int fetch_give_ranges(struct fetching *fetching)
{
    struct fetch *fetch = fetching->fetch;
    uint64_t now_ms = wall_ms();
    size_t kept = 0;
    for (size_t i = 0; i < fetching->count; i++) {
        const struct error *error = fetch->errors != NULL ? fetch->errors[i] : NULL;
        if (error != NULL && error->code != CODE_INVALID_VALUE) {
            fetch->error = *error;
            return -(int)error->code;
        }
        const struct record *record = fetch->records[i];
        if (record != NULL && is_meant(fetching, i, record)) {
            fetch->records[kept++] = record;
        } else {
            redis_doubt(fetching->store, fetching->keys[i].bytes, fetching->keys[i].size);
            if (error == NULL) {
                remove_stale(fetching, i, now_ms);
            }
        }
    }
    fetch->count = kept;
    fetch->errors = NULL;
    return 0;
}

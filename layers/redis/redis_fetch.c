#include <stddef.h>
#include <string.h>

#include "layers/redis/fetch_hints.h"
#include "protocol/base/check.h"

/* What a search or a call asks for (layer.h, struct fetch). The happy path is
 *
 *   keys:      what is known here, and for the rest ─► load of records ─► done
 *   identity:  load of claims ─► their primary keys, as above ─► done
 *   ranges:    load of sets ─► their members' primary keys, as above ─► done
 *
 * Claims and sets are hints: a record is given only if it has the identity's key, or
 * lies in the range. What had to be loaded is copied into the asker's arena; what was
 * known stays where it is, as what `find` answers does. Possible failures are no
 * memory, what the coalescer refuses, and what the home answers: that fails keys one
 * by one, and ranges as a whole. */

int fetch_no_memory(const struct fetching *fetching, struct error *error)
{
    return error_set(error, CODE_OVERLOADED, "%s: no memory to fetch its records",
                     fetching->store->resource->name);
}

void fetch_fail(struct fetching *fetching)
{
    CHECK(fetching->fetch->error.code != CODE_OK);
    fetch_finish(fetching->fetch);
}

/* ---- Loading ---- */

int fetch_load(struct fetching *fetching, struct loader *loader, const struct load_key *keys,
               size_t count, void (*done)(struct load *), struct error *error)
{
    struct redis_store *store = fetching->store;
    fetching->load = (struct load){.loader = loader,
                                   .origin = fetching->fetch->asker.origin,
                                   .fresh = fetching->fetch->asker.fresh,
                                   .done = done};
    int status = coalescer_load(store->redis->engine.coalescer, &fetching->load, keys, count,
                                redis_now_us(store), error);
    fetching->loading = status == 0;
    return status;
}

void fetch_load_done(struct fetching *fetching)
{
    fetching->loading = false;
    fetching->loaded = true;
}

static void fetch_load_end(struct fetching *fetching)
{
    struct coalescer *coalescer = fetching->store->redis->engine.coalescer;
    if (fetching->loading) {
        load_cancel(coalescer, &fetching->load);
    } else if (fetching->loaded) {
        load_release(coalescer, &fetching->load);
    }
    fetching->loading = false;
    fetching->loaded = false;
}

/* ---- Records ---- */

static bool errors_open(struct fetching *fetching)
{
    struct fetch *fetch = fetching->fetch;
    if (fetch->errors == NULL) {
        fetch->errors = arena_zero(fetch_arena(fetching), fetching->count, sizeof *fetch->errors);
    }
    return fetch->errors != NULL;
}

/* The answer of a key that was loaded, or in its place what was known before. */
static bool take_record(struct fetching *fetching, size_t at, const struct load_answer *answer)
{
    struct fetch *fetch = fetching->fetch;
    struct redis_store *store = fetching->store;
    struct arena *arena = fetch_arena(fetching);
    if (answer->error != NULL) {
        bool known = false;
        if (answer->error->code == CODE_UNAVAILABLE && !fetch->asker.fresh) {
            fetch->records[at] =
                redis_known_stale(store, fetching->keys[at].bytes, fetching->keys[at].size, &known);
        }
        if (!known && errors_open(fetching)) {
            if (fetching->failure != answer->error) {
                fetching->failure = answer->error;
                fetching->failure_kept = arena_copy(arena, answer->error, sizeof *answer->error);
            }
            fetch->errors[at] = fetching->failure_kept;
        }
        return !arena->failed;
    }
    const struct read_record *read = answer->value;
    if (read->record != NULL) {
        fetch->records[at] = arena_copy(arena, read->record,
                                        record_bytes(read->record, store->resource->field_count));
    }
    return !arena->failed;
}

static int give(struct fetching *fetching)
{
    struct fetch *fetch = fetching->fetch;
    switch (fetch->kind) {
    case FETCH_KEYS:
        fetch->count = fetching->count;
        return 0;
    case FETCH_IDENTITY:
        return fetch_give_identities(fetching);
    case FETCH_RANGES:
        return fetch_give_ranges(fetching);
    }
    return 0;
}

static void on_records(struct load *load)
{
    struct fetching *fetching = CONTAINER_OF(load, struct fetching, load);
    struct fetch *fetch = fetching->fetch;
    fetch_load_done(fetching);
    for (size_t i = 0; i < fetching->missing_count; i++) {
        if (!take_record(fetching, fetching->missing[i], &load->answers[i])) {
            fetch_no_memory(fetching, &fetch->error);
            fetch_fail(fetching);
            return;
        }
    }
    give(fetching);
    fetch_finish(fetch);
}

/* What is known here, and a load of the rest. *later where it is on its way. */
static int ask_records(struct fetching *fetching, bool *later, struct error *error)
{
    struct fetch *fetch = fetching->fetch;
    struct arena *arena = fetch_arena(fetching);
    size_t count = fetching->count;
    fetching->records_stage = true;
    fetch->records = arena_zero(arena, count + 1, sizeof *fetch->records);
    fetching->missing = arena_alloc(arena, (count + 1) * sizeof *fetching->missing);
    struct load_key *keys = arena_zero(arena, count + 1, sizeof *keys);
    *later = false;
    if (fetch->records == NULL || fetching->missing == NULL || keys == NULL) {
        return fetch_no_memory(fetching, error);
    }
    for (size_t i = 0; i < count; i++) {
        const struct store_key *key = &fetching->keys[i];
        bool known = false;
        if (!fetch->asker.fresh) {
            fetch->records[i] = redis_known(fetching->store, key->bytes, key->size, &known);
        }
        if (!known) {
            keys[fetching->missing_count] =
                (struct load_key){.bytes = key->bytes, .size = (uint32_t)key->size};
            fetching->missing[fetching->missing_count++] = (uint32_t)i;
        }
    }
    if (!fetch->counted) {
        fetching->store->counters.hits += count - fetching->missing_count;
        fetching->store->counters.misses += fetching->missing_count;
    }
    if (fetching->missing_count == 0) {
        return give(fetching);
    }
    *later = true;
    return fetch_load(fetching, &fetching->store->records, keys, fetching->missing_count,
                      on_records, error);
}

/* The second stage, from inside a load's `done`. */
void fetch_go_on_with_records(struct fetching *fetching)
{
    struct fetch *fetch = fetching->fetch;
    bool later = false;
    fetch_load_end(fetching);
    int status = ask_records(fetching, &later, &fetch->error);
    if (status < 0) {
        fetch_fail(fetching);
    } else if (!later) {
        fetch_finish(fetch);
    }
}

/* ---- The face ---- */

int redis_fetch(struct fetch *fetch, struct error *error)
{
    struct redis_store *store = redis_store_of(fetch->store);
    struct fetching *fetching = arena_zero(fetch->asker.arena, 1, sizeof *fetching);
    bool later = false;
    int status = 0;
    if (fetching == NULL) {
        return error_set(error, CODE_OVERLOADED, "%s: no memory to fetch its records",
                         store->resource->name);
    }
    fetching->fetch = fetch;
    fetching->store = redis_store_get(store);
    fetch->state = fetching;
    list_init(&fetching->built_waiter.link);
    if (fetch->kind == FETCH_KEYS) {
        fetching->keys = fetch->keys;
        fetching->count = fetch->asked;
        status = ask_records(fetching, &later, error);
        if (status == 0 && !later) {
            fetch_finish(fetch);
        }
    } else {
        fetching->built_waiter.known = fetch_on_built_known;
        if (redis_built_ask(store, &fetching->built_waiter)) {
            status = fetch_ask_hints(fetching, error);
        }
    }
    if (status < 0) {
        redis_store_put(store);
    }
    return status;
}

void redis_fetch_end(struct fetch *fetch)
{
    struct fetching *fetching = fetch->state;
    list_remove(&fetching->built_waiter.link);
    fetch_load_end(fetching);
    redis_store_put(fetching->store);
    fetch->state = NULL;
}

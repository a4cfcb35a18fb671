#include "tests/lib/far_store.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "layers/engine/engine_inner.h"
#include "layers/redis/redis.h"
#include "protocol/base/check.h"
#include "tests/lib/far_store_inner.h"
#include "tests/lib/schema_fixture.h"

enum { FINISH_ROUNDS_MAX = 100000 };

bool far_chance(struct far_home *home, unsigned percent)
{
    return percent > 0 && random_below(home->random, 100) < percent;
}

void *far_alloc(size_t size)
{
    void *memory = calloc(1, size);
    assert_non_null(memory);
    return memory;
}

int far_failure(const struct far_store *store, struct error *error)
{
    return error_set(error, store->home->failure, "%s: its home does not answer",
                     store->store.resource->name);
}

struct far_step *far_ask(struct far_store *store, struct fetch *fetch, struct far_write *write)
{
    struct far_step *step = far_alloc(sizeof *step);
    *step = (struct far_step){.store = store, .fetch = fetch, .write = write};
    list_append(&store->home->pending, &step->link);
    return step;
}

void far_step_free(struct far_step *step)
{
    list_remove(&step->link);
    free(step);
}

/* ---- Fetches ---- */

static int no_memory(struct error *error)
{
    return error_set(error, CODE_OVERLOADED, "no memory for what was fetched");
}

/* In the asker's arena, but for what is there at once. */
static const struct record *give_record(const struct fetch *fetch, const struct record *record,
                                        bool at_once)
{
    if (record == NULL || at_once) {
        return record;
    }
    return arena_copy(fetch->asker.arena, record,
                      record_bytes(record, fetch->store->resource->field_count));
}

static int fail_key(struct fetch *fetch, size_t at)
{
    const struct far_store *store = far_store_of(fetch->store);
    struct arena *arena = fetch->asker.arena;
    if (fetch->errors == NULL) {
        fetch->errors = arena_zero(arena, fetch->asked, sizeof *fetch->errors);
    }
    struct error *error = arena_zero(arena, 1, sizeof *error);
    if (error == NULL || fetch->errors == NULL) {
        return -CODE_OVERLOADED;
    }
    error_clear(error);
    far_failure(store, error);
    fetch->errors[at] = error;
    return 0;
}

static int give_keys(struct fetch *fetch, bool at_once)
{
    struct far_store *store = far_store_of(fetch->store);
    fetch->records = arena_zero(fetch->asker.arena, fetch->asked + 1, sizeof *fetch->records);
    for (size_t i = 0; fetch->records != NULL && i < fetch->asked; i++) {
        const struct store_key *key = &fetch->keys[i];
        if (!at_once && far_chance(store->home, store->home->failing)) {
            if (fail_key(fetch, i) < 0) {
                return -CODE_OVERLOADED;
            }
            continue;
        }
        const struct record *record =
            fetch->kind == FETCH_KEYS ? store->table->ops->find(store->table, key->bytes, key->size)
                                      : store->table->ops->find_identity(
                                            store->table, fetch->identity, key->bytes, key->size);
        fetch->records[i] = give_record(fetch, record, at_once);
    }
    fetch->count = fetch->asked;
    return fetch->asker.arena->failed ? -CODE_OVERLOADED : 0;
}

/* Whether any of the ranges keeps a record. */
static bool is_given(const struct fetch *fetch, const struct record *record)
{
    for (size_t i = 0; i < fetch->asked; i++) {
        CHECK(fetch->ranges[i].equal_count > 0);
        if (range_keeps(&fetch->ranges[i], fetch->store->resource, record)) {
            return true;
        }
    }
    return false;
}

static int give_ranges(struct fetch *fetch, bool at_once)
{
    struct far_store *store = far_store_of(fetch->store);
    struct store *table = store->table;
    struct store_cursor cursor;
    const struct record *record;
    fetch->records =
        arena_zero(fetch->asker.arena, table->counters.records + 1u, sizeof *fetch->records);
    if (fetch->records == NULL || table->ops->scan(table, &cursor) < 0) {
        return -CODE_OVERLOADED;
    }
    while ((record = table->ops->next(&cursor)) != NULL) {
        if (is_given(fetch, record)) {
            size_t place = (size_t)random_below(store->home->random, fetch->count + 1);
            fetch->records[fetch->count++] = fetch->records[place];
            fetch->records[place] = give_record(fetch, record, at_once);
        }
    }
    table->ops->close(&cursor);
    return fetch->asker.arena->failed ? -CODE_OVERLOADED : 0;
}

static int give(struct fetch *fetch, bool at_once)
{
    struct far_home *home = far_store_of(fetch->store)->home;
    home->fetches++;
    fetch->count = 0;
    int status =
        fetch->kind == FETCH_RANGES ? give_ranges(fetch, at_once) : give_keys(fetch, at_once);
    home->records += fetch->count;
    return status;
}

static int far_fetch(struct fetch *fetch, struct error *error)
{
    struct far_store *store = far_store_of(fetch->store);
    CHECK(fetch->asker.task != NULL && fetch->asker.arena != NULL);
    if (!fetch->asker.fresh && far_chance(store->home, store->home->at_once)) {
        if (give(fetch, true) < 0) {
            return no_memory(error);
        }
        fetch->state = NULL;
        fetch_finish(fetch);
        return 0;
    }
    fetch->state = far_ask(store, fetch, NULL);
    return 0;
}

static void far_fetch_end(struct fetch *fetch)
{
    if (fetch->state != NULL) {
        far_step_free(fetch->state);
        fetch->state = NULL;
    }
}

static void deliver_fetch(struct fetch *fetch)
{
    struct far_store *store = far_store_of(fetch->store);
    far_fetch_end(fetch);
    if (far_chance(store->home, store->home->failing)) {
        far_failure(store, &fetch->error);
    } else if (give(fetch, false) < 0) {
        no_memory(&fetch->error);
    }
    fetch_finish(fetch);
}

/* ---- The face ---- */

static const struct record *far_known(struct store *face, const uint8_t *key, size_t size,
                                      bool *known)
{
    struct far_store *store = far_store_of(face);
    *known = far_chance(store->home, store->home->at_once);
    return *known ? store->table->ops->find(store->table, key, size) : NULL;
}

static const struct record *far_find(struct store *face, const uint8_t *key, size_t size)
{
    bool known;
    return far_known(face, key, size, &known);
}

static bool far_is_current(struct store *face)
{
    (void)face;
    return true;
}

static uint64_t far_invalidate(struct store *face, const uint8_t *key, size_t size)
{
    (void)face, (void)key, (void)size;
    return 0;
}

static void far_count(struct store *face, struct store_home_counters *counters)
{
    (void)face, (void)counters;
}

static const struct store_ops face_ops = {.find = far_find};

static const struct store_home_ops home_ops = {.is_current = far_is_current,
                                               .known = far_known,
                                               .fetch = far_fetch,
                                               .fetch_end = far_fetch_end,
                                               .write_open = far_write_open,
                                               .write_begin = far_write_begin,
                                               .write_go = far_write_go,
                                               .write_close = far_write_close,
                                               .invalidate = far_invalidate,
                                               .count = far_count};

/* ---- The home ---- */

static uint64_t no_clock(void)
{
    return 1;
}

void far_home_open(struct far_home *home, struct engine_fixture *fixture, struct random *random)
{
    static const struct home_world outside = {.clock_us = no_clock};
    struct engine *engine = fixture->engine;
    *home = (struct far_home){.fixture = fixture, .random = random, .failure = CODE_UNAVAILABLE};
    list_init(&home->pending);
    home->redis = redis_create(NULL, 0, &outside);
    assert_non_null(home->redis);
    redis_attach(home->redis, &(struct redis_engine){.world = &engine->world,
                                                     .coalescer = engine->coalescer,
                                                     .tasks = &engine->tasks,
                                                     .limits = engine->limits});
    engine->redis = home->redis;
    fixture->ends_calls = true;
}

void far_home_move(struct far_home *home, const char *resource)
{
    struct realm *realm = home->fixture->engine->realm;
    const struct resource *of = fixture_resource(realm->schema, resource);
    struct far_store *store = far_alloc(sizeof *store);
    assert_true(home->store_count < FAR_STORES_MAX);
    store->table = realm->stores[of->position];
    assert_null(store->table->home);
    store->store = (struct store){
        .ops = &face_ops, .resource = of, .home = &home_ops, .home_own = store, .remote = true};
    store->home = home;
    list_init(&store->writes);
    realm->stores[of->position] = &store->store;
    home->stores[home->store_count++] = store;
    for (uint32_t i = 0; i < realm->schema->relationship_count; i++) {
        realm->relations.all[i].reads_elsewhere = true;
    }
}

struct store *far_home_table(struct far_home *home, const char *resource)
{
    struct realm *realm = home->fixture->engine->realm;
    struct store *store = realm->stores[fixture_resource(realm->schema, resource)->position];
    return store->remote ? far_store_of(store)->table : store;
}

void far_home_close(struct far_home *home)
{
    struct engine *engine = home->fixture->engine;
    assert_true(list_empty(&engine->calls));
    bool busy = true;
    while (busy) { /* batches whose callers have left go on to their end */
        busy = engine_turn(engine, home->fixture->now_us);
        busy = far_home_deliver(home) || busy;
    }
    for (size_t i = 0; i < home->store_count; i++) {
        struct far_store *store = home->stores[i];
        assert_true(list_empty(&store->writes));
        engine->realm->stores[store->store.resource->position] = store->table;
        free(store);
    }
    home->store_count = 0;
    engine->redis = NULL;
    redis_free(home->redis);
}

/* ---- Answers ---- */

static struct far_step *step_of(struct list *node)
{
    return CONTAINER_OF(node, struct far_step, link);
}

static bool may_be_delivered(const struct far_step *step)
{
    return step->write == NULL || far_write_has_its_turn(step->write);
}

size_t far_home_pending(const struct far_home *home)
{
    size_t count = 0;
    LIST_EACH(node, &home->pending)
    {
        count++;
    }
    return count;
}

bool far_home_deliver(struct far_home *home)
{
    struct far_step *chosen = NULL;
    uint64_t count = 0;
    LIST_EACH(node, &home->pending)
    {
        if (may_be_delivered(step_of(node)) && random_below(home->random, ++count) == 0) {
            chosen = step_of(node);
        }
    }
    if (chosen == NULL) {
        return false;
    }
    if (chosen->write != NULL) {
        far_write_deliver(chosen->write);
    } else {
        deliver_fetch(chosen->fetch);
    }
    return true;
}

const char *far_home_finish(struct far_home *home, struct fixture_call *call)
{
    for (unsigned i = 0; !call->finished && i < FINISH_ROUNDS_MAX; i++) {
        fixture_turn(home->fixture);
        if (!call->finished) {
            far_home_deliver(home);
        }
    }
    if (!call->finished) {
        fail_msg("%s is not answered, with %zu answers out", call_kind_name(call->call.kind),
                 far_home_pending(home));
    }
    return call->answer;
}

char *far_home_call(struct far_home *home, const char *method, const char *params)
{
    struct fixture_call call;
    fixture_start(home->fixture, &call, method, params);
    far_home_finish(home, &call);
    char *answer = call.answer;
    call.answer = NULL;
    fixture_end(&call);
    return answer;
}

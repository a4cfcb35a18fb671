#include "layers/engine/engine.h"

#include <stddef.h>
#include <string.h>

#include "layers/engine/engine_inner.h"
#include "layers/engine/writing.h"
#include "layers/query/eval.h"
#include "layers/redis/redis.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"

/* What all tasks together may visit in a turn (about 1 ms), and one of them
 * before the next has its turn. Each run costs some too, so that a turn ends. */
enum { TURN_BUDGET = 20000, SLICE_BUDGET = 2000, RUN_COST = 16 };

/* ---- Realms ---- */

struct realm *realm_get(struct realm *realm)
{
    realm->references++;
    return realm;
}

struct store *engine_open_store(struct engine *engine, const struct resource *resource,
                                struct error *error)
{
    bool table_needed = resource->redis == NULL || resource->redis->resident;
    struct store *table = table_needed ? memory_table_create(engine->memory, resource) : NULL;
    if (table_needed && table == NULL) {
        error_set(error, CODE_OVERLOADED, "no memory for a table of %s", resource->name);
        return NULL;
    }
    if (resource->redis == NULL) {
        return table;
    }
    if (engine->redis == NULL) {
        error_set(error, CODE_INVALID_REQUEST, "%s: layer: redis is not supported here",
                  resource->name);
    }
    struct store *store =
        engine->redis != NULL ? redis_store_open(engine->redis, resource, table, error) : NULL;
    if (store == NULL && table != NULL) {
        memory_table_free(table);
    }
    return store;
}

static void close_store(struct store *store)
{
    bool remote = store->remote;
    if (store->home != NULL) {
        redis_store_close(store);
    }
    if (!remote) {
        memory_table_free(store);
    }
}

static void free_stores(struct realm *realm)
{
    for (unsigned i = 0; i < realm->schema->resource_count; i++) {
        if (realm->stores[i] != NULL && realm->owned[i]) {
            close_store(realm->stores[i]);
        }
    }
}

static void realm_drop(struct realm *realm)
{
    list_remove(&realm->link);
    if (realm->schema != NULL) {
        schema_put(realm->schema);
    }
    heap_free(realm->stores);
    heap_free(realm->owned);
    heap_free(realm->counters);
    heap_free(realm);
}

void realm_abandon(struct realm *realm)
{
    free_stores(realm);
    realm_drop(realm);
}

void realm_put(struct engine *engine, struct realm *realm)
{
    CHECK(realm->references > 0);
    if (--realm->references == 0) {
        CHECK(realm != engine->realm);
        relations_close(&realm->relations);
        realm_abandon(realm);
    }
}

struct realm *realm_create(struct engine *engine, struct schema *schema)
{
    struct realm *realm = heap_zero(1, sizeof *realm);
    if (realm == NULL) {
        return NULL;
    }
    list_init(&realm->link);
    realm->stores = heap_zero(schema->resource_count + 1u, sizeof *realm->stores);
    realm->owned = heap_zero(schema->resource_count + 1u, sizeof *realm->owned);
    realm->counters = heap_zero(schema->resource_count + 1u, sizeof *realm->counters);
    if (realm->stores == NULL || realm->owned == NULL || realm->counters == NULL) {
        realm_drop(realm);
        return NULL;
    }
    realm->schema = schema_get(schema);
    realm->references = 1;
    list_append(&engine->realms, &realm->link);
    return realm;
}

static int realm_open(struct engine *engine, struct realm *realm, struct error *error)
{
    const struct schema *schema = realm->schema;
    for (unsigned i = 0; i < schema->resource_count; i++) {
        realm->stores[i] = engine_open_store(engine, &schema->resources[i], error);
        realm->owned[i] = true;
        if (realm->stores[i] == NULL) {
            return -(int)error->code;
        }
    }
    return relations_open(&realm->relations, schema, realm->stores, &engine->shared, error);
}

/* ---- Remote providers, as relations see loaders outside ---- */

static int open_remote(void *context, struct relation *relation, struct error *error)
{
    (void)context;
    (void)error;
    relation->loader.limits.timeout_us = 0; /* remote.h counts it for each attempt */
    return 0;
}

static void close_remote(void *context, struct relation *relation)
{
    (void)context;
    (void)relation;
}

static void start_remote(void *context, struct relation *relation, struct batch *batch)
{
    struct engine *engine = context;
    remote_start(engine->remote, relation, batch, engine->now_us);
}

static bool cancel_remote(void *context, struct relation *relation, struct batch *batch)
{
    struct engine *engine = context;
    return remote_cancel(engine->remote, relation, batch);
}

struct remote *engine_remote(struct engine *engine)
{
    return engine->remote;
}

/* ---- The engine ---- */

struct engine *engine_create(const struct limits *limits)
{
    struct engine *engine = heap_zero(1, sizeof *engine);
    if (engine == NULL) {
        return NULL;
    }
    engine->limits = limits;
    world_init(&engine->world);
    task_queue_init(&engine->tasks);
    list_init(&engine->realms);
    list_init(&engine->calls);
    for (unsigned i = 0; i < ORDER_PLACES; i++) {
        list_init(&engine->writes[i]);
        list_init(&engine->held[i]);
    }
    engine->memory = memory_create(&engine->world);
    engine->coalescer = engine->memory == NULL ? NULL : coalescer_create(limits);
    engine->remote = engine->coalescer == NULL ? NULL : remote_create(engine->coalescer, limits);
    if (engine->remote == NULL) {
        if (engine->coalescer != NULL) {
            coalescer_free(engine->coalescer);
        }
        if (engine->memory != NULL) {
            memory_free(engine->memory);
        }
        heap_free(engine);
        return NULL;
    }
    engine->remotes = (struct outside_loaders){.context = engine,
                                               .open = open_remote,
                                               .close = close_remote,
                                               .start = start_remote,
                                               .cancel = cancel_remote};
    engine->shared = (struct relations_owner){.world = &engine->world,
                                              .coalescer = engine->coalescer,
                                              .tasks = &engine->tasks,
                                              .limits = limits,
                                              .remotes = &engine->remotes};
    return engine;
}

void engine_free(struct engine *engine)
{
    CHECK(list_empty(&engine->calls));
    struct realm *realm = engine->realm;
    engine->realm = NULL;
    if (realm != NULL) {
        CHECK(realm->references == 1);
        realm_put(engine, realm);
    }
    remote_free(engine->remote);
    coalescer_free(engine->coalescer);
    memory_free(engine->memory);
    buffer_release(&engine->scratch);
    heap_free(engine);
}

void engine_use_clock(struct engine *engine, uint64_t (*clock_us)(void))
{
    engine->shared.clock_us = clock_us;
}

void engine_use_modules(struct engine *engine, const struct outside_loaders *modules)
{
    CHECK(engine->realm == NULL);
    engine->shared.modules = modules;
}

void engine_use_redis(struct engine *engine, struct redis *redis)
{
    CHECK(engine->realm == NULL);
    engine->redis = redis;
    redis_attach(redis, &(struct redis_engine){.world = &engine->world,
                                               .coalescer = engine->coalescer,
                                               .tasks = &engine->tasks,
                                               .limits = engine->limits});
}

struct redis *engine_redis(const struct engine *engine)
{
    return engine->redis;
}

struct realm *realm_of_relation(const struct relation *relation)
{
    return CONTAINER_OF(relation->owner, struct realm, relations);
}

struct realm *engine_hold(const struct relation *relation)
{
    return realm_get(realm_of_relation(relation));
}

void engine_let_go(struct engine *engine, struct realm *realm)
{
    realm_put(engine, realm);
}

int engine_use_schema(struct engine *engine, struct schema *schema, struct error *error)
{
    if (engine->realm != NULL) {
        return engine_change_schema(engine, schema, error);
    }
    struct realm *realm = realm_create(engine, schema);
    if (realm == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the schema");
    }
    int status = realm_open(engine, realm, error);
    if (status < 0) {
        realm_abandon(realm);
        return status;
    }
    engine->realm = realm;
    return 0;
}

const struct schema *engine_schema(const struct engine *engine)
{
    return engine->realm == NULL ? NULL : engine->realm->schema;
}

/* ---- Turns ---- */

/* Runs each task that is in the queue now once. */
static void run_tasks(struct engine *engine, uint64_t *budget)
{
    struct list round;
    list_init(&round);
    list_move_all(&round, &engine->tasks.tasks);
    while (!list_empty(&round) && *budget > 0) {
        struct task *task = CONTAINER_OF(round.next, struct task, link);
        list_remove(&task->link);
        uint64_t slice = *budget < SLICE_BUDGET ? *budget : SLICE_BUDGET;
        uint64_t left = slice;
        if (!task->run(task, &left)) {
            task_requeue(&engine->tasks, task);
        }
        uint64_t cost = slice - left + RUN_COST;
        *budget -= cost < *budget ? cost : *budget;
    }
    /* What the budget did not reach comes first in the next turn. */
    list_move_all(&round, &engine->tasks.tasks);
    list_move_all(&engine->tasks.tasks, &round);
}

static void call_timeout(struct call *call)
{
    error_set(&call->error, CODE_TIMEOUT, "%s: the time allowed has passed",
              call_kind_name(call->kind));
    if (call->writing != NULL && call->writing->home.sent) {
        error_outcome_unknown(&call->error);
    }
    call_abort(call);
}

/* Ends the calls whose time is up. Their deadlines are looked at only when the
 * earliest that was known has come. */
static void expire_calls(struct engine *engine)
{
    if (engine->next_deadline_us == 0 || engine->now_us < engine->next_deadline_us) {
        return;
    }
    struct list due;
    uint64_t next = 0;
    list_init(&due);
    for (struct list *node = engine->calls.next, *after; node != &engine->calls; node = after) {
        after = node->next;
        struct call *call = CONTAINER_OF(node, struct call, link);
        if (call->deadline_us <= engine->now_us) {
            list_remove(node);
            list_append(&due, node);
        } else if (next == 0 || call->deadline_us < next) {
            next = call->deadline_us;
        }
    }
    engine->next_deadline_us = next;
    while (!list_empty(&due)) {
        call_timeout(CONTAINER_OF(due.next, struct call, link));
    }
}

bool engine_turn(struct engine *engine, uint64_t now_us)
{
    engine->now_us = now_us;
    engine->shared.now_us = now_us;
    expire_calls(engine);
    coalescer_expire(engine->coalescer, now_us);
    remote_expire(engine->remote, now_us);
    uint64_t budget = TURN_BUDGET;
    bool busy = false;
    do {
        busy = coalescer_flush(engine->coalescer, now_us);
        /* A task may begin loads, which are for the next flush. */
        busy = busy || !list_empty(&engine->tasks.tasks);
        run_tasks(engine, &budget);
    } while (budget > 0 && busy);
    bool more = memory_turn(engine->memory);
    if (engine->redis != NULL) {
        more |= redis_turn(engine->redis);
    }
    return more || busy;
}

/* Of two times of which 0 is never. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t engine_next_us(const struct engine *engine)
{
    uint64_t next = earlier(coalescer_next_us(engine->coalescer), engine->next_deadline_us);
    return earlier(next, remote_next_us(engine->remote));
}

void engine_close(struct engine *engine)
{
    engine->closing = true;
    while (!list_empty(&engine->calls)) {
        struct call *call = CONTAINER_OF(engine->calls.next, struct call, link);
        error_set(&call->error, CODE_UNAVAILABLE, "the daemon is stopping");
        call_abort(call);
    }
    coalescer_close(engine->coalescer);
}

/* ---- stats ---- */

static void write_pair(struct buffer *out, const char *name, uint64_t value)
{
    write_text(out, name);
    write_unsigned(out, value);
}

static void write_relation(struct buffer *out, const struct relation *relation)
{
    const struct loader *loader = &relation->loader;
    uint64_t p50 = 0;
    uint64_t p99 = 0;
    uint64_t max = 0;
    uint64_t batches = loader->counters.batches;
    uint32_t pairs = 2;
#define X(name, meaning) pairs++;
    LOADER_COUNTERS(X)
#undef X
    write_text(out, loader->name);
    write_map(out, pairs);
#define X(name, meaning) write_pair(out, #name, loader->counters.name);
    LOADER_COUNTERS(X)
#undef X
    write_text(out, "batch_avg");
    write_float(out, batches == 0 ? 0.0 : (double)loader->counters.unique_keys / (double)batches);
    write_text(out, "latency_us");
    loader_latency(loader, &p50, &p99, &max);
    write_map(out, 3);
    write_pair(out, "p50", p50);
    write_pair(out, "p99", p99);
    write_pair(out, "max", max);
}

static void write_resource(struct buffer *out, struct store *store, const char *name,
                           const struct resource_counters *counters)
{
    struct store_home_counters home = {0};
    if (store->home != NULL) {
        store->home->count(store, &home);
    }
    write_text(out, name);
    write_map(out, store->home != NULL ? 10 : 8);
    write_pair(out, "records", store->counters.records);
    write_pair(out, "bytes", store->counters.bytes);
    write_pair(out, "reads", counters->reads);
    write_pair(out, "writes", counters->writes);
    write_pair(out, "hits", counters->hits + home.hits);
    write_pair(out, "misses", counters->misses + home.misses);
    write_pair(out, "invalidations", counters->invalidations + home.invalidations);
    write_pair(out, "evictions", counters->evictions + home.evictions);
    if (store->home != NULL) {
        write_pair(out, "misfits", home.misfits);
        write_pair(out, "unknown_fields", home.unknown_fields);
    }
}

void engine_stats(struct engine *engine, struct buffer *out)
{
    const struct realm *realm = engine->realm;
    write_text(out, "relationships");
    write_map(out, realm->schema->relationship_count);
    for (uint32_t i = 0; i < realm->schema->relationship_count; i++) {
        write_relation(out, &realm->relations.all[i]);
    }
    write_text(out, "resources");
    write_map(out, realm->schema->resource_count);
    for (unsigned i = 0; i < realm->schema->resource_count; i++) {
        write_resource(out, realm->stores[i], realm->schema->resources[i].name,
                       &realm->counters[i]);
    }
    write_text(out, "redis");
    if (engine->redis != NULL) {
        redis_stats(engine->redis, out);
    } else {
        write_map(out, 0);
    }
}

uint64_t engine_memory_bytes(const struct engine *engine)
{
    return memory_bytes(engine->memory) +
           (engine->redis != NULL ? redis_memory_bytes(engine->redis) : 0);
}

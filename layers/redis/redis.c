#include "layers/redis/redis.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "layers/redis/redis_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"

/* The homes of a daemon, and the stores over them. */

struct redis *redis_create(const struct home_options *homes, unsigned count,
                           const struct home_world *world)
{
    struct redis *redis = heap_zero(1, sizeof *redis);
    if (redis == NULL) {
        return NULL;
    }
    CHECK(count <= HOMES_MAX);
    list_init(&redis->stores);
    redis->outside = *world;
    CHECK(getrandom(&redis->daemon, sizeof redis->daemon, 0) == sizeof redis->daemon);
    for (unsigned i = 0; i < count; i++) {
        redis->homes[i] = home_create(&homes[i], &redis->outside);
        if (redis->homes[i] == NULL) {
            redis_free(redis);
            return NULL;
        }
        redis->home_count++;
    }
    return redis;
}

void redis_attach(struct redis *redis, const struct redis_engine *engine)
{
    CHECK(list_empty(&redis->stores));
    redis->engine = *engine;
}

int redis_open(struct redis *redis, struct error *error)
{
    for (unsigned i = 0; i < redis->home_count; i++) {
        int status = home_open(redis->homes[i], error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static struct redis_store *store_of(struct list *node)
{
    return CONTAINER_OF(node, struct redis_store, link);
}

bool redis_is_settled(const struct redis *redis)
{
    for (unsigned i = 0; i < redis->home_count; i++) {
        if (!home_is_settled(redis->homes[i])) {
            return false;
        }
    }
    LIST_EACH(node, &redis->stores)
    {
        const struct redis_store *store = store_of(node);
        if (store->resident != NULL && !resident_is_settled(store)) {
            return false;
        }
        if (redis_keeps_indexes(store) && store->built == BUILT_ASKING) {
            return false;
        }
    }
    return true;
}

static int check_resource(const struct redis *redis, const struct resource *resource,
                          struct error *error)
{
    const struct home *home = redis_home(redis, resource->redis->home);
    const char *policy =
        home != NULL && resource_keeps_indexes(resource) ? home_evicting_policy(home) : NULL;
    if (policy == NULL) {
        return 0;
    }
    return error_set(error, CODE_INVALID_REQUEST,
                     "the Redis \"%s\" evicts keys by %s, and might drop the indexes of %s: "
                     "expected maxmemory-policy noeviction, or volatile-*",
                     home_name(home), policy, resource->name);
}

int redis_check(const struct redis *redis, struct error *error)
{
    LIST_EACH(node, &redis->stores)
    {
        if (check_resource(redis, store_of(node)->resource, error) < 0) {
            return -(int)error->code;
        }
    }
    return 0;
}

static bool kept_indexes_before(const struct redis *redis, const char *name)
{
    LIST_EACH(node, &redis->stores)
    {
        const struct redis_store *store = store_of(node);
        if (strcmp(store->resource->name, name) == 0) {
            return redis_keeps_indexes(store);
        }
    }
    return false;
}

int redis_check_schema(const struct redis *redis, const struct schema *schema, struct error *error)
{
    for (unsigned i = 0; i < schema->resource_count; i++) {
        const struct resource *resource = &schema->resources[i];
        if (resource->redis != NULL && !kept_indexes_before(redis, resource->name) &&
            check_resource(redis, resource, error) < 0) {
            return -(int)error->code;
        }
    }
    return 0;
}

static void on_home_closed(struct home *home, void *context)
{
    struct redis *redis = context;
    (void)home;
    if (--redis->homes_open == 0) {
        redis->closed(redis->closed_context);
    }
}

void redis_close(struct redis *redis, uint64_t wait_us, void (*closed)(void *context),
                 void *context)
{
    redis->closed = closed;
    redis->closed_context = context;
    redis->homes_open = redis->home_count;
    for (unsigned i = 0; i < redis->home_count; i++) {
        home_close(redis->homes[i], wait_us, on_home_closed, redis);
    }
}

void redis_free(struct redis *redis)
{
    CHECK(list_empty(&redis->stores));
    for (unsigned i = 0; i < redis->home_count; i++) {
        home_free(redis->homes[i]);
    }
    heap_free(redis);
}

struct home *redis_home(const struct redis *redis, const char *name)
{
    for (unsigned i = 0; i < redis->home_count; i++) {
        if (strcmp(home_name(redis->homes[i]), name) == 0) {
            return redis->homes[i];
        }
    }
    return NULL;
}

int redis_unavailable(const struct redis_store *store, struct error *error)
{
    error_set(error, CODE_UNAVAILABLE, "%s: the Redis \"%s\" cannot be reached",
              store->resource->name, home_name(store->home));
    error_resource(error, store->resource->name);
    return -CODE_UNAVAILABLE;
}

bool redis_take_reply(const struct redis_store *store, const struct home_answer *answer,
                      struct resp_reader *in, struct resp_token *first, struct error *error)
{
    *first = (struct resp_token){.kind = RESP_END};
    if (answer->outcome != HOME_ANSWERED) {
        *error = answer->error;
        error->outcome[0] = '\0';
        return false;
    }
    *in = answer->reply;
    *first = resp_next(in);
    if (first->kind == RESP_ERROR) {
        error_set(error, resp_begins(first, "OOM") ? CODE_OVERLOADED : CODE_UNAVAILABLE,
                  "the Redis \"%s\" answered: %.*s", home_name(store->home),
                  (int)(first->size < 200 ? first->size : 200), (const char *)first->bytes);
        return false;
    }
    return true;
}

bool redis_turn(struct redis *redis)
{
    bool more = false;
    uint64_t oldest = world_oldest_pin(redis->engine.world);
    LIST_EACH(node, &redis->stores)
    {
        struct redis_store *store = store_of(node);
        redis_watch_lapse(store);
        more |= redis_watch_absences(store);
        if (store->cache != NULL) {
            more |= near_cache_turn(store->cache, oldest);
            store->store.counters.records = near_cache_count(store->cache);
            store->store.counters.bytes = near_cache_bytes(store->cache);
        } else if (store->resident != NULL) {
            more |= resident_turn(store);
        }
    }
    for (unsigned i = 0; i < redis->home_count; i++) {
        home_flush(redis->homes[i]);
    }
    return more;
}

void redis_stats(const struct redis *redis, struct buffer *out)
{
    write_map(out, redis->home_count);
    for (unsigned i = 0; i < redis->home_count; i++) {
        write_text(out, home_name(redis->homes[i]));
        home_stats(redis->homes[i], out);
    }
}

uint64_t redis_memory_bytes(const struct redis *redis)
{
    uint64_t bytes = 0;
    LIST_EACH(node, &redis->stores)
    {
        const struct redis_store *store = store_of(node);
        bytes += store->cache != NULL ? near_cache_bytes(store->cache) : 0;
    }
    return bytes;
}

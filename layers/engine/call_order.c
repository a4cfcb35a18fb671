#include <stddef.h>
#include <string.h>

#include "layers/engine/engine_inner.h"
#include "protocol/base/check.h"

/* What one connection sends in a row is to look as if it were done in that order:
 * a write to a home elsewhere takes turns, so what comes behind it on the same
 * connection and looks at what it writes is held until it is done. Nobody else
 * waits: of two connections neither knows which came first. */

static struct call *call_of(struct list *node)
{
    return CONTAINER_OF(node, struct call, order.link);
}

static struct list *writes_of(struct engine *engine, uint64_t origin)
{
    return &engine->writes[origin % ORDER_PLACES];
}

static struct list *held_of(struct engine *engine, uint64_t origin)
{
    return &engine->held[origin % ORDER_PLACES];
}

/* Whether a call looks at one resource alone; others may look at any. */
static bool looks_at_one(const struct call *call)
{
    bool by_key = call->kind == CALL_GET || call->kind == CALL_GET_MANY;
    bool writes = call->kind >= CALL_CREATE && call->kind <= CALL_DESTROY_MANY;
    return (by_key && !options_given(&call->options, OPTION_LOAD)) ||
           (writes && !options_given(&call->options, OPTION_IF));
}

const struct resource *call_named_resource(const struct call *call)
{
    struct reader in = call->params[0];
    size_t size = 0;
    const char *name = in.at == NULL ? NULL : reader_name(&in, &size);
    return name == NULL ? NULL : schema_resource(call->realm->schema, name, size);
}

/* Writes to one key are done in the order of their arrival by the home itself; what
 * identities find, and free for others, is not known before. */
static bool keeps_order_itself(const struct call *call, const struct resource *resource)
{
    return call->kind >= CALL_CREATE && call->kind <= CALL_DESTROY_MANY && looks_at_one(call) &&
           resource->identity_count == 0;
}

/* By name: a reload may have made it another object. */
static bool same_resource(const struct resource *a, const struct resource *b)
{
    return a == b || (a->name_size == b->name_size && strcmp(a->name, b->name) == 0);
}

static bool waits_for(const struct call *call, const struct resource *resource,
                      const struct call *write)
{
    if (write->origin != call->origin || write->order.number >= call->order.number) {
        return false;
    }
    if (resource == NULL || !looks_at_one(call)) {
        return true;
    }
    return same_resource(resource, write->resource);
}

/* Whether a write comes first that is under way. */
static bool waits_for_begun(const struct call *call)
{
    struct list *writes = writes_of(call->engine, call->origin);
    const struct resource *resource = call_named_resource(call);
    /* Of many writes in a row none has to look at all the others. */
    if (resource != NULL && keeps_order_itself(call, resource)) {
        return false;
    }
    for (struct list *node = writes->next; node != writes; node = node->next) {
        if (waits_for(call, resource, call_of(node))) {
            return true;
        }
    }
    return false;
}

/* Held writes have not begun, and come first as well. */
static bool waits_for_held(const struct call *call)
{
    const struct engine *engine = call->engine;
    struct list *held = held_of(call->engine, call->origin);
    if (engine->held_writes[call->origin % ORDER_PLACES] == 0) {
        return false; /* of many reads in a row none looks at all the others */
    }
    for (struct list *node = held->next; node != held; node = node->next) {
        const struct call *before = call_of(node);
        if (before->order.writes && before->origin == call->origin) {
            return true;
        }
    }
    return false;
}

bool call_is_held(struct call *call)
{
    struct engine *engine = call->engine;
    call->order.number = ++engine->order_number;
    if (list_empty(writes_of(engine, call->origin)) && list_empty(held_of(engine, call->origin))) {
        return false;
    }
    if (!waits_for_held(call) && !waits_for_begun(call)) {
        return false;
    }
    call->order.writes = call->kind >= CALL_CREATE && call->kind <= CALL_DESTROY_MANY;
    engine->held_writes[call->origin % ORDER_PLACES] += call->order.writes;
    call->order.held = true;
    list_append(held_of(engine, call->origin), &call->order.link);
    return true;
}

bool call_waits_for_writes(struct engine *engine, uint64_t origin, const struct resource *resource)
{
    LIST_EACH(node, writes_of(engine, origin))
    {
        const struct call *write = call_of(node);
        if (write->origin == origin && same_resource(write->resource, resource)) {
            return true;
        }
    }
    LIST_EACH(node, held_of(engine, origin))
    {
        if (call_of(node)->origin == origin) {
            return true;
        }
    }
    return false;
}

void call_write_begins(struct call *call)
{
    call->order.writes = true;
    list_append(writes_of(call->engine, call->origin), &call->order.link);
}

/* Those of the connection that wait for nothing any more begin, oldest first. What is
 * behind a held write waits for that. */
static void release_held(struct engine *engine, uint64_t origin)
{
    struct list *held = held_of(engine, origin);
    for (struct list *node = held->next, *after; node != held; node = after) {
        struct call *call = call_of(node);
        after = node->next;
        if (call->origin != origin) {
            continue;
        }
        if (!call->order.released && !waits_for_begun(call)) {
            /* It stays in the list until it begins, for those who come meanwhile. */
            call->order.released = true;
            task_requeue(&engine->tasks, &call->task);
        }
        if (call->order.writes) {
            return;
        }
    }
}

void call_order_begin(struct call *call)
{
    if (call->order.held) {
        call->engine->held_writes[call->origin % ORDER_PLACES] -= call->order.writes;
        call->order.held = false;
        list_remove(&call->order.link);
    }
}

void call_order_end(struct call *call)
{
    bool ended = call->order.writes;
    call_order_begin(call);
    list_remove(&call->order.link);
    call->order.writes = false;
    call->order.released = false;
    if (ended) {
        release_held(call->engine, call->origin);
    }
}

bool call_catches_up(struct call *call)
{
    struct engine *engine = call->engine;
    bool writes = call->kind >= CALL_CREATE && call->kind <= CALL_DESTROY_MANY;
    if (engine->redis == NULL || writes || call->kind == CALL_INVALIDATE) {
        return false;
    }
    const struct resource *resource = looks_at_one(call) ? call_named_resource(call) : NULL;
    const struct store *store = resource != NULL ? call->realm->stores[resource->position] : NULL;
    call->catching_up = redis_must_catch_up(engine->redis, store, call->fresh) &&
                        redis_catch_up_begin(engine->redis, &call->catch_up, &call->eval.asker);
    return call->catching_up;
}

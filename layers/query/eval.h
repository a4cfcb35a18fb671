#ifndef RELATA_LAYERS_QUERY_EVAL_H
#define RELATA_LAYERS_QUERY_EVAL_H

#include <stdint.h>

#include "layers/layer.h"
#include "layers/value.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* What all expressions of one call share: where the records are, who asks, and
 * how much they may still look at. One per request, embedded in it. */
struct eval {
    struct store *const *stores; /* by a resource's position in its schema */
    struct arena *arena;         /* the request's */
    const uint8_t *actor;        /* MessagePack map of facts; NULL for none */
    uint32_t actor_size;
    struct value tenant; /* nil for none */
    struct datetime now; /* one for the call */
    uint64_t steps_left; /* of the limit filter_steps */
    uint64_t steps_max;
    struct error *error; /* set where something fails */
    /* Who waits for records that are not in memory; zeroed: nobody can. Its task
     * is set by each task before it runs expressions and searches. */
    struct asker asker;
};

/* The store of a resource. */
static inline struct store *eval_store(const struct eval *eval, const struct resource *resource)
{
    return eval->stores[resource->position];
}

/* Takes a tenant, a text or an integer, from its MessagePack (whose bytes must
 * live as long as the eval). False, and nil, where it is neither. */
static inline bool eval_take_tenant(struct eval *eval, struct reader *in)
{
    struct token token = reader_next(in);
    eval->tenant = value_nil();
    if (token.kind == TOKEN_INTEGER) {
        eval->tenant = (struct value){.kind = VALUE_INTEGER, .integer = token.integer};
    } else if (token.kind == TOKEN_STRING) {
        eval->tenant = (struct value){.kind = VALUE_TEXT, .size = token.size, .bytes = token.bytes};
    }
    return eval->tenant.kind != VALUE_NIL;
}

#endif

#ifndef RELATA_LAYERS_QUERY_EVAL_H
#define RELATA_LAYERS_QUERY_EVAL_H

#include <stdint.h>

#include "layers/layer.h"
#include "layers/value.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"

/* What all expressions of one call share: where the records are, who asks, and
 * how much they may still look at. One per request, embedded in it. */
struct eval {
    struct store *const *stores;  /* by a resource's position in its schema */
    struct arena *arena;          /* the request's */
    const uint8_t *actor;         /* MessagePack map of facts; NULL for none */
    uint32_t actor_size;
    struct value tenant;          /* nil for none */
    struct datetime now;          /* one for the call */
    uint64_t steps_left;          /* of the limit filter_steps */
    uint64_t steps_max;
    struct error *error;          /* set where something fails */
};

/* The store of a resource. */
static inline struct store *eval_store(const struct eval *eval, const struct resource *resource)
{
    return eval->stores[resource->position];
}

#endif

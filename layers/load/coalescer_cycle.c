/* Loads that would wait for themselves. A loader that works on a batch may load
 * what it needs for it, one nesting level deeper, and so on: flights of one level
 * never wait for those of a lower one, so nothing can hang, and the deepest level
 * ends what never ends by itself. What is certain to be a circle is refused at
 * once, when the load arrives: a load that asks for all keys of a batch that it
 * works for. Each of those keys then needs one of them, so at least one needs
 * itself. A load for some of them is none: the others may be the ones that need
 * them, as with a node of a tree and its child in one batch.
 *
 * A load works for its parent's batch, and for the batch that this one works
 * for as a whole: the parent of all loads that wait for it, where that is one. */
#include <stdio.h>
#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/hash.h"

struct chain {
    const struct load *load;
    const struct load_key *keys;
    size_t count;
    const struct batch_state *path[COALESCER_DEPTH_MAX + 1];
    unsigned length;
};

/* Whether the load asks for all keys of the batch, which are each there once. */
static bool asks_for_all(const struct chain *chain, const struct batch_state *state)
{
    const struct load *load = chain->load;
    const struct group *group = state->group;
    if (state->loader != load->loader->state || chain->count < state->batch.count ||
        group->shown_size != load->shown_size ||
        (load->shown_size > 0 && memcmp(group->shown, load->shown, load->shown_size) != 0)) {
        return false;
    }
    size_t found = 0;
    for (size_t i = 0; i < chain->count; i++) {
        const struct load_key *key = &chain->keys[i];
        uint64_t hash = hash_bytes(key->bytes, key->size);
        const struct slot *slot = slot_find(group, key->bytes, key->size, hash);
        found += slot != NULL && slot->flight == state;
    }
    return found >= state->batch.count;
}

/* The one batch for whose loads alone this one is out; NULL where there are
 * several, or a load that works for none. */
static struct batch_state *only_parent(const struct batch_state *state)
{
    struct batch_state *parent = NULL;
    for (size_t i = 0; i < state->batch.count; i++) {
        LIST_EACH(node, &state->slots[i]->flying)
        {
            struct batch_state *other =
                waiter_load(CONTAINER_OF(node, struct waiter, mate))->parent;
            if (other == NULL || (parent != NULL && parent != other)) {
                return NULL;
            }
            parent = other;
        }
    }
    return parent;
}

/* "a.x, which waits for b.y, which waits for a.x" */
static int tell(const struct chain *chain, struct error *error)
{
    char loop[ERROR_MESSAGE_MAX] = "";
    size_t used = 0;
    for (unsigned i = chain->length; i > 0 && used < sizeof(loop); i--) {
        int size = snprintf(loop + used, sizeof(loop) - used, "%s, which waits for ",
                            chain->path[i - 1]->loader->loader->name);
        used += size > 0 ? (size_t)size : 0;
    }
    const char *name = chain->load->loader->name;
    error_set(error, CODE_LOADER_FAILED, "this load would wait for itself: %s%s", loop, name);
    return error_of_loader(error, CODE_LOADER_FAILED, name);
}

int cycle_check(const struct load *load, const struct load_key *keys, size_t count,
                struct error *error)
{
    struct chain chain = {.load = load, .keys = keys, .count = count};
    struct batch_state *state = load->parent->state;
    while (state != NULL && state->status == BATCH_OUT && chain.length <= COALESCER_DEPTH_MAX) {
        chain.path[chain.length++] = state;
        if (asks_for_all(&chain, state)) {
            return tell(&chain, error);
        }
        state = only_parent(state);
    }
    return 0;
}

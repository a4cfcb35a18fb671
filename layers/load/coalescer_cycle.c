/* Who waits for whom. A batch waits for the keys that loads made for it wait
 * for, pending ones too, so whoever waits for a batch is found through the
 * loads that wait for its keys: their parents wait for it. A load is refused
 * where it asks for a key that is at its loader in the batch that it works for,
 * or in one that waits for that batch. Each step up is one nesting level, so
 * the search is at most COALESCER_DEPTH_MAX deep. */
#include <stdio.h>
#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/hash.h"

struct search {
    const struct load *load;
    const struct load_key *keys;
    size_t count;
    uint64_t number;
    const struct batch_state *path[COALESCER_DEPTH_MAX + 1];
    unsigned length;
};

static bool has_a_key(const struct batch_state *state, const struct search *search)
{
    const struct load *load = search->load;
    const struct group *group = state->group;
    if (state->loader != load->loader->state || group->shown_size != load->shown_size ||
        (load->shown_size > 0 && memcmp(group->shown, load->shown, load->shown_size) != 0)) {
        return false;
    }
    for (size_t i = 0; i < search->count; i++) {
        const struct load_key *key = &search->keys[i];
        uint64_t hash = hash_bytes(key->bytes, key->size);
        const struct slot *slot = slot_find(group, key->bytes, key->size, hash);
        if (slot != NULL && slot->flight == state) {
            return true;
        }
    }
    return false;
}

static bool search_from(struct search *search, struct batch_state *state);

static bool search_parents(struct search *search, struct list *waiters)
{
    LIST_EACH(node, waiters)
    {
        struct waiter *waiter = CONTAINER_OF(node, struct waiter, mate);
        struct batch_state *parent = waiter_load(waiter)->parent;
        if (parent != NULL && search_from(search, parent)) {
            return true;
        }
    }
    return false;
}

/* Leaves in `path` the batches from where it began to the one that is waited for. */
static bool search_from(struct search *search, struct batch_state *state)
{
    if (state->walked == search->number) {
        return false;
    }
    state->walked = search->number;
    search->path[search->length++] = state;
    if (has_a_key(state, search)) {
        return true;
    }
    for (size_t i = 0; state->batch.depth > 0 && i < state->batch.count; i++) {
        struct slot *slot = state->slots[i];
        if (search_parents(search, &slot->flying) || search_parents(search, &slot->waiting)) {
            return true;
        }
    }
    search->length--;
    return false;
}

/* "a.x, which waits for b.y, which waits for a.x" */
static int tell(const struct search *search, struct error *error)
{
    char loop[ERROR_MESSAGE_MAX] = "";
    size_t used = 0;
    for (unsigned i = search->length; i > 0 && used < sizeof(loop); i--) {
        int size = snprintf(loop + used, sizeof(loop) - used, "%s, which waits for ",
                            search->path[i - 1]->loader->loader->name);
        used += size > 0 ? (size_t)size : 0;
    }
    const char *name = search->load->loader->name;
    error_set(error, CODE_LOADER_FAILED, "this load would wait for itself: %s%s", loop, name);
    return error_of_loader(error, CODE_LOADER_FAILED, name);
}

int cycle_check(struct coalescer *coalescer, const struct load *load, const struct load_key *keys,
                size_t count, struct error *error)
{
    struct batch_state *parent = load->parent->state;
    if (parent->status != BATCH_OUT) {
        return 0;
    }
    struct search search = {.load = load, .keys = keys, .count = count};
    search.number = ++coalescer->walk_number;
    return search_from(&search, parent) ? tell(&search, error) : 0;
}

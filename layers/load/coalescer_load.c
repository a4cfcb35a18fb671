/* Loads: how they begin, and the five ways in which they end: answered, failed,
 * late, given up, or never begun. */
#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Loads of up to this many keys come from a pool. */
enum { LOAD_KEYS_FEW = 2 };

static size_t load_state_bytes(size_t count)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, sizeof(struct waiter) + sizeof(struct load_answer), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct load_state), &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

size_t small_load_bytes(void)
{
    return load_state_bytes(LOAD_KEYS_FEW);
}

/* ---- The end ---- */

static void state_free(struct coalescer *coalescer, struct load_state *state)
{
    struct load *load = state->load;
    /* Neighbours mostly have their answers from the same batch. */
    struct batch_state *batch = NULL;
    size_t references = 0;
    for (size_t i = 0; i < load->count; i++) {
        struct batch_state *next = state->waiters[i].batch;
        if (next != batch) {
            batch_put(coalescer, batch, references);
            batch = next;
            references = 0;
        }
        references++;
    }
    batch_put(coalescer, batch, references);
    loader_state_put(state->loader);
    load->state = NULL;
    load->answers = NULL;
    coalescer->loads--;
    if (state->pooled) {
        pool_put(&coalescer->small_loads, state);
    } else {
        heap_free(state);
    }
}

/* It waits for nothing any more. */
static void stop_waiting(struct coalescer *coalescer, struct load_state *state)
{
    struct load *load = state->load;
    list_remove(&load->link);
    list_remove(&state->sibling);
    state->parent = NULL;
    deadlines_remove(&coalescer->deadlines, &state->deadline);
    state->loader->keys_waiting -= load->count;
    if (state->queue != NULL) {
        state->queue->origin->keys_waiting -= load->count;
        queue_close(coalescer, state->queue);
        state->queue = NULL;
    }
}

static void load_answered(struct coalescer *coalescer, struct load_state *state)
{
    stop_waiting(coalescer, state);
    state->status = LOAD_ANSWERED;
    list_append(&coalescer->answered, &state->load->link);
}

void waiter_answer(struct coalescer *coalescer, struct waiter *waiter, struct load_answer answer,
                   struct batch_state *batch)
{
    struct load_state *state = waiter_load(waiter);
    struct load *load = state->load;
    load->answers[waiter->index] = answer;
    waiter->slot = NULL;
    waiter->batch = batch;
    if (batch != NULL) {
        batch->references++;
    }
    if (--load->missing == 0) {
        load_answered(coalescer, state);
    }
}

void load_fail(struct coalescer *coalescer, struct load_state *state, const struct error *error)
{
    struct load *load = state->load;
    struct group *group = state->queue->group;
    for (size_t i = 0; i < load->count; i++) {
        struct waiter *waiter = &state->waiters[i];
        if (waiter->slot != NULL) {
            slot_leave(coalescer, waiter);
            load->answers[i] = (struct load_answer){.error = error};
        }
    }
    load->missing = 0;
    load_answered(coalescer, state);
    group_settle(coalescer, group);
}

void load_cancel(struct coalescer *coalescer, struct load *load)
{
    struct load_state *state = load->state;
    if (state == NULL || state->status == LOAD_DONE) {
        return;
    }
    if (state->status == LOAD_WAITING) {
        struct group *group = state->queue->group;
        for (size_t i = 0; i < load->count; i++) {
            if (state->waiters[i].slot != NULL) {
                slot_leave(coalescer, &state->waiters[i]);
            }
        }
        stop_waiting(coalescer, state);
        group_settle(coalescer, group);
    }
    list_remove(&load->link);
    coalescer->waiting--;
    state_free(coalescer, state);
}

void load_release(struct coalescer *coalescer, struct load *load)
{
    if (load->state == NULL) {
        return;
    }
    CHECK(load->state->status == LOAD_DONE);
    state_free(coalescer, load->state);
}

/* ---- The beginning ---- */

static int check_room(const struct coalescer *coalescer, const struct load *load, size_t count,
                      struct error *error)
{
    const struct limits *limits = &coalescer->limits;
    const struct origin *origin = origin_find(coalescer, load->origin);
    uint64_t of_origin = (origin != NULL ? origin->keys_waiting : 0) + count;
    if (of_origin > limits->keys_waiting_per_connection) {
        error_limit_hit(error, CODE_OVERLOADED, "keys_waiting_per_connection",
                        limits->keys_waiting_per_connection, of_origin);
        return error_of_loader(error, CODE_OVERLOADED, load->loader->name);
    }
    uint64_t of_loader = load->loader->state->keys_waiting + count;
    if (of_loader > limits->keys_waiting_per_relationship) {
        error_limit_hit(error, CODE_OVERLOADED, "keys_waiting_per_relationship",
                        limits->keys_waiting_per_relationship, of_loader);
        return error_of_loader(error, CODE_OVERLOADED, load->loader->name);
    }
    if (coalescer->held_bytes > limits->work_bytes) {
        error_limit_hit(error, CODE_OVERLOADED, "work_bytes", limits->work_bytes,
                        coalescer->held_bytes);
        return error_of_loader(error, CODE_OVERLOADED, load->loader->name);
    }
    return 0;
}

static int check_load(struct coalescer *coalescer, const struct load *load,
                      const struct load_key *keys, size_t count, struct error *error)
{
    const char *name = load->loader->name;
    if (coalescer->closed || load->loader->state == NULL) {
        error_set(error, CODE_UNAVAILABLE, "no loads are taken any more");
        return error_of_loader(error, CODE_UNAVAILABLE, name);
    }
    if (load->depth > COALESCER_DEPTH_MAX) {
        error_set(error, CODE_LOADER_FAILED,
                  "loaders that ask for each other may go %d deep, and this load is %u deep",
                  COALESCER_DEPTH_MAX, load->depth);
        return error_of_loader(error, CODE_LOADER_FAILED, name);
    }
    CHECK(load->parent == NULL || load->depth == load->parent->depth + 1);
    int status = check_room(coalescer, load, count, error);
    if (status == 0 && load->parent != NULL) {
        status = cycle_check(load, keys, count, error);
    }
    return status;
}

static struct load_state *state_new(struct coalescer *coalescer, struct load *load, size_t count)
{
    bool pooled = count <= LOAD_KEYS_FEW;
    struct load_state *state =
        pooled ? pool_get(&coalescer->small_loads) : heap_alloc(load_state_bytes(count));
    if (state == NULL) {
        return NULL;
    }
    state->load = load;
    state->loader = load->loader->state;
    state->loader->references++;
    state->queue = NULL;
    state->deadline = (struct deadline){.kind = DEADLINE_LOAD};
    state->parent = NULL;
    list_init(&state->sibling);
    state->status = LOAD_WAITING;
    state->pooled = pooled;
    load->state = state;
    load->answers = (struct load_answer *)(void *)&state->waiters[count];
    load->count = count;
    load->missing = count;
    list_init(&load->link);
    coalescer->loads++;
    coalescer->waiting++;
    return state;
}

/* Asks for all keys. Where memory ends, those that were asked for are given up
 * by whoever cancels the load: waiters from there on have no slot. */
static int ask_all(struct coalescer *coalescer, struct load_state *state,
                   const struct load_key *keys, uint64_t now_us, uint64_t *joined)
{
    const struct load *load = state->load;
    int status = 0;
    for (uint32_t i = 0; i < load->count; i++) {
        struct waiter *waiter = &state->waiters[i];
        waiter->slot = NULL;
        waiter->batch = NULL;
        waiter->source = keys[i].source;
        waiter->source_size = keys[i].source_size;
        waiter->index = i;
        load->answers[i] = (struct load_answer){0};
        if (status < 0) {
            continue;
        }
        status = slot_ask(coalescer, state->queue, waiter, &keys[i], load->fresh, now_us);
        *joined += status > 0;
    }
    return status < 0 ? status : 0;
}

static int begin(struct coalescer *coalescer, struct load_state *state, const struct load_key *keys,
                 uint64_t now_us, uint64_t *joined)
{
    struct load *load = state->load;
    struct lane *lane = &state->loader->lanes[load->depth];
    struct group *group = group_open(coalescer, lane, load->shown, load->shown_size);
    if (group == NULL) {
        return -CODE_OVERLOADED;
    }
    bool opened = group->slots.count == 0 && group->queues == 0;
    state->queue = queue_open(coalescer, group, load->origin);
    if (state->queue == NULL) {
        group_settle(coalescer, group);
        return -CODE_OVERLOADED;
    }
    state->queue->origin->keys_waiting += load->count;
    state->loader->keys_waiting += load->count;
    list_append(&state->loader->loads, &load->link);
    int status = ask_all(coalescer, state, keys, now_us, joined);
    if (status == 0 && load->deadline_us > 0) {
        status = deadlines_add(&coalescer->deadlines, &state->deadline, load->deadline_us);
    }
    if (status == 0 && opened) {
        load->loader->counters.groups++;
    }
    if (status == 0 && load->parent != NULL && load->parent->state->status == BATCH_OUT) {
        state->parent = load->parent->state;
        list_append(&state->parent->children, &state->sibling);
    }
    return status;
}

int coalescer_load(struct coalescer *coalescer, struct load *load, const struct load_key *keys,
                   size_t count, uint64_t now_us, struct error *error)
{
    load->state = NULL;
    load->answers = NULL;
    int status = check_load(coalescer, load, keys, count, error);
    if (status != 0) {
        return status;
    }
    struct load_state *state = count <= UINT32_MAX ? state_new(coalescer, load, count) : NULL;
    if (state == NULL) {
        goto err_memory;
    }
    uint64_t joined = 0;
    if (count == 0) {
        load_answered(coalescer, state);
    } else if (begin(coalescer, state, keys, now_us, &joined) != 0) {
        goto err_begun;
    }
    load->loader->counters.loads++;
    load->loader->counters.keys += count;
    load->loader->counters.joined += joined;
    return 0;

err_begun:
    if (state->queue == NULL) {
        /* Nothing was asked for. */
        state->status = LOAD_ANSWERED;
        load->count = 0;
    }
    load_cancel(coalescer, load);
err_memory:
    load->count = 0;
    load->missing = 0;
    error_set(error, CODE_OVERLOADED, "no memory for a load of %zu keys", count);
    return error_of_loader(error, CODE_OVERLOADED, load->loader->name);
}

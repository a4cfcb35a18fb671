/* Batches. The happy path is batch_send, the loader's start, coalescer_complete,
 * and the end when the last load with an answer of it is released. Possible
 * failures are: no memory to send it, the loader fails it, or it is dropped
 * (its time is up, or its loader goes), after which the loader may still give it
 * back, to no effect. */
#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

enum { SPARE_BATCHES_MAX = 16, FRAME_BYTES_KEEP = 256 * 1024, ARENA_BYTES_KEEP = 64 * 1024 };

/* ---- Memory ---- */

static void batch_free(struct batch_state *state)
{
    arena_release(&state->batch.arena);
    arena_release(&state->batch.scratch);
    heap_free(state->frame);
    heap_free(state);
}

/* Keeps little of it, for use again. */
static void arena_forget(struct arena *arena)
{
    arena_reset(arena);
    if (arena->total > ARENA_BYTES_KEEP) {
        arena_release(arena);
    }
}

static void batch_recycle(struct coalescer *coalescer, struct batch_state *state)
{
    if (coalescer->spare_batch_count == SPARE_BATCHES_MAX || coalescer->closed ||
        state->frame_size > FRAME_BYTES_KEEP) {
        batch_free(state);
        return;
    }
    arena_forget(&state->batch.arena);
    arena_forget(&state->batch.scratch);
    state->spare = coalescer->spare_batches;
    coalescer->spare_batches = state;
    coalescer->spare_batch_count++;
}

void batch_put(struct coalescer *coalescer, struct batch_state *state, size_t references)
{
    if (state == NULL || references == 0) {
        return;
    }
    CHECK(state->references >= references);
    state->references -= references;
    if (state->references == 0) {
        CHECK(state->status != BATCH_OUT);
        loader_state_put(state->loader);
        coalescer->held_bytes -= state->held_bytes;
        coalescer->batches--;
        batch_recycle(coalescer, state);
    }
}

void coalescer_keep(struct coalescer *coalescer, struct batch *batch)
{
    (void)coalescer;
    CHECK(batch->state->references > 0);
    batch->state->references++;
}

void coalescer_let_go(struct coalescer *coalescer, struct batch *batch)
{
    batch_put(coalescer, batch->state, 1);
}

void batches_release(struct coalescer *coalescer)
{
    while (coalescer->spare_batches != NULL) {
        struct batch_state *state = coalescer->spare_batches;
        coalescer->spare_batches = state->spare;
        batch_free(state);
    }
    coalescer->spare_batch_count = 0;
}

/* A batch whose frame has room for so many bytes. */
static struct batch_state *batch_take(struct coalescer *coalescer, size_t frame_size)
{
    struct batch_state *state = coalescer->spare_batches;
    if (state != NULL) {
        coalescer->spare_batches = state->spare;
        coalescer->spare_batch_count--;
    } else {
        state = heap_alloc(sizeof(*state));
        if (state == NULL) {
            return NULL;
        }
        arena_init(&state->batch.arena, 0);
        arena_init(&state->batch.scratch, 0);
        state->frame = NULL;
        state->frame_size = 0;
    }
    if (state->frame_size < frame_size) {
        heap_free(state->frame);
        state->frame = heap_alloc(frame_size);
        state->frame_size = state->frame != NULL ? frame_size : 0;
    }
    if (state->frame == NULL) {
        batch_free(state);
        return NULL;
    }
    return state;
}

/* ---- Sending ---- */

/* The frame: keys, answers, slots, then the bytes of the keys and what is shown. */
static size_t frame_bytes(const struct coalescer *coalescer, const struct group *group,
                          size_t count)
{
    size_t bytes =
        count * (sizeof(struct load_key) + sizeof(struct load_answer) + sizeof(struct slot *));
    for (size_t i = 0; i < count; i++) {
        bytes += coalescer->selected[i]->size;
    }
    return bytes + group->shown_size;
}

static void fill_frame(struct batch_state *state, struct slot *const *selected, size_t count)
{
    struct load_key *keys = state->frame;
    struct load_answer *answers = (struct load_answer *)(void *)(keys + count);
    struct slot **slots = (struct slot **)(void *)(answers + count);
    uint8_t *bytes = (uint8_t *)(slots + count);
    memset(answers, 0, count * sizeof(*answers));
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = selected[i];
        const struct waiter *source = slot_source(slot);
        if (slot->size > 0) {
            memcpy(bytes, slot_key(slot), slot->size);
        }
        keys[i] = (struct load_key){
            .bytes = bytes,
            .size = slot->size,
            .source_size = source != NULL ? source->source_size : 0,
            .source = source != NULL ? source->source : NULL,
        };
        bytes += slot->size;
        slots[i] = slot;
        slot->flight = state;
        state->batch.fresh |= slot->fresh;
        slot->fresh = false;
        list_move_all(&slot->flying, &slot->waiting);
    }
    const struct group *group = state->group;
    if (group->shown_size > 0) {
        memcpy(bytes, group->shown, group->shown_size);
    }
    state->batch.shown = bytes;
    state->batch.shown_size = group->shown_size;
    state->batch.keys = keys;
    state->batch.answers = answers;
    state->batch.count = count;
    state->slots = slots;
}

static struct batch_state *batch_new(struct coalescer *coalescer, struct group *group, size_t count,
                                     uint64_t now_us)
{
    struct batch_state *state = batch_take(coalescer, frame_bytes(coalescer, group, count));
    if (state == NULL) {
        return NULL;
    }
    struct lane *lane = group->lane;
    struct loader *loader = lane->loader->loader;
    uint64_t timeout_us = loader->limits.timeout_us;
    state->deadline = (struct deadline){.kind = DEADLINE_BATCH};
    state->batch.deadline_us = timeout_us > 0 ? now_us + timeout_us : 0;
    if (timeout_us > 0 &&
        deadlines_add(&coalescer->deadlines, &state->deadline, state->batch.deadline_us) != 0) {
        batch_free(state);
        return NULL;
    }
    list_init(&state->batch.link);
    state->batch.loader = loader;
    state->batch.depth = lane->depth;
    state->batch.number = ++coalescer->batch_number;
    state->batch.started_us = now_us;
    state->batch.context = NULL;
    state->batch.fresh = false;
    state->batch.state = state;
    state->loader = lane->loader;
    state->loader->references++;
    state->lane = lane;
    state->group = group;
    state->status = BATCH_OUT;
    state->references = 1;
    state->held_bytes = 0;
    state->started_seq = coalescer->seq;
    list_append(&lane->loader->out, &state->out);
    list_init(&state->children);
    lane->in_flight++;
    coalescer->batches++;
    return state;
}

static void fail_selected(struct coalescer *coalescer, size_t count, const struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = coalescer->selected[i];
        while (!list_empty(&slot->waiting)) {
            struct list *node = slot->waiting.next;
            list_remove(node);
            waiter_answer(coalescer, CONTAINER_OF(node, struct waiter, mate),
                          (struct load_answer){.error = error}, NULL);
        }
        slot_free(coalescer, slot, true);
    }
}

static const struct error *too_much(const struct coalescer *coalescer, struct loader_state *loader)
{
    error_limit_hit(&loader->too_much, CODE_OVERLOADED, "work_bytes", coalescer->limits.work_bytes,
                    coalescer->held_bytes);
    error_of_loader(&loader->too_much, CODE_OVERLOADED, loader->loader->name);
    return &loader->too_much;
}

void batch_send(struct coalescer *coalescer, struct group *group, uint64_t now_us)
{
    struct lane *lane = group->lane;
    struct loader *loader = lane->loader->loader;
    size_t count = 0;
    if (group_select(coalescer, group, &loader->limits, &count) != 0) {
        loader->counters.errors++;
        group_fail(coalescer, group, &lane->loader->no_memory);
        return;
    }
    /* Groups of a lane take turns, batch by batch. */
    if (group->pending_count > 0) {
        group->since_us = now_us;
        list_remove(&group->ready);
        list_append(&lane->ready, &group->ready);
    }
    /* New loads were refused from half of that on; those that had begun end, if they can. */
    if (coalescer->held_bytes / 2 > coalescer->limits.work_bytes) {
        loader->counters.errors++;
        fail_selected(coalescer, count, too_much(coalescer, lane->loader));
        group_settle(coalescer, group);
        return;
    }
    struct batch_state *state = batch_new(coalescer, group, count, now_us);
    if (state == NULL) {
        loader->counters.errors++;
        fail_selected(coalescer, count, &lane->loader->no_memory);
        group_settle(coalescer, group);
        return;
    }
    fill_frame(state, coalescer->selected, count);
    loader->counters.batches++;
    loader->counters.unique_keys += count;
    if (count > loader->counters.batch_max) {
        loader->counters.batch_max = count;
    }
    loader->start(loader, &state->batch);
}

/* ---- Returning ---- */

static void leave_children(struct batch_state *state)
{
    while (!list_empty(&state->children)) {
        struct load_state *child = CONTAINER_OF(state->children.next, struct load_state, sibling);
        child->parent = NULL;
        list_remove(&child->sibling);
    }
}

static void answer_flying(struct coalescer *coalescer, struct slot *slot, struct load_answer answer,
                          struct batch_state *state)
{
    struct list *node = slot->flying.next;
    while (node != &slot->flying) {
        struct list *next = node->next;
        waiter_answer(coalescer, CONTAINER_OF(node, struct waiter, mate), answer, state);
        node = next;
    }
    list_init(&slot->flying);
}

/* Answers everybody, and empties the slots that name this flight; those that
 * somebody waits behind are asked again. With `error` all keys fail. */
static void batch_return(struct coalescer *coalescer, struct batch_state *state,
                         const struct error *error, uint64_t now_us)
{
    struct group *group = state->group;
    deadlines_remove(&coalescer->deadlines, &state->deadline);
    list_remove(&state->out);
    leave_children(state);
    state->group = NULL;
    state->lane->in_flight--;
    lane_wake(coalescer, state->lane);

    struct loader *loader = state->loader->loader;
    loader->counters.errors += error != NULL;
    /* Where this is all that the group has, its table is emptied at once. */
    bool whole = group->slots.count == state->batch.count;
    if (whole) {
        hash_table_clear(&group->slots);
    }
    for (size_t i = 0; i < state->batch.count; i++) {
        struct slot *slot = state->slots[i];
        CHECK(slot->flight == state);
        struct load_answer answer = state->batch.answers[i];
        if (error != NULL) {
            answer = (struct load_answer){.error = error};
        } else if (answer.error != NULL) {
            loader->counters.errors++;
        } else if (loader->filled != NULL && !slot_overtaken(slot)) {
            loader->filled(loader, &state->batch, i);
        }
        answer_flying(coalescer, slot, answer, state);
        slot->flight = NULL;
        if (list_empty(&slot->waiting)) {
            slot_free(coalescer, slot, !whole);
            continue;
        }
        if (whole) {
            hash_table_insert(&group->slots, &slot->node, slot->node.hash);
        }
        slot_ask_again(coalescer, slot, now_us);
    }
    group_settle(coalescer, group);
}

static void batch_end(struct coalescer *coalescer, struct batch *batch, const struct error *error,
                      uint64_t now_us)
{
    struct batch_state *state = batch->state;
    CHECK(state->status != BATCH_ENDED);
    coalescer_enter(coalescer);
    if (state->status == BATCH_OUT) {
        uint64_t took_us = now_us > batch->started_us ? now_us - batch->started_us : 0;
        latency_add(&state->loader->latency, took_us);
        if (error != NULL) {
            state->error = *error;
        }
        batch_return(coalescer, state, error != NULL ? &state->error : NULL, now_us);
    }
    state->status = BATCH_ENDED;
    arena_forget(&batch->scratch);
    state->held_bytes = batch->arena.total;
    coalescer->held_bytes += state->held_bytes;
    batch_put(coalescer, state, 1);
    coalescer_leave(coalescer);
}

void coalescer_complete(struct coalescer *coalescer, struct batch *batch, uint64_t now_us)
{
    batch_end(coalescer, batch, NULL, now_us);
}

void coalescer_fail(struct coalescer *coalescer, struct batch *batch, const struct error *error,
                    uint64_t now_us)
{
    CHECK(error != NULL && error->code != CODE_OK);
    batch_end(coalescer, batch, error, now_us);
}

void batch_drop(struct coalescer *coalescer, struct batch_state *state, enum code code,
                uint64_t now_us)
{
    struct loader *loader = state->batch.loader;
    if (code == CODE_TIMEOUT) {
        error_set(&state->error, code, "the loader did not answer within %llu ms",
                  (unsigned long long)(state->batch.deadline_us - state->batch.started_us) / 1000);
    } else {
        error_set(&state->error, code, "the relationship goes, or the daemon stops");
    }
    error_of_loader(&state->error, code, loader->name);
    state->references++;
    batch_return(coalescer, state, &state->error, now_us);
    state->status = BATCH_DROPPED;
    if (loader->cancel != NULL && loader->cancel(loader, &state->batch)) {
        CHECK(state->status == BATCH_DROPPED);
        state->status = BATCH_ENDED;
        batch_put(coalescer, state, 1);
    }
    batch_put(coalescer, state, 1);
}

/* ---- Overtaking ---- */

bool slot_overtaken(const struct slot *slot)
{
    return slot->overtaken || slot->flight->started_seq < slot->flight->loader->overtaken_seq;
}

static void overtake_key(struct lane *lane, const uint8_t *key, size_t size, uint64_t hash)
{
    LIST_EACH(node, &lane->groups)
    {
        struct group *group = CONTAINER_OF(node, struct group, all);
        struct slot *slot = slot_find(group, key, (uint32_t)size, hash);
        if (slot != NULL && slot->flight != NULL) {
            slot->overtaken = true;
        }
    }
}

void coalescer_overtake(struct coalescer *coalescer, struct loader *loader, const uint8_t *key,
                        size_t size)
{
    struct loader_state *state = loader->state;
    if (state == NULL || list_empty(&state->out)) {
        return;
    }
    if (key == NULL) {
        state->overtaken_seq = ++coalescer->seq;
        return;
    }
    if (size > UINT32_MAX) {
        return; /* no key is that long */
    }
    uint64_t hash = hash_bytes(key, size);
    for (uint32_t depth = 0; depth <= COALESCER_DEPTH_MAX; depth++) {
        if (state->lanes[depth].in_flight > 0) {
            overtake_key(&state->lanes[depth], key, size, hash);
        }
    }
}

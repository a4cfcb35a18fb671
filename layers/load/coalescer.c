#include "layers/load/coalescer.h"

#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* ---- The coalescer ---- */

struct coalescer *coalescer_create(const struct limits *limits)
{
    struct coalescer *coalescer = heap_must(sizeof(*coalescer));
    coalescer->limits = *limits;
    list_init(&coalescer->loaders);
    list_init(&coalescer->awake);
    list_init(&coalescer->answered);
    hash_table_init(&coalescer->origins);
    hash_table_init(&coalescer->groups);
    hash_table_init(&coalescer->queues);
    pool_init(&coalescer->slots, sizeof(struct slot));
    pool_init(&coalescer->small_loads, small_load_bytes());
    pool_init(&coalescer->queue_pool, sizeof(struct queue));
    pool_init(&coalescer->origin_pool, sizeof(struct origin));
    return coalescer;
}

void coalescer_free(struct coalescer *coalescer)
{
    if (coalescer == NULL) {
        return;
    }
    CHECK(coalescer->entered == 0);
    CHECK(list_empty(&coalescer->loaders));
    CHECK(coalescer->loads == 0);
    CHECK(coalescer->batches == 0);
    CHECK(coalescer->groups.count == 0 && coalescer->queues.count == 0);
    coalescer->closed = true;
    batches_release(coalescer);
    groups_release(coalescer);
    hash_table_release(&coalescer->origins);
    hash_table_release(&coalescer->groups);
    hash_table_release(&coalescer->queues);
    deadlines_release(&coalescer->deadlines);
    pool_release(&coalescer->slots);
    pool_release(&coalescer->small_loads);
    pool_release(&coalescer->queue_pool);
    pool_release(&coalescer->origin_pool);
    heap_free(coalescer->selected);
    heap_free(coalescer);
}

void coalescer_enter(struct coalescer *coalescer)
{
    coalescer->entered++;
}

/* `done` may begin, cancel and release loads, complete batches and add or
 * remove loaders: nothing is held across the call. */
void coalescer_leave(struct coalescer *coalescer)
{
    while (coalescer->entered == 1 && !list_empty(&coalescer->answered)) {
        struct load *load = CONTAINER_OF(coalescer->answered.next, struct load, link);
        list_remove(&load->link);
        load->state->status = LOAD_DONE;
        coalescer->waiting--;
        load->done(load);
    }
    coalescer->entered--;
}

size_t coalescer_waiting(const struct coalescer *coalescer)
{
    return coalescer->waiting;
}

/* ---- Loaders ---- */

int error_of_loader(struct error *error, enum code code, const char *name)
{
    if (error == NULL) {
        return -(int)code;
    }
    error_prefix(error, "%s: ", name);
    const char *dot = strchr(name, '.');
    char resource[ERROR_NAME_MAX];
    if (dot == NULL || (size_t)(dot - name) >= sizeof(resource)) {
        error_relationship(error, name);
        return -(int)code;
    }
    memcpy(resource, name, (size_t)(dot - name));
    resource[dot - name] = '\0';
    error_resource(error, resource);
    error_relationship(error, dot + 1);
    return -(int)code;
}

static void prepare_errors(struct loader_state *state, const char *name)
{
    error_set(&state->late, CODE_TIMEOUT, "the time for this load has passed");
    error_of_loader(&state->late, CODE_TIMEOUT, name);
    error_set(&state->unavailable, CODE_UNAVAILABLE, "the relationship goes, or the daemon stops");
    error_of_loader(&state->unavailable, CODE_UNAVAILABLE, name);
    error_set(&state->no_memory, CODE_OVERLOADED, "no memory for a batch");
    error_of_loader(&state->no_memory, CODE_OVERLOADED, name);
}

int coalescer_add(struct coalescer *coalescer, struct loader *loader)
{
    struct loader_state *state = heap_zero(1, sizeof(*state));
    if (state == NULL) {
        return -CODE_OVERLOADED;
    }
    state->coalescer = coalescer;
    state->loader = loader;
    state->references = 1;
    list_append(&coalescer->loaders, &state->link);
    list_init(&state->loads);
    list_init(&state->out);
    for (uint32_t depth = 0; depth <= COALESCER_DEPTH_MAX; depth++) {
        struct lane *lane = &state->lanes[depth];
        lane->loader = state;
        lane->depth = depth;
        list_init(&lane->groups);
        list_init(&lane->ready);
        list_init(&lane->awake);
    }
    prepare_errors(state, loader->name);
    loader->state = state;
    return 0;
}

void loader_state_put(struct loader_state *state)
{
    if (--state->references == 0) {
        CHECK(state->loader == NULL);
        heap_free(state);
    }
}

/* Ends what waits, then drops what is out. The loader takes no loads meanwhile. */
static void loader_stop(struct coalescer *coalescer, struct loader_state *state)
{
    while (!list_empty(&state->loads)) {
        struct load *load = CONTAINER_OF(state->loads.next, struct load, link);
        load_fail(coalescer, load->state, &state->unavailable);
    }
    while (!list_empty(&state->out)) {
        struct batch_state *batch = CONTAINER_OF(state->out.next, struct batch_state, out);
        batch_drop(coalescer, batch, CODE_UNAVAILABLE, 0);
    }
}

void coalescer_remove(struct coalescer *coalescer, struct loader *loader)
{
    struct loader_state *state = loader->state;
    if (state == NULL) {
        return;
    }
    coalescer_enter(coalescer);
    loader->state = NULL;
    loader_stop(coalescer, state);
    state->loader = NULL;
    list_remove(&state->link);
    for (uint32_t depth = 0; depth <= COALESCER_DEPTH_MAX; depth++) {
        CHECK(list_empty(&state->lanes[depth].groups));
        list_remove(&state->lanes[depth].awake);
    }
    loader_state_put(state);
    coalescer_leave(coalescer);
}

void coalescer_close(struct coalescer *coalescer)
{
    coalescer_enter(coalescer);
    coalescer->closed = true;
    LIST_EACH(node, &coalescer->loaders)
    {
        loader_stop(coalescer, CONTAINER_OF(node, struct loader_state, link));
    }
    coalescer_leave(coalescer);
}

void loader_latency(const struct loader *loader, uint64_t *p50, uint64_t *p99, uint64_t *max)
{
    static const struct latency none;
    const struct latency *latency = loader->state != NULL ? &loader->state->latency : &none;
    *p50 = latency_percentile(latency, 50);
    *p99 = latency_percentile(latency, 99);
    *max = latency->max_us;
}

/* ---- Time ---- */

void lane_wake(struct coalescer *coalescer, struct lane *lane)
{
    if (list_empty(&lane->awake)) {
        list_append(&coalescer->awake, &lane->awake);
    }
}

/* Whether a group waits for more keys: only while a batch is out, and until one
 * batch is full. */
static bool gathers(struct coalescer *coalescer, struct group *group, uint64_t now_us)
{
    const struct batch_limits *limits = &group->lane->loader->loader->limits;
    uint64_t until_us = group->since_us + limits->window_us;
    if (limits->window_us == 0 || group->lane->in_flight == 0 || now_us >= until_us ||
        group->pending_count >= limits->max_size) {
        deadlines_remove(&coalescer->deadlines, &group->window);
        return false;
    }
    return group->window.place > 0 ||
           deadlines_add(&coalescer->deadlines, &group->window, until_us) == 0;
}

/* Whether anything was sent. */
static bool lane_send(struct coalescer *coalescer, struct lane *lane, uint64_t now_us)
{
    struct loader_state *state = lane->loader;
    struct list gathering;
    list_init(&gathering);
    bool sent = false;
    state->references++;
    while (!list_empty(&lane->ready)) {
        uint32_t in_flight_max = state->loader->limits.max_in_flight;
        if (lane->in_flight >= (in_flight_max > 0 ? in_flight_max : 1)) {
            break;
        }
        struct group *group = CONTAINER_OF(lane->ready.next, struct group, ready);
        if (gathers(coalescer, group, now_us)) {
            list_remove(&group->ready);
            list_append(&gathering, &group->ready);
            continue;
        }
        batch_send(coalescer, group, now_us);
        sent = true;
    }
    list_move_all(&lane->ready, &gathering);
    loader_state_put(state);
    return sent;
}

bool coalescer_flush(struct coalescer *coalescer, uint64_t now_us)
{
    if (coalescer->flushing) {
        return false;
    }
    /* From inside a `done`, those that are still to be called are not ours. */
    bool busy = coalescer->entered == 0 && !list_empty(&coalescer->answered);
    coalescer_enter(coalescer);
    coalescer->flushing = true;
    /* Lanes that wake meanwhile are for the next call. */
    struct list lanes;
    list_init(&lanes);
    list_move_all(&lanes, &coalescer->awake);
    while (!list_empty(&lanes)) {
        struct lane *lane = CONTAINER_OF(lanes.next, struct lane, awake);
        list_remove(&lane->awake);
        busy = lane_send(coalescer, lane, now_us) || busy;
    }
    coalescer->flushing = false;
    coalescer_leave(coalescer);
    return busy;
}

static void expire_one(struct coalescer *coalescer, struct deadline *deadline, uint64_t now_us)
{
    deadlines_remove(&coalescer->deadlines, deadline);
    switch ((enum deadline_kind)deadline->kind) {
    case DEADLINE_LOAD: {
        struct load_state *state = CONTAINER_OF(deadline, struct load_state, deadline);
        load_fail(coalescer, state, &state->loader->late);
        break;
    }
    case DEADLINE_BATCH:
        batch_drop(coalescer, CONTAINER_OF(deadline, struct batch_state, deadline), CODE_TIMEOUT,
                   now_us);
        break;
    case DEADLINE_WINDOW:
        lane_wake(coalescer, CONTAINER_OF(deadline, struct group, window)->lane);
        break;
    }
}

void coalescer_expire(struct coalescer *coalescer, uint64_t now_us)
{
    coalescer_enter(coalescer);
    for (;;) {
        uint64_t at_us = 0;
        struct deadline *deadline = deadlines_first(&coalescer->deadlines, &at_us);
        if (deadline == NULL || at_us > now_us) {
            break;
        }
        expire_one(coalescer, deadline, now_us);
    }
    coalescer_leave(coalescer);
}

uint64_t coalescer_next_us(const struct coalescer *coalescer)
{
    uint64_t at_us = 0;
    return deadlines_first(&coalescer->deadlines, &at_us) != NULL ? at_us : 0;
}

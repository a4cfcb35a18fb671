/* Groups, the queues of origins in them, and their slots. */
#include <string.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

enum { SPARE_GROUPS_MAX = 16 };

/* For numbers that come from the inside: connections' ids, addresses. */
static uint64_t mix(uint64_t number)
{
    number *= 0x9E3779B97F4A7C15u;
    return number ^ (number >> 32);
}

static uint64_t mix_address(const void *address)
{
    return mix((uint64_t)(uintptr_t)address);
}

/* ---- Groups ---- */

static bool group_is(const struct group *group, const struct lane *lane, const uint8_t *shown,
                     uint32_t shown_size)
{
    return group->lane == lane && group->shown_size == shown_size &&
           (shown_size == 0 || memcmp(group->shown, shown, shown_size) == 0);
}

static struct group *group_take(struct coalescer *coalescer)
{
    struct group *group = coalescer->spare_groups;
    if (group != NULL) {
        coalescer->spare_groups = group->spare;
        coalescer->spare_group_count--;
        return group;
    }
    group = heap_alloc(sizeof(*group));
    if (group != NULL) {
        hash_table_init(&group->slots);
    }
    return group;
}

static void group_give(struct coalescer *coalescer, struct group *group)
{
    if (coalescer->spare_group_count < SPARE_GROUPS_MAX && !coalescer->closed) {
        hash_table_clear(&group->slots);
        group->spare = coalescer->spare_groups;
        coalescer->spare_groups = group;
        coalescer->spare_group_count++;
        return;
    }
    hash_table_release(&group->slots);
    heap_free(group);
}

struct group *group_open(struct coalescer *coalescer, struct lane *lane, const uint8_t *shown,
                         uint32_t shown_size)
{
    uint64_t hash = hash_bytes(shown, shown_size) ^ mix_address(lane);
    struct hash_table_node *node = hash_table_find(&coalescer->groups, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct group *group = CONTAINER_OF(node, struct group, node);
        if (group_is(group, lane, shown, shown_size)) {
            return group;
        }
    }
    struct group *group = group_take(coalescer);
    if (group == NULL) {
        return NULL;
    }
    group->shown = NULL;
    group->shown_size = shown_size;
    if (shown_size > 0) {
        group->shown = heap_alloc(shown_size);
        if (group->shown == NULL) {
            group_give(coalescer, group);
            return NULL;
        }
        memcpy(group->shown, shown, shown_size);
    }
    group->lane = lane;
    list_init(&group->ready);
    list_init(&group->pending);
    list_init(&group->turns);
    group->pending_count = 0;
    group->queues = 0;
    group->since_us = 0;
    group->window = (struct deadline){.kind = DEADLINE_WINDOW};
    list_append(&lane->groups, &group->all);
    hash_table_insert(&coalescer->groups, &group->node, hash);
    return group;
}

void group_settle(struct coalescer *coalescer, struct group *group)
{
    if (group->slots.count > 0 || group->queues > 0) {
        return;
    }
    CHECK(group->pending_count == 0 && list_empty(&group->turns));
    hash_table_remove(&coalescer->groups, &group->node);
    list_remove(&group->all);
    heap_free(group->shown);
    group_give(coalescer, group);
}

void groups_release(struct coalescer *coalescer)
{
    while (coalescer->spare_groups != NULL) {
        struct group *group = coalescer->spare_groups;
        coalescer->spare_groups = group->spare;
        hash_table_release(&group->slots);
        heap_free(group);
    }
    coalescer->spare_group_count = 0;
}

/* ---- Origins and their queues ---- */

struct origin *origin_find(const struct coalescer *coalescer, uint64_t id)
{
    uint64_t hash = mix(id);
    struct hash_table_node *node = hash_table_find(&coalescer->origins, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct origin *origin = CONTAINER_OF(node, struct origin, node);
        if (origin->id == id) {
            return origin;
        }
    }
    return NULL;
}

static struct origin *origin_open(struct coalescer *coalescer, uint64_t id)
{
    struct origin *origin = origin_find(coalescer, id);
    if (origin == NULL) {
        origin = pool_get(&coalescer->origin_pool);
        if (origin == NULL) {
            return NULL;
        }
        *origin = (struct origin){.id = id};
        hash_table_insert(&coalescer->origins, &origin->node, mix(id));
    }
    return origin;
}

static void origin_settle(struct coalescer *coalescer, struct origin *origin)
{
    if (origin->queues == 0) {
        CHECK(origin->keys_waiting == 0);
        hash_table_remove(&coalescer->origins, &origin->node);
        pool_put(&coalescer->origin_pool, origin);
    }
}

struct queue *queue_open(struct coalescer *coalescer, struct group *group, uint64_t id)
{
    struct origin *origin = origin_open(coalescer, id);
    if (origin == NULL) {
        return NULL;
    }
    uint64_t hash = mix(mix_address(group) ^ mix_address(origin));
    struct hash_table_node *node = hash_table_find(&coalescer->queues, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, node);
        if (queue->group == group && queue->origin == origin) {
            queue->loads++;
            return queue;
        }
    }
    struct queue *queue = pool_get(&coalescer->queue_pool);
    if (queue == NULL) {
        origin_settle(coalescer, origin);
        return NULL;
    }
    *queue = (struct queue){.group = group, .origin = origin, .loads = 1};
    list_init(&queue->waiters);
    list_init(&queue->turn);
    origin->queues++;
    group->queues++;
    hash_table_insert(&coalescer->queues, &queue->node, hash);
    return queue;
}

void queue_close(struct coalescer *coalescer, struct queue *queue)
{
    if (--queue->loads > 0) {
        return;
    }
    CHECK(list_empty(&queue->waiters) && list_empty(&queue->turn));
    hash_table_remove(&coalescer->queues, &queue->node);
    queue->group->queues--;
    queue->origin->queues--;
    origin_settle(coalescer, queue->origin);
    pool_put(&coalescer->queue_pool, queue);
}

static void queue_add(struct queue *queue, struct waiter *waiter)
{
    if (list_empty(&queue->waiters)) {
        queue->left = COALESCER_QUANTUM;
        list_append(&queue->group->turns, &queue->turn);
    }
    list_append(&queue->waiters, &waiter->turn);
}

static void queue_remove(struct waiter *waiter)
{
    struct queue *queue = waiter_load(waiter)->queue;
    list_remove(&waiter->turn);
    if (list_empty(&queue->waiters)) {
        list_remove(&queue->turn);
    }
}

/* ---- Slots ---- */

struct slot *slot_find(const struct group *group, const uint8_t *key, uint32_t size, uint64_t hash)
{
    struct hash_table_node *node = hash_table_find(&group->slots, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct slot *slot = CONTAINER_OF(node, struct slot, node);
        if (slot->size == size && (size == 0 || memcmp(slot_key(slot), key, size) == 0)) {
            return slot;
        }
    }
    return NULL;
}

static struct slot *slot_new(struct coalescer *coalescer, struct group *group,
                             const struct load_key *key, uint64_t hash)
{
    struct slot *slot = pool_get(&coalescer->slots);
    if (slot == NULL) {
        return NULL;
    }
    slot->size = key->size;
    if (key->size > SLOT_KEY_FEW) {
        slot->key.many = heap_alloc(key->size);
        if (slot->key.many == NULL) {
            pool_put(&coalescer->slots, slot);
            return NULL;
        }
        memcpy(slot->key.many, key->bytes, key->size);
    } else if (key->size > 0) {
        memcpy(slot->key.few, key->bytes, key->size);
    }
    slot->group = group;
    slot->flight = NULL;
    slot->overtaken = false;
    slot->fresh = false;
    list_init(&slot->waiting);
    list_init(&slot->flying);
    hash_table_insert(&group->slots, &slot->node, hash);
    return slot;
}

void slot_free(struct coalescer *coalescer, struct slot *slot, bool found)
{
    if (found) {
        hash_table_remove(&slot->group->slots, &slot->node);
    }
    if (slot->size > SLOT_KEY_FEW) {
        heap_free(slot->key.many);
    }
    pool_put(&coalescer->slots, slot);
}

static void slot_pend(struct coalescer *coalescer, struct slot *slot, uint64_t now_us)
{
    struct group *group = slot->group;
    slot->number = ++coalescer->slot_number;
    if (group->pending_count++ == 0) {
        group->since_us = now_us;
        list_append(&group->lane->ready, &group->ready);
        lane_wake(coalescer, group->lane);
    } else if (group->window.place > 0) {
        lane_wake(coalescer, group->lane); /* a full batch does not wait longer */
    }
    list_append(&group->pending, &slot->pending);
}

static void slot_unpend(struct coalescer *coalescer, struct slot *slot)
{
    struct group *group = slot->group;
    list_remove(&slot->pending);
    if (--group->pending_count == 0) {
        list_remove(&group->ready);
        deadlines_remove(&coalescer->deadlines, &group->window);
    }
}

int slot_ask(struct coalescer *coalescer, struct queue *queue, struct waiter *waiter,
             const struct load_key *key, bool fresh, uint64_t now_us)
{
    struct group *group = queue->group;
    uint64_t hash = hash_bytes(key->bytes, key->size);
    struct slot *slot = slot_find(group, key->bytes, key->size, hash);
    bool joined = slot != NULL;
    if (slot == NULL) {
        slot = slot_new(coalescer, group, key, hash);
        if (slot == NULL) {
            return -CODE_OVERLOADED;
        }
        slot_pend(coalescer, slot, now_us);
    }
    waiter->slot = slot;
    list_init(&waiter->turn);
    if (slot->flight != NULL && !fresh && !slot_overtaken(slot)) {
        list_append(&slot->flying, &waiter->mate);
        return 1;
    }
    if (slot->flight == NULL) {
        queue_add(queue, waiter);
    } else {
        joined = !list_empty(&slot->waiting);
    }
    slot->fresh |= fresh;
    list_append(&slot->waiting, &waiter->mate);
    return joined ? 1 : 0;
}

void slot_leave(struct coalescer *coalescer, struct waiter *waiter)
{
    struct slot *slot = waiter->slot;
    waiter->slot = NULL;
    list_remove(&waiter->mate);
    if (slot->flight != NULL) {
        return; /* it stays in flight, and others may join it */
    }
    queue_remove(waiter);
    if (list_empty(&slot->waiting)) {
        slot_unpend(coalescer, slot);
        slot_free(coalescer, slot, true);
    }
}

void slot_ask_again(struct coalescer *coalescer, struct slot *slot, uint64_t now_us)
{
    CHECK(slot->flight == NULL && list_empty(&slot->flying));
    slot->overtaken = false;
    slot_pend(coalescer, slot, now_us);
    LIST_EACH(node, &slot->waiting)
    {
        struct waiter *waiter = CONTAINER_OF(node, struct waiter, mate);
        queue_add(waiter_load(waiter)->queue, waiter);
    }
}

const struct waiter *slot_source(const struct slot *slot)
{
    const struct list *node = slot->waiting.prev;
    for (; node != &slot->waiting; node = node->prev) {
        const struct waiter *waiter =
            (const struct waiter *)((const char *)node - offsetof(struct waiter, mate));
        if (waiter->source != NULL) {
            return waiter;
        }
    }
    return NULL;
}

void slot_take(struct coalescer *coalescer, struct slot *slot)
{
    slot_unpend(coalescer, slot);
    LIST_EACH(node, &slot->waiting)
    {
        queue_remove(CONTAINER_OF(node, struct waiter, mate));
    }
}

void group_fail(struct coalescer *coalescer, struct group *group, const struct error *error)
{
    while (!list_empty(&group->pending)) {
        struct slot *slot = CONTAINER_OF(group->pending.next, struct slot, pending);
        slot_take(coalescer, slot);
        while (!list_empty(&slot->waiting)) {
            struct list *node = slot->waiting.next;
            list_remove(node);
            waiter_answer(coalescer, CONTAINER_OF(node, struct waiter, mate),
                          (struct load_answer){.error = error}, NULL);
        }
        slot_free(coalescer, slot, true);
    }
    group_settle(coalescer, group);
}

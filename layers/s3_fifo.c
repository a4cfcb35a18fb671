#include "layers/s3_fifo.h"

#include <stdbool.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum queue { QUEUE_SMALL, QUEUE_MAIN };

enum {
    SMALL_SHARE = 10, /* the small queue's part of the bytes */
    HITS_TO_STAY = 2, /* of an entry in the small queue */
    GHOSTS_IN_SET = 4,
    GHOSTS_FEW = 64,
    GHOSTS_MAX = 1 << 22,
    EVICTION_STEPS = 64 /* entries that one eviction looks at */
};

void s3_fifo_init(struct s3_fifo *fifo)
{
    memset(fifo, 0, sizeof(*fifo));
    for (unsigned i = 0; i < S3_FIFO_QUEUES; i++) {
        list_init(&fifo->queues[i]);
    }
}

void s3_fifo_release(struct s3_fifo *fifo)
{
    heap_free(fifo->ghosts);
    s3_fifo_init(fifo);
}

/* ---- Ghosts ---- */

/* As many are remembered as there are entries: in sets by the hash, in which a
 * newer one takes the place of the oldest. Without memory nobody is. */
static void grow_ghosts(struct s3_fifo *fifo)
{
    size_t count = fifo->ghost_count > 0 ? fifo->ghost_count * 4 : GHOSTS_FEW;
    struct s3_fifo_ghost *ghosts = count <= GHOSTS_MAX ? heap_zero(count, sizeof *ghosts) : NULL;
    if (ghosts != NULL) {
        heap_free(fifo->ghosts);
        fifo->ghosts = ghosts;
        fifo->ghost_count = count;
    }
}

static struct s3_fifo_ghost *ghosts_of(const struct s3_fifo *fifo, uint64_t hash)
{
    return &fifo->ghosts[hash & (fifo->ghost_count - 1) & ~(uint64_t)(GHOSTS_IN_SET - 1)];
}

static uint32_t age_of(const struct s3_fifo *fifo, const struct s3_fifo_ghost *ghost)
{
    return ghost->number == 0 ? UINT32_MAX : fifo->ghost_number - ghost->number;
}

static void add_ghost(struct s3_fifo *fifo, uint64_t hash)
{
    if (fifo->ghost_count < 2 * fifo->count) {
        grow_ghosts(fifo);
    }
    if (fifo->ghost_count == 0) {
        return;
    }
    struct s3_fifo_ghost *set = ghosts_of(fifo, hash);
    struct s3_fifo_ghost *oldest = set;
    for (unsigned i = 1; i < GHOSTS_IN_SET; i++) {
        oldest = age_of(fifo, &set[i]) > age_of(fifo, oldest) ? &set[i] : oldest;
    }
    fifo->ghost_number += fifo->ghost_number == UINT32_MAX ? 2 : 1;
    *oldest = (struct s3_fifo_ghost){.print = (uint32_t)(hash >> 32), .number = fifo->ghost_number};
}

static bool is_ghost(const struct s3_fifo *fifo, uint64_t hash)
{
    bool found = false;
    for (unsigned i = 0; fifo->ghost_count > 0 && i < GHOSTS_IN_SET; i++) {
        const struct s3_fifo_ghost *ghost = ghosts_of(fifo, hash) + i;
        found |= ghost->print == (uint32_t)(hash >> 32) && age_of(fifo, ghost) < fifo->count;
    }
    return found;
}

/* ---- Coming and going ---- */

static void enqueue(struct s3_fifo *fifo, struct s3_fifo_node *node)
{
    list_append(&fifo->queues[node->queue], &node->link);
    fifo->queue_bytes[node->queue] += node->bytes;
}

static void dequeue(struct s3_fifo *fifo, struct s3_fifo_node *node)
{
    list_remove(&node->link);
    fifo->queue_bytes[node->queue] -= node->bytes;
}

void s3_fifo_begin(const struct s3_fifo *fifo, struct s3_fifo_node *node, uint64_t hash)
{
    node->queue = is_ghost(fifo, hash) ? QUEUE_MAIN : QUEUE_SMALL;
    node->hits = 0;
}

void s3_fifo_inherit(struct s3_fifo_node *node, const struct s3_fifo_node *from)
{
    node->queue = from->queue;
    node->hits = from->hits;
}

void s3_fifo_insert(struct s3_fifo *fifo, struct s3_fifo_node *node, size_t bytes)
{
    CHECK(bytes >> 56 == 0);
    node->bytes = bytes & ((UINT64_C(1) << 56) - 1);
    enqueue(fifo, node);
    fifo->count++;
}

void s3_fifo_remove(struct s3_fifo *fifo, struct s3_fifo_node *node)
{
    dequeue(fifo, node);
    fifo->count--;
}

void s3_fifo_move_all(struct s3_fifo *fifo, struct list *to)
{
    for (unsigned i = 0; i < S3_FIFO_QUEUES; i++) {
        list_move_all(to, &fifo->queues[i]);
        fifo->queue_bytes[i] = 0;
    }
    fifo->count = 0;
}

/* ---- Eviction ---- */

/* Whether the oldest of its queue has earned to stay; then it is moved on. */
static bool moves_on(struct s3_fifo *fifo, struct s3_fifo_node *node)
{
    bool small = node->queue == QUEUE_SMALL;
    if (node->hits < (small ? HITS_TO_STAY : 1)) {
        return false;
    }
    dequeue(fifo, node);
    if (small) {
        node->hits = 0;
    } else {
        node->hits--;
    }
    node->queue = QUEUE_MAIN;
    enqueue(fifo, node);
    return true;
}

/* The last of an eviction's steps always finds one. */
struct s3_fifo_node *s3_fifo_victim(struct s3_fifo *fifo, uint64_t bytes_max)
{
    for (unsigned step = 1; fifo->count > 0; step++) {
        const struct list *small = &fifo->queues[QUEUE_SMALL];
        const struct list *main = &fifo->queues[QUEUE_MAIN];
        bool from_small =
            fifo->queue_bytes[QUEUE_SMALL] > bytes_max / SMALL_SHARE || list_empty(main);
        struct s3_fifo_node *node =
            CONTAINER_OF(from_small ? small->next : main->next, struct s3_fifo_node, link);
        if (step >= EVICTION_STEPS || !moves_on(fifo, node)) {
            return node;
        }
    }
    return NULL;
}

void s3_fifo_evict(struct s3_fifo *fifo, struct s3_fifo_node *node, uint64_t hash)
{
    if (node->queue == QUEUE_SMALL) {
        add_ghost(fifo, hash);
    }
    s3_fifo_remove(fifo, node);
}

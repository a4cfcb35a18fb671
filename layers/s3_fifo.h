#ifndef RELATA_LAYERS_S3_FIFO_H
#define RELATA_LAYERS_S3_FIFO_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/list.h"

/* Who leaves a cache that is full: S3-FIFO. It knows neither keys nor values,
 * and frees nothing: its nodes are embedded in the cache's entries.
 *
 * An entry begins in the small queue; when it comes to that queue's end, it moves
 * to the main queue if it was hit at least twice, else it goes and leaves its hash
 * among the ghosts; who comes back from there begins in the main queue. At the
 * main queue's end those that were hit go round again. So one pass over many keys
 * that are asked for once does not push out what is asked for often, and a hit
 * costs no more than a counter.
 *
 * Ghosts are as many as entries; where there is no memory for them, nobody is
 * remembered, and all else goes on. */

enum { S3_FIFO_QUEUES = 2, S3_FIFO_HITS_MAX = 3 };

struct s3_fifo_node {
    struct list link; /* in a queue; the owner's where it is in none */
    uint64_t bytes : 56;
    uint64_t queue : 1;
    uint64_t hits : 2; /* counted up to S3_FIFO_HITS_MAX: it goes round that often */
};

/* One that was evicted from the small queue, as its hash and when. */
struct s3_fifo_ghost {
    uint32_t print;
    uint32_t number; /* 0: none */
};

struct s3_fifo {
    struct list queues[S3_FIFO_QUEUES]; /* oldest first */
    uint64_t queue_bytes[S3_FIFO_QUEUES];
    uint64_t count;
    struct s3_fifo_ghost *ghosts;
    size_t ghost_count;    /* a power of two, or 0 */
    uint32_t ghost_number; /* of the last one */
};

/* It must not be moved. Whoever is in it at its release is forgotten. */
void s3_fifo_init(struct s3_fifo *fifo);
void s3_fifo_release(struct s3_fifo *fifo);

/* Before a node is put in: where it begins, as one that is new, or as what it
 * takes the place of. */
void s3_fifo_begin(const struct s3_fifo *fifo, struct s3_fifo_node *node, uint64_t hash);
void s3_fifo_inherit(struct s3_fifo_node *node, const struct s3_fifo_node *from);

void s3_fifo_insert(struct s3_fifo *fifo, struct s3_fifo_node *node, size_t bytes);
void s3_fifo_remove(struct s3_fifo *fifo, struct s3_fifo_node *node);
/* Removes all, to the end of a list of their links; takes no longer for many. */
void s3_fifo_move_all(struct s3_fifo *fifo, struct list *to);

/* Who is to go next, in a cache of so many bytes; NULL where nobody is there. It
 * stays in until it is evicted or removed. Those that have earned to stay are
 * moved on meanwhile, some at most. */
struct s3_fifo_node *s3_fifo_victim(struct s3_fifo *fifo, uint64_t bytes_max);
/* Removes it and remembers it, if it was only in the small queue. */
void s3_fifo_evict(struct s3_fifo *fifo, struct s3_fifo_node *node, uint64_t hash);

static inline void s3_fifo_hit(struct s3_fifo_node *node)
{
    if (node->hits < S3_FIFO_HITS_MAX) {
        node->hits++;
    }
}

static inline uint64_t s3_fifo_bytes(const struct s3_fifo *fifo)
{
    return fifo->queue_bytes[0] + fifo->queue_bytes[1];
}

#endif

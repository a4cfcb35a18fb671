#ifndef RELATA_LAYERS_REDIS_WRITE_LOCKS_H
#define RELATA_LAYERS_REDIS_WRITE_LOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/hash_table.h"
#include "protocol/base/list.h"

/* Keys whose writes are under way ("unsettled"): writes to one key go one after the
 * other, in the order in which they asked. Pure. Who takes several keys takes them
 * all in one turn, and takes no more while he has any: so nobody can wait in a
 * circle. */

struct write_locks {
    struct hash_table keys;
    struct list due; /* tickets that have come first, and are to be told */
    bool telling;
};

/* A place in a key's queue; embedded in who waits. */
struct write_ticket {
    struct list link;      /* in the key's queue */
    struct list due;       /* in the locks' */
    struct write_key *key; /* NULL: not in any */
    /* Not from inside write_lock, nor from inside another one's. */
    void (*granted)(struct write_ticket *ticket);
};

void write_locks_init(struct write_locks *locks);
/* All tickets must have been given back. */
void write_locks_release(struct write_locks *locks);

/* Whether a write to the key is under way, or waits. */
bool write_locks_hold(const struct write_locks *locks, const uint8_t *key, size_t size);

/* Takes a place in the key's queue (the bytes are copied): 1 where it is the first,
 * 0 where `granted` will be called, or -CODE_OVERLOADED. */
int write_lock(struct write_locks *locks, struct write_ticket *ticket, const uint8_t *key,
               size_t size);

/* Gives it back, also while it waits; harmless where it has no place. Whoever is next
 * is told before the outermost call returns, however long the row of those is who give
 * theirs back at once. */
void write_unlock(struct write_locks *locks, struct write_ticket *ticket);

#endif

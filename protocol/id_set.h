#ifndef RELATA_PROTOCOL_ID_SET_H
#define RELATA_PROTOCOL_ID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ids of requests, each with a pointer: a table with open addressing that grows
 * by doubling. The other end chooses the ids, so they are hashed with the
 * process's seed. A zeroed set is a valid empty one and takes no memory. */
struct id_slot;

struct id_set {
    struct id_slot *slots;
    uint32_t capacity; /* 0, or a power of two */
    uint32_t count;
    uint32_t cursor; /* where the next is looked for to be taken out */
};

void id_set_release(struct id_set *set);

/* 0, or -CODE_OVERLOADED where memory lacks; the id must not be in it yet. */
int id_set_add(struct id_set *set, uint32_t id, void *value);

bool id_set_has(const struct id_set *set, uint32_t id);

/* True if it was there; its pointer then in *value, where that is wanted. */
bool id_set_remove(struct id_set *set, uint32_t id, void **value);

/* Takes out any; false where the set is empty. Taking out all of n costs n. */
bool id_set_take(struct id_set *set, uint32_t *id, void **value);

#endif

#ifndef RELATA_CLIENTS_C_DEADLINES_H
#define RELATA_CLIENTS_C_DEADLINES_H

/* The moments until which somebody waits, the earliest at hand: a binary heap
 * of nodes that their owners embed. */

#include <stdint.h>
#include <stddef.h>

struct deadline {
    uint64_t at_ms;
    size_t place; /* in the heap */
};

struct deadlines {
    struct deadline **items;
    size_t count;
    size_t capacity;
};

/* A zeroed struct is a valid empty one. */
void deadlines_release(struct deadlines *deadlines);

/* 0, or -CODE_OVERLOADED where memory lacks. */
int deadlines_add(struct deadlines *deadlines, struct deadline *deadline);
/* It must be in. */
void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline);
/* NULL where there is none. */
struct deadline *deadlines_first(const struct deadlines *deadlines);

#endif

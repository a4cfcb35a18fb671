#ifndef RELATA_LAYERS_LOAD_DEADLINES_H
#define RELATA_LAYERS_LOAD_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

/* Moments to come, soonest first: a binary heap of entries that are embedded
 * in what they wake. Where many are equal, as within a turn, adding and
 * removing cost the same few steps however many there are. */
struct deadline {
    size_t place; /* in the heap, counted from 1; 0 is nowhere */
    int kind;     /* the owner's */
};

struct deadlines {
    struct deadline_entry {
        uint64_t at_us;
        struct deadline *deadline;
    } * heap;
    size_t count;
    size_t capacity;
};

void deadlines_release(struct deadlines *deadlines);

/* `deadline` must be nowhere. 0, or -CODE_OVERLOADED without memory. */
int deadlines_add(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_us);

/* Harmless where it is nowhere. */
void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline);

/* The soonest; NULL where there is none. */
struct deadline *deadlines_first(const struct deadlines *deadlines, uint64_t *at_us);

#endif

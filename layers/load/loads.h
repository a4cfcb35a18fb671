#ifndef RELATA_LAYERS_LOAD_LOADS_H
#define RELATA_LAYERS_LOAD_LOADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/coalescer.h"
#include "layers/load/level.h"
#include "layers/load/relation.h"
#include "layers/query/eval.h"
#include "layers/task.h"

/* The loads of one call: what it asked to be loaded of its records, and of
 * those again, level by level over the union of all records of a level, each
 * record once. Every relationship goes to the coalescer; what comes back is
 * cut to the caller's query for each source. Siblings run at the same time. */
struct loads {
    /* Set by the caller before loads_start; they must outlive it. */
    struct relations *relations;
    struct eval *eval; /* the call's; found records live in its arena */
    uint64_t origin;   /* the connection */
    uint64_t deadline_us;
    bool fresh;
    bool authorize;
    uint64_t number;      /* of the call, never used again */
    struct batch *parent; /* the batch that the call works for, or NULL */
    /* All is loaded, or *eval->error is set and `failed`. Called once, never from
     * inside loads_start. What was loaded stays valid until loads_release. */
    void (*done)(struct loads *loads);

    /* loads.c's own. */
    bool failed;
    size_t pending;     /* items not finished, and the start itself */
    struct list items;  /* of struct load_step, for release */
    struct task finish; /* calls `done` outside of loads_start */
};

/* Loads what level->query asks for of the level's records (unique ones), and
 * fills level->loads. 0 and `done` comes later; or a negative code with
 * eval->error set, and it does not. In both cases loads_release must follow. */
int loads_start(struct loads *loads, struct level *level, uint64_t now_us);

/* Gives everything back, also in mid-way (then `done` is not called any more). */
void loads_release(struct loads *loads);

#endif

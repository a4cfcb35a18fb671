#ifndef RELATA_LAYERS_ENGINE_WRITING_H
#define RELATA_LAYERS_ENGINE_WRITING_H

#include "layers/engine/engine_inner.h"

/* What call_write.c and call_write_home.c know of each other: the steps of a write,
 * which work on any store. */

/* One write in progress: rooms that are used for record after record. */
struct writing {
    struct call *call;
    struct store *store;
    const struct resource *resource;
    const struct identity *identity; /* of an upsert; NULL for the primary key */
    const struct expr *condition;    /* NULL for none */
    struct expr_run *run;
    struct buffer taken; /* what came from outside, canonical */
    struct buffer key;
    struct record_draft draft;
    const struct record *stored; /* the last one */
    uint64_t changes;            /* of this pass */
    bool judging;                /* `run` is under way, and has to wait, over: */
    struct expr_records judged;
    struct store_write home; /* where the records are at home elsewhere */
    bool home_open;
};

/* Reads what the options say. writing_close must follow in both cases. */
int writing_open(struct writing *writing, struct call *call);
void writing_close(struct writing *writing);

/* Reads what is there, judges, puts and removes, all anew each time: 0, or a
 * negative code with the call's error set. Where the store lacks something that the
 * pass looked at, what it says does not count. */
int writing_pass(struct writing *writing);

/* The record that is answered. */
int writing_keep_stored(struct writing *writing);

#endif

#ifndef RELATA_LAYERS_REDIS_FETCH_HINTS_H
#define RELATA_LAYERS_REDIS_FETCH_HINTS_H

#include "layers/redis/redis_inner.h"

/* What redis_fetch.c (records by their keys, and the whole of a fetch) and fetch_hints.c
 * (what claims and index sets name) know of each other. */

struct fetching {
    struct fetch *fetch;
    struct redis_store *store;
    struct load load;
    bool loading; /* the coalescer has it */
    bool loaded;  /* its answers are held */
    /* The keys of records: of the fetch itself, or found by claims and sets. */
    const struct store_key *keys;
    size_t count;
    uint32_t *missing; /* positions of the keys that are being loaded */
    size_t missing_count;
    const struct error *failure;      /* of the last key that failed: keys may share one, */
    const struct error *failure_kept; /* and here it is kept */
    bool records_stage;
    /* Of claims and sets. */
    uint32_t *asked_by;        /* which claim or range named the key */
    struct store_key *members; /* of ranges: by which member */
    struct built_waiter built_waiter;
};

static inline struct arena *fetch_arena(const struct fetching *fetching)
{
    return fetching->fetch->asker.arena;
}

/* ---- redis_fetch.c ---- */

int fetch_no_memory(const struct fetching *fetching, struct error *error);
/* It has failed as a whole: the fetch's error is set. */
void fetch_fail(struct fetching *fetching);
int fetch_load(struct fetching *fetching, struct loader *loader, const struct load_key *keys,
               size_t count, void (*done)(struct load *), struct error *error);
void fetch_load_done(struct fetching *fetching);
/* The second stage, from inside a load's `done`: fetching->keys are known. */
void fetch_go_on_with_records(struct fetching *fetching);

/* ---- fetch_hints.c ---- */

/* Asks for claims or sets, where they are whole. */
int fetch_ask_hints(struct fetching *fetching, struct error *error);
void fetch_on_built_known(struct built_waiter *waiter, const struct error *why_not);
/* What is given of the records that they named. 0, or a negative code with the fetch's
 * error set. */
int fetch_give_identities(struct fetching *fetching);
int fetch_give_ranges(struct fetching *fetching);

#endif

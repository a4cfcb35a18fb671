#ifndef RELATA_LAYERS_LOAD_LOAD_STEP_H
#define RELATA_LAYERS_LOAD_LOAD_STEP_H

#include "layers/load/loads.h"
#include "layers/load/unique.h"

/* One relationship of one level, being loaded: a step of loads.c. This is what
 * its two halves share: load_keys.c, which asks the cache and the coalescer for
 * the answers of a level's keys, and loads.c, which cuts them to the query. */

struct load_part;

/* The answer of one key: the loader's, or a cached one. */
struct key_answer {
    const struct related_records *records;
    const struct error *error;
    const struct cached_result *cached; /* held until the step is released */
    uint32_t start;                     /* of the key in key_bytes */
    uint32_t size;
    const struct record *source;
    bool asked; /* of the loader */
};

#define LOAD_NO_KEY UINT32_MAX

struct load_step {
    struct task task; /* the keys, then the cut */
    struct list link; /* in loads->items */
    struct loads *loads;
    struct relation *relation;
    struct level *level;
    struct level_load *out;
    bool failed;
    /* All answers are there: called once, never from inside load_keys_run. */
    void (*ready)(struct load_step *step);
    /* Keys, load_keys.c's. */
    uint32_t *key_of;           /* a source's key, LOAD_NO_KEY where nothing joins */
    struct key_answer *answers; /* of the keys, each once */
    size_t answer_count;
    struct buffer shown; /* what the loader is shown: with a key, the cache's key */
    struct buffer key_bytes;
    struct unique_keys unique;
    size_t collected;        /* sources whose key is known */
    size_t asked;            /* keys that were asked for */
    size_t parts_missing;    /* parts whose answers are not there */
    struct load_part *parts; /* newest first */
    struct task ready_task;
    struct fetch fetch; /* of a loader that answers keys of records that are elsewhere */
    /* The cut: what is applied for each source. */
    bool searching_needed; /* a filter or a sort of the caller's, or per source */
    struct search_spec spec;
    struct search *search;
    struct search_input input;
    struct expr_records source;
    bool searching;
    size_t at; /* the source being cut */
};

/* Makes room for the keys of step->level. 0, or a negative code with the eval's
 * error set. load_keys_release must follow in both cases. */
int load_keys_open(struct load_step *step);

/* Collects the keys of the level's records, each once, looks for them in the
 * cache, and sends the others to the coalescer, for at most *budget keys; a large
 * level goes in parts, so that no turn has all of it. LOAD_KEYS_MORE: call it
 * again; 0: all are asked for, and `ready` comes later; or a negative code with
 * the eval's error set. */
enum { LOAD_KEYS_MORE = 1 };
int load_keys_run(struct load_step *step, uint64_t *budget, uint64_t now_us);

/* The answer of source `at`; NULL where it has none, or *error is set. */
const struct related_records *load_keys_answer(const struct load_step *step, size_t at,
                                               const struct error **error);

void load_keys_release(struct load_step *step);

/* load_fetch.c. Of a loader that answers keys, only the keys are shared, joined
 * and cached: the records are those of this moment. Puts them in the place of the
 * answers' own; those that are no more are left out. 0; LOAD_FETCH_LATER where
 * step->task waits for them, then load_fetch_take takes them; or a negative code
 * with the eval's error set. */
enum { LOAD_FETCH_LATER = 1 };
int load_fetch(struct load_step *step);
int load_fetch_take(struct load_step *step);

#endif

#ifndef RELATA_LAYERS_QUERY_EXPR_RUN_H
#define RELATA_LAYERS_QUERY_EXPR_RUN_H

#include "layers/query/expr_code.h"
#include "layers/query/search.h"

/* What a run is made of: for expr_run.c and expr_step.c alone. */

enum step_status {
    STEP_UNKNOWN,
    STEP_SEARCHING,
    STEP_JUDGING, /* exists: its filter runs over what the search found */
    STEP_KNOWN    /* `found` is the record, or NULL */
};

struct step_state {
    const struct step *step;
    enum step_status status;
    const struct record *found;
    bool direct; /* a plain belongs_to: the store is asked for the key */
    bool pushed; /* the search judges the filter of exists itself */
    struct search_spec spec;
    struct search *search;
    struct search_input input;
    struct expr_records source;    /* whose related records these are */
    struct expr_run *inner;        /* the filter of exists, where it is not pushed */
    struct expr_records candidate; /* for the inner run */
    bool inner_started;
    const struct record *const *list; /* what there is to judge */
    size_t list_count;
    size_t list_at;
    uint8_t *key;
    size_t key_room;
    struct fetch fetch; /* direct, where the record is at home elsewhere */
    struct store_key sought;
};

struct expr_run {
    const struct expr *expr;
    struct eval *eval;
    struct arena *arena;
    const struct expr_records *records;
    const struct instruction *at;
    struct value *value; /* one above the top of the stacks */
    uint8_t *truth;
    uint8_t at_hand; /* the truth at hand */
    bool under_way;
    struct value *values;
    uint8_t *truths;
    struct step_state *steps;
    uint8_t *room; /* for texts that functions and casts make of a record */
    size_t room_size;
    size_t room_used;
};

/* The records `up` scopes out; NULL where there are none. */
static inline const struct expr_records *records_out(const struct expr_records *records,
                                                     unsigned up)
{
    for (; up > 0 && records != NULL; up--) {
        records = records->outer;
    }
    return records;
}

/* Room of its own for each step; 0, or -CODE_OVERLOADED, or what the search says. */
int steps_create(struct expr_run *run);
void steps_reset(struct expr_run *run);
void steps_stop(struct expr_run *run);

/* Finds the step's record: RUN_DONE with it in `found`. */
enum run_status step_go(struct expr_run *run, struct step_state *state, uint64_t *budget);
/* Answers an exists. */
enum run_status exists_go(struct expr_run *run, struct step_state *state, uint64_t *budget,
                          bool *out);

#endif

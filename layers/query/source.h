#ifndef RELATA_LAYERS_QUERY_SOURCE_H
#define RELATA_LAYERS_QUERY_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/eval.h"
#include "layers/query/pile.h"
#include "layers/query/plan.h"
#include "layers/query/search.h"
#include "layers/query/walk.h"

/* Where a search's records come from, before filters: the way that suits the
 * values best, the records of a list, or the destinations that the records of a
 * through resource lead to. It does not filter and does not order. */

/* Destinations met already. Slots of earlier starts are told by their stamp, so
 * that nothing needs clearing. */
struct source_seen {
    struct {
        const struct record *record;
        uint32_t stamp;
    } * slots;
    size_t mask; /* slots less one; 0 while there are none */
    size_t count;
    uint32_t stamp;
};

enum { SOURCE_AHEAD_MAX = 4 }; /* relationships that are looked at ahead */

struct source {
    const struct search_spec *spec;
    const struct plan *plan;
    struct eval *eval;
    enum { SOURCE_NOTHING, SOURCE_WALK, SOURCE_LIST, SOURCE_THROUGH, SOURCE_FETCH } kind;
    struct term_value *values;   /* of the plan's terms */
    const struct access *access; /* of SOURCE_WALK */
    struct walk walk;
    /* SOURCE_LIST */
    const struct record *const *list;
    size_t list_count, list_at;
    /* SOURCE_THROUGH */
    struct walk through;
    struct walk destination;
    struct term_value *destination_values;
    struct pile found; /* pointers to records */
    size_t found_at;
    struct source_seen seen;
    bool through_ended;
    uint8_t *room; /* a key of several fields */
    size_t room_size;
    /* SOURCE_FETCH: records from their home elsewhere */
    struct fetch fetch;
    size_t fetched_at;
    bool linking; /* what is fetched are records of the through resource, and of a
                     SOURCE_THROUGH that they are not there yet */
    /* Related records that are elsewhere, and that the filters will look at. */
    struct fetch ahead[SOURCE_AHEAD_MAX];
    const struct relationship *ahead_by[SOURCE_AHEAD_MAX];
    unsigned ahead_count;
    bool looked_ahead;
    bool asked_ahead; /* for all of them */
    uint64_t debt;    /* what the start cost, in visits, and is not paid for yet */
};

/* How many records of a through resource are followed at the start, so that
 * what they lead to is of that moment too. */
enum { SOURCE_THROUGH_AT_ONCE = 4096 };

/* 0, or -CODE_OVERLOADED. */
int source_init(struct source *source, const struct search_spec *spec, struct eval *eval);

/* From here on it gives the records of this moment. 0, or a code with the
 * eval's error set. */
int source_start(struct source *source, const struct search_input *input);

/* RUN_DONE with the next record, or NULL at the end; the caller pays for the
 * record with source_visit. */
enum run_status source_next(struct source *source, uint64_t *budget, const struct record **record);

/* Counts one visited record against the call's steps; false where the limit is
 * reached (the error is set). */
bool source_visit(struct source *source);

/* Closes what is open. */
void source_stop(struct source *source);

/* Sets the error of an arena that lacked memory. Answers -CODE_OVERLOADED. */
int source_lacks_memory(struct source *source);

#endif

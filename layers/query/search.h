#ifndef RELATA_LAYERS_QUERY_SEARCH_H
#define RELATA_LAYERS_QUERY_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/query/eval.h"
#include "layers/query/expr.h"
#include "layers/query/order.h"

/* Finding records: a spec says what is wanted, the planner chooses the way
 * (primary key, identity, an index's range, a scan), and a search walks it in
 * slices. Reads, counts, the loaders of relationships, and the paths and
 * `exists` of filters all find their records through this. */

enum { SEARCH_FILTERS_MAX = 4 };

/* What is wanted. Immutable once planned; shared by any number of searches;
 * lives in the arena of whoever made it (a request, or the schema's user). */
struct search_spec {
    const struct resource *resource;
    const struct expr *filters[SEARCH_FILTERS_MAX]; /* and-ed */
    unsigned filter_count;
    /* Where this is not NULL the search is opened with a key (record.h), and
     * these fields of the records (of `through`, where that is not NULL) equal it. */
    const struct field_list *join;
    const struct relationship *through; /* a many_to_many relationship, or NULL:
                                            the key joins through_source, and its
                                            records lead to the destination, each once */
    const struct order *order;          /* NULL: by primary key alone */
    bool unordered;                     /* the order does not matter */
    bool has_limit;
    uint64_t limit;
    uint64_t offset;
    const struct plan *plan; /* set by search_plan */
};

/* Chooses the way. 0, or -CODE_OVERLOADED. The plan lives in the arena. */
int search_plan(struct search_spec *spec, struct arena *arena);

/* The way in words, for tests and for people: "primary_key", "identity name",
 * "index [status created_at]", "scan", "through link index [team_id]". It is the
 * best before values are known; where several suit, what the values' ranges
 * hold decides at each start. */
void search_plan_describe(const struct search_spec *spec, char *out, size_t out_size);

/* A search in progress. What it finds is put into the arena of its eval. */
struct search;

/* All of it may be given anew for each search of a spec. */
struct search_input {
    const struct expr_records *outer; /* `parent` for the filters; NULL for none */
    const uint8_t *key;               /* where the spec has a join */
    size_t key_size;
    /* Where not NULL: search these alone (the join does not matter), in their
     * order where the spec has no order and `keep_order` is set. */
    const struct record *const *list;
    size_t list_count;
    bool keep_order;
    bool transient; /* the results may be overwritten by the next start: for who
                       searches very often, since nothing is allocated for them */
};

/* Room for searches of the spec, one at a time, in eval's arena; NULL where
 * memory lacks. */
struct search *search_create(const struct search_spec *spec, struct eval *eval);

/* Begins (ending one that was under way): what is found is of this moment, if
 * search_run is first called in the same turn. (Destinations through more than
 * some thousand records, and keys of a list beyond as many, are of the moment at
 * which they are reached.) What the input points to must live until the end,
 * and the caller holds a pin where it takes more than this turn. 0, or a
 * negative code with eval->error set. */
int search_start(struct search *search, const struct search_input *input);

/* Goes on for at most *budget visited records (sorting costs too, as if records
 * were visited). RUN_DONE: *records and *count are what was found, filtered,
 * ordered and cut; the array is in the arena and stays when the next search is
 * started. RUN_MORE: *budget is 0. RUN_FAILED: the search is over. */
enum run_status search_run(struct search *search, uint64_t *budget,
                           const struct record *const **records, size_t *count);

/* As search_run, but only counts, whatever limit and offset say. */
enum run_status search_count(struct search *search, uint64_t *budget, uint64_t *count);

/* One by one, for specs without offset, limit and order (or unordered):
 * RUN_DONE with *record NULL at the end. */
enum run_status search_next(struct search *search, uint64_t *budget, const struct record **record);

/* Ends it early: closes its cursors. Harmless when it is not under way. */
void search_stop(struct search *search);

/* ---- What a relationship gives for one source record ---- */

/* The spec of a relationship alone (its join or loader filter, its own filter,
 * order, limit and offset: to-one ones have limit 1), planned. 0 or a code. */
int search_relationship_spec(const struct relationship *relationship, struct arena *arena,
                             struct search_spec *out);

/* The key by which a source record is joined (its source_fields); false where a
 * field is nil: then there is nothing related. Appends to `out`. For manual
 * relationships the key is not used: the source is `outer`. */
bool search_relationship_key(const struct relationship *relationship, const struct record *source,
                             struct buffer *out);

#endif

#ifndef RELATA_LAYERS_QUERY_WALK_H
#define RELATA_LAYERS_QUERY_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/query/pile.h"
#include "layers/query/plan.h"
#include "protocol/base/arena.h"

/* One way through a store, with the values known: a scan, some points, or some
 * ranges of an index, record by record, each at most once. It neither filters
 * nor counts. Its room is in an arena and is used again for every opening. */

/* The value that a term of the plan has in this search. For an integer field a
 * float was turned into the integer (and operator) that means the same. */
struct term_value {
    enum conjunct_operator operator;
    struct value value;
};

/* False where nothing can match: nil, or a value that the field cannot have. */
bool term_value_set(struct term_value *out, const struct field *field,
                    enum conjunct_operator operator, const struct value * value);

enum {
    WALK_POINTS_MAX = 65536,    /* keys of one list; with more the way is not taken */
    WALK_RANGES_MAX = 1024,     /* ranges of one list, which are all open at once */
    WALK_POINTS_AT_ONCE = 16384 /* keys looked up when it opens; later ones show the
                                    moment at which they are reached */
};

struct walk {
    struct store *store;
    struct arena *arena;
    const struct access *access;
    /* The key that records are compared to; NULL where the access covers it. */
    const struct field_list *join;
    const uint8_t *key;
    size_t key_size;
    struct range range; /* of an index; for a list all but its value */
    const struct term_value *values;
    struct value *items; /* of a list: ordered, each once */
    size_t item_count, item_capacity, item_at;
    struct store_cursor *cursors; /* those before cursor_count are open */
    size_t cursor_count, cursor_capacity, cursor_at;
    struct pile found; /* pointers to records: points that were looked up */
    size_t found_at;
    uint8_t *room; /* keys, and the upper bound of a prefix */
    size_t room_size;
};

enum walk_bound {
    WALK_READY,
    WALK_EMPTY,    /* nothing can match */
    WALK_UNUSABLE, /* a list is too long for this way */
    WALK_FAILED    /* the arena lacks memory */
};

void walk_init(struct walk *walk, struct store *store, struct arena *arena);

/* Takes the values (one for each term of the access's plan) and the search's
 * key; both must live until the walk is closed. Opens nothing yet. */
enum walk_bound walk_bind(struct walk *walk, const struct access *access,
                          const struct term_value *values, const struct field_list *join,
                          const uint8_t *key, size_t key_size);

/* How many records there are on this way, at most `most` counted. Bound, of
 * points and ranges only. */
uint64_t walk_estimate(struct walk *walk, uint64_t most);

/* What was bound, for a store whose records are fetched: all its points as keys,
 * or all its ranges; in the arena. 0, or -CODE_OVERLOADED. */
int walk_points(struct walk *walk, const struct store_key **keys, size_t *count);
int walk_ranges(struct walk *walk, const struct range **ranges, size_t *count);

/* Opens what was bound: from here on it shows this moment. 0, or a code. */
int walk_open(struct walk *walk);

/* NULL at the end, and where the arena lacked memory (its `failed` tells). It
 * does not compare records to the key; walk_joins does. */
const struct record *walk_next(struct walk *walk);

/* Whether a record that it gave has the search's key. */
static inline bool walk_joins(const struct walk *walk, const struct record *record)
{
    return walk->join == NULL ||
           key_matches(walk->store->resource, walk->join, record, walk->key, walk->key_size);
}

/* Closes its cursors. Harmless when nothing is open. */
void walk_close(struct walk *walk);

#endif

#ifndef RELATA_LAYERS_QUERY_PLAN_H
#define RELATA_LAYERS_QUERY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/expr.h"
#include "layers/query/order.h"
#include "layers/query/search.h"

/* What the planner found out about a spec before any value is known: which
 * conditions could lead to records, the ways that they open (best first), and
 * the whole order. Immutable; a search takes it and, once the values are known,
 * takes one of the ways (walk.h). It does not look at records. */

enum {
    PLAN_TERMS_MAX = 32,   /* further conditions are only checked */
    PLAN_ACCESSES_MAX = 8, /* with the scan, which is always last */
    ACCESS_BOUNDS_MAX = 4
};

/* A condition on one field that a way to the records may use: a conjunct of a
 * filter, or a field of the join, which equals a part of the search's key. */
struct plan_term {
    uint16_t field;
    bool joined;
    uint8_t join_position;
    bool used;                       /* by some access */
    uint8_t filter;                  /* of the spec, where it is not joined */
    enum conjunct_operator operator; /* CONJUNCT_EQUAL where it is joined */
    struct conjunct conjunct;        /* where it is not joined */
};

enum access_kind {
    ACCESS_SCAN,
    ACCESS_POINTS, /* by primary key or identity */
    ACCESS_RANGES  /* of an index */
};

/* A way to the records. */
struct access {
    enum access_kind kind;
    unsigned score;                  /* the higher the better, before values are known */
    const struct identity *identity; /* of points; NULL for the primary key */
    const struct index *index;       /* of ranges */
    const struct field_list *fields; /* those of the key or of the index */
    bool key_as_given;               /* points: the search's key is the key sought */
    bool checks_join;                /* the join is not used up: records are compared to the key */
    uint16_t equal_count;            /* leading fields with a term each */
    uint8_t equal[KEY_FIELDS_MAX];   /* positions of those terms */
    int in_position;                 /* which of them is a list; -1 for none */
    uint8_t bound_count;             /* terms on the next field */
    uint8_t bounds[ACCESS_BOUNDS_MAX];
    bool reverse;
    uint8_t covered;  /* bit by filter: all that it says is what the access asks for */
    uint16_t ordered; /* leading keys of the order in which it gives records */
};

/* many_to_many: records of `through`, each leading to destinations. */
struct through_plan {
    struct plan_term terms[2][KEY_FIELDS_MAX]; /* of the two accesses */
    unsigned term_count;
    struct access source;      /* through_source == the search's key */
    struct access destination; /* destination_fields == through_destination */
    bool unique;               /* no destination can come twice */
};

struct plan {
    struct plan_term terms[PLAN_TERMS_MAX];
    unsigned term_count;
    uint8_t plain_filters; /* bit by filter: it says nothing but terms */
    struct access accesses[PLAN_ACCESSES_MAX];
    unsigned access_count;
    const struct through_plan *through;
    /* The order with the primary key behind it: what decides. */
    const struct order_item *keys;
    uint16_t key_count;
    uint16_t path_count; /* of the keys */
};

/* Whether it leads to records that are at home elsewhere: there is no scan there, and
 * an index leads there only from an equal value of its first field. */
static inline bool access_leads(const struct access *access)
{
    return access->kind == ACCESS_POINTS ||
           (access->kind == ACCESS_RANGES && access->equal_count > 0);
}

/* Whether the access gives records in the whole order. */
static inline bool access_fully_ordered(const struct access *access, const struct plan *plan)
{
    return access->ordered == plan->key_count;
}

/* An index in whose order the records come, without any condition on it. */
static inline bool access_for_order_alone(const struct access *access)
{
    return access->kind == ACCESS_RANGES && access->equal_count == 0 && access->bound_count == 0;
}

#endif

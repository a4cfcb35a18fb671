#ifndef RELATA_LAYERS_LOAD_RELATION_H
#define RELATA_LAYERS_LOAD_RELATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/load/coalescer.h"
#include "layers/query/search.h"
#include "layers/schema/schema.h"
#include "layers/task.h"

/* A relation is a relationship at work: the loader that answers its batches
 * from the records (ordinary joins, many_to_many, and manual ones by `filter`).
 * A batch is a task, so that a long one is sliced; a short one is answered in
 * the turn in which it was sent.
 *
 * What it answers for a key is the loader's answer: all related records in the
 * relationship's order (else by primary key), before the caller's query, the
 * relationship's limit and offset, and a relationship filter that looks at
 * `parent` (the key of an ordinary relationship is the join's value, which
 * several sources share). Those are applied for each source afterwards, by
 * loads.c. */
struct relations;

struct relation {
    struct loader loader;              /* first: loaders are cast back */
    const struct relationship *relationship;
    struct relations *owner;
    struct search_spec spec;           /* what the loader finds for one key */
    bool filter_per_source;            /* the relationship's filter uses `parent` */
    bool shows_actor;                  /* its expressions look at the actor's facts, */
    bool shows_tenant;                 /* at the tenant: callers who differ do not share */
    uint64_t *reads;                   /* bits: resources whose writes overtake it */
    size_t in_flight;                  /* batches that did not end in the turn they began */
    struct list busy;                  /* in owner->busy while in_flight > 0 */
};

/* A loader's answer for one key. */
struct related_records {
    const struct record *const *records;
    size_t count;
};

/* The relations of one schema. */
struct relations {
    const struct schema *schema;
    struct store *const *stores;       /* by resource position */
    struct world *world;
    struct coalescer *coalescer;
    struct task_queue *tasks;
    const struct limits *limits;
    struct relation *all;              /* by relationship number */
    struct list busy;
    struct write_listener listener;
    struct arena arena;
    uint64_t now_us;                   /* set at each turn */
};

/* Makes and registers a relation for each relationship. 0, or a negative code
 * with nothing left behind. The pointers given must outlive it. */
int relations_open(struct relations *relations, const struct schema *schema,
                   struct store *const *stores, struct world *world,
                   struct coalescer *coalescer, struct task_queue *tasks,
                   const struct limits *limits);

/* Its loads end with `unavailable`. */
void relations_close(struct relations *relations);

static inline struct relation *relations_find(struct relations *relations,
                                              const struct relationship *relationship)
{
    return &relations->all[relationship->number];
}

/* What the loader is shown of a call beside its keys, as MessagePack: part of
 * the batch group's key. Appends nothing where it is shown nothing. */
void relation_shown(const struct relation *relation, const struct eval *eval, struct buffer *out);

/* Invalidation by hand: flights of these sources, or all, are overtaken. How
 * many cached results were dropped (none are kept today). */
uint64_t relation_invalidate(struct relation *relation, const uint8_t *key, size_t size);

#endif

#ifndef RELATA_LAYERS_LOAD_RELATION_H
#define RELATA_LAYERS_LOAD_RELATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/load/coalescer.h"
#include "layers/load/result_cache.h"
#include "layers/query/query.h"
#include "layers/query/search.h"
#include "layers/schema/schema.h"
#include "layers/task.h"

/* A relation is a relationship at work: its loader, and its result cache.
 *
 * Loaders are of three kinds. Joins and `filter` are answered here, from the
 * records: a batch is a task, so that a long one is sliced, and a short one is
 * answered in the turn in which it was sent. Modules and remote providers are
 * outside (outside.h), and answer when they like.
 *
 * What a loader answers for a key is all related records in the relationship's
 * order (else by primary key, or the outside loader's order), before the
 * caller's query, the relationship's limit and offset, and a relationship
 * filter that looks at `parent` (the key of an ordinary relationship is the
 * join's value, which several sources share). Those are applied for each source
 * afterwards, by loads.c. */
struct relations;
struct outside_loaders;

struct relation {
    struct loader loader; /* first: loaders are cast back */
    const struct relationship *relationship;
    struct relations *owner;
    struct search_spec spec;    /* what the loader finds for one key */
    bool filter_per_source;     /* the relationship's filter is applied by loads.c */
    bool shows_actor;           /* its expressions look at the actor's facts, */
    bool shows_tenant;          /* at the tenant: callers who differ do not share, */
    bool uses_now;              /* at the time: its results are not cached */
    uint64_t *reads;            /* bits: resources whose writes affect all keys, */
    uint64_t *looks_at;         /* bits: all whose writes affect any */
    bool reads_elsewhere;       /* some of these have their home elsewhere */
    struct result_cache *cache; /* NULL: results are not kept */
    size_t in_flight;           /* batches that did not end in the turn they began */
    struct list active; /* in owner->active: a write may have to drop or overtake something */
};

/* A loader's answer for one key. */
struct related_records {
    const struct record *const *records;
    size_t count;
};

/* What the relations of all schemas of an engine share. */
struct relations_owner {
    struct world *world;
    struct coalescer *coalescer;
    struct task_queue *tasks;
    const struct limits *limits;
    /* Loaders of LOADER_MODULE and LOADER_REMOTE; NULL where there are none. */
    const struct outside_loaders *modules;
    const struct outside_loaders *remotes;
    uint64_t now_us;            /* set at each turn */
    uint64_t (*clock_us)(void); /* within a turn and between two; NULL: now_us */
};

static inline uint64_t relations_clock(const struct relations_owner *shared)
{
    return shared->clock_us != NULL ? shared->clock_us() : shared->now_us;
}

/* How loaders outside are called (remote.h and module.h implement it). */
struct outside_loaders {
    void *context;
    /* Makes ready what a relationship needs (a module is opened). 0, or a code. */
    int (*open)(void *context, struct relation *relation, struct error *error);
    void (*close)(void *context, struct relation *relation);
    /* As struct loader's. */
    void (*start)(void *context, struct relation *relation, struct batch *batch);
    bool (*cancel)(void *context, struct relation *relation, struct batch *batch);
};

/* The relations of one schema. */
struct relations {
    const struct schema *schema;
    struct store *const *stores; /* by resource position */
    struct relations_owner *shared;
    struct relation *all; /* by relationship number */
    size_t opened;
    struct list active;
    struct write_listener listener;
    struct arena arena;
};

/* Makes and registers a relation for each relationship. 0, or a negative code
 * with nothing left behind. The pointers given must outlive it. */
int relations_open(struct relations *relations, const struct schema *schema,
                   struct store *const *stores, struct relations_owner *shared,
                   struct error *error);

/* Its loads end with `unavailable`. */
void relations_close(struct relations *relations);

static inline struct relation *relations_find(struct relations *relations,
                                              const struct relationship *relationship)
{
    return &relations->all[relationship->number];
}

/* What the loader is shown of a call beside its keys, as MessagePack: part of
 * the batch group's key. Appends nothing where it is shown nothing.
 * `made_up_by` is a number of the call where the sources were made up by a
 * loader (they are shared within that call only), else 0. */
void relation_shown(const struct relation *relation, const struct eval *eval, bool authorize,
                    const struct query *query, uint64_t made_up_by, struct buffer *out);

/* A batch from records that outlives its turn can be overtaken from then on. */
void relation_hold(struct relation *relation);
void relation_let_go(struct relation *relation);

/* Invalidation: the cached results and the flights of a key, or of all where
 * `key` is NULL. How many cached results were dropped. */
uint64_t relation_invalidate(struct relation *relation, const uint8_t *key, size_t size);

/* Writes may have been missed: nothing that is cached or in flight counts as
 * current any more, though a failing loader may be replaced by what was cached
 * (stale_if_error). */
void relation_lose(struct relation *relation);

/* Whether what is cached counts as current: the homes of all that it was made of
 * would have told of a write. */
bool relation_is_current(const struct relation *relation);

#endif

#ifndef RELATA_LAYERS_ENGINE_ENGINE_INNER_H
#define RELATA_LAYERS_ENGINE_ENGINE_INNER_H

#include "layers/engine/call.h"
#include "layers/engine/engine.h"
#include "layers/load/relation.h"
#include "layers/load/remote.h"
#include "layers/memory/memory.h"

/* What the files of this folder know of each other. */

struct resource_counters {
    uint64_t reads;
    uint64_t writes;
    uint64_t hits;
    uint64_t misses;
    uint64_t invalidations;
    uint64_t evictions;
};

/* All that belongs to one schema: calls keep the realm that they began with. */
struct realm {
    struct schema *schema;
    struct store **stores;              /* by resource position */
    bool *owned;                        /* a store that the next schema took over is not */
    struct resource_counters *counters; /* the same */
    struct relations relations;
    uint32_t references;
    struct list link; /* in engine->realms */
};

enum { ORDER_PLACES = 256 };

struct engine {
    const struct limits *limits;
    struct world world;
    struct memory *memory;
    struct coalescer *coalescer;
    struct task_queue tasks;
    struct remote *remote;
    struct outside_loaders remotes; /* remote.h as relations see it */
    struct relations_owner shared;  /* what relations of all realms share */
    uint64_t call_number;           /* of the last call */
    struct realm *realm;            /* of the schema in force */
    struct list realms;
    struct list calls; /* under way, of struct call */
    /* By connection (each shares its place with few others): calls that write to homes
     * elsewhere, and calls that wait for such, oldest first; of struct call_order. */
    struct list writes[ORDER_PLACES];
    struct list held[ORDER_PLACES];
    size_t held_writes[ORDER_PLACES]; /* how many of the held ones are writes */
    uint64_t order_number;
    struct redis *redis; /* the layer; NULL: there is none */
    uint64_t now_us;
    uint64_t next_deadline_us; /* of the calls; 0 for none */
    struct buffer scratch;     /* a key, for the shortest way of get */
    bool closing;
};

/* A realm with no stores and relations yet, and the end of one that did not get
 * any further; the schema's reference is its own. NULL where memory lacks. */
struct realm *realm_create(struct engine *engine, struct schema *schema);
void realm_abandon(struct realm *realm);

/* The store of a resource, wherever its home is. NULL with the error set. */
struct store *engine_open_store(struct engine *engine, const struct resource *resource,
                                struct error *error);

/* The next schema (schema_change.c): as engine_use_schema. */
int engine_change_schema(struct engine *engine, struct schema *schema, struct error *error);

struct realm *realm_get(struct realm *realm);
struct realm *realm_of_relation(const struct relation *relation);
void realm_put(struct engine *engine, struct realm *realm);

static inline struct store *call_store(const struct call *call)
{
    return call->realm->stores[call->resource->position];
}

static inline struct resource_counters *call_counters(const struct call *call)
{
    return &call->realm->counters[call->resource->position];
}

/* Ends a call that is under way with the error that was set in it. */
void call_abort(struct call *call);

/* A parameter; nil where it was left out. */
static inline struct reader call_param(const struct call *call, unsigned position)
{
    return call->params[position].at != NULL ? call->params[position] : reader_of("\xc0", 1);
}

static inline int call_no_memory(struct call *call)
{
    return error_set(&call->error, CODE_OVERLOADED, "no memory for the call");
}

/* How many elements the answer's list has. */
static inline size_t call_element_count(const struct call *call)
{
    return call->asked != NULL ? call->asked_count : call->record_count;
}

/* call_options.c: copies params and options into the arena; reads the options. */
int call_keep_request(struct call *call);
int call_read_options(struct call *call, uint64_t now_us);

/* call_read.c: the identity that the options name; NULL where they name none.
 * 0, or a negative code with call->error. */
int call_read_identity(struct call *call, const struct identity **out);

/* call_read.c: reads `select` and `load` of the options; finds the records of a
 * call by key, or starts its search. 0, or a negative code with call->error. */
int call_read_shown(struct call *call);
int call_start_get(struct call *call);
int call_start_load(struct call *call);
int call_start_read(struct call *call);

/* call_read.c: goes on when the records of a call's keys have come from their home:
 * as call_start_get. */
int call_take_fetched(struct call *call);

/* call_order.c: whether a call must wait for earlier writes of its connection; then
 * it is held, and call_start_held begins it when they are done. Asked before the
 * call begins. */
bool call_is_held(struct call *call);
bool call_waits_for_writes(struct engine *engine, uint64_t origin, const struct resource *resource);
/* Whether a call must first wait until what is resident is up to date; it has begun
 * to. Asked before the call begins. */
bool call_catches_up(struct call *call);
/* The resource that a call names; NULL where it names none that there is. */
const struct resource *call_named_resource(const struct call *call);
void call_write_begins(struct call *call);
/* It writes no more, or waits no more: lets those go that waited. Harmless. */
void call_order_end(struct call *call);
/* It is held no more. */
void call_order_begin(struct call *call);
int call_start_held(struct call *call); /* call.c */

/* call_write_home.c: a write to a home elsewhere, step by step. CALL_LATER where its
 * task has to wait; else as call_write. */
int call_write_home(struct call *call);
void call_write_home_end(struct call *call);

/* call_reindex.c: the same for a reindex, whose answer call_render asks for. */
int call_reindex(struct call *call);
void call_reindex_end(struct call *call);
void call_render_reindexed(const struct call *call, struct buffer *out);

/* call_write.c: the calls that change records, in one turn. The stored record is
 * then the call's answer. 0, or a negative code with call->error set. */
int call_write(struct call *call);

/* invalidate: the keys of the call's resource (nil for all), or of one of its
 * relationships. The number of dropped entries is the call's answer. */
int call_invalidate(struct call *call, const struct relationship *relationship, struct reader keys);

/* Renders at most `most` further elements of a list. CALL_LATER where there are
 * more, CALL_READY at the end, or a negative code with call->error set. */
int call_render_slice(struct call *call, struct buffer *out, size_t most);

#endif

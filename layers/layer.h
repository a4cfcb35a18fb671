#ifndef RELATA_LAYERS_LAYER_H
#define RELATA_LAYERS_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/record.h"
#include "layers/schema/schema.h"
#include "layers/task.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"
#include "protocol/base/list.h"

/* What a layer must do for queries, loads and writes to work on it: keep the
 * records of a resource so that they can be found by key, by identity, through
 * an index and by a scan, and change them all-or-nothing. Queries and loads see
 * the memory layer (and what a remote layer keeps in memory) only through this.
 *
 * A record's pointer is good until the end of the event-loop turn in which it
 * was got, or as long as a pin that was taken in that turn is held. */

struct store;

/* One part of an index range (a cursor copies the values, but the bytes that
 * they point to must live until it is closed): the fields named by `equal` have these values,
 * and the next field of the index lies between the bounds. Nil lies after all
 * values in an index; a range with a bound on a field never yields nils of it. */
struct range {
    const struct index *index;
    uint16_t equal_count;               /* leading fields of the index */
    struct value equal[KEY_FIELDS_MAX]; /* not nil */
    bool has_lower, lower_open;         /* open: the bound itself is not in */
    bool has_upper, upper_open;
    struct value lower, upper; /* not nil */
    bool reverse;              /* from the end */
};

/* A place in a store that survives writes: it gives each record at most once
 * and shows the moment at which it was opened, also when it is left alone for
 * turns: records replaced or removed meanwhile are still given as they were,
 * those written meanwhile are not. Opened and closed cheaply; embedded. A scan
 * gives records in no order; a range in the index's order, but records that a
 * write replaced while the cursor was left alone come at the end. */
struct store_cursor {
    struct list link; /* in the store's open cursors */
    struct store *store;
    uint64_t state[40]; /* the layer's own */
};

/* A key's bytes, for finding many. */
struct store_key {
    const uint8_t *bytes;
    size_t size;
};

struct store_ops {
    /* By primary key's bytes (record.h, "Keys"); NULL where absent. */
    const struct record *(*find)(struct store *store, const uint8_t *key, size_t size);
    const struct record *(*find_identity)(struct store *store, const struct identity *identity,
                                          const uint8_t *key, size_t size);

    int (*scan)(struct store *store, struct store_cursor *cursor);
    int (*range)(struct store *store, const struct range *range, struct store_cursor *cursor);
    /* NULL at the end; then every further call is NULL too. */
    const struct record *(*next)(struct store_cursor *cursor);
    void (*close)(struct store_cursor *cursor);

    /* How many records a range has, at most `most` counted; for the planner. */
    uint64_t (*estimate)(struct store *store, const struct range *range, uint64_t most);

    /* Changes, in one turn: begin, any number of put and remove, then commit or
     * rollback. Each is visible to the next. `put` with old NULL creates; else
     * it replaces `old` (same primary key). The image is copied; the stored
     * record is in *stored. conflict where a primary key or an identity is
     * taken (the error names which, field and key), overloaded where there is
     * no room; then nothing of this one change was done, and the caller rolls
     * back or goes on. commit publishes one event per change. */
    void (*begin)(struct store *store);
    int (*put)(struct store *store, const struct record *old, const struct record *image,
               const struct record **stored, struct error *error);
    int (*remove)(struct store *store, const struct record *old, struct error *error);
    void (*commit)(struct store *store);
    void (*rollback)(struct store *store);

    /* As find for each, faster where there are many. May be NULL: callers use
     * store_find_many. */
    void (*find_many)(struct store *store, const struct store_key *keys, size_t count,
                      const struct record **out);
};

/* The error of a put: `identity` NULL: the primary key is taken. Answers -CODE_CONFLICT. */
int store_taken(const struct resource *resource, const struct identity *identity,
                const uint8_t *key, size_t size, struct error *error);

struct store_counters {
    uint64_t records;
    uint64_t bytes; /* records with their headers, and indexes */
};

struct store {
    const struct store_ops *ops;
    const struct resource *resource;
    struct store_counters counters;
    const struct store_home_ops *home; /* NULL: this memory is the records' home */
    void *home_own;                    /* the home's own */
    bool remote; /* not all records are here: they are fetched. `find` then gives what is
                    known at once, scan, range and estimate must not be called */
};

/* The records of the keys, in their order, NULL where absent. For 1,000,000
 * records it takes half of the time of as many finds, or less. */
void store_find_many(struct store *store, const struct store_key *keys, size_t count,
                     const struct record **out);

/* Whether a record lies in a range (its equal values and its bounds). */
bool range_keeps(const struct range *range, const struct resource *resource,
                 const struct record *record);

/* ---- Records that are at home elsewhere ---- */

/* Who asks for what must be waited for. `task` is whoever goes on with it: it
 * waits (task.h) until all that it asked for is there. NULL: nobody can wait, and
 * what is not in memory is refused. */
struct asker {
    struct task *task;
    struct task_queue *tasks;
    struct arena *arena; /* for what is found */
    uint64_t origin;     /* whose turn it takes: a connection's id */
    bool fresh;          /* go past what is cached, join nothing that is in flight */
};

enum fetch_kind {
    FETCH_KEYS,     /* the records of primary keys */
    FETCH_IDENTITY, /* the records of keys of an identity */
    FETCH_RANGES    /* all records in any of the ranges, each once, in no order; a range
                       has at least one equal value */
};

/* Records that are asked for at their home; embedded in who asks. */
struct fetch {
    /* Set by who asks; all must live until fetch_end. */
    struct store *store;
    struct asker asker; /* of the moment: another task may ask with the same eval */
    enum fetch_kind kind;
    const struct identity *identity;
    const struct store_key *keys;
    const struct range *ranges;
    size_t asked; /* keys or ranges */
    bool counted; /* asked for before, by the same call: no hits and misses of its own */

    /* Once `done`. */
    bool done;
    struct error error;            /* the whole failed, where its code is not CODE_OK */
    const struct record **records; /* of keys: one for each, NULL where it is absent */
    const struct error **errors;   /* of keys: NULL where none failed alone */
    size_t count;                  /* of records */

    /* The home's own. */
    bool begun;
    void *state;
};

/* Begins: 0, and fetch->done tells whether it is there at once (records are then
 * good as those of `find` are; what comes later is in the asker's arena); or a
 * negative code with `error` set and nothing begun. */
int fetch_start(struct fetch *fetch, struct error *error);

/* For homes: all is there. The asker's task goes on where it waits for nothing else. */
void fetch_finish(struct fetch *fetch);

/* Ends it, also in mid-way. Idempotent; harmless where it was not begun (zeroed). */
void fetch_end(struct fetch *fetch);

/* A write to a home elsewhere. It is judged here, as often as needed, and done
 * there: in a pass, the caller finds, puts and removes on `facade` as on a store;
 * `lacking` says that it looked at something that is not known yet. Whatever the
 * pass came to, write_go asks for that; and else does what the pass put and
 * removed, all or nothing (per slot of a Cluster), if what it found is still so.
 *
 *   JUDGING ──pass──► write_go ──asks──► (the task waits) ──► JUDGING
 *                        └──does──► (the task waits) ──► DONE, FAILED, or JUDGING
 *                                                        again: somebody was faster
 */
enum store_write_state { STORE_WRITE_JUDGING, STORE_WRITE_DONE, STORE_WRITE_FAILED };

struct store_write {
    struct store facade;
    struct store *store; /* the real one */
    struct asker asker;
    enum store_write_state state;
    bool lacking;
    int64_t element;    /* of a write of many: the one that the pass is at; -1: none */
    bool sent;          /* it may be done already: nobody knows until the task goes on */
    struct error error; /* of STORE_WRITE_FAILED */
    uint64_t written;   /* records that were written, also where some failed */
    void *own;          /* the home's */
};

/* What `stats` tells of a resource whose home is elsewhere. */
struct store_home_counters {
    uint64_t hits;           /* keys of which it was known here what there is */
    uint64_t misses;         /* keys of which it was not */
    uint64_t invalidations;  /* records here that somebody else's write dropped or changed */
    uint64_t evictions;      /* that had to make room */
    uint64_t misfits;        /* values that did not fit the schema */
    uint64_t unknown_fields; /* fields of values that the schema does not know */
};

struct store_home_ops {
    /* Whether what is in memory of it may be answered to a call under way; else
     * -CODE_UNAVAILABLE with why. For stores that are not remote. */
    int (*ready)(struct store *store, struct error *error);
    /* Of a key that `find` does not find: what is wrong with what its home has there;
     * NULL where it has nothing. For stores that are not remote. */
    const struct error *(*fault)(struct store *store, const uint8_t *key, size_t size);
    /* Whether results that were made of its records before count as current. */
    bool (*is_current)(struct store *store);
    /* Of remote ones. `known`: whether it is known now what `find` would answer. */
    const struct record *(*known)(struct store *store, const uint8_t *key, size_t size,
                                  bool *known);
    int (*fetch)(struct fetch *fetch, struct error *error);
    void (*fetch_end)(struct fetch *fetch);
    /* Writes. `open` sets facade and own. */
    int (*write_open)(struct store_write *write, struct error *error);
    void (*write_begin)(struct store_write *write);
    int (*write_go)(struct store_write *write, struct error *error);
    void (*write_close)(struct store_write *write);
    /* Forgets what is cached of a key, or of all (NULL). How many there were. */
    uint64_t (*invalidate)(struct store *store, const uint8_t *key, size_t size);
    /* Adds to the counters of `stats`. */
    void (*count)(struct store *store, struct store_home_counters *counters);
};

static inline int store_ready(struct store *store, struct error *error)
{
    return store->home == NULL || store->remote ? 0 : store->home->ready(store, error);
}

static inline const struct error *store_fault(struct store *store, const uint8_t *key, size_t size)
{
    return store->home == NULL || store->remote ? NULL : store->home->fault(store, key, size);
}

static inline bool store_is_current(struct store *store)
{
    return store->home == NULL || store->home->is_current(store);
}

/* ---- One event per write ---- */

enum write_cause {
    WRITE_CALL,
    WRITE_EXPIRY,
    WRITE_EVICTION,
    WRITE_FOREIGN, /* by anybody else who writes to the records' home */
    WRITE_LOST     /* no write is known, but one would not have been heard of */
};

struct write_event {
    uint64_t sequence; /* daemon-wide, rising: orders writes and invalidations */
    enum write_cause cause;
    const struct resource *resource;
    const struct record *old; /* NULL for a create */
    const struct record *new; /* NULL for a destroy */
    /* Of WRITE_FOREIGN: what is not known of it. Then `old` or `new` is NULL. */
    bool old_unknown, new_unknown;
    /* All that is known, where old or new is not: records whose `named` fields have
     * (or had) these values; NULL: any record of the resource. */
    const struct field_list *named;
    const uint8_t *key;
    size_t key_size;
    bool of_index; /* records with the named values came to an index or left it: a
                      foreign write of which nothing else is known */
};

struct write_listener {
    struct list link;
    void (*on_write)(struct write_listener *listener, const struct write_event *event);
};

/* ---- What all stores of a daemon share ---- */

/* A pin keeps every record that was valid when it was taken until it is put.
 * Embedded, cheap; for requests that outlive their turn. */
struct pin {
    struct list link;
    uint64_t sequence;
};

struct world {
    uint64_t sequence;     /* of the last write or invalidation */
    struct list listeners; /* of struct write_listener, in order */
    struct list pins;      /* of struct pin, oldest first */
};

void world_init(struct world *world);
void world_listen(struct world *world, struct write_listener *listener);
void world_publish(struct world *world, const struct write_event *event);
/* Takes the next sequence number, for an invalidation. */
uint64_t world_advance(struct world *world);
void pin_take(struct world *world, struct pin *pin);
void pin_put(struct pin *pin);
/* The oldest sequence that a pin holds, or UINT64_MAX. */
uint64_t world_oldest_pin(const struct world *world);

#endif

#ifndef RELATA_LAYERS_REDIS_REDIS_INNER_H
#define RELATA_LAYERS_REDIS_REDIS_INNER_H

#include "layers/hash_table.h"
#include "layers/redis/absents.h"
#include "layers/redis/encoding.h"
#include "layers/redis/home.h"
#include "layers/redis/index_marks.h"
#include "layers/redis/key_set.h"
#include "layers/redis/near_cache.h"
#include "layers/redis/redis.h"
#include "layers/redis/write_locks.h"
#include "layers/redis/value_sizes.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"
#include "protocol/base/list.h"

/* What the files of the redis layer know of each other. */

struct redis {
    struct home *homes[HOMES_MAX];
    unsigned home_count;
    struct home_world outside;
    struct redis_engine engine;
    struct list stores;   /* of struct redis_store */
    uint64_t daemon;      /* a random number: this process in marks */
    uint64_t mark_number; /* of the last mark */
    unsigned homes_open;  /* not closed yet, while closing */
    void (*closed)(void *context);
    void *closed_context;
};

enum {
    DOUBTS_MAX = 10000,
    LAPSE_EVERY_US = 250 * 1000, /* between two times that old reads are cut off */
    ABSENT_US = 1000 * 1000,     /* how long an absence is believed in a Cluster */
    ABSENTS_PER_TURN = 500
};

/* Whether the indexes and claims of a resource are whole in Redis (index_built.c). */
enum built_state { BUILT_UNKNOWN, BUILT_ASKING, BUILT_KNOWN };

struct resident;

/* A resource at work. One that is closed lives on until nothing is out any more. */
struct redis_store {
    struct store store;  /* the remote face; of a resident resource it is not used */
    struct store *table; /* of a resident resource: its records; else NULL */
    struct redis *redis;
    const struct resource *resource;
    struct schema *schema; /* the resource's, which lives as long as the store */
    struct home *home;
    enum home_lane lane;
    struct home_listener listener;
    struct list link; /* in redis->stores */
    uint32_t users;   /* the opener, and all that is out */
    bool closed;
    uint64_t flushes; /* times that Redis told of all keys */
    bool eviction_told;
    uint64_t lost_us; /* when the home was lost; 0 while it is there */
    /* Remote. */
    struct near_cache *cache;
    uint64_t lapse_us; /* when those who joined a silent server's reads were last cut off */
    struct absents absents;
    uint64_t absents_over_us; /* when all is doubted, since there were too many; 0: not */
    struct value_sizes sizes; /* of records */
    struct buffer keeping;    /* scratch: what is put into the cache */
    struct loader records;    /* keys: primary keys */
    struct loader identities; /* keys: an identity's number and a key of it */
    struct loader ranges;     /* keys: an index's number, a set's name, and bounds */
    struct hash_table echoes; /* primary keys that were just written from here, and whose
                                 notice is on its way */
    struct list echoes_in_order;
    struct key_set doubts; /* primary keys that a set or a claim named, and that did not
                                 bear it: their next notice may mean anything */
    struct resident *resident;
    struct write_locks locks; /* unsettled keys */
    enum built_state built;
    struct index_marks *built_marks; /* of BUILT_KNOWN */
    uint64_t built_cover;            /* under which they were read */
    uint16_t built_slot;             /* of their hash */
    uint64_t built_number;           /* of the last check */
    bool built_telling;              /* who waits is being told: who asks then, waits */
    struct list built_waiters;       /* of struct built_waiter */
    struct redis_reindex *reindex;
    struct store_home_counters counters;
};

static inline struct redis_store *redis_store_of(struct store *store)
{
    return store->home_own;
}

static inline uint64_t redis_now_us(const struct redis_store *store)
{
    return store->redis->outside.clock_us();
}

/* Whether indexes or claims of the resource stand in Redis. A resident one has no use
 * for its index sets, but other daemons may, and later schemas. */
static inline bool resource_keeps_indexes(const struct resource *resource)
{
    return resource->redis->only_relata &&
           (resource->identity_count > 0 || resource->index_count > 0);
}

static inline bool redis_keeps_indexes(const struct redis_store *store)
{
    return resource_keeps_indexes(store->resource);
}

static inline unsigned redis_index_count(const struct redis_store *store)
{
    return store->resource->redis->only_relata ? store->resource->index_count : 0;
}

/* The home of this name, or NULL. */
struct home *redis_home(const struct redis *redis, const char *name);

struct redis_store *redis_store_get(struct redis_store *store);
void redis_store_put(struct redis_store *store);

/* The slot of a name; 0 where there is no Cluster. */
uint16_t redis_slot(const struct redis_store *store, const void *name, size_t size);

/* The place of an index or an identity in the store's resource. A call that began on
 * an earlier schema names that schema's: the same one, found by its fields or name. */
unsigned redis_index_number(const struct redis_store *store, const struct index *index);
unsigned redis_identity_number(const struct redis_store *store, const struct identity *identity);

/* `unavailable`: why the home cannot be asked now. */
/* Takes the first token of what was answered. False, with the error set, where nothing was
 * (of commands that may be sent again: no outcome is unknown), or an error: overloaded where
 * the server lacks memory, else unavailable. */
bool redis_take_reply(const struct redis_store *store, const struct home_answer *answer,
                      struct resp_reader *in, struct resp_token *first, struct error *error);
int redis_unavailable(const struct redis_store *store, struct error *error);

/* ---- redis_store.c: what is known of a key ---- */

/* How a value stands in the near-cache. */
struct kept_value {
    uint16_t slot;
    bool absent;
    uint8_t record[] __attribute__((aligned(8)));
};

/* The record, where it is known now: NULL with *known true where it is known to be
 * absent. */
const struct record *redis_known(struct redis_store *store, const uint8_t *key, size_t size,
                                 bool *known);

/* The same of one that may be served while the home is away (stale_if_error). */
const struct record *redis_known_stale(struct redis_store *store, const uint8_t *key, size_t size,
                                       bool *known);

/* What was cached of a key, where it may be believed to be what it was. */
const struct record *redis_last_known(struct redis_store *store, const uint8_t *key, size_t size,
                                      bool *known);

/* ---- redis_heard.c ---- */

/* From here on the store hears of its home. */
void redis_listen(struct redis_store *store);

/* A write from here to the key begins, or has ended: what is cached or in flight of
 * it does not count. */
void redis_forget(struct redis_store *store, const uint8_t *key, size_t size);

/* Reads of index sets and claims that are in flight do not count. */
void redis_forget_hints(struct redis_store *store);
/* At the end of each turn. */
void redis_watch_lapse(struct redis_store *store);
/* A record, a set of an index, or a claim was read that is not there, or has nothing of
 * what was asked for. */
void redis_saw_absence(struct redis_store *store, const uint8_t *name, size_t size);
/* At the end of each turn: whether there is more to do at once. */
bool redis_watch_absences(struct redis_store *store);

/* Tells everybody of a write. */
void redis_publish(struct redis_store *store, struct write_event *event);

/* The key was written from here, as is being answered just now: the notice of it comes
 * next, if any; or none is to be waited for any more. */
enum { ECHOES_MAX = 1 << 16 };
void redis_expect_echo(struct redis_store *store, const uint8_t *key, size_t size);
/* Whether a notice of the key that is told just now is that of one's own write. */
bool redis_take_echo(struct redis_store *store, const uint8_t *key, size_t size);
void redis_drop_echoes(struct redis_store *store);

/* A set of an index, or a claim, names the key, and its record does not bear it: it
 * may be just about to. */
void redis_doubt(struct redis_store *store, const uint8_t *key, size_t size);

/* ---- redis_read.c: the loaders ---- */

/* What a batch of `records` answers for a key. */
struct read_record {
    const struct record *record; /* NULL: absent */
    uint64_t cover;
    uint64_t expires_us; /* 0: never */
    uint16_t slot;
};

/* What a batch of `identities` answers: the primary key, size 0 where there is none. */
struct read_claim {
    struct store_key key;
};

/* A member of an index set that is so old, and whose record does not bear it, is left
 * over from a write that was not done, or from a record that went by itself. */
enum { MEMBER_STALE_MS = 60 * 1000 };

/* What a batch of `ranges` answers. */
struct read_range {
    size_t count;
    struct store_key *keys;    /* primary keys, not each once */
    struct store_key *members; /* whole */
};

int redis_loaders_open(struct redis_store *store);
/* After the resource: another schema's lives elsewhere. */
void redis_loaders_name(struct redis_store *store);
void redis_loaders_close(struct redis_store *store);

/* ---- redis_fetch.c ---- */

int redis_fetch(struct fetch *fetch, struct error *error);
void redis_fetch_end(struct fetch *fetch);

/* ---- commit_members.c ---- */

/* Sends a command (and empties the buffer) whose outcome nobody waits for. */
void redis_send_loose(struct redis_store *store, struct buffer *bytes, uint16_t slot);

/* ---- redis_write.c ---- */

int redis_write_open(struct store_write *write, struct error *error);
void redis_write_begin(struct store_write *write);
int redis_write_go(struct store_write *write, struct error *error);
void redis_write_close(struct store_write *write);

/* ---- index_built.c ---- */

/* Somebody who waits until it is known which indexes are whole. */
struct built_waiter {
    struct list link;
    bool writes; /* and until no others are marked: what it writes is in no others */
    /* The error (or NULL): why it cannot be found out. */
    void (*known)(struct built_waiter *waiter, const struct error *error);
};

/* Whether it is known now; else `known` is called once it is (or cannot be found
 * out), unless the waiter is taken out of its list (it may be NULL: nobody waits).
 * True also where memory lacks to ask, and for those who do not write where nothing is
 * kept in Redis: redis_built_is_known tells.
 * Where there is no record yet, all indexes are marked as whole: there is nothing that
 * they could lack. */
bool redis_built_ask(struct redis_store *store, struct built_waiter *waiter);
bool redis_built_is_known(const struct redis_store *store);
/* As far as is known. With the error where it is not whole. */
int redis_index_is_whole(const struct redis_store *store, const struct index *index,
                         struct error *error);
int redis_claims_are_whole(const struct redis_store *store, struct error *error);
/* What is known does not count any more. */
void redis_built_forget(struct redis_store *store);

/* ---- resident.c ---- */

int resident_open(struct redis_store *store, struct error *error);
void resident_close(struct redis_store *store);
int resident_ready(struct redis_store *store, struct error *error);
/* What is wrong with the value of a key that does not fit; NULL where it fits. */
const struct error *resident_fault(struct redis_store *store, const uint8_t *key, size_t size);
bool resident_is_current(struct redis_store *store);
bool resident_is_settled(const struct redis_store *store);
/* Whether it is loaded, and its links are up, and yet it does not count as current. */
bool resident_is_behind(const struct redis_store *store);
/* Reads that are out now: `done` is called once, when all of these have come back (with
 * none: at once). */
struct resident_waiter {
    struct list link;
    uint64_t number; /* of the last read that it waits for */
    void (*done)(struct resident_waiter *waiter);
};
void resident_wait(struct redis_store *store, struct resident_waiter *waiter);
/* A write from here is done: the record as it is stored now, or NULL. */
void resident_apply(struct redis_store *store, const uint8_t *key, size_t size,
                    const struct record *record);
/* A write from here has read the record: notices come a little later than answers. */
void resident_seen(struct redis_store *store, const uint8_t *key, size_t size,
                   const struct record *record);
/* A write from here may have been done. */
void resident_look_again(struct redis_store *store, const uint8_t *key, size_t size);
void resident_notice(struct redis_store *store, const uint8_t *name, size_t size);
void resident_lost(struct redis_store *store);
/* At the end of each turn: a load goes on, or one that failed is begun again after a
 * while. Whether there is more to do at once. */
bool resident_turn(struct redis_store *store);
void resident_ready_again(struct redis_store *store);

#endif

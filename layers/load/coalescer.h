#ifndef RELATA_LAYERS_LOAD_COALESCER_H
#define RELATA_LAYERS_LOAD_COALESCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/schema/schema.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"
#include "protocol/base/list.h"

/* The coalescer: every load of a relationship, of any connection, comes here.
 * Concurrent loads become one batch, equal keys are loaded once, and a load
 * whose key is in flight joins it, unless a write overtook that flight. It is
 * pure: calls, completions and the time (in microseconds, rising) are its only
 * inputs; it knows no loop, no record and no relationship, only loaders, keys
 * and answers. Rules: CONTRACT 5 and the coalescer's chapter of
 * docs/architecture.md.
 *
 *   load ─► group (loader, depth, what it is shown) ─► pending keys
 *        flush ─► batch of at most max_size keys ─► loader->start
 *        complete ─► each waiting load has its answers ─► done
 */

struct coalescer;
struct batch;

/* A loader may ask the daemon while it works on a batch, and so on: this deep. */
enum { COALESCER_DEPTH_MAX = 8 };

/* Keys that one origin may have sent before it is the next one's turn. */
enum { COALESCER_QUANTUM = 32 };

/* What `stats` tells of a relationship. */
#define LOADER_COUNTERS(X)                                         \
    X(loads, "calls")                                              \
    X(keys, "keys that they asked for")                            \
    X(unique_keys, "keys sent to the loader")                      \
    X(batches, "batches sent")                                     \
    X(groups, "batch groups opened")                               \
    X(joined, "keys that shared one already waiting or in flight") \
    X(cache_hits, "keys answered from the result cache")           \
    X(errors, "failed batches and failed single keys")             \
    X(batch_max, "keys of the largest batch")

/* A loader, embedded in whoever implements it; registered with the coalescer. */
struct loader {
    const char *name;           /* "representative.tickets", for errors */
    struct batch_limits limits; /* may change at any time; 0 in max_size, max_bytes and
                                      max_in_flight counts as 1, in timeout_us as none */
    /* Starts on a batch. It must end in coalescer_complete or coalescer_fail,
     * exactly once, later or before `start` returns. */
    void (*start)(struct loader *loader, struct batch *batch);
    /* The batch's time is up (limits.timeout_us) or all is closing: the loader
     * shall forget it. The coalescer has already failed it; completing it now
     * does nothing but drop it, and must still happen unless this returns true
     * ("dropped"). May be NULL where `start` always ends its batch. */
    bool (*cancel)(struct loader *loader, struct batch *batch);
    /* A key of a completed batch that did not fail, and that nothing overtook
     * since the batch was sent: what a cache may keep. Called before its loads
     * are answered; must not call the coalescer. May be NULL. */
    void (*filled)(struct loader *loader, struct batch *batch, size_t key);
    /* The coalescer's own. */
    struct loader_state *state;
    struct {
#define X(name, meaning) uint64_t name;
        LOADER_COUNTERS(X)
#undef X
    } counters;
};

/* A key of a load. Bytes are copied by the coalescer where it keeps them. */
struct load_key {
    const uint8_t *bytes;
    uint32_t size;
    uint32_t source_size; /* what the source adds to the batch's bytes */
    const void *source;   /* the loader's: for manual ones the source record, or NULL; of
                             equal keys that wait together the newest is shown. It must
                             last while its load waits; a loader that answers later
                             copies in `start` what it needs of it. */
};

/* One answer for one key: the loader's, opaque here. Lives until load_release. `error` is not NULL where this key failed. */
struct load_answer {
    const void *value;
    const struct error *error;
};

/* A load, embedded in the call that makes it. The keys should be unique within
 * a load (the caller keeps duplicates and order itself; a key given twice counts
 * as joined with itself). */
struct load {
    /* Set by the caller. */
    struct loader *loader;
    uint64_t origin;      /* whose turn it takes: a connection's id */
    const uint8_t *shown; /* what the loader is shown beside the keys (query,
                                      actor, tenant): part of the group's key */
    uint32_t shown_size;
    uint32_t depth;       /* nesting: 0, or the depth of `parent` + 1 */
    struct batch *parent; /* the batch that this load works for, or NULL */
    bool fresh;           /* join nothing that is in flight */
    uint64_t deadline_us; /* 0: none */
    /* All answers are there. Called exactly once, never from inside
     * coalescer_load. The answers stay valid until load_release. */
    void (*done)(struct load *load);

    /* Set by the coalescer. */
    struct load_answer *answers; /* one for each key, in order; empty until it is there */
    size_t count;
    size_t missing;
    struct load_state *state;
    struct list link;
};

struct coalescer *coalescer_create(const struct limits *limits);
/* All loads must have ended (coalescer_close) and be released, all loaders be
 * removed, all batches be given back. */
void coalescer_free(struct coalescer *coalescer);

/* 0, or -CODE_OVERLOADED without memory. */
int coalescer_add(struct coalescer *coalescer, struct loader *loader);
/* Its loads end with `unavailable`, its batches are cancelled. Answers that are
 * not released yet stay valid. Harmless where it was not added. */
void coalescer_remove(struct coalescer *coalescer, struct loader *loader);

/* Begins a load. 0 and `done` comes later (an empty one too); or -CODE_OVERLOADED
 * (keys_waiting_per_connection, keys_waiting_per_relationship, memory),
 * -CODE_LOADER_FAILED (a cycle, or deeper than COALESCER_DEPTH_MAX),
 * -CODE_UNAVAILABLE (closed, or the loader is not added) and nothing was begun.
 * A zeroed load with its first part set is all it takes; `keys` and what they
 * point to, but for the sources, are the caller's again after the call. */
int coalescer_load(struct coalescer *coalescer, struct load *load, const struct load_key *keys,
                   size_t count, uint64_t now_us, struct error *error);

/* Ends a load before its answers are there: `done` is not called any more,
 * nothing is to be released, the other waiters are not affected, and a key that
 * nobody else waits for is not sent. Harmless after done, and where the load
 * was never begun. */
void load_cancel(struct coalescer *coalescer, struct load *load);

/* After `done`, from inside it or later: gives the answers back. Every load that
 * was done must be released, once; harmless where it was not begun. */
void load_release(struct coalescer *coalescer, struct load *load);

/* Sends what may be sent now: called at the end of each loop turn, and again
 * until it answers false (nothing was sent and nobody was answered). `done`
 * callbacks are called from here, from coalescer_complete and _fail, from
 * coalescer_expire, coalescer_remove and coalescer_close; where one of these is
 * called from inside `start`, `cancel` or `done`, then before the outermost of
 * them returns. From inside `start` it does nothing and answers false. */
bool coalescer_flush(struct coalescer *coalescer, uint64_t now_us);

/* Ends loads whose deadline has passed (`timeout`), and batches whose timeout has. */
void coalescer_expire(struct coalescer *coalescer, uint64_t now_us);

/* When coalescer_expire or a batch window next has something to do; 0 for never. */
uint64_t coalescer_next_us(const struct coalescer *coalescer);

/* A write or an invalidation: flights of this key, or of all keys where `key`
 * is NULL, are overtaken: they answer those who waited before, and later loads
 * ask the loader again once the flight has returned. To be called before the
 * write is acknowledged. */
void coalescer_overtake(struct coalescer *coalescer, struct loader *loader, const uint8_t *key,
                        size_t size);

/* Ends everything pending with `unavailable`. */
void coalescer_close(struct coalescer *coalescer);

/* Loads that wait. */
size_t coalescer_waiting(const struct coalescer *coalescer);

/* ---- For loaders: what a batch is ---- */

struct batch {
    struct list link; /* the loader's to use while it has the batch */
    struct loader *loader;
    uint32_t depth;
    uint64_t number; /* daemon-wide */
    const uint8_t *shown;
    uint32_t shown_size;
    size_t count;                /* never 0, at most limits.max_size */
    const struct load_key *keys; /* each once, in the order first asked; the bytes are
                                      the batch's and last as long as it does */
    struct load_answer *answers; /* to be filled by the loader, in the same order */
    struct arena arena;          /* for answers; dropped when the last user is done */
    struct arena scratch;        /* for what the loader needs until it gives the batch back */
    uint64_t started_us;
    uint64_t deadline_us; /* 0: none */
    void *context;        /* the loader's */
    bool fresh;           /* a load in it goes past what is cached: so should the loader */
    struct batch_state *state;
};

/* The answers stand in batch->answers; what they point to is in batch->arena or
 * lasts until the batch is gone. After either call the batch is not the
 * loader's any more. */
void coalescer_complete(struct coalescer *coalescer, struct batch *batch, uint64_t now_us);
/* The batch failed: every key fails with this error. */
void coalescer_fail(struct coalescer *coalescer, struct batch *batch, const struct error *error,
                    uint64_t now_us);

/* Keeps a batch in memory though it may end, for loads that name it as their
 * parent: once it has ended they wait for nobody. As often given back as kept. */
void coalescer_keep(struct coalescer *coalescer, struct batch *batch);
void coalescer_let_go(struct coalescer *coalescer, struct batch *batch);

/* Latency of a loader's batches that ended by themselves, in microseconds; p50
 * and p99 are at most 1/16 too high. Zeros where there were none. */
void loader_latency(const struct loader *loader, uint64_t *p50, uint64_t *p99, uint64_t *max);

#endif

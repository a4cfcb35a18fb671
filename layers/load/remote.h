#ifndef RELATA_LAYERS_LOAD_REMOTE_H
#define RELATA_LAYERS_LOAD_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/coalescer.h"
#include "layers/load/relation.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"
#include "protocol/base/list.h"

/* Remote providers: clients that offered to fill a relationship. A batch goes
 * to the least busy provider that has room (in parts, where it is larger than
 * the provider takes), waits where none has, is tried once elsewhere where its
 * provider goes or is late, and is halved where the answer was too large.
 * Providers are kept by the relationship's name, so they outlive a schema.
 * Pure: it knows a provider only as a `struct caller`, and time as a number.
 *
 *   remote_start -> parts -> attempt -> caller->call -> remote_ended -> part done
 *        \-> no provider: unavailable at once      \-> again elsewhere, once
 *
 * A batch ends when its last part is done. Where it was one part that failed, the
 * batch fails (coalescer_fail); where it was sent in several, the keys of the
 * part that failed fail, and the others are answered. */

struct remote;
struct provider; /* remote's own */

/* A request that is out. */
struct remote_call {
    uint32_t tag;              /* the caller's, to know it by */
    struct list link;          /* remote's own */
    struct provider *provider; /* the same */
};

/* A connection that can be called: the daemon's connections implement it, and
 * embed it. It must outlive remote_caller_gone. */
struct caller {
    uint64_t id;      /* never used again */
    const char *name; /* what the client calls itself, for errors; may be empty or NULL */
    /* Sends a request; `params` is one MessagePack array. `call` is given back in
     * remote_ended, later, exactly once unless it is cancelled. 0, or a negative
     * code: nothing was sent. Must not call remote_*. */
    int (*call)(struct caller *caller, const char *method, const uint8_t *params, size_t size,
                struct remote_call *call);
    /* Forgets a call; its late answer is ignored. Must not call remote_*. */
    void (*cancel)(struct caller *caller, struct remote_call *call);
    struct list providers; /* remote's own: what it provides; list_init before use */
};

/* NULL where memory lacks. */
struct remote *remote_create(struct coalescer *coalescer, const struct limits *limits);
/* All batches must have ended and all callers be gone. NULL is harmless. */
void remote_free(struct remote *remote);

/* ---- For the relations: the loader of a remote relationship ---- */

/* The batch ends in coalescer_complete or coalescer_fail, now or later. */
void remote_start(struct remote *remote, struct relation *relation, struct batch *batch,
                  uint64_t now_us);
/* The coalescer has dropped the batch: it is forgotten, its requests are
 * cancelled. Always true. */
bool remote_cancel(struct remote *remote, struct relation *relation, struct batch *batch);

/* ---- For the daemon ---- */

struct provide_limits {
    uint64_t max_size;      /* keys in one request; 0: the relationship's */
    uint64_t max_in_flight; /* requests at a time and nesting depth; 0: the relationship's */
};

/* The caller provides this relationship from now on (again: with other limits;
 * waiting parts are sent by the next remote_expire). 0, or -CODE_INVALID_REQUEST
 * where it is not a remote one, -CODE_OVERLOADED. */
int remote_provide(struct remote *remote, struct caller *caller,
                   const struct relationship *relationship, const struct provide_limits *limits,
                   struct error *error);
/* No longer; what is out at it may still be answered. False where it did not. */
bool remote_unprovide(struct remote *remote, struct caller *caller,
                      const struct relationship *relationship);
/* The connection has gone: what is out at it goes to others, once, or fails.
 * `too_large`, where it is not NULL, is the call whose answer was larger than
 * the limit and ended the connection: that part is halved. Harmless where the
 * caller provides nothing. */
void remote_caller_gone(struct remote *remote, struct caller *caller, struct remote_call *too_large,
                        uint64_t now_us);

/* A call has ended: `result` is one MessagePack value, or, where `error` is not
 * NULL, `error` is one (a text, or a map). The slices are the caller's, good
 * during the call. */
void remote_ended(struct remote *remote, struct remote_call *call, const uint8_t *error,
                  size_t error_size, const uint8_t *result, size_t result_size, uint64_t now_us);
/* The same, where the answer was larger than the limit, and the connection stays. */
void remote_ended_too_large(struct remote *remote, struct remote_call *call, uint64_t now_us);

/* The batch of this number that is out at this caller; NULL where there is none:
 * for the option `batch` of calls that a provider makes while it answers. It is
 * kept in memory until it is given back, though it may end before. */
struct batch *remote_batch_at(struct remote *remote, const struct caller *caller, uint64_t number);
/* NULL is harmless. */
void remote_batch_put(struct remote *remote, struct batch *batch);

/* Ends attempts that are late, and starts what waits; as the coalescer's. */
void remote_expire(struct remote *remote, uint64_t now_us);
uint64_t remote_next_us(const struct remote *remote);

/* How many providers a relationship has. */
size_t remote_providers(const struct remote *remote, const struct relationship *relationship);

#endif

#ifndef RELATA_LAYERS_LOAD_REMOTE_INNER_H
#define RELATA_LAYERS_LOAD_REMOTE_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/deadlines.h"
#include "layers/load/remote.h"
#include "protocol/base/check.h"

/* What the sources of the remote loader share; nobody else includes this.
 *
 *   remote.c           time, the outer face
 *   remote_provider.c  who provides what, and who is next
 *   remote_part.c      batches and their parts: sent, answered, tried again
 *
 * A part is a range of a batch's keys:
 *
 *                 provider has room
 *   WAITING ───────────────────────────► OUT ── answer, error ──► DONE
 *      ▲ ▲                                │
 *      │ └── gone, late: once ────────────┤
 *      └──── too large: as two halves ────┘
 *   WAITING, OUT ── nobody else to ask, one source too large ──► DONE
 *
 * Lifetimes: jobs and parts live in their batch's arena; once a job's last part
 * is done it stands in remote->finished until remote_settle ends the batch, which
 * may call anybody: so nothing is held across that. Names live as long as the
 * remote does (there are as many as relationships were ever provided); a
 * provider until it neither provides nor has a request out, or its caller goes. */

enum { REMOTE_DEPTHS = COALESCER_DEPTH_MAX + 1 };

/* A relationship that is, or was, provided; by name, since schemas change. */
struct remote_name {
    struct list link; /* in remote->names */
    char *text;
    struct list providers; /* that take requests; the one asked longest ago first */
    size_t provider_count;
    struct list waiting[REMOTE_DEPTHS]; /* parts */
    bool restless;                      /* room may have come: look at what waits */
};

/* What one caller provides. */
struct provider {
    struct list link;      /* in name->providers; in none after unprovide */
    struct list of_caller; /* in caller->providers */
    struct remote_name *name;
    struct caller *caller;
    struct provide_limits limits;
    struct list calls; /* out at it, of struct remote_call */
    size_t out[REMOTE_DEPTHS];
};

struct job;

struct part {
    struct list link;    /* in job->parts, until it is done */
    struct list waiting; /* in name->waiting[depth] while it waits */
    struct job *job;
    size_t from;
    size_t count;
    struct remote_call call;  /* in provider->calls while it is out, else its provider is NULL */
    struct deadline deadline; /* of the attempt; of a half's waiting */
    bool tried;               /* once already, elsewhere */
    bool halved;              /* of an answer that was too large */
    uint64_t avoid;           /* the caller that had it before; 0 for none */
    struct error error;       /* why it has to be tried again */
};

/* A batch at work. */
struct job {
    struct list link; /* in remote->finished */
    struct remote *remote;
    struct remote_name *name;
    struct relation *relation;
    struct batch *batch;
    struct list parts; /* not done */
    bool failed;       /* as a whole, with: */
    struct error error;
};

struct remote {
    struct coalescer *coalescer;
    const struct limits *limits;
    struct list names;
    struct list finished; /* jobs to be ended by remote_settle */
    struct deadlines deadlines;
    struct buffer params; /* of the request that is written */
    size_t jobs;
    bool restless; /* a name is */
};

/* ---- remote.c ---- */

/* Ends the batches of the jobs that are finished. */
void remote_settle(struct remote *remote, uint64_t now_us);
/* remote_expire shall look at what waits for this name. */
void name_stir(struct remote *remote, struct remote_name *name);

/* ---- remote_provider.c ---- */

/* NULL where it was never provided. */
struct remote_name *name_find(const struct remote *remote, const char *text);

/* The least busy provider with room at this depth, but not of the caller
 * `avoid`; NULL where none has, *any telling whether there is one at all. */
struct provider *provider_choose(struct remote_name *name, const struct relationship *relationship,
                                 uint32_t depth, uint64_t avoid, bool *any);
size_t provider_size_max(const struct provider *provider, const struct relationship *relationship);
/* Frees it where it neither provides nor has anything out. */
void provider_settle(struct provider *provider);
/* Writes "worker (connection 7)". */
enum { PROVIDER_TEXT_MAX = 96 };
void provider_describe(const struct provider *provider, char *text, size_t size);

/* ---- remote_part.c ---- */

/* Sends what can be sent of what waits, and fails what nobody can be asked for. */
void parts_send(struct remote *remote, struct remote_name *name, uint32_t depth, uint64_t now_us);
/* The request is no longer out. The provider is settled by the caller. */
void part_take_back(struct part *part);
void part_take_answer(struct part *part, const struct provider *provider, const uint8_t *bytes,
                      size_t size);
/* An error response: a text, or a map {code, message}. */
void part_take_error(struct part *part, const struct provider *provider, const uint8_t *bytes,
                     size_t size);
void part_fail(struct part *part, const struct error *error);
/* The provider has gone, or was late: elsewhere, once. */
void part_try_elsewhere(struct part *part, const struct provider *provider, enum code code);
void part_halve(struct part *part, const struct provider *provider, uint64_t now_us);
/* Its time is up: the attempt's, or that of a half which nobody took. */
void part_expire(struct part *part);

static inline struct part *part_of(struct remote_call *call)
{
    return CONTAINER_OF(call, struct part, call);
}

#endif

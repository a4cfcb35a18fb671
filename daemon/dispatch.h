#ifndef RELATA_DAEMON_DISPATCH_H
#define RELATA_DAEMON_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/client.h"
#include "layers/engine/engine.h"
#include "protocol/base/limits.h"
#include "protocol/session.h"

/* From message to method: checks the number of params and the options that the
 * method takes, gives the call to the engine, and answers. */

/* Counters of the daemon itself, which the connections keep too. */
struct daemon_counters {
    uint64_t started_us;
    uint64_t connections; /* now */
    uint64_t requests;
    uint64_t errors[CODE_COUNT];
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t loop_lag_us; /* how late the loop is: the longest recent turn */
};

/* Bytes of requests, loader answers and output under way, all connections
 * together (limit work_bytes). */
struct work {
    uint64_t bytes;
};

struct dispatch {
    struct engine *engine;
    const struct limits *limits;
    struct daemon_counters *counters;
    struct work *work;
    uint64_t timeout_us; /* of calls that name none */
    uint64_t now_us;     /* set by the loop at the start of a turn's work */
    struct list idle;    /* rooms of requests, to be used again */
    size_t idle_count;
};

void dispatch_init(struct dispatch *dispatch, struct engine *engine, const struct limits *limits,
                   struct daemon_counters *counters, struct work *work);

/* All clients must be gone. */
void dispatch_release(struct dispatch *dispatch);

/* Executes a request or notification of the client (responses are not for it).
 * The answer is in client->output when this returns, or comes later. */
void dispatch_message(struct dispatch *dispatch, struct client *client,
                      const struct message *message);

/* Answers a request that was not executed (a broken session, an overload). */
void dispatch_refuse(struct dispatch *dispatch, struct client *client, uint32_t id,
                     const struct error *error);

/* All of the client's calls under way answer `error`, at once (before the
 * connection is closed in an orderly way). */
void dispatch_end_client(struct dispatch *dispatch, struct client *client,
                         const struct error *error);

/* The connection is gone: its calls end without an answer. */
void dispatch_drop_client(struct dispatch *dispatch, struct client *client);

#endif

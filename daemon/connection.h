#ifndef RELATA_DAEMON_CONNECTION_H
#define RELATA_DAEMON_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/client.h"
#include "daemon/loop.h"
#include "protocol/base/buffer.h"
#include "protocol/base/list.h"

/* One client's socket: bytes in, frames to dispatch, answers out.
 *
 * The happy path: a read fills the loop's shared bytes; every whole frame in
 * them is given to dispatch at once; what its answers append to client.output
 * is written with one system call at the end of the turn.
 *
 * Possible failures are: the client stops taking bytes (over OUTPUT_HIGH no
 * further frame is executed and nothing is read until it is below OUTPUT_LOW;
 * after `stall_us` without a byte taken it is closed); it sends more than its
 * share of a turn (the rest is executed in the next one); it breaks the session
 * (the faulty frame and what is pending are answered, then it is closed); it
 * ends its sending side (what is pending is answered, then it is closed); it
 * vanishes (its calls end without an answer).
 *
 *   OPEN ──EOF, connection_end──► ENDING ──answered and written──► CLOSING
 *     └────broken──► ENDING ──answered and written──► LINGERING ──EOF, time──► CLOSING
 * Any of them goes to CLOSING when the socket fails. */

enum {
    OUTPUT_HIGH_BYTES = 1 << 20,
    OUTPUT_LOW_BYTES = 1 << 18,
    /* What one connection may have executed in a turn. */
    TURN_FRAMES_MAX = 1000,
    TURN_US_MAX = 1000,
    /* How long a client whose session broke may go on sending (unheard) so
     * that it can read why, instead of finding its connection reset. */
    LINGER_US = 1000 * 1000,
    /* More than all limits together let wait for one client; a client that
     * comes here is closed. */
    OUTPUT_BYTES_MAX = INT32_MAX
};

enum connection_state {
    CONNECTION_OPEN,
    CONNECTION_ENDING,    /* executes nothing more; answers what is pending */
    CONNECTION_LINGERING, /* all is said; waits for the other end to close */
    CONNECTION_CLOSING    /* the socket is being closed */
};

struct connection {
    uint32_t magic;
    struct client client;
    struct loop *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } socket;
    enum connection_state state;
    bool reading;
    bool ended;          /* the other end sends no more */
    bool broken;         /* lingers before it closes */
    bool last_call;      /* executes only what had arrived: */
    bool drains;         /* connection_drain was called */
    size_t arrived;      /* bytes of that which are not read yet */
    bool blocked;        /* over OUTPUT_HIGH: waits until it is below OUTPUT_LOW */
    bool writing;        /* `write` is out, with what is left of `sending` */
    struct buffer input; /* an unfinished frame, or frames left for later */
    struct buffer sending;
    uv_write_t write;
    struct loop_task again;  /* go on with the frames in `input` */
    struct loop_task at_end; /* write */
    uint64_t turn;           /* the turn that these are of: */
    uint32_t turn_frames;
    uint64_t turn_began_us;
    size_t accounted; /* what of work->bytes is this connection's */
    /* Watched while it writes or lingers: closed when the deadline passes. */
    uint64_t deadline_us;
    size_t unsent; /* when the deadline was set */
    /* The owner's. */
    struct list node;
    void (*closed)(struct connection *connection, void *context);
    void *context;
};

/* With a socket (tcp or unix) that is to be accepted into. `closed` is called once, after connection_close, from the loop, and is
 * the place for connection_free. */
struct connection *connection_create(struct loop *loop, uint64_t id, bool is_tcp,
                                     void (*closed)(struct connection *, void *), void *context);
void connection_free(struct connection *connection);

/* Starts reading; the socket is connected. */
void connection_start(struct connection *connection);

/* Orderly: executes what has arrived, answers what is pending, closes. */
void connection_end(struct connection *connection);

/* For one that provides, before connection_end: others may wait for what it
 * answers. It takes no more requests once what has arrived is executed, but for
 * those that it makes while it works on a batch. */
void connection_drain(struct connection *connection);

/* Neither does it wait for an answer, nor is an answer waited for from it. */
static inline bool connection_idle(const struct connection *connection)
{
    const struct client *client = &connection->client;
    return client->request_count == 0 && client->session.calls.count == 0;
}

/* As connection_end, but what is under way is answered `unavailable` now. */
void connection_give_up(struct connection *connection);

/* At once: calls under way end without an answer. Idempotent. */
void connection_close(struct connection *connection);

/* The periodic look at the clock: closes the connection if it neither takes
 * what is written nor, lingering, closes. `stall_us` is what a client is given
 * between two bytes that it takes. */
void connection_tick(struct connection *connection, uint64_t now_us, uint64_t stall_us);

/* Whether connection_tick has anything to do. */
static inline bool connection_watched(const struct connection *connection)
{
    return connection->writing || connection->state == CONNECTION_LINGERING;
}

#endif

#ifndef RELATA_DAEMON_SERVER_H
#define RELATA_DAEMON_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/address.h"
#include "daemon/connection.h"
#include "daemon/loop.h"
#include "protocol/base/list.h"

/* The listeners, and all the connections that came through them.
 *
 * A unix socket gets its mode before anybody can connect; a socket file that
 * nobody answers at is replaced, one that somebody answers at is not; it is
 * removed when the server stops. Over the limit `connections` a connection is
 * accepted and closed without a word. */

enum { SERVER_LISTENERS_MAX = 16 };

struct listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } socket;
    struct server *server;
    struct address address; /* with the port that it got */
};

struct server {
    struct loop *loop;
    struct listener listeners[SERVER_LISTENERS_MAX];
    unsigned listener_count;
    struct list connections;
    size_t connection_count;
    uint64_t last_id;
    uv_timer_t watch;    /* ticks while a connection is watched */
    uv_timer_t patience; /* since server_stop */
    uint64_t stall_us;   /* config's client_stall_timeout; may change */
    bool full_told;      /* logged that `connections` is reached */
    uint64_t failed_us;  /* when a failed accept was logged last */
    bool stopping;
    bool overdue; /* its patience is at an end */
};

/* `stall_us` as in connection_tick. */
void server_init(struct server *server, struct loop *loop, uint64_t stall_us);

/* Listens at one more address. 0, or -CODE_UNAVAILABLE saying what is in the
 * way. Accepting begins when the loop runs. */
int server_listen(struct server *server, const struct address *address, unsigned socket_mode,
                  struct error *error);

/* Stops listening (socket files are gone when this returns), and ends every
 * connection once what it sent is answered; the loop then has nothing more to
 * do. What is not done after `patience_us` is answered `unavailable`. */
void server_stop(struct server *server, uint64_t patience_us);

/* Another `client_stall_timeout`. */
void server_set_stall(struct server *server, uint64_t stall_us);

/* Closes all connections at once. */
void server_abort(struct server *server);

#endif

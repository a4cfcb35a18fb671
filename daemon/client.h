#ifndef RELATA_DAEMON_CLIENT_H
#define RELATA_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/remote.h"
#include "protocol/base/buffer.h"
#include "protocol/base/list.h"
#include "protocol/session.h"

/* What dispatch knows of a connection: its session, the room for answers, and
 * what it said in `hello`. A connection (connection.h) embeds it; tests use it
 * alone. Frames appended to `output` are written once at the end of the turn. */
struct client {
    uint64_t id; /* never used again; the origin of its loads */
    struct session session;
    struct buffer output; /* whole frames, not yet given to the socket */
    struct list requests; /* dispatch's: calls under way, of struct request */
    size_t request_count;
    struct caller caller; /* provider.h's: what it provides, and how it is called */
    bool draining;        /* takes no more requests, but for those of a provider at work */
    bool errors_as_map;   /* hello({errors: "map"}) */
    char name[64];        /* hello({client}) */
    /* Says that `output` has grown outside of dispatch_message (an answer that
     * came later). Called any number of times a turn. */
    void (*wake)(struct client *client);
};

#endif

#ifndef RELATA_DAEMON_HOME_LINKS_H
#define RELATA_DAEMON_HOME_LINKS_H

#include <stdbool.h>
#include <uv.h>

#include "daemon/config.h"
#include "daemon/loop.h"
#include "layers/engine/engine.h"
#include "layers/redis/redis.h"

/* The daemon's side of the redis layer: its homes on the loop, its lines in the log,
 * its start before the first client and its end after the last one. Where the
 * configuration names no Redis, there is nothing of it. */
struct daemon_homes {
    struct redis *redis; /* NULL: none */
    struct loop *loop;
    uv_timer_t timer; /* keeps the loop going while it is waited for */
    bool closed;
    bool timer_closed;
};

/* Before the engine's first schema; `loop` need not be open yet, and outlives it. 0, or
 * -1 where memory lacks. */
int daemon_homes_create(struct daemon_homes *homes, const struct config *config, struct loop *loop,
                        struct engine *engine);
/* After the engine. */
void daemon_homes_free(struct daemon_homes *homes);

/* Connects, and runs the loop until each home has answered or failed to, and what is
 * resident is loaded, for some seconds at most (or until *stopping). 0, or -1 with the
 * reason why the daemon must not start. */
int daemon_homes_start(struct daemon_homes *homes, const bool *stopping, struct error *error);

/* Runs the loop until all is written and closed. */
void daemon_homes_stop(struct daemon_homes *homes);

#endif

#ifndef RELATA_DAEMON_MODULES_H
#define RELATA_DAEMON_MODULES_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "daemon/loop.h"
#include "layers/engine/engine.h"
#include "layers/module/module.h"
#include "layers/schema/schema.h"

/* The modules of the daemon: their files, their clock, their log, and how they
 * wake the loop. Created before the schema is used, started when there is a
 * loop, stopped before it closes, freed after the engine. */
struct daemon_modules {
    struct modules *modules;
    struct module_host host;
    struct loop *loop; /* NULL while there is none */
    uv_async_t async;
    uv_timer_t timer;
    uint64_t at_us;       /* when the timer is to fire; 0 for never */
    pthread_mutex_t lock; /* of `running`: modules' threads look at it */
    bool running;
};

/* 0, or -1 where memory lacks. Tells the engine who loads modules. */
int daemon_modules_create(struct daemon_modules *modules, struct engine *engine);
void daemon_modules_free(struct daemon_modules *modules);

void daemon_modules_start(struct daemon_modules *modules, struct loop *loop);
void daemon_modules_stop(struct daemon_modules *modules);

/* Looks whether the files that a schema names are modules for this daemon; a
 * line for each that is not. How many are not. */
size_t daemon_modules_check(const struct schema *schema, struct buffer *faults);

#endif

#ifndef RELATA_LAYERS_MODULE_MODULE_H
#define RELATA_LAYERS_MODULE_MODULE_H

#include <stdint.h>

#include "layers/load/relation.h"
#include "protocol/base/error.h"

/* The loaders of `manual: {module: ...}`: shared objects that are opened, handed
 * batches, and held to what relata_module.h says. What loads files, tells the
 * time and wakes the loop is given by the daemon, so that this knows no loop.
 *
 *   module_start -> the module's load -> [its reads] -> answer -> (a task) finish
 *                        \-> deadline: cancel -------------------> (a task) finish
 *
 * A module is never answered for from inside its own call: what ends a batch is
 * a task of the engine, so that no relation, and so no module, goes while its
 * code runs. */

struct engine;
struct modules;

/* Loads shared objects. */
struct module_files {
    void *context;
    /* From a private copy, so that a file that was replaced is opened anew. 0,
     * or a negative code with the reason. */
    int (*open)(void *context, const char *path, void **library, struct error *error);
    /* NULL where it exports no such name. */
    void *(*symbol)(void *context, void *library, const char *name);
    void (*close)(void *context, void *library);
};

enum module_log_level { MODULE_LOG_INFO = 1, MODULE_LOG_WARNING, MODULE_LOG_ERROR };

/* What modules need of the daemon. */
struct module_host {
    void *context;
    uint64_t (*clock_us)(void);
    /* From any thread: modules_turn is to be called soon. */
    void (*wake)(void *context);
    /* modules_turn is to be called at this time; 0: no need any more. */
    void (*wake_at)(void *context, uint64_t at_us);
    void (*log)(void *context, enum module_log_level level, const char *event, const char *module,
                const char *relationship, const char *text);
};

/* The engine need not have a schema yet. What is given must outlive it. NULL
 * where memory lacks. All that follows is for the thread that called this. */
struct modules *modules_create(struct engine *engine, const struct module_files *files,
                               const struct module_host *host);
/* The engine must be gone. */
void modules_free(struct modules *modules);

/* For engine_use_modules. */
const struct outside_loaders *modules_loaders(const struct modules *modules);

/* Calls what was posted, and the timers that are due. */
void modules_turn(struct modules *modules, uint64_t now_us);

/* Whether the file is a module for this daemon: looks at it without opening it
 * for a relationship. 0, or -CODE_INVALID_REQUEST. */
int module_check(const struct module_files *files, const char *path, struct error *error);

#endif

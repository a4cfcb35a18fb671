#ifndef RELATA_DAEMON_CONFIG_H
#define RELATA_DAEMON_CONFIG_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/address.h"
#include "daemon/log.h"
#include "daemon/arguments.h"
#include "layers/redis/home_options.h"
#include "protocol/base/buffer.h"
#include "protocol/base/limits.h"

/* What the daemon runs by: the configuration file (relata.yaml) under the
 * environment and the flags, everything with a default. Holds no memory. */

enum { CONFIG_LISTEN_MAX = 16 };

struct config {
    char schema[PATH_MAX]; /* a path; empty where none is named */
    struct address listen[CONFIG_LISTEN_MAX];
    unsigned listen_count;
    bool listen_is_default;
    unsigned socket_mode;
    struct limits limits;
    uint64_t timeout_us;                  /* of calls that name none */
    uint64_t client_stall_us;             /* how long a client may take no byte */
    uint64_t shutdown_us;                 /* for what is under way at the end */
    struct home_options homes[HOMES_MAX]; /* each Redis; their passwords are in it */
    unsigned home_count;
    enum log_level log_level;
    enum log_format log_format;
};

void config_defaults(struct config *config);

/* Takes what the file says over what is in `config`. Relative paths in it count
 * from its folder. Every fault is a line in `faults`, `FILE:LINE:COL: message`.
 * 0, or -CODE_INVALID_REQUEST; `config` is then half changed. */
int config_read(struct config *config, const char *name, const char *text, size_t size,
                struct buffer *faults);

/* All of it: defaults, the file that the arguments name, the arguments; and that
 * there is a schema. */
int config_load(struct config *config, const struct arguments *arguments, struct buffer *faults);

#endif

#ifndef RELATA_DAEMON_ARGUMENTS_H
#define RELATA_DAEMON_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/buffer.h"

/* What the command line and the environment say, not yet what it means: flags
 * over environment. Texts are those of argv and the environment and live as
 * long as these. */

enum { ARGUMENTS_LISTEN_MAX = 16 };

struct argument {
    const char *text; /* NULL where not given */
    const char *from; /* "--schema", "RELATA_SCHEMA" */
};

struct arguments {
    struct argument config;
    struct argument schema;
    struct argument listen[ARGUMENTS_LISTEN_MAX]; /* one address each, not terminated at
                                                       a comma: use listen_sizes */
    size_t listen_sizes[ARGUMENTS_LISTEN_MAX];
    size_t listen_count;
    struct argument log_level;
    struct argument log_format;
    bool check;
    bool version;
    bool help;
};

/* `environment` is getenv, or a test's. 0, or -CODE_INVALID_REQUEST with a line
 * for each fault in `faults`. */
int arguments_read(struct arguments *arguments, int argc, char *argv[],
                   const char *(*environment)(const char *name), struct buffer *faults);

/* What --help prints. */
extern const char arguments_help[];

#endif

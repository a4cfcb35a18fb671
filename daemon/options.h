#ifndef RELATA_DAEMON_OPTIONS_H
#define RELATA_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/buffer.h"

/* What the command line and the environment say, not yet what it means: flags
 * over environment. Texts are those of argv and the environment and live as
 * long as these. */

enum { OPTIONS_LISTEN_MAX = 16 };

struct option_value {
    const char *text; /* NULL where not given */
    const char *from; /* "--schema", "RELATA_SCHEMA" */
};

struct options {
    struct option_value config;
    struct option_value schema;
    struct option_value listen[OPTIONS_LISTEN_MAX]; /* one address each, not terminated at
                                                       a comma: use listen_sizes */
    size_t listen_sizes[OPTIONS_LISTEN_MAX];
    size_t listen_count;
    struct option_value log_level;
    struct option_value log_format;
    bool check;
    bool version;
    bool help;
};

/* `environment` is getenv, or a test's. 0, or -CODE_INVALID_REQUEST with a line
 * for each fault in `faults`. */
int options_read(struct options *options, int argc, char *argv[],
                 const char *(*environment)(const char *name), struct buffer *faults);

/* What --help prints. */
extern const char options_help[];

#endif

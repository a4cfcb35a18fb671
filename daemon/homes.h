#ifndef RELATA_DAEMON_HOMES_H
#define RELATA_DAEMON_HOMES_H

#include <stdbool.h>

#include "daemon/config.h"
#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Each Redis that the schema names must be one of the configuration's. */

/* NULL where there is none. */
const struct home_options *homes_find(const struct config *config, const char *name);

/* 0, or -CODE_INVALID_REQUEST with a line for each resource whose Redis is not in
 * the configuration. */
int homes_check(const struct config *config, const struct schema *schema, struct buffer *faults);

/* The same at a reload, where those of the start go on: what a schema uses that
 * homes_check took, and that `started` does not name, is there at the next start only. */
int homes_check_started(const struct config *config, const struct config *started,
                        const struct schema *schema, struct buffer *faults);

/* Whether two configurations have the same ones, in whatever order. */
bool homes_same(const struct config *a, const struct config *b);

/* Takes over those of `from`. */
void homes_copy(struct config *to, const struct config *from);

#endif

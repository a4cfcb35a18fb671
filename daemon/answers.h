#ifndef RELATA_DAEMON_ANSWERS_H
#define RELATA_DAEMON_ANSWERS_H

#include "daemon/client.h"
#include "daemon/dispatch.h"
#include "layers/engine/call.h"
#include "layers/engine/options.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"

/* The methods that dispatch answers at once, without the engine's work. */

enum { REQUEST_PARAMS_MAX = CALL_PARAMS_MAX + 1 };

/* The parameters of a method: one value each, no bytes where left out. */
struct params {
    struct reader at[REQUEST_PARAMS_MAX];
};

/* Each appends its result. 0; or a negative code with the error set, and what
 * was appended is to be taken back. */
#define DISPATCH_ANSWERS(X) X(ping) X(hello) X(schema) X(stats) X(provide) X(unprovide)
#define X(name)                                                                   \
    int answer_##name(struct dispatch *dispatch, struct client *client,           \
                      const struct params *params, const struct options *options, \
                      struct buffer *out, struct error *error);
DISPATCH_ANSWERS(X)
#undef X

#endif

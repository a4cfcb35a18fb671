#ifndef RELATA_DAEMON_PROVIDER_H
#define RELATA_DAEMON_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/client.h"
#include "daemon/dispatch.h"
#include "layers/engine/options.h"
#include "protocol/message.h"

/* A client that offered to be called: the caller that the remote loader knows.
 * Its requests go into the client's output, its responses come from the
 * connection, matched by the session. Every client is ready to be one. */

/* Before the client's first message; `id` is set. */
void provider_init(struct client *client);

/* Whether it provides something, or has not yet answered what it was asked: such
 * a connection is never paused, and its frames may be larger. */
bool provider_is(const struct client *client);

/* A response to one of our requests. */
void provider_answered(struct dispatch *dispatch, struct client *client,
                       const struct message *message);

/* The session broke at the frame that begins at `bytes`. Where that is the
 * response to a request of ours: its call, which the session then forgets. */
struct remote_call *provider_broken_call(struct client *client, const uint8_t *bytes, size_t size);

/* The client answers no more: idempotent. `too_large` as for remote_caller_gone. */
void provider_gone(struct dispatch *dispatch, struct client *client, struct remote_call *too_large);

/* The methods: true is the answer. `name` is the parameter as it came. */
int provider_provide(struct dispatch *dispatch, struct client *client, struct reader name,
                     const struct options *options, struct error *error);
int provider_unprovide(struct dispatch *dispatch, struct client *client, struct reader name,
                       struct error *error);

#endif

#ifndef RELATA_DAEMON_CONNECTION_INNER_H
#define RELATA_DAEMON_CONNECTION_INNER_H

#include "daemon/connection.h"
#include "daemon/log.h"

/* What connection.c (the life of a connection, bytes in) and connection_write.c
 * (bytes out) share; nobody else includes this. */

enum { CONNECTION_MAGIC = 0x636f6e6e };

/* From what libuv carries; checked. */
struct connection *connection_from(void *data);

/* Bytes of answers that the socket has not taken. */
size_t connection_unsent(const struct connection *connection);
/* Keeps the daemon's count of bytes under way. */
void connection_account(struct connection *connection);
/* Why a connection ended that its client did not end. */
void connection_log_closed(const struct connection *connection, enum log_level level,
                           const char *reason);
/* The end of a turn: what its task does. */
void connection_at_end(struct loop_task *task);
/* Closes it where it is ending and nothing is left to answer or to write. */
void connection_finish_if_done(struct connection *connection);

#endif

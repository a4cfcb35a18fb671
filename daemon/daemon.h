#ifndef RELATA_DAEMON_DAEMON_H
#define RELATA_DAEMON_DAEMON_H

#include "daemon/arguments.h"

/* The process from start to end: configuration, schema, engine, server, and
 * what the signals ask for. There is one per process. */

/* Only looks whether configuration and schema are right; faults go to standard
 * error, a line each. The process' exit status. */
int daemon_check(const struct arguments *arguments);

/* Runs until it is told to end. The process' exit status: 0 after an orderly
 * end, 1 where it could not start (standard error says why) or was told twice. */
int daemon_run(const struct arguments *arguments);

#endif

#ifndef RELATA_CLIENTS_C_DIAL_H
#define RELATA_CLIENTS_C_DIAL_H

/* Opens a socket to an endpoint and waits until it is connected; and the clock
 * that deadlines are told by. */

#include <stdint.h>

#include "clients/c/endpoint.h"

/* A connected socket that does not block, in *fd. 0; -CODE_UNAVAILABLE or
 * -CODE_TIMEOUT. */
int dial(const struct endpoint *endpoint, uint64_t deadline_ms, int *fd,
         struct relata_error *error);

/* Milliseconds of a clock that only goes forward. */
uint64_t clock_ms(void);

/* What poll() is to wait until then: 0 once it has passed. */
int clock_left_ms(uint64_t deadline_ms);

#endif

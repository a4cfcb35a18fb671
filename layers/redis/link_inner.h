#ifndef RELATA_LAYERS_REDIS_LINK_INNER_H
#define RELATA_LAYERS_REDIS_LINK_INNER_H

#include "layers/redis/link.h"

/* What the sources of link.h share: link.c has the connection, and the bytes that go out,
 * link_input.c those that come in, link_greeting.c what is said before the link is UP. */

enum { LINK_KEPT_BYTES = 1 << 20 /* a buffer that has grown beyond this is not kept */ };

/* First in every callback of libuv: what its data is. */
struct link *link_enter(void *data);

/* Breaks the link, with why. on_down comes later, from the loop. */
void link_fail(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts what was added to `output` since `before` under a step of the link's own,
 * to be written by link_write. */
void link_step_put(struct link *link, struct link_step *step, size_t before,
                   void (*done)(struct link_command *command, enum link_outcome outcome,
                                struct resp_reader reply));

/* Writes `output` now. */
void link_write(struct link *link);

/* Begins to read. 0, or libuv's code. */
int link_read_start(struct link *link);

/* The socket is connected: says hello, and in the end calls link_greeted. */
void link_greet(struct link *link);
void link_greeted(struct link *link);

#endif

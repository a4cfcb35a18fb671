#ifndef RELATA_LAYERS_REDIS_LEASE_H
#define RELATA_LAYERS_REDIS_LEASE_H

#include <stdbool.h>
#include <stdint.h>

/* Trust in what is cached is a lease. Pure: events and the time are given.
 *
 *                 lease_begin (tracking is confirmed)
 *        ┌──────┐ ─────────────────────────────────► ┌─────────┐
 *        │ DOWN │                                    │ TRUSTED │◄─┐
 *        └──────┘ ◄───────────────────────────────── └─────────┘  │
 *            ▲          lease_end (the link is lost)      │       │ a ping that was
 *            │                                            │       │ sent less than
 *            │                       no ping that was sent│       │ LEASE_US ago is
 *            │                    less than LEASE_US ago  │       │ answered
 *            │                               is answered  ▼       │
 *            │                                      ┌────────┐    │
 *            └───────────────────────────────────── │ LAPSED │────┘
 *                          lease_end                └────────┘
 *
 * While it is LAPSED nothing cached counts as current, but nothing is lost: all
 * notices and answers of a session come over one link, in order, so a ping that
 * is answered in the end proves that every notice before it has been heard.
 * After DOWN nothing of the session before counts any more: it has another
 * number ("cover"), which is never used again. */

enum {
    LEASE_US = 500 * 1000,      /* how long an answered ping counts, from when it was sent */
    LEASE_PING_US = 100 * 1000, /* between two pings */
    LEASE_PINGS_MAX = 16        /* pings that are out */
};

struct lease {
    uint64_t cover; /* of the session; 0: DOWN */
    uint64_t until_us;
    uint64_t sent_us[LEASE_PINGS_MAX]; /* of the pings that are out, oldest first, a ring */
    uint8_t first;
    uint8_t out;
};

/* Tracking was confirmed by an answer to what was sent at `sent_us`. */
void lease_begin(struct lease *lease, uint64_t cover, uint64_t sent_us);
/* A ping is sent now: false where too many are out, then none must be sent. */
bool lease_ping(struct lease *lease, uint64_t now_us);
/* The oldest ping that is out was answered. */
void lease_pong(struct lease *lease);
void lease_end(struct lease *lease);

/* The cover where it is TRUSTED, else 0. */
static inline uint64_t lease_cover(const struct lease *lease, uint64_t now_us)
{
    return now_us < lease->until_us ? lease->cover : 0;
}

/* How long to wait before the next try to connect: doubles from 50 ms to 2 s with
 * each failure in a row, and is spread by a half (`random` is any number), so that
 * many daemons do not come back together. */
uint64_t backoff_us(unsigned failures, uint64_t random);

#endif

#include "layers/redis/lease.h"

#include <string.h>

#include "protocol/base/check.h"

enum { BACKOFF_FIRST_US = 50 * 1000, BACKOFF_MAX_US = 2 * 1000 * 1000 };

static uint64_t end_of(uint64_t sent_us)
{
    return sent_us > UINT64_MAX - LEASE_US ? UINT64_MAX : sent_us + LEASE_US;
}

/* Pings of a session before are forgotten: their answers do not come any more. */
void lease_begin(struct lease *lease, uint64_t cover, uint64_t sent_us)
{
    CHECK(cover != 0);
    *lease = (struct lease){.cover = cover, .until_us = end_of(sent_us)};
}

/* A ping of no session would be answered as if it were the next session's. */
bool lease_ping(struct lease *lease, uint64_t now_us)
{
    if (lease->cover == 0 || lease->out == LEASE_PINGS_MAX) {
        return false;
    }
    lease->sent_us[(lease->first + lease->out) % LEASE_PINGS_MAX] = now_us;
    lease->out++;
    return true;
}

/* An answer proves what it proves whatever else was answered, so time is only
 * ever added. */
void lease_pong(struct lease *lease)
{
    if (lease->out == 0) {
        return;
    }
    uint64_t until_us = end_of(lease->sent_us[lease->first]);
    lease->first = (uint8_t)((lease->first + 1) % LEASE_PINGS_MAX);
    lease->out--;
    if (until_us > lease->until_us) {
        lease->until_us = until_us;
    }
}

void lease_end(struct lease *lease)
{
    memset(lease, 0, sizeof(*lease));
}

/* From half of the time to all of it. The first failure waits as long as none. */
uint64_t backoff_us(unsigned failures, uint64_t random)
{
    uint64_t wait_us = BACKOFF_FIRST_US;
    for (unsigned i = 1; i < failures && wait_us < BACKOFF_MAX_US; i++) {
        wait_us *= 2;
    }
    if (wait_us > BACKOFF_MAX_US) {
        wait_us = BACKOFF_MAX_US;
    }
    return wait_us - random % (wait_us / 2 + 1);
}

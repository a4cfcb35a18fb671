#ifndef RELATA_BENCH_DELAYS_H
#define RELATA_BENCH_DELAYS_H

#include <stdint.h>

/* How long things took, counted in steps of about 3 percent. Zeroed is empty. */

enum { DELAYS_STEPS = 1024 };

struct delays {
    uint64_t counts[DELAYS_STEPS];
    uint64_t total;
    uint64_t max_ns;
};

uint64_t delays_now_ns(void);
void delays_add(struct delays *delays, uint64_t ns, uint64_t times);
/* The time, in microseconds, that `share` (0..1) of them did not exceed. */
double delays_us(const struct delays *delays, double share);

#endif

#ifndef RELATA_LAYERS_LOAD_LATENCY_H
#define RELATA_LAYERS_LOAD_LATENCY_H

#include <stdint.h>

/* How long things took, in microseconds: a log-linear histogram of fixed size.
 * 16 steps for each doubling, so that what it tells is at most 1/16 too high;
 * what took over 67 s counts as that long, but for the maximum, which is exact. */
enum { LATENCY_STEPS = 16, LATENCY_DOUBLINGS = 22 };

struct latency {
    uint64_t max_us;
    uint64_t total; /* sum of counts */
    uint32_t counts[LATENCY_STEPS * (LATENCY_DOUBLINGS + 1)];
};

/* A zeroed one is empty. */
void latency_add(struct latency *latency, uint64_t us);

/* The time that `percent` of 100 did not exceed; 0 while empty. */
uint64_t latency_percentile(const struct latency *latency, unsigned percent);

#endif

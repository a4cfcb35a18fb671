#include "bench/delays.h"

#include <time.h>

/* Steps below 32 ns are exact; above, each doubling is 32 steps. */
enum { STEP_BITS = 5, STEPS_PER_DOUBLING = 1 << STEP_BITS };

uint64_t delays_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned step_of(uint64_t ns)
{
    if (ns < STEPS_PER_DOUBLING) {
        return (unsigned)ns;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    unsigned step = (shift << STEP_BITS) + (unsigned)(ns >> shift);
    return step < DELAYS_STEPS ? step : DELAYS_STEPS - 1;
}

static double step_ns(unsigned step)
{
    if (step < STEPS_PER_DOUBLING) {
        return step;
    }
    unsigned shift = (step >> STEP_BITS) - 1;
    return (double)((uint64_t)(step - (shift << STEP_BITS)) << shift);
}

void delays_add(struct delays *delays, uint64_t ns, uint64_t times)
{
    delays->counts[step_of(ns)] += times;
    delays->total += times;
    if (ns > delays->max_ns) {
        delays->max_ns = ns;
    }
}

double delays_us(const struct delays *delays, double share)
{
    uint64_t wanted = (uint64_t)((double)delays->total * share);
    uint64_t seen = 0;
    for (unsigned step = 0; step < DELAYS_STEPS; step++) {
        seen += delays->counts[step];
        if (seen > wanted) {
            return step_ns(step) / 1000;
        }
    }
    return (double)delays->max_ns / 1000;
}

#include "layers/load/latency.h"

#include "protocol/base/check.h"

enum { STEP_BITS = 4 };

_Static_assert(1 << STEP_BITS == LATENCY_STEPS, "steps are a power of two");

static const uint64_t highest = ((uint64_t)1 << (STEP_BITS + LATENCY_DOUBLINGS)) - 1;

/* Below 16 each value has a place of its own; above, the four bits after the
 * leading one choose the place within its doubling. */
static unsigned place_of(uint64_t us)
{
    if (us < LATENCY_STEPS) {
        return (unsigned)us;
    }
    if (us > highest) {
        us = highest;
    }
    unsigned doubling = 63 - (unsigned)__builtin_clzll(us) - STEP_BITS;
    unsigned step = (unsigned)(us >> doubling) - LATENCY_STEPS;
    return (doubling + 1) * LATENCY_STEPS + step;
}

/* The largest value that has this place. */
static uint64_t value_of(unsigned place)
{
    if (place < LATENCY_STEPS) {
        return place;
    }
    unsigned doubling = place / LATENCY_STEPS - 1;
    uint64_t step = place % LATENCY_STEPS;
    return ((LATENCY_STEPS + step + 1) << doubling) - 1;
}

/* A full counter halves all: the shape stays. */
static void halve(struct latency *latency)
{
    latency->total = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(latency->counts); i++) {
        latency->counts[i] /= 2;
        latency->total += latency->counts[i];
    }
}

void latency_add(struct latency *latency, uint64_t us)
{
    uint32_t *count = &latency->counts[place_of(us)];
    if (*count == UINT32_MAX) {
        halve(latency);
    }
    (*count)++;
    latency->total++;
    if (us > latency->max_us) {
        latency->max_us = us;
    }
}

uint64_t latency_percentile(const struct latency *latency, unsigned percent)
{
    CHECK(percent <= 100);
    /* Rounded up: of 10, the 99th percentile is the tenth. */
    uint64_t wanted = (latency->total * percent + 99) / 100;
    uint64_t seen = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(latency->counts); i++) {
        seen += latency->counts[i];
        if (latency->counts[i] > 0 && seen >= wanted) {
            uint64_t value = value_of(i);
            return value < latency->max_us ? value : latency->max_us;
        }
    }
    return latency->max_us;
}

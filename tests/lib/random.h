#ifndef RELATA_TESTS_LIB_RANDOM_H
#define RELATA_TESTS_LIB_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Random numbers of tests (splitmix64), repeatable: the seed is printed, and
 * RELATA_SEED overrides it. */
struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* From 0 to `count` - 1. */
static inline uint64_t random_below(struct random *random, uint64_t count)
{
    return count > 0 ? random_next(random) % count : 0;
}

static inline struct random random_start(const char *test)
{
    const char *given = getenv("RELATA_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0)
                                  : (uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec;
    printf("%s: RELATA_SEED=%llu\n", test, (unsigned long long)seed);
    return (struct random){.state = seed};
}

/* An integer whose sizes are spread evenly over its bits, so that the borders
 * of encodings come up. */
static inline uint64_t random_magnitude(struct random *random)
{
    uint64_t value = random_next(random) >> random_below(random, 64);
    return value + random_below(random, 3) - 1;
}

#endif

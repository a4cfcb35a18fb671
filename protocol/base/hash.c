#include "protocol/base/hash.h"

#include <stdbool.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t process_seed;
static bool seeded;

/* Where the kernel has no random bytes yet, the clock and the process still
 * make a seed that an outsider would have to guess. */
static void draw_seed(void)
{
    if (getrandom(&process_seed, sizeof(process_seed), GRND_NONBLOCK) !=
        (ssize_t)sizeof(process_seed)) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t parts[] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, (uint64_t)getpid(),
                            (uint64_t)(uintptr_t)&now};
        process_seed = XXH3_64bits(parts, sizeof(parts));
    }
    seeded = true;
}

uint64_t hash_bytes(const void *bytes, size_t size)
{
    if (__builtin_expect(!seeded, 0)) {
        draw_seed();
    }
    return XXH3_64bits_withSeed(bytes, size, process_seed);
}

void hash_seed(uint64_t seed)
{
    process_seed = seed;
    seeded = true;
}

uint64_t hash_shared(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

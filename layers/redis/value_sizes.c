#include "layers/redis/value_sizes.h"

enum {
    PARTS = 16,
    LATELY = 32,      /* values */
    UNSEEN = 64 << 10 /* what a value is taken for where none was seen */
};

void value_sizes_add(struct value_sizes *sizes, size_t bytes)
{
    /* Larger ones count at once, smaller ones by and by. */
    uint64_t came = (uint64_t)bytes * PARTS + 1;
    if (sizes->average == 0) {
        sizes->average = came;
    } else if (came >= sizes->average) {
        sizes->average += (came - sizes->average + 1) / 2;
    } else {
        sizes->average -= (sizes->average - came) / LATELY;
    }
}

unsigned value_sizes_count(const struct value_sizes *sizes, size_t bytes, unsigned least,
                           unsigned most)
{
    uint64_t average = sizes->average != 0 ? sizes->average : (uint64_t)UNSEEN * PARTS;
    uint64_t count = (uint64_t)bytes * PARTS / average;
    return count < least ? least : count > most ? most : (unsigned)count;
}

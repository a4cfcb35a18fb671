#ifndef RELATA_PROTOCOL_BASE_NEAREST_H
#define RELATA_PROTOCOL_BASE_NEAREST_H

#include <stddef.h>

/* "did you mean": the nearest of many names to a misspelt one, by edit distance
 * (with swaps), at most a third of the word's length and at most 3. */
struct nearest {
    const char *word;
    size_t word_size;
    const char *best; /* NULL where nothing is near */
    size_t distance;
};

void nearest_init(struct nearest *nearest, const char *word, size_t size);
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif

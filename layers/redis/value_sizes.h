#ifndef RELATA_LAYERS_REDIS_VALUE_SIZES_H
#define RELATA_LAYERS_REDIS_VALUE_SIZES_H

#include <stddef.h>
#include <stdint.h>

/* How large the values of a resource are, as seen lately: so that those that are asked
 * for at once are bounded in bytes, which a server must keep for who does not take them
 * at once (client-output-buffer-limit). Pure; a zeroed one has seen nothing. */
struct value_sizes {
    uint64_t average; /* of the last ones, with 1/16 parts; 0: none was seen */
};

void value_sizes_add(struct value_sizes *sizes, size_t bytes);

/* How many values have about so many bytes together: from `least` to `most`. */
unsigned value_sizes_count(const struct value_sizes *sizes, size_t bytes, unsigned least,
                           unsigned most);

#endif

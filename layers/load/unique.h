#ifndef RELATA_LAYERS_LOAD_UNIQUE_H
#define RELATA_LAYERS_LOAD_UNIQUE_H

#include <stddef.h>
#include <stdint.h>

/* Two small tables that tell what was seen before: keys that lie in one growing
 * buffer, and pointers. They are made for a known number of entries, filled and
 * dropped. */
struct unique_slot {
    uint32_t position; /* + 1; 0 is free */
    uint32_t size;
    size_t start;
    uint64_t hash;
};

struct unique_keys {
    struct unique_slot *slots;
    size_t mask;
};

/* For at most `most` entries. 0, or -CODE_OVERLOADED. */
int unique_keys_init(struct unique_keys *unique, size_t most);
void unique_keys_release(struct unique_keys *unique);

/* The position that was given with the first equal key; `position` itself where
 * there was none. The key is bytes[start .. start + size); earlier keys are
 * found in the same `bytes`, which may have moved since. */
uint32_t unique_keys_add(struct unique_keys *unique, const uint8_t *bytes, size_t start,
                         size_t size, uint32_t position);

/* The position of a key that lies elsewhere; UINT32_MAX where it was not added. */
uint32_t unique_keys_find(const struct unique_keys *unique, const uint8_t *bytes,
                          const uint8_t *key, size_t size);

struct unique_pointers {
    struct {
        const void *pointer;
        uint32_t position;
    } * slots;
    size_t mask;
};

int unique_pointers_init(struct unique_pointers *unique, size_t most);
void unique_pointers_release(struct unique_pointers *unique);
uint32_t unique_pointers_add(struct unique_pointers *unique, const void *pointer,
                             uint32_t position);

#endif

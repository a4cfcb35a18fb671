#ifndef RELATA_LAYERS_LOAD_POOL_H
#define RELATA_LAYERS_LOAD_POOL_H

#include <stddef.h>
#include <stdint.h>

/* Objects of one size, taken and given back many times a turn. Once all have
 * come back, the pool starts again at its beginning, so that a turn's objects
 * lie side by side, and what exceeds POOL_KEEP_BYTES goes back to the heap.
 * Under AddressSanitizer what was given back is poisoned. */
struct pool_chunk;

enum { POOL_CHUNK_BYTES = 64 * 1024, POOL_KEEP_BYTES = 1024 * 1024 };

struct pool {
    size_t size;               /* of an object, a multiple of 8 */
    struct pool_chunk *chunks; /* oldest first */
    struct pool_chunk *current;
    uint8_t *at;
    uint8_t *end;
    void *free;  /* given back, newest first */
    size_t live; /* taken and not given back */
};

/* At most POOL_CHUNK_BYTES / 4 for an object. */
void pool_init(struct pool *pool, size_t size);

/* Everything must have come back. */
void pool_release(struct pool *pool);

/* An object, not cleared; NULL where there is no memory. */
void *pool_get(struct pool *pool);
void pool_put(struct pool *pool, void *object);

#endif

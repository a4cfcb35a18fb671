#ifndef RELATA_PROTOCOL_BASE_ARENA_H
#define RELATA_PROTOCOL_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

/* Memory that is dropped at once. One per request, one per schema. Errors are
 * by NULL and sticky in `failed`. A zeroed arena is a valid empty one without
 * a limit. Everything is aligned to 8 bytes. */
struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *at;
    uint8_t *end;
    size_t total; /* bytes taken from the heap */
    size_t max;   /* of `total`; 0 is no limit */
    int failed;
};

void arena_init(struct arena *arena, size_t bytes_max);
void arena_release(struct arena *arena);

/* Forgets all content but keeps the first chunk, for use again. */
void arena_reset(struct arena *arena);

/* `size` bytes, not cleared; NULL where memory or the limit does not allow. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zero(struct arena *arena, size_t count, size_t size);

/* A copy; `arena_text` adds a terminating zero. */
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_text(struct arena *arena, const char *text, size_t size);

/* A list that grows by doubling: makes room for one more of `item_size` bytes
 * in `*items` (count items now, capacity in *capacity). 0, or -CODE_OVERLOADED. */
int arena_grow(struct arena *arena, void **items, size_t count, size_t *capacity, size_t item_size);

#endif

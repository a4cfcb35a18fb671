#include "protocol/base/arena.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/code.h"

enum { ARENA_ALIGNMENT = 8, ARENA_FIRST_BYTES = 4096, ARENA_CHUNK_BYTES_MAX = 256 * 1024 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* with this header */
};

_Static_assert(sizeof(struct arena_chunk) % ARENA_ALIGNMENT == 0, "content starts aligned");

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){.max = bytes_max};
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        heap_free(chunk);
        chunk = older;
    }
}

void arena_release(struct arena *arena)
{
    free_chunks(arena->chunks);
    *arena = (struct arena){.max = arena->max};
}

static void open_chunk(struct arena *arena, struct arena_chunk *chunk)
{
    arena->at = (uint8_t *)chunk + sizeof(*chunk);
    arena->end = (uint8_t *)chunk + chunk->size;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    arena->failed = 0;
    if (chunk == NULL) {
        return;
    }
    while (chunk->older != NULL) {
        struct arena_chunk *older = chunk->older;
        heap_free(chunk);
        chunk = older;
    }
    arena->chunks = chunk;
    arena->total = chunk->size;
    open_chunk(arena, chunk);
}

/* Chunks double from 4 KiB, so that a small request takes one and a large one
 * few. What is larger than a chunk gets one of its own. Under a limit the last
 * chunk is as small as need be. */
static size_t chunk_size(const struct arena *arena, size_t needed)
{
    size_t size = arena->chunks != NULL ? arena->chunks->size : ARENA_FIRST_BYTES / 2;
    size = size < ARENA_CHUNK_BYTES_MAX / 2 ? size * 2 : ARENA_CHUNK_BYTES_MAX;
    if (size < needed) {
        size = needed;
    }
    size_t allowed = arena->max > 0 ? arena->max - arena->total : size;
    return size <= allowed ? size : needed;
}

static void *alloc_slow(struct arena *arena, size_t size)
{
    size_t needed;
    if (__builtin_add_overflow(size, sizeof(struct arena_chunk), &needed) ||
        (arena->max > 0 && needed > arena->max - arena->total)) {
        arena->failed = 1;
        return NULL;
    }
    size_t total = chunk_size(arena, needed);
    struct arena_chunk *chunk = heap_alloc(total);
    if (chunk == NULL) {
        arena->failed = 1;
        return NULL;
    }
    chunk->older = arena->chunks;
    chunk->size = total;
    arena->chunks = chunk;
    arena->total += total;
    open_chunk(arena, chunk);
    void *memory = arena->at;
    arena->at += size;
    return memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (arena->failed || size > PTRDIFF_MAX) {
        arena->failed = 1;
        return NULL;
    }
    size = (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    /* Nothing still gets a place of its own, since NULL is failure. */
    if (size == 0) {
        size = ARENA_ALIGNMENT;
    }
    if (size <= (size_t)(arena->end - arena->at)) {
        void *memory = arena->at;
        arena->at += size;
        return memory;
    }
    return alloc_slow(arena, size);
}

void *arena_zero(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        arena->failed = 1;
        return NULL;
    }
    void *memory = arena_alloc(arena, total);
    if (memory != NULL) {
        memset(memory, 0, total);
    }
    return memory;
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
    void *memory = arena_alloc(arena, size);
    if (memory != NULL && size > 0) {
        memcpy(memory, bytes, size);
    }
    return memory;
}

char *arena_text(struct arena *arena, const char *text, size_t size)
{
    if (size == SIZE_MAX) {
        arena->failed = 1;
        return NULL;
    }
    char *copy = arena_alloc(arena, size + 1);
    if (copy != NULL) {
        if (size > 0) {
            memcpy(copy, text, size);
        }
        copy[size] = '\0';
    }
    return copy;
}

int arena_grow(struct arena *arena, void **items, size_t count, size_t *capacity, size_t item_size)
{
    CHECK(count <= *capacity);
    if (count < *capacity) {
        return 0;
    }
    size_t wanted, bytes;
    if (__builtin_mul_overflow(*capacity, (size_t)2, &wanted)) {
        arena->failed = 1;
        return -CODE_OVERLOADED;
    }
    if (wanted < 4) {
        wanted = 4;
    }
    if (__builtin_mul_overflow(wanted, item_size, &bytes)) {
        arena->failed = 1;
        return -CODE_OVERLOADED;
    }
    void *grown = arena_alloc(arena, bytes);
    if (grown == NULL) {
        return -CODE_OVERLOADED;
    }
    if (count > 0) {
        memcpy(grown, *items, count * item_size);
    }
    *items = grown;
    *capacity = wanted;
    return 0;
}

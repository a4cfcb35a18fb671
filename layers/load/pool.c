#include "layers/load/pool.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

struct pool_chunk {
    struct pool_chunk *next;
    uint64_t unused;
    uint8_t objects[POOL_CHUNK_BYTES];
};

/* An object that was given back names the next one in its first bytes, which
 * therefore stay readable when the rest is poisoned. */
struct pool_free {
    void *next;
};

void pool_init(struct pool *pool, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    CHECK(size >= sizeof(struct pool_free) && size <= POOL_CHUNK_BYTES / 4);
    *pool = (struct pool){.size = size};
}

static void free_chunks(struct pool_chunk *chunk)
{
    while (chunk != NULL) {
        struct pool_chunk *next = chunk->next;
        ASAN_UNPOISON_MEMORY_REGION(chunk->objects, sizeof(chunk->objects));
        heap_free(chunk);
        chunk = next;
    }
}

void pool_release(struct pool *pool)
{
    CHECK(pool->live == 0);
    free_chunks(pool->chunks);
    *pool = (struct pool){.size = pool->size};
}

static void open_chunk(struct pool *pool, struct pool_chunk *chunk)
{
    pool->current = chunk;
    pool->at = chunk->objects;
    pool->end = chunk->objects + sizeof(chunk->objects);
    ASAN_POISON_MEMORY_REGION(chunk->objects, sizeof(chunk->objects));
}

static void *get_slow(struct pool *pool)
{
    struct pool_chunk *chunk = pool->current != NULL ? pool->current->next : NULL;
    if (chunk == NULL) {
        chunk = heap_alloc(sizeof(*chunk));
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = NULL;
        *(pool->current != NULL ? &pool->current->next : &pool->chunks) = chunk;
    }
    open_chunk(pool, chunk);
    void *object = pool->at;
    pool->at += pool->size;
    return object;
}

void *pool_get(struct pool *pool)
{
    void *object = pool->free;
    if (object != NULL) {
        pool->free = ((struct pool_free *)object)->next;
    } else if ((size_t)(pool->end - pool->at) >= pool->size) {
        object = pool->at;
        pool->at += pool->size;
    } else {
        object = get_slow(pool);
        if (object == NULL) {
            return NULL;
        }
    }
    ASAN_UNPOISON_MEMORY_REGION(object, pool->size);
    pool->live++;
    return object;
}

/* All are back: begin again at the first chunk. */
static void start_again(struct pool *pool)
{
    pool->free = NULL;
    size_t kept = 0;
    for (struct pool_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
        kept += sizeof(*chunk);
        if (kept + sizeof(*chunk) > POOL_KEEP_BYTES) {
            free_chunks(chunk->next);
            chunk->next = NULL;
        }
    }
    open_chunk(pool, pool->chunks);
}

void pool_put(struct pool *pool, void *object)
{
    CHECK(pool->live > 0);
    ((struct pool_free *)object)->next = pool->free;
    ASAN_POISON_MEMORY_REGION((uint8_t *)object + sizeof(struct pool_free),
                              pool->size - sizeof(struct pool_free));
    pool->free = object;
    if (--pool->live == 0) {
        start_again(pool);
    }
}

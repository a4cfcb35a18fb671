#include "layers/memory/garbage.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

void garbage_init(struct garbage *garbage)
{
    memset(garbage, 0, sizeof(*garbage));
}

void garbage_release(struct garbage *garbage)
{
    struct garbage_chunk *chunk = garbage->first;
    while (chunk != NULL) {
        struct garbage_chunk *next = chunk->next;
        heap_free(chunk);
        chunk = next;
    }
    garbage_init(garbage);
}

bool garbage_reserve(struct garbage *garbage, size_t count)
{
    while (garbage->room < count) {
        struct garbage_chunk *chunk = heap_alloc(sizeof(*chunk));
        if (chunk == NULL) {
            return false;
        }
        if (garbage->last == NULL) {
            chunk->next = NULL;
            garbage->first = chunk;
            garbage->last = chunk;
        } else {
            chunk->next = garbage->last->next;
            garbage->last->next = chunk;
        }
        garbage->room += GARBAGE_CHUNK_ENTRIES;
    }
    return true;
}

void garbage_push(struct garbage *garbage, const struct garbage_entry *entry)
{
    CHECK(garbage->room > 0);
    if (garbage->tail == GARBAGE_CHUNK_ENTRIES) {
        garbage->last = garbage->last->next;
        garbage->tail = 0;
    }
    garbage->last->entries[garbage->tail++] = *entry;
    garbage->room--;
    garbage->count++;
}

struct garbage_entry *garbage_oldest(struct garbage *garbage)
{
    return garbage->count > 0 ? &garbage->first->entries[garbage->head] : NULL;
}

void garbage_pop(struct garbage *garbage)
{
    CHECK(garbage->count > 0);
    garbage->head++;
    garbage->count--;
    if (garbage->count == 0) {
        /* Empty: begins anew with one chunk. */
        struct garbage_chunk *chunk = garbage->first->next;
        while (chunk != NULL) {
            struct garbage_chunk *next = chunk->next;
            heap_free(chunk);
            chunk = next;
        }
        garbage->first->next = NULL;
        garbage->last = garbage->first;
        garbage->head = 0;
        garbage->tail = 0;
        garbage->room = GARBAGE_CHUNK_ENTRIES;
        return;
    }
    if (garbage->head == GARBAGE_CHUNK_ENTRIES) {
        struct garbage_chunk *done = garbage->first;
        garbage->first = done->next;
        garbage->head = 0;
        heap_free(done);
    }
}

#include "layers/load/unique.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

/* A power of two with at least half of it free. */
static size_t slots_for(size_t most)
{
    size_t slots = 8;
    while (slots < most * 2) {
        slots *= 2;
    }
    return slots;
}

int unique_keys_init(struct unique_keys *unique, size_t most)
{
    size_t slots = slots_for(most);
    unique->mask = slots - 1;
    unique->slots = heap_zero(slots, sizeof *unique->slots);
    return unique->slots == NULL ? -CODE_OVERLOADED : 0;
}

void unique_keys_release(struct unique_keys *unique)
{
    heap_free(unique->slots);
    unique->slots = NULL;
}

uint32_t unique_keys_add(struct unique_keys *unique, const uint8_t *bytes, size_t start,
                         size_t size, uint32_t position)
{
    CHECK(size <= UINT32_MAX);
    uint64_t hash = hash_bytes(bytes + start, size);
    size_t at = hash & unique->mask;
    for (;; at = (at + 1) & unique->mask) {
        struct unique_slot *slot = &unique->slots[at];
        if (slot->position == 0) {
            *slot = (struct unique_slot){
                .position = position + 1, .size = (uint32_t)size, .start = start, .hash = hash};
            return position;
        }
        if (slot->hash == hash && slot->size == size &&
            memcmp(bytes + slot->start, bytes + start, size) == 0) {
            return slot->position - 1;
        }
    }
}

uint32_t unique_keys_find(const struct unique_keys *unique, const uint8_t *bytes,
                          const uint8_t *key, size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    for (size_t at = hash & unique->mask;; at = (at + 1) & unique->mask) {
        const struct unique_slot *slot = &unique->slots[at];
        if (slot->position == 0) {
            return UINT32_MAX;
        }
        if (slot->hash == hash && slot->size == size &&
            memcmp(bytes + slot->start, key, size) == 0) {
            return slot->position - 1;
        }
    }
}

int unique_pointers_init(struct unique_pointers *unique, size_t most)
{
    size_t slots = slots_for(most);
    unique->mask = slots - 1;
    unique->slots = heap_zero(slots, sizeof *unique->slots);
    return unique->slots == NULL ? -CODE_OVERLOADED : 0;
}

void unique_pointers_release(struct unique_pointers *unique)
{
    heap_free(unique->slots);
    unique->slots = NULL;
}

/* Records are 8 bytes apart at least: a multiplication spreads them. */
static size_t spread(const void *pointer)
{
    return (size_t)(((uint64_t)(uintptr_t)pointer * UINT64_C(0x9E3779B97F4A7C15)) >> 20);
}

uint32_t unique_pointers_add(struct unique_pointers *unique, const void *pointer, uint32_t position)
{
    size_t at = spread(pointer) & unique->mask;
    while (unique->slots[at].pointer != NULL) {
        if (unique->slots[at].pointer == pointer) {
            return unique->slots[at].position;
        }
        at = (at + 1) & unique->mask;
    }
    unique->slots[at].pointer = pointer;
    unique->slots[at].position = position;
    return position;
}

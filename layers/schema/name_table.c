#include "layers/schema/name_table.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/name.h"

static inline uint64_t load_bytes(const char *at, size_t size)
{
    uint64_t word = 0;
    memcpy(&word, at, size);
    return word;
}

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 32);
}

/* Eight bytes at a time, the last eight overlapping those before. */
static uint32_t hash_name(const char *name, size_t size)
{
    uint64_t hash = size;
    if (size < 4) {
        uint64_t ends = (uint64_t)(uint8_t)name[0] << 16 | (uint64_t)(uint8_t)name[size - 1] << 8;
        return (uint32_t)mix(hash, ends | (uint8_t)name[size / 2]);
    }
    if (size < 8) {
        return (uint32_t)mix(hash, load_bytes(name, 4) << 32 | load_bytes(name + size - 4, 4));
    }
    for (size_t i = 0; i + 8 < size; i += 8) {
        hash = mix(hash, load_bytes(name + i, 8));
    }
    return (uint32_t)mix(hash, load_bytes(name + size - 8, 8));
}

int name_table_init(struct name_table *table, struct arena *arena, size_t count)
{
    CHECK(count <= UINT16_MAX);
    uint32_t size = 4;
    while (size < count * 2) {
        size *= 2;
    }
    table->mask = size - 1;
    table->slots = arena_zero(arena, size, sizeof(*table->slots));
    return table->slots != NULL ? 0 : -CODE_OVERLOADED;
}

/* The slot of the name, or the empty one where it would be. */
static struct name_slot *find_slot(const struct name_table *table, const char *name, size_t size,
                                   uint32_t hash)
{
    for (uint32_t i = hash;; i++) {
        struct name_slot *slot = &table->slots[i & table->mask];
        if (slot->name == NULL ||
            (slot->hash == hash && slot->size == size && memcmp(slot->name, name, size) == 0)) {
            return slot;
        }
    }
}

void name_table_put(struct name_table *table, const char *name, size_t size, uint16_t number)
{
    CHECK(size > 0 && size <= NAME_MAX_BYTES);
    uint32_t hash = hash_name(name, size);
    struct name_slot *slot = find_slot(table, name, size, hash);
    if (slot->name == NULL) {
        *slot =
            (struct name_slot){.name = name, .hash = hash, .number = number, .size = (uint8_t)size};
    }
}

int name_table_find(const struct name_table *table, const char *name, size_t size)
{
    if (table->slots == NULL || size > NAME_MAX_BYTES || size == 0) {
        return NAME_TABLE_NONE;
    }
    const struct name_slot *slot = find_slot(table, name, size, hash_name(name, size));
    return slot->name != NULL ? (int)slot->number : NAME_TABLE_NONE;
}

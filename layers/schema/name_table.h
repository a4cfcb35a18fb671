#ifndef RELATA_LAYERS_SCHEMA_NAME_TABLE_H
#define RELATA_LAYERS_SCHEMA_NAME_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"

/* Names to small numbers, by open addressing; at most half full. What is
 * looked up comes from outside, what is in it does not, so its hash needs no
 * seed: no word from outside can make a chain longer. It lives in an arena. */
struct name_slot {
    const char *name; /* NULL: empty */
    uint32_t hash;
    uint16_t number;
    uint8_t size;
};

struct name_table {
    struct name_slot *slots;
    uint32_t mask;
};

enum { NAME_TABLE_NONE = -1 };

/* Room for `count` names. 0, or -CODE_OVERLOADED. */
int name_table_init(struct name_table *table, struct arena *arena, size_t count);

/* The name is kept by reference; its first number stays where it is there. */
void name_table_put(struct name_table *table, const char *name, size_t size, uint16_t number);

/* The number, or NAME_TABLE_NONE. A table without slots has no names. */
int name_table_find(const struct name_table *table, const char *name, size_t size);

#endif

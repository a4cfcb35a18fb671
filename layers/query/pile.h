#ifndef RELATA_LAYERS_QUERY_PILE_H
#define RELATA_LAYERS_QUERY_PILE_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"

/* Items in an arena that grow in number without ever being copied at length: a
 * first chunk that doubles while it is small, then chunk after chunk of one
 * size. So adding one item costs about the same with ten and with millions.
 * Emptied, it keeps its room. */
struct pile {
    struct arena *arena;
    uint8_t **chunks;
    size_t chunk_count, chunk_capacity; /* all but the first are whole */
    size_t first_capacity;              /* items of the first chunk */
    size_t count;
    size_t item_size;
};

enum { PILE_CHUNK_BITS = 12, PILE_CHUNK_ITEMS = 1 << PILE_CHUNK_BITS };

void pile_init(struct pile *pile, size_t item_size, struct arena *arena);

/* Makes room for `count` items in all; a pile that is not empty is left as it
 * is where the room is there. 0, or -CODE_OVERLOADED. */
int pile_reserve(struct pile *pile, size_t count);

/* For pile_push. Room for one more item. */
int pile_grow(struct pile *pile);

/* The place of an item; runs that do not cross a chunk lie side by side. */
static inline void *pile_at(const struct pile *pile, size_t at)
{
    return pile->chunks[at >> PILE_CHUNK_BITS] + (at & (PILE_CHUNK_ITEMS - 1)) * pile->item_size;
}

static inline size_t pile_capacity(const struct pile *pile)
{
    return pile->chunk_count > 1 ? pile->chunk_count << PILE_CHUNK_BITS : pile->first_capacity;
}

/* The place of a new last item; NULL where the arena lacks memory. */
static inline void *pile_push(struct pile *pile)
{
    if (pile->count == pile_capacity(pile) && pile_grow(pile) != 0) {
        return NULL;
    }
    return pile_at(pile, pile->count++);
}

#endif

#include "layers/query/pile.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* A power of two, so that doubling ends at a whole chunk. */
enum { FIRST_ITEMS = 8 };

void pile_init(struct pile *pile, size_t item_size, struct arena *arena)
{
    *pile = (struct pile){.arena = arena, .item_size = item_size};
}

static int add_chunk(struct pile *pile, size_t items)
{
    void *chunks = pile->chunks;
    uint8_t *chunk = arena_alloc(pile->arena, items * pile->item_size);
    if (chunk == NULL || arena_grow(pile->arena, &chunks, pile->chunk_count, &pile->chunk_capacity,
                                    sizeof(*pile->chunks)) != 0) {
        return -CODE_OVERLOADED;
    }
    pile->chunks = chunks;
    pile->chunks[pile->chunk_count++] = chunk;
    return 0;
}

int pile_grow(struct pile *pile)
{
    CHECK(pile->count == pile_capacity(pile));
    if (pile->chunk_count == 0) {
        int code = add_chunk(pile, FIRST_ITEMS);
        pile->first_capacity = code == 0 ? FIRST_ITEMS : 0;
        return code;
    }
    if (pile->count >= PILE_CHUNK_ITEMS) {
        return add_chunk(pile, PILE_CHUNK_ITEMS);
    }
    void *first = pile->chunks[0];
    int code = arena_grow(pile->arena, &first, pile->count, &pile->first_capacity, pile->item_size);
    pile->chunks[0] = first;
    return code;
}

int pile_reserve(struct pile *pile, size_t count)
{
    if (count <= pile_capacity(pile)) {
        return 0;
    }
    CHECK(pile->count == 0);
    /* The first is made anew; a small pile has small room. */
    size_t first = FIRST_ITEMS;
    while (first < count && first < PILE_CHUNK_ITEMS) {
        first *= 2;
    }
    if (pile->first_capacity < first) {
        pile->chunk_count = 0;
        if (add_chunk(pile, first) != 0) {
            return -CODE_OVERLOADED;
        }
        pile->first_capacity = first;
    }
    while (pile->chunk_count << PILE_CHUNK_BITS < count) {
        if (add_chunk(pile, PILE_CHUNK_ITEMS) != 0) {
            return -CODE_OVERLOADED;
        }
    }
    return 0;
}

#include "layers/memory/memory.h"

#include "layers/memory/table.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum { RECLAIMED_PER_TURN = 4096 };

struct memory *memory_create_sized(struct world *world, uint64_t reserve_bytes)
{
    struct memory *memory = heap_zero(1, sizeof(*memory));
    if (memory == NULL) {
        return NULL;
    }
    if (pages_init(&memory->pages, reserve_bytes) != 0) {
        heap_free(memory);
        return NULL;
    }
    slab_init(&memory->nodes, &memory->pages);
    list_init(&memory->busy);
    memory->world = world;
    return memory;
}

struct memory *memory_create(struct world *world)
{
    return memory_create_sized(world, PAGES_RESERVED_MAX);
}

void memory_free(struct memory *memory)
{
    if (memory == NULL) {
        return;
    }
    CHECK(memory->tables == 0);
    slab_release(&memory->nodes);
    pages_release(&memory->pages);
    heap_free(memory);
}

struct store *memory_table_create(struct memory *memory, const struct resource *resource)
{
    struct table *table = heap_zero(1, sizeof(*table));
    if (table == NULL) {
        return NULL;
    }
    if (table_init(table, memory, resource) != 0) {
        heap_free(table);
        return NULL;
    }
    memory->tables++;
    return &table->store;
}

void memory_table_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    struct table *table = table_of(store);
    table->memory->tables--;
    table_release(table);
    heap_free(table);
}

bool memory_turn(struct memory *memory)
{
    unsigned budget = RECLAIMED_PER_TURN;
    bool more = false;
    struct list turn;
    list_init(&turn);
    list_move_all(&turn, &memory->busy);
    while (!list_empty(&turn)) {
        struct table *table = CONTAINER_OF(turn.next, struct table, busy);
        /* Behind the others, so that a busy one does not starve them. */
        list_remove(&table->busy);
        list_append(&memory->busy, &table->busy);
        if (budget == 0) {
            more = true;
        } else {
            more = table_reclaim(table, &budget) || more;
        }
    }
    return pages_trim(&memory->pages) || more;
}

uint64_t memory_bytes(const struct memory *memory)
{
    return pages_bytes(&memory->pages);
}

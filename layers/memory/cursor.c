/* Cursors over a table, as of the moment at which they were opened.
 *
 * While a cursor is open the dead stay where they were, in their slots and in
 * the ordered indexes, and what is born or dies is marked with the clock. So a
 * cursor walks on through what it finds and asks of each record only whether it
 * was alive at its moment; nobody has to tell cursors of writes. */
#include "layers/memory/cursor.h"

#include <assert.h>

#include "layers/memory/order_range.h"
#include "protocol/base/check.h"

struct cursor_state {
    uint64_t opened; /* the clock then */
    bool ranged;
    bool ended;
    union {
        struct slab_walk walk;
        struct order_range range;
    };
};

static_assert(sizeof(struct cursor_state) <= sizeof(((struct store_cursor *)0)->state),
              "the state fits");

static struct cursor_state *state_of(struct store_cursor *cursor)
{
    return (struct cursor_state *)(void *)cursor->state;
}

uint64_t table_oldest_cursor(const struct table *table)
{
    if (list_empty(&table->cursors)) {
        return UINT64_MAX;
    }
    return state_of(CONTAINER_OF(table->cursors.next, struct store_cursor, link))->opened;
}

static struct cursor_state *open_cursor(struct table *table, struct store_cursor *cursor)
{
    struct cursor_state *state = state_of(cursor);
    cursor->store = &table->store;
    list_append(&table->cursors, &cursor->link);
    state->opened = table->memory->clock;
    state->ended = false;
    return state;
}

int table_scan(struct store *store, struct store_cursor *cursor)
{
    struct cursor_state *state = open_cursor(table_of(store), cursor);
    state->ranged = false;
    state->walk = (struct slab_walk){0};
    return 0;
}

/* A call that began on an earlier schema names that schema's index: the same
 * one, found by its fields. */
static struct order_index *order_of(struct store *store, const struct range *range)
{
    const struct resource *resource = store->resource;
    size_t number =
        ((uintptr_t)range->index - (uintptr_t)resource->indexes) / sizeof(*range->index);
    if (number >= resource->index_count) {
        const struct index *same = resource_index(resource, &range->index->fields);
        CHECK(same != NULL);
        number = (size_t)(same - resource->indexes);
    }
    return &table_of(store)->orders[number];
}

int table_range(struct store *store, const struct range *range, struct store_cursor *cursor)
{
    struct cursor_state *state = open_cursor(table_of(store), cursor);
    state->ranged = true;
    order_range_init(&state->range, order_of(store, range), range);
    return 0;
}

void table_close(struct store_cursor *cursor)
{
    struct table *table = table_of(cursor->store);
    state_of(cursor)->ended = true;
    list_remove(&cursor->link);
    if (list_empty(&table->cursors)) {
        marks_clear(&table->marks);
    }
}

static bool alive_at(const struct table *table, const struct record *record, uint64_t moment)
{
    bool live = (record->flags & RECORD_LIVE) != 0;
    if ((record->flags & RECORD_MARKED) == 0) {
        return live;
    }
    const struct mark *mark = marks_find(&table->marks, table_reference(table, record));
    return mark == NULL ? live : mark->birth <= moment && moment < mark->death;
}

static const struct record *step(struct table *table, struct cursor_state *state)
{
    if (!state->ranged) {
        return slab_next(&table->records, &state->walk);
    }
    uint32_t reference = order_range_next(&state->range);
    return reference != 0 ? table_record(table, reference) : NULL;
}

const struct record *table_next(struct store_cursor *cursor)
{
    struct table *table = table_of(cursor->store);
    struct cursor_state *state = state_of(cursor);
    if (state->ended) {
        return NULL;
    }
    const struct record *record;
    while ((record = step(table, state)) != NULL) {
        if (alive_at(table, record, state->opened)) {
            return record;
        }
    }
    /* It holds nothing back any more, closed or not. */
    table_close(cursor);
    return NULL;
}

uint64_t table_estimate(struct store *store, const struct range *range, uint64_t most)
{
    struct order_range place;
    struct range forward = *range;
    forward.reverse = false;
    order_range_init(&place, order_of(store, range), &forward);
    return order_range_count(&place, most);
}

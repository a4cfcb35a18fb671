#include "clients/c/deadlines.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

enum { DEADLINES_FIRST = 16 };

void deadlines_release(struct deadlines *deadlines)
{
    heap_free(deadlines->items);
    *deadlines = (struct deadlines){0};
}

static void put(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
    deadlines->items[place] = deadline;
    deadline->place = place;
}

static void rise(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
    while (place > 0) {
        struct deadline *above = deadlines->items[(place - 1) / 2];
        if (above->at_ms <= deadline->at_ms) {
            break;
        }
        put(deadlines, place, above);
        place = (place - 1) / 2;
    }
    put(deadlines, place, deadline);
}

static void sink(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
    for (;;) {
        size_t below = place * 2 + 1;
        if (below + 1 < deadlines->count &&
            deadlines->items[below + 1]->at_ms < deadlines->items[below]->at_ms) {
            below++;
        }
        if (below >= deadlines->count || deadline->at_ms <= deadlines->items[below]->at_ms) {
            break;
        }
        put(deadlines, place, deadlines->items[below]);
        place = below;
    }
    put(deadlines, place, deadline);
}

int deadlines_add(struct deadlines *deadlines, struct deadline *deadline)
{
    if (deadlines->count == deadlines->capacity) {
        size_t capacity = deadlines->capacity > 0 ? deadlines->capacity * 2 : DEADLINES_FIRST;
        struct deadline **items =
            heap_resize(deadlines->items, capacity * sizeof(struct deadline *));
        if (items == NULL) {
            return -(int)CODE_OVERLOADED;
        }
        deadlines->items = items;
        deadlines->capacity = capacity;
    }
    deadlines->count++;
    rise(deadlines, deadlines->count - 1, deadline);
    return 0;
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline)
{
    size_t place = deadline->place;
    CHECK(place < deadlines->count && deadlines->items[place] == deadline);
    struct deadline *last = deadlines->items[--deadlines->count];
    if (last == deadline) {
        return;
    }
    if (last->at_ms < deadline->at_ms) {
        rise(deadlines, place, last);
    } else {
        sink(deadlines, place, last);
    }
}

struct deadline *deadlines_first(const struct deadlines *deadlines)
{
    return deadlines->count > 0 ? deadlines->items[0] : NULL;
}

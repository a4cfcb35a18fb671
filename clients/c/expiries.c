#include "clients/c/expiries.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

enum { EXPIRIES_FIRST = 16 };

void expiries_release(struct expiries *expiries)
{
    heap_free(expiries->items);
    *expiries = (struct expiries){0};
}

static void put(struct expiries *expiries, size_t place, struct expiry *expiry)
{
    expiries->items[place] = expiry;
    expiry->place = place;
}

static void rise(struct expiries *expiries, size_t place, struct expiry *expiry)
{
    while (place > 0) {
        struct expiry *above = expiries->items[(place - 1) / 2];
        if (above->at_ms <= expiry->at_ms) {
            break;
        }
        put(expiries, place, above);
        place = (place - 1) / 2;
    }
    put(expiries, place, expiry);
}

static void sink(struct expiries *expiries, size_t place, struct expiry *expiry)
{
    for (;;) {
        size_t below = place * 2 + 1;
        if (below + 1 < expiries->count &&
            expiries->items[below + 1]->at_ms < expiries->items[below]->at_ms) {
            below++;
        }
        if (below >= expiries->count || expiry->at_ms <= expiries->items[below]->at_ms) {
            break;
        }
        put(expiries, place, expiries->items[below]);
        place = below;
    }
    put(expiries, place, expiry);
}

int expiries_add(struct expiries *expiries, struct expiry *expiry)
{
    if (expiries->count == expiries->capacity) {
        size_t capacity = expiries->capacity > 0 ? expiries->capacity * 2 : EXPIRIES_FIRST;
        struct expiry **items = heap_resize(expiries->items, capacity * sizeof(struct expiry *));
        if (items == NULL) {
            return -(int)CODE_OVERLOADED;
        }
        expiries->items = items;
        expiries->capacity = capacity;
    }
    expiries->count++;
    rise(expiries, expiries->count - 1, expiry);
    return 0;
}

void expiries_remove(struct expiries *expiries, struct expiry *expiry)
{
    size_t place = expiry->place;
    CHECK(place < expiries->count && expiries->items[place] == expiry);
    struct expiry *last = expiries->items[--expiries->count];
    if (last == expiry) {
        return;
    }
    if (last->at_ms < expiry->at_ms) {
        rise(expiries, place, last);
    } else {
        sink(expiries, place, last);
    }
}

struct expiry *expiries_first(const struct expiries *expiries)
{
    return expiries->count > 0 ? expiries->items[0] : NULL;
}

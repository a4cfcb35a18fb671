#include "layers/load/deadlines.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

enum { CAPACITY_FIRST = 64, CAPACITY_KEEP = 4096 };

void deadlines_release(struct deadlines *deadlines)
{
    CHECK(deadlines->count == 0);
    heap_free(deadlines->heap);
    *deadlines = (struct deadlines){0};
}

static int make_room(struct deadlines *deadlines)
{
    if (deadlines->count < deadlines->capacity) {
        return 0;
    }
    size_t capacity = deadlines->capacity > 0 ? deadlines->capacity * 2 : CAPACITY_FIRST;
    struct deadline_entry *heap =
        heap_resize(deadlines->heap, capacity * sizeof(struct deadline_entry));
    if (heap == NULL) {
        return -CODE_OVERLOADED;
    }
    deadlines->heap = heap;
    deadlines->capacity = capacity;
    return 0;
}

/* Places count from 1, so that the parent of `place` is place / 2. */
static void put(struct deadlines *deadlines, size_t place, struct deadline_entry entry)
{
    deadlines->heap[place - 1] = entry;
    entry.deadline->place = place;
}

static void rise(struct deadlines *deadlines, size_t place, struct deadline_entry entry)
{
    while (place > 1 && deadlines->heap[place / 2 - 1].at_us > entry.at_us) {
        put(deadlines, place, deadlines->heap[place / 2 - 1]);
        place /= 2;
    }
    put(deadlines, place, entry);
}

static void sink(struct deadlines *deadlines, size_t place, struct deadline_entry entry)
{
    const struct deadline_entry *heap = deadlines->heap;
    while (place * 2 <= deadlines->count) {
        size_t child = place * 2;
        if (child < deadlines->count && heap[child].at_us < heap[child - 1].at_us) {
            child++;
        }
        if (heap[child - 1].at_us >= entry.at_us) {
            break;
        }
        put(deadlines, place, heap[child - 1]);
        place = child;
    }
    put(deadlines, place, entry);
}

int deadlines_add(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_us)
{
    CHECK(deadline->place == 0);
    int status = make_room(deadlines);
    if (status != 0) {
        return status;
    }
    deadlines->count++;
    rise(deadlines, deadlines->count, (struct deadline_entry){at_us, deadline});
    return 0;
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline)
{
    size_t place = deadline->place;
    if (place == 0) {
        return;
    }
    CHECK(place <= deadlines->count && deadlines->heap[place - 1].deadline == deadline);
    deadline->place = 0;
    struct deadline_entry last = deadlines->heap[--deadlines->count];
    if (place <= deadlines->count) {
        if (place > 1 && deadlines->heap[place / 2 - 1].at_us > last.at_us) {
            rise(deadlines, place, last);
        } else {
            sink(deadlines, place, last);
        }
    }
    if (deadlines->count == 0 && deadlines->capacity > CAPACITY_KEEP) {
        deadlines_release(deadlines);
    }
}

struct deadline *deadlines_first(const struct deadlines *deadlines, uint64_t *at_us)
{
    if (deadlines->count == 0) {
        return NULL;
    }
    *at_us = deadlines->heap[0].at_us;
    return deadlines->heap[0].deadline;
}

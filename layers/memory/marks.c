#include "layers/memory/marks.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum { CAPACITY_MIN = 64, CAPACITY_MAX = 1 << 30 };

void marks_init(struct marks *marks)
{
    memset(marks, 0, sizeof(*marks));
}

void marks_release(struct marks *marks)
{
    heap_free(marks->slots);
    marks_init(marks);
}

void marks_clear(struct marks *marks)
{
    if (marks->capacity > 0) {
        marks_release(marks);
    }
}

static uint32_t home_of(const struct marks *marks, uint32_t reference)
{
    return (uint32_t)((reference * 0x9e3779b97f4a7c15ULL) >> 32) & (marks->capacity - 1);
}

/* The slot of the reference, or the empty one where it would be. */
static struct mark *slot_of(const struct marks *marks, uint32_t reference)
{
    uint32_t at = home_of(marks, reference);
    while (marks->slots[at].reference != 0 && marks->slots[at].reference != reference) {
        at = (at + 1) & (marks->capacity - 1);
    }
    return &marks->slots[at];
}

bool marks_reserve(struct marks *marks, uint32_t count, uint64_t oldest)
{
    /* At most three quarters full. */
    if ((uint64_t)marks->count + count <= marks->capacity / 4 * 3ULL) {
        return true;
    }
    uint64_t need = (uint64_t)marks->count + count;
    uint64_t capacity = marks->capacity > 0 ? marks->capacity : CAPACITY_MIN;
    while (need > capacity / 2) {
        capacity *= 2;
    }
    if (capacity > CAPACITY_MAX) {
        return false;
    }
    struct marks next = {.capacity = (uint32_t)capacity};
    next.slots = heap_zero(next.capacity, sizeof(*next.slots));
    if (next.slots == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < marks->capacity; i++) {
        const struct mark *mark = &marks->slots[i];
        bool known = mark->reference != 0 && (mark->birth > oldest || mark->death != UINT64_MAX);
        if (known) {
            *slot_of(&next, mark->reference) = *mark;
            next.count++;
        }
    }
    heap_free(marks->slots);
    *marks = next;
    return true;
}

static struct mark *mark_of(struct marks *marks, uint32_t reference)
{
    CHECK(marks->count < marks->capacity);
    struct mark *mark = slot_of(marks, reference);
    if (mark->reference == 0) {
        *mark = (struct mark){.reference = reference, .death = UINT64_MAX};
        marks->count++;
    }
    return mark;
}

void marks_born(struct marks *marks, uint32_t reference, uint64_t stamp)
{
    struct mark *mark = mark_of(marks, reference);
    mark->birth = stamp;
    mark->death = UINT64_MAX;
}

void marks_died(struct marks *marks, uint32_t reference, uint64_t stamp)
{
    mark_of(marks, reference)->death = stamp;
}

void marks_revived(struct marks *marks, uint32_t reference)
{
    if (marks->count > 0) {
        struct mark *mark = slot_of(marks, reference);
        if (mark->reference != 0) {
            mark->death = UINT64_MAX;
        }
    }
}

const struct mark *marks_find(const struct marks *marks, uint32_t reference)
{
    if (marks->count == 0) {
        return NULL;
    }
    const struct mark *mark = slot_of(marks, reference);
    return mark->reference != 0 ? mark : NULL;
}

void marks_forget(struct marks *marks, uint32_t reference)
{
    if (marks->count == 0) {
        return;
    }
    struct mark *mark = slot_of(marks, reference);
    if (mark->reference == 0) {
        return;
    }
    marks->count--;
    /* What comes behind moves back over the hole where it may. */
    uint32_t mask = marks->capacity - 1;
    uint32_t hole = (uint32_t)(mark - marks->slots);
    uint32_t at = (hole + 1) & mask;
    for (; marks->slots[at].reference != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(marks, marks->slots[at].reference);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            marks->slots[hole] = marks->slots[at];
            hole = at;
        }
    }
    marks->slots[hole].reference = 0;
}

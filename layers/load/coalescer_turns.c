/* Which keys the next batch takes: all, the oldest, or by turns of the origins. */
#include <stdlib.h>

#include "layers/load/coalescer_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

static uint64_t slot_bytes(const struct slot *slot)
{
    const struct waiter *source = slot_source(slot);
    return (uint64_t)slot->size + (source != NULL ? source->source_size : 0);
}

struct selection {
    struct coalescer *coalescer;
    struct group *group;
    size_t count_max;
    uint64_t bytes_max;
    size_t count;
    uint64_t bytes;
};

/* False where the batch is full. A key too large for any batch goes alone. */
static bool select_slot(struct selection *selection, struct slot *slot)
{
    uint64_t bytes = slot_bytes(slot);
    if (selection->count == selection->count_max ||
        (selection->count > 0 && bytes > selection->bytes_max - selection->bytes)) {
        return false;
    }
    selection->bytes =
        bytes < selection->bytes_max ? selection->bytes + bytes : selection->bytes_max;
    selection->coalescer->selected[selection->count++] = slot;
    slot_take(selection->coalescer, slot);
    return true;
}

/* Nobody competes where all that is pending makes one batch, or is one origin's. */
static bool alone(const struct selection *selection)
{
    struct group *group = selection->group;
    if (group->turns.next == group->turns.prev) {
        return true;
    }
    if (group->pending_count > selection->count_max) {
        return false;
    }
    uint64_t bytes = 0;
    LIST_EACH(node, &group->pending)
    {
        bytes += slot_bytes(CONTAINER_OF(node, struct slot, pending));
    }
    return bytes <= selection->bytes_max;
}

static void select_in_order(struct selection *selection)
{
    struct list *pending = &selection->group->pending;
    while (!list_empty(pending) &&
           select_slot(selection, CONTAINER_OF(pending->next, struct slot, pending))) {
    }
}

static int by_number(const void *left, const void *right)
{
    uint64_t a = (*(struct slot *const *)left)->number;
    uint64_t b = (*(struct slot *const *)right)->number;
    return a < b ? -1 : a > b ? 1 : 0;
}

/* Origins take turns of COALESCER_QUANTUM keys; a turn that the batch cuts
 * short goes on in the next. */
static void select_in_turns(struct selection *selection)
{
    struct list *turns = &selection->group->turns;
    while (!list_empty(turns)) {
        struct queue *queue = CONTAINER_OF(turns->next, struct queue, turn);
        struct waiter *waiter = CONTAINER_OF(queue->waiters.next, struct waiter, turn);
        if (!select_slot(selection, waiter->slot)) {
            break;
        }
        if (--queue->left == 0 && !list_empty(&queue->waiters)) {
            queue->left = COALESCER_QUANTUM;
            list_remove(&queue->turn);
            list_append(turns, &queue->turn);
        }
    }
    qsort(selection->coalescer->selected, selection->count, sizeof(struct slot *), by_number);
}

static int selected_reserve(struct coalescer *coalescer, size_t count)
{
    if (count <= coalescer->selected_size) {
        return 0;
    }
    struct slot **selected = heap_resize(coalescer->selected, count * sizeof(struct slot *));
    if (selected == NULL) {
        return -CODE_OVERLOADED;
    }
    coalescer->selected = selected;
    coalescer->selected_size = count;
    return 0;
}

int group_select(struct coalescer *coalescer, struct group *group,
                 const struct batch_limits *limits, size_t *count)
{
    struct selection selection = {
        .coalescer = coalescer,
        .group = group,
        .count_max = limits->max_size > 0 ? limits->max_size : 1,
        .bytes_max = limits->max_bytes > 0 ? limits->max_bytes : 1,
    };
    if (selection.count_max > group->pending_count) {
        selection.count_max = group->pending_count;
    }
    int status = selected_reserve(coalescer, selection.count_max);
    if (status != 0) {
        return status;
    }
    if (alone(&selection)) {
        select_in_order(&selection);
    } else {
        select_in_turns(&selection);
    }
    *count = selection.count;
    return 0;
}

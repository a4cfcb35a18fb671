#include "layers/redis/absents.h"

#include <string.h>

#include "layers/key_node.h"
#include "protocol/base/heap.h"

struct absent {
    struct key_node key;
    struct list link;
    uint64_t due_us;
    uint8_t name[];
};

void absents_init(struct absents *absents)
{
    hash_table_init(&absents->by_name);
    list_init(&absents->in_order);
}

static struct absent *first_of(const struct absents *absents)
{
    return list_empty(&absents->in_order)
               ? NULL
               : CONTAINER_OF(absents->in_order.next, struct absent, link);
}

static void take_out(struct absents *absents, struct absent *absent)
{
    list_remove(&absent->link);
    hash_table_remove(&absents->by_name, &absent->key.node);
}

void absents_clear(struct absents *absents)
{
    struct absent *absent;
    while ((absent = first_of(absents)) != NULL) {
        take_out(absents, absent);
        heap_free(absent);
    }
}

void absents_release(struct absents *absents)
{
    absents_clear(absents);
    hash_table_release(&absents->by_name);
}

bool absents_add(struct absents *absents, const uint8_t *name, size_t size, uint64_t due_us)
{
    if (key_node_find(&absents->by_name, name, size) != NULL) {
        return true;
    }
    struct absent *absent =
        absents->by_name.count < ABSENTS_MAX ? heap_alloc(sizeof *absent + size) : NULL;
    if (absent == NULL) {
        return false;
    }
    *absent = (struct absent){.key = {.bytes = absent->name, .size = size}, .due_us = due_us};
    memcpy(absent->name, name, size);
    key_node_insert(&absents->by_name, &absent->key);
    list_append(&absents->in_order, &absent->link);
    return true;
}

bool absents_take(struct absents *absents, uint64_t now_us,
                  void (*with)(void *context, const uint8_t *name, size_t size), void *context)
{
    struct absent *absent = first_of(absents);
    if (absent == NULL || absent->due_us > now_us) {
        return false;
    }
    take_out(absents, absent);
    with(context, absent->name, absent->key.size);
    heap_free(absent);
    return true;
}

#ifndef RELATA_PROTOCOL_BASE_LIST_H
#define RELATA_PROTOCOL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* An intrusive doubly linked list. A node that is in no list points to itself,
 * so removing twice does no harm. */
struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_append(struct list *list, struct list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves all of `from` to the end of `to`. */
static inline void list_move_all(struct list *to, struct list *from)
{
    if (!list_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

#define LIST_EACH(node, head) \
    for (struct list *node = (head)->next; node != (head); node = node->next)

#endif

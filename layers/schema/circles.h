#ifndef RELATA_LAYERS_SCHEMA_CIRCLES_H
#define RELATA_LAYERS_SCHEMA_CIRCLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"

/* Finds circles in a graph of numbered nodes, in time linear in nodes and
 * edges, without recursion. */
struct circles {
    struct arena *arena;
    uint32_t count;
    struct circle_node *nodes;
    struct circle_edge *edges;
    size_t edge_count;
    size_t edge_capacity;
    uint32_t at; /* where circles_next goes on; the peeling is done before */
    int peeled;
};

enum { CIRCLE_SHOWN_MAX = 6 };

/* 0, or -CODE_OVERLOADED; the arena is then failed. */
int circles_init(struct circles *circles, struct arena *arena, uint32_t count);

/* `from` leads to `to`. No more edges once circles_next was called. */
void circles_add(struct circles *circles, uint32_t from, uint32_t to);

/* Marks besides the `count` nodes that are marked all that lead to them, over
 * however many others. */
void circles_spread(struct circles *circles, bool *marked);

/* The next circle that shares no node with those before: the first `most` of
 * its nodes, in the order in which each leads to the next, and how many there
 * are in all; 0 when there are no more. Where two circles share nodes, only one
 * of them is told. */
size_t circles_next(struct circles *circles, uint32_t *members, size_t most);

#endif

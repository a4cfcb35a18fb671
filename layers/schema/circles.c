#include "layers/schema/circles.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"

enum { NO_EDGE = UINT32_MAX };

/* Each edge stands in two chains: what its `from` leads to, and what leads to
 * its `to`. */
struct circle_edge {
    uint32_t from, to;
    uint32_t next_out, next_in;
};

struct circle_node {
    uint32_t first_out, first_in;
    uint32_t out_left; /* edges to nodes that are not peeled off */
    uint32_t walk;     /* the walk that was here, from 1; 0 for none */
};

int circles_init(struct circles *circles, struct arena *arena, uint32_t count)
{
    *circles = (struct circles){.arena = arena, .count = count};
    circles->nodes = arena_zero(arena, count, sizeof(*circles->nodes));
    if (circles->nodes == NULL) {
        return -CODE_OVERLOADED;
    }
    for (uint32_t i = 0; i < count; i++) {
        circles->nodes[i].first_out = NO_EDGE;
        circles->nodes[i].first_in = NO_EDGE;
    }
    return 0;
}

void circles_add(struct circles *circles, uint32_t from, uint32_t to)
{
    CHECK(from < circles->count && to < circles->count && !circles->peeled);
    void *edges = circles->edges;
    if (arena_grow(circles->arena, &edges, circles->edge_count, &circles->edge_capacity,
                   sizeof(*circles->edges)) != 0) {
        return;
    }
    circles->edges = edges;
    uint32_t edge = (uint32_t)circles->edge_count++;
    struct circle_node *source = &circles->nodes[from], *target = &circles->nodes[to];
    circles->edges[edge] = (struct circle_edge){
        .from = from, .to = to, .next_out = source->first_out, .next_in = target->first_in};
    source->first_out = edge;
    target->first_in = edge;
    source->out_left++;
}

void circles_spread(struct circles *circles, bool *marked)
{
    uint32_t *stack = arena_alloc(circles->arena, (size_t)circles->count * sizeof(*stack));
    size_t depth = 0;
    for (uint32_t i = 0; stack != NULL && i < circles->count; i++) {
        if (marked[i]) {
            stack[depth++] = i;
        }
    }
    while (depth > 0) {
        uint32_t edge = circles->nodes[stack[--depth]].first_in;
        for (; edge != NO_EDGE; edge = circles->edges[edge].next_in) {
            uint32_t from = circles->edges[edge].from;
            if (!marked[from]) {
                marked[from] = true;
                stack[depth++] = from;
            }
        }
    }
}

/* Takes away what leads nowhere, again and again: what is left leads into a
 * circle, each node by an edge to another that is left. */
static void peel(struct circles *circles)
{
    circles->peeled = 1;
    uint32_t *stack = arena_alloc(circles->arena, (size_t)circles->count * sizeof(*stack));
    size_t depth = 0;
    if (stack == NULL) {
        circles->at = circles->count;
        return;
    }
    for (uint32_t i = 0; i < circles->count; i++) {
        if (circles->nodes[i].out_left == 0) {
            stack[depth++] = i;
        }
    }
    while (depth > 0) {
        uint32_t edge = circles->nodes[stack[--depth]].first_in;
        for (; edge != NO_EDGE; edge = circles->edges[edge].next_in) {
            uint32_t from = circles->edges[edge].from;
            if (--circles->nodes[from].out_left == 0) {
                stack[depth++] = from;
            }
        }
    }
}

/* The first node that this one leads to and that is left. */
static uint32_t follow(const struct circles *circles, uint32_t node)
{
    uint32_t edge = circles->nodes[node].first_out;
    while (circles->nodes[circles->edges[edge].to].out_left == 0) {
        edge = circles->edges[edge].next_out;
    }
    return circles->edges[edge].to;
}

size_t circles_next(struct circles *circles, uint32_t *members, size_t most)
{
    if (!circles->peeled) {
        peel(circles);
    }
    for (; circles->at < circles->count; circles->at++) {
        uint32_t walk = circles->at + 1;
        uint32_t node = circles->at;
        if (circles->nodes[node].out_left == 0) {
            continue;
        }
        while (circles->nodes[node].walk == 0) {
            circles->nodes[node].walk = walk;
            node = follow(circles, node);
        }
        if (circles->nodes[node].walk != walk) {
            continue; /* it ends in a circle, or a way to one, that was told */
        }
        size_t count = 0;
        uint32_t start = node;
        do {
            if (count < most) {
                members[count] = node;
            }
            count++;
            node = follow(circles, node);
        } while (node != start);
        circles->at++;
        return count;
    }
    return 0;
}

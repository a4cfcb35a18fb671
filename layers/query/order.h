#ifndef RELATA_LAYERS_QUERY_ORDER_H
#define RELATA_LAYERS_QUERY_ORDER_H

#include "layers/query/expr.h"

/* A sort: fields or to-one paths, each with its direction and the place of
 * nils. Behind the last one the primary key always decides. */
struct order_item {
    const struct expr *path; /* NULL for a plain field */
    uint16_t field;          /* of the resource, where path is NULL */
    const char *name;        /* of the field that the path ends in, or of the plain one */
    bool descending;
    bool nils_first;
};

struct order {
    uint16_t count;
    struct order_item items[];
};

enum { ORDER_ITEMS_MAX = 32 };

/* `name` (or `+name`) ascending nils last, `-name` descending nils first,
 * `++name` ascending nils first, `--name` descending nils last; several
 * separated by commas. 0, or -CODE_INVALID_FILTER with the position. */
int order_compile_text(const struct expr_compiler *compiler, const char *text, size_t size,
                       const struct order **out, struct error *error);
/* As callers send it: a string, or a list of such items (nil or an empty list
 * gives NULL). */
int order_compile(const struct expr_compiler *compiler, struct reader *in, const struct order **out,
                  struct error *error);

/* `first`, then `second`; either may be NULL. NULL where both are or memory
 * lacks (then the arena is failed). */
const struct order *order_merge(struct arena *arena, const struct order *first,
                                const struct order *second);

/* Compares two values under one item, nils in their place. <0, 0, >0. */
int order_compare_values(const struct order_item *item, const struct value *a,
                         const struct value *b);

#endif

#ifndef RELATA_LAYERS_QUERY_EXPR_PRINT_H
#define RELATA_LAYERS_QUERY_EXPR_PRINT_H

#include "layers/query/expr_ast.h"
#include "protocol/base/buffer.h"

/* The tree as text, for the modules expr_*.c alone. What has no literal becomes
 * a param, $p1, $p2 ... in the order in which they stand. */
struct printer {
    struct buffer *text;   /* or NULL */
    struct buffer *params; /* name and value, pair after pair; or NULL */
    uint32_t param_count;  /* may go on from an earlier print */
    size_t text_max;       /* longer texts are params; 0: any length is written */
};

/* A whole condition, and one that stands as a part of an `and`. */
void print_condition(struct printer *printer, const struct node *node);
void print_part(struct printer *printer, const struct node *node);

#endif

#ifndef RELATA_LAYERS_QUERY_EXPR_KNOWN_H
#define RELATA_LAYERS_QUERY_EXPR_KNOWN_H

#include "layers/query/eval.h"
#include "layers/query/expr_ast.h"

/* What an expression says once the caller is known, for the modules expr_*.c
 * alone: what only the caller decides (facts, tenant, now()) is worked out and
 * becomes a literal; the rest stays, and is shared with the old tree. */
struct knowing {
    struct eval eval;
    struct expr_scope scope;
    struct limits limits;
    struct expr_compiler compiler;
    struct context context;
    struct error error;
};

/* Nodes are made in the eval's arena. It must not be moved afterwards. */
void knowing_init(struct knowing *knowing, const struct eval *eval,
                  const struct resource *resource);

/* The node that says the same without the caller, with a text that reads back
 * so. NULL where there is none: the context has failed with -CODE_INVALID_FILTER
 * where no literal can say it, else with -CODE_OVERLOADED. */
struct node *know_node(struct knowing *knowing, struct node *node);
struct node *know_condition(struct knowing *knowing, struct node *node);

/* The parts of a node, in order (of exists its filter); NULL behind the last. */
const struct node *node_part(const struct node *node, size_t i);

#endif

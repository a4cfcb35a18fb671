#include "layers/query/expr_ast.h"

size_t expr_parts(const struct expr *expr)
{
    return expr->root->kind == NODE_AND ? expr->root->list.count : 1;
}

#include "layers/query/expr_known.h"

#include "layers/query/expr_code.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* ---- Looking through the tree ---- */

const struct node *node_part(const struct node *node, size_t i)
{
    switch (node->kind) {
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FIELD:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
        return NULL;
    case NODE_AND:
    case NODE_OR:
        return i < node->list.count ? node->list.items[i] : NULL;
    case NODE_IN:
        return i == 0 ? node->in.left : i == 1 ? node->in.right : NULL;
    case NODE_EXISTS:
        return i == 0 && node->exists.filter != NULL ? node->exists.filter->root : NULL;
    case NODE_CAST:
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
    case NODE_CALL:
    case NODE_COMPARE:
    case NODE_NOT:
        break;
    }
    return i < 2 ? node->operand[i] : NULL;
}

static bool is_of_caller(const struct node *node)
{
    return node->kind == NODE_FACT || node->kind == NODE_TENANT || node->kind == NODE_NOW;
}

static bool asks_caller(const struct node *node)
{
    bool asks = is_of_caller(node);
    const struct node *part;
    for (size_t i = 0; !asks && (part = node_part(node, i)) != NULL; i++) {
        asks = asks_caller(part);
    }
    return asks;
}

/* Whether no record decides what it yields. */
static bool is_constant(const struct node *node)
{
    bool constant = node->kind != NODE_FIELD && node->kind != NODE_EXISTS;
    const struct node *part;
    for (size_t i = 0; constant && (part = node_part(node, i)) != NULL; i++) {
        constant = is_constant(part);
    }
    return constant;
}

void knowing_init(struct knowing *knowing, const struct eval *eval, const struct resource *resource)
{
    *knowing = (struct knowing){
        .eval = *eval,
        .scope = {.resource = resource},
        .limits = {.filter_nodes = UINT64_MAX, .filter_levels = UINT64_MAX},
        .error = ERROR_INIT,
    };
    knowing->compiler = (struct expr_compiler){
        .arena = eval->arena, .limits = &knowing->limits, .scope = &knowing->scope};
    knowing->eval.error = &knowing->error;
    context_init(&knowing->context, &knowing->compiler, &knowing->error);
}

/* ---- Working out ---- */

/* Says that this part cannot be said. */
static struct node *unsayable(struct knowing *knowing, const struct node *node)
{
    return context_fail(&knowing->context, node->at, "it has no literal");
}

static struct node *copy_node(struct knowing *knowing, const struct node *node)
{
    struct node *copy = arena_copy(knowing->context.arena, node, sizeof(*node));
    if (copy == NULL) {
        context_no_memory(&knowing->context);
    }
    return copy;
}

static struct node *build_value(struct knowing *knowing, const struct value *value, size_t at)
{
    struct node *literal = build_literal(&knowing->context, value, at);
    if (literal != NULL && value->kind == VALUE_ANY) {
        struct reader in = reader_of(value->bytes, value->size);
        literal->array = reader_peek(&in) == TOKEN_ARRAY;
    }
    return literal;
}

static struct node *build_truth(struct knowing *knowing, bool truth, size_t at)
{
    const struct value value = {.kind = VALUE_BOOLEAN, .boolean = truth};
    return build_value(knowing, &value, at);
}

static struct node *build_no_value(struct knowing *knowing, size_t at)
{
    const struct value nil = value_nil();
    return build_value(knowing, &nil, at);
}

/* The value of what no record decides: by the same code that judges records. */
static struct node *work_out(struct knowing *knowing, struct node *node)
{
    static const struct expr_records none = {.record = NULL};
    struct context *context = &knowing->context;
    struct value value;
    uint64_t budget = UINT64_MAX;
    /* What could be of any type would yield a truth. */
    struct node *root =
        node->type == NULL ? build_cast(context, node, type_of_kind(TYPE_ANY)) : node;
    const struct expr *expr = expr_generate(context, root);
    struct expr_run *run =
        expr != NULL ? expr_run_create(context->arena, expr, &knowing->eval) : NULL;
    if (run == NULL) {
        context_no_memory(context);
        return NULL;
    }
    expr_run_start(run, &none);
    if (expr_run_go(run, &budget, &value) != RUN_DONE) {
        expr_run_stop(run);
        context_no_memory(context);
        return NULL;
    }
    return build_value(knowing, &value, node->at);
}

/* ---- The nodes whose parts must still fit each other ---- */

static struct node *know_operands(struct knowing *knowing, const struct node *node)
{
    struct node *copy = copy_node(knowing, node);
    for (size_t i = 0; copy != NULL && i < 2 && node->operand[i] != NULL; i++) {
        copy->operand[i] = know_node(knowing, node->operand[i]);
        copy = copy->operand[i] != NULL ? copy : NULL;
    }
    return copy;
}

/* A literal is read as the other side's type, and so must be one. What is cast
 * only because of its other side would not be beside a literal. */
static struct node *know_compare(struct knowing *knowing, const struct node *node)
{
    struct node *copy = know_operands(knowing, node);
    for (size_t i = 0; copy != NULL && i < 2; i++) {
        struct node *other = copy->operand[1 - i];
        if (!is_constant(node->operand[i]) || !asks_caller(node->operand[i])) {
            continue;
        }
        if (other->type == NULL) {
            return build_no_value(knowing, node->at); /* worked out to nil, as this is then */
        }
        if (other->kind == NODE_CAST ||
            !literal_adapt(&knowing->context, copy->operand[i], other->type)) {
            return unsayable(knowing, node);
        }
    }
    return copy;
}

/* Text in arithmetic makes nil; its literal would be refused. */
static struct node *know_arithmetic(struct knowing *knowing, const struct node *node)
{
    struct node *copy = know_operands(knowing, node);
    for (size_t i = 0; copy != NULL && i < 2 && node->operand[i] != NULL; i++) {
        struct node *operand = copy->operand[i];
        bool number = operand->kind != NODE_LITERAL || operand->value.kind == VALUE_INTEGER ||
                      operand->value.kind == VALUE_FLOAT;
        if (!number) {
            return build_no_value(knowing, node->at);
        }
    }
    return copy;
}

/* The items of a list that is the caller's, as the left side's type reads them.
 * A list or map within cannot be said beside a type. */
static bool write_items(struct buffer *out, const struct value *list, const struct type *type)
{
    struct reader in = reader_of(list->bytes, list->size);
    uint32_t count = reader_next(&in).count;
    bool any = type == NULL || type->kind == TYPE_ANY;
    write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        char room[TYPE_UUID_TEXT];
        struct value item;
        CHECK(reader_value(&in, &bytes, &size));
        if (any) {
            buffer_append(out, bytes, size);
            continue;
        }
        struct reader one = reader_of(bytes, size);
        struct token token = reader_next(&one);
        if (!value_from_token(&token, &item)) {
            return false;
        }
        value_cast(&item, type, room);
        value_write(out, &item);
    }
    return true;
}

static struct node *know_in_list(struct knowing *knowing, const struct node *node,
                                 struct node *left, const struct node *list)
{
    struct context *context = &knowing->context;
    struct buffer items = BUFFER_INIT;
    struct node *said = NULL;
    if (!list->array) {
        return build_no_value(knowing, node->at);
    }
    if (!write_items(&items, &list->value, left->type) || node->in.right->type != NULL) {
        unsayable(knowing, node);
    } else if (items.failed) {
        context_no_memory(context);
    } else {
        struct reader in = reader_of(items.bytes, items.size);
        said = build_in(context, left, build_literal_from(context, &in, node->at), node->at);
    }
    buffer_release(&items);
    return said;
}

static struct node *know_in(struct knowing *knowing, const struct node *node)
{
    struct node *left = know_node(knowing, node->in.left);
    struct node *right = node->in.right != NULL ? know_node(knowing, node->in.right) : NULL;
    if (knowing->context.status != 0) {
        return NULL;
    }
    if (right != NULL && is_constant(right)) {
        return know_in_list(knowing, node, left, right);
    }
    struct node *copy = copy_node(knowing, node);
    if (copy != NULL) {
        copy->in.left = left;
        copy->in.right = right;
    }
    return copy;
}

static struct node *know_exists(struct knowing *knowing, const struct node *node)
{
    struct arena *arena = knowing->context.arena;
    struct node *copy = copy_node(knowing, node);
    struct node *root = copy != NULL ? copy_node(knowing, node->exists.filter->root) : NULL;
    root = root != NULL ? know_condition(knowing, root) : NULL;
    if (root == NULL) {
        return NULL;
    }
    struct expr *filter = arena_copy(arena, node->exists.filter, sizeof(*filter));
    if (filter == NULL) {
        context_no_memory(&knowing->context);
        return NULL;
    }
    filter->root = root;
    copy->exists.filter = filter;
    return copy;
}

/* A condition: what is worked out to no boolean is nil there. */
struct node *know_condition(struct knowing *knowing, struct node *node)
{
    struct node *said = know_node(knowing, node);
    bool odd = said != NULL && said->kind == NODE_LITERAL && said->value.kind != VALUE_BOOLEAN &&
               said->value.kind != VALUE_NIL;
    return odd ? build_no_value(knowing, node->at) : said;
}

/* What is worked out decides the whole, or says nothing. */
static struct node *know_logic(struct knowing *knowing, const struct node *node)
{
    struct context *context = &knowing->context;
    bool decides = node->kind == NODE_OR;
    struct node *logic = build_node(context, node->kind, node->type, node->at);
    for (size_t i = 0; logic != NULL && i < node->list.count; i++) {
        struct node *part = know_condition(knowing, node->list.items[i]);
        if (part == NULL) {
            return NULL;
        }
        if (part->kind != NODE_LITERAL || part->value.kind == VALUE_NIL) {
            logic_add(context, logic, part);
        } else if (part->value.boolean == decides) {
            return part;
        }
    }
    if (logic == NULL || context->status != 0) {
        return NULL;
    }
    if (logic->list.count == 0) {
        return build_truth(knowing, !decides, node->at);
    }
    return logic->list.count == 1 ? logic->list.items[0] : logic;
}

struct node *know_node(struct knowing *knowing, struct node *node)
{
    if (knowing->context.status != 0) {
        return NULL;
    }
    if (!asks_caller(node)) {
        return node;
    }
    if (is_constant(node)) {
        return work_out(knowing, node);
    }
    switch (node->kind) {
    case NODE_COMPARE:
        return know_compare(knowing, node);
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
        return know_arithmetic(knowing, node);
    case NODE_CAST:
    case NODE_CALL:
    case NODE_NOT:
        return know_operands(knowing, node);
    case NODE_IN:
        return know_in(knowing, node);
    case NODE_EXISTS:
        return know_exists(knowing, node);
    case NODE_AND:
    case NODE_OR:
        return know_logic(knowing, node);
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FIELD:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
        break;
    }
    CHECK(!"it has parts");
    return NULL;
}

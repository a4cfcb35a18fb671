#include "layers/query/expr_ast.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"

/* ---- The context: limits and errors ---- */

void context_init(struct context *context, const struct expr_compiler *compiler,
                  struct error *error)
{
    *context = (struct context){
        .compiler = compiler,
        .arena = compiler->arena,
        .scope = compiler->scope,
        .error = error,
    };
}

/* Code points before a byte of the text; where the text is cut within one,
 * that one does not count. */
static size_t position_of(const struct context *context, size_t at)
{
    size_t end = at < context->size ? at : context->size;
    size_t count = 0;
    for (size_t i = 0; i < end; i++) {
        count += ((uint8_t)context->text[i] & 0xc0) != 0x80;
    }
    return count;
}

struct node *context_fail(struct context *context, size_t at, const char *format, ...)
{
    if (context->status != 0) {
        return NULL;
    }
    char message[ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    struct error *error = context->error;
    if (context->text != NULL) {
        size_t position = position_of(context, at);
        context->status =
            error_set(error, CODE_INVALID_FILTER, "%s (at position %zu)", message, position);
        if (error != NULL) {
            error->position = (int64_t)position;
        }
    } else if (context->path_size > 0) {
        context->status =
            error_set(error, CODE_INVALID_FILTER, "%s (at %s)", message, context->path);
        error_path(error, context->path);
    } else {
        context->status = error_set(error, CODE_INVALID_FILTER, "%s", message);
    }
    return NULL;
}

void context_limit(struct context *context, const char *limit, uint64_t allowed, uint64_t came)
{
    if (context->status == 0) {
        context->status = error_limit_hit(context->error, CODE_TOO_LARGE, limit, allowed, came);
    }
}

void context_no_memory(struct context *context)
{
    if (context->status == 0) {
        context->status = error_set(context->error, CODE_OVERLOADED, "no memory for the filter");
    }
}

uint64_t context_levels_max(const struct context *context)
{
    uint64_t allowed = context->compiler->limits->filter_levels;
    return allowed < EXPR_LEVELS_MAX ? allowed : EXPR_LEVELS_MAX;
}

bool context_enter(struct context *context)
{
    if (++context->levels > context_levels_max(context)) {
        context_limit(context, "filter_levels", context_levels_max(context), context->levels);
    }
    return context->status == 0;
}

void context_leave(struct context *context)
{
    context->levels--;
}

/* ---- Nodes ---- */

struct node *build_node(struct context *context, enum node_kind kind, const struct type *type,
                        size_t at)
{
    if (context->status != 0) {
        return NULL;
    }
    uint64_t allowed = context->compiler->limits->filter_nodes;
    if (++context->nodes > allowed) {
        context_limit(context, "filter_nodes", allowed, context->nodes);
        return NULL;
    }
    struct node *node = arena_zero(context->arena, 1, sizeof(*node));
    if (node == NULL) {
        context_no_memory(context);
        return NULL;
    }
    node->kind = kind;
    node->type = type;
    node->at = (uint32_t)at;
    node->height = 1;
    return node;
}

void node_over(struct context *context, struct node *node, const struct node *under)
{
    if (under->height >= node->height) {
        node->height = (uint16_t)(under->height + 1);
    }
    if (node->height > context_levels_max(context)) {
        context_limit(context, "filter_levels", context_levels_max(context), node->height);
    }
}

/* A node over one or two others; they may be NULL only where something failed. */
static struct node *build_over(struct context *context, enum node_kind kind,
                               const struct type *type, struct node *first, struct node *second,
                               size_t at)
{
    struct node *node = build_node(context, kind, type, at);
    if (node == NULL) {
        return NULL;
    }
    node->operand[0] = first;
    node->operand[1] = second;
    node_over(context, node, first);
    if (second != NULL) {
        node_over(context, node, second);
    }
    return context->status == 0 ? node : NULL;
}

const char *node_describe(const struct node *node)
{
    if (node->kind == NODE_LIST || node->array) {
        return "a list";
    }
    if (node->type == NULL) {
        return node->kind == NODE_LITERAL ? "nil" : "a fact";
    }
    switch (node->type->kind) {
    case TYPE_INTEGER:
        return "an integer";
    case TYPE_FLOAT:
        return "a float";
    case TYPE_BOOLEAN:
        return "a boolean";
    case TYPE_STRING:
        return "a text";
    case TYPE_BINARY:
        return "a binary";
    case TYPE_DATETIME:
        return "a datetime";
    case TYPE_UUID:
        return "a uuid";
    case TYPE_ENUM:
        return "an enum";
    case TYPE_ANY:
        return "a value of type any";
    case TYPE_COUNT:
        break;
    }
    return "a value";
}

struct node *build_fact(struct context *context, const char *name, size_t size, size_t at)
{
    struct node *node = build_node(context, NODE_FACT, NULL, at);
    if (node == NULL) {
        return NULL;
    }
    node->fact.name = arena_text(context->arena, name, size);
    node->fact.size = size;
    if (node->fact.name == NULL) {
        context_no_memory(context);
        return NULL;
    }
    return node;
}

struct node *build_word(struct context *context, enum node_kind kind, size_t at)
{
    return build_node(context, kind, kind == NODE_NOW ? type_of_kind(TYPE_DATETIME) : NULL, at);
}

struct node *build_cast(struct context *context, struct node *node, const struct type *type)
{
    return node == NULL ? NULL : build_over(context, NODE_CAST, type, node, NULL, node->at);
}

/* ---- Arithmetic ---- */

static bool need_number(struct context *context, const struct node *node, const char *what)
{
    if (node->type == NULL || node->type->kind == TYPE_INTEGER || node->type->kind == TYPE_FLOAT) {
        return true;
    }
    context_fail(context, node->at, "%s needs numbers, got %s", what, node_describe(node));
    return false;
}

static bool refuse_nil_word(struct context *context, const struct node *node, const char *hint)
{
    if (node->nil_word) {
        context_fail(context, node->at, "%s", hint);
    }
    return node->nil_word;
}

struct node *build_negate(struct context *context, struct node *operand, size_t at)
{
    operand = settle(context, operand);
    if (operand == NULL || !need_number(context, operand, "-")) {
        return NULL;
    }
    if (operand->kind == NODE_LITERAL) {
        value_negate(&operand->value);
        operand->at = (uint32_t)at;
        return operand;
    }
    return build_over(context, NODE_NEGATE, operand->type, operand, NULL, at);
}

struct node *build_arithmetic(struct context *context, char op, struct node *left,
                              struct node *right, size_t at)
{
    left = settle(context, left);
    right = settle(context, right);
    const char name[2] = {op, 0};
    if (left == NULL || right == NULL || !need_number(context, left, name) ||
        !need_number(context, right, name) ||
        refuse_nil_word(context, left, "arithmetic with nil is nil") ||
        refuse_nil_word(context, right, "arithmetic with nil is nil")) {
        return NULL;
    }
    bool whole = left->type != NULL && left->type->kind == TYPE_INTEGER && right->type != NULL &&
                 right->type->kind == TYPE_INTEGER;
    struct node *node = build_over(
        context, NODE_ARITHMETIC, type_of_kind(whole ? TYPE_INTEGER : TYPE_FLOAT), left, right, at);
    if (node != NULL) {
        node->op = (uint8_t)op;
    }
    return node;
}

/* ---- Comparisons ---- */

/* Text is read as a moment or a uuid where it meets one, wherever it is from. */
static bool read_as(const struct type *text, const struct type *type)
{
    return text->kind == TYPE_STRING && (type->kind == TYPE_DATETIME || type->kind == TYPE_UUID);
}

/* Makes the two sides of one kind: literals are read as the other side's type
 * now, facts and texts of unknown content when it runs. */
static bool match_sides(struct context *context, struct node **left, struct node **right)
{
    struct node *sides[2] = {*left, *right};
    for (int i = 0; i < 2; i++) {
        struct node *side = sides[i];
        const struct node *other = sides[1 - i];
        if (other->type == NULL) {
            continue;
        }
        if (side->kind == NODE_LITERAL) {
            bool adapts = other->kind != NODE_LITERAL ||
                          (side->type != NULL && read_as(side->type, other->type));
            if (adapts && !literal_adapt(context, side, other->type)) {
                return false;
            }
        } else if (side->type == NULL ||
                   (other->kind != NODE_LITERAL && read_as(side->type, other->type))) {
            sides[i] = build_cast(context, side, other->type);
        }
        if (sides[i] == NULL) {
            return false;
        }
    }
    *left = sides[0];
    *right = sides[1];
    return true;
}

struct node *build_compare(struct context *context, enum comparison op, struct node *left,
                           struct node *right, size_t at)
{
    static const char hint[] = "nothing equals nil: ask is_nil(...)";
    left = settle(context, left);
    right = settle(context, right);
    if (left == NULL || right == NULL || refuse_nil_word(context, left, hint) ||
        refuse_nil_word(context, right, hint) || !match_sides(context, &left, &right)) {
        return NULL;
    }
    if (!types_compare(left->type, right->type)) {
        return context_fail(context, at, "%s and %s do not compare", node_describe(left),
                            node_describe(right));
    }
    bool any = (left->type != NULL && left->type->kind == TYPE_ANY) ||
               (right->type != NULL && right->type->kind == TYPE_ANY);
    if (any && op != COMPARE_EQUAL && op != COMPARE_NOT_EQUAL) {
        return context_fail(context, at, "values of type any have no order, only == and !=");
    }
    struct node *node =
        build_over(context, NODE_COMPARE, type_of_kind(TYPE_BOOLEAN), left, right, at);
    if (node != NULL) {
        node->op = (uint8_t)op;
    }
    return node;
}

/* ---- Functions ---- */

struct function_row {
    const char *name;
    bool condition; /* yields a boolean */
    unsigned texts; /* bit i: argument i must be text */
};

static const struct function_row function_rows[FUNCTION_COUNT] = {
    [FUNCTION_IS_NIL] = {"is_nil", true, 0},
    [FUNCTION_CONTAINS] = {"contains", true, 3},
    [FUNCTION_STARTS_WITH] = {"starts_with", true, 3},
    [FUNCTION_ENDS_WITH] = {"ends_with", true, 3},
    [FUNCTION_LENGTH] = {"length", false, 0},
    [FUNCTION_LOWER] = {"lower", false, 1},
    [FUNCTION_UPPER] = {"upper", false, 1},
};

/* Text, and what is text in records. Facts become text or nil. */
static struct node *need_text(struct context *context, struct node *node, const char *name)
{
    if (node == NULL) {
        return NULL;
    }
    if (node->type == NULL && node->kind != NODE_LITERAL) {
        return build_cast(context, node, type_of_kind(TYPE_STRING));
    }
    enum type_kind kind = node->type != NULL ? node->type->kind : TYPE_STRING;
    if (kind == TYPE_BINARY && node->kind == NODE_LITERAL) {
        return literal_adapt(context, node, type_of_kind(TYPE_STRING)) ? node : NULL;
    }
    if (kind != TYPE_STRING && kind != TYPE_UUID && kind != TYPE_ENUM) {
        return context_fail(context, node->at, "%s needs text, got %s", name, node_describe(node));
    }
    return node;
}

static bool has_length(const struct node *node)
{
    if (node->type == NULL) {
        return true;
    }
    switch (node->type->kind) {
    case TYPE_STRING:
    case TYPE_BINARY:
    case TYPE_UUID:
    case TYPE_ENUM:
    case TYPE_ANY:
        return true;
    case TYPE_INTEGER:
    case TYPE_FLOAT:
    case TYPE_BOOLEAN:
    case TYPE_DATETIME:
    case TYPE_COUNT:
        break;
    }
    return false;
}

static const struct type *function_type(enum function function)
{
    if (function_rows[function].condition) {
        return type_of_kind(TYPE_BOOLEAN);
    }
    return type_of_kind(function == FUNCTION_LENGTH ? TYPE_INTEGER : TYPE_STRING);
}

struct node *build_call(struct context *context, enum function function, struct node *first,
                        struct node *second, size_t at)
{
    const struct function_row *row = &function_rows[function];
    struct node *arguments[2] = {settle(context, first), settle(context, second)};
    for (unsigned i = 0; i < 2 && context->status == 0; i++) {
        if ((row->texts >> i & 1) != 0) {
            arguments[i] = need_text(context, arguments[i], row->name);
        }
    }
    if (context->status != 0 || arguments[0] == NULL) {
        return NULL;
    }
    if (function == FUNCTION_LENGTH && !has_length(arguments[0])) {
        return context_fail(context, arguments[0]->at,
                            "length needs text, a binary or a list, got %s",
                            node_describe(arguments[0]));
    }
    struct node *node =
        build_over(context, NODE_CALL, function_type(function), arguments[0], arguments[1], at);
    if (node != NULL) {
        node->op = (uint8_t)function;
    }
    return node;
}

/* ---- Logic ---- */

bool need_condition(struct context *context, const struct node *node)
{
    if (node == NULL) {
        return false;
    }
    if (node->kind != NODE_LIST && (node->type == NULL || node->type->kind == TYPE_BOOLEAN)) {
        return true;
    }
    context_fail(context, node->at, "expected a condition, got %s", node_describe(node));
    return false;
}

struct node *build_not(struct context *context, struct node *operand, size_t at)
{
    return need_condition(context, operand)
               ? build_over(context, NODE_NOT, type_of_kind(TYPE_BOOLEAN), operand, NULL, at)
               : NULL;
}

void logic_add(struct context *context, struct node *logic, struct node *part)
{
    if (logic == NULL || !need_condition(context, part)) {
        return;
    }
    /* What stands flat in the text stays flat here: `a and b and c` has no
     * depth, and how they are grouped makes no difference. */
    if (part->kind == logic->kind && part->list.count > 0) {
        for (size_t i = 0; i < part->list.count; i++) {
            logic_add(context, logic, part->list.items[i]);
        }
        return;
    }
    void *items = logic->list.items;
    if (arena_grow(context->arena, &items, logic->list.count, &logic->list.capacity,
                   sizeof(struct node *)) != 0) {
        context_no_memory(context);
        return;
    }
    logic->list.items = items;
    logic->list.items[logic->list.count++] = part;
    node_over(context, logic, part);
}

struct node *build_logic(struct context *context, enum node_kind kind, struct node *left,
                         struct node *right, size_t at)
{
    struct node *logic = left;
    if (left == NULL || right == NULL) {
        return NULL;
    }
    if (left->kind != kind) {
        logic = build_node(context, kind, type_of_kind(TYPE_BOOLEAN), at);
        logic_add(context, logic, left);
    }
    logic_add(context, logic, right);
    return context->status == 0 ? logic : NULL;
}

struct node *build_exists(struct context *context, const struct path *path,
                          const struct relationship *relationship, const struct expr *filter,
                          size_t at)
{
    struct node *node = build_node(context, NODE_EXISTS, type_of_kind(TYPE_BOOLEAN), at);
    if (node == NULL) {
        return NULL;
    }
    node->exists.path = *path;
    node->exists.relationship = relationship;
    node->exists.filter = filter;
    if (filter != NULL) {
        node_over(context, node, filter->root);
    }
    return context->status == 0 ? node : NULL;
}

#include "layers/query/expr_ast.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/nearest.h"

/* The map form. Where the parser is stands in the context's path, so that
 * every error can say it. How deep it recurses is bounded by the levels. */

static struct node *parse_conditions(struct context *context, const struct path *path,
                                     struct reader *in);

/* ---- Where we are ---- */

/* Adds a part; answers what to give to leave_part. A path that becomes too long
 * is cut: the error's own room is not larger. */
static size_t enter_part(struct context *context, const char *name, size_t size)
{
    size_t before = context->path_size;
    size_t room = sizeof(context->path) - 1 - before;
    int written = snprintf(context->path + before, room + 1, "%s%.*s", before > 0 ? "." : "",
                           (int)(size < NAME_SHOWN_MAX ? size : NAME_SHOWN_MAX), name);
    size_t added = written > 0 ? (size_t)written : 0;
    context->path_size += added < room ? added : room;
    return before;
}

static size_t enter_index(struct context *context, uint32_t index)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u", index);
    return enter_part(context, text, (size_t)size);
}

static void leave_part(struct context *context, size_t before)
{
    context->path_size = before;
    context->path[before] = '\0';
}

static struct node *logic_node(struct context *context, enum node_kind kind)
{
    return build_node(context, kind, type_of_kind(TYPE_BOOLEAN), 0);
}

/* A logic of one part is that part. */
static struct node *simplest(struct node *logic)
{
    return logic != NULL && logic->list.count == 1 ? logic->list.items[0] : logic;
}

static bool need_kind(struct context *context, struct reader *in, enum token_kind kind,
                      const char *expected, uint32_t *count)
{
    struct token token = reader_next(in);
    if (token.kind != kind) {
        context_fail(context, 0, "expected %s, got %s", expected, token_describe(&token));
        return false;
    }
    *count = token.count;
    return true;
}

/* ---- Under a field: operators ---- */

enum operator_kind { OPERATOR_COMPARE, OPERATOR_IN, OPERATOR_IS_NIL, OPERATOR_CALL };

static const struct operator_row {
    const char *name;
    enum operator_kind kind;
    int what; /* enum comparison, enum function */
} operators[] = {
    {"eq", OPERATOR_COMPARE, COMPARE_EQUAL},
    {"not_eq", OPERATOR_COMPARE, COMPARE_NOT_EQUAL},
    {"gt", OPERATOR_COMPARE, COMPARE_GREATER},
    {"gte", OPERATOR_COMPARE, COMPARE_GREATER_EQUAL},
    {"lt", OPERATOR_COMPARE, COMPARE_LESS},
    {"lte", OPERATOR_COMPARE, COMPARE_LESS_EQUAL},
    {"in", OPERATOR_IN, 0},
    {"is_nil", OPERATOR_IS_NIL, 0},
    {"contains", OPERATOR_CALL, FUNCTION_CONTAINS},
    {"starts_with", OPERATOR_CALL, FUNCTION_STARTS_WITH},
    {"ends_with", OPERATOR_CALL, FUNCTION_ENDS_WITH},
};

static const struct operator_row *find_operator(struct context *context, const char *name,
                                                size_t size)
{
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    for (size_t i = 0; i < ARRAY_COUNT(operators); i++) {
        if (strlen(operators[i].name) == size && memcmp(operators[i].name, name, size) == 0) {
            return &operators[i];
        }
        nearest_offer(&nearest, operators[i].name);
    }
    context_fail(context, 0, "there is no operator \"%.*s\"%s%s%s",
                 (int)(size < NAME_SHOWN_MAX ? size : NAME_SHOWN_MAX), name,
                 nearest.best != NULL ? ", did you mean \"" : "",
                 nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "\"?" : "");
    return NULL;
}

static struct node *parse_is_nil(struct context *context, struct node *field, struct reader *in)
{
    struct token token = reader_next(in);
    if (token.kind != TOKEN_BOOLEAN) {
        return context_fail(context, 0, "expected true or false, got %s", token_describe(&token));
    }
    struct node *call = build_call(context, FUNCTION_IS_NIL, field, NULL, 0);
    return token.boolean ? call : build_not(context, call, 0);
}

static struct node *parse_operand(struct context *context, struct reader *in)
{
    if (reader_peek(in) == TOKEN_NIL) {
        return context_fail(context, 0, "nothing equals nil: ask {\"is_nil\": true}");
    }
    return build_literal_from(context, in, 0);
}

static struct node *parse_operator(struct context *context, const struct operator_row *row,
                                   struct node *field, struct reader *in)
{
    if (row->kind == OPERATOR_IS_NIL) {
        return parse_is_nil(context, field, in);
    }
    struct node *operand = parse_operand(context, in);
    switch (row->kind) {
    case OPERATOR_COMPARE:
        if (operand != NULL && operand->array && field != NULL && field->type->kind != TYPE_ANY) {
            return context_fail(context, 0, "a list is asked for with {\"in\": [...]}");
        }
        return build_compare(context, (enum comparison)row->what, field, operand, 0);
    case OPERATOR_IN:
        return build_in(context, field, operand, 0);
    case OPERATOR_CALL:
        return build_call(context, (enum function)row->what, field, operand, 0);
    case OPERATOR_IS_NIL:
        break;
    }
    return NULL;
}

/* `{"gt": 5, "lt": 9}`, or a bare value for eq. */
static struct node *parse_field_value(struct context *context, const struct path *path,
                                      const char *name, size_t name_size, struct reader *in)
{
    if (reader_peek(in) != TOKEN_MAP) {
        return parse_operator(context, &operators[0],
                              build_field(context, path, name, name_size, 0), in);
    }
    struct node *all = logic_node(context, NODE_AND);
    uint32_t count = reader_next(in).count;
    for (uint32_t i = 0; i < count && context->status == 0; i++) {
        size_t size;
        const char *word = reader_name(in, &size);
        if (word == NULL) {
            return context_fail(context, 0, "expected operators by name");
        }
        size_t before = enter_part(context, word, size);
        const struct operator_row *row = find_operator(context, word, size);
        if (row != NULL) {
            /* Each comparison has the field for itself. */
            struct node *field = build_field(context, path, name, name_size, 0);
            logic_add(context, all, parse_operator(context, row, field, in));
        }
        leave_part(context, before);
    }
    return context->status == 0 ? simplest(all) : NULL;
}

/* ---- Under a relationship ---- */

static struct node *parse_related(struct context *context, const struct path *path,
                                  const struct relationship *relationship, struct reader *in)
{
    if (reader_peek(in) != TOKEN_MAP) {
        struct token token = reader_next(in);
        return context_fail(context, 0, "expected a map of conditions on %s, got %s",
                            relationship->destination->name, token_describe(&token));
    }
    if (relationship->to_one) {
        struct path further = *path;
        return path_follow(context, &further, relationship->name, relationship->name_size, 0)
                   ? parse_conditions(context, &further, in)
                   : NULL;
    }
    struct expr_scope scope = {.resource = relationship->destination, .outer = context->scope};
    struct path inside;
    context->scope = &scope;
    path_here(context, &inside);
    const struct node *root = parse_conditions(context, &inside, in);
    const struct expr *filter = root != NULL ? expr_generate(context, root) : NULL;
    context->scope = scope.outer;
    return filter != NULL ? build_exists(context, path, relationship, filter, 0) : NULL;
}

/* ---- Conditions ---- */

static struct node *parse_parts(struct context *context, const struct path *path,
                                enum node_kind kind, struct reader *in)
{
    uint32_t count;
    struct node *logic = logic_node(context, kind);
    if (!need_kind(context, in, TOKEN_ARRAY, "a list of maps", &count)) {
        return NULL;
    }
    for (uint32_t i = 0; i < count && context->status == 0; i++) {
        size_t before = enter_index(context, i);
        logic_add(context, logic, parse_conditions(context, path, in));
        leave_part(context, before);
    }
    return context->status == 0 ? simplest(logic) : NULL;
}

static bool is_word(const char *name, size_t size, const char *word)
{
    return strlen(word) == size && memcmp(name, word, size) == 0;
}

static struct node *parse_condition(struct context *context, const struct path *path,
                                    const char *name, size_t size, struct reader *in)
{
    if (is_word(name, size, "and")) {
        return parse_parts(context, path, NODE_AND, in);
    }
    if (is_word(name, size, "or")) {
        return parse_parts(context, path, NODE_OR, in);
    }
    if (is_word(name, size, "not")) {
        return build_not(context, parse_conditions(context, path, in), 0);
    }
    if (resource_field(path->resource, name, size) != NULL) {
        return parse_field_value(context, path, name, size, in);
    }
    const struct relationship *relationship = path_relationship(context, path, name, size, 0);
    return relationship != NULL ? parse_related(context, path, relationship, in) : NULL;
}

static struct node *parse_conditions(struct context *context, const struct path *path,
                                     struct reader *in)
{
    uint32_t count;
    struct node *all = NULL;
    if (!context_enter(context) ||
        !need_kind(context, in, TOKEN_MAP, "a map of conditions", &count)) {
        return NULL;
    }
    all = logic_node(context, NODE_AND);
    for (uint32_t i = 0; i < count && context->status == 0; i++) {
        size_t size;
        const char *name = reader_name(in, &size);
        if (name == NULL) {
            return context_fail(context, 0, "expected conditions by name");
        }
        size_t before = enter_part(context, name, size);
        logic_add(context, all, parse_condition(context, path, name, size, in));
        leave_part(context, before);
    }
    context_leave(context);
    return context->status == 0 ? simplest(all) : NULL;
}

struct node *parse_map(struct context *context, struct reader *map)
{
    struct path path;
    path_here(context, &path);
    return parse_conditions(context, &path, map);
}

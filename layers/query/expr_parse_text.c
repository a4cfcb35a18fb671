#include "layers/query/expr_lex.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/nearest.h"

/* Precedence climbing over one lexeme of lookahead. How deep it recurses is
 * bounded by the context's levels. */
struct parser {
    struct context *context;
    struct lexer lexer;
    struct lexeme now;
    struct lexeme next;
};

/* How tightly operators bind. */
enum binding { BIND_OR = 1, BIND_AND, BIND_NOT, BIND_COMPARE, BIND_SUM, BIND_PRODUCT, BIND_UNARY };

static struct node *parse_expression(struct parser *parser, int binding);

static void advance(struct parser *parser)
{
    parser->now = parser->next;
    if (parser->now.kind != LEXEME_END && parser->now.kind != LEXEME_BAD) {
        lexer_next(&parser->lexer, &parser->next);
    }
}

static bool at_sign(const struct parser *parser, int sign)
{
    return parser->now.kind == LEXEME_SIGN && parser->now.sign == sign;
}

static struct node *unexpected(struct parser *parser, const char *expected)
{
    const struct lexeme *now = &parser->now;
    if (now->kind == LEXEME_END) {
        return context_fail(parser->context, now->at, "expected %s, the text ends here", expected);
    }
    int shown = (int)(now->size < NAME_SHOWN_MAX ? now->size : NAME_SHOWN_MAX);
    return context_fail(parser->context, now->at, "expected %s, got %s%.*s%s", expected,
                        now->kind == LEXEME_TEXT ? "" : "\"", shown, parser->lexer.text + now->at,
                        now->kind == LEXEME_TEXT ? "" : "\"");
}

static bool take_sign(struct parser *parser, int sign, const char *expected)
{
    if (!at_sign(parser, sign)) {
        unexpected(parser, expected);
        return false;
    }
    advance(parser);
    return true;
}

/* ---- Names ---- */

/* A name behind a dot, or at the start; reserved words are none. */
static bool take_name(struct parser *parser, struct lexeme *out, const char *expected)
{
    *out = parser->now;
    if (out->kind != LEXEME_NAME) {
        unexpected(parser, expected);
        return false;
    }
    advance(parser);
    return true;
}

/* `parent.` as often as it stands there, then names; all but the last are
 * followed. */
static bool parse_path(struct parser *parser, struct path *path, struct lexeme *last)
{
    path_here(parser->context, path);
    while (parser->now.kind == LEXEME_PARENT) {
        if (!path_parent(parser->context, path, parser->now.at)) {
            return false;
        }
        advance(parser);
        if (!take_sign(parser, '.', "\".\" and a field behind parent")) {
            return false;
        }
    }
    if (!take_name(parser, last, "a name")) {
        return false;
    }
    while (at_sign(parser, '.')) {
        if (!path_follow(parser->context, path, last->text, last->text_size, last->at)) {
            return false;
        }
        advance(parser);
        if (!take_name(parser, last, "a name behind the dot")) {
            return false;
        }
    }
    return true;
}

static struct node *parse_field(struct parser *parser)
{
    struct path path;
    struct lexeme last;
    if (!parse_path(parser, &path, &last)) {
        return NULL;
    }
    return build_field(parser->context, &path, last.text, last.text_size, last.at);
}

static struct node *parse_actor(struct parser *parser)
{
    struct lexeme name;
    size_t at = parser->now.at;
    advance(parser);
    if (!take_sign(parser, '.', "\".\" and a fact behind actor")) {
        return NULL;
    }
    /* Facts are named by whoever asks: any word will do. */
    name = parser->now;
    if (name.kind < LEXEME_AND && name.kind != LEXEME_NAME) {
        return unexpected(parser, "a fact's name");
    }
    advance(parser);
    return build_fact(parser->context, name.text, name.text_size, at);
}

/* ---- Functions ---- */

static const struct {
    const char *name;
    enum function function;
    unsigned arguments;
} functions[] = {
    {"is_nil", FUNCTION_IS_NIL, 1},
    {"contains", FUNCTION_CONTAINS, 2},
    {"starts_with", FUNCTION_STARTS_WITH, 2},
    {"ends_with", FUNCTION_ENDS_WITH, 2},
    {"length", FUNCTION_LENGTH, 1},
    {"lower", FUNCTION_LOWER, 1},
    {"upper", FUNCTION_UPPER, 1},
    {"now", FUNCTION_COUNT, 0},
};

static struct node *unknown_function(struct parser *parser, const struct lexeme *name)
{
    struct nearest nearest;
    nearest_init(&nearest, name->text, name->text_size);
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++) {
        nearest_offer(&nearest, functions[i].name);
    }
    nearest_offer(&nearest, "exists");
    return context_fail(
        parser->context, name->at, "there is no function \"%.*s\"%s%s%s", (int)name->text_size,
        name->text, nearest.best != NULL ? ", did you mean \"" : "",
        nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "\"?" : "");
}

/* The arguments up to the closing bracket, which is taken. */
static bool parse_arguments(struct parser *parser, struct node *out[2], const char *name,
                            unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && !take_sign(parser, ',', "\",\" and another argument")) {
            return false;
        }
        out[i] = parse_expression(parser, BIND_OR);
        if (out[i] == NULL) {
            return false;
        }
    }
    if (at_sign(parser, ',')) {
        context_fail(parser->context, parser->now.at, "%s takes %u argument%s", name, count,
                     count == 1 ? "" : "s");
        return false;
    }
    return take_sign(parser, ')', "\")\"");
}

static struct node *parse_call(struct parser *parser)
{
    struct lexeme name = parser->now;
    advance(parser);
    advance(parser);
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++) {
        if (strlen(functions[i].name) != name.text_size ||
            memcmp(functions[i].name, name.text, name.text_size) != 0) {
            continue;
        }
        struct node *arguments[2] = {NULL, NULL};
        if (!parse_arguments(parser, arguments, functions[i].name, functions[i].arguments)) {
            return NULL;
        }
        return functions[i].function == FUNCTION_COUNT
                   ? build_word(parser->context, NODE_NOW, name.at)
                   : build_call(parser->context, functions[i].function, arguments[0], arguments[1],
                                name.at);
    }
    return unknown_function(parser, &name);
}

/* The filter of exists: names mean the related record's fields, and `parent`
 * the record outside. */
static const struct expr *parse_exists_filter(struct parser *parser,
                                              const struct relationship *relationship)
{
    struct context *context = parser->context;
    struct expr_scope scope = {.resource = relationship->destination, .outer = context->scope};
    context->scope = &scope;
    const struct node *root = parse_expression(parser, BIND_OR);
    const struct expr *filter = need_condition(context, root) ? expr_generate(context, root) : NULL;
    context->scope = scope.outer;
    return filter;
}

static struct node *parse_exists(struct parser *parser)
{
    struct context *context = parser->context;
    struct path path;
    struct lexeme last;
    size_t at = parser->now.at;
    advance(parser);
    if (!take_sign(parser, '(', "\"(\" behind exists") || !parse_path(parser, &path, &last)) {
        return NULL;
    }
    const struct relationship *relationship =
        path_relationship(context, &path, last.text, last.text_size, last.at);
    const struct expr *filter = NULL;
    if (relationship == NULL) {
        return NULL;
    }
    if (at_sign(parser, ',')) {
        advance(parser);
        filter = parse_exists_filter(parser, relationship);
        if (filter == NULL) {
            return NULL;
        }
    }
    if (!take_sign(parser, ')', "\")\"")) {
        return NULL;
    }
    return build_exists(context, &path, relationship, filter, at);
}

/* ---- What stands alone ---- */

static struct node *build_integer(struct parser *parser, const struct lexeme *lexeme, bool minus)
{
    struct value value = {.kind = VALUE_INTEGER};
    uint64_t most = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    if (lexeme->natural > most) {
        return context_fail(parser->context, lexeme->at, "integers have at most 64 bits");
    }
    value.integer = minus ? (int64_t)(0 - lexeme->natural) : (int64_t)lexeme->natural;
    return build_literal(parser->context, &value, lexeme->at);
}

static struct node *parse_list(struct parser *parser)
{
    struct node *list = build_list(parser->context, parser->now.at);
    advance(parser);
    while (list != NULL && !at_sign(parser, ']')) {
        if (list->list.count > 0 && !take_sign(parser, ',', "\",\" or \"]\"")) {
            return NULL;
        }
        struct node *item = parse_expression(parser, BIND_SUM);
        if (item == NULL) {
            return NULL;
        }
        list_add(parser->context, list, item);
    }
    if (list != NULL) {
        advance(parser);
    }
    return list;
}

static struct node *parse_brackets(struct parser *parser)
{
    advance(parser);
    struct node *inner = parse_expression(parser, BIND_OR);
    return inner != NULL && take_sign(parser, ')', "\")\"") ? inner : NULL;
}

/* Literals, which are one lexeme. */
static struct node *parse_literal(struct parser *parser)
{
    struct lexeme lexeme = parser->now;
    struct value value = value_nil();
    advance(parser);
    switch (lexeme.kind) {
    case LEXEME_INTEGER:
        return build_integer(parser, &lexeme, false);
    case LEXEME_NIL:
        return build_nil(parser->context, lexeme.at);
    case LEXEME_FLOAT:
        value = (struct value){.kind = VALUE_FLOAT, .real = lexeme.real};
        break;
    case LEXEME_TEXT:
        value = (struct value){.kind = VALUE_TEXT,
                               .size = (uint32_t)lexeme.text_size,
                               .bytes = (const uint8_t *)lexeme.text};
        break;
    default:
        value = (struct value){.kind = VALUE_BOOLEAN, .boolean = lexeme.kind == LEXEME_TRUE};
        break;
    }
    return build_literal(parser->context, &value, lexeme.at);
}

static struct node *parse_primary(struct parser *parser)
{
    struct lexeme now = parser->now;
    switch (now.kind) {
    case LEXEME_INTEGER:
    case LEXEME_FLOAT:
    case LEXEME_TEXT:
    case LEXEME_TRUE:
    case LEXEME_FALSE:
    case LEXEME_NIL:
        return parse_literal(parser);
    case LEXEME_NAME: {
        bool call = parser->next.kind == LEXEME_SIGN && parser->next.sign == '(';
        return call ? parse_call(parser) : parse_field(parser);
    }
    case LEXEME_PARENT:
        return parse_field(parser);
    case LEXEME_ACTOR:
        return parse_actor(parser);
    case LEXEME_EXISTS:
        return parse_exists(parser);
    case LEXEME_TENANT:
        advance(parser);
        return build_word(parser->context, NODE_TENANT, now.at);
    case LEXEME_PARAM:
        advance(parser);
        return build_param(parser->context, now.text, now.text_size, now.at);
    case LEXEME_SIGN:
        if (now.sign == '(') {
            return parse_brackets(parser);
        }
        return now.sign == '[' ? parse_list(parser) : unexpected(parser, "a value");
    default:
        return unexpected(parser, "a value");
    }
}

/* ---- Operators ---- */

static struct node *parse_prefix(struct parser *parser, int binding)
{
    struct lexeme now = parser->now;
    if (now.kind == LEXEME_NOT) {
        if (binding > BIND_NOT) {
            return context_fail(parser->context, now.at,
                                "\"not\" binds less than this op: put it in parentheses");
        }
        advance(parser);
        return build_not(parser->context, parse_expression(parser, BIND_NOT), now.at);
    }
    if (now.kind == LEXEME_SIGN && now.sign == '-') {
        advance(parser);
        /* The smallest integer has no positive counterpart. */
        if (parser->now.kind == LEXEME_INTEGER) {
            struct lexeme number = parser->now;
            advance(parser);
            return build_integer(parser, &number, true);
        }
        return build_negate(parser->context, parse_expression(parser, BIND_UNARY), now.at);
    }
    return parse_primary(parser);
}

static int binding_of_sign(int sign)
{
    switch (sign) {
    case SIGN_EQUAL:
    case SIGN_NOT_EQUAL:
    case SIGN_LESS_EQUAL:
    case SIGN_GREATER_EQUAL:
    case '<':
    case '>':
        return BIND_COMPARE;
    case '+':
    case '-':
        return BIND_SUM;
    case '*':
    case '/':
    case '%':
        return BIND_PRODUCT;
    default:
        return 0;
    }
}

/* The binding of the operator that stands between two values; 0 for none. */
static int binding_of(const struct parser *parser)
{
    switch (parser->now.kind) {
    case LEXEME_OR:
        return BIND_OR;
    case LEXEME_AND:
        return BIND_AND;
    case LEXEME_IN:
        return BIND_COMPARE;
    case LEXEME_NOT:
        return parser->next.kind == LEXEME_IN ? BIND_COMPARE : 0;
    case LEXEME_SIGN:
        return binding_of_sign(parser->now.sign);
    default:
        return 0;
    }
}

static enum comparison comparison_of(int sign)
{
    switch (sign) {
    case SIGN_EQUAL:
        return COMPARE_EQUAL;
    case SIGN_NOT_EQUAL:
        return COMPARE_NOT_EQUAL;
    case SIGN_LESS_EQUAL:
        return COMPARE_LESS_EQUAL;
    case SIGN_GREATER_EQUAL:
        return COMPARE_GREATER_EQUAL;
    default:
        return sign == '<' ? COMPARE_LESS : COMPARE_GREATER;
    }
}

static struct node *parse_infix(struct parser *parser, struct node *left, int binding)
{
    struct context *context = parser->context;
    struct lexeme op = parser->now;
    bool negated = op.kind == LEXEME_NOT;
    advance(parser);
    if (negated) {
        advance(parser);
    }
    struct node *right = parse_expression(parser, binding + 1);
    switch (binding) {
    case BIND_OR:
        return build_logic(context, NODE_OR, left, right, op.at);
    case BIND_AND:
        return build_logic(context, NODE_AND, left, right, op.at);
    case BIND_COMPARE:
        if (negated || op.kind == LEXEME_IN) {
            struct node *in = build_in(context, left, right, op.at);
            return negated ? build_not(context, in, op.at) : in;
        }
        return build_compare(context, comparison_of(op.sign), left, right, op.at);
    default:
        return build_arithmetic(context, (char)op.sign, left, right, op.at);
    }
}

static struct node *parse_expression(struct parser *parser, int binding)
{
    if (!context_enter(parser->context)) {
        return NULL;
    }
    struct node *left = parse_prefix(parser, binding);
    bool compared = false;
    for (int found = binding_of(parser); left != NULL && found >= binding;
         found = binding_of(parser)) {
        if (found == BIND_COMPARE && compared) {
            left = context_fail(parser->context, parser->now.at,
                                "comparisons do not chain: use \"and\" or parentheses");
            break;
        }
        compared = found == BIND_COMPARE;
        left = parse_infix(parser, left, found);
    }
    context_leave(parser->context);
    return left;
}

struct node *parse_text(struct context *context, size_t from, bool path_only)
{
    struct parser parser = {
        .context = context,
        .lexer = {.context = context, .text = context->text, .size = context->size, .at = from},
    };
    lexer_next(&parser.lexer, &parser.next);
    advance(&parser);
    struct node *root = path_only ? parse_field(&parser) : parse_expression(&parser, BIND_OR);
    if (root != NULL && parser.now.kind != LEXEME_END) {
        return unexpected(&parser, path_only ? "the end of the path" : "an operator or the end");
    }
    return root;
}

#include "layers/query/expr_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/writer.h"

/* As the parser binds. */
enum {
    BIND_OR = 1,
    BIND_AND,
    BIND_NOT,
    BIND_COMPARE,
    BIND_SUM,
    BIND_PRODUCT,
    BIND_UNARY,
    BIND_ALL
};

/* Longer lists are params: an item written is a part of the filter. */
enum { LIST_WRITTEN_MAX = 32 };

static void print_node(struct printer *printer, const struct node *node, int binding);

static void put(struct printer *printer, const char *text)
{
    if (printer->text != NULL) {
        buffer_append(printer->text, text, strlen(text));
    }
}

/* ---- Literals ---- */

static void put_param(struct printer *printer, const struct value *value)
{
    char name[16];
    int size = snprintf(name, sizeof(name), "p%" PRIu32, ++printer->param_count);
    put(printer, "$");
    put(printer, name);
    if (printer->params != NULL) {
        write_string(printer->params, name, (size_t)size);
        value_write(printer->params, value);
    }
}

static void put_text(struct printer *printer, const uint8_t *bytes, size_t size)
{
    put(printer, "\"");
    for (size_t i = 0; i < size && printer->text != NULL; i++) {
        uint8_t byte = bytes[i];
        if (byte == '"' || byte == '\\') {
            buffer_byte(printer->text, '\\');
            buffer_byte(printer->text, byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            buffer_printf(printer->text,
                          byte == '\n'   ? "\\n"
                          : byte == '\t' ? "\\t"
                                         : "\\u%04x",
                          byte);
        } else {
            buffer_byte(printer->text, byte);
        }
    }
    put(printer, "\"");
}

static void put_float(struct printer *printer, double real)
{
    char text[40];
    snprintf(text, sizeof(text), "%.17g", real);
    /* 0.1, not 0.10000000000000001, where that reads back the same. */
    for (int digits = 1; digits < 17; digits++) {
        char shorter[40];
        double read;
        snprintf(shorter, sizeof(shorter), "%.*g", digits, real);
        if (sscanf(shorter, "%lf", &read) == 1 && read == real) {
            memcpy(text, shorter, sizeof(text));
            break;
        }
    }
    put(printer, text);
    if (strpbrk(text, ".e") == NULL) {
        put(printer, ".0");
    }
}

/* Whether the text form can say the value here. */
static bool is_writable(const struct printer *printer, const struct value *value, bool typed)
{
    bool text = value->kind == VALUE_TEXT || value->kind == VALUE_BINARY;
    if (text && printer->text_max > 0 && value->size > printer->text_max) {
        return false;
    }
    switch (value->kind) {
    case VALUE_BOOLEAN:
    case VALUE_INTEGER:
    case VALUE_FLOAT:
    case VALUE_TEXT:
        return true;
    case VALUE_BINARY:
        return typed && utf8_valid(value->bytes, value->size);
    case VALUE_DATETIME:
        return typed;
    case VALUE_NIL:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    return false;
}

static void put_value(struct printer *printer, const struct value *value, bool typed)
{
    char text[DATETIME_TEXT_MAX];
    if (!is_writable(printer, value, typed)) {
        put_param(printer, value);
        return;
    }
    switch (value->kind) {
    case VALUE_BOOLEAN:
        put(printer, value->boolean ? "true" : "false");
        return;
    case VALUE_INTEGER:
        if (printer->text != NULL) {
            buffer_printf(printer->text, "%" PRId64, value->integer);
        }
        return;
    case VALUE_FLOAT:
        put_float(printer, value->real);
        return;
    case VALUE_TEXT:
    case VALUE_BINARY:
        put_text(printer, value->bytes, value->size);
        return;
    case VALUE_DATETIME:
        datetime_format(&value->datetime, text);
        put(printer, "\"");
        put(printer, text);
        put(printer, "\"");
        return;
    case VALUE_NIL:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    CHECK(!"not writable");
}

static bool all_writable(const struct printer *printer, const struct item_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (!is_writable(printer, &list->items[i], list->sorted)) {
            return false;
        }
    }
    return list->count <= LIST_WRITTEN_MAX;
}

/* A list as one param, nils back in their place. */
static void put_list_param(struct printer *printer, const struct item_list *list)
{
    char name[16];
    int size = snprintf(name, sizeof(name), "p%" PRIu32, ++printer->param_count);
    put(printer, "$");
    put(printer, name);
    if (printer->params == NULL) {
        return;
    }
    write_string(printer->params, name, (size_t)size);
    write_array(printer->params, list->count + (list->has_nil ? 1 : 0));
    for (uint32_t i = 0; i < list->count; i++) {
        value_write(printer->params, &list->items[i]);
    }
    if (list->has_nil) {
        write_nil(printer->params);
    }
}

static void put_list(struct printer *printer, const struct item_list *list)
{
    if (!all_writable(printer, list)) {
        put_list_param(printer, list);
        return;
    }
    put(printer, "[");
    for (uint32_t i = 0; i < list->count; i++) {
        put(printer, i > 0 ? ", " : "");
        put_value(printer, &list->items[i], list->sorted);
    }
    if (list->has_nil) {
        put(printer, list->count > 0 ? ", nil" : "nil");
    }
    put(printer, "]");
}

/* ---- Names ---- */

static void put_path(struct printer *printer, const struct path *path)
{
    for (unsigned i = 0; i < path->up; i++) {
        put(printer, "parent.");
    }
    for (unsigned i = 0; i < path->hop_count; i++) {
        put(printer, path->hops[i]->name);
        put(printer, ".");
    }
}

/* ---- Operators ---- */

static const char *comparison_text(uint8_t comparison)
{
    static const char *const texts[] = {
        [COMPARE_LESS] = " < ",           [COMPARE_EQUAL] = " == ",
        [COMPARE_GREATER] = " > ",        [COMPARE_LESS_EQUAL] = " <= ",
        [COMPARE_GREATER_EQUAL] = " >= ", [COMPARE_NOT_EQUAL] = " != ",
    };
    return texts[comparison];
}

static const char *function_text(uint8_t function)
{
    static const char *const texts[FUNCTION_COUNT] = {
        [FUNCTION_IS_NIL] = "is_nil",
        [FUNCTION_CONTAINS] = "contains",
        [FUNCTION_STARTS_WITH] = "starts_with",
        [FUNCTION_ENDS_WITH] = "ends_with",
        [FUNCTION_LENGTH] = "length",
        [FUNCTION_LOWER] = "lower",
        [FUNCTION_UPPER] = "upper",
    };
    return texts[function];
}

static void print_call(struct printer *printer, const struct node *node)
{
    put(printer, function_text(node->op));
    put(printer, "(");
    print_node(printer, node->operand[0], BIND_OR);
    if (node->operand[1] != NULL) {
        put(printer, ", ");
        print_node(printer, node->operand[1], BIND_OR);
    }
    put(printer, ")");
}

static void print_exists(struct printer *printer, const struct node *node)
{
    put(printer, "exists(");
    put_path(printer, &node->exists.path);
    put(printer, node->exists.relationship->name);
    if (node->exists.filter != NULL) {
        put(printer, ", ");
        print_node(printer, node->exists.filter->root, BIND_OR);
    }
    put(printer, ")");
}

static void print_logic(struct printer *printer, const struct node *node)
{
    bool and = node->kind == NODE_AND;
    if (node->list.count == 0) {
        put(printer, and? "true" : "false");
    }
    for (size_t i = 0; i < node->list.count; i++) {
        put(printer, i == 0 ? "" : and? " and " : " or ");
        print_node(printer, node->list.items[i], (and? BIND_AND : BIND_OR) + 1);
    }
}

static int binding_of(const struct node *node)
{
    switch (node->kind) {
    case NODE_OR:
        return node->list.count > 0 ? BIND_OR : BIND_ALL;
    case NODE_AND:
        return node->list.count > 0 ? BIND_AND : BIND_ALL;
    case NODE_NOT:
        return BIND_NOT;
    case NODE_COMPARE:
    case NODE_IN:
        return BIND_COMPARE;
    case NODE_ARITHMETIC:
        return node->op == '+' || node->op == '-' ? BIND_SUM : BIND_PRODUCT;
    case NODE_NEGATE:
        return BIND_UNARY;
    case NODE_CAST:
        return binding_of(node->operand[0]);
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FIELD:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
    case NODE_CALL:
    case NODE_EXISTS:
        break;
    }
    return BIND_ALL;
}

static void print_infix(struct printer *printer, const struct node *node)
{
    const char arithmetic[4] = {' ', (char)node->op, ' ', 0};
    int binding = binding_of(node);
    bool compares = node->kind == NODE_COMPARE;
    print_node(printer, node->operand[0], compares ? binding + 1 : binding);
    put(printer, compares ? comparison_text(node->op) : arithmetic);
    print_node(printer, node->operand[1], binding + 1);
}

static void print_bare(struct printer *printer, const struct node *node)
{
    switch (node->kind) {
    case NODE_LITERAL:
        put_value(printer, &node->value, node->typed);
        return;
    case NODE_FIELD:
        put_path(printer, &node->ref.path);
        put(printer, node->ref.field->name);
        return;
    case NODE_FACT:
        put(printer, "actor.");
        put(printer, node->fact.name);
        return;
    case NODE_TENANT:
    case NODE_NOW:
        put(printer, node->kind == NODE_NOW ? "now()" : "tenant");
        return;
    case NODE_CAST:
        print_bare(printer, node->operand[0]);
        return;
    case NODE_NEGATE:
        put(printer, "-");
        print_node(printer, node->operand[0], BIND_ALL);
        return;
    case NODE_ARITHMETIC:
    case NODE_COMPARE:
        print_infix(printer, node);
        return;
    case NODE_CALL:
        print_call(printer, node);
        return;
    case NODE_IN:
        print_node(printer, node->in.left, BIND_SUM);
        put(printer, " in ");
        if (node->in.list != NULL) {
            put_list(printer, node->in.list);
        } else {
            print_node(printer, node->in.right, BIND_SUM);
        }
        return;
    case NODE_EXISTS:
        print_exists(printer, node);
        return;
    case NODE_NOT:
        put(printer, "not ");
        print_node(printer, node->operand[0], BIND_NOT);
        return;
    case NODE_AND:
    case NODE_OR:
        print_logic(printer, node);
        return;
    case NODE_LIST:
        break;
    }
    CHECK(!"written lists are settled");
}

/* In parentheses where what stands around it binds more tightly. */
static void print_node(struct printer *printer, const struct node *node, int binding)
{
    bool bare = binding_of(node) >= binding;
    put(printer, bare ? "" : "(");
    print_bare(printer, node);
    put(printer, bare ? "" : ")");
}

void print_condition(struct printer *printer, const struct node *node)
{
    print_node(printer, node, BIND_OR);
}

void print_part(struct printer *printer, const struct node *node)
{
    print_node(printer, node, BIND_AND + 1);
}

void expr_print(const struct expr *expr, struct buffer *out)
{
    struct printer printer = {.text = out};
    print_condition(&printer, expr->root);
}

void expr_print_params(const struct expr *expr, struct buffer *out)
{
    size_t mark = write_open(out);
    struct printer printer = {.params = out};
    print_condition(&printer, expr->root);
    write_close_map(out, mark, printer.param_count);
}

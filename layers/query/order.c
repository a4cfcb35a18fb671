#include "layers/query/order.h"

#include <string.h>

#include "layers/query/expr_ast.h"
#include "protocol/base/check.h"

static int refuse(struct error *error, const char *text, size_t at, const char *what)
{
    int64_t position = 0;
    for (size_t i = 0; i < at; i++) {
        position += ((uint8_t)text[i] & 0xc0) != 0x80;
    }
    int status = error_set(error, CODE_INVALID_FILTER, "sort: %s (at position %lld)", what,
                           (long long)position);
    if (error != NULL) {
        error->position = position;
    }
    return status;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The signs before a name: "", "+", "-", "++", "--". Answers how many bytes. */
static size_t read_signs(const char *text, size_t size, struct order_item *item)
{
    char sign = size > 0 && (text[0] == '+' || text[0] == '-') ? text[0] : '\0';
    bool twice = sign != '\0' && size > 1 && text[1] == sign;
    item->descending = sign == '-';
    item->nils_first = item->descending != twice;
    return sign == '\0' ? 0 : twice ? 2 : 1;
}

/* One item: the bytes from `from` to `to` of the text. */
static int compile_item(const struct expr_compiler *compiler, const char *text, size_t from,
                        size_t to, struct order_item *item, struct error *error)
{
    const struct expr *path;
    from += read_signs(text + from, to - from, item);
    int status = expr_compile_path_at(compiler, text, to, from, &path, error);
    if (status != 0) {
        return error != NULL ? error_prefix(error, "sort: ") : status;
    }
    const struct node *root = path->root;
    if (root->ref.path.up > 0) {
        return refuse(error, text, from, "a sort starts from the record itself, not from parent");
    }
    if (root->type->kind == TYPE_ANY) {
        return refuse(error, text, from, "values of type any have no order");
    }
    item->path = root->ref.path.hop_count > 0 ? path : NULL;
    item->field = root->ref.field->position;
    item->name = root->ref.field->name;
    return 0;
}

struct order_list {
    struct order_item items[ORDER_ITEMS_MAX];
    uint16_t count;
};

static int list_text(const struct expr_compiler *compiler, const char *text, size_t size,
                     struct order_list *list, struct error *error)
{
    size_t from = 0;
    for (size_t at = 0; at <= size; at++) {
        if (at < size && text[at] != ',') {
            continue;
        }
        size_t to = at;
        while (from < to && is_blank(text[from])) {
            from++;
        }
        while (to > from && is_blank(text[to - 1])) {
            to--;
        }
        if (list->count == ORDER_ITEMS_MAX) {
            return refuse(error, text, from, "more than 32 items");
        }
        int status = compile_item(compiler, text, from, to, &list->items[list->count], error);
        if (status != 0) {
            return status;
        }
        list->count++;
        from = at + 1;
    }
    return 0;
}

static const struct order *to_order(struct arena *arena, const struct order_item *first,
                                    size_t first_count, const struct order_item *second,
                                    size_t second_count)
{
    size_t count = first_count + second_count;
    struct order *order = arena_alloc(arena, sizeof(*order) + count * sizeof(struct order_item));
    if (order == NULL) {
        return NULL;
    }
    order->count = (uint16_t)count;
    for (size_t i = 0; i < first_count; i++) {
        order->items[i] = first[i];
    }
    for (size_t i = 0; i < second_count; i++) {
        order->items[first_count + i] = second[i];
    }
    return order;
}

static int finish(const struct expr_compiler *compiler, const struct order_list *list,
                  const struct order **out, struct error *error)
{
    if (list->count == 0) {
        return 0;
    }
    *out = to_order(compiler->arena, list->items, list->count, NULL, 0);
    return *out != NULL ? 0 : error_set(error, CODE_OVERLOADED, "no memory for the sort");
}

static bool all_blank(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size && is_blank(text[at])) {
        at++;
    }
    return at == size;
}

int order_compile_text(const struct expr_compiler *compiler, const char *text, size_t size,
                       const struct order **out, struct error *error)
{
    struct order_list list = {.count = 0};
    *out = NULL;
    if (size > compiler->limits->filter_bytes) {
        return error_limit_hit(error, CODE_TOO_LARGE, "filter_bytes",
                               compiler->limits->filter_bytes, size);
    }
    int status = all_blank(text, size) ? 0 : list_text(compiler, text, size, &list, error);
    return status == 0 ? finish(compiler, &list, out, error) : status;
}

static int list_items(const struct expr_compiler *compiler, struct reader *in, uint32_t count,
                      struct order_list *list, struct error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        struct token token = reader_next(in);
        int status = 0;
        if (token.kind != TOKEN_STRING && token.kind != TOKEN_BINARY) {
            status = error_set(error, CODE_INVALID_FILTER,
                               "sort: item %u: expected a field's name, got %s", i,
                               token_describe(&token));
        } else if (token.size > compiler->limits->filter_bytes) {
            status = error_limit_hit(error, CODE_TOO_LARGE, "filter_bytes",
                                     compiler->limits->filter_bytes, token.size);
        } else {
            status = list_text(compiler, (const char *)token.bytes, token.size, list, error);
        }
        if (status != 0) {
            if (error != NULL) {
                error->index = i;
            }
            return status;
        }
    }
    return 0;
}

int order_compile(const struct expr_compiler *compiler, struct reader *in, const struct order **out,
                  struct error *error)
{
    struct reader list_in = *in;
    struct order_list list = {.count = 0};
    struct token token = reader_next(&list_in);
    *out = NULL;
    reader_skip(in);
    switch (token.kind) {
    case TOKEN_NIL:
        return 0;
    case TOKEN_STRING:
    case TOKEN_BINARY:
        return order_compile_text(compiler, (const char *)token.bytes, token.size, out, error);
    case TOKEN_ARRAY: {
        int status = list_items(compiler, &list_in, token.count, &list, error);
        return status == 0 ? finish(compiler, &list, out, error) : status;
    }
    case TOKEN_INVALID:
    case TOKEN_BOOLEAN:
    case TOKEN_INTEGER:
    case TOKEN_UNSIGNED:
    case TOKEN_FLOAT:
    case TOKEN_MAP:
    case TOKEN_EXTENSION:
        break;
    }
    return error_set(error, CODE_INVALID_FILTER, "sort: expected a text or a list of texts, got %s",
                     token_describe(&token));
}

const struct order *order_merge(struct arena *arena, const struct order *first,
                                const struct order *second)
{
    if (first == NULL || second == NULL) {
        return first != NULL ? first : second;
    }
    return to_order(arena, first->items, first->count, second->items, second->count);
}

int order_compare_values(const struct order_item *item, const struct value *a,
                         const struct value *b)
{
    bool a_nil = a->kind == VALUE_NIL;
    bool b_nil = b->kind == VALUE_NIL;
    if (a_nil || b_nil) {
        return a_nil == b_nil ? 0 : a_nil == item->nils_first ? -1 : 1;
    }
    int order = value_compare(a, b);
    return item->descending ? -order : order;
}

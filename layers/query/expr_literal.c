#include "layers/query/expr_ast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/nearest.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/writer.h"

enum { DESCRIPTION_MAX = 96 };

const struct type *type_of_kind(enum type_kind kind)
{
    static const struct type types[TYPE_COUNT] = {
        [TYPE_INTEGER] = {.kind = TYPE_INTEGER}, [TYPE_FLOAT] = {.kind = TYPE_FLOAT},
        [TYPE_BOOLEAN] = {.kind = TYPE_BOOLEAN}, [TYPE_STRING] = {.kind = TYPE_STRING},
        [TYPE_BINARY] = {.kind = TYPE_BINARY},   [TYPE_DATETIME] = {.kind = TYPE_DATETIME},
        [TYPE_UUID] = {.kind = TYPE_UUID},       [TYPE_ENUM] = {.kind = TYPE_ENUM},
        [TYPE_ANY] = {.kind = TYPE_ANY},
    };
    return &types[kind];
}

const struct type *type_of_value(const struct value *value)
{
    static const enum type_kind kinds[] = {
        [VALUE_BOOLEAN] = TYPE_BOOLEAN, [VALUE_INTEGER] = TYPE_INTEGER,
        [VALUE_FLOAT] = TYPE_FLOAT,     [VALUE_TEXT] = TYPE_STRING,
        [VALUE_BINARY] = TYPE_BINARY,   [VALUE_DATETIME] = TYPE_DATETIME,
        [VALUE_ANY] = TYPE_ANY,         [VALUE_LIST] = TYPE_ANY,
    };
    return value->kind == VALUE_NIL ? NULL : type_of_kind(kinds[value->kind]);
}

struct node *build_literal(struct context *context, const struct value *value, size_t at)
{
    struct node *node = build_node(context, NODE_LITERAL, type_of_value(value), at);
    if (node != NULL) {
        node->value = *value;
    }
    return node;
}

struct node *build_nil(struct context *context, size_t at)
{
    struct value nil = value_nil();
    struct node *node = build_literal(context, &nil, at);
    if (node != NULL) {
        node->nil_word = true;
    }
    return node;
}

/* ---- From MessagePack ---- */

/* Arrays and maps, and what in them is no scalar, are checked by the type any. */
static bool read_any(struct context *context, struct reader *in, struct value *out, size_t at)
{
    struct buffer canonical = BUFFER_INIT;
    struct error error = ERROR_INIT;
    bool good = false;
    if (type_take(type_of_kind(TYPE_ANY), in, &canonical, &error) != 0) {
        context_fail(context, at, "%s", error.message);
        goto out;
    }
    uint8_t *bytes =
        canonical.failed ? NULL : arena_copy(context->arena, canonical.bytes, canonical.size);
    if (bytes == NULL) {
        context_no_memory(context);
        goto out;
    }
    struct reader copy = reader_of(bytes, canonical.size);
    struct token token = reader_next(&copy);
    if (token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP) {
        *out = (struct value){.kind = VALUE_ANY, .size = (uint32_t)canonical.size, .bytes = bytes};
        good = true;
    } else {
        good = value_from_token(&token, out);
    }
out:
    buffer_release(&canonical);
    return good;
}

struct node *build_literal_from(struct context *context, struct reader *in, size_t at)
{
    struct value value;
    enum token_kind next = reader_peek(in);
    if (context->status != 0 || !read_any(context, in, &value, at)) {
        return NULL;
    }
    struct node *node = build_literal(context, &value, at);
    if (node != NULL) {
        node->array = next == TOKEN_ARRAY;
    }
    return node;
}

static struct node *unknown_param(struct context *context, const char *name, size_t size, size_t at)
{
    const struct expr_compiler *compiler = context->compiler;
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    struct reader in = reader_of(compiler->params, compiler->params_size);
    uint32_t count = compiler->params != NULL ? reader_next(&in).count : 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t key_size;
        const char *key = reader_name(&in, &key_size);
        const char *text = key != NULL ? arena_text(context->arena, key, key_size) : NULL;
        if (text != NULL) {
            nearest_offer(&nearest, text);
        }
        if (!reader_skip(&in)) {
            break;
        }
    }
    return context_fail(context, at, "params have no \"%.*s\"%s%s%s", (int)size, name,
                        nearest.best != NULL ? ", did you mean \"" : "",
                        nearest.best != NULL ? nearest.best : "",
                        nearest.best != NULL ? "\"?" : "");
}

struct node *build_param(struct context *context, const char *name, size_t size, size_t at)
{
    const struct expr_compiler *compiler = context->compiler;
    if (compiler->in_schema) {
        return context_fail(context, at, "a schema's expression has no params");
    }
    struct reader in = reader_of(compiler->params, compiler->params_size);
    uint32_t count = 0;
    if (compiler->params != NULL) {
        struct token token = reader_next(&in);
        if (token.kind != TOKEN_MAP && token.kind != TOKEN_NIL) {
            return context_fail(context, at, "params are a map, got %s", token_describe(&token));
        }
        count = token.kind == TOKEN_MAP ? token.count : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t key_size;
        const char *key = reader_name(&in, &key_size);
        if (key != NULL && key_size == size && memcmp(key, name, size) == 0) {
            struct node *node = build_literal_from(context, &in, at);
            if (context->status == -CODE_INVALID_FILTER) {
                error_prefix(context->error, "$%.*s: ", (int)size, name);
            }
            return node;
        }
        if (key == NULL || !reader_skip(&in)) {
            return context_fail(context, at, "params are a map of names to values");
        }
    }
    return unknown_param(context, name, size, at);
}

/* ---- Lists ---- */

struct node *build_list(struct context *context, size_t at)
{
    return build_node(context, NODE_LIST, type_of_kind(TYPE_ANY), at);
}

void list_add(struct context *context, struct node *list, struct node *item)
{
    item = settle(context, item);
    if (list == NULL || item == NULL) {
        return;
    }
    void *items = list->list.items;
    if (arena_grow(context->arena, &items, list->list.count, &list->list.capacity,
                   sizeof(struct node *)) != 0) {
        context_no_memory(context);
        return;
    }
    list->list.items = items;
    list->list.items[list->list.count++] = item;
    node_over(context, list, item);
}

struct node *settle(struct context *context, struct node *node)
{
    if (node == NULL || context->status != 0) {
        return NULL;
    }
    if (node->kind != NODE_LIST) {
        return node;
    }
    struct buffer bytes = BUFFER_INIT;
    write_array(&bytes, (uint32_t)node->list.count);
    for (size_t i = 0; i < node->list.count; i++) {
        const struct node *item = node->list.items[i];
        if (item->kind != NODE_LITERAL) {
            buffer_release(&bytes);
            return context_fail(context, item->at,
                                "a list holds literals, but behind \"in\" anything");
        }
        value_write(&bytes, &item->value);
    }
    struct reader in = reader_of(bytes.bytes, bytes.size);
    struct node *literal = NULL;
    if (bytes.failed) {
        context_no_memory(context);
    } else {
        literal = build_literal_from(context, &in, node->at);
    }
    buffer_release(&bytes);
    return literal;
}

/* ---- As a type ---- */

static bool is_text(enum type_kind kind)
{
    return kind == TYPE_STRING || kind == TYPE_UUID || kind == TYPE_ENUM;
}

static bool is_number(enum type_kind kind)
{
    return kind == TYPE_INTEGER || kind == TYPE_FLOAT;
}

bool types_compare(const struct type *a, const struct type *b)
{
    if (a == NULL || b == NULL || a->kind == b->kind || a->kind == TYPE_ANY ||
        b->kind == TYPE_ANY) {
        return true;
    }
    return (is_text(a->kind) && is_text(b->kind)) || (is_number(a->kind) && is_number(b->kind));
}

/* What an enum takes, for messages: "open", "closed". */
static void describe_members(const struct type *type, char *out, size_t out_size)
{
    size_t used = 0;
    for (uint16_t i = 0; i < type->member_count; i++) {
        size_t size = strlen(type->members[i]);
        if (used + size + 8 > out_size) {
            memcpy(out + used, "...", 4);
            return;
        }
        used += (size_t)snprintf(out + used, out_size - used, "%s\"%s\"", i > 0 ? ", " : "",
                                 type->members[i]);
    }
}

static bool refuse(struct context *context, const struct value *value, const struct type *type,
                   size_t at)
{
    char came[DESCRIPTION_MAX];
    char members[DESCRIPTION_MAX * 2] = "";
    value_describe(value, came, sizeof(came));
    if (type->kind == TYPE_ENUM && type->member_count > 0) {
        describe_members(type, members, sizeof(members));
        context_fail(context, at, "expected one of %s, got %s", members, came);
    } else {
        const struct node expected = {.kind = NODE_FIELD, .type = type};
        context_fail(context, at, "expected %s, got %s", node_describe(&expected), came);
    }
    return false;
}

/* Text from outside as a type that is written as text. */
static bool read_text(struct context *context, struct value *value, const struct type *type,
                      size_t at)
{
    char *room = NULL;
    if (type->kind == TYPE_UUID) {
        room = arena_alloc(context->arena, TYPE_UUID_TEXT);
        if (room == NULL) {
            context_no_memory(context);
            return false;
        }
    }
    struct value read;
    if (!type_read_text(type, (const char *)value->bytes, value->size, room, &read)) {
        return refuse(context, value, type, at);
    }
    *value = read;
    return true;
}

static bool value_adapt(struct context *context, struct value *value, const struct type *type,
                        size_t at)
{
    bool text = value->kind == VALUE_TEXT ||
                (value->kind == VALUE_BINARY && utf8_valid(value->bytes, value->size));
    switch (type->kind) {
    case TYPE_INTEGER:
    case TYPE_FLOAT:
        if (value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT) {
            return true;
        }
        break;
    case TYPE_BOOLEAN:
        if (value->kind == VALUE_BOOLEAN) {
            return true;
        }
        break;
    case TYPE_DATETIME:
        if (value->kind == VALUE_DATETIME) {
            return true;
        }
        return text ? read_text(context, value, type, at) : refuse(context, value, type, at);
    case TYPE_UUID:
    case TYPE_ENUM:
    case TYPE_STRING:
        return text ? read_text(context, value, type, at) : refuse(context, value, type, at);
    case TYPE_BINARY:
        if (value->kind == VALUE_TEXT || value->kind == VALUE_BINARY) {
            value->kind = VALUE_BINARY;
            return true;
        }
        break;
    case TYPE_ANY:
    case TYPE_COUNT:
        return true;
    }
    return refuse(context, value, type, at);
}

bool literal_adapt(struct context *context, struct node *literal, const struct type *type)
{
    if (literal->value.kind == VALUE_NIL) {
        return true;
    }
    if (!value_adapt(context, &literal->value, type, literal->at)) {
        return false;
    }
    literal->type =
        type->kind == TYPE_ANY || is_number(type->kind) ? type_of_value(&literal->value) : type;
    literal->typed = type->kind != TYPE_ANY;
    return true;
}

/* ---- in ---- */

struct items {
    struct value *values;
    size_t count;
    size_t capacity;
    bool has_nil;
};

static bool items_add(struct context *context, struct items *items, const struct value *value)
{
    if (value->kind == VALUE_NIL) {
        items->has_nil = true;
        return true;
    }
    void *grown = items->values;
    if (arena_grow(context->arena, &grown, items->count, &items->capacity, sizeof(*value)) != 0) {
        context_no_memory(context);
        return false;
    }
    items->values = grown;
    items->values[items->count++] = *value;
    return true;
}

/* The items of an array that came as a param or in a map. */
static bool items_of_array(struct context *context, struct items *items, const struct value *array)
{
    struct reader in = reader_of(array->bytes, array->size);
    uint32_t count = reader_next(&in).count;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *bytes = in.at;
        struct value value;
        struct token token = reader_next(&in);
        if (token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP) {
            size_t size;
            in.at = bytes;
            CHECK(reader_value(&in, &bytes, &size));
            value = (struct value){.kind = VALUE_ANY, .size = (uint32_t)size, .bytes = bytes};
        } else {
            CHECK(value_from_token(&token, &value));
        }
        if (!items_add(context, items, &value)) {
            return false;
        }
    }
    return true;
}

static int compare_items(const void *a, const void *b)
{
    return value_compare(a, b);
}

/* Makes the items those of the left side's type, sorted, each once. */
static const struct item_list *prepare_items(struct context *context, struct items *items,
                                             const struct type *type, size_t at)
{
    struct item_list *list = arena_zero(context->arena, 1, sizeof(*list));
    if (list == NULL) {
        context_no_memory(context);
        return NULL;
    }
    list->has_nil = items->has_nil;
    list->sorted = type->kind != TYPE_ANY;
    for (size_t i = 0; i < items->count; i++) {
        if (!value_adapt(context, &items->values[i], type, at)) {
            if (context->status == -CODE_INVALID_FILTER) {
                error_prefix(context->error, "item %zu of the list: ", i);
            }
            return NULL;
        }
    }
    size_t count = items->count;
    if (list->sorted && count > 1) {
        qsort(items->values, count, sizeof(items->values[0]), compare_items);
        size_t kept = 1;
        for (size_t i = 1; i < count; i++) {
            if (value_compare(&items->values[kept - 1], &items->values[i]) != 0) {
                items->values[kept++] = items->values[i];
            }
        }
        count = kept;
    }
    list->items = items->values;
    list->count = (uint32_t)count;
    return list;
}

/* What an item says about a left side that says nothing itself. */
static const struct type *type_of_items(const struct items *items)
{
    return items->count > 0 ? type_of_value(&items->values[0]) : type_of_kind(TYPE_STRING);
}

static struct node *build_in_items(struct context *context, struct node *left, struct items *items,
                                   size_t at)
{
    const struct type *type = left->type;
    if (type == NULL) {
        type = type_of_items(items);
        left = left->kind == NODE_LITERAL ? left : build_cast(context, left, type);
    } else if (left->kind == NODE_LITERAL && type->kind == TYPE_STRING && items->count > 0 &&
               items->values[0].kind == VALUE_DATETIME) {
        type = type_of_kind(TYPE_DATETIME);
        if (!literal_adapt(context, left, type)) {
            return NULL;
        }
    }
    const struct item_list *list = prepare_items(context, items, type, at);
    struct node *node = build_node(context, NODE_IN, type_of_kind(TYPE_BOOLEAN), at);
    if (list == NULL || node == NULL || left == NULL) {
        return NULL;
    }
    node->in.left = left;
    node->in.list = list;
    node_over(context, node, left);
    return node;
}

/* Behind `in` stands what is a list only when it runs: a fact, or any. */
static struct node *build_in_value(struct context *context, struct node *left, struct node *right,
                                   size_t at)
{
    struct node *node = build_node(context, NODE_IN, type_of_kind(TYPE_BOOLEAN), at);
    if (node == NULL) {
        return NULL;
    }
    node->in.left = left;
    node->in.right = right;
    node_over(context, node, left);
    node_over(context, node, right);
    return node;
}

/* A written list may hold what is known only when it runs: `x in [1, y]` is
 * `x in [1] or x == y`, also for nils. */
static struct node *build_in_list(struct context *context, struct node *left, struct node *list,
                                  size_t at)
{
    struct items items = {0};
    struct node *whole = build_node(context, NODE_OR, type_of_kind(TYPE_BOOLEAN), at);
    for (size_t i = 0; i < list->list.count && whole != NULL; i++) {
        struct node *item = list->list.items[i];
        if (item->kind == NODE_LITERAL) {
            if (!items_add(context, &items, &item->value)) {
                return NULL;
            }
            continue;
        }
        /* Each comparison may read the left side in another way. */
        struct node *copy = build_node(context, left->kind, left->type, left->at);
        if (copy == NULL) {
            return NULL;
        }
        *copy = *left;
        logic_add(context, whole, build_compare(context, COMPARE_EQUAL, copy, item, at));
    }
    if (whole == NULL || context->status != 0) {
        return NULL;
    }
    if (whole->list.count == 0) {
        return build_in_items(context, left, &items, at);
    }
    if (items.count > 0 || items.has_nil) {
        logic_add(context, whole, build_in_items(context, left, &items, at));
    }
    return context->status == 0 ? whole : NULL;
}

struct node *build_in(struct context *context, struct node *left, struct node *right, size_t at)
{
    left = settle(context, left);
    if (left == NULL || right == NULL || context->status != 0) {
        return NULL;
    }
    if (left->nil_word) {
        return context_fail(context, left->at, "nothing equals nil: ask is_nil(...)");
    }
    if (right->kind == NODE_LIST) {
        return build_in_list(context, left, right, at);
    }
    if (right->kind == NODE_LITERAL && right->array) {
        struct items items = {0};
        return items_of_array(context, &items, &right->value)
                   ? build_in_items(context, left, &items, right->at)
                   : NULL;
    }
    bool unknown =
        right->type == NULL || (right->type->kind == TYPE_ANY && right->kind != NODE_LITERAL);
    if (!unknown || right->nil_word) {
        return context_fail(context, right->at, "expected a list behind \"in\", got %s",
                            node_describe(right));
    }
    return build_in_value(context, left, right, at);
}

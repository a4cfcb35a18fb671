#include "layers/query/expr_code.h"

#include <math.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"

bool value_from_token(const struct token *token, struct value *out)
{
    switch (token->kind) {
    case TOKEN_NIL:
        *out = value_nil();
        return true;
    case TOKEN_BOOLEAN:
        *out = (struct value){.kind = VALUE_BOOLEAN, .boolean = token->boolean};
        return true;
    case TOKEN_INTEGER:
        *out = (struct value){.kind = VALUE_INTEGER, .integer = token->integer};
        return true;
    case TOKEN_FLOAT:
        *out = (struct value){.kind = VALUE_FLOAT, .real = token->real};
        return isfinite(token->real);
    case TOKEN_STRING:
        *out = (struct value){.kind = VALUE_TEXT, .size = token->size, .bytes = token->bytes};
        return true;
    case TOKEN_BINARY:
        *out = (struct value){.kind = VALUE_BINARY, .size = token->size, .bytes = token->bytes};
        return true;
    case TOKEN_EXTENSION:
        *out = (struct value){.kind = VALUE_DATETIME};
        return token_datetime(token, &out->datetime);
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_UNSIGNED:
    case TOKEN_INVALID:
        break;
    }
    return false;
}

/* ---- Casts ---- */

static bool is_utf8(const struct value *value)
{
    return value->kind == VALUE_TEXT ||
           (value->kind == VALUE_BINARY && utf8_valid(value->bytes, value->size));
}

static bool can_cast(struct value *value, const struct type *type, char room[TYPE_UUID_TEXT])
{
    struct value read;
    switch (type->kind) {
    case TYPE_INTEGER:
    case TYPE_FLOAT:
        return value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT;
    case TYPE_BOOLEAN:
        return value->kind == VALUE_BOOLEAN;
    case TYPE_DATETIME:
        if (value->kind == VALUE_DATETIME) {
            return true;
        }
        break;
    case TYPE_BINARY:
        if (value->kind == VALUE_TEXT || value->kind == VALUE_BINARY) {
            value->kind = VALUE_BINARY;
            return true;
        }
        return false;
    case TYPE_STRING:
    case TYPE_UUID:
    case TYPE_ENUM:
        break;
    case TYPE_ANY:
    case TYPE_COUNT:
        return true;
    }
    if (!is_utf8(value) ||
        !type_read_text(type, (const char *)value->bytes, value->size, room, &read)) {
        return false;
    }
    *value = read;
    return true;
}

void value_cast(struct value *value, const struct type *type, char room[TYPE_UUID_TEXT])
{
    if (value->kind != VALUE_NIL && !can_cast(value, type, room)) {
        *value = value_nil();
    }
}

/* ---- Arithmetic ---- */

static bool integer_arithmetic(char op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case '+':
        return !__builtin_add_overflow(a, b, out);
    case '-':
        return !__builtin_sub_overflow(a, b, out);
    case '*':
        return !__builtin_mul_overflow(a, b, out);
    default:
        break;
    }
    if (b == 0) {
        return false;
    }
    /* The smallest integer divided by -1 is no integer; its remainder is 0. */
    if (b == -1) {
        *out = 0;
        return op == '%' || !__builtin_sub_overflow(0, a, out);
    }
    *out = op == '/' ? a / b : a % b;
    return true;
}

static bool real_arithmetic(char op, double a, double b, double *out)
{
    switch (op) {
    case '+':
        *out = a + b;
        break;
    case '-':
        *out = a - b;
        break;
    case '*':
        *out = a * b;
        break;
    case '/':
        *out = b == 0 ? INFINITY : a / b;
        break;
    default:
        *out = b == 0 ? INFINITY : fmod(a, b);
        break;
    }
    return isfinite(*out);
}

static bool as_real(const struct value *value, double *out)
{
    *out = value->kind == VALUE_INTEGER ? (double)value->integer : value->real;
    return value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT;
}

void value_arithmetic(char op, const struct value *a, const struct value *b, struct value *out)
{
    struct value result = value_nil();
    double left, right;
    if (a->kind == VALUE_INTEGER && b->kind == VALUE_INTEGER) {
        if (integer_arithmetic(op, a->integer, b->integer, &result.integer)) {
            result.kind = VALUE_INTEGER;
        }
    } else if (as_real(a, &left) && as_real(b, &right) &&
               real_arithmetic(op, left, right, &result.real)) {
        result.kind = VALUE_FLOAT;
    }
    *out = result;
}

void value_negate(struct value *value)
{
    if (value->kind == VALUE_FLOAT) {
        value->real = -value->real;
    } else if (value->kind != VALUE_INTEGER ||
               __builtin_sub_overflow(0, value->integer, &value->integer)) {
        *value = value_nil();
    }
}

/* ---- Facts ---- */

/* Whether it is what a field of type any could hold. Facts were not taken by a
 * type, so a list or map of them is looked through before it is compared. */
static bool is_sound(const uint8_t *bytes, size_t size)
{
    struct reader in = reader_of(bytes, size);
    struct value value;
    while (in.at < in.end) {
        struct token token = reader_next(&in);
        if (token.kind != TOKEN_ARRAY && token.kind != TOKEN_MAP &&
            !value_from_token(&token, &value)) {
            return false;
        }
    }
    return true;
}

void value_fact(const struct eval *eval, const char *name, size_t size, struct value *out)
{
    *out = value_nil();
    if (eval->actor == NULL) {
        return;
    }
    struct reader in = reader_of(eval->actor, eval->actor_size);
    struct token map = reader_next(&in);
    for (uint32_t i = 0; map.kind == TOKEN_MAP && i < map.count; i++) {
        size_t key_size;
        const uint8_t *bytes;
        size_t value_size;
        const char *key = reader_name(&in, &key_size);
        if (!reader_value(&in, &bytes, &value_size)) {
            return;
        }
        if (key == NULL || key_size != size || memcmp(key, name, size) != 0) {
            continue;
        }
        struct reader fact = reader_of(bytes, value_size);
        struct token token = reader_next(&fact);
        if (token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP) {
            if (is_sound(bytes, value_size)) {
                *out =
                    (struct value){.kind = VALUE_ANY, .size = (uint32_t)value_size, .bytes = bytes};
            }
        } else if (!value_from_token(&token, out) ||
                   (out->kind == VALUE_TEXT && !utf8_valid(out->bytes, out->size))) {
            *out = value_nil();
        }
        return;
    }
}

/* ---- Truths ---- */

static bool is_number(const struct value *value)
{
    return value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT;
}

static bool holds_others(const struct value *value)
{
    return value->kind == VALUE_ANY || value->kind == VALUE_LIST;
}

static bool have_order(const struct value *a, const struct value *b)
{
    return (a->kind == b->kind && !holds_others(a)) || (is_number(a) && is_number(b));
}

uint8_t value_compares(uint8_t op, const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_NIL || b->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    if (have_order(a, b)) {
        return truth_of_order(op, value_compare(a, b));
    }
    bool equality = op == COMPARE_EQUAL || op == COMPARE_NOT_EQUAL;
    if ((holds_others(a) || holds_others(b)) && equality) {
        return truth_of(value_equal(a, b) == (op == COMPARE_EQUAL));
    }
    /* Two facts of different types. */
    return TRUTH_NIL;
}

static bool find_item(const struct item_list *list, const struct value *value)
{
    if (!list->sorted) {
        for (uint32_t i = 0; i < list->count; i++) {
            if (value_equal(value, &list->items[i])) {
                return true;
            }
        }
        return false;
    }
    uint32_t from = 0, to = list->count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (!have_order(value, &list->items[middle])) {
            return false;
        }
        int order = value_compare(value, &list->items[middle]);
        if (order == 0) {
            return true;
        }
        from = order > 0 ? middle + 1 : from;
        to = order < 0 ? middle : to;
    }
    return false;
}

uint8_t value_is_in(const struct item_list *list, const struct value *value)
{
    if (list->count == 0 && !list->has_nil) {
        return TRUTH_FALSE;
    }
    if (value->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    if (find_item(list, value)) {
        return TRUTH_TRUE;
    }
    return list->has_nil ? TRUTH_NIL : TRUTH_FALSE;
}

/* A list that is known only now. An item of a fact that is of another type is
 * nil, as the fact itself would be; in a field of type any it is just unequal. */
uint8_t value_is_in_value(const struct value *value, const struct value *list,
                          const struct type *type, bool fact)
{
    struct reader in = reader_of(list->bytes, list->kind == VALUE_ANY ? list->size : 0);
    struct token array = reader_next(&in);
    bool nil = false;
    if (array.kind != TOKEN_ARRAY) {
        return TRUTH_NIL;
    }
    /* A fact is searched for in a field as the literal of its value would be. */
    if (type == NULL && !fact) {
        type = type_of_value(value);
    }
    if (array.count > 0 && value->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    for (uint32_t i = 0; i < array.count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        char room[TYPE_UUID_TEXT];
        CHECK(reader_value(&in, &bytes, &size));
        struct value item;
        type_load(type_of_kind(TYPE_ANY), bytes, size, &item);
        if (item.kind != VALUE_NIL && type != NULL && type->kind != TYPE_ANY) {
            struct reader one = reader_of(bytes, size);
            struct token token = reader_next(&one);
            if (value_from_token(&token, &item)) {
                value_cast(&item, type, room);
            }
            if (item.kind == VALUE_NIL && !fact) {
                continue;
            }
        }
        nil = nil || item.kind == VALUE_NIL;
        if (item.kind != VALUE_NIL && value_equal(value, &item)) {
            return TRUTH_TRUE;
        }
    }
    return nil ? TRUTH_NIL : TRUTH_FALSE;
}

uint8_t value_matches(enum function function, const struct value *text, const struct value *part)
{
    if (text->kind != VALUE_TEXT || part->kind != VALUE_TEXT) {
        return TRUTH_NIL;
    }
    if (part->size > text->size) {
        return TRUTH_FALSE;
    }
    if (part->size == 0) {
        return TRUTH_TRUE;
    }
    if (function == FUNCTION_CONTAINS) {
        return truth_of(memmem(text->bytes, text->size, part->bytes, part->size) != NULL);
    }
    uint32_t from = function == FUNCTION_ENDS_WITH ? text->size - part->size : 0;
    return truth_of(memcmp(text->bytes + from, part->bytes, part->size) == 0);
}

/* ---- Length ---- */

void value_length(struct value *value)
{
    struct value length = {.kind = VALUE_INTEGER, .integer = value->size};
    if (value->kind == VALUE_ANY) {
        struct reader in = reader_of(value->bytes, value->size);
        struct token token = reader_next(&in);
        if (token.kind == TOKEN_ARRAY) {
            length.integer = token.count;
            *value = length;
            return;
        }
        if (!value_from_token(&token, value)) {
            *value = value_nil();
        }
        length.integer = value->size;
    }
    if (value->kind == VALUE_TEXT) {
        length.integer = (int64_t)utf8_length(value->bytes, value->size);
    } else if (value->kind != VALUE_BINARY) {
        length = value_nil();
    }
    *value = length;
}

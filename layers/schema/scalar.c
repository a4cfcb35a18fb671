#include "layers/schema/scalar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* All of the text, in digits of the base. False where it is none; *beyond where
 * it does not fit 64 bits signed. */
static bool read_digits(const char *text, unsigned base, bool minus, int64_t *out, bool *beyond)
{
    int64_t value = 0;
    *beyond = false;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        int digit = digit_value(*text);
        if (digit >= (int)base) {
            return false;
        }
        if (__builtin_mul_overflow(value, (int64_t)base, &value) ||
            __builtin_add_overflow(value, minus ? -digit : digit, &value)) {
            *beyond = true;
            value = 0;
        }
    }
    *out = value;
    return true;
}

static bool read_integer(const char *text, struct scalar *out)
{
    unsigned base = 10;
    bool minus = false, beyond = false;
    if (strncmp(text, "0x", 2) == 0 || strncmp(text, "0o", 2) == 0) {
        base = text[1] == 'x' ? 16 : 8;
        text += 2;
    } else if (*text == '-' || *text == '+') {
        minus = *text++ == '-';
    }
    if (!read_digits(text, base, minus, &out->integer, &beyond)) {
        return false;
    }
    out->kind = beyond ? SCALAR_BEYOND : SCALAR_INTEGER;
    return true;
}

static const char *skip_digits(const char *at)
{
    while (*at >= '0' && *at <= '9') {
        at++;
    }
    return at;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(const char *text)
{
    const char *at = *text == '-' || *text == '+' ? text + 1 : text;
    const char *whole_end = skip_digits(at);
    bool has_digits = whole_end > at;
    at = whole_end;
    if (*at == '.') {
        const char *end = skip_digits(at + 1);
        has_digits = has_digits || end > at + 1;
        at = end;
    }
    if (has_digits && (*at == 'e' || *at == 'E')) {
        at++;
        at += *at == '-' || *at == '+' ? 1 : 0;
        const char *end = skip_digits(at);
        has_digits = end > at;
        at = end;
    }
    return has_digits && *at == '\0';
}

static bool read_float(const char *text, struct scalar *out)
{
    static const char *const infinities[] = {".inf", ".Inf", ".INF"};
    static const char *const not_numbers[] = {".nan", ".NaN", ".NAN"};
    bool minus = *text == '-';
    const char *unsigned_text = minus || *text == '+' ? text + 1 : text;
    out->kind = SCALAR_FLOAT;
    if (is_one_of(unsigned_text, infinities, ARRAY_COUNT(infinities))) {
        out->real = minus ? -INFINITY : INFINITY;
        return true;
    }
    if (is_one_of(text, not_numbers, ARRAY_COUNT(not_numbers))) {
        out->real = NAN;
        return true;
    }
    if (!is_float(text)) {
        return false;
    }
    out->real = strtod(text, NULL);
    return true;
}

struct scalar scalar_resolve(const struct node *node)
{
    static const char *const nils[] = {"", "~", "null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    struct scalar out = {.kind = SCALAR_TEXT};
    /* A zero byte can only come from an escape in quotes. */
    if (!node->plain) {
        return out;
    }
    if (is_one_of(node->text, nils, ARRAY_COUNT(nils))) {
        out.kind = SCALAR_NIL;
    } else if (is_one_of(node->text, trues, ARRAY_COUNT(trues)) ||
               is_one_of(node->text, falses, ARRAY_COUNT(falses))) {
        out.kind = SCALAR_BOOLEAN;
        out.boolean = node->text[0] == 't' || node->text[0] == 'T';
    } else if (!read_integer(node->text, &out) && !read_float(node->text, &out)) {
        out.kind = SCALAR_TEXT;
    }
    return out;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool read_measure(const struct node *node, const struct unit *units, size_t unit_count,
                         uint64_t *out)
{
    if (node->kind != NODE_SCALAR || strlen(node->text) != node->size) {
        return false;
    }
    const char *end = skip_digits(node->text);
    uint64_t value = 0;
    for (const char *at = node->text; at < end; at++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            return false;
        }
    }
    for (size_t i = 0; i < unit_count && end > node->text; i++) {
        if (strcmp(end, units[i].name) == 0) {
            return !__builtin_mul_overflow(value, units[i].factor, out);
        }
    }
    return false;
}

bool scalar_duration(const struct node *node, uint64_t *microseconds)
{
    static const struct unit units[] = {{"us", 1},       {"ms", 1000},      {"s", 1000000},
                                        {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
    return read_measure(node, units, ARRAY_COUNT(units), microseconds);
}

bool scalar_size(const struct node *node, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    return read_measure(node, units, ARRAY_COUNT(units), bytes);
}

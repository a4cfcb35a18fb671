#include "layers/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* What value_describe shows of a text before it cuts. */
enum { DESCRIBE_BYTES_MAX = 60 };

/* 2^63, the first float above all integers; -2^63 is an integer itself. */
static const double integers_end = 9223372036854775808.0;

static int compare_integers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_floats(double a, double b)
{
    return (a > b) - (a < b);
}

/* By value and exactly: where the float is within 64 bits, its whole part is
 * compared as an integer, and its fraction decides a tie. */
static int compare_integer_float(int64_t integer, double real)
{
    if (real >= integers_end) {
        return -1;
    }
    if (real < -integers_end) {
        return 1;
    }
    double whole = trunc(real);
    int order = compare_integers(integer, (int64_t)whole);
    return order != 0 ? order : compare_floats(whole, real);
}

static int compare_bytes(const struct value *a, const struct value *b)
{
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = common > 0 ? memcmp(a->bytes, b->bytes, common) : 0;
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

int value_compare(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind) {
        if (a->kind == VALUE_INTEGER && b->kind == VALUE_FLOAT) {
            return compare_integer_float(a->integer, b->real);
        }
        CHECK(a->kind == VALUE_FLOAT && b->kind == VALUE_INTEGER);
        return -compare_integer_float(b->integer, a->real);
    }
    switch (a->kind) {
    case VALUE_BOOLEAN:
        return (int)a->boolean - (int)b->boolean;
    case VALUE_INTEGER:
        return compare_integers(a->integer, b->integer);
    case VALUE_FLOAT:
        return compare_floats(a->real, b->real);
    case VALUE_TEXT:
    case VALUE_BINARY:
        return compare_bytes(a, b);
    case VALUE_DATETIME:
        return datetime_compare(&a->datetime, &b->datetime);
    case VALUE_NIL:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    check_failed("values of this kind have no order", __FILE__, __LINE__);
}

/* ---- Equality of `any` ----
 * Maps are unordered, so what holds others is compared by a hash of its
 * structure, in which a map's pairs are summed: linear time, no memory. The
 * hash is seeded per process, 64 bits wide and never stored; that two different
 * values meet in it is not to be expected within the life of the hardware. */

struct mark {
    uint64_t kind;
    uint64_t content;
};

static uint64_t hash_mark(enum value_kind kind, uint64_t content)
{
    struct mark mark = {.kind = (uint64_t)kind, .content = content};
    return hash_bytes(&mark, sizeof(mark));
}

/* Equal numbers hash alike, integer or float. */
static uint64_t hash_float(double real)
{
    if (real >= -integers_end && real < integers_end && trunc(real) == real) {
        return hash_mark(VALUE_INTEGER, (uint64_t)(int64_t)real);
    }
    uint64_t bits;
    memcpy(&bits, &real, sizeof(bits));
    return hash_mark(VALUE_FLOAT, bits);
}

static uint64_t hash_datetime(const struct datetime *datetime)
{
    return hash_mark(VALUE_DATETIME, hash_mark(VALUE_DATETIME, (uint64_t)datetime->seconds) +
                                         datetime->nanoseconds);
}

static uint64_t hash_pair(uint64_t first, uint64_t second)
{
    struct mark mark = {.kind = first, .content = second};
    return hash_bytes(&mark, sizeof(mark));
}

static uint64_t hash_stored(struct reader *in);

static uint64_t hash_array(struct reader *in, uint32_t count)
{
    uint64_t hash = hash_mark(VALUE_LIST, count);
    for (uint32_t i = 0; i < count; i++) {
        hash = hash_pair(hash, hash_stored(in));
    }
    return hash;
}

static uint64_t hash_map(struct reader *in, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = hash_stored(in);
        sum += hash_pair(key, hash_stored(in));
    }
    return hash_pair(hash_mark(VALUE_ANY, count), sum);
}

/* Recursion is as deep as values of type any may nest (TYPE_ANY_LEVELS_MAX). */
static uint64_t hash_stored(struct reader *in)
{
    struct token token = reader_next(in);
    struct datetime datetime;
    switch (token.kind) {
    case TOKEN_NIL:
        return hash_mark(VALUE_NIL, 0);
    case TOKEN_BOOLEAN:
        return hash_mark(VALUE_BOOLEAN, token.boolean ? 1 : 0);
    case TOKEN_INTEGER:
        return hash_mark(VALUE_INTEGER, (uint64_t)token.integer);
    case TOKEN_FLOAT:
        return hash_float(token.real);
    case TOKEN_STRING:
        return hash_mark(VALUE_TEXT, hash_bytes(token.bytes, token.size));
    case TOKEN_BINARY:
        return hash_mark(VALUE_BINARY, hash_bytes(token.bytes, token.size));
    case TOKEN_EXTENSION:
        CHECK(token_datetime(&token, &datetime));
        return hash_datetime(&datetime);
    case TOKEN_ARRAY:
        return hash_array(in, token.count);
    case TOKEN_MAP:
        return hash_map(in, token.count);
    case TOKEN_UNSIGNED:
    case TOKEN_INVALID:
        break;
    }
    check_failed("values of type any are checked when they are taken", __FILE__, __LINE__);
}

static uint64_t hash_value(const struct value *value)
{
    switch (value->kind) {
    case VALUE_NIL:
        return hash_mark(VALUE_NIL, 0);
    case VALUE_BOOLEAN:
        return hash_mark(VALUE_BOOLEAN, value->boolean ? 1 : 0);
    case VALUE_INTEGER:
        return hash_mark(VALUE_INTEGER, (uint64_t)value->integer);
    case VALUE_FLOAT:
        return hash_float(value->real);
    case VALUE_TEXT:
    case VALUE_BINARY:
        return hash_mark(value->kind, hash_bytes(value->bytes, value->size));
    case VALUE_DATETIME:
        return hash_datetime(&value->datetime);
    case VALUE_ANY: {
        struct reader in = reader_of(value->bytes, value->size);
        return hash_stored(&in);
    }
    case VALUE_LIST:
        break;
    }
    uint64_t hash = hash_mark(VALUE_LIST, value->size);
    for (uint32_t i = 0; i < value->size; i++) {
        hash = hash_pair(hash, hash_value(&value->items[i]));
    }
    return hash;
}

/* A value of type any that holds no others is compared as what it is. */
static struct value unwrap(const struct value *value)
{
    struct value out = *value;
    if (value->kind != VALUE_ANY) {
        return out;
    }
    struct reader in = reader_of(value->bytes, value->size);
    struct token token = reader_next(&in);
    switch (token.kind) {
    case TOKEN_NIL:
        return value_nil();
    case TOKEN_BOOLEAN:
        return (struct value){.kind = VALUE_BOOLEAN, .boolean = token.boolean};
    case TOKEN_INTEGER:
        return (struct value){.kind = VALUE_INTEGER, .integer = token.integer};
    case TOKEN_FLOAT:
        return (struct value){.kind = VALUE_FLOAT, .real = token.real};
    case TOKEN_STRING:
        return (struct value){.kind = VALUE_TEXT, .size = token.size, .bytes = token.bytes};
    case TOKEN_BINARY:
        return (struct value){.kind = VALUE_BINARY, .size = token.size, .bytes = token.bytes};
    case TOKEN_EXTENSION:
        out.kind = VALUE_DATETIME;
        CHECK(token_datetime(&token, &out.datetime));
        return out;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_UNSIGNED:
    case TOKEN_INVALID:
        break;
    }
    return out;
}

static bool is_number(const struct value *value)
{
    return value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT;
}

static bool holds_others(const struct value *value)
{
    return value->kind == VALUE_ANY || value->kind == VALUE_LIST;
}

bool value_equal(const struct value *a, const struct value *b)
{
    struct value left = unwrap(a);
    struct value right = unwrap(b);
    if (holds_others(&left) || holds_others(&right)) {
        if (left.kind == VALUE_ANY && right.kind == VALUE_ANY &&
            compare_bytes(&left, &right) == 0) {
            return true;
        }
        return holds_others(&left) && holds_others(&right) &&
               hash_value(&left) == hash_value(&right);
    }
    if (left.kind != right.kind && !(is_number(&left) && is_number(&right))) {
        return false;
    }
    return left.kind == VALUE_NIL || value_compare(&left, &right) == 0;
}

/* ---- For messages ---- */

/* The longest start of the text, in whole code points, of at most DESCRIBE_BYTES_MAX. */
static int shown_size(const struct value *text)
{
    uint32_t size = text->size;
    if (size > DESCRIBE_BYTES_MAX) {
        size = DESCRIBE_BYTES_MAX;
        while (size > 0 && (text->bytes[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    return (int)size;
}

static void describe_float(double real, char *out, size_t out_size)
{
    /* The fewest digits that read back as the same number. */
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, out_size, "%.*g", digits, real);
        char check[40];
        double read;
        snprintf(check, sizeof(check), "%.*g", digits, real);
        if (sscanf(check, "%lf", &read) == 1 && read == real) {
            break;
        }
    }
    if (strpbrk(out, ".einf") == NULL && strlen(out) + 2 < out_size) {
        memcpy(out + strlen(out), ".0", sizeof(".0"));
    }
}

void value_describe(const struct value *value, char *out, size_t out_size)
{
    struct value shown = unwrap(value);
    char text[DATETIME_TEXT_MAX];
    switch (shown.kind) {
    case VALUE_NIL:
        snprintf(out, out_size, "nil");
        return;
    case VALUE_BOOLEAN:
        snprintf(out, out_size, "%s", shown.boolean ? "true" : "false");
        return;
    case VALUE_INTEGER:
        snprintf(out, out_size, "%" PRId64, shown.integer);
        return;
    case VALUE_FLOAT:
        describe_float(shown.real, out, out_size);
        return;
    case VALUE_TEXT:
        snprintf(out, out_size, "\"%.*s%s\"", shown_size(&shown), (const char *)shown.bytes,
                 shown.size > DESCRIBE_BYTES_MAX ? "..." : "");
        return;
    case VALUE_BINARY:
        snprintf(out, out_size, "binary of %" PRIu32 " bytes", shown.size);
        return;
    case VALUE_DATETIME:
        datetime_format(&shown.datetime, text);
        snprintf(out, out_size, "%s", text);
        return;
    case VALUE_LIST:
        snprintf(out, out_size, "a list of %" PRIu32, shown.size);
        return;
    case VALUE_ANY:
        break;
    }
    struct reader in = reader_of(shown.bytes, shown.size);
    struct token token = reader_next(&in);
    snprintf(out, out_size, "%s", token_describe(&token));
}

void value_write(struct buffer *out, const struct value *value)
{
    switch (value->kind) {
    case VALUE_NIL:
        write_nil(out);
        return;
    case VALUE_BOOLEAN:
        write_boolean(out, value->boolean);
        return;
    case VALUE_INTEGER:
        write_integer(out, value->integer);
        return;
    case VALUE_FLOAT:
        write_float(out, value->real);
        return;
    case VALUE_TEXT:
        write_string(out, value->bytes, value->size);
        return;
    case VALUE_BINARY:
        write_binary(out, value->bytes, value->size);
        return;
    case VALUE_DATETIME:
        write_datetime(out, &value->datetime);
        return;
    case VALUE_ANY:
        buffer_append(out, value->bytes, value->size);
        return;
    case VALUE_LIST:
        break;
    }
    write_array(out, value->size);
    for (uint32_t i = 0; i < value->size; i++) {
        value_write(out, &value->items[i]);
    }
}

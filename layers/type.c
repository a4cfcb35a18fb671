#include "layers/type.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/nearest.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/shape.h"
#include "protocol/msgpack/writer.h"

enum { DESCRIPTION_MAX = 160 };

/* What a type takes a token for: appends the canonical encoding and answers
 * true, or appends nothing. */
typedef bool take_function(const struct type *type, const struct token *token, struct buffer *out);

static take_function take_integer, take_float, take_boolean, take_string, take_binary,
    take_datetime, take_uuid, take_enum;

static const struct type_row {
    const char *name;
    const char *expected; /* with its article, for messages */
    enum value_kind value_kind;
    bool indexable;
    take_function *take; /* NULL: not from one token */
} rows[] = {
    [TYPE_INTEGER] = {"integer", "an integer", VALUE_INTEGER, true, take_integer},
    [TYPE_FLOAT] = {"float", "a number", VALUE_FLOAT, false, take_float},
    [TYPE_BOOLEAN] = {"boolean", "true or false", VALUE_BOOLEAN, false, take_boolean},
    [TYPE_STRING] = {"string", "a string", VALUE_TEXT, true, take_string},
    [TYPE_BINARY] = {"binary", "binary", VALUE_BINARY, true, take_binary},
    [TYPE_DATETIME] = {"datetime", "a datetime (a MessagePack timestamp or ISO 8601 text)",
                       VALUE_DATETIME, true, take_datetime},
    [TYPE_UUID] = {"uuid", "a uuid (8-4-4-4-12 hexadecimal digits)", VALUE_TEXT, true, take_uuid},
    [TYPE_ENUM] = {"enum", "one of its members", VALUE_TEXT, true, take_enum},
    [TYPE_ANY] = {"any", "any value", VALUE_ANY, false, NULL},
};
_Static_assert(ARRAY_COUNT(rows) == TYPE_COUNT, "a row for each type");

const char *type_name(enum type_kind kind)
{
    CHECK(kind < TYPE_COUNT);
    return rows[kind].name;
}

enum type_kind type_from_name(const char *name, size_t size)
{
    for (unsigned kind = 0; kind < TYPE_COUNT; kind++) {
        if (strlen(rows[kind].name) == size && memcmp(rows[kind].name, name, size) == 0) {
            return (enum type_kind)kind;
        }
    }
    return TYPE_COUNT;
}

bool type_indexable(enum type_kind kind)
{
    CHECK(kind < TYPE_COUNT);
    return rows[kind].indexable;
}

enum value_kind type_value_kind(enum type_kind kind)
{
    CHECK(kind < TYPE_COUNT);
    return rows[kind].value_kind;
}

/* ---- Taking values from outside ---- */

static bool take_integer(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    if (token->kind == TOKEN_INTEGER) {
        write_integer(out, token->integer);
        return true;
    }
    /* 2^63 is a float but no integer any more; NaN fails the comparisons. */
    /* cppcheck-suppress incorrectLogicOperator; it does not read hexadecimal floats */
    if (token->kind == TOKEN_FLOAT && token->real >= -0x1p63 && token->real < 0x1p63 &&
        trunc(token->real) == token->real) {
        write_integer(out, (int64_t)token->real);
        return true;
    }
    return false;
}

static bool take_float(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    if (token->kind == TOKEN_INTEGER) {
        write_float(out, (double)token->integer);
        return true;
    }
    if (token->kind == TOKEN_FLOAT && isfinite(token->real)) {
        write_float(out, token->real == 0 ? 0.0 : token->real);
        return true;
    }
    return false;
}

static bool take_boolean(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    if (token->kind != TOKEN_BOOLEAN) {
        return false;
    }
    write_boolean(out, token->boolean);
    return true;
}

static bool is_text(const struct token *token)
{
    return token->kind == TOKEN_STRING || token->kind == TOKEN_BINARY;
}

static bool take_string(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    if (!is_text(token) || !utf8_valid(token->bytes, token->size)) {
        return false;
    }
    write_string(out, token->bytes, token->size);
    return true;
}

static bool take_binary(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    if (!is_text(token)) {
        return false;
    }
    write_binary(out, token->bytes, token->size);
    return true;
}

static bool take_datetime(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    struct datetime datetime;
    bool taken = is_text(token) ? datetime_parse((const char *)token->bytes, token->size, &datetime)
                                : token_datetime(token, &datetime);
    if (taken) {
        write_datetime(out, &datetime);
    }
    return taken;
}

/* The canonical text of a uuid, lower-case, hyphens in their places. */
static bool read_uuid(const uint8_t *text, size_t size, char out[TYPE_UUID_TEXT])
{
    if (size != TYPE_UUID_TEXT) {
        return false;
    }
    for (size_t i = 0; i < TYPE_UUID_TEXT; i++) {
        uint8_t c = text[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-') {
                return false;
            }
        } else if (c >= 'A' && c <= 'F') {
            c = (uint8_t)(c + ('a' - 'A'));
        } else if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
            return false;
        }
        out[i] = (char)c;
    }
    return true;
}

static bool take_uuid(const struct type *type, const struct token *token, struct buffer *out)
{
    (void)type;
    char text[TYPE_UUID_TEXT];
    if (!is_text(token) || !read_uuid(token->bytes, token->size, text)) {
        return false;
    }
    write_string(out, text, sizeof(text));
    return true;
}

static bool is_member(const struct type *type, const uint8_t *text, size_t size)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        if (strlen(type->members[i]) == size && memcmp(type->members[i], text, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool take_enum(const struct type *type, const struct token *token, struct buffer *out)
{
    if (!is_text(token) || !is_member(type, token->bytes, token->size)) {
        return false;
    }
    write_string(out, token->bytes, token->size);
    return true;
}

/* ---- Faults ---- */

static void describe_token(const struct token *token, char out[DESCRIPTION_MAX])
{
    struct value value = value_nil();
    switch (token->kind) {
    case TOKEN_BOOLEAN:
        value = (struct value){.kind = VALUE_BOOLEAN, .boolean = token->boolean};
        break;
    case TOKEN_INTEGER:
        value = (struct value){.kind = VALUE_INTEGER, .integer = token->integer};
        break;
    case TOKEN_FLOAT:
        value = (struct value){.kind = VALUE_FLOAT, .real = token->real};
        break;
    case TOKEN_STRING:
        if (!utf8_valid(token->bytes, token->size)) {
            snprintf(out, DESCRIPTION_MAX, "text that is not UTF-8");
            return;
        }
        value = (struct value){.kind = VALUE_TEXT, .size = token->size, .bytes = token->bytes};
        break;
    case TOKEN_UNSIGNED:
        snprintf(out, DESCRIPTION_MAX, "%" PRIu64 ", beyond 64 bits signed", token->natural);
        return;
    case TOKEN_NIL:
        break;
    case TOKEN_BINARY:
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_EXTENSION:
    case TOKEN_INVALID:
        snprintf(out, DESCRIPTION_MAX, "%s", token_describe(token));
        return;
    }
    value_describe(&value, out, DESCRIPTION_MAX);
}

static void list_members(const struct type *type, char *out, size_t out_size)
{
    size_t used = 0;
    for (unsigned i = 0; i < type->member_count && used < out_size; i++) {
        int more =
            snprintf(out + used, out_size - used, "%s%s", i > 0 ? ", " : "", type->members[i]);
        used += more > 0 ? (size_t)more : 0;
    }
}

static int refuse_enum(const struct type *type, const struct token *token, struct error *error)
{
    char members[200] = "", came[DESCRIPTION_MAX];
    list_members(type, members, sizeof(members));
    describe_token(token, came);
    struct nearest nearest = {.best = NULL};
    if (is_text(token)) {
        nearest_init(&nearest, (const char *)token->bytes, token->size);
        for (unsigned i = 0; i < type->member_count; i++) {
            nearest_offer(&nearest, type->members[i]);
        }
    }
    if (nearest.best != NULL) {
        return error_set(error, CODE_INVALID_VALUE, "expected one of %s, got %s (did you mean %s?)",
                         members, came, nearest.best);
    }
    return error_set(error, CODE_INVALID_VALUE, "expected one of %s, got %s", members, came);
}

static int refuse(const struct type *type, const struct token *token, struct error *error)
{
    if (type->kind == TYPE_ENUM) {
        return refuse_enum(type, token, error);
    }
    char came[DESCRIPTION_MAX];
    describe_token(token, came);
    return error_set(error, CODE_INVALID_VALUE, "expected %s, got %s", rows[type->kind].expected,
                     came);
}

static int refuse_cut(struct error *error)
{
    return error_set(error, CODE_INVALID_VALUE, "expected a value, got bytes that are cut short");
}

/* ---- any ---- */

/* One token of a value of type any; what stands within is seen by the caller. */
static int check_any_token(const struct token *token, struct error *error)
{
    struct datetime datetime;
    char came[DESCRIPTION_MAX];
    switch (token->kind) {
    case TOKEN_UNSIGNED:
        describe_token(token, came);
        return error_set(error, CODE_INVALID_VALUE, "expected integers within 64 bits, got %s",
                         came);
    case TOKEN_FLOAT:
        return isfinite(token->real)
                   ? 0
                   : error_set(error, CODE_INVALID_VALUE, "expected finite numbers, got %s",
                               isnan(token->real) ? "NaN" : "an infinity");
    case TOKEN_STRING:
        return utf8_valid(token->bytes, token->size)
                   ? 0
                   : error_set(error, CODE_INVALID_VALUE, "expected UTF-8, got text that is not");
    case TOKEN_EXTENSION:
        return token_datetime(token, &datetime)
                   ? 0
                   : error_set(error, CODE_INVALID_VALUE,
                               "expected no extensions but timestamps, got %s",
                               token_describe(token));
    case TOKEN_INVALID:
        return refuse_cut(error);
    case TOKEN_NIL:
    case TOKEN_BOOLEAN:
    case TOKEN_INTEGER:
    case TOKEN_BINARY:
    case TOKEN_ARRAY:
    case TOKEN_MAP:
        break;
    }
    return 0;
}

static int check_any(const uint8_t *bytes, size_t size, struct error *error)
{
    struct reader in = reader_of(bytes, size);
    while (in.at < in.end) {
        struct token token = reader_next(&in);
        int status = check_any_token(&token, error);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static int take_any(struct reader *in, struct buffer *out, struct error *error)
{
    const uint8_t *bytes;
    size_t size;
    if (!reader_value(in, &bytes, &size)) {
        return refuse_cut(error);
    }
    int status = check_any(bytes, size, error);
    if (status != 0) {
        return status;
    }
    size_t before = out->size;
    struct reader value = reader_of(bytes, size);
    if (write_shortest(out, &value, TYPE_ANY_LEVELS_MAX) != 0) {
        buffer_truncate(out, before);
        return error_set(error, CODE_INVALID_VALUE, "expected at most %d levels of lists and maps",
                         TYPE_ANY_LEVELS_MAX);
    }
    return 0;
}

/* ---- The face ---- */

/* How many bytes an integer has that is plainly in its shortest encoding
 * already (small, or positive within 32 bits); 0 for all others. */
static inline size_t shortest_integer(const uint8_t *at, size_t left)
{
    switch (*at) {
    case 0xcc:
        return left >= 2 && at[1] > INT8_MAX ? 2 : 0;
    case 0xcd:
        return left >= 3 && load16(at + 1) > UINT8_MAX ? 3 : 0;
    case 0xce:
        return left >= 5 && load32(at + 1) > UINT16_MAX ? 5 : 0;
    default:
        return *at <= INT8_MAX || *at >= 0xe0 ? 1 : 0;
    }
}

/* Most integers and texts come in the canonical encoding: they are copied. */
static inline bool take_short(const struct type *type, struct reader *in, struct buffer *out)
{
    size_t left = (size_t)(in->end - in->at);
    if (left == 0 || in->failed) {
        return false;
    }
    size_t size = 0;
    if (type->kind == TYPE_INTEGER) {
        size = shortest_integer(in->at, left);
    } else if (type->kind == TYPE_STRING && (*in->at & 0xe0) == 0xa0) {
        size = (*in->at & 0x1fu) + 1u;
        size = size <= left && utf8_valid(in->at + 1, size - 1) ? size : 0;
    }
    if (size > 0) {
        buffer_append(out, in->at, size);
        in->at += size;
        return true;
    }
    return false;
}

int type_take(const struct type *type, struct reader *in, struct buffer *out, struct error *error)
{
    if (take_short(type, in, out)) {
        return 0;
    }
    take_function *take = rows[type->kind].take;
    if (take == NULL) {
        return take_any(in, out, error);
    }
    struct token token = reader_next(in);
    if (take(type, &token, out)) {
        return 0;
    }
    if (token.kind == TOKEN_INVALID) {
        return refuse_cut(error);
    }
    int status = refuse(type, &token, error);
    /* The reader is to be past the value, whatever it was. */
    uint64_t inside = token.kind == TOKEN_MAP     ? (uint64_t)token.count * 2
                      : token.kind == TOKEN_ARRAY ? token.count
                                                  : 0;
    while (inside > 0 && reader_skip(in)) {
        inside--;
    }
    return status;
}

/* What most fields hold, without the reader. */
static inline bool load_short(const uint8_t *bytes, struct value *out)
{
    uint8_t first = bytes[0];
    if ((first & 0xe0) == 0xa0) {
        out->kind = VALUE_TEXT;
        out->size = first & 0x1fu;
        out->bytes = bytes + 1;
        return true;
    }
    out->kind = VALUE_INTEGER;
    switch (first) {
    case 0xc0:
        out->kind = VALUE_NIL;
        return true;
    case 0xcc:
        out->integer = bytes[1];
        return true;
    case 0xcd:
        out->integer = load16(bytes + 1);
        return true;
    case 0xce:
        out->integer = load32(bytes + 1);
        return true;
    default:
        out->integer = (int64_t)(int8_t)first;
        return first <= INT8_MAX || first >= 0xe0;
    }
}

void type_load(const struct type *type, const uint8_t *bytes, size_t size, struct value *out)
{
    if (type->kind == TYPE_ANY && bytes[0] != 0xc0) {
        *out = (struct value){.kind = VALUE_ANY, .size = (uint32_t)size, .bytes = bytes};
        return;
    }
    if (load_short(bytes, out)) {
        return;
    }
    struct reader in = reader_of(bytes, size);
    struct token token = reader_next(&in);
    switch (token.kind) {
    case TOKEN_INTEGER:
        out->kind = VALUE_INTEGER;
        out->integer = token.integer;
        return;
    case TOKEN_STRING:
        out->kind = VALUE_TEXT;
        out->size = token.size;
        out->bytes = token.bytes;
        return;
    case TOKEN_NIL:
        out->kind = VALUE_NIL;
        return;
    case TOKEN_BOOLEAN:
        out->kind = VALUE_BOOLEAN;
        out->boolean = token.boolean;
        return;
    case TOKEN_FLOAT:
        out->kind = VALUE_FLOAT;
        out->real = token.real;
        return;
    case TOKEN_BINARY:
        out->kind = VALUE_BINARY;
        out->size = token.size;
        out->bytes = token.bytes;
        return;
    case TOKEN_EXTENSION:
        out->kind = VALUE_DATETIME;
        CHECK(token_datetime(&token, &out->datetime));
        return;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_UNSIGNED:
    case TOKEN_INVALID:
        break;
    }
    check_failed("stored values are of their field's type", __FILE__, __LINE__);
}

bool type_read_text(const struct type *type, const char *text, size_t size,
                    char room[TYPE_UUID_TEXT], struct value *out)
{
    const uint8_t *bytes = (const uint8_t *)text;
    switch (type->kind) {
    case TYPE_DATETIME:
        out->kind = VALUE_DATETIME;
        return datetime_parse(text, size, &out->datetime);
    case TYPE_UUID:
        *out = (struct value){
            .kind = VALUE_TEXT, .size = TYPE_UUID_TEXT, .bytes = (const uint8_t *)room};
        return read_uuid(bytes, size, room);
    case TYPE_ENUM:
        *out = (struct value){.kind = VALUE_TEXT, .size = (uint32_t)size, .bytes = bytes};
        return is_member(type, bytes, size);
    case TYPE_STRING:
        *out = (struct value){.kind = VALUE_TEXT, .size = (uint32_t)size, .bytes = bytes};
        return true;
    case TYPE_BINARY:
        *out = (struct value){.kind = VALUE_BINARY, .size = (uint32_t)size, .bytes = bytes};
        return true;
    case TYPE_INTEGER:
    case TYPE_FLOAT:
    case TYPE_BOOLEAN:
    case TYPE_ANY:
    case TYPE_COUNT:
        break;
    }
    return false;
}

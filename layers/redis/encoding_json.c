#include "layers/redis/encoding_inner.h"

#include <string.h>

#include "layers/redis/decimal.h"
#include "layers/redis/json_reader.h"
#include "layers/type.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* A string with one JSON object, as it is read; encoding_json_write.c writes.
 *
 * What the schema does not know is only gone through, and stays byte for byte as it
 * was. Names within a value may stand twice, since values of type any may come so
 * from callers. */

enum { LEVELS_MAX = TYPE_ANY_LEVELS_MAX };

/* ---- Values ---- */

/* An object or array whose size is known when it is closed. */
struct level {
    size_t mark;
    uint32_t count;
    bool object;
};

/* JSON on its way to MessagePack. */
struct conversion {
    struct json_reader in;
    struct buffer *out;
    bool real; /* a float is wanted: integers may be larger than 64 bits */
    unsigned depth;
    struct level levels[LEVELS_MAX];
    struct error *error;
};

static int refuse(const struct json_token *token, const char *expected, struct error *error)
{
    char came[100];
    if (token->size == 0) {
        return error_set(error, CODE_INVALID_VALUE, "expected %s, got the end of the text",
                         expected);
    }
    describe_bytes(token->bytes, token->size, came, sizeof(came));
    return error_set(error, CODE_INVALID_VALUE, "expected %s, got %s", expected, came);
}

static int convert_number(struct conversion *to, const struct json_token *token)
{
    int64_t integer;
    double real;
    bool is_real = memchr(token->bytes, '.', token->size) != NULL ||
                   memchr(token->bytes, 'e', token->size) != NULL ||
                   memchr(token->bytes, 'E', token->size) != NULL;
    bool zero = token->size == 2 && memcmp(token->bytes, "-0", 2) == 0;
    if (zero || decimal_read(token->bytes, token->size, &integer)) {
        write_integer(to->out, zero ? 0 : integer);
        return 0;
    }
    if ((is_real || to->real) && real_read(token->bytes, token->size, &real)) {
        write_float(to->out, real);
        return 0;
    }
    return refuse(token, is_real ? "a number that a float can be" : "an integer within 64 bits",
                  to->error);
}

static int convert_text(struct conversion *to, const struct json_token *token)
{
    if (!token->escaped) {
        write_string(to->out, token->bytes + 1, token->size - 2);
        return 0;
    }
    struct buffer text = BUFFER_INIT;
    int status = json_text(token, &text)
                     ? 0
                     : refuse(token, "Unicode, without half of a surrogate pair", to->error);
    if (status == 0) {
        write_string(to->out, text.bytes, text.size);
    }
    to->out->failed |= text.failed;
    buffer_release(&text);
    return status;
}

static int convert_open(struct conversion *to, bool object)
{
    if (to->depth == LEVELS_MAX) {
        return error_set(to->error, CODE_INVALID_VALUE,
                         "expected at most %d levels of lists and maps", TYPE_ANY_LEVELS_MAX);
    }
    to->levels[to->depth++] = (struct level){.mark = write_open(to->out), .object = object};
    return 0;
}

static void convert_close(struct conversion *to)
{
    const struct level *level = &to->levels[--to->depth];
    if (level->object) {
        write_close_map(to->out, level->mark, level->count);
    } else {
        write_close_array(to->out, level->mark, level->count);
    }
}

static int convert_token(struct conversion *to, const struct json_token *token)
{
    /* Names are counted, not their values. */
    if (to->depth > 0 && token->kind != JSON_TOKEN_CLOSE) {
        struct level *level = &to->levels[to->depth - 1];
        level->count += !level->object || token->kind == JSON_TOKEN_NAME ? 1 : 0;
    }
    switch (token->kind) {
    case JSON_TOKEN_NAME:
    case JSON_TOKEN_STRING:
        return convert_text(to, token);
    case JSON_TOKEN_NUMBER:
        return convert_number(to, token);
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        write_boolean(to->out, token->kind == JSON_TOKEN_TRUE);
        return 0;
    case JSON_TOKEN_NULL:
        write_nil(to->out);
        return 0;
    case JSON_TOKEN_OBJECT:
    case JSON_TOKEN_ARRAY:
        return convert_open(to, token->kind == JSON_TOKEN_OBJECT);
    case JSON_TOKEN_CLOSE:
        convert_close(to);
        return 0;
    case JSON_TOKEN_INVALID:
    case JSON_TOKEN_END:
        break;
    }
    return refuse(token, "JSON", to->error);
}

/* One JSON text as MessagePack. */
static int convert(struct conversion *to)
{
    struct json_token token = json_next(&to->in);
    int status = convert_token(to, &token);
    while (status == 0 && (token = json_next(&to->in)).kind != JSON_TOKEN_END) {
        status = convert_token(to, &token);
    }
    return status;
}

/* The value of a field, on its way as MessagePack. */
static int refuse_value(const struct buffer *value, const char *expected, struct error *error)
{
    struct reader in = reader_of(value->bytes, value->size);
    struct token token = reader_next(&in);
    char came[100];
    if (token.kind != TOKEN_STRING) {
        return error_set(error, CODE_INVALID_VALUE, "expected %s, got %s", expected,
                         token_describe(&token));
    }
    describe_bytes(token.bytes, token.size, came, sizeof(came));
    return error_set(error, CODE_INVALID_VALUE, "expected %s, got %s", expected, came);
}

static int take_binary(const struct buffer *text, struct buffer *out, struct error *error)
{
    struct reader in = reader_of(text->bytes, text->size);
    struct token token = reader_next(&in);
    struct buffer bytes = BUFFER_INIT;
    int status = 0;
    if (token.kind == TOKEN_STRING && base64_read(token.bytes, token.size, &bytes)) {
        write_binary(out, bytes.bytes, bytes.size);
    } else if (bytes.failed) {
        status = -CODE_OVERLOADED;
    } else {
        status = refuse_value(text, "binary as base64", error);
    }
    buffer_release(&bytes);
    return status;
}

static int take_converted(const struct type *type, const struct buffer *value, struct buffer *out,
                          struct error *error)
{
    if (value->bytes[0] == 0xc0) {
        write_nil(out);
        return 0;
    }
    if (type->kind == TYPE_BINARY) {
        return take_binary(value, out, error);
    }
    struct reader in = reader_of(value->bytes, value->size);
    int status = type_take(type, &in, out, error);
    /* JSON has no timestamps, which a caller may give. */
    return status == -CODE_INVALID_VALUE && type->kind == TYPE_DATETIME
               ? refuse_value(value, "a datetime (ISO 8601 text)", error)
               : status;
}

static int take(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *scratch,
                struct buffer *out, struct error *error)
{
    struct conversion conversion;
    conversion.out = scratch;
    conversion.real = type->kind == TYPE_FLOAT;
    conversion.depth = 0;
    conversion.error = error;
    json_reader_init(&conversion.in, bytes, size);
    buffer_truncate(scratch, 0);
    int status = convert(&conversion);
    if (scratch->failed) {
        status = -CODE_OVERLOADED;
    }
    if (status == 0) {
        status = take_converted(type, scratch, out, error);
    }
    buffer_truncate(scratch, 0);
    return status;
}

const struct value_form json_form = {.take = take, .put = json_put};

/* ---- Objects ---- */

static int open_document(struct document *document, const uint8_t *bytes, size_t size,
                         struct error *error)
{
    json_reader_init(&document->json, bytes, size);
    struct json_token token = json_next(&document->json);
    if (token.kind == JSON_TOKEN_OBJECT) {
        return 0;
    }
    token.size = (size_t)(document->json.end - token.bytes);
    return refuse(&token, "a JSON object", error);
}

/* Most names stand there as they are. */
static int read_name(struct document *document, const struct json_token *token,
                     struct member *member)
{
    member->name = token->bytes + 1;
    member->name_size = token->size - 2;
    if (!token->escaped) {
        return 0;
    }
    /* A name that UTF-8 cannot tell is nobody's. */
    buffer_truncate(&document->name, 0);
    bool known = json_text(token, &document->name);
    member->name = document->name.bytes;
    member->name_size = known ? document->name.size : 0;
    return document->name.failed ? -CODE_OVERLOADED : 0;
}

static int next(struct document *document, struct member *member, struct error *error)
{
    struct json_reader *in = &document->json;
    struct json_token token = json_next(in);
    if (token.kind == JSON_TOKEN_CLOSE) {
        token = json_next(in);
        return token.kind == JSON_TOKEN_END ? 0 : refuse(&token, "one JSON object alone", error);
    }
    if (token.kind != JSON_TOKEN_NAME) {
        return refuse(&token, "a member of the JSON object, or its end", error);
    }
    int status = read_name(document, &token, member);
    if (status != 0) {
        return status;
    }
    member->whole = token.bytes;
    member->value = json_peek(in);
    if (!json_skip(in)) {
        if (in->too_deep) {
            return error_set(error, CODE_INVALID_VALUE,
                             "expected JSON of at most %d levels, its own object included, got one "
                             "that is nested deeper",
                             JSON_READER_LEVELS_MAX);
        }
        token = json_next(in);
        return refuse(&token, "a value in the JSON object", error);
    }
    member->value_size = (size_t)(in->at - member->value);
    member->whole_size = (size_t)(in->at - member->whole);
    return 1;
}

/* ---- Writing members ---- */

static size_t open_map(struct buffer *out)
{
    buffer_byte(out, '{');
    return 0;
}

static void put_comma(struct buffer *out, uint32_t members)
{
    if (members > 0) {
        buffer_byte(out, ',');
    }
}

static void put_name(struct buffer *out, uint32_t members, const void *name, size_t size)
{
    put_comma(out, members);
    json_put_text(out, name, size);
    buffer_byte(out, ':');
}

static void put_whole(struct buffer *out, uint32_t members, const struct member *member)
{
    put_comma(out, members);
    buffer_append(out, member->whole, member->whole_size);
}

static void close_map(struct buffer *out, size_t mark, uint32_t members)
{
    (void)mark;
    (void)members;
    buffer_byte(out, '}');
}

const struct document_form json_document = {
    .values = &json_form,
    .open = open_document,
    .next = next,
    .open_map = open_map,
    .put_name = put_name,
    .put_whole = put_whole,
    .close_map = close_map,
};

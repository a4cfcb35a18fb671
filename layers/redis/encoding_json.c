#include "layers/redis/encoding_inner.h"

#include <jansson.h>
#include <string.h>

#include "layers/type.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* A string with one JSON object, as it is read; encoding_json_write.c writes.
 *
 * The object is gone through here, and only the values of its members are given to
 * jansson: so that what the schema does not know stays byte for byte as it was,
 * and numbers in it may be of any size. Names within a value may stand twice (the
 * last counts), since values of type any may come so from callers. */

enum { LEVELS_MAX = TYPE_ANY_LEVELS_MAX + 1 };

/* ---- Values ---- */

struct level {
    json_t *container;
    void *member; /* of an object: the next */
    size_t index; /* of an array: the next */
};

static void write_scalar(const json_t *value, struct buffer *out)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        write_string(out, json_string_value(value), json_string_length(value));
        return;
    case JSON_INTEGER:
        write_integer(out, json_integer_value(value));
        return;
    case JSON_REAL:
        write_float(out, json_real_value(value));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        write_boolean(out, json_is_true(value));
        return;
    case JSON_NULL:
    case JSON_OBJECT:
    case JSON_ARRAY:
        write_nil(out);
        return;
    }
}

/* The next value within the container, or NULL; of a member the name is written. */
static json_t *next_within(struct level *level, struct buffer *out)
{
    if (json_is_array(level->container)) {
        return json_array_get(level->container, level->index++);
    }
    if (level->member == NULL) {
        return NULL;
    }
    json_t *value = json_object_iter_value(level->member);
    const char *name = json_object_iter_key(level->member);
    write_string(out, name, strlen(name));
    level->member = json_object_iter_next(level->container, level->member);
    return value;
}

static void write_head(json_t *container, struct buffer *out)
{
    if (json_is_array(container)) {
        write_array(out, (uint32_t)json_array_size(container));
    } else {
        write_map(out, (uint32_t)json_object_size(container));
    }
}

/* JSON as MessagePack; false where it is nested too deep. */
static bool write_value(json_t *value, struct buffer *out)
{
    struct level levels[LEVELS_MAX];
    unsigned depth = 0;
    while (value != NULL) {
        if (!json_is_array(value) && !json_is_object(value)) {
            write_scalar(value, out);
        } else if (depth == LEVELS_MAX) {
            return false;
        } else {
            write_head(value, out);
            levels[depth++] = (struct level){.container = value, .member = json_object_iter(value)};
        }
        value = NULL;
        while (value == NULL && depth > 0) {
            value = next_within(&levels[depth - 1], out);
            depth -= value == NULL ? 1 : 0;
        }
    }
    return true;
}

/* NULL with the error that says why. */
static json_t *parse(const uint8_t *bytes, size_t size, size_t flags, struct error *error)
{
    json_error_t fault;
    json_t *value =
        json_loadb((const char *)bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | flags, &fault);
    if (value != NULL) {
        return value;
    }
    switch (json_error_code(&fault)) {
    case json_error_out_of_memory:
        error_set(error, CODE_OVERLOADED, "no memory for JSON");
        break;
    case json_error_numeric_overflow:
        error_set(error, CODE_INVALID_VALUE, "expected numbers within 64 bits, got %s", fault.text);
        break;
    default:
        error_set(error, CODE_INVALID_VALUE, "expected JSON, got something else: %s", fault.text);
        break;
    }
    return NULL;
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
    } else if (token.kind == TOKEN_STRING) {
        char came[100];
        describe_bytes(token.bytes, token.size, came, sizeof(came));
        status = error_set(error, CODE_INVALID_VALUE, "expected binary as base64, got %s", came);
    } else {
        status = error_set(error, CODE_INVALID_VALUE, "expected binary as base64, got %s",
                           token_describe(&token));
    }
    buffer_release(&bytes);
    return status;
}

static int take_written(const struct type *type, const struct buffer *value, struct buffer *out,
                        struct error *error)
{
    if (value->failed) {
        return -CODE_OVERLOADED;
    }
    if (value->bytes[0] == 0xc0) {
        write_nil(out);
        return 0;
    }
    if (type->kind == TYPE_BINARY) {
        return take_binary(value, out, error);
    }
    struct reader in = reader_of(value->bytes, value->size);
    return type_take(type, &in, out, error);
}

static int take(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *scratch,
                struct buffer *out, struct error *error)
{
    struct error fault = ERROR_INIT;
    /* An integer may be as large as a float can be, where one is wanted. */
    size_t flags = type->kind == TYPE_FLOAT ? JSON_DECODE_INT_AS_REAL : 0;
    json_t *value = parse(bytes, size, flags, &fault);
    if (value == NULL) {
        return error_set(error, fault.code, "%s", fault.message);
    }
    buffer_truncate(scratch, 0);
    int status =
        write_value(value, scratch)
            ? take_written(type, scratch, out, error)
            : error_set(error, CODE_INVALID_VALUE, "expected at most %d levels of lists and maps",
                        TYPE_ANY_LEVELS_MAX);
    json_decref(value);
    buffer_truncate(scratch, 0);
    return status;
}

const struct value_form json_form = {.take = take, .put = json_put};

/* ---- Objects ---- */

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/* The next byte that is no blank; zero at the end. */
static uint8_t skip_space(struct document *in)
{
    while (in->at < in->end && is_space(*in->at)) {
        in->at++;
    }
    return in->at < in->end ? *in->at : '\0';
}

static bool skip_string(struct document *in)
{
    for (in->at++; in->at < in->end; in->at++) {
        if (*in->at == '"') {
            in->at++;
            return true;
        }
        in->at += *in->at == '\\' && in->end - in->at > 1 ? 1 : 0;
    }
    return false;
}

static bool skip_scalar(struct document *in)
{
    const uint8_t *start = in->at;
    while (in->at < in->end && !is_space(*in->at) && memchr(",:[]{}\"", *in->at, 7) == NULL) {
        in->at++;
    }
    return in->at > start;
}

/* Finds where a value ends; what it is, is seen by whoever reads it. */
static bool skip_value(struct document *in)
{
    size_t depth = 0;
    do {
        uint8_t byte = skip_space(in);
        bool well = true;
        if (byte == '"') {
            well = skip_string(in);
        } else if (byte == '{' || byte == '[') {
            depth++;
            in->at++;
        } else if (depth > 0 && byte != '\0') {
            depth -= byte == '}' || byte == ']' ? 1 : 0;
            in->at++;
        } else {
            well = skip_scalar(in);
        }
        if (!well) {
            return false;
        }
    } while (depth > 0);
    return true;
}

static int refuse(const struct document *in, const char *expected, struct error *error)
{
    char came[100];
    size_t left = (size_t)(in->end - in->at);
    if (left == 0) {
        return error_set(error, CODE_INVALID_VALUE, "expected %s, got the end of the text",
                         expected);
    }
    describe_bytes(in->at, left, came, sizeof(came));
    return error_set(error, CODE_INVALID_VALUE, "expected %s, got %s", expected, came);
}

static int open_document(struct document *document, const uint8_t *bytes, size_t size,
                         struct error *error)
{
    document->at = bytes;
    document->end = bytes + size;
    if (skip_space(document) != '{') {
        return refuse(document, "a JSON object", error);
    }
    document->at++;
    return 0;
}

/* Most names stand there as they are. */
static int read_name(struct document *document, struct member *member, struct error *error)
{
    const uint8_t *quoted = member->whole;
    size_t size = (size_t)(document->at - quoted);
    member->name = quoted + 1;
    member->name_size = size - 2;
    if (memchr(quoted, '\\', size) == NULL) {
        return 0;
    }
    struct error fault = ERROR_INIT;
    json_t *name = parse(quoted, size, 0, &fault);
    if (name == NULL) {
        return error_set(error, fault.code, "%s", fault.message);
    }
    buffer_truncate(&document->name, 0);
    buffer_append(&document->name, json_string_value(name), json_string_length(name));
    json_decref(name);
    member->name = document->name.bytes;
    member->name_size = document->name.size;
    return document->name.failed ? -CODE_OVERLOADED : 0;
}

static int next(struct document *document, struct member *member, struct error *error)
{
    uint8_t byte = skip_space(document);
    if (byte == '}') {
        document->at++;
        return skip_space(document) == '\0' && document->at == document->end
                   ? 0
                   : refuse(document, "one JSON object alone", error);
    }
    if (document->members > 0) {
        if (byte != ',') {
            return refuse(document, "a comma between two members of the JSON object", error);
        }
        document->at++;
        byte = skip_space(document);
    }
    member->whole = document->at;
    if (byte != '"' || !skip_string(document)) {
        return refuse(document, "a name in the JSON object", error);
    }
    int status = read_name(document, member, error);
    if (status != 0) {
        return status;
    }
    if (skip_space(document) != ':') {
        return refuse(document, "a colon behind a name in the JSON object", error);
    }
    document->at++;
    skip_space(document);
    member->value = document->at;
    if (!skip_value(document)) {
        return refuse(document, "a value in the JSON object", error);
    }
    member->value_size = (size_t)(document->at - member->value);
    member->whole_size = (size_t)(document->at - member->whole);
    document->members++;
    return 1;
}

static int check(const struct member *member, struct error *error)
{
    struct error fault = ERROR_INIT;
    json_t *value = parse(member->value, member->value_size, JSON_DECODE_INT_AS_REAL, &fault);
    if (value == NULL) {
        return error_set(error, fault.code, "%s", fault.message);
    }
    json_decref(value);
    return 0;
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
    .check = check,
    .open_map = open_map,
    .put_name = put_name,
    .put_whole = put_whole,
    .close_map = close_map,
};

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* The public msgpack-test-suite (its dist/msgpack-test-suite.json), where the
 * environment names a copy of it in RELATA_MSGPACK_VECTORS. Our own vectors
 * stand in test_reader.c and test_writer.c and always run. */

static void from_hex(struct buffer *out, const char *hex)
{
    while (*hex != '\0') {
        if (*hex == '-') {
            hex++;
            continue;
        }
        char digits[3] = {hex[0], hex[1], '\0'};
        buffer_byte(out, (uint8_t)strtoul(digits, NULL, 16));
        hex += 2;
    }
}

/* Whether `body` is what the hexadecimal text of a vector says. */
static bool bytes_are(const struct token *token, const char *hex)
{
    struct buffer expected = BUFFER_INIT;
    from_hex(&expected, hex);
    bool same = token->size == expected.size &&
                (expected.size == 0 || memcmp(token->bytes, expected.bytes, expected.size) == 0);
    buffer_release(&expected);
    return same;
}

/* A number may stand as a float or as an integer, whatever JSON says. */
static bool number_is(const struct token *token, const json_t *expected)
{
    if (token->kind == TOKEN_FLOAT) {
        return token->real == json_number_value(expected);
    }
    if (token->kind == TOKEN_UNSIGNED) {
        return (double)token->natural == json_number_value(expected);
    }
    return token->kind == TOKEN_INTEGER && json_is_integer(expected) &&
           token->integer == json_integer_value(expected);
}

/* Floats cannot tell all of 64 bits; the suite leaves them out where they differ. */
static bool bignum_is(const struct token *token, const char *expected)
{
    if (token->kind == TOKEN_FLOAT) {
        return token->real == strtod(expected, NULL);
    }
    if (token->kind == TOKEN_UNSIGNED) {
        return token->natural == strtoull(expected, NULL, 10);
    }
    return token->kind == TOKEN_INTEGER && token->integer == strtoll(expected, NULL, 10);
}

static bool text_is(const struct token *token, const char *expected, size_t size)
{
    return token->kind == TOKEN_STRING && token->size == size &&
           (size == 0 || memcmp(token->bytes, expected, size) == 0);
}

static bool value_is(struct reader *in, json_t *expected);

static bool array_is(struct reader *in, const struct token *token, json_t *expected)
{
    if (token->kind != TOKEN_ARRAY || token->count != json_array_size(expected)) {
        return false;
    }
    for (size_t i = 0; i < token->count; i++) {
        if (!value_is(in, json_array_get(expected, i))) {
            return false;
        }
    }
    return true;
}

static bool map_is(struct reader *in, const struct token *token, json_t *expected)
{
    if (token->kind != TOKEN_MAP || token->count != json_object_size(expected)) {
        return false;
    }
    const char *key;
    json_t *value;
    json_object_foreach(expected, key, value)
    {
        struct token name = reader_next(in);
        if (!text_is(&name, key, strlen(key)) || !value_is(in, value)) {
            return false;
        }
    }
    return true;
}

static bool value_is(struct reader *in, json_t *expected)
{
    struct token token = reader_next(in);
    switch (json_typeof(expected)) {
    case JSON_NULL:
        return token.kind == TOKEN_NIL;
    case JSON_TRUE:
    case JSON_FALSE:
        return token.kind == TOKEN_BOOLEAN && token.boolean == json_is_true(expected);
    case JSON_INTEGER:
    case JSON_REAL:
        return number_is(&token, expected);
    case JSON_STRING:
        return text_is(&token, json_string_value(expected), json_string_length(expected));
    case JSON_ARRAY:
        return array_is(in, &token, expected);
    case JSON_OBJECT:
        return map_is(in, &token, expected);
    }
    return false;
}

static bool timestamp_is(const struct token *token, json_t *expected)
{
    struct datetime datetime;
    return token_datetime(token, &datetime) &&
           datetime.seconds == json_integer_value(json_array_get(expected, 0)) &&
           datetime.nanoseconds == json_integer_value(json_array_get(expected, 1));
}

static bool extension_is(const struct token *token, json_t *expected)
{
    return token->kind == TOKEN_EXTENSION &&
           token->extension == json_integer_value(json_array_get(expected, 0)) &&
           bytes_are(token, json_string_value(json_array_get(expected, 1)));
}

/* One encoding of one vector. */
static bool encoding_is(const struct buffer *bytes, json_t *vector)
{
    struct reader reader = reader_of(bytes->bytes, bytes->size);
    struct reader whole = reader;
    json_t *expected;
    bool same = false;
    if ((expected = json_object_get(vector, "binary")) != NULL) {
        struct token token = reader_next(&reader);
        same = token.kind == TOKEN_BINARY && bytes_are(&token, json_string_value(expected));
    } else if ((expected = json_object_get(vector, "timestamp")) != NULL) {
        struct token token = reader_next(&reader);
        same = timestamp_is(&token, expected);
    } else if ((expected = json_object_get(vector, "ext")) != NULL) {
        struct token token = reader_next(&reader);
        same = extension_is(&token, expected);
    } else if ((expected = json_object_get(vector, "bignum")) != NULL) {
        struct token token = reader_next(&reader);
        same = bignum_is(&token, json_string_value(expected));
    } else {
        static const char *const kinds[] = {"nil", "bool", "number", "string", "array", "map"};
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && expected == NULL; i++) {
            expected = json_object_get(vector, kinds[i]);
        }
        assert_non_null(expected);
        same = value_is(&reader, expected);
    }
    return same && reader.at == reader.end && reader_skip(&whole) && whole.at == whole.end;
}

static bool is_float(const struct buffer *bytes)
{
    struct reader reader = reader_of(bytes->bytes, bytes->size);
    return reader_peek(&reader) == TOKEN_FLOAT;
}

/* Written again, it is one of the suite's encodings and none is shorter. Floats
 * stay floats, and are written in 64 bits, so they are left out. */
static bool is_written_shortest(const struct buffer *bytes, json_t *encodings)
{
    struct buffer written = BUFFER_INIT;
    struct reader reader = reader_of(bytes->bytes, bytes->size);
    assert_int_equal(write_shortest(&written, &reader, 8), 0);
    bool listed = false, shortest = true;
    for (size_t i = 0; i < json_array_size(encodings); i++) {
        struct buffer other = BUFFER_INIT;
        from_hex(&other, json_string_value(json_array_get(encodings, i)));
        if (!is_float(&other)) {
            listed |= other.bytes != NULL && written.size == other.size &&
                      memcmp(written.bytes, other.bytes, other.size) == 0;
            shortest &= written.size <= other.size;
        }
        buffer_release(&other);
    }
    buffer_release(&written);
    return listed && shortest;
}

static size_t check_vector(const char *group, size_t index, json_t *vector)
{
    json_t *encodings = json_object_get(vector, "msgpack");
    for (size_t i = 0; i < json_array_size(encodings); i++) {
        const char *hex = json_string_value(json_array_get(encodings, i));
        struct buffer bytes = BUFFER_INIT;
        from_hex(&bytes, hex);
        if (!encoding_is(&bytes, vector)) {
            fail_msg("%s %zu: %s is read as something else", group, index, hex);
        }
        if (!is_float(&bytes) && !is_written_shortest(&bytes, encodings)) {
            fail_msg("%s %zu: %s is not written in the shortest form", group, index, hex);
        }
        buffer_release(&bytes);
    }
    return json_array_size(encodings);
}

static void the_public_suite_is_read_and_written(void **state)
{
    (void)state;
    const char *path = getenv("RELATA_MSGPACK_VECTORS");
    if (path == NULL) {
        skip();
        return;
    }
    json_error_t error;
    json_t *suite = json_load_file(path, 0, &error);
    if (suite == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    const char *group;
    json_t *vectors;
    size_t checked = 0;
    json_object_foreach(suite, group, vectors)
    {
        for (size_t i = 0; i < json_array_size(vectors); i++) {
            checked += check_vector(group, i, json_array_get(vectors, i));
        }
    }
    assert_true(checked > 200);
    json_decref(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_public_suite_is_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

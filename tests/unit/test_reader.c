#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/msgpack/reader.h"
#include "tests/lib/msgpack_random.h"

/* --- Vectors: every format at its borders ---------------------------------------- */

struct vector {
    const char *hex;
    enum token_kind kind;
    int64_t value; /* of a number; else how many bytes or items */
};

static const struct vector vectors[] = {
    {"c0", TOKEN_NIL, 0},
    {"c2", TOKEN_BOOLEAN, 0},
    {"c3", TOKEN_BOOLEAN, 1},
    {"00", TOKEN_INTEGER, 0},
    {"7f", TOKEN_INTEGER, 127},
    {"e0", TOKEN_INTEGER, -32},
    {"ff", TOKEN_INTEGER, -1},
    {"cc 00", TOKEN_INTEGER, 0},
    {"cc 7f", TOKEN_INTEGER, 127},
    {"cc 80", TOKEN_INTEGER, 128},
    {"cc ff", TOKEN_INTEGER, 255},
    {"cd 0000", TOKEN_INTEGER, 0},
    {"cd 0100", TOKEN_INTEGER, 256},
    {"cd ffff", TOKEN_INTEGER, 65535},
    {"ce 00000000", TOKEN_INTEGER, 0},
    {"ce 00010000", TOKEN_INTEGER, 65536},
    {"ce ffffffff", TOKEN_INTEGER, 4294967295},
    {"cf 0000000000000000", TOKEN_INTEGER, 0},
    {"cf 0000000100000000", TOKEN_INTEGER, 4294967296},
    {"cf 7fffffffffffffff", TOKEN_INTEGER, INT64_MAX},
    {"cf 8000000000000000", TOKEN_UNSIGNED, INT64_MIN},
    {"cf ffffffffffffffff", TOKEN_UNSIGNED, -1},
    {"d0 00", TOKEN_INTEGER, 0},
    {"d0 7f", TOKEN_INTEGER, 127},
    {"d0 80", TOKEN_INTEGER, -128},
    {"d0 ff", TOKEN_INTEGER, -1},
    {"d0 df", TOKEN_INTEGER, -33},
    {"d1 0001", TOKEN_INTEGER, 1},
    {"d1 7fff", TOKEN_INTEGER, 32767},
    {"d1 8000", TOKEN_INTEGER, -32768},
    {"d1 ff7f", TOKEN_INTEGER, -129},
    {"d2 00000001", TOKEN_INTEGER, 1},
    {"d2 7fffffff", TOKEN_INTEGER, 2147483647},
    {"d2 80000000", TOKEN_INTEGER, -2147483648},
    {"d2 ffff7fff", TOKEN_INTEGER, -32769},
    {"d3 0000000000000001", TOKEN_INTEGER, 1},
    {"d3 7fffffffffffffff", TOKEN_INTEGER, INT64_MAX},
    {"d3 8000000000000000", TOKEN_INTEGER, INT64_MIN},
    {"d3 ffffffff7fffffff", TOKEN_INTEGER, -2147483649},
    {"ca 00000000", TOKEN_FLOAT, 0},
    {"ca 3f800000", TOKEN_FLOAT, 1},
    {"ca c0000000", TOKEN_FLOAT, -2},
    {"cb 0000000000000000", TOKEN_FLOAT, 0},
    {"cb 4059000000000000", TOKEN_FLOAT, 100},
    {"cb c000000000000000", TOKEN_FLOAT, -2},
    {"a0", TOKEN_STRING, 0},
    {"a1 61", TOKEN_STRING, 1},
    {"d9 00", TOKEN_STRING, 0},
    {"d9 01 61", TOKEN_STRING, 1},
    {"da 0000", TOKEN_STRING, 0},
    {"da 0001 61", TOKEN_STRING, 1},
    {"db 00000000", TOKEN_STRING, 0},
    {"db 00000001 61", TOKEN_STRING, 1},
    {"c4 00", TOKEN_BINARY, 0},
    {"c4 02 00ff", TOKEN_BINARY, 2},
    {"c5 0000", TOKEN_BINARY, 0},
    {"c5 0002 00ff", TOKEN_BINARY, 2},
    {"c6 00000000", TOKEN_BINARY, 0},
    {"c6 00000002 00ff", TOKEN_BINARY, 2},
    {"90", TOKEN_ARRAY, 0},
    {"91 c0", TOKEN_ARRAY, 1},
    {"dc 0000", TOKEN_ARRAY, 0},
    {"dc 0001 c0", TOKEN_ARRAY, 1},
    {"dd 00000000", TOKEN_ARRAY, 0},
    {"dd 00000001 c0", TOKEN_ARRAY, 1},
    {"80", TOKEN_MAP, 0},
    {"81 01 c0", TOKEN_MAP, 1},
    {"de 0000", TOKEN_MAP, 0},
    {"de 0001 01 c0", TOKEN_MAP, 1},
    {"df 00000000", TOKEN_MAP, 0},
    {"df 00000001 01 c0", TOKEN_MAP, 1},
    {"d4 05 01", TOKEN_EXTENSION, 1},
    {"d5 05 0102", TOKEN_EXTENSION, 2},
    {"d6 05 01020304", TOKEN_EXTENSION, 4},
    {"d7 05 0102030405060708", TOKEN_EXTENSION, 8},
    {"d8 05 0102030405060708090a0b0c0d0e0f10", TOKEN_EXTENSION, 16},
    {"c7 00 05", TOKEN_EXTENSION, 0},
    {"c7 03 05 010203", TOKEN_EXTENSION, 3},
    {"c8 0000 05", TOKEN_EXTENSION, 0},
    {"c8 0003 05 010203", TOKEN_EXTENSION, 3},
    {"c9 00000000 05", TOKEN_EXTENSION, 0},
    {"c9 00000003 05 010203", TOKEN_EXTENSION, 3},
};

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t size = 0;
    while (*hex != '\0') {
        if (*hex == ' ') {
            hex++;
            continue;
        }
        char digits[3] = {hex[0], hex[1], '\0'};
        out[size++] = (uint8_t)strtoul(digits, NULL, 16);
        hex += 2;
    }
    return size;
}

/* A copy exactly as large, so that a sanitizer sees what is read beyond it. */
static uint8_t *exactly(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

static void assert_token(const struct token *token, const struct vector *vector)
{
    assert_int_equal(token->kind, vector->kind);
    switch (token->kind) {
    case TOKEN_BOOLEAN:
        assert_int_equal(token->boolean, vector->value);
        break;
    case TOKEN_INTEGER:
        assert_true(token->integer == vector->value);
        break;
    case TOKEN_UNSIGNED:
        assert_true(token->natural == (uint64_t)vector->value);
        break;
    case TOKEN_FLOAT:
        assert_true(token->real == (double)vector->value);
        break;
    case TOKEN_ARRAY:
    case TOKEN_MAP:
        assert_int_equal(token->count, vector->value);
        break;
    case TOKEN_STRING:
    case TOKEN_BINARY:
    case TOKEN_EXTENSION:
        assert_int_equal(token->size, vector->value);
        break;
    case TOKEN_NIL:
    case TOKEN_INVALID:
        break;
    }
}

static void every_format_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        uint8_t bytes[64];
        size_t size = from_hex(vectors[i].hex, bytes);
        uint8_t *copy = exactly(bytes, size);
        struct reader reader = reader_of(copy, size);
        assert_int_equal(reader_peek(&reader), vectors[i].kind);
        struct token token = reader_next(&reader);
        assert_token(&token, &vectors[i]);
        if (token.kind == TOKEN_STRING || token.kind == TOKEN_BINARY ||
            token.kind == TOKEN_EXTENSION) {
            assert_ptr_equal(token.bytes + token.size, copy + size);
        }
        if (token.kind == TOKEN_EXTENSION) {
            assert_int_equal(token.extension, 5);
        }
        struct reader skipping = reader_of(copy, size);
        assert_true(reader_skip(&skipping));
        assert_ptr_equal(skipping.at, copy + size);
        free(copy);
    }
}

static void cut_short_anywhere_it_is_invalid(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        uint8_t bytes[64];
        size_t size = from_hex(vectors[i].hex, bytes);
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *copy = exactly(bytes, cut);
            struct reader reader = reader_of(copy, cut);
            assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
            assert_true(reader.failed);
            struct reader skipping = reader_of(copy, cut);
            assert_false(reader_skip(&skipping));
            assert_true(skipping.failed);
            free(copy);
        }
    }
}

static void sizes_at_the_borders_of_headers(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {31, 32, 255, 256, 65535, 65536, 100000};
    struct buffer buffer = BUFFER_INIT;
    struct random random = random_start("borders");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (int round = 0; round < 12; round++) {
            buffer_truncate(&buffer, 0);
            uint64_t what = random_below(&random, 3);
            enum token_kind kind = TOKEN_STRING;
            if (what == 0) {
                random_string(&random, &buffer, sizes[i]);
            } else {
                kind = what == 1 ? TOKEN_BINARY : TOKEN_EXTENSION;
                random_sized(&random, &buffer, what == 1 ? 0xc4 : 0xc7, sizes[i]);
                random_bytes(&random, &buffer, sizes[i] + (what == 1 ? 0 : 1));
            }
            struct reader reader = reader_of(buffer.bytes, buffer.size);
            struct token token = reader_next(&reader);
            assert_int_equal(token.kind, kind);
            assert_int_equal(token.size, sizes[i]);
            assert_ptr_equal(token.bytes + token.size, buffer.bytes + buffer.size);
            reader = reader_of(buffer.bytes, buffer.size - 1);
            assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
        }
    }
    buffer_release(&buffer);
}

/* --- What else it promises ------------------------------------------------------- */

static void errors_are_sticky(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x01, 0xc1, 0x02};
    struct reader reader = reader_of(bytes, sizeof(bytes));
    assert_int_equal(reader_next(&reader).integer, 1);
    assert_int_equal(reader_peek(&reader), TOKEN_INVALID);
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
    reader.at = bytes + 2;
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
    assert_int_equal(reader_peek(&reader), TOKEN_INVALID);
    assert_false(reader_skip(&reader));
    const uint8_t *value = bytes;
    size_t size = 1;
    assert_false(reader_value(&reader, &value, &size));
    assert_null(value);
    assert_int_equal(size, 0);
    assert_null(reader_name(&reader, &size));
}

static void nothing_is_no_value(void **state)
{
    (void)state;
    struct reader reader = reader_of(NULL, 0);
    assert_int_equal(reader_peek(&reader), TOKEN_INVALID);
    assert_false(reader_skip(&reader));
    reader = reader_of(NULL, 0);
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
}

/* A count is worth no more than the bytes behind it. */
static void counts_beyond_the_bytes_are_cut_short(void **state)
{
    (void)state;
    static const uint8_t array[] = {0xdd, 0xff, 0xff, 0xff, 0xff, 0x00};
    static const uint8_t map[] = {0xdf, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00};
    static const uint8_t pairs[] = {0x82, 0x00, 0x00, 0x00};
    struct reader reader = reader_of(array, sizeof(array));
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
    reader = reader_of(map, sizeof(map));
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
    reader = reader_of(map, sizeof(map));
    assert_false(reader_skip(&reader));
    reader = reader_of(pairs, sizeof(pairs));
    assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
}

static void skips_depth_without_recursion(void **state)
{
    (void)state;
    enum { DEPTH = 2000000 };
    uint8_t *bytes = malloc(DEPTH + 1);
    assert_non_null(bytes);
    memset(bytes, 0x91, DEPTH);
    bytes[DEPTH] = 0xc0;
    struct reader reader = reader_of(bytes, DEPTH + 1);
    assert_true(reader_skip(&reader));
    assert_ptr_equal(reader.at, bytes + DEPTH + 1);
    reader = reader_of(bytes, DEPTH);
    assert_false(reader_skip(&reader));
    free(bytes);
}

static void names_are_strings_and_binaries(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xa1, 'a', 0xc4, 0x01, 'b', 0xa0, 0x07, 0xa1, 'c'};
    struct reader reader = reader_of(bytes, sizeof(bytes));
    size_t size;
    assert_memory_equal(reader_name(&reader, &size), "a", 1);
    assert_int_equal(size, 1);
    assert_memory_equal(reader_name(&reader, &size), "b", 1);
    assert_non_null(reader_name(&reader, &size));
    assert_int_equal(size, 0);
    assert_null(reader_name(&reader, &size));
    assert_false(reader.failed);
    assert_memory_equal(reader_name(&reader, &size), "c", 1);
}

static void values_are_slices(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x82, 0x01, 0x92, 0x02, 0x03, 0x04, 0xc0, 0x05};
    struct reader reader = reader_of(bytes, sizeof(bytes));
    const uint8_t *value;
    size_t size;
    assert_true(reader_value(&reader, &value, &size));
    assert_ptr_equal(value, bytes);
    assert_int_equal(size, 7);
    assert_int_equal(reader_next(&reader).integer, 5);
}

static void assert_datetime(const char *hex, bool good, int64_t seconds, uint32_t nanoseconds)
{
    uint8_t bytes[64];
    struct reader reader = reader_of(bytes, from_hex(hex, bytes));
    struct token token = reader_next(&reader);
    struct datetime datetime = {0};
    assert_int_equal(token_datetime(&token, &datetime), good);
    assert_true(datetime.seconds == seconds);
    assert_int_equal(datetime.nanoseconds, nanoseconds);
}

static void timestamps_are_moments(void **state)
{
    (void)state;
    assert_datetime("d6 ff 00000000", true, 0, 0);
    assert_datetime("d6 ff ffffffff", true, 4294967295, 0);
    assert_datetime("c7 04 ff 00000001", true, 1, 0);
    assert_datetime("d7 ff ee6b27fc 00000000", true, 0, 999999999);
    assert_datetime("d7 ff 00000003 ffffffff", true, 17179869183, 0);
    assert_datetime("c7 0c ff 3b9ac9ff ffffffffffffffff", true, -1, 999999999);
    assert_datetime("c8 000c ff 00000000 8000000000000000", true, INT64_MIN, 0);
    /* A thousand million nanoseconds are a second. */
    assert_datetime("c7 0c ff 3b9aca00 0000000000000000", false, 0, 0);
    assert_datetime("d7 ff ee6b2800 00000000", false, 0, 0);
    assert_datetime("d6 01 00000000", false, 0, 0);
    assert_datetime("d5 ff 0000", false, 0, 0);
    assert_datetime("a4 61626364", false, 0, 0);
}

static void tokens_are_described(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"c0", "nil"},
        {"c3", "a boolean"},
        {"05", "an integer"},
        {"ca 00000000", "a float"},
        {"a0", "a string"},
        {"c4 00", "a binary"},
        {"90", "an array"},
        {"80", "a map"},
        {"c1", "no MessagePack"},
        {"d4 05 00", "an extension of type 5"},
        {"d4 fe 00", "an extension of type -2"},
        {"d6 ff 00000000", "a timestamp"},
        {"cf ffffffffffffffff", "an integer above 9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint8_t bytes[64];
        struct reader reader = reader_of(bytes, from_hex(cases[i][0], bytes));
        struct token token = reader_next(&reader);
        assert_string_equal(token_describe(&token), cases[i][1]);
    }
    struct token one = {.kind = TOKEN_EXTENSION, .extension = 1};
    struct token two = {.kind = TOKEN_EXTENSION, .extension = 2};
    const char *first = token_describe(&one), *second = token_describe(&two);
    assert_string_equal(first, "an extension of type 1");
    assert_string_equal(second, "an extension of type 2");
}

/* --- Against msgpack-c ------------------------------------------------------------- */

/* What is empty may have no address. */
static void assert_bytes(const uint8_t *bytes, const char *expected, size_t size)
{
    assert_true(size == 0 || memcmp(bytes, expected, size) == 0);
}

static void assert_same(struct reader *reader, const msgpack_object *object)
{
    struct token token = reader_next(reader);
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        assert_int_equal(token.kind, TOKEN_NIL);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_int_equal(token.kind, TOKEN_BOOLEAN);
        assert_int_equal(token.boolean, object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_int_equal(token.kind, object->via.u64 > INT64_MAX ? TOKEN_UNSIGNED : TOKEN_INTEGER);
        assert_true(token.natural == object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_int_equal(token.kind, TOKEN_INTEGER);
        assert_true(token.integer == object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        assert_int_equal(token.kind, TOKEN_FLOAT);
        assert_true(token.real == object->via.f64 || (isnan(token.real) && isnan(object->via.f64)));
        break;
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        assert_int_equal(token.kind,
                         object->type == MSGPACK_OBJECT_STR ? TOKEN_STRING : TOKEN_BINARY);
        assert_int_equal(token.size, object->via.str.size);
        assert_bytes(token.bytes, object->via.str.ptr, token.size);
        break;
    case MSGPACK_OBJECT_EXT:
        assert_int_equal(token.kind, TOKEN_EXTENSION);
        assert_int_equal(token.extension, object->via.ext.type);
        assert_int_equal(token.size, object->via.ext.size);
        assert_bytes(token.bytes, object->via.ext.ptr, token.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_int_equal(token.kind, TOKEN_ARRAY);
        assert_int_equal(token.count, object->via.array.size);
        for (uint32_t i = 0; i < token.count; i++) {
            assert_same(reader, &object->via.array.ptr[i]);
        }
        break;
    case MSGPACK_OBJECT_MAP:
        assert_int_equal(token.kind, TOKEN_MAP);
        assert_int_equal(token.count, object->via.map.size);
        for (uint32_t i = 0; i < token.count; i++) {
            assert_same(reader, &object->via.map.ptr[i].key);
            assert_same(reader, &object->via.map.ptr[i].val);
        }
        break;
    }
}

static void agrees_with_msgpack_c_on_values(void **state)
{
    (void)state;
    struct random random = random_start("reader values");
    struct buffer buffer = BUFFER_INIT;
    for (int round = 0; round < 20000; round++) {
        buffer_truncate(&buffer, 0);
        random_value(&random, &buffer, 6);
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        size_t offset = 0;
        assert_int_equal(
            msgpack_unpack_next(&unpacked, (const char *)buffer.bytes, buffer.size, &offset),
            MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(offset, buffer.size);
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        assert_same(&reader, &unpacked.data);
        assert_ptr_equal(reader.at, reader.end);
        reader = reader_of(buffer.bytes, buffer.size);
        assert_true(reader_skip(&reader));
        assert_ptr_equal(reader.at, reader.end);
        msgpack_unpacked_destroy(&unpacked);
    }
    buffer_release(&buffer);
}

/* Noise: whole for one is whole for the other. Long headers of 32 bits are left
 * out where the value is not whole: msgpack-c would make room for them. */
static void agrees_with_msgpack_c_on_noise(void **state)
{
    (void)state;
    struct random random = random_start("reader noise");
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[30];
        size_t size = random_below(&random, sizeof(bytes) + 1);
        bool large = false;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)random_next(&random);
            if (random_below(&random, 2) == 0) {
                bytes[i] = (uint8_t)(0xc0 | (bytes[i] & 0x1f));
            }
            large |= bytes[i] == 0xdd || bytes[i] == 0xdf;
        }
        uint8_t *copy = exactly(bytes, size);
        struct reader reader = reader_of(copy, size);
        bool whole = reader_skip(&reader);
        if (size > 0 && (whole || !large)) {
            msgpack_unpacked unpacked;
            msgpack_unpacked_init(&unpacked);
            size_t offset = 0;
            bool other = msgpack_unpack_next(&unpacked, (const char *)copy, size, &offset) ==
                         MSGPACK_UNPACK_SUCCESS;
            assert_int_equal(whole, other);
            if (whole) {
                assert_int_equal(reader.at - copy, offset);
            }
            msgpack_unpacked_destroy(&unpacked);
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_read),
        cmocka_unit_test(cut_short_anywhere_it_is_invalid),
        cmocka_unit_test(sizes_at_the_borders_of_headers),
        cmocka_unit_test(errors_are_sticky),
        cmocka_unit_test(nothing_is_no_value),
        cmocka_unit_test(counts_beyond_the_bytes_are_cut_short),
        cmocka_unit_test(skips_depth_without_recursion),
        cmocka_unit_test(names_are_strings_and_binaries),
        cmocka_unit_test(values_are_slices),
        cmocka_unit_test(timestamps_are_moments),
        cmocka_unit_test(tokens_are_described),
        cmocka_unit_test(agrees_with_msgpack_c_on_values),
        cmocka_unit_test(agrees_with_msgpack_c_on_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

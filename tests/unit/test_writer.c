#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/heap.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/msgpack_random.h"

static void assert_hex(struct buffer *buffer, const char *hex)
{
    char text[256] = "";
    assert_false(buffer->failed);
    assert_in_range(buffer->size, 0, 120);
    for (size_t i = 0; i < buffer->size; i++) {
        snprintf(text + 2 * i, 3, "%02x", buffer->bytes[i]);
    }
    assert_string_equal(text, hex);
    buffer_truncate(buffer, 0);
}

/* --- Vectors: the shortest form at every border ------------------------------------- */

static void integers_take_the_fewest_bytes(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *hex;
    } vectors[] = {
        {0, "00"},
        {127, "7f"},
        {128, "cc80"},
        {255, "ccff"},
        {256, "cd0100"},
        {65535, "cdffff"},
        {65536, "ce00010000"},
        {4294967295, "ceffffffff"},
        {4294967296, "cf0000000100000000"},
        {INT64_MAX, "cf7fffffffffffffff"},
        {-1, "ff"},
        {-32, "e0"},
        {-33, "d0df"},
        {-128, "d080"},
        {-129, "d1ff7f"},
        {-32768, "d18000"},
        {-32769, "d2ffff7fff"},
        {-2147483648, "d280000000"},
        {-2147483649, "d3ffffffff7fffffff"},
        {INT64_MIN, "d38000000000000000"},
    };
    struct buffer buffer = BUFFER_INIT;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        write_integer(&buffer, vectors[i].value);
        assert_hex(&buffer, vectors[i].hex);
        uint8_t header[WRITE_HEADER_MAX];
        buffer_append(&buffer, header, encode_integer(header, vectors[i].value));
        assert_hex(&buffer, vectors[i].hex);
        if (vectors[i].value >= 0) {
            write_unsigned(&buffer, (uint64_t)vectors[i].value);
            assert_hex(&buffer, vectors[i].hex);
        }
    }
    write_unsigned(&buffer, UINT64_MAX);
    assert_hex(&buffer, "cfffffffffffffffff");
    buffer_release(&buffer);
}

static void small_values(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    write_nil(&buffer);
    assert_hex(&buffer, "c0");
    write_boolean(&buffer, false);
    assert_hex(&buffer, "c2");
    write_boolean(&buffer, true);
    assert_hex(&buffer, "c3");
    write_float(&buffer, 0.5);
    assert_hex(&buffer, "cb3fe0000000000000");
    write_float(&buffer, -2.0);
    assert_hex(&buffer, "cbc000000000000000");
    write_text(&buffer, "");
    assert_hex(&buffer, "a0");
    write_string(&buffer, NULL, 0);
    assert_hex(&buffer, "a0");
    write_text(&buffer, "abc");
    assert_hex(&buffer, "a3616263");
    write_binary(&buffer, NULL, 0);
    assert_hex(&buffer, "c400");
    write_binary(&buffer, "\x00\xff", 2);
    assert_hex(&buffer, "c40200ff");
    write_extension(&buffer, 5, "", 0);
    assert_hex(&buffer, "c70005");
    write_extension(&buffer, -2, "\x01", 1);
    assert_hex(&buffer, "d4fe01");
    write_extension(&buffer, 5, "\x01\x02", 2);
    assert_hex(&buffer, "d5050102");
    write_extension(&buffer, 5, "\x01\x02\x03", 3);
    assert_hex(&buffer, "c70305010203");
    write_extension(&buffer, 5, "\x01\x02\x03\x04", 4);
    assert_hex(&buffer, "d60501020304");
    write_extension(&buffer, 5, "12345678", 8);
    assert_hex(&buffer, "d7053132333435363738");
    write_extension(&buffer, 5, "1234567812345678", 16);
    assert_hex(&buffer, "d80531323334353637383132333435363738");
    buffer_release(&buffer);
}

static void headers_at_their_borders(void **state)
{
    (void)state;
    static const struct {
        uint32_t size;
        const char *string, *binary, *extension, *array, *map;
    } vectors[] = {
        {15, "af", "c40f", "c70f07", "9f", "8f"},
        {17, "b1", "c411", "c71107", "dc0011", "de0011"},
        {31, "bf", "c41f", "c71f07", "dc001f", "de001f"},
        {32, "d920", "c420", "c72007", "dc0020", "de0020"},
        {255, "d9ff", "c4ff", "c7ff07", "dc00ff", "de00ff"},
        {256, "da0100", "c50100", "c8010007", "dc0100", "de0100"},
        {65535, "daffff", "c5ffff", "c8ffff07", "dcffff", "deffff"},
        {65536, "db00010000", "c600010000", "c90001000007", "dd00010000", "df00010000"},
    };
    static uint8_t body[65536];
    memset(body, 'b', sizeof(body));
    struct buffer buffer = BUFFER_INIT;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        uint32_t size = vectors[i].size;
        for (int what = 0; what < 3; what++) {
            const char *hex = what == 0   ? vectors[i].string
                              : what == 1 ? vectors[i].binary
                                          : vectors[i].extension;
            if (what == 0) {
                write_string(&buffer, body, size);
            } else if (what == 1) {
                write_binary(&buffer, body, size);
            } else {
                write_extension(&buffer, 7, body, size);
            }
            assert_int_equal(buffer.size, strlen(hex) / 2 + size);
            assert_memory_equal(buffer.bytes + buffer.size - size, body, size);
            buffer_truncate(&buffer, buffer.size - size);
            assert_hex(&buffer, hex);
        }
        uint8_t header[WRITE_HEADER_MAX];
        buffer_append(&buffer, header, encode_string_header(header, size));
        assert_hex(&buffer, vectors[i].string);
        write_array(&buffer, size);
        assert_hex(&buffer, vectors[i].array);
        buffer_append(&buffer, header, encode_array_header(header, size));
        assert_hex(&buffer, vectors[i].array);
        write_map(&buffer, size);
        assert_hex(&buffer, vectors[i].map);
        buffer_append(&buffer, header, encode_map_header(header, size));
        assert_hex(&buffer, vectors[i].map);
    }
    write_array(&buffer, UINT32_MAX);
    assert_hex(&buffer, "ddffffffff");
    buffer_release(&buffer);
}

static void moments_take_the_fewest_bytes(void **state)
{
    (void)state;
    static const struct {
        struct datetime datetime;
        const char *hex;
    } vectors[] = {
        {{0, 0}, "d6ff00000000"},
        {{4294967295, 0}, "d6ffffffffff"},
        {{4294967296, 0}, "d7ff0000000100000000"},
        {{0, 1}, "d7ff0000000400000000"},
        {{0, 999999999}, "d7ffee6b27fc00000000"},
        {{17179869183, 999999999}, "d7ffee6b27ffffffffff"},
        {{17179869184, 0}, "c70cff000000000000000400000000"},
        {{-1, 0}, "c70cff00000000ffffffffffffffff"},
        {{-1, 999999999}, "c70cff3b9ac9ffffffffffffffffff"},
        {{INT64_MIN, 0}, "c70cff000000008000000000000000"},
        {{INT64_MAX, 1}, "c70cff000000017fffffffffffffff"},
    };
    struct buffer buffer = BUFFER_INIT;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        write_datetime(&buffer, &vectors[i].datetime);
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        struct token token = reader_next(&reader);
        struct datetime back;
        assert_true(token_datetime(&token, &back));
        assert_int_equal(datetime_compare(&back, &vectors[i].datetime), 0);
        assert_hex(&buffer, vectors[i].hex);
    }
    buffer_release(&buffer);
}

/* --- Headers that are known later ----------------------------------------------------- */

static void opened_headers_shrink_to_the_shortest(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 1, 15, 16, 65535, 65536};
    struct buffer late = BUFFER_INIT, early = BUFFER_INIT;
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        for (int map = 0; map < 2; map++) {
            buffer_truncate(&late, 0);
            buffer_truncate(&early, 0);
            write_text(&late, "before");
            write_text(&early, "before");
            size_t mark = write_open(&late);
            if (map) {
                write_map(&early, counts[i]);
            } else {
                write_array(&early, counts[i]);
            }
            for (uint32_t j = 0; j < (map ? 2 * counts[i] : counts[i]); j++) {
                write_integer(&late, j);
                write_integer(&early, j);
            }
            if (map) {
                write_close_map(&late, mark, counts[i]);
            } else {
                write_close_array(&late, mark, counts[i]);
            }
            assert_int_equal(late.size, early.size);
            assert_memory_equal(late.bytes, early.bytes, early.size);
        }
    }
    buffer_release(&late);
    buffer_release(&early);
}

static void opened_headers_nest(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    size_t outer = write_open(&buffer);
    write_integer(&buffer, 1);
    size_t inner = write_open(&buffer);
    write_text(&buffer, "k");
    write_nil(&buffer);
    write_close_map(&buffer, inner, 1);
    write_integer(&buffer, 2);
    write_close_array(&buffer, outer, 3);
    assert_hex(&buffer, "930181a16bc002");
    buffer_release(&buffer);
}

/* --- Failures ------------------------------------------------------------------------- */

static void write_one_of_each(struct buffer *out)
{
    static const uint8_t long_text[300];
    size_t mark = write_open(out);
    write_nil(out);
    write_boolean(out, true);
    write_integer(out, 5);
    write_integer(out, INT64_MIN);
    write_unsigned(out, UINT64_MAX);
    write_float(out, 1.5);
    write_text(out, "short");
    write_string(out, long_text, sizeof(long_text));
    write_binary(out, long_text, sizeof(long_text));
    write_extension(out, 3, long_text, sizeof(long_text));
    write_datetime(out, &(struct datetime){.seconds = -5});
    write_array(out, 0);
    write_map(out, 0);
    write_close_array(out, mark, 13);
}

/* At every limit: either all of it, or a buffer that failed and holds whole
 * values after the opened header. */
static void limits_never_leave_half_a_value(void **state)
{
    (void)state;
    struct buffer whole = BUFFER_INIT;
    write_one_of_each(&whole);
    assert_false(whole.failed);
    for (size_t max = 1; max < whole.size + 4; max++) {
        struct buffer buffer;
        buffer_init(&buffer, max);
        write_one_of_each(&buffer);
        assert_true(buffer.failed);
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        if (buffer.size > 0) {
            assert_true(buffer.size >= 5);
            reader.at += 5;
        }
        while (reader.at < reader.end) {
            assert_true(reader_skip(&reader));
        }
        buffer_release(&buffer);
    }
    struct buffer buffer;
    buffer_init(&buffer, whole.size + 4);
    write_one_of_each(&buffer);
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, whole.size);
    buffer_release(&buffer);
    buffer_release(&whole);
}

static void lack_of_memory_is_sticky(void **state)
{
    (void)state;
    bool passed = false;
    long count = 0;
    for (; !passed; count++) {
        struct buffer buffer = BUFFER_INIT;
        heap_fail_at(count);
        write_one_of_each(&buffer);
        assert_int_equal(buffer.failed, heap_failed());
        passed = !heap_failed();
        heap_fail_at(-1);
        buffer_release(&buffer);
    }
    assert_true(count > 2);
}

static void sizes_beyond_the_format_fail(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    const size_t size = (size_t)UINT32_MAX + 1;
    write_string(&buffer, "", size);
    assert_true(buffer.failed);
    buffer_truncate(&buffer, 0);
    write_binary(&buffer, "", size);
    assert_true(buffer.failed);
    buffer_truncate(&buffer, 0);
    write_extension(&buffer, 1, "", size);
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 0);
    buffer_release(&buffer);
}

/* --- Shortest copies, and msgpack-c as judge ------------------------------------------- */

static void pack_extension(msgpack_packer *packer, const struct token *token)
{
    struct datetime datetime;
    if (token_datetime(token, &datetime)) {
        msgpack_timestamp stamp = {.tv_sec = datetime.seconds, .tv_nsec = datetime.nanoseconds};
        msgpack_pack_timestamp(packer, &stamp);
    } else {
        msgpack_pack_ext(packer, token->size, token->extension);
        msgpack_pack_ext_body(packer, token->bytes, token->size);
    }
}

/* The value as msgpack-c writes it. */
static void pack(msgpack_packer *packer, struct reader *in)
{
    struct token token = reader_next(in);
    switch (token.kind) {
    case TOKEN_NIL:
        msgpack_pack_nil(packer);
        break;
    case TOKEN_BOOLEAN:
        if (token.boolean) {
            msgpack_pack_true(packer);
        } else {
            msgpack_pack_false(packer);
        }
        break;
    case TOKEN_INTEGER:
        msgpack_pack_int64(packer, token.integer);
        break;
    case TOKEN_UNSIGNED:
        msgpack_pack_uint64(packer, token.natural);
        break;
    case TOKEN_FLOAT:
        msgpack_pack_double(packer, token.real);
        break;
    case TOKEN_STRING:
        msgpack_pack_str(packer, token.size);
        msgpack_pack_str_body(packer, token.bytes, token.size);
        break;
    case TOKEN_BINARY:
        msgpack_pack_bin(packer, token.size);
        msgpack_pack_bin_body(packer, token.bytes, token.size);
        break;
    case TOKEN_EXTENSION:
        pack_extension(packer, &token);
        break;
    case TOKEN_ARRAY:
        msgpack_pack_array(packer, token.count);
        break;
    case TOKEN_MAP:
        msgpack_pack_map(packer, token.count);
        break;
    case TOKEN_INVALID:
        fail_msg("the value was made whole");
    }
    uint64_t items = token.kind == TOKEN_MAP     ? (uint64_t)2 * token.count
                     : token.kind == TOKEN_ARRAY ? token.count
                                                 : 0;
    for (uint64_t i = 0; i < items; i++) {
        pack(packer, in);
    }
}

static void copies_are_as_msgpack_c_writes_them(void **state)
{
    (void)state;
    struct random random = random_start("writer");
    struct buffer buffer = BUFFER_INIT, shortest = BUFFER_INIT, again = BUFFER_INIT;
    msgpack_sbuffer sbuffer;
    msgpack_sbuffer_init(&sbuffer);
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sbuffer, msgpack_sbuffer_write);
    for (int round = 0; round < 20000; round++) {
        buffer_truncate(&buffer, 0);
        buffer_truncate(&shortest, 0);
        buffer_truncate(&again, 0);
        msgpack_sbuffer_clear(&sbuffer);
        random_value(&random, &buffer, 6);
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        assert_int_equal(write_shortest(&shortest, &reader, 6), 0);
        assert_ptr_equal(reader.at, reader.end);

        reader = reader_of(buffer.bytes, buffer.size);
        pack(&packer, &reader);
        assert_int_equal(shortest.size, sbuffer.size);
        assert_memory_equal(shortest.bytes, sbuffer.data, sbuffer.size);

        reader = reader_of(shortest.bytes, shortest.size);
        assert_int_equal(write_shortest(&again, &reader, 6), 0);
        assert_int_equal(again.size, shortest.size);
        assert_memory_equal(again.bytes, shortest.bytes, shortest.size);
    }
    msgpack_sbuffer_destroy(&sbuffer);
    buffer_release(&buffer);
    buffer_release(&shortest);
    buffer_release(&again);
}

static void copies_are_as_deep_as_allowed(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x92, 0x91, 0x80, 0x01};
    struct buffer buffer = BUFFER_INIT;
    struct reader reader = reader_of(bytes, sizeof(bytes));
    assert_int_equal(write_shortest(&buffer, &reader, 3), 0);
    assert_hex(&buffer, "92918001");
    for (unsigned levels = 0; levels < 3; levels++) {
        reader = reader_of(bytes, sizeof(bytes));
        assert_int_equal(write_shortest(&buffer, &reader, levels), -1);
    }
    reader = reader_of(bytes + 3, 1);
    buffer_truncate(&buffer, 0);
    assert_int_equal(write_shortest(&buffer, &reader, 0), 0);
    assert_hex(&buffer, "01");
    buffer_release(&buffer);
}

static void numbers_are_as_msgpack_c_writes_them(void **state)
{
    (void)state;
    struct random random = random_start("writer numbers");
    struct buffer buffer = BUFFER_INIT;
    msgpack_sbuffer sbuffer;
    msgpack_sbuffer_init(&sbuffer);
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sbuffer, msgpack_sbuffer_write);
    for (int round = 0; round < 100000; round++) {
        buffer_truncate(&buffer, 0);
        msgpack_sbuffer_clear(&sbuffer);
        uint64_t value = random_magnitude(&random);
        write_unsigned(&buffer, value);
        msgpack_pack_uint64(&packer, value);
        write_integer(&buffer, (int64_t)value);
        msgpack_pack_int64(&packer, (int64_t)value);
        write_integer(&buffer, -(int64_t)(value >> 1));
        msgpack_pack_int64(&packer, -(int64_t)(value >> 1));
        assert_int_equal(buffer.size, sbuffer.size);
        assert_memory_equal(buffer.bytes, sbuffer.data, sbuffer.size);
    }
    msgpack_sbuffer_destroy(&sbuffer);
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_the_fewest_bytes),
        cmocka_unit_test(small_values),
        cmocka_unit_test(headers_at_their_borders),
        cmocka_unit_test(moments_take_the_fewest_bytes),
        cmocka_unit_test(opened_headers_shrink_to_the_shortest),
        cmocka_unit_test(opened_headers_nest),
        cmocka_unit_test(limits_never_leave_half_a_value),
        cmocka_unit_test(lack_of_memory_is_sticky),
        cmocka_unit_test(sizes_beyond_the_format_fail),
        cmocka_unit_test(copies_are_as_msgpack_c_writes_them),
        cmocka_unit_test(copies_are_as_deep_as_allowed),
        cmocka_unit_test(numbers_are_as_msgpack_c_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

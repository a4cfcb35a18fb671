#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/shape.h"

/* For each first byte, with all that follows zero and then 1 in the last byte of
 * the header: the extent is what the reader consumes, and the items are what it
 * announces. */
static void extents_are_what_the_reader_reads(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        for (uint8_t last = 0; last < 2; last++) {
            uint8_t bytes[64] = {(uint8_t)first};
            enum shape shape = (enum shape)shape_of[first];
            struct reader reader = reader_of(bytes, sizeof(bytes));
            if (shape == SHAPE_INVALID) {
                assert_int_equal(first, 0xc1);
                assert_int_equal(reader_next(&reader).kind, TOKEN_INVALID);
                continue;
            }
            if (shape_header_size[shape] > 1) {
                bytes[shape_header_size[shape] - 1] = last;
            }
            struct extent extent = shape_extent(shape, bytes);
            struct token token = reader_next(&reader);
            assert_int_equal(reader.at - bytes, extent.bytes);
            bool container = token.kind == TOKEN_ARRAY || token.kind == TOKEN_MAP;
            assert_int_equal(shape_is_container(shape), container);
            uint32_t items = token.kind == TOKEN_MAP ? 2 * token.count : token.count;
            assert_int_equal(extent.items, items);
        }
    }
}

static void numbers_are_big_endian(void **state)
{
    (void)state;
    uint8_t bytes[8];
    store16(bytes, 0x0102);
    assert_memory_equal(bytes, "\x01\x02", 2);
    assert_int_equal(load16(bytes), 0x0102);
    store32(bytes, 0x01020304);
    assert_memory_equal(bytes, "\x01\x02\x03\x04", 4);
    assert_int_equal(load32(bytes), 0x01020304);
    store64(bytes, 0x0102030405060708);
    assert_memory_equal(bytes, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_true(load64(bytes) == 0x0102030405060708);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extents_are_what_the_reader_reads),
        cmocka_unit_test(numbers_are_big_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

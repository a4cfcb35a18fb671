#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "protocol/base/utf8.h"
#include "tests/lib/random.h"

/* The definition of UTF-8 read as slowly as it is written: decode, and see
 * whether encoding gives the same bytes. */
static bool model_valid(const uint8_t *text, size_t size, size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < size;) {
        uint32_t first = text[i], value;
        size_t more;
        if (first < 0x80) {
            more = 0;
            value = first;
        } else if ((first & 0xe0) == 0xc0) {
            more = 1;
            value = first & 0x1f;
        } else if ((first & 0xf0) == 0xe0) {
            more = 2;
            value = first & 0x0f;
        } else if ((first & 0xf8) == 0xf0) {
            more = 3;
            value = first & 0x07;
        } else {
            return false;
        }
        if (more >= size - i) {
            return false;
        }
        for (size_t j = 1; j <= more; j++) {
            if ((text[i + j] & 0xc0) != 0x80) {
                return false;
            }
            value = value << 6 | (text[i + j] & 0x3fu);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
            return false;
        }
        i += more + 1;
        (*length)++;
    }
    return true;
}

static void every_code_point_goes_there_and_back(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c == 0xd800) {
            c = 0xe000;
        }
        buffer_truncate(&buffer, 0);
        utf8_encode(&buffer, c);
        size_t size;
        if (!utf8_valid(buffer.bytes, buffer.size) ||
            utf8_decode(buffer.bytes, buffer.size, &size) != c || size != buffer.size ||
            utf8_length(buffer.bytes, buffer.size) != 1) {
            fail_msg("U+%X", c);
        }
    }
    buffer_release(&buffer);
}

static void every_pair_and_triple_is_judged_as_defined(void **state)
{
    (void)state;
    size_t length;
    for (uint32_t i = 0; i < 1u << 24; i += i < 1u << 16 ? 1 : 3) {
        uint8_t text[3] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)};
        size_t size = i < 1u << 16 ? 2 : 3;
        if (utf8_valid(text, size) != model_valid(text, size, &length)) {
            fail_msg("%02x %02x %02x (%zu)", text[0], text[1], text[2], size);
        }
    }
}

static void long_texts_are_judged_as_defined(void **state)
{
    (void)state;
    struct random random = random_start("utf8");
    static const char *const pieces[] = {"a",
                                         "bcdefghi",
                                         "\xc3\xa9",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         "\xed\x9f\xbf",
                                         "\xee\x80\x80",
                                         "\xf4\x8f\xbf\xbf"};
    for (int round = 0; round < 100000; round++) {
        uint8_t text[64];
        size_t size = 0;
        size_t wanted = random_below(&random, 48);
        while (size < wanted) {
            const char *piece = pieces[random_below(&random, 8)];
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        if (size > 0 && random_below(&random, 2) == 0) {
            text[random_below(&random, size)] = (uint8_t)random_next(&random);
        }
        if (size > 0 && random_below(&random, 4) == 0) {
            size -= random_below(&random, size);
        }
        /* Exactly as large as the text, so that a read too far is seen. */
        uint8_t *exact = malloc(size > 0 ? size : 1);
        assert_non_null(exact);
        memcpy(exact, text, size);
        size_t length;
        bool valid = model_valid(exact, size, &length);
        assert_int_equal(utf8_valid(exact, size), valid);
        if (valid) {
            assert_int_equal(utf8_length(exact, size), length);
        }
        free(exact);
    }
}

static void assert_case(const char *text, const char *lower, const char *upper)
{
    struct buffer buffer = BUFFER_INIT;
    utf8_lower(&buffer, text, strlen(text));
    assert_int_equal(buffer.size, strlen(lower));
    assert_memory_equal(buffer.bytes, lower, buffer.size);
    buffer_truncate(&buffer, 0);
    utf8_upper(&buffer, text, strlen(text));
    assert_int_equal(buffer.size, strlen(upper));
    assert_memory_equal(buffer.bytes, upper, buffer.size);
    buffer_release(&buffer);
}

static void case_is_mapped_a_code_point_at_a_time(void **state)
{
    (void)state;
    assert_case("Az09@[`{", "az09@[`{", "AZ09@[`{");
    assert_case("\u00c9t\u00e9 M\u00dcNCHEN", "\u00e9t\u00e9 m\u00fcnchen",
                "\u00c9T\u00c9 M\u00dcNCHEN");
    assert_case("\u0416\u03a9\u01c5", "\u0436\u03c9\u01c6", "\u0416\u03a9\u01c4");
    /* No simple mapping changes how many code points there are. */
    assert_case("stra\u00dfe", "stra\u00dfe", "STRA\u00dfE");
    /* Deseret: beyond the basic plane. */
    assert_case("\U00010400\U00010428", "\U00010428\U00010428", "\U00010400\U00010400");
    assert_case("\u65e5\u672c \U0001f600", "\u65e5\u672c \U0001f600", "\u65e5\u672c \U0001f600");
    struct buffer empty = BUFFER_INIT;
    utf8_lower(&empty, NULL, 0);
    utf8_upper(&empty, NULL, 0);
    assert_int_equal(empty.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_goes_there_and_back),
        cmocka_unit_test(every_pair_and_triple_is_judged_as_defined),
        cmocka_unit_test(long_texts_are_judged_as_defined),
        cmocka_unit_test(case_is_mapped_a_code_point_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "protocol/frame.h"
#include "protocol/msgpack/reader.h"
#include "tests/lib/msgpack_random.h"

/* What a scan of bytes that arrive in pieces comes to. */
struct outcome {
    enum frame_status status;
    size_t size;
    uint64_t least;
};

static const struct frame_limits roomy = {.bytes_max = 1 << 20, .levels_max = 32};

static struct outcome scan_at_once(struct frame_limits limits, const uint8_t *bytes, size_t size)
{
    struct frame_scanner scanner;
    struct outcome outcome = {0};
    frame_scanner_init(&scanner, limits);
    outcome.status = frame_scan(&scanner, bytes, size, &outcome.size);
    outcome.least = scanner.least;
    return outcome;
}

/* With a copy exactly as large as what has arrived, so that a byte read too far
 * is seen. `step` 0 is random steps. */
static struct outcome scan_in_pieces(struct frame_limits limits, const uint8_t *bytes, size_t size,
                                     size_t step, struct random *random)
{
    struct frame_scanner scanner;
    struct outcome outcome = {.status = FRAME_MORE};
    frame_scanner_init(&scanner, limits);
    size_t arrived = 0;
    for (;;) {
        uint8_t *copy = malloc(arrived > 0 ? arrived : 1);
        assert_non_null(copy);
        memcpy(copy, bytes, arrived);
        outcome.status = frame_scan(&scanner, copy, arrived, &outcome.size);
        outcome.least = scanner.least;
        free(copy);
        if (outcome.status != FRAME_MORE) {
            return outcome;
        }
        assert_true(outcome.size > arrived);
        assert_true(outcome.size <= limits.bytes_max);
        if (arrived == size) {
            return outcome;
        }
        size_t more = step > 0 ? step : 1 + random_below(random, 40);
        arrived = more < size - arrived ? arrived + more : size;
    }
}

static void assert_outcome(const char *bytes, size_t size, struct frame_limits limits,
                           enum frame_status status, size_t frame_size)
{
    struct outcome outcome = scan_at_once(limits, (const uint8_t *)bytes, size);
    assert_int_equal(outcome.status, status);
    if (status == FRAME_WHOLE || status == FRAME_MORE) {
        assert_int_equal(outcome.size, frame_size);
    }
    outcome = scan_in_pieces(limits, (const uint8_t *)bytes, size, 1, NULL);
    assert_int_equal(outcome.status, status);
}

#define ASSERT_FRAME(text, limits, status, frame_size) \
    assert_outcome(text, sizeof(text) - 1, limits, status, frame_size)

static void finds_where_a_value_ends(void **state)
{
    (void)state;
    ASSERT_FRAME("\xc0", roomy, FRAME_WHOLE, 1);
    ASSERT_FRAME("\x94\x00\x01\xa3get\x92\xa6ticket\xcd\x00\x01", roomy, FRAME_WHOLE, 18);
    ASSERT_FRAME("\x90", roomy, FRAME_WHOLE, 1);
    ASSERT_FRAME("\x80", roomy, FRAME_WHOLE, 1);
    ASSERT_FRAME("\x92\x90\x80", roomy, FRAME_WHOLE, 3);
    ASSERT_FRAME("\xdc\x00\x00", roomy, FRAME_WHOLE, 3);
    ASSERT_FRAME("\xdf\x00\x00\x00\x01\x01\xdd\x00\x00\x00\x00", roomy, FRAME_WHOLE, 11);
    ASSERT_FRAME("\xc7\x02\x05zz", roomy, FRAME_WHOLE, 5);
    ASSERT_FRAME("\xd8\x05zzzzzzzzzzzzzzzz", roomy, FRAME_WHOLE, 18);
    /* What comes after it is another frame's. */
    ASSERT_FRAME("\x91\x01\xc1", roomy, FRAME_WHOLE, 2);
}

static void tells_how_much_it_will_need(void **state)
{
    (void)state;
    ASSERT_FRAME("", roomy, FRAME_MORE, 1);
    ASSERT_FRAME("\x94", roomy, FRAME_MORE, 5);
    ASSERT_FRAME("\x94\x00", roomy, FRAME_MORE, 5);
    ASSERT_FRAME("\x94\x00\xce", roomy, FRAME_MORE, 9);
    ASSERT_FRAME("\x94\x00\x01\xd9", roomy, FRAME_MORE, 6);
    ASSERT_FRAME("\x94\x00\x01\xd9\x64", roomy, FRAME_MORE, 106);
    ASSERT_FRAME("\xdd", roomy, FRAME_MORE, 5);
    ASSERT_FRAME("\xdd\x00\x00\x01\x00", roomy, FRAME_MORE, 261);
    ASSERT_FRAME("\xde\x00\x10", roomy, FRAME_MORE, 35);
}

static void what_is_too_large_is_refused_at_its_header(void **state)
{
    (void)state;
    struct frame_limits ten = {.bytes_max = 10, .levels_max = 8};
    ASSERT_FRAME("\xa9zzzzzzzzz", ten, FRAME_WHOLE, 10);
    ASSERT_FRAME("\xaa", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xd9\x08", ten, FRAME_MORE, 10);
    ASSERT_FRAME("\xd9\x09", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xc5\x00\x08", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xc7\x07\x01", ten, FRAME_MORE, 10);
    ASSERT_FRAME("\xc7\x08", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\x99", ten, FRAME_MORE, 10);
    ASSERT_FRAME("\x9a", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\x84", ten, FRAME_MORE, 9);
    ASSERT_FRAME("\x85", ten, FRAME_TOO_LARGE, 0);
    /* Each value still to come counts, on every level. */
    ASSERT_FRAME("\x94\x94\x91\x01", ten, FRAME_MORE, 10);
    ASSERT_FRAME("\x94\x94\x92", ten, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\x96\x01\xcd\x00\x00", ten, FRAME_MORE, 9);
    ASSERT_FRAME("\x96\x01\xcd\x00\x00\xcd\x00\x00", ten, FRAME_TOO_LARGE, 0);
    /* 4 GiB are announced, 8 GiB for a map. */
    ASSERT_FRAME("\x94\x00\x01\xa1m\xdd\xff\xff\xff\xff", roomy, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xdf\xff\xff\xff\xff", roomy, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xc6\xff\xff\xff\xff", roomy, FRAME_TOO_LARGE, 0);
    ASSERT_FRAME("\xc9\xff\xff\xff\xff", roomy, FRAME_TOO_LARGE, 0);
    struct frame_limits none = {.bytes_max = 0, .levels_max = 8};
    ASSERT_FRAME("\xc0", none, FRAME_TOO_LARGE, 0);
    struct frame_limits most = {.bytes_max = UINT32_MAX, .levels_max = 8};
    ASSERT_FRAME("\xdd\xff\xff\xff\xf0", most, FRAME_MORE, 0xfffffff5);
    ASSERT_FRAME("\xdd\xff\xff\xff\xfb", most, FRAME_TOO_LARGE, 0);
}

static void what_is_too_deep_is_refused_at_its_header(void **state)
{
    (void)state;
    struct frame_limits two = {.bytes_max = 100, .levels_max = 2};
    ASSERT_FRAME("\x91\x91\x01", two, FRAME_WHOLE, 3);
    ASSERT_FRAME("\x91\x90", two, FRAME_WHOLE, 2);
    ASSERT_FRAME("\x91\x91\x91", two, FRAME_TOO_DEEP, 0);
    ASSERT_FRAME("\x91\x91\x90", two, FRAME_TOO_DEEP, 0);
    ASSERT_FRAME("\x91\x81\x01\x80", two, FRAME_TOO_DEEP, 0);
    /* Levels that are over do not count. */
    ASSERT_FRAME("\x93\x91\x01\x91\x02\x90", two, FRAME_WHOLE, 6);
    struct frame_limits none = {.bytes_max = 100, .levels_max = 0};
    ASSERT_FRAME("\x90", none, FRAME_TOO_DEEP, 0);
    ASSERT_FRAME("\x05", none, FRAME_WHOLE, 1);
}

static void levels_end_at_what_the_scanner_can_hold(void **state)
{
    (void)state;
    struct frame_limits deep = {.bytes_max = 1000, .levels_max = 1000};
    uint8_t bytes[FRAME_LEVELS_MAX + 2];
    memset(bytes, 0x91, sizeof(bytes));
    bytes[FRAME_LEVELS_MAX] = 0x01;
    struct outcome outcome = scan_at_once(deep, bytes, sizeof(bytes));
    assert_int_equal(outcome.status, FRAME_WHOLE);
    assert_int_equal(outcome.size, FRAME_LEVELS_MAX + 1);
    bytes[FRAME_LEVELS_MAX] = 0x91;
    assert_int_equal(scan_at_once(deep, bytes, sizeof(bytes)).status, FRAME_TOO_DEEP);
}

static void ten_thousand_nested_arrays_are_refused(void **state)
{
    (void)state;
    static uint8_t bytes[10000];
    memset(bytes, 0x91, sizeof(bytes));
    assert_int_equal(scan_at_once(roomy, bytes, sizeof(bytes)).status, FRAME_TOO_DEEP);
}

static void the_byte_without_meaning_is_refused(void **state)
{
    (void)state;
    ASSERT_FRAME("\xc1", roomy, FRAME_INVALID, 0);
    ASSERT_FRAME("\x92\x01\xc1", roomy, FRAME_INVALID, 0);
    ASSERT_FRAME("\xa1\xc1", roomy, FRAME_WHOLE, 2);
}

static void scans_frame_after_frame(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "\x91\x01\x05\x92\xa1z\x80";
    struct frame_scanner scanner;
    size_t size, at = 0;
    frame_scanner_init(&scanner, roomy);
    static const size_t sizes[] = {2, 1, 4};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(frame_scan(&scanner, bytes + at, sizeof(bytes) - 1 - at, &size),
                         FRAME_WHOLE);
        assert_int_equal(size, sizes[i]);
        at += size;
    }
    assert_int_equal(at, sizeof(bytes) - 1);
    assert_int_equal(frame_scan(&scanner, bytes + at, 0, &size), FRAME_MORE);
}

static unsigned depth_of(struct reader *in)
{
    struct token token = reader_next(in);
    if (token.kind != TOKEN_ARRAY && token.kind != TOKEN_MAP) {
        return 0;
    }
    unsigned deepest = 0;
    for (uint64_t i = 0; i < (token.kind == TOKEN_MAP ? 2u : 1u) * (uint64_t)token.count; i++) {
        unsigned depth = depth_of(in);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

/* Whole where the reader finds it whole, not too deep and not too large; and the
 * same however it is cut, damaged or not. */
static void agrees_with_the_reader_however_it_is_cut(void **state)
{
    (void)state;
    struct random random = random_start("frame");
    struct buffer buffer = BUFFER_INIT;
    for (int round = 0; round < 20000; round++) {
        buffer_truncate(&buffer, 0);
        random_value(&random, &buffer, 6);
        if (random_below(&random, 3) == 0) {
            buffer.bytes[random_below(&random, buffer.size)] = (uint8_t)random_next(&random);
        }
        if (random_below(&random, 4) == 0) {
            buffer_truncate(&buffer, random_below(&random, buffer.size + 1));
        }
        struct frame_limits limits = {.bytes_max = (uint32_t)random_below(&random, 400),
                                      .levels_max = (uint32_t)random_below(&random, 8)};
        struct outcome once = scan_at_once(limits, buffer.bytes, buffer.size);
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        bool whole = reader_skip(&reader);
        size_t size = (size_t)(reader.at - buffer.bytes);
        if (whole) {
            reader = reader_of(buffer.bytes, size);
            whole = size <= limits.bytes_max && depth_of(&reader) <= limits.levels_max;
        }
        assert_int_equal(once.status == FRAME_WHOLE, whole);
        if (whole) {
            assert_int_equal(once.size, size);
        }
        for (size_t step = 0; step < 2; step++) {
            struct outcome cut = scan_in_pieces(limits, buffer.bytes, buffer.size, step, &random);
            assert_int_equal(cut.status, once.status);
            assert_int_equal(cut.size, once.size);
            assert_int_equal(cut.least, once.least);
        }
    }
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_where_a_value_ends),
        cmocka_unit_test(tells_how_much_it_will_need),
        cmocka_unit_test(what_is_too_large_is_refused_at_its_header),
        cmocka_unit_test(what_is_too_deep_is_refused_at_its_header),
        cmocka_unit_test(levels_end_at_what_the_scanner_can_hold),
        cmocka_unit_test(ten_thousand_nested_arrays_are_refused),
        cmocka_unit_test(the_byte_without_meaning_is_refused),
        cmocka_unit_test(scans_frame_after_frame),
        cmocka_unit_test(agrees_with_the_reader_however_it_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

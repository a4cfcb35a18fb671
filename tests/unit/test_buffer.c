#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/buffer.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void holds_what_is_appended(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    buffer_append(&buffer, "abc", 3);
    buffer_byte(&buffer, 'd');
    buffer_append(&buffer, NULL, 0);
    buffer_printf(&buffer, "-%d-%s", 42, "x");
    assert_int_equal(buffer.size, 9);
    assert_memory_equal(buffer.bytes, "abcd-42-x", 9);
    buffer_consume(&buffer, 4);
    assert_memory_equal(buffer.bytes, "-42-x", 5);
    buffer_truncate(&buffer, 3);
    assert_int_equal(buffer.size, 3);
    buffer_consume(&buffer, 3);
    assert_int_equal(buffer.size, 0);
    buffer_release(&buffer);
    assert_null(buffer.bytes);
    assert_int_equal(buffer.capacity, 0);
}

static void prints_texts_longer_than_its_scratch(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    char text[1000];
    memset(text, 'z', sizeof(text));
    for (int size = 250; size < 262; size++) {
        buffer_truncate(&buffer, 0);
        buffer_printf(&buffer, "%.*s", size, text);
        assert_int_equal(buffer.size, size);
        assert_memory_equal(buffer.bytes, text, (size_t)size);
    }
    buffer_release(&buffer);
}

static void stops_at_its_limit_and_stays_failed(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    buffer_append(&buffer, "0123456789", 10);
    assert_false(buffer.failed);
    assert_in_range(buffer.capacity, 10, 10);
    buffer_byte(&buffer, 'x');
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 10);
    buffer_truncate(&buffer, 5);
    assert_false(buffer.failed);
    buffer_append(&buffer, "abcdef", 6);
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 5);
    buffer_append(&buffer, "a", 1);
    assert_int_equal(buffer.size, 5);
    assert_false(buffer_reserve(&buffer, 0));
    buffer_release(&buffer);
    assert_false(buffer.failed);
    assert_int_equal(buffer.max, 10);
}

static void sizes_that_overflow_fail(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    buffer_byte(&buffer, 1);
    assert_false(buffer_reserve(&buffer, SIZE_MAX));
    assert_true(buffer.failed);
    buffer_truncate(&buffer, 1);
    assert_false(buffer_reserve(&buffer, SIZE_MAX / 2 + 2));
    assert_true(buffer.failed);
    buffer_release(&buffer);
}

static void lack_of_memory_fails(void **state)
{
    (void)state;
    long count = 0;
    bool passed = false;
    for (; !passed; count++) {
        struct buffer buffer = BUFFER_INIT;
        heap_fail_at(count);
        for (int i = 0; i < 1000; i++) {
            buffer_printf(&buffer, "%d,", i);
        }
        assert_int_equal(buffer.failed, heap_failed());
        passed = !heap_failed();
        heap_fail_at(-1);
        buffer_release(&buffer);
    }
    assert_true(count > 3);
}

/* Against a plain array. */
static void agrees_with_a_model(void **state)
{
    (void)state;
    struct random random = random_start("buffer");
    static uint8_t model[4096];
    size_t size = 0;
    struct buffer buffer;
    buffer_init(&buffer, sizeof(model));
    for (int step = 0; step < 200000; step++) {
        uint8_t piece[64];
        size_t piece_size = random_below(&random, sizeof(piece) + 1);
        for (size_t i = 0; i < piece_size; i++) {
            piece[i] = (uint8_t)random_next(&random);
        }
        uint64_t what = random_below(&random, 10);
        if (what < 7) {
            buffer_append(&buffer, piece, piece_size);
            if (size + piece_size <= sizeof(model)) {
                memcpy(model + size, piece, piece_size);
                size += piece_size;
            } else {
                assert_true(buffer.failed);
                buffer_truncate(&buffer, size);
            }
        } else if (what < 9) {
            size_t gone = random_below(&random, size + 1);
            buffer_consume(&buffer, gone);
            memmove(model, model + gone, size - gone);
            size -= gone;
        } else {
            size = random_below(&random, size + 1);
            buffer_truncate(&buffer, size);
        }
        assert_false(buffer.failed);
        assert_int_equal(buffer.size, size);
        if (size > 0) {
            assert_int_equal(memcmp(buffer.bytes, model, size), 0);
        }
    }
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_is_appended),
        cmocka_unit_test(prints_texts_longer_than_its_scratch),
        cmocka_unit_test(stops_at_its_limit_and_stays_failed),
        cmocka_unit_test(sizes_that_overflow_fail),
        cmocka_unit_test(lack_of_memory_fails),
        cmocka_unit_test(agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "protocol/base/arena.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void gives_aligned_memory_that_stays(void **state)
{
    (void)state;
    struct random random = random_start("arena");
    struct arena arena = {0};
    enum { PIECES = 4000 };
    static uint8_t *pieces[PIECES];
    static size_t sizes[PIECES];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            sizes[i] = random_magnitude(&random) % 2000;
            pieces[i] = arena_alloc(&arena, sizes[i]);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % 8, 0);
            memset(pieces[i], (int)(i & 0xff), sizes[i]);
        }
        for (size_t i = 0; i < PIECES; i++) {
            for (size_t j = 0; j < sizes[i]; j++) {
                assert_int_equal(pieces[i][j], i & 0xff);
            }
        }
        size_t before = arena.total;
        arena_reset(&arena);
        assert_true(arena.total < before);
        assert_true(arena.total > 0);
    }
    arena_release(&arena);
    assert_int_equal(arena.total, 0);
}

static void clears_copies_and_ends_texts(void **state)
{
    (void)state;
    struct arena arena = {0};
    memset(arena_alloc(&arena, 1000), 0xff, 1000);
    arena_reset(&arena);
    uint8_t *zero = arena_zero(&arena, 10, 100);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(zero[i], 0);
    }
    assert_memory_equal(arena_copy(&arena, "abc", 3), "abc", 3);
    assert_string_equal(arena_text(&arena, "abcdef", 3), "abc");
    assert_string_equal(arena_text(&arena, NULL, 0), "");
    assert_non_null(arena_copy(&arena, NULL, 0));
    assert_ptr_not_equal(arena_alloc(&arena, 0), arena_alloc(&arena, 0));
    arena_release(&arena);
}

static void keeps_to_its_limit(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 10000);
    assert_null(arena_alloc(&arena, 10000));
    assert_true(arena.failed);
    assert_null(arena_alloc(&arena, 1));
    arena_reset(&arena);
    assert_false(arena.failed);

    size_t got = 0;
    while (arena_alloc(&arena, 100) != NULL) {
        got += 104;
        assert_true(arena.total <= 10000);
    }
    assert_true(got > 9000);
    assert_true(arena.failed);
    arena_release(&arena);
}

static void sizes_that_overflow_fail(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX));
    arena_reset(&arena);
    assert_null(arena_alloc(&arena, SIZE_MAX - 7));
    arena_reset(&arena);
    assert_null(arena_zero(&arena, SIZE_MAX / 2, 3));
    assert_true(arena.failed);
    arena_reset(&arena);
    assert_null(arena_text(&arena, "", SIZE_MAX));
    arena_reset(&arena);
    void *items = NULL;
    size_t capacity = 0;
    assert_int_equal(arena_grow(&arena, &items, 0, &capacity, SIZE_MAX / 2), -CODE_OVERLOADED);
    assert_int_equal(capacity, 0);
    arena_release(&arena);
}

static void lists_grow_and_keep_their_items(void **state)
{
    (void)state;
    struct arena arena = {0};
    void *items = NULL;
    size_t count = 0, capacity = 0;
    for (; count < 10000; count++) {
        assert_int_equal(arena_grow(&arena, &items, count, &capacity, sizeof(int)), 0);
        assert_true(capacity > count);
        ((int *)items)[count] = (int)count;
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(((int *)items)[i], i);
    }
    assert_true(arena.total < 10000 * sizeof(int) * 8);
    arena_release(&arena);
}

static void lack_of_memory_fails_until_reset(void **state)
{
    (void)state;
    bool passed = false;
    long count = 0;
    for (; !passed; count++) {
        struct arena arena = {0};
        heap_fail_at(count);
        void *last = NULL;
        for (int i = 0; i < 100; i++) {
            last = arena_alloc(&arena, 1000);
        }
        passed = !heap_failed();
        heap_fail_at(-1);
        assert_int_equal(last != NULL, passed);
        assert_int_equal(arena.failed, !passed);
        arena_reset(&arena);
        assert_non_null(arena_alloc(&arena, 1000));
        arena_release(&arena);
    }
    assert_true(count > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_aligned_memory_that_stays),
        cmocka_unit_test(clears_copies_and_ends_texts),
        cmocka_unit_test(keeps_to_its_limit),
        cmocka_unit_test(sizes_that_overflow_fail),
        cmocka_unit_test(lists_grow_and_keep_their_items),
        cmocka_unit_test(lack_of_memory_fails_until_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

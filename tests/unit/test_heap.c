#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/heap.h"

static void fails_where_it_is_told_to_and_once(void **state)
{
    (void)state;
    heap_fail_at(1);
    void *first = heap_alloc(8);
    assert_non_null(first);
    assert_false(heap_failed());
    assert_null(heap_zero(2, 8));
    assert_true(heap_failed());
    void *third = heap_resize(NULL, 8);
    assert_non_null(third);
    heap_free(first);
    heap_free(third);
}

static void a_failed_resize_leaves_the_memory(void **state)
{
    (void)state;
    heap_fail_at(-1);
    char *memory = heap_alloc(4);
    assert_non_null(memory);
    memcpy(memory, "abc", 4);
    heap_fail_at(0);
    assert_null(heap_resize(memory, 1000));
    assert_string_equal(memory, "abc");
    heap_fail_at(-1);
    assert_false(heap_failed());
    memory = heap_resize(memory, 1000);
    assert_non_null(memory);
    assert_string_equal(memory, "abc");
    heap_free(memory);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    /* Volatile: the compiler would warn of what is meant to be absurd. */
    volatile size_t absurd = SIZE_MAX;
    assert_null(heap_zero(absurd / 2, 3));
    assert_null(heap_zero(3, absurd / 2));
    assert_null(heap_alloc(absurd));
    assert_null(heap_resize(NULL, absurd));
    assert_null(heap_zero(1, absurd));
}

static void nothing_is_something_too(void **state)
{
    (void)state;
    void *a = heap_alloc(0), *b = heap_zero(0, 8), *c = heap_resize(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    heap_free(a);
    heap_free(b);
    heap_free(c);
    heap_free(NULL);
}

static void must_is_cleared_and_never_told_to_fail(void **state)
{
    (void)state;
    heap_fail_at(0);
    unsigned char *memory = heap_must(64);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(memory[i], 0);
    }
    assert_false(heap_failed());
    heap_fail_at(-1);
    heap_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_where_it_is_told_to_and_once),
        cmocka_unit_test(a_failed_resize_leaves_the_memory),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(nothing_is_something_too),
        cmocka_unit_test(must_is_cleared_and_never_told_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/schema/faults.h"
#include "protocol/base/heap.h"

static void assert_printed(struct faults *faults, const char *expected)
{
    struct buffer out = BUFFER_INIT;
    faults_print(faults, "f", &out);
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, expected);
    buffer_release(&out);
}

static void faults_come_by_place_each_once(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct faults faults = {.arena = &arena};
    faults_add(&faults, 10, 1, "last");
    faults_add(&faults, 2, 10, "third");
    faults_add(&faults, 2, 9, "%s", "first");
    faults_add(&faults, 2, 9, "second");
    faults_add(&faults, 2, 9, "first");
    assert_printed(&faults, "f:2:9: first\nf:2:9: second\nf:2:10: third\nf:10:1: last\n");
    arena_release(&arena);
}

static void text_from_outside_stays_on_its_line(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct faults faults = {.arena = &arena};
    faults_add(&faults, 1, 1, "got %s", "a\nb\x1b");
    assert_printed(&faults, "f:1:1: got a\\nb\\x1b\n");
    arena_release(&arena);
}

static void what_is_too_much_is_counted(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct faults faults = {.arena = &arena};
    for (uint32_t i = 1; i <= FAULTS_MAX; i++) {
        assert_true(faults_open(&faults));
        faults_add(&faults, i, 1, "x");
    }
    assert_false(faults_open(&faults));
    faults_add(&faults, 1, 1, "y");
    faults_add(&faults, 1, 1, "z");
    struct buffer out = BUFFER_INIT;
    faults_print(&faults, "f", &out);
    buffer_byte(&out, 0);
    assert_non_null(strstr((const char *)out.bytes, "f:100:1: x\nf:100:1: and 2 more\n"));
    buffer_release(&out);
    arena_release(&arena);
}

static void without_memory_they_are_counted(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct faults faults = {.arena = &arena};
    heap_fail_at(0);
    faults_add(&faults, 1, 1, "x");
    heap_fail_at(-1);
    assert_int_equal(faults.total, 1);
    assert_true(arena.failed);
    assert_printed(&faults, "f:1:1: and 1 more\n");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_come_by_place_each_once),
        cmocka_unit_test(text_from_outside_stays_on_its_line),
        cmocka_unit_test(what_is_too_much_is_counted),
        cmocka_unit_test(without_memory_they_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

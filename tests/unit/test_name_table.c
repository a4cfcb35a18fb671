#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/schema/name_table.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void every_name_is_found_and_no_other(void **state)
{
    (void)state;
    struct random random = random_start("name_table");
    struct arena arena = {0};
    struct name_table table;
    enum { NAMES = 3000 };
    static char names[NAMES][16];
    assert_int_equal(name_table_init(&table, &arena, NAMES), 0);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof(names[i]), "n%u_%u", i, (unsigned)random_below(&random, 100));
        name_table_put(&table, names[i], strlen(names[i]), (uint16_t)i);
    }
    for (unsigned i = 0; i < NAMES; i++) {
        assert_int_equal(name_table_find(&table, names[i], strlen(names[i])), i);
        assert_int_equal(name_table_find(&table, names[i], 1), NAME_TABLE_NONE);
        names[i][0] = 'm';
        assert_int_equal(name_table_find(&table, names[i], strlen(names[i])), NAME_TABLE_NONE);
        names[i][0] = 'n';
    }
    arena_release(&arena);
}

static void the_first_of_two_stays(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct name_table table;
    assert_int_equal(name_table_init(&table, &arena, 2), 0);
    name_table_put(&table, "a", 1, 1);
    name_table_put(&table, "a", 1, 2);
    assert_int_equal(name_table_find(&table, "a", 1), 1);
    arena_release(&arena);
}

static void words_from_outside_may_be_anything(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct name_table table = {0};
    char word[300];
    memset(word, 'a', sizeof(word));
    assert_int_equal(name_table_find(&table, "a", 1), NAME_TABLE_NONE);
    assert_int_equal(name_table_init(&table, &arena, 0), 0);
    assert_int_equal(name_table_find(&table, "", 0), NAME_TABLE_NONE);
    assert_int_equal(name_table_find(&table, word, sizeof(word)), NAME_TABLE_NONE);
    assert_int_equal(name_table_find(&table, word, 256), NAME_TABLE_NONE);
    arena_release(&arena);
}

static void failing_memory_is_overloaded(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct name_table table;
    heap_fail_at(0);
    assert_int_equal(name_table_init(&table, &arena, 10), -CODE_OVERLOADED);
    heap_fail_at(-1);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found_and_no_other),
        cmocka_unit_test(the_first_of_two_stays),
        cmocka_unit_test(words_from_outside_may_be_anything),
        cmocka_unit_test(failing_memory_is_overloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/name.h"

static void names_are_letters_digits_and_underscores(void **state)
{
    (void)state;
    assert_true(name_valid("a", 1));
    assert_true(name_valid("_", 1));
    assert_true(name_valid("Zz_09", 5));
    assert_false(name_valid("", 0));
    assert_false(name_valid("9a", 2));
    /* Every byte there is, in both places. */
    for (int c = 0; c < 256; c++) {
        char text[2] = {(char)c, 'x'}, after[2] = {'x', (char)c};
        int letter = c < 128 && c != 0 &&
                     strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", c) != NULL;
        int digit = c >= '0' && c <= '9';
        assert_int_equal(name_valid(text, 2), letter);
        assert_int_equal(name_valid(after, 2), letter || digit);
    }
}

static void names_have_63_bytes_at_most(void **state)
{
    (void)state;
    char name[64];
    memset(name, 'n', sizeof(name));
    assert_true(name_valid(name, 63));
    assert_false(name_valid(name, 64));
}

static void words_of_the_language_are_none(void **state)
{
    (void)state;
    static const char *const words[] = {"and", "or",     "not",   "in",     "true",  "false",
                                        "nil", "parent", "actor", "tenant", "exists"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        assert_true(name_reserved(words[i], strlen(words[i])));
        assert_false(name_valid(words[i], strlen(words[i])));
    }
    assert_false(name_reserved("And", 3));
    assert_false(name_reserved("android", 3 + 4));
    assert_true(name_valid("android", 7));
    assert_true(name_valid("And", 3));
    assert_true(name_valid("actors", 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_letters_digits_and_underscores),
        cmocka_unit_test(names_have_63_bytes_at_most),
        cmocka_unit_test(words_of_the_language_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/code.h"

static void every_code_has_its_own_text(void **state)
{
    (void)state;
    for (int i = 1; i < CODE_COUNT; i++) {
        const char *text = code_text((enum code)i);
        assert_int_equal(code_from_text(text, strlen(text)), i);
    }
    assert_string_equal(code_text(CODE_OK), "ok");
    assert_string_equal(code_text(CODE_NOT_FOUND), "not_found");
    assert_string_equal(code_text(CODE_INTERNAL), "internal");
}

static void other_texts_are_none(void **state)
{
    (void)state;
    assert_int_equal(code_from_text("ok", 2), CODE_OK);
    assert_int_equal(code_from_text("not_foun", 8), CODE_OK);
    assert_int_equal(code_from_text("not_found ", 10), CODE_OK);
    assert_int_equal(code_from_text("not_found:", 9), CODE_NOT_FOUND);
    assert_int_equal(code_from_text("", 0), CODE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_own_text),
        cmocka_unit_test(other_texts_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

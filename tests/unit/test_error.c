#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/error.h"
#include "protocol/base/utf8.h"

static void sets_code_and_words(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    int status = error_set(&error, CODE_NOT_FOUND, "no %s %d", "ticket", 7);
    assert_int_equal(status, -CODE_NOT_FOUND);
    assert_int_equal(error.code, CODE_NOT_FOUND);
    assert_string_equal(error.message, "no ticket 7");
    assert_int_equal(error.index, -1);
    assert_int_equal(error.position, -1);

    error_clear(&error);
    assert_int_equal(error.code, CODE_OK);
    assert_string_equal(error.message, "");
}

static void takes_no_error_to_write_to(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, CODE_TIMEOUT, "late"), -CODE_TIMEOUT);
    assert_true(error_prefix(NULL, "x") < 0);
    assert_int_equal(error_limit_hit(NULL, CODE_TOO_LARGE, "nesting", 1, 2), -CODE_TOO_LARGE);
    error_resource(NULL, "x");
    error_field(NULL, "x");
    error_relationship(NULL, "x");
    error_limit(NULL, "x");
    error_path(NULL, "x");
    error_key(NULL, "x", 1);
}

static void is_prefixed_on_the_way_up(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_INVALID_VALUE, "an integer was expected");
    error_field(&error, "status");
    assert_int_equal(error_prefix(&error, "%s.%s: ", "ticket", "status"), -CODE_INVALID_VALUE);
    assert_string_equal(error.message, "ticket.status: an integer was expected");
    assert_string_equal(error.field, "status");
}

static void may_be_made_of_its_own_words(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_TIMEOUT, "late");
    error_set(&error, CODE_LOADER_FAILED, "loader: %s", error.message);
    assert_string_equal(error.message, "loader: late");
}

static void details_are_copied_and_cleared(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    char name[] = "ticket";
    error_set(&error, CODE_CONFLICT, "taken");
    error_resource(&error, name);
    error_relationship(&error, "tickets");
    error_path(&error, "or.1.status");
    error_key(&error, "\x01", 1);
    error.index = 4;
    error.position = 5;
    name[0] = 'X';
    assert_string_equal(error.resource, "ticket");
    assert_string_equal(error.relationship, "tickets");
    assert_string_equal(error.path, "or.1.status");
    assert_int_equal(error.key_size, 1);
    assert_int_equal(error.key[0], 1);

    error_set(&error, CODE_CONFLICT, "again");
    assert_string_equal(error.resource, "");
    assert_string_equal(error.relationship, "");
    assert_string_equal(error.path, "");
    assert_int_equal(error.key_size, 0);
    assert_int_equal(error.index, -1);
    assert_int_equal(error.position, -1);
}

static void a_key_too_long_is_not_kept(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    uint8_t key[ERROR_KEY_MAX + 1] = {0};
    error_set(&error, CODE_CONFLICT, "taken");
    error_key(&error, key, ERROR_KEY_MAX);
    assert_int_equal(error.key_size, ERROR_KEY_MAX);
    error_key(&error, key, ERROR_KEY_MAX + 1);
    assert_int_equal(error.key_size, 0);
}

static void limits_are_told_in_one_way(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    int status = error_limit_hit(&error, CODE_TOO_LARGE, "keys_per_call", 100000, 120000);
    assert_int_equal(status, -CODE_TOO_LARGE);
    assert_string_equal(error.limit, "keys_per_call");
    assert_non_null(strstr(error.message, "keys_per_call"));
    assert_non_null(strstr(error.message, "100000"));
    assert_non_null(strstr(error.message, "120000"));
}

static void shows_what_cannot_be_shown(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_UNKNOWN_FIELD, "%s",
              "a\nb\tc\x1b[0m \x7f \xff \xc3\xa9 \xc2\x85 \xe2\x82");
    assert_string_equal(error.message,
                        "a\\nb\\tc\\x1b[0m \\x7f \\xff \xc3\xa9 \\xc2\\x85 \\xe2\\x82");
}

/* Whatever the length, the text ends at a whole code point. */
static void is_cut_between_code_points(void **state)
{
    (void)state;
    char text[ERROR_MESSAGE_MAX * 2];
    for (size_t start = 0; start < 5; start++) {
        memset(text, 'x', sizeof(text));
        for (size_t i = start; i + 4 < sizeof(text); i += 4) {
            memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        }
        text[sizeof(text) - 1] = '\0';
        struct error error = ERROR_INIT;
        error_set(&error, CODE_INTERNAL, "%s", text);
        size_t size = strlen(error.message);
        assert_in_range(size, ERROR_MESSAGE_MAX - 4, ERROR_MESSAGE_MAX - 1);
        assert_true(utf8_valid(error.message, size));

        error_prefix(&error, "prefix: ");
        size = strlen(error.message);
        assert_in_range(size, ERROR_MESSAGE_MAX - 4, ERROR_MESSAGE_MAX - 1);
        assert_true(utf8_valid(error.message, size));
        assert_memory_equal(error.message, "prefix: ", 8);
    }
}

static void survives_texts_of_any_length(void **state)
{
    (void)state;
    static char text[8192];
    memset(text, 'y', sizeof(text) - 1);
    struct error error = ERROR_INIT;
    error_set(&error, CODE_INTERNAL, "%s", text);
    error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_MAX - 1);
    error_path(&error, text);
    assert_int_equal(strlen(error.path), ERROR_PATH_MAX - 1);
    error_limit(&error, text);
    assert_int_equal(strlen(error.limit), ERROR_NAME_MAX - 1);
}

static void appends(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    assert_true(error_append(NULL, "x") < 0);
    error_set(&error, CODE_UNAVAILABLE, "it is gone");
    assert_int_equal(error_append(&error, "; %d of %d\n", 1, 2), -CODE_UNAVAILABLE);
    assert_string_equal(error.message, "it is gone; 1 of 2\\n");
    error_outcome_unknown(&error);
    error_outcome_unknown(&error);
    assert_string_equal(error.message, "it is gone; 1 of 2\\n; a write may have been done");
    assert_string_equal(error.outcome, "unknown");
    error_outcome_unknown(NULL);
}

/* What is put behind is never what is cut. */
static void appends_to_what_is_long(void **state)
{
    (void)state;
    static char text[3 * ERROR_MESSAGE_MAX];
    static const char end[] = "; a write may have been done";
    for (size_t size = ERROR_MESSAGE_MAX - 40; size < ERROR_MESSAGE_MAX + 2; size++) {
        struct error error = ERROR_INIT;
        for (size_t i = 0; i < size; i++) {
            memcpy(text + (2 * i), "\u00e9", 2);
        }
        text[2 * size] = '\0';
        error_set(&error, CODE_TIMEOUT, "%.*s", (int)(size % 2 == 0 ? size : size - 1), text);
        error_outcome_unknown(&error);
        size_t length = strlen(error.message);
        assert_true(length < ERROR_MESSAGE_MAX);
        assert_string_equal(error.message + length - strlen(end), end);
        assert_true(utf8_valid(error.message, length));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_code_and_words),
        cmocka_unit_test(takes_no_error_to_write_to),
        cmocka_unit_test(is_prefixed_on_the_way_up),
        cmocka_unit_test(may_be_made_of_its_own_words),
        cmocka_unit_test(details_are_copied_and_cleared),
        cmocka_unit_test(a_key_too_long_is_not_kept),
        cmocka_unit_test(limits_are_told_in_one_way),
        cmocka_unit_test(shows_what_cannot_be_shown),
        cmocka_unit_test(is_cut_between_code_points),
        cmocka_unit_test(survives_texts_of_any_length),
        cmocka_unit_test(appends),
        cmocka_unit_test(appends_to_what_is_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

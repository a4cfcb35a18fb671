#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "layers/query/walk.h"
#include "protocol/base/check.h"

/* How floats become integers in the conditions on integer fields. Walks
 * themselves are tested by what searches find. */

static const struct field integer_field = {.type = {.kind = TYPE_INTEGER}};
static const struct field string_field = {.type = {.kind = TYPE_STRING}};

static struct value real_value(double real)
{
    return (struct value){.kind = VALUE_FLOAT, .real = real};
}

static bool holds(enum conjunct_operator operator, int64_t left, int64_t right)
{
    switch (operator) {
    case CONJUNCT_EQUAL:
        return left == right;
    case CONJUNCT_LESS:
        return left < right;
    case CONJUNCT_LESS_EQUAL:
        return left <= right;
    case CONJUNCT_GREATER:
        return left > right;
    case CONJUNCT_GREATER_EQUAL:
        return left >= right;
    case CONJUNCT_IN:
    case CONJUNCT_STARTS_WITH:
        break;
    }
    return false;
}

static bool holds_really(enum conjunct_operator operator, int64_t left, double right)
{
    struct value a = {.kind = VALUE_INTEGER, .integer = left}, b = real_value(right);
    return holds(operator, value_compare(&a, &b), 0);
}

static void test_floats_mean_the_same(void **state)
{
    (void)state;
    static const enum conjunct_operator operators[] = {CONJUNCT_EQUAL, CONJUNCT_LESS,
                                                       CONJUNCT_LESS_EQUAL, CONJUNCT_GREATER,
                                                       CONJUNCT_GREATER_EQUAL};
    static const double reals[] = {0,
                                   -0.5,
                                   0.5,
                                   2,
                                   2.5,
                                   -2.5,
                                   9007199254740992.0,
                                   9223372036854774784.0,
                                   9223372036854775808.0,
                                   -9223372036854775808.0,
                                   -9223372036854777856.0,
                                   DBL_MAX,
                                   -DBL_MAX,
                                   DBL_MIN};
    static const int64_t integers[] = {INT64_MIN,
                                       INT64_MIN + 1,
                                       -3,
                                       -2,
                                       -1,
                                       0,
                                       1,
                                       2,
                                       3,
                                       9007199254740991,
                                       9007199254740992,
                                       9007199254740993,
                                       INT64_MAX - 1024,
                                       INT64_MAX - 1023,
                                       INT64_MAX - 1,
                                       INT64_MAX};
    for (size_t o = 0; o < ARRAY_COUNT(operators); o++) {
        for (size_t r = 0; r < ARRAY_COUNT(reals); r++) {
            struct term_value term;
            struct value value = real_value(reals[r]);
            bool some = term_value_set(&term, &integer_field, operators[o], &value);
            for (size_t i = 0; i < ARRAY_COUNT(integers); i++) {
                bool means = some && holds(term.operator, integers[i], term.value.integer);
                assert_true(!some || term.value.kind == VALUE_INTEGER);
                assert_int_equal(means, holds_really(operators[o], integers[i], reals[r]));
            }
        }
    }
}

static void test_what_matches_nothing(void **state)
{
    (void)state;
    struct term_value term;
    struct value nil = value_nil(), nan = real_value(NAN);
    struct value five = {.kind = VALUE_INTEGER, .integer = 5};
    struct value empty = {.kind = VALUE_LIST, .size = 0}, one = {.kind = VALUE_LIST, .size = 1};
    one.items = &five;
    assert_false(term_value_set(&term, &integer_field, CONJUNCT_EQUAL, &nil));
    assert_false(term_value_set(&term, &integer_field, CONJUNCT_LESS, &nan));
    assert_false(term_value_set(&term, &string_field, CONJUNCT_EQUAL, &five));
    assert_false(term_value_set(&term, &integer_field, CONJUNCT_IN, &empty));
    assert_false(term_value_set(&term, &integer_field, CONJUNCT_IN, &nil));
    assert_true(term_value_set(&term, &integer_field, CONJUNCT_IN, &one));
    assert_true(term_value_set(&term, &integer_field, CONJUNCT_EQUAL, &five));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats_mean_the_same),
        cmocka_unit_test(test_what_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "protocol/base/name.h"
#include "protocol/base/nearest.h"
#include "tests/lib/random.h"

static const char *nearest_of(const char *word, const char *const *candidates)
{
    struct nearest nearest;
    nearest_init(&nearest, word, strlen(word));
    for (; *candidates != NULL; candidates++) {
        nearest_offer(&nearest, *candidates);
    }
    return nearest.best;
}

static void finds_what_was_meant(void **state)
{
    (void)state;
    static const char *const fields[] = {"id", "status", "priority", "created_at", "subject", NULL};
    assert_string_equal(nearest_of("statsu", fields), "status");
    assert_string_equal(nearest_of("stauts", fields), "status");
    assert_string_equal(nearest_of("prioritty", fields), "priority");
    assert_string_equal(nearest_of("pririty", fields), "priority");
    assert_string_equal(nearest_of("created_on", fields), "created_at");
    assert_string_equal(nearest_of("subject", fields), "subject");
}

static void is_silent_where_nothing_is_near(void **state)
{
    (void)state;
    static const char *const fields[] = {"id", "status", "priority", NULL};
    assert_null(nearest_of("colour", fields));
    assert_null(nearest_of("x", fields));
    assert_null(nearest_of("", fields));
    /* At most a third of the word: two letters have no near miss. */
    assert_null(nearest_of("ix", fields));
    /* And at most three. */
    static const char *const one[] = {"abcdefghijklmnop", NULL};
    assert_non_null(nearest_of("abcdefghijklmXYZ", one));
    assert_null(nearest_of("abcdefghijklWXYZ", one));
}

static void prefers_the_nearest_then_the_first(void **state)
{
    (void)state;
    static const char *const words[] = {"tickxtx", "tickett", "ticketz", NULL};
    assert_string_equal(nearest_of("tickets", words), "tickett");
}

static void passes_over_what_is_too_long(void **state)
{
    (void)state;
    char word[NAME_MAX_BYTES + 2];
    memset(word, 'a', sizeof(word));
    word[NAME_MAX_BYTES + 1] = '\0';
    const char *candidates[] = {word, NULL};
    assert_null(nearest_of(word, candidates));
    assert_null(nearest_of(word + 1, candidates));
    candidates[0] = word + 1;
    assert_ptr_equal(nearest_of(word + 1, candidates), word + 1);
    assert_ptr_equal(nearest_of(word + 2, candidates), word + 1);
}

/* The definition as recursion. */
static size_t model_distance(const char *a, size_t n, const char *b, size_t m)
{
    if (n == 0 || m == 0) {
        return n + m;
    }
    size_t best = model_distance(a, n - 1, b, m - 1) + (a[n - 1] != b[m - 1] ? 1 : 0);
    size_t other = model_distance(a, n - 1, b, m) + 1;
    best = other < best ? other : best;
    other = model_distance(a, n, b, m - 1) + 1;
    best = other < best ? other : best;
    if (n > 1 && m > 1 && a[n - 1] == b[m - 2] && a[n - 2] == b[m - 1]) {
        other = model_distance(a, n - 2, b, m - 2) + 1;
        best = other < best ? other : best;
    }
    return best;
}

static void agrees_with_the_definition(void **state)
{
    (void)state;
    struct random random = random_start("nearest");
    for (int round = 0; round < 3000; round++) {
        char a[7] = {0}, b[7] = {0};
        size_t n = random_below(&random, 7), m = random_below(&random, 7);
        for (size_t i = 0; i < n; i++) {
            a[i] = (char)('a' + random_below(&random, 3));
        }
        for (size_t i = 0; i < m; i++) {
            b[i] = (char)('a' + random_below(&random, 3));
        }
        size_t distance = model_distance(a, n, b, m);
        struct nearest nearest;
        nearest_init(&nearest, a, n);
        nearest_offer(&nearest, b);
        if (distance <= n / 3) {
            assert_ptr_equal(nearest.best, b);
            assert_int_equal(nearest.distance, distance);
        } else {
            assert_null(nearest.best);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_meant),
        cmocka_unit_test(is_silent_where_nothing_is_near),
        cmocka_unit_test(prefers_the_nearest_then_the_first),
        cmocka_unit_test(passes_over_what_is_too_long),
        cmocka_unit_test(agrees_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

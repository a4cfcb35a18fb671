#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "layers/schema/scalar.h"

static struct node node_of(const char *text, bool plain)
{
    return (struct node){
        .kind = NODE_SCALAR, .plain = plain, .text = text, .size = (uint32_t)strlen(text)};
}

static struct scalar resolve(const char *text)
{
    struct node node = node_of(text, true);
    return scalar_resolve(&node);
}

static void words_are_what_yaml_1_2_says(void **state)
{
    (void)state;
    static const char *const texts[] = {"yes",  "on",    "No",  "off",   "y",        "tRue", "nil",
                                        "none", "1_0",   "0b1", "1:30",  "+0x1",     "0o8",  "0xg",
                                        "-",    "+",     ".",   "e5",    "1e",       "1e+",  "0x",
                                        "0o",   "1.5.1", ".in", "+.nan", "infinity", "1 2",  "- 1"};
    static const char *const nils[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_int_equal(resolve(texts[i]).kind, SCALAR_TEXT);
    }
    for (size_t i = 0; i < sizeof(nils) / sizeof(*nils); i++) {
        assert_int_equal(resolve(nils[i]).kind, SCALAR_NIL);
    }
    assert_int_equal(resolve("true").kind, SCALAR_BOOLEAN);
    assert_true(resolve("TRUE").boolean);
    assert_false(resolve("False").boolean);
    assert_int_equal(resolve("False").kind, SCALAR_BOOLEAN);
}

static void quotes_make_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "~", "true", "5", "0x1", "1.5", ".inf"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct node node = node_of(texts[i], false);
        assert_int_equal(scalar_resolve(&node).kind, SCALAR_TEXT);
    }
}

static void assert_integer(const char *text, int64_t expected)
{
    struct scalar scalar = resolve(text);
    assert_int_equal(scalar.kind, SCALAR_INTEGER);
    assert_int_equal(scalar.integer, expected);
}

static void integers_have_three_bases(void **state)
{
    (void)state;
    assert_integer("0", 0);
    assert_integer("-0", 0);
    assert_integer("+12", 12);
    assert_integer("012", 12);
    assert_integer("0o17", 15);
    assert_integer("0xfF", 255);
    assert_integer("9223372036854775807", INT64_MAX);
    assert_integer("-9223372036854775808", INT64_MIN);
    assert_int_equal(resolve("9223372036854775808").kind, SCALAR_BEYOND);
    assert_int_equal(resolve("-9223372036854775809").kind, SCALAR_BEYOND);
    assert_int_equal(resolve("99999999999999999999999999").kind, SCALAR_BEYOND);
    assert_int_equal(resolve("0xffffffffffffffff").kind, SCALAR_BEYOND);
}

static void assert_float(const char *text, double expected)
{
    struct scalar scalar = resolve(text);
    assert_int_equal(scalar.kind, SCALAR_FLOAT);
    assert_true(scalar.real == expected);
}

static void floats_may_lack_a_side(void **state)
{
    (void)state;
    assert_float("1.", 1);
    assert_float(".5", 0.5);
    assert_float("-1.5e3", -1500);
    assert_float("1e-2", 0.01);
    assert_float(".inf", INFINITY);
    assert_float("-.INF", -INFINITY);
    assert_float("+.Inf", INFINITY);
    assert_int_equal(resolve(".NaN").kind, SCALAR_FLOAT);
    assert_true(isnan(resolve(".NaN").real));
}

static void durations_have_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } good[] = {{"0ms", 0},       {"7us", 7},         {"2ms", 2000},      {"5s", 5000000},
                {"1m", 60000000}, {"1h", 3600000000}, {"1d", 86400000000}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "-5s",
                                      "5 s",
                                      "1.5s",
                                      "5S",
                                      "5sec",
                                      "18446744073709551616s",
                                      "18446744073709551615s"};
    uint64_t us;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct node node = node_of(good[i].text, true);
        assert_true(scalar_duration(&node, &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct node node = node_of(bad[i], true);
        assert_false(scalar_duration(&node, &us));
    }
    struct node list = {.kind = NODE_LIST};
    assert_false(scalar_duration(&list, &us));
}

static void sizes_may_be_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"1024", 1024}, {"10B", 10}, {"2KiB", 2048}, {"64MiB", 67108864}, {"1GiB", 1073741824}};
    static const char *const bad[] = {"", "KiB", "1KB", "1k", "1mib", "-1", "17179869184GiB"};
    uint64_t bytes;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct node node = node_of(good[i].text, true);
        assert_true(scalar_size(&node, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct node node = node_of(bad[i], true);
        assert_false(scalar_size(&node, &bytes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_what_yaml_1_2_says), cmocka_unit_test(quotes_make_text),
        cmocka_unit_test(integers_have_three_bases),    cmocka_unit_test(floats_may_lack_a_side),
        cmocka_unit_test(durations_have_a_unit),        cmocka_unit_test(sizes_may_be_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "protocol/base/datetime.h"
#include "tests/lib/random.h"

struct sample {
    const char *text;
    int64_t seconds;
    uint32_t nanoseconds;
};

static void every_form_is_taken(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"1970-01-01", 0, 0},
        {"1970-01-01T00:00Z", 0, 0},
        {"1969-12-31T23:59:59.999999999Z", -1, 999999999},
        {"2026-11-22T10:00:00Z", 1795341600, 0},
        {"2026-11-22t10:00:00z", 1795341600, 0},
        {"2026-11-22 10:00", 1795341600, 0},
        {"2026-11-22T10:00:00.5", 1795341600, 500000000},
        {"2026-11-22T10:00:00,000000001Z", 1795341600, 1},
        {"2026-11-22T10:00:00.1234567899Z", 1795341600, 123456789},
        {"2026-11-22T11:00:00+01:00", 1795341600, 0},
        {"2026-11-22T11:30+0130", 1795341600, 0},
        {"2026-11-22T02:00:00-08", 1795341600, 0},
        {"2024-02-29", 1709164800, 0},
        {"2000-02-29T23:59:59Z", 951868799, 0},
        {"0000-01-01", -62167219200, 0},
        {"-0001-12-31T23:59:59Z", -62167219201, 0},
        {"+10000-01-01", 253402300800, 0},
        {"+292277026596-12-04T15:30:07Z", INT64_MAX, 0},
        {"-292277022657-01-27T08:29:52Z", INT64_MIN, 0},
    };
    for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
        struct datetime datetime;
        if (!datetime_parse(samples[i].text, strlen(samples[i].text), &datetime)) {
            fail_msg("%s was refused", samples[i].text);
        }
        if (datetime.seconds != samples[i].seconds ||
            datetime.nanoseconds != samples[i].nanoseconds) {
            fail_msg("%s became %lld.%09u", samples[i].text, (long long)datetime.seconds,
                     datetime.nanoseconds);
        }
    }
}

static void what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "2026",
        "2026-11",
        "2026-11-2",
        "2026-11-22T",
        "2026-11-22T10",
        "2026-11-22T10:0",
        "2026-11-22T10:00:",
        "2026-11-22T10:00:00.",
        "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00Zx",
        "2026-11-22T10:00:00+1",
        "2026-11-22T10:00:00+01:",
        "2026-11-22T10:00:00+01:0",
        "2026-11-22T10:00:00+24:00",
        "2026-11-22T10:00:00+01:60",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:00:60Z",
        "2026-11-22Z",
        " 2026-11-22",
        "2026-11-22 ",
        "2026-00-22",
        "2026-13-22",
        "2026-11-00",
        "2026-11-31",
        "2023-02-29",
        "1900-02-29",
        "10000-01-01",
        "+999-01-01",
        "20261122",
        "+292277026596-12-04T15:30:08Z",
        "-292277022657-01-27T08:29:51Z",
        "+999999999999-01-01",
        "-999999999999-01-01",
        "+1000000000000-01-01",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct datetime datetime;
        if (datetime_parse(texts[i], strlen(texts[i]), &datetime)) {
            fail_msg("%s was taken as %lld", texts[i], (long long)datetime.seconds);
        }
    }
}

static void assert_formats(int64_t seconds, uint32_t nanoseconds, const char *expected)
{
    char text[DATETIME_TEXT_MAX];
    struct datetime datetime = {.seconds = seconds, .nanoseconds = nanoseconds};
    size_t size = datetime_format(&datetime, text);
    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
}

static void has_as_many_digits_as_it_needs(void **state)
{
    (void)state;
    assert_formats(0, 0, "1970-01-01T00:00:00Z");
    assert_formats(1795341600, 500000000, "2026-11-22T10:00:00.500Z");
    assert_formats(1795341600, 500001000, "2026-11-22T10:00:00.500001Z");
    assert_formats(1795341600, 1, "2026-11-22T10:00:00.000000001Z");
    assert_formats(-1, 999000000, "1969-12-31T23:59:59.999Z");
    assert_formats(253402300799, 0, "9999-12-31T23:59:59Z");
    assert_formats(253402300800, 0, "+10000-01-01T00:00:00Z");
    assert_formats(-62167219201, 0, "-0001-12-31T23:59:59Z");
    assert_formats(INT64_MIN, 999999999, "-292277022657-01-27T08:29:52.999999999Z");
    assert_formats(INT64_MAX, 999999999, "+292277026596-12-04T15:30:07.999999999Z");
}

/* The calendar against that of the C library, and there and back. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    struct random random = random_start("datetime");
    for (int round = 0; round < 200000; round++) {
        int64_t seconds = (int64_t)random_magnitude(&random);
        seconds = random_below(&random, 2) == 0 ? seconds : -seconds;
        static const uint32_t units[] = {1, 1000, 1000000};
        uint32_t nanoseconds =
            (uint32_t)random_below(&random, 1000) * units[random_below(&random, 3)];
        struct datetime datetime = {.seconds = seconds, .nanoseconds = nanoseconds}, back;
        char text[DATETIME_TEXT_MAX];
        size_t size = datetime_format(&datetime, text);
        assert_true(datetime_parse(text, size, &back));
        assert_int_equal(datetime_compare(&datetime, &back), 0);

        struct tm tm;
        time_t when = (time_t)seconds;
        if (gmtime_r(&when, &tm) != NULL && tm.tm_year >= -1900 && tm.tm_year <= 8099) {
            char expected[DATETIME_TEXT_MAX];
            strftime(expected, sizeof(expected), "-%m-%dT%H:%M:%S", &tm);
            assert_memory_equal(text + 4, expected, strlen(expected));
            assert_int_equal(atoi(text), tm.tm_year + 1900);
        }
    }
}

/* Whatever stands there, in memory that ends where the text does. */
static void any_text_is_read_to_its_end_only(void **state)
{
    (void)state;
    struct random random = random_start("datetime texts");
    static const char model[] = "2026-11-22T10:00:00.123456789+01:00";
    static const char letters[] = "0123456789-+:.,TZtz ";
    for (int round = 0; round < 200000; round++) {
        size_t size = random_below(&random, sizeof(model));
        char *text = malloc(size > 0 ? size : 1);
        assert_non_null(text);
        memcpy(text, model, size);
        if (size > 0 && random_below(&random, 2) == 0) {
            text[random_below(&random, size)] = letters[random_below(&random, sizeof(letters) - 1)];
        }
        struct datetime datetime;
        if (datetime_parse(text, size, &datetime)) {
            assert_true(datetime.nanoseconds < 1000000000);
        }
        free(text);
    }
}

static void compares_seconds_then_nanoseconds(void **state)
{
    (void)state;
    struct datetime early = {-1, 999999999}, epoch = {0, 0}, late = {0, 1};
    assert_int_equal(datetime_compare(&early, &epoch), -1);
    assert_int_equal(datetime_compare(&epoch, &late), -1);
    assert_int_equal(datetime_compare(&late, &epoch), 1);
    assert_int_equal(datetime_compare(&epoch, &early), 1);
    assert_int_equal(datetime_compare(&late, &late), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_taken),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(has_as_many_digits_as_it_needs),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(any_text_is_read_to_its_end_only),
        cmocka_unit_test(compares_seconds_then_nanoseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

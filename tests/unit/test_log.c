#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "protocol/base/utf8.h"
#include "tests/lib/random.h"

struct fixture {
    int ends[2];
    char text[2 * LOG_LINE_MAX];
};

static void setup(struct fixture *fixture, enum log_level level, enum log_format format)
{
    assert_int_equal(pipe2(fixture->ends, O_CLOEXEC | O_NONBLOCK), 0);
    log_setup(fixture->ends[1], level, format);
}

static void teardown(struct fixture *fixture)
{
    log_setup(STDERR_FILENO, LOG_INFO, LOG_LOGFMT);
    close(fixture->ends[0]);
    close(fixture->ends[1]);
}

/* What was logged, from behind the time on. */
static const char *logged(struct fixture *fixture)
{
    ssize_t size = read(fixture->ends[0], fixture->text, sizeof(fixture->text) - 1);
    fixture->text[size > 0 ? size : 0] = '\0';
    const char *rest = strstr(fixture->text, "level");
    return rest != NULL ? rest : fixture->text;
}

static void test_logfmt(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, LOG_INFO, LOG_LOGFMT);
    struct log_line line;
    log_begin(&line, LOG_WARNING, "thing_happened");
    log_text(&line, "plain", "unix:/run/x.sock");
    log_text(&line, "spaced", "a b");
    log_text(&line, "empty", "");
    log_text(&line, "quoted", "say \"x\"=\\\n\x01");
    log_number(&line, "count", -42);
    log_end(&line);
    assert_string_equal(logged(&fixture),
                        "level=warning event=thing_happened plain=unix:/run/x.sock "
                        "spaced=\"a b\" empty=\"\" quoted=\"say \\\"x\\\"=\\\\\\n\\u0001\" "
                        "count=-42\n");
    assert_memory_equal(fixture.text, "time=2", 6);
    teardown(&fixture);
}

static void test_json(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, LOG_INFO, LOG_JSON);
    struct log_line line;
    log_begin(&line, LOG_ERROR, "x");
    log_text(&line, "text", "\"\xc3\xa4\xff");
    log_number(&line, "n", 7);
    log_end(&line);
    assert_string_equal(logged(&fixture),
                        "level\":\"error\",\"event\":\"x\",\"text\":\"\\\"\xc3\xa4\\u00ff\","
                        "\"n\":7}\n");
    assert_memory_equal(fixture.text, "{\"time\":\"2", 10);
    teardown(&fixture);
}

static void test_levels(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, LOG_WARNING, LOG_LOGFMT);
    log_event(LOG_INFO, "quiet", "a", "%d", 1);
    assert_string_equal(logged(&fixture), "");
    log_event(LOG_WARNING, "loud", "a", "%d", 1);
    assert_string_equal(logged(&fixture), "level=warning event=loud a=1\n");
    log_event(LOG_ERROR, "bare", NULL, "%s", "");
    assert_string_equal(logged(&fixture), "level=error event=bare\n");
    teardown(&fixture);
}

static void test_long_values(void **state)
{
    (void)state;
    struct fixture fixture;
    char value[LOG_VALUE_MAX + 3];
    setup(&fixture, LOG_INFO, LOG_LOGFMT);
    /* Cut at a code point: two bytes each, one byte before them. */
    value[0] = 'a';
    for (size_t i = 1; i + 1 < sizeof(value); i += 2) {
        value[i] = '\xc3';
        value[i + 1] = '\xa4';
    }
    struct log_line line;
    log_begin(&line, LOG_INFO, "x");
    log_text_sized(&line, "v", value, sizeof(value) - 1);
    log_end(&line);
    const char *text = logged(&fixture);
    assert_int_equal(strlen(text), strlen("level=info event=x v=\"\"\n") + LOG_VALUE_MAX - 1);
    assert_true(utf8_valid(text, strlen(text)));

    /* What does not fit is left out whole; what comes later may fit. */
    log_begin(&line, LOG_INFO, "x");
    memset(value, '\x01', sizeof(value)); /* six bytes each when it is shown */
    log_text_sized(&line, "too_much", value, LOG_VALUE_MAX);
    log_number(&line, "n", 1);
    log_end(&line);
    assert_string_equal(logged(&fixture), "level=info event=x n=1\n");
    teardown(&fixture);
}

/* However the values are, a line is one line and no longer than it may be. */
static void test_random_values(void **state)
{
    (void)state;
    struct random random = random_start("log");
    for (int round = 0; round < 2000; round++) {
        struct fixture fixture;
        char value[64];
        setup(&fixture, LOG_INFO, round % 2 == 0 ? LOG_LOGFMT : LOG_JSON);
        struct log_line line;
        log_begin(&line, LOG_INFO, "x");
        uint64_t pairs = random_below(&random, 120);
        for (uint64_t i = 0; i < pairs; i++) {
            size_t size = (size_t)random_below(&random, sizeof(value));
            for (size_t j = 0; j < size; j++) {
                value[j] = (char)random_below(&random, 256);
            }
            log_text_sized(&line, "key", value, size);
        }
        log_end(&line);
        logged(&fixture);
        size_t size = strlen(fixture.text);
        assert_in_range(size, 10, LOG_LINE_MAX);
        assert_ptr_equal(strchr(fixture.text, '\n'), fixture.text + size - 1);
        assert_true(utf8_valid(fixture.text, size));
        if (round % 2 == 1) {
            assert_int_equal(fixture.text[size - 2], '}');
        }
        teardown(&fixture);
    }
}

static void test_names(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_LOGFMT;
    assert_true(log_level_parse("error", 5, &level));
    assert_int_equal(level, LOG_ERROR);
    assert_string_equal(log_level_text(level), "error");
    assert_false(log_level_parse("errors", 6, &level));
    assert_false(log_level_parse("", 0, &level));
    assert_int_equal(level, LOG_ERROR);
    assert_true(log_format_parse("json", 4, &format));
    assert_string_equal(log_format_text(format), "json");
    assert_false(log_format_parse("xml", 3, &format));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logfmt),        cmocka_unit_test(test_json),
        cmocka_unit_test(test_levels),        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_random_values), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

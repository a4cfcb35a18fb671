#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/base64.h"
#include "clients/cli/grid.h"
#include "clients/cli/render.h"
#include "clients/cli/words.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"

/* The parts of the command line client that turn text into values and back. */

/* --- Words and flags ---------------------------------------------------------------- */

static void assert_words(const char *line, size_t count, const char *const *expected)
{
    struct words words;
    assert_null(words_split(&words, line));
    assert_int_equal(words.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(words.items[i], expected[i]);
    }
    assert_null(words.items[count]);
    words_release(&words);
}

static void splits_lines_as_a_shell(void **state)
{
    (void)state;
    assert_words("", 0, NULL);
    assert_words("  \t # nothing", 0, NULL);
    assert_words("a  b\n", 2, (const char *[]){"a", "b"});
    assert_words("read t 'status == \"open\"'", 3,
                 (const char *[]){"read", "t", "status == \"open\""});
    assert_words("\"a\\\"b\\\\c\\n\" '\\' \\ d ''", 4,
                 (const char *[]){"a\"b\\c\\n", "\\", " d", ""});
    assert_words("a'b'\"c\" d#e", 2, (const char *[]){"abc", "d#e"});
    struct words words;
    assert_non_null(words_split(&words, "a 'b"));
    assert_non_null(words_split(&words, "\"b"));
    assert_non_null(words_split(&words, "b\\"));
}

static void takes_flags_apart(void **state)
{
    (void)state;
    struct args args;
    const char *words[] = {"read",      "ticket", "-5", "--sort", "-priority",
                           "--limit=3", "--json", "-h", "--",     "--sort"};
    assert_true(args_parse(&args, words, 10));
    assert_int_equal(args.count, 4);
    assert_string_equal(args.words[2], "-5");
    assert_string_equal(args.words[3], "--sort");
    assert_string_equal(args.values[ARGS_SORT], "-priority");
    assert_true(args_has(&args, ARGS_JSON) && args_has(&args, ARGS_HELP));
    assert_false(args_has(&args, ARGS_TABLE));
    uint64_t limit = 0;
    assert_true(args_number(&args, ARGS_LIMIT, &limit));
    assert_int_equal(limit, 3);

    const char *unknown[] = {"--limt", "3"};
    assert_false(args_parse(&args, unknown, 2));
    assert_non_null(strstr(args.fault, "--limit?"));
    const char *lonely[] = {"--limit"};
    assert_false(args_parse(&args, lonely, 1));
    const char *valued[] = {"--json=1"};
    assert_false(args_parse(&args, valued, 1));
    const char *wrong[] = {"--limit", "3x"};
    assert_true(args_parse(&args, wrong, 2));
    assert_false(args_number(&args, ARGS_LIMIT, &limit));
}

/* --- Base64 ------------------------------------------------------------------------- */

static void encodes_base64(void **state)
{
    (void)state;
    const char *const pairs[][2] = {{"", ""},
                                    {"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="},
                                    {"fooba", "Zm9vYmE="},
                                    {"\xff\xfe", "//4="}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buffer out = BUFFER_INIT;
        base64_encode(&out, (const uint8_t *)pairs[i][0], strlen(pairs[i][0]));
        buffer_byte(&out, 0);
        assert_string_equal((const char *)out.bytes, pairs[i][1]);
        buffer_release(&out);
    }
    const char *const wrong[] = {"Z", "Zg=", "Zh==", "Zm9v!", "Zm 9v", "====", "Z===", "=Zm9"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buffer out = BUFFER_INIT;
        assert_false(base64_decode(&out, wrong[i], strlen(wrong[i])));
        buffer_release(&out);
    }
}

static void decodes_what_it_encoded(void **state)
{
    (void)state;
    struct random random = random_start("base64");
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        size_t size = random_below(&random, sizeof(bytes));
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)random_next(&random);
        }
        struct buffer text = BUFFER_INIT;
        struct buffer back = BUFFER_INIT;
        base64_encode(&text, bytes, size);
        assert_true(base64_decode(&back, (const char *)text.bytes, text.size));
        assert_int_equal(back.size, size);
        if (size > 0) {
            assert_memory_equal(back.bytes, bytes, size);
        }
        buffer_release(&text);
        buffer_release(&back);
    }
}

/* --- Values as text ------------------------------------------------------------------- */

static void assert_rendered(const struct buffer *value, const char *json, const char *cell)
{
    struct buffer out = BUFFER_INIT;
    struct relata_value whole = {value->bytes, value->size};
    render_json(&out, whole);
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, json);
    buffer_truncate(&out, 0);
    render_cell(&out, whole);
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, cell);
    buffer_release(&out);
}

static void assert_float(double number, const char *json)
{
    struct buffer value = BUFFER_INIT;
    write_float(&value, number);
    assert_rendered(&value, json, json);
    buffer_release(&value);
}

static void renders_numbers_exactly(void **state)
{
    (void)state;
    struct buffer value = BUFFER_INIT;
    write_integer(&value, INT64_MIN);
    assert_rendered(&value, "-9223372036854775808", "-9223372036854775808");
    buffer_truncate(&value, 0);
    write_unsigned(&value, UINT64_MAX);
    assert_rendered(&value, "18446744073709551615", "18446744073709551615");
    buffer_release(&value);
    assert_float(0.1, "0.1");
    assert_float(1, "1.0");
    assert_float(-0.0, "-0.0");
    assert_float(1e300, "1e+300");
    assert_float(0.30000000000000004, "0.30000000000000004");
}

static void renders_every_kind(void **state)
{
    (void)state;
    struct buffer value = BUFFER_INIT;
    write_string(&value, "a\"\n\x1b\xc3\xa4\xff", 7);
    assert_rendered(&value, "\"a\\\"\\n\\u001b\xc3\xa4\xef\xbf\xbd\"",
                    "a\"\\n\\x1b\xc3\xa4\xef\xbf\xbd");
    buffer_truncate(&value, 0);
    write_nil(&value);
    assert_rendered(&value, "null", "nil");
    buffer_truncate(&value, 0);
    write_binary(&value, "hi", 2);
    assert_rendered(&value, "\"aGk=\"", "aGk=");
    buffer_truncate(&value, 0);
    write_datetime(&value, &(struct datetime){.seconds = 0, .nanoseconds = 500000000});
    assert_rendered(&value, "\"1970-01-01T00:00:00.500Z\"", "1970-01-01T00:00:00.500Z");
    buffer_truncate(&value, 0);

    write_array(&value, 2);
    write_map(&value, 2);
    write_text(&value, "id");
    write_integer(&value, 1);
    write_integer(&value, 5);
    write_boolean(&value, false);
    write_nil(&value);
    assert_rendered(&value, "[{\"id\":1,\"5\":false},null]", "[2]");
    buffer_truncate(&value, 0);
    write_array(&value, 2);
    write_integer(&value, 1);
    write_text(&value, "x");
    assert_rendered(&value, "[1,\"x\"]", "[1,\"x\"]");
    buffer_truncate(&value, 0);

    struct error error = ERROR_INIT;
    error_set(&error, CODE_TIMEOUT, "too slow");
    message_error_extension(&value, &error);
    assert_rendered(&value, "{\"error\":{\"code\":\"timeout\",\"message\":\"too slow\"}}",
                    "timeout: too slow");
    buffer_release(&value);
}

/* --- Tables ---------------------------------------------------------------------------- */

static void add_record(struct grid *grid, int64_t id, const char *name)
{
    struct buffer value = BUFFER_INIT;
    write_map(&value, 2);
    write_text(&value, "id");
    write_integer(&value, id);
    write_text(&value, "name");
    write_text(&value, name);
    grid_add(grid, (struct relata_value){value.bytes, value.size});
    buffer_release(&value);
}

static void assert_grid(const struct grid *grid, size_t width, const char *expected)
{
    struct buffer out = BUFFER_INIT;
    grid_write(grid, width, &out);
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, expected);
    buffer_release(&out);
}

static void lays_out_tables(void **state)
{
    (void)state;
    setlocale(LC_CTYPE, "C.UTF-8");
    struct grid *grid = malloc(sizeof(*grid));
    grid_init(grid);
    assert_grid(grid, 80, "");
    add_record(grid, 1, "\xc3\x84nne");
    add_record(grid, 1000, "\xe6\x9d\xb1\xe4\xba\xac Tower of Tokyo");
    assert_grid(grid, 80,
                "  id  name\n"
                "────  ───────────────────\n"
                "   1  \xc3\x84nne\n"
                "1000  \xe6\x9d\xb1\xe4\xba\xac Tower of Tokyo\n");
    assert_grid(grid, 16,
                "  id  name\n"
                "────  ──────────\n"
                "   1  \xc3\x84nne\n"
                "1000  \xe6\x9d\xb1\xe4\xba\xac Towe…\n");
    /* Too narrow for a table: one field a line. */
    assert_grid(grid, 9,
                "id    1\n"
                "name  \xc3\x84nne\n"
                "\n"
                "id    1000\n"
                "name  \xe6\x9d\xb1\xe4\xba\xac …\n");
    grid_release(grid);
    free(grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_lines_as_a_shell), cmocka_unit_test(takes_flags_apart),
        cmocka_unit_test(encodes_base64),          cmocka_unit_test(decodes_what_it_encoded),
        cmocka_unit_test(renders_numbers_exactly), cmocka_unit_test(renders_every_kind),
        cmocka_unit_test(lays_out_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "layers/redis/json_reader.h"
#include "protocol/base/buffer.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* A letter for each token; `!` where the text is refused, `.` at its end. */
static const char *kinds(const void *json, size_t size)
{
    static char shown[200];
    static const char letters[] = "!.n\"0tfN{[]";
    struct json_reader reader;
    json_reader_init(&reader, json, size);
    for (unsigned i = 0; i + 1 < sizeof(shown); i++) {
        struct json_token token = json_next(&reader);
        shown[i] = letters[token.kind];
        shown[i + 1] = '\0';
        if (token.kind == JSON_TOKEN_INVALID || token.kind == JSON_TOKEN_END) {
            assert_int_equal(json_next(&reader).kind, token.kind);
            break;
        }
    }
    return shown;
}

static void expect(const char *json, const char *expected)
{
    assert_string_equal(kinds(json, strlen(json)), expected);
}

static void texts_are_tokens(void **state)
{
    (void)state;
    expect(" {\"a\" : [1, -0.5e+3 ,true],\"b\":{}, \"c\":[] } ", "{n[00t]n{]n[]].");
    expect("null", "N.");
    expect("\"\\u00e4\\n\"", "\".");
    expect("false", "f.");
    expect("-0", "0.");
    expect("[[[]],{}]", "[[[]]{]].");
}

static void other_texts_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",        " ",         "[",           "]",          "{",          "}",      "[1,]",
        "[,1]",    "[1 2]",     "{\"a\"}",     "{\"a\":}",   "{\"a\":1,}", "{a:1}",  "{\"a\":1]",
        "[1}",     "01",        "-",           "1.",         ".5",         "1e",     "1e+",
        "+1",      "0x1",       "tru",         "True",       "nul",        "\"",     "\"\\",
        "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"a\nb\"",   "\"\xff\"",   "1 1",    "NaN",
        "'a'",     "{1:2}",     "[1]]",        "{\"a\":1}}", "\"\x1f\"",   "//x\n1", "\"\xc0\x80\"",
    };
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        const char *shown = kinds(wrong[i], strlen(wrong[i]));
        if (shown[strlen(shown) - 1] != '!') {
            fail_msg("%s is taken", wrong[i]);
        }
    }
    assert_string_equal(kinds("1\0", 2), "0!");
    assert_string_equal(kinds("\"\0\"", 3), "!");
}

static void levels_are_bounded(void **state)
{
    (void)state;
    for (unsigned levels = JSON_READER_LEVELS_MAX; levels <= JSON_READER_LEVELS_MAX + 1; levels++) {
        struct buffer json = BUFFER_INIT;
        for (unsigned i = 0; i < levels; i++) {
            buffer_append(&json, i % 3 == 0 ? "{\"\":" : "[", i % 3 == 0 ? 4 : 1);
        }
        buffer_byte(&json, '0');
        for (unsigned i = levels; i > 0; i--) {
            buffer_byte(&json, (i - 1) % 3 == 0 ? '}' : ']');
        }
        struct json_reader reader;
        json_reader_init(&reader, json.bytes, json.size);
        assert_int_equal(json_skip(&reader), levels == JSON_READER_LEVELS_MAX);
        buffer_release(&json);
    }
}

static void values_are_passed_over(void **state)
{
    (void)state;
    static const char json[] = "[ {\"a\":[1,{}]} , 2, [}]";
    struct json_reader reader;
    json_reader_init(&reader, json, strlen(json));
    assert_int_equal(json_next(&reader).kind, JSON_TOKEN_ARRAY);
    assert_true(json_skip(&reader));
    assert_memory_equal(reader.at, " , 2", 4);
    assert_true(json_skip(&reader));
    /* Where a comma comes first, the value begins behind it. */
    assert_memory_equal(json_peek(&reader), ", [", 3);
    assert_false(json_skip(&reader));
    assert_false(json_skip(&reader));
    json_reader_init(&reader, "[]", 2);
    json_next(&reader);
    assert_false(json_skip(&reader));
}

static void expect_text(const char *json, const char *text, size_t size)
{
    struct buffer out = BUFFER_INIT;
    struct json_reader reader;
    json_reader_init(&reader, json, strlen(json));
    struct json_token token = json_next(&reader);
    assert_int_equal(token.kind, JSON_TOKEN_STRING);
    assert_int_equal(json_text(&token, &out), text != NULL);
    if (text != NULL) {
        assert_int_equal(out.size, size);
        assert_memory_equal(out.bytes, text, size);
    }
    buffer_release(&out);
}

static void strings_are_text(void **state)
{
    (void)state;
    expect_text("\"plain \u00fc\"", "plain \u00fc", 8);
    expect_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\t.\"", "\"\\/\b\f\n\r\t.", 9);
    expect_text("\"\\u0000\\u00FC\\u20ac\\ud83d\\uDE00!\"", "\0\u00fc\u20ac\U0001f600!", 11);
    expect_text("\"\\ud83d\"", NULL, 0);
    expect_text("\"\\ud83dx\"", NULL, 0);
    expect_text("\"\\ud83d\\n\"", NULL, 0);
    expect_text("\"\\ud83d\\u0041\"", NULL, 0);
    expect_text("\"\\ude00\\ud83d\"", NULL, 0);
}

/* ---- Compared with jansson ---- */

static void random_json(struct random *random, struct buffer *out)
{
    static const char *const pieces[] = {
        "{",       "}",  "[",  "]",       ",",        ":",    "\"a\":", "\"b\":", "1",   "0",
        "-",       ".5", "e3", "E+",      "\"\"",     "true", "null",   "false",  " ",   "\n",
        "\"\\n\"", "\"", "\\", "\\u00e4", "\xc3\xa4", "\xc3", "[]",     "{}",     "1,2", "\"x\",",
    };
    uint64_t count = 1 + random_below(random, 9);
    buffer_truncate(out, 0);
    bool object = random_below(random, 2) == 0;
    buffer_append(out, object ? "{\"a\":" : "[", object ? 5 : 1);
    for (uint64_t i = 0; i < count; i++) {
        const char *piece = pieces[random_below(random, ARRAY_COUNT(pieces))];
        buffer_append(out, piece, strlen(piece));
    }
    buffer_byte(out, object ? '}' : ']');
}

static void jansson_takes_the_same(void **state)
{
    (void)state;
    struct random random = random_start("jansson_takes_the_same");
    struct buffer json = BUFFER_INIT;
    unsigned taken = 0;
    for (int round = 0; round < 300000; round++) {
        random_json(&random, &json);
        json_error_t fault;
        json_t *value =
            json_loadb((const char *)json.bytes, json.size,
                       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &fault);
        bool overflow = value == NULL && json_error_code(&fault) == json_error_numeric_overflow;
        struct json_reader reader;
        json_reader_init(&reader, json.bytes, json.size);
        bool ours = json_skip(&reader) && json_next(&reader).kind == JSON_TOKEN_END;
        if (!overflow && ours != (value != NULL)) {
            fail_msg("%.*s: we say %d", (int)json.size, (const char *)json.bytes, ours);
        }
        taken += ours ? 1 : 0;
        json_decref(value);
    }
    assert_true(taken > 1000);
    buffer_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_tokens),   cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(levels_are_bounded), cmocka_unit_test(values_are_passed_over),
        cmocka_unit_test(strings_are_text),   cmocka_unit_test(jansson_takes_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

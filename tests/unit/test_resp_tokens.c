#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/resp.h"
#include "protocol/base/heap.h"

/* What is read of replies, kind by kind, and what commands look like. Where
 * replies end, and random ones, are in test_resp. */

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

/* ---- Reading ---- */

static void expect_text(struct resp_reader *reader, enum resp_kind kind, const char *text)
{
    struct resp_token token = resp_next(reader);
    assert_int_equal(token.kind, kind);
    assert_int_equal(token.size, strlen(text));
    assert_memory_equal(token.bytes, text, token.size);
}

static void expect_integer(struct resp_reader *reader, enum resp_kind kind, int64_t integer)
{
    struct resp_token token = resp_next(reader);
    assert_int_equal(token.kind, kind);
    assert_true(token.integer == integer);
}

static void expect_count(struct resp_reader *reader, enum resp_kind kind, uint64_t count)
{
    struct resp_token token = resp_next(reader);
    assert_int_equal(token.kind, kind);
    assert_int_equal(token.count, count);
}

static void expect_real(struct resp_reader *reader, double real)
{
    struct resp_token token = resp_next(reader);
    assert_int_equal(token.kind, RESP_REAL);
    assert_memory_equal(&token.real, &real, sizeof(real));
}

static void reads_each_kind(void **state)
{
    (void)state;
    struct resp_reader in = resp_reader_of(
        BYTES("*-1\r\n$-1\r\n_\r\n+OK\r\n$0\r\n\r\n$4\r\na\r\nb\r\n=7\r\ntxt:abc\r\n(-12\r\n"
              "-ERR no\r\n!6\r\nERR no\r\n:-5\r\n:9223372036854775807\r\n:-9223372036854775808\r\n"
              ",0.10000000000000001\r\n,-inf\r\n,1e2\r\n#t\r\n#f\r\n"
              "*2\r\n:1\r\n:2\r\n~1\r\n:3\r\n%1\r\n+a\r\n:4\r\n>1\r\n:5\r\n*0\r\n"
              "|1\r\n+a\r\n*1\r\n%1\r\n:7\r\n:8\r\n|0\r\n:6\r\n"));
    expect_count(&in, RESP_NIL, 0);
    expect_count(&in, RESP_NIL, 0);
    expect_count(&in, RESP_NIL, 0);
    expect_text(&in, RESP_TEXT, "OK");
    expect_text(&in, RESP_TEXT, "");
    expect_text(&in, RESP_TEXT, "a\r\nb");
    expect_text(&in, RESP_TEXT, "abc");
    expect_text(&in, RESP_TEXT, "-12");
    expect_text(&in, RESP_ERROR, "ERR no");
    expect_text(&in, RESP_ERROR, "ERR no");
    expect_integer(&in, RESP_INTEGER, -5);
    expect_integer(&in, RESP_INTEGER, INT64_MAX);
    expect_integer(&in, RESP_INTEGER, INT64_MIN);
    expect_real(&in, 0.1);
    expect_real(&in, -INFINITY);
    expect_real(&in, 100);
    expect_integer(&in, RESP_BOOLEAN, 1);
    expect_integer(&in, RESP_BOOLEAN, 0);
    expect_count(&in, RESP_ARRAY, 2);
    expect_integer(&in, RESP_INTEGER, 1);
    expect_integer(&in, RESP_INTEGER, 2);
    expect_count(&in, RESP_ARRAY, 1);
    expect_integer(&in, RESP_INTEGER, 3);
    expect_count(&in, RESP_MAP, 1);
    expect_text(&in, RESP_TEXT, "a");
    expect_integer(&in, RESP_INTEGER, 4);
    expect_count(&in, RESP_PUSH, 1);
    expect_integer(&in, RESP_INTEGER, 5);
    expect_count(&in, RESP_ARRAY, 0);
    expect_integer(&in, RESP_INTEGER, 6);
    assert_int_equal(resp_next(&in).kind, RESP_END);
    assert_int_equal(resp_next(&in).kind, RESP_END);
}

static void reads_nan(void **state)
{
    (void)state;
    struct resp_reader in = resp_reader_of(BYTES(",nan\r\n"));
    struct resp_token token = resp_next(&in);
    assert_int_equal(token.kind, RESP_REAL);
    assert_true(isnan(token.real));
}

static void passes_over_values(void **state)
{
    (void)state;
    struct resp_reader in = resp_reader_of(BYTES("*2\r\n|1\r\n+a\r\n:1\r\n%1\r\n+b\r\n*2\r\n:1\r\n:"
                                                 "2\r\n$3\r\nxyz\r\n|1\r\n+c\r\n:3\r\n:4\r\n"
                                                 "$-1\r\n:5\r\n"));
    resp_skip(&in);
    resp_skip(&in);
    resp_skip(&in);
    expect_integer(&in, RESP_INTEGER, 5);
    resp_skip(&in);
    assert_int_equal(resp_next(&in).kind, RESP_END);
}

/* A copy of its own, so that a sanitizer sees a byte too far. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

/* Bytes that are no whole reply end the reading, for good. */
static void ends_where_bytes_are_no_reply(void **state)
{
    (void)state;
    static const char *const broken[] = {"$5\r\nabc\r\n",
                                         "$5\r\n",
                                         "$5",
                                         "+OK",
                                         "+OK\r",
                                         "+a\rb\r\n",
                                         "x",
                                         "*3\r\n:1\r\n:2\r\n",
                                         "*99999999\r\n",
                                         ":a\r\n",
                                         "",
                                         "$-2\r\n",
                                         "|1\r\n+a\r\n",
                                         "|1\r\n+a\r\n:1\r\n"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        size_t size = strlen(broken[i]);
        uint8_t *copy = copy_of((const uint8_t *)broken[i], size);
        struct resp_reader in = resp_reader_of(copy, size);
        assert_int_equal(resp_next(&in).kind, RESP_END);
        assert_ptr_equal(in.at, in.end);
        in = resp_reader_of(copy, size);
        resp_skip(&in);
        assert_ptr_equal(in.at, in.end);
        assert_int_equal(resp_next(&in).kind, RESP_END);
        free(copy);
    }
}

static void knows_and_describes_tokens(void **state)
{
    (void)state;
    struct resp_reader in = resp_reader_of(
        BYTES("+QUEUED\r\n-QUEUED\r\n:1\r\n,1\r\n#t\r\n_\r\n*0\r\n%0\r\n>0\r\n"
              "$61\r\n1234567890123456789012345678901234567890123456789012345678901\r\n"));
    struct resp_token text = resp_next(&in);
    assert_true(resp_is(&text, "QUEUED"));
    assert_false(resp_is(&text, "QUEUE"));
    assert_false(resp_is(&text, "QUEUED!"));
    assert_true(resp_begins(&text, "QUEUE"));
    assert_true(resp_begins(&text, "QUEUED"));
    assert_false(resp_begins(&text, "QUEUED!"));
    const char *first = resp_describe(&text);
    struct resp_token error = resp_next(&in);
    assert_false(resp_is(&error, "QUEUED"));
    assert_true(resp_begins(&error, "QUEUED"));
    assert_false(resp_begins(&error, "OOM"));
    assert_string_equal(resp_describe(&error), "the error \"QUEUED\"");
    assert_string_equal(first, "the text \"QUEUED\"");
    static const char *const names[] = {
        "an integer",
        "a real number",
        "a boolean",
        "nil",
        "an array",
        "a map",
        "a push",
        "the text \"123456789012345678901234567890123456789012345678901234567890...\"",
        "nothing"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct resp_token token = resp_next(&in);
        assert_string_equal(resp_describe(&token), names[i]);
    }
}

/* ---- Commands ---- */

static void writes_commands(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT;
    resp_command(&out, 12);
    resp_word_text(&out, "SET");
    resp_word(&out, "a\0b", 3);
    resp_word(&out, NULL, 0);
    resp_word_integer(&out, 0);
    resp_word_integer(&out, -10);
    resp_word_integer(&out, INT64_MAX);
    resp_word_integer(&out, INT64_MIN);
    static const char expected[] = "*12\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$0\r\n\r\n$1\r\n0\r\n"
                                   "$3\r\n-10\r\n$19\r\n9223372036854775807\r\n"
                                   "$20\r\n-9223372036854775808\r\n";
    assert_int_equal(out.size, sizeof(expected) - 1);
    assert_memory_equal(out.bytes, expected, out.size);
    buffer_release(&out);
}

static void commands_fail_where_memory_does(void **state)
{
    (void)state;
    for (long i = 0;; i++) {
        struct buffer out = BUFFER_INIT;
        heap_fail_at(i);
        resp_command(&out, 2);
        for (int word = 0; word < 20; word++) {
            resp_word_text(&out, "0123456789");
        }
        bool failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_int_equal(out.failed, failed);
        buffer_release(&out);
        if (!failed) {
            assert_true(i > 1);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each_kind),
        cmocka_unit_test(reads_nan),
        cmocka_unit_test(passes_over_values),
        cmocka_unit_test(ends_where_bytes_are_no_reply),
        cmocka_unit_test(knows_and_describes_tokens),
        cmocka_unit_test(writes_commands),
        cmocka_unit_test(commands_fail_where_memory_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

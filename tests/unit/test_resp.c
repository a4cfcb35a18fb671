#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/resp.h"
#include "tests/lib/random.h"

/* Where replies end, however they come. The values of random replies are noted
 * while they are made, and compared with what is read. */

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

/* ---- Scanning ---- */

struct outcome {
    enum resp_scan_status status;
    size_t at;
};

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

static struct outcome scan_at_once(const uint8_t *bytes, size_t size, struct error *error)
{
    struct resp_scan scan = {0};
    uint8_t *copy = copy_of(bytes, size);
    enum resp_scan_status status = resp_scan_go(&scan, copy, size, error);
    free(copy);
    return (struct outcome){.status = status, .at = scan.at};
}

/* In pieces of a random size up to `most`, in memory that moves. */
static struct outcome scan_in_pieces(const uint8_t *bytes, size_t size, size_t most,
                                     struct random *random)
{
    struct resp_scan scan = {0};
    struct error error = ERROR_INIT;
    size_t came = 0;
    for (;;) {
        size_t piece = 1 + (size_t)random_below(random, most);
        came = piece < size - came ? came + piece : size;
        uint8_t *copy = copy_of(bytes, came);
        enum resp_scan_status status = resp_scan_go(&scan, copy, came, &error);
        free(copy);
        if (status != RESP_CUT || came == size) {
            return (struct outcome){.status = status, .at = scan.at};
        }
    }
}

/* At once, and byte by byte: it is whole with its last byte, and not before. */
static void expect_whole(const uint8_t *bytes, size_t size)
{
    struct error error = ERROR_INIT;
    struct resp_scan scan = {0};
    for (size_t came = 0; came < size; came++) {
        uint8_t *copy = copy_of(bytes, came);
        assert_int_equal(scan_at_once(bytes, came, &error).status, RESP_CUT);
        assert_int_equal(resp_scan_go(&scan, copy, came, &error), RESP_CUT);
        free(copy);
    }
    assert_int_equal(resp_scan_go(&scan, bytes, size, &error), RESP_WHOLE);
    assert_int_equal(scan.at, size);
    struct outcome once = scan_at_once(bytes, size, &error);
    assert_int_equal(once.status, RESP_WHOLE);
    assert_int_equal(once.at, size);
    assert_int_equal(error.code, CODE_OK);
}

static void finds_where_each_kind_ends(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "+OK\r\n",
        "+\r\n",
        "-ERR no\r\n",
        ":0\r\n",
        ":-9223372036854775808\r\n",
        ":9223372036854775807\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "$5\r\nhello\r\n",
        "$2\r\n\r\n\r\n",
        "$10\r\n$-1\r\n:5\r\n+\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
        "_\r\n",
        "#t\r\n",
        "#f\r\n",
        ",1\r\n",
        ",-0.25\r\n",
        ",.5\r\n",
        ",1.\r\n",
        ",1e300\r\n",
        ",1.0000000000000001e-09\r\n",
        ",inf\r\n",
        ",-inf\r\n",
        ",nan\r\n",
        "(1234567999999999999999999999999999999\r\n",
        "(-1\r\n",
        "!5\r\nERR a\r\n",
        "=4\r\ntxt:\r\n",
        "=8\r\nmkd:abcd\r\n",
        "%0\r\n",
        "%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n",
        "~3\r\n:1\r\n:2\r\n_\r\n",
        ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
        ">0\r\n",
        "|1\r\n+ttl\r\n:5\r\n$1\r\nk\r\n",
        "|0\r\n:1\r\n",
        "|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n*1\r\n|1\r\n+c\r\n:3\r\n:4\r\n",
    };
    for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
        expect_whole((const uint8_t *)replies[i], strlen(replies[i]));
    }
}

static void leaves_what_follows(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    assert_int_equal(scan_at_once(BYTES("+OK\r\nX"), &error).at, 5);
    assert_int_equal(scan_at_once(BYTES("*1\r\n$1\r\na\r\n:1\r\n"), &error).at, 11);
    assert_int_equal(scan_at_once(BYTES("*0\r\n\r\n"), &error).at, 4);
}

static void refuses_what_is_no_reply(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n",
        "$\r\n",
        "$-2\r\n",
        "$-0\r\n",
        "$05\r\nhello\r\n",
        "$+5\r\nhello\r\n",
        "$ 5\r\n",
        "$5 \r\n",
        "$0x5\r\n",
        "$?\r\n",
        "$1\r\nab\r\n",
        "$1\r\na\rb",
        "$0\r\n\n\r",
        "$99999999999999999999\r\n",
        "$9223372036854775808\r\n",
        "$9223372036854775807\r\n",
        "$536870913\r\n",
        "*\r\n",
        "*-2\r\n",
        "*01\r\n",
        "*?\r\n",
        "*536870912\r\n",
        "*268435457\r\n",
        "*9223372036854775807\r\n",
        "*18446744073709551617\r\n",
        "%134217729\r\n",
        "%9223372036854775807\r\n",
        "|9223372036854775807\r\n",
        "%-1\r\n",
        "~-1\r\n",
        ">-1\r\n",
        "|-1\r\n",
        "!-1\r\n",
        "=-1\r\n",
        "=3\r\ntxt\r\n",
        ":\r\n",
        ":-\r\n",
        ":1a\r\n",
        ":01\r\n",
        ":+1\r\n",
        ":9223372036854775808\r\n",
        ":-9223372036854775809\r\n",
        "_x\r\n",
        "#\r\n",
        "#x\r\n",
        "#tt\r\n",
        ",\r\n",
        ",.\r\n",
        ",-\r\n",
        ",1e\r\n",
        ",1e+\r\n",
        ",0x1p3\r\n",
        ", 1\r\n",
        ",1 \r\n",
        ",infinity\r\n",
        ",1..2\r\n",
        "(\r\n",
        "(-\r\n",
        "(1.5\r\n",
        "+a\rb\r\n",
        ".\r\n",
        ";4\r\nabcd\r\n",
        "*1\r\n>0\r\n",
        "*2\r\n:1\r\nx",
    };
    struct random random = random_start("resp broken");
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        struct error error = ERROR_INIT;
        const uint8_t *bytes = (const uint8_t *)broken[i];
        struct outcome once = scan_at_once(bytes, strlen(broken[i]), &error);
        if (once.status != RESP_BROKEN) {
            fail_msg("%s was taken", broken[i]);
        }
        assert_int_equal(error.code, CODE_UNAVAILABLE);
        struct outcome cut = scan_in_pieces(bytes, strlen(broken[i]), 2, &random);
        assert_int_equal(cut.status, RESP_BROKEN);
        assert_int_equal(cut.at, once.at);
    }
}

static void says_what_came(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    scan_at_once(BYTES("*2\r\n:1\r\nHTTP/1.1\r\n"), &error);
    assert_string_equal(error.message,
                        "what the server sent is no RESP, at byte 8: \"HTTP/1.1\\x0d\\n\"");
    scan_at_once(BYTES("$1\r\nabc\r\n"), &error);
    assert_string_equal(error.message,
                        "what the server sent is no RESP, at byte 5: \"bc\\x0d\\n\"");
    scan_at_once(BYTES("$536870910\r\n"), &error);
    assert_string_equal(error.message, "the server sent a reply of more than 536870912 bytes");
    assert_int_equal(resp_scan_go(&(struct resp_scan){0}, BYTES("?"), NULL), RESP_BROKEN);
}

static void levels_are_bounded(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    char text[(RESP_LEVELS_MAX + 1) * 4 + 5];
    for (size_t i = 0; i < RESP_LEVELS_MAX; i++) {
        memcpy(text + 4 * i, i % 2 == 0 ? "*1\r\n" : "~1\r\n", 4);
    }
    uint8_t *bytes = (uint8_t *)text;
    size_t size = (size_t)4 * RESP_LEVELS_MAX;
    memcpy(text + size, "*0\r\n", 4);
    expect_whole(bytes, size + 4);
    memcpy(text + size, "*1\r\n:1\r\n", 8);
    assert_int_equal(scan_at_once(bytes, size + 8, &error).status, RESP_BROKEN);
    assert_string_equal(error.message, "the server sent a reply of more than 16 levels");
}

/* By what is announced, long before it comes. */
static void bytes_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum resp_scan_status status;
    } cases[] = {
        {"$536870898\r\n", RESP_CUT},
        {"$536870899\r\n", RESP_BROKEN},
        {"*1\r\n$536870894\r\n", RESP_CUT},
        {"*1\r\n$536870895\r\n", RESP_BROKEN},
        {"*178956966\r\n", RESP_CUT},
        {"*178956967\r\n", RESP_BROKEN},
        {"%89478483\r\n", RESP_CUT},
        {"%89478484\r\n", RESP_BROKEN},
        {"*1\r\n|89478482\r\n", RESP_CUT},
        {"*1\r\n|89478483\r\n", RESP_BROKEN},
        {"*9\r\n*9\r\n~178956963\r\n", RESP_CUT},
        {"*9\r\n*9\r\n~178956966\r\n", RESP_BROKEN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct error error = ERROR_INIT;
        const uint8_t *bytes = (const uint8_t *)cases[i].bytes;
        struct outcome outcome = scan_at_once(bytes, strlen(cases[i].bytes), &error);
        assert_int_equal(outcome.status, cases[i].status);
        assert_int_equal(error.code == CODE_OK, cases[i].status == RESP_CUT);
    }
}

static void lines_are_bounded(void **state)
{
    (void)state;
    enum { LONGEST = (64 << 10) - 1 };
    static uint8_t bytes[LONGEST + 10];
    struct random random = random_start("resp lines");
    struct error error = ERROR_INIT;
    memset(bytes, 'a', sizeof(bytes));
    bytes[0] = '+';
    memcpy(bytes + 1 + LONGEST, "\r\n", 2);
    assert_int_equal(scan_at_once(bytes, LONGEST + 3, &error).status, RESP_WHOLE);
    assert_int_equal(scan_in_pieces(bytes, LONGEST + 3, 3000, &random).status, RESP_WHOLE);
    memcpy(bytes + 1 + LONGEST, "a\r\n", 3);
    assert_int_equal(scan_at_once(bytes, LONGEST + 4, &error).status, RESP_BROKEN);
    assert_int_equal(scan_in_pieces(bytes, LONGEST + 4, 3000, &random).status, RESP_BROKEN);
    /* Also before its end came. */
    assert_int_equal(scan_at_once(bytes, LONGEST + 2, &error).status, RESP_BROKEN);
    memset(bytes + 1, '1', 401);
    bytes[0] = ',';
    memcpy(bytes + 402, "\r\n", 2);
    assert_int_equal(scan_at_once(bytes, 404, &error).status, RESP_BROKEN);
}

/* Were it begun anew with each piece, this would take hours. */
static void looks_at_each_byte_once(void **state)
{
    (void)state;
    enum { ITEMS = 2000000, STEP = 61 };
    struct buffer buffer = BUFFER_INIT;
    struct error error = ERROR_INIT;
    struct resp_scan scan = {0};
    resp_command(&buffer, ITEMS + 2);
    for (int i = 0; i < ITEMS; i++) {
        resp_word_text(&buffer, "abc");
    }
    static const char big[8 << 20];
    resp_word(&buffer, big, sizeof(big));
    buffer_byte(&buffer, '+');
    for (int i = 0; i < 60000; i++) {
        buffer_byte(&buffer, 'x');
    }
    buffer_append(&buffer, "\r\n", 2);
    assert_false(buffer.failed);
    for (size_t came = 0; came < buffer.size; came += STEP) {
        assert_int_equal(resp_scan_go(&scan, buffer.bytes, came, &error), RESP_CUT);
        assert_true(scan.at + scan.looked + 1 >= came);
    }
    assert_int_equal(resp_scan_go(&scan, buffer.bytes, buffer.size, &error), RESP_WHOLE);
    assert_int_equal(scan.at, buffer.size);
    buffer_release(&buffer);
}

/* ---- At random ---- */

enum { NOTES_MAX = 4096 };

/* What a reply holds; texts are in it from `at` on. */
static struct note {
    struct resp_token token;
    size_t at;
} notes[NOTES_MAX];
static size_t note_count;

static struct note *note(enum resp_kind kind, bool shown)
{
    static struct note hidden;
    assert_true(note_count < NOTES_MAX);
    struct note *made = shown ? &notes[note_count++] : &hidden;
    *made = (struct note){.token.kind = kind};
    return made;
}

static void make_line(struct random *random, struct buffer *out, bool shown)
{
    bool error = random_below(random, 3) == 0;
    struct note *made = note(error ? RESP_ERROR : RESP_TEXT, shown);
    buffer_byte(out, error ? '-' : '+');
    made->at = out->size;
    made->token.size = (size_t)random_below(random, 12);
    for (size_t i = 0; i < made->token.size; i++) {
        uint8_t byte = (uint8_t)random_next(random);
        buffer_byte(out, byte != '\r' ? byte : 'r');
    }
    buffer_append(out, "\r\n", 2);
}

static void make_bulk(struct random *random, struct buffer *out, bool shown)
{
    static const char types[] = {'$', '!', '='};
    char type = types[random_below(random, 3)];
    struct note *made = note(type == '!' ? RESP_ERROR : RESP_TEXT, shown);
    size_t size = (size_t)random_below(random, random_below(random, 20) == 0 ? 3000 : 20);
    buffer_printf(out, "%c%zu\r\n%s", type, type == '=' ? size + 4 : size,
                  type == '=' ? "txt:" : "");
    made->at = out->size;
    made->token.size = size;
    for (size_t i = 0; i < size; i++) {
        buffer_byte(out, random_below(random, 4) > 0 ? (uint8_t)random_next(random) : '\r');
    }
    buffer_append(out, "\r\n", 2);
}

static void make_plain(struct random *random, struct buffer *out, bool shown)
{
    static const char *const nils[] = {
        "_\r\n",
        "$-1\r\n",
        "*-1\r\n",
    };
    struct note *made;
    switch (random_below(random, 4)) {
    case 0:
        note(RESP_NIL, shown);
        buffer_printf(out, "%s", nils[random_below(random, 3)]);
        break;
    case 1:
        made = note(RESP_INTEGER, shown);
        made->token.integer = (int64_t)random_magnitude(random);
        buffer_printf(out, ":%lld\r\n", (long long)made->token.integer);
        break;
    case 2:
        made = note(RESP_BOOLEAN, shown);
        made->token.integer = (int64_t)random_below(random, 2);
        buffer_printf(out, "#%c\r\n", made->token.integer == 1 ? 't' : 'f');
        break;
    default:
        made = note(RESP_REAL, shown);
        made->token.real = (double)(int64_t)random_next(random) / 3e9;
        buffer_printf(out, ",%.17g\r\n", made->token.real);
    }
}

static void make_value(struct random *random, struct buffer *out, unsigned levels, bool shown);

static void make_list(struct random *random, struct buffer *out, unsigned levels, bool shown)
{
    static const char types[] = {'*', '~', '%', '|'};
    char type = types[random_below(random, 4)];
    uint64_t count = random_below(random, 4);
    bool within = shown && type != '|';
    note(type == '%' ? RESP_MAP : RESP_ARRAY, within)->token.count = count;
    buffer_printf(out, "%c%llu\r\n", type, (unsigned long long)count);
    for (uint64_t i = 0; i < (type == '%' || type == '|' ? 2 * count : count); i++) {
        make_value(random, out, levels - 1, within);
    }
    if (type == '|') {
        make_value(random, out, levels - 1, shown);
    }
}

static void make_value(struct random *random, struct buffer *out, unsigned levels, bool shown)
{
    switch (random_below(random, levels > 0 ? 5 : 3)) {
    case 0:
        make_line(random, out, shown);
        break;
    case 1:
        make_bulk(random, out, shown);
        break;
    case 2:
        make_plain(random, out, shown);
        break;
    default:
        make_list(random, out, levels, shown);
    }
}

static void compare_with_notes(const struct buffer *reply)
{
    struct resp_reader in = resp_reader_of(reply->bytes, reply->size);
    for (size_t i = 0; i < note_count; i++) {
        struct resp_token token = resp_next(&in);
        assert_int_equal(token.kind, notes[i].token.kind);
        assert_int_equal(token.count, notes[i].token.count);
        assert_int_equal(token.size, notes[i].token.size);
        assert_true(token.integer == notes[i].token.integer);
        assert_memory_equal(&token.real, &notes[i].token.real, sizeof(token.real));
        if (token.kind == RESP_TEXT || token.kind == RESP_ERROR) {
            assert_ptr_equal(token.bytes, reply->bytes + notes[i].at);
        }
    }
    assert_ptr_equal(in.at, in.end);
    in = resp_reader_of(reply->bytes, reply->size);
    resp_skip(&in);
    assert_ptr_equal(in.at, in.end);
}

static void reads_what_was_made(void **state)
{
    (void)state;
    struct random random = random_start("resp");
    struct buffer reply = BUFFER_INIT;
    struct error error = ERROR_INIT;
    for (int round = 0; round < 20000; round++) {
        buffer_truncate(&reply, 0);
        note_count = 0;
        make_value(&random, &reply, 5, true);
        compare_with_notes(&reply);
        size_t size = reply.size;
        bool damaged = random_below(&random, 2) == 0;
        if (damaged) {
            reply.bytes[random_below(&random, size)] = (uint8_t)random_next(&random);
        }
        struct outcome once = scan_at_once(reply.bytes, size, &error);
        size_t most = random_below(&random, 2) == 0 ? 10 : size;
        struct outcome cut = scan_in_pieces(reply.bytes, size, most, &random);
        assert_int_equal(cut.status, once.status);
        assert_int_equal(cut.at, once.at);
        if (!damaged) {
            assert_int_equal(once.status, RESP_WHOLE);
            assert_int_equal(once.at, size);
        }
    }
    buffer_release(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_where_each_kind_ends), cmocka_unit_test(leaves_what_follows),
        cmocka_unit_test(refuses_what_is_no_reply),   cmocka_unit_test(says_what_came),
        cmocka_unit_test(levels_are_bounded),         cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(lines_are_bounded),          cmocka_unit_test(looks_at_each_byte_once),
        cmocka_unit_test(reads_what_was_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

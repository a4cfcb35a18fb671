#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "layers/type.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/msgpack_random.h"
#include "tests/lib/random.h"

static const char *const statuses[] = {"open", "closed"};
static const struct type types[] = {
    {.kind = TYPE_INTEGER}, {.kind = TYPE_FLOAT},
    {.kind = TYPE_BOOLEAN}, {.kind = TYPE_STRING},
    {.kind = TYPE_BINARY},  {.kind = TYPE_DATETIME},
    {.kind = TYPE_UUID},    {.kind = TYPE_ENUM, .member_count = 2, .members = statuses},
    {.kind = TYPE_ANY},
};

/* What goes in, and what comes out; kept small by one buffer for each. */
static struct buffer given, taken;

static int take(enum type_kind kind, struct error *error)
{
    struct reader in = reader_of(given.bytes, given.size);
    buffer_truncate(&taken, 0);
    int status = type_take(&types[kind], &in, &taken, error);
    assert_ptr_equal(in.at, in.end);
    assert_false(taken.failed);
    return status;
}

static void assert_taken(enum type_kind kind, const void *expected, size_t size)
{
    struct error error = ERROR_INIT;
    assert_int_equal(take(kind, &error), 0);
    assert_int_equal(taken.size, size);
    assert_memory_equal(taken.bytes, expected, size);
    buffer_truncate(&given, 0);
}

static void assert_refused(enum type_kind kind, const char *message)
{
    struct error error = ERROR_INIT;
    assert_int_equal(take(kind, &error), -CODE_INVALID_VALUE);
    assert_string_equal(error.message, message);
    assert_int_equal(taken.size, 0);
    buffer_truncate(&given, 0);
}

static int release_buffers(void **state)
{
    (void)state;
    buffer_release(&given);
    buffer_release(&taken);
    return 0;
}

static void names_and_kinds_go_together(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < TYPE_COUNT; kind++) {
        const char *name = type_name((enum type_kind)kind);
        assert_int_equal(type_from_name(name, strlen(name)), kind);
        assert_int_equal(type_from_name(name, strlen(name) - 1), TYPE_COUNT);
    }
    assert_true(type_indexable(TYPE_UUID));
    assert_false(type_indexable(TYPE_FLOAT));
    assert_false(type_indexable(TYPE_BOOLEAN));
    assert_false(type_indexable(TYPE_ANY));
    assert_int_equal(type_value_kind(TYPE_ENUM), VALUE_TEXT);
}

static void integers_are_taken_in_every_encoding(void **state)
{
    (void)state;
    buffer_append(&given, "\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 9);
    assert_taken(TYPE_INTEGER, "\x05", 1);
    buffer_append(&given, "\xcf\x00\x00\x00\x00\x00\x00\x01\x00", 9);
    assert_taken(TYPE_INTEGER, "\xcd\x01\x00", 3);
    write_float(&given, -3.0);
    assert_taken(TYPE_INTEGER, "\xfd", 1);
    write_float(&given, -0x1p63);
    assert_taken(TYPE_INTEGER, "\xd3\x80\0\0\0\0\0\0\0", 9);
}

static void what_is_no_integer_is_refused(void **state)
{
    (void)state;
    write_text(&given, "abc");
    assert_refused(TYPE_INTEGER, "expected an integer, got \"abc\"");
    write_float(&given, 0x1p63);
    assert_refused(TYPE_INTEGER, "expected an integer, got 9.223372036854776e+18");
    write_float(&given, 1.5);
    assert_refused(TYPE_INTEGER, "expected an integer, got 1.5");
    write_float(&given, NAN);
    assert_refused(TYPE_INTEGER, "expected an integer, got nan");
    write_unsigned(&given, UINT64_MAX);
    assert_refused(TYPE_INTEGER,
                   "expected an integer, got 18446744073709551615, beyond 64 bits signed");
    write_array(&given, 2);
    write_map(&given, 1);
    write_nil(&given);
    write_nil(&given);
    write_integer(&given, 1);
    assert_refused(TYPE_INTEGER, "expected an integer, got an array");
    buffer_append(&given,
                  "\xd9\x05"
                  "ab",
                  4);
    struct reader in = reader_of(given.bytes, given.size);
    struct error error = ERROR_INIT;
    assert_int_equal(type_take(&types[TYPE_INTEGER], &in, &taken, &error), -CODE_INVALID_VALUE);
    buffer_truncate(&given, 0);
}

static void floats_are_64_bits_and_finite(void **state)
{
    (void)state;
    write_integer(&given, 1);
    assert_taken(TYPE_FLOAT, "\xcb\x3f\xf0\0\0\0\0\0\0", 9);
    buffer_append(&given, "\xca\x3f\x00\x00\x00", 5);
    assert_taken(TYPE_FLOAT, "\xcb\x3f\xe0\0\0\0\0\0\0", 9);
    write_float(&given, -0.0);
    assert_taken(TYPE_FLOAT, "\xcb\0\0\0\0\0\0\0\0", 9);
    write_float(&given, INFINITY);
    assert_refused(TYPE_FLOAT, "expected a number, got inf");
    write_float(&given, NAN);
    assert_refused(TYPE_FLOAT, "expected a number, got nan");
    write_unsigned(&given, UINT64_MAX);
    assert_refused(TYPE_FLOAT,
                   "expected a number, got 18446744073709551615, beyond 64 bits signed");
}

static void texts_are_utf8(void **state)
{
    (void)state;
    write_binary(&given, "a\xc3\xa4", 3);
    assert_taken(TYPE_STRING,
                 "\xa3"
                 "a\xc3\xa4",
                 4);
    buffer_append(&given,
                  "\xdb\0\0\0\x01"
                  "a",
                  6);
    assert_taken(TYPE_STRING,
                 "\xa1"
                 "a",
                 2);
    write_string(&given, "\xc3", 1);
    assert_refused(TYPE_STRING, "expected a string, got text that is not UTF-8");
    write_integer(&given, 5);
    assert_refused(TYPE_STRING, "expected a string, got 5");
    write_string(&given, "\xc3", 1);
    assert_taken(TYPE_BINARY, "\xc4\x01\xc3", 3);
}

static void booleans_are_only_booleans(void **state)
{
    (void)state;
    write_boolean(&given, true);
    assert_taken(TYPE_BOOLEAN, "\xc3", 1);
    write_integer(&given, 1);
    assert_refused(TYPE_BOOLEAN, "expected true or false, got 1");
}

static void datetimes_are_timestamps_or_iso_8601(void **state)
{
    (void)state;
    write_text(&given, "1970-01-01T01:00:05+01:00");
    assert_taken(TYPE_DATETIME, "\xd6\xff\0\0\0\x05", 6);
    /* 96 bits come in, 32 are kept. */
    buffer_append(&given, "\xc7\x0c\xff\0\0\0\0\0\0\0\0\0\0\0\x05", 15);
    assert_taken(TYPE_DATETIME, "\xd6\xff\0\0\0\x05", 6);
    write_text(&given, "1969-12-31T23:59:59.5Z");
    assert_taken(TYPE_DATETIME, "\xc7\x0c\xff\x1d\xcd\x65\x00\xff\xff\xff\xff\xff\xff\xff\xff", 15);
    write_text(&given, "soon");
    assert_refused(TYPE_DATETIME,
                   "expected a datetime (a MessagePack timestamp or ISO 8601 text), got \"soon\"");
    buffer_append(&given, "\xd6\x05\0\0\0\x05", 6);
    struct error error = ERROR_INIT;
    assert_int_equal(take(TYPE_DATETIME, &error), -CODE_INVALID_VALUE);
    buffer_truncate(&given, 0);
}

static void uuids_are_lower_case(void **state)
{
    (void)state;
    static const char lower[] = "\xd9\x24"
                                "123e4567-e89b-12d3-a456-42661417400f";
    write_text(&given, "123E4567-e89b-12d3-A456-42661417400F");
    assert_taken(TYPE_UUID, lower, sizeof(lower) - 1);
    static const char *const wrong[] = {"123e4567-e89b-12d3-a456-42661417400",
                                        "123e4567-e89b-12d3-a456-42661417400g",
                                        "123e4567ee89b-12d3-a456-42661417400f", ""};
    for (size_t i = 0; i < 4; i++) {
        struct error error = ERROR_INIT;
        write_text(&given, wrong[i]);
        assert_int_equal(take(TYPE_UUID, &error), -CODE_INVALID_VALUE);
        buffer_truncate(&given, 0);
    }
}

static void enums_take_their_members(void **state)
{
    (void)state;
    write_text(&given, "closed");
    assert_taken(TYPE_ENUM,
                 "\xa6"
                 "closed",
                 7);
    write_text(&given, "opne");
    assert_refused(TYPE_ENUM, "expected one of open, closed, got \"opne\" (did you mean open?)");
    write_text(&given, "");
    assert_refused(TYPE_ENUM, "expected one of open, closed, got \"\"");
}

static void any_is_checked_all_through(void **state)
{
    (void)state;
    write_map(&given, 1);
    buffer_append(&given,
                  "\xd9\x01"
                  "a",
                  3);
    buffer_append(&given, "\xdc\x00\x01\xd2\x00\x00\x00\x05", 8);
    assert_taken(TYPE_ANY,
                 "\x81\xa1"
                 "a\x91\x05",
                 5);
    write_array(&given, 1);
    write_unsigned(&given, UINT64_MAX);
    assert_refused(TYPE_ANY, "expected integers within 64 bits, got 18446744073709551615, beyond "
                             "64 bits signed");
    write_array(&given, 1);
    write_float(&given, -INFINITY);
    assert_refused(TYPE_ANY, "expected finite numbers, got an infinity");
    write_map(&given, 1);
    write_string(&given, "\xff", 1);
    write_nil(&given);
    assert_refused(TYPE_ANY, "expected UTF-8, got text that is not");
    buffer_append(&given, "\xd4\x05\x00", 3);
    struct error error = ERROR_INIT;
    assert_int_equal(take(TYPE_ANY, &error), -CODE_INVALID_VALUE);
    buffer_truncate(&given, 0);
    for (int i = 0; i < TYPE_ANY_LEVELS_MAX; i++) {
        write_array(&given, 1);
    }
    size_t inner = given.size;
    write_nil(&given);
    assert_int_equal(take(TYPE_ANY, &error), 0);
    buffer_truncate(&given, inner);
    write_array(&given, 0);
    assert_refused(TYPE_ANY, "expected at most 32 levels of lists and maps");
}

static void what_is_taken_can_be_loaded_and_taken_again(void **state)
{
    (void)state;
    struct random random = random_start("type");
    struct buffer again = BUFFER_INIT;
    unsigned accepted = 0;
    for (int i = 0; i < 50000; i++) {
        buffer_truncate(&given, 0);
        random_value(&random, &given, 3);
        enum type_kind kind = (enum type_kind)random_below(&random, TYPE_COUNT);
        if (reader_peek(&(struct reader){given.bytes, given.bytes + given.size, false}) ==
            TOKEN_NIL) {
            continue;
        }
        struct error error = ERROR_INIT;
        if (take(kind, &error) != 0) {
            assert_int_equal(error.code, CODE_INVALID_VALUE);
            assert_int_not_equal(error.message[0], 0);
            continue;
        }
        accepted++;
        /* It is one value, loads as its type's kind, and is its own canonical form. */
        struct value value;
        type_load(&types[kind], taken.bytes, taken.size, &value);
        assert_int_equal(value.kind, type_value_kind(kind));
        struct reader in = reader_of(taken.bytes, taken.size);
        buffer_truncate(&again, 0);
        assert_int_equal(type_take(&types[kind], &in, &again, &error), 0);
        assert_int_equal(again.size, taken.size);
        assert_memory_equal(again.bytes, taken.bytes, taken.size);
        buffer_truncate(&again, 0);
        value_write(&again, &value);
        assert_int_equal(again.size, taken.size);
        assert_memory_equal(again.bytes, taken.bytes, taken.size);
    }
    assert_true(accepted > 1000);
    buffer_truncate(&given, 0);
    buffer_release(&again);
}

static void nil_loads_for_every_type(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < TYPE_COUNT; kind++) {
        struct value value = {.kind = VALUE_LIST};
        type_load(&types[kind], (const uint8_t *)"\xc0", 1, &value);
        assert_int_equal(value.kind, VALUE_NIL);
    }
}

static void texts_are_read_as_types(void **state)
{
    (void)state;
    char room[TYPE_UUID_TEXT];
    struct value value;
    assert_true(type_read_text(&types[TYPE_DATETIME], "1970-01-02", 10, room, &value));
    assert_int_equal(value.datetime.seconds, 86400);
    assert_false(type_read_text(&types[TYPE_DATETIME], "x", 1, room, &value));
    assert_true(type_read_text(&types[TYPE_UUID], "123E4567-E89B-12D3-A456-426614174000", 36, room,
                               &value));
    assert_memory_equal(value.bytes, "123e4567-e89b-12d3-a456-426614174000", 36);
    assert_true(type_read_text(&types[TYPE_ENUM], "open", 4, room, &value));
    assert_false(type_read_text(&types[TYPE_ENUM], "ope", 3, room, &value));
    assert_true(type_read_text(&types[TYPE_STRING], "x", 1, room, &value));
    assert_int_equal(value.kind, VALUE_TEXT);
    assert_true(type_read_text(&types[TYPE_BINARY], "x", 1, room, &value));
    assert_int_equal(value.kind, VALUE_BINARY);
    assert_false(type_read_text(&types[TYPE_INTEGER], "1", 1, room, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_kinds_go_together),
        cmocka_unit_test(integers_are_taken_in_every_encoding),
        cmocka_unit_test(what_is_no_integer_is_refused),
        cmocka_unit_test(floats_are_64_bits_and_finite),
        cmocka_unit_test(texts_are_utf8),
        cmocka_unit_test(booleans_are_only_booleans),
        cmocka_unit_test(datetimes_are_timestamps_or_iso_8601),
        cmocka_unit_test(uuids_are_lower_case),
        cmocka_unit_test(enums_take_their_members),
        cmocka_unit_test(any_is_checked_all_through),
        cmocka_unit_test(what_is_taken_can_be_loaded_and_taken_again),
        cmocka_unit_test(nil_loads_for_every_type),
        cmocka_unit_test(texts_are_read_as_types),
    };
    return cmocka_run_group_tests(tests, NULL, release_buffers);
}

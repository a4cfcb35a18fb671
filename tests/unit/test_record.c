#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/record.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  ticket:\n"
                           "    fields:\n"
                           "      id: integer\n"
                           "      subject: {type: string, required: true}\n"
                           "      priority: {type: integer, default: 3}\n"
                           "      note: string\n"
                           "  seat:\n"
                           "    primary_key: [row, number]\n"
                           "    fields:\n"
                           "      number: integer\n"
                           "      row: string\n"
                           "      free: boolean\n";

struct fixture {
    struct schema *schema;
    const struct resource *ticket;
    const struct resource *seat;
    struct arena arena;
    struct buffer given;
    struct buffer taken;
    struct error error;
};

static int open_fixture(void **state)
{
    struct fixture *f = heap_must(sizeof(*f));
    f->schema = schema_fixture(yaml);
    f->ticket = fixture_resource(f->schema, "ticket");
    f->seat = fixture_resource(f->schema, "seat");
    f->error = (struct error)ERROR_INIT;
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    schema_put(f->schema);
    arena_release(&f->arena);
    buffer_release(&f->given);
    buffer_release(&f->taken);
    heap_free(f);
    return 0;
}

static struct reader given(const struct fixture *f)
{
    return reader_of(f->given.bytes, f->given.size);
}

static void give_pair_text(struct fixture *f, const char *name, const char *text)
{
    write_text(&f->given, name);
    write_text(&f->given, text);
}

static void give_pair_integer(struct fixture *f, const char *name, int64_t integer)
{
    write_text(&f->given, name);
    write_integer(&f->given, integer);
}

static struct record *make(struct fixture *f, const struct resource *resource)
{
    struct record *record = fixture_record(resource, &f->arena, f->given.bytes, f->given.size);
    buffer_truncate(&f->given, 0);
    return record;
}

static void a_record_is_its_values_in_schema_order(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 3);
    give_pair_text(f, "note", "n");
    give_pair_text(f, "subject", "s");
    give_pair_integer(f, "id", 300);
    struct record *record = make(f, f->ticket);
    static const uint8_t values[] = {0xcd, 0x01, 0x2c, 0xa1, 's', 0x03, 0xa1, 'n'};
    assert_int_equal(record->size, sizeof(values));
    assert_memory_equal(record_values(record, 4), values, sizeof(values));
    assert_int_equal(record_bytes(record, 4), 6 + 3 + sizeof(values));
    assert_int_equal(record->layout, f->ticket->layout);
    uint32_t size;
    assert_memory_equal(record_field(record, 4, 1, &size), "\xa1s", 2);
    assert_int_equal(size, 2);
    struct value value;
    record_load(record, f->ticket, 2, &value);
    assert_int_equal(value.integer, 3);
}

static int take(struct fixture *f, const struct record *old)
{
    struct record_draft draft;
    struct reader in = given(f);
    buffer_truncate(&f->taken, 0);
    assert_int_equal(record_draft_init(&draft, f->ticket, &f->arena, &f->taken), 0);
    int status = record_draft_take(&draft, &in, &f->error);
    if (status == 0) {
        status = record_draft_finish(&draft, old, &f->error);
    }
    buffer_truncate(&f->given, 0);
    return status;
}

static void wrong_maps_are_refused(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 1);
    give_pair_text(f, "subjct", "x");
    assert_int_equal(take(f, NULL), -CODE_UNKNOWN_FIELD);
    assert_string_equal(f->error.message,
                        "ticket has no field \"subjct\"; did you mean \"subject\"?");
    assert_string_equal(f->error.resource, "ticket");
    assert_string_equal(f->error.field, "subjct");
    write_map(&f->given, 2);
    give_pair_integer(f, "id", 1);
    give_pair_integer(f, "id", 1);
    assert_int_equal(take(f, NULL), -CODE_INVALID_REQUEST);
    assert_string_equal(f->error.message, "ticket.id is given twice");
    write_integer(&f->given, 5);
    assert_int_equal(take(f, NULL), -CODE_INVALID_REQUEST);
    write_map(&f->given, 1);
    write_integer(&f->given, 5);
    write_integer(&f->given, 5);
    assert_int_equal(take(f, NULL), -CODE_INVALID_REQUEST);
    write_map(&f->given, 1);
    give_pair_text(f, "id", "abc");
    assert_int_equal(take(f, NULL), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "ticket.id: expected an integer, got \"abc\"");
    assert_string_equal(f->error.field, "id");
    write_map(&f->given, 2);
    give_pair_integer(f, "id", 1);
    assert_int_equal(take(f, NULL), -CODE_INVALID_REQUEST);
}

static void what_is_required_is_not_nil(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 1);
    give_pair_integer(f, "id", 1);
    assert_int_equal(take(f, NULL), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "ticket.subject is required, got nil");
    assert_string_equal(f->error.field, "subject");
    write_map(&f->given, 1);
    write_text(&f->given, "subject");
    write_nil(&f->given);
    assert_int_equal(take(f, NULL), -CODE_INVALID_VALUE);
    write_map(&f->given, 1);
    give_pair_text(f, "subject", "x");
    assert_int_equal(take(f, NULL), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.field, "id");
}

static void defaults_fill_what_is_absent_and_nil_stays(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 3);
    give_pair_integer(f, "id", 1);
    give_pair_text(f, "subject", "x");
    write_text(&f->given, "priority");
    write_nil(&f->given);
    struct record *record = make(f, f->ticket);
    assert_true(record_is_nil(record, 4, 2));
    assert_true(record_is_nil(record, 4, 3));
    assert_false(record_is_nil(record, 4, 0));
}

static void changes_keep_the_rest_of_the_old_record(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 4);
    give_pair_integer(f, "id", 1);
    give_pair_text(f, "subject", "old");
    give_pair_integer(f, "priority", 9);
    give_pair_text(f, "note", "kept");
    struct record *old = make(f, f->ticket);
    struct record_draft draft;
    struct record *record;
    uint32_t size;
    write_map(&f->given, 2);
    give_pair_text(f, "subject", "new");
    write_text(&f->given, "priority");
    write_nil(&f->given);
    struct reader in = given(f);
    assert_int_equal(record_draft_init(&draft, f->ticket, &f->arena, &f->taken), 0);
    assert_int_equal(record_draft_take(&draft, &in, &f->error), 0);
    assert_int_equal(record_draft_given(&draft), 2);
    assert_null(record_draft_field(&draft, 0, &size));
    assert_int_equal(record_draft_finish(&draft, old, &f->error), 0);
    assert_memory_equal(record_draft_field(&draft, 0, &size), "\x01", 1);
    assert_int_equal(record_draft_build(&draft, &f->arena, &record, &f->error), 0);
    assert_memory_equal(record_field(record, 4, 1, &size), "\xa3new", 4);
    assert_true(record_is_nil(record, 4, 2));
    assert_memory_equal(record_field(record, 4, 3, &size), "\xa4kept", 5);
}

static void offsets_grow_with_the_values(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 240, 252, 253, 260, 65000, 65524, 65528, 65540, 1 << 20};
    char *text = heap_must(1 << 20);
    memset(text, 'x', 1 << 20);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        write_map(&f->given, 3);
        give_pair_integer(f, "id", 1);
        write_text(&f->given, "subject");
        write_string(&f->given, text, sizes[i]);
        give_pair_text(f, "note", "end");
        struct record *record = make(f, f->ticket);
        struct value value;
        uint32_t size;
        record_load(record, f->ticket, 1, &value);
        assert_int_equal(value.size, sizes[i]);
        assert_memory_equal(record_field(record, 4, 3, &size),
                            "\xa3"
                            "end",
                            4);
        assert_int_equal(size, 4);
    }
    heap_free(text);
}

static void a_record_is_below_16_mib(void **state)
{
    struct fixture *f = *state;
    size_t size = 9u << 20;
    uint8_t *text = heap_must(size);
    memset(text, 'x', size);
    write_map(&f->given, 3);
    give_pair_integer(f, "id", 1);
    write_text(&f->given, "subject");
    write_string(&f->given, text, size);
    write_text(&f->given, "note");
    write_string(&f->given, text, size);
    heap_free(text);
    struct record_draft draft;
    struct record *record;
    struct reader in = given(f);
    assert_int_equal(record_draft_init(&draft, f->ticket, &f->arena, &f->taken), 0);
    assert_int_equal(record_draft_take(&draft, &in, &f->error), 0);
    assert_int_equal(record_draft_finish(&draft, NULL, &f->error), 0);
    assert_int_equal(record_draft_build(&draft, &f->arena, &record, &f->error), -CODE_TOO_LARGE);
    assert_string_equal(f->error.resource, "ticket");
}

static void failing_memory_is_overloaded(void **state)
{
    struct fixture *f = *state;
    write_map(&f->given, 2);
    give_pair_integer(f, "id", 1);
    give_pair_text(f, "subject", "x");
    int status = -CODE_OVERLOADED;
    for (long i = 0; status != 0; i++) {
        struct record_draft draft;
        struct record *record;
        struct arena arena = {0};
        struct buffer buffer = BUFFER_INIT;
        struct reader in = given(f);
        heap_fail_at(i);
        status = record_draft_init(&draft, f->ticket, &arena, &buffer);
        if (status == 0) {
            status = record_draft_take(&draft, &in, &f->error);
        }
        if (status == 0) {
            status = record_draft_finish(&draft, NULL, &f->error);
        }
        if (status == 0) {
            status = record_draft_build(&draft, &arena, &record, &f->error);
        }
        assert_int_equal(status, heap_failed() ? -CODE_OVERLOADED : 0);
        arena_release(&arena);
        buffer_release(&buffer);
    }
    heap_fail_at(-1);
}

/* ---- Keys ---- */

static int take_key(struct fixture *f, const struct resource *resource)
{
    struct reader in = given(f);
    buffer_truncate(&f->taken, 0);
    int status = key_take(resource, &resource->primary_key, &in, &f->taken, &f->error);
    if (status == 0) {
        assert_ptr_equal(in.at, in.end);
    } else {
        assert_int_equal(f->taken.size, 0);
    }
    buffer_truncate(&f->given, 0);
    return status;
}

static void a_single_key_is_its_value(void **state)
{
    struct fixture *f = *state;
    write_float(&f->given, 5.0);
    assert_int_equal(take_key(f, f->ticket), 0);
    assert_int_equal(f->taken.size, 1);
    assert_int_equal(f->taken.bytes[0], 5);
    write_array(&f->given, 1);
    write_integer(&f->given, 5);
    assert_int_equal(take_key(f, f->ticket), 0);
    assert_int_equal(f->taken.bytes[0], 5);
    write_map(&f->given, 1);
    give_pair_integer(f, "id", 5);
    assert_int_equal(take_key(f, f->ticket), 0);
    assert_int_equal(f->taken.bytes[0], 5);
    write_nil(&f->given);
    assert_int_equal(take_key(f, f->ticket), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "ticket.id: a key has no nil: expected an integer");
    write_text(&f->given, "5");
    assert_int_equal(take_key(f, f->ticket), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.field, "id");
    assert_int_equal(take_key(f, f->ticket), -CODE_INVALID_VALUE);
}

static void a_composite_key_is_an_array_or_a_map(void **state)
{
    struct fixture *f = *state;
    write_array(&f->given, 2);
    write_text(&f->given, "a");
    write_integer(&f->given, 7);
    assert_int_equal(take_key(f, f->seat), 0);
    assert_int_equal(f->taken.size, 3);
    assert_memory_equal(f->taken.bytes,
                        "\xa1"
                        "a\x07",
                        3);
    write_map(&f->given, 2);
    give_pair_integer(f, "number", 7);
    give_pair_text(f, "row", "a");
    assert_int_equal(take_key(f, f->seat), 0);
    assert_memory_equal(f->taken.bytes,
                        "\xa1"
                        "a\x07",
                        3);
}

static void wrong_composite_keys_are_refused(void **state)
{
    struct fixture *f = *state;
    write_array(&f->given, 1);
    write_text(&f->given, "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "expected the key of seat, a list of the 2 values [row, "
                                          "number] or the map of them, got an array of 1");
    write_text(&f->given, "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    write_array(&f->given, 2);
    write_text(&f->given, "a");
    write_nil(&f->given);
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    write_map(&f->given, 1);
    give_pair_text(f, "row", "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "seat.number: is missing in the key");
    write_map(&f->given, 3);
    give_pair_text(f, "row", "a");
    give_pair_integer(f, "number", 7);
    give_pair_integer(f, "free", 7);
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    assert_string_equal(f->error.message, "seat.free is not of the key [row, number]");
    write_map(&f->given, 2);
    give_pair_text(f, "row", "a");
    give_pair_text(f, "row", "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_REQUEST);
    write_map(&f->given, 1);
    give_pair_text(f, "rwo", "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
    write_array(&f->given, 2);
    write_text(&f->given, "a");
    assert_int_equal(take_key(f, f->seat), -CODE_INVALID_VALUE);
}

static void records_and_keys_agree(void **state)
{
    struct fixture *f = *state;
    struct random random = random_start("record");
    struct buffer key = BUFFER_INIT;
    for (int i = 0; i < 5000; i++) {
        int64_t number = (int64_t)random_magnitude(&random);
        char row[40];
        snprintf(row, sizeof(row), "%.*s", (int)random_below(&random, 39),
                 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
        write_map(&f->given, 2);
        give_pair_integer(f, "number", number);
        give_pair_text(f, "row", row);
        struct record *record = make(f, f->seat);
        write_array(&f->given, 2);
        write_text(&f->given, row);
        write_integer(&f->given, number);
        assert_int_equal(take_key(f, f->seat), 0);
        buffer_truncate(&key, 0);
        assert_true(key_of_record(f->seat, &f->seat->primary_key, record, &key));
        assert_int_equal(key.size, f->taken.size);
        assert_memory_equal(key.bytes, f->taken.bytes, key.size);
        assert_true(key_matches(f->seat, &f->seat->primary_key, record, key.bytes, key.size));
        key.bytes[random_below(&random, key.size)] ^= 1;
        assert_false(key_matches(f->seat, &f->seat->primary_key, record, key.bytes, key.size));
        assert_false(
            key_matches(f->seat, &f->seat->primary_key, record, f->taken.bytes, key.size - 1));
        arena_reset(&f->arena);
    }
    buffer_release(&key);
}

static void nil_fields_have_no_key(void **state)
{
    struct fixture *f = *state;
    struct field_list list = {.count = 2, .fields = {0, 3}};
    write_map(&f->given, 2);
    give_pair_integer(f, "id", 1);
    give_pair_text(f, "subject", "x");
    struct record *record = make(f, f->ticket);
    assert_false(key_of_record(f->ticket, &list, record, &f->taken));
    assert_int_equal(f->taken.size, 0);
}

static void keys_are_shown_and_answered(void **state)
{
    struct fixture *f = *state;
    char out[64];
    const struct field_list *one = &f->ticket->primary_key, *two = &f->seat->primary_key;
    key_describe(one, (const uint8_t *)"\x05", 1, out, sizeof(out));
    assert_string_equal(out, "5");
    key_describe(two,
                 (const uint8_t *)"\xa1"
                                  "a\x07",
                 3, out, sizeof(out));
    assert_string_equal(out, "[\"a\", 7]");
    key_describe(two,
                 (const uint8_t *)"\xa1"
                                  "a\x07",
                 3, out, 5);
    assert_string_equal(out, "[\"a\"");
    key_write(&f->taken, two,
              (const uint8_t *)"\xa1"
                               "a\x07",
              3);
    assert_memory_equal(f->taken.bytes,
                        "\x92\xa1"
                        "a\x07",
                        4);
    buffer_truncate(&f->taken, 0);
    key_write(&f->taken, one, (const uint8_t *)"\x05", 1);
    assert_int_equal(f->taken.size, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(a_record_is_its_values_in_schema_order),
        TEST(wrong_maps_are_refused),
        TEST(what_is_required_is_not_nil),
        TEST(defaults_fill_what_is_absent_and_nil_stays),
        TEST(changes_keep_the_rest_of_the_old_record),
        TEST(offsets_grow_with_the_values),
        TEST(a_record_is_below_16_mib),
        TEST(failing_memory_is_overloaded),
        TEST(a_single_key_is_its_value),
        TEST(a_composite_key_is_an_array_or_a_map),
        TEST(wrong_composite_keys_are_refused),
        TEST(records_and_keys_agree),
        TEST(nil_fields_have_no_key),
        TEST(keys_are_shown_and_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

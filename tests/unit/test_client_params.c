#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "clients/c/params.h"
#include "clients/c/relata.h"
#include "protocol/base/heap.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"

/* Params written and values read, by hand and at random. */

static void writes_and_reads_every_kind(void **state)
{
    (void)state;
    struct relata_params *params = relata_params_create();
    relata_params_nil(params);
    relata_params_boolean(params, true);
    relata_params_integer(params, INT64_MIN);
    relata_params_unsigned(params, UINT64_MAX);
    relata_params_float(params, 0.5);
    relata_params_string(params, "text");
    relata_params_binary(params, "\0\1", 2);
    relata_params_datetime(params, -1, 999999999);
    relata_params_array(params, 1);
    relata_params_map(params, 1);
    relata_params_string(params, "name");
    assert_false(relata_params_complete(params));
    relata_params_integer(params, 7);
    assert_true(relata_params_complete(params));
    assert_int_equal(relata_params_count(params), 9);

    bool boolean = false;
    int64_t integer = 0;
    uint64_t natural = 0;
    double real = 0;
    const char *text;
    const uint8_t *bytes;
    size_t size;
    uint32_t nanoseconds;
    assert_int_equal(relata_value_type(relata_params_at(params, 0)), RELATA_TYPE_NIL);
    assert_true(relata_value_boolean(relata_params_at(params, 1), &boolean) && boolean);
    assert_true(relata_value_integer(relata_params_at(params, 2), &integer));
    assert_true(integer == INT64_MIN);
    assert_int_equal(relata_value_type(relata_params_at(params, 3)), RELATA_TYPE_UNSIGNED);
    assert_false(relata_value_integer(relata_params_at(params, 3), &integer));
    assert_true(relata_value_unsigned(relata_params_at(params, 3), &natural));
    assert_true(natural == UINT64_MAX);
    assert_true(relata_value_float(relata_params_at(params, 4), &real) && real == 0.5);
    assert_true(relata_value_string(relata_params_at(params, 5), &text, &size));
    assert_int_equal(size, 4);
    assert_memory_equal(text, "text", 4);
    assert_true(relata_value_binary(relata_params_at(params, 6), &bytes, &size));
    assert_int_equal(size, 2);
    assert_true(relata_value_datetime(relata_params_at(params, 7), &integer, &nanoseconds));
    assert_true(integer == -1 && nanoseconds == 999999999);
    struct relata_value inner = relata_value_at(relata_params_at(params, 8), 0);
    assert_true(relata_value_integer(relata_value_get(inner, "name"), &integer));
    assert_int_equal(integer, 7);
    assert_int_equal(relata_value_type(relata_value_get(inner, "nam")), RELATA_TYPE_NONE);
    assert_int_equal(relata_value_type(relata_value_at(inner, 0)), RELATA_TYPE_NONE);
    assert_int_equal(relata_value_type(relata_params_at(params, 9)), RELATA_TYPE_NONE);
    relata_params_free(params);
}

static void reads_errors_in_place(void **state)
{
    (void)state;
    struct error inner = ERROR_INIT;
    error_set(&inner, CODE_LOADER_FAILED, "it said no");
    error_relationship(&inner, "tickets");
    struct buffer out = BUFFER_INIT;
    message_error_extension(&out, &inner);
    struct relata_value value;
    struct relata_error error;
    assert_true(relata_value_of(out.bytes, out.size, &value));
    assert_int_equal(relata_value_type(value), RELATA_TYPE_ERROR);
    assert_true(relata_value_error(value, &error));
    assert_int_equal(error.code, RELATA_CODE_LOADER_FAILED);
    assert_string_equal(error.message, "it said no");
    assert_string_equal(error.relationship, "tickets");
    buffer_release(&out);

    write_extension(&out, 5, "x", 1);
    assert_true(relata_value_of(out.bytes, out.size, &value));
    assert_int_equal(relata_value_type(value), RELATA_TYPE_EXTENSION);
    assert_false(relata_value_error(value, &error));
    buffer_release(&out);
}

static void takes_foreign_bytes_only_whole(void **state)
{
    (void)state;
    struct relata_value value;
    assert_true(relata_value_of("\x92\x01\x02", 3, &value));
    assert_false(relata_value_of("\x92\x01", 2, &value));
    assert_false(relata_value_of("\x92\x01\x02\x03", 4, &value));
    assert_false(relata_value_of("\xc1", 1, &value));
    assert_false(relata_value_of("", 0, &value));
}

static void bounds_levels(void **state)
{
    (void)state;
    struct relata_error error;
    struct relata_params *params = relata_params_create();
    for (int i = 0; i < PARAMS_LEVELS_MAX; i++) {
        relata_params_array(params, 1);
    }
    relata_params_array(params, 0);
    assert_true(relata_params_complete(params));
    relata_params_reset(params);
    for (int i = 0; i < PARAMS_LEVELS_MAX + 10; i++) {
        relata_params_array(params, 1);
    }
    relata_params_nil(params);
    assert_false(relata_params_complete(params));
    assert_int_equal(params_check(params, &error), -RELATA_CODE_INVALID_REQUEST);
    relata_params_reset(params);
    relata_params_nil(params);
    assert_int_equal(params_check(params, &error), 0);
    relata_params_free(params);
}

static void tells_lack_of_memory(void **state)
{
    (void)state;
    heap_fail_at(0);
    struct relata_params *params = relata_params_create();
    heap_fail_at(-1);
    assert_non_null(params);
    for (int i = 0; i < 2; i++) {
        relata_params_string(params, "goes nowhere");
        relata_params_map(params, 1);
        assert_int_equal(relata_params_count(params), 0);
        assert_int_equal(params_check(params, NULL), -RELATA_CODE_OVERLOADED);
        relata_params_reset(params);
    }
    relata_params_free(params);

    params = relata_params_create();
    heap_fail_at(0);
    relata_params_string(params, "goes nowhere");
    heap_fail_at(-1);
    relata_params_string(params, "neither");
    assert_int_equal(params_check(params, NULL), -RELATA_CODE_OVERLOADED);
    relata_params_free(params);
}

/* What was written, one entry for each value, in the order of writing. */
struct written {
    enum relata_type type;
    int64_t number;
    uint32_t count;
};

enum { WRITTEN_MAX = 4000 };

struct story {
    struct random random;
    struct relata_params *params;
    struct written written[WRITTEN_MAX];
    size_t count;
    size_t read;
};

static void write_random(struct story *story, unsigned level)
{
    struct written *written = &story->written[story->count++];
    uint64_t kinds = level < 5 && story->count < WRITTEN_MAX / 2 ? 5 : 3;
    switch (random_below(&story->random, kinds)) {
    case 0:
        *written = (struct written){.type = RELATA_TYPE_NIL};
        relata_params_nil(story->params);
        break;
    case 1:
        *written = (struct written){.type = RELATA_TYPE_INTEGER,
                                    .number = (int64_t)(random_magnitude(&story->random) >> 1)};
        relata_params_integer(story->params, written->number);
        break;
    case 2:
        *written = (struct written){.type = RELATA_TYPE_STRING,
                                    .count = (uint32_t)random_below(&story->random, 300)};
        char text[300];
        memset(text, 'a', sizeof(text));
        relata_params_text(story->params, text, written->count);
        break;
    case 3:
        *written = (struct written){.type = RELATA_TYPE_ARRAY,
                                    .count = (uint32_t)random_below(&story->random, 20)};
        relata_params_array(story->params, written->count);
        for (uint32_t i = 0; i < written->count; i++) {
            write_random(story, level + 1);
        }
        break;
    default:
        *written = (struct written){.type = RELATA_TYPE_MAP,
                                    .count = (uint32_t)random_below(&story->random, 20)};
        relata_params_map(story->params, written->count);
        for (uint32_t i = 0; i < 2 * written->count; i++) {
            write_random(story, level + 1);
        }
        break;
    }
}

static void read_back(struct story *story, struct relata_value value)
{
    const struct written *written = &story->written[story->read++];
    int64_t number;
    const char *text;
    size_t size;
    struct relata_value key;
    struct relata_value item;
    assert_int_equal(relata_value_type(value), written->type);
    if (relata_value_integer(value, &number)) {
        assert_true(number == written->number);
    } else if (relata_value_string(value, &text, &size)) {
        assert_int_equal(size, written->count);
    } else {
        assert_int_equal(relata_value_count(value), written->count);
    }
    struct relata_cursor cursor = relata_items(value);
    while (relata_next(&cursor, &item)) {
        read_back(story, item);
    }
    cursor = relata_pairs(value);
    while (relata_next_pair(&cursor, &key, &item)) {
        read_back(story, key);
        read_back(story, item);
    }
}

static void reads_what_was_written(void **state)
{
    (void)state;
    static struct story story;
    story.random = random_start("params");
    story.params = relata_params_create();
    for (int round = 0; round < 300; round++) {
        relata_params_reset(story.params);
        story.count = 0;
        story.read = 0;
        write_random(&story, 0);
        assert_true(relata_params_complete(story.params));
        assert_int_equal(relata_params_count(story.params), 1);
        read_back(&story, relata_params_at(story.params, 0));
        assert_int_equal(story.read, story.count);
    }
    relata_params_free(story.params);
}

static void makes_integer_keys(void **state)
{
    (void)state;
    uint8_t room[RELATA_KEY_ROOM];
    int64_t number;
    const int64_t keys[] = {0, -1, 127, 128, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_true(relata_value_integer(relata_key_integer(room, keys[i]), &number));
        assert_true(number == keys[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads_every_kind),
        cmocka_unit_test(reads_errors_in_place),
        cmocka_unit_test(takes_foreign_bytes_only_whole),
        cmocka_unit_test(bounds_levels),
        cmocka_unit_test(tells_lack_of_memory),
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(makes_integer_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "protocol/base/heap.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/msgpack_random.h"

static void assert_bytes(struct buffer *buffer, const char *bytes, size_t size)
{
    assert_false(buffer->failed);
    assert_int_equal(buffer->size, size);
    assert_memory_equal(buffer->bytes, bytes, size);
    buffer_truncate(buffer, 0);
}

#define ASSERT_BYTES(buffer, text) assert_bytes(buffer, text, sizeof(text) - 1)

static void frames_are_the_shortest(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    message_request(&buffer, 1, "get");
    ASSERT_BYTES(&buffer, "\x94\x00\x01\xa3get");
    message_request(&buffer, UINT32_MAX, "m");
    ASSERT_BYTES(&buffer, "\x94\x00\xce\xff\xff\xff\xff\xa1m");
    message_notification(&buffer, "changed");
    ASSERT_BYTES(&buffer, "\x93\x02\xa7"
                          "changed");
    message_result(&buffer, 200);
    ASSERT_BYTES(&buffer, "\x94\x01\xcc\xc8\xc0");
    buffer_release(&buffer);
}

static void errors_are_strings_at_first(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_NOT_FOUND, "no ticket 7");
    error_resource(&error, "ticket");
    message_error(&buffer, 5, &error, false);
    ASSERT_BYTES(&buffer, "\x94\x01\x05\xb6not_found: no ticket 7\xc0");
    message_error_value(&buffer, &error, false);
    ASSERT_BYTES(&buffer, "\xb6not_found: no ticket 7");
    buffer_release(&buffer);
}

static void errors_are_maps_where_asked_for(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_CONFLICT, "taken");
    message_error(&buffer, 5, &error, true);
    ASSERT_BYTES(&buffer, "\x94\x01\x05\x83\xa4"
                          "code\xa8"
                          "conflict\xa7message\xa5taken\xa7"
                          "details\x80\xc0");
    error_resource(&error, "r");
    error.index = 0;
    error_key(&error, "\x92\x01\x02", 3);
    message_error_value(&buffer, &error, true);
    ASSERT_BYTES(&buffer, "\x83\xa4"
                          "code\xa8"
                          "conflict\xa7message\xa5taken\xa7"
                          "details\x83\xa8resource\xa1r\xa5index\x00\xa3key\x92\x01\x02");
    buffer_release(&buffer);
}

static void errors_in_a_values_place_are_extensions(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT, map = BUFFER_INIT;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_LOADER_FAILED, "the loader said no");
    message_error_extension(&buffer, &error);
    message_error_value(&map, &error, true);
    struct reader reader = reader_of(buffer.bytes, buffer.size);
    struct token token = reader_next(&reader);
    assert_int_equal(token.kind, TOKEN_EXTENSION);
    assert_int_equal(token.extension, MESSAGE_ERROR_EXTENSION);
    assert_int_equal(token.size, map.size);
    assert_memory_equal(token.bytes, map.bytes, map.size);
    assert_ptr_equal(reader.at, reader.end);
    buffer_release(&buffer);
    buffer_release(&map);
}

static void fill(struct random *random, char *out, size_t capacity)
{
    size_t size = random_below(random, 3) == 0 ? random_below(random, capacity) : 0;
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)('a' + random_below(random, 26));
    }
    out[size] = '\0';
}

static void assert_same(const struct error *a, const struct error *b)
{
    assert_int_equal(a->code, b->code);
    assert_string_equal(a->message, b->message);
    assert_string_equal(a->resource, b->resource);
    assert_string_equal(a->field, b->field);
    assert_string_equal(a->relationship, b->relationship);
    assert_string_equal(a->path, b->path);
    assert_string_equal(a->limit, b->limit);
    assert_string_equal(a->outcome, b->outcome);
    assert_int_equal(a->key_size, b->key_size);
    assert_memory_equal(a->key, b->key, a->key_size);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->position, b->position);
}

static void errors_go_there_and_back(void **state)
{
    (void)state;
    struct random random = random_start("message");
    struct buffer buffer = BUFFER_INIT;
    for (int round = 0; round < 5000; round++) {
        struct error error = ERROR_INIT, back = ERROR_INIT;
        error.code = (enum code)(1 + random_below(&random, CODE_COUNT - 1));
        fill(&random, error.message, sizeof(error.message));
        fill(&random, error.resource, sizeof(error.resource));
        fill(&random, error.field, sizeof(error.field));
        fill(&random, error.relationship, sizeof(error.relationship));
        fill(&random, error.path, sizeof(error.path));
        fill(&random, error.limit, sizeof(error.limit));
        fill(&random, error.outcome, sizeof(error.outcome));
        error.index = (int64_t)random_below(&random, 3) - 1;
        error.position = (int64_t)random_below(&random, 3) - 1;
        if (random_below(&random, 2) == 0) {
            error_key(&error, "\x92\xa1k\x07", 4);
        }
        buffer_truncate(&buffer, 0);
        if (random_below(&random, 2) == 0) {
            message_error_value(&buffer, &error, true);
        } else {
            message_error_extension(&buffer, &error);
        }
        struct reader reader = reader_of(buffer.bytes, buffer.size);
        assert_true(reader_skip(&reader));
        assert_ptr_equal(reader.at, reader.end);
        message_error_read(&back, buffer.bytes, buffer.size);
        assert_same(&error, &back);

        buffer_truncate(&buffer, 0);
        message_error_value(&buffer, &error, false);
        message_error_read(&back, buffer.bytes, buffer.size);
        assert_int_equal(back.code, error.code);
        assert_string_equal(back.message, error.message);
        assert_int_equal(back.index, -1);
    }
    buffer_release(&buffer);
}

#define ASSERT_READ(bytes, expected_code, expected_message)                      \
    do {                                                                         \
        struct error read_ = ERROR_INIT;                                         \
        message_error_read(&read_, (const uint8_t *)(bytes), sizeof(bytes) - 1); \
        assert_int_equal(read_.code, expected_code);                             \
        assert_string_equal(read_.message, expected_message);                    \
    } while (0)

static void what_is_no_error_is_shown(void **state)
{
    (void)state;
    ASSERT_READ("\xa4oops", CODE_INTERNAL, "oops");
    ASSERT_READ("\xa9oops: bad", CODE_INTERNAL, "oops: bad");
    ASSERT_READ("\xc4\x0ctimeout:late", CODE_TIMEOUT, "late");
    ASSERT_READ("\xa8timeout:", CODE_TIMEOUT, "");
    ASSERT_READ("\xa0", CODE_INTERNAL, "");
    ASSERT_READ("\xa3"
                "a\x1b"
                "b",
                CODE_INTERNAL, "a\\x1bb");
    ASSERT_READ("\x07", CODE_INTERNAL, "an error came as an integer");
    ASSERT_READ("\xc0", CODE_INTERNAL, "an error came as nil");
    ASSERT_READ("", CODE_INTERNAL, "an error came as no MessagePack");
    ASSERT_READ("\x80", CODE_INTERNAL, "an error came as a map without code and message");
    ASSERT_READ("\x81\xa4"
                "code\xa7timeout",
                CODE_INTERNAL, "an error came as a map without code and message");
    ASSERT_READ("\x82\xa4"
                "code\xa4oops\xa7message\xa3"
                "bad",
                CODE_INTERNAL, "oops: bad");
    ASSERT_READ("\x82\xa4"
                "code\xa7timeout\xa7message\xa4late",
                CODE_TIMEOUT, "late");
    /* Details of another shape than they should have are left out. */
    ASSERT_READ("\x83\xa4"
                "code\xa7timeout\xa7message\xa4late\xa7"
                "details\x07",
                CODE_TIMEOUT, "late");
    ASSERT_READ("\x83\xa4"
                "code\xa7timeout\xa7message\xa4late\xa7"
                "details\x82\xa5index\xa1x"
                "\xa8resource\x05",
                CODE_TIMEOUT, "late");
}

/* Any bytes at all, in memory that ends where they do. */
static void reads_anything(void **state)
{
    (void)state;
    struct random random = random_start("message noise");
    struct buffer buffer = BUFFER_INIT;
    struct error model = ERROR_INIT;
    error_set(&model, CODE_CONFLICT, "a key is taken");
    error_resource(&model, "ticket");
    error_key(&model, "\x05", 1);
    model.index = 3;
    for (int round = 0; round < 50000; round++) {
        buffer_truncate(&buffer, 0);
        message_error_value(&buffer, &model, true);
        for (uint64_t i = random_below(&random, 4); i > 0; i--) {
            buffer.bytes[random_below(&random, buffer.size)] = (uint8_t)random_next(&random);
        }
        size_t size = random_below(&random, buffer.size + 1);
        uint8_t *copy = malloc(size > 0 ? size : 1);
        assert_non_null(copy);
        memcpy(copy, buffer.bytes, size);
        struct error error = ERROR_INIT;
        message_error_read(&error, copy, size);
        assert_int_not_equal(error.code, CODE_OK);
        free(copy);
    }
    buffer_release(&buffer);
}

static void lack_of_memory_is_the_buffers(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    error_set(&error, CODE_CONFLICT, "taken");
    bool passed = false;
    long count = 0;
    for (; !passed; count++) {
        struct buffer buffer = BUFFER_INIT;
        heap_fail_at(count);
        message_error_extension(&buffer, &error);
        passed = !heap_failed();
        heap_fail_at(-1);
        assert_int_equal(buffer.failed, !passed);
        buffer_release(&buffer);
    }
    assert_true(count > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_the_shortest),
        cmocka_unit_test(errors_are_strings_at_first),
        cmocka_unit_test(errors_are_maps_where_asked_for),
        cmocka_unit_test(errors_in_a_values_place_are_extensions),
        cmocka_unit_test(errors_go_there_and_back),
        cmocka_unit_test(what_is_no_error_is_shown),
        cmocka_unit_test(reads_anything),
        cmocka_unit_test(lack_of_memory_is_the_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/lib/engine_fixture.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/message.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/schema_fixture.h"

enum { TURNS_MAX = 100000 };

void engine_fixture_open(struct engine_fixture *fixture, const char *yaml)
{
    *fixture = (struct engine_fixture){.limits = LIMITS_DEFAULT, .now_us = 1000000, .origin = 1};
    fixture->engine = engine_create(&fixture->limits);
    assert_non_null(fixture->engine);
    struct schema *schema = schema_fixture(yaml);
    struct error error = ERROR_INIT;
    assert_int_equal(engine_use_schema(fixture->engine, schema, &error), 0);
    schema_put(schema);
}

void engine_fixture_close(struct engine_fixture *fixture)
{
    engine_close(fixture->engine);
    while (engine_turn(fixture->engine, fixture->now_us)) {
    }
    engine_free(fixture->engine);
}

void fixture_turn(struct engine_fixture *fixture)
{
    fixture->turns++;
    engine_turn(fixture->engine, fixture->now_us);
}

/* Under a failure that a test asked for, the fixture's own text may fail. */
static char *text_of(struct buffer *buffer)
{
    if (buffer->failed) {
        buffer_release(buffer);
        *buffer = (struct buffer)BUFFER_INIT;
        buffer_printf(buffer, "overloaded: no memory for the answer's text");
    }
    buffer_byte(buffer, 0);
    if (buffer->failed) {
        return text_of(buffer);
    }
    return (char *)buffer->bytes;
}

static void take_answer(struct fixture_call *call)
{
    struct buffer out = BUFFER_INIT;
    struct buffer json = BUFFER_INIT;
    if (call_render(&call->call, &out) < 0) {
        buffer_printf(&json, "%s: %s", code_text(call->call.error.code), call->call.error.message);
    } else {
        struct reader in = reader_of(out.bytes, out.size);
        msgpack_to_json(&in, &json);
        assert_true(json.failed || (in.at == in.end && !in.failed));
    }
    call->answer = text_of(&json);
    call->finished = true;
    buffer_release(&out);
    if (call->ends) {
        call->started = false;
        call_end(&call->call);
    }
}

static void on_done(struct call *call)
{
    take_answer(CONTAINER_OF(call, struct fixture_call, call));
}

static enum call_kind kind_of(const char *method)
{
    for (int kind = 0; kind < CALL_KIND_COUNT; kind++) {
        if (strcmp(call_kind_name((enum call_kind)kind), method) == 0) {
            return (enum call_kind)kind;
        }
    }
    fail_msg("no call %s", method);
    return CALL_KIND_COUNT;
}

/* Splits a JSON array into parameters and options. False: answered an error. */
static bool split(struct call *call, struct reader in, struct error *error)
{
    unsigned params = call_kind_params(call->kind);
    uint32_t count = reader_next(&in).count;
    assert_true(count <= params + 1);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        assert_true(reader_value(&in, &bytes, &size));
        struct reader value = reader_of(bytes, size);
        if (i < params) {
            call->params[i] = value;
        } else if (options_read(&value, call_kind_options(call->kind), call_kind_name(call->kind),
                                &call->options, error) < 0) {
            return false;
        }
    }
    return true;
}

void fixture_start(struct engine_fixture *fixture, struct fixture_call *call, const char *method,
                   const char *params)
{
    *call = (struct fixture_call){0};
    struct buffer bytes = BUFFER_INIT;
    struct error error = ERROR_INIT;
    do {
        buffer_truncate(&bytes, 0);
        json_to_msgpack(params, &bytes);
    } while (bytes.failed);
    call_init(&call->call);
    call->call.engine = fixture->engine;
    call->call.kind = kind_of(method);
    call->call.origin = fixture->origin;
    call->call.timeout_us = 30000000;
    call->call.write_error = message_error_extension;
    call->call.done = on_done;
    if (!split(&call->call, reader_of(bytes.bytes, bytes.size), &error)) {
        struct buffer text = BUFFER_INIT;
        buffer_printf(&text, "%s: %s", code_text(error.code), error.message);
        call->answer = text_of(&text);
        call->finished = true;
    } else {
        call->started = true;
        call->ends = fixture->ends_calls;
        if (fixture->fail_at > 0) {
            heap_fail_at(fixture->fail_at - 1);
        }
        if (call_start(&call->call, fixture->now_us) != CALL_LATER) {
            take_answer(call);
        }
    }
    buffer_release(&bytes); /* a call that takes turns has copied what it needs */
}

const char *fixture_finish(struct engine_fixture *fixture, struct fixture_call *call)
{
    for (unsigned i = 0; !call->finished && i < TURNS_MAX; i++) {
        fixture_turn(fixture);
    }
    assert_true(call->finished);
    return call->answer;
}

void fixture_end(struct fixture_call *call)
{
    if (call->started) {
        call_end(&call->call);
    }
    call_release(&call->call);
    free(call->answer);
    call->answer = NULL;
}

char *fixture_call(struct engine_fixture *fixture, const char *method, const char *params)
{
    struct fixture_call call;
    fixture_start(fixture, &call, method, params);
    fixture_finish(fixture, &call);
    char *answer = call.answer;
    call.answer = NULL;
    fixture_end(&call);
    return answer;
}

void fixture_expect(struct engine_fixture *fixture, const char *method, const char *params,
                    const char *expected)
{
    char *answer = fixture_call(fixture, method, params);
    struct buffer bytes = BUFFER_INIT;
    struct buffer normal = BUFFER_INIT;
    json_to_msgpack(expected, &bytes);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    msgpack_to_json(&in, &normal);
    if (strcmp(answer, text_of(&normal)) != 0) {
        print_error("%s %s\n  answers  %s\n  expected %s\n", method, params, answer,
                    (const char *)normal.bytes);
    }
    assert_string_equal(answer, (const char *)normal.bytes);
    buffer_release(&bytes);
    buffer_release(&normal);
    free(answer);
}

void fixture_expect_error(struct engine_fixture *fixture, const char *method, const char *params,
                          const char *code)
{
    char *answer = fixture_call(fixture, method, params);
    size_t size = strlen(code);
    if (strncmp(answer, code, size) != 0 || answer[size] != ':') {
        fail_msg("%s %s answers %s, expected the error %s", method, params, answer, code);
    }
    free(answer);
}

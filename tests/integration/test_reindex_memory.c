#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/redis.h"
#include "protocol/base/heap.h"
#include "tests/lib/engine_fixture.h"
#include "tests/lib/redis_fixture.h"
#include "tests/lib/schema_fixture.h"

/* A reindex, and a write behind it, where memory lacks, at each of their allocations:
 * they fail with words and leak nothing; nothing counts as built, or is half-written. */

enum { RECORDS = 6, PATIENCE_US = 20000000, FAILURES_MAX = 3000 };

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  person:\n"
                           "    layer: redis\n"
                           "    redis: {writers: relata, key: 'p:{id}'}\n"
                           "    fields: {id: integer, name: string, email: string}\n"
                           "    identities: {email: email}\n"
                           "    indexes: [[name, email]]\n";

struct world_fixture {
    struct redis_fixture server;
    uv_loop_t loop;
    uv_timer_t patience;
    struct redis *redis;
    struct engine_fixture engine;
    bool closed;
};

static uint64_t clock_us(void)
{
    return uv_hrtime() / 1000;
}

static void on_enter(void *context)
{
    (void)context;
}

static void on_log(void *context, const char *event, const char *home, const char *text, bool bad)
{
    (void)context;
    (void)event;
    (void)home;
    (void)text;
    (void)bad;
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(struct world_fixture *f)
{
    f->engine.now_us = clock_us();
    fixture_turn(&f->engine);
    uv_timer_start(&f->patience, on_patience, 1, 1);
    uv_run(&f->loop, UV_RUN_ONCE);
    uv_timer_stop(&f->patience);
}

/* What the call answers. */
static const char *finish(struct world_fixture *f, struct fixture_call *call)
{
    for (uint64_t until_us = clock_us() + PATIENCE_US; !call->finished;) {
        assert_true(clock_us() < until_us);
        turn(f);
    }
    return call->answer;
}

static char *ask(struct world_fixture *f, const char *method, const char *params)
{
    struct fixture_call call;
    fixture_start(&f->engine, &call, method, params);
    char *answer = strdup(finish(f, &call));
    fixture_end(&call);
    return answer;
}

static void put_records(const struct redis_fixture *server)
{
    char words[128];
    for (int i = 1; i <= RECORDS; i++) {
        snprintf(words, sizeof words, "HSET p:%d name n%d email e%d", i, i % 2, i);
        redis_fixture_say(server, words);
    }
    redis_fixture_say(server, "HSET p:99 id no");
}

static int setup(void **state)
{
    struct world_fixture *f = calloc(1, sizeof *f);
    struct error error = ERROR_INIT;
    redis_fixture_start(&f->server, NULL);
    put_records(&f->server);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->patience);
    struct home_options options = {
        .name = "main", .host = "127.0.0.1", .port = f->server.port, .timeout_us = 10000000};
    struct home_world world = {
        .loop = &f->loop, .clock_us = clock_us, .enter = on_enter, .log = on_log};
    f->redis = redis_create(&options, 1, &world);
    f->engine = (struct engine_fixture){.limits = LIMITS_DEFAULT, .origin = 1};
    f->engine.engine = engine_create(&f->engine.limits);
    engine_use_clock(f->engine.engine, clock_us);
    engine_use_redis(f->engine.engine, f->redis);
    struct schema *schema = schema_fixture(yaml);
    assert_int_equal(engine_use_schema(f->engine.engine, schema, &error), 0);
    schema_put(schema);
    assert_int_equal(redis_open(f->redis, &error), 0);
    while (!redis_is_settled(f->redis)) {
        turn(f);
    }
    *state = f;
    return 0;
}

static void on_closed(void *context)
{
    struct world_fixture *f = context;
    f->closed = true;
}

static int teardown(void **state)
{
    struct world_fixture *f = *state;
    engine_close(f->engine.engine);
    redis_close(f->redis, 1000000, on_closed, f);
    while (!f->closed) {
        turn(f);
    }
    while (engine_turn(f->engine.engine, clock_us())) {
    }
    engine_free(f->engine.engine);
    redis_free(f->redis);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    redis_fixture_stop(&f->server);
    free(f);
    return 0;
}

static bool begins_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The links are up, and all notices of what was done before have come. */
static void wait_ready(struct world_fixture *f)
{
    uint64_t until_us = clock_us() + PATIENCE_US;
    for (bool ready = false; !ready;) {
        assert_true(clock_us() < until_us);
        turn(f);
        char *answer = ask(f, "get", "['person', 1, {'fresh': true}]");
        ready = answer[0] == '{';
        free(answer);
    }
}

static void forget_built(struct world_fixture *f)
{
    redis_fixture_say(&f->server, "FLUSHALL");
    put_records(&f->server);
    wait_ready(f);
}

/* Whether it failed as it may: it is overloaded, or a link that had no memory was lost. */
static bool failed_well(struct world_fixture *f, const char *answer)
{
    assert_string_equal(redis_fixture_say(&f->server, "HEXISTS relata:built:person id:email:email"),
                        "0");
    return begins_with(answer, "overloaded: ") || begins_with(answer, "unavailable: ");
}

static void test_no_memory(void **state)
{
    struct world_fixture *f = *state;
    bool failed = true;
    int overloaded = 0;
    forget_built(f);
    for (long at = 0; failed; at++) {
        assert_true(at < FAILURES_MAX);
        heap_fail_at(at);
        struct fixture_call call;
        fixture_start(&f->engine, &call, "reindex", "['person']");
        finish(f, &call);
        failed = heap_failed() == 1;
        heap_fail_at(-1);
        overloaded += begins_with(call.answer, "overloaded: ");
        if (call.answer[0] == '{') {
            assert_string_equal(call.answer, "{\"records\":6,\"misfits\":1}");
            forget_built(f);
        } else if (!failed || !failed_well(f, call.answer)) {
            fail_msg("allocation %ld: %s", at, call.answer);
        }
        fixture_end(&call);
        wait_ready(f);
    }
    assert_true(overloaded > 10);
}

/* A write of the resource that was reindexed: it is done whole, or not at all. */
static void test_no_memory_for_a_write(void **state)
{
    struct world_fixture *f = *state;
    bool failed = true;
    free(ask(f, "reindex", "['person']"));
    for (long at = 0; failed; at++) {
        char params[128];
        assert_true(at < FAILURES_MAX);
        snprintf(params, sizeof params, "['person', {'id': %ld, 'name': 'w', 'email': 'w%ld'}]",
                 1000 + at, at);
        heap_fail_at(at);
        struct fixture_call call;
        fixture_start(&f->engine, &call, "create", params);
        finish(f, &call);
        failed = heap_failed() == 1;
        heap_fail_at(-1);
        bool written = call.answer[0] == '{';
        if (!written && !failed) {
            fail_msg("allocation %ld: %s", at, call.answer);
        }
        fixture_end(&call); /* what comes behind it would wait for it */
        wait_ready(f);
        snprintf(params, sizeof params, "['person', %ld, {'fresh': true}]", 1000 + at);
        char *by_key = ask(f, "get", params);
        snprintf(params, sizeof params, "['person', 'w%ld', {'identity': 'email'}]", at);
        char *by_email = ask(f, "get", params);
        assert_string_equal(by_key, by_email);
        assert_true(!written || by_key[0] == '{');
        free(by_key);
        free(by_email);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_write, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

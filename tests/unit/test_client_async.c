#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <uv.h>

#include "clients/c/relata.h"
#include "protocol/base/heap.h"
#include "tests/lib/fake_daemon.h"

/* The client on a loop, against a peer that misbehaves. */

enum { CALLS_MAX = 2000 };

/* What was called back; `inside` is set while a function of the client runs. */
struct seen {
    uv_loop_t loop;
    struct relata_async *async;
    int ready_count;
    int ready_code;
    int closed_count;
    int answers;
    int errors[32]; /* by code */
    int counts[CALLS_MAX];
    int64_t order[CALLS_MAX];
    bool inside;
    int close_after; /* answers; 0 never */
    bool call_from_callback;
};

struct one {
    struct seen *seen;
    int number;
};

static struct fake_daemon fake;
static struct one ones[CALLS_MAX];

static int start(void **state)
{
    (void)state;
    fake_daemon_start(&fake);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_daemon_stop(&fake);
    return 0;
}

static void on_ready(struct relata_async *async, const struct relata_error *error, void *data)
{
    struct seen *seen = data;
    assert_false(seen->inside);
    seen->ready_count++;
    seen->ready_code = error == NULL ? 0 : (int)error->code;
    assert_true(error != NULL ||
                relata_value_is(relata_value_get(relata_async_hello(async), "server"), "fake"));
}

static void on_closed(void *data)
{
    struct seen *seen = data;
    assert_false(seen->inside);
    seen->closed_count++;
    seen->async = NULL;
}

static void close_client(struct seen *seen)
{
    bool before = seen->inside;
    seen->inside = true;
    relata_async_close(seen->async, on_closed, seen);
    relata_async_close(seen->async, on_closed, seen);
    seen->inside = before;
}

static int call(struct seen *seen, int number, const char *method, uint64_t timeout_ms);

static void on_answer(void *data, struct relata_value result, const struct relata_error *error)
{
    struct one *one = data;
    struct seen *seen = one->seen;
    assert_false(seen->inside);
    assert_int_equal(++seen->counts[one->number], 1);
    int64_t number = -1;
    relata_value_integer(relata_value_at(result, 0), &number);
    seen->order[seen->answers++] = number;
    seen->errors[error == NULL ? 0 : error->code]++;
    if (error == NULL && number >= 0) {
        assert_int_equal(number, one->number);
    }
    if (seen->answers == seen->close_after) {
        close_client(seen);
    } else if (seen->call_from_callback && one->number + 1 < CALLS_MAX / 10) {
        call(seen, one->number + 1, "echo", 0);
    }
}

static int call(struct seen *seen, int number, const char *method, uint64_t timeout_ms)
{
    struct relata_params *params = relata_params_create();
    relata_params_integer(params, number);
    ones[number] = (struct one){seen, number};
    seen->inside = true;
    int status =
        relata_async_call(seen->async, method, params, timeout_ms, on_answer, &ones[number], NULL);
    seen->inside = false;
    relata_params_free(params);
    return status;
}

static void open_client(struct seen *seen, const char *address, const char *token,
                        uint64_t connect_ms)
{
    memset(seen, 0, sizeof(*seen));
    struct relata_options options = RELATA_OPTIONS_INIT;
    options.token = token;
    options.connect_ms = connect_ms;
    assert_int_equal(uv_loop_init(&seen->loop), 0);
    seen->inside = true;
    assert_int_equal(
        relata_async_connect(&seen->loop, address, &options, on_ready, seen, &seen->async, NULL),
        0);
    seen->inside = false;
}

static void run_until(struct seen *seen, int answers)
{
    while (seen->answers < answers || seen->ready_count == 0) {
        uv_run(&seen->loop, UV_RUN_ONCE);
    }
}

/* Everything was called back, and the loop is empty. */
static void finish(struct seen *seen)
{
    if (seen->async != NULL) {
        close_client(seen);
    }
    assert_int_equal(uv_run(&seen->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen->ready_count, 1);
    assert_int_equal(seen->closed_count, 1);
    assert_int_equal(uv_loop_close(&seen->loop), 0);
}

static void has_a_thousand_calls_in_flight(void **state)
{
    (void)state;
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(call(&seen, i, "hold", 0), 0);
    }
    assert_int_equal(relata_async_outstanding(seen.async), 1000);
    assert_int_equal(call(&seen, 1000, "release", 0), 0);
    run_until(&seen, 1001);
    assert_int_equal(seen.ready_code, 0);
    assert_int_equal(seen.errors[0], 1001);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen.order[i], 999 - i);
    }
    assert_int_equal(relata_async_outstanding(seen.async), 0);
    finish(&seen);
}

static void calls_from_callbacks(void **state)
{
    (void)state;
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    seen.call_from_callback = true;
    assert_int_equal(call(&seen, 0, "echo", 0), 0);
    run_until(&seen, CALLS_MAX / 10);
    assert_int_equal(seen.errors[0], CALLS_MAX / 10);
    finish(&seen);
}

static void tells_errors(void **state)
{
    (void)state;
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    assert_int_equal(call(&seen, 0, "refuse", 0), 0);
    run_until(&seen, 1);
    assert_int_equal(seen.errors[RELATA_CODE_CONFLICT], 1);
    finish(&seen);
}

static void gives_up_each_call_in_its_time(void **state)
{
    (void)state;
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    call(&seen, 0, "silent", 0);
    call(&seen, 1, "silent", 60);
    call(&seen, 2, "silent", 20);
    call(&seen, 3, "echo", 0);
    run_until(&seen, 3);
    assert_int_equal(seen.errors[0], 1);
    assert_int_equal(seen.errors[RELATA_CODE_TIMEOUT], 2);
    assert_int_equal(seen.counts[0], 0);
    /* The connection is good for the next call. */
    call(&seen, 4, "echo", 0);
    run_until(&seen, 4);
    assert_int_equal(seen.errors[0], 2);
    finish(&seen);
    assert_int_equal(seen.errors[RELATA_CODE_UNAVAILABLE], 1);
}

static void lose_by(const char *method, int code)
{
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    for (int i = 0; i < 100; i++) {
        call(&seen, i, "silent", 0);
    }
    call(&seen, 100, method, 0);
    run_until(&seen, 101);
    assert_int_equal(seen.errors[code], 101);
    assert_int_equal(call(&seen, 101, "echo", 0), -RELATA_CODE_UNAVAILABLE);
    finish(&seen);
    assert_int_equal(seen.answers, 101);
}

static void survives_a_lost_connection(void **state)
{
    (void)state;
    lose_by("vanish", RELATA_CODE_UNAVAILABLE);
    lose_by("junk", RELATA_CODE_INVALID_REQUEST);
}

static void fail_to_connect(const char *address, const char *token, uint64_t connect_ms, int code)
{
    struct seen seen;
    open_client(&seen, address, token, connect_ms);
    call(&seen, 0, "silent", 0);
    run_until(&seen, 1);
    assert_int_equal(seen.ready_code, code);
    assert_int_equal(seen.errors[code], 1);
    finish(&seen);
}

static void tells_why_it_cannot_connect(void **state)
{
    (void)state;
    fail_to_connect("unix:/nowhere/at/all", NULL, 0, RELATA_CODE_UNAVAILABLE);
    fail_to_connect("tcp:127.0.0.1:1", NULL, 0, RELATA_CODE_UNAVAILABLE);
    fail_to_connect("tcp:localhost:1", NULL, 0, RELATA_CODE_UNAVAILABLE);
    fail_to_connect(fake.address, "bad", 0, RELATA_CODE_UNAUTHENTICATED);
    fail_to_connect(fake.address, "mute", 60, RELATA_CODE_TIMEOUT);

    uv_loop_t loop;
    uv_loop_init(&loop);
    struct relata_async *async = NULL;
    assert_int_equal(relata_async_connect(&loop, "http://x", NULL, NULL, NULL, &async, NULL),
                     -RELATA_CODE_INVALID_REQUEST);
    assert_null(async);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* At each step of connecting and calling, and from within a callback. */
static void closes_at_any_moment(void **state)
{
    (void)state;
    for (int turns = 0; turns < 8; turns++) {
        for (int place = 0; place < 3; place++) {
            const char *addresses[] = {fake.address, "tcp:127.0.0.1:1", "tcp:localhost:1"};
            struct seen seen;
            open_client(&seen, addresses[place], NULL, 0);
            int made = 0;
            made += call(&seen, 0, "echo", 0) == 0 ? 1 : 0;
            made += call(&seen, 1, "silent", 0) == 0 ? 1 : 0;
            for (int i = 0; i < turns; i++) {
                uv_run(&seen.loop, UV_RUN_NOWAIT);
            }
            finish(&seen);
            assert_int_equal(seen.answers, made);
        }
    }
    struct seen seen;
    open_client(&seen, fake.address, NULL, 0);
    seen.close_after = 3;
    for (int i = 0; i < 10; i++) {
        call(&seen, i, "echo", 0);
    }
    assert_int_equal(uv_run(&seen.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.answers, 10);
    assert_int_equal(seen.errors[0], 3);
    assert_int_equal(seen.errors[RELATA_CODE_UNAVAILABLE], 7);
    finish(&seen);
}

/* Every allocation in turn fails, once: nothing is lost, and nothing twice. */
static void handles_lack_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (long at = 0; failed; at++) {
        struct seen seen = {0};
        assert_int_equal(uv_loop_init(&seen.loop), 0);
        heap_fail_at(at);
        int status = relata_async_connect(&seen.loop, fake.address, NULL, on_ready, &seen,
                                          &seen.async, NULL);
        int taken = 0;
        if (status == 0) {
            taken = call(&seen, 0, "echo", 0) == 0 ? 1 : 0;
            run_until(&seen, taken);
            close_client(&seen);
            uv_run(&seen.loop, UV_RUN_DEFAULT);
            assert_int_equal(seen.closed_count, 1);
        }
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_true(status == 0 || failed);
        assert_int_equal(seen.answers, taken);
        assert_int_equal(uv_loop_close(&seen.loop), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_a_thousand_calls_in_flight),
        cmocka_unit_test(calls_from_callbacks),
        cmocka_unit_test(tells_errors),
        cmocka_unit_test(gives_up_each_call_in_its_time),
        cmocka_unit_test(survives_a_lost_connection),
        cmocka_unit_test(tells_why_it_cannot_connect),
        cmocka_unit_test(closes_at_any_moment),
        cmocka_unit_test(handles_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

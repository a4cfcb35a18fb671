#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "clients/c/relata.h"
#include "protocol/base/heap.h"
#include "tests/lib/fake_daemon.h"

/* The client that waits, against a peer that misbehaves. */

static struct fake_daemon fake;

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

static struct relata_client *connect_with(uint64_t call_ms, const char *token)
{
    struct relata_options options = RELATA_OPTIONS_INIT;
    options.call_ms = call_ms;
    options.token = token;
    options.client = "test";
    struct relata_client *client = NULL;
    struct relata_error error;
    if (relata_connect(fake.address, &options, &client, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return client;
}

static struct relata_params *one_integer(int64_t value)
{
    struct relata_params *params = relata_params_create();
    relata_params_integer(params, value);
    return params;
}

static void greets_and_calls(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, NULL);
    assert_true(relata_value_is(relata_value_get(relata_hello(client), "server"), "fake"));

    struct relata_params *params = one_integer(42);
    relata_params_string(params, "text");
    struct relata_reply *reply;
    assert_int_equal(relata_call(client, "echo", params, &reply, NULL), 0);
    struct relata_value value = relata_reply_value(reply);
    int64_t number;
    assert_true(relata_value_integer(relata_value_at(value, 0), &number));
    assert_int_equal(number, 42);
    assert_true(relata_value_is(relata_value_at(value, 1), "text"));
    relata_params_free(params);

    assert_int_equal(relata_outstanding(client), 0);
    relata_close(client);
    /* A reply outlives its client. */
    assert_int_equal(relata_value_count(relata_reply_value(reply)), 2);
    relata_reply_free(reply);
}

static void tells_errors(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, NULL);
    struct relata_error error;
    struct relata_reply *reply = NULL;
    assert_int_equal(relata_call(client, "refuse", NULL, &reply, &error), -RELATA_CODE_CONFLICT);
    assert_null(reply);
    assert_int_equal(error.code, RELATA_CODE_CONFLICT);
    assert_string_equal(error.message, "it is taken");
    assert_int_equal(error.index, 3);
    assert_int_equal(error.position, -1);
    assert_string_equal(relata_code_text(-RELATA_CODE_CONFLICT), "conflict");
    assert_true(relata_alive(client));
    relata_close(client);
}

static void refuses_params_that_are_not_complete(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, NULL);
    struct relata_error error;
    struct relata_reply *reply;
    struct relata_params *params = relata_params_create();
    relata_params_array(params, 2);
    relata_params_nil(params);
    assert_int_equal(relata_call(client, "echo", params, &reply, &error),
                     -RELATA_CODE_INVALID_REQUEST);
    relata_params_free(params);
    assert_int_equal(relata_outstanding(client), 0);
    relata_close(client);
}

static void pipelines_out_of_order(void **state)
{
    (void)state;
    enum { CALLS = 1000 };
    struct relata_client *client = connect_with(0, NULL);
    uint32_t ids[CALLS];
    for (int i = 0; i < CALLS; i++) {
        struct relata_params *params = one_integer(i);
        assert_int_equal(relata_send(client, "hold", params, &ids[i], NULL), 0);
        assert_true(ids[i] != 0);
        relata_params_free(params);
    }
    uint32_t last;
    assert_int_equal(relata_send(client, "release", NULL, &last, NULL), 0);
    assert_int_equal(relata_outstanding(client), CALLS + 1);

    /* One by its id, though it comes last; the rest as they come: backwards. */
    struct relata_reply *reply;
    assert_int_equal(relata_receive(client, &ids[0], &reply, NULL), 0);
    relata_reply_free(reply);
    for (int i = CALLS - 1; i > 0; i--) {
        uint32_t id = 0;
        int64_t number;
        assert_int_equal(relata_receive(client, &id, &reply, NULL), 0);
        assert_int_equal(id, ids[i]);
        assert_true(relata_value_integer(relata_value_at(relata_reply_value(reply), 0), &number));
        assert_int_equal(number, i);
        relata_reply_free(reply);
    }
    assert_int_equal(relata_receive(client, &last, &reply, NULL), 0);
    relata_reply_free(reply);
    assert_int_equal(relata_receive(client, &last, &reply, NULL), -RELATA_CODE_INVALID_REQUEST);
    relata_close(client);
}

static void gives_up_in_time(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(400, NULL);
    struct relata_error error;
    struct relata_reply *reply;
    assert_int_equal(relata_call(client, "silent", NULL, &reply, &error), -RELATA_CODE_TIMEOUT);
    assert_string_equal(error.outcome, "unknown");
    assert_int_equal(relata_outstanding(client), 0);
    /* The connection is good for the next call. */
    assert_int_equal(relata_call(client, "echo", NULL, &reply, &error), 0);
    relata_reply_free(reply);

    /* A call that was sent is out until it is received or given up. */
    uint32_t id;
    assert_int_equal(relata_send(client, "silent", NULL, &id, NULL), 0);
    assert_int_equal(relata_receive(client, &id, &reply, NULL), -RELATA_CODE_TIMEOUT);
    assert_int_equal(relata_outstanding(client), 1);
    relata_forget(client, id);
    assert_int_equal(relata_outstanding(client), 0);
    relata_close(client);
}

/* What is out when the connection ends is received as unavailable, each once. */
static void lose_by(const char *method, int code)
{
    struct relata_client *client = connect_with(0, NULL);
    struct relata_error error;
    struct relata_reply *reply;
    uint32_t ids[3];
    assert_int_equal(relata_send(client, "echo", NULL, &ids[0], NULL), 0);
    assert_int_equal(relata_send(client, "silent", NULL, &ids[1], NULL), 0);
    assert_int_equal(relata_send(client, method, NULL, &ids[2], NULL), 0);
    assert_int_equal(relata_receive(client, &ids[2], &reply, &error), code);
    assert_string_equal(error.outcome, "unknown");
    assert_false(relata_alive(client));

    /* An answer that came before is still there. */
    assert_int_equal(relata_receive(client, &ids[0], &reply, &error), 0);
    relata_reply_free(reply);
    uint32_t id = 0;
    assert_int_equal(relata_receive(client, &id, &reply, &error), code);
    assert_int_equal(id, ids[1]);
    id = 0;
    assert_int_equal(relata_receive(client, &id, &reply, &error), -RELATA_CODE_INVALID_REQUEST);
    assert_int_equal(relata_call(client, "echo", NULL, &reply, &error), -RELATA_CODE_UNAVAILABLE);
    relata_close(client);
}

static void survives_a_lost_connection(void **state)
{
    (void)state;
    lose_by("vanish", -RELATA_CODE_UNAVAILABLE);
    lose_by("junk", -RELATA_CODE_INVALID_REQUEST);
}

static void bounds_answers(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, "small");
    struct relata_error error;
    struct relata_reply *reply;
    struct relata_params *params = one_integer(900);
    assert_int_equal(relata_call(client, "large", params, &reply, &error), 0);
    relata_reply_free(reply);
    relata_params_reset(params);
    relata_params_integer(params, 10000);
    assert_int_equal(relata_call(client, "large", params, &reply, &error), -RELATA_CODE_TOO_LARGE);
    assert_false(relata_alive(client));
    relata_params_free(params);
    relata_close(client);
}

static void reads_large_answers(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, NULL);
    struct relata_reply *reply;
    struct relata_params *params = one_integer(20 << 20);
    const char *text;
    size_t size;
    assert_int_equal(relata_call(client, "large", params, &reply, NULL), 0);
    assert_true(relata_value_string(relata_reply_value(reply), &text, &size));
    assert_int_equal(size, 20 << 20);
    relata_reply_free(reply);
    relata_params_free(params);
    relata_close(client);
}

static void refuses_to_be_called(void **state)
{
    (void)state;
    struct relata_client *client = connect_with(0, NULL);
    struct relata_reply *reply;
    assert_int_equal(relata_call(client, "ask", NULL, &reply, NULL), 0);
    assert_true(
        relata_value_is(relata_value_get(relata_reply_value(reply), "code"), "unknown_method"));
    relata_reply_free(reply);
    relata_close(client);
}

static void fails_to_connect(void **state)
{
    (void)state;
    struct relata_client *client = NULL;
    struct relata_error error;
    struct relata_options options = RELATA_OPTIONS_INIT;
    assert_int_equal(relata_connect("unix:/nowhere/at/all", NULL, &client, &error),
                     -RELATA_CODE_UNAVAILABLE);
    assert_non_null(strstr(error.message, "/nowhere/at/all"));
    assert_int_equal(relata_connect("tcp:127.0.0.1:1", NULL, &client, &error),
                     -RELATA_CODE_UNAVAILABLE);
    assert_int_equal(relata_connect("http://x", NULL, &client, &error),
                     -RELATA_CODE_INVALID_REQUEST);
    options.token = "bad";
    assert_int_equal(relata_connect(fake.address, &options, &client, &error),
                     -RELATA_CODE_UNAUTHENTICATED);
    options.token = "mute";
    options.connect_ms = 50;
    assert_int_equal(relata_connect(fake.address, &options, &client, &error), -RELATA_CODE_TIMEOUT);
    assert_null(client);
}

/* Every allocation in turn fails, once: the call fails, or it works. */
static void handles_lack_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (long at = 0; failed; at++) {
        struct relata_client *client = NULL;
        struct relata_reply *reply = NULL;
        heap_fail_at(at);
        struct relata_params *params = relata_params_create();
        relata_params_string(params, "a text that is longer than what a small buffer holds, 64");
        int status = relata_connect(fake.address, NULL, &client, NULL);
        if (status == 0) {
            status = relata_call(client, "echo", params, &reply, NULL);
        }
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_true(status == 0 || failed);
        assert_true(status == 0 || status == -RELATA_CODE_OVERLOADED ||
                    status == -RELATA_CODE_UNAVAILABLE);
        relata_reply_free(reply);
        relata_params_free(params);
        relata_close(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greets_and_calls),
        cmocka_unit_test(tells_errors),
        cmocka_unit_test(refuses_params_that_are_not_complete),
        cmocka_unit_test(pipelines_out_of_order),
        cmocka_unit_test(gives_up_in_time),
        cmocka_unit_test(survives_a_lost_connection),
        cmocka_unit_test(bounds_answers),
        cmocka_unit_test(reads_large_answers),
        cmocka_unit_test(refuses_to_be_called),
        cmocka_unit_test(fails_to_connect),
        cmocka_unit_test(handles_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

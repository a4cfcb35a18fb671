#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "clients/c/relata.h"
#include "tests/lib/daemon_fixture.h"

/* librelata, the shared library, with a daemon. */

static const char schema[] =
    "version: 1\n"
    "resources:\n"
    "  representative:\n"
    "    fields:\n"
    "      id: integer\n"
    "      name: {type: string, required: true}\n"
    "      priority_threshold: {type: integer, default: 5}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket}\n"
    "      tickets_above_threshold:\n"
    "        has_many: ticket\n"
    "        manual:\n"
    "          filter: representative_id == parent.id and priority > parent.priority_threshold\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      priority: integer\n"
    "      content: binary\n"
    "      created_at: datetime\n"
    "      representative_id: integer\n";

static struct daemon_fixture fixture;
static char tcp_address[40]; /* by a name that may have two addresses */

static int start(void **state)
{
    (void)state;
    const char *const arguments[] = {"--listen", "tcp:127.0.0.1:0", NULL};
    daemon_fixture_start(&fixture, schema, arguments);
    char *log = daemon_fixture_log(&fixture);
    const char *found = strstr(log, "tcp:127.0.0.1:");
    assert_non_null(found);
    snprintf(tcp_address, sizeof(tcp_address), "tcp:localhost:%ld",
             strtol(found + strlen("tcp:127.0.0.1:"), NULL, 10));
    free(log);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_fixture_stop(&fixture);
    return 0;
}

static struct relata_client *connect_client(void)
{
    struct relata_client *client = NULL;
    struct relata_error error;
    if (relata_connect(fixture.address, NULL, &client, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return client;
}

static void ticket(struct relata_params *params, int64_t id, int64_t priority)
{
    relata_params_map(params, 5);
    relata_params_string(params, "id");
    relata_params_integer(params, id);
    relata_params_string(params, "priority");
    relata_params_integer(params, priority);
    relata_params_string(params, "content");
    relata_params_binary(params, "\0\1\2", 3);
    relata_params_string(params, "created_at");
    relata_params_datetime(params, 1000000 + id, 5);
    relata_params_string(params, "representative_id");
    relata_params_integer(params, id % 10);
}

static int64_t integer_of(struct relata_value value)
{
    int64_t number;
    assert_true(relata_value_integer(value, &number));
    return number;
}

static void writes_many(void **state)
{
    (void)state;
    struct relata_client *client = connect_client();
    struct relata_params *params = relata_params_create();
    int64_t count = 0;
    relata_params_array(params, 1000);
    for (int i = 0; i < 1000; i++) {
        ticket(params, i, i % 11);
    }
    struct relata_value records = relata_params_at(params, 0);
    assert_int_equal(relata_create_many(client, "ticket", records, RELATA_NONE, &count, NULL), 0);
    assert_int_equal(count, 1000);
    struct relata_error error;
    assert_int_equal(relata_create_many(client, "ticket", records, RELATA_NONE, NULL, &error),
                     -RELATA_CODE_CONFLICT);
    assert_int_equal(error.index, 0);
    assert_int_equal(relata_upsert_many(client, "ticket", records, RELATA_NONE, &count, NULL), 0);
    assert_int_equal(relata_count(client, "ticket", RELATA_NONE, RELATA_NONE, &count, NULL), 0);
    assert_int_equal(count, 1000);
    relata_params_free(params);
    relata_close(client);
}

static void writes_and_reads_one(void **state)
{
    (void)state;
    struct relata_client *client = connect_client();
    struct relata_params *params = relata_params_create();
    struct relata_reply *reply;
    struct relata_error error;
    uint8_t room[RELATA_KEY_ROOM];
    struct relata_value key = relata_key_integer(room, 5000);
    ticket(params, 5000, 3);
    assert_int_equal(
        relata_create(client, "ticket", relata_params_at(params, 0), RELATA_NONE, NULL, NULL), 0);
    assert_int_equal(relata_get(client, "ticket", key, RELATA_NONE, &reply, NULL), 0);
    struct relata_value record = relata_reply_value(reply);
    const uint8_t *bytes;
    size_t size;
    int64_t seconds;
    uint32_t nanoseconds;
    assert_true(relata_value_binary(relata_value_get(record, "content"), &bytes, &size));
    assert_int_equal(size, 3);
    assert_true(
        relata_value_datetime(relata_value_get(record, "created_at"), &seconds, &nanoseconds));
    assert_true(seconds == 1005000 && nanoseconds == 5);
    relata_reply_free(reply);

    relata_params_reset(params);
    relata_params_map(params, 1);
    relata_params_string(params, "priority");
    relata_params_nil(params);
    assert_int_equal(relata_update(client, "ticket", key, relata_params_at(params, 0), RELATA_NONE,
                                   &reply, NULL),
                     0);
    assert_int_equal(relata_value_type(relata_value_get(relata_reply_value(reply), "priority")),
                     RELATA_TYPE_NIL);
    relata_reply_free(reply);
    assert_int_equal(relata_destroy(client, "ticket", key, RELATA_NONE, NULL), 0);
    assert_int_equal(relata_destroy(client, "ticket", key, RELATA_NONE, &error),
                     -RELATA_CODE_NOT_FOUND);
    assert_int_equal(relata_get(client, "ticket", key, RELATA_NONE, &reply, NULL), 0);
    assert_int_equal(relata_value_type(relata_reply_value(reply)), RELATA_TYPE_NIL);
    relata_reply_free(reply);
    relata_params_free(params);
    relata_close(client);
}

static void loads_relationships(void **state)
{
    (void)state;
    struct relata_client *client = connect_client();
    struct relata_params *params = relata_params_create();
    struct relata_reply *reply;
    relata_params_map(params, 2);
    relata_params_string(params, "id");
    relata_params_integer(params, 1);
    relata_params_string(params, "name");
    relata_params_string(params, "Ann");
    assert_int_equal(relata_upsert(client, "representative", relata_params_at(params, 0),
                                   RELATA_NONE, NULL, NULL),
                     0);
    relata_params_reset(params);
    relata_params_array(params, 2);
    relata_params_integer(params, 1);
    relata_params_integer(params, 99);
    relata_params_string(params, "tickets_above_threshold");
    assert_int_equal(relata_load(client, "representative", relata_params_at(params, 0),
                                 relata_params_at(params, 1), RELATA_NONE, &reply, NULL),
                     0);
    struct relata_value sources = relata_reply_value(reply);
    assert_int_equal(relata_value_count(sources), 2);
    assert_int_equal(relata_value_type(relata_value_at(sources, 1)), RELATA_TYPE_NIL);
    struct relata_cursor cursor = relata_items(relata_value_at(sources, 0));
    size_t count = 0;
    for (struct relata_value item; relata_next(&cursor, &item); count++) {
        assert_true(integer_of(relata_value_get(item, "priority")) > 5);
        assert_int_equal(integer_of(relata_value_get(item, "representative_id")), 1);
    }
    /* 1, 11, ... 991 have the priorities 1, 0, 10, 9, ... in turns. */
    assert_true(count > 40 && count < 60);
    relata_reply_free(reply);
    relata_params_free(params);
    relata_close(client);
}

static void pipelines_ten_thousand(void **state)
{
    (void)state;
    enum { CALLS = 10000 };
    static uint32_t ids[CALLS];
    struct relata_client *client = connect_client();
    struct relata_params *params = relata_params_create();
    struct relata_reply *reply;
    for (int i = 0; i < CALLS; i++) {
        relata_params_reset(params);
        relata_params_string(params, "ticket");
        relata_params_integer(params, i % 1000);
        assert_int_equal(relata_send(client, "get", params, &ids[i], NULL), 0);
    }
    assert_int_equal(relata_outstanding(client), CALLS);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(relata_receive(client, &ids[i], &reply, NULL), 0);
        assert_int_equal(integer_of(relata_value_get(relata_reply_value(reply), "id")), i % 1000);
        relata_reply_free(reply);
    }
    assert_int_equal(relata_outstanding(client), 0);
    relata_params_free(params);
    relata_close(client);
}

struct flight {
    int answered;
    int wrong;
};

static struct flight flight;

static void on_ticket(void *data, struct relata_value result, const struct relata_error *error)
{
    const int64_t *id = data;
    int64_t came = -1;
    relata_value_integer(relata_value_get(result, "id"), &came);
    flight.answered++;
    flight.wrong += error != NULL || came != *id ? 1 : 0;
}

static void fly_a_thousand(const char *address)
{
    enum { CALLS = 1000 };
    static int64_t ids[CALLS];
    uv_loop_t loop;
    struct relata_async *async;
    struct relata_params *params = relata_params_create();
    flight = (struct flight){0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(relata_async_connect(&loop, address, NULL, NULL, NULL, &async, NULL), 0);
    for (int i = 0; i < CALLS; i++) {
        ids[i] = i;
        relata_params_reset(params);
        relata_params_string(params, "ticket");
        relata_params_integer(params, i);
        assert_int_equal(relata_async_call(async, "get", params, 0, on_ticket, &ids[i], NULL), 0);
    }
    while (flight.answered < CALLS) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(flight.wrong, 0);
    relata_async_close(async, NULL, NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    relata_params_free(params);
}

static void flies_a_thousand_on_a_loop(void **state)
{
    (void)state;
    fly_a_thousand(fixture.address);
    fly_a_thousand(tcp_address);
}

static void connects_by_tcp(void **state)
{
    (void)state;
    struct relata_client *client = NULL;
    struct relata_error error;
    int64_t count;
    if (relata_connect(tcp_address, NULL, &client, &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(relata_count(client, "ticket", RELATA_NONE, RELATA_NONE, &count, NULL), 0);
    assert_int_equal(count, 1000);
    relata_close(client);
}

static void knows_its_version(void **state)
{
    (void)state;
    char version[40];
    snprintf(version, sizeof(version), "%d.%d.%d", RELATA_VERSION_MAJOR, RELATA_VERSION_MINOR,
             RELATA_VERSION_PATCH);
    assert_string_equal(relata_version(), version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_many),
        cmocka_unit_test(writes_and_reads_one),
        cmocka_unit_test(loads_relationships),
        cmocka_unit_test(pipelines_ten_thousand),
        cmocka_unit_test(flies_a_thousand_on_a_loop),
        cmocka_unit_test(connects_by_tcp),
        cmocka_unit_test(knows_its_version),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

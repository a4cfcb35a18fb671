#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/engine/engine_inner.h"
#include "protocol/base/check.h"
#include "tests/lib/far_pair.h"

/* Writes to records that are at home elsewhere: what a connection sends in a row
 * looks as if it were done in that order, others wait for nothing; what is judged is
 * judged again when somebody was faster; who leaves takes nothing half-done along.
 * Random sequences are compared with the same ones in memory. */

static struct far_pair pair;

static int setup(void **state)
{
    (void)state;
    far_pair_open(&pair, "far store, writes");
    far_home_move(&pair.home, "person");
    far_home_move(&pair.home, "ticket");
    far_home_move(&pair.home, "skill");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    far_pair_close(&pair);
    return 0;
}

/* ---- Calls ---- */

static void expect(const char *method, const char *params, const char *expected)
{
    char *answer = far_home_call(&pair.home, method, params);
    if (strcmp(answer, expected) != 0) {
        fail_msg("%s %s answers %s, expected %s", method, params, answer, expected);
    }
    free(answer);
}

static void expect_error(const char *method, const char *params, const char *code)
{
    char *answer = far_home_call(&pair.home, method, params);
    size_t size = strlen(code);
    if (strncmp(answer, code, size) != 0 || answer[size] != ':') {
        fail_msg("%s %s answers %s, expected %s", method, params, answer, code);
    }
    free(answer);
}

static void start(struct fixture_call *call, uint64_t origin, const char *method,
                  const char *params)
{
    pair.far.origin = origin;
    fixture_start(&pair.far, call, method, params);
    pair.far.origin = 1;
}

static void turns(void)
{
    while (engine_turn(pair.far.engine, pair.far.now_us)) {
    }
}

/* Ends a call, which must have been answered with this. */
static void end(struct fixture_call *call, const char *expected)
{
    assert_true(call->finished);
    assert_string_equal(call->answer, expected);
    fixture_end(call);
}

/* ---- One by one ---- */

static void test_each_kind(void **state)
{
    (void)state;
    expect("create", "['person', {'id': 1, 'name': 'a', 'level': 1}]",
           "{\"id\":1,\"name\":\"a\",\"team_id\":null,\"level\":1}");
    expect_error("create", "['person', {'id': 1}]", "conflict");
    expect("update", "['person', 1, {'level': 2}]",
           "{\"id\":1,\"name\":\"a\",\"team_id\":null,\"level\":2}");
    expect_error("update", "['person', 2, {'level': 2}]", "not_found");
    expect("upsert", "['person', {'id': 2, 'level': 3}]",
           "{\"id\":2,\"name\":null,\"team_id\":null,\"level\":3}");
    expect("upsert", "['person', {'id': 2, 'name': 'b'}]",
           "{\"id\":2,\"name\":\"b\",\"team_id\":null,\"level\":3}");
    expect("create_many", "['person', [{'id': 3}, {'id': 4}, {'id': 5}]]", "3");
    expect_error("create_many", "['person', [{'id': 6}, {'id': 4}]]", "conflict");
    expect("get", "['person', 6]", "null");
    expect("upsert_many", "['person', [{'id': 6}, {'id': 6, 'name': 'f'}, {'id': 1, 'level': 0}]]",
           "3");
    expect("get_many", "['person', [6, 1], {'select': ['name', 'level']}]",
           "[{\"id\":6,\"name\":\"f\",\"level\":null},{\"id\":1,\"name\":\"a\",\"level\":0}]");
    expect("destroy_many", "['person', [3, 4, 33]]", "2");
    expect("destroy_many", "['person', [33, 34]]", "0");
    expect("destroy", "['person', 5]", "true");
    expect_error("destroy", "['person', 5]", "not_found");
    expect_error("create", "['person', {'id': 'x'}]", "invalid_value");
    expect_error("create", "['person', {'idd': 1}]", "unknown_field");
}

static void test_identities(void **state)
{
    (void)state;
    expect("create_many", "['skill', [{'id': 1, 'code': 'a'}, {'id': 2, 'code': 'b'}]]", "2");
    expect_error("create", "['skill', {'id': 3, 'code': 'b'}]", "conflict");
    expect("get", "['skill', 'b', {'identity': 'code', 'select': []}]", "{\"id\":2}");
    expect("upsert", "['skill', {'code': 'b', 'id': 2, 'team_id': 7}, {'identity': 'code'}]",
           "{\"id\":2,\"code\":\"b\",\"team_id\":7}");
    expect_error("upsert", "['skill', {'code': 'b', 'id': 9}, {'identity': 'code'}]", "conflict");
    expect_error("update", "['skill', 1, {'code': 'b'}]", "conflict");
    /* Within one call a code goes from one record to another. */
    expect("upsert_many", "['skill', [{'id': 1, 'code': 'c'}, {'id': 2, 'code': 'a'}]]", "2");
    expect("get_many", "['skill', ['a', 'b', 'c'], {'identity': 'code', 'select': []}]",
           "[{\"id\":2},null,{\"id\":1}]");
}

/* A condition that looks at records which are elsewhere too, and at near ones. */
static void test_conditions(void **state)
{
    (void)state;
    expect("create", "['team', {'id': 1, 'name': 't', 'level': 4}, {'select': []}]", "{\"id\":1}");
    expect("create", "['person', {'id': 1, 'team_id': 1, 'level': 1}, {'select': []}]",
           "{\"id\":1}");
    expect("create_many",
           "['ticket', [{'id': 1, 'person_id': 1, 'priority': 3}, {'id': 2, 'priority': 1}]]", "2");
    expect("update",
           "['ticket', 1, {'priority': 4}, {'if': 'person.team.level == 4', 'select': []}]",
           "{\"id\":1}");
    expect_error("update", "['ticket', 1, {'priority': 5}, {'if': 'person.team.level == 5'}]",
                 "conflict");
    expect("update",
           "['person', 1, {'level': 2}, {'if': 'exists(tickets, priority == 4)', 'select': []}]",
           "{\"id\":1}");
    expect_error("update", "['person', 1, {'level': 3}, {'if': 'exists(tickets, priority == 3)'}]",
                 "conflict");
    expect("destroy", "['ticket', 1, {'if': 'person.level == 2'}]", "true");
    expect_error("destroy", "['person', 1, {'if': 'exists(tickets, true)'}]", "conflict");
    expect("get", "['person', 1, {'select': ['level']}]", "{\"id\":1,\"level\":2}");
}

/* A write to a record in memory is done in one turn, and cannot wait for records that
 * its condition looks at: it is refused, not done. */
static void test_conditions_that_cannot_wait(void **state)
{
    (void)state;
    expect("create_many", "['team', [{'id': 1, 'name': 't', 'level': 4}]]", "1");
    expect("create_many", "['person', [{'id': 1, 'team_id': 1, 'level': 1}]]", "1");
    expect_error("update", "['team', 1, {'level': 5}, {'if': 'exists(people, level > 0)'}]",
                 "invalid_request");
    expect_error("upsert", "['team', {'id': 1, 'level': 5}, {'if': 'chief.level == 1'}]",
                 "invalid_request");
    expect_error("destroy", "['team', 1, {'if': 'chief.team.level == 4'}]", "invalid_request");
    assert_int_equal(far_home_pending(&pair.home), 0);
    expect("get", "['team', 1, {'select': ['level']}]", "{\"id\":1,\"level\":4}");
    expect("update", "['team', 1, {'level': 5}, {'if': 'level == 4', 'select': []}]", "{\"id\":1}");
}

/* ---- The order of a connection ---- */

/* What comes behind a write on its connection sees it; who else asks does not wait. */
static void test_own_writes_are_seen(void **state)
{
    (void)state;
    struct fixture_call write, other, own, of_other_resource, search, near;
    expect("create_many", "['person', [{'id': 1, 'level': 1}, {'id': 2, 'team_id': 3}]]", "2");
    start(&write, 1, "update", "['person', 1, {'level': 2}, {'select': ['level']}]");
    assert_int_equal(far_home_pending(&pair.home), 1);
    start(&other, 2, "get", "['person', 1, {'select': ['level']}]");
    assert_int_equal(far_home_pending(&pair.home), 2);
    start(&own, 1, "get", "['person', 1, {'select': ['level']}]");
    start(&search, 1, "count", "['person', {'filter': 'id == 1 and level == 2'}]");
    start(&of_other_resource, 1, "get", "['ticket', 1]");
    start(&near, 1, "get", "['team', 1]");
    assert_int_equal(far_home_pending(&pair.home), 3); /* of those the ticket alone */
    assert_true(near.finished);
    turns();
    assert_false(own.finished || search.finished);
    far_home_finish(&pair.home, &own);
    far_home_finish(&pair.home, &search);
    assert_true(write.finished);
    far_home_finish(&pair.home, &other);
    far_home_finish(&pair.home, &of_other_resource);
    end(&write, "{\"id\":1,\"level\":2}");
    end(&own, "{\"id\":1,\"level\":2}");
    end(&search, "1");
    end(&near, "null");
    end(&of_other_resource, "null");
    fixture_end(&other); /* before or after it */
}

/* The shortest way of get does not pass a write of its own connection, but one of
 * others. */
static void test_get_at_once(void **state)
{
    (void)state;
    struct fixture_call write;
    struct buffer out = BUFFER_INIT;
    expect("create", "['person', {'id': 1}, {'select': []}]", "{\"id\":1}");
    pair.home.at_once = 100;
    assert_true(call_get_at_once(pair.far.engine, 1, "person", 6, reader_of("\x01", 1), &out));
    pair.home.at_once = 0;
    assert_false(call_get_at_once(pair.far.engine, 1, "person", 6, reader_of("\x01", 1), &out));
    start(&write, 1, "update", "['person', 1, {'level': 2}, {'select': []}]");
    pair.home.at_once = 100;
    assert_false(call_get_at_once(pair.far.engine, 1, "person", 6, reader_of("\x01", 1), &out));
    assert_true(call_get_at_once(pair.far.engine, 2, "person", 6, reader_of("\x01", 1), &out));
    assert_true(call_get_at_once(pair.far.engine, 1, "team", 4, reader_of("\x01", 1), &out));
    far_home_finish(&pair.home, &write);
    assert_true(call_get_at_once(pair.far.engine, 1, "person", 6, reader_of("\x01", 1), &out));
    end(&write, "{\"id\":1}");
    buffer_release(&out);
}

/* A write that fails lets those go that waited for it. */
static void test_failed_write_lets_go(void **state)
{
    (void)state;
    struct fixture_call write, own;
    start(&write, 1, "update", "['person', 1, {'level': 2}]");
    start(&own, 1, "get", "['person', 1]");
    far_home_finish(&pair.home, &write);
    assert_non_null(strstr(write.answer, "not_found"));
    far_home_finish(&pair.home, &own);
    end(&own, "null");
    fixture_end(&write);
}

/* Held calls leave, are late, or see their write leave. */
static void test_held_calls_leave(void **state)
{
    (void)state;
    struct fixture_call write, first, second, third;
    expect("create", "['person', {'id': 1}, {'select': []}]", "{\"id\":1}");
    start(&write, 1, "update", "['person', 1, {'level': 2}, {'select': []}]");
    start(&first, 1, "get", "['person', 1, {'select': ['level']}]");
    start(&second, 1, "get", "['person', 1, {'timeout_ms': 5}]");
    start(&third, 1, "read", "['person', {'filter': 'id == 1', 'select': ['level']}]");
    assert_int_equal(far_home_pending(&pair.home), 1);
    fixture_end(&first);
    pair.far.now_us += 6000;
    turns();
    assert_true(second.finished && !third.finished);
    assert_non_null(strstr(second.answer, "timeout"));
    fixture_end(&second);
    fixture_end(&write); /* had not been sent: it is not done */
    far_home_finish(&pair.home, &third);
    end(&third, "[{\"id\":1,\"level\":null}]");
}

/* Held writes come in their order, and hold what comes behind them. */
static void test_held_writes(void **state)
{
    (void)state;
    struct fixture_call calls[6];
    start(&calls[0], 1, "create", "['skill', {'id': 1, 'code': 'a'}, {'select': []}]");
    start(&calls[1], 1, "upsert",
          "['skill', {'id': 1, 'code': 'a', 'team_id': 5}, {'identity': 'code'}]");
    start(&calls[2], 1, "destroy", "['skill', 1]");
    start(&calls[3], 1, "create", "['skill', {'id': 2, 'code': 'a'}, {'select': ['code']}]");
    start(&calls[4], 1, "get", "['skill', 'a', {'identity': 'code', 'select': []}]");
    start(&calls[5], 1, "create", "['person', {'id': 1}, {'select': []}]");
    far_home_finish(&pair.home, &calls[4]);
    far_home_finish(&pair.home, &calls[5]);
    end(&calls[0], "{\"id\":1}");
    end(&calls[1], "{\"id\":1,\"code\":\"a\",\"team_id\":5}");
    end(&calls[2], "true");
    end(&calls[3], "{\"id\":2,\"code\":\"a\"}");
    end(&calls[4], "{\"id\":2}");
    end(&calls[5], "{\"id\":1}");
}

/* ---- Others were faster ---- */

/* Somebody else changes the record behind everybody's back. */
static void change(const char *resource, const char *near_method, const char *params)
{
    struct realm *realm = pair.far.engine->realm;
    struct store *face = NULL;
    struct store **place = NULL;
    for (unsigned i = 0; i < realm->schema->resource_count; i++) {
        if (strcmp(realm->schema->resources[i].name, resource) == 0) {
            place = &realm->stores[i];
            face = *place;
        }
    }
    CHECK(place != NULL);
    *place = far_home_table(&pair.home, resource); /* for the length of the call */
    pair.far.origin = 9;
    char *answer = fixture_call(&pair.far, near_method, params);
    pair.far.origin = 1;
    *place = face;
    assert_null(strchr(answer, ':') == NULL ? NULL : strstr(answer, "invalid"));
    free(answer);
}

static void test_judged_again(void **state)
{
    (void)state;
    struct fixture_call write, late;
    expect("create", "['person', {'id': 1, 'level': 1}, {'select': []}]", "{\"id\":1}");
    start(&write, 1, "update",
          "['person', 1, {'name': 'b'}, {'if': 'level < 3', 'select': ['name', 'level']}]");
    assert_true(far_home_deliver(&pair.home)); /* it has read level 1 */
    turns();
    change("person", "update", "['person', 1, {'level': 2}]");
    far_home_finish(&pair.home, &write);
    end(&write, "{\"id\":1,\"name\":\"b\",\"level\":2}");
    assert_int_equal(pair.home.agains, 1);
    start(&late, 1, "update", "['person', 1, {'name': 'c'}, {'if': 'level < 3'}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    change("person", "update", "['person', 1, {'level': 3}]");
    far_home_finish(&pair.home, &late);
    assert_non_null(strstr(late.answer, "conflict: "));
    assert_int_equal(pair.home.agains, 2);
    fixture_end(&late);
    expect("get", "['person', 1, {'select': ['name', 'level']}]",
           "{\"id\":1,\"name\":\"b\",\"level\":3}");
}

/* A record that is created meanwhile is a conflict, one that is destroyed is gone. */
static void test_created_and_destroyed_meanwhile(void **state)
{
    (void)state;
    struct fixture_call create, update;
    start(&create, 1, "create", "['person', {'id': 1}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    change("person", "create", "['person', {'id': 1, 'name': 'theirs'}]");
    far_home_finish(&pair.home, &create);
    assert_non_null(strstr(create.answer, "conflict: "));
    fixture_end(&create);
    start(&update, 1, "update", "['person', 1, {'name': 'mine'}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    change("person", "destroy", "['person', 1]");
    far_home_finish(&pair.home, &update);
    assert_non_null(strstr(update.answer, "not_found: "));
    fixture_end(&update);
}

/* Others are faster each time: it is a conflict at last. */
static void test_always_slower(void **state)
{
    (void)state;
    pair.home.again = 100;
    expect_error("create", "['person', {'id': 1}]", "conflict");
    pair.home.again = 0;
    expect("get", "['person', 1]", "null");
}

/* ---- Leaving ---- */

/* A write that was sent is done all the same, though its caller has left. */
static void test_leaving_while_it_is_done(void **state)
{
    (void)state;
    struct fixture_call write, late;
    start(&write, 1, "create", "['person', {'id': 1, 'name': 'a'}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    assert_int_equal(far_home_pending(&pair.home), 1);
    fixture_end(&write);
    assert_int_equal(far_home_pending(&pair.home), 1);
    assert_true(far_home_deliver(&pair.home));
    expect("get", "['person', 1, {'select': []}]", "{\"id\":1}");
    start(&late, 1, "update", "['person', 1, {'level': 5}, {'timeout_ms': 10}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    pair.far.now_us += 10000;
    turns();
    assert_true(late.finished);
    assert_non_null(strstr(late.answer, "timeout: "));
    fixture_end(&late);
    assert_true(far_home_deliver(&pair.home));
    expect("get", "['person', 1, {'select': ['level']}]", "{\"id\":1,\"level\":5}");
}

static void test_failing_home(void **state)
{
    (void)state;
    struct fixture_call write, own;
    pair.home.failing = 100;
    expect_error("create", "['person', {'id': 1}]", "unavailable");
    start(&write, 1, "create", "['person', {'id': 1}]");
    pair.home.failing = 0;
    assert_true(far_home_deliver(&pair.home));
    turns();
    pair.home.failing = 100;
    start(&own, 1, "get", "['person', 1]");
    far_home_finish(&pair.home, &write);
    pair.home.failing = 0;
    assert_non_null(strstr(write.answer, "unavailable: "));
    far_home_finish(&pair.home, &own);
    end(&own, "null");
    fixture_end(&write);
}

/* The daemon stops in each state of a write, with others held behind it. */
static void test_closing(void **state)
{
    (void)state;
    struct fixture_call write, held, held_write;
    start(&write, 1, "create", "['skill', {'id': 1, 'code': 'a'}]");
    start(&held, 1, "get", "['skill', 1]");
    start(&held_write, 1, "create", "['skill', {'id': 2, 'code': 'b'}]");
    assert_true(far_home_deliver(&pair.home));
    turns();
    engine_close(pair.far.engine);
    assert_true(write.finished && held.finished && held_write.finished);
    assert_non_null(strstr(held_write.answer, "unavailable: "));
    fixture_end(&held_write);
    fixture_end(&held);
    fixture_end(&write);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_each_kind),
        TEST(test_identities),
        TEST(test_conditions),
        TEST(test_conditions_that_cannot_wait),
        TEST(test_own_writes_are_seen),
        TEST(test_get_at_once),
        TEST(test_failed_write_lets_go),
        TEST(test_held_calls_leave),
        TEST(test_held_writes),
        TEST(test_judged_again),
        TEST(test_created_and_destroyed_meanwhile),
        TEST(test_always_slower),
        TEST(test_leaving_while_it_is_done),
        TEST(test_failing_home),
        TEST(test_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

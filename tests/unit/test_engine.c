#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/engine_fixture.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/schema_fixture.h"

/* The engine by its calls, without a daemon: query, loads, rendering, writes,
 * time, and the change of a schema. */

static const char *const yaml =
    "version: 1\n"
    "resources:\n"
    "  team:\n"
    "    fields:\n"
    "      id: integer\n"
    "      name: {type: string, required: true}\n"
    "    identities: {name: [name]}\n"
    "    relationships:\n"
    "      people: {has_many: person, sort: name}\n"
    "  person:\n"
    "    fields:\n"
    "      id: integer\n"
    "      name: string\n"
    "      team_id: integer\n"
    "      threshold: {type: integer, default: 5}\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      tickets: {has_many: ticket}\n"
    "      latest: {has_one: ticket, sort: -at}\n"
    "      urgent: {has_many: ticket, filter: priority > parent.threshold}\n"
    "      newest_two: {has_many: ticket, sort: -at, limit: 2}\n"
    "      skills: {many_to_many: skill, through: person_skill}\n"
    "      above:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and priority > parent.threshold}\n"
    "      mine:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and priority > actor.level}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      person_id: integer\n"
    "      priority: {type: integer, default: 3}\n"
    "      status: {type: {enum: [open, closed]}, default: open}\n"
    "      at: datetime\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n"
    "  skill:\n"
    "    fields: {id: integer, name: string}\n"
    "  person_skill:\n"
    "    primary_key: [person_id, skill_id]\n"
    "    fields: {person_id: integer, skill_id: integer}\n";

static struct engine_fixture fixture;

static int set_up(void **state)
{
    (void)state;
    engine_fixture_open(&fixture, yaml);
    fixture_expect(&fixture, "create_many",
                   "['team', [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}]]", "2");
    fixture_expect(&fixture, "create_many",
                   "['person', [{'id': 1, 'name': 'Ann', 'team_id': 1},"
                   " {'id': 2, 'name': 'Bob', 'team_id': 1, 'threshold': 1},"
                   " {'id': 3, 'name': null}]]",
                   "3");
    fixture_expect(
        &fixture, "create_many",
        "['ticket', ["
        "{'id': 1, 'person_id': 1, 'priority': 9, 'at': '2026-01-01'},"
        "{'id': 2, 'person_id': 1, 'priority': 4, 'at': '2026-01-03'},"
        "{'id': 3, 'person_id': 2, 'priority': 2, 'at': '2026-01-02', 'status': 'closed'},"
        "{'id': 4, 'person_id': 1, 'priority': 6, 'at': '2026-01-02'},"
        "{'id': 5, 'priority': 7}]]",
        "5");
    fixture_expect(&fixture, "create_many", "['skill', [{'id': 1, 'name': 'x'}, {'id': 2}]]", "2");
    fixture_expect(
        &fixture, "create_many",
        "['person_skill', [{'person_id': 1, 'skill_id': 2}, {'person_id': 1, 'skill_id': 1}]]",
        "2");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    engine_fixture_close(&fixture);
    return 0;
}

#define EXPECT(method, params, expected)   fixture_expect(&fixture, method, params, expected)
#define EXPECT_ERROR(method, params, code) fixture_expect_error(&fixture, method, params, code)

static void test_get(void **state)
{
    (void)state;
    EXPECT("get", "['team', 1]", "{'id': 1, 'name': 'a'}");
    EXPECT("get", "['team', 9]", "null");
    EXPECT("get", "['team', 'b', {'identity': 'name'}]", "{'id': 2, 'name': 'b'}");
    EXPECT("get", "['person', 1, {'select': ['name']}]", "{'id': 1, 'name': 'Ann'}");
    EXPECT("get", "['person', 1, {'shape': 'rows', 'select': ['name']}]",
           "{'columns': ['id', 'name'], 'data': [1, 'Ann']}");
    EXPECT("get", "['person_skill', [1, 2]]", "{'person_id': 1, 'skill_id': 2}");
    EXPECT("get", "['person_skill', {'skill_id': 2, 'person_id': 1}]",
           "{'person_id': 1, 'skill_id': 2}");
    EXPECT_ERROR("get", "['team']", "invalid_value");
    EXPECT_ERROR("get", "['team', 'x']", "invalid_value");
    EXPECT_ERROR("get", "['nothing', 1]", "unknown_resource");
    EXPECT_ERROR("get", "['team', 1, {'colour': 1}]", "invalid_request");
    EXPECT_ERROR("get", "['team', 1, {'if': 'true'}]", "invalid_request");
    EXPECT_ERROR("get", "['team', 1, {'select': ['nam']}]", "unknown_field");
    EXPECT_ERROR("get", "['team', 1, {'identity': 'nam'}]", "invalid_request");
    EXPECT_ERROR("get", "['team', 1, {'shape': 'round'}]", "invalid_request");
}

static void test_get_many(void **state)
{
    (void)state;
    EXPECT("get_many", "['skill', [2, 9, 1, 2]]",
           "[{'id': 2, 'name': null}, null, {'id': 1, 'name': 'x'}, {'id': 2, 'name': null}]");
    EXPECT("get_many", "['skill', []]", "[]");
    EXPECT("get_many", "['person', [2, 1, 2], {'select': [], 'load': 'team', 'shape': 'rows'}]",
           "{'columns': ['id', ['team', 'one', ['id', 'name']]],"
           " 'data': [[2, [1, 'a']], [1, [1, 'a']], [2, [1, 'a']]]}");
    EXPECT_ERROR("get_many", "['skill', 3]", "invalid_request");
    EXPECT_ERROR("get_many", "['skill', [1, 'x']]", "invalid_value");
}

static void test_read_and_count(void **state)
{
    (void)state;
    EXPECT("read", "['team']", "[{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}]");
    EXPECT("read",
           "['ticket', {'filter': 'priority > $p', 'params': {'p': 5}, 'sort': '-priority',"
           " 'select': [], 'limit': 2}]",
           "[{'id': 1}, {'id': 5}]");
    EXPECT("read", "['ticket', {'filter': {'person': {'name': 'Bob'}}, 'select': ['priority']}]",
           "[{'id': 3, 'priority': 2}]");
    EXPECT("read", "['person', {'filter': \"exists(tickets, status == 'closed')\", 'select': []}]",
           "[{'id': 2}]");
    EXPECT("read", "['ticket', {'offset': 3, 'select': []}]", "[{'id': 4}, {'id': 5}]");
    EXPECT("read", "['ticket', {'limit': 0}]", "[]");
    EXPECT("count", "['ticket', {'filter': {'priority': {'gte': 4}}, 'limit': 1}]", "4");
    EXPECT("count", "['ticket']", "5");
    EXPECT_ERROR("read", "['ticket', {'limit': -1}]", "invalid_request");
    EXPECT_ERROR("read", "['ticket', {'page': 1}]", "invalid_request");
    EXPECT_ERROR("read", "['ticket', {'as': 'x'}]", "invalid_request");
    EXPECT_ERROR("read", "['ticket', {'filter': 'prio > 1'}]", "invalid_filter");
    EXPECT_ERROR("read", "['ticket', {'sort': 'prio'}]", "invalid_filter");
    EXPECT_ERROR("read", "['ticket', {'load': 'person'}, {'load': 'person'}]", "invalid_request");
}

static void test_load(void **state)
{
    (void)state;
    EXPECT("load", "['person', [1, 2, 3, 9], 'above', {'query': {'select': []}}]",
           "[[{'id': 1}, {'id': 4}], [{'id': 3}], [], null]");
    EXPECT("load", "['person', [2, 1, 2], 'team']",
           "[{'id': 1, 'name': 'a'}, {'id': 1, 'name': 'a'}, {'id': 1, 'name': 'a'}]");
    EXPECT("load", "['person', [1, 3], ['latest', 'team'], {'shape': 'rows'}]",
           "{'columns': [['latest', 'one', ['id', 'person_id', 'priority', 'status', 'at']],"
           "             ['team', 'one', ['id', 'name']]],"
           " 'data': [[[2, 1, 4, 'open', '2026-01-03T00:00:00Z'], [1, 'a']], [null, null]]}");
    EXPECT("load",
           "['person', [1], {'skills': {'sort': '-id', 'limit': 1}, 'urgent': {'select': []}}]",
           "[{'skills': [{'id': 2, 'name': null}], 'urgent': [{'id': 1}, {'id': 4}]}]");
    EXPECT_ERROR("load", "['person', [1]]", "invalid_request");
    EXPECT_ERROR("load", "['person', [1], 'teams']", "unknown_relationship");
    EXPECT_ERROR("load", "['person', [1], ['team'], {'query': {}}]", "invalid_request");
    EXPECT_ERROR("load", "['person', 1, 'team']", "invalid_request");
}

static void test_load_queries(void **state)
{
    (void)state;
    EXPECT("load", "['person', [1], 'newest_two', {'query': {'select': []}}]",
           "[[{'id': 2}, {'id': 4}]]");
    EXPECT("load",
           "['person', [1], 'newest_two', {'query': {'select': [], 'limit': 1, 'offset': 1}}]",
           "[[{'id': 4}]]");
    EXPECT("load",
           "['person', [1], 'newest_two', {'query': {'select': [], 'limit': 7, 'sort': 'id'}}]",
           "[[{'id': 1}, {'id': 2}]]");
    EXPECT("load", "['person', [1], 'latest', {'query': {'select': [], 'filter': 'priority > 4'}}]",
           "[{'id': 4}]");
    EXPECT("load",
           "['person', [1, 2], 'tickets',"
           " {'query': {'select': [], 'filter': 'priority > parent.threshold'}}]",
           "[[{'id': 1}, {'id': 4}], [{'id': 3}]]");
    EXPECT("load",
           "['team', [1, 2], {'people': {'select': [], 'load': {'tickets': {'select': [],"
           " 'load': {'person': {'select': ['name']}}}}}}]",
           "[{'people': [{'id': 1, 'tickets': ["
           "{'id': 1, 'person': {'id': 1, 'name': 'Ann'}},"
           "{'id': 2, 'person': {'id': 1, 'name': 'Ann'}},"
           "{'id': 4, 'person': {'id': 1, 'name': 'Ann'}}]},"
           "{'id': 2, 'tickets': [{'id': 3, 'person': {'id': 2, 'name': 'Bob'}}]}]},"
           "{'people': []}]");
    EXPECT("get",
           "['person', 1, {'select': [], 'load': [{'tickets': {'as': 'first', 'limit': 1, "
           "'select': []}},"
           " {'tickets': {'as': 'last', 'sort': '-id', 'limit': 1, 'select': []}}]}]",
           "{'id': 1, 'first': [{'id': 1}], 'last': [{'id': 4}]}");
    EXPECT_ERROR("get", "['person', 1, {'load': ['tickets', 'tickets']}]", "invalid_request");
    EXPECT_ERROR("get", "['person', 1, {'load': {'tickets': {'as': 'name'}}}]", "invalid_request");
}

/* The actor's facts are part of what a batch is shown: callers who differ do
 * not share. */
static void test_actor(void **state)
{
    (void)state;
    struct fixture_call calls[3];
    const char *levels[] = {"{'query': {'select': []}, 'actor': {'level': 5}}",
                            "{'query': {'select': []}, 'actor': {'level': 7}}",
                            "{'query': {'select': []}}"};
    const char *answers[] = {"[[{\"id\":1},{\"id\":4}]]", "[[{\"id\":1}]]", "[[]]"};
    for (int i = 0; i < 3; i++) {
        char params[200];
        snprintf(params, sizeof params, "['person', [1], 'mine', %s]", levels[i]);
        fixture_start(&fixture, &calls[i], "load", params);
    }
    for (int i = 0; i < 3; i++) {
        assert_string_equal(fixture_finish(&fixture, &calls[i]), answers[i]);
        fixture_end(&calls[i]);
    }
    EXPECT("count", "['ticket', {'filter': 'priority > actor.level'}, {'actor': {'level': 6}}]",
           "2");
    EXPECT("count", "['ticket', {'filter': \"tenant == 'x'\"}, {'tenant': 'x'}]", "5");
    EXPECT_ERROR("count", "['ticket', {}, {'actor': 1}]", "invalid_request");
    EXPECT_ERROR("count", "['ticket', {}, {'tenant': []}]", "invalid_request");
}

static void test_load_depth(void **state)
{
    (void)state;
    struct buffer params = BUFFER_INIT;
    buffer_printf(&params, "['person', [1], {'tickets': ");
    for (int i = 0; i < 4; i++) {
        buffer_printf(&params,
                      "{'select': [], 'load': {'person': {'select': [], 'load': {'tickets': ");
    }
    buffer_printf(&params, "null");
    for (int i = 0; i < 4; i++) {
        buffer_printf(&params, "}}}}");
    }
    buffer_printf(&params, "}]");
    buffer_byte(&params, 0);
    EXPECT_ERROR("load", (char *)params.bytes, "too_large");
    buffer_release(&params);
}

static void test_writes(void **state)
{
    (void)state;
    EXPECT("create", "['person', {'id': 4, 'name': 'Dan'}]",
           "{'id': 4, 'name': 'Dan', 'team_id': null, 'threshold': 5}");
    EXPECT_ERROR("create", "['person', {'id': 4}]", "conflict");
    EXPECT_ERROR("create", "['person', {'name': 'x'}]", "invalid_value");
    EXPECT_ERROR("create", "['person', {'id': 5, 'nam': 'x'}]", "unknown_field");
    EXPECT_ERROR("create", "['team', {'id': 5, 'name': 'a'}]", "conflict");
    EXPECT("upsert", "['person', {'id': 4, 'team_id': 2}, {'select': ['team_id', 'name']}]",
           "{'id': 4, 'name': 'Dan', 'team_id': 2}");
    EXPECT("upsert", "['team', {'id': 2, 'name': 'b'}, {'identity': 'name'}]",
           "{'id': 2, 'name': 'b'}");
    EXPECT_ERROR("upsert", "['team', {'id': 3, 'name': 'b'}, {'identity': 'name'}]", "conflict");
    EXPECT_ERROR("upsert", "['team', {'name': 'b'}]", "invalid_value");
    EXPECT("update", "['person', 4, {'threshold': null}]",
           "{'id': 4, 'name': 'Dan', 'team_id': 2, 'threshold': null}");
    EXPECT("update", "['person', 4, {'id': 4, 'threshold': 1}, {'shape': 'rows', 'select': []}]",
           "{'columns': ['id'], 'data': [4]}");
    EXPECT_ERROR("update", "['person', 4, {'id': 5}]", "invalid_value");
    EXPECT_ERROR("update", "['person', 99, {'name': 'x'}]", "not_found");
    EXPECT("load", "['team', [2], 'people', {'query': {'select': []}}]", "[[{'id': 4}]]");
    EXPECT("destroy", "['person', 4]", "true");
    EXPECT_ERROR("destroy", "['person', 4]", "not_found");
    EXPECT("load", "['team', [2], 'people']", "[[]]");
    EXPECT("invalidate", "['person']", "0");
    EXPECT("invalidate", "['person.above', [1, 2]]", "0");
    EXPECT_ERROR("invalidate", "['person.abov']", "unknown_relationship");
}

static void test_conditions(void **state)
{
    (void)state;
    EXPECT(
        "update", "['ticket', 1, {'priority': 8}, {'if': 'priority == $p', 'params': {'p': 9}}]",
        "{'id': 1, 'person_id': 1, 'priority': 8, 'status': 'open', 'at': '2026-01-01T00:00:00Z'}");
    EXPECT_ERROR("update", "['ticket', 1, {'priority': 7}, {'if': 'priority == 9'}]", "conflict");
    EXPECT_ERROR("destroy", "['ticket', 1, {'if': \"person.name == 'Bob'\"}]", "conflict");
    EXPECT("destroy",
           "['ticket', 1, {'if': \"exists(person.tickets, true) or person.name == 'Ann'\"}]",
           "true");
    EXPECT("upsert", "['skill', {'id': 9}, {'if': \"name == 'x'\"}]", "{'id': 9, 'name': null}");
    EXPECT_ERROR("upsert", "['skill', {'id': 9}, {'if': \"name == 'x'\"}]", "conflict");
    EXPECT_ERROR("update", "['ticket', 2, {}, {'params': {}}]", "invalid_request");
}

static void test_many(void **state)
{
    (void)state;
    EXPECT_ERROR("create_many", "['skill', [{'id': 5}, {'id': 6}, {'id': 5}]]", "conflict");
    EXPECT("get", "['skill', 6]", "null");
    EXPECT("upsert_many", "['skill', [{'id': 5, 'name': 'a'}, {'id': 6}, {'id': 5, 'name': 'b'}]]",
           "3");
    EXPECT("get_many", "['skill', [5, 6]]", "[{'id': 5, 'name': 'b'}, {'id': 6, 'name': null}]");
    EXPECT("destroy_many", "['skill', [5, 77, 6, 5]]", "2");
    EXPECT_ERROR("create_many", "['skill', {'id': 1}]", "invalid_request");
    EXPECT("create_many", "['skill', []]", "0");
}

/* Concurrent loads become one batch, equal keys are asked for once. */
static void test_coalescing(void **state)
{
    (void)state;
    struct fixture_call calls[6];
    for (int i = 0; i < 6; i++) {
        fixture_start(&fixture, &calls[i], "load",
                      i % 2 == 0 ? "['person', [1, 2], 'above', {'query': {'select': []}}]"
                                 : "['person', [2], 'above', {'query': {'limit': 0}}]");
        assert_false(calls[i].finished);
    }
    fixture_turn(&fixture);
    for (int i = 0; i < 6; i++) {
        assert_true(calls[i].finished);
        assert_string_equal(calls[i].answer,
                            i % 2 == 0 ? "[[{\"id\":1},{\"id\":4}],[{\"id\":3}]]" : "[[]]");
        fixture_end(&calls[i]);
    }
    struct buffer stats = BUFFER_INIT;
    write_map(&stats, ENGINE_STATS_PAIRS);
    engine_stats(fixture.engine, &stats);
    struct buffer json = BUFFER_INIT;
    struct reader in = reader_of(stats.bytes, stats.size);
    msgpack_to_json(&in, &json);
    buffer_byte(&json, 0);
    assert_non_null(
        strstr((char *)json.bytes,
               "\"person.above\":{\"loads\":6,\"keys\":9,\"unique_keys\":2,\"batches\":1,"
               "\"groups\":1,\"joined\":7"));
    buffer_release(&stats);
    buffer_release(&json);
}

/* A long read is sliced, does not hold up others, and sees its first moment. */
static void test_slices(void **state)
{
    (void)state;
    struct buffer params = BUFFER_INIT;
    for (int chunk = 0; chunk < 5; chunk++) {
        params.size = 0;
        buffer_printf(&params, "['skill', [");
        for (int i = 0; i < 10000; i++) {
            buffer_printf(&params, "%s{'id': %d, 'name': 'n%d'}", i > 0 ? "," : "",
                          100 + chunk * 10000 + i, i % 7);
        }
        buffer_printf(&params, "]]");
        buffer_byte(&params, 0);
        EXPECT("create_many", (char *)params.bytes, "10000");
    }
    buffer_release(&params);
    struct fixture_call call;
    fixture_start(&fixture, &call, "count", "['skill', {'filter': \"ends_with(name, '3')\"}]");
    assert_false(call.finished);
    EXPECT("destroy_many", "['skill', [103, 110, 49999]]", "3");
    EXPECT("create", "['skill', {'id': 99, 'name': 'z3'}]", "{'id': 99, 'name': 'z3'}");
    unsigned before = fixture.turns;
    assert_string_equal(fixture_finish(&fixture, &call), "7145");
    assert_true(fixture.turns > before);
    fixture_end(&call);
    char *answer = fixture_call(&fixture, "read", "['skill', {'filter': 'id < 5100'}]");
    assert_true(strlen(answer) > 100000);
    free(answer);
}

static void test_timeout_and_close(void **state)
{
    (void)state;
    struct fixture_call call;
    struct fixture_call other;
    fixture_start(&fixture, &call, "load", "['person', [1], 'above', {'timeout_ms': 5}]");
    fixture.now_us += 6000;
    assert_non_null(strstr(fixture_finish(&fixture, &call), "timeout: "));
    fixture_end(&call);
    fixture_start(&fixture, &call, "load", "['person', [1], 'above']");
    fixture_start(&fixture, &other, "load", "['person', [1], 'above']");
    fixture_end(&other); /* dropped in mid-way: its connection has gone */
    engine_close(fixture.engine);
    assert_true(call.finished);
    assert_non_null(strstr(call.answer, "unavailable: "));
    fixture_end(&call);
}

static void change_schema(const char *from, const char *to, int expected)
{
    char text[4096];
    const char *at = strstr(yaml, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - yaml), yaml, to, at + strlen(from));
    struct schema *schema = schema_fixture(text);
    struct error error = ERROR_INIT;
    assert_int_equal(engine_use_schema(fixture.engine, schema, &error), expected);
    schema_put(schema);
}

static void test_change_of_schema(void **state)
{
    (void)state;
    struct fixture_call call;
    fixture_start(&fixture, &call, "load", "['person', [1], 'above', {'query': {'select': []}}]");
    change_schema("fields: {id: integer, name: string}",
                  "fields: {id: integer, level: {type: integer, default: 2}, name: string}", 0);
    assert_string_equal(fixture_finish(&fixture, &call), "[[{\"id\":1},{\"id\":4}]]");
    fixture_end(&call);
    EXPECT("get", "['skill', 1]", "{'id': 1, 'level': 2, 'name': 'x'}");
    EXPECT("load", "['person', [1], 'above', {'query': {'select': []}}]",
           "[[{'id': 1}, {'id': 4}]]");
    EXPECT("update", "['person', 2, {'name': 'Rob'}, {'select': ['name']}]",
           "{'id': 2, 'name': 'Rob'}");
    change_schema("name: string\n      team_id", "name: integer\n      team_id",
                  -CODE_INVALID_REQUEST);
    change_schema("      status: {type: {enum: [open, closed]}, default: open}\n", "",
                  -CODE_INVALID_REQUEST);
    EXPECT("get", "['person', 2, {'select': ['name'], 'load': {'team': null}}]",
           "{'id': 2, 'name': 'Rob', 'team': {'id': 1, 'name': 'a'}}");
}

/* Whatever allocation fails, the call answers an error, and the next works. */
static void test_without_memory(void **state)
{
    (void)state;
    static const char *const calls[][2] = {
        {"load", "['team', [1], {'people': {'load': ['above', 'latest', 'skills']}}]"},
        {"read", "['ticket', {'filter': 'person.threshold == 5', 'sort': 'person.name,-at'}]"},
        {"create_many", "['skill', [{'id': 50}, {'id': 51}]]"},
        {"get", "['person', 3, {'load': {'tickets': {'load': {'person': {'load': 'team'}}}}}]"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        bool failed = true;
        for (long n = 0; failed; n++) {
            assert_true(n < 10000);
            struct fixture_call call;
            heap_fail_at(n);
            fixture_start(&fixture, &call, calls[i][0], calls[i][1]);
            fixture_finish(&fixture, &call);
            failed = heap_failed();
            heap_fail_at(-1);
            if (failed) {
                EXPECT("get", "['team', 1]", "{'id': 1, 'name': 'a'}");
            }
            fixture_end(&call);
            /* Both or none, whatever the answer could say. */
            char *written = fixture_call(&fixture, "destroy_many", "['skill', [50, 51]]");
            assert_true(strcmp(written, "0") == 0 || (i == 2 && strcmp(written, "2") == 0));
            assert_true(failed || i != 2 || strcmp(written, "2") == 0);
            free(written);
        }
    }
}

/* A turn that says that it has no more to do has begun no load either, however
 * deep they nest: nothing would wake the loop for it. */
static void test_turns_leave_nothing(void **state)
{
    (void)state;
    static const char *const params[] = {
        "['person', {'load': {'tickets': {'load': {'person': {'load': 'team'}}}}}]",
        "['person', {'filter': 'threshold >= 0', 'load': {'urgent': {'filter': 'priority > 0',"
        " 'load': {'person': {'load': 'team'}}}}}]",
    };
    for (size_t i = 0; i < ARRAY_COUNT(params); i++) {
        struct fixture_call call;
        fixture_start(&fixture, &call, "read", params[i]);
        while (engine_turn(fixture.engine, fixture.now_us)) {
        }
        assert_true(call.finished);
        assert_null(strstr(call.answer, ": no "));
        fixture_end(&call);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_get),
        TEST(test_get_many),
        TEST(test_read_and_count),
        TEST(test_load),
        TEST(test_load_queries),
        TEST(test_actor),
        TEST(test_load_depth),
        TEST(test_writes),
        TEST(test_conditions),
        TEST(test_many),
        TEST(test_coalescing),
        TEST(test_slices),
        TEST(test_turns_leave_nothing),
        TEST(test_timeout_and_close),
        TEST(test_change_of_schema),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

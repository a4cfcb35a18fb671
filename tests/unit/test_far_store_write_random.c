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
#include "protocol/base/heap.h"
#include "tests/lib/far_pair.h"
#include "tests/lib/far_store_inner.h"

/* Random writes and reads of one connection, sent in a row without waiting, on
 * resources that are at home elsewhere or not: each answers what it does where all is
 * in memory and done one by one. And writes that fail, are late or are left alone:
 * each is done whole or not at all. */

enum { WORLDS = 12, WINDOWS = 40, WRITES_MAX = 6, READS_MAX = 4, CALLS_MAX = 10 };

struct asked {
    struct fixture_call call;
    char params[FAR_PARAMS_MAX];
    const char *method;
    char *expected;
};

static struct asked asked[CALLS_MAX];

/* ---- Random writes ---- */

struct maker {
    struct random *random;
    char *out;
    size_t size;
};

static void put(struct maker *maker, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct maker *maker, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(maker->out + maker->size, FAR_PARAMS_MAX - maker->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && maker->size + (size_t)size < FAR_PARAMS_MAX);
    maker->size += (size_t)size;
}

static unsigned below(struct maker *maker, unsigned count)
{
    return (unsigned)random_below(maker->random, count);
}

enum { PERSON, TICKET, SKILL, PERSON_SKILL, NOTE, TEAM, RESOURCES };

static const struct {
    const char *name;
    const char *key;       /* with two numbers */
    const char *each;      /* the key's fields, the same */
    const char *fields[4]; /* with one number */
    const char *conditions[4];
} shapes[RESOURCES] = {
    [PERSON] = {"person",
                "%u",
                "'id': %u",
                {"'name': 'p%u'", "'team_id': %u", "'level': %u", "'level': null"},
                {"level < %u", "team.level >= %u", "exists(tickets, priority > %u)",
                 "exists(skills, id == %u)"}},
    [TICKET] = {"ticket",
                "%u",
                "'id': %u",
                {"'person_id': %u", "'priority': %u", "'subject': 's%u'", "'status': 'open'"},
                {"priority > %u", "person.level < %u", "person.team.level < %u",
                 "exists(person.tickets, id > %u)"}},
    [SKILL] = {"skill",
               "%u",
               "'id': %u",
               {"'code': 'c%u'", "'team_id': %u", "'code': null", "'code': 'd%u'"},
               {"team_id > %u", "is_nil(code)", "exists(people, level > %u)", "team.level > %u"}},
    [PERSON_SKILL] = {"person_skill",
                      "[%u, %u]",
                      "'person_id': %u, 'skill_id': %u",
                      {"'since': '2026-01-0%u'", "'since': null", NULL},
                      {"is_nil(since)", "person.level > %u", NULL}},
    [NOTE] = {"note",
              "'n%u'",
              "'id': 'n%u'",
              {"'text': 'x%u'", "'skill_id': %u", "'text': null", NULL},
              {"skill_id > %u", "skill.team.level > %u", NULL}},
    [TEAM] = {"team",
              "%u",
              "'id': %u",
              {"'name': 't%u'", "'level': %u", NULL},
              {"level < %u", "exists(people, level > %u)", NULL}},
};

#define CHOOSE(maker, list) choose(maker, list, ARRAY_COUNT(list))

static const char *choose(struct maker *maker, const char *const *list, unsigned most)
{
    unsigned count = 0;
    while (count < most && list[count] != NULL) {
        count++;
    }
    return list[below(maker, count)];
}

/* The pattern with its numbers, of which it has at most two. */
static void put_pattern(struct maker *maker, const char *pattern, unsigned first, unsigned second)
{
    for (const char *at = pattern; *at != '\0'; at++) {
        if (at[0] == '%' && at[1] == 'u') {
            put(maker, "%u", first);
            first = second;
            at++;
        } else {
            put(maker, "%c", *at);
        }
    }
}

static void put_key(struct maker *maker, unsigned resource)
{
    put_pattern(maker, shapes[resource].key, 1 + below(maker, 5), 1 + below(maker, 3));
}

static void put_fields(struct maker *maker, unsigned resource, const char *separator)
{
    const char *last = NULL;
    for (unsigned i = 1 + below(maker, 2); i > 0; i--) {
        const char *field = CHOOSE(maker, shapes[resource].fields);
        /* No field twice. */
        if (last == NULL || strncmp(last, field, 6) != 0) {
            put(maker, "%s", separator);
            put_pattern(maker, field, 1 + below(maker, 6), 0);
            separator = ", ";
            last = field;
        }
    }
}

static void put_record(struct maker *maker, unsigned resource)
{
    put(maker, "{");
    put_pattern(maker, shapes[resource].each, 1 + below(maker, 5), 1 + below(maker, 3));
    put_fields(maker, resource, ", ");
    put(maker, "}");
}

static void put_condition(struct maker *maker, unsigned resource)
{
    if (below(maker, 3) == 0) {
        put(maker, ", {'if': '");
        put_pattern(maker, CHOOSE(maker, shapes[resource].conditions), below(maker, 6), 0);
        put(maker, "'}");
    }
}

static void put_list(struct maker *maker, unsigned resource,
                     void (*put_one)(struct maker *, unsigned))
{
    unsigned count = below(maker, 4);
    put(maker, "[");
    for (unsigned i = 0; i < count; i++) {
        put(maker, "%s", i > 0 ? ", " : "");
        put_one(maker, resource);
    }
    put(maker, "]");
}

static const char *random_write(struct random *random, char params[FAR_PARAMS_MAX])
{
    static const char *const methods[] = {"create",      "upsert",      "update",      "destroy",
                                          "create_many", "upsert_many", "destroy_many"};
    struct maker maker = {.random = random, .out = params};
    unsigned resource = below(&maker, RESOURCES);
    unsigned method = below(&maker, ARRAY_COUNT(methods));
    put(&maker, "['%s', ", shapes[resource].name);
    switch (method) {
    case 0:
        put_record(&maker, resource);
        break;
    case 1:
        put_record(&maker, resource);
        put_condition(&maker, resource);
        break;
    case 2:
        put_key(&maker, resource);
        put(&maker, ", {");
        put_fields(&maker, resource, "");
        put(&maker, "}");
        put_condition(&maker, resource);
        break;
    case 3:
        put_key(&maker, resource);
        put_condition(&maker, resource);
        break;
    case 6:
        put_list(&maker, resource, put_key);
        break;
    default:
        put_list(&maker, resource, put_record);
        break;
    }
    put(&maker, "]");
    return methods[method];
}

/* ---- Compared with memory ---- */

static void go_on(struct far_pair *pair)
{
    if (random_below(&pair->random, 2) == 0) {
        fixture_turn(&pair->far);
    }
    for (uint64_t most = random_below(&pair->random, 4); most > 0; most--) {
        far_home_deliver(&pair->home);
    }
}

/* A write to a near resource whose condition looks at others, which may be far: it is
 * refused, since it cannot wait. */
static bool cannot_wait(const struct far_pair *pair, const char *params)
{
    const struct realm *realm = pair->far.engine->realm;
    const char *condition = strstr(params, "'if'");
    if (condition == NULL || (strchr(condition, '.') == NULL && !strstr(condition, "exists"))) {
        return false;
    }
    for (unsigned i = 0; i < realm->schema->resource_count; i++) {
        const struct resource *resource = &realm->schema->resources[i];
        if (strncmp(params + 2, resource->name, resource->name_size) == 0 &&
            params[2 + resource->name_size] == '\'') {
            return !realm->stores[i]->remote;
        }
    }
    return false;
}

static void ask(struct far_pair *pair, struct asked *one, bool writes)
{
    do {
        one->method = writes ? random_write(&pair->random, one->params)
                             : far_random_read(&pair->random, one->params);
    } while (writes && cannot_wait(pair, one->params));
    one->expected = fixture_call(&pair->near, one->method, one->params);
    fixture_start(&pair->far, &one->call, one->method, one->params);
}

static void finish(struct far_pair *pair, size_t count)
{
    for (unsigned i = 0; i < 100000; i++) {
        bool all = true;
        for (size_t j = 0; j < count; j++) {
            all &= asked[j].call.finished;
        }
        if (all) {
            return;
        }
        go_on(pair);
    }
    for (size_t i = 0; i < count; i++) {
        print_error("%s %s: %s\n", asked[i].method, asked[i].params,
                    asked[i].call.finished ? asked[i].call.answer : "not answered");
    }
    fail_msg("%zu answers are out", far_home_pending(&pair->home));
}

/* The same error, in whatever words. */
static bool same(const char *answer, const char *expected)
{
    const char *end = strstr(expected, ": ");
    bool error = end != NULL && expected[0] >= 'a' && expected[0] <= 'z';
    return error ? strncmp(answer, expected, (size_t)(end + 1 - expected)) == 0
                 : strcmp(answer, expected) == 0;
}

static void compare(struct far_pair *pair, const struct asked *one)
{
    const char *answer = one->call.answer;
    pair->refused += far_is_refused(answer);
    pair->compared++;
    if (!far_is_refused(answer) && !same(answer, one->expected)) {
        for (const struct asked *before = asked; before <= one; before++) {
            print_error("%s %s\n  answers  %s\n  expected %s\n", before->method, before->params,
                        before->call.answer, before->expected);
        }
        for (size_t i = 0; i < pair->home.store_count; i++) {
            print_error("  elsewhere: %s\n", pair->home.stores[i]->store.resource->name);
        }
        fail();
    }
}

/* Several writes and then reads. No write comes after what reads, and so after a
 * condition: who was sent before a write may see it all the same. */
static void run_window(struct far_pair *pair)
{
    size_t writes = 1 + (size_t)random_below(&pair->random, WRITES_MAX);
    size_t count = 0;
    bool reads = false;
    for (; count < writes && !reads; count++) {
        ask(pair, &asked[count], true);
        reads = strstr(asked[count].params, "'if'") != NULL;
        if (random_below(&pair->random, 2) == 0) {
            go_on(pair);
        }
    }
    for (uint64_t more = random_below(&pair->random, READS_MAX + 1); more > 0; more--) {
        ask(pair, &asked[count++], false);
    }
    finish(pair, count);
    for (size_t i = 0; i < count; i++) {
        compare(pair, &asked[i]);
    }
    for (size_t i = 0; i < count; i++) {
        fixture_end(&asked[i].call);
        free(asked[i].expected);
    }
}

/* All records of a resource, as JSON. */
static char *table_of(struct engine_fixture *fixture, struct store *table, const char *resource)
{
    struct realm *realm = fixture->engine->realm;
    char params[64];
    snprintf(params, sizeof(params), "['%s', {}]", resource);
    unsigned position = table->resource->position;
    struct store *face = realm->stores[position];
    realm->stores[position] = table;
    char *answer = fixture_call(fixture, "read", params);
    realm->stores[position] = face;
    return answer;
}

static void compare_tables(struct far_pair *pair)
{
    for (unsigned i = 0; far_resources[i] != NULL; i++) {
        char params[64];
        snprintf(params, sizeof(params), "['%s', {}]", far_resources[i]);
        char *near = fixture_call(&pair->near, "read", params);
        char *far =
            table_of(&pair->far, far_home_table(&pair->home, far_resources[i]), far_resources[i]);
        assert_string_equal(far, near);
        free(near);
        free(far);
    }
}

static void test_same_as_one_by_one(void **state)
{
    (void)state;
    struct far_pair pair;
    uint64_t agains = 0, writes = 0;
    for (unsigned world = 0; world < WORLDS; world++) {
        far_pair_open(&pair, "far store, random writes");
        far_pair_fill(&pair);
        far_pair_move(&pair, world % 3 == 0 ? 100 : 60);
        pair.home.at_once = world % 2 * 40;
        pair.home.again = world % 4 < 2 ? 15 : 0;
        for (unsigned window = 0; window < WINDOWS; window++) {
            run_window(&pair);
        }
        compare_tables(&pair);
        assert_true(pair.compared > 4 * pair.refused);
        agains += pair.home.agains;
        writes += pair.home.writes;
        far_pair_close(&pair);
    }
    assert_true(agains > WORLDS && writes > WORLDS * WINDOWS / 2);
}

/* ---- What goes wrong ---- */

enum { BAD_ROUNDS = 400, PAIRS = 6 };

/* Skills 2n and 2n + 1 are only written together: both are there or none is. */
static void ask_pair(struct far_pair *pair, struct asked *one)
{
    static const char *const formats[] = {
        "['skill', [{'id': %u, 'code': 'p%u'}, {'id': %u, 'code': 'q%u'}]]",
        "['skill', [{'id': %u, 'code': 'p%u'}, {'id': %u, 'code': 'q%u'}]]",
        "['skill', [%u, 1000%u, %u, 1000%u]]",
    };
    static const char *const methods[] = {"create_many", "upsert_many", "destroy_many"};
    unsigned kind = (unsigned)random_below(&pair->random, ARRAY_COUNT(methods));
    unsigned number = (unsigned)random_below(&pair->random, PAIRS);
    /* Codes of two pairs are the same now and then, which is a conflict. */
    unsigned code = number / 2;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(one->params, sizeof(one->params), formats[kind], 2 * number, code, 2 * number + 1,
             code);
#pragma GCC diagnostic pop
    one->method = methods[kind];
    pair->far.origin = 1 + random_below(&pair->random, 3);
    fixture_start(&pair->far, &one->call, one->method, one->params);
}

static void check_pairs(struct far_pair *pair)
{
    struct store *table = far_home_table(&pair->home, "skill");
    for (unsigned i = 0; i < PAIRS; i++) {
        const uint8_t keys[] = {(uint8_t)(2 * i), (uint8_t)(2 * i + 1)}; /* small integers */
        bool first = table->ops->find(table, &keys[0], 1) != NULL;
        bool second = table->ops->find(table, &keys[1], 1) != NULL;
        assert_int_equal(first, second);
    }
}

/* Callers leave, are late, the home fails, others are faster. */
static void test_whole_or_not(void **state)
{
    (void)state;
    struct far_pair pair;
    unsigned done = 0, late = 0;
    far_pair_open(&pair, "far store, whole or not");
    far_home_move(&pair.home, "skill");
    far_home_move(&pair.home, "person");
    pair.home.failing = 5;
    pair.home.again = 20;
    for (unsigned round = 0; round < BAD_ROUNDS; round++) {
        size_t count = 1 + (size_t)random_below(&pair.random, CALLS_MAX);
        for (size_t i = 0; i < count; i++) {
            ask_pair(&pair, &asked[i]);
            go_on(&pair);
            check_pairs(&pair);
        }
        for (size_t i = 0; i < count; i++) {
            if (random_below(&pair.random, 4) == 0 && !asked[i].call.finished) {
                fixture_end(&asked[i].call);
                asked[i].call.finished = true;
            }
            go_on(&pair);
        }
        if (random_below(&pair.random, 4) == 0) {
            pair.far.now_us += 31000000;
        }
        finish(&pair, count);
        for (size_t i = 0; i < count; i++) {
            const char *answer = asked[i].call.answer;
            done += answer != NULL && strcmp(answer, "2") == 0;
            late += answer != NULL && strstr(answer, "timeout") != NULL;
            fixture_end(&asked[i].call);
        }
        check_pairs(&pair);
    }
    assert_true(done > BAD_ROUNDS / 2 && late > 0);
    far_pair_close(&pair);
}

/* ---- Without memory ---- */

static const char *const poor_calls[][3] = {
    {"create_many", "['skill', [{'id': 2, 'code': 'p'}, {'id': 3, 'code': 'q'}]]", "2"},
    {"upsert_many", "['skill', [{'id': 2, 'code': 'r'}, {'id': 3, 'code': 's'}]]", "2"},
    {"upsert",
     "['skill', {'id': 2, 'code': 'q', 'team_id': 1}, {'identity': 'code', 'select': []}]",
     "{\"id\":2}"},
    {"update", "['person', 1, {'level': 2}, {'if': 'exists(tickets, id == 1)', 'select': []}]",
     "{\"id\":1}"},
    {"update", "['ticket', 1, {'priority': 2}, {'if': 'person.level < 9', 'select': []}]",
     "{\"id\":1}"},
    {"destroy_many", "['skill', [2, 3, 4]]", "2"},
};

/* What is there before a call. */
static void prepare_poor(struct far_pair *pair, size_t number)
{
    free(far_home_call(&pair->home, "destroy_many", "['skill', [2, 3]]"));
    if (number == 1 || number == 2 || number == 5) {
        free(far_home_call(&pair->home, "create_many",
                           number == 2 ? "['skill', [{'id': 2, 'code': 'q'}, {'id': 3}]]"
                                       : "['skill', [{'id': 2}, {'id': 3}]]"));
    }
}

/* Without allocation `count`: whether there was one. */
static bool call_poor(struct far_pair *pair, size_t number, long count)
{
    const char *const *words = poor_calls[number];
    struct fixture_call call;
    prepare_poor(pair, number);
    pair->far.fail_at = count + 1;
    fixture_start(&pair->far, &call, words[0], words[1]);
    pair->far.fail_at = 0;
    far_home_finish(&pair->home, &call);
    bool failed = heap_failed() != 0;
    heap_fail_at(-1);
    bool lacks = strstr(call.answer, "overloaded") || strstr(call.answer, "answer_bytes");
    if (!lacks && strcmp(call.answer, words[2]) != 0) {
        fail_msg("%s %s answers %s without allocation %ld", words[0], words[1], call.answer, count);
    }
    assert_true(failed || !lacks);
    fixture_end(&call);
    check_pairs(pair);
    return failed;
}

/* Allocation 0, 1, 2, ... of each write fails, until none is left that could: it is
 * done or it is not, and the next one finds all in order. */
static void test_without_memory(void **state)
{
    (void)state;
    struct far_pair pair;
    far_pair_open(&pair, "far store, writes without memory");
    far_home_move(&pair.home, "skill");
    far_home_move(&pair.home, "person");
    far_home_move(&pair.home, "ticket");
    free(far_home_call(&pair.home, "create", "['person', {'id': 1, 'level': 1}]"));
    free(far_home_call(&pair.home, "create", "['ticket', {'id': 1, 'person_id': 1}]"));
    for (size_t i = 0; i < ARRAY_COUNT(poor_calls); i++) {
        long count = 0;
        while (call_poor(&pair, i, count)) {
            count++;
        }
    }
    far_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_one_by_one),
        cmocka_unit_test(test_whole_or_not),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

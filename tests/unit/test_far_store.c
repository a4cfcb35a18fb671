#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "tests/lib/far_pair.h"

/* The same calls for each choice of resources that are at home elsewhere: what is
 * asked there, in how many steps, and what is refused. test_far_store_random.c has
 * random calls, many at a time. */

/* In each of these every resource takes part in some way. */
static const char *const calls[][2] = {
    {"get", "['person', 3, {'load': ['team', 'tickets', 'latest', 'skills', 'notes']}]"},
    {"get", "['skill', 'c2', {'identity': 'code', 'load': ['people', 'team', 'notes']}]"},
    {"get_many", "['person_skill', [[1, 1], [2, 3], [5, 2]], {'load': ['person', 'skill']}]"},
    {"get_many", "['team', [1, 9, 2, 1], {'load': {'people': {'sort': '-name, id', 'limit': 2, "
                 "'load': 'skills'}, 'chief': {}}}]"},
    {"load", "['person', [1, 2, 3, 4, 5, 6, 7, 8], ['skills', 'notes', 'urgent', 'of_team', "
             "'newest', 'above', 'peers']]"},
    {"load", "['skill', [1, 2, 3, 4], 'people', {'query': {'filter': 'team.level > 1', "
             "'sort': 'team.name, id', 'offset': 1}}]"},
    {"read", "['ticket', {'filter': 'person_id in [1, 2, 3] and person.team.level > 1', "
             "'sort': 'person.name, -at', 'load': {'person': {'load': 'team'}}}]"},
    {"read", "['person', {'filter': 'team_id in [1, 2, 3] and exists(skills, exists(notes, "
             "text == \"x1\"))'}]"},
    {"read", "['note', {'filter': 'text == \"x1\" and skill.team.level > 0', 'limit': 3}]"},
    {"count", "['person', {'filter': 'id in [1, 2, 3, 4] and exists(notes, skill.team_id > 1)'}]"},
    {"count", "['ticket', {'filter': 'status == \"open\" and exists(person.skills, true)'}]"},
};

static void compare(struct far_pair *pair, const char *method, const char *params)
{
    char *near = fixture_call(&pair->near, method, params);
    char *far = far_home_call(&pair->home, method, params);
    if (strcmp(near, far) != 0) {
        for (size_t i = 0; far_resources[i] != NULL; i++) {
            struct store *table = far_home_table(&pair->home, far_resources[i]);
            print_error("  %s: %zu records\n", far_resources[i], (size_t)table->counters.records);
        }
        fail_msg("%s %s answers\n  %s, expected\n  %s", method, params, far, near);
    }
    free(near);
    free(far);
}

/* All choices of six: among them the four of each many_to_many. */
static void test_each_choice(void **state)
{
    (void)state;
    struct far_pair pair;
    for (unsigned choice = 0; choice < 64; choice++) {
        far_pair_open(&pair, "far store, each choice");
        far_pair_fill(&pair);
        for (unsigned i = 0; far_resources[i] != NULL; i++) {
            if ((choice >> i) & 1) {
                far_home_move(&pair.home, far_resources[i]);
            }
        }
        for (unsigned known = 0; known <= 100; known += 50) {
            pair.home.at_once = known;
            for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
                compare(&pair, calls[i][0], calls[i][1]);
            }
        }
        far_pair_close(&pair);
    }
}

/* What is asked for together goes there together. */
static void test_steps(void **state)
{
    static const struct {
        const char *method, *params;
        unsigned steps; /* in each, all that is out is answered */
        unsigned fetches;
    } rows[] = {
        {"get", "['person', 3]", 1, 1},
        {"get_many", "['person', [1, 2, 3, 4, 5, 6, 7, 8]]", 1, 1},
        {"get", "['skill', 'c1', {'identity': 'code'}]", 1, 1},
        {"count", "['ticket', {'filter': 'person_id in [1, 2, 3, 4]'}]", 1, 1},
        {"load", "['person', [1, 2, 3, 4, 5, 6, 7, 8], 'tickets']", 2, 1 + 8},
        {"load", "['person', [1, 2, 3], 'skills']", 3, 1 + 3 + 3},
    };
    (void)state;
    struct far_pair pair;
    far_pair_open(&pair, "far store, steps");
    far_pair_fill(&pair);
    far_pair_move(&pair, 100);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture_call call;
        unsigned steps = 0;
        uint64_t before = pair.home.fetches;
        fixture_start(&pair.far, &call, rows[i].method, rows[i].params);
        for (; !call.finished && steps < 10; steps++) {
            fixture_turn(&pair.far);
            while (far_home_deliver(&pair.home)) {
            }
            fixture_turn(&pair.far);
        }
        assert_true(call.finished);
        assert_int_equal(steps, rows[i].steps);
        assert_int_equal(pair.home.fetches - before, rows[i].fetches);
        fixture_end(&call);
    }
    far_pair_close(&pair);
}

/* Where no key and no index leads to the records there is no scan. */
static void test_refused(void **state)
{
    static const char *const queries[] = {
        "['person', {}]",
        "['person', {'filter': 'level > 1'}]",
        "['person', {'sort': 'name'}]",
        "['person', {'filter': 'name > \"a\"'}]",
        "['ticket', {'filter': 'person.id == 1'}]",
        "['ticket', {'filter': 'person_id == 1 or priority == 3'}]",
        "['person_skill', {'filter': 'since == \"2026-01-01\"'}]",
    };
    (void)state;
    struct far_pair pair;
    far_pair_open(&pair, "far store, refused");
    far_pair_fill(&pair);
    far_pair_move(&pair, 100);
    for (size_t i = 0; i < ARRAY_COUNT(queries); i++) {
        char *answer = far_home_call(&pair.home, "read", queries[i]);
        if (!far_is_refused(answer) || strncmp(answer, "invalid_request: ", 17) != 0) {
            fail_msg("read %s answers %s", queries[i], answer);
        }
        free(answer);
    }
    assert_int_equal(pair.home.fetches, 0);
    far_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_choice),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

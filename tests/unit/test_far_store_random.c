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

/* Random calls on resources that are at home elsewhere, or some of them, many at a
 * time, answered in any order: they answer what they do where all is in memory.
 * Where the home fails, memory lacks, time passes or callers leave, what is answered
 * is that or the error, and nothing is left behind. */

enum { WORLDS = 12, ROUNDS = 40, CALLS_MAX = 5 };

struct asked {
    struct fixture_call call;
    char params[FAR_PARAMS_MAX];
    const char *method;
    char *expected;
    bool ended;
};

static struct asked asked[CALLS_MAX];

static void ask(struct far_pair *pair, struct asked *one)
{
    one->method = far_random_read(&pair->random, one->params);
    one->expected = fixture_call(&pair->near, one->method, one->params);
    one->ended = false;
    pair->far.origin = 1 + random_below(&pair->random, 3);
    fixture_start(&pair->far, &one->call, one->method, one->params);
}

static void end(struct asked *one)
{
    if (!one->ended) {
        fixture_end(&one->call);
        free(one->expected);
        one->ended = true;
    }
}

static bool all_finished(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!asked[i].ended && !asked[i].call.finished) {
            return false;
        }
    }
    return true;
}

/* A few turns and answers, in any order. */
static void go_on(struct far_pair *pair)
{
    if (random_below(&pair->random, 2) == 0) {
        fixture_turn(&pair->far);
    }
    for (uint64_t most = random_below(&pair->random, 4); most > 0; most--) {
        far_home_deliver(&pair->home);
    }
}

static void finish_all(struct far_pair *pair, size_t count)
{
    for (unsigned i = 0; !all_finished(count) && i < 100000; i++) {
        go_on(pair);
    }
    for (size_t i = 0; i < count; i++) {
        if (!asked[i].ended && !asked[i].call.finished) {
            fail_msg("%s %s is not answered, and nothing is out", asked[i].method, asked[i].params);
        }
    }
}

static void compare(struct far_pair *pair, const struct asked *one)
{
    const char *answer = one->call.answer;
    if (far_is_refused(answer)) {
        pair->refused++;
        return;
    }
    pair->compared++;
    if (strcmp(answer, one->expected) != 0) {
        print_error("%s %s\n  answers  %s\n  expected %s\n", one->method, one->params, answer,
                    one->expected);
        for (size_t i = 0; i < pair->home.store_count; i++) {
            print_error("  elsewhere: %s\n", pair->home.stores[i]->store.resource->name);
        }
        fail();
    }
}

static void run_round(struct far_pair *pair)
{
    size_t count = 1 + (size_t)random_below(&pair->random, CALLS_MAX);
    for (size_t i = 0; i < count; i++) {
        ask(pair, &asked[i]);
    }
    finish_all(pair, count);
    for (size_t i = 0; i < count; i++) {
        compare(pair, &asked[i]);
        end(&asked[i]);
    }
}

static void run_world(struct far_pair *pair, unsigned moved, unsigned at_once)
{
    far_pair_open(pair, "far store");
    far_pair_fill(pair);
    far_pair_move(pair, moved);
    pair->home.at_once = at_once;
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_round(pair);
    }
    assert_true(pair->compared > pair->refused);
    far_pair_close(pair);
}

static void test_same_answers(void **state)
{
    (void)state;
    struct far_pair pair;
    uint64_t fetches = 0;
    for (unsigned world = 0; world < WORLDS; world++) {
        run_world(&pair, world % 3 == 0 ? 100 : 50, world % 2 * 40);
        fetches += pair.home.fetches;
    }
    assert_true(fetches > (uint64_t)WORLDS * ROUNDS);
}

/* ---- What goes wrong ---- */

enum { BAD_WORLDS = 6, BAD_ROUNDS = 60 };

static bool has(const char *answer, const char *code)
{
    return strstr(answer, code) != NULL;
}

/* Some calls at once, of which some fail: how many. */
static uint64_t failing_round(struct far_pair *pair)
{
    uint64_t failed = 0;
    size_t count = 1 + (size_t)random_below(&pair->random, CALLS_MAX);
    for (size_t i = 0; i < count; i++) {
        ask(pair, &asked[i]);
    }
    finish_all(pair, count);
    for (size_t i = 0; i < count; i++) {
        if (has(asked[i].call.answer, "unavailable")) {
            failed++;
        } else {
            compare(pair, &asked[i]);
        }
        end(&asked[i]);
    }
    return failed;
}

/* The home fails now and then: a call fails with that, or a source in it, or it is
 * answered as ever. */
static void test_failing_home(void **state)
{
    (void)state;
    struct far_pair pair;
    uint64_t failed = 0;
    for (unsigned world = 0; world < BAD_WORLDS; world++) {
        far_pair_open(&pair, "far store, failing");
        far_pair_fill(&pair);
        far_pair_move(&pair, 70);
        pair.home.at_once = world % 2 * 30;
        pair.home.failing = 10;
        for (unsigned round = 0; round < BAD_ROUNDS; round++) {
            failed += failing_round(&pair);
        }
        far_pair_close(&pair);
    }
    assert_true(failed > BAD_WORLDS);
}

static void leaving_round(struct far_pair *pair)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        ask(pair, &asked[i]);
        for (uint64_t most = random_below(&pair->random, 3); most > 0; most--) {
            go_on(pair);
        }
        if (random_below(&pair->random, 3) == 0) {
            end(&asked[random_below(&pair->random, i + 1)]);
        }
    }
    finish_all(pair, CALLS_MAX);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (!asked[i].ended) {
            compare(pair, &asked[i]);
        }
        end(&asked[i]);
    }
}

/* Callers leave in mid-way; the others are answered as ever. */
static void test_leaving(void **state)
{
    (void)state;
    struct far_pair pair;
    for (unsigned world = 0; world < BAD_WORLDS; world++) {
        far_pair_open(&pair, "far store, leaving");
        far_pair_fill(&pair);
        far_pair_move(&pair, 70);
        for (unsigned round = 0; round < BAD_ROUNDS; round++) {
            leaving_round(&pair);
        }
        far_pair_close(&pair);
    }
}

/* Time passes while the home is silent: who waits is told so, and what comes later
 * harms nobody. */
static void test_deadlines(void **state)
{
    (void)state;
    struct far_pair pair;
    uint64_t late = 0;
    far_pair_open(&pair, "far store, deadlines");
    far_pair_fill(&pair);
    far_pair_move(&pair, 80);
    for (unsigned round = 0; round < BAD_WORLDS * BAD_ROUNDS; round++) {
        size_t count = 1 + (size_t)random_below(&pair.random, CALLS_MAX);
        for (size_t i = 0; i < count; i++) {
            ask(&pair, &asked[i]);
            go_on(&pair);
        }
        if (random_below(&pair.random, 2) == 0) {
            pair.far.now_us += 31000000;
            fixture_turn(&pair.far);
            assert_true(all_finished(count));
        }
        finish_all(&pair, count);
        for (size_t i = 0; i < count; i++) {
            if (has(asked[i].call.answer, "timeout")) {
                late++;
            } else {
                compare(&pair, &asked[i]);
            }
            end(&asked[i]);
        }
    }
    assert_true(late > BAD_ROUNDS);
    far_pair_close(&pair);
}

/* The daemon stops while calls wait. */
static void test_closing(void **state)
{
    (void)state;
    struct far_pair pair;
    for (unsigned world = 0; world < BAD_WORLDS; world++) {
        far_pair_open(&pair, "far store, closing");
        far_pair_fill(&pair);
        far_pair_move(&pair, 100);
        for (size_t i = 0; i < CALLS_MAX; i++) {
            ask(&pair, &asked[i]);
            go_on(&pair);
        }
        engine_close(pair.far.engine);
        assert_true(all_finished(CALLS_MAX));
        for (size_t i = 0; i < CALLS_MAX; i++) {
            end(&asked[i]);
        }
        far_pair_close(&pair);
    }
}

/* Allocation 0, 1, 2, ... fails, until none is left that could. */
static unsigned fail_each(struct far_pair *pair, const char *method, const char *params,
                          const char *expected)
{
    unsigned failures = 0;
    bool failed = true;
    for (long count = 0; failed; count++) {
        struct fixture_call call;
        pair->far.fail_at = count + 1;
        fixture_start(&pair->far, &call, method, params);
        pair->far.fail_at = 0;
        far_home_finish(&pair->home, &call);
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        failures += failed;
        /* A buffer that fails is taken for one that is full. */
        bool lacks = has(call.answer, "overloaded") || has(call.answer, "answer_bytes");
        if (!lacks && strcmp(call.answer, expected) != 0) {
            fail_msg("%s %s answers %s without allocation %ld", method, params, call.answer, count);
        }
        assert_true(failed || strcmp(call.answer, expected) == 0);
        fixture_end(&call);
    }
    return failures;
}

static void test_without_memory(void **state)
{
    (void)state;
    struct far_pair pair;
    char params[FAR_PARAMS_MAX];
    unsigned failures = 0;
    far_pair_open(&pair, "far store, no memory");
    far_pair_fill(&pair);
    far_pair_move(&pair, 80);
    for (unsigned round = 0; round < BAD_ROUNDS; round++) {
        const char *method = far_random_read(&pair.random, params);
        char *expected = fixture_call(&pair.near, method, params);
        char *answer = far_home_call(&pair.home, method, params);
        if (!far_is_refused(answer)) {
            assert_string_equal(answer, expected);
            failures += fail_each(&pair, method, params, expected);
        }
        free(expected);
        free(answer);
    }
    assert_true(failures > BAD_ROUNDS);
    far_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_answers), cmocka_unit_test(test_failing_home),
        cmocka_unit_test(test_leaving),      cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_closing),      cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

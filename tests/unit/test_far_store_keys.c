#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/engine/engine_inner.h"
#include "layers/load/outside.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/far_store.h"

/* A loader outside that answers keys of records which are at home elsewhere: the keys
 * are shared and cached, the records are fetched for each call, as they are then. */

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  person:\n"
    "    fields: {id: integer}\n"
    "    relationships:\n"
    "      picked: {has_many: ticket, manual: remote, actor: none, depends_on: none,\n"
    "               returns: keys, cache: {}}\n"
    "      one: {has_one: ticket, manual: remote, actor: none, depends_on: none, returns: keys}\n"
    "  ticket:\n"
    "    fields: {id: integer, text: string, person_id: integer}\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n";

struct bed {
    struct random random;
    struct engine_fixture fixture;
    struct far_home home;
    unsigned batches; /* that the loader was asked for */
};

static struct bed bed;

/* ---- The loader: person n has tickets n, n + 1 and n + 2, the last one first ---- */

static void start(void *context, struct relation *relation, struct batch *batch)
{
    struct bed *of = context;
    struct buffer answer = BUFFER_INIT;
    struct error error = ERROR_INIT;
    of->batches++;
    write_array(&answer, (uint32_t)batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        struct reader in = reader_of(batch->keys[i].bytes, batch->keys[i].size);
        int64_t id = reader_next(&in).integer;
        write_array(&answer, 3);
        for (int64_t j = 2; j >= 0; j--) {
            write_integer(&answer, id + j);
        }
    }
    struct reader in = reader_of(answer.bytes, answer.size);
    int status = answer.failed ? error_set(&error, CODE_OVERLOADED, "no memory for the test")
                               : outside_take(relation, batch, 0, batch->count, &in, &error);
    buffer_release(&answer);
    if (status < 0) {
        coalescer_fail(of->fixture.engine->coalescer, batch, &error, of->fixture.now_us);
    } else {
        coalescer_complete(of->fixture.engine->coalescer, batch, of->fixture.now_us);
    }
}

static bool cancel(void *context, struct relation *relation, struct batch *batch)
{
    (void)context, (void)relation, (void)batch;
    return true;
}

static int setup(void **state)
{
    (void)state;
    bed = (struct bed){.random = random_start("far store, keys")};
    engine_fixture_open(&bed.fixture, yaml);
    far_home_open(&bed.home, &bed.fixture, &bed.random);
    bed.fixture.engine->remotes.context = &bed;
    bed.fixture.engine->remotes.start = start;
    bed.fixture.engine->remotes.cancel = cancel;
    fixture_expect(&bed.fixture, "create_many", "['person', [{'id': 1}, {'id': 2}, {'id': 5}]]",
                   "3");
    fixture_expect(&bed.fixture, "create_many",
                   "['ticket', [{'id': 1, 'text': 'a', 'person_id': 2}, {'id': 2, 'text': 'b'},"
                   " {'id': 3, 'text': 'c'}]]",
                   "3");
    far_home_move(&bed.home, "ticket");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    far_home_close(&bed.home);
    engine_fixture_close(&bed.fixture);
    return 0;
}

static void expect(const char *method, const char *params, const char *expected)
{
    char *answer = far_home_call(&bed.home, method, params);
    assert_string_equal(answer, expected);
    free(answer);
}

static void expect_error(const char *method, const char *params, const char *code)
{
    char *answer = far_home_call(&bed.home, method, params);
    assert_int_equal(strncmp(answer, code, strlen(code)), 0);
    free(answer);
}

/* ---- */

/* In the loader's order; what is not there is left out. */
static void test_fetched(void **state)
{
    (void)state;
    expect("load", "['person', [1, 2, 9, 5], 'picked', {'query': {'select': []}}]",
           "[[{\"id\":3},{\"id\":2},{\"id\":1}],[{\"id\":3},{\"id\":2}],null,[]]");
    expect("load", "['person', [1, 2, 5], 'one', {'query': {'select': ['text']}}]",
           "[{\"id\":3,\"text\":\"c\"},{\"id\":3,\"text\":\"c\"},null]");
    expect("get",
           "['person', 1, {'load': {'picked': {'filter': 'text != \"b\"', 'sort': 'text', "
           "'select': [], 'load': {'person': {'load': {'one': {'select': []}}}}}}}]",
           "{\"id\":1,\"picked\":[{\"id\":1,\"person\":{\"id\":2,\"one\":{\"id\":3}}},"
           "{\"id\":3,\"person\":null}]}");
}

/* What is cached is keys: the records are those of the moment, also where the loader
 * is not asked again. */
static void test_records_of_the_moment(void **state)
{
    (void)state;
    const char *const params = "['person', [1], 'picked', {'query': {'select': ['text']}}]";
    for (unsigned known = 0; known <= 100; known += 100) {
        bed.home.at_once = known;
        expect("load", params,
               known == 0 ? "[[{\"id\":3,\"text\":\"c\"},{\"id\":2,\"text\":\"b\"},"
                            "{\"id\":1,\"text\":\"a\"}]]"
                          : "[[{\"id\":3,\"text\":\"new\"},{\"id\":1,\"text\":\"a\"}]]");
        expect("update", "['ticket', 3, {'text': 'new'}, {'select': []}]", "{\"id\":3}");
        free(far_home_call(&bed.home, "destroy", "['ticket', 2]"));
        expect("load", params, "[[{\"id\":3,\"text\":\"new\"},{\"id\":1,\"text\":\"a\"}]]");
    }
    assert_int_equal(bed.batches, 1);
}

/* The home fails: the whole fetch fails the call, a key its source. */
static void test_failing(void **state)
{
    (void)state;
    bed.home.failing = 100;
    expect_error("load", "['person', [1], 'picked']", "unavailable: ");
    bed.home.failing = 30;
    unsigned whole = 0, single = 0, none = 0;
    for (unsigned i = 0; i < 200; i++) {
        char *answer = far_home_call(&bed.home, "load", "['person', [1, 2], 'picked']");
        bool failed = strstr(answer, "unavailable") != NULL;
        whole += failed && answer[0] != '[';
        single += failed && answer[0] == '[';
        none += !failed;
        free(answer);
    }
    assert_true(whole > 0 && single > 0 && none > 0);
    bed.home.failing = 0;
    expect("load", "['person', [2], 'one', {'query': {'select': []}}]", "[{\"id\":3}]");
}

/* Callers leave, and are late, while the records are out. */
static void test_leaving(void **state)
{
    (void)state;
    struct fixture_call calls[3];
    for (unsigned i = 0; i < 3; i++) {
        fixture_start(&bed.fixture, &calls[i], "load",
                      "['person', [1, 2], 'picked', {'query': {'select': []}}]");
    }
    fixture_turn(&bed.fixture);
    assert_int_equal(far_home_pending(&bed.home), 3);
    assert_int_equal(bed.batches, 1);
    fixture_end(&calls[1]);
    assert_int_equal(far_home_pending(&bed.home), 2);
    assert_true(far_home_deliver(&bed.home));
    bed.fixture.now_us += 31000000;
    fixture_turn(&bed.fixture);
    assert_int_equal(far_home_pending(&bed.home), 0);
    assert_true(calls[0].finished && calls[2].finished);
    fixture_end(&calls[0]);
    fixture_end(&calls[2]);
    expect("load", "['person', [2], 'picked', {'query': {'select': []}}]",
           "[[{\"id\":3},{\"id\":2}]]");
}

static void test_without_memory(void **state)
{
    (void)state;
    bool failed = true;
    unsigned failures = 0;
    for (long count = 0; failed; count++) {
        struct fixture_call call;
        bed.fixture.fail_at = count;
        fixture_start(&bed.fixture, &call, "load",
                      "['person', [1, 5], 'one', {'query': {'select': []}}]");
        bed.fixture.fail_at = -1;
        far_home_finish(&bed.home, &call);
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        failures += failed;
        bool whole = strcmp(call.answer, "[{\"id\":3},null]") == 0;
        bool lacks = strstr(call.answer, "overloaded") || strstr(call.answer, "answer_bytes");
        if (!whole && !lacks) {
            fail_msg("%s without allocation %ld", call.answer, count);
        }
        assert_true(failed || whole);
        fixture_end(&call);
    }
    assert_true(failures > 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_fetched), TEST(test_records_of_the_moment), TEST(test_failing),
        TEST(test_leaving), TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/module_files.h"
#include "layers/engine/engine.h"
#include "layers/module/module.h"
#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/engine_fixture.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* Modules as the engine sees them: tests/modules/behaves.c does what its option
 * says, and the test looks at what callers get and what the log says. */

enum { PATIENCE_US = 30000000, LOG_MAX = 65536 };

struct fixture {
    struct engine_fixture base;
    struct module_host host;
    struct modules *modules;
    uint64_t woken_at_us;
    pthread_mutex_t lock;
    bool woken;
    char log[LOG_MAX];
    char yaml[4096];
};

static struct fixture fixture;

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void wake(void *context)
{
    struct fixture *f = context;
    pthread_mutex_lock(&f->lock);
    f->woken = true;
    pthread_mutex_unlock(&f->lock);
}

static void wake_at(void *context, uint64_t at_us)
{
    struct fixture *f = context;
    f->woken_at_us = at_us;
}

static void say(void *context, enum module_log_level level, const char *event, const char *module,
                const char *relationship, const char *text)
{
    struct fixture *f = context;
    size_t used = strlen(f->log);
    (void)level;
    snprintf(f->log + used, sizeof f->log - used, "%s %s %s %s\n", event, module, relationship,
             text);
}

static bool said(const char *text)
{
    return strstr(fixture.log, text) != NULL;
}

/* As the daemon's loop: only what was asked for is called. */
static void turn(void)
{
    fixture.base.now_us = clock_us();
    pthread_mutex_lock(&fixture.lock);
    bool woken = fixture.woken;
    fixture.woken = false;
    pthread_mutex_unlock(&fixture.lock);
    bool due = fixture.woken_at_us != 0 && fixture.woken_at_us <= fixture.base.now_us;
    if (woken || due) {
        modules_turn(fixture.modules, fixture.base.now_us);
    }
    fixture_turn(&fixture.base);
}

static const char *folder(void)
{
    const char *build = getenv("RELATA_BUILD_DIR");
    return build != NULL ? build : ".";
}

/* The helpdesk of the tests. `more` stands beside `manual`, indented. */
static const char *schema_of(const char *file, const char *options, const char *more)
{
    snprintf(fixture.yaml, sizeof fixture.yaml,
             "version: 1\n"
             "resources:\n"
             "  rep:\n"
             "    fields: {id: integer, name: string, threshold: integer, born: datetime}\n"
             "    relationships:\n"
             "      tickets:\n"
             "        has_many: ticket\n"
             "        manual: {module: '%s/%s', options: %s}\n"
             "%s"
             "      own: {has_many: ticket}\n"
             "  ticket:\n"
             "    fields: {id: integer, rep_id: integer, priority: integer, subject: string, "
             "seen: any}\n"
             "    relationships:\n"
             "      rep: {belongs_to: rep}\n",
             folder(), file, options, more);
    return fixture.yaml;
}

static int use(const char *file, const char *options, const char *more, struct error *error)
{
    struct schema *schema = schema_fixture(schema_of(file, options, more));
    int status = engine_use_schema(fixture.base.engine, schema, error);
    schema_put(schema);
    return status;
}

static int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){.base = {.limits = LIMITS_DEFAULT}};
    fixture.base.now_us = clock_us();
    fixture.base.engine = engine_create(&fixture.base.limits);
    assert_non_null(fixture.base.engine);
    engine_use_clock(fixture.base.engine, clock_us);
    fixture.host = (struct module_host){
        .context = &fixture, .clock_us = clock_us, .wake = wake, .wake_at = wake_at, .log = say};
    assert_int_equal(pthread_mutex_init(&fixture.lock, NULL), 0);
    fixture.modules = modules_create(fixture.base.engine, &module_files, &fixture.host);
    assert_non_null(fixture.modules);
    engine_use_modules(fixture.base.engine, modules_loaders(fixture.modules));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    engine_close(fixture.base.engine);
    while (engine_turn(fixture.base.engine, clock_us())) {
    }
    engine_free(fixture.base.engine);
    modules_free(fixture.modules);
    pthread_mutex_destroy(&fixture.lock);
    return 0;
}

static void open_with(const char *options, const char *more)
{
    struct error error = ERROR_INIT;
    if (use("tests/modules/behaves.so", options, more, &error) < 0) {
        fail_msg("refused: %s", error.message);
    }
    fixture_expect(&fixture.base, "create_many",
                   "['rep', [{'id': 1, 'name': 'a', 'threshold': 4}, {'id': 2, 'name': 'b'}, "
                   "{'id': 3, 'name': 'c', 'threshold': 6}]]",
                   "3");
}

#define NOBODY "        actor: none\n"

/* The answer in JSON, good until the next. */
static const char *call_of(const char *method, const char *params)
{
    static char *answer = NULL;
    struct fixture_call call;
    uint64_t until_us = clock_us() + PATIENCE_US;
    free(answer);
    fixture.base.now_us = clock_us();
    fixture_start(&fixture.base, &call, method, params);
    while (!call.finished) {
        turn();
        assert_true(clock_us() < until_us);
    }
    answer = call.answer;
    call.answer = NULL;
    fixture_end(&call);
    return answer;
}

static const char *load_all(void)
{
    return call_of("load",
                   "['rep', [1, 2, 3], 'tickets', {'query': {'select': ['id', 'priority']}}]");
}

/* A load of one key fails as a whole. */
static const char *load_one(void)
{
    return call_of("load", "['rep', [1], 'tickets']");
}

#define ALL                                                                                \
    "[[{\"id\":11,\"priority\":1},{\"id\":12,\"priority\":2},{\"id\":13,\"priority\":3}]," \
    "[{\"id\":21,\"priority\":1},{\"id\":22,\"priority\":2},{\"id\":23,\"priority\":3}],"  \
    "[{\"id\":31,\"priority\":1},{\"id\":32,\"priority\":2},{\"id\":33,\"priority\":3}]]"

#define assert_begins(text, start) assert_begins_(text, start, __LINE__)

static void assert_begins_(const char *text, const char *start, int line)
{
    if (strncmp(text, start, strlen(start)) != 0) {
        fail_msg("line %d: expected %s..., got %s", line, start, text);
    }
}

/* ---- Those that behave ---- */

static void answers_of_all_kinds_are_the_same(void **state)
{
    (void)state;
    static const char *const words[] = {"{do: list}", "{do: one}", "{do: later}", "{do: thread}"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        struct error error = ERROR_INIT;
        if (i == 0) {
            open_with(words[i], NOBODY);
        } else {
            assert_int_equal(use("tests/modules/behaves.so", words[i], NOBODY, &error), 0);
        }
        assert_string_equal(load_all(), ALL);
        assert_string_equal(load_all(), ALL);
    }
    assert_false(said("what was forgotten"));
}

static void a_map_may_leave_out_and_say_too_much(void **state)
{
    (void)state;
    open_with("{do: map}", NOBODY);
    char expected[] = ALL;
    memcpy(strstr(expected, "[{\"id\":31"), "[]]", sizeof "[]]");
    assert_string_equal(load_all(), expected);
}

static void the_daemon_honours_the_query(void **state)
{
    (void)state;
    open_with("{do: list}", NOBODY);
    assert_string_equal(call_of("load", "['rep', [1, 2], 'tickets', {'query': {'filter': "
                                        "'priority > 1', 'sort': '-priority', 'limit': 1, "
                                        "'offset': 1, 'select': ['id']}}]"),
                        "[[{\"id\":12}],[{\"id\":22}]]");
}

static void keys_are_fetched(void **state)
{
    (void)state;
    open_with("{do: keys}", NOBODY "        returns: keys\n");
    fixture_expect(&fixture.base, "create_many",
                   "['ticket', [{'id': 13, 'priority': 9}, {'id': 11}, {'id': 22}]]", "3");
    assert_string_equal(load_all(), "[[{\"id\":11,\"priority\":null},{\"id\":13,\"priority\":9}],"
                                    "[{\"id\":22,\"priority\":null}],[]]");
}

static void answers_on_other_threads_are_refused(void **state)
{
    (void)state;
    open_with("{do: thread}", NOBODY);
    assert_string_equal(load_all(), ALL);
    struct error error = ERROR_INIT;
    assert_int_equal(use("tests/modules/version_one.so", "{}", NOBODY, &error), 0);
    turn();
    assert_true(said("on the thread: -505"));
}

/* ---- What is shown ---- */

static void sources_and_fields_are_shown(void **state)
{
    (void)state;
    open_with("{do: show_sources}", NOBODY);
    assert_string_equal(
        call_of("load", "['rep', [2, 1], 'tickets', {'query': {'limit': 1, 'select': ['seen']}}]"),
        "[[{\"id\":1,\"seen\":[{\"id\":2,\"name\":\"b\",\"threshold\":null,\"born\":null},"
        "{\"id\":1,\"name\":\"a\",\"threshold\":4,\"born\":null}]}],"
        "[{\"id\":2,\"seen\":[{\"id\":2,\"name\":\"b\",\"threshold\":null,\"born\":null},"
        "{\"id\":1,\"name\":\"a\",\"threshold\":4,\"born\":null}]}]]");
}

static void source_fields_hide_the_others(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    open_with("{do: show_sources}", NOBODY "        source_fields: [name]\n");
    const char *one = "['rep', [1], 'tickets', {'query': {'select': ['seen']}}]";
    assert_string_equal(call_of("load", one),
                        "[[{\"id\":1,\"seen\":[{\"id\":1,\"name\":\"a\"}]}]]");
    assert_int_equal(use("tests/modules/behaves.so", "{do: show_position}",
                         NOBODY "        source_fields: [name]\n", &error),
                     0);
    assert_string_equal(call_of("load", one), "[[{\"id\":1,\"seen\":-6}]]");
    assert_int_equal(use("tests/modules/behaves.so", "{do: show_position}", NOBODY, &error), 0);
    assert_string_equal(call_of("load", one), "[[{\"id\":1,\"seen\":2}]]");
}

static void the_context_has_the_declared_facts(void **state)
{
    (void)state;
    open_with("{do: show_context}", "        actor: [role]\n");
    assert_string_equal(call_of("load", "['rep', [1], 'tickets', {'query': {'select': ['seen']}, "
                                        "'actor': {'id': 7, 'role': 'staff'}}]"),
                        "[[{\"id\":1,\"seen\":[{\"role\":\"staff\"},true]}]]");
    struct error error = ERROR_INIT;
    assert_int_equal(use("tests/modules/behaves.so", "{do: show_context}", NOBODY, &error), 0);
    assert_string_equal(call_of("load", "['rep', [1], 'tickets', {'query': {'select': ['seen']}, "
                                        "'actor': {'id': 7, 'role': 'staff'}}]"),
                        "[[{\"id\":1,\"seen\":[null,true]}]]");
}

static void parts_of_the_query_are_unset(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *seen;
    } cases[] = {{"{do: show_query, parts: 0}", "{}"},
                 {"{do: show_query, parts: 2}", "{\"sort\":\"-priority\"}"},
                 {"{do: show_query, parts: 6}", "{\"sort\":\"-priority\",\"limit\":5}"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        char expected[128];
        if (i == 0) {
            open_with(cases[i].options, NOBODY "        query: hint\n");
        } else {
            assert_int_equal(use("tests/modules/behaves.so", cases[i].options,
                                 NOBODY "        query: hint\n", &error),
                             0);
        }
        snprintf(expected, sizeof expected, "[[{\"id\":1,\"seen\":%s}]]", cases[i].seen);
        assert_string_equal(call_of("load", "['rep', [1], 'tickets', {'query': {'filter': "
                                            "'is_nil(priority)', 'sort': '-priority', 'limit': 5, "
                                            "'select': ['seen']}}]"),
                            expected);
    }
}

/* ---- Applying a query in memory ---- */

static void queries_are_applied_in_memory(void **state)
{
    (void)state;
    open_with("{do: apply}", NOBODY "        query: hint\n");
    assert_string_equal(call_of("load", "['rep', [1, 3], 'tickets', {'query': {'filter': "
                                        "{'priority': {'gt': 1}}, 'sort': '-priority', "
                                        "'limit': 5, 'select': ['id']}}]"),
                        "[[{\"id\":13},{\"id\":12}],[{\"id\":33},{\"id\":32}]]");
    assert_string_equal(call_of("load", "['rep', [2], 'tickets', {'query': {'limit': 1, 'offset': "
                                        "1, 'select': ['id']}}]"),
                        "[[{\"id\":22}]]");
}

static void a_wrong_query_is_told(void **state)
{
    (void)state;
    open_with("{do: apply_wrong}", NOBODY);
    assert_string_equal(load_one(), "loader_failed: rep.tickets of 1: ticket has no field or "
                                    "relationship \"prioritty\", did you mean \"priority\"? (at "
                                    "position 0)");
}

/* What apply keeps is what the daemon keeps of the same records. */
static void apply_and_the_daemon_agree(void **state)
{
    (void)state;
    struct random random = random_start("apply_and_the_daemon_agree");
    open_with("{do: apply}", NOBODY "        query: hint\n");
    for (unsigned i = 0; i < 200; i++) {
        static const char *const sorts[] = {"id", "-id", "priority,-id", "--priority", "++subject"};
        char params[256];
        char applied[4096];
        struct error error = ERROR_INIT;
        snprintf(
            params, sizeof params,
            "['rep', [1, 2, 3], 'tickets', {'query': {'filter': 'priority %s %u or id %% %u == "
            "1', 'sort': '%s', 'limit': %u, 'offset': %u}}]",
            random_below(&random, 2) ? ">" : "!=", (unsigned)random_below(&random, 4),
            (unsigned)random_below(&random, 5) + 1,
            sorts[random_below(&random, ARRAY_COUNT(sorts))], (unsigned)random_below(&random, 4),
            (unsigned)random_below(&random, 3));
        assert_int_equal(use("tests/modules/behaves.so", "{do: apply, parts: 15}",
                             NOBODY "        query: hint\n", &error),
                         0);
        snprintf(applied, sizeof applied, "%s", call_of("load", params));
        assert_int_equal(use("tests/modules/behaves.so", "{do: list}", NOBODY, &error), 0);
        assert_string_equal(call_of("load", params), applied);
    }
}

/* ---- Reading through the daemon ---- */

static void fill_tickets(void)
{
    fixture_expect(&fixture.base, "create_many",
                   "['ticket', [{'id': 1, 'rep_id': 1, 'priority': 2}, {'id': 2, 'rep_id': 1, "
                   "'priority': 3}, {'id': 3, 'rep_id': 2, 'priority': 4}]]",
                   "3");
}

static const char *seen_of_one(void)
{
    return call_of("load", "['rep', [1], 'tickets', {'query': {'select': ['seen']}}]");
}

static void modules_read_by_every_method(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *seen;
    } cases[] = {
        {"{do: read, method: count, read: [ticket, {filter: priority > 2}]}", "2"},
        {"{do: read, method: get, read: [rep, 1, {select: [name]}]}", "{\"id\":1,\"name\":\"a\"}"},
        {"{do: read, method: get_many, read: [rep, [2, 9], {select: [name]}]}",
         "[{\"id\":2,\"name\":\"b\"},null]"},
        {"{do: read, method: read, read: [ticket, {filter: rep_id == $r, params: {r: 1}, sort: "
         "-priority, select: [id]}]}",
         "[{\"id\":2},{\"id\":1}]"},
        {"{do: read, method: load, read: [rep, [1, 2], own, {query: {select: [id]}}]}",
         "[[{\"id\":1},{\"id\":2}],[{\"id\":3}]]"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        char expected[256];
        if (i == 0) {
            open_with(cases[i].options, NOBODY);
            fill_tickets();
        } else {
            assert_int_equal(use("tests/modules/behaves.so", cases[i].options, NOBODY, &error), 0);
        }
        snprintf(expected, sizeof expected, "[[{\"id\":1,\"seen\":%s}]]", cases[i].seen);
        assert_string_equal(seen_of_one(), expected);
    }
}

static void wrong_reads_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *message;
    } cases[] = {
        {"{do: read, method: create, read: [ticket, {}]}",
         "a module reads by get, get_many, read, count and load, not by create"},
        {"{do: read, method: count, read: [ticket, {}, {actor: {id: 1}}]}", "actor"},
        {"{do: read, method: count, read: [tickett]}", "unknown_resource: "},
        {"{do: read, method: count, read: [a, b, c, d]}", "an array of at most 3 parameters"},
        {"{do: read, method: count, read: 5}", "an array of at most 3 parameters"},
        {"{do: read_many, method: count, read: [ticket]}",
         "at most 1000 reads and commands at a time"},
        {"{do: read, method: load, read: [rep, [1], tickets]}", "would wait for itself"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        if (i == 0) {
            open_with(cases[i].options, NOBODY);
        } else {
            assert_int_equal(use("tests/modules/behaves.so", cases[i].options, NOBODY, &error), 0);
        }
        const char *answer = seen_of_one();
        assert_begins(answer, "loader_failed: module behaves.so: ");
        if (strstr(answer, cases[i].message) == NULL) {
            fail_msg("expected %s, got %s", cases[i].message, answer);
        }
    }
}

static void reads_end_with_their_batch(void **state)
{
    (void)state;
    open_with("{do: read_and_answer, method: load, read: [rep, [1, 2, 3], own]}", NOBODY);
    assert_string_equal(load_all(), ALL);
    assert_false(said("module_answered_late"));
}

/* With one: tests/integration/test_modules_redis.py. */
static void commands_need_a_redis(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    open_with("{do: list}", NOBODY);
    static const struct {
        const char *options;
        const char *message;
    } cases[] = {
        {"{command: [PING]}", "-2 after 0: the configuration names no Redis"},
        {"{command: [PING], do: no_size}", "-2 after 0: a Redis command lacks its size"},
        {"{command: [PING], do: no_batch}", "-1 after 0: batch 0 is not out"},
        {"{command: [PING], do: thread}", "-5 after 0: "},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(use("tests/modules/redis_reader.so", cases[i].options, NOBODY, &error), 0);
        const char *answer = load_one();
        assert_begins(answer, "loader_failed: module redis_reader.so: ");
        assert_non_null(strstr(answer, cases[i].message));
    }
}

/* ---- Those that do not behave ---- */

static void a_second_answer_is_ignored(void **state)
{
    (void)state;
    open_with("{do: twice}", NOBODY);
    assert_string_equal(load_all(), ALL);
    assert_true(said("module_answered_late behaves.so rep.tickets"));
    assert_string_equal(load_all(), ALL);
    struct error error = ERROR_INIT;
    assert_int_equal(use("tests/modules/behaves.so", "{do: one_twice}", NOBODY, &error), 0);
    assert_string_equal(load_all(), ALL);
    assert_true(said("source 2 is answered twice"));
}

static void what_never_comes_is_a_timeout(void **state)
{
    (void)state;
    open_with("{do: never}", NOBODY "        batch: {timeout: 20ms}\n");
    assert_string_equal(load_one(), "timeout: rep.tickets: the loader did not answer within 20 ms");
    assert_true(said("module_cancelled behaves.so rep.tickets"));
    assert_true(said("cancel has its data"));
    assert_begins(load_one(), "timeout: ");
}

static void what_comes_after_cancel_is_late(void **state)
{
    (void)state;
    open_with("{do: after_cancel}", NOBODY "        batch: {timeout: 5ms}\n");
    assert_begins(load_one(), "timeout: ");
    assert_true(said("module_answered_late"));
}

static void wrong_shapes_are_the_modules_error(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *error;
    } cases[] = {
        {"{do: short}", "loader_failed: module behaves.so: rep.tickets: expected a list of 1 "
                        "answers, one for each record, or a map by primary key, got a list of 0"},
        {"{do: text}", "loader_failed: module behaves.so: rep.tickets: expected a list of 1"},
        {"{do: junk}", "loader_failed: module behaves.so: the answer is no MessagePack value"},
        {"{do: fail}", "loader_failed: module behaves.so: the telescope is cloudy"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        if (i == 0) {
            open_with(cases[i].options, NOBODY);
        } else {
            assert_int_equal(use("tests/modules/behaves.so", cases[i].options, NOBODY, &error), 0);
        }
        assert_begins(load_one(), cases[i].error);
        assert_true(said("module_failed behaves.so rep.tickets"));
    }
}

static void a_batch_is_answered_in_one_way(void **state)
{
    (void)state;
    open_with("{do: mixed}", NOBODY);
    assert_string_equal(load_all(), "[{\"error\":\"loader_failed\"},{\"error\":\"loader_failed\"},"
                                    "{\"error\":\"loader_failed\"}]");
    assert_true(said("a batch is answered as a whole, after some of its sources"));
}

static void answers_are_bounded(void **state)
{
    (void)state;
    open_with("{do: list}", NOBODY);
    fixture.base.limits.provider_answer_bytes = 20;
    assert_begins(load_one(), "too_large: module behaves.so: ");
    fixture.base.limits.provider_answer_bytes = 1 << 20;
    assert_string_equal(load_all(), ALL);
}

/* In a load of several keys a failed source's error stands in its place. */
static void one_source_fails_alone(void **state)
{
    (void)state;
    static const char *const words[] = {"{do: error_one}", "{do: error_in_list}",
                                        "{do: wrong_type}"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        struct error error = ERROR_INIT;
        if (i == 0) {
            open_with(words[i], NOBODY);
        } else {
            assert_int_equal(use("tests/modules/behaves.so", words[i], NOBODY, &error), 0);
        }
        assert_string_equal(
            call_of("load", "['rep', [1, 2], 'tickets', {'query': {'select': ['id']}}]"),
            "[[{\"id\":11},{\"id\":12},{\"id\":13}],{\"error\":\"loader_failed\"}]");
    }
}

static void who_holds_the_loop_is_named(void **state)
{
    (void)state;
    open_with("{do: slow}", NOBODY);
    assert_string_equal(load_all(), ALL);
    assert_true(said("module_slow behaves.so rep.tickets load held the daemon for "));
}

static void the_log_is_not_flooded(void **state)
{
    (void)state;
    open_with("{do: fail}", NOBODY);
    for (unsigned i = 0; i < 100; i++) {
        assert_begins(load_one(), "loader_failed");
    }
    unsigned lines = 0;
    for (const char *at = fixture.log; *at != '\0'; at++) {
        lines += *at == '\n';
    }
    assert_in_range(lines, 1, 50);
}

/* ---- Opening ---- */

static void what_is_no_module_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        const char *options;
        const char *message;
    } cases[] = {
        {"tests/modules/wrong_version.so", "{}",
         "is built for version 2.0 of the module interface"},
        {"tests/modules/no_module.so", "{}", "exports no relata_module"},
        {"tests/modules/lacks_symbol.so", "{}", "nobody_has_this"},
        {"tests/modules/absent.so", "{}", "No such file"},
        {"tests/modules", "{}", "this is no file"},
        {"build.ninja", "{}", "cannot be opened"},
        {"tests/modules/behaves.so", "{do: refuse}", "refuses: rep.tickets is not for me"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        assert_int_equal(use(cases[i].file, cases[i].options, NOBODY, &error),
                         -CODE_INVALID_REQUEST);
        assert_begins(error.message, "rep.tickets: ");
        if (cases[i].file[0] != 'b' && strstr(error.message, cases[i].message) == NULL) {
            fail_msg("expected %s, got %s", cases[i].message, error.message);
        }
    }
}

static void files_are_looked_at(void **state)
{
    (void)state;
    char path[4096];
    struct error error = ERROR_INIT;
    snprintf(path, sizeof path, "%s/tests/modules/behaves.so", folder());
    assert_int_equal(module_check(&module_files, path, &error), 0);
    snprintf(path, sizeof path, "%s/tests/modules/wrong_version.so", folder());
    assert_int_equal(module_check(&module_files, path, &error), -CODE_INVALID_REQUEST);
}

static void copy_file(const char *from, const char *to)
{
    char path[4096];
    char bytes[65536];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", folder(), from);
    FILE *in = fopen(path, "rb");
    snprintf(path, sizeof path, "%s/%s", folder(), to);
    FILE *out = fopen(path, "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((size = fread(bytes, 1, sizeof bytes, in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, size, out), size);
    }
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
}

/* A batch that is out while the module is replaced ends on the old one, which
 * goes only then. */
static void a_replaced_module_is_taken_at_reload(void **state)
{
    (void)state;
    char name[64];
    struct error error = ERROR_INIT;
    struct fixture_call old;
    const char *load = "['rep', [1], 'tickets', {'query': {'select': ['subject']}}]";
    snprintf(name, sizeof name, "tests/modules/replaced-%d.so", (int)getpid());
    copy_file("tests/modules/version_one.so", name);
    assert_int_equal(use(name, "{wait_ms: 30}", NOBODY, &error), 0);
    fixture_expect(&fixture.base, "create", "['rep', {'id': 1}]",
                   "{'id': 1, 'name': null, "
                   "'threshold': null, 'born': null}");
    fixture.base.now_us = clock_us();
    fixture_start(&fixture.base, &old, "load", load);
    turn();
    copy_file("tests/modules/version_two.so", name);
    assert_int_equal(use(name, "{}", NOBODY, &error), 0);
    assert_string_equal(call_of("load", load), "[[{\"id\":1,\"subject\":\"two\"}]]");
    assert_false(said("one is closed"));
    uint64_t until_us = clock_us() + PATIENCE_US;
    while (!old.finished) {
        turn();
        assert_true(clock_us() < until_us);
    }
    assert_string_equal(old.answer, "[[{\"id\":1,\"subject\":\"one\"}]]");
    fixture_end(&old);
    turn();
    assert_true(said("one is closed"));
    snprintf(fixture.yaml, sizeof fixture.yaml, "%s/%s", folder(), name);
    unlink(fixture.yaml);
}

/* The caller gives up, the schema is replaced, and the module still has the
 * batch: it is closed when it has answered. */
static void a_batch_that_nobody_waits_for_ends(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct fixture_call call;
    assert_int_equal(use("tests/modules/version_one.so", "{wait_ms: 10}", NOBODY, &error), 0);
    fixture_expect(&fixture.base, "create", "['rep', {'id': 1}]",
                   "{'id': 1, 'name': null, "
                   "'threshold': null, 'born': null}");
    fixture.base.now_us = clock_us();
    fixture_start(&fixture.base, &call, "load", "['rep', [1], 'tickets']");
    turn();
    fixture_end(&call);
    assert_int_equal(use("tests/modules/version_two.so", "{}", NOBODY, &error), 0);
    assert_false(said("one is closed"));
    uint64_t until_us = clock_us() + PATIENCE_US;
    while (!said("one is closed")) {
        turn();
        assert_true(clock_us() < until_us);
    }
}

/* The engine ends while batches and reads are out: teardown checks the rest. */
static void the_end_cancels_what_is_out(void **state)
{
    (void)state;
    struct fixture_call call;
    open_with("{do: never}", NOBODY);
    fixture.base.now_us = clock_us();
    fixture_start(&fixture.base, &call, "load", "['rep', [1], 'tickets']");
    turn();
    engine_close(fixture.base.engine);
    assert_true(call.finished);
    assert_begins(call.answer, "unavailable: ");
    fixture_end(&call);
    assert_true(said("cancel has its data"));
}

/* Whatever allocation fails: an answer, or an error, and nothing is left. */
static void memory_may_lack(void **state)
{
    (void)state;
    static const char *const words[] = {"{do: one}", "{do: later}", "{do: apply}",
                                        "{do: show_sources}",
                                        "{do: read, method: load, read: [rep, [1, 2], own]}"};
    for (size_t w = 0; w < ARRAY_COUNT(words); w++) {
        struct error error = ERROR_INIT;
        if (w == 0) {
            open_with(words[w], NOBODY "        batch: {timeout: 50ms}\n");
            fill_tickets();
        } else {
            assert_int_equal(use("tests/modules/behaves.so", words[w],
                                 NOBODY "        batch: {timeout: 50ms}\n", &error),
                             0);
        }
        for (long i = 0;; i++) {
            heap_fail_at(i);
            const char *answer = load_all();
            bool failed = heap_failed() != 0;
            heap_fail_at(-1);
            if (!failed) {
                assert_int_equal(answer[0], '[');
                break;
            }
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(answers_of_all_kinds_are_the_same),
        TEST(a_map_may_leave_out_and_say_too_much),
        TEST(the_daemon_honours_the_query),
        TEST(keys_are_fetched),
        TEST(answers_on_other_threads_are_refused),
        TEST(sources_and_fields_are_shown),
        TEST(source_fields_hide_the_others),
        TEST(the_context_has_the_declared_facts),
        TEST(parts_of_the_query_are_unset),
        TEST(queries_are_applied_in_memory),
        TEST(a_wrong_query_is_told),
        TEST(apply_and_the_daemon_agree),
        TEST(modules_read_by_every_method),
        TEST(wrong_reads_are_told),
        TEST(reads_end_with_their_batch),
        TEST(commands_need_a_redis),
        TEST(a_second_answer_is_ignored),
        TEST(what_never_comes_is_a_timeout),
        TEST(what_comes_after_cancel_is_late),
        TEST(wrong_shapes_are_the_modules_error),
        TEST(a_batch_is_answered_in_one_way),
        TEST(answers_are_bounded),
        TEST(one_source_fails_alone),
        TEST(who_holds_the_loop_is_named),
        TEST(the_log_is_not_flooded),
        TEST(what_is_no_module_is_refused),
        TEST(files_are_looked_at),
        TEST(a_replaced_module_is_taken_at_reload),
        TEST(a_batch_that_nobody_waits_for_ends),
        TEST(the_end_cancels_what_is_out),
        TEST(memory_may_lack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

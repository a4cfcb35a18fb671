#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/query/expr_shown.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/expr_fixture.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* What a loader outside is shown of filters and sorts: the texts themselves, and
 * on random filters, callers and records that they mean the same. */

enum { TICKETS = 24, REPRESENTATIVES = 5, ROUNDS = 4000 };

struct world_of_test {
    struct expr_fixture f;
    struct relationship relationship;
    struct buffer text;
    struct buffer params;
    struct expr_shown shown;
};

static int setup(void **state)
{
    struct world_of_test *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    expr_fixture_init(&w->f);
    w->relationship.actor = ACTOR_ALL;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world_of_test *w = *state;
    buffer_release(&w->text);
    buffer_release(&w->params);
    expr_fixture_release(&w->f);
    free(w);
    return 0;
}

static void begin(struct world_of_test *w)
{
    buffer_truncate(&w->text, 0);
    buffer_truncate(&w->params, 0);
    w->shown = (struct expr_shown){.eval = &w->f.eval,
                                   .relationship = &w->relationship,
                                   .text = &w->text,
                                   .params = &w->params};
}

static const struct expr *compile(struct world_of_test *w, const char *text)
{
    const struct expr *expr = expr_fixture_text(&w->f, "ticket", "representative", text);
    if (expr == NULL) {
        fail_msg("%s: %s", text, w->f.error.message);
    }
    return expr;
}

/* The params as a map, as they stand beside the filter. */
static void params_map(const struct world_of_test *w, struct buffer *out)
{
    buffer_truncate(out, 0);
    write_map(out, w->shown.param_count);
    buffer_append(out, w->params.bytes, w->params.size);
}

static void expect_shown(struct world_of_test *w, const char *text, const char *params,
                         bool dropped)
{
    struct buffer map = BUFFER_INIT;
    struct buffer json = BUFFER_INIT;
    params_map(w, &map);
    struct reader in = reader_of(map.bytes, map.size);
    msgpack_to_json(&in, &json);
    buffer_byte(&json, '\0');
    buffer_byte(&w->text, '\0');
    assert_string_equal((const char *)w->text.bytes, text);
    assert_string_equal((const char *)json.bytes, params);
    assert_int_equal(w->shown.dropped, dropped);
    assert_false(w->text.failed || w->params.failed);
    buffer_release(&map);
    buffer_release(&json);
}

static void expect(struct world_of_test *w, const char *filter, const char *text,
                   const char *params, bool dropped)
{
    begin(w);
    expr_show(&w->shown, compile(w, filter));
    expect_shown(w, text, params, dropped);
}

static void test_parent(void **state)
{
    struct world_of_test *w = *state;
    expect(w, "priority > 2", "priority > 2", "{}", false);
    expect(w, "representative_id == parent.id", "", "{}", true);
    expect(w, "representative_id == parent.id and priority > 2 and urgent",
           "priority > 2 and urgent", "{}", true);
    expect(w, "(urgent or priority > parent.threshold) and id > 1", "id > 1", "{}", true);
    expect(w, "not (priority > parent.threshold) and id > 1", "id > 1", "{}", true);
    /* Within exists, parent is the ticket; only further out it is the source. */
    expect(w, "exists(representative.tickets, id > parent.id) and exists(parent.tickets)",
           "exists(representative.tickets, id > parent.id)", "{}", true);
    expect(w, "exists(representative.tickets, id > parent.parent.id)", "", "{}", true);
    expect(w, "exists(representative.tickets, exists(parent.representative))",
           "exists(representative.tickets, exists(parent.representative))", "{}", false);
}

static void test_facts(void **state)
{
    struct world_of_test *w = *state;
    expr_fixture_actor(&w->f, "{'id': 7, 'role': 'ad\"min', 'teams': [1, 2, 'x'], 'flag': true,"
                              " 'when': '2026-01-02T03:04:05Z', 'deep': {'a': 1}}");
    w->f.eval.tenant = (struct value){.kind = VALUE_TEXT, .size = 1, .bytes = (const uint8_t *)"t"};
    expect(w, "representative_id == actor.id", "representative_id == 7", "{}", false);
    expect(w, "subject == actor.role", "subject == \"ad\\\"min\"", "{}", false);
    expect(w, "subject == tenant", "subject == \"t\"", "{}", false);
    expect(w, "opened_at < now()", "opened_at < \"1970-01-12T13:46:40Z\"", "{}", false);
    expect(w, "opened_at < actor.when", "opened_at < \"2026-01-02T03:04:05Z\"", "{}", false);
    expect(w, "priority > actor.id * 2 + 1 - id", "priority > 15 - id", "{}", false);
    expect(w, "urgent == actor.flag", "urgent == true", "{}", false);
    /* Absent, and of a type that the field cannot have: nil. */
    expect(w, "priority > actor.missing or urgent", "(priority > $p1 or urgent)", "{\"p1\":null}",
           false);
    expect(w, "priority > actor.role", "priority > $p1", "{\"p1\":null}", false);
    expect(w, "status == actor.role", "status == $p1", "{\"p1\":null}", false);
    expect(w, "priority == 1 + actor.role + id", "priority == $p1", "{\"p1\":null}", false);
    /* Lists: items of another type are nil. */
    expect(w, "priority in actor.teams", "priority in [1, 2, nil]", "{}", false);
    expect(w, "subject in actor.teams", "subject in [\"x\", nil]", "{}", false);
    expect(w, "priority in actor.role", "$p1", "{\"p1\":null}", false);
    expect(w, "actor.id in extra", "7 in extra", "{}", false);
    expect(w, "actor.when in extra", "\"2026-01-02T03:04:05Z\" in extra", "{}", false);
    expect(w, "extra == actor.deep", "extra == $p1", "{\"p1\":{\"a\":1}}", false);
    /* What the caller alone decides is decided. */
    expect(w, "actor.flag and priority > 1", "priority > 1", "{}", false);
    expect(w, "actor.flag or priority > 1", "", "{}", false);
    expect(w, "not actor.flag and priority > 1", "false and priority > 1", "{}", false);
    expect(w, "(actor.id == 8 or priority > 1) and urgent", "priority > 1 and urgent", "{}", false);
    expect(w, "actor.role == 'admin' or urgent", "urgent", "{}", false);
    expect(w, "exists(representative.tickets, id == actor.id)",
           "exists(representative.tickets, id == 7)", "{}", false);
    /* A text that is read as a moment only because of now() has no literal. */
    expect(w, "subject < now() and id > 1", "id > 1", "{}", true);
}

static void test_some_facts(void **state)
{
    static const char *const facts[] = {"id"};
    struct world_of_test *w = *state;
    expr_fixture_actor(&w->f, "{'id': 7, 'role': 'admin'}");
    const char *filter = "representative_id == actor.id and subject == actor.role and urgent and "
                         "(urgent or actor.role == 'x')";
    w->relationship.actor = ACTOR_SOME;
    w->relationship.actor_facts = facts;
    w->relationship.actor_fact_count = 1;
    expect(w, filter, "representative_id == 7 and urgent", "{}", true);
    w->relationship.actor = ACTOR_NONE;
    w->relationship.actor_fact_count = 0;
    expect(w, filter, "urgent", "{}", true);
    w->relationship.actor = ACTOR_ALL;
    expect(w, filter, "representative_id == 7 and subject == \"admin\" and urgent and urgent", "{}",
           false);
    /* No actor: no facts. */
    w->f.eval.actor = NULL;
    expect(w, "representative_id == actor.id", "representative_id == $p1", "{\"p1\":null}", false);
}

/* Several filters are one text, and count their params on. */
static void test_several(void **state)
{
    struct world_of_test *w = *state;
    begin(w);
    expr_show(&w->shown, NULL);
    expr_show(&w->shown, compile(w, "id == 1 or id == actor.id"));
    expr_fixture_params(&w->f, "{'a': null, 'b': {'x': [1]}}");
    expr_show(&w->shown, compile(w, "id == $a and extra == $b"));
    expr_show(&w->shown, compile(w, "priority == parent.threshold or urgent"));
    expr_show(&w->shown, compile(w, "not urgent"));
    expect_shown(w, "(id == 1 or id == $p1) and id == $p2 and extra == $p3 and not urgent",
                 "{\"p1\":null,\"p2\":null,\"p3\":{\"x\":[1]}}", true);
}

/* A long text is a param: the filter must fit within filter_bytes. */
static void test_long_text(void **state)
{
    struct world_of_test *w = *state;
    struct buffer actor = BUFFER_INIT;
    static char text[20000];
    memset(text, 'x', sizeof(text));
    write_map(&actor, 1);
    write_text(&actor, "name");
    write_string(&actor, text, sizeof(text));
    w->f.eval.actor = actor.bytes;
    w->f.eval.actor_size = (uint32_t)actor.size;
    begin(w);
    expr_show(&w->shown, compile(w, "subject == actor.name or subject in [actor.name, 'a']"));
    buffer_byte(&w->text, '\0');
    assert_string_equal((const char *)w->text.bytes,
                        "(subject == $p1 or subject == $p2 or subject in [\"a\"])");
    assert_int_equal(w->shown.param_count, 2);
    buffer_release(&actor);
}

static void test_order(void **state)
{
    static const char *const texts[] = {"id", "-id", "++priority,--score,-subject,status",
                                        "-representative.team.name,++representative.name,id"};
    struct world_of_test *w = *state;
    const struct expr_scope scope = {.resource = fixture_resource(w->f.schema, "ticket")};
    const struct expr_compiler compiler = {
        .arena = &w->f.arena, .limits = &w->f.limits, .scope = &scope};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const struct order *order = NULL;
        struct buffer out = BUFFER_INIT;
        assert_int_equal(order_compile_text(&compiler, texts[i], strlen(texts[i]), &order, NULL),
                         0);
        order_print(order, &out);
        buffer_byte(&out, '\0');
        assert_string_equal((const char *)out.bytes, texts[i]);
        buffer_release(&out);
    }
}

/* Each lack of memory is told, by the buffer, until it is enough. */
static void test_without_memory(void **state)
{
    struct world_of_test *w = *state;
    expr_fixture_actor(&w->f, "{'id': 7, 'list': [1, 2, 3]}");
    const struct expr *expr = compile(w, "(id == actor.id or id in actor.list) and "
                                         "exists(representative.tickets, id == actor.id)");
    bool passed = false;
    unsigned failures = 0;
    for (size_t most = 64; !passed; most += 64) {
        struct arena arena;
        arena_init(&arena, most);
        w->f.eval.arena = &arena;
        begin(w);
        expr_show(&w->shown, expr);
        passed = !w->text.failed;
        failures += w->text.failed;
        assert_true(passed || w->shown.dropped);
        w->text.failed = false;
        arena_release(&arena);
    }
    w->f.eval.arena = &w->f.arena;
    assert_true(failures > 3);
    expect_shown(w, "(id == 7 or id in [1, 2, 3]) and exists(representative.tickets, id == 7)",
                 "{}", false);
}

/* ---- Random ---- */

struct maker {
    struct random random;
    char text[8000];
    size_t size;
    int scope; /* filters of exists around */
};

static unsigned below(struct maker *m, unsigned count)
{
    return (unsigned)random_below(&m->random, count);
}

static void say(struct maker *m, const char *text)
{
    size_t size = strlen(text);
    CHECK(m->size + size < sizeof(m->text));
    memcpy(m->text + m->size, text, size + 1);
    m->size += size;
}

static void say_one(struct maker *m, const char *const *texts, size_t count)
{
    say(m, texts[below(m, (unsigned)count)]);
}

#define SAY_ONE(m, ...)                                           \
    do {                                                          \
        static const char *const texts_[] = {__VA_ARGS__};        \
        say_one((m), texts_, sizeof(texts_) / sizeof(texts_[0])); \
    } while (0)

/* Facts stand twice as often as they would: they are what is tried. */
static void say_fact(struct maker *m)
{
    SAY_ONE(m, "actor.n", "actor.f", "actor.name", "actor.flag", "actor.when", "actor.list",
            "actor.x", "actor.bin", "actor.none", "tenant");
}

static void say_number(struct maker *m, int depth)
{
    if (depth > 0 && below(m, 3) == 0) {
        say(m, "(");
        say_number(m, depth - 1);
        SAY_ONE(m, " + ", " - ", " * ", " / ", " % ");
        say_number(m, depth - 1);
        say(m, ")");
        return;
    }
    if (below(m, 8) == 0) {
        say(m, "-(");
        say_number(m, 0);
        say(m, ")");
        return;
    }
    if (below(m, 3) == 0) {
        say_fact(m);
        return;
    }
    SAY_ONE(m, "id", "priority", "score", "length(subject)", "3", "-1", "0.5", "priority", "score",
            "representative.threshold", "length(actor.name)", "actor.n", "actor.f",
            "9223372036854775807", "length(actor.list)");
}

static void say_text(struct maker *m)
{
    if (below(m, 3) == 0) {
        say_fact(m);
        return;
    }
    SAY_ONE(m, "subject", "status", "token", "lower(subject)", "'a'", "'open'", "upper(actor.name)",
            "representative.name", "lower(actor.x)", "'2026-01-02'", "upper(status)", "actor.name",
            "'00000000-0000-0000-0000-00000000000A'");
}

static void say_moment(struct maker *m)
{
    SAY_ONE(m, "opened_at", "now()", "'2026-01-02'", "actor.when", "opened_at", "subject", "now()",
            "actor.name", "tenant");
}

static void say_any(struct maker *m)
{
    if (below(m, 3) == 0) {
        say_fact(m);
        return;
    }
    SAY_ONE(m, "extra", "extra", "body", "urgent", "subject", "now()", "4", "'a'", "true");
}

static void say_comparison(struct maker *m)
{
    unsigned group = below(m, 5);
    bool first = true;
    for (int i = 0; i < 2; i++, first = false) {
        if (!first) {
            SAY_ONE(m, " == ", " != ", " == ", " < ", " <= ", " > ", " >= ");
        }
        if (group == 0 || group == 4) {
            say_number(m, 2);
        } else if (group == 1) {
            say_text(m);
        } else if (group == 2) {
            say_moment(m);
        } else {
            say_any(m);
        }
    }
}

static void say_in(struct maker *m)
{
    unsigned group = below(m, 3);
    if (group == 0) {
        say_number(m, 1);
        SAY_ONE(m, " in ", " not in ");
        SAY_ONE(m, "[1, 2]", "[1, actor.n]", "actor.list", "extra", "actor.x", "[]", "actor.list",
                "[id, 3, nil]", "tenant");
    } else if (group == 1) {
        say_text(m);
        SAY_ONE(m, " in ", " not in ");
        SAY_ONE(m, "['a', 'open']", "['a', actor.name]", "actor.list", "extra", "actor.x",
                "[actor.name, nil]", "[actor.x, subject]");
    } else {
        SAY_ONE(m, "opened_at", "now()", "urgent", "extra", "body", "actor.x", "actor.when");
        SAY_ONE(m, " in ", " not in ");
        SAY_ONE(m, "actor.list", "extra", "actor.x", "['2026-01-02', actor.when]",
                "[actor.flag, true]");
    }
}

static void say_condition(struct maker *m, int depth);

static void say_exists(struct maker *m, int depth)
{
    SAY_ONE(m, "exists(representative.tickets, ",
            "exists(representative.tickets, parent.id > id and ", "exists(parent.tickets, ");
    m->scope++;
    say_condition(m, depth - 1);
    m->scope--;
    say(m, ")");
}

static void say_condition(struct maker *m, int depth)
{
    unsigned kind = depth > 0 ? below(m, 14) : 6 + below(m, 8);
    if (kind < 4) {
        say(m, "(");
        unsigned parts = 2 + below(m, 2);
        for (unsigned i = 0; i < parts; i++) {
            say(m, i == 0 ? "" : kind < 2 ? " and " : " or ");
            say_condition(m, depth - 1);
        }
        say(m, ")");
    } else if (kind == 4) {
        say(m, "not (");
        say_condition(m, depth - 1);
        say(m, ")");
    } else if (kind == 5) {
        say_exists(m, depth);
    } else if (kind < 10) {
        say_comparison(m);
    } else if (kind == 10) {
        say_in(m);
    } else if (kind == 11) {
        SAY_ONE(m, "contains(", "starts_with(", "ends_with(");
        say_text(m);
        say(m, ", ");
        say_text(m);
        say(m, ")");
    } else if (kind == 12) {
        say(m, "is_nil(");
        say_any(m);
        say(m, ")");
    } else {
        SAY_ONE(m, "urgent", "actor.flag", "actor.x", "priority > parent.threshold", "nil",
                "tenant", "representative_id == parent.id", "(actor.n == 1) == urgent");
    }
}

/* ---- Random callers ---- */

static void write_scalar(struct maker *m, struct buffer *out)
{
    static const char *const texts[] = {"",
                                        "a",
                                        "A",
                                        "open",
                                        "Open",
                                        "closed",
                                        "2026-01-02T00:00:00Z",
                                        "2026-01-02",
                                        "1",
                                        "a\"\\\n\x01",
                                        "äb",
                                        "true",
                                        "00000000-0000-0000-0000-00000000000a"};
    const struct datetime moment = {.seconds = (int64_t)below(m, 3) * 1000000, .nanoseconds = 0};
    const char *text = texts[below(m, ARRAY_COUNT(texts))];
    switch (below(m, 8)) {
    case 0:
        write_nil(out);
        return;
    case 1:
        write_boolean(out, below(m, 2) == 0);
        return;
    case 2:
        write_integer(out, below(m, 9) == 0 ? INT64_MIN : (int64_t)below(m, 9) - 4);
        return;
    case 3:
        write_float(out, ((double)below(m, 17) - 8) / 4);
        return;
    case 4:
        write_binary(out, text, strlen(text));
        return;
    case 5:
        write_datetime(out, &moment);
        return;
    default:
        write_text(out, text);
    }
}

static void write_fact(struct maker *m, struct buffer *out, bool list)
{
    unsigned kind = list ? below(m, 2) : below(m, 9);
    if (kind == 0) {
        unsigned count = below(m, below(m, 12) == 0 ? 60 : 4);
        write_array(out, count);
        for (unsigned i = 0; i < count; i++) {
            if (below(m, 12) == 0) {
                write_array(out, 1);
            }
            write_scalar(m, out);
        }
    } else if (kind == 1 && below(m, 3) == 0) {
        write_map(out, 1);
        write_text(out, "a");
        write_scalar(m, out);
    } else {
        write_scalar(m, out);
    }
}

static void make_actor(struct maker *m, struct expr_fixture *f)
{
    static const char *const names[] = {"n", "f", "name", "flag", "when", "list", "x", "bin"};
    buffer_truncate(&f->actor, 0);
    write_map(&f->actor, ARRAY_COUNT(names));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        write_text(&f->actor, names[i]);
        if (i == 0 && below(m, 2) == 0) {
            write_integer(&f->actor, below(m, 5));
        } else {
            write_fact(m, &f->actor, i == 5);
        }
    }
    f->eval.actor = below(m, 20) == 0 ? NULL : f->actor.bytes;
    f->eval.actor_size = (uint32_t)f->actor.size;
    static const char *const tenants[] = {"a", "open", "2026-01-02"};
    const char *tenant = tenants[below(m, 3)];
    f->eval.tenant = value_nil();
    if (below(m, 3) > 0) {
        f->eval.tenant = (struct value){
            .kind = VALUE_TEXT, .size = (uint32_t)strlen(tenant), .bytes = (const uint8_t *)tenant};
    }
}

/* A ticket of these fields, and with anything as `extra`. */
static void put_ticket(struct maker *m, struct expr_fixture *f, const char *map)
{
    const struct resource *resource = fixture_resource(f->schema, "ticket");
    struct store *store = f->stores[resource->position];
    struct buffer bytes = BUFFER_INIT;
    const struct record *stored;
    json_to_msgpack(map, &bytes);
    bytes.bytes[0]++; /* one pair more */
    write_text(&bytes, "extra");
    write_fact(m, &bytes, below(m, 2) == 0);
    struct record *image = fixture_record(resource, &f->arena, bytes.bytes, bytes.size);
    store->ops->begin(store);
    assert_int_equal(store->ops->put(store, NULL, image, &stored, &f->error), 0);
    store->ops->commit(store);
    buffer_release(&bytes);
}

static void make_records(struct maker *m, struct expr_fixture *f)
{
    static const char *const texts[] = {"null",         "'a'", "'A'", "'open'",
                                        "'2026-01-02'", "''",  "'äb'"};
    static const char *const statuses[] = {"null", "'open'", "'closed'"};
    static const char *const tokens[] = {"null", "'00000000-0000-0000-0000-00000000000A'"};
    static const char *const moments[] = {"null", "'2026-01-02'", "'1970-01-12T13:46:40Z'"};
    static const char *const bodies[] = {"null", "'a'", "'open'"};
    static const char *const booleans[] = {"null", "true", "false"};
    char map[600];
    for (int i = 0; i < REPRESENTATIVES; i++) {
        snprintf(map, sizeof(map), "{'id': %d, 'name': %s, 'threshold': %d}", i, texts[below(m, 7)],
                 (int)below(m, 7) - 3);
        expr_fixture_put(f, "representative", map);
    }
    for (int i = 0; i < TICKETS; i++) {
        snprintf(map, sizeof(map),
                 "{'id': %d, 'representative_id': %u, 'subject': %s, 'status': %s, 'priority': %d,"
                 " 'score': %.2f, 'urgent': %s, 'token': %s, 'opened_at': %s, 'body': %s}",
                 i, below(m, REPRESENTATIVES + 1), texts[below(m, 7)], statuses[below(m, 3)],
                 (int)below(m, 9) - 4, ((int)below(m, 17) - 8) / 4.0, booleans[below(m, 3)],
                 tokens[below(m, 2)], moments[below(m, 3)], bodies[below(m, 3)]);
        put_ticket(m, f, map);
    }
}

static bool is_true(const struct value *value)
{
    return value->kind == VALUE_BOOLEAN && value->boolean;
}

/* What is shown reads back; and is true where the filter is, and nowhere else
 * unless something was left out. */
static void check_shown(struct world_of_test *w, struct maker *m, const struct expr *expr)
{
    struct expr_fixture *f = &w->f;
    const struct expr *again = NULL;
    const struct record *parent = expr_fixture_get(f, "representative", below(m, REPRESENTATIVES));
    if (w->text.size > 0) {
        params_map(w, &f->params);
        buffer_byte(&w->text, '\0');
        again = expr_fixture_text(f, "ticket", NULL, (const char *)w->text.bytes);
        if (again == NULL) {
            fail_msg("%s\nis shown as\n%s\n%s", m->text, (const char *)w->text.bytes,
                     f->error.message);
        }
    }
    for (int i = 0; i < TICKETS; i++) {
        const struct record *ticket = expr_fixture_get(f, "ticket", i);
        struct value whole = expr_fixture_run(f, expr, ticket, parent, UINT64_MAX);
        struct value part = {.kind = VALUE_BOOLEAN, .boolean = true};
        if (again != NULL) {
            struct eval eval = f->eval; /* a loader's read: whose does not matter */
            f->eval.actor = NULL;
            f->eval.tenant = value_nil();
            f->eval.now = (struct datetime){.seconds = 5};
            part = expr_fixture_run(f, again, ticket, NULL, UINT64_MAX);
            f->eval = eval;
        }
        bool same = is_true(&whole) == is_true(&part);
        if (!same && !(w->shown.dropped && is_true(&part))) {
            fail_msg("%s\nis %s for ticket %d and shown as\n%s", m->text,
                     is_true(&whole) ? "true" : "not true", i,
                     w->text.size > 0 ? (const char *)w->text.bytes : "nothing");
        }
    }
}

static void test_random(void **state)
{
    struct world_of_test *w = *state;
    struct maker m = {.random = random_start("test_expr_shown")};
    unsigned compiled = 0, dropped = 0, shown = 0;
    make_records(&m, &w->f);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct arena arena;
        m.size = 0;
        say_condition(&m, (int)below(&m, 4));
        make_actor(&m, &w->f);
        buffer_truncate(&w->f.params, 0);
        arena_init(&arena, 0);
        struct arena kept = w->f.arena;
        w->f.arena = arena;
        const struct expr *expr = expr_fixture_text(&w->f, "ticket", "representative", m.text);
        if (expr != NULL) {
            compiled++;
            begin(w);
            expr_show(&w->shown, expr);
            assert_false(w->text.failed || w->params.failed);
            dropped += w->shown.dropped;
            shown += w->text.size > 0 && !w->shown.dropped;
            check_shown(w, &m, expr);
        }
        arena = w->f.arena;
        w->f.arena = kept;
        arena_release(&arena);
    }
    /* The test is about something. */
    assert_true(compiled > ROUNDS / 4);
    assert_true(shown > compiled / 4);
    assert_true(dropped > compiled / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_some_facts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

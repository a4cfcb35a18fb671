#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/query/expr.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/expr_fixture.h"
#include "tests/lib/schema_fixture.h"

/* The language as users see it: what filters are true of which records, what
 * is refused and with which words, what they tell planners and caches. */

static int setup(void **state)
{
    struct expr_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    expr_fixture_init(f);
    expr_fixture_put(f, "team", "{'id': 1, 'name': 'Red', 'level': 1}");
    expr_fixture_put(f, "team", "{'id': 2, 'name': 'Blue', 'level': 2}");
    expr_fixture_put(f, "representative",
                     "{'id': 1, 'name': 'Ann', 'team_id': 1, 'threshold': 3, 'active': true}");
    expr_fixture_put(f, "representative",
                     "{'id': 2, 'name': 'Bob', 'team_id': 2, 'threshold': 5, 'active': false}");
    expr_fixture_put(f, "representative", "{'id': 3, 'name': 'Cid'}");
    expr_fixture_put(f, "representative_team", "{'representative_id': 1, 'team_id': 2}");
    expr_fixture_put(f, "ticket",
                     "{'id': 1, 'representative_id': 1, 'subject': 'Printer burns',"
                     " 'status': 'open', 'priority': 7, 'score': 2.5, 'urgent': true,"
                     " 'token': '00000000-0000-0000-0000-00000000ABCD',"
                     " 'opened_at': '2026-01-02T03:04:05Z', 'body': 'abc',"
                     " 'extra': [1, 'two', {'a': 1}], 'length': 4}");
    expr_fixture_put(f, "ticket",
                     "{'id': 2, 'representative_id': 1, 'subject': 'Äpfel', 'status': 'closed',"
                     " 'priority': 2, 'score': -0.5, 'urgent': false, 'extra': {'b': 2, 'a': 1}}");
    expr_fixture_put(f, "ticket", "{'id': 3, 'representative_id': 2, 'priority': 5}");
    expr_fixture_put(f, "ticket", "{'id': 4, 'status': 'waiting', 'extra': 'red'}");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    expr_fixture_release(*state);
    free(*state);
    return 0;
}

static char verdict_of(const struct value *value)
{
    if (value->kind == VALUE_NIL) {
        return 'n';
    }
    assert_int_equal(value->kind, VALUE_BOOLEAN);
    return value->boolean ? 't' : 'f';
}

/* A truth for each of the records 1, 2 ... of the resource: t, f or n(il). */
static void expect_truths(struct expr_fixture *f, const struct expr *expr, const char *resource,
                          const char *truths, const char *what)
{
    for (size_t i = 0; truths[i] != '\0'; i++) {
        const struct record *record = expr_fixture_get(f, resource, (int64_t)i + 1);
        struct value quick = expr_fixture_run(f, expr, record, NULL, UINT64_MAX);
        struct value slow = expr_fixture_run(f, expr, record, NULL, 1);
        if (verdict_of(&quick) != truths[i] || verdict_of(&slow) != truths[i]) {
            fail_msg("%s is %c (%c with stops) for %s %zu, expected %c", what, verdict_of(&quick),
                     verdict_of(&slow), resource, i + 1, truths[i]);
        }
    }
}

/* What is printed, compiled again, is true of the same records and prints alike. */
static void expect_round_trip(struct expr_fixture *f, const struct expr *expr, const char *resource,
                              const char *truths)
{
    struct buffer text = BUFFER_INIT;
    struct buffer again = BUFFER_INIT;
    struct buffer params = f->params;
    f->params = (struct buffer)BUFFER_INIT;
    expr_print(expr, &text);
    expr_print_params(expr, &f->params);
    buffer_byte(&text, '\0');
    assert_false(text.failed);
    const struct expr *copy = expr_fixture_text(f, resource, NULL, (const char *)text.bytes);
    if (copy == NULL) {
        fail_msg("%s: %s", (const char *)text.bytes, f->error.message);
    }
    expect_truths(f, copy, resource, truths, (const char *)text.bytes);
    expr_print(copy, &again);
    buffer_byte(&again, '\0');
    assert_string_equal((const char *)again.bytes, (const char *)text.bytes);
    buffer_release(&text);
    buffer_release(&again);
    buffer_release(&f->params);
    f->params = params;
}

static void expect_text(struct expr_fixture *f, const char *resource, const char *text,
                        const char *truths)
{
    const struct expr *expr = expr_fixture_text(f, resource, NULL, text);
    if (expr == NULL) {
        fail_msg("%s: %s", text, f->error.message);
        return;
    }
    expect_truths(f, expr, resource, truths, text);
    expect_round_trip(f, expr, resource, truths);
}

static void expect_map(struct expr_fixture *f, const char *resource, const char *map,
                       const char *truths)
{
    const struct expr *expr = expr_fixture_map(f, resource, NULL, map);
    if (expr == NULL) {
        fail_msg("%s: %s", map, f->error.message);
        return;
    }
    expect_truths(f, expr, resource, truths, map);
    expect_round_trip(f, expr, resource, truths);
}

struct row {
    const char *text;
    const char *truths;
};

static void expect_rows(struct expr_fixture *f, const char *resource, const struct row *rows,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect_text(f, resource, rows[i].text, rows[i].truths);
    }
}

static void test_comparisons(void **state)
{
    static const struct row rows[] = {
        {"priority == 7", "tffn"},
        {"priority != 7", "fttn"},
        {"7 == priority", "tffn"},
        {"priority > 2", "tftn"},
        {"2 < priority", "tftn"},
        {"priority >= 5", "tftn"},
        {"priority < 5", "ftfn"},
        {"priority <= 2", "ftfn"},
        {"priority == 7.0", "tffn"},
        {"priority == 7.5", "fffn"},
        {"priority < 6.5", "fttn"},
        {"score == 2.5", "tfnn"},
        {"score < 1", "ftnn"},
        {"score == -0.5", "ftnn"},
        {"priority > -9223372036854775808", "tttn"},
        {"status == \"open\"", "tfnf"},
        {"status == 'open' or status == 'waiting'", "tfnt"},
        {"status != 'open'", "ftnt"},
        {"subject > 'Q'", "ftnn"},
        {"subject == 'Printer \\u0062urns'", "tfnn"},
        {"token == '00000000-0000-0000-0000-00000000AbCd'", "tnnn"},
        {"opened_at == '2026-01-02 03:04:05'", "tnnn"},
        {"opened_at > '2026-01-02'", "tnnn"},
        {"opened_at > now()", "tnnn"},
        {"body == 'abc'", "tnnn"},
        {"urgent", "tfnn"},
        {"not urgent", "ftnn"},
        {"urgent == false", "ftnn"},
        {"urgent > false", "tfnn"},
        {"(priority > 2) == true", "tftn"},
        {"extra == [1, 'two', 3]", "ffnf"},
        {"extra == 'red'", "ffnt"},
        {"extra != 'red'", "ttnf"},
        {"length == 4", "tnnn"},
        {"priority == id + 2", "fftn"},
        {"true", "tttt"},
        {"nil", "nnnn"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_logic(void **state)
{
    static const struct row rows[] = {
        {"priority > 2 and urgent", "tfnn"},
        {"urgent and priority > 2", "tfnn"},
        {"priority > 2 or urgent", "tftn"},
        {"nil and false", "ffff"},
        {"nil or true", "tttt"},
        {"nil or false", "nnnn"},
        {"not nil", "nnnn"},
        {"true and nil and true", "nnnn"},
        {"nil and true and false", "ffff"},
        {"false or nil or false or true", "tttt"},
        {"not (urgent or priority == 5)", "ftfn"},
        {"not urgent and not priority == 5", "ftfn"},
        {"true or false and false", "tttt"},
        {"(true or false) and false", "ffff"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_arithmetic(void **state)
{
    static const struct row rows[] = {
        {"priority + 1 == 8", "tffn"},
        {"7 / 2 == 3 and -7 / 2 == -3 and -7 % 3 == -1", "tttt"},
        {"7.0 / 2 == 3.5", "tttt"},
        {"is_nil(priority / 0)", "tttt"},
        {"is_nil(1.0 / 0)", "tttt"},
        {"is_nil(priority % (priority - priority))", "tttt"},
        {"is_nil(9223372036854775807 + priority)", "tttt"},
        {"is_nil(-9223372036854775808 / -1)", "tttt"},
        {"is_nil(1e308 * 10)", "tttt"},
        {"2 + 3 * 4 == 14 and (2 + 3) * 4 == 20 and 10 - 3 - 2 == 5", "tttt"},
        {"-priority == -7", "tffn"},
        {"--5 == 5", "tttt"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_lists(void **state)
{
    static const struct row rows[] = {
        {"priority in [7, 5]", "tftn"},
        {"priority not in [7, 5]", "ftfn"},
        {"priority in [7.0, 1.5]", "tffn"},
        {"priority in []", "ffff"},
        {"priority not in []", "tttt"},
        {"priority in [7, nil]", "tnnn"},
        {"priority not in [7, nil]", "fnnn"},
        {"priority in [nil]", "nnnn"},
        {"status in ['open', 'closed']", "ttnf"},
        {"token in ['00000000-0000-0000-0000-00000000ABCD']", "tnnn"},
        {"opened_at in ['2026-01-02T03:04:05Z']", "tnnn"},
        {"priority in [id, 5]", "fttn"},
        {"priority in [7, id + 2]", "tftn"},
        {"'two' in extra", "tnnn"},
        {"'five' not in extra", "tnnn"},
        {"3 in [1, 3]", "tttt"},
        {"extra in ['red', 1]", "ffnt"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_functions(void **state)
{
    static const struct row rows[] = {
        {"is_nil(subject)", "fftt"},
        {"contains(subject, 'burn')", "tfnn"},
        {"starts_with(subject, 'Print')", "tfnn"},
        {"ends_with(subject, 'pfel')", "ftnn"},
        {"contains(subject, '')", "ttnn"},
        {"starts_with(status, 'o')", "tfnf"},
        {"length(subject) == 5", "ftnn"},
        {"length(body) == 3", "tnnn"},
        {"length(extra) == 3", "tnnt"},
        {"lower(subject) == 'äpfel'", "ftnn"},
        {"upper(subject) == 'ÄPFEL'", "ftnn"},
        {"contains(upper(subject), upper('burns'))", "tfnn"},
        {"lower(subject) == lower('ÄPFEL')", "ftnn"},
        {"length([1, 2]) == 2", "tttt"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_paths(void **state)
{
    static const struct row rows[] = {
        {"representative.name == 'Ann'", "ttfn"},
        {"representative.name == 'Ann' and representative.team_id == 1", "ttfn"},
        {"representative.team.name == 'Blue'", "fftn"},
        {"representative.team.level > 1 and representative.active", "fffn"},
        {"representative.active_team.name == 'Blue'", "nntn"},
        {"is_nil(representative.name)", "ffft"},
        {"representative.latest_ticket.id == id", "ftt"
                                                  "n"},
        {"representative.latest_ticket.status == 'closed'", "ttnn"},
        {"representative.name in ['Ann']", "ttfn"},
        {"representative.active", "ttfn"},
    };
    expect_rows(*state, "ticket", rows, ARRAY_COUNT(rows));
}

static void test_exists(void **state)
{
    static const struct row rows[] = {
        {"exists(tickets, status == 'open')", "tff"},
        {"exists(tickets, status == 'waiting')", "fff"},
        {"exists(tickets)", "ttf"},
        {"not exists(tickets)", "fft"},
        {"exists(tickets, priority > parent.threshold)", "tff"},
        {"exists(above)", "tff"},
        {"exists(above, priority == 2)", "fff"},
        {"exists(two_tickets, id == 2)", "tff"},
        {"exists(latest_ticket, status == 'open')", "fff"},
        {"exists(latest_ticket, status == 'closed')", "tff"},
        {"exists(team, level == 2)", "ftf"},
        {"exists(skills, name == 'Blue')", "tff"},
        {"exists(team.members, id != parent.id)", "fff"},
        {"exists(team.members, id == parent.id)", "ttf"},
        {"exists(team.members, exists(tickets, id > parent.parent.id))", "ttf"},
        {"exists(tickets, exists(representative, name == parent.parent.name))", "ttf"},
        {"exists(tickets, representative.team.level > parent.team.level - 1)", "ttf"},
        {"exists(tickets, exists(parent.team, level == 1))", "tff"},
    };
    expect_rows(*state, "representative", rows, ARRAY_COUNT(rows));
}

static void test_maps(void **state)
{
    static const struct row rows[] = {
        {"{}", "tttt"},
        {"{'or': []}", "ffff"},
        {"{'and': []}", "tttt"},
        {"{'status': 'open'}", "tfnf"},
        {"{'status': {'eq': 'open'}}", "tfnf"},
        {"{'status': {'not_eq': 'open'}, 'priority': {'lt': 3}}", "ftfn"},
        {"{'priority': {'gt': 2, 'lte': 5}}", "fftn"},
        {"{'priority': {'gte': 7}}", "tffn"},
        {"{'priority': {}}", "tttt"},
        {"{'or': [{'priority': 7}, {'priority': 5}]}", "tftn"},
        {"{'not': {'priority': 7}}", "fttn"},
        {"{'and': [{'priority': {'gt': 1}}, {'urgent': true}]}", "tfnn"},
        {"{'id': {'in': [1, 4]}}", "tfft"},
        {"{'priority': {'in': [7, null]}}", "tnnn"},
        {"{'subject': {'is_nil': true}}", "fftt"},
        {"{'subject': {'is_nil': false}}", "ttff"},
        {"{'subject': {'contains': 'urn'}}", "tfnn"},
        {"{'subject': {'starts_with': 'P'}}", "tfnn"},
        {"{'subject': {'ends_with': 'l'}}", "ftnn"},
        {"{'representative': {'name': 'Ann'}}", "ttfn"},
        {"{'representative': {'or': [{'name': 'Ann'}, {'team': {'level': 2}}]}}", "tttn"},
        {"{'representative': {}}", "tttt"},
        {"{'extra': {'eq': {'a': 1, 'b': 2}}}", "ftnf"},
        {"{'opened_at': {'gt': '2026-01-01'}}", "tnnn"},
        {"{'representative': {'tickets': {'status': 'open'}}}", "ttff"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        expect_map(*state, "ticket", rows[i].text, rows[i].truths);
    }
    expect_map(*state, "representative", "{'tickets': {'status': 'open'}}", "tff");
    expect_map(*state, "representative", "{'tickets': {}}", "ttf");
}

static void test_params(void **state)
{
    struct expr_fixture *f = *state;
    expr_fixture_params(f, "{'min': 5, 'none': null, 'ids': [1, 4], 'with_nil': [7, null],"
                           " 'status': 'open', 'at': '2026-01-02', 'object': {'b': 2, 'a': 1},"
                           " 'unused': 1}");
    expect_text(f, "ticket", "priority >= $min", "tftn");
    expect_text(f, "ticket", "priority == $none", "nnnn");
    expect_text(f, "ticket", "priority in $none", "nnnn");
    expect_text(f, "ticket", "is_nil($none)", "tttt");
    expect_text(f, "ticket", "id in $ids", "tfft");
    expect_text(f, "ticket", "priority in $with_nil", "tnnn");
    expect_text(f, "ticket", "status == $status", "tfnf");
    expect_text(f, "ticket", "opened_at > $at", "tnnn");
    expect_text(f, "ticket", "extra == $object", "ftnf");
    expect_text(f, "ticket", "status in [$status, 'closed']", "ttnf");
    assert_null(expr_fixture_text(f, "ticket", NULL, "priority == $mim"));
    assert_non_null(strstr(f->error.message, "did you mean \"min\""));
    assert_null(expr_fixture_text(f, "ticket", NULL, "status == $min"));
}

/* Values that only MessagePack has: binaries and timestamps. */
static void test_params_beyond_json(void **state)
{
    struct expr_fixture *f = *state;
    const struct datetime moment = {.seconds = 1767323045};
    write_map(&f->params, 5);
    write_binary(&f->params, "moment", 6);
    write_datetime(&f->params, &moment);
    write_text(&f->params, "bytes");
    write_binary(&f->params, "\xff\x00", 2);
    write_text(&f->params, "nan");
    write_float(&f->params, 0.0 / 0.0);
    write_text(&f->params, "huge");
    write_unsigned(&f->params, UINT64_MAX);
    write_text(&f->params, "text");
    write_binary(&f->params, "open", 4);
    expect_text(f, "ticket", "opened_at == $moment", "tnnn");
    expect_text(f, "ticket", "$moment == '2026-01-02T03:04:05Z'", "tttt");
    expect_text(f, "ticket", "body == $bytes", "fnnn");
    expect_text(f, "ticket", "body in [$bytes, 'abc']", "tnnn");
    expect_text(f, "ticket", "status == $text", "tfnf");
    assert_null(expr_fixture_text(f, "ticket", NULL, "score == $nan"));
    assert_int_equal(f->error.code, CODE_INVALID_FILTER);
    assert_null(expr_fixture_text(f, "ticket", NULL, "score == $huge"));
    assert_null(expr_fixture_text(f, "ticket", NULL, "subject == $bytes"));
}

static void test_actor(void **state)
{
    struct expr_fixture *f = *state;
    expect_text(f, "ticket", "priority == actor.level", "nnnn");
    expr_fixture_actor(f, "{'level': 7, 'role': 'open', 'word': 'seven', 'admin': true,"
                          " 'ids': [1, 4], 'words': ['x'], 'float': 7.0,"
                          " 'token': '00000000-0000-0000-0000-00000000ABCD', 'in': 1}");
    expect_text(f, "ticket", "priority == actor.level", "tffn");
    expect_text(f, "ticket", "priority == actor.float", "tffn");
    expect_text(f, "ticket", "priority == actor.word", "nnnn");
    expect_text(f, "ticket", "status == actor.role", "tfnf");
    expect_text(f, "ticket", "status == actor.word", "nnnn");
    expect_text(f, "ticket", "token == actor.token", "tnnn");
    expect_text(f, "ticket", "token == actor.word", "nnnn");
    expect_text(f, "ticket", "opened_at > actor.word", "nnnn");
    expect_text(f, "ticket", "actor.admin", "tttt");
    expect_text(f, "ticket", "actor.level", "nnnn");
    expect_text(f, "ticket", "id in actor.ids", "tfft");
    expect_text(f, "ticket", "id not in actor.words", "nnnn");
    expect_text(f, "ticket", "actor.role in ['open', 'closed']", "tttt");
    expect_text(f, "ticket", "actor.level in ['open', 'closed']", "nnnn");
    expect_text(f, "ticket", "actor.role == actor.level", "nnnn");
    expect_text(f, "ticket", "actor.in == id", "tfff");
    expect_text(f, "ticket", "length(actor.ids) == 2", "tttt");
    expect_text(f, "ticket", "upper(actor.role) == 'OPEN'", "tttt");
    expect_text(f, "ticket", "is_nil(tenant)", "tttt");
    f->eval.tenant = (struct value){.kind = VALUE_INTEGER, .integer = 2};
    expect_text(f, "ticket", "id == tenant", "ftff");
}

/* A fact that no record could hold is nil, also deep within a list. */
static void test_actor_unsound(void **state)
{
    struct expr_fixture *f = *state;
    write_map(&f->actor, 2);
    write_text(&f->actor, "list");
    write_array(&f->actor, 1);
    write_extension(&f->actor, 5, "x", 1);
    write_text(&f->actor, "one");
    write_extension(&f->actor, 5, "x", 1);
    f->eval.actor = f->actor.bytes;
    f->eval.actor_size = (uint32_t)f->actor.size;
    expect_text(f, "ticket", "extra == actor.list", "nnnn");
    expect_text(f, "ticket", "is_nil(actor.one)", "tttt");
    expect_text(f, "ticket", "id in actor.list", "nnnn");
}

static void test_parent(void **state)
{
    struct expr_fixture *f = *state;
    const struct expr *expr =
        expr_fixture_text(f, "ticket", "representative",
                          "representative_id == parent.id and priority > parent.threshold");
    const struct record *ann = expr_fixture_get(f, "representative", 1);
    const struct record *cid = expr_fixture_get(f, "representative", 3);
    const struct record *ticket = expr_fixture_get(f, "ticket", 1);
    struct value value = expr_fixture_run(f, expr, ticket, ann, 1);
    assert_int_equal(verdict_of(&value), 't');
    value = expr_fixture_run(f, expr, ticket, cid, 1);
    assert_int_equal(verdict_of(&value), 'f');
    expr = expr_fixture_text(f, "ticket", "representative",
                             "exists(representative, name == parent.parent.name) and "
                             "parent.team.name == 'Red'");
    value = expr_fixture_run(f, expr, ticket, ann, 1);
    assert_int_equal(verdict_of(&value), 't');
    value = expr_fixture_run(f, expr, ticket, cid, 1);
    assert_int_equal(verdict_of(&value), 'f');
}

/* ---- Refusals ---- */

struct refusal {
    const char *text;
    int64_t position;
    const char *words; /* a part of the message */
};

static void test_refused_texts(void **state)
{
    static const struct refusal rows[] = {
        {"", 0, "expected a value, the text ends here"},
        {"statsu == 'open'", 0, "did you mean \"status\"?"},
        {"subject == 'ä' and statsu == 1", 19, "did you mean \"status\"?"},
        {"priority == 'high'", 12, "expected an integer, got \"high\""},
        {"priority == nil", 12, "is_nil"},
        {"nil != priority", 0, "is_nil"},
        {"nil in [1]", 0, "is_nil"},
        {"priority in nil", 12, "expected a list"},
        {"priority in 5", 12, "expected a list"},
        {"priority in ['a']", 9, "item 0 of the list"},
        {"priority == urgent", 9, "do not compare"},
        {"status == 'opne'", 10, "expected one of \"open\", \"closed\", \"waiting\""},
        {"token == 'abc'", 9, "expected a uuid"},
        {"opened_at > 'soon'", 12, "expected a datetime"},
        {"opened_at > 5", 12, "expected a datetime, got 5"},
        {"extra > 5", 6, "no order"},
        {"1 < priority < 3", 13, "do not chain"},
        {"(priority", 9, "expected \")\""},
        {"priority = 5", 9, "did you mean \"==\"?"},
        {"priority == 5 && urgent", 14, "did you mean \"and\"?"},
        {"!urgent", 0, "did you mean \"not\"?"},
        {"priority", 0, "expected a condition, got an integer"},
        {"priority and urgent", 0, "expected a condition"},
        {"not priority", 4, "expected a condition"},
        {"subject + 1 == 2", 0, "needs numbers"},
        {"opened_at - 1 > now()", 0, "needs numbers"},
        {"length(priority) > 1", 7, "length needs"},
        {"lower(priority) == 'a'", 6, "needs text"},
        {"contains(subject)", 16, "another argument"},
        {"is_nil(subject, 1)", 14, "takes 1 argument"},
        {"leng(subject) == 1", 0, "there is no function \"leng\""},
        {"isnil(subject)", 0, "did you mean \"is_nil\"?"},
        {"representative == 1", 0, "name a field of it"},
        {"representative.tickets.id == 1", 15, "ask exists(tickets, ...)"},
        {"representative.nmae == 'x'", 15, "did you mean \"name\"?"},
        {"urgent and expert.id == 1", 11, "ticket.expert is filled by a module"},
        {"expert == 1", 0, "ticket.expert is filled by a module"},
        {"exists(expert)", 7, "ticket.expert is filled by a module"},
        {"exists(representative.suggested, id == 1)", 22, "is filled by a remote loader"},
        {"exists(representative, exists(suggested))", 30, "is filled by a remote loader"},
        {"subject.x == 1", 0, "is a field"},
        {"exists(subject, true)", 7, "is a field"},
        {"exists(representative, statsu == 1)", 23, "representative has no field"},
        {"parent.id == 1", 0, "parent means nothing here"},
        {"exists(representative, parent.parent.id == 1)", 30, "not so many records outside"},
        {"subject == 'abc", 11, "has no end"},
        {"subject == 'a\\x'", 13, "no such escape"},
        {"subject == '\\ud800'", 12, "no such escape"},
        {"priority == 9223372036854775808", 12, "at most 64 bits"},
        {"score == 1e999", 9, "too large"},
        {"priority == 5x", 13, "a letter right behind a number"},
        {"priority == 5 6", 14, "expected an operator or the end, got \"6\""},
        {"priority == $", 12, "param's name"},
        {"priority == $min", 12, "params have no \"min\""},
        {"1 + not urgent", 4, "parentheses"},
        {"priority == #", 12, "unexpected \"#\""},
        {"extra == [priority]", 10, "literals"},
    };
    struct expr_fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char words[64];
        assert_null(expr_fixture_text(f, "ticket", NULL, rows[i].text));
        snprintf(words, sizeof(words), "(at position %lld)", (long long)rows[i].position);
        if (f->error.code != CODE_INVALID_FILTER || f->error.position != rows[i].position ||
            strstr(f->error.message, rows[i].words) == NULL ||
            strstr(f->error.message, words) == NULL) {
            fail_msg("%s: %s", rows[i].text, f->error.message);
        }
    }
    const struct expr_compiler compiler = {
        .arena = &f->arena,
        .limits = &f->limits,
        .scope = &(struct expr_scope){.resource = f->stores[0]->resource},
    };
    const struct expr *expr;
    assert_int_equal(expr_compile_text(&compiler, "id == \xff", 7, &expr, &f->error),
                     -CODE_INVALID_FILTER);
    struct expr_compiler in_schema = compiler;
    in_schema.in_schema = true;
    assert_int_equal(expr_compile_text(&in_schema, "id == $x", 8, &expr, &f->error),
                     -CODE_INVALID_FILTER);
}

struct map_refusal {
    const char *map;
    const char *path;
    const char *words;
};

static void test_refused_maps(void **state)
{
    static const struct map_refusal rows[] = {
        {"{'statsu': 1}", "statsu", "did you mean \"status\"?"},
        {"{'or': [{}, {'statsu': 1}]}", "or.1.statsu", "did you mean"},
        {"{'priority': null}", "priority", "is_nil"},
        {"{'priority': {'eq': null}}", "priority.eq", "is_nil"},
        {"{'priority': {'gtt': 1}}", "priority.gtt", "did you mean \"gt\"?"},
        {"{'priority': 'high'}", "priority", "expected an integer"},
        {"{'priority': [1]}", "priority", "{\"in\": [...]}"},
        {"{'priority': {'in': 5}}", "priority.in", "expected a list"},
        {"{'priority': {'in': null}}", "priority.in", "is_nil"},
        {"{'subject': {'is_nil': 1}}", "subject.is_nil", "true or false"},
        {"{'subject': {'contains': 1}}", "subject.contains", "needs text"},
        {"{'or': {}}", "or", "expected a list of maps"},
        {"{'not': []}", "not", "expected a map"},
        {"{'and': [1]}", "and.0", "expected a map"},
        {"{'representative': null}", "representative", "expected a map"},
        {"{'representative': {'nmae': 1}}", "representative.nmae", "did you mean \"name\"?"},
        {"{'expert': {'id': 1}}", "expert", "ticket.expert is filled by a module"},
        {"{'representative': {'suggested': {'id': 1}}}", "representative.suggested",
         "is filled by a remote loader"},
        {"{1: 2}", "", "by name"},
    };
    struct expr_fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_null(expr_fixture_map(f, "ticket", NULL, rows[i].map));
        if (f->error.code != CODE_INVALID_FILTER || strcmp(f->error.path, rows[i].path) != 0 ||
            strstr(f->error.message, rows[i].words) == NULL ||
            strstr(f->error.message, rows[i].path) == NULL) {
            fail_msg("%s: [%s] %s", rows[i].map, f->error.path, f->error.message);
        }
    }
    assert_null(expr_fixture_map(f, "ticket", NULL, "5"));
    assert_null(expr_fixture_map(f, "ticket", NULL, "[]"));
    assert_null(expr_fixture_map(f, "ticket", NULL, "null"));
    assert_int_equal(f->error.code, CODE_OK);
}

/* ---- Limits ---- */

static void expect_limit(struct expr_fixture *f, const char *text, const char *limit)
{
    const struct expr *expr = expr_fixture_text(f, "ticket", NULL, text);
    assert_null(expr);
    assert_int_equal(f->error.code, CODE_TOO_LARGE);
    assert_string_equal(f->error.limit, limit);
}

static char *repeat(const char *first, const char *part, size_t count, const char *last)
{
    size_t size = strlen(part), begin = strlen(first);
    char *out = malloc(begin + count * size + strlen(last) + 1);
    assert_non_null(out);
    memcpy(out, first, begin);
    for (size_t i = 0; i < count; i++) {
        memcpy(out + begin + i * size, part, size);
    }
    memcpy(out + begin + count * size, last, strlen(last) + 1);
    return out;
}

static void test_limits(void **state)
{
    struct expr_fixture *f = *state;
    const struct {
        const char *first, *part;
        size_t count;
        const char *last, *limit;
    } rows[] = {
        {"urgent", " ", 20000, "", "filter_bytes"},
        {"urgent", " or urgent", 1200, "", "filter_nodes"},
        {"id in [1", ",1", 1200, "]", "filter_nodes"},
        {"", "(", 200, "urgent", "filter_levels"},
        {"", "not ", 200, "urgent", "filter_levels"},
        {"", "-", 200, "id == 1", "filter_levels"},
        {"id", "+id", 200, " == 1", "filter_levels"},
        {"", "lower(", 200, "", "filter_levels"},
        {"", "exists(representative, exists(tickets, ", 60, "", "filter_levels"},
        {"", "[", 200, "", "filter_levels"},
        {"", "representative.latest_ticket.", 60, "id == 1", "filter_levels"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char *text = repeat(rows[i].first, rows[i].part, rows[i].count, rows[i].last);
        expect_limit(f, text, rows[i].limit);
        free(text);
    }
    char *map = repeat("", "{'not': ", 200, "{}");
    char *closed = repeat(map, "}", 200, "");
    assert_null(expr_fixture_map(f, "ticket", NULL, closed));
    assert_string_equal(f->error.limit, "filter_levels");
    free(map);
    free(closed);
    /* A flat chain is not deep, and what is just allowed is allowed. */
    char *flat = repeat("urgent", " or urgent", 400, "");
    assert_non_null(expr_fixture_text(f, "ticket", NULL, flat));
    free(flat);
    char *levels = repeat("", "not ", 98, "urgent");
    assert_non_null(expr_fixture_text(f, "ticket", NULL, levels));
    free(levels);
}

static void test_filter_steps(void **state)
{
    struct expr_fixture *f = *state;
    const struct record *ticket = expr_fixture_get(f, "ticket", 1);
    const struct expr *expr =
        expr_fixture_text(f, "ticket", NULL, "representative.team.name == 'Red'");
    f->eval.steps_left = f->eval.steps_max = 2;
    struct value value = expr_fixture_run(f, expr, ticket, NULL, UINT64_MAX);
    assert_int_equal(verdict_of(&value), 't');
    assert_int_equal(f->eval.steps_left, 0);
    f->eval.steps_left = f->eval.steps_max = 1;
    value = expr_fixture_run(f, expr, ticket, NULL, UINT64_MAX);
    assert_int_equal(value.kind, VALUE_LIST);
    assert_int_equal(f->error.code, CODE_TOO_LARGE);
    assert_string_equal(f->error.limit, "filter_steps");
}

/* A record that was looked up is not looked up again for the same record. */
static void test_path_looked_up_once(void **state)
{
    struct expr_fixture *f = *state;
    const struct record *ticket = expr_fixture_get(f, "ticket", 1);
    const struct expr *expr =
        expr_fixture_text(f, "ticket", NULL,
                          "representative.name == 'Ann' and representative.team.level == 1 and "
                          "representative.team.name == 'Red' and representative.threshold == 3");
    f->eval.steps_left = f->eval.steps_max = 100;
    struct value value = expr_fixture_run(f, expr, ticket, NULL, UINT64_MAX);
    assert_int_equal(verdict_of(&value), 't');
    assert_int_equal(f->eval.steps_left, 98);
}

/* ---- What planners and caches are told ---- */

static void test_conjuncts(void **state)
{
    struct expr_fixture *f = *state;
    struct conjunct found[16];
    struct value value;
    expr_fixture_actor(f, "{'ids': [2, 'x', 1], 'token': 'ABCDABCD-0000-0000-0000-00000000ABCD'}");
    const struct expr *expr = expr_fixture_text(
        f, "ticket", "representative",
        "representative_id == parent.id and 5 < priority and (status == 'open' and urgent) and "
        "not urgent and opened_at <= '2026-01-01' and starts_with(subject, 'x') and "
        "id in [3, 1, 3, nil] and id in actor.ids and token == actor.token and "
        "(id == 1 or id == 2) and priority != 3 and extra == 1 and priority == id and "
        "representative.name == 'x' and score > -parent.threshold + 1");
    assert_non_null(expr);
    static const enum conjunct_operator operators[] = {
        CONJUNCT_EQUAL, CONJUNCT_GREATER,    CONJUNCT_EQUAL,       CONJUNCT_EQUAL,
        CONJUNCT_EQUAL, CONJUNCT_LESS_EQUAL, CONJUNCT_STARTS_WITH, CONJUNCT_IN,
        CONJUNCT_IN,    CONJUNCT_EQUAL,      CONJUNCT_GREATER,
    };
    size_t count = expr_conjuncts(expr, found, ARRAY_COUNT(found));
    assert_int_equal(count, ARRAY_COUNT(operators));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(found[i].operator, operators[i]);
    }
    const struct expr_records outer = {.record = expr_fixture_get(f, "representative", 1)};
    expr_operand(&found[0], &f->eval, &outer, &value);
    assert_true(value.kind == VALUE_INTEGER && value.integer == 1);
    expr_operand(&found[4], &f->eval, &outer, &value);
    assert_true(value.kind == VALUE_BOOLEAN && !value.boolean);
    expr_operand(&found[5], &f->eval, &outer, &value);
    assert_int_equal(value.kind, VALUE_DATETIME);
    expr_operand(&found[7], &f->eval, &outer, &value);
    assert_true(value.kind == VALUE_LIST && value.size == 2 && value.items[0].integer == 1);
    expr_operand(&found[8], &f->eval, &outer, &value);
    assert_true(value.kind == VALUE_LIST && value.size == 2 && value.items[1].integer == 1);
    expr_operand(&found[9], &f->eval, &outer, &value);
    assert_memory_equal(value.bytes, "abcdabcd", 8);
    expr_operand(&found[10], &f->eval, &outer, &value);
    assert_true(value.kind == VALUE_INTEGER && value.integer == -2);
    assert_int_equal(expr_conjuncts(expr, found, 2), 2);
    f->eval.actor = NULL;
    expr_operand(&found[8], &f->eval, NULL, &value);
    assert_int_equal(value.kind, VALUE_NIL);
}

static void test_uses(void **state)
{
    struct expr_fixture *f = *state;
    struct expr_uses uses;
    const struct expr *expr = expr_fixture_text(f, "ticket", "representative",
                                                "priority > 1 and priority < parent.threshold");
    assert_int_equal(expr_uses(expr, &f->arena, &uses), 0);
    assert_true(uses.parent && !uses.actor && !uses.tenant && !uses.now);
    assert_int_equal(uses.field_count, 1);
    assert_int_equal(uses.parent_field_count, 1);
    assert_int_equal(uses.relationship_count, 0);
    expr = expr_fixture_text(f, "ticket", NULL,
                             "representative.team.name == actor.x and tenant == 1 and "
                             "opened_at < now() and exists(representative, "
                             "name == parent.subject and exists(tickets, id == parent.id))");
    assert_int_equal(expr_uses(expr, &f->arena, &uses), 0);
    assert_true(!uses.parent && uses.actor && uses.tenant && uses.now);
    assert_int_equal(uses.relationship_count, 3);
    assert_int_equal(uses.field_count, 3); /* representative_id, opened_at, subject */
    expr = expr_fixture_text(f, "ticket", "representative",
                             "exists(representative, name == parent.parent.name)");
    assert_int_equal(expr_uses(expr, &f->arena, &uses), 0);
    assert_true(uses.parent);
    assert_int_equal(uses.parent_field_count, 1);
}

static void test_print(void **state)
{
    static const struct row rows[] = {
        {"(((priority>2)))", "priority > 2"},
        {"urgent and (urgent and (urgent or false))", "urgent and urgent and (urgent or false)"},
        {"1-(2-3)==id*(2+1)", "1 - (2 - 3) == id * (2 + 1)"},
        {"not (id == 1 or id == 2)", "not (id == 1 or id == 2)"},
        {"id not in [2, 1]", "not id in [1, 2]"},
        {"score == 0.1", "score == 0.1"},
        {"score == 3.0", "score == 3.0"},
        {"subject == 'a\"\\n\\u0001'", "subject == \"a\\\"\\n\\u0001\""},
        {"opened_at>'2026-01-02'", "opened_at > \"2026-01-02T00:00:00Z\""},
        {"-(-id) == 1", "-(-id) == 1"},
        {"(id == 1) == urgent", "(id == 1) == urgent"},
        {"subject == $x", "subject == $p1"},
    };
    struct expr_fixture *f = *state;
    expr_fixture_params(f, "{'x': null}");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buffer text = BUFFER_INIT;
        const struct expr *expr = expr_fixture_text(f, "ticket", NULL, rows[i].text);
        assert_non_null(expr);
        expr_print(expr, &text);
        buffer_byte(&text, '\0');
        assert_string_equal((const char *)text.bytes, rows[i].truths);
        buffer_release(&text);
    }
}

/* With ever more memory: each lack of it, while compiling, making a run and
 * running, is told, until it is enough. */
static void test_without_memory(void **state)
{
    struct expr_fixture *f = *state;
    const char *text = "exists(representative, name == 'Ann') and id in [1, 2] and "
                       "lower(representative.team.name) == 'red' and extra == [1]";
    struct limits limits = LIMITS_DEFAULT;
    const struct record *ticket = expr_fixture_get(f, "ticket", 1);
    const struct expr_scope scope = {.resource = fixture_resource(f->schema, "ticket")};
    bool passed = false;
    for (size_t most = 64; !passed; most += 64) {
        struct arena arena;
        const struct expr *expr = NULL;
        arena_init(&arena, most);
        f->eval.arena = &arena;
        const struct expr_compiler compiler = {.arena = &arena, .limits = &limits, .scope = &scope};
        int status = expr_compile_text(&compiler, text, strlen(text), &expr, &f->error);
        assert_true(status == 0 || status == -CODE_OVERLOADED);
        struct expr_run *run = status == 0 ? expr_run_create(&arena, expr, &f->eval) : NULL;
        if (run != NULL) {
            const struct expr_records records = {.record = ticket};
            uint64_t budget = 1000;
            struct value value;
            expr_run_start(run, &records);
            enum run_status ran = expr_run_go(run, &budget, &value);
            passed = ran == RUN_DONE;
            assert_true(passed ? verdict_of(&value) == 'f' || verdict_of(&value) == 't'
                               : f->error.code == CODE_OVERLOADED);
            expr_run_stop(run);
        }
        arena_release(&arena);
    }
    f->eval.arena = &f->arena;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comparisons, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arithmetic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_params, setup, teardown),
        cmocka_unit_test_setup_teardown(test_params_beyond_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_actor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_actor_unsound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filter_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_looked_up_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conjuncts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

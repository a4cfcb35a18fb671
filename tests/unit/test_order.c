#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "layers/query/order.h"
#include "protocol/base/check.h"
#include "tests/lib/expr_fixture.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/schema_fixture.h"

static int setup(void **state)
{
    struct expr_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    expr_fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    expr_fixture_release(*state);
    free(*state);
    return 0;
}

static const struct order *compile(struct expr_fixture *f, const char *json, int expected)
{
    const struct expr_scope outer = {.resource = fixture_resource(f->schema, "representative")};
    const struct expr_scope scope = {.resource = fixture_resource(f->schema, "ticket"),
                                     .outer = &outer};
    const struct expr_compiler compiler = {
        .arena = &f->arena, .limits = &f->limits, .scope = &scope};
    struct buffer bytes = BUFFER_INIT;
    const struct order *order;
    json_to_msgpack(json, &bytes);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    error_clear(&f->error);
    assert_int_equal(order_compile(&compiler, &in, &order, &f->error), -expected);
    assert_ptr_equal(in.at, in.end);
    buffer_release(&bytes);
    return order;
}

static void test_directions(void **state)
{
    struct expr_fixture *f = *state;
    const struct order *order =
        compile(f, "'priority, +score,-subject ,++id,--representative.team.name'", CODE_OK);
    static const bool descending[] = {false, false, true, false, true};
    static const bool nils_first[] = {false, false, true, true, false};
    static const char *const fields[] = {"priority", "score", "subject", "id"};
    assert_int_equal(order->count, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(order->items[i].descending, descending[i]);
        assert_int_equal(order->items[i].nils_first, nils_first[i]);
    }
    for (int i = 0; i < 4; i++) {
        const struct resource *ticket = fixture_resource(f->schema, "ticket");
        assert_null(order->items[i].path);
        assert_int_equal(order->items[i].field, fixture_field(ticket, fields[i])->position);
    }
    assert_non_null(order->items[4].path);
    order = compile(f, "['priority', '-id', 'status,score']", CODE_OK);
    assert_int_equal(order->count, 4);
    assert_true(order->items[1].descending);
}

static void test_none(void **state)
{
    assert_null(compile(*state, "null", CODE_OK));
    assert_null(compile(*state, "[]", CODE_OK));
    assert_null(compile(*state, "''", CODE_OK));
    assert_null(compile(*state, "' '", CODE_OK));
}

/* A path gives the value to sort by. */
static void test_path_value(void **state)
{
    struct expr_fixture *f = *state;
    expr_fixture_put(f, "representative", "{'id': 1, 'name': 'Ann', 'active': true}");
    const struct record *ticket =
        expr_fixture_put(f, "ticket", "{'id': 1, 'representative_id': 1}");
    const struct record *alone = expr_fixture_put(f, "ticket", "{'id': 2}");
    const struct order *order = compile(f, "'representative.name,representative.active'", CODE_OK);
    struct value value = expr_fixture_run(f, order->items[0].path, ticket, NULL, 1);
    assert_int_equal(value.kind, VALUE_TEXT);
    assert_memory_equal(value.bytes, "Ann", 3);
    value = expr_fixture_run(f, order->items[1].path, ticket, NULL, 1);
    assert_true(value.kind == VALUE_BOOLEAN && value.boolean);
    value = expr_fixture_run(f, order->items[0].path, alone, NULL, 1);
    assert_int_equal(value.kind, VALUE_NIL);
}

static void test_refused(void **state)
{
    static const struct {
        const char *json;
        int64_t position;
        int64_t index;
        const char *words;
    } rows[] = {
        {"'priorty'", 0, -1, "did you mean \"priority\"?"},
        {"'id, -priorty'", 5, -1, "did you mean \"priority\"?"},
        {"['id', '-priorty']", 1, 1, "did you mean \"priority\"?"},
        {"'id,,priority'", 3, -1, "expected a name"},
        {"'id desc'", 3, -1, "expected the end of the path"},
        {"'---id'", 2, -1, "expected a name"},
        {"'extra'", 0, -1, "no order"},
        {"'parent.id'", 0, -1, "the record itself"},
        {"'representative'", 0, -1, "name a field"},
        {"'representative.tickets.id'", 15, -1, "exists"},
        {"'lower(subject)'", 0, -1, "no field or relationship"},
        {"'id(1)'", 2, -1, "expected the end of the path"},
        {"5", -1, -1, "expected a text or a list"},
        {"['id', 5]", -1, 1, "expected a field's name"},
        {"{'id': 1}", -1, -1, "expected a text or a list"},
    };
    struct expr_fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_null(compile(f, rows[i].json, CODE_INVALID_FILTER));
        if (strstr(f->error.message, rows[i].words) == NULL ||
            f->error.position != rows[i].position || f->error.index != rows[i].index) {
            fail_msg("%s: %s", rows[i].json, f->error.message);
        }
    }
    struct buffer many = BUFFER_INIT;
    buffer_printf(&many, "'id");
    for (int i = 0; i < ORDER_ITEMS_MAX; i++) {
        buffer_printf(&many, ",id");
    }
    buffer_append(&many, "'", 2);
    assert_null(compile(f, (const char *)many.bytes, CODE_INVALID_FILTER));
    buffer_release(&many);
    f->limits.filter_bytes = 4;
    assert_null(compile(f, "'priority'", CODE_TOO_LARGE));
    assert_null(compile(f, "['priority']", CODE_TOO_LARGE));
}

static void test_merge(void **state)
{
    struct expr_fixture *f = *state;
    const struct order *first = compile(f, "'-priority'", CODE_OK);
    const struct order *second = compile(f, "'score,id'", CODE_OK);
    const struct order *both = order_merge(&f->arena, first, second);
    assert_int_equal(both->count, 3);
    assert_true(both->items[0].descending);
    assert_int_equal(both->items[2].field, second->items[1].field);
    assert_ptr_equal(order_merge(&f->arena, NULL, second), second);
    assert_ptr_equal(order_merge(&f->arena, first, NULL), first);
    assert_null(order_merge(&f->arena, NULL, NULL));
    struct arena full;
    arena_init(&full, 8);
    assert_null(order_merge(&full, first, second));
    assert_true(full.failed);
    arena_release(&full);
}

static void test_compare(void **state)
{
    const struct value nil = value_nil();
    const struct value one = {.kind = VALUE_INTEGER, .integer = 1};
    const struct value more = {.kind = VALUE_FLOAT, .real = 1.5};
    (void)state;
    for (int i = 0; i < 4; i++) {
        const struct order_item item = {.descending = (i & 1) != 0, .nils_first = (i & 2) != 0};
        int up = item.descending ? 1 : -1;
        int nil_side = item.nils_first ? -1 : 1;
        assert_int_equal(order_compare_values(&item, &one, &more), up);
        assert_int_equal(order_compare_values(&item, &more, &one), -up);
        assert_int_equal(order_compare_values(&item, &one, &one), 0);
        assert_int_equal(order_compare_values(&item, &nil, &one), nil_side);
        assert_int_equal(order_compare_values(&item, &one, &nil), -nil_side);
        assert_int_equal(order_compare_values(&item, &nil, &nil), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_directions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/expr_fixture.h"

#include <string.h>

#include "protocol/msgpack/writer.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/schema_fixture.h"

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  team:\n"
    "    fields: {id: integer, name: string, level: integer}\n"
    "    relationships:\n"
    "      members: {has_many: representative}\n"
    "  representative:\n"
    "    fields:\n"
    "      id: integer\n"
    "      name: string\n"
    "      team_id: integer\n"
    "      threshold: integer\n"
    "      active: boolean\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      active_team: {belongs_to: team, source_field: team_id, filter: level > 1}\n"
    "      tickets: {has_many: ticket}\n"
    "      latest_ticket: {has_one: ticket, sort: -id}\n"
    "      two_tickets: {has_many: ticket, sort: id, limit: 2}\n"
    "      above:\n"
    "        has_many: ticket\n"
    "        manual: {filter: representative_id == parent.id and priority > parent.threshold}\n"
    "      suggested: {has_many: ticket, manual: remote, actor: none}\n"
    "      skills: {many_to_many: team, through: representative_team,\n"
    "               source_field_on_through: representative_id,\n"
    "               destination_field_on_through: team_id}\n"
    "  representative_team:\n"
    "    primary_key: [representative_id, team_id]\n"
    "    fields: {representative_id: integer, team_id: integer}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      representative_id: integer\n"
    "      subject: string\n"
    "      status: {type: {enum: [open, closed, waiting]}}\n"
    "      priority: integer\n"
    "      score: float\n"
    "      urgent: boolean\n"
    "      token: uuid\n"
    "      opened_at: datetime\n"
    "      body: binary\n"
    "      extra: any\n"
    "      length: integer\n"
    "    relationships:\n"
    "      representative: {belongs_to: representative}\n"
    "      expert: {has_one: representative, manual: {module: expert.so}, actor: none}\n";

void expr_fixture_init(struct expr_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->limits = (struct limits)LIMITS_DEFAULT;
    fixture->schema = schema_fixture(yaml);
    assert_int_equal(fixture->schema->resource_count, EXPR_FIXTURE_STORES);
    world_init(&fixture->world);
    fixture->memory = memory_create(&fixture->world);
    assert_non_null(fixture->memory);
    for (unsigned i = 0; i < EXPR_FIXTURE_STORES; i++) {
        fixture->stores[i] = memory_table_create(fixture->memory, &fixture->schema->resources[i]);
        assert_non_null(fixture->stores[i]);
    }
    error_clear(&fixture->error);
    fixture->eval = (struct eval){
        .stores = fixture->stores,
        .arena = &fixture->arena,
        .now = {.seconds = 1000000},
        .steps_left = UINT64_MAX,
        .steps_max = UINT64_MAX,
        .error = &fixture->error,
    };
}

void expr_fixture_release(struct expr_fixture *fixture)
{
    for (unsigned i = 0; i < EXPR_FIXTURE_STORES; i++) {
        memory_table_free(fixture->stores[i]);
    }
    memory_free(fixture->memory);
    schema_put(fixture->schema);
    arena_release(&fixture->arena);
    buffer_release(&fixture->params);
    buffer_release(&fixture->actor);
}

const struct record *expr_fixture_put(struct expr_fixture *fixture, const char *resource,
                                      const char *map)
{
    const struct resource *of = fixture_resource(fixture->schema, resource);
    struct store *store = fixture->stores[of->position];
    struct buffer bytes = BUFFER_INIT;
    const struct record *stored = NULL;
    json_to_msgpack(map, &bytes);
    struct record *image = fixture_record(of, &fixture->arena, bytes.bytes, bytes.size);
    store->ops->begin(store);
    assert_int_equal(store->ops->put(store, NULL, image, &stored, &fixture->error), 0);
    store->ops->commit(store);
    buffer_release(&bytes);
    return stored;
}

const struct record *expr_fixture_get(struct expr_fixture *fixture, const char *resource,
                                      int64_t id)
{
    const struct resource *of = fixture_resource(fixture->schema, resource);
    struct store *store = fixture->stores[of->position];
    uint8_t key[WRITE_HEADER_MAX];
    const struct record *record = store->ops->find(store, key, encode_integer(key, id));
    assert_non_null(record);
    return record;
}

void expr_fixture_params(struct expr_fixture *fixture, const char *map)
{
    buffer_truncate(&fixture->params, 0);
    json_to_msgpack(map, &fixture->params);
}

void expr_fixture_actor(struct expr_fixture *fixture, const char *map)
{
    buffer_truncate(&fixture->actor, 0);
    json_to_msgpack(map, &fixture->actor);
    fixture->eval.actor = fixture->actor.bytes;
    fixture->eval.actor_size = (uint32_t)fixture->actor.size;
}

/* The scopes live in the arena, as what is compiled does. */
static struct expr_compiler compiler_of(struct expr_fixture *fixture, const char *resource,
                                        const char *outer)
{
    struct expr_scope *scopes = arena_zero(&fixture->arena, 2, sizeof(*scopes));
    assert_non_null(scopes);
    scopes[0].resource = fixture_resource(fixture->schema, resource);
    if (outer != NULL) {
        scopes[1].resource = fixture_resource(fixture->schema, outer);
        scopes[0].outer = &scopes[1];
    }
    return (struct expr_compiler){
        .arena = &fixture->arena,
        .limits = &fixture->limits,
        .scope = scopes,
        .params = fixture->params.size > 0 ? fixture->params.bytes : NULL,
        .params_size = fixture->params.size,
    };
}

const struct expr *expr_fixture_text(struct expr_fixture *fixture, const char *resource,
                                     const char *outer, const char *text)
{
    const struct expr_compiler compiler = compiler_of(fixture, resource, outer);
    const struct expr *expr;
    error_clear(&fixture->error);
    int status = expr_compile_text(&compiler, text, strlen(text), &expr, &fixture->error);
    assert_int_equal(status, -(int)fixture->error.code);
    assert_int_equal(status == 0, expr != NULL);
    return expr;
}

const struct expr *expr_fixture_map(struct expr_fixture *fixture, const char *resource,
                                    const char *outer, const char *map)
{
    const struct expr_compiler compiler = compiler_of(fixture, resource, outer);
    const struct expr *expr;
    struct buffer bytes = BUFFER_INIT;
    json_to_msgpack(map, &bytes);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    error_clear(&fixture->error);
    int status = expr_compile(&compiler, &in, &expr, &fixture->error);
    assert_int_equal(status, -(int)fixture->error.code);
    assert_ptr_equal(in.at, in.end);
    buffer_release(&bytes);
    return expr;
}

struct value expr_fixture_run(struct expr_fixture *fixture, const struct expr *expr,
                              const struct record *record, const struct record *outer,
                              uint64_t budget)
{
    const struct expr_records outside = {.record = outer};
    const struct expr_records records = {.record = record,
                                         .outer = outer != NULL ? &outside : NULL};
    struct expr_run *run = expr_run_create(&fixture->arena, expr, &fixture->eval);
    struct value out = value_nil();
    enum run_status status = RUN_MORE;
    assert_non_null(run);
    expr_run_start(run, &records);
    for (unsigned goes = 0; status == RUN_MORE; goes++) {
        uint64_t left = budget;
        status = expr_run_go(run, &left, &out);
        assert_true(goes < 100000);
    }
    if (status == RUN_FAILED) {
        assert_int_not_equal(fixture->error.code, CODE_OK);
        expr_run_stop(run);
        return (struct value){.kind = VALUE_LIST};
    }
    if (expr_is_simple(expr)) {
        assert_int_equal(expr_test_simple(expr, run, &records),
                         out.kind == VALUE_BOOLEAN && out.boolean);
    }
    return out;
}

#ifndef RELATA_TESTS_FUZZ_EXPR_WORLD_H
#define RELATA_TESTS_FUZZ_EXPR_WORLD_H

#include <string.h>

#include "layers/memory/memory.h"
#include "layers/query/expr.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* What the fuzzers of expressions share: a schema, a few records, and what must
 * hold for everything that compiles: it can be asked about, runs the same with
 * and without stops, and what is printed means the same when it is read again. */

enum { WORLD_TICKETS = 4 };

static const char world_yaml[] =
    "version: 1\n"
    "resources:\n"
    "  person:\n"
    "    fields: {id: integer, name: string, level: integer}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket}\n"
    "      last: {has_one: ticket, sort: -id}\n"
    "      above: {has_many: ticket, manual: {filter: person_id == parent.id and n > "
    "parent.level}}\n"
    "  ticket:\n"
    "    fields: {id: integer, person_id: integer, n: integer, f: float, b: boolean, s: string,\n"
    "             e: {type: {enum: [open, closed]}}, u: uuid, d: datetime, x: binary, a: any}\n"
    "    relationships: {person: {belongs_to: person}}\n";

static struct expr_world {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[2];
    struct arena records;
    const struct record *tickets[WORLD_TICKETS];
    struct limits limits;
    struct buffer facts; /* the actor's, and the params */
} expr_world;

static const struct record *world_put(struct store *store, struct buffer *map)
{
    struct record_draft draft;
    struct record *image;
    const struct record *stored;
    struct buffer taken = BUFFER_INIT;
    struct reader in = reader_of(map->bytes, map->size);
    CHECK(record_draft_init(&draft, store->resource, &expr_world.records, &taken) == 0);
    CHECK(record_draft_take(&draft, &in, NULL) == 0);
    CHECK(record_draft_finish(&draft, NULL, NULL) == 0);
    CHECK(record_draft_build(&draft, &expr_world.records, &image, NULL) == 0);
    store->ops->begin(store);
    CHECK(store->ops->put(store, NULL, image, &stored, NULL) == 0);
    store->ops->commit(store);
    buffer_release(&taken);
    buffer_release(map);
    return stored;
}

static void world_put_person(int64_t id)
{
    struct buffer map = BUFFER_INIT;
    write_map(&map, 3);
    write_text(&map, "id");
    write_integer(&map, id);
    write_text(&map, "name");
    write_text(&map, "Ann");
    write_text(&map, "level");
    write_integer(&map, id);
    world_put(expr_world.stores[0], &map);
}

static const struct record *world_put_ticket(int64_t id)
{
    struct buffer map = BUFFER_INIT;
    write_map(&map, id == 0 ? 1 : 11);
    write_text(&map, "id");
    write_integer(&map, id);
    if (id > 0) {
        write_text(&map, "person_id");
        write_integer(&map, id);
        write_text(&map, "n");
        write_integer(&map, id * 5 - 7);
        write_text(&map, "f");
        write_float(&map, (double)id / 2);
        write_text(&map, "b");
        write_boolean(&map, id == 1);
        write_text(&map, "s");
        write_text(&map, "Äb");
        write_text(&map, "e");
        write_text(&map, "open");
        write_text(&map, "u");
        write_text(&map, "00000000-0000-0000-0000-00000000000a");
        write_text(&map, "d");
        write_text(&map, "2026-01-02");
        write_text(&map, "x");
        write_binary(&map, "\xff", 1);
        write_text(&map, "a");
        write_array(&map, 2);
        write_integer(&map, id);
        write_text(&map, "two");
    }
    return world_put(expr_world.stores[1], &map);
}

static void world_facts(struct buffer *out)
{
    write_map(out, 4);
    write_text(out, "p");
    write_integer(out, 3);
    write_text(out, "q");
    write_nil(out);
    write_text(out, "r");
    write_array(out, 2);
    write_integer(out, 1);
    write_nil(out);
    write_text(out, "s");
    write_text(out, "open");
}

static void world_begin(void)
{
    if (expr_world.schema != NULL) {
        return;
    }
    expr_world.limits = (struct limits)LIMITS_DEFAULT;
    struct buffer faults = BUFFER_INIT;
    CHECK(schema_read("schema", world_yaml, sizeof(world_yaml) - 1, 1, &expr_world.limits,
                      &expr_world.schema, &faults) == 0);
    world_init(&expr_world.world);
    expr_world.memory = memory_create(&expr_world.world);
    CHECK(expr_world.memory != NULL);
    for (int i = 0; i < 2; i++) {
        expr_world.stores[i] =
            memory_table_create(expr_world.memory, &expr_world.schema->resources[i]);
        CHECK(expr_world.stores[i] != NULL);
    }
    world_put_person(1);
    world_put_person(2);
    for (int i = 0; i < WORLD_TICKETS; i++) {
        expr_world.tickets[i] = world_put_ticket(i);
    }
    world_facts(&expr_world.facts);
}

static struct value world_run(const struct expr *expr, struct arena *arena, int ticket,
                              uint64_t budget)
{
    struct error error = ERROR_INIT;
    struct eval eval = {
        .stores = expr_world.stores,
        .arena = arena,
        .actor = expr_world.facts.bytes,
        .actor_size = (uint32_t)expr_world.facts.size,
        .now = {.seconds = 1000},
        .steps_left = 100000,
        .steps_max = 100000,
        .error = &error,
    };
    const struct expr_records records = {.record = expr_world.tickets[ticket]};
    struct expr_run *run = expr_run_create(arena, expr, &eval);
    struct value out = value_nil();
    enum run_status status = RUN_MORE;
    CHECK(run != NULL);
    expr_run_start(run, &records);
    while (status == RUN_MORE) {
        uint64_t left = budget;
        status = expr_run_go(run, &left, &out);
    }
    if (status == RUN_FAILED) {
        CHECK(error.code == CODE_TOO_LARGE);
        expr_run_stop(run);
        out = value_nil();
    }
    CHECK(out.kind == VALUE_NIL || out.kind == VALUE_BOOLEAN);
    return out;
}

static void world_same(const struct value *a, const struct value *b)
{
    CHECK(a->kind == b->kind && (a->kind == VALUE_NIL || a->boolean == b->boolean));
}

static struct expr_compiler world_compiler(struct arena *arena, const struct buffer *params)
{
    static struct expr_scope scope;
    scope.resource = expr_world.stores[1]->resource;
    return (struct expr_compiler){.arena = arena,
                                  .limits = &expr_world.limits,
                                  .scope = &scope,
                                  .params = params->bytes,
                                  .params_size = params->size};
}

/* All that must hold for an expression. */
static void world_check(const struct expr *expr, struct arena *arena)
{
    struct conjunct conjuncts[8];
    struct expr_uses uses;
    struct buffer text = BUFFER_INIT;
    struct buffer params = BUFFER_INIT;
    struct error error = ERROR_INIT;
    const struct expr *copy;
    expr_conjuncts(expr, conjuncts, 8);
    CHECK(expr_uses(expr, arena, &uses) == 0 && !uses.parent);
    expr_print(expr, &text);
    expr_print_params(expr, &params);
    CHECK(!text.failed && !params.failed);
    const struct expr_compiler compiler = world_compiler(arena, &params);
    int status = expr_compile_text(&compiler, (const char *)text.bytes, text.size, &copy, &error);
    CHECK(status == 0 || status == -CODE_TOO_LARGE);
    for (int i = 0; i < WORLD_TICKETS; i++) {
        struct value quick = world_run(expr, arena, i, UINT64_MAX);
        struct value slow = world_run(expr, arena, i, 1);
        world_same(&quick, &slow);
        if (status == 0) {
            struct value again = world_run(copy, arena, i, UINT64_MAX);
            world_same(&quick, &again);
        }
    }
    buffer_release(&text);
    buffer_release(&params);
}

#endif

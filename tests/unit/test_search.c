#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/layer.h"
#include "layers/memory/memory.h"
#include "layers/query/search.h"
#include "layers/query/walk.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* Searches over the memory layer against a plain model: all records through the
 * filter, sorted by qsort, cut. */

static const char *const yaml =
    "version: 1\n"
    "resources:\n"
    "  team:\n"
    "    fields: {id: integer, name: string, size: integer}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket}\n"
    "      latest: {has_one: ticket, sort: -at}\n"
    "      urgent: {has_many: ticket, filter: priority > parent.size, limit: 3, offset: 1}\n"
    "      linked: {many_to_many: ticket, through: link}\n"
    "      labelled: {many_to_many: ticket, through: label, sort: -priority}\n"
    "      large: {has_many: ticket, manual: {filter: team_id == parent.id and priority > "
    "parent.size}}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      team_id: integer\n"
    "      status: {type: {enum: [open, closed, waiting]}}\n"
    "      priority: integer\n"
    "      subject: string\n"
    "      code: string\n"
    "      at: datetime\n"
    "      score: float\n"
    "    identities: {code: [code]}\n"
    "    indexes: [[team_id], [status, priority], [priority], [subject, at], [at]]\n"
    "    relationships: {team: {belongs_to: team}}\n"
    "  link:\n"
    "    primary_key: [team_id, ticket_id]\n"
    "    fields: {team_id: integer, ticket_id: integer}\n"
    "  label:\n"
    "    fields: {id: integer, team_id: integer, ticket_id: integer, extra: integer}\n";

enum { TEAMS = 20, TICKETS = 400, LINKS = 500, MODEL_MAX = 1024 };

/* A resource's records as the model has them: those of this moment. */
struct model {
    const struct resource *resource;
    struct store *store;
    const struct record *records[MODEL_MAX];
    size_t count;
};

struct world_fixture {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[8];
    struct model team, ticket, link, label;
    struct arena arena; /* of the model's records */
    struct arena request;
    struct error error;
    struct eval eval;
    struct pin pin;
    struct random random;
    int64_t next_id;
};

static int64_t below(struct world_fixture *f, uint64_t count)
{
    return (int64_t)random_below(&f->random, count);
}

/* ---- Writing ---- */

static void write_maybe(struct world_fixture *f, struct buffer *out, const char *name,
                        int64_t value)
{
    write_text(out, name);
    if (below(f, 8) == 0) {
        write_nil(out);
    } else {
        write_integer(out, value);
    }
}

static void write_words(struct world_fixture *f, struct buffer *out, const char *name)
{
    char text[8];
    size_t size = (size_t)below(f, 5);
    write_text(out, name);
    if (below(f, 10) == 0) {
        write_nil(out);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)('a' + below(f, 3));
    }
    write_string(out, text, size);
}

static struct record *image(struct world_fixture *f, const struct resource *resource,
                            struct buffer *map)
{
    assert_false(map->failed);
    struct record *record = fixture_record(resource, &f->arena, map->bytes, map->size);
    buffer_release(map);
    return record;
}

static struct record *random_ticket(struct world_fixture *f, int64_t id)
{
    static const char *const statuses[] = {"open", "closed", "waiting"};
    struct buffer map = BUFFER_INIT;
    char code[24];
    write_map(&map, 8);
    write_text(&map, "id");
    write_integer(&map, id);
    write_maybe(f, &map, "team_id", below(f, TEAMS + 3));
    write_text(&map, "status");
    write_text(&map, statuses[below(f, 3)]);
    write_maybe(f, &map, "priority", below(f, 10) - 2);
    write_words(f, &map, "subject");
    snprintf(code, sizeof(code), "c%lld", (long long)id);
    write_text(&map, "code");
    write_text(&map, code);
    write_text(&map, "at");
    write_datetime(&map, &(struct datetime){.seconds = 1700000000 + below(f, 50)});
    write_text(&map, "score");
    write_float(&map, (double)below(f, 20) / 4);
    return image(f, fixture_resource(f->schema, "ticket"), &map);
}

static struct record *random_team(struct world_fixture *f, int64_t id)
{
    struct buffer map = BUFFER_INIT;
    write_map(&map, 3);
    write_text(&map, "id");
    write_integer(&map, id);
    write_words(f, &map, "name");
    write_maybe(f, &map, "size", below(f, 8));
    return image(f, fixture_resource(f->schema, "team"), &map);
}

static struct record *pair(struct world_fixture *f, const char *resource, int64_t id, int64_t team,
                           int64_t ticket)
{
    struct buffer map = BUFFER_INIT;
    write_map(&map, id >= 0 ? 3 : 2);
    if (id >= 0) {
        write_text(&map, "id");
        write_integer(&map, id);
    }
    write_text(&map, "team_id");
    write_integer(&map, team);
    write_text(&map, "ticket_id");
    write_integer(&map, ticket);
    return image(f, fixture_resource(f->schema, resource), &map);
}

static const struct record *stored_as(struct model *model, const struct record *record)
{
    struct buffer key = BUFFER_INIT;
    assert_true(key_of_record(model->resource, &model->resource->primary_key, record, &key));
    const struct record *found = model->store->ops->find(model->store, key.bytes, key.size);
    buffer_release(&key);
    return found;
}

static bool put(struct world_fixture *f, struct model *model, const struct record *old,
                const struct record *record)
{
    const struct record *stored;
    struct store *store = model->store;
    store->ops->begin(store);
    int code = store->ops->put(store, old != NULL ? stored_as(model, old) : NULL, record, &stored,
                               &f->error);
    if (code == 0) {
        store->ops->commit(store);
    } else {
        store->ops->rollback(store);
    }
    return code == 0;
}

static void add(struct world_fixture *f, struct model *model, const struct record *record)
{
    if (model->count < MODEL_MAX && put(f, model, NULL, record)) {
        model->records[model->count++] = record;
    }
}

static void random_write(struct world_fixture *f)
{
    struct model *model = &f->ticket;
    size_t at = (size_t)random_below(&f->random, model->count);
    int64_t what = below(f, 4);
    if (what == 0) {
        add(f, model, random_ticket(f, f->next_id++));
    } else if (what == 1 && model->count > 100) {
        struct store *store = model->store;
        store->ops->begin(store);
        assert_int_equal(store->ops->remove(store, stored_as(model, model->records[at]), &f->error),
                         0);
        store->ops->commit(store);
        model->records[at] = model->records[--model->count];
    } else {
        struct value id;
        record_load(model->records[at], model->resource, 0, &id);
        struct record *record = random_ticket(f, id.integer);
        assert_true(put(f, model, model->records[at], record));
        model->records[at] = record;
    }
}

/* ---- Fixture ---- */

static void open_model(struct world_fixture *f, struct model *model, const char *name)
{
    model->resource = fixture_resource(f->schema, name);
    model->store = memory_table_create(f->memory, model->resource);
    model->count = 0;
    assert_non_null(model->store);
    f->stores[model->resource->position] = model->store;
}

static void fill(struct world_fixture *f)
{
    for (int64_t i = 0; i < TEAMS; i++) {
        add(f, &f->team, random_team(f, i));
    }
    for (int64_t i = 0; i < TICKETS; i++) {
        add(f, &f->ticket, random_ticket(f, f->next_id++));
    }
    for (int64_t i = 0; i < LINKS; i++) {
        int64_t team = below(f, TEAMS), ticket = below(f, TICKETS + 20);
        add(f, &f->link, pair(f, "link", -1, team, ticket));
        add(f, &f->label, pair(f, "label", i, below(f, 3), below(f, 60)));
    }
}

static int set_up(void **state)
{
    struct world_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->schema = schema_fixture(yaml);
    world_init(&f->world);
    f->memory = memory_create(&f->world);
    assert_non_null(f->memory);
    open_model(f, &f->team, "team");
    open_model(f, &f->ticket, "ticket");
    open_model(f, &f->link, "link");
    open_model(f, &f->label, "label");
    error_clear(&f->error);
    f->eval = (struct eval){.stores = f->stores, .arena = &f->request, .error = &f->error};
    f->eval.steps_left = f->eval.steps_max = UINT64_MAX;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct world_fixture *f = *state;
    memory_table_free(f->team.store);
    memory_table_free(f->ticket.store);
    memory_table_free(f->link.store);
    memory_table_free(f->label.store);
    memory_free(f->memory);
    arena_release(&f->arena);
    arena_release(&f->request);
    schema_put(f->schema);
    free(f);
    return 0;
}

static void start(struct world_fixture *f, const char *test)
{
    f->random = random_start(test);
    fill(f);
}

static struct expr_compiler compiler_of(struct world_fixture *f, const struct expr_scope *scope)
{
    static const struct limits limits = LIMITS_DEFAULT;
    return (struct expr_compiler){.arena = &f->request, .limits = &limits, .scope = scope};
}

static const struct expr *filter_of(struct world_fixture *f, const char *text)
{
    struct expr_scope outer = {.resource = f->team.resource};
    struct expr_scope scope = {.resource = f->ticket.resource, .outer = &outer};
    struct expr_compiler compiler = compiler_of(f, &scope);
    const struct expr *filter = NULL;
    if (expr_compile_text(&compiler, text, strlen(text), &filter, &f->error) != 0) {
        fail_msg("%s: %s", text, f->error.message);
    }
    return filter;
}

static const struct order *order_of(struct world_fixture *f, const char *text)
{
    struct expr_scope scope = {.resource = f->ticket.resource};
    struct expr_compiler compiler = compiler_of(f, &scope);
    const struct order *order = NULL;
    if (order_compile_text(&compiler, text, strlen(text), &order, &f->error) != 0) {
        fail_msg("%s: %s", text, f->error.message);
    }
    return order;
}

/* ---- The model's answer ---- */

struct expected {
    const struct record *records[MODEL_MAX];
    size_t count;
    size_t passed; /* before it was cut */
};

static struct value run_once(struct world_fixture *f, const struct expr *expr,
                             const struct expr_records *records)
{
    struct value value;
    uint64_t budget = UINT64_MAX;
    struct expr_run *run = expr_run_create(&f->request, expr, &f->eval);
    assert_non_null(run);
    expr_run_start(run, records);
    assert_int_equal(expr_run_go(run, &budget, &value), RUN_DONE);
    return value;
}

static bool passes(struct world_fixture *f, const struct search_spec *spec,
                   const struct record *record, const struct expr_records *outer)
{
    struct expr_records records = {.record = record, .outer = outer};
    for (unsigned i = 0; i < spec->filter_count; i++) {
        struct value value = run_once(f, spec->filters[i], &records);
        if (value.kind != VALUE_BOOLEAN || !value.boolean) {
            return false;
        }
    }
    return true;
}

struct ordering {
    struct world_fixture *f;
    const struct search_spec *spec;
};

static int compare_records(const void *a, const void *b, void *context)
{
    const struct ordering *ordering = context;
    const struct order *order = ordering->spec->order;
    const struct resource *resource = ordering->spec->resource;
    struct expr_records one = {.record = *(const struct record *const *)a};
    struct expr_records two = {.record = *(const struct record *const *)b};
    for (unsigned i = 0; order != NULL && i < order->count; i++) {
        const struct order_item *item = &order->items[i];
        struct value first, second;
        if (item->path != NULL) {
            first = run_once(ordering->f, item->path, &one);
            second = run_once(ordering->f, item->path, &two);
        } else {
            record_load(one.record, resource, item->field, &first);
            record_load(two.record, resource, item->field, &second);
        }
        int order_of_two = order_compare_values(item, &first, &second);
        if (order_of_two != 0) {
            return order_of_two;
        }
    }
    struct value first, second;
    record_load(one.record, resource, 0, &first);
    record_load(two.record, resource, 0, &second);
    return value_compare(&first, &second);
}

static bool linked(const struct model *through, int64_t team, const struct record *ticket)
{
    const struct field *team_id = fixture_field(through->resource, "team_id");
    const struct field *ticket_id = fixture_field(through->resource, "ticket_id");
    struct value id, value;
    record_load(ticket, fixture_resource(through->resource->schema, "ticket"), 0, &id);
    for (size_t i = 0; i < through->count; i++) {
        record_load(through->records[i], through->resource, team_id->position, &value);
        if (value.integer != team) {
            continue;
        }
        record_load(through->records[i], through->resource, ticket_id->position, &value);
        if (value.integer == id.integer) {
            return true;
        }
    }
    return false;
}

static bool joins(struct world_fixture *f, const struct search_spec *spec,
                  const struct search_input *input, const struct record *record)
{
    if (spec->through != NULL) {
        struct reader reader = reader_of(input->key, input->key_size);
        bool link = spec->through->through == f->link.resource;
        return linked(link ? &f->link : &f->label, reader_next(&reader).integer, record);
    }
    return spec->join == NULL ||
           key_matches(spec->resource, spec->join, record, input->key, input->key_size);
}

static void expect(struct world_fixture *f, const struct search_spec *spec,
                   const struct search_input *input, struct expected *out)
{
    out->count = 0;
    const struct record *const *from = input->list != NULL ? input->list : f->ticket.records;
    size_t count = input->list != NULL ? input->list_count : f->ticket.count;
    for (size_t i = 0; i < count; i++) {
        if ((input->list != NULL || joins(f, spec, input, from[i])) &&
            passes(f, spec, from[i], input->outer)) {
            out->records[out->count++] = from[i];
        }
    }
    struct ordering ordering = {f, spec};
    if (input->list == NULL || !input->keep_order || spec->order != NULL) {
        qsort_r(out->records, out->count, sizeof(out->records[0]), compare_records, &ordering);
    }
    out->passed = out->count;
    size_t offset = spec->offset < out->count ? (size_t)spec->offset : out->count;
    out->count -= offset;
    if (spec->has_limit && out->count > spec->limit) {
        out->count = (size_t)spec->limit;
    }
    memmove(out->records, out->records + offset, out->count * sizeof(out->records[0]));
}

static void assert_same(const struct search_spec *spec, const char *what,
                        const struct expected *expected, const struct record *const *records,
                        size_t count)
{
    char way[128];
    search_plan_describe(spec, way, sizeof(way));
    if (count != expected->count) {
        fail_msg("%s by %s: %zu records, expected %zu", what, way, count, expected->count);
    }
    for (size_t i = 0; i < count; i++) {
        unsigned fields = spec->resource->field_count;
        if (records[i]->size != expected->records[i]->size ||
            memcmp(record_values(records[i], fields), record_values(expected->records[i], fields),
                   records[i]->size) != 0) {
            fail_msg("%s by %s: record %zu of %zu differs", what, way, i, count);
        }
    }
}

/* ---- Random specs ---- */

static const char *const atoms[] = {
    "priority == 3",
    "priority > 2.5 and priority < 5",
    "priority == 2.5",
    "priority >= 4.0",
    "priority <= -1",
    "priority < 1e30",
    "priority > 1e30",
    "priority in [1, 2, 2.0, 7.5, -5]",
    "status == \"open\"",
    "status in [\"closed\", \"open\"]",
    "status == \"waiting\" and priority > 1",
    "status in [\"waiting\", \"open\"] and priority == 2",
    "starts_with(subject, \"a\")",
    "starts_with(subject, \"\") and subject >= \"b\"",
    "subject > \"ab\"",
    "subject == \"\"",
    "id == 17",
    "id in [5, 3, 300, 5, 1, 9999]",
    "id < 50",
    "code == \"c8\"",
    "code in [\"c9\", \"c1\", \"zz\"]",
    "team_id == parent.id",
    "team_id == parent.id and priority > parent.size",
    "priority == parent.size",
    "is_nil(priority)",
    "not (status == \"open\")",
    "priority == 1 or status == \"closed\"",
    "score > 2",
    "at >= \"2023-11-14T22:13:30Z\" and at < \"2023-11-14T22:13:50Z\"",
};
static const char *const path_atoms[] = {
    "team.size > 3",
    "exists(team, size > parent.priority)",
};
static const char *const order_names[] = {"id",      "team_id", "status", "priority",
                                          "subject", "at",      "score",  "code"};
static const char *const order_paths[] = {"team.name", "team.size"};
static const char *const order_signs[] = {"", "-", "++", "--", "", "-"};

#define PICK(f, list) (list)[random_below(&(f)->random, ARRAY_COUNT(list))]

static void random_filters(struct world_fixture *f, struct search_spec *spec, bool paths,
                           char *what, size_t what_size)
{
    size_t at = strlen(what);
    for (int64_t i = below(f, 4); i > 0; i--) {
        const char *text = paths && below(f, 4) == 0 ? PICK(f, path_atoms) : PICK(f, atoms);
        spec->filters[spec->filter_count++] = filter_of(f, text);
        at += (size_t)snprintf(what + at, what_size - at, "(%s) ", text);
    }
}

static void random_order(struct world_fixture *f, struct search_spec *spec, bool paths, char *what,
                         size_t what_size)
{
    char text[256];
    size_t at = 0;
    for (int64_t i = below(f, 4); i > 0; i--) {
        const char *name = paths && below(f, 3) == 0 ? PICK(f, order_paths) : PICK(f, order_names);
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s%s", at > 0 ? "," : "",
                               PICK(f, order_signs), name);
    }
    if (at > 0) {
        spec->order = order_of(f, text);
        snprintf(what + strlen(what), what_size - strlen(what), "sort %s ", text);
    }
    if (below(f, 2) == 0) {
        spec->has_limit = true;
        spec->limit = (uint64_t)below(f, below(f, 4) == 0 ? 500 : 12);
    }
    if (below(f, 4) == 0) {
        spec->offset = (uint64_t)below(f, 10);
    }
    snprintf(what + strlen(what), what_size - strlen(what), "limit %lld offset %lld",
             spec->has_limit ? (long long)spec->limit : -1LL, (long long)spec->offset);
}

/* Key bytes of random values for a join. */
static void random_key(struct world_fixture *f, const struct search_spec *spec, struct buffer *key)
{
    static const char *const statuses[] = {"open", "closed", "waiting"};
    const struct resource *resource =
        spec->through != NULL ? spec->through->through : spec->resource;
    for (unsigned i = 0; i < spec->join->count; i++) {
        if (resource->fields[spec->join->fields[i]].type.kind == TYPE_ENUM) {
            write_text(key, PICK(f, statuses));
        } else {
            write_integer(key, below(f, TEAMS));
        }
    }
}

static const struct field_list *random_join(struct world_fixture *f, struct field_list *room)
{
    static const char *const joins[][2] = {
        {"team_id"}, {"id"}, {"priority"}, {"status", "priority"}, {"priority", "status"}};
    const char *const *names = PICK(f, joins);
    room->count = 0;
    for (unsigned i = 0; i < 2 && names[i] != NULL; i++) {
        room->fields[room->count++] = fixture_field(f->ticket.resource, names[i])->position;
    }
    return room;
}

/* One random search: its spec, its input, and what it should find. */
struct trial {
    struct search_spec spec;
    struct search_input input;
    struct field_list join;
    struct buffer key;
    struct expr_records outer;
    const struct record *list[64];
    struct expected expected;
    char what[1024];
};

static void trial_init(struct world_fixture *f, struct trial *t, bool paths)
{
    memset(t, 0, sizeof(*t));
    t->spec.resource = f->ticket.resource;
    int64_t kind = below(f, 6);
    if (kind == 0) {
        t->spec.join = random_join(f, &t->join);
    } else if (kind == 1) {
        const char *name = below(f, 2) == 0 ? "linked" : "labelled";
        t->spec.through = fixture_relationship(f->team.resource, name);
        t->spec.join = &t->spec.through->through_source;
    }
    random_filters(f, &t->spec, paths, t->what, sizeof(t->what));
    random_order(f, &t->spec, paths, t->what, sizeof(t->what));
    assert_int_equal(search_plan(&t->spec, &f->request), 0);
    if (t->spec.join != NULL) {
        random_key(f, &t->spec, &t->key);
        t->input.key = t->key.bytes;
        t->input.key_size = t->key.size;
    }
    if (kind == 2) {
        t->input.list = t->list;
        t->input.list_count = random_below(&f->random, ARRAY_COUNT(t->list));
        size_t first = random_below(&f->random, f->ticket.count);
        for (size_t i = 0; i < t->input.list_count; i++) {
            t->list[i] = f->ticket.records[(first + i * 7) % f->ticket.count];
        }
        t->input.keep_order = below(f, 2) == 0;
    }
    t->outer.record = f->team.records[random_below(&f->random, f->team.count)];
    t->input.outer = &t->outer;
}

/* Runs it with slices of at most `slice`, writing between them. */
static void trial_run(struct world_fixture *f, struct trial *t, struct search *search,
                      uint64_t slice, bool writes)
{
    const struct record *const *records;
    size_t count;
    enum run_status status;
    assert_int_equal(search_start(search, &t->input), 0);
    expect(f, &t->spec, &t->input, &t->expected);
    for (;;) {
        uint64_t budget = 1 + random_below(&f->random, slice);
        status = search_run(search, &budget, &records, &count);
        if (status != RUN_MORE) {
            break;
        }
        assert_int_equal(budget, 0);
        for (int64_t i = writes ? below(f, 6) : 0; i > 0; i--) {
            random_write(f);
        }
        memory_turn(f->memory);
    }
    assert_int_equal(status, RUN_DONE);
    assert_same(&t->spec, t->what, &t->expected, records, count);
}

static void trial_count(struct world_fixture *f, struct trial *t, struct search *search)
{
    uint64_t counted;
    enum run_status status;
    assert_int_equal(search_start(search, &t->input), 0);
    do {
        uint64_t budget = 1 + random_below(&f->random, 1000);
        status = search_count(search, &budget, &counted);
    } while (status == RUN_MORE);
    assert_int_equal(status, RUN_DONE);
    assert_int_equal(counted, t->expected.passed);
}

/* One by one, in whatever order; what was not asked for is not cut. */
static void trial_next(struct world_fixture *f, struct trial *t)
{
    static const struct record *found[MODEL_MAX];
    struct search_spec spec = t->spec;
    const struct record *record;
    size_t count = 0;
    spec.unordered = true;
    spec.has_limit = false;
    spec.offset = 0;
    spec.order = NULL;
    assert_int_equal(search_plan(&spec, &f->request), 0);
    struct search *search = search_create(&spec, &f->eval);
    assert_non_null(search);
    assert_int_equal(search_start(search, &t->input), 0);
    for (;;) {
        uint64_t budget = 1 + random_below(&f->random, 20);
        enum run_status status = search_next(search, &budget, &record);
        assert_true(status == RUN_DONE || (status == RUN_MORE && budget == 0));
        if (status == RUN_DONE && record == NULL) {
            break;
        }
        if (status == RUN_DONE) {
            found[count++] = record;
        }
    }
    t->input.keep_order = false;
    expect(f, &spec, &t->input, &t->expected);
    struct ordering ordering = {f, &spec};
    qsort_r(found, count, sizeof(found[0]), compare_records, &ordering);
    assert_same(&spec, t->what, &t->expected, found, count);
}

static void trials(struct world_fixture *f, int count, bool paths, uint64_t slice, bool writes)
{
    for (int i = 0; i < count; i++) {
        struct trial t;
        pin_take(&f->world, &f->pin);
        trial_init(f, &t, paths);
        struct search *search = search_create(&t.spec, &f->eval);
        assert_non_null(search);
        trial_run(f, &t, search, slice, writes);
        if (!writes) {
            trial_count(f, &t, search);
            trial_next(f, &t);
        }
        /* The same search once more, with a new key where there is one. */
        if (t.spec.join != NULL) {
            buffer_truncate(&t.key, 0);
            random_key(f, &t.spec, &t.key);
            t.input.key = t.key.bytes;
            t.input.key_size = t.key.size;
        }
        if (t.input.list == NULL) {
            trial_run(f, &t, search, slice, writes);
        }
        buffer_release(&t.key);
        pin_put(&f->pin);
        memory_turn(f->memory);
        arena_reset(&f->request);
    }
}

static void test_answers_are_the_models(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_answers_are_the_models");
    trials(f, 200, true, 100000, false);
}

static void test_slices_do_not_matter(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_slices_do_not_matter");
    trials(f, 150, true, 40, false);
}

static void test_writes_between_slices_are_not_seen(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_writes_between_slices_are_not_seen");
    trials(f, 300, false, 60, true);
}

/* ---- Ways ---- */

static void assert_way(struct world_fixture *f, const char *filter, const char *order, int limit,
                       const char *way)
{
    char described[128];
    struct search_spec spec = {.resource = f->ticket.resource};
    if (filter != NULL) {
        spec.filters[spec.filter_count++] = filter_of(f, filter);
    }
    spec.order = order != NULL ? order_of(f, order) : NULL;
    spec.has_limit = limit >= 0;
    spec.limit = limit >= 0 ? (uint64_t)limit : 0;
    assert_int_equal(search_plan(&spec, &f->request), 0);
    search_plan_describe(&spec, described, sizeof(described));
    assert_string_equal(described, way);
}

static void test_ways(void **state)
{
    struct world_fixture *f = *state;
    assert_way(f, NULL, NULL, -1, "scan");
    assert_way(f, "score > 1", NULL, -1, "scan");
    assert_way(f, "id == 5", NULL, -1, "primary_key");
    assert_way(f, "id in [5, 6] and status == \"open\"", NULL, -1, "primary_key");
    assert_way(f, "code == \"a\"", NULL, -1, "identity code");
    assert_way(f, "status == \"open\" and priority > 3", NULL, -1, "index [status priority]");
    assert_way(f, "status in [\"open\", \"closed\"]", NULL, -1, "index [status priority]");
    assert_way(f, "priority > 3 and priority < 6", NULL, -1, "index [priority]");
    assert_way(f, "starts_with(subject, \"a\")", NULL, -1, "index [subject at]");
    assert_way(f, "priority == 1 or id == 2", NULL, -1, "scan");
    assert_way(f, NULL, "-at", 5, "index [at]");
    assert_way(f, NULL, "--at", 5, "scan");
    assert_way(f, NULL, "-at", -1, "scan");
    assert_way(f, "subject == \"a\"", "at", 5, "index [subject at]");
}

/* What a limit in an index's order visits. */
static uint64_t visited(struct world_fixture *f, const char *filter, const char *order, int limit)
{
    struct search_spec spec = {.resource = f->ticket.resource, .order = order_of(f, order)};
    if (filter != NULL) {
        spec.filters[spec.filter_count++] = filter_of(f, filter);
    }
    spec.has_limit = true;
    spec.limit = (uint64_t)limit;
    assert_int_equal(search_plan(&spec, &f->request), 0);
    struct search *search = search_create(&spec, &f->eval);
    assert_non_null(search);
    const struct search_input input = {0};
    const struct record *const *records;
    size_t count;
    uint64_t budget = 1000000, before = f->eval.steps_left;
    assert_int_equal(search_start(search, &input), 0);
    assert_int_equal(search_run(search, &budget, &records, &count), RUN_DONE);
    assert_int_equal(count, limit);
    return before - f->eval.steps_left;
}

static void test_limit_stops_early(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_limit_stops_early");
    assert_true(visited(f, NULL, "at", 3) <= 3 + 1);
    assert_true(visited(f, NULL, "-at", 3) < 60); /* those of equal `at` too */
    assert_true(visited(f, "status == \"open\"", "priority", 3) <= 3 + 1);
    assert_true(visited(f, NULL, "score", 3) >= f->ticket.count);
    assert_int_equal(visited(f, NULL, "at", 0), 0);
}

/* ---- Long lists ---- */

/* `field in $list` with every second number below `count`, twice. */
static const struct expr *list_filter(struct world_fixture *f, const char *text, uint32_t count)
{
    struct expr_scope scope = {.resource = f->ticket.resource};
    struct expr_compiler compiler = compiler_of(f, &scope);
    struct buffer params = BUFFER_INIT;
    write_map(&params, 1);
    write_text(&params, "list");
    write_array(&params, count);
    for (uint32_t i = 0; i < count; i++) {
        write_integer(&params, (int64_t)(count - i) / 2 * 2);
    }
    compiler.params = arena_copy(&f->request, params.bytes, params.size);
    compiler.params_size = params.size;
    buffer_release(&params);
    const struct expr *filter = NULL;
    if (expr_compile_text(&compiler, text, strlen(text), &filter, &f->error) != 0) {
        fail_msg("%s: %s", text, f->error.message);
    }
    return filter;
}

static void test_long_lists(void **state)
{
    static const struct {
        const char *filter;
        uint32_t count;
    } lists[] = {
        {"id in $list", 300},
        {"id in $list", 3 * WALK_POINTS_AT_ONCE},
        {"id in $list", 3 * WALK_POINTS_MAX},
        {"priority in $list", 900},
        {"priority in $list", 4 * WALK_RANGES_MAX},
    };
    struct world_fixture *f = *state;
    start(f, "test_long_lists");
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        struct trial t = {.spec = {.resource = f->ticket.resource}};
        snprintf(t.what, sizeof(t.what), "%s of %u", lists[i].filter, lists[i].count);
        t.spec.filters[t.spec.filter_count++] = list_filter(f, lists[i].filter, lists[i].count);
        assert_int_equal(search_plan(&t.spec, &f->request), 0);
        struct search *search = search_create(&t.spec, &f->eval);
        assert_non_null(search);
        trial_run(f, &t, search, 50, false);
        assert_true(t.expected.count > 0);
        arena_reset(&f->request);
    }
}

/* ---- Room ---- */

static void test_searches_use_their_room_again(void **state)
{
    static const char *const names[] = {"tickets", "urgent", "linked", "labelled", "large"};
    struct world_fixture *f = *state;
    start(f, "test_searches_use_their_room_again");
    for (size_t n = 0; n < 2 * ARRAY_COUNT(names); n++) {
        struct trial t = {0};
        bool transient = n % 2 == 1;
        const struct relationship *relationship =
            fixture_relationship(f->team.resource, names[n / 2]);
        assert_int_equal(search_relationship_spec(relationship, &f->request, &t.spec), 0);
        struct search *search = search_create(&t.spec, &f->eval);
        t.outer.record = f->team.records[1];
        assert_true(relationship->manual ||
                    search_relationship_key(relationship, t.outer.record, &t.key));
        t.input = (struct search_input){
            .outer = &t.outer, .key = t.key.bytes, .key_size = t.key.size, .transient = transient};
        size_t before = 0, results = 0;
        for (unsigned i = 0; i < 2000; i++) {
            const struct record *const *records;
            size_t count;
            uint64_t budget = 100000;
            assert_int_equal(search_start(search, &t.input), 0);
            assert_int_equal(search_run(search, &budget, &records, &count), RUN_DONE);
            before = i == 0 ? f->request.total : before;
            results += i > 0 && !transient ? count * sizeof(*records) + 8 : 0;
        }
        /* Slack for the arena's chunks, where there is something to allocate. */
        assert_true(f->request.total - before <= results + (transient ? 0 : 300 * 1024));
        buffer_release(&t.key);
        arena_reset(&f->request);
    }
}

static void test_stop_closes_cursors(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_stop_closes_cursors");
    struct search_spec spec = {.resource = f->ticket.resource, .filter_count = 1};
    spec.filters[0] = filter_of(f, "team.size > 3 and priority in [1, 2, 3]");
    assert_int_equal(search_plan(&spec, &f->request), 0);
    struct search *search = search_create(&spec, &f->eval);
    const struct search_input input = {0};
    const struct record *const *records;
    size_t count;
    for (uint64_t visits = 0; visits < 40; visits++) {
        uint64_t budget = visits;
        assert_int_equal(search_start(search, &input), 0);
        assert_int_equal(search_run(search, &budget, &records, &count), RUN_MORE);
        search_stop(search);
        search_stop(search);
        random_write(f);
        memory_turn(f->memory);
    }
}

/* ---- Limits ---- */

static void test_filter_steps(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_filter_steps");
    struct search_spec spec = {.resource = f->ticket.resource};
    const struct search_input input = {0};
    const struct record *const *records;
    size_t count;
    uint64_t budget = 1000000;
    f->eval.steps_left = f->eval.steps_max = 50;
    assert_int_equal(search_plan(&spec, &f->request), 0);
    struct search *search = search_create(&spec, &f->eval);
    assert_int_equal(search_start(search, &input), 0);
    assert_int_equal(search_run(search, &budget, &records, &count), RUN_FAILED);
    assert_int_equal(f->error.code, CODE_TOO_LARGE);
    assert_string_equal(f->error.limit, "filter_steps");
    search_stop(search);
}

/* To look for related records costs, also where there are none: else a turn of
 * such looking takes long. */
static void test_looking_in_vain_is_paid_for(void **state)
{
    enum { PAID = 16 };
    struct world_fixture *f = *state;
    start(f, "test_looking_in_vain_is_paid_for");
    static const char text[] = "exists(tickets, priority > 1000)";
    struct search_spec spec = {.resource = f->team.resource, .filter_count = 1};
    struct expr_scope scope = {.resource = f->team.resource};
    struct expr_compiler compiler = compiler_of(f, &scope);
    assert_int_equal(
        expr_compile_text(&compiler, text, sizeof text - 1, &spec.filters[0], &f->error), 0);
    assert_int_equal(search_plan(&spec, &f->request), 0);
    struct search *search = search_create(&spec, &f->eval);
    const struct search_input input = {0};
    uint64_t whole = 1000000, budget = whole, counted = 1, before = f->eval.steps_left;
    assert_int_equal(search_start(search, &input), 0);
    assert_int_equal(search_count(search, &budget, &counted), RUN_DONE);
    assert_int_equal(counted, 0);
    assert_int_equal(before - f->eval.steps_left, f->team.count);
    assert_true(whole - budget >= f->team.count * PAID);
    search_stop(search);
}

static void test_memory_lacks_at_each_place(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_memory_lacks_at_each_place");
    struct trial t = {.spec = {.resource = f->ticket.resource}};
    t.spec.order = order_of(f, "team.name,-score");
    t.spec.filters[t.spec.filter_count++] = filter_of(f, "id < 350 and team.size < 6");
    bool done = false;
    for (size_t more = 0; !done; more += 512) {
        struct arena arena;
        struct eval eval = f->eval;
        const struct record *const *records;
        size_t count;
        uint64_t budget = UINT64_MAX;
        assert_true(more < (size_t)1024 * 1024);
        arena_init(&arena, 64 + more);
        eval.arena = &arena;
        struct search_spec spec = t.spec;
        if (search_plan(&spec, &arena) == 0) {
            struct search *search = search_create(&spec, &eval);
            if (search != NULL && search_start(search, &t.input) == 0) {
                enum run_status status = search_run(search, &budget, &records, &count);
                done = status == RUN_DONE;
                assert_true(done || status == RUN_FAILED);
                assert_true(done || f->error.code == CODE_OVERLOADED);
            }
        }
        if (done) {
            spec = t.spec;
            assert_int_equal(search_plan(&spec, &f->request), 0);
            expect(f, &spec, &t.input, &t.expected);
            assert_same(&spec, "enough memory", &t.expected, records, count);
        }
        arena_release(&arena);
    }
    assert_true(list_empty(&f->world.pins));
}

/* ---- Relationships ---- */

static void test_relationships(void **state)
{
    static const char *const names[] = {"tickets", "latest",   "urgent",
                                        "linked",  "labelled", "large"};
    struct world_fixture *f = *state;
    start(f, "test_relationships");
    for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
        const struct relationship *relationship = fixture_relationship(f->team.resource, names[n]);
        struct trial t = {0};
        assert_int_equal(search_relationship_spec(relationship, &f->request, &t.spec), 0);
        assert_int_equal(t.spec.has_limit, relationship->to_one || relationship->has_limit);
        struct search *search = search_create(&t.spec, &f->eval);
        assert_non_null(search);
        for (size_t i = 0; i < f->team.count; i++) {
            buffer_truncate(&t.key, 0);
            t.outer.record = f->team.records[i];
            assert_true(relationship->manual ||
                        search_relationship_key(relationship, t.outer.record, &t.key));
            t.input = (struct search_input){
                .outer = &t.outer, .key = t.key.bytes, .key_size = t.key.size};
            trial_run(f, &t, search, 1000000, false);
        }
        buffer_release(&t.key);
    }
}

static void test_nil_never_joins(void **state)
{
    struct world_fixture *f = *state;
    start(f, "test_nil_never_joins");
    struct buffer map = BUFFER_INIT, key = BUFFER_INIT;
    write_map(&map, 1);
    write_text(&map, "id");
    write_integer(&map, 7);
    struct record *ticket = image(f, f->ticket.resource, &map);
    const struct relationship *team = fixture_relationship(f->ticket.resource, "team");
    assert_false(search_relationship_key(team, ticket, &key));
    assert_int_equal(key.size, 0);
    buffer_release(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers_are_the_models, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slices_do_not_matter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writes_between_slices_are_not_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_stops_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_searches_use_their_room_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_closes_cursors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_looking_in_vain_is_paid_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_filter_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_lacks_at_each_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_relationships, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nil_never_joins, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

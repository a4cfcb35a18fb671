#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/outside.h"
#include "layers/load/relation.h"
#include "layers/memory/memory.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* Which cached results a write drops, for each kind of loader: those that it
 * changes must go, and where the fields tell which these are, no others. */

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  team:\n"
    "    fields: {id: integer, name: string, level: integer}\n"
    "  person:\n"
    "    fields: {id: integer, name: string, team_id: integer, level: integer}\n"
    "    relationships:\n"
    "      team: {belongs_to: team, cache: {}}\n"
    "      tickets: {has_many: ticket, cache: {}, sort: -priority}\n"
    "      led: {has_many: ticket, cache: {}, filter: exists(person.team)}\n"
    "      teams: {many_to_many: team, through: person_team, source_field_on_through: person_id,\n"
    "              destination_field_on_through: team_id, cache: {}}\n"
    "      above:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and priority > parent.level}\n"
    "        cache: {}\n"
    "      equal:\n"
    "        has_many: ticket\n"
    "        manual: {filter: priority == parent.level}\n"
    "        cache: {}\n"
    "      in_team:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and person.team.level > priority}\n"
    "        cache: {}\n"
    "      by_team:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and parent.team.level > priority}\n"
    "        cache: {}\n"
    "      plain: {has_many: ticket, manual: remote, actor: none, cache: {}}\n"
    "      exact:\n"
    "        has_many: ticket\n"
    "        manual: remote\n"
    "        actor: none\n"
    "        source_fields: [level]\n"
    "        depends_on: [{ticket: person_id}, team]\n"
    "        cache: {}\n"
    "      other: {has_many: ticket, manual: remote, actor: none, depends_on: [team], cache: {}}\n"
    "      never: {has_many: ticket, manual: remote, actor: none, depends_on: none, cache: {}}\n"
    "      filtered:\n"
    "        has_many: ticket\n"
    "        manual: remote\n"
    "        actor: none\n"
    "        depends_on: [{ticket: person_id}]\n"
    "        filter: exists(person, level > 1)\n"
    "        cache: {}\n"
    "      uncached: {has_many: ticket, manual: remote, actor: none}\n"
    "  person_team:\n"
    "    primary_key: [person_id, team_id]\n"
    "    fields: {person_id: integer, team_id: integer, since: integer}\n"
    "  ticket:\n"
    "    fields: {id: integer, subject: string, priority: integer, person_id: integer}\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n"
    "  seat:\n"
    "    primary_key: [room, number]\n"
    "    fields: {room: string, number: integer}\n"
    "    relationships:\n"
    "      bookings:\n"
    "        has_many: booking\n"
    "        manual: remote\n"
    "        actor: none\n"
    "        depends_on: [{booking: [seat_room, seat_number]}]\n"
    "        cache: {}\n"
    "      joined:\n"
    "        has_many: booking\n"
    "        source_field: [room, number]\n"
    "        destination_field: [seat_room, seat_number]\n"
    "        cache: {}\n"
    "  booking:\n"
    "    fields: {id: integer, seat_room: string, seat_number: integer}\n";

enum { STORES = 6, BATCHES_MAX = 4 };

struct fixture {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[STORES];
    struct limits limits;
    struct task_queue tasks;
    struct outside_loaders remotes;
    struct relations_owner shared;
    struct relations relations;
    struct arena arena;
    struct error error;
    struct batch *batches[BATCHES_MAX]; /* that the remote loader has */
    size_t batch_count;
    char text[200]; /* of what was asked last */
};

/* ---- A remote loader that answers when it is told to ---- */

static int remote_open(void *context, struct relation *relation, struct error *error)
{
    (void)context, (void)relation, (void)error;
    return 0;
}

static void remote_close(void *context, struct relation *relation)
{
    (void)context, (void)relation;
}

static void remote_begin(void *context, struct relation *relation, struct batch *batch)
{
    struct fixture *f = context;
    (void)relation;
    assert_true(f->batch_count < BATCHES_MAX);
    f->batches[f->batch_count++] = batch;
}

static bool remote_drop(void *context, struct relation *relation, struct batch *batch)
{
    (void)context, (void)relation, (void)batch;
    return true;
}

/* The oldest batch is answered: no records for any key. */
static void answer(struct fixture *f, struct relation *relation)
{
    struct batch *batch = f->batches[0];
    struct buffer bytes = BUFFER_INIT;
    assert_true(f->batch_count > 0);
    memmove(f->batches, f->batches + 1, --f->batch_count * sizeof(f->batches[0]));
    write_map(&bytes, 0);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    assert_int_equal(outside_take(relation, batch, 0, batch->count, &in, &f->error), 0);
    coalescer_complete(f->shared.coalescer, batch, 1);
    buffer_release(&bytes);
}

/* ---- The fixture ---- */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->schema = schema_fixture(yaml);
    f->limits = (struct limits)LIMITS_DEFAULT;
    assert_int_equal(f->schema->resource_count, STORES);
    world_init(&f->world);
    task_queue_init(&f->tasks);
    f->memory = memory_create(&f->world);
    assert_non_null(f->memory);
    for (unsigned i = 0; i < STORES; i++) {
        f->stores[i] = memory_table_create(f->memory, &f->schema->resources[i]);
        assert_non_null(f->stores[i]);
    }
    f->remotes = (struct outside_loaders){.context = f,
                                          .open = remote_open,
                                          .close = remote_close,
                                          .start = remote_begin,
                                          .cancel = remote_drop};
    f->shared = (struct relations_owner){.world = &f->world,
                                         .coalescer = coalescer_create(&f->limits),
                                         .tasks = &f->tasks,
                                         .limits = &f->limits,
                                         .remotes = &f->remotes};
    assert_non_null(f->shared.coalescer);
    assert_int_equal(relations_open(&f->relations, f->schema, f->stores, &f->shared, &f->error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    coalescer_close(f->shared.coalescer);
    relations_close(&f->relations);
    coalescer_free(f->shared.coalescer);
    for (unsigned i = 0; i < STORES; i++) {
        memory_table_free(f->stores[i]);
    }
    memory_free(f->memory);
    schema_put(f->schema);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static struct relation *relation_of(struct fixture *f, const char *full_name)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", full_name);
    char *dot = strchr(name, '.');
    assert_non_null(dot);
    *dot = '\0';
    const struct resource *resource = fixture_resource(f->schema, name);
    return relations_find(&f->relations, fixture_relationship(resource, dot + 1));
}

static const struct record *stored(struct fixture *f, const struct resource *resource,
                                   const struct record *image)
{
    struct store *store = f->stores[resource->position];
    struct buffer key = BUFFER_INIT;
    assert_true(key_of_record(resource, &resource->primary_key, image, &key));
    const struct record *found = store->ops->find(store, key.bytes, key.size);
    buffer_release(&key);
    return found;
}

/* Creates, or replaces by primary key; or removes. */
static void write_record(struct fixture *f, const char *resource, const char *map, bool remove)
{
    const struct resource *of = fixture_resource(f->schema, resource);
    struct store *store = f->stores[of->position];
    struct buffer bytes = BUFFER_INIT;
    const struct record *out;
    json_to_msgpack(map, &bytes);
    const struct record *image = fixture_record(of, &f->arena, bytes.bytes, bytes.size);
    const struct record *old = stored(f, of, image);
    buffer_release(&bytes);
    if (remove && old == NULL) {
        return;
    }
    store->ops->begin(store);
    int status = remove ? store->ops->remove(store, old, &f->error)
                        : store->ops->put(store, old, image, &out, &f->error);
    assert_int_equal(status, 0);
    store->ops->commit(store);
}

/* ---- Tables: what one write drops ---- */

static const char *const shown_variants[] = {"", "with a query"};

static void fill(struct relation *relation, const uint8_t *key, size_t size)
{
    static const struct cached_result nothing = {.count = 0};
    for (size_t i = 0; i < ARRAY_COUNT(shown_variants); i++) {
        result_cache_fill(relation->cache, (const uint8_t *)shown_variants[i],
                          strlen(shown_variants[i]), key, size, &nothing, 0);
    }
}

/* Whether it is there, in all that was shown, or in none. */
static bool is_there(struct relation *relation, const uint8_t *key, size_t size)
{
    unsigned count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(shown_variants); i++) {
        const struct cached_result *result =
            result_cache_find(relation->cache, (const uint8_t *)shown_variants[i],
                              strlen(shown_variants[i]), key, size, true, 0);
        if (result != NULL) {
            cached_result_put(relation->cache, result);
            count++;
        }
    }
    assert_true(count == 0 || count == ARRAY_COUNT(shown_variants));
    return count > 0;
}

/* Keys 1 to 5 are there; those that the write drops, as text. */
static const char *dropped(struct fixture *f, struct relation *relation, const char *resource,
                           const char *old, const char *new)
{
    uint8_t key[WRITE_HEADER_MAX];
    if (old != NULL) {
        write_record(f, resource, old, false);
    } else if (new != NULL) {
        write_record(f, resource, new, true);
    }
    for (int64_t id = 1; id <= 5; id++) {
        fill(relation, key, encode_integer(key, id));
    }
    write_record(f, resource, new != NULL ? new : old, new == NULL);
    f->text[0] = '\0';
    for (int64_t id = 1; id <= 5; id++) {
        if (!is_there(relation, key, encode_integer(key, id))) {
            size_t size = strlen(f->text);
            snprintf(f->text + size, sizeof(f->text) - size, "%d", (int)id);
        }
    }
    return f->text;
}

struct row {
    const char *relationship, *resource, *old, *new, *dropped;
};

static void check_rows(struct fixture *f, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        const char *came =
            dropped(f, relation_of(f, row->relationship), row->resource, row->old, row->new);
        if (strcmp(came, row->dropped) != 0) {
            fail_msg("%s: %s %s to %s drops \"%s\", expected \"%s\"", row->relationship,
                     row->resource, row->old, row->new, came, row->dropped);
        }
    }
}

static const char of_1[] = "{'id': 7, 'person_id': 1, 'priority': 3}";
static const char of_1_changed[] = "{'id': 7, 'person_id': 1, 'priority': 4}";
static const char of_2[] = "{'id': 7, 'person_id': 2, 'priority': 3}";
static const char of_nobody[] = "{'id': 7, 'priority': 3}";
static const char person_2[] = "{'id': 2, 'name': 'a', 'level': 1}";
static const char person_2_renamed[] = "{'id': 2, 'name': 'b', 'level': 1}";
static const char person_2_raised[] = "{'id': 2, 'name': 'a', 'level': 2}";
static const char team_4[] = "{'id': 4, 'name': 'a', 'level': 1}";
static const char team_4_renamed[] = "{'id': 4, 'name': 'b', 'level': 1}";
static const char pair[] = "{'person_id': 3, 'team_id': 4}";
static const char pair_since[] = "{'person_id': 3, 'team_id': 4, 'since': 5}";

static void test_joins(void **state)
{
    static const struct row rows[] = {
        {"person.tickets", "ticket", NULL, of_1, "1"},
        {"person.tickets", "ticket", of_1, NULL, "1"},
        {"person.tickets", "ticket", of_1, of_1_changed, "1"},
        {"person.tickets", "ticket", of_1, of_2, "12"},
        {"person.tickets", "ticket", of_1, of_nobody, "1"},
        {"person.tickets", "ticket", of_nobody, of_2, "2"},
        {"person.tickets", "ticket", NULL, of_nobody, ""},
        /* The key is the join's value: the source says nothing. */
        {"person.tickets", "person", person_2, person_2_raised, ""},
        {"person.tickets", "team", NULL, team_4, ""},
        {"person.team", "team", team_4, team_4_renamed, "4"},
        {"person.team", "person", person_2, person_2_raised, ""},
        /* What its filter follows. */
        {"person.led", "ticket", of_1, of_2, "12"},
        {"person.led", "person", person_2, person_2_renamed, "12345"},
        {"person.led", "team", NULL, team_4, "12345"},
        {"person.led", "person_team", NULL, pair, ""},
        {"person.teams", "person_team", NULL, pair, "3"},
        {"person.teams", "person_team", pair, NULL, "3"},
        {"person.teams", "person_team", pair, pair_since, "3"},
        {"person.teams", "team", team_4, team_4_renamed, "12345"},
        {"person.teams", "person", person_2, person_2_renamed, ""},
        {"person.teams", "ticket", NULL, of_1, ""},
    };
    check_rows(*state, rows, ARRAY_COUNT(rows));
}

static void test_filters(void **state)
{
    static const struct row rows[] = {
        {"person.above", "ticket", NULL, of_1, "1"},
        {"person.above", "ticket", of_1, of_2, "12"},
        {"person.above", "ticket", of_1, NULL, "1"},
        {"person.above", "ticket", of_nobody, of_nobody, ""},
        {"person.above", "person", person_2, person_2_raised, "2"},
        {"person.above", "person", person_2, NULL, "2"},
        {"person.above", "team", NULL, team_4, ""},
        {"person.equal", "ticket", NULL, of_1, "12345"},
        {"person.equal", "person", person_2, person_2_raised, "2"},
        {"person.in_team", "ticket", of_1, of_2, "12"},
        {"person.in_team", "person", person_2, person_2_renamed, "12345"},
        {"person.in_team", "team", team_4, team_4_renamed, "12345"},
        {"person.by_team", "ticket", of_1, of_2, "12"},
        {"person.by_team", "person", person_2, person_2_renamed, "2"},
        {"person.by_team", "team", team_4, team_4_renamed, "12345"},
        {"person.by_team", "person_team", NULL, pair, ""},
    };
    check_rows(*state, rows, ARRAY_COUNT(rows));
}

static void test_remotes(void **state)
{
    static const struct row rows[] = {
        {"person.plain", "ticket", NULL, of_1, "12345"},
        {"person.plain", "person", person_2, person_2_renamed, "2"},
        {"person.plain", "person", NULL, person_2, "2"},
        {"person.plain", "team", NULL, team_4, ""},
        {"person.exact", "ticket", of_1, of_2, "12"},
        {"person.exact", "ticket", of_1, of_1_changed, "1"},
        {"person.exact", "ticket", of_nobody, NULL, ""},
        {"person.exact", "team", team_4, team_4_renamed, "12345"},
        {"person.exact", "person", person_2, person_2_renamed, ""},
        {"person.exact", "person", person_2, person_2_raised, "2"},
        {"person.exact", "person", person_2, NULL, "2"},
        {"person.exact", "person_team", NULL, pair, ""},
        /* A destination that is not in the list counts for all. */
        {"person.other", "ticket", NULL, of_1, "12345"},
        {"person.other", "team", NULL, team_4, "12345"},
        {"person.other", "person_team", NULL, pair, ""},
        {"person.never", "ticket", NULL, of_1, ""},
        {"person.never", "team", NULL, team_4, ""},
        {"person.never", "person", person_2, person_2_renamed, "2"},
        {"person.filtered", "ticket", of_1, of_2, "12"},
        {"person.filtered", "person", person_2, person_2_renamed, "12345"},
    };
    check_rows(*state, rows, ARRAY_COUNT(rows));
}

/* "a1 b2": the seats whose results are gone. */
static void expect_seats(struct fixture *f, const char *relationship, const char *old,
                         const char *new, const char *expected)
{
    static const char *const seats[] = {"['a', 1]", "['a', 2]", "['b', 1]"};
    struct relation *relation = relation_of(f, relationship);
    const struct resource *seat = relation->relationship->source;
    struct buffer keys[ARRAY_COUNT(seats)] = {{0}};
    if (old != NULL) {
        write_record(f, "booking", old, false);
    }
    for (size_t i = 0; i < ARRAY_COUNT(seats); i++) {
        struct buffer json = BUFFER_INIT;
        json_to_msgpack(seats[i], &json);
        struct reader in = reader_of(json.bytes, json.size);
        assert_int_equal(key_take(seat, &seat->primary_key, &in, &keys[i], &f->error), 0);
        fill(relation, keys[i].bytes, keys[i].size);
        buffer_release(&json);
    }
    write_record(f, "booking", new, false);
    f->text[0] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(seats); i++) {
        if (!is_there(relation, keys[i].bytes, keys[i].size)) {
            size_t size = strlen(f->text);
            snprintf(f->text + size, sizeof(f->text) - size, "%s", seats[i]);
        }
        buffer_release(&keys[i]);
    }
    assert_string_equal(f->text, expected);
    write_record(f, "booking", new, true);
}

static void test_composite(void **state)
{
    static const char *const relationships[] = {"seat.bookings", "seat.joined"};
    for (size_t i = 0; i < ARRAY_COUNT(relationships); i++) {
        const char *name = relationships[i];
        expect_seats(*state, name, NULL, "{'id': 1, 'seat_room': 'a', 'seat_number': 2}",
                     "['a', 2]");
        expect_seats(*state, name, "{'id': 1, 'seat_room': 'a', 'seat_number': 1}",
                     "{'id': 1, 'seat_room': 'b', 'seat_number': 1}", "['a', 1]['b', 1]");
        expect_seats(*state, name, "{'id': 1, 'seat_room': 'a'}",
                     "{'id': 1, 'seat_room': 'a', 'seat_number': 1}", "['a', 1]");
    }
}

/* Positions mean something within one schema only: writes under another one
 * count for all. */
static void test_other_schema(void **state)
{
    struct fixture *f = *state;
    struct schema *other = schema_fixture(yaml);
    struct relation *relation = relation_of(f, "person.never");
    uint8_t key[WRITE_HEADER_MAX];
    struct buffer bytes = BUFFER_INIT;
    const struct resource *ticket = fixture_resource(other, "ticket");
    json_to_msgpack(of_1, &bytes);
    const struct write_event event = {
        .sequence = world_advance(&f->world),
        .resource = ticket,
        .new = fixture_record(ticket, &f->arena, bytes.bytes, bytes.size)};
    for (int64_t id = 1; id <= 3; id++) {
        fill(relation, key, encode_integer(key, id));
    }
    world_publish(&f->world, &event);
    assert_int_equal(result_cache_count(relation->cache), 0);
    buffer_release(&bytes);
    schema_put(other);
}

static void test_invalidate(void **state)
{
    struct fixture *f = *state;
    struct relation *relation = relation_of(f, "person.never");
    uint8_t key[WRITE_HEADER_MAX];
    for (int64_t id = 1; id <= 3; id++) {
        fill(relation, key, encode_integer(key, id));
    }
    assert_int_equal(relation_invalidate(relation, key, encode_integer(key, 2)), 2);
    assert_false(is_there(relation, key, encode_integer(key, 2)));
    assert_true(is_there(relation, key, encode_integer(key, 1)));
    assert_int_equal(relation_invalidate(relation, NULL, 0), 4);
    assert_int_equal(relation_invalidate(relation_of(f, "person.uncached"), NULL, 0), 0);
}

/* ---- Flights ---- */

static void on_done(struct load *load)
{
    (void)load;
}

static void begin(struct fixture *f, struct relation *relation, struct load *load, int64_t id)
{
    uint8_t bytes[WRITE_HEADER_MAX];
    const struct load_key key = {.bytes = bytes, .size = (uint32_t)encode_integer(bytes, id)};
    struct eval eval = {.stores = f->stores, .arena = &f->arena, .error = &f->error};
    struct buffer shown = BUFFER_INIT;
    struct query query;
    query_init(&query, relation->relationship->destination);
    relation_shown(relation, &eval, true, &query, 0, &shown);
    *load = (struct load){.loader = &relation->loader,
                          .shown = shown.bytes,
                          .shown_size = (uint32_t)shown.size,
                          .done = on_done};
    assert_int_equal(coalescer_load(f->shared.coalescer, load, &key, 1, 1, &f->error), 0);
    coalescer_flush(f->shared.coalescer, 1);
    buffer_release(&shown);
}

/* What is out when a write may have changed it fills no cache, and who asks
 * after the write asks the loader again, once the first has answered. */
static void test_flights(void **state)
{
    static const struct {
        const char *relationship, *resource, *map;
        bool overtaken;
    } rows[] = {
        {"person.exact", "ticket", of_1, true},     {"person.exact", "ticket", of_2, false},
        {"person.exact", "team", team_4, true},     {"person.uncached", "ticket", of_2, true},
        {"person.uncached", "team", team_4, false}, {"person.never", "ticket", of_1, false},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct relation *relation = relation_of(f, rows[i].relationship);
        struct load first, second;
        begin(f, relation, &first, 1);
        assert_int_equal(f->batch_count, 1);
        write_record(f, rows[i].resource, rows[i].map, false);
        begin(f, relation, &second, 1);
        assert_int_equal(f->batch_count, 1);
        answer(f, relation);
        coalescer_flush(f->shared.coalescer, 1);
        assert_int_equal(first.missing, 0);
        uint64_t kept = relation->cache != NULL ? result_cache_count(relation->cache) : 0;
        assert_int_equal(kept, relation->cache != NULL && !rows[i].overtaken);
        assert_int_equal(f->batch_count, rows[i].overtaken ? 1 : 0);
        assert_int_equal(second.missing, rows[i].overtaken ? 1 : 0);
        if (rows[i].overtaken) {
            answer(f, relation);
        }
        assert_int_equal(second.missing, 0);
        load_release(f->shared.coalescer, &first);
        load_release(f->shared.coalescer, &second);
        write_record(f, rows[i].resource, rows[i].map, true);
        relation_invalidate(relation, NULL, 0);
    }
}

/* A busy destination leaves most of a cache: 20,000 writes to the tickets of
 * others, while 500 persons are asked for. */
static void test_busy_destination(void **state)
{
    enum { PERSONS = 500, WRITES = 20000 };
    struct fixture *f = *state;
    struct relation *exact = relation_of(f, "person.exact");
    struct relation *plain = relation_of(f, "person.plain");
    struct random random = random_start("test_busy_destination");
    uint8_t key[WRITE_HEADER_MAX];
    unsigned hits = 0, plain_hits = 0;
    for (unsigned i = 0; i < WRITES; i++) {
        char map[100];
        bool theirs = random_below(&random, 100) == 0;
        snprintf(map, sizeof(map), "{'id': %u, 'person_id': %u}", i % 100,
                 (unsigned)random_below(&random, PERSONS) + (theirs ? 0 : PERSONS));
        write_record(f, "ticket", map, false);
        size_t size = encode_integer(key, (int64_t)random_below(&random, PERSONS));
        hits += is_there(exact, key, size);
        plain_hits += is_there(plain, key, size);
        fill(exact, key, size);
        fill(plain, key, size);
        arena_reset(&f->arena);
    }
    assert_true(hits > WRITES * 90 / 100);
    assert_int_equal(plain_hits, 0);
}

/* ---- Random: what changes must go ---- */

enum { IDS = 6, ROUNDS = 4000 };

struct plain_ticket {
    bool here;
    int person_id, priority; /* 0: nil */
};

struct plain_person {
    bool here;
    int team_id, level;
    char name;
};

struct plain_team {
    bool here;
    int level;
};

struct model {
    struct random random;
    struct plain_ticket tickets[IDS + 1];
    struct plain_person persons[IDS + 1];
    struct plain_team teams[IDS + 1];
    bool pairs[IDS + 1][IDS + 1];
};

struct counts {
    size_t changed, kept;
};

static unsigned below(struct model *m, unsigned count)
{
    return (unsigned)random_below(&m->random, count);
}

static int level_of_team(const struct model *m, int person)
{
    const struct plain_person *p = &m->persons[person];
    return p->here && p->team_id > 0 && m->teams[p->team_id].here ? m->teams[p->team_id].level : 0;
}

static bool has_team(const struct model *m, int person)
{
    return m->persons[person].here && m->persons[person].team_id > 0 &&
           m->teams[m->persons[person].team_id].here;
}

/* Whether a ticket is related to a person, by the relationship's own words. */
static bool is_related(const struct model *m, const char *name, int person, int ticket)
{
    const struct plain_ticket *t = &m->tickets[ticket];
    const struct plain_person *p = &m->persons[person];
    if (!t->here) {
        return false;
    }
    if (strcmp(name, "person.equal") == 0) {
        return p->here && p->level > 0 && t->priority > 0 && t->priority == p->level;
    }
    if (t->person_id != person) {
        return false;
    }
    if (strcmp(name, "person.tickets") == 0) {
        return true;
    }
    if (strcmp(name, "person.led") == 0) {
        return has_team(m, person);
    }
    if (strcmp(name, "person.above") == 0) {
        return p->here && p->level > 0 && t->priority > p->level;
    }
    if (strcmp(name, "person.in_team") == 0 || strcmp(name, "person.by_team") == 0) {
        return has_team(m, person) && t->priority > 0 && level_of_team(m, person) > t->priority;
    }
    return true; /* exact: its tickets, whatever else it makes of them */
}

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    *hash ^= *hash >> 29;
}

/* A number that tells the answer: the related records with their contents, and
 * for the remote one all that it says that it looks at. */
static uint64_t answer_of(const struct model *m, const char *name, int id)
{
    uint64_t hash = 1;
    if (strcmp(name, "person.team") == 0) {
        mix(&hash, m->teams[id].here ? 1 + (uint64_t)m->teams[id].level : 0);
        return hash;
    }
    if (strcmp(name, "person.teams") == 0) {
        for (int team = 1; team <= IDS; team++) {
            bool related = m->pairs[id][team] && m->teams[team].here;
            mix(&hash, related ? 1 + (uint64_t)m->teams[team].level : 0);
        }
        return hash;
    }
    for (int ticket = 1; ticket <= IDS; ticket++) {
        bool related = is_related(m, name, id, ticket);
        mix(&hash, related ? 1 + (uint64_t)m->tickets[ticket].priority : 0);
    }
    if (strcmp(name, "person.exact") == 0) {
        mix(&hash, m->persons[id].here ? 1 + (uint64_t)m->persons[id].level : 0);
        for (int team = 1; team <= IDS; team++) {
            mix(&hash, m->teams[team].here ? 1 + (uint64_t)m->teams[team].level : 0);
        }
    }
    return hash;
}

static const char *maybe(char out[16], int value)
{
    if (value > 0) {
        snprintf(out, 16, "%d", value);
        return out;
    }
    return "null";
}

/* One random write, in the model and in the stores. */
static void write_randomly(struct fixture *f, struct model *m)
{
    int id = 1 + (int)below(m, IDS);
    bool remove = below(m, 4) == 0;
    int a = (int)below(m, IDS + 1);
    int b = (int)below(m, 4);
    char map[200], first[16], second[16];
    switch (below(m, 5)) {
    case 0:
    case 1:
        m->tickets[id] = (struct plain_ticket){.here = !remove, .person_id = a, .priority = b};
        snprintf(map, sizeof(map), "{'id': %d, 'person_id': %s, 'priority': %s}", id,
                 maybe(first, a), maybe(second, b));
        write_record(f, "ticket", map, remove);
        return;
    case 2:
        m->persons[id] = (struct plain_person){
            .here = !remove, .team_id = a, .level = b, .name = (char)('a' + below(m, 2))};
        snprintf(map, sizeof(map), "{'id': %d, 'team_id': %s, 'level': %s, 'name': '%c'}", id,
                 maybe(first, a), maybe(second, b), m->persons[id].name);
        write_record(f, "person", map, remove);
        return;
    case 3:
        m->teams[id] = (struct plain_team){.here = !remove, .level = b};
        snprintf(map, sizeof(map), "{'id': %d, 'level': %s}", id, maybe(first, b));
        write_record(f, "team", map, remove);
        return;
    default:
        a = a > 0 ? a : 1;
        m->pairs[id][a] = !remove;
        snprintf(map, sizeof(map), "{'person_id': %d, 'team_id': %d}", id, a);
        write_record(f, "person_team", map, remove);
    }
}

static const char *const names[] = {"person.tickets", "person.led",     "person.teams",
                                    "person.team",    "person.above",   "person.equal",
                                    "person.in_team", "person.by_team", "person.exact"};

static void fill_all(struct fixture *f, const char *name)
{
    uint8_t key[WRITE_HEADER_MAX];
    for (int id = 1; id <= IDS; id++) {
        fill(relation_of(f, name), key, encode_integer(key, id));
    }
}

/* Those whose answer is not what it was before the write must be gone. */
static void check_dropped(struct fixture *f, const struct model *m, const char *name,
                          const uint64_t *before, struct counts *counts)
{
    uint8_t key[WRITE_HEADER_MAX];
    for (int id = 1; id <= IDS; id++) {
        bool same = answer_of(m, name, id) == before[id];
        bool there = is_there(relation_of(f, name), key, encode_integer(key, id));
        if (!same && there) {
            fail_msg("a write changed %s of %d, and left it", name, id);
        }
        counts->changed += !same;
        counts->kept += there;
    }
}

static void test_random(void **state)
{
    struct fixture *f = *state;
    struct model m = {.random = random_start("test_invalidation")};
    struct counts counts = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t before[ARRAY_COUNT(names)][IDS + 1];
        for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
            fill_all(f, names[n]);
            for (int id = 1; id <= IDS; id++) {
                before[n][id] = answer_of(&m, names[n], id);
            }
        }
        write_randomly(f, &m);
        for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
            check_dropped(f, &m, names[n], before[n], &counts);
        }
        arena_reset(&f->arena);
    }
    assert_true(counts.changed > ROUNDS);
    assert_true(counts.kept > (size_t)ROUNDS * IDS * ARRAY_COUNT(names) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_joins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remotes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_composite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_schema, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalidate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy_destination, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

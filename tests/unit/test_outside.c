#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/outside.h"
#include "layers/memory/memory.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* What loaders outside are shown of a batch, and what is taken of their answers. */

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  person:\n"
    "    fields: {id: integer, name: string, team_id: integer, level: integer}\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      tickets: {has_many: ticket, manual: remote, actor: none}\n"
    "      best: {has_one: ticket, manual: remote, actor: none}\n"
    "      keyed: {has_many: ticket, manual: remote, actor: none, returns: keys}\n"
    "      seats: {has_many: seat, manual: remote, actor: none, returns: keys}\n"
    "      narrow: {has_many: ticket, manual: remote, actor: none, source_fields: [level]}\n"
    "      own:\n"
    "        has_many: ticket\n"
    "        manual: remote\n"
    "        actor: [id]\n"
    "        filter: person_id == parent.id and priority > 1 and subject != actor.role\n"
    "        sort: -priority\n"
    "        limit: 5\n"
    "      hinted: {has_many: ticket, manual: remote, actor: all, query: hint, sort: subject}\n"
    "      first_hinted: {has_one: ticket, manual: remote, actor: none, query: hint}\n"
    "      some: {has_many: ticket, manual: remote, actor: [role, id], query: hint, limit: 9,\n"
    "             offset: 2}\n"
    "  team:\n"
    "    fields: {id: integer, a: integer, b: integer, c: integer, d: integer, e: integer,\n"
    "             f: integer, leader_id: integer}\n"
    "    relationships:\n"
    "      leader: {belongs_to: person}\n"
    "      word: {belongs_to: word, source_field: leader_id, destination_field: number}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      subject: string\n"
    "      priority: integer\n"
    "      person_id: {type: integer, required: true}\n"
    "      opened_at: datetime\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n"
    "  seat:\n"
    "    primary_key: [room, number]\n"
    "    fields: {room: string, number: integer, color: string}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket, manual: remote, actor: none}\n"
    "  word:\n"
    "    primary_key: [text]\n"
    "    fields: {text: string, number: integer}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket, manual: remote, actor: none}\n";

enum { STORES = 5, KEYS_MAX = 16 };

struct fixture {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[STORES];
    struct relations relations;
    struct relation relation;
    struct limits limits;
    struct arena arena;
    struct eval eval;
    struct error error;
    struct buffer actor;
    /* The batch. */
    struct batch batch;
    struct load_key keys[KEYS_MAX];
    struct load_answer answers[KEYS_MAX];
    struct buffer shown;
    struct buffer json; /* of what was asked last */
};

static void put(struct fixture *f, const char *resource, const char *map)
{
    const struct resource *of = fixture_resource(f->schema, resource);
    struct store *store = f->stores[of->position];
    struct buffer bytes = BUFFER_INIT;
    const struct record *stored;
    json_to_msgpack(map, &bytes);
    const struct record *image = fixture_record(of, &f->arena, bytes.bytes, bytes.size);
    store->ops->begin(store);
    assert_int_equal(store->ops->put(store, NULL, image, &stored, &f->error), 0);
    store->ops->commit(store);
    buffer_release(&bytes);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->schema = schema_fixture(yaml);
    f->limits = (struct limits)LIMITS_DEFAULT;
    assert_int_equal(f->schema->resource_count, STORES);
    world_init(&f->world);
    f->memory = memory_create(&f->world);
    assert_non_null(f->memory);
    for (unsigned i = 0; i < STORES; i++) {
        f->stores[i] = memory_table_create(f->memory, &f->schema->resources[i]);
        assert_non_null(f->stores[i]);
    }
    f->relations = (struct relations){.schema = f->schema, .stores = f->stores};
    arena_init(&f->batch.arena, 0);
    f->eval = (struct eval){
        .stores = f->stores, .arena = &f->arena, .now = {.seconds = 1000}, .error = &f->error};
    put(f, "person", "{'id': 1, 'name': 'Ann', 'team_id': 3, 'level': 7}");
    put(f, "person", "{'id': 2, 'name': 'Bob'}");
    put(f, "person", "{'id': -3, 'name': 'Cid', 'level': 1}");
    put(f, "seat", "{'room': 'a', 'number': 1, 'color': 'red'}");
    put(f, "seat", "{'room': 'a', 'number': 2, 'color': 'blue'}");
    put(f, "word", "{'text': '12', 'number': 12}");
    put(f, "word", "{'text': 'x', 'number': 13}");
    put(f, "ticket", "{'id': 10, 'subject': 'ten', 'person_id': 1}");
    put(f, "ticket", "{'id': 11, 'subject': 'eleven', 'person_id': 1}");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < STORES; i++) {
        memory_table_free(f->stores[i]);
    }
    memory_free(f->memory);
    schema_put(f->schema);
    arena_release(&f->arena);
    arena_release(&f->batch.arena);
    buffer_release(&f->actor);
    buffer_release(&f->shown);
    buffer_release(&f->json);
    free(f);
    return 0;
}

static const char *json_of(struct fixture *f, const struct buffer *bytes)
{
    struct reader in = reader_of(bytes->bytes, bytes->size);
    assert_false(bytes->failed);
    buffer_truncate(&f->json, 0);
    msgpack_to_json(&in, &f->json);
    assert_ptr_equal(in.at, in.end);
    buffer_byte(&f->json, '\0');
    return (const char *)f->json.bytes;
}

/* "person.tickets" at work. */
static void choose(struct fixture *f, const char *full_name)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", full_name);
    char *dot = strchr(name, '.');
    assert_non_null(dot);
    *dot = '\0';
    f->relation = (struct relation){
        .relationship = fixture_relationship(fixture_resource(f->schema, name), dot + 1),
        .owner = &f->relations};
}

/* ---- What is shown ---- */

static void set_actor(struct fixture *f, const char *facts)
{
    buffer_truncate(&f->actor, 0);
    f->eval.actor = NULL;
    if (facts != NULL) {
        json_to_msgpack(facts, &f->actor);
        f->eval.actor = f->actor.bytes;
        f->eval.actor_size = (uint32_t)f->actor.size;
    }
}

static void show(struct fixture *f, const char *query_map, uint64_t made_up_by)
{
    const struct relationship *relationship = f->relation.relationship;
    const struct expr_scope outer = {.resource = relationship->source};
    struct query_reader reader = {.arena = &f->arena, .limits = &f->limits};
    struct buffer map = BUFFER_INIT;
    struct query query;
    json_to_msgpack(query_map, &map);
    struct reader in = reader_of(map.bytes, map.size);
    if (query_read(&reader, relationship->destination, &outer, &in, &query, &f->error) != 0) {
        fail_msg("%s: %s", query_map, f->error.message);
    }
    buffer_truncate(&f->shown, 0);
    outside_shown(&f->relation, &f->eval, true, &query, made_up_by, &f->shown);
    buffer_release(&map);
}

static void expect_shown(struct fixture *f, const char *query_map, const char *expected)
{
    show(f, query_map, 0);
    char whole[1200];
    snprintf(whole, sizeof(whole), "[%s,null]", expected);
    assert_string_equal(json_of(f, &f->shown), whole);
}

/* Under `query: daemon` the relationship's own filter and sort, whatever is asked. */
static void test_shown_daemon(void **state)
{
    struct fixture *f = *state;
    static const char query[] = "{'filter': 'id > 3', 'sort': 'id', 'limit': 2, 'select': ['id']}";
    choose(f, "person.tickets");
    set_actor(f, "{'id': 4, 'role': 'x'}");
    expect_shown(f, query, "{\"query\":{}}");
    choose(f, "person.own");
    expect_shown(f, query,
                 "{\"query\":{\"filter\":\"priority > 1\",\"sort\":\"-priority\"},"
                 "\"actor\":{\"id\":4},\"authorize\":true}");
}

static void test_shown_actor(void **state)
{
    struct fixture *f = *state;
    choose(f, "person.hinted");
    set_actor(f, NULL);
    expect_shown(f, "{}", "{\"query\":{\"sort\":\"subject\"},\"authorize\":true}");
    set_actor(f, "{'z': [1], 'id': 4}");
    expect_shown(f, "{}",
                 "{\"query\":{\"sort\":\"subject\"},\"actor\":{\"z\":[1],\"id\":4},"
                 "\"authorize\":true}");
    /* The named facts in the schema's order, those that are there. */
    choose(f, "person.some");
    expect_shown(f, "{}", "{\"query\":{\"limit\":11},\"actor\":{\"id\":4},\"authorize\":true}");
    set_actor(f, "{'id': 4, 'x': {'id': 9}, 'role': null}");
    expect_shown(f, "{}",
                 "{\"query\":{\"limit\":11},\"actor\":{\"role\":null,\"id\":4},"
                 "\"authorize\":true}");
    f->eval.tenant = (struct value){.kind = VALUE_INTEGER, .integer = 8};
    choose(f, "person.tickets");
    expect_shown(f, "{}", "{\"query\":{},\"tenant\":8}");
}

static void test_shown_hint(void **state)
{
    struct fixture *f = *state;
    choose(f, "person.hinted");
    set_actor(f, "{'id': 4}");
    static const char tail[] = ",\"actor\":{\"id\":4},\"authorize\":true}";
    static const struct {
        const char *query, *shown;
    } rows[] = {
        {"{'filter': 'priority > $p and id == actor.id', 'params': {'p': 2}}",
         "{\"filter\":\"priority > 2 and id == 4\",\"sort\":\"subject\"}"},
        {"{'filter': 'priority > $p', 'params': {'p': null}}",
         "{\"filter\":\"priority > $p1\",\"params\":{\"p1\":null},\"sort\":\"subject\"}"},
        {"{'sort': '-priority,--person.name', 'limit': 3}",
         "{\"sort\":\"-priority,--person.name,subject\",\"limit\":3}"},
        {"{'limit': 3, 'offset': 4}", "{\"sort\":\"subject\",\"limit\":7}"},
        {"{'offset': 4}", "{\"sort\":\"subject\"}"},
        {"{'limit': 0}", "{\"sort\":\"subject\",\"limit\":0}"},
        /* A condition that is not shown: no limit, it would cut too early. */
        {"{'filter': 'priority > parent.level and id > 1', 'limit': 3}",
         "{\"filter\":\"id > 1\",\"sort\":\"subject\"}"},
        /* The daemon needs what it filters and sorts by, and the primary key. */
        {"{'select': ['priority']}",
         "{\"sort\":\"subject\",\"select\":[\"id\",\"subject\",\"priority\"]}"},
        {"{'select': [], 'filter': 'is_nil(opened_at) or exists(person, id == parent.priority)'}",
         "{\"filter\":\"(is_nil(opened_at) or exists(person, id == parent.priority))\","
         "\"sort\":\"subject\",\"select\":[\"id\",\"subject\",\"priority\",\"person_id\","
         "\"opened_at\"]}"},
        {"{'select': [], 'sort': 'person.team.word.number'}",
         "{\"sort\":\"person.team.word.number,subject\","
         "\"select\":[\"id\",\"subject\",\"person_id\"]}"},
        {"{'select': ['subject'], 'load': ['person']}", "{\"sort\":\"subject\"}"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char expected[600];
        snprintf(expected, sizeof(expected), "{\"query\":%s%s", rows[i].shown, tail);
        expect_shown(f, rows[i].query, expected);
    }
    choose(f, "person.first_hinted");
    expect_shown(f, "{'offset': 2}", "{\"query\":{\"limit\":3}}");
    choose(f, "person.some");
    expect_shown(f, "{'limit': 20, 'offset': 1}",
                 "{\"query\":{\"limit\":12},\"actor\":{\"id\":4},\"authorize\":true}");
    expect_shown(f, "{'limit': 20, 'filter': 'subject == actor.team'}",
                 "{\"query\":{},\"actor\":{\"id\":4},\"authorize\":true}");
}

/* Each lack of memory is told by the buffer. */
static void test_shown_without_memory(void **state)
{
    struct fixture *f = *state;
    const char *query = "{'filter': 'id in actor.list', 'sort': '-id', 'select': ['id']}";
    choose(f, "person.hinted");
    set_actor(f, "{'list': [1, 2]}");
    show(f, query, 0);
    struct buffer whole = f->shown;
    unsigned failures = 0;
    for (size_t most = 64;; most += 64) {
        struct arena arena;
        struct eval eval = f->eval;
        struct arena kept = f->arena;
        arena_init(&arena, most);
        f->shown = (struct buffer)BUFFER_INIT;
        /* Only what is made for the text is to lack memory. */
        const struct relationship *relationship = f->relation.relationship;
        struct query_reader reader = {.arena = &kept, .limits = &f->limits};
        struct buffer map = BUFFER_INIT;
        struct query asked;
        json_to_msgpack(query, &map);
        struct reader in = reader_of(map.bytes, map.size);
        assert_int_equal(
            query_read(&reader, relationship->destination, NULL, &in, &asked, &f->error), 0);
        eval.arena = &arena;
        outside_shown(&f->relation, &eval, true, &asked, 0, &f->shown);
        f->arena = kept;
        bool failed = f->shown.failed;
        failures += failed;
        if (!failed) {
            assert_int_equal(f->shown.size, whole.size);
            assert_memory_equal(f->shown.bytes, whole.bytes, whole.size);
        }
        buffer_release(&f->shown);
        buffer_release(&map);
        arena_release(&arena);
        if (!failed) {
            break;
        }
    }
    f->shown = whole;
    assert_true(failures > 3);
}

/* ---- Batches ---- */

/* Forms a batch of these keys; made up sources where `made_up`. */
static void form(struct fixture *f, const char *keys)
{
    const struct resource *source = f->relation.relationship->source;
    struct buffer list = BUFFER_INIT;
    json_to_msgpack(keys, &list);
    struct reader in = reader_of(list.bytes, list.size);
    f->batch.count = reader_next(&in).count;
    f->batch.shown = f->shown.bytes;
    f->batch.shown_size = (uint32_t)f->shown.size;
    f->batch.keys = f->keys;
    f->batch.answers = f->answers;
    f->batch.number = 77;
    memset(f->answers, 0, sizeof(f->answers));
    assert_true(f->batch.count <= KEYS_MAX);
    for (size_t i = 0; i < f->batch.count; i++) {
        struct buffer key = BUFFER_INIT;
        assert_int_equal(key_take(source, &source->primary_key, &in, &key, &f->error), 0);
        f->keys[i] = (struct load_key){.bytes = arena_copy(&f->arena, key.bytes, key.size),
                                       .size = (uint32_t)key.size};
        buffer_release(&key);
    }
    buffer_release(&list);
}

static void test_context(void **state)
{
    struct fixture *f = *state;
    struct buffer out = BUFFER_INIT;
    struct outside_identity identity;
    choose(f, "person.own");
    set_actor(f, "{'id': 4}");
    f->eval.tenant = (struct value){.kind = VALUE_TEXT, .size = 1, .bytes = (const uint8_t *)"t"};
    show(f, "{}", 0);
    form(f, "[1]");
    assert_false(outside_is_made_up(&f->batch));
    outside_context(&f->batch, 250, true, &out);
    assert_string_equal(json_of(f, &out),
                        "{\"query\":{\"filter\":\"priority > 1\",\"sort\":\"-priority\"},"
                        "\"actor\":{\"id\":4},\"authorize\":true,\"tenant\":\"t\","
                        "\"timeout_ms\":250,\"batch\":77}");
    outside_identity(&f->batch, &identity);
    assert_true(identity.authorize);
    assert_int_equal(identity.actor_size, 5);
    assert_memory_equal(identity.tenant, "\xa1t", 2);

    /* Under `actor: none` reads are by nobody, and without policies. */
    choose(f, "person.tickets");
    f->eval.tenant = value_nil();
    show(f, "{}", 5);
    form(f, "[1]");
    assert_true(outside_is_made_up(&f->batch));
    buffer_truncate(&out, 0);
    outside_context(&f->batch, 0, false, &out);
    assert_string_equal(json_of(f, &out), "{\"query\":{}}");
    outside_identity(&f->batch, &identity);
    assert_false(identity.authorize);
    assert_null(identity.actor);
    assert_null(identity.tenant);
    buffer_release(&out);
}

static void expect_sources(struct fixture *f, const char *relationship, const char *keys,
                           const char *expected)
{
    struct buffer out = BUFFER_INIT;
    choose(f, relationship);
    show(f, "{}", 0);
    form(f, keys);
    assert_int_equal(outside_open(&f->relation, &f->batch, 8), 0);
    assert_memory_equal(outside_extra(&f->batch), "\0\0\0\0\0\0\0", 8);
    outside_sources(&f->relation, &f->batch, 0, f->batch.count, &out);
    assert_string_equal(json_of(f, &out), expected);
    buffer_release(&out);
}

static void test_sources(void **state)
{
    struct fixture *f = *state;
    expect_sources(f, "person.tickets", "[2, 1]",
                   "[{\"id\":2,\"name\":\"Bob\",\"team_id\":null,\"level\":null},"
                   "{\"id\":1,\"name\":\"Ann\",\"team_id\":3,\"level\":7}]");
    expect_sources(f, "person.narrow", "[1, 2]",
                   "[{\"id\":1,\"level\":7},{\"id\":2,\"level\":null}]");
    expect_sources(f, "seat.tickets", "[['a', 2]]",
                   "[{\"room\":\"a\",\"number\":2,\"color\":\"blue\"}]");
    /* One that is not stored any more, or made up, is as it came. */
    struct buffer map = BUFFER_INIT;
    const struct resource *person = fixture_resource(f->schema, "person");
    json_to_msgpack("{'id': 1, 'name': 'made up'}", &map);
    choose(f, "person.narrow");
    form(f, "[1, 99]");
    for (size_t i = 0; i < 2; i++) {
        f->keys[i].source = fixture_record(person, &f->arena, map.bytes, map.size);
    }
    struct buffer out = BUFFER_INIT;
    assert_int_equal(outside_open(&f->relation, &f->batch, 0), 0);
    outside_sources(&f->relation, &f->batch, 0, 2, &out);
    assert_string_equal(json_of(f, &out), "[{\"id\":1,\"level\":7},{\"id\":1,\"level\":null}]");
    show(f, "{}", 3);
    form(f, "[1]");
    f->keys[0].source = fixture_record(person, &f->arena, map.bytes, map.size);
    assert_int_equal(outside_open(&f->relation, &f->batch, 0), 0);
    buffer_truncate(&out, 0);
    outside_sources(&f->relation, &f->batch, 0, 1, &out);
    assert_string_equal(json_of(f, &out), "[{\"id\":1,\"level\":null}]");
    buffer_release(&out);
    buffer_release(&map);
}

/* ---- Answers ---- */

static void write_records(const struct resource *resource, const struct related_records *answer,
                          struct buffer *out)
{
    write_array(out, (uint32_t)answer->count);
    for (size_t i = 0; i < answer->count; i++) {
        size_t mark = write_open(out);
        uint32_t count = 0;
        for (unsigned field = 0; field < resource->field_count; field++) {
            uint32_t size;
            const uint8_t *bytes =
                record_field(answer->records[i], resource->field_count, field, &size);
            if (bytes[0] != 0xc0) {
                write_text(out, resource->fields[field].name);
                buffer_append(out, bytes, size);
                count++;
            }
        }
        write_close_map(out, mark, count);
    }
}

/* The answers as JSON: lists of records without their nils, or an error's text. */
static const char *answers_json(struct fixture *f)
{
    struct buffer out = BUFFER_INIT;
    write_array(&out, (uint32_t)f->batch.count);
    for (size_t i = 0; i < f->batch.count; i++) {
        const struct related_records *records = f->answers[i].value;
        const struct error *error = f->answers[i].error;
        if (records != NULL) {
            assert_null(error);
            write_records(f->relation.relationship->destination, records, &out);
        } else if (error != NULL) {
            assert_int_equal(error->code, CODE_LOADER_FAILED);
            assert_string_equal(error->relationship, f->relation.relationship->name);
            write_text(&out, error->message);
        } else {
            fail_msg("key %zu has no answer", i);
        }
    }
    const char *json = json_of(f, &out);
    buffer_release(&out);
    return json;
}

/* Of an answer of keys, what a call makes of it: the records of this moment. */
static void fetch_again(struct fixture *f)
{
    for (size_t i = 0; i < f->batch.count; i++) {
        const struct related_records *answer = f->answers[i].value;
        if (f->relation.relationship->returns_keys && answer != NULL) {
            assert_int_equal(outside_fetch_again(&f->relation, &f->arena, &answer), 0);
            f->answers[i].value = answer;
        }
    }
}

static int take(struct fixture *f, const char *keys, const struct buffer *answer)
{
    struct reader in = reader_of(answer->bytes, answer->size);
    form(f, keys);
    error_clear(&f->error);
    int status = outside_take(&f->relation, &f->batch, 0, f->batch.count, &in, &f->error);
    assert_int_equal(status, -(int)f->error.code);
    if (status == 0) {
        fetch_again(f);
    }
    return status;
}

static void expect_answers(struct fixture *f, const char *relationship, const char *keys,
                           const char *answer, const char *expected)
{
    struct buffer bytes = BUFFER_INIT;
    choose(f, relationship);
    json_to_msgpack(answer, &bytes);
    if (take(f, keys, &bytes) != 0) {
        fail_msg("%s: %s", answer, f->error.message);
    }
    assert_string_equal(answers_json(f), expected);
    buffer_release(&bytes);
}

static void expect_refused(struct fixture *f, const char *relationship, const char *keys,
                           const char *answer, const char *words)
{
    struct buffer bytes = BUFFER_INIT;
    choose(f, relationship);
    json_to_msgpack(answer, &bytes);
    assert_int_equal(take(f, keys, &bytes), -CODE_LOADER_FAILED);
    if (strstr(f->error.message, words) == NULL) {
        fail_msg("%s: \"%s\", expected \"%s\"", answer, f->error.message, words);
    }
    assert_non_null(strstr(f->error.message, relationship));
    assert_string_equal(f->error.relationship, strchr(relationship, '.') + 1);
    assert_string_equal(f->error.resource, "person");
    buffer_release(&bytes);
}

static void test_lists(void **state)
{
    struct fixture *f = *state;
    expect_answers(f, "person.tickets", "[1, 2, -3]",
                   "[[{'id': 5, 'subject': 'a'}, {'id': 4}], null, []]",
                   "[[{\"id\":5,\"subject\":\"a\"},{\"id\":4}],[],[]]");
    /* One record alone; and several where one is wanted: that is cut later. */
    expect_answers(f, "person.best", "[1, 2, -3]",
                   "[{'id': 5, 'priority': 3}, null, [{'id': 4}, {'id': 3}]]",
                   "[[{\"id\":5,\"priority\":3}],[],[{\"id\":4},{\"id\":3}]]");
    expect_answers(f, "person.tickets", "[1]", "[{'id': 5, 'opened_at': '2026-01-02'}]",
                   "[[{\"id\":5,\"opened_at\":\"2026-01-02T00:00:00Z\"}]]");
    expect_refused(f, "person.tickets", "[1, 2]", "[[]]", "a list of 1");
    expect_refused(f, "person.tickets", "[1, 2]", "[[], [], []]", "a list of 3");
    expect_refused(f, "person.tickets", "[1, 2]", "null", "got nil");
    expect_refused(f, "person.tickets", "[1, 2]", "'text'", "a list of 2 answers");
    expect_refused(f, "person.tickets", "[1, 2]", "7", "a list of 2 answers");
}

static void test_maps(void **state)
{
    struct fixture *f = *state;
    /* Missing ones are empty, unasked ones ignored; integers also as texts. */
    expect_answers(f, "person.tickets", "[1, 2, -3]",
                   "{'-3': [{'id': 6}], '2': {'id': 5}, '99': [{'id': 1}], 'x': 3}",
                   "[[],[{\"id\":5}],[{\"id\":6}]]");
    expect_answers(f, "person.tickets", "[1, 2]", "{}", "[[],[]]");
    /* Only as integers are written. */
    expect_answers(f, "person.tickets", "[1, 2]",
                   "{' 1': [{'id': 5}], '+2': [{'id': 6}], '01': [{'id': 7}], '': [{'id': 8}],"
                   " '2 ': [{'id': 9}], '1\\u0000': [{'id': 9}]}",
                   "[[],[]]");
    expect_answers(f, "person.tickets", "[9223372036854775807]",
                   "{'9223372036854775808': [{'id': 5}]}", "[[]]");
    /* Texts are themselves. */
    expect_answers(f, "word.tickets", "['12', 'x']", "{'x': [{'id': 5}], '12': {'id': 6}}",
                   "[[{\"id\":6}],[{\"id\":5}]]");
    /* What stands in the map and is wrong fails its source alone. */
    expect_answers(f, "person.tickets", "[1, 2]", "{'1': 5, '2': [{'id': 6}]}",
                   "[\"person.tickets of 1: expected a record, a list of records or nil, got an "
                   "integer\",[{\"id\":6}]]");
}

static void write_ticket(struct buffer *out, int64_t id)
{
    write_array(out, 1);
    write_map(out, 1);
    write_text(out, "id");
    write_integer(out, id);
}

/* Keys that JSON has not: integers, lists and maps. */
static void test_map_keys(void **state)
{
    struct fixture *f = *state;
    struct buffer bytes = BUFFER_INIT;
    choose(f, "person.tickets");
    write_map(&bytes, 4);
    write_integer(&bytes, -3);
    write_ticket(&bytes, 5);
    write_nil(&bytes);
    write_ticket(&bytes, 6);
    write_float(&bytes, 2.0);
    write_ticket(&bytes, 7);
    write_array(&bytes, 0);
    write_ticket(&bytes, 8);
    assert_int_equal(take(f, "[1, 2, -3]", &bytes), 0);
    assert_string_equal(answers_json(f), "[[],[{\"id\":7}],[{\"id\":5}]]");

    choose(f, "seat.tickets");
    buffer_truncate(&bytes, 0);
    write_map(&bytes, 4);
    write_array(&bytes, 2);
    write_text(&bytes, "a");
    write_integer(&bytes, 2);
    write_ticket(&bytes, 5);
    json_to_msgpack("{'number': 1, 'room': 'a'}", &bytes);
    write_ticket(&bytes, 6);
    json_to_msgpack("{'number': 1}", &bytes);
    write_ticket(&bytes, 7);
    write_text(&bytes, "a");
    write_ticket(&bytes, 8);
    assert_int_equal(take(f, "[['a', 1], ['a', 2], ['b', 1]]", &bytes), 0);
    assert_string_equal(answers_json(f), "[[{\"id\":6}],[{\"id\":5}],[]]");
    buffer_release(&bytes);
}

/* A record that does not fit its resource fails its source, and says where. */
static void test_wrong_records(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *answer, *words;
    } rows[] = {
        {"[[{'id': 1}, {'id': 'x'}], []]", "person.tickets of 1: element 1: "},
        {"[{'id': 1, 'subject': 5}, []]", "ticket.subject"},
        {"[{'id': 1, 'subjekt': 'x'}, []]", "did you mean \\\"subject\\\""},
        {"[{'subject': 'x'}, []]", "a ticket without its primary key (id)"},
        {"[{'id': null}, []]", "id"},
        {"[[[]], []]", "element 0: "},
        {"[[null], []]", "element 0: "},
        {"['text', []]", "expected a record, a list of records or nil, got"},
        {"[true, []]", "expected a record, a list of records or nil, got"},
        {"[{'id': 1, 'person_id': null}, []]", "person_id"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buffer bytes = BUFFER_INIT;
        choose(f, "person.tickets");
        json_to_msgpack(rows[i].answer, &bytes);
        assert_int_equal(take(f, "[1, 2]", &bytes), 0);
        const char *json = answers_json(f);
        if (strstr(json, rows[i].words) == NULL || strstr(json, "\",[]]") == NULL) {
            fail_msg("%s: %s, expected %s", rows[i].answer, json, rows[i].words);
        }
        assert_non_null(f->answers[0].error);
        assert_int_equal(f->answers[0].error->key_size, 1);
        buffer_release(&bytes);
    }
    /* What is required of stored records may be absent here. */
    expect_answers(f, "person.tickets", "[1]", "[{'id': 3}]", "[[{\"id\":3}]]");
}

static void test_errors(void **state)
{
    static const struct {
        const char *map, *message, *cause;
    } rows[] = {
        {"{'message': 'boom', 'code': 'broken'}", "boom", "broken"},
        {"{'details': {'message': 'no', 'x': [1]}, 'code': 'c', 'message': 'late'}", "late", "c"},
        {"{'code': 5, 'message': ['x']}", "the loader answered an error", ""},
        {"{}", "the loader answered an error", ""},
        {"[1]", "the loader answered an error", ""},
        {"'text'", "the loader answered an error", ""},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buffer bytes = BUFFER_INIT;
        struct buffer map = BUFFER_INIT;
        char message[200];
        choose(f, "person.tickets");
        json_to_msgpack(rows[i].map, &map);
        write_array(&bytes, 2);
        write_extension(&bytes, 1, map.bytes, map.size);
        write_ticket(&bytes, 5);
        assert_int_equal(take(f, "[1, 2]", &bytes), 0);
        assert_non_null(f->answers[0].error);
        snprintf(message, sizeof(message), "person.tickets of 1: %s", rows[i].message);
        assert_string_equal(f->answers[0].error->message, message);
        assert_string_equal(f->answers[0].error->cause, rows[i].cause);
        assert_null(f->answers[1].error);
        buffer_release(&bytes);
        buffer_release(&map);
    }
    /* Bytes that are no map, and a message that is no text. */
    static const char *const odd[] = {"", "\xc1", "\x81\xa7message\xa2\xff\xfe", "\x85\xa1"};
    for (size_t i = 0; i < ARRAY_COUNT(odd); i++) {
        struct buffer bytes = BUFFER_INIT;
        write_array(&bytes, 1);
        write_extension(&bytes, 1, odd[i], strlen(odd[i]));
        assert_int_equal(take(f, "[1]", &bytes), 0);
        assert_string_equal(f->answers[0].error->message,
                            "person.tickets of 1: the loader answered an error");
        buffer_release(&bytes);
    }
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    static const char ten[] = "{\"id\":10,\"subject\":\"ten\",\"person_id\":1}";
    static const char eleven[] = "{\"id\":11,\"subject\":\"eleven\",\"person_id\":1}";
    char expected[400];
    snprintf(expected, sizeof(expected), "[[%s,%s],[%s],[]]", eleven, ten, ten);
    expect_answers(f, "person.keyed", "[1, 2, -3]", "[[11, 12, 10], 10, null]", expected);
    snprintf(expected, sizeof(expected), "[[],[%s]]", ten);
    expect_answers(f, "person.keyed", "[1, 2]", "{'2': 10}", expected);
    expect_answers(f, "person.keyed", "[1]", "[['x']]",
                   "[\"person.keyed of 1: element 0: ticket.id: expected an integer, got "
                   "\\\"x\\\"\"]");
    /* Composite: a list of scalars is one key. */
    expect_answers(f, "person.seats", "[1, 2, -3]",
                   "[['a', 1], [['a', 2], {'number': 1, 'room': 'a'}], [['z', 1]]]",
                   "[[{\"room\":\"a\",\"number\":1,\"color\":\"red\"}],"
                   "[{\"room\":\"a\",\"number\":2,\"color\":\"blue\"},"
                   "{\"room\":\"a\",\"number\":1,\"color\":\"red\"}],[]]");
    expect_answers(f, "person.seats", "[1, 2]", "[[], {'room': 'a', 'number': 2}]",
                   "[[],[{\"room\":\"a\",\"number\":2,\"color\":\"blue\"}]]");
    struct buffer bytes = BUFFER_INIT;
    choose(f, "person.seats");
    json_to_msgpack("[['a', 1, 2], 'a', ['a']]", &bytes);
    assert_int_equal(take(f, "[1, 2, -3]", &bytes), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(f->answers[i].error);
    }
    buffer_release(&bytes);
}

/* A part of a batch. */
static void test_parts(void **state)
{
    struct fixture *f = *state;
    struct buffer bytes = BUFFER_INIT;
    choose(f, "person.tickets");
    form(f, "[1, 2, -3]");
    json_to_msgpack("{'-3': {'id': 6}, '1': {'id': 7}}", &bytes);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    assert_int_equal(outside_take(&f->relation, &f->batch, 1, 2, &in, &f->error), 0);
    assert_null(f->answers[0].value);
    error_set(&f->error, CODE_UNAVAILABLE, "gone");
    outside_fail(&f->relation, &f->batch, 0, 1, &f->error);
    assert_int_equal(f->answers[0].error->code, CODE_UNAVAILABLE);
    assert_int_equal(((const struct related_records *)f->answers[1].value)->count, 0);
    assert_int_equal(((const struct related_records *)f->answers[2].value)->count, 1);
    buffer_release(&bytes);
}

static void test_answer_without_memory(void **state)
{
    struct fixture *f = *state;
    static const char *const answers[] = {"[[{'id': 5, 'subject': 'a'}, {'id': 4}], null, []]",
                                          "{'-3': [{'id': 6}], '2': {'id': 5}, '99': [{'id': 1}]}"};
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        struct buffer bytes = BUFFER_INIT;
        json_to_msgpack(answers[i], &bytes);
        choose(f, "person.tickets");
        assert_int_equal(take(f, "[1, 2, -3]", &bytes), 0);
        char *expected = strdup(answers_json(f));
        int status = -1;
        for (long at = 0; status != 0; at++) {
            form(f, "[1, 2, -3]");
            struct arena kept = f->batch.arena;
            arena_init(&f->batch.arena, 0);
            struct reader in = reader_of(bytes.bytes, bytes.size);
            error_clear(&f->error);
            heap_fail_at(at);
            status = outside_take(&f->relation, &f->batch, 0, 3, &in, &f->error);
            heap_fail_at(-1);
            assert_true(status == 0 || status == -CODE_OVERLOADED);
            assert_int_equal(f->error.code, -status);
            if (status == 0) {
                assert_string_equal(answers_json(f), expected);
                assert_true(at >= 2);
            }
            arena_release(&f->batch.arena);
            f->batch.arena = kept;
        }
        free(expected);
        buffer_release(&bytes);
    }
}

/* ---- Random: answers of any shape are taken or refused, and never misread ---- */

static void write_anything(struct random *random, struct buffer *out, unsigned depth)
{
    static const char *const names[] = {"id", "subject", "priority", "1", "2", "room", "number"};
    unsigned kind = (unsigned)random_below(random, depth > 0 ? 10 : 7);
    unsigned count = (unsigned)random_below(random, 4);
    switch (kind) {
    case 0:
        write_nil(out);
        return;
    case 1:
    case 2:
        write_integer(out, (int64_t)random_below(random, 14) - 3);
        return;
    case 3:
        write_text(out, names[random_below(random, ARRAY_COUNT(names))]);
        return;
    case 4:
        write_float(out, (double)random_below(random, 5) / 2);
        return;
    case 5:
        write_extension(out, (int8_t)random_below(random, 3),
                        "\x81\xa4"
                        "code\xa1x",
                        (size_t)count * 2);
        return;
    case 6:
        write_map(out, 1);
        write_text(out, "id");
        write_integer(out, (int64_t)random_below(random, 12));
        return;
    case 7:
    case 8:
        write_map(out, count);
        for (unsigned i = 0; i < count; i++) {
            if (random_below(random, 8) == 0) {
                write_anything(random, out, depth - 1);
            } else {
                write_text(out, names[random_below(random, ARRAY_COUNT(names))]);
            }
            write_anything(random, out, depth - 1);
        }
        return;
    default:
        write_array(out, count);
        for (unsigned i = 0; i < count; i++) {
            write_anything(random, out, depth - 1);
        }
    }
}

/* Records that are taken have their primary key. */
static void check_answer(struct fixture *f, const struct load_answer *answer, unsigned *errors,
                         unsigned *found)
{
    const struct resource *destination = f->relation.relationship->destination;
    const struct related_records *records = answer->value;
    assert_true((records != NULL) != (answer->error != NULL));
    if (records == NULL) {
        (*errors)++;
        return;
    }
    *found += records->count > 0;
    for (size_t i = 0; i < records->count; i++) {
        assert_false(record_is_nil(records->records[i], destination->field_count, 0));
    }
}

static void test_random(void **state)
{
    static const char *const relationships[] = {"person.tickets", "person.keyed", "person.seats",
                                                "person.best"};
    struct fixture *f = *state;
    struct random random = random_start("test_outside");
    unsigned taken = 0, errors = 0, found = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct buffer bytes = BUFFER_INIT;
        if (random_below(&random, 2) == 0) {
            write_array(&bytes, 2);
            write_anything(&random, &bytes, 3);
            write_anything(&random, &bytes, 3);
        } else {
            write_anything(&random, &bytes, 4);
        }
        choose(f, relationships[random_below(&random, ARRAY_COUNT(relationships))]);
        if (take(f, "[1, 2]", &bytes) == 0) {
            taken++;
            check_answer(f, &f->answers[0], &errors, &found);
            check_answer(f, &f->answers[1], &errors, &found);
        } else {
            assert_null(f->answers[0].value);
            assert_null(f->answers[1].value);
        }
        buffer_release(&bytes);
        arena_reset(&f->batch.arena);
        arena_reset(&f->arena);
    }
    assert_true(taken > 5000 && errors > 1000 && found > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shown_daemon, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shown_actor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shown_hint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shown_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_context, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sources, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_maps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

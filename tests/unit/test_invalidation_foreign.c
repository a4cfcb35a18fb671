#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/load/invalidation.h"
#include "layers/load/outside.h"
#include "layers/load/relation.h"
#include "layers/memory/memory.h"
#include "protocol/base/check.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/schema_fixture.h"

/* Writes by others, of which this daemon only hears that a key or an index has changed:
 * which cached results they drop, and what it means that writes may have been missed. */

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  person:\n"
    "    fields: {id: integer, code: string, level: integer, page_id: integer}\n"
    "    relationships:\n"
    "      tickets: {has_many: ticket, cache: {stale_if_error: 10s}}\n"
    "      open: {has_many: ticket, filter: status == \"open\", cache: {}}\n"
    "      near: {has_many: near, cache: {}}\n"
    "      notes: {has_many: note, cache: {}}\n"
    "      badge: {has_one: badge, source_field: code, destination_field: code, cache: {}}\n"
    "      page: {belongs_to: page, cache: {}}\n"
    "      paged: {has_many: ticket, filter: page.level > 1, cache: {}}\n"
    "      spots:\n"
    "        has_many: spot\n"
    "        source_field: [id, level]\n"
    "        destination_field: [a, b]\n"
    "        cache: {}\n"
    "      mine: {has_many: ticket, manual: {filter: person_id == parent.id}, cache: {}}\n"
    "      opened:\n"
    "        has_many: ticket\n"
    "        manual: {filter: 'status == \"open\" and person_id == parent.id'}\n"
    "        cache: {}\n"
    "      outside:\n"
    "        has_many: ticket\n"
    "        manual: remote\n"
    "        actor: none\n"
    "        depends_on: [{ticket: person_id}]\n"
    "        cache: {}\n"
    "      linked: {many_to_many: page, through: link, cache: {}}\n"
    "  near:\n"
    "    fields: {id: integer, person_id: integer}\n"
    "  ticket:\n"
    "    layer: redis\n"
    "    fields: {id: integer, person_id: integer, status: string, page_id: integer}\n"
    "    indexes: [[status, id]]\n"
    "    redis: {writers: relata}\n"
    "    relationships:\n"
    "      page: {belongs_to: page}\n"
    "  note:\n"
    "    layer: redis\n"
    "    fields: {id: integer, person_id: integer}\n"
    "    redis: {resident: true}\n"
    "  badge:\n"
    "    layer: redis\n"
    "    fields: {id: integer, code: string}\n"
    "    identities: {code: [code]}\n"
    "    redis: {writers: relata}\n"
    "  page:\n"
    "    layer: redis\n"
    "    fields: {id: integer, level: integer}\n"
    "  spot:\n"
    "    layer: redis\n"
    "    fields: {id: integer, a: integer, b: integer}\n"
    "    redis: {writers: relata}\n"
    "  link:\n"
    "    layer: redis\n"
    "    primary_key: [person_id, page_id]\n"
    "    fields: {person_id: integer, page_id: integer}\n"
    "    redis: {writers: relata}\n";

enum { STORES_MAX = 10, PERSONS = 3 };

struct fixture {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[STORES_MAX];
    struct limits limits;
    struct task_queue tasks;
    struct outside_loaders remotes;
    struct relations_owner shared;
    struct relations relations;
    struct arena arena;
    struct error error;
    bool current[STORES_MAX];
};

/* ---- Homes that are only asked whether they are current ---- */

static bool home_is_current(struct store *store)
{
    return *(const bool *)store->home_own;
}

static const struct store_home_ops home_ops = {.is_current = home_is_current};

static int remote_open(void *context, struct relation *relation, struct error *error)
{
    (void)context, (void)relation, (void)error;
    return 0;
}

static void remote_close(void *context, struct relation *relation)
{
    (void)context, (void)relation;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->schema = schema_fixture(yaml);
    f->limits = (struct limits)LIMITS_DEFAULT;
    assert_true(f->schema->resource_count <= STORES_MAX);
    world_init(&f->world);
    task_queue_init(&f->tasks);
    f->memory = memory_create(&f->world);
    assert_non_null(f->memory);
    for (unsigned i = 0; i < f->schema->resource_count; i++) {
        const struct resource *resource = &f->schema->resources[i];
        f->stores[i] = memory_table_create(f->memory, resource);
        assert_non_null(f->stores[i]);
        f->current[i] = true;
        f->stores[i]->home = resource->redis != NULL ? &home_ops : NULL;
        f->stores[i]->home_own = &f->current[i];
    }
    f->remotes = (struct outside_loaders){.open = remote_open, .close = remote_close};
    f->shared = (struct relations_owner){.world = &f->world,
                                         .coalescer = coalescer_create(&f->limits),
                                         .tasks = &f->tasks,
                                         .limits = &f->limits,
                                         .remotes = &f->remotes,
                                         .now_us = 1000000};
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
    for (unsigned i = 0; i < f->schema->resource_count; i++) {
        f->stores[i]->home = NULL;
        memory_table_free(f->stores[i]);
    }
    memory_free(f->memory);
    schema_put(f->schema);
    arena_release(&f->arena);
    free(f);
    return 0;
}

/* ---- Cached results ---- */

static struct relation *relation_of(struct fixture *f, const char *name)
{
    const struct resource *person = fixture_resource(f->schema, "person");
    return relations_find(&f->relations, fixture_relationship(person, name));
}

/* The key of person `id` for a relationship, by what its join or loader takes. */
static void put_key(const struct relation *relation, unsigned id, struct buffer *out)
{
    char json[32];
    const char *format = strcmp(relation->relationship->name, "badge") == 0 ? "'%u'" : "%u";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(json, sizeof(json), format, id);
#pragma GCC diagnostic pop
    json_to_msgpack(json, out);
    if (strcmp(relation->relationship->name, "spots") == 0) {
        json_to_msgpack("7", out);
    }
}

static void fill_all(struct relation *relation, uint64_t now_us)
{
    static const struct cached_result nothing = {.count = 0};
    for (unsigned id = 1; id <= PERSONS; id++) {
        struct buffer key = BUFFER_INIT;
        put_key(relation, id, &key);
        result_cache_fill(relation->cache, NULL, 0, key.bytes, key.size, &nothing, now_us);
        buffer_release(&key);
    }
}

static bool is_there(struct relation *relation, unsigned id, bool stale, uint64_t now_us)
{
    struct buffer key = BUFFER_INIT;
    put_key(relation, id, &key);
    const struct cached_result *result =
        result_cache_find(relation->cache, NULL, 0, key.bytes, key.size, stale, now_us);
    if (result != NULL) {
        cached_result_put(relation->cache, result);
    }
    buffer_release(&key);
    return result != NULL;
}

/* ---- Events ---- */

/* What is heard of a write; texts are JSON, NULL where there is none. */
struct heard {
    const char *resource;
    const char *old; /* the record before, as far as it is known */
    const char *new;
    bool old_unknown, new_unknown;
    const char *named; /* fields, comma-separated */
    const char *key;   /* values of these, one behind the other, comma-separated */
    bool of_index;
};

static const struct record *record_of(struct fixture *f, const struct resource *resource,
                                      const char *json)
{
    struct buffer bytes = BUFFER_INIT;
    if (json == NULL) {
        return NULL;
    }
    json_to_msgpack(json, &bytes);
    const struct record *record = fixture_record(resource, &f->arena, bytes.bytes, bytes.size);
    buffer_release(&bytes);
    return record;
}

static void take_fields(const struct resource *resource, const char *names, struct field_list *out)
{
    char copy[64];
    char *rest = copy;
    char *name;
    snprintf(copy, sizeof(copy), "%s", names);
    while ((name = strsep(&rest, ",")) != NULL) {
        out->fields[out->count++] = fixture_field(resource, name)->position;
    }
}

static void publish(struct fixture *f, const struct heard *heard, enum write_cause cause)
{
    const struct resource *resource = fixture_resource(f->schema, heard->resource);
    struct field_list named = {0};
    struct buffer key = BUFFER_INIT;
    char copy[64];
    char *rest = copy;
    char *value;
    if (heard->named != NULL) {
        take_fields(resource, heard->named, &named);
        snprintf(copy, sizeof(copy), "%s", heard->key);
        while ((value = strsep(&rest, ",")) != NULL) {
            json_to_msgpack(value, &key);
        }
    }
    const struct write_event event = {.sequence = world_advance(&f->world),
                                      .cause = cause,
                                      .resource = resource,
                                      .old = record_of(f, resource, heard->old),
                                      .new = record_of(f, resource, heard->new),
                                      .old_unknown = heard->old_unknown,
                                      .new_unknown = heard->new_unknown,
                                      .named = heard->named != NULL ? &named : NULL,
                                      .key = key.bytes,
                                      .key_size = key.size,
                                      .of_index = heard->of_index};
    world_publish(&f->world, &event);
    buffer_release(&key);
}

/* Which persons' results are dropped: "13". */
static void expect(struct fixture *f, const char *relationship, const struct heard *heard,
                   const char *dropped)
{
    struct relation *relation = relation_of(f, relationship);
    char text[PERSONS + 1] = "";
    relation_invalidate(relation, NULL, 0);
    fill_all(relation, f->shared.now_us);
    publish(f, heard, WRITE_FOREIGN);
    for (unsigned id = 1; id <= PERSONS; id++) {
        if (!is_there(relation, id, false, f->shared.now_us)) {
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u", id);
        }
    }
    if (strcmp(text, dropped) != 0) {
        fail_msg("%s: a write to %s (%s, named %s %s) drops \"%s\", not \"%s\"", relationship,
                 heard->resource, heard->of_index ? "of an index" : "of a key",
                 heard->named != NULL ? heard->named : "nothing",
                 heard->key != NULL ? heard->key : "", text, dropped);
    }
}

struct row {
    const char *relationship;
    struct heard heard;
    const char *dropped;
};

static void expect_all(struct fixture *f, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect(f, rows[i].relationship, &rows[i].heard, rows[i].dropped);
    }
}

#define KEY_CHANGED(what, id)         .resource = what, .new_unknown = true, .named = "id", .key = id
#define UNKNOWN(what)                 .resource = what, .old_unknown = true, .new_unknown = true
#define INDEX_CHANGED(what, list, of) UNKNOWN(what), .named = list, .key = of, .of_index = true

/* By the index of the fields that name the key: the old record tells whom it leaves,
 * the index whom it joins. */
static void test_by_the_keys_index(void **state)
{
    static const struct row rows[] = {
        {"tickets", {KEY_CHANGED("ticket", "10"), .old = "{'id': 10, 'person_id': 1}"}, "1"},
        {"tickets", {KEY_CHANGED("ticket", "10"), .old = "{'id': 10}"}, ""},
        {"tickets", {KEY_CHANGED("ticket", "10")}, ""}, /* was known to be absent */
        {"tickets", {KEY_CHANGED("ticket", "10"), .old_unknown = true}, "123"},
        {"tickets", {INDEX_CHANGED("ticket", "person_id", "2")}, "2"},
        {"tickets", {INDEX_CHANGED("ticket", "person_id", "9")}, ""},
        {"tickets", {INDEX_CHANGED("ticket", "status", "'open'")}, ""},
        {"tickets", {UNKNOWN("ticket")}, "123"},
        {"tickets", {INDEX_CHANGED("spot", "a", "2")}, ""},
        {"mine", {KEY_CHANGED("ticket", "10"), .old = "{'id': 10, 'person_id': 3}"}, "3"},
        {"mine", {INDEX_CHANGED("ticket", "person_id", "2")}, "2"},
        {"mine", {INDEX_CHANGED("ticket", "status", "'open'")}, ""},
        {"spots", {KEY_CHANGED("spot", "1"), .old = "{'id': 1, 'a': 2, 'b': 7}"}, "2"},
        {"spots", {KEY_CHANGED("spot", "1"), .old = "{'id': 1, 'a': 2, 'b': 8}"}, ""},
        {"spots", {INDEX_CHANGED("spot", "a", "2")}, "123"}, /* its first field alone */
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* By another index: what it hears of does not tell whose results change. */
static void test_by_another_index(void **state)
{
    static const struct row rows[] = {
        {"open", {INDEX_CHANGED("ticket", "status", "'open'")}, "123"},
        {"open", {INDEX_CHANGED("ticket", "person_id", "2")}, "2"},
        {"open", {KEY_CHANGED("ticket", "10"), .old = "{'id': 10, 'person_id': 1}"}, "123"},
        {"opened", {INDEX_CHANGED("ticket", "status", "'open'")}, "123"},
        {"opened", {KEY_CHANGED("ticket", "10")}, "123"},
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* By primary keys and identities. */
static void test_by_keys(void **state)
{
    static const struct row rows[] = {
        {"page", {KEY_CHANGED("page", "2")}, "2"},
        {"page", {KEY_CHANGED("page", "2"), .old_unknown = true}, "2"},
        {"page", {KEY_CHANGED("page", "2"), .old = "{'id': 2, 'level': 1}"}, "2"},
        {"page", {UNKNOWN("page")}, "123"},
        {"badge", {KEY_CHANGED("badge", "5"), .old = "{'id': 5, 'code': '3'}"}, "3"},
        {"badge", {KEY_CHANGED("badge", "5"), .old_unknown = true}, "123"},
        {"badge", {INDEX_CHANGED("badge", "code", "'1'")}, "1"}, /* a claim */
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* Of resident records a write is known whole; where it is not, all is dropped. */
static void test_resident(void **state)
{
    static const struct row rows[] = {
        {"notes",
         {.resource = "note",
          .old = "{'id': 1, 'person_id': 1}",
          .new = "{'id': 1, 'person_id': 3}"},
         "13"},
        {"notes", {KEY_CHANGED("note", "1"), .old = "{'id': 1, 'person_id': 1}"}, "123"},
        {"notes", {UNKNOWN("note")}, "123"},
        {"near", {UNKNOWN("near")}, "123"},
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* What is read on the way counts for all. */
static void test_on_the_way(void **state)
{
    static const struct row rows[] = {
        {"paged", {KEY_CHANGED("page", "2"), .old = "{'id': 2}"}, "123"},
        {"paged", {KEY_CHANGED("ticket", "2"), .old = "{'id': 2, 'person_id': 2}"}, "2"},
        {"linked", {KEY_CHANGED("page", "2")}, "123"},
        {"linked", {INDEX_CHANGED("link", "person_id", "2")}, "2"},
        {"linked", {INDEX_CHANGED("link", "page_id", "2")}, ""},
        {"linked",
         {.resource = "link",
          .named = "person_id,page_id",
          .key = "1,2",
          .new_unknown = true,
          .old = "{'person_id': 1, 'page_id': 2}"},
         "1"},
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* A loader outside reads nothing here: what is not told of its fields is all. */
static void test_outside(void **state)
{
    static const struct row rows[] = {
        {"outside", {INDEX_CHANGED("ticket", "person_id", "2")}, "2"},
        {"outside", {INDEX_CHANGED("ticket", "status", "'open'")}, "123"},
        {"outside", {KEY_CHANGED("ticket", "9"), .old = "{'id': 9, 'person_id': 2}"}, "123"},
        {"outside", {.resource = "ticket", .old = "{'id': 9, 'person_id': 2}", .new = NULL}, "2"},
    };
    expect_all(*state, rows, ARRAY_COUNT(rows));
}

/* Of a source, its own key is named; its indexes say nothing new. */
static void test_sources(void **state)
{
    struct fixture *f = *state;
    expect(f, "mine", &(struct heard){KEY_CHANGED("person", "2"), .old_unknown = true}, "2");
    expect(f, "mine", &(struct heard){INDEX_CHANGED("person", "level", "2")}, "");
    expect(f, "tickets", &(struct heard){KEY_CHANGED("person", "2"), .old_unknown = true}, "");
}

/* ---- Writes that may have been missed ---- */

static void test_lost(void **state)
{
    struct fixture *f = *state;
    struct relation *tickets = relation_of(f, "tickets");
    struct relation *badge = relation_of(f, "badge");
    uint64_t now_us = f->shared.now_us;
    fill_all(tickets, now_us);
    fill_all(badge, now_us);
    publish(f, &(struct heard){UNKNOWN("ticket")}, WRITE_LOST);
    /* Kept for the time in which it may stand in for an error, and for nothing else. */
    assert_int_equal(result_cache_count(tickets->cache), PERSONS);
    assert_false(is_there(tickets, 1, false, now_us));
    assert_true(is_there(tickets, 1, true, now_us));
    assert_true(is_there(tickets, 2, true, now_us + 9999999));
    assert_false(is_there(tickets, 3, true, now_us + 10000000));
    /* What does not look at it is as it was. */
    assert_true(is_there(badge, 1, false, now_us));
    publish(f, &(struct heard){UNKNOWN("badge")}, WRITE_LOST);
    assert_false(is_there(badge, 1, true, now_us)); /* without stale_if_error */
}

/* What a loss means for relations that only read the resource on the way. */
static void test_lost_on_the_way(void **state)
{
    struct fixture *f = *state;
    struct relation *paged = relation_of(f, "paged");
    fill_all(paged, f->shared.now_us);
    publish(f, &(struct heard){UNKNOWN("page")}, WRITE_LOST);
    assert_false(is_there(paged, 1, false, f->shared.now_us));
}

static void set_current(struct fixture *f, const char *resource, bool current)
{
    f->current[fixture_resource(f->schema, resource)->position] = current;
}

/* Results count as current as long as the homes of all that they look at say so. */
static void test_current(void **state)
{
    static const char *const names[] = {"tickets", "paged", "page",   "badge",
                                        "linked",  "near",  "outside"};
    static const struct {
        const char *away;
        const char *affected[5];
    } rows[] = {
        {"ticket", {"tickets", "paged", "outside"}},
        {"page", {"paged", "page", "linked"}},
        {"badge", {"badge"}},
        {"link", {"linked"}},
        {"note", {NULL}},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        set_current(f, rows[i].away, false);
        for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
            bool affected = false;
            for (size_t a = 0; a < 5 && rows[i].affected[a] != NULL; a++) {
                affected |= strcmp(rows[i].affected[a], names[n]) == 0;
            }
            assert_int_equal(relation_is_current(relation_of(f, names[n])), !affected);
        }
        set_current(f, rows[i].away, true);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_by_the_keys_index), TEST(test_by_another_index),
        TEST(test_by_keys),           TEST(test_resident),
        TEST(test_on_the_way),        TEST(test_outside),
        TEST(test_sources),           TEST(test_lost),
        TEST(test_lost_on_the_way),   TEST(test_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/schema/schema_describe.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/buffer.h"
#include "protocol/base/heap.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* What manual relationships and caches say in a schema file. */

static const struct limits limits = LIMITS_DEFAULT;

static const char office[] =
    "version: 1\n"
    "resources:\n"
    "  rep:\n"
    "    fields: {name: string, id: integer, team_id: integer, threshold: integer}\n"
    "    relationships:\n"
    "      above:\n"
    "        has_many: ticket\n"
    "        manual:\n"
    "          module: loaders/above.so\n"
    "          options: {deep: {list: [1, 2.5, ~, yes, true], 7: 'seven'}, empty: {}}\n"
    "        actor: [role, id]\n"
    "        source_fields: [threshold, name]\n"
    "        depends_on: [{ticket: rep_id}, team, {team_rep: rep_id, rep: id}]\n"
    "        query: hint\n"
    "        returns: keys\n"
    "        filter: status == 'open' and rep_id == parent.id\n"
    "        cache: {ttl: 30s, max_bytes: 1MiB, stale_if_error: 2m}\n"
    "        batch: {max_size: 7}\n"
    "      best: {has_one: ticket, manual: remote, actor: none, depends_on: none, cache: {}}\n"
    "      other:\n"
    "        has_many: ticket\n"
    "        manual: {remote: {options: {a: 1}}}\n"
    "        actor: all\n"
    "        source_fields: []\n"
    "        query: daemon\n"
    "        returns: records\n"
    "      plain: {has_many: ticket, manual: {remote: }, actor: none}\n"
    "      far: {has_many: ticket, manual: {module: /opt/far.so}, actor: none}\n"
    "      tickets: {has_many: ticket, cache: {stale_if_error: 1s}}\n"
    "      loud: {has_many: ticket, manual: {filter: rep_id == parent.id}, cache: {ttl: 1ms}}\n"
    "  ticket: {fields: {id: integer, rep_id: integer, status: string}}\n"
    "  team: {fields: {id: integer}}\n"
    "  team_rep:\n"
    "    primary_key: [team_id, rep_id]\n"
    "    fields: {team_id: integer, rep_id: integer}\n"
    "    relationships:\n"
    "      seats:\n"
    "        has_many: ticket\n"
    "        manual: remote\n"
    "        actor: none\n"
    "        depends_on: [{rep: [team_id, id]}, {rep: [threshold, id]}]\n";

static const struct relationship *office_relationship(const struct schema *schema, const char *name)
{
    return fixture_relationship(fixture_resource(schema, "rep"), name);
}

static void assert_options(const struct relationship *relationship, const char *json)
{
    struct buffer text = BUFFER_INIT;
    struct reader in = reader_of(relationship->options, relationship->options_size);
    msgpack_to_json(&in, &text);
    buffer_byte(&text, '\0');
    assert_string_equal((const char *)text.bytes, json);
    assert_ptr_equal(in.at, in.end);
    buffer_release(&text);
}

static void loaders_are_known_by_their_place(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(office);
    const struct relationship *above = office_relationship(schema, "above");
    assert_true(above->manual);
    assert_int_equal(above->loader, LOADER_MODULE);
    assert_string_equal(above->module_path, "./loaders/above.so");
    assert_null(above->loader_filter);
    assert_non_null(above->filter);
    assert_int_equal(above->batch.max_size, 7);
    assert_options(above,
                   "{\"deep\":{\"list\":[1,2.5,null,\"yes\",true],7:\"seven\"},\"empty\":{}}");
    const struct relationship *best = office_relationship(schema, "best");
    assert_true(best->manual);
    assert_int_equal(best->loader, LOADER_REMOTE);
    assert_null(best->module_path);
    assert_options(best, "{}");
    assert_options(office_relationship(schema, "other"), "{\"a\":1}");
    assert_int_equal(office_relationship(schema, "plain")->loader, LOADER_REMOTE);
    assert_options(office_relationship(schema, "plain"), "{}");
    assert_string_equal(office_relationship(schema, "far")->module_path, "/opt/far.so");
    assert_options(office_relationship(schema, "far"), "{}");
    assert_int_equal(office_relationship(schema, "loud")->loader, LOADER_FILTER);
    schema_put(schema);
}

static const char *module_path_of(struct schema **schema, const char *file)
{
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(schema_read(file, office, strlen(office), 1, &limits, schema, &faults), 0);
    return office_relationship(*schema, "above")->module_path;
}

static void modules_stand_beside_the_schema(void **state)
{
    (void)state;
    struct schema *schema = NULL;
    assert_string_equal(module_path_of(&schema, "schema.yaml"), "./loaders/above.so");
    schema_put(schema);
    assert_string_equal(module_path_of(&schema, "etc/relata/schema.yaml"),
                        "etc/relata/loaders/above.so");
    schema_put(schema);
    assert_string_equal(module_path_of(&schema, "/schema.yaml"), "/loaders/above.so");
    schema_put(schema);
}

static void loaders_see_what_is_said(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(office);
    const struct relationship *above = office_relationship(schema, "above");
    assert_int_equal(above->actor, ACTOR_SOME);
    assert_int_equal(above->actor_fact_count, 2);
    assert_string_equal(above->actor_facts[0], "role");
    assert_string_equal(above->actor_facts[1], "id");
    static const uint16_t shown[] = {0, 1, 3}; /* name, id, threshold */
    assert_int_equal(above->shown_field_count, 3);
    assert_memory_equal(above->shown_fields, shown, sizeof(shown));
    assert_true(above->hint);
    assert_true(above->returns_keys);
    const struct relationship *best = office_relationship(schema, "best");
    assert_int_equal(best->actor, ACTOR_NONE);
    assert_null(best->shown_fields);
    assert_int_equal(best->shown_field_count, 0);
    assert_false(best->hint);
    assert_false(best->returns_keys);
    const struct relationship *other = office_relationship(schema, "other");
    assert_int_equal(other->actor, ACTOR_ALL);
    assert_int_equal(other->shown_field_count, 1);
    assert_int_equal(other->shown_fields[0], 1);
    assert_false(other->hint);
    assert_false(other->returns_keys);
    schema_put(schema);
}

static void assert_dependency(const struct relationship *relationship, unsigned i,
                              const char *resource, const char *fields)
{
    const struct dependency *dependency = &relationship->dependencies[i];
    struct buffer text = BUFFER_INIT;
    assert_string_equal(dependency->resource->name, resource);
    for (unsigned f = 0; f < dependency->fields.count; f++) {
        buffer_printf(&text, "%s%s", f > 0 ? " " : "",
                      dependency->resource->fields[dependency->fields.fields[f]].name);
    }
    buffer_byte(&text, 0);
    assert_string_equal((char *)text.bytes, fields);
    buffer_release(&text);
}

static void dependencies_are_resolved(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(office);
    const struct relationship *above = office_relationship(schema, "above");
    assert_true(above->has_dependencies);
    assert_int_equal(above->dependency_count, 4);
    assert_dependency(above, 0, "ticket", "rep_id");
    assert_dependency(above, 1, "team", "");
    assert_dependency(above, 2, "team_rep", "rep_id");
    assert_dependency(above, 3, "rep", "id");
    assert_true(office_relationship(schema, "best")->has_dependencies);
    assert_int_equal(office_relationship(schema, "best")->dependency_count, 0);
    assert_false(office_relationship(schema, "plain")->has_dependencies);
    const struct relationship *seats =
        fixture_relationship(fixture_resource(schema, "team_rep"), "seats");
    assert_int_equal(seats->dependency_count, 2);
    assert_dependency(seats, 0, "rep", "team_id id");
    assert_dependency(seats, 1, "rep", "threshold id");
    schema_put(schema);
}

static void assert_cache(const struct schema *schema, const char *name, uint64_t ttl_us,
                         uint64_t bytes_max, uint64_t stale_us)
{
    const struct relationship *relationship = office_relationship(schema, name);
    assert_true(relationship->cached);
    assert_int_equal(relationship->cache_ttl_us, ttl_us);
    assert_int_equal(relationship->cache_bytes_max, bytes_max);
    assert_int_equal(relationship->stale_if_error_us, stale_us);
}

static void caches_are_on_every_kind(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(office);
    assert_cache(schema, "above", 30000000, 1048576, 120000000);
    assert_cache(schema, "best", 0, 67108864, 0);
    assert_cache(schema, "tickets", 0, 67108864, 1000000);
    assert_cache(schema, "loud", 1000, 67108864, 0);
    assert_false(office_relationship(schema, "plain")->cached);
    schema_put(schema);
}

static void relationships_are_described(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(
        "version: 1\n"
        "resources:\n"
        "  a:\n"
        "    fields: {id: integer, n: integer}\n"
        "    relationships:\n"
        "      m: {has_many: a, manual: {module: x.so, options: {secret: 1}}, actor: [id],\n"
        "          source_fields: [], depends_on: [a, {b: i}, {b: j}], returns: keys,\n"
        "          cache: {ttl: 5ms}, limit: 3, offset: 1, filter: id > 1}\n"
        "      r: {has_one: a, manual: remote, actor: none, depends_on: none, query: hint}\n"
        "      f: {has_many: a, manual: {filter: n == parent.id}, cache: {}}\n"
        "  b: {fields: {id: integer, i: integer, j: integer}}\n");
    struct buffer described = BUFFER_INIT, text = BUFFER_INIT;
    schema_describe(schema, &described);
    struct reader in = reader_of(described.bytes, described.size);
    msgpack_to_json(&in, &text);
    buffer_byte(&text, '\0');
    assert_ptr_equal(in.at, in.end);
    const char *found = strstr((const char *)text.bytes, "\"relationships\":");
    static const char expected[] =
        "\"relationships\":{"
        "\"m\":{\"kind\":\"has_many\",\"destination\":\"a\",\"cardinality\":\"many\","
        "\"manual\":{\"module\":\"./x.so\"},\"actor\":[\"id\"],\"query\":\"daemon\","
        "\"returns\":\"keys\",\"source_fields\":[\"id\"],"
        "\"depends_on\":[\"a\",{\"b\":\"i\"},{\"b\":\"j\"}],"
        "\"cache\":{\"ttl_us\":5000,\"max_bytes\":67108864,\"stale_if_error_us\":0},"
        "\"filter\":\"id > 1\",\"limit\":3,\"offset\":1},"
        "\"r\":{\"kind\":\"has_one\",\"destination\":\"a\",\"cardinality\":\"one\","
        "\"manual\":{\"remote\":true},\"actor\":\"none\",\"query\":\"hint\","
        "\"returns\":\"records\",\"depends_on\":\"none\"},"
        "\"f\":{\"kind\":\"has_many\",\"destination\":\"a\",\"cardinality\":\"many\","
        "\"manual\":{\"filter\":\"n == parent.id\"},"
        "\"cache\":{\"ttl_us\":null,\"max_bytes\":67108864,\"stale_if_error_us\":0}}}";
    assert_non_null(found);
    assert_true(strlen(found) > strlen(expected));
    ((char *)text.bytes)[found - (const char *)text.bytes + (ptrdiff_t)strlen(expected)] = '\0';
    assert_string_equal(found, expected);
    buffer_release(&described);
    buffer_release(&text);
    schema_put(schema);
}

/* ---- Faults ---- */

struct fault_case {
    const char *yaml;
    const char *faults; /* all of them */
};

static void assert_faults(const char *yaml, size_t size, const char *expected)
{
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    int status = schema_read("f", yaml, size, 1, &limits, &schema, &faults);
    buffer_byte(&faults, 0);
    assert_string_equal((const char *)faults.bytes, expected);
    assert_int_equal(status, -CODE_INVALID_REQUEST);
    buffer_release(&faults);
}

#define A_MORE                                                                                  \
    "version: 1\nresources:\n  b: {primary_key: [x, y], fields: {x: integer, y: uuid}}\n  a:\n" \
    "    fields: {id: integer, n: integer, s: string, f: float}\n    relationships:\n"
#define A_WITH   A_MORE "      r: "
#define A_REMOTE A_WITH "{has_many: a, manual: remote, actor: none, "
#define A_FOR_B                                                          \
    "version: 1\nresources:\n  a: {fields: {id: integer, s: string}}\n"  \
    "  b:\n    primary_key: [x, y]\n    fields: {x: integer, y: uuid}\n" \
    "    relationships:\n      r: {has_many: a, manual: remote, actor: none, "

static const struct fault_case cases[] = {
    /* Loaders. */
    {A_WITH "{has_many: a, manual: {}}",
     "f:7:32: a loader is missing: {filter: ...}, {module: ...} or {remote: ...}\n"},
    {A_WITH "{has_many: a, manual: {options: {}}}",
     "f:7:32: a loader is missing: {filter: ...}, {module: ...} or {remote: ...}\n"},
    {A_WITH "{has_many: a, manual: {modul: x}, actor: 5}",
     "f:7:33: a manual relationship's loader has no \"modul\"; did you mean \"module\"? (it has "
     "filter, module, remote, options)\n"},
    {A_WITH "{has_many: a, manual: {filter: id == 1, remote: {}}}",
     "f:7:32: a manual relationship has only one of filter, module, remote\n"},
    {A_WITH "{has_many: a, manual: remoet}",
     "f:7:32: manual is {filter: ...}, {module: ...}, {remote: ...} or the word remote, got "
     "\"remoet\"; did you mean \"remote\"?\n"},
    {A_WITH "{has_many: a, manual: [remote]}",
     "f:7:32: manual is {filter: ...}, {module: ...}, {remote: ...} or the word remote, got a "
     "list\n"},
    {A_WITH "{belongs_to: a, manual: remote, actor: none}",
     "f:7:7: manual stands on a has_one or has_many, r is belongs_to\n"},
    {A_WITH "{has_many: a, manual: {filter: id == 1, options: {}}}",
     "f:7:59: options means nothing beside a filter: leave it out\n"},
    {A_WITH "{has_many: a, manual: {module: ''}, actor: none}",
     "f:7:41: a module is the path of a shared object, got \"\"\n"},
    {A_WITH "{has_many: a, manual: {module: {path: x}}}",
     "f:7:7: relationship r: say \"actor:\", what its loader is shown of who asks: none, all, or a "
     "list of facts such as [id, role]\n"
     "f:7:41: a module is the path of a shared object, got a map\n"},
    {A_WITH "{has_many: a, manual: {module: x.so, options: [1]}, actor: none}",
     "f:7:56: options are a map, got a list\n"},
    {A_WITH "{has_many: a, manual: {module: x.so, options: {n: 9223372036854775808}}, actor: none}",
     "f:7:60: integers have 64 bits with sign, got 9223372036854775808\n"},
    {A_WITH "{has_many: a, manual: {module: x.so, options: {n: "
            "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}}, actor: none}",
     "f:7:56: options have at most 16 lists and maps within each other, got 17\n"},
    {A_WITH "{has_many: a, manual: {remote: {}, options: {}}, actor: none}",
     "f:7:54: the options of a remote loader stand under it: {remote: {options: {...}}}\n"},
    {A_WITH "{has_many: a, manual: {remote: {option: {}}}, actor: none}",
     "f:7:42: a remote loader has no \"option\"; did you mean \"options\"? (it has options)\n"},
    {A_WITH "{has_many: a, manual: {remote: true}, actor: none}",
     "f:7:41: a remote loader is a map, got true\n"},
    {A_WITH "{has_many: a, manual: remote, actor: none, through: b, source_field: n}",
     "f:7:62: through means nothing beside manual: leave it out\n"
     "f:7:79: source_field means nothing beside manual: leave it out\n"},
    /* The actor. */
    {A_WITH "{has_many: a, manual: remote}",
     "f:7:7: relationship r: say \"actor:\", what its loader is shown of who asks: none, all, or a "
     "list of facts such as [id, role]\n"},
    {A_WITH "{has_many: a, manual: remote, actor: id}",
     "f:7:47: actor: expected none, all, or a list of facts such as [id, role], got \"id\"\n"},
    {A_WITH "{has_many: a, manual: remote, actor: []}",
     "f:7:47: actor: expected none, all, or a list of facts such as [id, role], got an empty "
     "list\n"},
    {A_WITH "{has_many: a, manual: remote, actor: }",
     "f:7:47: actor: expected none, all, or a list of facts such as [id, role], got nothing\n"},
    {A_WITH "{has_many: a, manual: remote, actor: [id, id, 5, [x], parent, {}]}",
     "f:7:52: actor: id stands in it twice\n"
     "f:7:56: the name of a fact of the actor is made of letters, digits and _, and begins with no "
     "digit, got 5\n"
     "f:7:59: actor: expected the name of a fact such as role, got a list\n"
     "f:7:64: the name of a fact of the actor may not be the word parent: choose another\n"
     "f:7:72: actor: expected the name of a fact such as role, got a map\n"},
    /* Fields that are shown. */
    {A_REMOTE "source_fields: n}",
     "f:7:68: source_fields of relationship r: expected a list of fields, got \"n\"\n"},
    {A_REMOTE "source_fields: [id, nn, n, n, 1]}",
     "f:7:73: source_fields of relationship r: a has no field \"nn\"\n"
     "f:7:80: source_fields of relationship r: n stands in it twice\n"
     "f:7:83: source_fields of relationship r: expected a field of a, got 1\n"},
    /* Dependencies. */
    {A_REMOTE "depends_on: a}",
     "f:7:65: depends_on of relationship r: expected none, or a list such as "
     "[{ticket: representative_id}, team], got \"a\"\n"},
    {A_REMOTE "depends_on: []}",
     "f:7:65: depends_on of relationship r: expected none, or a list such as "
     "[{ticket: representative_id}, team], got an empty list\n"},
    {A_REMOTE "depends_on: [aa, {c: id}, [a], {}]}",
     "f:7:66: depends_on of relationship r: there is no resource \"aa\"\n"
     "f:7:71: depends_on of relationship r: there is no resource \"c\"\n"
     "f:7:79: depends_on of relationship r: expected a resource, or a resource with the fields "
     "that name a source, such as {ticket: representative_id}\n"
     "f:7:84: depends_on of relationship r: expected a resource, or a resource with the fields "
     "that name a source, such as {ticket: representative_id}\n"},
    {A_REMOTE "depends_on: [{a: nn}, {a: [id, n]}, {a: s}, {a: }]}",
     "f:7:70: depends_on of relationship r: a has no field \"nn\"\n"
     "f:7:79: depends_on of relationship r: 2 fields of a cannot name a source, whose primary key "
     "has 1: name as many, in its order\n"
     "f:7:93: depends_on of relationship r: a.s (string) cannot name a source by a.id (integer): "
     "their types differ\n"
     "f:7:101: depends_on of relationship r: expected a field of a, got nothing\n"},
    {A_REMOTE "depends_on: [a, {a: n}, b, b, {b: x}]}",
     "f:7:70: depends_on of relationship r: a stands in it twice\n"
     "f:7:80: depends_on of relationship r: b stands in it twice\n"
     "f:7:84: depends_on of relationship r: b stands in it twice\n"},
    {A_FOR_B "depends_on: [{a: id}, {a: [s, id]}, {a: [id, s]}]}",
     "f:8:70: depends_on of relationship r: 1 field of a cannot name a source, whose primary key "
     "has 2: name as many, in its order\n"
     "f:8:79: depends_on of relationship r: a.s (string) cannot name a source by b.x (integer): "
     "their types differ\n"},
    /* Words. */
    {A_REMOTE "query: hnt, returns: [keys]}",
     "f:7:60: \"query\" is daemon or hint, got \"hnt\"; did you mean \"hint\"?\n"
     "f:7:74: \"returns\" is records or keys, got a list\n"},
    /* What only loaders outside have. */
    {A_WITH "{has_many: a, manual: {filter: id == 1}, actor: none, source_fields: [], "
            "depends_on: none, query: hint, returns: keys}",
     "f:7:58: actor means nothing but with a module or remote loader: leave it out\n"
     "f:7:79: source_fields means nothing but with a module or remote loader: leave it out\n"
     "f:7:95: depends_on means nothing but with a module or remote loader: leave it out\n"
     "f:7:108: query means nothing but with a module or remote loader: leave it out\n"
     "f:7:123: returns means nothing but with a module or remote loader: leave it out\n"},
    {A_WITH "{has_many: a, destination_field: n, actor: all}",
     "f:7:53: actor means nothing but with a module or remote loader: leave it out\n"},
    /* Caches. */
    {A_REMOTE "cache: true}",
     "f:7:60: a cache is a map such as {ttl: 30s}, or {} for one without ttl, got true\n"},
    {A_REMOTE "cache: }",
     "f:7:60: a cache is a map such as {ttl: 30s}, or {} for one without ttl, got nothing\n"},
    {A_REMOTE "cache: {tll: 5s, ttl: 30, max_bytes: 5, stale_if_error: 366d}}",
     "f:7:61: a cache has no \"tll\"; did you mean \"ttl\"? (it has ttl, max_bytes, "
     "stale_if_error)\n"
     "f:7:75: \"ttl\" is a duration from 1ms to 365d such as 30s, got 30\n"
     "f:7:90: \"max_bytes\" is out of range: a size from 1KiB to 1024GiB such as 64MiB\n"
     "f:7:109: \"stale_if_error\" is out of range: a duration from 0ms to 365d such as 30s\n"},
    {A_REMOTE "cache: {ttl: 0s}}",
     "f:7:66: \"ttl\" is out of range: a duration from 1ms to 365d such as 30s\n"},
    {A_REMOTE "cache: {ttl: 1s}, filter: now() == now()}",
     "f:7:60: a.r cannot be cached, since a filter that it follows uses now(): leave cache out, or "
     "ask for the time in the caller's filter\n"},
    {A_MORE "      r: {has_many: a, manual: {filter: 'exists(q, id == 1)'}, cache: {}}\n"
            "      q: {has_many: a, manual: {filter: 'exists(p, id == 1)'}}\n"
            "      p: {has_many: a, destination_field: n, filter: now() == now()}\n",
     "f:7:71: a.r cannot be cached, since a filter that it follows uses now(): leave cache out, or "
     "ask for the time in the caller's filter\n"},
    /* What others read. */
    {A_MORE "      m: {has_many: a, manual: {module: x.so}, actor: none}\n"
            "      r: {has_many: a, manual: {filter: 'id == 1 and exists(m, id == 1)'}}\n",
     "f:8:61: the manual filter of a.r: a.m is filled by a module, which filters and sorts cannot "
     "ask: they follow ordinary relationships and filter loaders; load it instead (at position "
     "19)\n"},
    {A_MORE "      m: {has_one: a, manual: remote, actor: none}\n"
            "      r: {has_many: a, destination_field: n, sort: m.id}\n",
     "f:8:52: the sort of a.r: sort: a.m is filled by a remote loader, which filters and sorts "
     "cannot "
     "ask: they follow ordinary relationships and filter loaders; load it instead (at position "
     "0)\n"},
    /* Nobody is blamed for the resource's own key. */
    {"version: 1\nresources:\n  a:\n    fields: {id: float}\n    relationships:\n"
     "      r: {has_many: a, manual: remote, actor: none, depends_on: [{a: [id, id2]}]}\n",
     "f:3:3: the primary key of a: id is of type float; it may be of every type but float, "
     "boolean and any\n"
     "f:6:75: depends_on of relationship r: a has no field \"id2\"; did you mean \"id\"?\n"},
};

static void every_fault_is_told_at_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_faults(cases[i].yaml, strlen(cases[i].yaml), cases[i].faults);
    }
}

/* ---- Bounds ---- */

static void assert_too_much(const char *start, const char *item, unsigned count, const char *end,
                            const char *expected)
{
    struct buffer yaml = BUFFER_INIT;
    buffer_printf(&yaml, "%s", start);
    for (unsigned i = 0; i < count; i++) {
        buffer_printf(&yaml, "%s%u", item, i);
    }
    buffer_printf(&yaml, "%s", end);
    assert_faults((const char *)yaml.bytes, yaml.size, expected);
    buffer_release(&yaml);
}

static void what_is_too_much_is_told(void **state)
{
    (void)state;
    assert_too_much(A_WITH "{has_many: a, manual: remote, actor: [x", ", x", 64, "]}",
                    "f:7:47: actor: at most 64 items, got 65\n");
    assert_too_much(A_REMOTE "depends_on: [a", ", x", 256, "]}",
                    "f:7:65: depends_on of relationship r: at most 256 items, got 257\n");
    assert_too_much(
        A_WITH "{has_many: a, actor: none, manual: {module: x.so, options: {a: ", "aaaaaaaaaaaaaaa",
        5000, "}}}", "f:7:69: options have at most 65536 bytes in all, got 93898\n");
    assert_too_much(A_WITH "{has_many: a, actor: none, manual: {module: ", "/folder", 500, "}}",
                    "f:7:54: the module's path is too long: at most 4095 bytes\n");
}

static void failing_memory_is_told(void **state)
{
    (void)state;
    int status = -CODE_OVERLOADED;
    for (long i = 0; status != 0; i++) {
        struct schema *schema = NULL;
        uint8_t room[4096];
        struct buffer faults = {.bytes = room, .capacity = sizeof(room), .max = sizeof(room)};
        heap_fail_at(i);
        status = schema_read("f", office, strlen(office), 1, &limits, &schema, &faults);
        if (status == 0) {
            assert_false(heap_failed());
            schema_put(schema);
        } else {
            assert_int_equal(status, -CODE_OVERLOADED);
        }
    }
    heap_fail_at(-1);
}

/* Whatever stands in a damaged file: where it is taken, it holds together. */
static void damaged_schemas_hold_together(void **state)
{
    (void)state;
    struct random random = random_start("read_manual");
    char text[sizeof(office)];
    unsigned taken = 0;
    for (int i = 0; i < 3000; i++) {
        memcpy(text, office, sizeof(text));
        size_t at = random_below(&random, sizeof(text) - 1);
        text[at] = office[random_below(&random, sizeof(text) - 1)];
        struct schema *schema = NULL;
        struct buffer faults = BUFFER_INIT, described = BUFFER_INIT;
        int status = schema_read("f", text, sizeof(text) - 1, 1, &limits, &schema, &faults);
        if (status == 0) {
            taken++;
            schema_describe(schema, &described);
            struct reader in = reader_of(described.bytes, described.size);
            assert_true(reader_skip(&in));
            assert_ptr_equal(in.at, in.end);
            schema_put(schema);
        } else {
            assert_int_equal(status, -CODE_INVALID_REQUEST);
            assert_true(faults.size > 0);
        }
        buffer_release(&faults);
        buffer_release(&described);
    }
    assert_true(taken > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaders_are_known_by_their_place),
        cmocka_unit_test(modules_stand_beside_the_schema),
        cmocka_unit_test(loaders_see_what_is_said),
        cmocka_unit_test(dependencies_are_resolved),
        cmocka_unit_test(caches_are_on_every_kind),
        cmocka_unit_test(relationships_are_described),
        cmocka_unit_test(every_fault_is_told_at_its_place),
        cmocka_unit_test(what_is_too_much_is_told),
        cmocka_unit_test(failing_memory_is_told),
        cmocka_unit_test(damaged_schemas_hold_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layers/query/order.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/buffer.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

static const struct limits limits = LIMITS_DEFAULT;

static const char helpdesk[] =
    "version: 1\n"
    "resources:\n"
    "  representative:\n"
    "    layer: memory\n"
    "    primary_key: id\n"
    "    fields:\n"
    "      id: integer\n"
    "      name: {type: string, required: true}\n"
    "      team_id: integer\n"
    "      priority_threshold: {type: integer, default: 5}\n"
    "    identities:\n"
    "      name: [name]\n"
    "    indexes: [[team_id]]\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      tickets: {has_many: ticket}\n"
    "      latest_ticket: {has_one: ticket, sort: -created_at}\n"
    "      skills: {many_to_many: skill, through: representative_skill}\n"
    "      tickets_above_threshold:\n"
    "        has_many: ticket\n"
    "        manual:\n"
    "          filter: representative_id == parent.id and priority > parent.priority_threshold\n"
    "        limit: 10\n"
    "        offset: 2\n"
    "        batch: {max_size: 50, max_bytes: 2MiB, max_in_flight: 2, window: 3ms, timeout: 1m}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: uuid\n"
    "      representative_id: integer\n"
    "      priority: integer\n"
    "      status: {type: {enum: [open, closed]}, default: open}\n"
    "      kind: {enum: [yes, no]}\n"
    "      created_at: {type: datetime, default: 2026-11-22}\n"
    "      share: {type: float, default: 1}\n"
    "      extra: {type: any, default: {list: [1, 2.5, null, yes], 7: true}}\n"
    "  team: {fields: {id: integer}}\n"
    "  skill: {fields: {id: integer}}\n"
    "  representative_skill:\n"
    "    primary_key: [representative_id, skill_id]\n"
    "    fields: {representative_id: integer, skill_id: integer}\n";

static void fields_are_read(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(helpdesk);
    const struct resource *representative = fixture_resource(schema, "representative");
    const struct field *id = fixture_field(representative, "id");
    assert_true(id->required);
    assert_true(id->in_primary_key);
    const struct field *name = fixture_field(representative, "name");
    assert_true(name->required);
    assert_false(name->in_primary_key);
    assert_int_equal(name->position, 1);
    assert_int_equal(name->name_bytes_size, 5);
    assert_memory_equal(name->name_bytes, "\xa4name", 5);
    assert_false(fixture_field(representative, "team_id")->required);
    assert_int_equal(representative->identity_count, 1);
    const struct resource *between = fixture_resource(schema, "representative_skill");
    assert_int_equal(between->primary_key.count, 2);
    assert_true(fixture_field(between, "skill_id")->required);
    schema_put(schema);
}

static void assert_default(const struct resource *resource, const char *field, const char *bytes,
                           size_t size)
{
    const struct field *found = fixture_field(resource, field);
    assert_int_equal(found->initial_size, size);
    assert_memory_equal(found->initial, bytes, size);
}

static void defaults_are_stored_as_records_store_them(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(helpdesk);
    const struct resource *ticket = fixture_resource(schema, "ticket");
    assert_default(ticket, "status", "\xa4open", 5);
    assert_default(ticket, "created_at", "\xd6\xff\x6b\x02\x30\x80", 6);
    assert_default(ticket, "share", "\xcb\x3f\xf0\0\0\0\0\0\0", 9);
    assert_default(ticket, "extra",
                   "\x82\xa4list\x94\x01\xcb\x40\x04\0\0\0\0\0\0\xc0\xa3yes\x07\xc3", 24);
    assert_null(fixture_field(ticket, "priority")->initial);
    assert_int_equal(fixture_field(ticket, "kind")->type.member_count, 2);
    assert_string_equal(fixture_field(ticket, "kind")->type.members[0], "yes");
    schema_put(schema);
}

static void relationships_are_resolved(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(helpdesk);
    const struct resource *representative = fixture_resource(schema, "representative");
    const struct relationship *team = fixture_relationship(representative, "team");
    assert_int_equal(team->kind, BELONGS_TO);
    assert_true(team->to_one);
    assert_string_equal(team->full_name, "representative.team");
    assert_int_equal(team->source_fields.fields[0], 2);
    assert_int_equal(team->destination_fields.fields[0], 0);
    assert_int_equal(team->batch.max_size, 1000);
    assert_int_equal(team->batch.max_bytes, 1048576);
    assert_int_equal(team->batch.max_in_flight, 4);
    assert_int_equal(team->batch.window_us, 0);
    assert_int_equal(team->batch.timeout_us, 5000000);
    const struct relationship *tickets = fixture_relationship(representative, "tickets");
    assert_int_equal(tickets->source_fields.fields[0], 0);
    assert_int_equal(tickets->destination_fields.fields[0], 1);
    const struct relationship *latest = fixture_relationship(representative, "latest_ticket");
    assert_true(latest->to_one);
    assert_int_equal(latest->order->count, 1);
    assert_true(latest->order->items[0].descending);
    const struct relationship *skills = fixture_relationship(representative, "skills");
    assert_string_equal(skills->through->name, "representative_skill");
    assert_int_equal(skills->through_source.fields[0], 0);
    assert_int_equal(skills->through_destination.fields[0], 1);
    const struct relationship *above =
        fixture_relationship(representative, "tickets_above_threshold");
    assert_true(above->manual);
    assert_int_equal(above->loader, LOADER_FILTER);
    assert_int_equal(skills->loader, LOADER_JOIN);
    assert_non_null(above->loader_filter);
    assert_null(above->filter);
    assert_true(above->has_limit);
    assert_int_equal(above->limit, 10);
    assert_int_equal(above->offset, 2);
    assert_int_equal(above->batch.max_size, 50);
    assert_int_equal(above->batch.max_bytes, 2097152);
    assert_int_equal(above->batch.max_in_flight, 2);
    assert_int_equal(above->batch.window_us, 3000);
    assert_int_equal(above->batch.timeout_us, 60000000);
    assert_int_equal(above->number, 4);
    assert_int_equal(schema->relationship_count, 5);
    schema_put(schema);
}

/* The indexes of a resource as "a b, c". */
static void assert_indexes(const struct schema *schema, const char *name, const char *expected)
{
    const struct resource *resource = fixture_resource(schema, name);
    struct buffer text = BUFFER_INIT;
    for (unsigned i = 0; i < resource->index_count; i++) {
        const struct field_list *fields = &resource->indexes[i].fields;
        for (unsigned j = 0; j < fields->count; j++) {
            buffer_printf(&text, "%s%s",
                          j > 0   ? " "
                          : i > 0 ? ", "
                                  : "",
                          resource->fields[fields->fields[j]].name);
        }
    }
    buffer_byte(&text, 0);
    assert_string_equal((char *)text.bytes, expected);
    buffer_release(&text);
}

static void indexes_are_what_is_needed_without_prefixes(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(helpdesk);
    assert_indexes(schema, "representative", "team_id");
    assert_indexes(schema, "ticket", "representative_id priority");
    assert_indexes(schema, "representative_skill", "representative_id, skill_id");
    assert_indexes(schema, "skill", "");
    schema_put(schema);
    schema = schema_fixture(
        "version: 1\n"
        "resources:\n"
        "  a:\n"
        "    fields: {id: integer, code: string, tag: string, on: boolean}\n"
        "    identities: {code: code}\n"
        "    indexes: [[tag, code], [tag], [tag, code]]\n"
        "    relationships:\n"
        "      by_code: {belongs_to: a, source_field: tag, destination_field: code}\n"
        "      by_tag: {belongs_to: a, source_field: code, destination_field: tag}\n"
        "      on_too: {has_many: a, source_field: on, destination_field: on}\n"
        "      by_both:\n"
        "        has_many: a\n"
        "        manual: {filter: on == parent.on and code > 'a' and tag > 'b'}\n"
        "      by_key: {has_many: a, manual: {filter: id == parent.id and tag > 'b'}}\n");
    assert_indexes(schema, "a", "code, tag code");
    schema_put(schema);
}

static void aliases_and_nothing_are_taken(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture("version: 1\n"
                                           "resources:\n"
                                           "  a: &a\n"
                                           "    fields: {id: integer}\n"
                                           "    indexes:\n"
                                           "    identities: ~\n"
                                           "    relationships:\n"
                                           "  b: *a\n");
    assert_int_equal(fixture_resource(schema, "b")->field_count, 1);
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
    assert_null(schema);
    buffer_release(&faults);
}

#define A_FIELDS "version: 1\nresources:\n  a:\n    fields: {id: integer, "
#define A_MORE \
    "version: 1\nresources:\n  a:\n    fields: {id: integer, n: integer, s: string, f: float}\n"
#define A_WITH A_MORE "    relationships:\n      r: "

static const struct fault_case cases[] = {
    /* The file. */
    {"[]", "f:1:1: a schema file is a map, got a list\n"},
    {"resources: {}", "f:1:1: the schema needs \"version: 1\"\n"},
    {"version: 1", "f:1:1: the schema needs \"resources:\"\n"},
    {"version: 2\nresources: {}", "f:1:10: the version is 1, got 2\n"},
    {"version: '1'\nresources: {}", "f:1:10: the version is 1, got \"1\"\n"},
    {"version: 1\nresources: []", "f:2:12: resources are a map of their names, got a list\n"},
    {"version: 1\nresorces: {}",
     "f:1:1: the schema needs \"resources:\"\n"
     "f:2:1: a schema file has no \"resorces\"; did you mean \"resources\"? (it has version, "
     "resources)\n"},
    /* Names. */
    {"version: 1\nresources: {exists: {fields: {id: integer}}}",
     "f:2:13: the name of a resource may not be the word exists: choose another\n"},
    {"version: 1\nresources: {a-b: {fields: {id: integer}}}",
     "f:2:13: the name of a resource is made of letters, digits and _, and begins with no digit, "
     "got \"a-b\"\n"},
    {"version: 1\nresources: {null: {fields: {id: integer}}}",
     "f:2:13: the name of a resource is made of letters, digits and _, and begins with no digit, "
     "got nothing\n"},
    {A_FIELDS "a234567890123456789012345678901234567890123456789012345678901234: any}",
     "f:4:27: the name of a field has at most 63 bytes, this has 64\n"},
    /* Resources. */
    {"version: 1\nresources: {a: 5}", "f:2:16: a resource is a map, got 5\n"},
    {"version: 1\nresources: {a: {}}", "f:2:13: resource a needs \"fields:\"\n"},
    {"version: 1\nresources: {a: {fields: {}}}", "f:2:25: resource a needs at least one field\n"},
    {A_MORE "    layer: memroy",
     "f:5:12: \"layer\" is memory or redis, got \"memroy\"; did you mean \"memory\"?\n"},
    {A_MORE "    policies: []\n    policy_mode: filter\n    multitenancy: {}\n"
            "    ttl: 5s\n    max_bytes: 1\n    eviction: none\n    snapshot: x\n",
     "f:5:5: \"policies\" is not supported yet\nf:6:5: \"policy_mode\" is not supported yet\n"
     "f:7:5: \"multitenancy\" is not supported yet\nf:8:5: \"ttl\" is not supported yet\n"
     "f:9:5: \"max_bytes\" is not supported yet\nf:10:5: \"eviction\" is not supported yet\n"
     "f:11:5: \"snapshot\" is not supported yet\n"},
    /* Fields. */
    {A_FIELDS "n: intger}",
     "f:4:30: there is no type \"intger\"; did you mean \"integer\"? (types are integer, float, "
     "boolean, string, binary, datetime, uuid, {enum: [...]}, any)\n"},
    {A_FIELDS "n: decimal, m: date, l: {list: string}, k: list}",
     "f:4:30: the type decimal is not supported yet\nf:4:42: the type date is not supported yet\n"
     "f:4:52: \"list\" is not supported yet\nf:4:70: lists are not supported yet\n"},
    {A_FIELDS "n: enum}", "f:4:30: an enum lists its members: write {enum: [open, closed]}\n"},
    {A_FIELDS "n: {enum: []}}", "f:4:37: an enum is a list of 1 to 1000 texts, got none\n"},
    {A_FIELDS "n: {enum: [a, a, true]}}",
     "f:4:41: \"a\" stands in the enum twice\n"
     "f:4:44: a member of an enum is text (put it in quotes), got true\n"},
    {A_FIELDS "n: {enum: [a], default: a}}",
     "f:4:30: beside other options an enum stands under type: {type: {enum: [...]}, ...}\n"},
    {A_FIELDS "n: {required: true}}", "f:4:30: field n needs a type: {type: integer, ...}\n"},
    {A_FIELDS "n: {type: integer, required: yes}}",
     "f:4:56: \"required\" is true or false, got \"yes\"\n"},
    {A_FIELDS "n: {type: integer, default: abc}}",
     "f:4:55: the default of n: expected an integer, got \"abc\"\n"},
    {A_FIELDS "n: {type: string, default: 5}}",
     "f:4:54: the default of n: expected a string, got 5 (put it in quotes)\n"},
    {A_FIELDS "n: {type: integer, required: true, default: ~}}",
     "f:4:71: n is required, so its default cannot be nil\n"},
    {A_FIELDS "n: {type: integer, default: 9223372036854775808}}",
     "f:4:55: integers have 64 bits with sign, got 9223372036854775808\n"},
    {A_FIELDS "n: {type: float, default: .nan}}",
     "f:4:53: the default of n: expected a number, got nan\n"},
    {"version: 1\nresources: {a: {fields: {id: {type: integer, required: false}}}}",
     "f:2:56: id is of the primary key, so it is always required\n"},
    {A_FIELDS "id: string}", "f:4:27: \"id\" is given twice, first on line 4\n"},
    /* Keys. */
    {"version: 1\nresources: {a: {fields: {n: integer}}}",
     "f:2:13: resource a has no field id: name its primary key with \"primary_key:\"\n"},
    {"version: 1\nresources: {a: {fields: {id: float}}}",
     "f:2:13: the primary key of a: id is of type float; it may be of every type but float, "
     "boolean and any\n"},
    {A_MORE "    primary_key: [id, nn]", "f:5:23: primary_key: a has no field \"nn\"\n"},
    {A_MORE "    primary_key: []",
     "f:5:18: primary_key: expected a field of a or a list of them, got an empty list\n"},
    {A_MORE "    identities: {x: [n, n], y: [f], z: {}, 9: n}",
     "f:5:25: identity x: n stands in it twice\n"
     "f:5:33: identity y: f is of type float; it may be of every type but float, boolean and any\n"
     "f:5:40: identity z: expected a field of a or a list of them, got a map\n"
     "f:5:44: the name of an identity is made of letters, digits and _, and begins with no digit, "
     "got 9\n"},
    {A_MORE "    indexes: [n, [f], [id, n, s, id]]",
     "f:5:15: an index is a list of fields: write [n]\n"
     "f:5:19: index: f is of type float; it may be of every type but float, boolean and any\n"
     "f:5:34: index: id stands in it twice\n"},
    {A_MORE "    indexes: [[1]]", "f:5:16: index: expected a field of a, got 1\n"},
    {A_MORE "    indexes: {}",
     "f:5:14: indexes are a list of at most 256 lists of fields: [[team_id]]\n"},
    /* Relationships. */
    {A_MORE "    relationships: {n: {has_many: a}}",
     "f:5:21: a has a field n already: name the relationship otherwise\n"},
    {A_WITH "{}",
     "f:6:7: relationship r needs one of belongs_to, has_one, has_many, many_to_many\n"},
    {A_WITH "{has_one: a, has_many: a}",
     "f:6:7: relationship r needs only one of belongs_to, has_one, has_many, many_to_many\n"},
    {A_WITH "{has_many: aa}", "f:6:21: has_many: there is no resource \"aa\"\n"},
    {A_WITH "{has_many: a}",
     "f:6:7: relationship r: a has no field a_id, the default; say \"destination_field:\"\n"},
    {A_WITH "{belongs_to: a}",
     "f:6:7: relationship r: a has no field r_id, the default; say \"source_field:\"\n"},
    {A_WITH "{belongs_to: a, source_field: nn}",
     "f:6:40: source_field of relationship r: a has no field \"nn\"\n"},
    {A_WITH "{belongs_to: a, source_field: s}",
     "f:6:7: relationship r: a.s (string) cannot be joined to a.id (integer): their types differ, "
     "or have no keys\n"},
    {A_WITH "{belongs_to: a, source_field: [n, s]}",
     "f:6:7: relationship r: 2 fields of a cannot be joined to 1 of a: name as many on both "
     "sides\n"},
    {A_WITH "{many_to_many: a}",
     "f:6:7: relationship r is many_to_many and needs \"through:\", the resource between\n"},
    {A_WITH "{many_to_many: a, through: a, source_field_on_through: n}",
     "f:6:7: relationship r leads from a to itself: say both \"source_field_on_through:\" and "
     "\"destination_field_on_through:\"\n"},
    {A_WITH "{belongs_to: a, source_field: n, through: a}",
     "f:6:52: through means nothing but on many_to_many: leave it out\n"},
    {A_WITH "{belongs_to: a, source_field: n, limit: -1, offset: x, batch: {max_size: 0, "
            "max_byts: 1}}",
     "f:6:50: \"limit\" is an integer from 0, got -1\n"
     "f:6:62: \"offset\" is an integer from 0, got \"x\"\n"
     "f:6:83: \"max_size\" is an integer from 1 to 1000000, got 0\n"
     "f:6:86: a batch has no \"max_byts\"; did you mean \"max_bytes\"? (it has max_size, "
     "max_bytes, max_in_flight, window, timeout)\n"},
    {A_WITH "{belongs_to: a, source_field: n, batch: {window: 5, timeout: 2d, max_bytes: 1B}}",
     "f:6:59: \"window\" is a duration from 0ms to 1m such as 2ms, got 5\n"
     "f:6:71: \"timeout\" is out of range: a duration from 1ms to 1d such as 5s\n"
     "f:6:86: \"max_bytes\" is out of range: a size from 1KiB to 1GiB such as 1MiB\n"},
    /* Manual ones. */
    {A_WITH "{belongs_to: a, manual: {filter: id == 1}}",
     "f:6:7: manual stands on a has_one or has_many, r is belongs_to\n"},
    {A_WITH "{has_many: a, source_field: n, manual: {filter: id == 1}}",
     "f:6:38: source_field means nothing beside manual: leave it out\n"},
};

static void every_fault_is_told_at_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_faults(cases[i].yaml, strlen(cases[i].yaml), cases[i].faults);
    }
}

/* Reads a schema that is wrong; the first line of what it says. */
static void first_fault(const char *yaml, char out[500])
{
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(schema_read("f", yaml, strlen(yaml), 1, &limits, &schema, &faults),
                     -CODE_INVALID_REQUEST);
    snprintf(out, 500, "%.*s", (int)faults.size, (const char *)faults.bytes);
    buffer_release(&faults);
    assert_non_null(strchr(out, '\n'));
    *strchr(out, '\n') = '\0';
}

static void assert_begins(const char *yaml, const char *expected)
{
    char fault[500];
    first_fault(yaml, fault);
    fault[strlen(expected)] = '\0';
    assert_string_equal(fault, expected);
}

static void faults_in_expressions_point_into_them(void **state)
{
    (void)state;
    assert_begins(A_WITH "{has_many: a, destination_field: n, filter: id == 1 and nn == 2}",
                  "f:6:66: the filter of a.r: ");
    assert_begins(A_WITH "{has_many: a, destination_field: n, filter: 'id == 1 and nn == 2'}",
                  "f:6:67: the filter of a.r: ");
    assert_begins(A_WITH "{has_many: a, destination_field: n, sort: \"-id, nn\"}",
                  "f:6:58: the sort of a.r: ");
    assert_begins(A_WITH "{has_many: a, destination_field: n, sort: [id, nn]}",
                  "f:6:57: the sort of a.r: ");
    assert_begins(A_WITH "{has_many: a, destination_field: n, filter: [id]}",
                  "f:6:54: the filter of a.r is a text such as status == \"open\", got a list");
    assert_begins(A_WITH "{has_many: a, manual: {filter: id == $x}}",
                  "f:6:47: the manual filter of a.r: ");
    assert_begins(A_WITH "{has_many: a, destination_field: n, sort: parent.id}",
                  "f:6:52: the sort of a.r: ");
}

static void what_is_wrong_once_is_told_once(void **state)
{
    (void)state;
    /* `n` has no type and `q` no destination: what names them is not to blame. */
    assert_faults(A_FIELDS "n: intger}\n    relationships:\n"
                           "      p: {has_many: a, destination_field: n, filter: n == 5}\n"
                           "      q: {has_many: b}\n"
                           "      r: {has_many: a, manual: {filter: 'exists(q, id == 1)'}}\n",
                  strlen(A_FIELDS
                         "n: intger}\n    relationships:\n"
                         "      p: {has_many: a, destination_field: n, filter: n == 5}\n"
                         "      q: {has_many: b}\n"
                         "      r: {has_many: a, manual: {filter: 'exists(q, id == 1)'}}\n"),
                  "f:4:30: there is no type \"intger\"; did you mean \"integer\"? (types are "
                  "integer, float, boolean, string, binary, datetime, uuid, {enum: [...]}, any)\n"
                  "f:7:21: has_many: there is no resource \"b\"\n");
}

static void circles_are_refused(void **state)
{
    (void)state;
    static const char yaml[] = A_MORE
        "    relationships:\n"
        "      p: {has_many: a, manual: {filter: 'exists(q, id == 1)'}}\n"
        "      q: {has_many: a, manual: {filter: 'exists(s2, id == 1) and id == parent.id'}}\n"
        "      s2: {has_one: a, destination_field: n, filter: 'exists(q, id == 2)'}\n"
        "      own: {has_one: a, destination_field: n, sort: own.n}\n";
    assert_faults(yaml, strlen(yaml),
                  "f:7:7: relationships may not read each other in a circle: a.q reads a.s2 reads "
                  "a.q\n"
                  "f:9:7: relationships may not read each other in a circle: a.own reads a.own\n");
}

/* ---- Bounds ---- */

static void aliases_make_no_bombs(void **state)
{
    (void)state;
    struct buffer yaml = BUFFER_INIT;
    /* Ten to the thirteenth texts in one default. */
    buffer_printf(&yaml, "version: 1\nresources:\n  a:\n    fields:\n      id: integer\n");
    buffer_printf(&yaml, "      l0: {type: any, default: &l0 [x,x,x,x,x,x,x,x,x,x]}\n");
    for (int i = 1; i < 13; i++) {
        buffer_printf(&yaml, "      l%d: {type: any, default: &l%d [", i, i);
        for (int j = 0; j < 10; j++) {
            buffer_printf(&yaml, "*l%d,", i - 1);
        }
        buffer_printf(&yaml, "]}\n");
    }
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(
        schema_read("f", (const char *)yaml.bytes, yaml.size, 1, &limits, &schema, &faults),
        -CODE_INVALID_REQUEST);
    buffer_byte(&faults, 0);
    assert_non_null(
        strstr((const char *)faults.bytes, "the schema is too large: more than 1000000 "));
    buffer_release(&faults);
    buffer_release(&yaml);
}

static void a_large_schema_is_read(void **state)
{
    (void)state;
    struct buffer yaml = BUFFER_INIT;
    buffer_printf(&yaml, "version: 1\nresources:\n");
    for (int i = 0; i < 2000; i++) {
        buffer_printf(&yaml, "  r%d:\n    fields: {id: integer, r%d_id: integer}\n", i,
                      (i + 1) % 2000);
        buffer_printf(&yaml, "    relationships: {next: {has_many: r%d}}\n", (i + 1999) % 2000);
    }
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(
        schema_read("f", (const char *)yaml.bytes, yaml.size, 1, &limits, &schema, &faults), 0);
    assert_int_equal(schema->relationship_count, 2000);
    schema_put(schema);
    buffer_release(&yaml);
}

static void failing_memory_is_told(void **state)
{
    (void)state;
    int status = -CODE_OVERLOADED;
    for (long i = 0; status != 0; i++) {
        struct schema *schema = NULL;
        struct buffer faults;
        uint8_t room[4096];
        /* The lines' own buffer is not to fail. */
        faults = (struct buffer){.bytes = room, .capacity = sizeof(room), .max = sizeof(room)};
        heap_fail_at(i);
        status = schema_read("f", helpdesk, strlen(helpdesk), 1, &limits, &schema, &faults);
        if (status == 0) {
            assert_false(heap_failed());
            schema_put(schema);
        } else {
            assert_int_equal(status, -CODE_OVERLOADED);
            assert_int_equal(faults.bytes[faults.size - 1], '\n');
        }
    }
    heap_fail_at(-1);
}

/* Lines dropped, doubled and bytes changed: whatever comes, it is a schema or
 * there are lines that say why not. */
static void damaged_schemas_are_refused_with_reasons(void **state)
{
    (void)state;
    struct random random = random_start("schema_file");
    char text[sizeof(helpdesk)];
    unsigned refused = 0;
    for (int i = 0; i < 3000; i++) {
        memcpy(text, helpdesk, sizeof(text));
        for (uint64_t changes = random_below(&random, 3) + 1; changes > 0; changes--) {
            size_t at = random_below(&random, sizeof(text) - 1);
            size_t from = random_below(&random, sizeof(text) - 1);
            text[at] = random_below(&random, 4) == 0 ? (char)random_next(&random) : helpdesk[from];
        }
        struct schema *schema = NULL;
        struct buffer faults = BUFFER_INIT;
        int status = schema_read("f", text, sizeof(text) - 1, 1, &limits, &schema, &faults);
        if (status == 0) {
            assert_int_equal(faults.size, 0);
            schema_put(schema);
        } else {
            refused++;
            assert_int_equal(status, -CODE_INVALID_REQUEST);
            assert_true(faults.size > 0);
            assert_memory_equal(faults.bytes, "f:", 2);
            assert_int_equal(faults.bytes[faults.size - 1], '\n');
        }
        buffer_release(&faults);
    }
    assert_true(refused > 1000);
}

static void files_are_read(void **state)
{
    (void)state;
    char path[] = "/tmp/relata-schema-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, helpdesk, strlen(helpdesk)), strlen(helpdesk));
    close(file);
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(schema_read_file(path, 7, &limits, &schema, &faults), 0);
    assert_int_equal(schema->number, 7);
    assert_int_equal(schema->resource_count, 5);
    schema_put(schema);
    unlink(path);
    assert_int_equal(schema_read_file(path, 7, &limits, &schema, &faults), -CODE_INVALID_REQUEST);
    buffer_byte(&faults, 0);
    assert_non_null(strstr((const char *)faults.bytes,
                           ":1:1: the file cannot be read: No such file or directory\n"));
    buffer_release(&faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(defaults_are_stored_as_records_store_them),
        cmocka_unit_test(relationships_are_resolved),
        cmocka_unit_test(indexes_are_what_is_needed_without_prefixes),
        cmocka_unit_test(aliases_and_nothing_are_taken),
        cmocka_unit_test(every_fault_is_told_at_its_place),
        cmocka_unit_test(faults_in_expressions_point_into_them),
        cmocka_unit_test(what_is_wrong_once_is_told_once),
        cmocka_unit_test(circles_are_refused),
        cmocka_unit_test(aliases_make_no_bombs),
        cmocka_unit_test(a_large_schema_is_read),
        cmocka_unit_test(failing_memory_is_told),
        cmocka_unit_test(damaged_schemas_are_refused_with_reasons),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/encoding.h"
#include "layers/schema/schema_describe.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/buffer.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* What `layer: redis` says in a schema file. */

static const struct limits limits = LIMITS_DEFAULT;

static const char desk[] =
    "version: 1\n"
    "resources:\n"
    "  rep:\n"
    "    layer: redis\n"
    "    fields: {id: integer, name: string, team_id: integer}\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      tickets: {has_many: ticket}\n"
    "      notes: {has_many: note}\n"
    "      remote: {has_many: rep, manual: remote, actor: none}\n"
    "  team:\n"
    "    layer: redis\n"
    "    fields: {id: integer, zone: string}\n"
    "    relationships:\n"
    "      itself: {has_one: team, destination_field: id}\n"
    "      seat:\n"
    "        has_many: seat\n"
    "        manual: {filter: 'rep_id in [1, 2] and team_id == parent.id and note == \"x\"'}\n"
    "      first: {has_many: seat, destination_field: team_id, filter: rep_id == 1}\n"
    "      reps: {many_to_many: rep, through: pair}\n"
    "  seat:\n"
    "    layer: redis\n"
    "    primary_key: [team_id, rep_id]\n"
    "    fields: {rep_id: integer, team_id: integer, note: string}\n"
    "    redis:\n"
    "  pair:\n"
    "    primary_key: [team_id, rep_id]\n"
    "    fields: {rep_id: integer, team_id: integer}\n"
    "  ticket:\n"
    "    layer: redis\n"
    "    ttl: 5m\n"
    "    max_bytes: 64KiB\n"
    "    fields:\n"
    "      id: uuid\n"
    "      rep_id: {type: integer, stored_as: representativeId}\n"
    "      code: {type: string, stored_as: 'the code\xc2\xa0'}\n"
    "    identities: {code: code}\n"
    "    indexes: [[rep_id, code]]\n"
    "    redis: {use: other, key: \"{{{id}}}:t\", encoding: msgpack, writers: relata,\n"
    "            stale_if_error: 2m}\n"
    "  note:\n"
    "    layer: redis\n"
    "    fields: {id: integer, rep_id: integer, text: string}\n"
    "    indexes: [[text]]\n"
    "    redis: {key: 'n\xc3\xb6te/{id}', encoding: json, resident: true, writers: anyone}\n"
    "  plain:\n"
    "    layer: memory\n"
    "    fields: {_relata: integer, id: integer}\n";

/* The key of a resource as "rep:{id}", the braces of texts doubled. */
static void assert_key(const struct schema *schema, const char *name, const char *expected)
{
    const struct resource *resource = fixture_resource(schema, name);
    struct buffer text = BUFFER_INIT;
    for (unsigned i = 0; i < resource->redis->key_part_count; i++) {
        const struct key_part *part = &resource->redis->key_parts[i];
        if (part->text == NULL) {
            buffer_printf(&text, "<%s>", resource->fields[part->field].name);
        } else {
            assert_int_equal(strlen(part->text), part->size);
            assert_true(i == 0 || resource->redis->key_parts[i - 1].text == NULL);
            buffer_append(&text, part->text, part->size);
        }
    }
    buffer_byte(&text, '\0');
    assert_string_equal((const char *)text.bytes, expected);
    buffer_release(&text);
}

static void defaults_are_filled_in(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(desk);
    const struct resource *rep = fixture_resource(schema, "rep");
    assert_int_equal(rep->layer, LAYER_REDIS);
    assert_string_equal(rep->redis->home, "main");
    assert_int_equal(rep->redis->encoding, REDIS_HASH);
    assert_false(rep->redis->only_relata);
    assert_false(rep->redis->resident);
    assert_int_equal(rep->redis->stale_if_error_us, 0);
    assert_int_equal(rep->redis->ttl_us, 0);
    assert_int_equal(rep->redis->cache_bytes_max, 64 << 20);
    assert_key(schema, "rep", "rep:<id>");
    assert_key(schema, "seat", "seat:<team_id>:<rep_id>");
    const struct field *name = fixture_field(rep, "name");
    assert_string_equal(name->stored_as, "name");
    assert_int_equal(name->stored_as_size, 4);
    const struct resource *plain = fixture_resource(schema, "plain");
    assert_int_equal(plain->layer, LAYER_MEMORY);
    assert_null(plain->redis);
    assert_string_equal(fixture_field(plain, ENCODING_MARK)->stored_as, ENCODING_MARK);
    assert_null(fixture_resource(schema, "pair")->redis);
    schema_put(schema);
}

static void options_are_read(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(desk);
    const struct resource *ticket = fixture_resource(schema, "ticket");
    assert_string_equal(ticket->redis->home, "other");
    assert_int_equal(ticket->redis->encoding, REDIS_MSGPACK);
    assert_true(ticket->redis->only_relata);
    assert_int_equal(ticket->redis->stale_if_error_us, 120000000);
    assert_int_equal(ticket->redis->ttl_us, 300000000);
    assert_int_equal(ticket->redis->cache_bytes_max, 65536);
    assert_key(schema, "ticket", "{<id>}:t");
    assert_string_equal(fixture_field(ticket, "rep_id")->stored_as, "representativeId");
    assert_int_equal(fixture_field(ticket, "rep_id")->stored_as_size, 16);
    assert_string_equal(fixture_field(ticket, "code")->stored_as, "the code\xc2\xa0");
    const struct resource *note = fixture_resource(schema, "note");
    assert_int_equal(note->redis->encoding, REDIS_JSON);
    assert_true(note->redis->resident);
    assert_false(note->redis->only_relata);
    assert_key(schema, "note", "n\xc3\xb6te/<id>");
    schema_put(schema);
}

static void keys_may_be_any_text(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        const char *key;
    } cases[] = {
        {"'{a}:{b}'", "<a>:<b>"},
        {"'x{b}}}{{{a}'", "x<b>}{<a>"},
        {"\"{{t}}:\\n%{a}:{b}%\"", "{t}:\n%<a>:<b>%"},
        {"a{a}b{b}", "a<a>b<b>"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char yaml[400];
        snprintf(yaml, sizeof(yaml),
                 "version: 1\nresources:\n  r:\n    layer: redis\n    primary_key: [a, b]\n"
                 "    fields: {a: integer, b: string}\n    redis:\n      key: %s\n",
                 cases[i].given);
        struct schema *schema = schema_fixture(yaml);
        assert_key(schema, "r", cases[i].key);
        schema_put(schema);
    }
}

/* Only where they are kept: the memory layer's, writers: relata, resident. */
static void indexes_are_derived_where_they_are_kept(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(desk);
    assert_int_equal(fixture_resource(schema, "rep")->index_count, 0);
    assert_int_equal(fixture_resource(schema, "team")->index_count, 0);
    assert_int_equal(fixture_resource(schema, "seat")->index_count, 0);
    assert_int_equal(fixture_resource(schema, "pair")->index_count, 2);
    assert_int_equal(fixture_resource(schema, "ticket")->index_count, 1);
    assert_int_equal(fixture_resource(schema, "note")->index_count, 2);
    schema_put(schema);
}

static void the_layer_is_described(void **state)
{
    (void)state;
    struct schema *schema =
        schema_fixture("version: 1\nresources:\n  a: {layer: redis, fields: {id: integer}}\n"
                       "  b: {fields: {id: integer}}\n");
    struct buffer bytes = BUFFER_INIT, text = BUFFER_INIT;
    schema_describe(schema, &bytes);
    struct reader in = reader_of(bytes.bytes, bytes.size);
    msgpack_to_json(&in, &text);
    buffer_byte(&text, '\0');
    assert_non_null(strstr((const char *)text.bytes, "\"a\":{\"layer\":\"redis\""));
    assert_non_null(strstr((const char *)text.bytes, "\"b\":{\"layer\":\"memory\""));
    buffer_release(&bytes);
    buffer_release(&text);
    schema_put(schema);
}

/* ---- Faults ---- */

static void assert_faults(const char *yaml, const char *expected)
{
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    int status = schema_read("f", yaml, strlen(yaml), 1, &limits, &schema, &faults);
    buffer_byte(&faults, 0);
    if (status != -CODE_INVALID_REQUEST || strcmp((const char *)faults.bytes, expected) != 0) {
        fail_msg("%s\nsays: %sinstead of: %s", yaml, (const char *)faults.bytes, expected);
    }
    buffer_release(&faults);
}

#define A       "version: 1\nresources:\n  a:\n    fields: {id: integer, n: integer, s: string}\n"
#define A_REDIS A "    layer: redis\n"
#define A_KEY   A_REDIS "    redis: {key: "
#define TWO                                                                     \
    "version: 1\nresources:\n  a:\n    layer: redis\n    primary_key: [x, y]\n" \
    "    fields: {x: integer, y: integer, z: integer}\n"

struct fault_case {
    const char *yaml;
    const char *faults; /* all of them */
};

static const struct fault_case option_cases[] = {
    {A "    layer: rediss",
     "f:5:12: \"layer\" is memory or redis, got \"rediss\"; did you mean \"redis\"?\n"},
    {A "    layer: [redis]\n    ttl: 1s\n    redis: {kye: x}\n",
     "f:5:12: \"layer\" is memory or redis, got a list\n"},
    {A "    redis: {use: main}",
     "f:5:12: redis is for layer: redis: say that too, or leave redis out\n"},
    {A "    layer: memory\n    redis:\n    ttl: 1s\n    max_bytes: 1MiB\n",
     "f:6:11: redis is for layer: redis: say that too, or leave redis out\n"
     "f:7:5: \"ttl\" is not supported yet\nf:8:5: \"max_bytes\" is not supported yet\n"},
    {A_REDIS "    redis: 5", "f:6:12: a set of redis options is a map, got 5\n"},
    {A_REDIS "    redis: {kye: x, writer: relata}",
     "f:6:13: a set of redis options has no \"kye\"; did you mean \"key\"? (it has use, key, "
     "encoding, writers, resident, stale_if_error)\n"
     "f:6:21: a set of redis options has no \"writer\"; did you mean \"writers\"? (it has use, "
     "key, encoding, writers, resident, stale_if_error)\n"},
    {A_REDIS "    redis: {use: a-b}",
     "f:6:18: the name of a Redis, as the configuration has it, is made of letters, digits and _, "
     "and begins with no digit, got \"a-b\"\n"},
    {A_REDIS "    redis: {use: [main]}",
     "f:6:18: the name of a Redis, as the configuration has it, is made of letters, digits and _, "
     "and begins with no digit, got a list\n"},
    {A_REDIS "    redis: {encoding: msgpck, writers: any, resident: yes, stale_if_error: 5}",
     "f:6:23: \"encoding\" is hash, msgpack or json, got \"msgpck\"; did you mean \"msgpack\"?\n"
     "f:6:40: \"writers\" is anyone or relata, got \"any\"\n"
     "f:6:55: \"resident\" is true or false, got \"yes\"\n"
     "f:6:76: \"stale_if_error\" is a duration from 0ms to 365d such as 30s, got 5\n"},
    {A_REDIS "    redis: {encoding: true, stale_if_error: 366d}",
     "f:6:23: \"encoding\" is hash, msgpack or json, got true\n"
     "f:6:45: \"stale_if_error\" is out of range: a duration from 0ms to 365d such as 30s\n"},
    {A_REDIS "    ttl: 999us\n    max_bytes: 63KiB",
     "f:6:10: \"ttl\" is out of range: a duration from 1ms to 365d such as 30s\n"
     "f:7:16: \"max_bytes\" is out of range: a size from 64KiB to 1024GiB such as 64MiB\n"},
    {A_REDIS "    ttl: ever\n    max_bytes: {}",
     "f:6:10: \"ttl\" is a duration from 1ms to 365d such as 30s, got \"ever\"\n"
     "f:7:16: \"max_bytes\" is a size from 64KiB to 1024GiB such as 64MiB, got a map\n"},
    {A_REDIS "    ttl: 1s\n    max_bytes: 1MiB\n    redis: {resident: true}",
     "f:6:10: ttl means nothing beside resident: true, which keeps all records: leave it out\n"
     "f:7:16: max_bytes means nothing beside resident: true, which keeps all records: leave it "
     "out\n"},
    {A_REDIS "    identities: {n: n}\n    indexes: [[s]]\n",
     "f:6:17: identities in Redis need writers: relata under redis: beside other writers nobody "
     "can promise that they are unique\n"
     "f:7:14: indexes in Redis need writers: relata or resident: true under redis: beside other "
     "writers they cannot be kept\n"},
    {A_REDIS "    identities: {n: n}\n    indexes: [[s]]\n    redis: {resident: true}",
     "f:6:17: identities in Redis need writers: relata under redis: beside other writers nobody "
     "can promise that they are unique\n"},
    /* What was meant is not known. */
    {A_REDIS "    identities: {n: n}\n    indexes: [[s]]\n    redis: {writers: relat}",
     "f:8:22: \"writers\" is anyone or relata, got \"relat\"; did you mean \"relata\"?\n"},
};

static const struct fault_case key_cases[] = {
    {A_KEY "{id}}", "f:6:18: the key of a is a text such as \"a:{id}\" (in quotes), got a map\n"},
    {A_KEY "5}", "f:6:18: the key of a is a text such as \"a:{id}\", got 5\n"},
    {A_KEY "}", "f:6:18: the key of a is a text such as \"a:{id}\", got nothing\n"},
    {A_KEY "'a'}", "f:6:18: the key of a lacks {id}: each field of the primary key stands in it, "
                   "or two records would have one name\n"},
    {A_KEY "'a:{{id}}'}",
     "f:6:18: the key of a lacks {id}: each field of the primary key stands in it, or two records "
     "would have one name\n"},
    {A_KEY "'a:{id} {id'}",
     "f:6:26: the key of a: this { is not closed: write {id} for a value, {{ for a brace\n"},
    {A_KEY "'{a{id}'}",
     "f:6:19: the key of a: this { is not closed: write {id} for a value, {{ for a brace\n"},
    {A_KEY "'a} {id}}'}", "f:6:20: the key of a: this } closes nothing: write }} for a brace\n"
                          "f:6:26: the key of a: this } closes nothing: write }} for a brace\n"},
    {A_KEY "'{}{id}'}",
     "f:6:19: the key of a: {} names no field: write {id}, or {{}} for the braces themselves\n"},
    {A_KEY "'{id'}",
     "f:6:19: the key of a: this { is not closed: write {id} for a value, {{ for a brace\n"},
    {A_KEY "'id}'}", "f:6:21: the key of a: this } closes nothing: write }} for a brace\n"},
    {A_KEY "'{}'}",
     "f:6:19: the key of a: {} names no field: write {id}, or {{}} for the braces themselves\n"},
    {A_KEY "'{id}:{idd}:{s}:{id}'}",
     "f:6:24: the key of a: a has no field \"idd\"; did you mean \"id\"? (braces that are no value "
     "are written {{ and "
     "}})\n"
     "f:6:30: the key of a: s is not of the primary key: only its fields stand in the key, each "
     "once\n"
     "f:6:34: the key of a: {id} stands in it twice: write it once\n"},
    {TWO "    redis: {key: '\xc3\xa4{x}{y}'}",
     "f:7:23: the key of a: {x} and {y} stand side by side, so that nobody can tell where one "
     "ends: put text between them, such as {x}:{y}\n"},
    {TWO "    redis: {key: '{y}%{x}'}",
     "f:7:23: the key of a: between {y} and {x} stands a %, which is for escapes in values: put "
     "other text there, such as {y}:{x}\n"},
    {TWO "    redis: {key: '{y}'}",
     "f:7:18: the key of a lacks {x}: each field of the primary key stands in it, or two records "
     "would have one name\n"},
    /* A key is not to blame for a field that is at fault itself. */
    {"version: 1\nresources:\n  a:\n    layer: redis\n    fields: {id: intger}\n"
     "    redis: {key: '{nn}'}\n",
     "f:5:18: there is no type \"intger\"; did you mean \"integer\"? (types are integer, float, "
     "boolean, string, binary, datetime, uuid, {enum: [...]}, any)\n"},
};

#define ALIKE(a, b, home, prefix)                                                               \
    "the keys of " a " and " b " are alike, and both are in the Redis \"" home                  \
    "\": a key of one could be the other's; begin them with different texts, such as \"" prefix \
    ":\"\n"

#define OWN(of)                                                                              \
    "the key of " of " begins with relata:, as the daemon's own keys in Redis do: begin it " \
    "with a different text\n"

static const struct fault_case shape_cases[] = {
    {"version: 1\nresources:\n"
     "  a: {layer: redis, fields: {id: integer}, redis: {key: 'x:{id}'}}\n"
     "  b: {layer: redis, fields: {no: string}, primary_key: no, redis: {key: 'x:{no}'}}\n"
     "  c: {layer: redis, fields: {id: integer}, redis: {key: 'x:{id}', use: other}}\n"
     "  d: {layer: redis, fields: {id: integer}, redis: {key: 'x:{id}:y'}}\n"
     "  x: {layer: redis, fields: {id: integer}}\n",
     "f:4:73: " ALIKE("a", "b", "main", "b") "f:7:3: " ALIKE("b", "x", "main", "x")},
    {"version: 1\nresources:\n"
     "  a: {layer: redis, fields: {id: integer}, redis: {key: 'relata:ix:{id}'}}\n"
     "  relata: {layer: redis, fields: {id: integer}}\n"
     "  b: {layer: redis, fields: {id: integer}, redis: {key: 'relata-b:{id}'}}\n",
     "f:3:57: " OWN("a") "f:4:3: " OWN("relata")},
};

#define R                                                                       \
    "version: 1\nresources:\n  r:\n    layer: redis\n    primary_key: [x, y]\n" \
    "    fields: {x: integer, y: integer, z: integer}\n"                        \
    "  a:\n    fields: {id: integer, z: integer}\n    relationships:\n      b: "
#define LOOKS(of)                                                                              \
    "relationship b looks for records of " of " otherwise than by the primary key, and Redis " \
    "finds them by nothing else: resident: true or writers: relata under redis of " of         \
    " would help\n"

static const struct fault_case relationship_cases[] = {
    {R "{has_many: r, destination_field: x}", "f:10:7: " LOOKS("r")},
    {R "{has_one: r, destination_field: z}", "f:10:7: " LOOKS("r")},
    {R "{belongs_to: r, source_field: z, destination_field: z}", "f:10:7: " LOOKS("r")},
    {R "{has_many: r, destination_field: x, filter: y > 1}", "f:10:7: " LOOKS("r")},
    {R "{has_many: r, manual: {filter: x == parent.id and y > parent.z}}", "f:10:7: " LOOKS("r")},
    {R "{has_many: r, manual: {filter: 'x in [1] and y in [2]'}}", "f:10:7: " LOOKS("r")},
    {R "{has_many: r, manual: {filter: x == 1 or y == 1}}", "f:10:7: " LOOKS("r")},
    {R "{many_to_many: a, through: r, source_field_on_through: x, "
       "destination_field_on_through: y}",
     "f:10:7: " LOOKS("r")},
    {R "{many_to_many: r, through: a, source_field_on_through: id, "
       "destination_field_on_through: z, destination_field: z}",
     "f:10:7: " LOOKS("r")},
    {R "{has_many: r, manual: {filter: xx == 1}}",
     "f:10:41: the manual filter of a.b: r has no field or relationship \"xx\" (at position 0)\n"},
};

#define F(options) "version: 1\nresources:\n  a:\n    layer: redis\n    fields: " options "\n"

static const struct fault_case stored_cases[] = {
    {A_REDIS "  b:\n    fields: {id: integer, n: {type: string, stored_as: x}}",
     "f:7:56: stored_as is for layer: redis, where other programs may know the field by another "
     "name: leave it out\n"},
    {F("{id: integer, n: {type: string, stored_as: 5}}"),
     "f:5:56: stored_as is the name of n in Redis, as text (put it in quotes), got 5\n"},
    {F("{id: integer, n: {type: string, stored_as: }}"),
     "f:5:56: stored_as is the name of n in Redis, as text, got nothing\n"},
    {F("{id: integer, n: {type: string, stored_as: [x]}}"),
     "f:5:56: stored_as is the name of n in Redis, as text, got a list\n"},
    {F("{id: integer, n: {type: string, stored_as: ''}}"),
     "f:5:56: stored_as has 1 to 255 bytes, this has 0\n"},
    {F("{id: integer, n: {type: string, stored_as: \"a\\tb\"}}"),
     "f:5:56: stored_as may not have control characters in it\n"},
    {F("{id: integer, n: {type: string, stored_as: \"a\\x7f\"}}"),
     "f:5:56: stored_as may not have control characters in it\n"},
    {F("{id: integer, n: {type: string, stored_as: \"a\\x85\"}}"),
     "f:5:56: stored_as may not have control characters in it\n"},
    {F("{id: integer, n: {type: string, stored_as: _relata}}"),
     "f:5:56: n is stored as _relata, which the daemon keeps for itself: give it another "
     "stored_as\n"},
    {F("{id: integer, _relata: integer}"),
     "f:5:27: _relata is stored as _relata, which the daemon keeps for itself: give it another "
     "stored_as\n"},
    {F("{id: integer, n: {type: string, stored_as: x}, m: {type: string, stored_as: x}, "
       "k: {type: string, stored_as: x}}"),
     "f:5:89: n and m are both stored as \"x\": give one of them another stored_as\n"
     "f:5:122: m and k are both stored as \"x\": give one of them another stored_as\n"},
    {F("{id: integer, n: {type: string, stored_as: m}, m: string}"),
     "f:5:56: n and m are both stored as \"m\": give one of them another stored_as\n"},
    {F("{id: integer, n: string, m: {type: string, stored_as: n}}"),
     "f:5:67: n and m are both stored as \"n\": give one of them another stored_as\n"},
};

static void assert_cases(const struct fault_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_faults(cases[i].yaml, cases[i].faults);
    }
}

static void every_fault_is_told_at_its_place(void **state)
{
    (void)state;
    assert_cases(option_cases, ARRAY_COUNT(option_cases));
    assert_cases(key_cases, ARRAY_COUNT(key_cases));
    assert_cases(shape_cases, ARRAY_COUNT(shape_cases));
    assert_cases(relationship_cases, ARRAY_COUNT(relationship_cases));
    assert_cases(stored_cases, ARRAY_COUNT(stored_cases));
}

/* What is refused where others write is taken where they do not, and where all
 * records are kept. */
static void the_remedies_help(void **state)
{
    (void)state;
    static const char *const remedies[] = {"writers: relata", "resident: true"};
    for (size_t i = 0; i < ARRAY_COUNT(remedies); i++) {
        for (size_t j = 0; j + 1 < ARRAY_COUNT(relationship_cases); j++) {
            static const char marker[] = "    primary_key: [x, y]\n";
            const char *yaml = relationship_cases[j].yaml;
            const char *at = strstr(yaml, marker);
            struct buffer text = BUFFER_INIT;
            buffer_printf(&text, "%.*s    redis: {%s}\n%s", (int)(at - yaml), yaml, remedies[i],
                          at);
            buffer_byte(&text, '\0');
            schema_put(schema_fixture((const char *)text.bytes));
            buffer_release(&text);
        }
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    char yaml[2000], text[KEY_TEMPLATE_BYTES_MAX + 2];
    for (int more = 0; more < 2; more++) {
        size_t size = KEY_TEMPLATE_BYTES_MAX + (size_t)more;
        memset(text, 'x', sizeof(text));
        memcpy(text + size - 4, "{id}", 5);
        snprintf(yaml, sizeof(yaml), "%s'%s'}\n", A_KEY, text);
        if (more == 0) {
            schema_put(schema_fixture(yaml));
        } else {
            assert_faults(yaml, "f:6:18: the key of a has at most 512 bytes, this has 513\n");
        }
        memset(text, 'x', sizeof(text));
        text[255 + more] = '\0';
        snprintf(yaml, sizeof(yaml), F("{id: {type: integer, stored_as: %s}}"), text);
        if (more == 0) {
            schema_put(schema_fixture(yaml));
        } else {
            assert_faults(yaml, "f:5:45: stored_as has 1 to 255 bytes, this has 256\n");
        }
    }
}

/* The longest that can be: eight fields, and text at every place. */
static void the_longest_key_fits(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(
        "version: 1\nresources:\n  r:\n    layer: redis\n    primary_key: [a, b, c, d, e, f, g, "
        "h]\n"
        "    fields: {a: uuid, b: uuid, c: uuid, d: uuid, e: uuid, f: uuid, g: uuid, h: uuid}\n"
        "    redis: {key: '1{a}2{b}3{c}4{d}5{e}6{f}7{g}8{h}9'}\n");
    assert_key(schema, "r", "1<a>2<b>3<c>4<d>5<e>6<f>7<g>8<h>9");
    assert_int_equal(fixture_resource(schema, "r")->redis->key_part_count, KEY_PARTS_MAX);
    schema_put(schema);
}

static void failing_memory_is_told(void **state)
{
    (void)state;
    int status = -CODE_OVERLOADED;
    for (long at = 0; status != 0; at++) {
        struct schema *schema = NULL;
        struct buffer faults = BUFFER_INIT;
        heap_fail_at(at);
        status = schema_read("f", desk, strlen(desk), 1, &limits, &schema, &faults);
        bool failed = heap_failed();
        heap_fail_at(-1);
        if (status == 0) {
            assert_false(failed);
            schema_put(schema);
        } else {
            assert_int_equal(status, -CODE_OVERLOADED);
        }
        buffer_release(&faults);
    }
}

/* The key as a template again, braces doubled; its parts are as schema.h promises. */
static void print_key(const struct resource *resource, struct buffer *out)
{
    const struct redis_options *redis = resource->redis;
    for (unsigned i = 0; i < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        assert_true(i == 0 || (part->text == NULL) != (part[-1].text == NULL));
        if (part->text == NULL) {
            buffer_printf(out, "{%s}", resource->fields[part->field].name);
        }
        for (unsigned j = 0; part->text != NULL && j < part->size; j++) {
            bool brace = part->text[j] == '{' || part->text[j] == '}';
            buffer_append(out, part->text + j, 1);
            buffer_append(out, part->text + j, brace);
        }
    }
    buffer_byte(out, '\0');
}

/* Whether it was taken. */
static bool try_template(const char *key)
{
    char yaml[400];
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT, back = BUFFER_INIT;
    snprintf(yaml, sizeof(yaml), "%s    redis: {key: \"%s\"}", TWO, key);
    if (schema_read("f", yaml, strlen(yaml), 1, &limits, &schema, &faults) != 0) {
        assert_memory_equal(faults.bytes, "f:7:", 4);
        buffer_release(&faults);
        return false;
    }
    const struct resource *resource = fixture_resource(schema, "a");
    print_key(resource, &back);
    assert_string_equal((const char *)back.bytes, key);
    assert_non_null(strstr(key, "{x}"));
    assert_non_null(strstr(key, "{y}"));
    buffer_release(&back);
    schema_put(schema);
    return true;
}

/* Whatever the template, it is refused with a reason, or says itself again. */
static void any_template_is_read_or_refused(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{x}", "{y}", "{{", "}}", "{",  "}", "{z}", ":",
                                         "a",   "%",   "{}", "}}", "{{", ":", "{x}", "{y}"};
    struct random random = random_start("read_redis");
    unsigned taken = 0;
    for (int round = 0; round < 4000; round++) {
        char key[100] = "";
        size_t size = 0;
        for (uint64_t i = random_below(&random, 9); i > 0; i--) {
            const char *piece = pieces[random_below(&random, ARRAY_COUNT(pieces))];
            size += (size_t)snprintf(key + size, sizeof(key) - size, "%s", piece);
        }
        taken += try_template(key);
    }
    assert_true(taken > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(keys_may_be_any_text),
        cmocka_unit_test(indexes_are_derived_where_they_are_kept),
        cmocka_unit_test(the_layer_is_described),
        cmocka_unit_test(every_fault_is_told_at_its_place),
        cmocka_unit_test(the_remedies_help),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(the_longest_key_fits),
        cmocka_unit_test(failing_memory_is_told),
        cmocka_unit_test(any_template_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

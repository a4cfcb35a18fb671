#include <ctype.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/render.h"

/* The schema as types, for those who write against it: an interface for the
 * client for Node, dictionaries for the one for Python. */

struct spelling {
    const char *type;
    const char *ts;
    const char *python;
};

static const struct spelling spellings[] = {
    {"integer", "Integer", "int"},
    {"float", "number", "float"},
    {"boolean", "boolean", "bool"},
    {"string", "string", "str"},
    {"uuid", "string", "str"},
    {"binary", "Uint8Array", "bytes"},
    {"datetime", "Datetime", "datetime"},
};

/* Of a type that came after this program: anything. */
static const struct spelling anything = {"any", "any", "Any"};

static const struct spelling *spelling_of(struct relata_value field)
{
    struct relata_value type = relata_value_get(field, "type");
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        if (relata_value_is(type, spellings[i].type)) {
            return &spellings[i];
        }
    }
    return &anything;
}

static bool is_true(struct relata_value value)
{
    bool answer = false;
    return relata_value_boolean(value, &answer) && answer;
}

static bool has_members(struct relata_value field)
{
    return relata_value_count(relata_value_get(field, "members")) > 0;
}

/* The elements of a list as literals: "a" | "b". */
static void write_literals(struct buffer *out, struct relata_value list, const char *between)
{
    const char *before = "";
    struct relata_cursor cursor = relata_items(list);
    for (struct relata_value item; relata_next(&cursor, &item); before = between) {
        buffer_printf(out, "%s", before);
        render_json(out, item);
    }
}

/* --- TypeScript -------------------------------------------------------------------- */

static void write_ts_type(struct buffer *out, struct relata_value field)
{
    if (has_members(field)) {
        write_literals(out, relata_value_get(field, "members"), " | ");
    } else {
        buffer_printf(out, "%s", spelling_of(field)->ts);
    }
}

static void write_ts_field(struct buffer *out, struct relata_value name, struct relata_value field,
                           bool may_be_absent)
{
    buffer_printf(out, "            ");
    render_cell(out, name);
    buffer_printf(out, may_be_absent ? "?: " : ": ");
    write_ts_type(out, field);
    buffer_printf(out, is_true(relata_value_get(field, "required")) ? ";\n" : " | null;\n");
}

static void write_ts_fields(struct buffer *out, struct relata_value fields, bool to_create)
{
    struct relata_cursor cursor = relata_pairs(fields);
    for (struct relata_value name, field; relata_next_pair(&cursor, &name, &field);) {
        bool has_default = relata_value_get(field, "default").bytes != NULL;
        bool must_be_given = is_true(relata_value_get(field, "required")) && !has_default;
        write_ts_field(out, name, field, to_create && !must_be_given);
    }
}

static struct relata_value field_named(struct relata_value fields, struct relata_value wanted)
{
    struct relata_cursor cursor = relata_pairs(fields);
    for (struct relata_value name, field; relata_next_pair(&cursor, &name, &field);) {
        if (name.size == wanted.size && memcmp(name.bytes, wanted.bytes, name.size) == 0) {
            return field;
        }
    }
    return RELATA_NONE;
}

static void write_ts_key(struct buffer *out, struct relata_value fields, struct relata_value key)
{
    bool is_composite = relata_value_type(key) == RELATA_TYPE_ARRAY;
    buffer_printf(out, "        primaryKey: ");
    if (is_composite) {
        write_literals(out, key, " | ");
    } else {
        render_json(out, key);
    }
    buffer_printf(out, ";\n        key: ");
    if (is_composite) {
        const char *before = "[";
        struct relata_cursor cursor = relata_items(key);
        for (struct relata_value name; relata_next(&cursor, &name); before = ", ") {
            buffer_printf(out, "%s", before);
            write_ts_type(out, field_named(fields, name));
        }
        buffer_printf(out, "]");
    } else {
        write_ts_type(out, field_named(fields, key));
    }
    buffer_printf(out, ";\n");
}

static void write_ts_relationships(struct buffer *out, struct relata_value relationships)
{
    struct relata_cursor cursor = relata_pairs(relationships);
    for (struct relata_value name, member; relata_next_pair(&cursor, &name, &member);) {
        bool is_many = relata_value_is(relata_value_get(member, "cardinality"), "many");
        buffer_printf(out, "            ");
        render_cell(out, name);
        buffer_printf(out, ": { destination: ");
        render_json(out, relata_value_get(member, "destination"));
        buffer_printf(out, "; many: %s };\n", is_many ? "true" : "false");
    }
}

static void write_ts(struct buffer *out, struct relata_value resources, const char *interface)
{
    buffer_printf(out,
                  "// Written by `relata types --ts` from the daemon's schema.\n\n"
                  "export interface %s<Integer = number, Datetime = Date> {\n",
                  interface);
    struct relata_cursor cursor = relata_pairs(resources);
    for (struct relata_value name, resource; relata_next_pair(&cursor, &name, &resource);) {
        struct relata_value fields = relata_value_get(resource, "fields");
        buffer_printf(out, "    ");
        render_cell(out, name);
        buffer_printf(out, ": {\n        record: {\n");
        write_ts_fields(out, fields, false);
        buffer_printf(out, "        };\n        create: {\n");
        write_ts_fields(out, fields, true);
        buffer_printf(out, "        };\n");
        write_ts_key(out, fields, relata_value_get(resource, "primary_key"));
        buffer_printf(out, "        relationships: {\n");
        write_ts_relationships(out, relata_value_get(resource, "relationships"));
        buffer_printf(out, "        };\n    };\n");
    }
    buffer_printf(out, "}\n");
}

/* --- Python ------------------------------------------------------------------------ */

static uint8_t capital(char letter)
{
    return (uint8_t)toupper((unsigned char)letter);
}

/* "representative_skill" is RepresentativeSkill. */
static void write_class_name(struct buffer *out, struct relata_value name)
{
    const char *text = "";
    size_t size = 0;
    (void)relata_value_string(name, &text, &size);
    bool starts_word = true;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '_') {
            buffer_byte(out, starts_word ? capital(text[i]) : (uint8_t)text[i]);
        }
        starts_word = text[i] == '_';
    }
}

static void write_python_type(struct buffer *out, struct relata_value field)
{
    if (has_members(field)) {
        buffer_printf(out, "Literal[");
        write_literals(out, relata_value_get(field, "members"), ", ");
        buffer_printf(out, "]");
    } else {
        buffer_printf(out, "%s", spelling_of(field)->python);
    }
}

/* Not as a class, since a field may have a keyword's name. */
static void write_python(struct buffer *out, struct relata_value resources)
{
    buffer_printf(out,
                  "\"\"\"Written by `relata types --python` from the daemon's schema.\"\"\"\n\n"
                  "from datetime import datetime\n"
                  "from typing import Any, Literal, Optional, TypedDict\n");
    struct relata_cursor cursor = relata_pairs(resources);
    for (struct relata_value name, resource; relata_next_pair(&cursor, &name, &resource);) {
        buffer_byte(out, '\n');
        write_class_name(out, name);
        buffer_printf(out, " = TypedDict(\"");
        write_class_name(out, name);
        buffer_printf(out, "\", {\n");
        struct relata_cursor fields = relata_pairs(relata_value_get(resource, "fields"));
        for (struct relata_value field_name, field;
             relata_next_pair(&fields, &field_name, &field);) {
            bool is_required = is_true(relata_value_get(field, "required"));
            buffer_printf(out, "    ");
            render_json(out, field_name);
            buffer_printf(out, is_required ? ": " : ": Optional[");
            write_python_type(out, field);
            buffer_printf(out, is_required ? ",\n" : "],\n");
        }
        buffer_printf(out, "})\n");
    }
}

/* --- The command --------------------------------------------------------------------- */

static bool is_name(const char *text)
{
    if (!isalpha((unsigned char)text[0]) && text[0] != '_') {
        return false;
    }
    for (size_t i = 1; text[i] != '\0'; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') {
            return false;
        }
    }
    return true;
}

int types_run(struct cli *cli, struct args *args)
{
    bool is_ts = args_has(args, ARGS_TS);
    if (is_ts == args_has(args, ARGS_PYTHON)) {
        return cli_usage("types for which language: --ts or --python?");
    }
    const char *interface = args->count > 1 ? args->words[1] : "Schema";
    if (args->count > 1 && (!is_ts || !is_name(interface))) {
        return cli_usage("the name is that of the interface that --ts writes");
    }
    struct relata_reply *reply;
    int status = cli_call(cli, "schema", NULL, 0, &reply);
    if (status != CLI_DONE) {
        return status;
    }
    struct relata_value resources = relata_value_get(relata_reply_value(reply), "resources");
    struct buffer text = BUFFER_INIT;
    if (is_ts) {
        write_ts(&text, resources, interface);
    } else {
        write_python(&text, resources);
    }
    status = cli_print(&text);
    buffer_release(&text);
    relata_reply_free(reply);
    return status;
}

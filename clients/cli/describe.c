#include <stdio.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/grid.h"
#include "clients/cli/render.h"
#include "protocol/base/heap.h"

/* What the daemon says of itself, laid out for people: counters and schema. */

static void write_text_of(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* A table of the members of a map: their names first. Nothing where it is empty. */
static void write_members(struct buffer *out, const char *title, struct relata_value map)
{
    if (relata_value_count(map) == 0) {
        return;
    }
    struct grid *grid = heap_must(sizeof(*grid));
    grid_init(grid);
    struct relata_cursor cursor = relata_pairs(map);
    for (struct relata_value name, member; relata_next_pair(&cursor, &name, &member);) {
        grid_add_named(grid, title, name, member);
    }
    grid_write(grid, cli_width(), out);
    buffer_byte(out, '\n');
    grid_release(grid);
    heap_free(grid);
}

/* The members themselves, one a line: "errors: {...}". */
static void write_lines(struct buffer *out, struct relata_value map)
{
    struct relata_cursor cursor = relata_pairs(map);
    for (struct relata_value name, member; relata_next_pair(&cursor, &name, &member);) {
        render_cell(out, name);
        write_text_of(out, ": ");
        render_cell(out, member);
        buffer_byte(out, '\n');
    }
}

static int print_json(const struct cli *cli, struct relata_value value)
{
    struct cli plain = *cli;
    plain.format = CLI_JSON;
    return cli_print_value(&plain, value);
}

int stats_run(struct cli *cli, struct args *args)
{
    (void)args;
    struct relata_reply *reply;
    int status = cli_call(cli, "stats", NULL, 0, &reply);
    if (status != CLI_DONE) {
        return status;
    }
    struct relata_value stats = relata_reply_value(reply);
    if (!cli_tables(cli)) {
        status = print_json(cli, stats);
    } else {
        struct buffer text = BUFFER_INIT;
        write_members(&text, "relationship", relata_value_get(stats, "relationships"));
        write_members(&text, "resource", relata_value_get(stats, "resources"));
        write_lines(&text, relata_value_get(stats, "daemon"));
        status = cli_print(&text);
        buffer_release(&text);
    }
    relata_reply_free(reply);
    return status;
}

static void write_resource(struct buffer *out, struct relata_value name,
                           struct relata_value resource)
{
    render_cell(out, name);
    write_text_of(out, ": layer ");
    render_cell(out, relata_value_get(resource, "layer"));
    write_text_of(out, ", primary key ");
    render_cell(out, relata_value_get(resource, "primary_key"));
    write_text_of(out, "\n\n");
    write_members(out, "field", relata_value_get(resource, "fields"));
    write_members(out, "relationship", relata_value_get(resource, "relationships"));
}

static int print_schema(struct relata_value resources)
{
    struct buffer text = BUFFER_INIT;
    struct relata_cursor cursor = relata_pairs(resources);
    for (struct relata_value name, resource; relata_next_pair(&cursor, &name, &resource);) {
        write_resource(&text, name, resource);
    }
    int status = cli_print(&text);
    buffer_release(&text);
    return status;
}

/* One resource of the schema, by its name. */
static int print_resource(const struct cli *cli, struct relata_value resources, const char *wanted)
{
    struct relata_cursor cursor = relata_pairs(resources);
    for (struct relata_value name, resource; relata_next_pair(&cursor, &name, &resource);) {
        if (!relata_value_is(name, wanted)) {
            continue;
        }
        if (!cli_tables(cli)) {
            return print_json(cli, resource);
        }
        struct buffer text = BUFFER_INIT;
        write_resource(&text, name, resource);
        int status = cli_print(&text);
        buffer_release(&text);
        return status;
    }
    fprintf(stderr, "relata: unknown_resource: there is no resource \"%s\"\n", wanted);
    return CLI_FAILED;
}

int schema_run(struct cli *cli, struct args *args)
{
    struct relata_reply *reply;
    int status = cli_call(cli, "schema", NULL, 0, &reply);
    if (status != CLI_DONE) {
        return status;
    }
    struct relata_value schema = relata_reply_value(reply);
    struct relata_value resources = relata_value_get(schema, "resources");
    if (args->count > 1) {
        status = print_resource(cli, resources, args->words[1]);
    } else if (cli_tables(cli)) {
        status = print_schema(resources);
    } else {
        status = print_json(cli, schema);
    }
    relata_reply_free(reply);
    return status;
}

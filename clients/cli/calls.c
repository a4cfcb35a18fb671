#include <stdio.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/encode.h"
#include "clients/cli/render.h"
#include "protocol/msgpack/writer.h"

/* The commands that are one call: each writes its parts, calls, and prints. */

static struct relata_value text_value(struct buffer *room, const char *text)
{
    write_text(room, text);
    return cli_value(room);
}

/* --- get, load -------------------------------------------------------------------------- */

/* What a call is made of; every part empty until it is written. */
struct parts {
    struct buffer resource;
    struct buffer first;
    struct buffer second;
    struct buffer options;
};

static int call_parts(struct cli *cli, const char *method, struct parts *parts,
                      const char *resource, struct relata_reply **reply)
{
    struct relata_value first = cli_value(&parts->first);
    struct relata_value second = cli_value(&parts->second);
    struct relata_value options = cli_value(&parts->options);
    bool has_second = second.bytes != NULL;
    const struct relata_value values[] = {text_value(&parts->resource, resource), first,
                                          has_second ? second : options,
                                          has_second ? options : RELATA_NONE};
    return cli_call(cli, method, values, 4, reply);
}

static void release_parts(struct parts *parts)
{
    buffer_release(&parts->resource);
    buffer_release(&parts->first);
    buffer_release(&parts->second);
    buffer_release(&parts->options);
}

/* The key in words[2]... of the resource in words[1]. */
static int write_key(struct cli *cli, const struct args *args, struct buffer *out)
{
    struct catalog_resource resource;
    int status = cli_resource(cli, args->words[1], &resource);
    if (status != CLI_DONE) {
        return status;
    }
    struct catalog_key key = args_has(args, ARGS_IDENTITY)
                                 ? catalog_identity(&resource, args->values[ARGS_IDENTITY])
                                 : resource.key;
    const char *text = args->words[2];
    if (!encode_key(out, &key, text, strlen(text))) {
        status = cli_usage("the key \"%s\" is no base64", text);
    }
    catalog_resource_release(&resource);
    return status;
}

int get_run(struct cli *cli, struct args *args)
{
    struct parts parts = {0};
    struct relata_reply *reply;
    int status = command_options(args, &parts.options);
    status = status == CLI_DONE ? write_key(cli, args, &parts.first) : status;
    status = status == CLI_DONE ? call_parts(cli, "get", &parts, args->words[1], &reply) : status;
    if (status == CLI_DONE) {
        struct relata_value record = relata_reply_value(reply);
        if (relata_value_type(record) == RELATA_TYPE_NIL) {
            fprintf(stderr, "relata: not_found: %s %s is not there\n", args->words[1],
                    args->words[2]);
            status = CLI_FAILED;
        } else {
            status = cli_print_value(cli, record);
        }
        relata_reply_free(reply);
    }
    release_parts(&parts);
    return status;
}

/* A line of JSON for each source: its key, and what was loaded. */
static int print_loaded_lines(struct relata_value keys, struct relata_value answers,
                              const char *relationship)
{
    struct buffer text = BUFFER_INIT;
    struct relata_cursor key_cursor = relata_items(keys);
    struct relata_cursor cursor = relata_items(answers);
    struct relata_value key;
    struct relata_value answer;
    while (relata_next(&key_cursor, &key) && relata_next(&cursor, &answer)) {
        buffer_printf(&text, "{\"key\":");
        render_json(&text, key);
        buffer_byte(&text, ',');
        render_json_string(&text, relationship, strlen(relationship));
        buffer_byte(&text, ':');
        render_json(&text, answer);
        buffer_printf(&text, "}\n");
    }
    int status = cli_print(&text);
    buffer_release(&text);
    return status;
}

static int print_loaded_one(const struct cli *cli, const char *title, struct relata_value key,
                            struct relata_value answer)
{
    struct buffer text = BUFFER_INIT;
    buffer_printf(&text, "%s ", title);
    render_cell(&text, key);
    enum relata_type type = relata_value_type(answer);
    if (type != RELATA_TYPE_ARRAY && type != RELATA_TYPE_MAP) {
        buffer_printf(&text, ": ");
        render_cell(&text, answer);
    }
    buffer_byte(&text, '\n');
    int status = cli_print(&text);
    buffer_release(&text);
    if (status == CLI_DONE && type == RELATA_TYPE_ARRAY) {
        status = cli_print_list(cli, answer);
    } else if (status == CLI_DONE && type == RELATA_TYPE_MAP) {
        status = cli_print_value(cli, answer);
    }
    return status;
}

static int print_loaded(const struct cli *cli, const struct args *args, struct relata_value keys,
                        struct relata_value answers)
{
    if (!cli_tables(cli)) {
        return print_loaded_lines(keys, answers, args->words[3]);
    }
    int status = CLI_DONE;
    struct relata_cursor key_cursor = relata_items(keys);
    struct relata_cursor cursor = relata_items(answers);
    struct relata_value key;
    struct relata_value answer;
    while (status == CLI_DONE && relata_next(&key_cursor, &key) && relata_next(&cursor, &answer)) {
        status = print_loaded_one(cli, args->words[1], key, answer);
    }
    return status;
}

static int write_keys(struct cli *cli, const struct args *args, struct buffer *out)
{
    struct catalog_resource resource;
    int status = cli_resource(cli, args->words[1], &resource);
    if (status != CLI_DONE) {
        return status;
    }
    size_t count;
    const char *fault = encode_keys(out, &resource.key, args->words[2], &count);
    catalog_resource_release(&resource);
    return fault == NULL ? CLI_DONE : cli_usage("%s: %s", args->words[2], fault);
}

/* One name is sent as a text, so that its related records come bare. */
static int write_loads(const struct args *args, struct buffer *out)
{
    const char *loads = args->words[3];
    if (strpbrk(loads, ",[{") == NULL) {
        write_text(out, loads);
        return CLI_DONE;
    }
    json_t *json = command_names("what to load", loads);
    if (json == NULL) {
        return CLI_USAGE;
    }
    encode_json(out, json);
    json_decref(json);
    return CLI_DONE;
}

int load_run(struct cli *cli, struct args *args)
{
    struct parts parts = {0};
    struct relata_reply *reply;
    int status = command_load_options(args, &parts.options);
    status = status == CLI_DONE ? write_loads(args, &parts.second) : status;
    status = status == CLI_DONE ? write_keys(cli, args, &parts.first) : status;
    status = status == CLI_DONE ? call_parts(cli, "load", &parts, args->words[1], &reply) : status;
    if (status == CLI_DONE) {
        status = print_loaded(cli, args, cli_value(&parts.first), relata_reply_value(reply));
        relata_reply_free(reply);
    }
    release_parts(&parts);
    return status;
}

/* --- read, count ------------------------------------------------------------------------ */

static int query_run(struct cli *cli, struct args *args, const char *method)
{
    struct parts parts = {0};
    struct relata_reply *reply;
    int status = command_query(args, args->count > 2 ? args->words[2] : NULL, &parts.first);
    status = status == CLI_DONE ? command_plain_options(args, &parts.options) : status;
    status = status == CLI_DONE ? call_parts(cli, method, &parts, args->words[1], &reply) : status;
    if (status == CLI_DONE) {
        struct relata_value answer = relata_reply_value(reply);
        bool is_list = relata_value_type(answer) == RELATA_TYPE_ARRAY;
        status = is_list ? cli_print_list(cli, answer) : cli_print_value(cli, answer);
        relata_reply_free(reply);
    }
    release_parts(&parts);
    return status;
}

int read_run(struct cli *cli, struct args *args)
{
    return query_run(cli, args, "read");
}

int count_run(struct cli *cli, struct args *args)
{
    return query_run(cli, args, "count");
}

/* --- Writes ------------------------------------------------------------------------------- */

/* The record, or the changes, in a word. */
static int write_record(struct cli *cli, const struct args *args, size_t word, struct buffer *out)
{
    struct catalog_resource resource;
    json_t *record = cli_json("the record", args->words[word]);
    if (record == NULL) {
        return CLI_USAGE;
    }
    if (!json_is_object(record)) {
        json_decref(record);
        return cli_usage("a record is a JSON object, as in '{\"name\": \"Ann\"}'");
    }
    int status = cli_resource(cli, args->words[1], &resource);
    if (status == CLI_DONE) {
        const char *field = encode_record(out, &resource, record, false);
        status = field == NULL ? CLI_DONE : cli_usage("%s: the text is no base64", field);
        catalog_resource_release(&resource);
    }
    json_decref(record);
    return status;
}

static int write_run(struct cli *cli, struct args *args, const char *method, bool has_key)
{
    struct parts parts = {0};
    struct relata_reply *reply;
    struct buffer *record = has_key ? &parts.second : &parts.first;
    int status = command_options(args, &parts.options);
    status = status == CLI_DONE && has_key ? write_key(cli, args, &parts.first) : status;
    status = status == CLI_DONE ? write_record(cli, args, has_key ? 3 : 2, record) : status;
    status = status == CLI_DONE ? call_parts(cli, method, &parts, args->words[1], &reply) : status;
    if (status == CLI_DONE) {
        status = cli_print_value(cli, relata_reply_value(reply));
        relata_reply_free(reply);
    }
    release_parts(&parts);
    return status;
}

int create_run(struct cli *cli, struct args *args)
{
    return write_run(cli, args, "create", false);
}

int upsert_run(struct cli *cli, struct args *args)
{
    return write_run(cli, args, "upsert", false);
}

int update_run(struct cli *cli, struct args *args)
{
    return write_run(cli, args, "update", true);
}

int destroy_run(struct cli *cli, struct args *args)
{
    struct parts parts = {0};
    struct relata_reply *reply;
    int status = command_options(args, &parts.options);
    status = status == CLI_DONE ? write_key(cli, args, &parts.first) : status;
    status =
        status == CLI_DONE ? call_parts(cli, "destroy", &parts, args->words[1], &reply) : status;
    if (status == CLI_DONE) {
        status = cli_print_value(cli, relata_reply_value(reply));
        relata_reply_free(reply);
    }
    release_parts(&parts);
    return status;
}

/* --- The rest ------------------------------------------------------------------------------- */

static int print_answer(struct cli *cli, const char *method, const struct relata_value *values,
                        size_t count)
{
    struct relata_reply *reply;
    int status = cli_call(cli, method, values, count, &reply);
    if (status != CLI_DONE) {
        return status;
    }
    struct relata_value answer = relata_reply_value(reply);
    /* A list of records is shown as what read answers. */
    bool is_list = relata_value_type(relata_value_at(answer, 0)) == RELATA_TYPE_MAP;
    status = is_list ? cli_print_list(cli, answer) : cli_print_value(cli, answer);
    relata_reply_free(reply);
    return status;
}

int ping_run(struct cli *cli, struct args *args)
{
    (void)args;
    return print_answer(cli, "ping", NULL, 0);
}

int invalidate_run(struct cli *cli, struct args *args)
{
    struct buffer name = BUFFER_INIT;
    struct buffer keys = BUFFER_INIT;
    char resource_name[CATALOG_NAME_MAX];
    struct catalog_resource resource;
    int status = CLI_DONE;
    if (args->count > 2) {
        snprintf(resource_name, sizeof(resource_name), "%.*s", (int)strcspn(args->words[1], "."),
                 args->words[1]);
        status = cli_resource(cli, resource_name, &resource);
    }
    if (args->count > 2 && status == CLI_DONE) {
        size_t count;
        const char *fault = encode_keys(&keys, &resource.key, args->words[2], &count);
        status = fault == NULL ? CLI_DONE : cli_usage("%s: %s", args->words[2], fault);
        catalog_resource_release(&resource);
    }
    if (status == CLI_DONE) {
        const struct relata_value values[] = {text_value(&name, args->words[1]), cli_value(&keys)};
        status = print_answer(cli, "invalidate", values, 2);
    }
    buffer_release(&name);
    buffer_release(&keys);
    return status;
}

/* On a connection of its own, which waits for long where nobody says how long. */
int reindex_run(struct cli *cli, struct args *args)
{
    enum { WEEK_MS = 7 * 24 * 3600 * 1000 };
    struct buffer name = BUFFER_INIT;
    struct cli own = *cli;
    own.client = NULL;
    own.schema = NULL;
    own.timeout_ms = args_has(args, ARGS_TIMEOUT) ? cli->timeout_ms : WEEK_MS;
    const struct relata_value values[] = {text_value(&name, args->words[1])};
    int status = print_answer(&own, "reindex", values, 1);
    cli_release(&own);
    buffer_release(&name);
    return status;
}

/* A param that is no JSON is a text, so that names need no quotes in quotes. */
static void write_param(struct buffer *out, const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (json == NULL) {
        write_text(out, text);
    } else {
        encode_json(out, json);
        json_decref(json);
    }
}

int call_run(struct cli *cli, struct args *args)
{
    struct buffer params[ARGS_WORDS_MAX] = {{0}};
    struct relata_value values[ARGS_WORDS_MAX] = {{NULL, 0}};
    size_t count = args->count - 2;
    for (size_t i = 0; i < count; i++) {
        write_param(&params[i], args->words[i + 2]);
        values[i] = cli_value(&params[i]);
    }
    int status = print_answer(cli, args->words[1], values, count);
    for (size_t i = 0; i < count; i++) {
        buffer_release(&params[i]);
    }
    return status;
}

#include "clients/cli/cli.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/commands.h"
#include "clients/cli/prompt.h"

enum { TIMEOUT_MS = 30000 };

void cli_init(struct cli *cli)
{
    *cli = (struct cli){.timeout_ms = TIMEOUT_MS, .token = getenv("RELATA_TOKEN")};
}

static void disconnect(struct cli *cli)
{
    relata_close(cli->client);
    relata_reply_free(cli->schema);
    cli->client = NULL;
    cli->schema = NULL;
}

void cli_release(struct cli *cli)
{
    disconnect(cli);
}

/* --- What is wrong ---------------------------------------------------------------- */

int cli_fail(const struct relata_error *error)
{
    fprintf(stderr, "relata: %s: %s\n", relata_code_text((int)error->code), error->message);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("relata: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return CLI_USAGE;
}

json_t *cli_json(const char *what, const char *text)
{
    json_error_t fault;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (json == NULL) {
        cli_usage("%s is no JSON: %s, at %d", what, fault.text, fault.column);
    }
    return json;
}

/* --- The connection ----------------------------------------------------------------- */

int cli_connect(struct cli *cli)
{
    if (cli->client != NULL && relata_alive(cli->client)) {
        return CLI_DONE;
    }
    disconnect(cli);
    struct relata_options options = RELATA_OPTIONS_INIT;
    options.client = "relata";
    options.token = cli->token;
    options.call_ms = cli->timeout_ms;
    struct relata_error error;
    if (relata_connect(cli->address, &options, &cli->client, &error) != 0) {
        return cli_fail(&error);
    }
    return CLI_DONE;
}

struct relata_value cli_value(const struct buffer *buffer)
{
    return buffer->size > 0 ? (struct relata_value){buffer->bytes, buffer->size} : RELATA_NONE;
}

int cli_call(struct cli *cli, const char *method, const struct relata_value *values, size_t count,
             struct relata_reply **reply)
{
    int status = cli_connect(cli);
    if (status != CLI_DONE) {
        return status;
    }
    while (count > 0 && values[count - 1].bytes == NULL) {
        count--;
    }
    struct relata_params *params = relata_params_create();
    for (size_t i = 0; i < count; i++) {
        relata_params_value(params, values[i]);
    }
    struct relata_error error;
    int code = relata_call(cli->client, method, params, reply, &error);
    relata_params_free(params);
    return code == 0 ? CLI_DONE : cli_fail(&error);
}

int cli_resource(struct cli *cli, const char *name, struct catalog_resource *resource)
{
    if (cli->schema == NULL || !relata_alive(cli->client)) {
        relata_reply_free(cli->schema);
        cli->schema = NULL;
        struct relata_reply *schema;
        int status = cli_call(cli, "schema", NULL, 0, &schema);
        if (status != CLI_DONE) {
            return status;
        }
        cli->schema = schema;
    }
    catalog_resource_init(resource, relata_reply_value(cli->schema), name);
    return CLI_DONE;
}

/* --- Running ------------------------------------------------------------------------ */

/* The flags that every command has. */
static int take_common(struct cli *cli, struct args *args)
{
    if (!args_number(args, ARGS_TIMEOUT, &cli->timeout_ms)) {
        return cli_usage("%s", args->fault);
    }
    if (args_has(args, ARGS_JSON) && args_has(args, ARGS_TABLE)) {
        return cli_usage("--json and --table exclude each other");
    }
    if (args_has(args, ARGS_ADDRESS)) {
        cli->address = args->values[ARGS_ADDRESS];
    }
    if (args_has(args, ARGS_TOKEN)) {
        cli->token = args->values[ARGS_TOKEN];
    }
    if (args_has(args, ARGS_JSON)) {
        cli->format = CLI_JSON;
    } else if (args_has(args, ARGS_TABLE)) {
        cli->format = CLI_TABLE;
    }
    return CLI_DONE;
}

static int run_args(struct cli *cli, struct args *args)
{
    const struct command *command = command_find(args->words[0]);
    if (command == NULL) {
        return command_unknown(args->words[0]);
    }
    if (args_has(args, ARGS_HELP)) {
        return command_help(command);
    }
    int status = command_check(command, args);
    return status == CLI_DONE ? command->run(cli, args) : status;
}

int cli_run(struct cli *cli, const char *const *words, size_t count)
{
    struct args args;
    if (!args_parse(&args, words, count)) {
        return cli_usage("%s", args.fault);
    }
    if (args.count == 0) {
        return args_has(&args, ARGS_HELP) ? commands_help() : CLI_DONE;
    }
    if (args_has(&args, ARGS_ADDRESS) || args_has(&args, ARGS_TOKEN) ||
        args_has(&args, ARGS_TIMEOUT)) {
        return cli_usage("--address, --token and --timeout stand where relata is called, "
                         "before there is a prompt");
    }
    /* The format holds for this command alone. */
    enum cli_format format = cli->format;
    int status = take_common(cli, &args);
    if (status == CLI_DONE) {
        status = run_args(cli, &args);
    }
    cli->format = format;
    return status;
}

/* Widths of characters need a locale that knows UTF-8. */
static void set_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
}

int cli_main(int argc, char **argv)
{
    set_locale();
    struct args args;
    if (!args_parse(&args, (const char *const *)argv + 1, argc > 0 ? (size_t)argc - 1 : 0)) {
        return cli_usage("%s", args.fault);
    }
    if (args_has(&args, ARGS_VERSION)) {
        printf("relata %s\n", relata_version());
        return CLI_DONE;
    }
    if (args.count == 0 && args_has(&args, ARGS_HELP)) {
        return commands_help();
    }
    struct cli cli;
    cli_init(&cli);
    int status = take_common(&cli, &args);
    if (status == CLI_DONE) {
        status = args.count > 0 ? run_args(&cli, &args) : prompt_run(&cli);
    }
    cli_release(&cli);
    return status;
}

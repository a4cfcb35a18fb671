#include "clients/cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/nearest.h"

#define F(name) (UINT64_C(1) << ARGS_##name)

static const struct command commands[] = {
    {"get", "RESOURCE KEY", "the record with that key",
     "A composite key is a JSON array, as in '[1,2]'.", 2, 2,
     F(SELECT) | F(LOAD) | F(IDENTITY) | F(OPTIONS), get_run},
    {"read", "RESOURCE [FILTER]", "the records for which the filter holds",
     "As in: relata read ticket 'status == \"open\"' --sort -priority --limit 5", 1, 2,
     F(SORT) | F(LIMIT) | F(OFFSET) | F(SELECT) | F(LOAD) | F(PARAMS) | F(QUERY) | F(OPTIONS),
     read_run},
    {"count", "RESOURCE [FILTER]", "how many records there are", NULL, 1, 2,
     F(PARAMS) | F(QUERY) | F(OPTIONS), count_run},
    {"load", "RESOURCE KEY,KEY... RELATIONSHIP", "the related records of each key",
     "Several relationships: names with commas between, or JSON. Several keys may be\n"
     "a JSON array too. --query is for a single relationship.",
     3, 3, F(QUERY) | F(OPTIONS), load_run},
    {"create", "RESOURCE JSON", "write a new record",
     "As in: relata create team '{\"id\": 1, \"name\": \"night\"}'", 2, 2,
     F(SELECT) | F(LOAD) | F(OPTIONS), create_run},
    {"update", "RESOURCE KEY JSON", "change fields of a record",
     "As in: relata update ticket 7 '{\"status\": \"closed\"}' --if 'status == \"open\"'", 3, 3,
     F(IF) | F(PARAMS) | F(SELECT) | F(LOAD) | F(OPTIONS), update_run},
    {"upsert", "RESOURCE JSON", "write a record, new or not", NULL, 2, 2,
     F(IDENTITY) | F(IF) | F(PARAMS) | F(SELECT) | F(LOAD) | F(OPTIONS), upsert_run},
    {"destroy", "RESOURCE KEY", "remove a record", NULL, 2, 2, F(IF) | F(PARAMS) | F(OPTIONS),
     destroy_run},
    {"invalidate", "RESOURCE[.RELATIONSHIP] [KEY,KEY...]", "drop what is cached", NULL, 1, 2, 0,
     invalidate_run},
    {"reindex", "RESOURCE", "build its indexes and identities in Redis",
     "For data that was there before: of a resource with writers: relata. It takes as long\n"
     "as it takes, and goes on in the daemon where --timeout, or Ctrl-C, ends the waiting.",
     1, 1, 0, reindex_run},
    {"import", "RESOURCE FILE", "write the records of a file (- for standard input)",
     "The file has a JSON object a line, or one JSON array of objects, or one object\n"
     "whose only list is that of the records.",
     2, 2, F(UPSERT) | F(ONLY_KNOWN) | F(RENAME) | F(BATCH), import_run},
    {"export", "RESOURCE [FILTER]", "print all records as JSON lines, by primary key", NULL, 1, 2,
     F(PARAMS) | F(SELECT) | F(PAGE), export_run},
    {"stats", "", "the daemon's counters", NULL, 0, 0, 0, stats_run},
    {"schema", "[RESOURCE]", "what the daemon holds", NULL, 0, 1, 0, schema_run},
    {"types", "[NAME]", "what the daemon holds, as types of a language",
     "With --ts as an interface (NAME, else Schema) for connect<Schema>() of the client\n"
     "for Node, with --python as a TypedDict for each resource.",
     0, 1, F(TS) | F(PYTHON), types_run},
    {"ping", "", "whether the daemon is there", NULL, 0, 0, 0, ping_run},
    {"call", "METHOD [JSON...]", "any method, with its params as they are",
     "A param that is no JSON is a text. As in: relata call get ticket 7", 1, ARGS_WORDS_MAX - 1, 0,
     call_run},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static const uint64_t common_flags =
    F(ADDRESS) | F(TOKEN) | F(TIMEOUT) | F(JSON) | F(TABLE) | F(HELP);

const struct command *command_at(size_t place)
{
    return place < COMMAND_COUNT ? &commands[place] : NULL;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

int command_unknown(const char *name)
{
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        nearest_offer(&nearest, commands[i].name);
    }
    if (nearest.best != NULL) {
        return cli_usage("there is no command \"%s\", did you mean %s?", name, nearest.best);
    }
    return cli_usage("there is no command \"%s\"; relata --help lists them", name);
}

int command_check(const struct command *command, const struct args *args)
{
    size_t words = args->count - 1;
    if (words < command->words_min || words > command->words_max) {
        return cli_usage("usage: relata %s %s", command->name, command->words);
    }
    for (int flag = 0; flag < ARGS_COUNT; flag++) {
        bool is_taken = ((command->flags | common_flags) >> flag & 1) != 0;
        if (args_has(args, (enum args_flag)flag) && !is_taken) {
            return cli_usage("%s does not take --%s; relata %s --help tells what it takes",
                             command->name, args_name((enum args_flag)flag), command->name);
        }
    }
    return CLI_DONE;
}

static void print_flags(uint64_t taken)
{
    for (int i = 0; i < ARGS_COUNT; i++) {
        enum args_flag flag = (enum args_flag)i;
        if ((taken >> i & 1) == 0) {
            continue;
        }
        char left[40];
        const char *value = args_value_name(flag);
        snprintf(left, sizeof(left), "--%s%s%s", args_name(flag), value != NULL ? " " : "",
                 value != NULL ? value : "");
        printf("  %-20s %s\n", left, args_explanation(flag));
    }
}

int command_help(const struct command *command)
{
    printf("relata %s %s\n\n%s.\n", command->name, command->words, command->explanation);
    if (command->more != NULL) {
        printf("%s\n", command->more);
    }
    printf("\n");
    print_flags(command->flags | common_flags);
    return CLI_DONE;
}

int commands_help(void)
{
    printf("relata [OPTIONS] COMMAND ...     alone: a prompt, or commands from standard input\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-10s %-36s %s\n", commands[i].name, commands[i].words, commands[i].explanation);
    }
    printf("\n");
    print_flags(common_flags | F(VERSION));
    return CLI_DONE;
}

#ifndef RELATA_CLIENTS_CLI_CLI_H
#define RELATA_CLIENTS_CLI_CLI_H

/* One run of the command line client: its connection, what it knows of the
 * schema, and how it prints. Commands are in commands.h; what they share is
 * here. Functions that answer an exit status have said on standard error what
 * was wrong. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/relata.h"
#include "clients/cli/args.h"
#include "clients/cli/catalog.h"
#include "protocol/base/buffer.h"

enum cli_status { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* CLI_AUTO: tables on a terminal, JSON elsewhere. */
enum cli_format { CLI_AUTO, CLI_JSON, CLI_TABLE };

struct cli {
    const char *address; /* NULL: as relata_connect takes it */
    const char *token;
    uint64_t timeout_ms;
    enum cli_format format;
    struct relata_client *client; /* NULL while not connected */
    struct relata_reply *schema;  /* NULL while not asked for */
};

void cli_init(struct cli *cli);
void cli_release(struct cli *cli);

/* Runs the program: one command, or the prompt. */
int cli_main(int argc, char **argv);

/* Runs one command of its words, as often as one likes. */
int cli_run(struct cli *cli, const char *const *words, size_t count);

/* Connects where it is not connected (any more). */
int cli_connect(struct cli *cli);

/* Says what is wrong; answers CLI_FAILED, CLI_USAGE. */
int cli_fail(const struct relata_error *error);
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What the daemon says of a resource, in the way of catalog_resource_init; asks
 * once. */
int cli_resource(struct cli *cli, const char *name, struct catalog_resource *resource);

/* Calls a method. `values` are in the order of the params; those at the end
 * that are RELATA_NONE are left out. */
int cli_call(struct cli *cli, const char *method, const struct relata_value *values, size_t count,
             struct relata_reply **reply);

/* The value that a buffer holds; RELATA_NONE where it is empty. */
struct relata_value cli_value(const struct buffer *buffer);

/* JSON of a flag or word; NULL after it has said what is wrong with it. */
json_t *cli_json(const char *what, const char *text);

/* Whether tables are printed. */
bool cli_tables(const struct cli *cli);

/* A list of records: a table with their number below, or a line of JSON each.
 * A nil stands for what is not there. */
int cli_print_list(const struct cli *cli, struct relata_value list);
/* Anything else: a record as a table of one row, other values as JSON. */
int cli_print_value(const struct cli *cli, struct relata_value value);
/* Prints and empties the buffer; CLI_FAILED where standard output took not all. */
int cli_print(struct buffer *text);

/* How wide tables may be. */
size_t cli_width(void);

#endif

#ifndef RELATA_CLIENTS_CLI_COMMANDS_H
#define RELATA_CLIENTS_CLI_COMMANDS_H

/* The commands, as a table: names, what each takes, and its explanation. */

#include <stddef.h>
#include <stdint.h>

#include "clients/cli/cli.h"

struct command {
    const char *name;
    const char *words;       /* for people: "RESOURCE KEY" */
    const char *explanation; /* one line */
    const char *more;        /* further lines, or NULL */
    size_t words_min;        /* without the name */
    size_t words_max;
    uint64_t flags; /* those that it takes, 1 << enum args_flag */
    int (*run)(struct cli *cli, struct args *args);
};

/* NULL where there is none. */
const struct command *command_find(const char *name);
/* The command at a place; NULL after the last. */
const struct command *command_at(size_t place);

/* Says that there is none, with what was meant perhaps. */
int command_unknown(const char *name);

/* Whether the words and flags are such as it takes. */
int command_check(const struct command *command, const struct args *args);

int command_help(const struct command *command);
int commands_help(void);

/* What they do. Each answers an exit status. */
int get_run(struct cli *cli, struct args *args);
int load_run(struct cli *cli, struct args *args);
int read_run(struct cli *cli, struct args *args);
int count_run(struct cli *cli, struct args *args);
int create_run(struct cli *cli, struct args *args);
int upsert_run(struct cli *cli, struct args *args);
int update_run(struct cli *cli, struct args *args);
int destroy_run(struct cli *cli, struct args *args);
int ping_run(struct cli *cli, struct args *args);
int invalidate_run(struct cli *cli, struct args *args);
int reindex_run(struct cli *cli, struct args *args);
int call_run(struct cli *cli, struct args *args);
int import_run(struct cli *cli, struct args *args);
int export_run(struct cli *cli, struct args *args);
int stats_run(struct cli *cli, struct args *args);
int schema_run(struct cli *cli, struct args *args);
int types_run(struct cli *cli, struct args *args);

/* --- What several commands build ---------------------------------------------------- */

/* A list of names from `a,b`, or JSON where it begins with [ or {. NULL after it
 * has said what is wrong. */
json_t *command_names(const char *what, const char *text);

/* The query of the flags and a filter (which may be NULL), and the options of
 * the flags: empty where nothing was given. */
int command_query(const struct args *args, const char *filter, struct buffer *out);
int command_options(const struct args *args, struct buffer *out);
/* The options beside a query, which has select, load and params itself; and
 * those of a load, with the query of --query. */
int command_plain_options(const struct args *args, struct buffer *out);
int command_load_options(const struct args *args, struct buffer *out);

#endif

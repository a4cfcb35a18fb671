#include "daemon/arguments.h"

#include <getopt.h>
#include <string.h>

#include "protocol/base/code.h"
#include "protocol/base/nearest.h"

const char arguments_help[] =
    "Usage: relatad [--config FILE] [--schema FILE] [--listen ADDRESS]...\n"
    "\n"
    "Holds typed records and answers coalesced relationship loads to the processes\n"
    "of this host, over MessagePack-RPC.\n"
    "\n"
    "  --config FILE     the configuration, relata.yaml (RELATA_CONFIG)\n"
    "  --schema FILE     the schema, enough alone (RELATA_SCHEMA)\n"
    "  --listen ADDRESS  unix:PATH or tcp:HOST:PORT, repeatable (RELATA_LISTEN, with\n"
    "                    commas); default unix:/run/relata/relata.sock\n"
    "  --check           check configuration and schema, and exit: 0 when all is well\n"
    "  --version         print the version and exit\n"
    "  --help            print this and exit\n"
    "\n"
    "Flags go over the environment, that over the configuration. RELATA_LOG_LEVEL is\n"
    "debug, info, warning or error, RELATA_LOG_FORMAT logfmt or json.\n"
    "\n"
    "SIGHUP reads schema, limits and log settings again; SIGTERM and SIGINT finish\n"
    "what is under way, and end.\n";

enum flag { FLAG_CONFIG = 256, FLAG_SCHEMA, FLAG_LISTEN, FLAG_CHECK, FLAG_VERSION, FLAG_HELP };

static const struct option flags[] = {{"config", required_argument, NULL, FLAG_CONFIG},
                                      {"schema", required_argument, NULL, FLAG_SCHEMA},
                                      {"listen", required_argument, NULL, FLAG_LISTEN},
                                      {"check", no_argument, NULL, FLAG_CHECK},
                                      {"version", no_argument, NULL, FLAG_VERSION},
                                      {"help", no_argument, NULL, FLAG_HELP},
                                      {NULL, 0, NULL, 0}};

static void add_listen(struct arguments *arguments, const char *text, size_t size, const char *from,
                       struct buffer *faults)
{
    if (arguments->listen_count == ARGUMENTS_LISTEN_MAX) {
        buffer_printf(faults, "%s: at most %d addresses are taken\n", from, ARGUMENTS_LISTEN_MAX);
        return;
    }
    arguments->listen[arguments->listen_count] = (struct argument){.text = text, .from = from};
    arguments->listen_sizes[arguments->listen_count++] = size;
}

static void read_flag(struct arguments *arguments, int flag, const char *value,
                      struct buffer *faults)
{
    switch ((enum flag)flag) {
    case FLAG_CONFIG:
        arguments->config = (struct argument){value, "--config"};
        break;
    case FLAG_SCHEMA:
        arguments->schema = (struct argument){value, "--schema"};
        break;
    case FLAG_LISTEN:
        add_listen(arguments, value, strlen(value), "--listen", faults);
        break;
    case FLAG_CHECK:
        arguments->check = true;
        break;
    case FLAG_VERSION:
        arguments->version = true;
        break;
    case FLAG_HELP:
        arguments->help = true;
        break;
    }
}

/* A flag that there is not, with the nearest that there is. */
static void unknown_flag(const char *argument, struct buffer *faults)
{
    size_t size = strcspn(argument, "=");
    struct nearest nearest;
    nearest_init(&nearest, argument, size);
    nearest.word += size > 2 ? 2 : 0;
    nearest.word_size -= size > 2 ? 2 : 0;
    for (const struct option *flag = flags; flag->name != NULL; flag++) {
        nearest_offer(&nearest, flag->name);
    }
    if (nearest.best != NULL) {
        buffer_printf(faults, "%.*s: there is no such flag; did you mean --%s?\n", (int)size,
                      argument, nearest.best);
    } else {
        buffer_printf(faults, "%.*s: there is no such flag; --help tells them\n", (int)size,
                      argument);
    }
}

static void read_flags(struct arguments *arguments, int argc, char *argv[], struct buffer *faults)
{
    opterr = 0;
    optind = 0; /* GNU: begin anew */
    for (;;) {
        int at = optind > 0 ? optind : 1;
        int flag = getopt_long(argc, argv, "+:", flags, NULL);
        if (flag < 0) {
            break;
        }
        if (flag == ':') {
            buffer_printf(faults, "%s: needs a value\n", argv[at]);
        } else if (flag == '?' && optopt >= FLAG_CHECK) {
            buffer_printf(faults, "%s: takes no value\n", argv[at]);
        } else if (flag == '?') {
            unknown_flag(argv[at], faults);
        } else {
            read_flag(arguments, flag, optarg, faults);
        }
    }
    for (int i = optind; i < argc; i++) {
        buffer_printf(faults, "%s: only flags are taken; --help tells them\n", argv[i]);
    }
}

static void from_environment(struct argument *value, const char *name,
                             const char *(*environment)(const char *name))
{
    const char *text = environment(name);
    if (value->text == NULL && text != NULL && text[0] != '\0') {
        *value = (struct argument){text, name};
    }
}

int arguments_read(struct arguments *arguments, int argc, char *argv[],
                   const char *(*environment)(const char *name), struct buffer *faults)
{
    *arguments = (struct arguments){0};
    read_flags(arguments, argc, argv, faults);
    from_environment(&arguments->config, "RELATA_CONFIG", environment);
    from_environment(&arguments->schema, "RELATA_SCHEMA", environment);
    from_environment(&arguments->log_level, "RELATA_LOG_LEVEL", environment);
    from_environment(&arguments->log_format, "RELATA_LOG_FORMAT", environment);
    struct argument listen = {0};
    from_environment(&listen, "RELATA_LISTEN", environment);
    if (listen.text != NULL && arguments->listen_count == 0) {
        for (const char *at = listen.text;; at++) {
            size_t size = strcspn(at, ",");
            add_listen(arguments, at, size, listen.from, faults);
            at += size;
            if (*at == '\0') {
                break;
            }
        }
    }
    return faults->size > 0 ? -(int)CODE_INVALID_REQUEST : 0;
}

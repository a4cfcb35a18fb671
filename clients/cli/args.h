#ifndef RELATA_CLIENTS_CLI_ARGS_H
#define RELATA_CLIENTS_CLI_ARGS_H

/* The words of one command taken apart: flags with their values, and what
 * stands alone. A word that begins with -- is a flag (`--name value` or
 * `--name=value`), anywhere; -h is --help; after a lone -- nothing is a flag. A
 * single dash begins no flag, so that -5 is a key and -priority a sort. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, text, what its value is called (NULL: it takes none), explanation */
#define ARGS_FLAGS(X)                                                                     \
    X(ADDRESS, "address", "ADDRESS", "unix:PATH or tcp:HOST:PORT (RELATA_ADDRESS)")       \
    X(TOKEN, "token", "TOKEN", "who is asking, where the daemon wants it (RELATA_TOKEN)") \
    X(TIMEOUT, "timeout", "MS", "milliseconds to wait for an answer (30000)")             \
    X(JSON, "json", NULL, "JSON lines, also on a terminal")                               \
    X(TABLE, "table", NULL, "tables, also into a pipe")                                   \
    X(HELP, "help", NULL, "what this command takes")                                      \
    X(VERSION, "version", NULL, "the version of this program")                            \
    X(SORT, "sort", "SORT", "as in -priority,name: descending by priority, then by name") \
    X(LIMIT, "limit", "N", "answer N at most")                                            \
    X(OFFSET, "offset", "N", "pass over the first N")                                     \
    X(SELECT, "select", "FIELDS", "only these fields, as in id,name")                     \
    X(LOAD, "load", "LOADS", "relationships: names with commas between, or JSON")         \
    X(PARAMS, "params", "JSON", "values for the $names in a filter")                      \
    X(QUERY, "query", "JSON", "the whole query, or what a load asks for")                 \
    X(IDENTITY, "identity", "NAME", "the identity that the key belongs to")               \
    X(IF, "if", "FILTER", "write only where this holds of the stored record")             \
    X(OPTIONS, "options", "JSON", "further options of the call")                          \
    X(UPSERT, "upsert", NULL, "change the records that are there already")                \
    X(ONLY_KNOWN, "only-known", NULL, "leave out fields that the resource does not have") \
    X(RENAME, "rename", "NAMES", "OLD=NEW,...: call fields of the file by other names")   \
    X(BATCH, "batch", "N", "records in one call (10000, or what the daemon allows)")      \
    X(PAGE, "page", "N", "records in one call (as many as make 16 MiB)")                  \
    X(TS, "ts", NULL, "types for TypeScript")                                             \
    X(PYTHON, "python", NULL, "types for Python")

enum args_flag {
#define X(name, text, value, explanation) ARGS_##name,
    ARGS_FLAGS(X)
#undef X
        ARGS_COUNT
};

enum { ARGS_WORDS_MAX = 128 };

struct args {
    const char *values[ARGS_COUNT]; /* NULL: not given; "" for those without a value */
    const char *words[ARGS_WORDS_MAX];
    size_t count;
    char fault[200]; /* what is wrong, after args_parse was false */
};

/* Keeps the pointers of `words`. */
bool args_parse(struct args *args, const char *const *words, size_t count);

static inline bool args_has(const struct args *args, enum args_flag flag)
{
    return args->values[flag] != NULL;
}

/* An unsigned number; false (and `fault`) where the value is none. Leaves *out
 * where the flag was not given. */
bool args_number(struct args *args, enum args_flag flag, uint64_t *out);

const char *args_name(enum args_flag flag);
const char *args_value_name(enum args_flag flag);
const char *args_explanation(enum args_flag flag);

#endif

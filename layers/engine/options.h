#ifndef RELATA_LAYERS_ENGINE_OPTIONS_H
#define RELATA_LAYERS_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* The last parameter of every method: a map of options. Each method takes some
 * of them; others are refused by name, never ignored. */
#define RELATA_OPTIONS(X)       \
    X(SELECT, "select")         \
    X(LOAD, "load")             \
    X(IDENTITY, "identity")     \
    X(ACTOR, "actor")           \
    X(AUTHORIZE, "authorize")   \
    X(TENANT, "tenant")         \
    X(IF, "if")                 \
    X(PARAMS, "params")         \
    X(TIMEOUT_MS, "timeout_ms") \
    X(FRESH, "fresh")           \
    X(SHAPE, "shape")           \
    X(BATCH, "batch")           \
    X(QUERY, "query")           \
    X(CLIENT, "client")         \
    X(TOKEN, "token")           \
    X(ERRORS, "errors")         \
    X(MAX_SIZE, "max_size")     \
    X(MAX_IN_FLIGHT, "max_in_flight")

enum option {
#define X(name, text) OPTION_##name,
    RELATA_OPTIONS(X)
#undef X
        OPTION_COUNT
};

#define OPTION_BIT(name) (1u << OPTION_##name)

/* Where each given option's value stands; `at` has no bytes where it is not
 * given or nil, which means the same. */
struct options {
    struct reader at[OPTION_COUNT];
};

static inline bool options_given(const struct options *options, enum option option)
{
    return options->at[option].at != NULL;
}

/* Reads an options map (nil is an empty one) of a method that takes the options
 * in the bits `allowed`. 0, or -CODE_INVALID_REQUEST naming the option. */
int options_read(struct reader *in, uint32_t allowed, const char *method, struct options *out,
                 struct error *error);

/* Values of plain options; `fallback` where not given. */
int options_boolean(const struct options *options, enum option option, bool fallback, bool *out,
                    struct error *error);
/* A text that is one of `words` (NULL-terminated list): its index; 0 where not given. */
int options_word(const struct options *options, enum option option, const char *const *words,
                 unsigned *out, struct error *error);

#endif

#include "layers/engine/options.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/nearest.h"

static const char *const option_names[OPTION_COUNT] = {
#define X(name, text) [OPTION_##name] = text,
    RELATA_OPTIONS(X)
#undef X
};

static int option_find(const char *name, size_t size)
{
    for (int option = 0; option < OPTION_COUNT; option++) {
        if (strlen(option_names[option]) == size && memcmp(option_names[option], name, size) == 0) {
            return option;
        }
    }
    return -1;
}

static int unknown_option(const char *name, size_t size, uint32_t allowed, const char *method,
                          struct error *error)
{
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    for (int option = 0; option < OPTION_COUNT; option++) {
        if (allowed & (1u << option)) {
            nearest_offer(&nearest, option_names[option]);
        }
    }
    int shown = size > 64 ? 64 : (int)size;
    return error_set(error, CODE_INVALID_REQUEST, "%s: unknown option %.*s%s%s%s", method, shown,
                     name, nearest.best != NULL ? ", did you mean " : "",
                     nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "?" : "");
}

static int read_one(struct reader *in, uint32_t allowed, const char *method, struct options *out,
                    uint32_t *seen, struct error *error)
{
    size_t size = 0;
    const char *name = reader_name(in, &size);
    if (name == NULL) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: expected names of options as keys",
                         method);
    }
    int option = option_find(name, size);
    if (option < 0) {
        return unknown_option(name, size, allowed, method, error);
    }
    if ((allowed & (1u << option)) == 0) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: the option %s means nothing here",
                         method, option_names[option]);
    }
    if (*seen & (1u << option)) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: the option %s is given twice", method,
                         option_names[option]);
    }
    *seen |= 1u << option;
    bool nil = reader_peek(in) == TOKEN_NIL;
    const uint8_t *value = NULL;
    size_t value_size = 0;
    if (!reader_value(in, &value, &value_size)) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: options are cut short", method);
    }
    if (!nil) {
        out->at[option] = reader_of(value, value_size);
    }
    return 0;
}

int options_read(struct reader *in, uint32_t allowed, const char *method, struct options *out,
                 struct error *error)
{
    *out = (struct options){0};
    struct token map = reader_next(in);
    if (map.kind == TOKEN_NIL) {
        return 0;
    }
    if (map.kind != TOKEN_MAP) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: options: expected a map, got %s", method,
                         token_describe(&map));
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < map.count; i++) {
        int status = read_one(in, allowed, method, out, &seen, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

int options_boolean(const struct options *options, enum option option, bool fallback, bool *out,
                    struct error *error)
{
    *out = fallback;
    if (!options_given(options, option)) {
        return 0;
    }
    struct reader in = options->at[option];
    struct token token = reader_next(&in);
    if (token.kind != TOKEN_BOOLEAN) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: expected true or false, got %s",
                         option_names[option], token_describe(&token));
    }
    *out = token.boolean;
    return 0;
}

int options_word(const struct options *options, enum option option, const char *const *words,
                 unsigned *out, struct error *error)
{
    *out = 0;
    if (!options_given(options, option)) {
        return 0;
    }
    struct reader in = options->at[option];
    size_t size = 0;
    const char *text = reader_name(&in, &size);
    for (unsigned i = 0; text != NULL && words[i] != NULL; i++) {
        if (strlen(words[i]) == size && memcmp(words[i], text, size) == 0) {
            *out = i;
            return 0;
        }
    }
    char expected[128] = "";
    for (unsigned i = 0; words[i] != NULL; i++) {
        size_t used = strlen(expected);
        snprintf(expected + used, sizeof expected - used, "%s\"%s\"", i > 0 ? " or " : "",
                 words[i]);
    }
    return error_set(error, CODE_INVALID_REQUEST, "%s: expected %s, got %s%.*s%s",
                     option_names[option], expected, text != NULL ? "\"" : "",
                     text == NULL ? 12
                     : size > 64  ? 64
                                  : (int)size,
                     text != NULL ? text : "another type", text != NULL ? "\"" : "");
}

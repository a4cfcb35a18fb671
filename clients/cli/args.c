#include "clients/cli/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/nearest.h"

struct flag {
    const char *name;
    const char *value_name;
    const char *explanation;
};

static const struct flag flags[ARGS_COUNT] = {
#define X(id, text, value, words) [ARGS_##id] = {(text), (value), (words)},
    ARGS_FLAGS(X)
#undef X
};

const char *args_name(enum args_flag flag)
{
    return flags[flag].name;
}

const char *args_value_name(enum args_flag flag)
{
    return flags[flag].value_name;
}

const char *args_explanation(enum args_flag flag)
{
    return flags[flag].explanation;
}

static int find_flag(const char *name, size_t size)
{
    for (int i = 0; i < ARGS_COUNT; i++) {
        if (strlen(flags[i].name) == size && memcmp(flags[i].name, name, size) == 0) {
            return i;
        }
    }
    return -1;
}

/* The flag of words[*at], with its value, which may be the next word. */
static bool parse_flag(struct args *args, const char *const *words, size_t count, size_t *at)
{
    const char *name = words[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals == NULL ? strlen(name) : (size_t)(equals - name);
    int flag = find_flag(name, size);
    if (flag < 0) {
        struct nearest nearest;
        nearest_init(&nearest, name, size);
        for (int i = 0; i < ARGS_COUNT; i++) {
            nearest_offer(&nearest, flags[i].name);
        }
        snprintf(args->fault, sizeof(args->fault), "there is no option --%.*s%s%s%s",
                 size < 100 ? (int)size : 100, name, nearest.best != NULL ? " (--" : "",
                 nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "?)" : "");
        return false;
    }
    if (flags[flag].value_name == NULL) {
        args->values[flag] = "";
        if (equals != NULL) {
            snprintf(args->fault, sizeof(args->fault), "--%s takes no value", flags[flag].name);
        }
        return equals == NULL;
    }
    if (equals == NULL && *at + 1 == count) {
        snprintf(args->fault, sizeof(args->fault), "--%s wants %s", flags[flag].name,
                 flags[flag].value_name);
        return false;
    }
    args->values[flag] = equals != NULL ? equals + 1 : words[++*at];
    return true;
}

bool args_parse(struct args *args, const char *const *words, size_t count)
{
    *args = (struct args){0};
    bool flags_end = false;
    for (size_t i = 0; i < count; i++) {
        const char *word = words[i];
        if (!flags_end && strcmp(word, "--") == 0) {
            flags_end = true;
        } else if (!flags_end && strcmp(word, "-h") == 0) {
            args->values[ARGS_HELP] = "";
        } else if (!flags_end && strncmp(word, "--", 2) == 0) {
            /* A sort may begin with -- too, but then it is a value. */
            if (!parse_flag(args, words, count, &i)) {
                return false;
            }
        } else if (args->count == ARGS_WORDS_MAX) {
            snprintf(args->fault, sizeof(args->fault), "more than %d words", ARGS_WORDS_MAX);
            return false;
        } else {
            args->words[args->count++] = word;
        }
    }
    return true;
}

bool args_number(struct args *args, enum args_flag flag, uint64_t *out)
{
    const char *text = args->values[flag];
    if (text == NULL) {
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0') {
        snprintf(args->fault, sizeof(args->fault), "--%s wants a number, \"%.100s\" came",
                 flags[flag].name, text);
        return false;
    }
    *out = number;
    return true;
}

#include "clients/cli/words.h"

#include <stdbool.h>
#include <string.h>

#include "protocol/base/heap.h"

static bool is_blank(char character)
{
    return character == ' ' || character == '\t' || character == '\n' || character == '\r';
}

/* Copies a word from *at to *to, without its quotes, and a zero after it. */
static const char *copy_word(const char **at, char **to)
{
    const char *from = *at;
    char *out = *to;
    char quote = '\0';
    for (; *from != '\0' && (quote != '\0' || !is_blank(*from)); from++) {
        if (quote == '\0' && (*from == '"' || *from == '\'')) {
            quote = *from;
        } else if (*from == quote) {
            quote = '\0';
        } else if (*from == '\\' && quote == '\0') {
            if (from[1] == '\0') {
                return "the line ends after a backslash";
            }
            *out++ = *++from;
        } else if (*from == '\\' && quote == '"' && (from[1] == '"' || from[1] == '\\')) {
            *out++ = *++from;
        } else {
            *out++ = *from;
        }
    }
    if (quote != '\0') {
        return quote == '"' ? "a \" has no end" : "a ' has no end";
    }
    *out++ = '\0';
    *at = from;
    *to = out;
    return NULL;
}

const char *words_split(struct words *words, const char *line)
{
    size_t size = strlen(line);
    /* A word takes a character at least, and a blank or the end after it. */
    words->items = heap_must((size / 2 + 2) * sizeof(char *));
    words->room = heap_must(size + 2);
    words->count = 0;
    char *to = words->room;
    for (;;) {
        while (is_blank(*line)) {
            line++;
        }
        if (*line == '\0' || *line == '#') {
            words->items[words->count] = NULL;
            return NULL;
        }
        words->items[words->count++] = to;
        const char *fault = copy_word(&line, &to);
        if (fault != NULL) {
            words_release(words);
            return fault;
        }
    }
}

void words_release(struct words *words)
{
    heap_free(words->items);
    heap_free(words->room);
    *words = (struct words){0};
}

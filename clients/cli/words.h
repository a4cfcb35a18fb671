#ifndef RELATA_CLIENTS_CLI_WORDS_H
#define RELATA_CLIENTS_CLI_WORDS_H

/* Takes a line of the prompt apart into words, as a shell does: blanks part
 * words, '...' takes everything as it is, "..." knows \" and \\, a backslash
 * outside of quotes takes the next character as it is, # begins a comment. */

#include <stddef.h>

struct words {
    char **items; /* the last is followed by NULL */
    size_t count;
    char *room; /* what the items point into */
};

/* NULL, or what is wrong with the line; then there are no words. */
const char *words_split(struct words *words, const char *line);
void words_release(struct words *words);

#endif

#include "protocol/base/nearest.h"

#include <string.h>

#include "protocol/base/name.h"

/* Names are short, so words beyond this are not compared. */
enum { WORD_MAX = NAME_MAX_BYTES };

void nearest_init(struct nearest *nearest, const char *word, size_t size)
{
    size_t allowed = size / 3;
    if (allowed > 3) {
        allowed = 3;
    }
    *nearest = (struct nearest){.word = word, .word_size = size, .distance = allowed + 1};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edit distance where two neighbours swapped count as one (optimal string
 * alignment), row by row: only the last two rows are looked back at. */
static size_t edit_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_size; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                now[j] = least(now[j], before[j - 2] + 1);
            }
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_size];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t size = strlen(candidate);
    size_t gap = size > nearest->word_size ? size - nearest->word_size : nearest->word_size - size;
    if (gap >= nearest->distance || size > WORD_MAX || nearest->word_size > WORD_MAX) {
        return;
    }
    size_t distance = edit_distance(nearest->word, nearest->word_size, candidate, size);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->best = candidate;
    }
}

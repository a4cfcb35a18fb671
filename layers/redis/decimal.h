#ifndef RELATA_LAYERS_REDIS_DECIMAL_H
#define RELATA_LAYERS_REDIS_DECIMAL_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Integers as text in the one form in which Redis writes them too: decimal, no
 * plus, no zeros in front, no minus zero. */

enum { DECIMAL_TEXT_MAX = 24 };

/* Answers the length. */
static inline size_t decimal_write(int64_t integer, char out[DECIMAL_TEXT_MAX])
{
    return (size_t)snprintf(out, DECIMAL_TEXT_MAX, "%" PRId64, integer);
}

/* False where the text is not of that form, or beyond 64 bits signed. */
static inline bool decimal_read(const void *text, size_t size, int64_t *out)
{
    const uint8_t *digits = text;
    bool minus = size > 0 && digits[0] == '-';
    size_t first = minus ? 1 : 0;
    int64_t integer = 0;
    if (size == first || (digits[first] == '0' && size > 1)) {
        return false;
    }
    for (size_t i = first; i < size; i++) {
        int digit = digits[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(integer, 10, &integer) ||
            __builtin_add_overflow(integer, minus ? -digit : digit, &integer)) {
            return false;
        }
    }
    *out = integer;
    return true;
}

#endif

#ifndef RELATA_PROTOCOL_BASE_DATETIME_H
#define RELATA_PROTOCOL_BASE_DATETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A moment: seconds since 1970 UTC, floored, and nanoseconds 0..999999999. */
struct datetime {
    int64_t seconds;
    uint32_t nanoseconds;
};

enum { DATETIME_TEXT_MAX = 48 };

/* ISO 8601: `2026-11-22`, `2026-11-22T10:00[:00[.123456789]][Z|+01:00|+0100|+01]`,
 * a space for the T is taken, UTC where no zone stands. False where it is none. */
bool datetime_parse(const char *text, size_t size, struct datetime *out);

/* `2026-11-22T10:00:00Z`, with 3, 6 or 9 digits of a fraction where there is
 * one. Answers the length; years beyond 0..9999 with a sign, as ISO 8601 says. */
size_t datetime_format(const struct datetime *datetime, char out[DATETIME_TEXT_MAX]);

int datetime_compare(const struct datetime *a, const struct datetime *b);

#endif

#ifndef RELATA_CLIENTS_C_EXPIRIES_H
#define RELATA_CLIENTS_C_EXPIRIES_H

/* The moments until which somebody waits, the earliest at hand: a binary heap
 * of nodes that their owners embed. */

#include <stdint.h>
#include <stddef.h>

struct expiry {
    uint64_t at_ms;
    size_t place; /* in the heap */
};

struct expiries {
    struct expiry **items;
    size_t count;
    size_t capacity;
};

/* A zeroed struct is a valid empty one. */
void expiries_release(struct expiries *expiries);

/* 0, or -CODE_OVERLOADED where memory lacks. */
int expiries_add(struct expiries *expiries, struct expiry *expiry);
/* It must be in. */
void expiries_remove(struct expiries *expiries, struct expiry *expiry);
/* NULL where there is none. */
struct expiry *expiries_first(const struct expiries *expiries);

#endif

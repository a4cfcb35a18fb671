#ifndef RELATA_LAYERS_MEMORY_MARKS_H
#define RELATA_LAYERS_MEMORY_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* When records were born and died, for those that were written while a cursor
 * was open: what lets a cursor show the moment of its opening. Records that are
 * not in it are older than every open cursor. Stamps are the memory's clock. */
struct mark {
    uint32_t reference; /* 0 where the slot is empty */
    uint64_t birth;     /* 0: before any cursor that is open */
    uint64_t death;     /* UINT64_MAX: alive */
};

struct marks {
    struct mark *slots;
    uint32_t count;
    uint32_t capacity; /* a power of two, or 0 */
};

void marks_init(struct marks *marks);
void marks_release(struct marks *marks);

/* Makes sure that `count` records can be marked; before it grows it forgets
 * the living that were born at or before `oldest`, the oldest cursor's moment. */
bool marks_reserve(struct marks *marks, uint32_t count, uint64_t oldest);

/* The three need room reserved (for a record that is not in it yet). */
void marks_born(struct marks *marks, uint32_t reference, uint64_t stamp);
void marks_died(struct marks *marks, uint32_t reference, uint64_t stamp);
void marks_revived(struct marks *marks, uint32_t reference);

/* NULL where nothing is known. */
const struct mark *marks_find(const struct marks *marks, uint32_t reference);
void marks_forget(struct marks *marks, uint32_t reference);
void marks_clear(struct marks *marks);

#endif

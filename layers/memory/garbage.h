#ifndef RELATA_LAYERS_MEMORY_GARBAGE_H
#define RELATA_LAYERS_MEMORY_GARBAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records that died, in the order of their deaths, waiting to be freed: a queue
 * in chunks, with room reserved before a death so that dying never fails. */
struct garbage_entry {
    uint64_t sequence; /* of the event; pins from before it hold the record */
    uint64_t death;    /* the memory's clock; cursors from before it hold it */
    uint64_t replaced; /* ordered indexes, as bits, that it is out of already */
    uint32_t reference;
    bool linked; /* it is still in the other ordered indexes */
};

enum { GARBAGE_CHUNK_ENTRIES = 127 };

struct garbage_chunk {
    struct garbage_chunk *next;
    struct garbage_entry entries[GARBAGE_CHUNK_ENTRIES];
};

struct garbage {
    struct garbage_chunk *first; /* where the oldest is, at `head` */
    struct garbage_chunk *last;  /* where the next goes, at `tail`; spares behind it */
    size_t head;
    size_t tail;
    size_t count;
    size_t room; /* entries that fit without allocation */
};

void garbage_init(struct garbage *garbage);
void garbage_release(struct garbage *garbage);

/* False where memory lacks. */
bool garbage_reserve(struct garbage *garbage, size_t count);
/* Needs room. */
void garbage_push(struct garbage *garbage, const struct garbage_entry *entry);
/* The oldest; NULL where there is none. */
struct garbage_entry *garbage_oldest(struct garbage *garbage);
/* Drops the oldest; with the last, the room that was reserved. */
void garbage_pop(struct garbage *garbage);

#endif

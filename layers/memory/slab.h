#ifndef RELATA_LAYERS_MEMORY_SLAB_H
#define RELATA_LAYERS_MEMORY_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/memory/pages.h"
#include "layers/record.h"

/* Slots of many sizes for one owner: a page holds slots of one size class, and
 * belongs to one slab, so that a table's records can be walked in the order of
 * their addresses. Classes are 8 bytes apart up to 1 KiB, then as many as
 * divide a page into 63, 62, ... 2; what is larger takes a run of pages.
 *
 * A free slot has all flags of a record clear, whatever was in it: that is how
 * a walk tells it from a record. */

enum {
    SLAB_FINE_MAX = 1024,
    SLAB_FINE_CLASSES = SLAB_FINE_MAX / 8,
    SLAB_COARSE_CLASSES = PAGE_BYTES / SLAB_FINE_MAX - 2,
    SLAB_CLASSES = SLAB_FINE_CLASSES + SLAB_COARSE_CLASSES,
    SLAB_SLOT_MAX = PAGE_BYTES / 2
};

/* The flags of a record in a table. */
enum {
    RECORD_LIVE = 1,  /* what finds answer */
    RECORD_DEAD = 2,  /* replaced or removed; kept for who still looks */
    RECORD_MARKED = 4 /* its birth or death may be known to the marks (marks.h) */
};

struct slab {
    struct pages *pages;
    uint32_t room[SLAB_CLASSES]; /* pages with free slots, by class */
    uint32_t *numbers;           /* of all pages (of runs: the first), rising */
    uint32_t count;
    uint32_t capacity;
    uint64_t version; /* rises when `numbers` changes */
    uint64_t bytes;   /* of taken slots */
};

void slab_init(struct slab *slab, struct pages *pages);
/* Gives all pages back, with what is in them. */
void slab_release(struct slab *slab);

/* A slot of at least `size` bytes, not cleared; 0 where there is no room. */
uint32_t slab_alloc(struct slab *slab, size_t size);
void slab_free(struct slab *slab, uint32_t reference);

/* A place in a walk over all slots that hold a record. A zeroed walk is at the
 * start. It stays good when slots are taken and freed between the steps; slots
 * taken meanwhile are seen or not. */
struct slab_walk {
    uint64_t version;
    uint32_t index;  /* of the page in `numbers` */
    uint32_t number; /* the page's number */
    uint32_t slot;   /* the next */
};

/* The next record with any flag set; NULL at the end. */
struct record *slab_next(const struct slab *slab, struct slab_walk *walk);

#endif

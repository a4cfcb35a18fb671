#ifndef RELATA_LAYERS_MEMORY_PAGES_H
#define RELATA_LAYERS_MEMORY_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The address space of the memory layer: one reservation, cut into pages of
 * 64 KiB, made accessible 2 MiB (a region) at a time and handed out in runs.
 * Free runs are merged; regions that are free as a whole go back to the system
 * when there are many. It knows nothing of what is in a page.
 *
 * A reference is an address in units of 8 bytes from the base; 0 is none, and
 * page 0 is never handed out. */

enum {
    PAGE_BYTES = 64 * 1024,
    REGION_BYTES = 2 * 1024 * 1024,
    REGION_PAGES = REGION_BYTES / PAGE_BYTES,
    REFERENCE_UNIT = 8,
    PAGE_BINS = 20
};

#define PAGES_RESERVED_MAX (32ULL * 1024 * 1024 * 1024)

enum page_state { PAGE_UNKNOWN, PAGE_FREE, PAGE_TAKEN };

struct slab;

/* What is known of a page, apart from its bytes. */
struct page {
    struct slab *slab;   /* whose slots it holds (slab.h) */
    uint32_t next, prev; /* in a list of pages: of free runs, of a slab */
    uint32_t run;        /* pages of the run; at its first and, free, its last page */
    uint32_t slot_bytes;
    uint16_t slots;     /* that fit */
    uint16_t used;      /* that are taken */
    uint16_t fresh;     /* the first that was never taken */
    uint16_t free_slot; /* head of the freed ones, plus 1; 0 where there is none */
    uint16_t size_class;
    uint8_t state;
    bool listed; /* in its slab's list of pages with room */
};

struct region {
    uint8_t taken; /* pages */
    bool resident; /* its memory was touched since it was last given back */
};

struct pages {
    uint8_t *base;
    void *mapping; /* the base before it was aligned */
    size_t mapping_bytes;
    struct page *page; /* by page number */
    struct region *region;
    uint32_t count; /* pages reserved */
    uint32_t top;   /* pages made accessible */
    uint32_t taken;
    uint32_t taken_max;       /* no more than this many are handed out */
    uint32_t bins[PAGE_BINS]; /* free runs of 2^n pages and more */
    uint32_t resident_regions;
    uint32_t idle_regions; /* resident and wholly free */
};

/* 0, or -CODE_OVERLOADED where the reservation fails. */
int pages_init(struct pages *pages, uint64_t reserve_bytes);
void pages_release(struct pages *pages);

/* A run of `count` pages; its first page's number, or 0 where there is no room. */
uint32_t pages_take(struct pages *pages, uint32_t count);
void pages_give(struct pages *pages, uint32_t first);

/* Gives at most one idle region back to the system, where many are idle. True
 * where there are more. */
bool pages_trim(struct pages *pages);

/* Bytes taken from the system. */
uint64_t pages_bytes(const struct pages *pages);

static inline void *pages_at(const struct pages *pages, uint32_t reference)
{
    return pages->base + (uint64_t)reference * REFERENCE_UNIT;
}

static inline uint32_t pages_reference(const struct pages *pages, const void *address)
{
    return (uint32_t)((uint64_t)((const uint8_t *)address - pages->base) / REFERENCE_UNIT);
}

static inline uint32_t page_of_reference(uint32_t reference)
{
    return reference / (PAGE_BYTES / REFERENCE_UNIT);
}

static inline uint32_t page_reference(uint32_t number)
{
    return number * (PAGE_BYTES / REFERENCE_UNIT);
}

#endif

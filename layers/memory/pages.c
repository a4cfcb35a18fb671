#include "layers/memory/pages.h"

#include <string.h>
#include <sys/mman.h>

#include "layers/memory/poison.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* Idle regions that are kept for the next writes: giving memory back and
 * taking it again costs more than the few megabytes. */
enum { IDLE_REGIONS_KEPT = 4, RUNS_TRIED = 16 };

static void *reserve(size_t size, int protection)
{
    void *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int pages_init(struct pages *pages, uint64_t reserve_bytes)
{
    CHECK(reserve_bytes >= REGION_BYTES && reserve_bytes <= PAGES_RESERVED_MAX);
    memset(pages, 0, sizeof(*pages));
    uint32_t regions = (uint32_t)(reserve_bytes / REGION_BYTES);
    pages->count = regions * REGION_PAGES;
    pages->taken_max = pages->count;
    pages->mapping_bytes = (size_t)(regions + 1) * REGION_BYTES;
    pages->mapping = reserve(pages->mapping_bytes, PROT_NONE);
    if (pages->mapping == NULL) {
        return -CODE_OVERLOADED;
    }
    pages->page = reserve(pages->count * sizeof(struct page), PROT_READ | PROT_WRITE);
    if (pages->page == NULL) {
        goto err_after_mapping;
    }
    pages->region = reserve(regions * sizeof(struct region), PROT_READ | PROT_WRITE);
    if (pages->region == NULL) {
        goto err_after_page;
    }
    uintptr_t start = (uintptr_t)pages->mapping;
    pages->base = (uint8_t *)pages->mapping + (REGION_BYTES - start % REGION_BYTES) % REGION_BYTES;
    return 0;

err_after_page:
    munmap(pages->page, pages->count * sizeof(struct page));
err_after_mapping:
    munmap(pages->mapping, pages->mapping_bytes);
    memset(pages, 0, sizeof(*pages));
    return -CODE_OVERLOADED;
}

void pages_release(struct pages *pages)
{
    if (pages->mapping == NULL) {
        return;
    }
    UNPOISON(pages->base, (size_t)pages->top * PAGE_BYTES);
    munmap(pages->region, pages->count / REGION_PAGES * sizeof(struct region));
    munmap(pages->page, pages->count * sizeof(struct page));
    munmap(pages->mapping, pages->mapping_bytes);
    memset(pages, 0, sizeof(*pages));
}

uint64_t pages_bytes(const struct pages *pages)
{
    return (uint64_t)pages->resident_regions * REGION_BYTES;
}

/* ---- Free runs ---- */

static unsigned bin_of(uint32_t run)
{
    unsigned bin = 31U - (unsigned)__builtin_clz(run);
    return bin < PAGE_BINS ? bin : PAGE_BINS - 1;
}

static void run_insert(struct pages *pages, uint32_t first, uint32_t run)
{
    struct page *page = &pages->page[first];
    uint32_t *head = &pages->bins[bin_of(run)];
    page->state = PAGE_FREE;
    page->run = run;
    pages->page[first + run - 1].state = PAGE_FREE;
    pages->page[first + run - 1].run = run;
    page->prev = 0;
    page->next = *head;
    if (*head != 0) {
        pages->page[*head].prev = first;
    }
    *head = first;
}

static void run_remove(struct pages *pages, uint32_t first)
{
    struct page *page = &pages->page[first];
    if (page->prev != 0) {
        pages->page[page->prev].next = page->next;
    } else {
        pages->bins[bin_of(page->run)] = page->next;
    }
    if (page->next != 0) {
        pages->page[page->next].prev = page->prev;
    }
    pages->page[first + page->run - 1].state = PAGE_UNKNOWN;
    page->state = PAGE_UNKNOWN;
}

/* Inserts a run, merged with the free ones beside it. */
static void run_free(struct pages *pages, uint32_t first, uint32_t run)
{
    if (first > 0 && pages->page[first - 1].state == PAGE_FREE) {
        uint32_t before = first - pages->page[first - 1].run;
        run += pages->page[before].run;
        run_remove(pages, before);
        first = before;
    }
    uint32_t after = first + run;
    if (after < pages->top && pages->page[after].state == PAGE_FREE) {
        run += pages->page[after].run;
        run_remove(pages, after);
    }
    run_insert(pages, first, run);
}

/* A free run of at least `count` pages, or 0. The lowest bin has runs that are
 * too short among them, so only some are looked at there. */
static uint32_t run_find(const struct pages *pages, uint32_t count)
{
    unsigned bin = bin_of(count);
    uint32_t at = pages->bins[bin];
    unsigned limit = bin == PAGE_BINS - 1 ? UINT32_MAX : RUNS_TRIED;
    for (unsigned tried = 0; at != 0 && tried < limit; tried++, at = pages->page[at].next) {
        if (pages->page[at].run >= count) {
            return at;
        }
    }
    for (bin++; bin < PAGE_BINS; bin++) {
        if (pages->bins[bin] != 0) {
            return pages->bins[bin];
        }
    }
    return 0;
}

/* Makes regions accessible until the last free run has `count` pages. */
static bool pages_extend(struct pages *pages, uint32_t count)
{
    uint32_t have = 0;
    if (pages->top > 0 && pages->page[pages->top - 1].state == PAGE_FREE) {
        have = pages->page[pages->top - 1].run;
    }
    if (have >= count) {
        return true;
    }
    /* The first region lacks page 0. */
    uint32_t need = count - have + (pages->top == 0 ? 1 : 0);
    uint32_t regions = (need + REGION_PAGES - 1) / REGION_PAGES;
    if (regions > (pages->count - pages->top) / REGION_PAGES) {
        return false;
    }
    uint8_t *start = pages->base + (size_t)pages->top * PAGE_BYTES;
    size_t size = (size_t)regions * REGION_BYTES;
    if (mprotect(start, size, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    /* Only a hint: lookups all over the records are spared table walks. */
    (void)madvise(start, size, MADV_HUGEPAGE);
    uint32_t first = pages->top;
    pages->top += regions * REGION_PAGES;
    if (first == 0) {
        pages->page[0].state = PAGE_TAKEN;
        pages->page[0].run = 1;
        pages->region[0].taken = 1;
        pages->region[0].resident = true;
        pages->resident_regions = 1;
        first = 1;
    }
    run_free(pages, first, pages->top - first);
    return true;
}

/* ---- Taking and giving ---- */

static void regions_take(struct pages *pages, uint32_t first, uint32_t run)
{
    for (uint32_t number = first; number < first + run; number++) {
        struct region *region = &pages->region[number / REGION_PAGES];
        if (!region->resident) {
            region->resident = true;
            pages->resident_regions++;
        } else if (region->taken == 0) {
            pages->idle_regions--;
        }
        region->taken++;
    }
}

static void regions_give(struct pages *pages, uint32_t first, uint32_t run)
{
    for (uint32_t number = first; number < first + run; number++) {
        struct region *region = &pages->region[number / REGION_PAGES];
        CHECK(region->taken > 0);
        region->taken--;
        if (region->taken == 0) {
            pages->idle_regions++;
        }
    }
}

uint32_t pages_take(struct pages *pages, uint32_t count)
{
    CHECK(count > 0);
    if (count > pages->taken_max || pages->taken > pages->taken_max - count) {
        return 0;
    }
    uint32_t first = run_find(pages, count);
    if (first == 0) {
        if (!pages_extend(pages, count)) {
            return 0;
        }
        uint32_t last = pages->top - 1;
        first = last + 1 - pages->page[last].run;
    }
    uint32_t run = pages->page[first].run;
    run_remove(pages, first);
    if (run > count) {
        run_insert(pages, first + count, run - count);
    }
    struct page *page = &pages->page[first];
    memset(page, 0, sizeof(*page));
    page->state = PAGE_TAKEN;
    page->run = count;
    pages->page[first + count - 1].state = PAGE_TAKEN;
    pages->taken += count;
    regions_take(pages, first, count);
    UNPOISON(pages->base + (size_t)first * PAGE_BYTES, (size_t)count * PAGE_BYTES);
    return first;
}

void pages_give(struct pages *pages, uint32_t first)
{
    struct page *page = &pages->page[first];
    CHECK(first > 0 && first < pages->top && page->state == PAGE_TAKEN && page->run > 0);
    uint32_t run = page->run;
    POISON(pages->base + (size_t)first * PAGE_BYTES, (size_t)run * PAGE_BYTES);
    page->state = PAGE_UNKNOWN;
    page->slab = NULL;
    pages->page[first + run - 1].state = PAGE_UNKNOWN;
    pages->taken -= run;
    regions_give(pages, first, run);
    run_free(pages, first, run);
}

bool pages_trim(struct pages *pages)
{
    if (pages->idle_regions <= IDLE_REGIONS_KEPT) {
        return false;
    }
    /* The highest first, so that what stays is dense. */
    for (uint32_t number = pages->top / REGION_PAGES; number-- > 0;) {
        struct region *region = &pages->region[number];
        if (region->taken == 0 && region->resident) {
            (void)madvise(pages->base + (size_t)number * REGION_BYTES, REGION_BYTES, MADV_DONTNEED);
            region->resident = false;
            pages->resident_regions--;
            pages->idle_regions--;
            break;
        }
    }
    return pages->idle_regions > IDLE_REGIONS_KEPT;
}

#include "layers/memory/slab.h"

#include <assert.h>
#include <string.h>

#include "layers/memory/poison.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* What lies in a freed slot: flags that say so, and the next freed one. */
struct free_slot {
    uint32_t flags;
    uint16_t next; /* slot number plus 1; 0 at the end */
};

static_assert(offsetof(struct record, layout) == 4, "flags lie in the first four bytes");
static_assert(PAGE_BYTES / 8 <= UINT16_MAX, "slot numbers are 16 bits");

void slab_init(struct slab *slab, struct pages *pages)
{
    memset(slab, 0, sizeof(*slab));
    slab->pages = pages;
    slab->version = 1;
}

void slab_release(struct slab *slab)
{
    for (uint32_t i = 0; i < slab->count; i++) {
        pages_give(slab->pages, slab->numbers[i]);
    }
    heap_free(slab->numbers);
    memset(slab, 0, sizeof(*slab));
}

static uint16_t class_of(size_t size)
{
    if (size <= SLAB_FINE_MAX) {
        return (uint16_t)((size + 7) / 8 - 1);
    }
    size = (size + 7) & ~(size_t)7;
    return (uint16_t)(SLAB_FINE_CLASSES + (PAGE_BYTES / SLAB_FINE_MAX - 1) - PAGE_BYTES / size);
}

static uint32_t class_bytes(uint16_t size_class)
{
    if (size_class < SLAB_FINE_CLASSES) {
        return (size_class + 1U) * 8;
    }
    uint32_t slots = (uint32_t)(PAGE_BYTES / SLAB_FINE_MAX - 1 + SLAB_FINE_CLASSES) - size_class;
    return PAGE_BYTES / slots & ~7U;
}

/* ---- The pages of a slab ---- */

/* Where `number` is, or would be, in the rising list. */
static uint32_t numbers_find(const struct slab *slab, uint32_t number)
{
    uint32_t low = 0;
    uint32_t high = slab->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slab->numbers[middle] < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool numbers_reserve(struct slab *slab)
{
    if (slab->count < slab->capacity) {
        return true;
    }
    uint32_t capacity = slab->capacity > 0 ? slab->capacity * 2 : 4;
    uint32_t *numbers = heap_resize(slab->numbers, capacity * sizeof(*numbers));
    if (numbers == NULL) {
        return false;
    }
    slab->numbers = numbers;
    slab->capacity = capacity;
    return true;
}

static void numbers_insert(struct slab *slab, uint32_t number)
{
    uint32_t at = numbers_find(slab, number);
    memmove(&slab->numbers[at + 1], &slab->numbers[at], (slab->count - at) * sizeof(uint32_t));
    slab->numbers[at] = number;
    slab->count++;
    slab->version++;
}

static void numbers_remove(struct slab *slab, uint32_t number)
{
    uint32_t at = numbers_find(slab, number);
    CHECK(at < slab->count && slab->numbers[at] == number);
    slab->count--;
    memmove(&slab->numbers[at], &slab->numbers[at + 1], (slab->count - at) * sizeof(uint32_t));
    slab->version++;
}

static uint32_t page_add(struct slab *slab, uint32_t run)
{
    if (!numbers_reserve(slab)) {
        return 0;
    }
    uint32_t number = pages_take(slab->pages, run);
    if (number != 0) {
        numbers_insert(slab, number);
        slab->pages->page[number].slab = slab;
        POISON(slab->pages->base + (size_t)number * PAGE_BYTES, (size_t)run * PAGE_BYTES);
    }
    return number;
}

static void page_drop(struct slab *slab, uint32_t number)
{
    numbers_remove(slab, number);
    pages_give(slab->pages, number);
}

static void room_insert(struct slab *slab, uint32_t number)
{
    struct page *page = &slab->pages->page[number];
    uint32_t *head = &slab->room[page->size_class];
    page->prev = 0;
    page->next = *head;
    if (*head != 0) {
        slab->pages->page[*head].prev = number;
    }
    *head = number;
    page->listed = true;
}

static void room_remove(struct slab *slab, uint32_t number)
{
    struct page *page = &slab->pages->page[number];
    if (page->prev != 0) {
        slab->pages->page[page->prev].next = page->next;
    } else {
        slab->room[page->size_class] = page->next;
    }
    if (page->next != 0) {
        slab->pages->page[page->next].prev = page->prev;
    }
    page->listed = false;
}

/* ---- Slots ---- */

static uint8_t *slot_at(const struct slab *slab, uint32_t number, uint32_t slot)
{
    return slab->pages->base + (size_t)number * PAGE_BYTES +
           (size_t)slot * slab->pages->page[number].slot_bytes;
}

static uint32_t run_alloc(struct slab *slab, size_t size)
{
    uint32_t run = (uint32_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    uint32_t number = page_add(slab, run);
    if (number == 0) {
        return 0;
    }
    struct page *page = &slab->pages->page[number];
    page->slot_bytes = run * PAGE_BYTES;
    page->slots = 1;
    page->used = 1;
    page->fresh = 1;
    slab->bytes += page->slot_bytes;
    UNPOISON(slot_at(slab, number, 0), size);
    return page_reference(number);
}

uint32_t slab_alloc(struct slab *slab, size_t size)
{
    CHECK(size > 0 && size <= UINT32_MAX / 2);
    if (size > SLAB_SLOT_MAX) {
        return run_alloc(slab, size);
    }
    uint16_t size_class = class_of(size);
    uint32_t number = slab->room[size_class];
    if (number == 0) {
        number = page_add(slab, 1);
        if (number == 0) {
            return 0;
        }
        struct page *page = &slab->pages->page[number];
        page->size_class = size_class;
        page->slot_bytes = class_bytes(size_class);
        page->slots = (uint16_t)(PAGE_BYTES / page->slot_bytes);
        room_insert(slab, number);
    }
    struct page *page = &slab->pages->page[number];
    uint32_t slot;
    if (page->free_slot != 0) {
        slot = page->free_slot - 1U;
        struct free_slot freed;
        memcpy(&freed, slot_at(slab, number, slot), sizeof(freed));
        page->free_slot = freed.next;
    } else {
        slot = page->fresh++;
    }
    page->used++;
    if (page->used == page->slots) {
        room_remove(slab, number);
    }
    slab->bytes += page->slot_bytes;
    uint8_t *memory = slot_at(slab, number, slot);
    UNPOISON(memory, size > sizeof(struct free_slot) ? size : sizeof(struct free_slot));
    return pages_reference(slab->pages, memory);
}

void slab_free(struct slab *slab, uint32_t reference)
{
    uint32_t number = page_of_reference(reference);
    struct page *page = &slab->pages->page[number];
    CHECK(page->slab == slab && page->state == PAGE_TAKEN && page->used > 0);
    slab->bytes -= page->slot_bytes;
    page->used--;
    if (page->used == 0) {
        if (page->listed) {
            room_remove(slab, number);
        }
        page_drop(slab, number);
        return;
    }
    uint8_t *memory = pages_at(slab->pages, reference);
    uint32_t slot = (reference - page_reference(number)) * REFERENCE_UNIT / page->slot_bytes;
    CHECK(slot_at(slab, number, slot) == memory);
    struct free_slot freed = {.flags = 0, .next = page->free_slot};
    memcpy(memory, &freed, sizeof(freed));
    page->free_slot = (uint16_t)(slot + 1);
    POISON(memory + sizeof(freed), page->slot_bytes - sizeof(freed));
    if (!page->listed) {
        room_insert(slab, number);
    }
}

/* ---- Walking ---- */

/* The list of pages changed: finds the place again. A page that is another's
 * now is passed over; what it held was freed, so nobody waits for it. */
static void walk_again(const struct slab *slab, struct slab_walk *walk)
{
    walk->version = slab->version;
    walk->index = numbers_find(slab, walk->number);
    if (walk->index < slab->count && slab->numbers[walk->index] != walk->number) {
        walk->number = slab->numbers[walk->index];
        walk->slot = 0;
    }
}

struct record *slab_next(const struct slab *slab, struct slab_walk *walk)
{
    if (walk->version != slab->version) {
        walk_again(slab, walk);
    }
    while (walk->index < slab->count) {
        const struct page *page = &slab->pages->page[walk->number];
        uint8_t *memory = slot_at(slab, walk->number, walk->slot);
        for (; walk->slot < page->fresh; memory += page->slot_bytes) {
            walk->slot++;
            struct record *record = (struct record *)(void *)memory;
            if (record->flags != 0) {
                return record;
            }
        }
        if (++walk->index < slab->count) {
            walk->number = slab->numbers[walk->index];
            walk->slot = 0;
        }
    }
    return NULL;
}

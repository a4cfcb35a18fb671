#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/memory/slab.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

enum { RESERVED = 32 * REGION_BYTES, SLOTS = 600 };

struct bed {
    struct pages pages;
    struct slab slab;
};

static void bed_init(struct bed *bed)
{
    assert_int_equal(pages_init(&bed->pages, RESERVED), 0);
    slab_init(&bed->slab, &bed->pages);
}

static void bed_release(struct bed *bed)
{
    slab_release(&bed->slab);
    assert_int_equal(bed->pages.taken, 0);
    pages_release(&bed->pages);
}

static struct record *record_at(const struct bed *bed, uint32_t reference)
{
    return pages_at(&bed->pages, reference);
}

/* A slot of every size: inside one page or from its start, not much larger. */
static void test_sizes(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    for (size_t size = 1; size < 200000; size += 1 + size / 50) {
        uint64_t before = bed.slab.bytes;
        uint32_t reference = slab_alloc(&bed.slab, size);
        assert_true(reference != 0);
        memset(pages_at(&bed.pages, reference), 1, size);
        uint64_t slot = bed.slab.bytes - before;
        assert_true(slot >= size);
        if (size <= SLAB_FINE_MAX) {
            assert_true(slot < size + 8);
        } else if (size < 4096) {
            assert_true(slot < size + size / 15);
        }
        uint32_t offset = reference - page_reference(page_of_reference(reference));
        assert_true(size > SLAB_SLOT_MAX ? offset == 0 : (size_t)offset * 8 + size <= PAGE_BYTES);
        slab_free(&bed.slab, reference);
        assert_int_equal(bed.slab.bytes, before);
    }
    assert_int_equal(bed.slab.count, 0);
    bed_release(&bed);
}

static void test_no_room(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed.pages.taken_max = 1;
    uint32_t first = slab_alloc(&bed.slab, 30000);
    uint32_t second = slab_alloc(&bed.slab, 30000);
    assert_true(first != 0 && second != 0);
    assert_int_equal(slab_alloc(&bed.slab, 30000), 0);
    assert_int_equal(slab_alloc(&bed.slab, 8), 0);
    assert_int_equal(slab_alloc(&bed.slab, 100000), 0);
    slab_free(&bed.slab, first);
    assert_int_equal(slab_alloc(&bed.slab, 30000), first);
    bed_release(&bed);

    bed_init(&bed);
    heap_fail_at(0);
    assert_int_equal(slab_alloc(&bed.slab, 8), 0);
    assert_true(heap_failed());
    heap_fail_at(-1);
    assert_int_equal(bed.pages.taken, 0);
    assert_true(slab_alloc(&bed.slab, 8) != 0);
    bed_release(&bed);
}

/* Two slabs over the same pages; each slot keeps its bytes; walks see exactly
 * what is there, in the order of addresses, while slots come and go. */
static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("slab");
    struct bed bed;
    struct slab other;
    uint32_t references[SLOTS] = {0};
    uint32_t sizes[SLOTS];
    bool walked[SLOTS];
    bed_init(&bed);
    slab_init(&other, &bed.pages);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned step = 0; step < 500; step++) {
            unsigned at = (unsigned)random_below(&random, SLOTS);
            if (references[at] != 0) {
                const struct record *record = record_at(&bed, references[at]);
                assert_int_equal(record->size, at);
                assert_int_equal(((const uint8_t *)record)[sizes[at] - 1], at % 251);
                slab_free(at % 2 == 0 ? &bed.slab : &other, references[at]);
                references[at] = 0;
                continue;
            }
            sizes[at] = 9 + (uint32_t)(random_magnitude(&random) % 40000);
            references[at] = slab_alloc(at % 2 == 0 ? &bed.slab : &other, sizes[at]);
            assert_true(references[at] != 0);
            struct record *record = record_at(&bed, references[at]);
            record->size = at & 0xffffff;
            record->flags = RECORD_LIVE;
            ((uint8_t *)record)[sizes[at] - 1] = (uint8_t)(at % 251);
        }
        /* One that stays for the whole walk is seen once, whatever others do. */
        memset(walked, 0, sizeof(walked));
        bool stays[SLOTS];
        for (unsigned i = 0; i < SLOTS; i++) {
            stays[i] = references[i] != 0 && i % 3 != 0;
        }
        struct slab_walk walk = {0};
        const struct record *record;
        while ((record = slab_next(&bed.slab, &walk)) != NULL) {
            unsigned at = record->size;
            assert_int_equal(at % 2, 0);
            assert_true(!walked[at] || !stays[at]);
            walked[at] = true;
            unsigned victim = (unsigned)random_below(&random, SLOTS / 3) * 3;
            if (references[victim] != 0) {
                slab_free(victim % 2 == 0 ? &bed.slab : &other, references[victim]);
                references[victim] = 0;
            }
        }
        for (unsigned i = 0; i < SLOTS; i++) {
            assert_true(!stays[i] || i % 2 == 1 || walked[i]);
        }
    }
    slab_release(&other);
    bed_release(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

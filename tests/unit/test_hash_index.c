#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/memory/hash_index.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"

enum { RECORDS = 12000 };

struct bed {
    struct memory_fixture fixture;
    struct pages pages;
    struct slab nodes;
    struct slab records;
    struct hash_index index;
    uint32_t references[RECORDS]; /* 0: not in the index */
    struct arena arena;
};

static struct bed bed;

static void setup_bed(unsigned key_fields)
{
    memset(&bed, 0, sizeof(bed));
    memory_fixture_init(&bed.fixture, "thing");
    for (unsigned i = 0; i < 2; i++) {
        memory_fixture_field(&bed.fixture, TYPE_INTEGER);
    }
    memory_fixture_primary_key(&bed.fixture, key_fields);
    assert_int_equal(pages_init(&bed.pages, 64ULL * 1024 * 1024), 0);
    slab_init(&bed.nodes, &bed.pages);
    slab_init(&bed.records, &bed.pages);
    hash_index_init(&bed.index, &bed.nodes, &bed.fixture.resource,
                    &bed.fixture.resource.primary_key);
}

static void release_bed(void)
{
    hash_index_release(&bed.index);
    assert_int_equal(bed.nodes.bytes, 0);
    slab_release(&bed.nodes);
    slab_release(&bed.records);
    pages_release(&bed.pages);
    arena_release(&bed.arena);
}

static uint32_t record_add(unsigned id)
{
    struct value values[] = {memory_fixture_integer(id), memory_fixture_integer(id / 7)};
    const struct record *image = memory_fixture_record(&bed.fixture, &bed.arena, values);
    size_t size = record_bytes(image, 2);
    uint32_t reference = slab_alloc(&bed.records, size);
    assert_true(reference != 0);
    struct record *record = pages_at(&bed.pages, reference);
    memcpy(record, image, size);
    record->flags = RECORD_LIVE;
    arena_reset(&bed.arena);
    return reference;
}

static void key_of(unsigned id, struct buffer *key)
{
    struct value values[] = {memory_fixture_integer(id), memory_fixture_integer(id / 7)};
    buffer_truncate(key, 0);
    memory_fixture_key(key, values, bed.fixture.resource.primary_key.count);
}

static int add(unsigned id, uint32_t reference)
{
    struct buffer key = BUFFER_INIT;
    key_of(id, &key);
    int rc = hash_index_insert(&bed.index, reference, key.bytes, key.size);
    buffer_release(&key);
    return rc;
}

static uint32_t find(unsigned id)
{
    struct buffer key = BUFFER_INIT;
    key_of(id, &key);
    uint32_t reference = hash_index_find(&bed.index, key.bytes, key.size);
    buffer_release(&key);
    return reference;
}

static void check_all(void)
{
    uint64_t count = 0;
    for (unsigned id = 0; id < RECORDS; id++) {
        assert_int_equal(find(id), bed.references[id]);
        count += bed.references[id] != 0 ? 1 : 0;
    }
    assert_int_equal(bed.index.count, count);
}

static void remove_one(unsigned id)
{
    hash_index_remove(&bed.index, bed.references[id]);
    slab_free(&bed.records, bed.references[id]);
    bed.references[id] = 0;
}

static void run_random(const char *name, unsigned key_fields)
{
    struct random random = random_start(name);
    setup_bed(key_fields);
    /* It grows, shrinks, grows: more is added than removed in turns. */
    for (unsigned step = 0; step < 60000; step++) {
        unsigned id = (unsigned)random_below(&random, RECORDS);
        bool filling = step / 20000 % 2 == 0;
        uint64_t dice = random_below(&random, 10);
        if (bed.references[id] == 0) {
            if (filling || dice < 3) {
                bed.references[id] = record_add(id);
                assert_int_equal(add(id, bed.references[id]), 0);
            }
        } else if (dice == 0) {
            uint32_t replacement = record_add(id);
            hash_index_replace(&bed.index, bed.references[id], replacement);
            slab_free(&bed.records, bed.references[id]);
            bed.references[id] = replacement;
        } else if (!filling || dice < 3) {
            remove_one(id);
        }
        if (dice == 1) {
            (void)hash_index_grow(&bed.index, 3);
        }
        if (step % 15000 == 0) {
            check_all();
        }
    }
    check_all();
    assert_true(bed.index.level > SEGMENT_BUCKETS);
    for (unsigned id = 0; id < RECORDS; id++) {
        if (bed.references[id] != 0) {
            remove_one(id);
        }
    }
    assert_int_equal(bed.index.bytes, 0);
    release_bed();
}

static void test_random_integer(void **state)
{
    (void)state;
    run_random("hash of one field", 1);
}

static void test_random_composite(void **state)
{
    (void)state;
    run_random("hash of two fields", 2);
}

/* It never takes much more memory than it needs, and no step does much. */
static void test_growth_is_lean(void **state)
{
    (void)state;
    setup_bed(1);
    for (unsigned id = 0; id < RECORDS; id++) {
        uint32_t split = bed.index.split;
        uint32_t level = bed.index.level;
        bed.references[id] = record_add(id);
        assert_int_equal(add(id, bed.references[id]), 0);
        assert_true(bed.index.level != level || bed.index.split <= split + 1);
        assert_true(bed.index.bytes <= 16384 + (uint64_t)id * 14);
    }
    while (hash_index_grow(&bed.index, 1)) {
    }
    check_all();
    release_bed();
}

static void test_dead_are_passed_over(void **state)
{
    (void)state;
    setup_bed(1);
    uint32_t dead = record_add(5);
    assert_int_equal(add(5, dead), 0);
    ((struct record *)pages_at(&bed.pages, dead))->flags = RECORD_DEAD;
    assert_int_equal(find(5), 0);
    bed.references[5] = record_add(5);
    assert_int_equal(add(5, bed.references[5]), 0);
    assert_int_equal(find(5), bed.references[5]);
    hash_index_remove(&bed.index, dead);
    assert_int_equal(find(5), bed.references[5]);
    assert_int_equal(bed.index.count, 1);
    release_bed();
}

/* Without room an insert fails cleanly, or the index only stops growing. */
static void test_no_room(void **state)
{
    (void)state;
    setup_bed(2);
    bed.references[0] = record_add(0);
    struct buffer key = BUFFER_INIT;
    key_of(0, &key);
    unsigned failures = 0;
    int rc;
    do {
        heap_fail_at(failures);
        rc = hash_index_insert(&bed.index, bed.references[0], key.bytes, key.size);
        bool failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_int_equal(rc, failed ? -CODE_OVERLOADED : 0);
        assert_int_equal(find(0), failed ? 0 : bed.references[0]);
        failures++;
    } while (rc != 0);
    assert_true(failures > 2);
    buffer_release(&key);
    for (unsigned id = 1; id < RECORDS; id++) {
        bed.references[id] = record_add(id);
    }
    bed.pages.taken_max = bed.pages.taken;
    unsigned refused = 0;
    for (unsigned id = 1; id < RECORDS; id++) {
        if (add(id, bed.references[id]) != 0) {
            slab_free(&bed.records, bed.references[id]);
            bed.references[id] = 0;
            refused++;
            bed.pages.taken_max = bed.pages.taken;
        }
    }
    assert_true(refused > 0);
    check_all();
    bed.pages.taken_max = bed.pages.count;
    while (hash_index_grow(&bed.index, 10)) {
    }
    check_all();
    release_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_integer), cmocka_unit_test(test_random_composite),
        cmocka_unit_test(test_growth_is_lean), cmocka_unit_test(test_dead_are_passed_over),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

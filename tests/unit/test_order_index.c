#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/memory/order_range.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"

/* Over an integer and a text; the random test of the whole store covers more
 * types and all bounds. Here: many levels, order of arrival, lack of room. */
enum { RECORDS = 20000 };

struct bed {
    struct memory_fixture fixture;
    struct pages pages;
    struct slab nodes;
    struct slab records;
    struct order_index index;
    uint32_t references[RECORDS];
    struct arena arena;
};

static struct bed bed;

static void setup_bed(void)
{
    memset(&bed, 0, sizeof(bed));
    memory_fixture_init(&bed.fixture, "thing");
    memory_fixture_field(&bed.fixture, TYPE_INTEGER);
    memory_fixture_field(&bed.fixture, TYPE_INTEGER);
    memory_fixture_field(&bed.fixture, TYPE_STRING);
    memory_fixture_primary_key(&bed.fixture, 1);
    memory_fixture_index(&bed.fixture, (int[]){1, 2, -1});
    assert_int_equal(pages_init(&bed.pages, 64ULL * 1024 * 1024), 0);
    slab_init(&bed.nodes, &bed.pages);
    slab_init(&bed.records, &bed.pages);
    order_index_init(&bed.index, &bed.nodes, &bed.fixture.resource, &bed.fixture.indexes[0]);
}

static void release_bed(void)
{
    order_index_release(&bed.index);
    assert_int_equal(bed.nodes.bytes, 0);
    slab_release(&bed.nodes);
    slab_release(&bed.records);
    pages_release(&bed.pages);
    arena_release(&bed.arena);
}

static uint32_t record_add(unsigned id, struct value number, const char *text)
{
    struct value values[] = {memory_fixture_integer(id), number,
                             text != NULL ? memory_fixture_text(text) : value_nil()};
    const struct record *image = memory_fixture_record(&bed.fixture, &bed.arena, values);
    size_t size = record_bytes(image, 3);
    uint32_t reference = slab_alloc(&bed.records, size);
    assert_true(reference != 0);
    struct record *record = pages_at(&bed.pages, reference);
    memcpy(record, image, size);
    record->flags = RECORD_LIVE;
    arena_reset(&bed.arena);
    return reference;
}

static int64_t id_of(uint32_t reference)
{
    struct value value;
    record_load(pages_at(&bed.pages, reference), &bed.fixture.resource, 0, &value);
    return value.integer;
}

static uint32_t record_random(struct random *random, unsigned id)
{
    char text[32];
    snprintf(text, sizeof(text), "in common %u", (unsigned)random_below(random, 50));
    struct value number = random_below(random, 10) == 0
                              ? value_nil()
                              : memory_fixture_integer((int64_t)random_below(random, 40) - 20);
    return record_add(id, number, random_below(random, 10) == 0 ? NULL : text);
}

static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("order index");
    setup_bed();
    for (unsigned round = 0; round < 4; round++) {
        bool filling = round % 2 == 0;
        for (unsigned step = 0; step < RECORDS; step++) {
            unsigned id = (unsigned)random_below(&random, RECORDS);
            if (bed.references[id] == 0 && (filling || step % 8 == 0)) {
                bed.references[id] = record_random(&random, id);
                assert_int_equal(order_index_insert(&bed.index, bed.references[id]), 0);
            } else if (bed.references[id] != 0 && (!filling || step % 8 == 0)) {
                order_index_remove(&bed.index, bed.references[id]);
                slab_free(&bed.records, bed.references[id]);
                bed.references[id] = 0;
            }
        }
        order_index_check(&bed.index);
        assert_true(!filling || bed.index.height >= 2);
    }
    for (unsigned id = 0; id < RECORDS; id++) {
        if (bed.references[id] != 0) {
            order_index_remove(&bed.index, bed.references[id]);
        }
    }
    assert_int_equal(bed.index.count, 0);
    assert_int_equal(bed.index.bytes, 0);
    release_bed();
}

/* In rising order nodes stay full; in falling order it works as well. */
static void test_rising_and_falling(void **state)
{
    (void)state;
    for (unsigned falling = 0; falling < 2; falling++) {
        setup_bed();
        for (unsigned i = 0; i < RECORDS; i++) {
            unsigned id = falling != 0 ? RECORDS - 1 - i : i;
            bed.references[id] = record_add(id, memory_fixture_integer(id), "a");
            assert_int_equal(order_index_insert(&bed.index, bed.references[id]), 0);
        }
        order_index_check(&bed.index);
        assert_true(bed.index.bytes < (size_t)RECORDS * (falling != 0 ? 30 : 14));
        struct range range = {.index = &bed.fixture.indexes[0]};
        struct order_range place;
        order_range_init(&place, &bed.index, &range);
        assert_int_equal(order_range_count(&place, UINT64_MAX), RECORDS);
        assert_int_equal(order_range_count(&place, 10), 10);
        for (unsigned id = 0; id < RECORDS; id++) {
            assert_int_equal(id_of(order_range_next(&place)), id);
        }
        assert_int_equal(order_range_next(&place), 0);
        for (unsigned i = 0; i < RECORDS; i++) {
            unsigned id = falling != 0 ? i : RECORDS - 1 - i;
            order_index_remove(&bed.index, bed.references[id]);
        }
        assert_int_equal(bed.index.bytes, 0);
        release_bed();
    }
}

/* A bound between integers, as filters have them. */
static void test_float_bounds(void **state)
{
    (void)state;
    setup_bed();
    for (unsigned id = 0; id < 100; id++) {
        bed.references[id] = record_add(id, memory_fixture_integer((int64_t)id - 50), "a");
        assert_int_equal(order_index_insert(&bed.index, bed.references[id]), 0);
    }
    struct range range = {.index = &bed.fixture.indexes[0], .has_lower = true, .has_upper = true};
    range.lower = (struct value){.kind = VALUE_FLOAT, .real = -2.5};
    range.upper = (struct value){.kind = VALUE_FLOAT, .real = 1e300};
    struct order_range place;
    order_range_init(&place, &bed.index, &range);
    assert_int_equal(id_of(order_range_next(&place)), 48);
    assert_int_equal(order_range_count(&place, 1000), 51);
    range.lower.real = -1e300;
    range.upper.real = -2.5;
    order_range_init(&place, &bed.index, &range);
    assert_int_equal(order_range_count(&place, 1000), 48);
    range.upper = memory_fixture_integer(-2);
    range.upper_open = true;
    order_range_init(&place, &bed.index, &range);
    assert_int_equal(order_range_count(&place, 1000), 48);
    release_bed();
}

static void test_no_room(void **state)
{
    (void)state;
    setup_bed();
    struct random random = random_start("order index without room");
    for (unsigned id = 0; id < RECORDS; id++) {
        bed.references[id] = record_random(&random, id);
    }
    bed.pages.taken_max = bed.pages.taken;
    assert_int_equal(order_index_insert(&bed.index, bed.references[0]), -CODE_OVERLOADED);
    unsigned refused = 0;
    for (unsigned id = 0; id < RECORDS; id++) {
        while (order_index_insert(&bed.index, bed.references[id]) != 0) {
            uint64_t count = bed.index.count;
            uint64_t bytes = bed.index.bytes;
            assert_int_equal(order_index_insert(&bed.index, bed.references[id]), -CODE_OVERLOADED);
            assert_int_equal(bed.index.count, count);
            assert_int_equal(bed.index.bytes, bytes);
            bed.pages.taken_max++;
            refused++;
        }
    }
    assert_true(refused > 3);
    order_index_check(&bed.index);
    release_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_rising_and_falling),
        cmocka_unit_test(test_float_bounds),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

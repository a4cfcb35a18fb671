#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/layer.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/memory_values.h"
#include "tests/lib/random.h"

static unsigned calls;
static uint64_t seen[4];

static void first_listener(struct write_listener *listener, const struct write_event *event)
{
    (void)listener;
    assert_int_equal(calls % 2, 0);
    seen[calls++] = event->sequence;
}

static void second_listener(struct write_listener *listener, const struct write_event *event)
{
    (void)listener;
    assert_int_equal(calls % 2, 1);
    seen[calls++] = event->sequence;
}

static void test_listeners_in_order(void **state)
{
    (void)state;
    struct world world;
    struct write_listener first = {.on_write = first_listener};
    struct write_listener second = {.on_write = second_listener};
    world_init(&world);
    world_listen(&world, &first);
    world_listen(&world, &second);
    calls = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct write_event event = {.sequence = world_advance(&world)};
        world_publish(&world, &event);
    }
    assert_int_equal(calls, 4);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 1);
    assert_int_equal(seen[3], 2);
}

static void test_pins(void **state)
{
    (void)state;
    struct world world;
    struct pin early, late;
    world_init(&world);
    assert_true(world_oldest_pin(&world) == UINT64_MAX);
    world_advance(&world);
    pin_take(&world, &early);
    world_advance(&world);
    pin_take(&world, &late);
    assert_int_equal(world_oldest_pin(&world), 1);
    pin_put(&early);
    assert_int_equal(world_oldest_pin(&world), 2);
    pin_put(&early); /* twice does no harm */
    pin_put(&late);
    assert_true(world_oldest_pin(&world) == UINT64_MAX);
}

static const struct record *find_one(struct store *store, const uint8_t *key, size_t size)
{
    (void)store;
    return size == 1 ? (const struct record *)(const void *)key : NULL;
}

static void test_find_many_without_the_layers_help(void **state)
{
    (void)state;
    static const struct store_ops ops = {.find = find_one};
    struct store store = {.ops = &ops};
    uint8_t bytes[8] __attribute__((aligned(8))) = {1, 2};
    struct store_key keys[] = {{bytes, 1}, {bytes, 2}};
    const struct record *found[2];
    store_find_many(&store, keys, 2, found);
    assert_ptr_equal(found[0], bytes);
    assert_null(found[1]);
}

/* ---- Ranges ---- */

enum { RANGE_ROUNDS = 3000, RANGE_RECORDS = 40 };

static const enum type_kind range_kinds[] = {TYPE_INTEGER, TYPE_STRING, TYPE_DATETIME, TYPE_UUID};

struct range_bed {
    struct random random;
    struct memory_fixture fixture;
    struct arena arena;
    struct memory_row rows[RANGE_RECORDS];
    const struct record *records[RANGE_RECORDS];
};

static int random_code(struct range_bed *bed, bool nil)
{
    return nil && random_below(&bed->random, 4) == 0 ? MEMORY_NIL
                                                     : (int)random_below(&bed->random, 4);
}

static void make_range_bed(struct range_bed *bed)
{
    memory_values_init();
    arena_init(&bed->arena, 0);
    memory_fixture_init(&bed->fixture, "thing");
    memory_fixture_field(&bed->fixture, TYPE_INTEGER);
    for (size_t i = 0; i < ARRAY_COUNT(range_kinds); i++) {
        memory_fixture_field(&bed->fixture, range_kinds[i]);
    }
    memory_fixture_primary_key(&bed->fixture, 1);
    memory_fixture_index(&bed->fixture, (int[]){1, 2, -1});
    memory_fixture_index(&bed->fixture, (int[]){3, 4, 1, -1});
    memory_fixture_index(&bed->fixture, (int[]){2, -1});
    for (unsigned i = 0; i < RANGE_RECORDS; i++) {
        struct value values[1 + ARRAY_COUNT(range_kinds)] = {memory_fixture_integer(i)};
        for (unsigned j = 1; j < ARRAY_COUNT(values); j++) {
            bed->rows[i].code[j] = random_code(bed, true);
            values[j] = memory_value(range_kinds[j - 1], bed->rows[i].code[j]);
        }
        bed->records[i] = memory_fixture_record(&bed->fixture, &bed->arena, values);
    }
}

static void make_range(struct range_bed *bed, struct range *range, struct memory_bounds *bounds)
{
    const struct field *fields = bed->fixture.fields;
    *range = (struct range){
        .index =
            &bed->fixture.indexes[random_below(&bed->random, bed->fixture.resource.index_count)]};
    const struct field_list *list = &range->index->fields;
    range->equal_count = (uint16_t)random_below(&bed->random, list->count + 1u);
    for (unsigned i = 0; i < range->equal_count; i++) {
        bounds->equal[i] = random_code(bed, false);
        range->equal[i] = memory_value(fields[list->fields[i]].type.kind, bounds->equal[i]);
    }
    if (range->equal_count == list->count) {
        return;
    }
    enum type_kind kind = fields[list->fields[range->equal_count]].type.kind;
    range->has_lower = random_below(&bed->random, 2) == 0;
    range->has_upper = random_below(&bed->random, 2) == 0;
    range->lower_open = random_below(&bed->random, 2) == 0;
    range->upper_open = random_below(&bed->random, 2) == 0;
    bounds->lower = random_code(bed, false);
    bounds->upper = random_code(bed, false);
    range->lower = memory_value(kind, bounds->lower);
    range->upper = memory_value(kind, bounds->upper);
}

static void test_range_keeps(void **state)
{
    (void)state;
    static struct range_bed bed;
    bed = (struct range_bed){.random = random_start("range_keeps")};
    make_range_bed(&bed);
    unsigned kept = 0;
    for (unsigned round = 0; round < RANGE_ROUNDS; round++) {
        struct range range;
        struct memory_bounds bounds;
        make_range(&bed, &range, &bounds);
        for (unsigned i = 0; i < RANGE_RECORDS; i++) {
            bool keeps = range_keeps(&range, &bed.fixture.resource, bed.records[i]);
            assert_int_equal(keeps, memory_in_range(&range, &bounds, &bed.rows[i]));
            kept += keeps;
        }
    }
    assert_true(kept > RANGE_ROUNDS);
    arena_release(&bed.arena);
}

/* ---- What is taken ---- */

struct taken_bed {
    struct memory_fixture fixture;
    struct buffer key;
};

static void make_taken_bed(struct taken_bed *bed)
{
    struct value values[] = {memory_fixture_integer(7), memory_fixture_text("a")};
    *bed = (struct taken_bed){.key = BUFFER_INIT};
    memory_fixture_init(&bed->fixture, "thing");
    memory_fixture_field(&bed->fixture, TYPE_INTEGER);
    memory_fixture_field(&bed->fixture, TYPE_STRING);
    memory_fixture_primary_key(&bed->fixture, 1);
    memory_fixture_identity(&bed->fixture, (int[]){0, 1, -1});
    memory_fixture_identity(&bed->fixture, (int[]){1, -1});
    memory_fixture_key(&bed->key, values, 2);
}

static void test_taken(void **state)
{
    (void)state;
    struct taken_bed bed;
    struct error error = ERROR_INIT;
    make_taken_bed(&bed);
    const struct resource *resource = &bed.fixture.resource;
    const struct identity *identities = bed.fixture.identities;
    assert_int_equal(store_taken(resource, NULL, bed.key.bytes, 1, NULL), -CODE_CONFLICT);
    assert_int_equal(store_taken(resource, NULL, bed.key.bytes, 1, &error), -CODE_CONFLICT);
    assert_int_equal(error.code, CODE_CONFLICT);
    assert_string_equal(error.message, "a thing with the primary key f0 7 is there already");
    assert_string_equal(error.resource, "thing");
    assert_string_equal(error.field, "f0");
    assert_int_equal(error.key_size, 1);
    assert_memory_equal(error.key, "\x07", 1);
    error_clear(&error);
    store_taken(resource, &identities[0], bed.key.bytes, bed.key.size, &error);
    assert_string_equal(error.message,
                        "another thing has the identity unique ([7, \"a\"]) already");
    assert_string_equal(error.field, ""); /* there are two */
    assert_int_equal(error.key_size, 4);
    assert_memory_equal(error.key,
                        "\x92\x07\xa1"
                        "a",
                        4);
    error_clear(&error);
    store_taken(resource, &identities[1], bed.key.bytes + 1, bed.key.size - 1, &error);
    assert_string_equal(error.message, "another thing has the identity unique (f1 \"a\") already");
    assert_string_equal(error.field, "f1");
    buffer_release(&bed.key);
}

/* Without memory it tells the same, at most without the key. */
static void test_taken_without_memory(void **state)
{
    (void)state;
    struct taken_bed bed;
    make_taken_bed(&bed);
    bool failed = true;
    for (long count = 0; failed; count++) {
        struct error error = ERROR_INIT;
        heap_fail_at(count);
        assert_int_equal(store_taken(&bed.fixture.resource, NULL, bed.key.bytes, 1, &error),
                         -CODE_CONFLICT);
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_int_equal(error.code, CODE_CONFLICT);
        assert_string_equal(error.message, "a thing with the primary key f0 7 is there already");
    }
    buffer_release(&bed.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_in_order),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_find_many_without_the_layers_help),
        cmocka_unit_test(test_range_keeps),
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_taken_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

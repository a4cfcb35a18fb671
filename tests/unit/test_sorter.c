#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "layers/query/pile.h"
#include "layers/query/sorter.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"
#include "tests/lib/schema_fixture.h"

/* The sorter against qsort, and the pile that it keeps its items in. */

static const char *const yaml =
    "version: 1\n"
    "resources:\n"
    "  thing:\n"
    "    fields: {id: integer, number: integer, text: string, at: datetime, real: float,\n"
    "             flag: boolean, bytes: binary}\n";

enum { ID, NUMBER, TEXT, AT, REAL, FLAG, BYTES, FIELDS };

static const int64_t numbers[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
static const char *const texts[] = {"",          "a",         "a b",     "abcdefgh",
                                    "abcdefghi", "abcdefghj", "\xc3\xa4"};
static const double reals[] = {-1e300, -1.5, 0, 1e-300, 2, 1e300};
static const int64_t moments[] = {-100000000000, -8589934592, -1, 0, 1, 8589934591, 100000000000};

#define PICK(random, list) (list)[random_below((random), ARRAY_COUNT(list))]

/* Nil, or a value near the borders of what a prefix can tell. */
static void write_any(struct random *random, struct buffer *map, unsigned field)
{
    const char *text = PICK(random, texts);
    if (random_below(random, 6) == 0) {
        write_nil(map);
        return;
    }
    switch (field) {
    case NUMBER:
        write_integer(map, PICK(random, numbers));
        break;
    case TEXT:
        write_text(map, text);
        break;
    case AT:
        write_datetime(map, &(struct datetime){PICK(random, moments),
                                               (uint32_t)random_below(random, 2) * 999999999});
        break;
    case REAL:
        write_float(map, PICK(random, reals));
        break;
    case FLAG:
        write_boolean(map, random_below(random, 2));
        break;
    default:
        write_binary(map, text, strlen(text));
        break;
    }
}

static const struct record *random_record(struct random *random, const struct resource *resource,
                                          struct arena *arena, int64_t id)
{
    struct buffer map = BUFFER_INIT;
    write_map(&map, FIELDS);
    for (unsigned i = 0; i < FIELDS; i++) {
        write_text(&map, resource->fields[i].name);
        if (i == ID) {
            write_integer(&map, id);
        } else {
            write_any(random, &map, i);
        }
    }
    const struct record *record = fixture_record(resource, arena, map.bytes, map.size);
    buffer_release(&map);
    return record;
}

struct keys {
    const struct resource *resource;
    struct order_item items[4];
    uint16_t count;
};

static int compare(const void *a, const void *b, void *context)
{
    const struct keys *keys = context;
    for (unsigned i = 0; i < keys->count; i++) {
        struct value one, two;
        record_load(*(const struct record *const *)a, keys->resource, keys->items[i].field, &one);
        record_load(*(const struct record *const *)b, keys->resource, keys->items[i].field, &two);
        int order = order_compare_values(&keys->items[i], &one, &two);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

static void random_keys(struct random *random, struct keys *keys)
{
    keys->count = 0;
    for (uint64_t i = random_below(random, 3); i > 0; i--) {
        keys->items[keys->count++] =
            (struct order_item){.field = (uint16_t)(1 + random_below(random, FIELDS - 1)),
                                .descending = random_below(random, 2),
                                .nils_first = random_below(random, 2)};
    }
    keys->items[keys->count++] = (struct order_item){.field = ID};
}

enum { THINGS = 6000 };

static void check_sort(struct random *random, const struct keys *keys, struct arena *arena,
                       const struct record *const *records, size_t count, size_t most)
{
    static const struct record *expected[THINGS];
    struct sorter sorter;
    enum run_status status;
    memcpy(expected, records, count * sizeof(*records));
    struct keys compared = *keys;
    qsort_r(expected, count, sizeof(*expected), compare, &compared);
    sorter_init(&sorter, keys->resource, keys->items, keys->count, arena);
    sorter_start(&sorter, most);
    for (size_t i = 0; i < count; i++) {
        int code = sorter_add(&sorter, records[i], NULL);
        assert_true(code == 0 || (code == SORTER_REJECTED && most > 0));
    }
    do {
        uint64_t budget = 1 + random_below(random, 3000);
        status = sorter_sort(&sorter, &budget);
        assert_true(status == RUN_DONE || budget == 0);
    } while (status == RUN_MORE);
    assert_int_equal(status, RUN_DONE);
    assert_int_equal(sorter.items.count, most > 0 && most < count ? most : count);
    for (size_t i = 0; i < sorter.items.count; i++) {
        assert_ptr_equal(sorter_at(&sorter, i), expected[i]);
    }
}

static void test_sorts_as_qsort(void **state)
{
    (void)state;
    static const struct record *records[THINGS];
    struct random random = random_start("test_sorts_as_qsort");
    struct schema *schema = schema_fixture(yaml);
    struct keys keys = {.resource = fixture_resource(schema, "thing")};
    struct arena arena = {0}, work = {0};
    for (size_t i = 0; i < THINGS; i++) {
        records[i] = random_record(&random, keys.resource, &arena, (int64_t)(i * 7919 % THINGS));
    }
    for (unsigned i = 0; i < 40; i++) {
        size_t count = random_below(&random, i < 4 ? THINGS : 200);
        size_t most = random_below(&random, 2) * (1 + random_below(&random, 50));
        random_keys(&random, &keys);
        check_sort(&random, &keys, &work, records, count, most);
        arena_reset(&work);
    }
    arena_release(&arena);
    arena_release(&work);
    schema_put(schema);
}

/* The compiler cannot know that there is room. */
static void *pushed(struct pile *pile)
{
    void *place = pile_push(pile);
    assert_non_null(place);
    if (place == NULL) {
        abort();
    }
    return place;
}

static void test_pile(void **state)
{
    (void)state;
    enum { COUNT = 3 * PILE_CHUNK_ITEMS + 5 };
    struct arena arena = {0};
    struct pile pile;
    pile_init(&pile, sizeof(uint64_t), &arena);
    for (unsigned round = 0; round < 2; round++) {
        size_t before = arena.total;
        for (uint64_t i = 0; i < COUNT; i++) {
            *(uint64_t *)pushed(&pile) = i * 3;
        }
        for (uint64_t i = 0; i < COUNT; i++) {
            assert_int_equal(*(uint64_t *)pile_at(&pile, i), i * 3);
        }
        assert_true(round == 0 || arena.total == before);
        pile.count = 0;
    }
    arena_release(&arena);
}

static void test_pile_reserve(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 8, 9, 100, 4095, 4096, 4097, 9000};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct arena arena = {0};
        struct pile pile;
        pile_init(&pile, sizeof(uint32_t), &arena);
        assert_int_equal(pile_reserve(&pile, counts[i]), 0);
        assert_true(pile_capacity(&pile) >= counts[i]);
        size_t total = arena.total;
        for (uint32_t at = 0; at < counts[i]; at++) {
            *(uint32_t *)pushed(&pile) = at;
        }
        assert_int_equal(arena.total, total);
        for (uint32_t at = (uint32_t)counts[i]; at < 10000; at++) {
            *(uint32_t *)pushed(&pile) = at;
        }
        for (uint32_t at = 0; at < 10000; at++) {
            assert_int_equal(*(uint32_t *)pile_at(&pile, at), at);
        }
        arena_release(&arena);
    }
}

static void test_pile_lacks_memory(void **state)
{
    (void)state;
    struct arena arena;
    struct pile pile;
    arena_init(&arena, 16384);
    pile_init(&pile, 64, &arena);
    size_t count = 0;
    while (pile_push(&pile) != NULL) {
        count++;
    }
    assert_true(count > 0 && count < 1000);
    assert_int_equal(pile.count, count);
    pile.count = 0;
    assert_int_equal(pile_reserve(&pile, 100000), -CODE_OVERLOADED);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts_as_qsort),
        cmocka_unit_test(test_pile),
        cmocka_unit_test(test_pile_reserve),
        cmocka_unit_test(test_pile_lacks_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

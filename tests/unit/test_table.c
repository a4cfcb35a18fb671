#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/memory/change.h"
#include "layers/memory/cursor.h"
#include "layers/memory/memory.h"
#include "layers/memory/table.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/memory_fixture.h"

/* One thing at a time; the random test against a model is test_memory.c. The
 * resource: id integer, name text (an identity), number integer (an index). */
struct bed {
    struct memory_fixture fixture;
    struct world world;
    struct memory *memory;
    struct store *store;
    struct table *table;
    struct arena arena;
};

static struct bed bed;

static int setup(void **state)
{
    (void)state;
    memset(&bed, 0, sizeof(bed));
    memory_fixture_init(&bed.fixture, "person");
    memory_fixture_field(&bed.fixture, TYPE_INTEGER);
    memory_fixture_field(&bed.fixture, TYPE_STRING);
    memory_fixture_field(&bed.fixture, TYPE_INTEGER);
    memory_fixture_primary_key(&bed.fixture, 1);
    memory_fixture_identity(&bed.fixture, (int[]){1, -1});
    memory_fixture_index(&bed.fixture, (int[]){2, -1});
    memory_fixture_index(&bed.fixture, (int[]){1, 2, -1});
    world_init(&bed.world);
    bed.memory = memory_create_sized(&bed.world, 128ULL * 1024 * 1024);
    assert_non_null(bed.memory);
    bed.store = memory_table_create(bed.memory, &bed.fixture.resource);
    assert_non_null(bed.store);
    bed.table = table_of(bed.store);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    memory_table_free(bed.store);
    assert_int_equal(bed.memory->pages.taken, 0);
    memory_free(bed.memory);
    arena_release(&bed.arena);
    return 0;
}

static const struct record *image(int64_t id, const char *name, int64_t number)
{
    struct value values[] = {memory_fixture_integer(id),
                             name != NULL ? memory_fixture_text(name) : value_nil(),
                             memory_fixture_integer(number)};
    return memory_fixture_record(&bed.fixture, &bed.arena, values);
}

static const struct record *find(int64_t id)
{
    uint8_t key[WRITE_HEADER_MAX];
    size_t size = encode_integer(key, id);
    return bed.store->ops->find(bed.store, key, size);
}

static int64_t number_of(const struct record *record)
{
    struct value value;
    record_load(record, &bed.fixture.resource, 2, &value);
    return value.integer;
}

static int put(const struct record *old, int64_t id, const char *name, int64_t number)
{
    const struct record *stored;
    bed.store->ops->begin(bed.store);
    int rc = bed.store->ops->put(bed.store, old, image(id, name, number), &stored, NULL);
    bed.store->ops->commit(bed.store);
    return rc;
}

static void remove_one(int64_t id)
{
    bed.store->ops->begin(bed.store);
    assert_int_equal(bed.store->ops->remove(bed.store, find(id), NULL), 0);
    bed.store->ops->commit(bed.store);
}

static void turns(void)
{
    while (memory_turn(bed.memory)) {
    }
}

/* ---- Conflicts ---- */

static void test_conflicts_name_what_is_taken(void **state)
{
    (void)state;
    const struct record *stored;
    struct error error = ERROR_INIT;
    uint8_t key[WRITE_HEADER_MAX];
    size_t key_size = encode_integer(key, 7);
    assert_int_equal(put(NULL, 7, "Ann", 1), 0);
    bed.store->ops->begin(bed.store);
    assert_int_equal(bed.store->ops->put(bed.store, NULL, image(7, "Bob", 2), &stored, &error),
                     -CODE_CONFLICT);
    assert_string_equal(error.message, "a person with the primary key f0 7 is there already");
    assert_string_equal(error.resource, "person");
    assert_string_equal(error.field, "f0");
    assert_int_equal(error.key_size, key_size);
    assert_memory_equal(error.key, key, key_size);
    error = (struct error)ERROR_INIT;
    assert_int_equal(bed.store->ops->put(bed.store, NULL, image(8, "Ann", 2), &stored, &error),
                     -CODE_CONFLICT);
    assert_string_equal(error.message,
                        "another person has the identity unique (f1 \"Ann\") already");
    assert_string_equal(error.field, "f1");
    /* Nil is no identity, and one's own is not taken. */
    assert_int_equal(bed.store->ops->put(bed.store, NULL, image(8, NULL, 2), &stored, &error), 0);
    assert_int_equal(bed.store->ops->put(bed.store, NULL, image(9, NULL, 2), &stored, &error), 0);
    assert_int_equal(bed.store->ops->put(bed.store, find(7), image(7, "Ann", 3), &stored, &error),
                     0);
    bed.store->ops->commit(bed.store);
    assert_int_equal(bed.store->counters.records, 3);
    assert_int_equal(number_of(find(7)), 3);
    table_check(bed.table);
}

static void test_identity_freed_within_a_transaction(void **state)
{
    (void)state;
    const struct record *stored;
    assert_int_equal(put(NULL, 1, "Ann", 1), 0);
    for (unsigned round = 0; round < 2; round++) {
        bed.store->ops->begin(bed.store);
        assert_int_equal(bed.store->ops->remove(bed.store, find(1), NULL), 0);
        assert_int_equal(bed.store->ops->put(bed.store, NULL, image(2, "Ann", 2), &stored, NULL),
                         0);
        assert_int_equal(bed.store->ops->put(bed.store, NULL, image(1, "Bob", 3), &stored, NULL),
                         0);
        if (round == 0) {
            bed.store->ops->rollback(bed.store);
            assert_null(find(2));
            assert_int_equal(number_of(find(1)), 1);
        } else {
            bed.store->ops->commit(bed.store);
            assert_int_equal(number_of(find(2)), 2);
            assert_int_equal(number_of(find(1)), 3);
        }
        table_check(bed.table);
    }
}

/* ---- Who holds what was replaced ---- */

static void test_pin_holds_what_was_replaced(void **state)
{
    (void)state;
    struct pin pin;
    assert_int_equal(put(NULL, 1, "Ann", 10), 0);
    const struct record *seen = find(1);
    pin_take(&bed.world, &pin);
    assert_int_equal(put(seen, 1, "Ann", 11), 0);
    assert_int_equal(put(find(1), 1, "Ann", 12), 0);
    turns();
    assert_int_equal(number_of(seen), 10);
    assert_int_equal(bed.table->garbage.count, 2);
    pin_put(&pin);
    /* A later pin does not hold it. */
    pin_take(&bed.world, &pin);
    turns();
    assert_int_equal(bed.table->garbage.count, 0);
    assert_int_equal(number_of(find(1)), 12);
    pin_put(&pin);
}

static void test_cursor_shows_its_moment(void **state)
{
    (void)state;
    struct store_cursor cursor;
    struct range range = {.index = &bed.fixture.indexes[0]};
    for (int64_t id = 0; id < 100; id++) {
        assert_int_equal(put(NULL, id, NULL, id), 0);
    }
    assert_int_equal(bed.store->ops->range(bed.store, &range, &cursor), 0);
    for (int64_t id = 0; id < 10; id++) {
        assert_int_equal(number_of(bed.store->ops->next(&cursor)), id);
    }
    for (int64_t id = 0; id < 100; id += 2) {
        assert_int_equal(put(find(id), id, NULL, id + 1000), 0);
        remove_one(id + 1);
        assert_int_equal(put(NULL, id + 2000, NULL, id), 0);
        (void)memory_turn(bed.memory);
    }
    for (int64_t id = 10; id < 100; id++) {
        assert_int_equal(number_of(bed.store->ops->next(&cursor)), id);
    }
    assert_null(bed.store->ops->next(&cursor));
    bed.store->ops->close(&cursor);
    turns();
    assert_int_equal(bed.table->garbage.count, 0);
    assert_int_equal(bed.table->orders[0].dead, 0);
    table_check(bed.table);
}

static void test_oldest_cursor(void **state)
{
    (void)state;
    struct store_cursor first, second;
    assert_true(table_oldest_cursor(bed.table) == UINT64_MAX);
    assert_int_equal(bed.store->ops->scan(bed.store, &first), 0);
    uint64_t moment = table_oldest_cursor(bed.table);
    assert_int_equal(put(NULL, 1, NULL, 1), 0);
    assert_int_equal(bed.store->ops->scan(bed.store, &second), 0);
    assert_int_equal(table_oldest_cursor(bed.table), moment);
    bed.store->ops->close(&first);
    assert_true(table_oldest_cursor(bed.table) > moment);
    bed.store->ops->close(&second);
    assert_true(table_oldest_cursor(bed.table) == UINT64_MAX);
}

static void test_cursor_left_open_holds_nothing_after_its_end(void **state)
{
    (void)state;
    struct store_cursor cursor;
    assert_int_equal(bed.store->ops->scan(bed.store, &cursor), 0);
    assert_null(bed.store->ops->next(&cursor));
    assert_int_equal(put(NULL, 1, NULL, 1), 0);
    remove_one(1);
    turns();
    assert_int_equal(bed.table->garbage.count, 0);
    assert_null(bed.store->ops->next(&cursor));
    bed.store->ops->close(&cursor);
}

static void test_cursor_opened_in_a_transaction_that_is_rolled_back(void **state)
{
    (void)state;
    const struct record *stored;
    struct store_cursor cursor;
    struct range range = {.index = &bed.fixture.indexes[0]};
    assert_int_equal(put(NULL, 1, NULL, 1), 0);
    bed.store->ops->begin(bed.store);
    for (int64_t id = 2; id < 5; id++) {
        assert_int_equal(bed.store->ops->put(bed.store, NULL, image(id, NULL, id), &stored, NULL),
                         0);
    }
    assert_int_equal(bed.store->ops->range(bed.store, &range, &cursor), 0);
    assert_int_equal(number_of(bed.store->ops->next(&cursor)), 1);
    assert_int_equal(number_of(bed.store->ops->next(&cursor)), 2);
    bed.store->ops->rollback(bed.store);
    turns();
    assert_null(bed.store->ops->next(&cursor));
    bed.store->ops->close(&cursor);
    turns();
    assert_int_equal(bed.table->garbage.count, 0);
    table_check(bed.table);
}

/* ---- Bounded work ---- */

static void test_turns_are_bounded(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    bed.store->ops->begin(bed.store);
    const struct record *stored;
    for (int64_t id = 0; id < MANY; id++) {
        assert_int_equal(bed.store->ops->put(bed.store, NULL, image(id, NULL, id), &stored, NULL),
                         0);
    }
    bed.store->ops->commit(bed.store);
    turns();
    uint64_t full = bed.store->counters.bytes;
    bed.store->ops->begin(bed.store);
    for (int64_t id = 0; id < MANY; id++) {
        assert_int_equal(bed.store->ops->remove(bed.store, find(id), NULL), 0);
    }
    bed.store->ops->commit(bed.store);
    unsigned count = 0;
    size_t before = bed.table->garbage.count;
    assert_int_equal(before, MANY);
    while (memory_turn(bed.memory)) {
        assert_true(before - bed.table->garbage.count <= 5000);
        before = bed.table->garbage.count;
        count++;
    }
    assert_true(count >= 2);
    assert_int_equal(bed.table->garbage.count, 0);
    assert_int_equal(bed.store->counters.records, 0);
    assert_true(bed.store->counters.bytes < full / 10);
}

static void test_large_records(void **state)
{
    (void)state;
    enum { LARGE = 3 * 1024 * 1024 };
    char *name = malloc(LARGE + 1);
    assert_non_null(name);
    memset(name, 'n', LARGE);
    name[LARGE] = 0;
    for (int64_t id = 0; id < 4; id++) {
        name[0] = (char)('a' + id);
        assert_int_equal(put(NULL, id, name, id), 0);
    }
    struct store_cursor cursor;
    unsigned count = 0;
    assert_int_equal(bed.store->ops->scan(bed.store, &cursor), 0);
    while (bed.store->ops->next(&cursor) != NULL) {
        count++;
    }
    bed.store->ops->close(&cursor);
    assert_int_equal(count, 4);
    remove_one(2);
    turns();
    assert_null(find(2));
    assert_int_equal(number_of(find(3)), 3);
    free(name);
}

static void test_find_many(void **state)
{
    (void)state;
    enum { KEYS = 50 };
    uint8_t bytes[KEYS][WRITE_HEADER_MAX];
    struct store_key keys[KEYS];
    const struct record *found[KEYS];
    for (int64_t id = 0; id < KEYS; id++) {
        size_t size = encode_integer(bytes[id], id);
        keys[id] = (struct store_key){bytes[id], size};
    }
    store_find_many(bed.store, keys, KEYS, found);
    for (int64_t id = 0; id < KEYS; id++) {
        assert_null(found[id]);
    }
    for (int64_t id = 0; id < KEYS; id += 3) {
        assert_int_equal(put(NULL, id, NULL, id), 0);
    }
    store_find_many(bed.store, keys, KEYS, found);
    for (int64_t id = 0; id < KEYS; id++) {
        assert_ptr_equal(found[id], find(id));
        assert_int_equal(found[id] != NULL, id % 3 == 0);
    }
}

/* ---- Lack of room ---- */

/* Each allocation of four creates fails in its turn: the one that it was in
 * answers overloaded and did nothing, the others are done. */
static void fail_each(bool watched)
{
    static const char *const names[] = {"Ann", "Bea", NULL, "Dan"};
    enum { IMAGES = 4 };
    bool failed = true;
    long at;
    for (at = 0; failed; at++) {
        struct store_cursor cursor;
        const struct record *stored;
        memory_table_free(bed.store);
        bed.store = memory_table_create(bed.memory, &bed.fixture.resource);
        assert_non_null(bed.store);
        bed.table = table_of(bed.store);
        const struct record *images[IMAGES];
        for (unsigned i = 0; i < IMAGES; i++) {
            images[i] = image(i, names[i], i);
        }
        if (watched) {
            assert_int_equal(bed.store->ops->scan(bed.store, &cursor), 0);
        }
        int rcs[IMAGES];
        unsigned done = 0;
        heap_fail_at(at);
        bed.store->ops->begin(bed.store);
        for (unsigned i = 0; i < IMAGES; i++) {
            struct error error = ERROR_INIT;
            rcs[i] = bed.store->ops->put(bed.store, NULL, images[i], &stored, &error);
            assert_int_equal(error.code, -rcs[i]);
            done += rcs[i] == 0 ? 1 : 0;
        }
        failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_int_equal(done, failed ? IMAGES - 1 : IMAGES);
        assert_int_equal(bed.store->counters.records, done);
        table_check(bed.table);
        for (unsigned i = 0; i < IMAGES; i++) {
            assert_true(rcs[i] == 0 || rcs[i] == -CODE_OVERLOADED);
            assert_int_equal(find(i) != NULL, rcs[i] == 0);
        }
        if (at % 2 == 0) {
            bed.store->ops->commit(bed.store);
        } else {
            bed.store->ops->rollback(bed.store);
            assert_int_equal(bed.store->counters.records, 0);
        }
        table_check(bed.table);
        if (watched) {
            assert_null(bed.store->ops->next(&cursor));
            bed.store->ops->close(&cursor);
        }
        turns();
        table_check(bed.table);
    }
    assert_true(at > (watched ? 6 : 5));
}

static void test_memory_lacks(void **state)
{
    (void)state;
    fail_each(false);
}

static void test_memory_lacks_while_a_cursor_is_open(void **state)
{
    (void)state;
    fail_each(true);
}

static void test_creating_without_memory(void **state)
{
    (void)state;
    for (long at = 0; at < 3; at++) {
        heap_fail_at(at);
        struct store *store = memory_table_create(bed.memory, &bed.fixture.resource);
        assert_int_equal(store == NULL, heap_failed());
        heap_fail_at(-1);
        memory_table_free(store);
    }
    heap_fail_at(0);
    assert_null(memory_create(&bed.world));
    heap_fail_at(-1);
    struct memory *memory = memory_create(&bed.world);
    assert_non_null(memory);
    memory_free(memory);
}

/* Pages run out, at every step of a put; what goes makes room again. */
static void test_pages_run_out(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct pages *pages = &bed.memory->pages;
    const struct record *stored;
    char name[32];
    int64_t id = 0;
    for (uint32_t limit = 1; limit < 30; limit++) {
        pages->taken_max = limit;
        int rc = 0;
        while (rc == 0) {
            snprintf(name, sizeof(name), "name %d", (int)(id * 7919 % 100003));
            bed.store->ops->begin(bed.store);
            rc = bed.store->ops->put(bed.store, NULL, image(id, name, id * 31 % 1000), &stored,
                                     &error);
            bed.store->ops->commit(bed.store);
            id += rc == 0 ? 1 : 0;
            arena_reset(&bed.arena);
        }
        assert_int_equal(rc, -CODE_OVERLOADED);
        assert_int_equal(error.code, CODE_OVERLOADED);
        assert_null(find(id));
        assert_int_equal(bed.store->counters.records, id);
    }
    table_check(bed.table);
    assert_true(id > 1000);
    for (int64_t gone = 0; gone < id; gone++) {
        remove_one(gone);
    }
    turns();
    assert_int_equal(put(NULL, 1, NULL, 1), 0);
    pages->taken_max = pages->count;
    table_check(bed.table);
}

static void test_tables_share_pages(void **state)
{
    (void)state;
    struct store *other = memory_table_create(bed.memory, &bed.fixture.resource);
    const struct record *stored;
    for (int64_t id = 0; id < 500; id++) {
        assert_int_equal(put(NULL, id, NULL, id), 0);
        other->ops->begin(other);
        assert_int_equal(other->ops->put(other, NULL, image(id, NULL, -id), &stored, NULL), 0);
        other->ops->commit(other);
    }
    struct store_cursor cursor;
    const struct record *record;
    int64_t sum = 0;
    assert_int_equal(other->ops->scan(other, &cursor), 0);
    while ((record = other->ops->next(&cursor)) != NULL) {
        sum += number_of(record);
    }
    other->ops->close(&cursor);
    assert_int_equal(sum, -500 * 499 / 2);
    assert_true(memory_bytes(bed.memory) >= (uint64_t)2 * 1024 * 1024);
    memory_table_free(other);
    table_check(bed.table);
    assert_int_equal(number_of(find(499)), 499);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_conflicts_name_what_is_taken),
        TEST(test_identity_freed_within_a_transaction),
        TEST(test_pin_holds_what_was_replaced),
        TEST(test_cursor_shows_its_moment),
        TEST(test_oldest_cursor),
        TEST(test_cursor_left_open_holds_nothing_after_its_end),
        TEST(test_cursor_opened_in_a_transaction_that_is_rolled_back),
        TEST(test_turns_are_bounded),
        TEST(test_large_records),
        TEST(test_find_many),
        TEST(test_memory_lacks),
        TEST(test_memory_lacks_while_a_cursor_is_open),
        TEST(test_creating_without_memory),
        TEST(test_pages_run_out),
        TEST(test_tables_share_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "layers/hash_table.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum { ITEMS = 3000 };

struct item {
    struct hash_table_node node;
    uint64_t hash;
    unsigned in;
};

static struct item items[ITEMS];

static bool found(const struct hash_table *table, const struct item *item)
{
    unsigned times = 0;
    struct hash_table_node *node = hash_table_find(table, item->hash);
    for (; node != NULL; node = hash_table_next(node)) {
        times += CONTAINER_OF(node, struct item, node) == item;
        assert_true(node->hash == item->hash);
    }
    assert_true(times <= 1);
    return times == 1;
}

static void against_a_flag(struct hash_table *table, unsigned steps)
{
    size_t count = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        /* Many share a hash, and many more a bucket. */
        items[i] = (struct item){.hash = (uint64_t)(rand() % (ITEMS / 2)) << (rand() % 2 * 20)};
    }
    for (unsigned step = 0; step < steps; step++) {
        struct item *item = &items[(size_t)rand() % ITEMS];
        assert_int_equal(found(table, item), item->in);
        if (item->in) {
            hash_table_remove(table, &item->node);
            count--;
        } else {
            hash_table_insert(table, &item->node, item->hash);
            count++;
        }
        item->in = !item->in;
        assert_int_equal(table->count, count);
    }
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(found(table, &items[i]), items[i].in);
    }
}

static void seed_once(void)
{
    const char *given = getenv("RELATA_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
}

static void test_against_a_flag(void **state)
{
    (void)state;
    seed_once();
    struct hash_table table;
    hash_table_init(&table);
    against_a_flag(&table, 30000);
    hash_table_clear(&table);
    assert_int_equal(table.count, 0);
    assert_false(found(&table, &items[0]));
    against_a_flag(&table, 3000);
    hash_table_release(&table);
}

static void test_without_memory_it_still_finds(void **state)
{
    (void)state;
    seed_once();
    struct hash_table table;
    hash_table_init(&table);
    for (size_t i = 0; i < 500; i++) {
        items[i] = (struct item){.hash = i * 7};
        heap_fail_at(0);
        hash_table_insert(&table, &items[i].node, items[i].hash);
        heap_fail_at(-1);
    }
    assert_int_equal(table.mask, HASH_TABLE_FEW - 1);
    for (size_t i = 0; i < 500; i++) {
        assert_true(found(&table, &items[i]));
    }
    /* Once there is memory again, it grows. */
    hash_table_remove(&table, &items[0].node);
    hash_table_insert(&table, &items[0].node, 0);
    assert_true(table.mask > HASH_TABLE_FEW - 1);
    for (size_t i = 0; i < 500; i++) {
        assert_true(found(&table, &items[i]));
    }
    hash_table_release(&table);
}

static void test_clear_keeps_a_small_one(void **state)
{
    (void)state;
    struct hash_table table;
    hash_table_init(&table);
    struct item *many = calloc((size_t)2 * HASH_TABLE_KEEP, sizeof(*many));
    assert_non_null(many);
    for (size_t i = 0; i < 100; i++) {
        hash_table_insert(&table, &many[i].node, i);
    }
    size_t mask = table.mask;
    hash_table_clear(&table);
    assert_int_equal(table.mask, mask);
    for (size_t i = 0; i < (size_t)2 * HASH_TABLE_KEEP; i++) {
        hash_table_insert(&table, &many[i].node, i);
    }
    hash_table_clear(&table);
    assert_int_equal(table.mask, HASH_TABLE_FEW - 1);
    hash_table_release(&table);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_flag),
        cmocka_unit_test(test_without_memory_it_still_finds),
        cmocka_unit_test(test_clear_keeps_a_small_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

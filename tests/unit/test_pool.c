#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "layers/load/pool.h"
#include "protocol/base/heap.h"

enum { OBJECTS_MAX = 3000 };

static void test_objects_lie_apart(void **state)
{
    (void)state;
    const char *given = getenv("RELATA_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    struct pool pool;
    pool_init(&pool, 100);
    static uint8_t *objects[OBJECTS_MAX];
    static uint8_t marks[OBJECTS_MAX];
    size_t count = 0;
    for (unsigned step = 0; step < 60000; step++) {
        bool grows = step / 4000 % 2 == 0;
        if (count < OBJECTS_MAX && (count == 0 || rand() % 10 < (grows ? 7 : 3))) {
            objects[count] = pool_get(&pool);
            assert_non_null(objects[count]);
            assert_int_equal((uintptr_t)objects[count] % 8, 0);
            marks[count] = (uint8_t)rand();
            memset(objects[count], marks[count], 100);
            count++;
            continue;
        }
        size_t i = (size_t)rand() % count;
        for (size_t byte = 0; byte < 100; byte++) {
            assert_int_equal(objects[i][byte], marks[i]);
        }
        pool_put(&pool, objects[i]);
        objects[i] = objects[--count];
        marks[i] = marks[count];
        assert_int_equal(pool.live, count);
    }
    while (count > 0) {
        pool_put(&pool, objects[--count]);
    }
    pool_release(&pool);
}

static void test_begins_again_when_all_are_back(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 64);
    void *first = pool_get(&pool);
    void *second = pool_get(&pool);
    pool_put(&pool, first);
    pool_put(&pool, second);
    assert_ptr_equal(pool_get(&pool), first);
    assert_ptr_equal(pool_get(&pool), second);
    pool_put(&pool, first);
    pool_put(&pool, second);
    pool_release(&pool);
}

static void test_what_exceeds_the_kept_goes_back(void **state)
{
    (void)state;
    enum { SIZE = 16 * 1024, COUNT = 4 * POOL_KEEP_BYTES / SIZE };
    struct pool pool;
    pool_init(&pool, SIZE);
    void *objects[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = pool_get(&pool);
        assert_non_null(objects[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        pool_put(&pool, objects[i]);
    }
    /* What is kept needs no memory, and is no more than promised. */
    heap_fail_at(0);
    size_t kept = 0;
    while ((objects[kept] = pool_get(&pool)) != NULL) {
        kept++;
    }
    heap_fail_at(-1);
    assert_true(kept > 0 && kept * SIZE <= POOL_KEEP_BYTES);
    while (kept > 0) {
        pool_put(&pool, objects[--kept]);
    }
    pool_release(&pool);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 64);
    heap_fail_at(0);
    assert_null(pool_get(&pool));
    assert_true(heap_failed());
    heap_fail_at(-1);
    void *object = pool_get(&pool);
    assert_non_null(object);
    pool_put(&pool, object);
    pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_lie_apart),
        cmocka_unit_test(test_begins_again_when_all_are_back),
        cmocka_unit_test(test_what_exceeds_the_kept_goes_back),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

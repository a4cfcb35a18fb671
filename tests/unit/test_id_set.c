#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "protocol/id_set.h"
#include "tests/lib/random.h"

static void an_empty_set_takes_no_memory(void **state)
{
    (void)state;
    struct id_set set = {0};
    uint32_t id;
    void *value;
    assert_false(id_set_has(&set, 1));
    assert_false(id_set_remove(&set, 1, NULL));
    assert_false(id_set_take(&set, &id, &value));
    assert_null(set.slots);
    id_set_release(&set);
}

static void any_id_will_do(void **state)
{
    (void)state;
    struct id_set set = {0};
    static const uint32_t ids[] = {0, 1, UINT32_MAX, UINT32_MAX - 1, 1u << 31};
    int values[5];
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(id_set_add(&set, ids[i], &values[i]), 0);
    }
    assert_int_equal(set.count, 5);
    for (size_t i = 0; i < 5; i++) {
        void *value = NULL;
        assert_true(id_set_has(&set, ids[i]));
        assert_true(id_set_remove(&set, ids[i], &value));
        assert_ptr_equal(value, &values[i]);
        assert_false(id_set_has(&set, ids[i]));
    }
    id_set_release(&set);
}

/* Against an array that says what is in. */
static void agrees_with_an_array(void **state)
{
    (void)state;
    struct random random = random_start("id_set");
    hash_seed(random_next(&random));
    enum { IDS = 3000 };
    static int in[IDS];
    uint32_t count = 0;
    struct id_set set = {0};
    for (int step = 0; step < 300000; step++) {
        /* Now more go in, now more come out. */
        bool filling = step / 20000 % 2 == 0;
        uint32_t index = (uint32_t)random_below(&random, IDS);
        uint32_t id = index * 2654435761u;
        assert_int_equal(id_set_has(&set, id), in[index]);
        if (!in[index] && random_below(&random, 4) < (filling ? 3 : 1)) {
            assert_int_equal(id_set_add(&set, id, &in[index]), 0);
            in[index] = 1;
            count++;
        } else if (random_below(&random, 4) < (filling ? 1 : 3)) {
            void *value = NULL;
            assert_int_equal(id_set_remove(&set, id, &value), in[index]);
            assert_ptr_equal(value, in[index] ? &in[index] : NULL);
            count -= in[index] ? 1 : 0;
            in[index] = 0;
        }
        assert_int_equal(set.count, count);
    }
    uint32_t id;
    void *value;
    while (id_set_take(&set, &id, &value)) {
        int *place = value;
        assert_int_equal(*place, 1);
        assert_int_equal((uint32_t)(place - in) * 2654435761u, id);
        *place = 0;
        count--;
    }
    assert_int_equal(count, 0);
    id_set_release(&set);
}

static void a_large_table_goes_when_it_is_empty(void **state)
{
    (void)state;
    struct id_set set = {0};
    for (uint32_t id = 0; id < 10000; id++) {
        assert_int_equal(id_set_add(&set, id, NULL), 0);
    }
    assert_true(set.capacity >= 10000);
    for (uint32_t id = 0; id < 10000; id++) {
        assert_true(id_set_remove(&set, id, NULL));
    }
    assert_true(set.capacity <= 1024);
    assert_int_equal(id_set_add(&set, 7, NULL), 0);
    assert_true(id_set_has(&set, 7));
    id_set_release(&set);
}

static void lack_of_memory_loses_nothing(void **state)
{
    (void)state;
    bool passed = false;
    long count = 0;
    for (; !passed; count++) {
        struct id_set set = {0};
        uint32_t added = 0;
        int status = 0;
        heap_fail_at(count);
        while (added < 200 && status == 0) {
            status = id_set_add(&set, added, NULL);
            added += status == 0 ? 1 : 0;
        }
        passed = !heap_failed();
        heap_fail_at(-1);
        assert_int_equal(status, passed ? 0 : -CODE_OVERLOADED);
        assert_int_equal(set.count, added);
        for (uint32_t id = 0; id < 200; id++) {
            assert_int_equal(id_set_has(&set, id), id < added);
        }
        id_set_release(&set);
    }
    assert_true(count > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_takes_no_memory),
        cmocka_unit_test(any_id_will_do),
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(a_large_table_goes_when_it_is_empty),
        cmocka_unit_test(lack_of_memory_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/absents.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* Names that are doubted after a while; a random run against a plain list. */

static struct absents absents;
static char taken[64];

static void on_taken(void *context, const uint8_t *name, size_t size)
{
    assert_ptr_equal(context, &absents);
    assert_true(size < sizeof taken);
    memcpy(taken, name, size);
    taken[size] = '\0';
}

static bool take(uint64_t now_us)
{
    return absents_take(&absents, now_us, on_taken, &absents);
}

static bool add(const char *name, uint64_t due_us)
{
    return absents_add(&absents, (const uint8_t *)name, strlen(name), due_us);
}

static int setup(void **state)
{
    (void)state;
    hash_seed(7);
    absents_init(&absents);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_at(-1);
    absents_release(&absents);
    return 0;
}

static void each_is_doubted_once(void **state)
{
    (void)state;
    assert_false(take(UINT64_MAX));
    assert_true(add("a", 10));
    assert_true(add("b", 20));
    assert_true(add("a", 30)); /* it is in it already */
    assert_false(take(9));
    assert_true(take(10));
    assert_string_equal(taken, "a");
    assert_false(take(19));
    assert_true(add("a", 30));
    assert_true(take(30));
    assert_string_equal(taken, "b");
    assert_true(take(30));
    assert_string_equal(taken, "a");
    assert_false(take(UINT64_MAX));
}

static void there_is_a_bound(void **state)
{
    char name[32];
    (void)state;
    for (unsigned i = 0; i < ABSENTS_MAX; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_true(add(name, i));
    }
    assert_false(add("more", ABSENTS_MAX));
    assert_true(add("7", ABSENTS_MAX));
    assert_true(take(0));
    assert_true(add("more", ABSENTS_MAX));
    absents_clear(&absents);
    assert_false(take(UINT64_MAX));
    heap_fail_at(0);
    assert_false(add("a", 1));
}

static void is_a_queue_at_random(void **state)
{
    enum { NAMES = 40 };
    struct random random = random_start("is_a_queue_at_random");
    uint64_t due[NAMES] = {0}; /* 0: not in it */
    uint64_t now = 1;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char name[32];
        now += random_below(&random, 3);
        unsigned which = (unsigned)random_below(&random, NAMES);
        snprintf(name, sizeof name, "n%u", which);
        if (random_below(&random, 2) == 0) {
            assert_true(add(name, now + 50));
            due[which] = due[which] == 0 ? now + 50 : due[which];
            continue;
        }
        uint64_t first = UINT64_MAX;
        for (unsigned i = 0; i < NAMES; i++) {
            first = due[i] != 0 && due[i] < first ? due[i] : first;
        }
        assert_int_equal(take(now), first <= now);
        if (first <= now) {
            unsigned got = NAMES;
            assert_int_equal(sscanf(taken, "n%u", &got), 1);
            assert_true(got < NAMES);
            assert_int_equal(due[got], first);
            due[got] = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_is_doubted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(there_is_a_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(is_a_queue_at_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/write_locks.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* Locks of keys: who has one, who is next, and who gives up waiting; a random run
 * against plain lists of numbers. */

/* Somebody who wants a key. */
struct taker {
    struct write_ticket ticket;
    unsigned granted;       /* times */
    unsigned at;            /* of all grants: the how many-th */
    struct taker *gives_up; /* when granted, this one's ticket is given back at once */
};

static struct write_locks locks;
static unsigned grants;

static void on_granted(struct write_ticket *ticket)
{
    struct taker *taker = CONTAINER_OF(ticket, struct taker, ticket);
    taker->granted++;
    taker->at = ++grants;
    if (taker->gives_up != NULL) {
        write_unlock(&locks, &taker->gives_up->ticket);
    }
}

static struct taker nobody(void)
{
    return (struct taker){.ticket = {.granted = on_granted}};
}

static int lock(struct taker *taker, const char *key)
{
    return write_lock(&locks, &taker->ticket, (const uint8_t *)key, strlen(key));
}

static void unlock(struct taker *taker)
{
    write_unlock(&locks, &taker->ticket);
}

static bool hold(const char *key)
{
    return write_locks_hold(&locks, (const uint8_t *)key, strlen(key));
}

static int setup(void **state)
{
    (void)state;
    hash_seed(1);
    grants = 0;
    write_locks_init(&locks);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    write_locks_release(&locks); /* checks that nothing is left */
    return 0;
}

static void test_one(void **state)
{
    (void)state;
    struct taker taker = nobody();
    assert_false(hold("a"));
    assert_int_equal(lock(&taker, "a"), 1);
    assert_true(hold("a"));
    assert_false(hold("b"));
    assert_false(hold(""));
    unlock(&taker);
    assert_false(hold("a"));
    unlock(&taker); /* once more does no harm */
    assert_int_equal(lock(&taker, "a"), 1);
    unlock(&taker);
    assert_int_equal(taker.granted, 0); /* who is first is not called */
}

static void gives_back(struct write_ticket *ticket)
{
    grants++;
    write_unlock(&locks, ticket);
}

/* Each gives it back as soon as he has it: that takes no stack. */
static void test_a_long_row(void **state)
{
    enum { TAKERS = 200000 };
    (void)state;
    struct taker *takers = heap_zero(TAKERS, sizeof *takers);
    assert_non_null(takers);
    for (unsigned i = 0; i < TAKERS; i++) {
        takers[i].ticket.granted = gives_back;
        assert_int_equal(lock(&takers[i], "a"), i == 0 ? 1 : 0);
    }
    unlock(&takers[0]);
    assert_int_equal(grants, TAKERS - 1);
    assert_false(hold("a"));
    heap_free(takers);
}

static void test_in_the_order_of_asking(void **state)
{
    (void)state;
    struct taker takers[5];
    for (unsigned i = 0; i < ARRAY_COUNT(takers); i++) {
        takers[i] = nobody();
        assert_int_equal(lock(&takers[i], "key"), i == 0);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(takers); i++) {
        assert_int_equal(grants, i);
        assert_int_equal(takers[i].at, i);
        assert_true(hold("key"));
        unlock(&takers[i]);
    }
    assert_false(hold("key"));
}

/* Who leaves the queue is not granted, and moves nobody else up. */
static void test_leaving_while_waiting(void **state)
{
    (void)state;
    struct taker a = nobody(), b = nobody(), c = nobody();
    assert_int_equal(lock(&a, "key"), 1);
    assert_int_equal(lock(&b, "key"), 0);
    assert_int_equal(lock(&c, "key"), 0);
    unlock(&b);
    assert_int_equal(grants, 0);
    unlock(&a);
    assert_int_equal(b.granted, 0);
    assert_int_equal(c.granted, 1);
    assert_int_equal(lock(&b, "key"), 0); /* and may come again, behind */
    unlock(&c);
    assert_int_equal(b.granted, 1);
    unlock(&b);
}

/* A key's bytes are copied, may be none, and zeros count. */
static void test_keys(void **state)
{
    (void)state;
    static const uint8_t zeros[] = {0, 0, 0};
    uint8_t bytes[] = {'k', 'e', 'y'};
    struct taker none = nobody(), one = nobody(), two = nobody(), key = nobody();
    assert_int_equal(write_lock(&locks, &none.ticket, zeros, 0), 1);
    assert_int_equal(write_lock(&locks, &one.ticket, zeros, 1), 1);
    assert_int_equal(write_lock(&locks, &two.ticket, zeros, 2), 1);
    assert_int_equal(write_lock(&locks, &key.ticket, bytes, sizeof(bytes)), 1);
    memset(bytes, 'x', sizeof(bytes));
    assert_true(hold("key"));
    assert_false(write_locks_hold(&locks, zeros, 3));
    unlock(&one);
    assert_true(write_locks_hold(&locks, zeros, 0));
    assert_false(write_locks_hold(&locks, zeros, 1));
    assert_true(write_locks_hold(&locks, zeros, 2));
    unlock(&none);
    unlock(&two);
    unlock(&key);
}

/* A grant that gives the key back from inside, its own or somebody else's place. */
static void test_giving_back_from_inside(void **state)
{
    (void)state;
    struct taker a = nobody(), b = nobody(), c = nobody(), d = nobody();
    assert_int_equal(lock(&a, "key"), 1);
    assert_int_equal(lock(&b, "key"), 0);
    assert_int_equal(lock(&c, "key"), 0);
    assert_int_equal(lock(&d, "key"), 0);
    b.gives_up = &b; /* so that c has it at once, */
    c.gives_up = &d; /* who sends the last one away */
    unlock(&a);
    assert_int_equal(b.at, 1);
    assert_int_equal(c.at, 2);
    assert_int_equal(d.granted, 0);
    assert_true(hold("key"));
    unlock(&c);
    assert_false(hold("key"));
}

/* The last one of all gives it back from inside: the key is gone. */
static void test_last_gives_back_from_inside(void **state)
{
    (void)state;
    struct taker a = nobody(), b = nobody();
    assert_int_equal(lock(&a, "key"), 1);
    assert_int_equal(lock(&b, "key"), 0);
    b.gives_up = &b;
    unlock(&a);
    assert_int_equal(b.granted, 1);
    assert_false(hold("key"));
}

static void test_many_keys(void **state)
{
    (void)state;
    enum { KEYS = 3000 };
    static struct taker takers[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        takers[i] = nobody();
        assert_int_equal(write_lock(&locks, &takers[i].ticket, (const uint8_t *)&i, sizeof(i)), 1);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_true(write_locks_hold(&locks, (const uint8_t *)&i, sizeof(i)));
        write_unlock(&locks, &takers[i].ticket);
        assert_false(write_locks_hold(&locks, (const uint8_t *)&i, sizeof(i)));
    }
}

static void test_without_memory(void **state)
{
    (void)state;
    struct taker a = nobody(), b = nobody();
    heap_fail_at(0);
    assert_int_equal(lock(&a, "key"), -CODE_OVERLOADED);
    heap_fail_at(-1);
    assert_false(hold("key"));
    unlock(&a); /* has no place */
    assert_int_equal(lock(&a, "key"), 1);
    heap_fail_at(0);
    assert_int_equal(lock(&b, "key"), 0); /* a queue that is there needs none */
    heap_fail_at(-1);
    unlock(&a);
    assert_int_equal(b.granted, 1);
    unlock(&b);
}

/* ---- Random ---- */

enum { KEYS = 5, TAKERS = 12, STEPS = 20000 };

struct model {
    int queues[KEYS][TAKERS]; /* takers in order */
    unsigned counts[KEYS];
    int key_of[TAKERS]; /* -1: none */
    unsigned granted[TAKERS];
};

static void model_leave(struct model *model, int taker)
{
    int key = model->key_of[taker];
    unsigned at = 0;
    while (model->queues[key][at] != taker) {
        at++;
    }
    model->counts[key]--;
    for (unsigned i = at; i < model->counts[key]; i++) {
        model->queues[key][i] = model->queues[key][i + 1];
    }
    model->key_of[taker] = -1;
    if (at == 0 && model->counts[key] > 0) {
        model->granted[model->queues[key][0]]++;
    }
}

static void test_random(void **state)
{
    (void)state;
    static const char *const names[KEYS] = {"", "a", "ab", "b", "ba"};
    struct random random = random_start("write locks");
    struct taker takers[TAKERS];
    struct model model = {0};
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = nobody();
        model.key_of[i] = -1;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        int taker = (int)random_below(&random, TAKERS);
        unsigned key = (unsigned)random_below(&random, KEYS);
        if (model.key_of[taker] < 0) {
            assert_int_equal(lock(&takers[taker], names[key]), model.counts[key] == 0);
            model.queues[key][model.counts[key]++] = taker;
            model.key_of[taker] = (int)key;
        } else {
            unlock(&takers[taker]);
            model_leave(&model, taker);
        }
        for (int i = 0; i < TAKERS; i++) {
            assert_int_equal(takers[i].granted, model.granted[i]);
        }
        assert_int_equal(hold(names[key]), model.counts[key] > 0);
    }
    for (int i = 0; i < TAKERS; i++) {
        unlock(&takers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_long_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_the_order_of_asking, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_while_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_giving_back_from_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_gives_back_from_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

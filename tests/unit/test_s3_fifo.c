#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "layers/s3_fifo.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* Who goes first, who comes back, what is remembered without memory; and a
 * random run against two plain arrays. */

enum { NODES = 400, MAIN = 1 };

struct fixture {
    struct s3_fifo fifo;
    struct s3_fifo_node nodes[NODES];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    s3_fifo_init(&f->fifo);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    s3_fifo_release(&f->fifo);
    free(f);
    return 0;
}

/* Spread over the ghosts' sets, and never the same. */
static uint64_t hash_of(size_t node)
{
    struct random random = {.state = node};
    return random_next(&random);
}

static void insert(struct fixture *f, size_t node, size_t bytes)
{
    s3_fifo_begin(&f->fifo, &f->nodes[node], hash_of(node));
    s3_fifo_insert(&f->fifo, &f->nodes[node], bytes);
}

static size_t victim(struct fixture *f, uint64_t bytes_max)
{
    struct s3_fifo_node *node = s3_fifo_victim(&f->fifo, bytes_max);
    assert_non_null(node);
    return (size_t)(node - f->nodes);
}

static void evict(struct fixture *f, size_t node)
{
    s3_fifo_evict(&f->fifo, &f->nodes[node], hash_of(node));
}

static void test_empty(void **state)
{
    struct fixture *f = *state;
    struct list all;
    list_init(&all);
    assert_null(s3_fifo_victim(&f->fifo, 100));
    assert_null(s3_fifo_victim(&f->fifo, 0));
    s3_fifo_move_all(&f->fifo, &all);
    assert_true(list_empty(&all));
    assert_int_equal(s3_fifo_bytes(&f->fifo), 0);
}

static void test_oldest_goes_first(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 5; i++) {
        insert(f, i, 10);
    }
    s3_fifo_remove(&f->fifo, &f->nodes[1]);
    assert_int_equal(s3_fifo_bytes(&f->fifo), 40);
    assert_int_equal(f->fifo.count, 4);
    /* Asking changes nothing. */
    assert_int_equal(victim(f, 50), 0);
    assert_int_equal(victim(f, 50), 0);
    static const size_t order[] = {0, 2, 3, 4};
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        assert_int_equal(victim(f, 50), order[i]);
        evict(f, order[i]);
    }
    assert_null(s3_fifo_victim(&f->fifo, 50));
    assert_int_equal(s3_fifo_bytes(&f->fifo), 0);
    assert_int_equal(f->fifo.count, 0);
}

static void test_hits(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 3; i++) {
        insert(f, i, 10);
    }
    s3_fifo_hit(&f->nodes[0]);
    for (unsigned i = 0; i < 100; i++) {
        s3_fifo_hit(&f->nodes[1]);
    }
    assert_int_equal(f->nodes[1].hits, S3_FIFO_HITS_MAX);
    assert_int_equal(f->nodes[1].bytes, 10);
    assert_int_equal(victim(f, 50), 0); /* one hit is too few */
    evict(f, 0);
    assert_int_equal(victim(f, 50), 2); /* 1 has moved on */
    assert_int_equal(f->nodes[1].queue, MAIN);
    evict(f, 2);
    assert_int_equal(victim(f, 50), 1);
}

/* In the main queue one hit is one more round. */
static void test_rounds(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 3; i++) {
        insert(f, i, 10);
    }
    const struct s3_fifo_node from = {.queue = MAIN, .hits = 1};
    for (size_t i = 0; i < 3; i++) {
        s3_fifo_remove(&f->fifo, &f->nodes[i]);
        s3_fifo_inherit(&f->nodes[i], &from);
        s3_fifo_insert(&f->fifo, &f->nodes[i], 10);
    }
    s3_fifo_hit(&f->nodes[0]);
    assert_int_equal(victim(f, 100), 1);
    assert_int_equal(f->nodes[0].hits, 0);
}

/* An eviction ends, however often all were hit. */
static void test_all_are_hit(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < NODES; i++) {
        insert(f, i, 1);
        for (unsigned n = 0; n < 3; n++) {
            s3_fifo_hit(&f->nodes[i]);
        }
    }
    for (size_t i = 0; i < NODES; i++) {
        evict(f, victim(f, NODES));
    }
    assert_int_equal(f->fifo.count, 0);
}

static void test_ghosts(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < NODES; i++) {
        insert(f, i, 1);
    }
    for (size_t i = 0; i < NODES / 2; i++) {
        assert_int_equal(victim(f, NODES), i);
        evict(f, i);
    }
    unsigned back = 0;
    for (size_t i = NODES / 2 - 50; i < NODES / 2; i++) {
        s3_fifo_begin(&f->fifo, &f->nodes[i], hash_of(i));
        back += f->nodes[i].queue == MAIN;
    }
    assert_int_equal(back, 50);
    /* Others do not begin there, and neither does one that was removed. */
    s3_fifo_remove(&f->fifo, &f->nodes[NODES - 1]);
    s3_fifo_begin(&f->fifo, &f->nodes[NODES - 1], hash_of(NODES - 1));
    assert_int_equal(f->nodes[NODES - 1].queue, 0);
}

/* As many are remembered as there are entries. */
static void test_ghosts_are_forgotten(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < NODES; i++) {
        insert(f, i, 1);
        if (i >= 20) {
            evict(f, victim(f, 20));
        }
    }
    s3_fifo_begin(&f->fifo, &f->nodes[NODES - 22], hash_of(NODES - 22));
    assert_int_equal(f->nodes[NODES - 22].queue, MAIN);
    s3_fifo_begin(&f->fifo, &f->nodes[NODES - 60], hash_of(NODES - 60));
    assert_int_equal(f->nodes[NODES - 60].queue, 0);
}

static void test_ghosts_without_memory(void **state)
{
    struct fixture *f = *state;
    insert(f, 0, 1);
    heap_fail_at(0);
    evict(f, 0);
    assert_true(heap_failed());
    heap_fail_at(-1);
    insert(f, 0, 1);
    assert_int_equal(f->nodes[0].queue, 0);
    evict(f, 0);
    insert(f, 1, 1);
    insert(f, 0, 1);
    assert_int_equal(f->nodes[0].queue, MAIN);
}

static void test_move_all(void **state)
{
    struct fixture *f = *state;
    struct list all;
    list_init(&all);
    for (size_t i = 0; i < 10; i++) {
        insert(f, i, 10);
        f->nodes[i].hits = i % 2 == 0 ? 2 : 0;
    }
    assert_int_equal(victim(f, 10), 1); /* 0 is in the main queue now */
    s3_fifo_move_all(&f->fifo, &all);
    assert_int_equal(f->fifo.count, 0);
    assert_int_equal(s3_fifo_bytes(&f->fifo), 0);
    size_t count = 0;
    LIST_EACH(link, &all)
    {
        count++;
    }
    assert_int_equal(count, 10);
    insert(f, 20, 1);
    assert_int_equal(victim(f, 10), 20);
}

/* ---- Random ---- */

enum { ROUNDS = 100000, BYTES_MAX = 3000 };

struct plain {
    size_t queues[2][NODES]; /* oldest first */
    size_t counts[2];
    uint8_t hits[NODES];
    uint64_t bytes[NODES];
    bool in[NODES];
};

static void plain_add(struct plain *plain, unsigned queue, size_t node)
{
    plain->queues[queue][plain->counts[queue]++] = node;
}

static unsigned plain_take(struct plain *plain, size_t node)
{
    for (unsigned queue = 0; queue < 2; queue++) {
        size_t *nodes = plain->queues[queue];
        for (size_t i = 0; i < plain->counts[queue]; i++) {
            if (nodes[i] == node) {
                plain->counts[queue]--;
                memmove(nodes + i, nodes + i + 1, (plain->counts[queue] - i) * sizeof *nodes);
                return queue;
            }
        }
    }
    fail();
    return 0;
}

static uint64_t plain_bytes(const struct plain *plain, unsigned queue)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plain->counts[queue]; i++) {
        bytes += plain->bytes[plain->queues[queue][i]];
    }
    return bytes;
}

static size_t plain_victim(struct plain *plain)
{
    for (unsigned step = 0;; step++) {
        unsigned queue = plain_bytes(plain, 0) > BYTES_MAX / 10 || plain->counts[1] == 0 ? 0 : 1;
        size_t node = plain->queues[queue][0];
        if (step == 63 || plain->hits[node] < (queue == 0 ? 2 : 1)) {
            return node;
        }
        plain->hits[node] = queue == 0 ? 0 : (uint8_t)(plain->hits[node] - 1);
        plain_take(plain, node);
        plain_add(plain, 1, node);
    }
}

static void random_step(struct fixture *f, struct plain *plain, struct random *random)
{
    size_t node = random_below(random, NODES);
    if (!plain->in[node]) {
        plain->in[node] = true;
        plain->hits[node] = 0;
        plain->bytes[node] = 1 + random_below(random, 60);
        insert(f, node, plain->bytes[node]);
        plain_add(plain, f->nodes[node].queue, node);
    } else if (random_below(random, 20) == 0) {
        plain->in[node] = false;
        plain_take(plain, node);
        s3_fifo_remove(&f->fifo, &f->nodes[node]);
    } else {
        s3_fifo_hit(&f->nodes[node]);
        plain->hits[node] = (uint8_t)(plain->hits[node] + (plain->hits[node] < 3));
    }
}

static void test_random(void **state)
{
    struct fixture *f = *state;
    struct random random = random_start("test_s3_fifo");
    struct plain plain = {.counts = {0}};
    unsigned evicted = 0, from_main = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_step(f, &plain, &random);
        while (s3_fifo_bytes(&f->fifo) > BYTES_MAX) {
            size_t node = plain_victim(&plain);
            assert_int_equal(victim(f, BYTES_MAX), node);
            evict(f, node);
            plain.in[node] = false;
            from_main += plain_take(&plain, node);
            evicted++;
        }
        assert_int_equal(s3_fifo_bytes(&f->fifo), plain_bytes(&plain, 0) + plain_bytes(&plain, 1));
        assert_int_equal(f->fifo.count, plain.counts[0] + plain.counts[1]);
    }
    assert_true(evicted > 1000 && from_main > 100 && evicted - from_main > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oldest_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_are_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ghosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ghosts_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ghosts_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_move_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "layers/schema/circles.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

static void a_circle_is_told_in_its_order(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct circles circles;
    uint32_t members[4];
    assert_int_equal(circles_init(&circles, &arena, 6), 0);
    circles_add(&circles, 0, 1); /* leads into the circle */
    circles_add(&circles, 1, 5); /* leads nowhere */
    circles_add(&circles, 1, 2);
    circles_add(&circles, 2, 3);
    circles_add(&circles, 3, 1);
    circles_add(&circles, 4, 4);
    assert_int_equal(circles_next(&circles, members, 4), 3);
    assert_int_equal(members[0], 1);
    assert_int_equal(members[1], 2);
    assert_int_equal(members[2], 3);
    assert_int_equal(circles_next(&circles, members, 4), 1);
    assert_int_equal(members[0], 4);
    assert_int_equal(circles_next(&circles, members, 4), 0);
    assert_int_equal(circles_next(&circles, members, 4), 0);
    arena_release(&arena);
}

static void long_circles_are_counted_whole(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct circles circles;
    uint32_t members[2];
    enum { COUNT = 100000 };
    assert_int_equal(circles_init(&circles, &arena, COUNT), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        circles_add(&circles, i, (i + 1) % COUNT);
    }
    assert_int_equal(circles_next(&circles, members, 2), COUNT);
    assert_int_equal(circles_next(&circles, members, 2), 0);
    arena_release(&arena);
}

enum { NODES = 7 };

/* Whether there is a way from a node back to itself, by trying all. */
static bool has_circle(bool edges[NODES][NODES])
{
    bool reach[NODES][NODES];
    memcpy(reach, edges, sizeof(reach));
    for (int k = 0; k < NODES; k++) {
        for (int i = 0; i < NODES; i++) {
            for (int j = 0; j < NODES; j++) {
                reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
            }
        }
    }
    for (int i = 0; i < NODES; i++) {
        if (reach[i][i]) {
            return true;
        }
    }
    return false;
}

static void circles_are_found_where_there_are_some(void **state)
{
    (void)state;
    struct random random = random_start("circles");
    for (int round = 0; round < 20000; round++) {
        struct arena arena = {0};
        struct circles circles;
        bool edges[NODES][NODES] = {{false}};
        assert_int_equal(circles_init(&circles, &arena, NODES), 0);
        for (uint64_t i = random_below(&random, 12); i > 0; i--) {
            uint32_t from = (uint32_t)random_below(&random, NODES);
            uint32_t to = (uint32_t)random_below(&random, NODES);
            edges[from][to] = true;
            circles_add(&circles, from, to);
        }
        uint32_t members[NODES];
        size_t count, found = 0;
        bool told[NODES] = {false};
        while ((count = circles_next(&circles, members, NODES)) > 0) {
            found++;
            for (size_t i = 0; i < count; i++) {
                assert_true(edges[members[i]][members[(i + 1) % count]]);
                assert_false(told[members[i]]);
                told[members[i]] = true;
            }
        }
        assert_int_equal(found > 0, has_circle(edges));
        arena_release(&arena);
    }
}

/* What leads to a marked node, by trying all ways. */
static void marks_spread_to_all_that_lead_there(void **state)
{
    (void)state;
    struct random random = random_start("circles_spread");
    for (int round = 0; round < 5000; round++) {
        struct arena arena = {0};
        struct circles circles;
        bool edges[NODES][NODES] = {{false}};
        bool marked[NODES] = {false}, expected[NODES] = {false};
        assert_int_equal(circles_init(&circles, &arena, NODES), 0);
        for (uint64_t i = random_below(&random, 12); i > 0; i--) {
            uint32_t from = (uint32_t)random_below(&random, NODES);
            uint32_t to = (uint32_t)random_below(&random, NODES);
            edges[from][to] = true;
            circles_add(&circles, from, to);
        }
        for (uint64_t i = random_below(&random, 3); i > 0; i--) {
            uint64_t node = random_below(&random, NODES);
            marked[node] = expected[node] = true;
        }
        for (int i = 0; i < NODES * NODES * NODES; i++) {
            int from = i % NODES, to = i / NODES % NODES;
            expected[from] = expected[from] || (edges[from][to] && expected[to]);
        }
        circles_spread(&circles, marked);
        assert_memory_equal(marked, expected, sizeof(marked));
        arena_release(&arena);
    }
}

static void failing_memory_finds_nothing(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct circles circles;
    heap_fail_at(0);
    assert_int_equal(circles_init(&circles, &arena, 4), -CODE_OVERLOADED);
    heap_fail_at(-1);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_circle_is_told_in_its_order),
        cmocka_unit_test(long_circles_are_counted_whole),
        cmocka_unit_test(circles_are_found_where_there_are_some),
        cmocka_unit_test(marks_spread_to_all_that_lead_there),
        cmocka_unit_test(failing_memory_finds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

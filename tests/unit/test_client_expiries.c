#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "clients/c/expiries.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

enum { NODES = 200, STEPS = 20000 };

/* Against a plain search for the earliest. */
static void keeps_the_earliest_at_hand(void **state)
{
    (void)state;
    struct random random = random_start("expiries");
    static struct expiry nodes[NODES];
    static bool is_in[NODES];
    struct expiries expiries = {0};
    for (int step = 0; step < STEPS; step++) {
        size_t at = random_below(&random, NODES);
        if (is_in[at]) {
            expiries_remove(&expiries, &nodes[at]);
        } else {
            nodes[at].at_ms = random_below(&random, 50);
            assert_int_equal(expiries_add(&expiries, &nodes[at]), 0);
        }
        is_in[at] = !is_in[at];

        uint64_t earliest = UINT64_MAX;
        size_t count = 0;
        for (size_t i = 0; i < NODES; i++) {
            earliest = is_in[i] && nodes[i].at_ms < earliest ? nodes[i].at_ms : earliest;
            count += is_in[i] ? 1 : 0;
        }
        const struct expiry *first = expiries_first(&expiries);
        assert_int_equal(expiries.count, count);
        assert_true(count == 0 ? first == NULL : first->at_ms == earliest);
    }
    expiries_release(&expiries);
}

static void tells_lack_of_memory(void **state)
{
    (void)state;
    struct expiries expiries = {0};
    struct expiry node = {.at_ms = 1};
    heap_fail_at(0);
    assert_int_equal(expiries_add(&expiries, &node), -CODE_OVERLOADED);
    heap_fail_at(-1);
    assert_null(expiries_first(&expiries));
    expiries_release(&expiries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_earliest_at_hand),
        cmocka_unit_test(tells_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

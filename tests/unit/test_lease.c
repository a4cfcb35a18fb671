#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/lease.h"
#include "protocol/base/check.h"
#include "tests/lib/random.h"

/* Each transition of the lease, its edges in time, its ring; and a random run
 * against a plain list of what was sent. */

static const uint64_t START = 1000000;

static void test_begin_and_end(void **state)
{
    (void)state;
    struct lease lease = {0};
    assert_int_equal(lease_cover(&lease, 0), 0);
    assert_int_equal(lease_cover(&lease, START), 0);
    lease_begin(&lease, 7, START);
    assert_int_equal(lease_cover(&lease, START), 7);
    assert_int_equal(lease_cover(&lease, START + LEASE_US - 1), 7);
    assert_int_equal(lease_cover(&lease, START + LEASE_US), 0);
    /* It has lapsed, but the session goes on. */
    assert_int_equal(lease.cover, 7);
    lease_end(&lease);
    assert_int_equal(lease.cover, 0);
    assert_int_equal(lease_cover(&lease, START), 0);
    lease_end(&lease);
    assert_int_equal(lease_cover(&lease, 0), 0);
}

static void test_renewed(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_begin(&lease, 7, START);
    assert_true(lease_ping(&lease, START + LEASE_PING_US));
    /* A ping alone proves nothing. */
    assert_int_equal(lease_cover(&lease, START + LEASE_US), 0);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, START + LEASE_US + LEASE_PING_US - 1), 7);
    assert_int_equal(lease_cover(&lease, START + LEASE_US + LEASE_PING_US), 0);
}

/* A late answer makes it trusted again, if it was sent not long ago. */
static void test_lapsed_and_back(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_begin(&lease, 7, START);
    uint64_t first = START + LEASE_US - 10;
    uint64_t second = first + LEASE_PING_US;
    assert_true(lease_ping(&lease, first));
    assert_true(lease_ping(&lease, second));
    uint64_t late = first + LEASE_US + 1;
    assert_int_equal(lease_cover(&lease, late), 0);
    lease_pong(&lease); /* too late to count */
    assert_int_equal(lease_cover(&lease, late), 0);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, late), 7);
    assert_int_equal(lease_cover(&lease, second + LEASE_US), 0);
    lease_end(&lease); /* LAPSED to DOWN */
    assert_int_equal(lease.cover, 0);
    assert_int_equal(lease_cover(&lease, late), 0);
}

static void test_ring_is_full(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_begin(&lease, 7, START);
    /* From every place in the ring. */
    for (unsigned round = 0; round < 2 * LEASE_PINGS_MAX; round++) {
        uint64_t from = START + round * UINT64_C(10000);
        for (unsigned i = 0; i < LEASE_PINGS_MAX; i++) {
            assert_true(lease_ping(&lease, from + i));
        }
        assert_false(lease_ping(&lease, from + 5000));
        for (unsigned i = 0; i < LEASE_PINGS_MAX; i++) {
            lease_pong(&lease);
            assert_int_equal(lease_cover(&lease, from + i + LEASE_US - 1), 7);
            assert_int_equal(lease_cover(&lease, from + i + LEASE_US), 0);
        }
        assert_true(lease_ping(&lease, from + 6000)); /* the ring turns by one */
        lease_pong(&lease);
    }
}

static void test_pongs_out_of_nowhere(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, 0), 0);
    lease_begin(&lease, 7, START);
    lease_pong(&lease);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, START + LEASE_US - 1), 7);
    assert_int_equal(lease_cover(&lease, START + LEASE_US), 0);
    /* They do not count for a ping that comes after. */
    assert_true(lease_ping(&lease, START + 10));
    assert_int_equal(lease_cover(&lease, START + LEASE_US), 0);
    lease_pong(&lease);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, START + LEASE_US + 9), 7);
    assert_int_equal(lease_cover(&lease, START + LEASE_US + 10), 0);
}

static void test_ping_without_session(void **state)
{
    (void)state;
    struct lease lease = {0};
    assert_false(lease_ping(&lease, START));
    lease_begin(&lease, 7, START);
    assert_true(lease_ping(&lease, START + 1));
    lease_end(&lease);
    assert_false(lease_ping(&lease, START + 2));
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, START + 2), 0);
}

/* Begun again: another number, and the pings of the session before are none. */
static void test_begin_after_begin(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_begin(&lease, 7, START);
    assert_true(lease_ping(&lease, START + 400000));
    lease_begin(&lease, 8, START + 10);
    assert_int_equal(lease_cover(&lease, START + 10), 8);
    assert_int_equal(lease_cover(&lease, START + 10 + LEASE_US), 0);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, START + 10 + LEASE_US), 0);
    /* It does not keep what the session before had, even where that was more. */
    lease_begin(&lease, 9, START - 1000);
    assert_int_equal(lease_cover(&lease, START - 1000 + LEASE_US), 0);
    assert_int_equal(lease_cover(&lease, START), 9);
}

static void test_edges_of_time(void **state)
{
    (void)state;
    struct lease lease = {0};
    lease_begin(&lease, 1, 0);
    assert_int_equal(lease_cover(&lease, 0), 1);
    assert_int_equal(lease_cover(&lease, LEASE_US), 0);
    assert_true(lease_ping(&lease, UINT64_MAX));
    assert_true(lease_ping(&lease, 5)); /* a clock that went back takes nothing away */
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, UINT64_MAX - 1), 1);
    lease_pong(&lease);
    assert_int_equal(lease_cover(&lease, UINT64_MAX - 1), 1);
    lease_begin(&lease, 2, UINT64_MAX - 1);
    assert_int_equal(lease_cover(&lease, UINT64_MAX - 1), 2);
    lease_begin(&lease, UINT64_MAX, UINT64_MAX - LEASE_US);
    assert_true(lease_cover(&lease, UINT64_MAX - 1) == UINT64_MAX);
}

/* ---- Random ---- */

enum { ROUNDS = 200000, SENT_MAX = 64 };

struct plain {
    uint64_t cover;
    uint64_t until_us;
    uint64_t sent_us[SENT_MAX];
    size_t sent;
};

static void plain_answered(struct plain *plain)
{
    if (plain->sent > 0) {
        uint64_t until_us = plain->sent_us[0] + LEASE_US;
        plain->until_us = until_us > plain->until_us ? until_us : plain->until_us;
        plain->sent--;
        memmove(plain->sent_us, plain->sent_us + 1, plain->sent * sizeof *plain->sent_us);
    }
}

static void step(struct random *random, struct lease *lease, struct plain *plain, uint64_t now_us)
{
    unsigned action = (unsigned)random_below(random, 100);
    if (action < 45) {
        bool may = plain->cover != 0 && plain->sent < LEASE_PINGS_MAX;
        assert_int_equal(lease_ping(lease, now_us), may);
        if (may) {
            plain->sent_us[plain->sent++] = now_us;
        }
    } else if (action < 95) {
        lease_pong(lease);
        plain_answered(plain);
    } else if (action < 98) {
        uint64_t ago_us = random_below(random, 1000000);
        uint64_t cover = now_us; /* never used before */
        lease_begin(lease, cover, now_us - ago_us);
        *plain = (struct plain){.cover = cover, .until_us = now_us - ago_us + LEASE_US};
    } else {
        lease_end(lease);
        *plain = (struct plain){0};
    }
}

static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("test_lease");
    struct lease lease = {0};
    struct plain plain = {0};
    uint64_t now_us = 10 * START;
    unsigned trusted = 0, lapsed = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        now_us += 1 + random_below(&random, 200000);
        step(&random, &lease, &plain, now_us);
        uint64_t at_us = now_us + random_below(&random, UINT64_C(2) * LEASE_US) - LEASE_US / 2;
        uint64_t expected = at_us < plain.until_us ? plain.cover : 0;
        assert_true(lease_cover(&lease, at_us) == expected);
        trusted += expected != 0;
        lapsed += expected == 0 && plain.cover != 0;
    }
    assert_true(trusted > 1000 && lapsed > 1000);
}

static void test_backoff(void **state)
{
    (void)state;
    struct random random = random_start("test_lease backoff");
    for (unsigned failures = 0; failures < 200; failures++) {
        unsigned doubled = failures > 0 ? failures - 1 : 0;
        uint64_t most = doubled < 6 ? UINT64_C(50000) << doubled : 2000000;
        uint64_t low = UINT64_MAX, high = 0;
        for (unsigned i = 0; i < 500; i++) {
            uint64_t wait_us = backoff_us(failures, random_next(&random));
            low = wait_us < low ? wait_us : low;
            high = wait_us > high ? wait_us : high;
        }
        assert_true(low >= most / 2 && high <= most);
        assert_true(high - low > most / 3);
        assert_int_equal(backoff_us(failures, 0), most);
        assert_int_equal(backoff_us(failures, most / 2), most / 2);
    }
    static const unsigned many[] = {64, 65, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(many); i++) {
        assert_in_range(backoff_us(many[i], UINT64_MAX), 1000000, 2000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_and_end),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_lapsed_and_back),
        cmocka_unit_test(test_ring_is_full),
        cmocka_unit_test(test_pongs_out_of_nowhere),
        cmocka_unit_test(test_ping_without_session),
        cmocka_unit_test(test_begin_after_begin),
        cmocka_unit_test(test_edges_of_time),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#ifndef RELATA_TESTS_LIB_FAR_STORE_H
#define RELATA_TESTS_LIB_FAR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "tests/lib/engine_fixture.h"
#include "tests/lib/random.h"

/* Resources whose home is elsewhere, without anything elsewhere: behind each is a
 * table in memory, and what is asked of it is answered later, when the test says so
 * and in any order. For what the engine does with homes (layer.h, "Records that are
 * at home elsewhere"), whatever stands behind them. */

enum { FAR_STORES_MAX = 16 };

struct far_store;

struct far_home {
    struct engine_fixture *fixture;
    struct random *random;
    struct redis *redis; /* without homes: the engine minds that there is one */
    struct far_store *stores[FAR_STORES_MAX];
    size_t store_count;
    struct list pending; /* of struct far_step, in the order of asking */

    /* Percentages, 0 at first. */
    unsigned at_once;  /* what is asked for is known here, and there at once */
    unsigned failing;  /* it is answered with `failure` instead */
    unsigned again;    /* a write that could be done is to be judged again */
    enum code failure; /* CODE_UNAVAILABLE at first */

    uint64_t fetches;
    uint64_t records; /* that they brought */
    uint64_t writes;  /* that were done */
    uint64_t agains;  /* that were judged again */
};

/* The resources of the fixture's schema are then moved there, one by one. */
void far_home_open(struct far_home *home, struct engine_fixture *fixture, struct random *random);
/* What they have moves with them. No call may be under way. */
void far_home_move(struct far_home *home, const char *resource);
/* Brings all of them back. Every call must have ended; what is out is answered. */
void far_home_close(struct far_home *home);

size_t far_home_pending(const struct far_home *home);
/* Answers one of what was asked for, any. False where nothing is out. */
bool far_home_deliver(struct far_home *home);

/* The table of a resource that was moved there. */
struct store *far_home_table(struct far_home *home, const char *resource);

/* Turns and answers until the call is done. */
const char *far_home_finish(struct far_home *home, struct fixture_call *call);
/* All of it: the answer, to be freed by the caller. */
char *far_home_call(struct far_home *home, const char *method, const char *params);

#endif

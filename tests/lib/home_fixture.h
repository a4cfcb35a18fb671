#ifndef RELATA_TESTS_LIB_HOME_FIXTURE_H
#define RELATA_TESTS_LIB_HOME_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <uv.h>

#include "layers/redis/home.h"
#include "tests/lib/redis_fixture.h"

/* A home on a loop of its own, as the daemon has one: all that a turn sends leaves
 * before the loop waits. It keeps what the home tells, and the commands. */

enum { HOME_NOTES_MAX = 8192, HOME_CALLS_MAX = 20000, HOME_WAIT_MS = 20000, HOME_REPLY_MAX = 200 };

struct home_call {
    struct home_command command;
    struct home_fixture *fixture;
    struct buffer bytes;
    bool done;
    enum home_outcome outcome;
    uint64_t cover;
    uint64_t turn; /* in which it was done */
    struct error error;
    char reply[HOME_REPLY_MAX];
};

struct home_fixture {
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t patience;
    uint64_t turns;
    struct home_options options;
    struct home *home;
    struct home_listener listener;
    char notes[HOME_NOTES_MAX]; /* "!key ", "lost0 ", "ready1 ", ... */
    char log[HOME_NOTES_MAX];   /* "redis_up: words\n" */
    bool closed;
    struct home_call *calls;
    size_t call_count;
    size_t done_count;
};

/* Makes the loop, and options for the server; the test may change those, and then
 * calls home_fixture_create. */
void home_fixture_init(struct home_fixture *f, const struct redis_fixture *server);
void home_fixture_create(struct home_fixture *f);
/* Creates, opens, and waits until it is ready. */
void home_fixture_open(struct home_fixture *f);
/* Closes what is there, and checks that every command has ended once and the loop
 * is empty. */
void home_fixture_close(struct home_fixture *f, uint64_t wait_us);

/* Sends a command, words apart by one space; the second one is the key. */
struct home_call *home_fixture_send(struct home_fixture *f, enum home_lane lane, const char *words);
/* Sends it and waits: the answer as text ("nil", "12", the text, an error's text). */
const char *home_fixture_ask(struct home_fixture *f, enum home_lane lane, const char *words);

uint64_t home_fixture_cover(const struct home_fixture *f, const char *key);
/* A number of home_stats. */
uint64_t home_fixture_count(const struct home_fixture *f, const char *name);
const char *home_fixture_word(const struct home_fixture *f, const char *name);

/* One round of the loop, which waits for an event or a millisecond. */
void home_fixture_turn(struct home_fixture *f);

/* As that; fails the test where `until_ms` has passed. */
uint64_t home_fixture_until_ms(void);
void home_fixture_wait(struct home_fixture *f, uint64_t until_ms, const char *what);

/* Runs the loop until it is so. */
#define HOME_WAIT_FOR(f, condition)                                 \
    for (uint64_t until_ms = home_fixture_until_ms(); !(condition); \
         home_fixture_wait((f), until_ms, #condition)) {            \
    }

#endif

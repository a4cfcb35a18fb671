#ifndef RELATA_TESTS_LIB_ENGINE_FIXTURE_H
#define RELATA_TESTS_LIB_ENGINE_FIXTURE_H

#include "layers/engine/call.h"
#include "layers/engine/engine.h"

/* An engine without a daemon, for tests: calls are written as JSON, and so are
 * the answers; time stands still unless it is told to move. */
struct engine_fixture {
    struct limits limits;
    struct engine *engine;
    uint64_t now_us;
    unsigned turns;  /* engine_turn was called so many times */
    uint64_t origin; /* the connection whose calls are started */
    bool ends_calls; /* as soon as they are answered, as the daemon does */
    long fail_at;    /* of the next call's allocations, this one fails, counted from 1; 0: none */
};

void engine_fixture_open(struct engine_fixture *fixture, const char *yaml);
void engine_fixture_close(struct engine_fixture *fixture);

/* A call under way. */
struct fixture_call {
    struct call call;
    bool started;
    bool ends;
    bool finished;
    char *answer; /* JSON text of the result, or "code: message" */
};

/* Starts `method` with the parameters in a JSON array, the options last.
 * Errors of single sources stand in their place as {"error": "code"}. */
void fixture_start(struct engine_fixture *fixture, struct fixture_call *call, const char *method,
                   const char *params);
/* One engine_turn. */
void fixture_turn(struct engine_fixture *fixture);
/* Turns until the call is answered (a bounded number of them). */
const char *fixture_finish(struct engine_fixture *fixture, struct fixture_call *call);
void fixture_end(struct fixture_call *call);

/* All of it: the answer, to be freed by the caller. */
char *fixture_call(struct engine_fixture *fixture, const char *method, const char *params);

/* Fails unless the call answers this JSON (compared as values, map order too). */
void fixture_expect(struct engine_fixture *fixture, const char *method, const char *params,
                    const char *expected);
/* Fails unless the call fails with this code. */
void fixture_expect_error(struct engine_fixture *fixture, const char *method, const char *params,
                          const char *code);

#endif

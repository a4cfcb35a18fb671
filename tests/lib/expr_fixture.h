#ifndef RELATA_TESTS_LIB_EXPR_FIXTURE_H
#define RELATA_TESTS_LIB_EXPR_FIXTURE_H

#include "layers/layer.h"
#include "layers/memory/memory.h"
#include "layers/query/expr.h"
#include "protocol/base/buffer.h"

/* A small world for tests of expressions: teams with representatives with
 * tickets, in the memory layer, and an eval to look at them. */
enum { EXPR_FIXTURE_STORES = 4 };

struct expr_fixture {
    struct schema *schema;
    struct world world;
    struct memory *memory;
    struct store *stores[EXPR_FIXTURE_STORES];
    struct arena arena; /* of the test: expressions, runs */
    struct eval eval;
    struct error error;
    struct limits limits;
    struct buffer params; /* empty: none */
    struct buffer actor;
};

void expr_fixture_init(struct expr_fixture *fixture);
void expr_fixture_release(struct expr_fixture *fixture);

/* Stores a record, written as JSON (json_msgpack.h); answers it. */
const struct record *expr_fixture_put(struct expr_fixture *fixture, const char *resource,
                                      const char *map);
/* The record of an integer key, which must be there. */
const struct record *expr_fixture_get(struct expr_fixture *fixture, const char *resource,
                                      int64_t id);

void expr_fixture_params(struct expr_fixture *fixture, const char *map);
void expr_fixture_actor(struct expr_fixture *fixture, const char *map);

/* Compiles for a resource, `outer` (or NULL) being what `parent` means. NULL
 * with fixture->error set where it is refused. */
const struct expr *expr_fixture_text(struct expr_fixture *fixture, const char *resource,
                                     const char *outer, const char *text);
const struct expr *expr_fixture_map(struct expr_fixture *fixture, const char *resource,
                                    const char *outer, const char *map);

/* Runs with a budget for each go, until it is done. */
struct value expr_fixture_run(struct expr_fixture *fixture, const struct expr *expr,
                              const struct record *record, const struct record *outer,
                              uint64_t budget);

#endif

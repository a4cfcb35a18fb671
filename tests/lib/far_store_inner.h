#ifndef RELATA_TESTS_LIB_FAR_STORE_INNER_H
#define RELATA_TESTS_LIB_FAR_STORE_INNER_H

#include "tests/lib/far_store.h"

/* What far_store.c and far_write.c know of each other. */

struct far_store {
    struct store store; /* the engine's face of it */
    struct store *table;
    struct far_home *home;
    struct list writes; /* that are open, of struct far_write, oldest first */
};

struct far_write;

/* One answer that is out: of a fetch, or a step of a write. */
struct far_step {
    struct list link; /* in home->pending */
    struct far_store *store;
    struct fetch *fetch;
    struct far_write *write; /* NULL: of a fetch */
};

static inline struct far_store *far_store_of(struct store *store)
{
    return store->home_own;
}

bool far_chance(struct far_home *home, unsigned percent);
/* Memory of the test's own, which never fails. */
void *far_alloc(size_t size);
struct far_step *far_ask(struct far_store *store, struct fetch *fetch, struct far_write *write);
void far_step_free(struct far_step *step);
int far_failure(const struct far_store *store, struct error *error);

int far_write_open(struct store_write *write, struct error *error);
void far_write_begin(struct store_write *write);
int far_write_go(struct store_write *write, struct error *error);
void far_write_close(struct store_write *write);
/* Writes are done in the order in which they were opened. */
bool far_write_has_its_turn(const struct far_write *write);
void far_write_deliver(struct far_write *own);

#endif

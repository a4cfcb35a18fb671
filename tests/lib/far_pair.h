#ifndef RELATA_TESTS_LIB_FAR_PAIR_H
#define RELATA_TESTS_LIB_FAR_PAIR_H

#include "tests/lib/far_store.h"

/* Two engines with the same schema and the same records: in one all are in memory,
 * in the other some are at home elsewhere. Whoever asks must not be able to tell. */
struct far_pair {
    struct random random;
    struct engine_fixture near;
    struct engine_fixture far;
    struct far_home home;
    uint64_t refused; /* by the far one: no key and no index leads there */
    uint64_t compared;
};

enum { FAR_TEAMS = 4, FAR_PERSONS = 8, FAR_TICKETS = 24, FAR_SKILLS = 6 };

/* The resources of the pair, ended by NULL: team, person, ticket, skill,
 * person_skill, note. */
extern const char *const far_resources[];

void far_pair_open(struct far_pair *pair, const char *test);
/* Random records into both. */
void far_pair_fill(struct far_pair *pair);
/* Each resource is moved with this chance, in percent. */
void far_pair_move(struct far_pair *pair, unsigned percent);
void far_pair_close(struct far_pair *pair);

/* Whether the answer is what the far one says where no key and no index leads to
 * the records. */
bool far_is_refused(const char *answer);

/* A random call that reads: the parameters are written as JSON; its method is
 * answered. */
enum { FAR_PARAMS_MAX = 4096 };
const char *far_random_read(struct random *random, char params[FAR_PARAMS_MAX]);

#endif

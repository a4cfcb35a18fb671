#ifndef RELATA_LAYERS_REDIS_COMMIT_H
#define RELATA_LAYERS_REDIS_COMMIT_H

#include "layers/redis/transaction.h"

/* Doing what a pass staged: what redis_commit.c (the way, and the records),
 * commit_members.c (index sets) and commit_claims.c (identities) know of each other. */

/* A claim that a staged record takes, or one that it gives up. */
struct claim_change {
    struct claim_change *next;
    struct view *view;
    unsigned identity;  /* its number: a reload may replace the schema */
    const uint8_t *key; /* of the identity */
    size_t key_size;
    const uint8_t *name;
    size_t name_size;
    uint16_t slot;
    bool takes;
    bool taken;
    const uint8_t *value; /* as it stands there: the one that was taken, or that is to go */
    size_t value_size;
    const uint8_t *replaced; /* what stood there before it was taken */
    size_t replaced_size;
    /* Refused: somebody else has it. */
    bool refused;
    bool again; /* taken over once; another refusal is a conflict */
    const uint8_t *other;
    size_t other_size;
    uint64_t age_ms;
    bool borne; /* the other record bears it */
};

enum set_outcome { SET_OUT, SET_DONE, SET_CHANGED, SET_LATE, SET_FAILED, SET_UNKNOWN };

/* Records of one slot, which are set together. */
struct set_group {
    struct transaction *tx;
    size_t first; /* in commit->views */
    size_t count;
    enum set_outcome outcome;
};

struct commit {
    char mark[MARK_MAX];
    size_t mark_size; /* 0: no mark */
    uint64_t deadline_ms;
    uint64_t flushes;    /* the store's, when members and claims were sent */
    struct view **views; /* that are staged, by slot */
    size_t count;
    struct claim_change *claims;
    struct set_group *groups;
    size_t group_count;
};

/* Whether a command before the records were set came back well; else the transaction
 * has failed, and nothing is written. */
bool commit_was_done(struct transaction *tx, const struct home_answer *answer);

/* Sends what stands in tx->bytes (and empties that); nobody waits for it. */
void commit_send_loose(struct transaction *tx, uint16_t slot);

/* ---- commit_members.c ---- */

/* Puts in the members of a staged record. */
void commit_add_members(struct transaction *tx, const struct view *view);
/* The same once more, of a record that is set: nobody waits for it. */
void commit_add_members_again(struct transaction *tx, const struct view *view);
/* Takes those out that a write with this mark put in. */
void commit_remove_members(struct transaction *tx, const struct record *record, const void *mark,
                           size_t mark_size);

/* ---- commit_claims.c ---- */

/* Takes the claims of a staged record, and looks at those that it gives up. */
void commit_change_claims(struct transaction *tx, struct view *view);
/* Puts back those that it took where none stands now; nobody waits for it. */
void commit_put_claims_back(struct transaction *tx, const struct view *view);
/* Takes a claim away, if it is still what it was when it was taken or looked at. */
void commit_release_claim(struct transaction *tx, const struct claim_change *change);
bool commit_any_refused(const struct transaction *tx);
/* Asks for the records that have what was refused. */
void commit_check_claims(struct transaction *tx);
/* Takes over what nobody bears; a conflict where somebody does. */
void commit_take_over(struct transaction *tx);

#endif

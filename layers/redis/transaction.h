#ifndef RELATA_LAYERS_REDIS_TRANSACTION_H
#define RELATA_LAYERS_REDIS_TRANSACTION_H

#include "layers/redis/index_set.h"
#include "layers/redis/redis_inner.h"
#include "protocol/base/check.h"

/* One write on its way: what redis_pass.c (what a pass finds and wants),
 * redis_write.c (getting that) and redis_commit.c (doing it) know of each other.
 *
 *   JUDGING ──pass lacks claims──► ASKING ──► JUDGING
 *      │ ▲ ───pass lacks values──► LOCKING ──► READING ──► JUDGING
 *      │ └─────────────────────────────────────────────────────────────────┐
 *      └──pass is whole──► LOCKING (created keys) ──► PREPARING            │
 *   PREPARING: new members of index sets and claims go in                  │
 *      └► CHECKING: does the record that has a refused claim bear it? ─► conflict, or take it over
 *      └► SETTING: the records, by compare-and-set ──somebody was faster──►┘
 *             └► done: event, answer, unlock; old members and claims go out
 *
 * Whoever asked may leave at any time: then nothing new is begun, what is being set
 * is awaited, and what was put in in vain is taken out. Nobody waits for what goes
 * out: each of these commands names exactly what it takes away. */

enum transaction_stage {
    TX_JUDGING,
    TX_ASKING,
    TX_LOCKING,
    TX_READING,
    TX_PREPARING,
    TX_CHECKING,
    TX_SETTING
};

enum {
    TX_TRIES_MAX = 8,            /* compare-and-sets that others were faster than */
    TX_DEADLINE_MS = 10 * 1000,  /* a record is set so long after its members, or not at all
                                    (MEMBER_STALE_MS is far beyond that) */
    TX_CLAIM_LEASE_MS = 2 * 1000 /* a claim whose record does not bear it is a write under way */
};

/* A record, as far as the write knows it. */
struct view {
    struct hash_table_node node; /* in tx->views, by key */
    struct list link;            /* in tx->order */
    struct write_ticket ticket;
    struct transaction *tx;
    const uint8_t *key;
    size_t key_size;
    const uint8_t *name;
    size_t name_size;
    uint16_t slot;
    int64_t element; /* of a write of many, whose record it is; -1: of none */
    bool wanted;     /* a pass looked at it, and it was not known */
    bool known;
    bool granted; /* the lock */
    struct stored_value stored;
    const struct record *record; /* as it was read; NULL where it is absent */
    /* Of this pass. */
    bool staged;
    const struct record *after;    /* NULL: to be removed */
    const struct set_group *group; /* redis_commit.c's */
};

/* A key of an identity, as far as the write knows who has it. */
struct claim_view {
    struct hash_table_node node; /* in tx->claims */
    struct list link;            /* in tx->claim_order */
    struct transaction *tx;
    const struct identity *identity;
    const uint8_t *key;
    size_t key_size;
    bool wanted;
    bool known;
    struct store_key owner; /* a primary key; size 0: nobody */
    /* Of this pass: who has it after what was staged. */
    bool staged;
    struct store_key staged_owner;
    struct store_key staged_giver; /* who had it last, where nobody does any more */
};

struct transaction {
    struct redis_store *store;
    struct store_write *write; /* NULL: whoever asked has left */
    struct arena arena;
    enum transaction_stage stage;
    size_t pending;  /* commands, or locks, that are out */
    bool waited_for; /* the asker's task waits */
    struct hash_table views;
    struct list order;
    struct hash_table claims;
    struct list claim_order;
    struct error error; /* why it fails; code CODE_OK while it does not */
    bool committing;    /* the pass was whole */
    bool untracked;     /* of the next command */
    bool reads_created; /* created keys are read before, too */
    unsigned tries;
    struct built_waiter built_waiter;
    struct buffer bytes;   /* scratch, for commands */
    struct commit *commit; /* redis_commit.c's, of this try */
};

/* A command of a transaction, in its arena. */
struct tx_command {
    struct home_command command;
    struct transaction *tx;
    void *about; /* the view, claim, ... that it is for */
};

/* Sends what stands in tx->bytes (and empties that). `done` must end in tx_returned. */
void tx_send(struct transaction *tx, void *about, uint16_t slot,
             void (*done)(struct home_command *, const struct home_answer *));
/* A command has come back: the last one lets the transaction go on. */
void tx_returned(struct transaction *tx);

static inline struct tx_command *tx_command_of(struct home_command *command)
{
    return CONTAINER_OF(command, struct tx_command, command);
}

/* The first error stays. */
void tx_fail(struct transaction *tx, const struct error *error);
void tx_no_memory(struct transaction *tx);
/* The same, told of the element of a write of many whose record the view is. */
void tx_fail_at(struct transaction *tx, const struct view *view, struct error *error);

/* Back to whoever asked: judging again, done, or failed. */
void tx_judge_again(struct transaction *tx);
void tx_done(struct transaction *tx, uint64_t written);
void tx_failed(struct transaction *tx, uint64_t written);

/* Forgets what was read, and keeps the locks: a write that is tried again is still the
 * first in its place. */
void tx_forget_values(struct transaction *tx);
void tx_unlock(struct transaction *tx);
void tx_free(struct transaction *tx);

/* redis_pass.c: the view of a key, made where there is none; NULL where memory lacks. */
struct view *tx_view(struct transaction *tx, const uint8_t *key, size_t size);

/* redis_pass.c: what a pass works on. */
extern const struct store_ops tx_facade_ops;

/* redis_commit.c: all staged keys are locked. */
void commit_start(struct transaction *tx);
/* The last command of its stage is back. */
void commit_go_on(struct transaction *tx);

#endif

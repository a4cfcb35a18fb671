#ifndef RELATA_LAYERS_LOAD_COALESCER_INNER_H
#define RELATA_LAYERS_LOAD_COALESCER_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/hash_table.h"
#include "layers/load/coalescer.h"
#include "layers/load/deadlines.h"
#include "layers/load/latency.h"
#include "layers/load/pool.h"
#include "protocol/base/check.h"

/* What the coalescer's sources share; nobody else includes this.
 *
 *   coalescer.c         loaders, time, the outer face
 *   coalescer_load.c    loads: begin, end, cancel, release
 *   coalescer_group.c   groups, queues and slots
 *   coalescer_turns.c   which keys the next batch takes
 *   coalescer_flight.c  batches: sent, returned, dropped, overtaken
 *   coalescer_cycle.c   who waits for whom
 *
 * A slot is a key of a group, while it waits, is at the loader, or both:
 *
 *            load                    batch sent
 *   (none) ───────► pending ───────────────────────► flying
 *                      ▲                                │ loads that may join: `flying`
 *                      │ batch returned, some `waiting` │ others: `waiting`
 *                      └────────────────────────────────┤
 *   (none) ◄────────────────────────────────────────────┘ batch returned, nobody waits
 *   (none) ◄─────── pending, and the last waiter gave up
 *
 * Lifetimes: a group lives while it has slots or queues; a queue (the loads of
 * one origin in one group) and an origin while loads of theirs wait; a loader's
 * state until it is removed and nobody refers to it; a batch until the loader
 * has given it back and every load with an answer from it is released. */

/* A waiter is one key of one load. */
struct waiter {
    struct list mate;          /* in the slot's `waiting` or `flying` */
    struct list turn;          /* in the queue's `waiters` while the slot is pending */
    struct slot *slot;         /* NULL once answered */
    struct batch_state *batch; /* that answered, or NULL */
    const void *source;
    uint32_t source_size;
    uint32_t index; /* in its load */
};

enum load_status { LOAD_WAITING, LOAD_ANSWERED, LOAD_DONE };

struct load_state {
    struct load *load;
    struct loader_state *loader;
    struct queue *queue; /* NULL once answered, and where there are no keys */
    struct deadline deadline;
    struct batch_state *parent; /* while that is out */
    struct list sibling;        /* in parent->children */
    enum load_status status;
    bool pooled;
    struct waiter waiters[]; /* and after them the answers */
};

enum { SLOT_KEY_FEW = 24 };

struct slot {
    struct hash_table_node node; /* in group->slots, by the key's hash */
    struct group *group;
    struct batch_state *flight; /* NULL while pending */
    struct list pending;        /* in group->pending while pending */
    struct list waiting;        /* who has the next flight's answer */
    struct list flying;         /* who has this flight's answer */
    uint64_t number;            /* order of asking */
    uint32_t size;
    bool overtaken; /* while flying: no longer to be joined */
    bool fresh;     /* who waits for the next flight goes past what is cached */
    union {
        uint8_t few[SLOT_KEY_FEW];
        uint8_t *many;
    } key;
};

static inline const uint8_t *slot_key(const struct slot *slot)
{
    return slot->size <= SLOT_KEY_FEW ? slot->key.few : slot->key.many;
}

struct origin {
    struct hash_table_node node; /* in coalescer->origins */
    uint64_t id;
    uint64_t keys_waiting;
    size_t queues;
};

struct queue {
    struct hash_table_node node; /* in coalescer->queues */
    struct group *group;
    struct origin *origin;
    struct list waiters; /* oldest first, of pending slots only */
    struct list turn;    /* in group->turns while it has such waiters */
    uint32_t left;       /* keys that may be sent before the turn passes on */
    size_t loads;
};

struct group {
    struct hash_table_node node; /* in coalescer->groups */
    struct lane *lane;
    uint8_t *shown;
    uint32_t shown_size;
    struct hash_table slots;
    struct list all;     /* in lane->groups */
    struct list ready;   /* in lane->ready while it has pending slots */
    struct list pending; /* slots, first asked first */
    size_t pending_count;
    struct list turns; /* queues with waiters of pending slots; the first is next */
    size_t queues;
    uint64_t since_us; /* the oldest pending key's, for the window */
    struct deadline window;
    struct group *spare;
};

/* The batches of one loader at one depth. */
struct lane {
    struct loader_state *loader;
    uint32_t depth;
    uint32_t in_flight;
    struct list groups;
    struct list ready; /* groups with something pending; the first is next */
    struct list awake; /* in coalescer->awake where a flush should look */
};

struct loader_state {
    struct coalescer *coalescer;
    struct loader *loader; /* NULL once removed */
    size_t references;
    struct list link; /* in coalescer->loaders */
    struct list loads;
    struct list out; /* batches at the loader */
    uint64_t keys_waiting;
    uint64_t overtaken_seq; /* flights that started before are overtaken */
    struct lane lanes[COALESCER_DEPTH_MAX + 1];
    struct latency latency;
    /* Errors that need no memory when they are needed. */
    struct error late;
    struct error unavailable;
    struct error no_memory;
    struct error too_much;
};

enum batch_status { BATCH_OUT, BATCH_DROPPED, BATCH_ENDED };

struct batch_state {
    struct batch batch;
    struct loader_state *loader;
    struct lane *lane;
    struct group *group; /* while out */
    struct slot **slots;
    enum batch_status status;
    size_t references; /* the loader's, and one for each answer */
    uint64_t started_seq;
    struct deadline deadline;
    size_t held_bytes;
    struct list out;
    struct list children; /* loads that are made for it */
    void *frame;          /* keys, answers, slots, bytes of keys */
    size_t frame_size;
    struct batch_state *spare;
    struct error error;
};

enum deadline_kind { DEADLINE_LOAD, DEADLINE_BATCH, DEADLINE_WINDOW };

struct coalescer {
    struct limits limits;
    struct list loaders;
    struct list awake;    /* lanes */
    struct list answered; /* loads whose `done` is to be called */
    struct hash_table origins;
    struct hash_table groups;
    struct hash_table queues;
    struct deadlines deadlines;
    struct pool slots;
    struct pool small_loads;
    struct pool queue_pool;
    struct pool origin_pool;
    struct group *spare_groups;
    unsigned spare_group_count;
    struct batch_state *spare_batches;
    unsigned spare_batch_count;
    struct slot **selected;
    size_t selected_size;
    size_t waiting;      /* loads */
    size_t loads;        /* not released */
    size_t batches;      /* not freed */
    uint64_t held_bytes; /* of answers that came, and are not released */
    uint64_t batch_number;
    uint64_t slot_number;
    uint64_t seq;     /* of overtaking */
    unsigned entered; /* public calls within each other */
    bool flushing;
    bool closed;
};

/* ---- coalescer.c ---- */

/* Around what may answer loads: their `done` is called when the outermost leaves. */
void coalescer_enter(struct coalescer *coalescer);
void coalescer_leave(struct coalescer *coalescer);

void lane_wake(struct coalescer *coalescer, struct lane *lane);
void loader_state_put(struct loader_state *state);

/* Puts the loader's name before the message and among the details. Answers -code. */
int error_of_loader(struct error *error, enum code code, const char *name);

/* ---- coalescer_load.c ---- */

size_t small_load_bytes(void);

static inline struct load_state *waiter_load(struct waiter *waiter)
{
    return CONTAINER_OF(waiter - waiter->index, struct load_state, waiters);
}

/* Gives a waiter its answer; it must be in no list but its slot's, which the
 * caller gives up. `batch` is where the answer lives, or NULL. The group may be
 * idle afterwards. */
void waiter_answer(struct coalescer *coalescer, struct waiter *waiter, struct load_answer answer,
                   struct batch_state *batch);

/* Ends all that a load still waits for, with an error that lives as long as the
 * loader's state. */
void load_fail(struct coalescer *coalescer, struct load_state *state, const struct error *error);

/* ---- coalescer_group.c ---- */

/* The group of what is shown, opened where it is not; NULL without memory. */
struct group *group_open(struct coalescer *coalescer, struct lane *lane, const uint8_t *shown,
                         uint32_t shown_size);
/* Drops it if nothing is in it. */
void group_settle(struct coalescer *coalescer, struct group *group);

void groups_release(struct coalescer *coalescer);

/* The queue of an origin, for one more load; NULL without memory. */
struct queue *queue_open(struct coalescer *coalescer, struct group *group, uint64_t id);
void queue_close(struct coalescer *coalescer, struct queue *queue);
struct origin *origin_find(const struct coalescer *coalescer, uint64_t id);

struct slot *slot_find(const struct group *group, const uint8_t *key, uint32_t size, uint64_t hash);
/* Puts a waiter where its key's next answer comes from: 1 where it joined
 * others, 0 where it is the first, or -CODE_OVERLOADED. */
int slot_ask(struct coalescer *coalescer, struct queue *queue, struct waiter *waiter,
             const struct load_key *key, bool fresh, uint64_t now_us);
void slot_leave(struct coalescer *coalescer, struct waiter *waiter);
/* A flight that some wait behind has returned. */
void slot_ask_again(struct coalescer *coalescer, struct slot *slot, uint64_t now_us);
/* It is in no list any more, and nobody waits; `found` where it is in the table. */
void slot_free(struct coalescer *coalescer, struct slot *slot, bool found);
/* The newest waiter that brought a source; NULL where none did. */
const struct waiter *slot_source(const struct slot *slot);

/* Out of pending; its waiters lose their places in their queues, all at once,
 * so that a key counts once however many wait. */
void slot_take(struct coalescer *coalescer, struct slot *slot);
/* Ends everything pending with an error. */
void group_fail(struct coalescer *coalescer, struct group *group, const struct error *error);

/* ---- coalescer_turns.c ---- */

/* Takes the slots of the next batch out of pending, into coalescer->selected.
 * 0, or -CODE_OVERLOADED with nothing taken. */
int group_select(struct coalescer *coalescer, struct group *group,
                 const struct batch_limits *limits, size_t *count);

/* ---- coalescer_flight.c ---- */

/* Sends the next batch of a group that has something pending. */
void batch_send(struct coalescer *coalescer, struct group *group, uint64_t now_us);
/* Fails it and has the loader forget it; `error` is filled in and gets its name. */
void batch_drop(struct coalescer *coalescer, struct batch_state *state, enum code code,
                uint64_t now_us);
void batch_put(struct coalescer *coalescer, struct batch_state *state, size_t references);
void batches_release(struct coalescer *coalescer);
bool slot_overtaken(const struct slot *slot);

/* ---- coalescer_cycle.c ---- */

/* 0, or -CODE_LOADER_FAILED where the load would wait for a batch that waits for it. */
int cycle_check(const struct load *load, const struct load_key *keys, size_t count,
                struct error *error);

#endif

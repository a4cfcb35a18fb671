#ifndef RELATA_LAYERS_REDIS_HOME_H
#define RELATA_LAYERS_REDIS_HOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "layers/redis/home_options.h"
#include "layers/redis/link.h"
#include "layers/redis/resp.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/base/list.h"

/* A home: one Redis server, or a Redis Cluster, under its name in the
 * configuration. It keeps the links (link.h), connects again with backoff, sends
 * each command to the node that has its slot, follows MOVED and ASK, waits out
 * TRYAGAIN, keeps the map of slots (asked for again on MOVED, after a lost link,
 * and twice a second), and tells what is to be believed.
 *
 * For each node there are up to three links, "lanes": one that tracks what it reads
 * (for near-caches, and for writes); where anybody asked for prefixes, one that
 * hears of every write to them (for resident resources; their reads and writes go
 * over it too, so that all that concerns a key comes in one order); and, from the
 * first command that is sent on it, one that tracks nothing, for commands that are
 * none of ours. Whether the last one is up is no question of the home's state:
 * nobody is told. */

enum home_lane { HOME_KEYS, HOME_PREFIXES, HOME_RAW, HOME_LANE_COUNT };

struct home;

/* Who hears of it. All are called from the loop, never from inside a call. */
struct home_listener {
    struct list link;
    /* A key was changed by anybody, heard on this lane; NULL: all keys of the home
     * may have been. */
    void (*on_notice)(struct home_listener *listener, enum home_lane lane, const uint8_t *key,
                      size_t size);
    /* A tracking session has ended, or a slot has moved: what was read before
     * under another cover than home_cover's does not count any more. */
    void (*on_lost)(struct home_listener *listener, enum home_lane lane);
    /* The home can be used now (again): all its links of the lane are up. */
    void (*on_ready)(struct home_listener *listener, enum home_lane lane);
};

enum home_outcome {
    HOME_ANSWERED, /* with a reply, which may be an error */
    HOME_UNSENT,   /* it was certainly not executed */
    HOME_UNKNOWN   /* it may have been executed */
};

struct home_answer {
    enum home_outcome outcome;
    struct resp_reader reply; /* of HOME_ANSWERED */
    uint64_t cover;           /* the tracking session in which it was read; 0: none */
    struct error error;       /* of the other two: CODE_UNAVAILABLE with the home's name and
                                  why, for a person; error.outcome is set for HOME_UNKNOWN */
};

/* A command; embedded in whoever sends it. It and its bytes must live until `done`. */
struct home_command {
    /* Set by the sender. */
    const uint8_t *bytes; /* one RESP command */
    size_t size;
    uint16_t slot; /* slot_of_key; of no meaning without a Cluster */
    uint16_t node; /* HOME_NODE_OF_SLOT, or a node's number (home_node_count) */
    enum home_lane lane;
    bool untracked; /* what it reads is not to be watched by the lane */
    /* Called once, never from inside home_send. */
    void (*done)(struct home_command *command, const struct home_answer *answer);
    /* home.c's own. */
    struct home_errand {
        struct link_command wire;
        struct home *home;
        struct home_line *line;   /* on which it is out */
        struct home_node *target; /* that a redirect named */
        uint64_t retry_us;        /* while it waits to be sent again */
        uint8_t tries;
        uint8_t refusal; /* why it was not sent */
    } own;
};

#define HOME_NODE_OF_SLOT UINT16_MAX

/* What a home needs from outside. */
struct home_world {
    uv_loop_t *loop;
    uint64_t (*clock_us)(void);
    void *context;
    void (*enter)(void *context); /* first in every callback of libuv */
    /* One event for the log, each once and not for every try: "redis_up",
     * "redis_lost", "redis_tracking_refused", "redis_slots". `text` is for a person. */
    void (*log)(void *context, const char *event, const char *home, const char *text, bool bad);
};

/* Nothing is opened yet. NULL where memory lacks. The options are copied. */
struct home *home_create(const struct home_options *options, const struct home_world *world);

const char *home_name(const struct home *home);
bool home_is_cluster(const struct home *home);

void home_listen(struct home *home, struct home_listener *listener);
void home_unlisten(struct home_listener *listener);

/* Keys that begin with this are to be heard of on HOME_PREFIXES. Before
 * home_open, or later (the lane's links are then opened anew). A prefix that is
 * covered by a shorter one is left out, and one that covers others replaces them.
 * 0, or -CODE_OVERLOADED. */
int home_add_prefix(struct home *home, const void *prefix, size_t size);

/* Begins to connect, and goes on with that until home_close. The clock is a
 * uv_timer of its own, unreferenced as its sockets are, so that a home does not
 * keep the loop alive. */
int home_open(struct home *home, struct error *error);

/* Sends a command in this turn's flush. It never fails here: what fails is told
 * by `done`, in a later turn; where the home cannot be reached, at once in the
 * next (HOME_UNSENT), nothing piles up; only while HOME_RAW is opened for the first
 * ones, they wait for it. Commands of one lane to one node keep their order. MOVED, ASK and TRYAGAIN are followed up to 16 times within the
 * options' timeout. */
void home_send(struct home *home, struct home_command *command);

/* At the end of each engine's turn: all that was sent leaves, with one write for
 * each link. */
void home_flush(struct home *home);

/* The tracking session that covers reads of the slot now; 0 where what is cached
 * of it cannot count as current (no tracking, link lost, lease lapsed). What was
 * read under a cover counts as long as this says the same. */
uint64_t home_cover(const struct home *home, enum home_lane lane, uint16_t slot);

/* The tracking session that covered reads of the slot last, or does; 0: none did. What
 * was read under it is what a lost server had last, as far as anybody here knows. */
uint64_t home_last_cover(const struct home *home, enum home_lane lane, uint16_t slot);

/* Of what is being answered or told of just now: another number from each answer of a
 * link on, so that of a notice and an answer it says whether another answer came between
 * them. */
uint64_t home_moment(const struct home *home);

/* Whether all nodes' sessions of the lane are trusted now. */
bool home_is_current(const struct home *home, enum home_lane lane);

/* Whether all nodes have sessions of the lane, trusted or lapsed: they will tell of what
 * is changed. False where a server refuses tracking. */
bool home_is_tracked(const struct home *home, enum home_lane lane);

/* Whether commands for the slot can be sent now. *lost_us is when it could not be
 * any more (0: it never could). */
bool home_is_up(const struct home *home, enum home_lane lane, uint16_t slot, uint64_t *lost_us);

/* Masters that are known; 1 without a Cluster; 0 while the map is not known. */
uint16_t home_node_count(const struct home *home);

/* Whether it has connected, or failed to, at least once on all lanes it has. */
bool home_is_settled(const struct home *home);

/* A policy of the server under which it may evict keys without a time to live
 * (allkeys-*, with maxmemory set), or NULL. Known once it was up. */
const char *home_evicting_policy(const struct home *home);

/* What `stats` tells: appends a map {state: up|connecting|down, tracking: on|off|refused,
 * trusted, nodes, commands, round_trips, notices, flushes, reconnects, redirects,
 * timeouts, waiting}. */
void home_stats(const struct home *home, struct buffer *out);

/* Stops: no new commands; those that are out are waited for at most `wait_us`, then
 * end. `closed` is called once, from the loop; then home_free. */
void home_close(struct home *home, uint64_t wait_us,
                void (*closed)(struct home *home, void *context), void *context);
void home_free(struct home *home);

#endif

#ifndef RELATA_LAYERS_REDIS_HOME_INNER_H
#define RELATA_LAYERS_REDIS_HOME_INNER_H

#include "layers/redis/home.h"
#include "layers/redis/link.h"
#include "layers/redis/slots.h"

/* What the sources of home.h share: home.c has the commands and the face,
 * home_node.c nodes and their links, home_cluster.c the map and redirects,
 * home_tell.c what the home says of itself. */

/* A lane's link to one node. */
struct home_line {
    struct link link;
    struct home_node *node;
    enum home_lane lane;
    struct list dirty;   /* in the home's, where something is to be flushed */
    struct list resting; /* in the home's, where it goes on in the next turn */
    bool was_up;         /* since the home was opened */
    uint64_t up_us;
    uint64_t lost_us;        /* 0: it was never lost */
    uint64_t retry_us;       /* not opened again before */
    uint64_t guest_until_us; /* kept open so long though the node is no master */
    bool asked;              /* slots are moving to the node: it is kept for longer */
    unsigned failures;       /* in a row */
};

struct home_node {
    struct list link;
    struct home *home;
    char host[SLOTS_HOST_MAX];
    uint16_t port;
    bool is_seed;                  /* the one of the options: never forgotten */
    uint16_t position;             /* in home->masters, or SLOTS_NO_NODE */
    bool changed;                  /* while a map is taken: it has lost or got slots */
    size_t parked;                 /* commands that wait for it */
    struct link_command ask_state; /* CLUSTER INFO */
    struct link_command ask_slots; /* CLUSTER SLOTS */
    bool asked;                    /* and they are out */
    bool is_cut_off;               /* it says that the Cluster is down */
    struct home_line lines[HOME_LANE_COUNT];
};

struct home_prefix {
    uint8_t *bytes;
    size_t size;
};

/* Why a command was not sent, or not executed. */
enum home_refusal {
    REFUSAL_DOWN,    /* the link that it needs is not up */
    REFUSAL_NO_SLOT, /* no node has the slot */
    REFUSAL_FULL,    /* memory lacks, or too much waits */
    REFUSAL_CLOSING,
    REFUSAL_LANE,     /* the lane has no prefixes */
    REFUSAL_REDIRECTS /* moved too often, or for too long */
};

enum home_told { TOLD_NOTHING, TOLD_UP, TOLD_LOST };

struct home {
    struct home_options options;
    struct home_world world;
    uint64_t random;
    uv_timer_t timer;
    uv_idle_t idle; /* active while `failed` or `resting` has any, or closing goes on */
    unsigned handles;
    bool opened;
    uint64_t opened_us;

    struct list listeners;
    struct list nodes;
    size_t node_count;
    struct home_node *masters[SLOTS_NODES_MAX];
    uint16_t master_count;
    struct slots *map; /* of a Cluster, else NULL */
    struct slots *fresh;
    struct home_node *source; /* who told the map last */
    uint64_t ask_us;          /* when to ask for the map */
    uint64_t asked_us;
    uint64_t slots_told; /* the masters of the last event of the log, as a sum */

    struct home_prefix *prefixes;
    size_t prefix_count;
    struct buffer prefix_words;

    struct list dirty;
    struct list resting;
    struct list failed; /* commands to be refused in the next turn */
    struct list parked; /* commands to be sent again later */
    size_t waiting;     /* commands whose done was not called */

    bool ready[HOME_LANE_COUNT];
    bool settled[HOME_LANE_COUNT];
    enum home_told told;
    bool refusal_told; /* of tracking */
    uint64_t lost_us;
    uint64_t moment;    /* of the link whose answer or notice is told just now */
    struct error fault; /* the last one of any link */
    bool raw;           /* HOME_RAW was used */

    uint64_t commands;
    uint64_t notices;
    uint64_t flushes;
    uint64_t reconnects;
    uint64_t redirects;
    uint64_t timeouts;   /* of commands that waited to be sent again */
    uint64_t old_writes; /* of nodes that are forgotten */
    uint64_t old_timeouts;

    bool closing;
    bool links_closing;
    uint64_t close_by_us;
    void (*closed)(struct home *home, void *context);
    void *closed_context;
};

static inline uint64_t home_now(const struct home *home)
{
    return home->world.clock_us();
}

/* Whether it is a part of the home's state. */
static inline bool home_has_lane(const struct home *home, enum home_lane lane)
{
    return lane == HOME_KEYS || (lane == HOME_PREFIXES && home->prefix_count > 0);
}

static inline bool home_opens_lane(const struct home *home, enum home_lane lane)
{
    return home_has_lane(home, lane) || (lane == HOME_RAW && home->raw);
}

static inline bool home_knows_map(const struct home *home)
{
    return home->master_count > 0;
}

/* Whose the slot is; NULL where nobody's. */
static inline struct home_node *home_owner(const struct home *home, uint16_t slot)
{
    if (home->map == NULL) {
        return home->masters[0];
    }
    uint16_t owner = home->map->owner[slot % SLOTS_COUNT];
    return owner == SLOTS_NO_NODE ? NULL : home->masters[owner];
}

static inline bool home_node_is_master(const struct home_node *node)
{
    return node->position != SLOTS_NO_NODE;
}

/* ---- home.c ---- */

/* Has the command's bytes leave on the line, with the next flush; false where the
 * link is not up or takes no more. */
bool home_put(struct home_command *command, struct home_line *line);
void home_refuse(struct home_command *command, enum home_refusal refusal);
void home_mark_dirty(struct home_line *line);
/* A link to a node that is no master is kept open from now on, for some time. */
void home_keep_guest(struct home_line *line, uint64_t now_us);
/* Its link goes on in the next turn. */
void home_mark_resting(struct home_line *line);
/* Something is to be done in the next turn. */
void home_wake(struct home *home);

/* ---- home_node.c ---- */

/* The node of an address, which is added where it is not known; NULL where memory
 * lacks or too many are known. */
struct home_node *home_node_of(struct home *home, const char *host, uint16_t port);
void home_node_free(struct home_node *node);
/* Forgets the oldest that are of no use, where there are many. */
void home_nodes_prune(struct home *home);
/* Opens what is to be open, closes what is not, pings. */
void home_line_tick(struct home_line *line, uint64_t now_us);
/* Whether lanes are ready may have changed. */
void home_check_ready(struct home *home);

/* ---- home_cluster.c ---- */

void home_cluster_tick(struct home *home, uint64_t now_us);
/* Asks for the map as soon as that may be, not of `node` where another is up. */
void home_cluster_doubt(struct home *home, const struct home_node *node);
/* Whether an error asks for the command to be sent again, and sees to that. */
bool home_cluster_redirect(struct home_command *command, const struct resp_token *error);
/* It is sent as soon as the node's link is up, which is being opened. */
void home_park(struct home_command *command, struct home_node *node);
/* Sends again what is due, and refuses what has waited too long. `node`: what waits
 * for that one is due. */
void home_run_parked(struct home *home, const struct home_node *node);

/* ---- home_tell.c ---- */

void home_tell_notice(struct home *home, enum home_lane lane, const uint8_t *key, size_t size);
void home_tell_lost(struct home *home, enum home_lane lane);
void home_tell_ready(struct home *home, enum home_lane lane);
/* The log's events; each once, until the other comes. */
void home_log_up(struct home *home, uint64_t now_us);
void home_log_lost(struct home *home, uint64_t now_us);
void home_log_refused(struct home *home, const struct link *link);
void home_log_slots(struct home *home);

#endif

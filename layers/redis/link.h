#ifndef RELATA_LAYERS_REDIS_LINK_H
#define RELATA_LAYERS_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "layers/redis/home_options.h"
#include "layers/redis/lease.h"
#include "layers/redis/resp.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/base/list.h"

/* One connection to one Redis server: bytes of commands out, replies matched in
 * order, notices of client tracking as they come. It speaks RESP3, so that
 * answers and notices are in one order; it never connects again by itself
 * (home.h does).
 *
 *   IDLE ──link_open──► RESOLVING ──► CONNECTING ──► GREETING ──► UP
 *     ▲                     │             │             │         │
 *     └──────── on_down ◄───┴── fault ────┴─────────────┴─────────┘
 *
 * RESOLVING is uv_getaddrinfo (never blocking). GREETING is HELLO 3 (with AUTH
 * where there is a password; RESP2 and no tracking where the server knows no
 * HELLO), SELECT where the database is not 0, CLIENT TRACKING ON as `tracking`
 * says, INFO for the eviction policy. A server that refuses tracking is UP
 * without (tracking_refused). Possible failures are: the deadline (options'
 * timeout) of connecting and greeting together, a fault of the socket, bytes that
 * are no RESP, a command whose deadline passes (the link is then broken, since its
 * answers cannot be told apart), and link_close. All commands that are out then
 * end with LINK_LOST, those that were never sent with LINK_UNSENT, each once,
 * before on_down. */

enum link_tracking {
    LINK_UNTRACKED,
    LINK_TRACKS_READS,   /* CLIENT TRACKING ON: what this link reads */
    LINK_TRACKS_PREFIXES /* BCAST PREFIX ...: every write to such keys */
};

struct link_settings {
    const struct home_options *options; /* must outlive the link; host and port only
                                            where `host` is NULL */
    const char *host;                   /* another node of the same Cluster; copied by link_open */
    uint16_t port;
    enum link_tracking tracking;
    const struct buffer *prefixes; /* of LINK_TRACKS_PREFIXES: of each the words PREFIX
                                       and itself, as resp_word writes them; none is a
                                       prefix of another; must outlive the link */
    size_t prefix_count;
};

enum link_outcome {
    LINK_ANSWERED, /* the reply is there, which may be an error */
    LINK_UNSENT,   /* it was certainly not executed */
    LINK_LOST      /* it may have been executed */
};

/* A command on its way. Embedded in whoever sends it; must live until `done`. */
struct link_command {
    struct list link;
    uint64_t deadline_us; /* when it should have been answered, at the earliest: a server
                             that tells other things meanwhile is given more time */
    uint64_t due_us;      /* link.c's own: that, for this time that it was sent */
    /* What goes before it, and whose answer nobody sees: ASKING; else, where the link
     * tracks its reads, that this command's are not to be tracked. */
    bool asking;
    bool untracked;
    uint8_t before; /* link.c's own: such answers that are missing */
    bool sent;      /* bytes of it may have left */
    /* Called once, never from inside link_send. The reply (one whole, read with
     * resp_next) is good until it returns. It may send further commands. */
    void (*done)(struct link_command *command, enum link_outcome outcome, struct resp_reader reply);
};

/* A command of the link's own: a step of its greeting, or a ping. */
struct link_step {
    struct link_command command;
    struct link *owner;
};

enum {
    LINK_STEPS_MAX = 6, /* of a greeting: HELLO, AUTH, PING, SELECT, CLIENT TRACKING, INFO */
    LINK_REFUSAL_MAX = 128,
    LINK_POLICY_MAX = 32
};

enum link_state {
    LINK_IDLE,
    LINK_RESOLVING,
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_UP,
    LINK_CLOSING
};

struct link {
    /* Set by the owner before link_open. */
    uv_loop_t *loop;
    void *context;
    void (*enter)(void *context); /* called first in every callback of libuv */
    void (*on_up)(struct link *link);
    /* The link is IDLE again, and may be opened again, or freed, from inside.
     * `error` says why. After link_close it is called with CODE_OK. */
    void (*on_down)(struct link *link, const struct error *error);
    /* A key was changed by anybody; NULL: all keys may have been. Never called for
     * a message that somebody forged by PUBLISH (RESP3 pushes cannot be). */
    void (*on_notice)(struct link *link, const uint8_t *key, size_t size);
    /* It has heard enough in this turn, and hears no more before link_go_on is called,
     * which is to be in the next one: so others are served in between. */
    void (*on_rest)(struct link *link);

    /* Read only. */
    enum link_state state;
    struct lease lease;  /* begins with UP, where there is tracking */
    uint64_t last_cover; /* the number of the last session, which may be over; 0: none */
    bool tracking_refused;
    char tracking_error[LINK_REFUSAL_MAX]; /* what the server said to that */
    char eviction_policy[LINK_POLICY_MAX]; /* of INFO: "noeviction"; empty while unknown */
    bool eviction_bounded;                 /* maxmemory is not 0 */
    /* Over all times that it was open. Pings and greetings do not count. */
    uint64_t moment;   /* another one from each answer on, of no other link: notices that
                        come between two answers share it */
    uint64_t commands; /* sent */
    uint64_t writes;   /* flushes that wrote any: round trips begun */
    uint64_t timeouts; /* deadlines that passed */
    uint64_t ignored;  /* pushes that are no notices */

    /* link.c's own. */
    struct link_settings settings;
    char host[HOME_HOST_MAX];
    uint16_t port;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } socket;
    uv_connect_t connecting;
    uv_getaddrinfo_t resolving;
    uv_write_t writing_request;
    bool writing;
    bool resting;
    bool handle_open;
    struct buffer output;  /* since the last flush */
    struct buffer sending; /* what the socket has not taken yet */
    struct buffer input;
    size_t taken;       /* of `input` */
    uint64_t keys_left; /* of the notice that it has come to: not told yet */
    size_t keys_told;   /* in this turn */
    struct resp_scan scan;
    struct list waiting; /* commands, oldest first: those out and those in `output` */
    uint64_t opened_us;
    uint64_t now_us;           /* of the last tick: never later than the time that it is */
    uint64_t heard_us;         /* when bytes came last, likewise */
    bool late;                 /* that came long after the one before */
    uint64_t pinged_us;        /* the last ping */
    uint64_t tracked_us;       /* when tracking was asked for; 0: it is not confirmed */
    size_t fresh;              /* commands of others in `output` */
    struct addrinfo *resolved; /* all that the name has */
    struct addrinfo *next;     /* those that were not tried yet */
    struct error fault;
    unsigned greetings; /* replies of the greeting that are missing */
    unsigned step_count;
    struct link_step steps[LINK_STEPS_MAX];
    unsigned ping_next;
    struct link_step pings[LEASE_PINGS_MAX];
};

void link_init(struct link *link);

/* Begins. 0, or a negative code and nothing was begun. */
int link_open(struct link *link, const struct link_settings *settings, uint64_t now_us,
              struct error *error);

/* Puts a command's bytes into the output; they leave with the next link_flush.
 * The link must be UP. -CODE_OVERLOADED where memory lacks or more than
 * LINK_OUTPUT_MAX bytes wait: then nothing was done. */
enum { LINK_OUTPUT_MAX = 256 << 20 };
int link_send(struct link *link, struct link_command *command, const void *bytes, size_t size);

/* Goes on hearing, after a rest. */
void link_go_on(struct link *link);

/* Writes what there is, with one system call; at the end of each turn. */
void link_flush(struct link *link);

/* Sends a ping where it is time, and breaks the link where the oldest command's
 * deadline (or that of opening) has passed. */
void link_tick(struct link *link, uint64_t now_us);

/* At once; idempotent. on_down comes later, from the loop; never where it is IDLE. */
void link_close(struct link *link);

/* Gives the tracking session another number: what was read before does not count
 * any more. For a node that has lost or got slots. */
void link_renew(struct link *link);

static inline bool link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

#endif

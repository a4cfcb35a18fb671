#ifndef RELATA_LAYERS_REDIS_SLOTS_H
#define RELATA_LAYERS_REDIS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/redis/resp.h"
#include "protocol/base/error.h"

/* Which node of a Redis Cluster has which slot. Pure. The rules are those of the
 * Redis Cluster specification. */

enum { SLOTS_COUNT = 16384, SLOTS_NODES_MAX = 1024, SLOTS_HOST_MAX = 256 };

/* The slot of a key: CRC16 (XMODEM) of the key, or of its hash tag (what stands
 * between the first `{` and the next `}`, where that is not empty). */
uint16_t slot_of_key(const void *key, size_t size);

#define SLOTS_NO_NODE UINT16_MAX

struct slots_node {
    char host[SLOTS_HOST_MAX];
    uint16_t port;
};

/* A map as a node told it: masters, each once, and whose each slot is. */
struct slots {
    struct slots_node nodes[SLOTS_NODES_MAX];
    uint16_t node_count;
    uint16_t owner[SLOTS_COUNT]; /* position in nodes, or SLOTS_NO_NODE */
};

/* Takes the reply of CLUSTER SLOTS. `asked` is the host that was asked: a node
 * that tells no host for itself (nil or empty) means that one. 0, or
 * -CODE_UNAVAILABLE with what came where it is none; *out is then unspecified. */
int slots_read(struct slots *out, struct resp_reader reply, const char *asked, struct error *error);

/* Whether two maps say the same. */
bool slots_same(const struct slots *a, const struct slots *b);

/* What an error of a node asks for. */
enum redirect_kind {
    REDIRECT_NONE,  /* any other error */
    REDIRECT_MOVED, /* send it to `node`, and ask for the map again */
    REDIRECT_ASK,   /* send ASKING and then it to `node`, this once */
    REDIRECT_AGAIN  /* TRYAGAIN: to the same node, a little later */
};

struct redirect {
    enum redirect_kind kind;
    uint16_t slot;
    struct slots_node node; /* of MOVED and ASK; the host may be empty: the same */
};

/* Reads an error reply's text, such as "MOVED 3999 127.0.0.1:6381" or
 * "ASK 3999 [::1]:6381". */
struct redirect redirect_read(const uint8_t *text, size_t size);

#endif

#ifndef RELATA_LAYERS_REDIS_REINDEX_INNER_H
#define RELATA_LAYERS_REDIS_REINDEX_INNER_H

#include "layers/redis/index_set.h"
#include "layers/redis/redis_inner.h"

/* What the two files of reindexing know of each other: reindex.c goes through the
 * keys, reindex_record.c names one record. */

/* In this order, those of slots once for each node, and SCAN until it is at its end. */
enum reindex_phase {
    REINDEX_TELL,  /* that it is under way */
    REINDEX_SLOTS, /* of a Cluster: who has which slots, and that none is on the move */
    REINDEX_SCAN,
    REINDEX_SLOTS_AGAIN,
    REINDEX_MARK,
    REINDEX_END
};

struct redis_reindex {
    struct home_command command; /* of reindex.c, one at a time */
    struct home_listener listener;
    struct redis_store *store;
    const struct resource *resource; /* another one since: a schema was loaded */
    redis_reindexed *done;           /* NULL: forgotten */
    void *context;
    enum reindex_phase phase;
    char run[MARK_MAX]; /* a name that no other one has */
    uint16_t node;
    uint16_t node_count;
    bool node_done; /* its SCAN is at its end */
    bool lost;      /* what was gone through may lack something */
    uint64_t slots; /* a hash of who had which */
    uint64_t slots_again;
    size_t out;           /* the command, or records, that are out */
    struct buffer bytes;  /* of the command */
    struct buffer cursor; /* of the node's next SCAN */
    struct buffer keys;   /* of the last SCAN: size and bytes of primary keys */
    size_t keys_at;       /* of the next that is to be read */
    uint64_t records;
    uint64_t misfits;
    struct error error; /* why it fails; code CODE_OK while it does not */
};

/* Whether it makes sense to go on; else it has an error. Asked first by whoever was
 * called back: the resource may be another, or gone. */
bool reindex_goes_on(struct redis_reindex *reindex);
/* The first error stays. */
void reindex_fail(struct redis_reindex *reindex, const struct error *error);
void reindex_no_memory(struct redis_reindex *reindex);
void reindex_try_again(struct redis_reindex *reindex, const char *why);
/* False, and it fails, where there is no reply, or it is an error. */
bool reindex_take(struct redis_reindex *reindex, const struct home_answer *answer,
                  struct resp_reader *in, struct resp_token *first);
/* One less is out: goes on, or to its end. */
void reindex_returned(struct redis_reindex *reindex);

/* reindex_record.c: one more is out, until all that it needs is done. */
void reindex_record(struct redis_reindex *reindex, const uint8_t *key, size_t size);

#endif

#ifndef RELATA_LAYERS_REDIS_RESIDENT_INNER_H
#define RELATA_LAYERS_REDIS_RESIDENT_INNER_H

#include "layers/redis/misfits.h"
#include "layers/redis/redis_inner.h"

/* What resident.c (loading, and what is heard) and resident_read.c (reading keys into
 * the table) know of each other. resident.c has the whole. */

enum resident_state { RESIDENT_AWAY, RESIDENT_LOADING, RESIDENT_LOADED };

enum {
    CONFLICTS_MAX = 3,      /* times that a key is read again because an identity is taken */
    RETRY_US = 1000 * 1000, /* after a load that failed */
    SWEPT_PER_TURN = 2000,  /* records of the table that are looked at */
    SWEPT_READS_MAX = 8000, /* that are out while more is swept */
    SCANNED_BYTES = 8 << 20 /* of records whose names one SCAN of a load brings, about */
};

/* A key that is being read. */
struct resident_read {
    struct home_command command;
    struct hash_table_node node; /* in resident->reads */
    struct list link;            /* in resident->reads_in_order */
    struct redis_store *store;
    uint64_t number; /* by when it was sent */
    uint64_t load;   /* the number of the load that asked, 0: a notice did */
    unsigned conflicts;
    bool noticed; /* a notice asked for it, too */
    size_t key_size;
    size_t name_size;
    struct buffer bytes;
    uint8_t key[]; /* and behind it the name */
};

/* One node's keys. */
struct resident_scan {
    struct home_command command;
    struct redis_store *store;
    uint64_t load;
    uint16_t node;
    struct buffer bytes;
};

struct resident {
    enum resident_state state;
    uint64_t load;     /* number of the last load */
    size_t scans;      /* nodes whose SCAN is not at its end */
    size_t load_reads; /* reads of this load that are out */
    bool failed;       /* this load lacks something */
    bool loaded_once;
    bool sweeping; /* what this load did not meet is asked for, a part in each turn */
    bool swept;    /* all of that is asked for */
    struct store_cursor sweep;
    uint64_t retry_us; /* when a load that failed is begun again */
    bool tried;        /* a load has come to an end, good or bad */
    struct hash_table reads;
    struct list reads_in_order; /* oldest first */
    uint64_t read_number;       /* of the last one */
    struct list waiters;        /* of struct resident_waiter, by number */
    struct hash_table met;      /* keys that the load has met, by their hashes */
    struct arena met_nodes;
    struct misfits misfits;
    uint64_t lost_us;
};

/* Asks for a key, unless it is asked for already. `load` is the number of the load that
 * asks, `conflicts` how often it was read again because an identity is taken. */
void resident_read_key(struct redis_store *store, const uint8_t *key, size_t size, uint64_t load,
                       unsigned conflicts);
/* The same because a notice tells of the key. */
void resident_read_noticed(struct redis_store *store, const uint8_t *key, size_t size,
                           uint64_t load);
/* Those who wait for reads that are all back go on. */
void resident_tell_waiters(struct resident *resident);
/* What is here is not the whole: it is loaded again, a little later. */
void resident_fail(struct redis_store *store);
/* A read or a scan of the load is back. */
void resident_load_go_on(struct redis_store *store);

#endif

#ifndef RELATA_LAYERS_MEMORY_HASH_INDEX_H
#define RELATA_LAYERS_MEMORY_HASH_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/memory/slab.h"
#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* From key bytes to the record that has them. A bucket is a cache line: twelve
 * references with a byte of their hashes each, and a link for the few that do
 * not fit, so that a find costs a line here and a line of the record.
 *
 * It grows by linear hashing: when it is four fifths full, one bucket after the
 * other is split in two, some at each insert and each turn; nothing is ever
 * rehashed at once and nothing is held twice.
 *
 * Dead records may stay in it until they are taken out by reference; finds pass
 * over them. That is what makes rollback free of allocation. */

enum { BUCKET_SLOTS = 12, SEGMENT_BUCKETS = 128 };

struct hash_bucket {
    uint32_t references[BUCKET_SLOTS]; /* taken ones first, then 0 */
    uint8_t tags[BUCKET_SLOTS];
    uint32_t overflow; /* the next bucket of the chain, or 0 */
};

struct hash_index {
    struct slab *nodes; /* where buckets come from */
    const struct resource *resource;
    const struct field_list *fields;
    uint32_t *segments; /* references of SEGMENT_BUCKETS buckets each */
    uint32_t segment_count;
    uint32_t segment_capacity;
    uint32_t level; /* buckets at the start of this doubling, 2^n */
    uint32_t split; /* how many of them are split */
    bool growing;
    uint64_t count;
    uint64_t bytes;        /* of buckets */
    struct buffer scratch; /* for keys of several fields */
};

void hash_index_init(struct hash_index *index, struct slab *nodes, const struct resource *resource,
                     const struct field_list *fields);
void hash_index_release(struct hash_index *index);

/* The live record of the key; 0 where there is none. */
uint32_t hash_index_find(const struct hash_index *index, const uint8_t *key, size_t size);

/* Brings what a find of the key will look at into the cache: first its bucket,
 * and, some other work later, the records that the bucket names. */
void hash_index_prefetch_bucket(const struct hash_index *index, uint64_t hash);
void hash_index_prefetch_record(const struct hash_index *index, uint64_t hash);
uint32_t hash_index_find_hashed(const struct hash_index *index, uint64_t hash, const uint8_t *key,
                                size_t size);

/* Adds a record under its key, which no live record of the index has. 0, or
 * -CODE_OVERLOADED, with nothing changed. */
int hash_index_insert(struct hash_index *index, uint32_t reference, const uint8_t *key,
                      size_t size);

/* Takes the record out; it must be in. Never fails. */
void hash_index_remove(struct hash_index *index, uint32_t reference);

/* Puts `replacement`, which has the same key, in the place of `reference`. */
void hash_index_replace(struct hash_index *index, uint32_t reference, uint32_t replacement);

/* Splits up to `buckets` buckets if growth is under way; true where it goes on. */
bool hash_index_grow(struct hash_index *index, unsigned buckets);

#endif

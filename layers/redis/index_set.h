#ifndef RELATA_LAYERS_REDIS_INDEX_SET_H
#define RELATA_LAYERS_REDIS_INDEX_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/record.h"
#include "protocol/base/buffer.h"

/* Secondary indexes and identities as they stand in Redis, for resources with
 * `writers: relata`. Pure: names and bytes.
 *
 * An index is one sorted set for each value of its first field, all scores 0:
 *
 *   relata:ix:<resource>:<field>,<field>...:<value of the first field>
 *
 * whose members sort by the values of the other fields, as records do (nil after
 * all values), then name the record and the write that made it what it is:
 *
 *   <values of the other fields, in order-preserving bytes> <primary key> <mark>
 *
 * Each write of a record puts in members with its own mark before the record is
 * changed, and takes out those with the old record's mark afterwards. So a set may
 * name too much (what it names is fetched and compared), never too little, and a
 * late removal never takes away a later write's member. A record whose first
 * field is nil is in no set.
 *
 * An identity is a key for each value ("claim") that names the record which has it:
 *
 *   relata:id:<resource>:<identity>:<value>:<value>...  =  <primary key> <mark> */

#define INDEX_SET_PREFIX REDIS_OWN_PREFIX

/* Appends the name of the set of a record, or of the values of a range (whose first
 * value is given); false (and nothing appended) where the first field is nil. */
bool index_set_name(const struct resource *resource, const struct index *index,
                    const struct record *record, struct buffer *out);
void index_set_name_of_range(const struct resource *resource, const struct range *range,
                             struct buffer *out);

/* Appends the member of a record. */
void index_set_member(const struct resource *resource, const struct index *index,
                      const struct record *record, const void *mark, size_t mark_size,
                      struct buffer *out);

/* Appends the bounds for ZRANGEBYLEX of a range's members ("[..." or "(...", "-", "+"). */
void index_set_lower(const struct resource *resource, const struct range *range,
                     struct buffer *out);
void index_set_upper(const struct resource *resource, const struct range *range,
                     struct buffer *out);

/* The primary key and the mark in a member; false where it is none of the index. */
bool index_set_take_member(const struct resource *resource, const struct index *index,
                           const uint8_t *member, size_t size, struct store_key *key,
                           struct store_key *mark);

/* Which set a key's name is: the index, and its first field's value appended as
 * canonical MessagePack. NULL where it is none of the resource's. */
const struct index *index_set_of_name(const struct resource *resource, const void *name,
                                      size_t size, struct buffer *value);

/* Appends a claim's name for a key of the identity (record.h, "Keys"). */
void claim_name(const struct resource *resource, const struct identity *identity,
                const uint8_t *key, size_t size, struct buffer *out);

/* Which claim a key's name is: the identity, and its first field's value appended as
 * canonical MessagePack where it has no other. NULL where it is none of the
 * resource's. */
const struct identity *claim_of_name(const struct resource *resource, const void *name, size_t size,
                                     struct buffer *value);

/* The primary key and the mark in a claim's value; false where it is none. */
bool claim_take(const struct resource *resource, const uint8_t *value, size_t size,
                struct store_key *key, struct store_key *mark);

/* ---- Marks ----
 * "<daemon>-<number>-<milliseconds since 1970>", in hex. */
enum { MARK_MAX = 56 };
size_t mark_make(char out[MARK_MAX], uint64_t daemon, uint64_t number, uint64_t time_ms);
/* When the write was begun, by its daemon's clock; 0 where that is not told. */
uint64_t mark_time_ms(const void *mark, size_t size);

#endif

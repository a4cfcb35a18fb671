#ifndef RELATA_LAYERS_REDIS_INDEX_SIGNATURE_H
#define RELATA_LAYERS_REDIS_INDEX_SIGNATURE_H

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* What the sets of an index, or the claims of an identity, are made by, as one word:
 * the template of the keys and the encoding of the records that they name, the primary
 * key, and the fields whose values they hold, each with its name, its name in Redis and
 * its type. Sets that are whole for one signature say nothing of another one.
 *
 * The members of an enumeration are no part of it: they are texts, and sort as such.
 * Pure; the same in every process and on every machine, since daemons compare it. */

enum { INDEX_SIGNATURE_BYTES = 16 }; /* hex digits */

/* Appends it. Of resources with `layer: redis`. */
void index_signature(const struct resource *resource, const struct index *index,
                     struct buffer *out);
void claim_signature(const struct resource *resource, const struct identity *identity,
                     struct buffer *out);

#endif

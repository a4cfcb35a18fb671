#ifndef RELATA_LAYERS_LOAD_OUTSIDE_H
#define RELATA_LAYERS_LOAD_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/load/coalescer.h"
#include "layers/load/relation.h"
#include "layers/query/eval.h"
#include "layers/query/query.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* What loaders outside of the daemon's own records (modules, remote providers)
 * have in common: what they are shown of a batch, and how their answers are
 * checked. Pure: bytes in, bytes and records out.
 *
 * The context that a loader is shown is the map
 *   {query: {filter, params, sort, limit, select}, actor, authorize, tenant}
 * with absent parts left out (`query` is always there). It is made when a call
 * loads, and is the batch group's key: callers who would be shown the same
 * share a batch. */

/* Appends the group's key for a call with this query: [context, of the call],
 * where the second is nil, or a number of the call whose made-up records are
 * the sources (those are shared within the call only). */
void outside_shown(const struct relation *relation, const struct eval *eval, bool authorize,
                   const struct query *query, uint64_t made_up_by, struct buffer *out);

/* Appends the context map of a batch, with `timeout_ms` and `batch` (the
 * batch's number) where they are not 0. */
void outside_context(const struct batch *batch, uint64_t timeout_ms, bool with_batch,
                     struct buffer *out);

/* Whether the batch's sources were made up by a loader. */
bool outside_is_made_up(const struct batch *batch);

/* The parts of a batch's context, for reads on its behalf. Slices of the batch.
 * Under `actor: none` such reads are without policies: the destination's are
 * applied to the answer anyway. */
struct outside_identity {
    const uint8_t *actor; /* map, or NULL */
    uint32_t actor_size;
    const uint8_t *tenant; /* a value, or NULL */
    uint32_t tenant_size;
    bool authorize;
};
void outside_identity(const struct batch *batch, struct outside_identity *out);

/* Appends the array of `count` source records from number `from` on, as maps:
 * whole, or the relationship's `source_fields` with the primary key. */
void outside_sources(const struct relation *relation, const struct batch *batch, size_t from,
                     size_t count, struct buffer *out);

/* The source record of a key, as stored when the batch was formed (a made-up
 * one as it came), copied into the batch's arena by outside_open. */
const struct record *outside_source(const struct batch *batch, size_t key);

/* Called first by a loader's `start`: resolves and copies the sources into the
 * batch's arena and sets batch->context to the result. `extra` bytes of zeroed
 * room for the loader's own follow (outside_extra). 0, or -CODE_OVERLOADED. */
int outside_open(const struct relation *relation, struct batch *batch, size_t extra);
void *outside_extra(const struct batch *batch);

/* Takes a loader's answer for `count` keys from number `from` on: a list in
 * their order, or a map by the source's primary key. Fills batch->answers for
 * them: related records from the batch's arena (or, where the relationship
 * `returns: keys`, from the destination's store, one with nothing but its key for
 * a record that is not there: outside_fetch_again leaves those out), or an error
 * for one source.
 * Destination records are checked against their resource; one that does not fit
 * fails its source. 0; or -CODE_LOADER_FAILED with what came where the answer
 * as a whole is misshapen (then nothing is filled), -CODE_OVERLOADED. */
int outside_take(const struct relation *relation, struct batch *batch, size_t from, size_t count,
                 struct reader *answer, struct error *error);

/* An answer of keys (`returns: keys`) that may have been kept for a while, with
 * the records as they are stored now, without those that are no more; copied
 * into the arena. 0, or -CODE_OVERLOADED. */
int outside_fetch_again(const struct relation *relation, struct arena *arena,
                        const struct related_records **answer);

/* Fails `count` keys from number `from` on. */
void outside_fail(const struct relation *relation, struct batch *batch, size_t from, size_t count,
                  const struct error *error);

#endif

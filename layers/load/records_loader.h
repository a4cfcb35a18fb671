#ifndef RELATA_LAYERS_LOAD_RECORDS_LOADER_H
#define RELATA_LAYERS_LOAD_RECORDS_LOADER_H

#include "layers/load/relation.h"

/* The loader that answers from the records: ordinary joins, many_to_many, and
 * manual relationships by `filter`. A batch is a task. */

int records_loader_open(struct relation *relation, struct arena *arena);
void records_loader_start(struct relation *relation, struct batch *batch);
bool records_loader_cancel(struct relation *relation, struct batch *batch);

/* [actor, tenant, call]: nil for what the loader does not look at; nothing where
 * that is all of it. */
void records_loader_shown(const struct relation *relation, const struct eval *eval,
                          uint64_t made_up_by, struct buffer *out);

/* Whether the batch's sources were made up by a loader. */
bool records_loader_is_made_up(const struct batch *batch);

#endif

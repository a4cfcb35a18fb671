#ifndef RELATA_LAYERS_LOAD_INVALIDATION_H
#define RELATA_LAYERS_LOAD_INVALIDATION_H

#include "layers/layer.h"
#include "layers/load/relation.h"

/* Which keys of a relation a write may have changed the answers of: exactly
 * those where the relationship's fields tell, else all. Their cached results are
 * dropped, and their flights overtaken, before the write is acknowledged. */

/* What the relation's loader looks at. 0, or -CODE_OVERLOADED. */
int invalidation_open(struct relation *relation, struct arena *arena);

void invalidation_on_write(struct relation *relation, const struct write_event *event);

#endif

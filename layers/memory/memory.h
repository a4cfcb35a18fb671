#ifndef RELATA_LAYERS_MEMORY_MEMORY_H
#define RELATA_LAYERS_MEMORY_MEMORY_H

#include "layers/layer.h"

/* The memory layer: the daemon is the home of the records. One heap of slabs
 * for all resources, a table a resource. This is its whole public face. */

struct memory;

/* The heap reserves address space (32 GiB, so that a reference is 32 bits in
 * units of 8 bytes); pages are taken as they are needed. NULL where the
 * reservation fails. */
struct memory *memory_create(struct world *world);
void memory_free(struct memory *memory);

/* The table of a resource, as a store. It keeps the pointer to the resource,
 * whose schema must outlive it. NULL where memory lacks. */
struct store *memory_table_create(struct memory *memory, const struct resource *resource);
void memory_table_free(struct store *store);

/* The table is the next schema's now: `resource` has the same fields, keys and
 * indexes in the same order, and takes the place of the one before, whose
 * schema may go. Calls that began on the earlier schema may still name its
 * indexes and identities. */
void memory_table_adopt(struct store *store, const struct resource *resource);

/* To be called once at the end of each event-loop turn: frees the records that
 * writes replaced and nobody holds, and grows tables a little. True where
 * there is more to do, so that the loop does not sleep. */
bool memory_turn(struct memory *memory);

/* Bytes taken from the system for records and indexes. */
uint64_t memory_bytes(const struct memory *memory);

#endif

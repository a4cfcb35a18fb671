#ifndef RELATA_PROTOCOL_BASE_HASH_H
#define RELATA_PROTOCOL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3 with a seed drawn per process, since keys come from outside. */
uint64_t hash_bytes(const void *bytes, size_t size);

/* For tests and repeatable measurements; else the seed is from getrandom at
 * first use. */
void hash_seed(uint64_t seed);

/* XXH3 without a seed: the same in all processes, on all machines, and in the next release.
 * For what several daemons compare, never for tables of keys that come from outside. */
uint64_t hash_shared(const void *bytes, size_t size);

#endif

#ifndef RELATA_LAYERS_REDIS_ABSENTS_H
#define RELATA_LAYERS_REDIS_ABSENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/hash_table.h"
#include "protocol/base/list.h"

/* Names of records, sets and claims in a Cluster that were read and are not there. While a slot
 * moves to another master, what is absent is created at that one, and the one that was
 * asked tells nobody: so what was made of an absence is believed for some time only.
 * Pure: the time is given. */
struct absents {
    struct hash_table by_name;
    struct list in_order; /* of when they are due */
};

enum { ABSENTS_MAX = 10000 };

void absents_init(struct absents *absents);
void absents_clear(struct absents *absents);
void absents_release(struct absents *absents);

/* One that is in it already stays as it is. False where there are too many, or memory
 * lacks: it is not remembered then. `due_us` must not be before that of another call. */
bool absents_add(struct absents *absents, const uint8_t *name, size_t size, uint64_t due_us);

/* Takes out the first that is due, and gives it to `with`: whether there was any. */
bool absents_take(struct absents *absents, uint64_t now_us,
                  void (*with)(void *context, const uint8_t *name, size_t size), void *context);

#endif

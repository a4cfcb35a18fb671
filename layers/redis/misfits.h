#ifndef RELATA_LAYERS_REDIS_MISFITS_H
#define RELATA_LAYERS_REDIS_MISFITS_H

#include "layers/hash_table.h"
#include "protocol/base/error.h"

/* Keys of a resident resource whose records are left out, and why: the value does not
 * fit the schema, or another record has the same identity ("rival"). Pure. Each takes
 * little more than its texts, since there may be as many as there are records. */
struct misfits {
    struct hash_table by_key;
    struct hash_table by_rival;
    struct error shown; /* the one that was asked for last */
};

void misfits_init(struct misfits *misfits);
void misfits_clear(struct misfits *misfits);
void misfits_release(struct misfits *misfits);

static inline size_t misfits_count(const struct misfits *misfits)
{
    return misfits->by_key.count;
}

/* Of the error, code, message, resource, field and key are kept. `rival` is the other's
 * primary key (size 0: there is none). One that is there is replaced. False where memory
 * lacks: then there is none. */
bool misfits_put(struct misfits *misfits, const uint8_t *key, size_t size,
                 const struct error *error, const uint8_t *rival, size_t rival_size);
/* Whether it was there. */
bool misfits_remove(struct misfits *misfits, const uint8_t *key, size_t size);

/* Why the key is left out, good until the next call; NULL where it is not. */
const struct error *misfits_find(struct misfits *misfits, const uint8_t *key, size_t size);

/* Whether it is left out because of a rival. */
bool misfits_has_rival(const struct misfits *misfits, const uint8_t *key, size_t size);

/* Calls `with` for the keys of all that have this rival; it must not change them. */
void misfits_each_of_rival(const struct misfits *misfits, const uint8_t *rival, size_t size,
                           void (*with)(void *context, const uint8_t *key, size_t size),
                           void *context);

#endif

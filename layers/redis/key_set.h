#ifndef RELATA_LAYERS_REDIS_KEY_SET_H
#define RELATA_LAYERS_REDIS_KEY_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/hash_table.h"

/* A set of keys, which are bytes. Pure. */
struct key_set {
    struct hash_table keys;
};

void key_set_init(struct key_set *set);
void key_set_release(struct key_set *set);

/* Copies the key, where it is not there yet: false where memory lacks. */
bool key_set_add(struct key_set *set, const uint8_t *key, size_t size);
/* Takes it out: whether it was there. */
bool key_set_take(struct key_set *set, const uint8_t *key, size_t size);
void key_set_clear(struct key_set *set);

static inline size_t key_set_count(const struct key_set *set)
{
    return set->keys.count;
}

#endif

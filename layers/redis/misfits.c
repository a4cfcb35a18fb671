#include "layers/redis/misfits.h"

#include <string.h>

#include "layers/key_node.h"
#include "protocol/base/heap.h"

/* One allocation each: behind the misfit lie, one after the other, its key, the rival's
 * key, the error's key, and its message, resource and field as terminated texts. */
struct misfit {
    struct key_node key;
    struct key_node rival; /* in its table where it has any bytes */
    enum code code;
    size_t shown_size;
    size_t message_size; /* with its zero; likewise the resource's and the field's */
    size_t resource_size;
    uint8_t bytes[];
};

void misfits_init(struct misfits *misfits)
{
    hash_table_init(&misfits->by_key);
    hash_table_init(&misfits->by_rival);
}

static void drop(struct misfits *misfits, struct misfit *misfit)
{
    hash_table_remove(&misfits->by_key, &misfit->key.node);
    if (misfit->rival.size > 0) {
        hash_table_remove(&misfits->by_rival, &misfit->rival.node);
    }
    heap_free(misfit);
}

void misfits_clear(struct misfits *misfits)
{
    for (size_t i = 0; misfits->by_key.count > 0 && i <= misfits->by_key.mask; i++) {
        while (misfits->by_key.buckets[i] != NULL) {
            drop(misfits, CONTAINER_OF(misfits->by_key.buckets[i], struct misfit, key.node));
        }
    }
}

void misfits_release(struct misfits *misfits)
{
    misfits_clear(misfits);
    hash_table_release(&misfits->by_key);
    hash_table_release(&misfits->by_rival);
}

static struct misfit *find(const struct misfits *misfits, const uint8_t *key, size_t size)
{
    struct key_node *node = key_node_find(&misfits->by_key, key, size);
    return node != NULL ? CONTAINER_OF(node, struct misfit, key) : NULL;
}

bool misfits_remove(struct misfits *misfits, const uint8_t *key, size_t size)
{
    struct misfit *misfit = find(misfits, key, size);
    if (misfit != NULL) {
        drop(misfits, misfit);
    }
    return misfit != NULL;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
    if (size > 0) {
        memcpy(at, bytes, size);
    }
    return at + size;
}

bool misfits_put(struct misfits *misfits, const uint8_t *key, size_t size,
                 const struct error *error, const uint8_t *rival, size_t rival_size)
{
    size_t message_size = strlen(error->message) + 1;
    size_t resource_size = strlen(error->resource) + 1;
    size_t field_size = strlen(error->field) + 1;
    misfits_remove(misfits, key, size);
    struct misfit *misfit = heap_alloc(sizeof *misfit + size + rival_size + error->key_size +
                                       message_size + resource_size + field_size);
    if (misfit == NULL) {
        return false;
    }
    *misfit = (struct misfit){.code = error->code,
                              .key = {.bytes = misfit->bytes, .size = size},
                              .rival = {.bytes = misfit->bytes + size, .size = rival_size},
                              .shown_size = error->key_size,
                              .message_size = message_size,
                              .resource_size = resource_size};
    uint8_t *at = put(misfit->bytes, key, size);
    at = put(at, rival, rival_size);
    at = put(at, error->key, error->key_size);
    at = put(at, error->message, message_size);
    at = put(at, error->resource, resource_size);
    put(at, error->field, field_size);
    key_node_insert(&misfits->by_key, &misfit->key);
    if (rival_size > 0) {
        key_node_insert(&misfits->by_rival, &misfit->rival);
    }
    return true;
}

const struct error *misfits_find(struct misfits *misfits, const uint8_t *key, size_t size)
{
    const struct misfit *misfit = find(misfits, key, size);
    if (misfit == NULL) {
        return NULL;
    }
    const uint8_t *shown = misfit->rival.bytes + misfit->rival.size;
    const char *message = (const char *)shown + misfit->shown_size;
    const char *resource = message + misfit->message_size;
    error_set(&misfits->shown, misfit->code, "%s", message);
    error_resource(&misfits->shown, resource);
    error_field(&misfits->shown, resource + misfit->resource_size);
    error_key(&misfits->shown, shown, misfit->shown_size);
    return &misfits->shown;
}

bool misfits_has_rival(const struct misfits *misfits, const uint8_t *key, size_t size)
{
    const struct misfit *misfit = find(misfits, key, size);
    return misfit != NULL && misfit->rival.size > 0;
}

void misfits_each_of_rival(const struct misfits *misfits, const uint8_t *rival, size_t size,
                           void (*with)(void *context, const uint8_t *key, size_t size),
                           void *context)
{
    struct key_node *first = key_node_find(&misfits->by_rival, rival, size);
    struct hash_table_node *node = first != NULL ? &first->node : NULL;
    for (; node != NULL; node = hash_table_next(node)) {
        const struct misfit *misfit = CONTAINER_OF(node, struct misfit, rival.node);
        if (misfit->rival.size == size && memcmp(misfit->rival.bytes, rival, size) == 0) {
            with(context, misfit->key.bytes, misfit->key.size);
        }
    }
}

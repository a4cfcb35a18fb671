#include <string.h>

#include "layers/redis/key_text.h"
#include "layers/redis/transaction.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"

/* A pass of a write, on what is known so far: what it finds, puts and removes, and
 * what it lacks. Nothing here asks or waits. */

/* ---- Views ---- */

struct view *tx_view(struct transaction *tx, const uint8_t *key, size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    struct hash_table_node *node = hash_table_find(&tx->views, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct view *view = CONTAINER_OF(node, struct view, node);
        if (view->key_size == size && memcmp(view->key, key, size) == 0) {
            return view;
        }
    }
    struct view *view = arena_zero(&tx->arena, 1, sizeof *view);
    buffer_truncate(&tx->bytes, 0);
    key_text_append(tx->store->resource, key, size, &tx->bytes);
    const uint8_t *own = arena_copy(&tx->arena, key, size);
    const uint8_t *name = arena_copy(&tx->arena, tx->bytes.bytes, tx->bytes.size);
    if (view == NULL || own == NULL || name == NULL || tx->bytes.failed) {
        tx_no_memory(tx);
        return NULL;
    }
    view->tx = tx;
    view->key = own;
    view->key_size = size;
    view->name = name;
    view->name_size = tx->bytes.size;
    view->slot = redis_slot(tx->store, name, tx->bytes.size);
    view->element = -1;
    list_init(&view->ticket.link);
    list_append(&tx->order, &view->link);
    hash_table_insert(&tx->views, &view->node, hash);
    buffer_truncate(&tx->bytes, 0);
    return view;
}

static struct claim_view *tx_claim(struct transaction *tx, const struct identity *identity,
                                   const uint8_t *key, size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    struct hash_table_node *node = hash_table_find(&tx->claims, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct claim_view *claim = CONTAINER_OF(node, struct claim_view, node);
        if (claim->identity == identity && claim->key_size == size &&
            memcmp(claim->key, key, size) == 0) {
            return claim;
        }
    }
    struct claim_view *claim = arena_zero(&tx->arena, 1, sizeof *claim);
    const uint8_t *own = arena_copy(&tx->arena, key, size);
    if (claim == NULL || own == NULL) {
        tx_no_memory(tx);
        return NULL;
    }
    claim->tx = tx;
    claim->identity = identity;
    claim->key = own;
    claim->key_size = size;
    list_append(&tx->claim_order, &claim->link);
    hash_table_insert(&tx->claims, &claim->node, hash);
    return claim;
}

static struct transaction *tx_of(const struct store *facade)
{
    return facade->home_own;
}

/* ---- The pass ---- */

/* What the pass has staged, or what was read. NULL with the write lacking it. */
static const struct record *look(struct transaction *tx, struct view *view)
{
    if (view->staged) {
        return view->after;
    }
    if (!view->known) {
        view->element = tx->write->element;
        view->wanted = true;
        tx->write->lacking = true;
        return NULL;
    }
    return view->record;
}

static const struct record *facade_find(struct store *facade, const uint8_t *key, size_t size)
{
    struct transaction *tx = tx_of(facade);
    struct view *view = tx_view(tx, key, size);
    if (view == NULL) {
        tx->write->lacking = true;
        return NULL;
    }
    return look(tx, view);
}

static const struct record *facade_find_identity(struct store *facade,
                                                 const struct identity *identity,
                                                 const uint8_t *key, size_t size)
{
    struct transaction *tx = tx_of(facade);
    struct claim_view *claim = tx_claim(tx, identity, key, size);
    if (claim == NULL || (!claim->known && !claim->staged)) {
        tx->write->lacking = true;
        if (claim != NULL) {
            claim->wanted = true;
        }
        return NULL;
    }
    const struct store_key *owner = claim->staged ? &claim->staged_owner : &claim->owner;
    if (owner->size == 0) {
        return NULL;
    }
    const struct record *record = facade_find(facade, owner->bytes, owner->size);
    /* A claim is a hint: the record may have lost the key since. */
    return record != NULL && key_matches(tx->store->resource, &identity->fields, record, key, size)
               ? record
               : NULL;
}

/* Whose a claim is after what was staged; of this record, or of none, or of another. */
static bool is_of(const struct store_key *owner, const struct view *view)
{
    return owner->size == view->key_size && memcmp(owner->bytes, view->key, owner->size) == 0;
}

/* The pass gives an identity's key of a record to it, or takes it away. False where it
 * is another record's: also one's that gives it up in this same write, since claims and
 * records are not set in one step, and it might be had by both or be found by none. */
static bool stage_identity(struct transaction *tx, const struct identity *identity,
                           const struct record *record, const struct view *view, bool gives)
{
    struct buffer key = BUFFER_INIT;
    bool whole = key_of_record(tx->store->resource, &identity->fields, record, &key);
    struct claim_view *claim =
        whole && !key.failed ? tx_claim(tx, identity, key.bytes, key.size) : NULL;
    buffer_release(&key);
    if (claim == NULL) {
        return true;
    }
    const struct store_key *last =
        claim->staged_owner.size > 0 ? &claim->staged_owner : &claim->staged_giver;
    if (gives && claim->staged && !is_of(last, view)) {
        return false;
    }
    const struct store_key own = {.bytes = view->key, .size = view->key_size};
    claim->staged = true;
    claim->staged_owner = gives ? own : (struct store_key){0};
    claim->staged_giver = own;
    return true;
}

static int stage_identities(struct transaction *tx, const struct record *old,
                            const struct record *new, const struct view *view, struct error *error)
{
    const struct resource *resource = tx->store->resource;
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        if (old != NULL) {
            stage_identity(tx, identity, old, view, false);
        }
        if (new != NULL && !stage_identity(tx, identity, new, view, true)) {
            struct buffer key = BUFFER_INIT;
            key_of_record(resource, &identity->fields, new, &key);
            int status = store_taken(resource, identity, key.bytes, key.size, error);
            buffer_release(&key);
            return status;
        }
    }
    return 0;
}

static int facade_put(struct store *facade, const struct record *old, const struct record *image,
                      const struct record **stored, struct error *error)
{
    struct transaction *tx = tx_of(facade);
    const struct resource *resource = tx->store->resource;
    struct buffer key = BUFFER_INIT;
    /* What is answered, and told of, is what will be read. */
    int settled = encoding_settle(resource, image, tx->write->asker.arena, &image, error);
    if (settled < 0) {
        return settled;
    }
    CHECK(key_of_record(resource, &resource->primary_key, image, &key));
    struct view *view = key.failed ? NULL : tx_view(tx, key.bytes, key.size);
    int status = 0;
    if (view == NULL) {
        status = error_set(error, CODE_OVERLOADED, "no memory for the write");
    } else if (old == NULL && (view->known || view->staged || tx->reads_created) &&
               look(tx, view) != NULL) {
        status = store_taken(resource, NULL, key.bytes, key.size, error);
    } else {
        status = stage_identities(tx, old, image, view, error);
    }
    buffer_release(&key);
    if (status == 0 && view != NULL) {
        view->element = tx->write->element;
        view->staged = true;
        view->after = image;
        *stored = image;
    }
    return status;
}

static int facade_remove(struct store *facade, const struct record *old, struct error *error)
{
    struct transaction *tx = tx_of(facade);
    const struct resource *resource = tx->store->resource;
    struct buffer key = BUFFER_INIT;
    CHECK(key_of_record(resource, &resource->primary_key, old, &key));
    struct view *view = key.failed ? NULL : tx_view(tx, key.bytes, key.size);
    buffer_release(&key);
    if (view == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the write");
    }
    view->staged = true;
    view->after = NULL;
    return stage_identities(tx, old, NULL, view, error);
}

const struct store_ops tx_facade_ops = {.find = facade_find,
                                        .find_identity = facade_find_identity,
                                        .put = facade_put,
                                        .remove = facade_remove};

#include <stddef.h>
#include <string.h>

#include "layers/key_node.h"
#include "layers/redis/redis_inner.h"
#include "protocol/base/heap.h"

/* Telling the notices of one's own writes from those of others. */

/* The notice of a write from here comes right behind its answer: a server sends the
 * notices that a client caused itself when its command has ended, before anything else
 * is answered. It says nothing new: the write's event has told everybody. A notice that
 * comes later is somebody else's: this link had read the key again. There may be none,
 * where the link did not watch the key. */
struct echo {
    struct key_node key;
    struct list link; /* in store->echoes_in_order */
    uint64_t moment;
    uint8_t bytes[];
};

static struct echo *find_echo(const struct redis_store *store, const uint8_t *key, size_t size)
{
    struct key_node *node = key_node_find(&store->echoes, key, size);
    return node != NULL ? CONTAINER_OF(node, struct echo, key) : NULL;
}

static void remove_echo(struct redis_store *store, struct echo *echo)
{
    hash_table_remove(&store->echoes, &echo->key.node);
    list_remove(&echo->link);
    heap_free(echo);
}

void redis_expect_echo(struct redis_store *store, const uint8_t *key, size_t size)
{
    struct echo *old = find_echo(store, key, size);
    if (old == NULL && store->echoes.count >= ECHOES_MAX) {
        old = CONTAINER_OF(store->echoes_in_order.next, struct echo, link);
    }
    if (old != NULL) {
        remove_echo(store, old);
    }
    struct echo *echo = heap_alloc(sizeof *echo + size);
    if (echo == NULL) {
        return; /* then the notice counts as somebody else's: that only drops more */
    }
    echo->moment = home_moment(store->home);
    list_append(&store->echoes_in_order, &echo->link);
    memcpy(echo->bytes, key, size);
    echo->key = (struct key_node){.bytes = echo->bytes, .size = size};
    key_node_insert(&store->echoes, &echo->key);
}

bool redis_take_echo(struct redis_store *store, const uint8_t *key, size_t size)
{
    struct echo *echo = find_echo(store, key, size);
    if (echo == NULL) {
        return false;
    }
    bool own = echo->moment == home_moment(store->home);
    remove_echo(store, echo);
    return own;
}

void redis_drop_echoes(struct redis_store *store)
{
    while (!list_empty(&store->echoes_in_order)) {
        remove_echo(store, CONTAINER_OF(store->echoes_in_order.next, struct echo, link));
    }
}

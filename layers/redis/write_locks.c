#include "layers/redis/write_locks.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

struct write_key {
    struct hash_table_node node;
    struct list tickets; /* the first one has it */
    size_t size;
    uint8_t bytes[];
};

void write_locks_init(struct write_locks *locks)
{
    hash_table_init(&locks->keys);
    list_init(&locks->due);
    locks->telling = false;
}

void write_locks_release(struct write_locks *locks)
{
    CHECK(locks->keys.count == 0);
    hash_table_release(&locks->keys);
}

static struct write_key *find(const struct write_locks *locks, const uint8_t *key, size_t size,
                              uint64_t hash)
{
    struct hash_table_node *node = hash_table_find(&locks->keys, hash);
    for (; node != NULL; node = hash_table_next(node)) {
        struct write_key *found = CONTAINER_OF(node, struct write_key, node);
        if (found->size == size && memcmp(found->bytes, key, size) == 0) {
            return found;
        }
    }
    return NULL;
}

bool write_locks_hold(const struct write_locks *locks, const uint8_t *key, size_t size)
{
    return locks->keys.count > 0 && find(locks, key, size, hash_bytes(key, size)) != NULL;
}

int write_lock(struct write_locks *locks, struct write_ticket *ticket, const uint8_t *key,
               size_t size)
{
    uint64_t hash = hash_bytes(key, size);
    struct write_key *found = find(locks, key, size, hash);
    CHECK(ticket->key == NULL);
    if (found == NULL) {
        found = heap_alloc(sizeof *found + size);
        if (found == NULL) {
            return -CODE_OVERLOADED;
        }
        found->size = size;
        memcpy(found->bytes, key, size);
        list_init(&found->tickets);
        hash_table_insert(&locks->keys, &found->node, hash);
    }
    bool first = list_empty(&found->tickets);
    ticket->key = found;
    list_init(&ticket->due);
    list_append(&found->tickets, &ticket->link);
    return first ? 1 : 0;
}

static void tell_due(struct write_locks *locks)
{
    if (locks->telling) {
        return;
    }
    locks->telling = true;
    while (!list_empty(&locks->due)) {
        struct write_ticket *ticket = CONTAINER_OF(locks->due.next, struct write_ticket, due);
        list_remove(&ticket->due);
        ticket->granted(ticket);
    }
    locks->telling = false;
}

void write_unlock(struct write_locks *locks, struct write_ticket *ticket)
{
    struct write_key *key = ticket->key;
    if (key == NULL) {
        return;
    }
    bool had_it = key->tickets.next == &ticket->link;
    list_remove(&ticket->link);
    list_remove(&ticket->due);
    ticket->key = NULL;
    if (list_empty(&key->tickets)) {
        hash_table_remove(&locks->keys, &key->node);
        heap_free(key);
    } else if (had_it) {
        struct write_ticket *next = CONTAINER_OF(key->tickets.next, struct write_ticket, link);
        list_append(&locks->due, &next->due);
        tell_due(locks);
    }
}

#include "layers/redis/key_set.h"

#include <string.h>

#include "layers/key_node.h"
#include "protocol/base/heap.h"

struct member {
    struct key_node key;
    uint8_t bytes[];
};

void key_set_init(struct key_set *set)
{
    hash_table_init(&set->keys);
}

void key_set_release(struct key_set *set)
{
    key_set_clear(set);
    hash_table_release(&set->keys);
}

static struct member *find(const struct key_set *set, const uint8_t *key, size_t size)
{
    struct key_node *node = key_node_find(&set->keys, key, size);
    return node != NULL ? CONTAINER_OF(node, struct member, key) : NULL;
}

bool key_set_add(struct key_set *set, const uint8_t *key, size_t size)
{
    if (find(set, key, size) != NULL) {
        return true;
    }
    struct member *member = heap_alloc(sizeof *member + size);
    if (member == NULL) {
        return false;
    }
    memcpy(member->bytes, key, size);
    member->key = (struct key_node){.bytes = member->bytes, .size = size};
    key_node_insert(&set->keys, &member->key);
    return true;
}

static void remove_member(struct key_set *set, struct member *member)
{
    hash_table_remove(&set->keys, &member->key.node);
    heap_free(member);
}

bool key_set_take(struct key_set *set, const uint8_t *key, size_t size)
{
    struct member *member = find(set, key, size);
    if (member == NULL) {
        return false;
    }
    remove_member(set, member);
    return true;
}

void key_set_clear(struct key_set *set)
{
    for (size_t i = 0; set->keys.count > 0 && i <= set->keys.mask; i++) {
        while (set->keys.buckets[i] != NULL) {
            remove_member(set, CONTAINER_OF(set->keys.buckets[i], struct member, key.node));
        }
    }
}

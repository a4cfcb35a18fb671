#include "protocol/id_set.h"

#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"

enum { ID_SET_FIRST_CAPACITY = 16, ID_SET_KEPT_CAPACITY = 1024 };

struct id_slot {
    void *value;
    uint32_t id;
    bool used;
};

void id_set_release(struct id_set *set)
{
    heap_free(set->slots);
    *set = (struct id_set){0};
}

static uint32_t home_of(const struct id_set *set, uint32_t id)
{
    return (uint32_t)hash_bytes(&id, sizeof(id)) & (set->capacity - 1);
}

/* Where the id is, or the free slot where it would be. */
static uint32_t find(const struct id_set *set, uint32_t id)
{
    uint32_t at = home_of(set, id);
    while (set->slots[at].used && set->slots[at].id != id) {
        at = (at + 1) & (set->capacity - 1);
    }
    return at;
}

static void put(struct id_set *set, uint32_t id, void *value)
{
    struct id_slot *slot = &set->slots[find(set, id)];
    CHECK(!slot->used);
    *slot = (struct id_slot){.value = value, .id = id, .used = true};
    set->count++;
}

static int grow(struct id_set *set)
{
    struct id_set grown = {.capacity =
                               set->capacity > 0 ? set->capacity * 2 : ID_SET_FIRST_CAPACITY};
    if (grown.capacity == 0) {
        return -CODE_OVERLOADED;
    }
    grown.slots = heap_zero(grown.capacity, sizeof(*grown.slots));
    if (grown.slots == NULL) {
        return -CODE_OVERLOADED;
    }
    for (uint32_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].used) {
            put(&grown, set->slots[i].id, set->slots[i].value);
        }
    }
    heap_free(set->slots);
    *set = grown;
    return 0;
}

int id_set_add(struct id_set *set, uint32_t id, void *value)
{
    /* Three quarters full at most, so that searches end soon. */
    if (set->count >= set->capacity / 4 * 3) {
        int status = grow(set);
        if (status != 0) {
            return status;
        }
    }
    put(set, id, value);
    return 0;
}

bool id_set_has(const struct id_set *set, uint32_t id)
{
    return set->count > 0 && set->slots[find(set, id)].used;
}

/* Frees a slot and moves up what was displaced by it, so that there are no
 * graves that searches would have to pass. */
static void clear_slot(struct id_set *set, uint32_t hole)
{
    uint32_t mask = set->capacity - 1;
    for (uint32_t at = (hole + 1) & mask; set->slots[at].used; at = (at + 1) & mask) {
        uint32_t home = home_of(set, set->slots[at].id);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            set->slots[hole] = set->slots[at];
            hole = at;
        }
    }
    set->slots[hole] = (struct id_slot){0};
    set->count--;
    /* After a burst an idle connection keeps no large table. */
    if (set->count == 0 && set->capacity > ID_SET_KEPT_CAPACITY) {
        id_set_release(set);
    }
}

bool id_set_remove(struct id_set *set, uint32_t id, void **value)
{
    if (set->count == 0) {
        return false;
    }
    uint32_t at = find(set, id);
    if (!set->slots[at].used) {
        return false;
    }
    if (value != NULL) {
        *value = set->slots[at].value;
    }
    clear_slot(set, at);
    return true;
}

bool id_set_take(struct id_set *set, uint32_t *id, void **value)
{
    if (set->count == 0) {
        return false;
    }
    /* From where the last was found: what was passed stays empty. */
    uint32_t at = set->cursor & (set->capacity - 1);
    while (!set->slots[at].used) {
        at = (at + 1) & (set->capacity - 1);
    }
    set->cursor = at;
    *id = set->slots[at].id;
    *value = set->slots[at].value;
    clear_slot(set, at);
    return true;
}

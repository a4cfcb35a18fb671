#include "layers/memory/order_range.h"

#include "protocol/base/check.h"

enum { PREFETCH_AHEAD = 8 };

/* Records of a range lie anywhere: those to come are fetched while those before
 * them are worked on. Two lines, since most are copied or filtered. */
static inline void record_prefetch(const struct order_range *place, uint32_t reference)
{
    const char *record = pages_at(place->index->nodes->pages, reference);
    __builtin_prefetch(record);
    __builtin_prefetch(record + 64);
}

/* On arrival in a leaf: the first that it will give. */
static void leaf_prefetch(const struct order_range *place, const struct order_leaf *leaf)
{
    for (unsigned i = 0; i < PREFETCH_AHEAD; i++) {
        unsigned at = place->reverse ? place->at - 1U - i : place->at + i;
        if (place->reverse ? at >= place->at || at < place->limit : at >= place->limit) {
            return;
        }
        record_prefetch(place, leaf->references[at]);
    }
}

static void lower_target(const struct order_range *place, struct order_target *target)
{
    const struct value *last = place->lower_value ? &place->values[place->equal_count] : NULL;
    order_target_init(target, &place->index->key, place->values, place->equal_count, last,
                      place->lower_after ? -1 : 1);
}

static void upper_target(const struct order_range *place, struct order_target *target)
{
    const struct value *last = place->upper_value ? &place->values[place->equal_count + 1] : NULL;
    order_target_init(target, &place->index->key, place->values, place->equal_count, last,
                      place->upper_after ? -1 : 1);
}

/* The bound of the range's far end, where it stops. */
static void far_target(const struct order_range *place, struct order_target *target)
{
    if (place->reverse) {
        lower_target(place, target);
    } else {
        upper_target(place, target);
    }
}

static void place_set(struct order_range *place, struct order_place found)
{
    place->version = place->index->version;
    place->leaf = found.leaf;
    place->at = found.at;
    if (found.leaf != 0) {
        const struct order_leaf *leaf = order_leaf_at(place->index, found.leaf);
        struct order_target far;
        far_target(place, &far);
        place->limit = order_leaf_seek(place->index, leaf, &far);
        leaf_prefetch(place, leaf);
    }
}

void order_range_init(struct order_range *place, const struct order_index *index,
                      const struct range *range)
{
    uint16_t fields = index->index->fields.count;
    bool bounded = range->has_lower || range->has_upper;
    CHECK(range->equal_count + (bounded ? 1 : 0) <= fields);
    place->index = index;
    place->last = 0;
    place->reverse = range->reverse;
    place->equal_count = (uint8_t)range->equal_count;
    for (unsigned i = 0; i < range->equal_count; i++) {
        place->values[i] = range->equal[i];
    }
    place->lower_value = range->has_lower;
    place->lower_after = range->has_lower && range->lower_open;
    if (range->has_lower) {
        place->values[place->equal_count] = range->lower;
    }
    /* With a lower bound alone the range ends where the nils begin. */
    place->upper_value = bounded;
    place->upper_after = range->has_upper ? !range->upper_open : !bounded;
    if (bounded) {
        place->values[place->equal_count + 1] = range->has_upper ? range->upper : value_nil();
    }
    struct order_target near;
    if (place->reverse) {
        upper_target(place, &near);
    } else {
        lower_target(place, &near);
    }
    place_set(place, order_index_seek(index, &near));
}

/* The index changed: finds the place behind the record that was given last. */
static void place_again(struct order_range *place)
{
    struct order_target target;
    struct value room[KEY_FIELDS_MAX * 2];
    if (place->last == 0) {
        if (place->reverse) {
            upper_target(place, &target);
        } else {
            lower_target(place, &target);
        }
    } else {
        const struct record *record = pages_at(place->index->nodes->pages, place->last);
        order_target_of_record(&target, &place->index->key, record,
                               place->last + (place->reverse ? 0 : 1), room);
    }
    place_set(place, order_index_seek(place->index, &target));
}

static uint32_t next_forward(struct order_range *place)
{
    const struct order_leaf *leaf = order_leaf_at(place->index, place->leaf);
    while (place->at >= place->limit) {
        if (place->limit < leaf->count || leaf->next == 0) {
            return 0;
        }
        place_set(place, (struct order_place){.leaf = leaf->next, .at = 0});
        leaf = order_leaf_at(place->index, place->leaf);
    }
    if (place->at + PREFETCH_AHEAD < place->limit) {
        record_prefetch(place, leaf->references[place->at + PREFETCH_AHEAD]);
    }
    return leaf->references[place->at++];
}

static uint32_t next_reverse(struct order_range *place)
{
    const struct order_leaf *leaf = order_leaf_at(place->index, place->leaf);
    while (place->at <= place->limit) {
        if (place->limit > 0 || leaf->prev == 0) {
            return 0;
        }
        uint32_t before = leaf->prev;
        leaf = order_leaf_at(place->index, before);
        place_set(place, (struct order_place){.leaf = before, .at = leaf->count});
    }
    if (place->at > place->limit + PREFETCH_AHEAD) {
        record_prefetch(place, leaf->references[place->at - 1 - PREFETCH_AHEAD]);
    }
    return leaf->references[--place->at];
}

uint32_t order_range_next(struct order_range *place)
{
    if (place->version != place->index->version) {
        place_again(place);
    }
    if (place->leaf == 0) {
        return 0;
    }
    uint32_t reference = place->reverse ? next_reverse(place) : next_forward(place);
    if (reference != 0) {
        place->last = reference;
    }
    return reference;
}

uint64_t order_range_count(const struct order_range *place, uint64_t most)
{
    CHECK(!place->reverse);
    struct order_range at = *place;
    uint64_t count = 0;
    while (at.leaf != 0 && count < most) {
        const struct order_leaf *leaf = order_leaf_at(at.index, at.leaf);
        count += at.limit > at.at ? (uint64_t)(at.limit - at.at) : 0;
        if (at.limit < leaf->count || leaf->next == 0) {
            break;
        }
        place_set(&at, (struct order_place){.leaf = leaf->next, .at = 0});
    }
    return count < most ? count : most;
}

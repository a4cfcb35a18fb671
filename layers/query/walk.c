#include "layers/query/walk.h"

#include <stdlib.h>
#include <string.h>

#include "layers/value.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"

enum { FIND_TOGETHER = 64 }; /* keys in one store_find_many */

/* ---- Binding ---- */

void walk_init(struct walk *walk, struct store *store, struct arena *arena)
{
    *walk = (struct walk){.store = store, .arena = arena};
    pile_init(&walk->found, sizeof(void *), arena);
}

/* Room of at least `size` bytes; what was in it is lost. */
static bool take_room(struct walk *walk, size_t size)
{
    if (size <= walk->room_size) {
        return true;
    }
    size_t wanted = size < 64 ? 64 : size * 2;
    uint8_t *room = arena_alloc(walk->arena, wanted);
    if (room == NULL) {
        return false;
    }
    walk->room = room;
    walk->room_size = wanted;
    return true;
}

static int compare_items(const void *a, const void *b)
{
    return value_compare(a, b);
}

/* Lists of literals are prepared in order, and need no sorting. */
static bool rises(const struct value *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (value_compare(&items[i - 1], &items[i]) >= 0) {
            return false;
        }
    }
    return true;
}

static size_t sort_items(struct value *items, size_t count)
{
    if (rises(items, count)) {
        return count;
    }
    qsort(items, count, sizeof(*items), compare_items);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        if (value_compare(&items[i], &items[kept - 1]) != 0) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

/* The list's values that the field can have, ordered, each once. */
static enum walk_bound bind_list(struct walk *walk, const struct field *field,
                                 const struct value *list)
{
    size_t most = walk->access->kind == ACCESS_POINTS ? WALK_POINTS_MAX : WALK_RANGES_MAX;
    if (list->size > most) {
        return WALK_UNUSABLE;
    }
    if (list->size > walk->item_capacity) {
        walk->items = arena_alloc(walk->arena, list->size * sizeof(*walk->items));
        walk->item_capacity = walk->items != NULL ? list->size : 0;
    }
    if (walk->items == NULL) {
        return WALK_FAILED;
    }
    size_t count = 0;
    for (uint32_t i = 0; i < list->size; i++) {
        struct term_value item;
        if (term_value_set(&item, field, CONJUNCT_EQUAL, &list->items[i])) {
            walk->items[count++] = item.value;
        }
    }
    if (count == 0) {
        return WALK_EMPTY;
    }
    walk->item_count = sort_items(walk->items, count);
    return WALK_READY;
}

static enum walk_bound bind_equal(struct walk *walk)
{
    const struct access *access = walk->access;
    const struct resource *resource = walk->store->resource;
    for (unsigned i = 0; i < access->equal_count; i++) {
        const struct term_value *term = &walk->values[access->equal[i]];
        if (access->in_position != (int)i) {
            walk->range.equal[i] = term->value;
            continue;
        }
        enum walk_bound bound =
            bind_list(walk, &resource->fields[access->fields->fields[i]], &term->value);
        if (bound != WALK_READY) {
            return bound;
        }
    }
    return WALK_READY;
}

static void raise_lower(struct range *range, const struct value *value, bool open)
{
    int order = range->has_lower ? value_compare(value, &range->lower) : 1;
    if (order > 0 || (order == 0 && open)) {
        range->has_lower = true;
        range->lower = *value;
        range->lower_open = open;
    }
}

static void drop_upper(struct range *range, const struct value *value, bool open)
{
    int order = range->has_upper ? value_compare(value, &range->upper) : -1;
    if (order < 0 || (order == 0 && open)) {
        range->has_upper = true;
        range->upper = *value;
        range->upper_open = open;
    }
}

/* A prefix is the range from it to the least text that is above all that begin
 * with it: its last byte raised by one. Each prefix has its part of the room. */
static void bind_prefix(struct walk *walk, const struct value *prefix, size_t room_at)
{
    raise_lower(&walk->range, prefix, false);
    uint32_t size = prefix->size;
    while (size > 0 && prefix->bytes[size - 1] == 0xff) {
        size--;
    }
    if (size == 0) {
        return;
    }
    uint8_t *end = walk->room + room_at;
    memcpy(end, prefix->bytes, size);
    end[size - 1]++;
    struct value upper = {.kind = prefix->kind, .size = size, .bytes = end};
    drop_upper(&walk->range, &upper, true);
}

static void bind_bound(struct walk *walk, const struct term_value *term, size_t room_at)
{
    switch (term->operator) {
    case CONJUNCT_LESS:
    case CONJUNCT_LESS_EQUAL:
        drop_upper(&walk->range, &term->value, term->operator== CONJUNCT_LESS);
        return;
    case CONJUNCT_GREATER:
    case CONJUNCT_GREATER_EQUAL:
        raise_lower(&walk->range, &term->value, term->operator== CONJUNCT_GREATER);
        return;
    case CONJUNCT_STARTS_WITH:
        bind_prefix(walk, &term->value, room_at);
        return;
    case CONJUNCT_EQUAL:
    case CONJUNCT_IN:
        return;
    }
}

static enum walk_bound bind_bounds(struct walk *walk)
{
    const struct access *access = walk->access;
    size_t needed = 0, at = 0;
    for (unsigned i = 0; i < access->bound_count; i++) {
        const struct term_value *term = &walk->values[access->bounds[i]];
        needed += term->operator== CONJUNCT_STARTS_WITH ? term->value.size : 0;
    }
    if (!take_room(walk, needed)) {
        return WALK_FAILED;
    }
    for (unsigned i = 0; i < access->bound_count; i++) {
        const struct term_value *term = &walk->values[access->bounds[i]];
        bind_bound(walk, term, at);
        at += term->operator== CONJUNCT_STARTS_WITH ? term->value.size : 0;
    }
    const struct range *range = &walk->range;
    if (range->has_lower && range->has_upper) {
        int order = value_compare(&range->lower, &range->upper);
        if (order > 0 || (order == 0 && (range->lower_open || range->upper_open))) {
            return WALK_EMPTY;
        }
    }
    return WALK_READY;
}

enum walk_bound walk_bind(struct walk *walk, const struct access *access,
                          const struct term_value *values, const struct field_list *join,
                          const uint8_t *key, size_t key_size)
{
    walk->access = access;
    walk->values = values;
    walk->join = access->checks_join ? join : NULL;
    walk->key = key;
    walk->key_size = key_size;
    walk->item_count = 0;
    if (access->kind == ACCESS_SCAN || access->key_as_given) {
        return WALK_READY;
    }
    walk->range.index = access->index;
    walk->range.equal_count = access->equal_count;
    walk->range.reverse = access->reverse;
    walk->range.has_lower = false;
    walk->range.has_upper = false;
    enum walk_bound bound = bind_equal(walk);
    if (bound == WALK_READY && access->bound_count > 0) {
        bound = bind_bounds(walk);
    }
    return bound;
}

uint64_t walk_estimate(struct walk *walk, uint64_t most)
{
    const struct access *access = walk->access;
    if (access->kind == ACCESS_POINTS) {
        return walk->item_count > 0 ? walk->item_count : 1;
    }
    if (access->in_position < 0) {
        return walk->store->ops->estimate(walk->store, &walk->range, most);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < walk->item_count && total < most; i++) {
        walk->range.equal[access->in_position] = walk->items[i];
        uint64_t cost = walk->store->ops->estimate(walk->store, &walk->range, most - total);
        /* To look for what is not there costs as much as one that is. */
        total += cost > 0 ? cost : 1;
    }
    return total;
}

/* ---- Opening ---- */

static const struct record *find(struct walk *walk, const uint8_t *key, size_t size)
{
    const struct store_ops *ops = walk->store->ops;
    const struct identity *identity = walk->access->identity;
    return identity == NULL ? ops->find(walk->store, key, size)
                            : ops->find_identity(walk->store, identity, key, size);
}

/* How much room the bound values take as a key, at most. */
static size_t key_room(const struct walk *walk)
{
    size_t most = 0;
    for (unsigned i = 0; i < walk->access->equal_count; i++) {
        const struct value *value = &walk->range.equal[i];
        bool bytes = value->kind == VALUE_TEXT || value->kind == VALUE_BINARY;
        most += 16 + (bytes ? value->size : 0);
    }
    return most;
}

/* Puts the bound values together as a key, in the room from `at` on. */
static struct store_key make_key(struct walk *walk, size_t at)
{
    uint8_t *bytes = walk->room + at;
    size_t room = walk->room_size - at;
    struct buffer key = {.bytes = bytes, .capacity = room, .max = room};
    for (unsigned i = 0; i < walk->access->equal_count; i++) {
        value_write(&key, &walk->range.equal[i]);
    }
    CHECK(!key.failed && key.bytes == bytes);
    return (struct store_key){.bytes = bytes, .size = key.size};
}

static int keep_found(struct walk *walk, const struct record *record)
{
    if (record == NULL) {
        return 0;
    }
    const struct record **place = pile_push(&walk->found);
    if (place == NULL) {
        return -CODE_OVERLOADED;
    }
    *place = record;
    return 0;
}

static int find_values(struct walk *walk)
{
    if (!take_room(walk, key_room(walk))) {
        return -CODE_OVERLOADED;
    }
    struct store_key key = make_key(walk, 0);
    return keep_found(walk, find(walk, key.bytes, key.size));
}

static void bind_item(struct walk *walk, size_t at)
{
    size_t item = walk->access->reverse ? walk->item_count - 1 - at : at;
    walk->range.equal[walk->access->in_position] = walk->items[item];
}

/* Looks up `count` points of a list, together where they are by primary key. */
static int find_together(struct walk *walk, size_t count)
{
    struct store_key keys[FIND_TOGETHER];
    const struct record *records[FIND_TOGETHER];
    size_t room = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        bind_item(walk, walk->item_at + i);
        room += key_room(walk);
    }
    if (!take_room(walk, room)) {
        return -CODE_OVERLOADED;
    }
    for (size_t i = 0; i < count; i++) {
        bind_item(walk, walk->item_at + i);
        keys[i] = make_key(walk, at);
        at += keys[i].size;
    }
    walk->item_at += count;
    bool by_primary_key = walk->access->identity == NULL;
    if (by_primary_key) {
        store_find_many(walk->store, keys, count, records);
    }
    for (size_t i = 0; i < count; i++) {
        const struct record *record =
            by_primary_key ? records[i] : find(walk, keys[i].bytes, keys[i].size);
        if (keep_found(walk, record) != 0) {
            return -CODE_OVERLOADED;
        }
    }
    return 0;
}

/* Looks up the next points of a list. */
static int find_more(struct walk *walk)
{
    size_t end = walk->item_at + WALK_POINTS_AT_ONCE;
    end = end < walk->item_count ? end : walk->item_count;
    walk->found.count = 0;
    walk->found_at = 0;
    while (walk->item_at < end) {
        size_t left = end - walk->item_at;
        if (find_together(walk, left < FIND_TOGETHER ? left : FIND_TOGETHER) != 0) {
            return -CODE_OVERLOADED;
        }
    }
    return 0;
}

/* ---- For records that are elsewhere ---- */

int walk_points(struct walk *walk, const struct store_key **keys, size_t *count)
{
    bool list = !walk->access->key_as_given && walk->access->in_position >= 0;
    struct store_key *out = arena_alloc(walk->arena, (list ? walk->item_count : 1) * sizeof(*out));
    *count = list ? walk->item_count : 1;
    *keys = out;
    if (out == NULL) {
        return -CODE_OVERLOADED;
    }
    if (walk->access->key_as_given) {
        *out = (struct store_key){.bytes = walk->key, .size = walk->key_size};
        return 0;
    }
    for (size_t i = 0; i < *count; i++) {
        if (list) {
            bind_item(walk, i);
        }
        walk->room_size = 0; /* each key stays: room of its own */
        if (!take_room(walk, key_room(walk))) {
            return -CODE_OVERLOADED;
        }
        out[i] = make_key(walk, 0);
    }
    walk->room_size = 0;
    return 0;
}

int walk_ranges(struct walk *walk, const struct range **ranges, size_t *count)
{
    bool list = walk->access->in_position >= 0;
    struct range *out = arena_alloc(walk->arena, (list ? walk->item_count : 1) * sizeof(*out));
    *count = list ? walk->item_count : 1;
    *ranges = out;
    for (size_t i = 0; out != NULL && i < *count; i++) {
        if (list) {
            bind_item(walk, i);
        }
        out[i] = walk->range;
    }
    /* The bounds' room must not be used again while the ranges are asked for. */
    walk->room_size = 0;
    return out != NULL ? 0 : -CODE_OVERLOADED;
}

static int open_points(struct walk *walk)
{
    walk->item_at = 0;
    walk->found.count = 0;
    walk->found_at = 0;
    if (walk->access->key_as_given) {
        return keep_found(walk, find(walk, walk->key, walk->key_size));
    }
    if (walk->access->in_position >= 0) {
        return find_more(walk);
    }
    return find_values(walk);
}

static int take_cursors(struct walk *walk, size_t count)
{
    if (count <= walk->cursor_capacity) {
        return 0;
    }
    struct store_cursor *cursors = arena_alloc(walk->arena, count * sizeof(*cursors));
    if (cursors == NULL) {
        return -CODE_OVERLOADED;
    }
    walk->cursors = cursors;
    walk->cursor_capacity = count;
    return 0;
}

/* All at once, so that all show the same moment. */
static int open_ranges(struct walk *walk)
{
    const struct access *access = walk->access;
    const struct store_ops *ops = walk->store->ops;
    size_t count = access->in_position >= 0 ? walk->item_count : 1;
    int code = take_cursors(walk, count);
    for (size_t i = 0; code == 0 && i < count; i++) {
        if (access->in_position >= 0) {
            bind_item(walk, i);
        }
        code = ops->range(walk->store, &walk->range, &walk->cursors[i]);
        walk->cursor_count += code == 0;
    }
    return code;
}

static int open_scan(struct walk *walk)
{
    int code = take_cursors(walk, 1);
    if (code == 0) {
        code = walk->store->ops->scan(walk->store, &walk->cursors[0]);
    }
    walk->cursor_count = code == 0 ? 1 : 0;
    return code;
}

int walk_open(struct walk *walk)
{
    CHECK(walk->cursor_count == 0);
    walk->cursor_at = 0;
    int code = 0;
    switch (walk->access->kind) {
    case ACCESS_SCAN:
        code = open_scan(walk);
        break;
    case ACCESS_POINTS:
        code = open_points(walk);
        break;
    case ACCESS_RANGES:
        code = open_ranges(walk);
        break;
    }
    if (code != 0) {
        walk_close(walk);
    }
    return code;
}

void walk_close(struct walk *walk)
{
    for (; walk->cursor_at < walk->cursor_count; walk->cursor_at++) {
        walk->store->ops->close(&walk->cursors[walk->cursor_at]);
    }
    walk->cursor_count = 0;
    walk->cursor_at = 0;
    walk->found.count = 0;
    walk->found_at = 0;
    walk->item_at = walk->item_count;
}

/* ---- Going on ---- */

static const struct record *next_point(struct walk *walk)
{
    while (walk->found_at == walk->found.count) {
        if (walk->item_at >= walk->item_count || find_more(walk) != 0) {
            return NULL;
        }
    }
    const struct record *const *place = pile_at(&walk->found, walk->found_at++);
    return *place;
}

static const struct record *next_of_cursors(struct walk *walk)
{
    const struct store_ops *ops = walk->store->ops;
    while (walk->cursor_at < walk->cursor_count) {
        struct store_cursor *cursor = &walk->cursors[walk->cursor_at];
        const struct record *record = ops->next(cursor);
        if (record != NULL) {
            return record;
        }
        ops->close(cursor);
        walk->cursor_at++;
    }
    return NULL;
}

const struct record *walk_next(struct walk *walk)
{
    bool points = walk->access->kind == ACCESS_POINTS;
    return points ? next_point(walk) : next_of_cursors(walk);
}

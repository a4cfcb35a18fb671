#include "layers/query/sorter.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"

enum {
    MERGE_STEPS = 256,
    LOOK_BUDGET = 3,    /* two records far apart */
    RUN_ITEMS = 16,     /* sorted by insertion before merging begins */
    STEPS_A_BUDGET = 2, /* moves that cost as much as one visited record */
    PREFIX_YEARS_BITS = 33
};

void sorter_init(struct sorter *sorter, const struct resource *resource,
                 const struct order_item *keys, uint16_t key_count, struct arena *arena)
{
    CHECK(key_count > 0);
    *sorter =
        (struct sorter){.resource = resource, .keys = keys, .key_count = key_count, .arena = arena};
    for (unsigned i = 0; i < key_count; i++) {
        if (keys[i].path != NULL) {
            sorter->path_count++;
        }
    }
    sorter->prefix_exact =
        keys[0].path == NULL && resource->fields[keys[0].field].type.kind == TYPE_INTEGER;
    sorter->in_order = true;
    pile_init(&sorter->items, sizeof(struct sorter_item), arena);
    pile_init(&sorter->other, sizeof(struct sorter_item), arena);
}

void sorter_start(struct sorter *sorter, size_t most)
{
    CHECK(most <= SORTER_MOST_MAX);
    sorter->items.count = 0;
    sorter->most = most;
    sorter->looks = 0;
    sorter->in_order = true;
    sorter->heaped = false;
    sorter->phase = SORTER_TAKING;
}

/* ---- Comparing ---- */

static uint64_t prefix_of_bytes(const struct value *value)
{
    uint8_t bytes[8] = {0};
    if (value->size > 0) {
        memcpy(bytes, value->bytes, value->size < 8 ? value->size : 8);
    }
    uint64_t prefix;
    memcpy(&prefix, bytes, sizeof(prefix));
    return __builtin_bswap64(prefix);
}

static uint64_t prefix_of_float(double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof(bits));
    return bits >> 63 ? ~bits : bits | (UINT64_C(1) << 63);
}

/* 34 bits of seconds around 1970 and 30 of nanoseconds; beyond 270 years all
 * are alike. */
static uint64_t prefix_of_datetime(const struct datetime *datetime)
{
    int64_t reach = INT64_C(1) << PREFIX_YEARS_BITS;
    if (datetime->seconds < -reach) {
        return 0;
    }
    if (datetime->seconds >= reach) {
        return UINT64_MAX;
    }
    return (uint64_t)(datetime->seconds + reach) << 30 | datetime->nanoseconds;
}

/* Never falls where the value rises; values of one prefix may differ. */
static uint64_t prefix_of_value(const struct value *value)
{
    switch (value->kind) {
    case VALUE_BOOLEAN:
        return value->boolean;
    case VALUE_INTEGER:
        return (uint64_t)value->integer ^ (UINT64_C(1) << 63);
    case VALUE_FLOAT:
        return prefix_of_float(value->real);
    case VALUE_TEXT:
    case VALUE_BINARY:
        return prefix_of_bytes(value);
    case VALUE_DATETIME:
        return prefix_of_datetime(&value->datetime);
    case VALUE_NIL:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    return 0;
}

static uint64_t prefix_of(const struct order_item *key, const struct value *value)
{
    if (value->kind == VALUE_NIL) {
        return key->nils_first ? 0 : UINT64_MAX;
    }
    uint64_t prefix = prefix_of_value(value);
    return key->descending ? ~prefix : prefix;
}

static const struct record *record_of(const struct sorter *sorter, const struct sorter_item *item)
{
    return sorter->path_count > 0 ? item->row->record : item->record;
}

static int compare_key(const struct sorter *sorter, const struct order_item *key,
                       const struct record *a, const struct record *b)
{
    struct value one, two;
    record_load(a, sorter->resource, key->field, &one);
    record_load(b, sorter->resource, key->field, &two);
    return order_compare_values(key, &one, &two);
}

/* By the values themselves, where prefixes do not tell. */
static int compare_values(struct sorter *sorter, const struct sorter_item *a,
                          const struct sorter_item *b)
{
    const struct record *first = record_of(sorter, a), *second = record_of(sorter, b);
    bool decided = sorter->prefix_exact && a->prefix != 0 && a->prefix != UINT64_MAX;
    unsigned path = 0;
    sorter->looks++;
    for (unsigned i = decided ? 1 : 0; i < sorter->key_count; i++) {
        const struct order_item *key = &sorter->keys[i];
        int order;
        if (key->path == NULL) {
            order = compare_key(sorter, key, first, second);
        } else {
            order = order_compare_values(key, &a->row->paths[path], &b->row->paths[path]);
            path++;
        }
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

static inline int compare(struct sorter *sorter, const struct sorter_item *a,
                          const struct sorter_item *b)
{
    if (a->prefix != b->prefix) {
        return a->prefix < b->prefix ? -1 : 1;
    }
    return compare_values(sorter, a, b);
}

/* ---- Taking ---- */

static void set_prefix(const struct sorter *sorter, struct sorter_item *item,
                       const struct record *record, const struct value *paths)
{
    const struct order_item *key = &sorter->keys[0];
    struct value value;
    if (key->path != NULL) {
        value = paths[0];
    } else {
        record_load(record, sorter->resource, key->field, &value);
    }
    item->prefix = prefix_of(key, &value);
}

static struct sorter_row *new_row(struct sorter *sorter)
{
    return arena_alloc(sorter->arena,
                       sizeof(struct sorter_row) + sorter->path_count * sizeof(struct value));
}

static void fill_row(const struct sorter *sorter, struct sorter_row *row,
                     const struct record *record, const struct value *paths)
{
    row->record = record;
    memcpy(row->paths, paths, sorter->path_count * sizeof(*paths));
}

static int append(struct sorter *sorter, struct sorter_item *item, const struct record *record,
                  const struct value *paths)
{
    if (sorter->path_count > 0) {
        struct sorter_row *row = new_row(sorter);
        if (row == NULL) {
            return -CODE_OVERLOADED;
        }
        fill_row(sorter, row, record, paths);
        item->row = row;
    }
    struct sorter_item *place = pile_push(&sorter->items);
    if (place == NULL) {
        return -CODE_OVERLOADED;
    }
    *place = *item;
    size_t count = sorter->items.count;
    if (sorter->in_order && count > 1) {
        sorter->in_order = compare(sorter, sorter_item(sorter, count - 2), item) <= 0;
    }
    return 0;
}

/* Lets the item at `at` sink until none below it comes after it. */
static void sink(struct sorter *sorter, size_t at)
{
    size_t count = sorter->items.count;
    struct sorter_item item = *sorter_item(sorter, at);
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count &&
            compare(sorter, sorter_item(sorter, child), sorter_item(sorter, child + 1)) < 0) {
            child++;
        }
        if (compare(sorter, &item, sorter_item(sorter, child)) >= 0) {
            break;
        }
        *sorter_item(sorter, at) = *sorter_item(sorter, child);
        at = child;
    }
    *sorter_item(sorter, at) = item;
}

static void make_heap(struct sorter *sorter)
{
    for (size_t i = sorter->items.count / 2; i > 0; i--) {
        sink(sorter, i - 1);
    }
    sorter->heaped = true;
    sorter->in_order = false;
}

/* The last one kept: while all came in order it is at the end. */
static struct sorter_item *last_kept(const struct sorter *sorter)
{
    return sorter_item(sorter, sorter->heaped ? 0 : sorter->items.count - 1);
}

/* Its place is taken by a better one, and so is the room of its values. */
static void replace_last(struct sorter *sorter, uint64_t prefix, const struct record *record,
                         const struct value *paths)
{
    if (!sorter->heaped) {
        make_heap(sorter);
    }
    struct sorter_item *root = sorter_item(sorter, 0);
    root->prefix = prefix;
    if (sorter->path_count > 0) {
        fill_row(sorter, root->row, record, paths);
    } else {
        root->record = record;
    }
    sink(sorter, 0);
}

/* Whether the one under examination comes after `item`, or with it. */
static bool comes_after(const struct sorter *sorter, const struct sorter_item *item,
                        uint64_t prefix, const struct record *record, const struct value *paths)
{
    if (prefix != item->prefix) {
        return prefix > item->prefix;
    }
    unsigned path = 0;
    for (unsigned i = 0; i < sorter->key_count; i++) {
        const struct order_item *key = &sorter->keys[i];
        int order;
        if (key->path == NULL) {
            order = compare_key(sorter, key, record, record_of(sorter, item));
        } else {
            order = order_compare_values(key, &paths[path], &item->row->paths[path]);
            path++;
        }
        if (order != 0) {
            return order > 0;
        }
    }
    return true;
}

int sorter_add(struct sorter *sorter, const struct record *record, const struct value *paths)
{
    struct sorter_item item = {.record = record};
    set_prefix(sorter, &item, record, paths);
    if (sorter->most == 0 || sorter->items.count < sorter->most) {
        return append(sorter, &item, record, paths);
    }
    if (!sorter->in_order && !sorter->heaped) {
        make_heap(sorter);
    }
    if (comes_after(sorter, last_kept(sorter), item.prefix, record, paths)) {
        return SORTER_REJECTED;
    }
    replace_last(sorter, item.prefix, record, paths);
    return 0;
}

bool sorter_beyond(const struct sorter *sorter, const struct record *record, unsigned key_count)
{
    const struct record *last = record_of(sorter, last_kept(sorter));
    for (unsigned i = 0; i < key_count; i++) {
        int order = compare_key(sorter, &sorter->keys[i], record, last);
        if (order != 0) {
            return order > 0;
        }
    }
    return false;
}

/* ---- Sorting ---- */

static void insertion_sort(struct sorter *sorter, struct sorter_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct sorter_item item = items[i];
        size_t at = i;
        for (; at > 0 && compare(sorter, &items[at - 1], &item) > 0; at--) {
            items[at] = items[at - 1];
        }
        items[at] = item;
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Pays for `steps` moves and the looks so far; false where the budget is used up. */
static bool spend(struct sorter *sorter, uint64_t *budget, size_t steps)
{
    uint64_t cost = (steps + STEPS_A_BUDGET - 1) / STEPS_A_BUDGET + sorter->looks * LOOK_BUDGET;
    sorter->looks = 0;
    if (*budget <= cost) {
        *budget = 0;
        return false;
    }
    *budget -= cost;
    return true;
}

/* The last step is not held up for want of a budget: then nothing is left. */
static bool make_runs(struct sorter *sorter, uint64_t *budget)
{
    size_t total = sorter->items.count;
    while (sorter->left < total) {
        /* A run lies in one chunk. */
        size_t count = least(RUN_ITEMS, total - sorter->left);
        insertion_sort(sorter, sorter_item(sorter, sorter->left), count);
        sorter->left += count;
        if (!spend(sorter, budget, 2 * count) && sorter->left < total) {
            return false;
        }
    }
    return true;
}

static void begin_merge(struct sorter *sorter, size_t left)
{
    sorter->left = left;
    sorter->one = left;
    sorter->two = least(left + sorter->width, sorter->items.count);
    sorter->to = left;
}

/* Merges at most `steps` items of the two runs at `left`; answers how many. */
static size_t merge_some(struct sorter *sorter, size_t steps)
{
    size_t middle = least(sorter->left + sorter->width, sorter->items.count);
    size_t end = least(middle + sorter->width, sorter->items.count);
    size_t one = sorter->one, two = sorter->two, to = sorter->to;
    size_t stop = least(end, to + steps);
    for (; to < stop; to++) {
        bool second = one == middle || (two < end && compare(sorter, sorter_item(sorter, two),
                                                             sorter_item(sorter, one)) < 0);
        struct sorter_item *place = pile_at(&sorter->other, to);
        *place = *sorter_item(sorter, second ? two++ : one++);
    }
    steps = to - sorter->to;
    sorter->one = one;
    sorter->two = two;
    sorter->to = to;
    if (to == end) {
        begin_merge(sorter, end);
    }
    return steps;
}

/* One pass after the other, each doubling the runs' width. */
static bool merge_runs(struct sorter *sorter, uint64_t *budget)
{
    size_t total = sorter->items.count;
    while (sorter->width < total) {
        while (sorter->left < total) {
            size_t steps = merge_some(sorter, MERGE_STEPS);
            if (!spend(sorter, budget, steps)) {
                return false;
            }
        }
        struct pile items = sorter->items;
        sorter->items = sorter->other;
        sorter->items.count = total;
        sorter->other = items;
        sorter->other.count = 0;
        sorter->width *= 2;
        begin_merge(sorter, 0);
    }
    return true;
}

static int begin_sort(struct sorter *sorter)
{
    if (sorter->in_order) {
        sorter->phase = SORTER_SORTED;
        return 0;
    }
    sorter->left = 0;
    sorter->phase = SORTER_RUNS;
    size_t count = sorter->items.count;
    return count > RUN_ITEMS ? pile_reserve(&sorter->other, count) : 0;
}

enum run_status sorter_sort(struct sorter *sorter, uint64_t *budget)
{
    if (sorter->phase == SORTER_TAKING && begin_sort(sorter) != 0) {
        return RUN_FAILED;
    }
    if (sorter->phase == SORTER_RUNS) {
        if (!make_runs(sorter, budget)) {
            return RUN_MORE;
        }
        sorter->width = RUN_ITEMS;
        begin_merge(sorter, 0);
        sorter->phase = SORTER_MERGES;
    }
    if (sorter->phase == SORTER_MERGES) {
        if (!merge_runs(sorter, budget)) {
            return RUN_MORE;
        }
        sorter->phase = SORTER_SORTED;
    }
    return RUN_DONE;
}

#include "layers/memory/order_index.h"

#include <assert.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"

static_assert(sizeof(struct order_leaf) <= NODE_BYTES, "a leaf fits its node");
static_assert(sizeof(struct order_inner) <= NODE_BYTES, "an inner node fits");

enum {
    LEAF_FEW = LEAF_ENTRIES / 3, /* with fewer, merging is tried */
    LEAF_MERGED_MAX = LEAF_ENTRIES - LEAF_ENTRIES / 8,
    INNER_FEW = INNER_CHILDREN / 3,
    INNER_MERGED_MAX = INNER_CHILDREN - INNER_CHILDREN / 8
};

/* The way from the root to a leaf: inner nodes, and which child was taken. */
struct path {
    uint32_t nodes[HEIGHT_MAX];
    uint16_t children[HEIGHT_MAX];
};

/* An entry, and for inner nodes the child that it leads to. */
struct entry {
    uint64_t prefix;
    uint32_t reference;
    uint32_t child;
};

void order_index_init(struct order_index *index, struct slab *nodes,
                      const struct resource *resource, const struct index *definition)
{
    memset(index, 0, sizeof(*index));
    index->nodes = nodes;
    index->index = definition;
    index->version = 1;
    order_key_init(&index->key, resource, &definition->fields);
}

static struct order_inner *inner_at(const struct order_index *index, uint32_t reference)
{
    return pages_at(index->nodes->pages, reference);
}

static uint32_t node_add(struct order_index *index)
{
    uint32_t node = slab_alloc(index->nodes, NODE_BYTES);
    if (node != 0) {
        memset(pages_at(index->nodes->pages, node), 0, NODE_BYTES);
        index->bytes += NODE_BYTES;
    }
    return node;
}

static void node_drop(struct order_index *index, uint32_t node)
{
    slab_free(index->nodes, node);
    index->bytes -= NODE_BYTES;
}

/* Level by level down is one way without recursion: the first child of each
 * level leads to the next, and children are dropped from above. */
static void nodes_drop(struct order_index *index, uint32_t node, unsigned height)
{
    if (height > 0) {
        const struct order_inner *inner = inner_at(index, node);
        for (unsigned i = 0; i < inner->count; i++) {
            nodes_drop(index, inner->children[i], height - 1);
        }
    }
    node_drop(index, node);
}

void order_index_release(struct order_index *index)
{
    if (index->root != 0) {
        nodes_drop(index, index->root, index->height);
    }
    index->root = 0;
    index->count = 0;
}

/* ---- Searching ---- */

static inline int entry_compare(const struct order_index *index, uint64_t prefix,
                                uint32_t reference, const struct order_target *target)
{
    if (prefix != target->prefix) {
        return prefix < target->prefix ? -1 : 1;
    }
    const struct record *record = pages_at(index->nodes->pages, reference);
    return order_compare_tie(&index->key, record, reference, target);
}

/* How many of the entries lie before the target. */
static uint16_t entries_before(const struct order_index *index, const uint64_t *prefixes,
                               const uint32_t *references, uint16_t low, uint16_t high,
                               const struct order_target *target)
{
    while (low < high) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (entry_compare(index, prefixes[middle], references[middle], target) < 0) {
            low = (uint16_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

uint16_t order_leaf_seek(const struct order_index *index, const struct order_leaf *leaf,
                         const struct order_target *target)
{
    return entries_before(index, leaf->prefixes, leaf->references, 0, leaf->count, target);
}

/* A search in a node looks at several of its cache lines, one after the other:
 * better to wait once for all of them. */
static inline void node_prefetch(const struct order_index *index, uint32_t node)
{
    const char *memory = pages_at(index->nodes->pages, node);
    for (unsigned line = 0; line < NODE_BYTES; line += 64) {
        __builtin_prefetch(memory + line);
    }
}

/* The leaf where the target belongs. A separator equal to it leads into the
 * child at it, since separators are entries and the target is one of them. For
 * targets that are bounds, ties are never equal. */
static uint32_t descend(const struct order_index *index, const struct order_target *target,
                        struct path *path)
{
    uint32_t node = index->root;
    for (unsigned level = index->height; level > 0; level--) {
        const struct order_inner *inner = inner_at(index, node);
        uint16_t child =
            entries_before(index, inner->prefixes, inner->references, 1, inner->count, target);
        bool equal = child < inner->count && target->tie == 0 &&
                     inner->references[child] == target->reference;
        if (!equal) {
            child--;
        }
        path->nodes[level - 1] = node;
        path->children[level - 1] = child;
        node = inner->children[child];
        node_prefetch(index, node);
    }
    return node;
}

struct order_place order_index_seek(const struct order_index *index,
                                    const struct order_target *target)
{
    if (index->root == 0) {
        return (struct order_place){0};
    }
    struct path path;
    uint32_t leaf = descend(index, target, &path);
    return (struct order_place){
        .leaf = leaf,
        .at = order_leaf_seek(index, order_leaf_at(index, leaf), target),
    };
}

/* ---- Inserting ---- */

static void leaf_insert(struct order_leaf *leaf, uint16_t at, const struct entry *entry)
{
    size_t behind = (size_t)(leaf->count - at);
    memmove(&leaf->prefixes[at + 1], &leaf->prefixes[at], behind * sizeof(leaf->prefixes[0]));
    memmove(&leaf->references[at + 1], &leaf->references[at], behind * sizeof(leaf->references[0]));
    leaf->prefixes[at] = entry->prefix;
    leaf->references[at] = entry->reference;
    leaf->count++;
}

static void inner_insert(struct order_inner *inner, uint16_t at, const struct entry *entry)
{
    size_t behind = (size_t)(inner->count - at);
    memmove(&inner->prefixes[at + 1], &inner->prefixes[at], behind * sizeof(inner->prefixes[0]));
    memmove(&inner->references[at + 1], &inner->references[at],
            behind * sizeof(inner->references[0]));
    memmove(&inner->children[at + 1], &inner->children[at], behind * sizeof(inner->children[0]));
    inner->prefixes[at] = entry->prefix;
    inner->references[at] = entry->reference;
    inner->children[at] = entry->child;
    inner->count++;
}

/* Where a full node is cut: in the middle, but at the end where entries come
 * in rising order, so that such nodes stay full. */
static uint16_t split_point(uint16_t count, uint16_t at, bool last)
{
    return last && at == count ? count : (uint16_t)(count / 2);
}

static void leaf_split(struct order_index *index, uint32_t node, uint16_t at,
                       const struct entry *entry, uint32_t spare)
{
    struct order_leaf *left = order_leaf_at(index, node);
    struct order_leaf *right = order_leaf_at(index, spare);
    uint16_t cut = split_point(left->count, at, left->next == 0);
    right->count = (uint16_t)(left->count - cut);
    memcpy(right->prefixes, &left->prefixes[cut], right->count * sizeof(left->prefixes[0]));
    memcpy(right->references, &left->references[cut], right->count * sizeof(left->references[0]));
    left->count = cut;
    right->prev = node;
    right->next = left->next;
    left->next = spare;
    if (right->next != 0) {
        order_leaf_at(index, right->next)->prev = spare;
    }
    if (at < cut || (at == cut && right->count > 0)) {
        leaf_insert(left, at, entry);
    } else {
        leaf_insert(right, (uint16_t)(at - cut), entry);
    }
}

static void inner_split(struct order_inner *left, struct order_inner *right, uint16_t at,
                        const struct entry *entry)
{
    uint16_t cut = split_point(left->count, at, true);
    right->count = (uint16_t)(left->count - cut);
    memcpy(right->prefixes, &left->prefixes[cut], right->count * sizeof(left->prefixes[0]));
    memcpy(right->references, &left->references[cut], right->count * sizeof(left->references[0]));
    memcpy(right->children, &left->children[cut], right->count * sizeof(left->children[0]));
    left->count = cut;
    if (at < cut || (at == cut && right->count > 0)) {
        inner_insert(left, at, entry);
    } else {
        inner_insert(right, (uint16_t)(at - cut), entry);
    }
}

static void root_add(struct order_index *index, const struct entry *entry, uint32_t spare)
{
    struct order_inner *root = inner_at(index, spare);
    root->count = 1;
    root->children[0] = index->root;
    inner_insert(root, 1, entry);
    index->root = spare;
    index->height++;
    CHECK(index->height < HEIGHT_MAX);
}

/* Takes all nodes that an insert into the leaf will need. */
static bool spares_take(struct order_index *index, const struct path *path, uint32_t leaf,
                        uint32_t spares[HEIGHT_MAX + 1], unsigned *count)
{
    *count = 0;
    if (order_leaf_at(index, leaf)->count < LEAF_ENTRIES) {
        return true;
    }
    unsigned need = 1;
    unsigned level = 0;
    while (level < index->height && inner_at(index, path->nodes[level])->count == INNER_CHILDREN) {
        level++;
        need++;
    }
    need += level == index->height ? 1 : 0;
    while (*count < need) {
        uint32_t spare = node_add(index);
        if (spare == 0) {
            while (*count > 0) {
                node_drop(index, spares[--*count]);
            }
            return false;
        }
        spares[(*count)++] = spare;
    }
    return true;
}

int order_index_insert(struct order_index *index, uint32_t reference)
{
    struct value room[KEY_FIELDS_MAX * 2];
    struct order_target target;
    order_target_of_record(&target, &index->key, pages_at(index->nodes->pages, reference),
                           reference, room);
    if (index->root == 0) {
        index->root = node_add(index);
        if (index->root == 0) {
            return -CODE_OVERLOADED;
        }
        index->height = 0;
    }
    struct path path;
    uint32_t spares[HEIGHT_MAX + 1];
    unsigned spare_count;
    uint32_t node = descend(index, &target, &path);
    if (!spares_take(index, &path, node, spares, &spare_count)) {
        return -CODE_OVERLOADED;
    }
    index->version++;
    index->count++;
    struct order_leaf *leaf = order_leaf_at(index, node);
    uint16_t at = order_leaf_seek(index, leaf, &target);
    struct entry entry = {.prefix = target.prefix, .reference = reference};
    if (spare_count == 0) {
        leaf_insert(leaf, at, &entry);
        return 0;
    }
    leaf_split(index, node, at, &entry, spares[0]);
    struct order_leaf *right = order_leaf_at(index, spares[0]);
    entry = (struct entry){right->prefixes[0], right->references[0], spares[0]};
    for (unsigned level = 0; level < index->height; level++) {
        struct order_inner *inner = inner_at(index, path.nodes[level]);
        uint16_t child = (uint16_t)(path.children[level] + 1);
        if (inner->count < INNER_CHILDREN) {
            inner_insert(inner, child, &entry);
            return 0;
        }
        CHECK(level + 1 < spare_count);
        uint32_t spare = spares[level + 1];
        struct order_inner *half = inner_at(index, spare);
        inner_split(inner, half, child, &entry);
        entry = (struct entry){half->prefixes[0], half->references[0], spare};
    }
    root_add(index, &entry, spares[spare_count - 1]);
    return 0;
}

/* ---- Removing ---- */

static void leaf_cut(struct order_leaf *leaf, uint16_t at)
{
    leaf->count--;
    size_t behind = (size_t)(leaf->count - at);
    memmove(&leaf->prefixes[at], &leaf->prefixes[at + 1], behind * sizeof(leaf->prefixes[0]));
    memmove(&leaf->references[at], &leaf->references[at + 1], behind * sizeof(leaf->references[0]));
}

static void inner_cut(struct order_inner *inner, uint16_t at)
{
    inner->count--;
    size_t behind = (size_t)(inner->count - at);
    memmove(&inner->prefixes[at], &inner->prefixes[at + 1], behind * sizeof(inner->prefixes[0]));
    memmove(&inner->references[at], &inner->references[at + 1],
            behind * sizeof(inner->references[0]));
    memmove(&inner->children[at], &inner->children[at + 1], behind * sizeof(inner->children[0]));
}

static void leaf_unlink(struct order_index *index, const struct order_leaf *leaf)
{
    if (leaf->prev != 0) {
        order_leaf_at(index, leaf->prev)->next = leaf->next;
    }
    if (leaf->next != 0) {
        order_leaf_at(index, leaf->next)->prev = leaf->prev;
    }
}

/* Merges child `at` + 1 of the node into child `at` where both fit well. */
static void leaves_merge(struct order_index *index, struct order_inner *parent, uint16_t at)
{
    struct order_leaf *left = order_leaf_at(index, parent->children[at]);
    uint32_t node = parent->children[at + 1];
    const struct order_leaf *right = order_leaf_at(index, node);
    if (left->count + right->count > LEAF_MERGED_MAX) {
        return;
    }
    memcpy(&left->prefixes[left->count], right->prefixes, right->count * sizeof(left->prefixes[0]));
    memcpy(&left->references[left->count], right->references,
           right->count * sizeof(left->references[0]));
    left->count = (uint16_t)(left->count + right->count);
    leaf_unlink(index, right);
    node_drop(index, node);
    inner_cut(parent, (uint16_t)(at + 1));
}

static void inners_merge(struct order_index *index, struct order_inner *parent, uint16_t at)
{
    struct order_inner *left = inner_at(index, parent->children[at]);
    uint32_t node = parent->children[at + 1];
    struct order_inner *right = inner_at(index, node);
    if (left->count + right->count > INNER_MERGED_MAX) {
        return;
    }
    /* Separator 0 is not kept up; the parent knows it. */
    right->prefixes[0] = parent->prefixes[at + 1];
    right->references[0] = parent->references[at + 1];
    memcpy(&left->prefixes[left->count], right->prefixes, right->count * sizeof(left->prefixes[0]));
    memcpy(&left->references[left->count], right->references,
           right->count * sizeof(left->references[0]));
    memcpy(&left->children[left->count], right->children, right->count * sizeof(left->children[0]));
    left->count = (uint16_t)(left->count + right->count);
    node_drop(index, node);
    inner_cut(parent, (uint16_t)(at + 1));
}

static uint16_t node_count(const struct order_index *index, uint32_t node, unsigned level)
{
    return level == 0 ? order_leaf_at(index, node)->count : inner_at(index, node)->count;
}

/* Child `at` of the parent (which lies `level` above the leaves, less one) has
 * become small: merges it with a neighbour if that goes. */
static void child_merge(struct order_index *index, struct order_inner *parent, uint16_t at,
                        unsigned level)
{
    uint16_t few = level == 0 ? LEAF_FEW : INNER_FEW;
    if (node_count(index, parent->children[at], level) >= few || parent->count < 2) {
        return;
    }
    uint16_t left = at + 1 < parent->count ? at : (uint16_t)(at - 1);
    if (level == 0) {
        leaves_merge(index, parent, left);
    } else {
        inners_merge(index, parent, left);
    }
}

/* After an entry went from the leaf, from the bottom up: children that are
 * empty go, separators that named the entry follow, small ones merge. */
static void path_mend(struct order_index *index, const struct path *path, uint32_t node,
                      bool first_went)
{
    struct entry first = {0};
    const struct order_leaf *leaf = order_leaf_at(index, node);
    if (leaf->count > 0) {
        first = (struct entry){leaf->prefixes[0], leaf->references[0], 0};
    } else {
        leaf_unlink(index, leaf);
    }
    for (unsigned level = 0; level < index->height; level++) {
        struct order_inner *parent = inner_at(index, path->nodes[level]);
        uint16_t at = path->children[level];
        if (node_count(index, node, level) == 0) {
            node_drop(index, node);
            inner_cut(parent, at);
            first_went = at == 0;
            if (first_went && parent->count > 0) {
                first = (struct entry){parent->prefixes[0], parent->references[0], 0};
            }
        } else {
            if (first_went && at > 0) {
                parent->prefixes[at] = first.prefix;
                parent->references[at] = first.reference;
                first_went = false;
            }
            child_merge(index, parent, at, level);
        }
        node = path->nodes[level];
    }
    while (index->height > 0 && inner_at(index, index->root)->count == 1) {
        uint32_t root = index->root;
        index->root = inner_at(index, root)->children[0];
        node_drop(index, root);
        index->height--;
    }
    if (node_count(index, index->root, index->height) == 0) {
        node_drop(index, index->root);
        index->root = 0;
        index->height = 0;
    }
}

/* Finds the entry of a reference that is in. */
static uint32_t entry_find(const struct order_index *index, uint32_t reference, struct path *path,
                           uint16_t *at)
{
    struct value room[KEY_FIELDS_MAX * 2];
    struct order_target target;
    order_target_of_record(&target, &index->key, pages_at(index->nodes->pages, reference),
                           reference, room);
    CHECK(index->root != 0);
    uint32_t node = descend(index, &target, path);
    const struct order_leaf *leaf = order_leaf_at(index, node);
    *at = order_leaf_seek(index, leaf, &target);
    CHECK(*at < leaf->count && leaf->references[*at] == reference);
    return node;
}

void order_index_remove(struct order_index *index, uint32_t reference)
{
    struct path path;
    uint16_t at;
    uint32_t node = entry_find(index, reference, &path, &at);
    leaf_cut(order_leaf_at(index, node), at);
    index->version++;
    index->count--;
    path_mend(index, &path, node, at == 0);
}

void order_index_replace(struct order_index *index, uint32_t reference, uint32_t replacement)
{
    struct path path;
    uint16_t at;
    uint32_t node = entry_find(index, reference, &path, &at);
    order_leaf_at(index, node)->references[at] = replacement;
    index->version++;
    if (at > 0) {
        return;
    }
    /* It is a separator where the path last turned away from the first child. */
    for (unsigned level = 0; level < index->height; level++) {
        if (path.children[level] > 0) {
            inner_at(index, path.nodes[level])->references[path.children[level]] = replacement;
            return;
        }
    }
}

/* ---- Checking ---- */

static void entries_check(const struct order_index *index, const uint64_t *prefixes,
                          const uint32_t *references, unsigned from, unsigned count)
{
    for (unsigned i = from; i < count; i++) {
        struct value room[KEY_FIELDS_MAX * 2];
        struct order_target target;
        const struct record *record = pages_at(index->nodes->pages, references[i]);
        CHECK(record->flags != 0);
        order_target_of_record(&target, &index->key, record, references[i], room);
        CHECK(target.prefix == prefixes[i]);
        CHECK(i == from || entry_compare(index, prefixes[i - 1], references[i - 1], &target) < 0);
    }
}

void order_index_check(const struct order_index *index)
{
    uint32_t first = index->root;
    for (unsigned level = index->height; level > 0; level--) {
        const struct order_inner *inner = inner_at(index, first);
        CHECK(inner->count > 0 && (level < index->height || inner->count > 1));
        entries_check(index, inner->prefixes, inner->references, 1, inner->count);
        first = inner->children[0];
    }
    uint64_t count = 0;
    const struct order_leaf *before = NULL;
    uint32_t before_node = 0;
    while (first != 0) {
        const struct order_leaf *leaf = order_leaf_at(index, first);
        CHECK(leaf->count > 0 && leaf->prev == before_node);
        entries_check(index, leaf->prefixes, leaf->references, 0, leaf->count);
        for (unsigned i = 0; i < leaf->count; i++) {
            struct path path;
            uint16_t at;
            CHECK(entry_find(index, leaf->references[i], &path, &at) == first && at == i);
        }
        count += leaf->count;
        before = leaf;
        before_node = first;
        first = before->next;
    }
    CHECK(count == index->count);
}

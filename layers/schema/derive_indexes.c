#include <stdlib.h>
#include <string.h>

#include "layers/query/expr.h"
#include "layers/schema/reading.h"
#include "protocol/base/check.h"

/* Indexes that relationships and filter loaders need, added to the declared
 * ones; then what is a prefix of another is left out. */

/* A growing list of wanted indexes of one resource. */
struct wanted {
    struct index *items;
    size_t count;
    size_t capacity;
};

static bool same_fields(const struct field_list *a, const struct field_list *b)
{
    return a->count == b->count &&
           memcmp(a->fields, b->fields, a->count * sizeof(a->fields[0])) == 0;
}

/* Keys and identities find their records without an index. */
static bool is_unique_key(const struct resource *resource, const struct field_list *fields)
{
    if (same_fields(&resource->primary_key, fields)) {
        return true;
    }
    for (unsigned i = 0; i < resource->identity_count; i++) {
        if (same_fields(&resource->identities[i].fields, fields)) {
            return true;
        }
    }
    return false;
}

static bool is_indexable(const struct resource *resource, const struct field_list *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        if (!type_indexable(resource->fields[fields->fields[i]].type.kind)) {
            return false;
        }
    }
    return fields->count > 0;
}

static void want(struct reading *reading, struct wanted *all, const struct resource *resource,
                 const struct field_list *fields)
{
    /* What has no index is only asked for by its primary key (check_redis). */
    if (finds_by_key_only(resource) || !is_indexable(resource, fields)) {
        return;
    }
    struct wanted *wanted = &all[resource->position];
    void *items = wanted->items;
    if (arena_grow(reading->scratch, &items, wanted->count, &wanted->capacity,
                   sizeof(*wanted->items)) == 0) {
        wanted->items = items;
        wanted->items[wanted->count++].fields = *fields;
    }
}

/* ---- Filter loaders ---- */

static bool is_range(enum conjunct_operator operator)
{
    switch (operator) {
    case CONJUNCT_LESS:
    case CONJUNCT_LESS_EQUAL:
    case CONJUNCT_GREATER:
    case CONJUNCT_GREATER_EQUAL:
    case CONJUNCT_STARTS_WITH:
        return true;
    case CONJUNCT_EQUAL:
    case CONJUNCT_IN:
        break;
    }
    return false;
}

static void add_field(const struct resource *resource, struct field_list *list, uint16_t field)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (list->fields[i] == field) {
            return;
        }
    }
    if (list->count < KEY_FIELDS_MAX && type_indexable(resource->fields[field].type.kind)) {
        list->fields[list->count++] = field;
    }
}

/* The fields that are compared for equality, then the first one with a range. */
static void want_loader(struct reading *reading, struct wanted *all,
                        const struct relationship *relationship)
{
    enum { CONJUNCTS_MAX = 64 };
    struct conjunct conjuncts[CONJUNCTS_MAX];
    struct field_list fields = {0};
    const struct resource *resource = relationship->destination;
    size_t count = expr_conjuncts(relationship->loader_filter, conjuncts, CONJUNCTS_MAX);
    count = count < CONJUNCTS_MAX ? count : CONJUNCTS_MAX;
    for (size_t i = 0; i < count; i++) {
        enum conjunct_operator how = conjuncts[i].operator;
        if (how == CONJUNCT_EQUAL) {
            add_field(resource, &fields, conjuncts[i].field);
        }
    }
    if (is_unique_key(resource, &fields)) {
        return;
    }
    unsigned equal = fields.count;
    for (size_t i = 0; i < count && fields.count == equal; i++) {
        if (is_range(conjuncts[i].operator)) {
            add_field(resource, &fields, conjuncts[i].field);
        }
    }
    want(reading, all, resource, &fields);
}

static void want_join(struct reading *reading, struct wanted *all, const struct resource *resource,
                      const struct field_list *fields)
{
    if (!is_unique_key(resource, fields)) {
        want(reading, all, resource, fields);
    }
}

static void want_relationship(struct reading *reading, struct wanted *all,
                              const struct relationship *relationship)
{
    if (relationship->loader == LOADER_MODULE || relationship->loader == LOADER_REMOTE) {
        return;
    }
    if (relationship->manual) {
        want_loader(reading, all, relationship);
        return;
    }
    want_join(reading, all, relationship->destination, &relationship->destination_fields);
    if (relationship->through != NULL) {
        want_join(reading, all, relationship->through, &relationship->through_source);
        want_join(reading, all, relationship->through, &relationship->through_destination);
    }
}

/* ---- One list without prefixes ---- */

static int compare_indexes(const void *a, const void *b)
{
    const struct field_list *left = &((const struct index *)a)->fields;
    const struct field_list *right = &((const struct index *)b)->fields;
    for (unsigned i = 0; i < left->count && i < right->count; i++) {
        if (left->fields[i] != right->fields[i]) {
            return left->fields[i] < right->fields[i] ? -1 : 1;
        }
    }
    return (left->count > right->count) - (left->count < right->count);
}

static bool is_prefix(const struct field_list *start, const struct field_list *of)
{
    return start->count <= of->count &&
           memcmp(start->fields, of->fields, start->count * sizeof(start->fields[0])) == 0;
}

static void merge_indexes(struct reading *reading, struct resource *resource,
                          const struct wanted *wanted)
{
    size_t total = resource->index_count + wanted->count, kept = 0;
    struct index *all = arena_zero(reading->model, total, sizeof(*all));
    if (all == NULL || total == 0) {
        return;
    }
    for (size_t i = 0; i < total; i++) {
        all[i] = i < resource->index_count ? resource->indexes[i]
                                           : wanted->items[i - resource->index_count];
    }
    qsort(all, total, sizeof(*all), compare_indexes);
    for (size_t i = 0; i < total; i++) {
        /* In this order what it is a prefix of comes right behind it. */
        if (i + 1 == total || !is_prefix(&all[i].fields, &all[i + 1].fields)) {
            all[kept++] = all[i];
        }
    }
    CHECK(kept <= UINT16_MAX);
    resource->indexes = all;
    resource->index_count = (uint16_t)kept;
}

void derive_indexes(struct reading *reading)
{
    struct schema *schema = reading->schema;
    struct wanted *all = arena_zero(reading->scratch, schema->resource_count, sizeof(*all));
    for (unsigned i = 0; i < schema->resource_count && all != NULL; i++) {
        const struct resource *resource = &schema->resources[i];
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            want_relationship(reading, all, &resource->relationships[j]);
        }
    }
    for (unsigned i = 0; i < schema->resource_count && all != NULL; i++) {
        merge_indexes(reading, &schema->resources[i], &all[i]);
    }
}

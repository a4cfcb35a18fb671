#include <stdlib.h>
#include <string.h>

#include "layers/query/expr.h"
#include "layers/query/plan.h"
#include "layers/schema/reading.h"

/* What can only be judged when the whole schema is known: keys of two resources
 * that could be the same, and relationships that Redis could not answer. */

/* ---- Keys ---- */

static int compare_parts(const struct key_part *a, const struct key_part *b)
{
    if ((a->text == NULL) != (b->text == NULL)) {
        return a->text == NULL ? -1 : 1;
    }
    if (a->text == NULL) {
        return 0;
    }
    return strcmp(a->text, b->text);
}

/* By the home, then by the key with its fields' names left out. */
static int compare_shapes(const struct resource *a, const struct resource *b)
{
    int order = strcmp(a->redis->home, b->redis->home);
    if (order == 0) {
        order = (int)a->redis->key_part_count - (int)b->redis->key_part_count;
    }
    for (unsigned i = 0; order == 0 && i < a->redis->key_part_count; i++) {
        order = compare_parts(&a->redis->key_parts[i], &b->redis->key_parts[i]);
    }
    return order;
}

static int compare_keys(const void *a, const void *b)
{
    const struct resource *left = *(const struct resource *const *)a;
    const struct resource *right = *(const struct resource *const *)b;
    int order = compare_shapes(left, right);
    return order != 0 ? order : (int)left->position - (int)right->position;
}

static void check_prefix(struct reading *reading, const struct resource *resource)
{
    const struct resource_source *source = &reading->sources[resource->position];
    const char *text = resource->redis->key_parts[0].text;
    if (text != NULL && strncmp(text, REDIS_OWN_PREFIX, strlen(REDIS_OWN_PREFIX)) == 0) {
        fault_at(
            reading, source->redis_key != NULL ? source->redis_key : source->key,
            "the key of %s begins with %s, as the daemon's own keys in Redis do: begin it with "
            "a different text",
            resource->name, REDIS_OWN_PREFIX);
    }
}

static void check_keys(struct reading *reading)
{
    const struct schema *schema = reading->schema;
    const struct resource **all =
        arena_zero(reading->scratch, schema->resource_count, sizeof(struct resource *));
    size_t count = 0;
    for (unsigned i = 0; i < schema->resource_count && all != NULL; i++) {
        const struct resource *resource = &schema->resources[i];
        if (resource->redis != NULL && resource->redis->key_part_count > 0) {
            all[count++] = resource;
            check_prefix(reading, resource);
        }
    }
    if (count < 2) {
        return;
    }
    qsort(all, count, sizeof(*all), compare_keys);
    for (size_t i = 1; i < count; i++) {
        const struct resource *first = all[i - 1], *second = all[i];
        if (compare_shapes(first, second) == 0) {
            const struct resource_source *source = &reading->sources[second->position];
            fault_at(reading, source->redis_key != NULL ? source->redis_key : source->key,
                     "the keys of %s and %s are alike, and both are in the Redis \"%s\": a key of "
                     "one could be the other's; begin them with different texts, such as \"%s:\"",
                     first->name, second->name, second->redis->home, second->name);
        }
    }
}

/* ---- Relationships ---- */

/* The fields of which a search knows the value. */
struct known {
    const struct resource *resource;
    bool listed; /* one of them by a list, as only one may be */
    uint16_t count;
    uint16_t fields[2 * PLAN_TERMS_MAX + KEY_FIELDS_MAX];
    uint16_t list_count;
    uint16_t lists[2 * PLAN_TERMS_MAX];
};

static void know_join(struct known *known, const struct field_list *join)
{
    for (unsigned i = 0; i < join->count; i++) {
        known->fields[known->count++] = join->fields[i];
    }
}

static void know_filter(struct known *known, const struct expr *filter)
{
    struct conjunct conjuncts[PLAN_TERMS_MAX];
    size_t count = filter != NULL ? expr_conjuncts(filter, conjuncts, PLAN_TERMS_MAX) : 0;
    count = count < PLAN_TERMS_MAX ? count : PLAN_TERMS_MAX;
    for (size_t i = 0; i < count; i++) {
        if (conjuncts[i].operator== CONJUNCT_EQUAL) {
            known->fields[known->count++] = conjuncts[i].field;
        } else if (conjuncts[i].operator== CONJUNCT_IN) {
            known->lists[known->list_count++] = conjuncts[i].field;
        }
    }
}

static bool stands_in(uint16_t field, const uint16_t *fields, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fields[i] == field) {
            return true;
        }
    }
    return false;
}

/* As the planner has it: each field of the key by a value, one maybe by a list. */
static bool knows_key(struct known *known)
{
    const struct field_list *key = &known->resource->primary_key;
    for (unsigned i = 0; i < key->count; i++) {
        if (stands_in(key->fields[i], known->fields, known->count)) {
            continue;
        }
        if (known->listed || !stands_in(key->fields[i], known->lists, known->list_count)) {
            return false;
        }
        known->listed = true;
    }
    return true;
}

static void check_search(struct reading *reading, const struct relationship *relationship,
                         const struct relationship_source *source, struct known *known)
{
    const struct resource *resource = known->resource;
    if (!finds_by_key_only(resource) || !reading->sources[resource->position].redis_sound ||
        knows_key(known)) {
        return;
    }
    fault_at(reading, source->key,
             "relationship %s looks for records of %s otherwise than by the primary key, and Redis "
             "finds them by nothing else: resident: true or writers: relata under redis of %s "
             "would help",
             relationship->name, resource->name, resource->name);
}

static void check_relationship(struct reading *reading, const struct relationship *relationship,
                               const struct relationship_source *source)
{
    struct known known = {.resource = relationship->destination};
    if (relationship->loader == LOADER_MODULE || relationship->loader == LOADER_REMOTE) {
        return;
    }
    if (relationship->through != NULL) {
        struct known through = {.resource = relationship->through};
        know_join(&through, &relationship->through_source);
        check_search(reading, relationship, source, &through);
        know_join(&known, &relationship->destination_fields);
    } else if (!relationship->manual) {
        know_join(&known, &relationship->destination_fields);
        know_filter(&known, relationship->filter);
    } else if (relationship->loader_filter != NULL) {
        know_filter(&known, relationship->loader_filter);
        know_filter(&known, relationship->filter);
    } else {
        return; /* Its filter is at fault, which is told. */
    }
    check_search(reading, relationship, source, &known);
}

void check_redis(struct reading *reading)
{
    const struct schema *schema = reading->schema;
    if (reading->model->failed || reading->scratch->failed) {
        return;
    }
    check_keys(reading);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        const struct resource *resource = &schema->resources[i];
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            const struct relationship_source *source = &reading->sources[i].relationship_sources[j];
            if (source->sound) {
                check_relationship(reading, &resource->relationships[j], source);
            }
        }
    }
}

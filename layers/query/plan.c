#include "layers/query/plan.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* Scores, before values are known: a point beats any range, an equality beats
 * a bound, and an order that need not be made is worth a little. */
enum {
    SCORE_POINT = 10000,
    SCORE_POINTS = 5000,
    SCORE_EQUAL = 100,
    SCORE_IN = 80,
    SCORE_BOUND = 25,
    SCORE_PREFIX = 40,
    SCORE_ORDER_LIMIT = 20,
    SCORE_ORDER = 4
};

/* The terms that one resource's ways are made of. */
struct terms {
    struct plan_term *list;
    unsigned count;
};

/* ---- Terms ---- */

static void add_join_terms(struct terms *terms, const struct field_list *join)
{
    for (unsigned i = 0; i < join->count; i++) {
        terms->list[terms->count++] = (struct plan_term){
            .field = join->fields[i],
            .joined = true,
            .join_position = (uint8_t)i,
            .operator= CONJUNCT_EQUAL,
        };
    }
}

/* True where the filter says nothing but the terms that were added. */
static bool add_filter_terms(struct terms *terms, const struct expr *filter, unsigned position)
{
    struct conjunct conjuncts[PLAN_TERMS_MAX];
    size_t count = expr_conjuncts(filter, conjuncts, PLAN_TERMS_MAX);
    if (count > PLAN_TERMS_MAX - terms->count) {
        count = PLAN_TERMS_MAX - terms->count;
    }
    for (size_t i = 0; i < count; i++) {
        terms->list[terms->count++] = (struct plan_term){
            .field = conjuncts[i].field,
            .filter = (uint8_t)position,
            .operator= conjuncts[i].operator,
            .conjunct = conjuncts[i],
        };
    }
    return count == expr_parts(filter);
}

static int find_term(const struct terms *terms, uint16_t field, enum conjunct_operator operator)
{
    for (unsigned i = 0; i < terms->count; i++) {
        if (terms->list[i].field == field && terms->list[i].operator== operator) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_bound(enum conjunct_operator operator)
{
    return operator!= CONJUNCT_EQUAL && operator!= CONJUNCT_IN;
}

/* ---- Ways ---- */

/* The longest run of leading fields that have an equality or (once) a list. */
static void take_equal(struct access *access, const struct terms *terms)
{
    access->in_position = -1;
    for (unsigned i = 0; i < access->fields->count; i++) {
        int term = find_term(terms, access->fields->fields[i], CONJUNCT_EQUAL);
        if (term < 0 && access->in_position < 0) {
            term = find_term(terms, access->fields->fields[i], CONJUNCT_IN);
            if (term >= 0) {
                access->in_position = (int)i;
            }
        }
        if (term < 0) {
            return;
        }
        access->equal[access->equal_count++] = (uint8_t)term;
        access->score += access->in_position == (int)i ? SCORE_IN : SCORE_EQUAL;
    }
}

static void take_bounds(struct access *access, const struct terms *terms)
{
    if (access->equal_count == access->fields->count) {
        return;
    }
    uint16_t field = access->fields->fields[access->equal_count];
    for (unsigned i = 0; i < terms->count && access->bound_count < ACCESS_BOUNDS_MAX; i++) {
        const struct plan_term *term = &terms->list[i];
        if (term->field == field && is_bound(term->operator)) {
            access->bounds[access->bound_count++] = (uint8_t)i;
            access->score += term->operator== CONJUNCT_STARTS_WITH ? SCORE_PREFIX : SCORE_BOUND;
        }
    }
}

/* Whether the join is a part of what the access asks for, so that its records
 * need no look at the key. */
static bool uses_join(const struct access *access, const struct terms *terms,
                      const struct field_list *join)
{
    unsigned used = 0;
    for (unsigned i = 0; i < access->equal_count; i++) {
        used += terms->list[access->equal[i]].joined;
    }
    return join == NULL || used == join->count;
}

static bool key_as_given(const struct access *access, const struct terms *terms,
                         const struct field_list *join)
{
    if (join == NULL || join->count != access->fields->count) {
        return false;
    }
    for (unsigned i = 0; i < access->equal_count; i++) {
        const struct plan_term *term = &terms->list[access->equal[i]];
        if (!term->joined || term->join_position != i) {
            return false;
        }
    }
    return true;
}

/* True where the terms name whole keys of these fields. */
static bool points_access(struct access *access, const struct field_list *fields,
                          const struct identity *identity, const struct terms *terms,
                          const struct field_list *join)
{
    *access = (struct access){.kind = ACCESS_POINTS, .fields = fields, .identity = identity};
    take_equal(access, terms);
    if (access->equal_count < fields->count) {
        return false;
    }
    access->score += access->in_position < 0 ? SCORE_POINT : SCORE_POINTS;
    access->key_as_given = key_as_given(access, terms, join);
    access->checks_join = !uses_join(access, terms, join);
    return true;
}

static void ranges_access(struct access *access, const struct index *index,
                          const struct terms *terms, const struct field_list *join)
{
    *access = (struct access){.kind = ACCESS_RANGES, .fields = &index->fields, .index = index};
    take_equal(access, terms);
    take_bounds(access, terms);
    access->checks_join = !uses_join(access, terms, join);
}

/* ---- Order ---- */

/* Which fields are settled: the same in all records that are still compared. */
struct settled {
    uint8_t bits[FIELDS_MAX / 8];
};

static bool is_settled(const struct settled *settled, uint16_t field)
{
    return settled->bits[field / 8] & (1u << field % 8);
}

static void settle(struct settled *settled, uint16_t field)
{
    settled->bits[field / 8] |= (uint8_t)(1u << field % 8);
}

/* The order in which an access gives records, field by field: those of the
 * index behind the equalities, then the primary key. */
struct chain {
    const struct field_list *lists[2];
    unsigned list;
    unsigned at;
};

static int chain_next(struct chain *chain, const struct settled *settled)
{
    for (; chain->list < 2; chain->list++, chain->at = 0) {
        const struct field_list *fields = chain->lists[chain->list];
        while (chain->at < fields->count) {
            uint16_t field = fields->fields[chain->at++];
            if (!is_settled(settled, field)) {
                return field;
            }
        }
    }
    return -1;
}

/* An index has nil after all values, so forwards last and backwards first;
 * where there is no nil their place does not matter. */
static bool nils_fit(const struct order_item *key, const struct access *access,
                     const struct resource *resource)
{
    bool bounded =
        access->bound_count > 0 && access->fields->fields[access->equal_count] == key->field;
    bool listed =
        access->in_position >= 0 && access->fields->fields[access->in_position] == key->field;
    return bounded || listed || resource->fields[key->field].required ||
           key->descending == key->nils_first;
}

/* How many leading keys of the order the access honours, and in which
 * direction it is to be walked for that. */
static void match_order(struct access *access, const struct plan *plan,
                        const struct resource *resource)
{
    struct settled settled = {{0}};
    for (unsigned i = 0; i < access->equal_count; i++) {
        if (access->in_position != (int)i) {
            settle(&settled, access->fields->fields[i]);
        }
    }
    struct chain chain = {.lists = {access->fields, &resource->primary_key}};
    bool directed = false;
    access->ordered = 0;
    access->reverse = false;
    for (unsigned i = 0; i < plan->key_count; i++, access->ordered++) {
        const struct order_item *key = &plan->keys[i];
        if (key->path != NULL) {
            return;
        }
        if (is_settled(&settled, key->field)) {
            continue;
        }
        if (directed && access->reverse != key->descending) {
            return;
        }
        if (chain_next(&chain, &settled) != key->field || !nils_fit(key, access, resource)) {
            return;
        }
        access->reverse = key->descending;
        directed = true;
        settle(&settled, key->field);
    }
}

/* Points come by value, so only a list of primary keys is in any order: its. */
static void match_points_order(struct access *access, const struct plan *plan,
                               const struct resource *resource)
{
    if (access->in_position < 0) {
        access->ordered = plan->key_count; /* one record at most */
        return;
    }
    match_order(access, plan, resource);
}

static int make_keys(struct plan *plan, const struct search_spec *spec, struct arena *arena)
{
    const struct field_list *primary = &spec->resource->primary_key;
    unsigned most = (spec->order != NULL ? spec->order->count : 0u) + primary->count;
    struct order_item *keys = arena_zero(arena, most, sizeof(*keys));
    if (keys == NULL) {
        return -CODE_OVERLOADED;
    }
    struct settled settled = {{0}};
    unsigned left = primary->count;
    for (unsigned i = 0; spec->order != NULL && i < spec->order->count && left > 0; i++) {
        const struct order_item *item = &spec->order->items[i];
        if (item->path == NULL && is_settled(&settled, item->field)) {
            continue;
        }
        keys[plan->key_count++] = *item;
        if (item->path != NULL) {
            plan->path_count++;
        } else {
            settle(&settled, item->field);
            left -= spec->resource->fields[item->field].in_primary_key;
        }
    }
    for (unsigned i = 0; i < primary->count; i++) {
        if (!is_settled(&settled, primary->fields[i])) {
            keys[plan->key_count++] = (struct order_item){.field = primary->fields[i]};
        }
    }
    plan->keys = keys;
    return 0;
}

/* ---- The plan ---- */

/* Puts it in its place by score; the worst falls out where there are too many.
 * One place stays for the scan. */
static void add_access(struct plan *plan, const struct access *access)
{
    unsigned at = plan->access_count;
    while (at > 0 && plan->accesses[at - 1].score < access->score) {
        at--;
    }
    if (at == PLAN_ACCESSES_MAX - 1) {
        return;
    }
    if (plan->access_count < PLAN_ACCESSES_MAX - 1) {
        plan->access_count++;
    }
    for (unsigned i = plan->access_count - 1; i > at; i--) {
        plan->accesses[i] = plan->accesses[i - 1];
    }
    plan->accesses[at] = *access;
}

static void add_ranges(struct plan *plan, const struct search_spec *spec, const struct terms *terms,
                       const struct index *index)
{
    struct access access;
    ranges_access(&access, index, terms, spec->join);
    if (!spec->unordered) {
        match_order(&access, plan, spec->resource);
    }
    bool conditions = access.equal_count > 0 || access.bound_count > 0;
    if (!conditions && (!spec->has_limit || access.ordered == 0)) {
        return;
    }
    if (access.ordered > 0) {
        unsigned worth = spec->has_limit ? SCORE_ORDER_LIMIT : SCORE_ORDER;
        access.score += access_fully_ordered(&access, plan) ? worth : worth / 2;
    }
    add_access(plan, &access);
}

static void add_ways(struct plan *plan, const struct search_spec *spec, const struct terms *terms)
{
    const struct resource *resource = spec->resource;
    struct access access;
    if (points_access(&access, &resource->primary_key, NULL, terms, spec->join)) {
        match_points_order(&access, plan, resource);
        add_access(plan, &access);
    }
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        if (points_access(&access, &identity->fields, identity, terms, spec->join)) {
            match_points_order(&access, plan, resource);
            add_access(plan, &access);
        }
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        add_ranges(plan, spec, terms, &resource->indexes[i]);
    }
    plan->accesses[plan->access_count++] =
        (struct access){.kind = ACCESS_SCAN, .in_position = -1, .checks_join = spec->join != NULL};
}

static bool asks_for(const struct access *access, unsigned term)
{
    for (unsigned i = 0; i < access->equal_count; i++) {
        if (access->equal[i] == term) {
            return true;
        }
    }
    for (unsigned i = 0; i < access->bound_count; i++) {
        if (access->bounds[i] == term) {
            return true;
        }
    }
    return false;
}

/* Filters that say nothing but what the access asks for need not be run. */
static void find_covered(struct access *access, const struct plan *plan)
{
    access->covered = plan->plain_filters;
    for (unsigned i = 0; i < plan->term_count; i++) {
        if (!plan->terms[i].joined && !asks_for(access, i)) {
            access->covered &= (uint8_t) ~(1u << plan->terms[i].filter);
        }
    }
}

static void mark_used(struct plan_term *terms, const struct access *access)
{
    for (unsigned i = 0; i < access->equal_count; i++) {
        terms[access->equal[i]].used = true;
    }
    for (unsigned i = 0; i < access->bound_count; i++) {
        terms[access->bounds[i]].used = true;
    }
}

/* The best way to the records whose `join` equals a key, and nothing else. */
static void plan_join(struct access *out, struct plan_term *list, const struct resource *resource,
                      const struct field_list *join)
{
    struct terms terms = {.list = list};
    add_join_terms(&terms, join);
    *out = (struct access){.kind = ACCESS_SCAN, .in_position = -1, .checks_join = true};
    struct access access;
    if (points_access(&access, &resource->primary_key, NULL, &terms, join)) {
        *out = access;
    }
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        if (points_access(&access, &identity->fields, identity, &terms, join) &&
            access.score > out->score) {
            *out = access;
        }
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        ranges_access(&access, &resource->indexes[i], &terms, join);
        if (access.score > out->score) {
            *out = access;
        }
    }
    mark_used(list, out);
}

static bool holds(const struct field_list *fields, uint16_t field)
{
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->fields[i] == field) {
            return true;
        }
    }
    return false;
}

/* Where through's primary key is made of nothing but the pair, a pair is there
 * once. */
static bool pairs_unique(const struct relationship *relationship)
{
    const struct field_list *primary = &relationship->through->primary_key;
    for (unsigned i = 0; i < primary->count; i++) {
        if (!holds(&relationship->through_source, primary->fields[i]) &&
            !holds(&relationship->through_destination, primary->fields[i])) {
            return false;
        }
    }
    return true;
}

static int plan_through(struct plan *plan, const struct relationship *relationship,
                        struct arena *arena)
{
    struct through_plan *through = arena_zero(arena, 1, sizeof(*through));
    if (through == NULL) {
        return -CODE_OVERLOADED;
    }
    plan_join(&through->source, through->terms[0], relationship->through,
              &relationship->through_source);
    plan_join(&through->destination, through->terms[1], relationship->destination,
              &relationship->destination_fields);
    through->term_count = relationship->through_source.count;
    /* Another pair may still lead to the same record where it is not by its key. */
    through->unique = through->destination.kind == ACCESS_POINTS && pairs_unique(relationship);
    plan->through = through;
    return 0;
}

int search_plan(struct search_spec *spec, struct arena *arena)
{
    CHECK(spec->filter_count <= SEARCH_FILTERS_MAX);
    struct plan *plan = arena_zero(arena, 1, sizeof(*plan));
    if (plan == NULL || make_keys(plan, spec, arena) != 0) {
        return -CODE_OVERLOADED;
    }
    if (spec->through != NULL) {
        if (plan_through(plan, spec->through, arena) != 0) {
            return -CODE_OVERLOADED;
        }
        spec->plan = plan;
        return 0;
    }
    struct terms terms = {.list = plan->terms};
    if (spec->join != NULL) {
        add_join_terms(&terms, spec->join);
    }
    for (unsigned i = 0; i < spec->filter_count; i++) {
        if (add_filter_terms(&terms, spec->filters[i], i)) {
            plan->plain_filters |= (uint8_t)(1u << i);
        }
    }
    plan->term_count = terms.count;
    add_ways(plan, spec, &terms);
    for (unsigned i = 0; i < plan->access_count; i++) {
        mark_used(plan->terms, &plan->accesses[i]);
        find_covered(&plan->accesses[i], plan);
    }
    spec->plan = plan;
    return 0;
}

/* ---- In words ---- */

static void describe_access(const struct access *access, const struct resource *resource, char *out,
                            size_t out_size)
{
    switch (access->kind) {
    case ACCESS_SCAN:
        snprintf(out, out_size, "scan");
        return;
    case ACCESS_POINTS:
        if (access->identity == NULL) {
            snprintf(out, out_size, "primary_key");
        } else {
            snprintf(out, out_size, "identity %s", access->identity->name);
        }
        return;
    case ACCESS_RANGES:
        break;
    }
    size_t at = (size_t)snprintf(out, out_size, "index [");
    for (unsigned i = 0; i < access->fields->count && at < out_size; i++) {
        at += (size_t)snprintf(out + at, out_size - at, "%s%s", i > 0 ? " " : "",
                               resource->fields[access->fields->fields[i]].name);
    }
    if (at < out_size) {
        snprintf(out + at, out_size - at, "]");
    }
}

void search_plan_describe(const struct search_spec *spec, char *out, size_t out_size)
{
    const struct plan *plan = spec->plan;
    if (plan->through == NULL) {
        describe_access(&plan->accesses[0], spec->resource, out, out_size);
        return;
    }
    size_t at = (size_t)snprintf(out, out_size, "through %s ", spec->through->through->name);
    if (at < out_size) {
        describe_access(&plan->through->source, spec->through->through, out + at, out_size - at);
    }
}

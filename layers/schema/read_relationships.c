#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "layers/schema/reading.h"
#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/name.h"

enum { WHAT_MAX = 192 };

/* ---- Names, kinds and destinations ---- */

enum rule_place {
    PLACE_BELONGS_TO,
    PLACE_HAS_ONE,
    PLACE_HAS_MANY,
    PLACE_MANY_TO_MANY,
    PLACE_SOURCE_FIELD,
    PLACE_DESTINATION_FIELD,
    PLACE_THROUGH,
    PLACE_SOURCE_FIELD_ON_THROUGH,
    PLACE_DESTINATION_FIELD_ON_THROUGH,
    PLACE_FILTER,
    PLACE_SORT,
    PLACE_LIMIT,
    PLACE_OFFSET,
    PLACE_MANUAL,
    PLACE_BATCH,
    PLACE_COUNT
};

static const struct key_rule relationship_rules[] = {
    [PLACE_BELONGS_TO] = {"belongs_to", false},
    [PLACE_HAS_ONE] = {"has_one", false},
    [PLACE_HAS_MANY] = {"has_many", false},
    [PLACE_MANY_TO_MANY] = {"many_to_many", false},
    [PLACE_SOURCE_FIELD] = {"source_field", false},
    [PLACE_DESTINATION_FIELD] = {"destination_field", false},
    [PLACE_THROUGH] = {"through", false},
    [PLACE_SOURCE_FIELD_ON_THROUGH] = {"source_field_on_through", false},
    [PLACE_DESTINATION_FIELD_ON_THROUGH] = {"destination_field_on_through", false},
    [PLACE_FILTER] = {"filter", false},
    [PLACE_SORT] = {"sort", false},
    [PLACE_LIMIT] = {"limit", false},
    [PLACE_OFFSET] = {"offset", false},
    [PLACE_MANUAL] = {"manual", false},
    [PLACE_BATCH] = {"batch", false},
    {"cache", true},
    {"depends_on", true},
    {"source_fields", true},
    {"query", true},
    {"returns", true},
    {"actor", true},
};
static const enum relationship_kind kind_of_place[] = {
    [PLACE_BELONGS_TO] = BELONGS_TO,
    [PLACE_HAS_ONE] = HAS_ONE,
    [PLACE_HAS_MANY] = HAS_MANY,
    [PLACE_MANY_TO_MANY] = MANY_TO_MANY,
};

static const struct resource *take_resource(struct reading *reading, const struct node *node,
                                            const char *what)
{
    char came[DESCRIBE_NODE_MAX];
    struct error error = ERROR_INIT;
    if (!is_text_node(node)) {
        fault_at(reading, node, "%s: expected the name of a resource, got %s", what,
                 describe_node(node, came));
        return NULL;
    }
    const struct resource *resource = schema_resource(reading->schema, node->text, node->size);
    if (resource == NULL) {
        if (faults_open(&reading->faults)) {
            schema_need_resource(reading->schema, node->text, node->size, &error);
        }
        fault_at(reading, node, "%s: %s", what, error.message);
    }
    return resource;
}

/* Exactly one of the four kinds. */
static bool take_kind(struct reading *reading, struct relationship_source *source,
                      const struct node *const *values, struct relationship *relationship)
{
    unsigned found = 0;
    for (unsigned i = PLACE_BELONGS_TO; i <= PLACE_MANY_TO_MANY; i++) {
        if (values[i] != NULL) {
            found++;
            relationship->kind = kind_of_place[i];
            source->destination = values[i];
        }
    }
    if (found != 1) {
        fault_at(reading, source->key,
                 "relationship %s needs %s of belongs_to, has_one, has_many, many_to_many",
                 relationship->name, found == 0 ? "one" : "only one");
    }
    relationship->to_one = relationship->kind == BELONGS_TO || relationship->kind == HAS_ONE;
    return found == 1;
}

static void keep_nodes(struct relationship_source *source, const struct node *const *values)
{
    source->source_field = values[PLACE_SOURCE_FIELD];
    source->destination_field = values[PLACE_DESTINATION_FIELD];
    source->through = values[PLACE_THROUGH];
    source->source_field_on_through = values[PLACE_SOURCE_FIELD_ON_THROUGH];
    source->destination_field_on_through = values[PLACE_DESTINATION_FIELD_ON_THROUGH];
    source->filter = values[PLACE_FILTER];
    source->sort = values[PLACE_SORT];
    source->limit = values[PLACE_LIMIT];
    source->offset = values[PLACE_OFFSET];
    source->manual = values[PLACE_MANUAL];
    source->batch = values[PLACE_BATCH];
}

static void declare_body(struct reading *reading, struct relationship *relationship,
                         struct relationship_source *source)
{
    const struct node *values[ARRAY_COUNT(relationship_rules)];
    if (!take_map(reading, source->body, "relationship", relationship_rules,
                  ARRAY_COUNT(relationship_rules), values)) {
        return;
    }
    keep_nodes(source, values);
    if (!take_kind(reading, source, values, relationship)) {
        return;
    }
    relationship->destination =
        take_resource(reading, source->destination, relationship_kind_name(relationship->kind));
    source->sound = relationship->destination != NULL;
}

static void declare_relationship(struct reading *reading, struct resource *resource,
                                 struct resource_source *resource_source, uint32_t pair)
{
    const struct node *key = map_key(resource_source->relationships, pair);
    if (!take_name(reading, key, "a relationship")) {
        return;
    }
    if (resource_field(resource, key->text, key->size) != NULL) {
        fault_at(reading, key, "%s has a field %.63s already: name the relationship otherwise",
                 resource->name, key->text);
        return;
    }
    uint16_t position = resource->relationship_count;
    struct relationship *relationship = &resource->relationships[position];
    struct relationship_source *source = &resource_source->relationship_sources[position];
    *source = (struct relationship_source){.key = key,
                                           .body = map_value(resource_source->relationships, pair)};
    *relationship = (struct relationship){
        .name = arena_text(reading->model, key->text, key->size),
        .name_size = (uint8_t)key->size,
        .position = position,
        .number = reading->schema->relationship_count,
        .source = resource,
    };
    if (relationship->name == NULL) {
        return;
    }
    relationship->full_name = join_names(reading->model, resource->name, relationship->name);
    relationship->name_bytes =
        encode_name(reading, relationship->name, &relationship->name_bytes_size);
    resource->relationship_count++;
    reading->schema->relationship_count++;
    declare_body(reading, relationship, source);
}

static void declare_relationships(struct reading *reading, struct resource *resource,
                                  struct resource_source *source)
{
    uint32_t count;
    if (resource->names.slots == NULL ||
        !take_names(reading, source->relationships, "relationships", RELATIONSHIPS_MAX, &count)) {
        return;
    }
    resource->relationships = arena_zero(reading->model, count, sizeof(*resource->relationships));
    source->relationship_sources =
        arena_zero(reading->scratch, count, sizeof(*source->relationship_sources));
    if (resource->relationships == NULL || source->relationship_sources == NULL) {
        return;
    }
    for (uint32_t i = 0; i < count && !reading->model->failed; i++) {
        declare_relationship(reading, resource, source, i);
    }
}

/* ---- Joins ---- */

static bool is_sound(const struct reading *reading, const struct resource *resource)
{
    return reading->sources[resource->position].sound;
}

/* A default join field: a single one with that name, if it is there. */
static bool take_default(struct reading *reading, const struct relationship_source *source,
                         const struct resource *resource, const char *name, const char *option,
                         struct field_list *out)
{
    const struct field *field = resource_field(resource, name, strlen(name));
    if (field == NULL) {
        /* Whether a broken field was meant cannot be known. */
        if (is_sound(reading, resource)) {
            fault_at(reading, source->key,
                     "relationship %s: %s has no field %s, the default; say \"%s:\"",
                     source->key->text, resource->name, name, option);
        }
        return false;
    }
    *out = (struct field_list){.count = 1, .fields = {field->position}};
    return reading->sources[resource->position].field_sound[field->position];
}

/* `<name>_id`, in a room of its own. */
static const char *id_of(const char *name, char out[NAME_MAX_BYTES + 8])
{
    snprintf(out, NAME_MAX_BYTES + 8, "%s_id", name);
    return out;
}

static bool take_join_side(struct reading *reading, const struct relationship_source *source,
                           const struct node *given, const char *option,
                           const struct resource *resource, const char *default_name,
                           struct field_list *out)
{
    char what[WHAT_MAX];
    if (given != NULL) {
        snprintf(what, sizeof(what), "%s of relationship %s", option, source->key->text);
        return resource->field_count > 0 && take_field_list(reading, given, resource, what, out);
    }
    if (default_name != NULL) {
        return take_default(reading, source, resource, default_name, option, out);
    }
    *out = resource->primary_key;
    return is_sound(reading, resource);
}

/* Keys join by their stored bytes: texts of all kinds are alike, all else only
 * meets its own type. */
static bool joins(const struct field *a, const struct field *b)
{
    enum value_kind left = type_value_kind(a->type.kind), right = type_value_kind(b->type.kind);
    return left == right && left != VALUE_ANY;
}

static bool check_join(struct reading *reading, const struct relationship_source *source,
                       const struct resource *left_resource, const struct field_list *left,
                       const struct resource *right_resource, const struct field_list *right)
{
    if (left->count != right->count) {
        fault_at(reading, source->key,
                 "relationship %s: %u field%s of %s cannot be joined to %u of %s: name as many on "
                 "both sides",
                 source->key->text, left->count, left->count == 1 ? "" : "s", left_resource->name,
                 right->count, right_resource->name);
        return false;
    }
    for (unsigned i = 0; i < left->count; i++) {
        const struct field *a = &left_resource->fields[left->fields[i]];
        const struct field *b = &right_resource->fields[right->fields[i]];
        if (!joins(a, b)) {
            fault_at(reading, source->key,
                     "relationship %s: %s.%s (%s) cannot be joined to %s.%s (%s): their types "
                     "differ, or have no keys",
                     source->key->text, left_resource->name, a->name, type_name(a->type.kind),
                     right_resource->name, b->name, type_name(b->type.kind));
            return false;
        }
    }
    return true;
}

static bool resolve_direct(struct reading *reading, struct relationship *relationship,
                           const struct relationship_source *source)
{
    const struct resource *from = relationship->source, *to = relationship->destination;
    char id[NAME_MAX_BYTES + 8];
    bool belongs = relationship->kind == BELONGS_TO;
    id_of(belongs ? relationship->name : from->name, id);
    bool sound = take_join_side(reading, source, source->source_field, "source_field", from,
                                belongs ? id : NULL, &relationship->source_fields);
    sound = take_join_side(reading, source, source->destination_field, "destination_field", to,
                           belongs ? NULL : id, &relationship->destination_fields) &&
            sound;
    return sound && check_join(reading, source, from, &relationship->source_fields, to,
                               &relationship->destination_fields);
}

static bool check_self_join(struct reading *reading, const struct relationship *relationship,
                            const struct relationship_source *source)
{
    if (relationship->source != relationship->destination ||
        (source->source_field_on_through != NULL && source->destination_field_on_through != NULL)) {
        return true;
    }
    fault_at(reading, source->key,
             "relationship %s leads from %s to itself: say both \"source_field_on_through:\" and "
             "\"destination_field_on_through:\"",
             relationship->name, relationship->source->name);
    return false;
}

static bool resolve_through(struct reading *reading, struct relationship *relationship,
                            const struct relationship_source *source)
{
    const struct resource *from = relationship->source, *to = relationship->destination;
    char from_id[NAME_MAX_BYTES + 8], to_id[NAME_MAX_BYTES + 8];
    if (source->through == NULL) {
        fault_at(reading, source->key,
                 "relationship %s is many_to_many and needs \"through:\", the resource between",
                 relationship->name);
        return false;
    }
    const struct resource *through = take_resource(reading, source->through, "through");
    if (through == NULL || !check_self_join(reading, relationship, source)) {
        return false;
    }
    relationship->through = through;
    bool sound = take_join_side(reading, source, source->source_field, "source_field", from, NULL,
                                &relationship->source_fields);
    sound = take_join_side(reading, source, source->destination_field, "destination_field", to,
                           NULL, &relationship->destination_fields) &&
            sound;
    sound =
        take_join_side(reading, source, source->source_field_on_through, "source_field_on_through",
                       through, id_of(from->name, from_id), &relationship->through_source) &&
        sound;
    sound = take_join_side(reading, source, source->destination_field_on_through,
                           "destination_field_on_through", through, id_of(to->name, to_id),
                           &relationship->through_destination) &&
            sound;
    return sound &&
           check_join(reading, source, from, &relationship->source_fields, through,
                      &relationship->through_source) &&
           check_join(reading, source, through, &relationship->through_destination, to,
                      &relationship->destination_fields);
}

/* ---- Options ---- */

/* Options that mean nothing beside what else is said. */
static void refuse_option(struct reading *reading, const struct node *node, const char *option,
                          const char *where)
{
    if (node != NULL) {
        fault_at(reading, node, "%s means nothing %s: leave it out", option, where);
    }
}

static void refuse_through_options(struct reading *reading,
                                   const struct relationship_source *source, const char *where)
{
    refuse_option(reading, source->through, "through", where);
    refuse_option(reading, source->source_field_on_through, "source_field_on_through", where);
    refuse_option(reading, source->destination_field_on_through, "destination_field_on_through",
                  where);
}

/* `manual: {filter: ...}`; the other loaders come later. */
static bool resolve_manual(struct reading *reading, struct relationship *relationship,
                           struct relationship_source *source)
{
    static const struct key_rule rules[] = {
        {"filter", false}, {"module", true}, {"remote", true}, {"options", true}};
    static const char where[] = "beside manual";
    const struct node *values[ARRAY_COUNT(rules)];
    const struct node *manual = source->manual;
    relationship->manual = true;
    refuse_option(reading, source->source_field, "source_field", where);
    refuse_option(reading, source->destination_field, "destination_field", where);
    refuse_through_options(reading, source, where);
    if (relationship->kind != HAS_ONE && relationship->kind != HAS_MANY) {
        fault_at(reading, source->key, "manual stands on a has_one or has_many, %s is %s",
                 relationship->name, relationship_kind_name(relationship->kind));
        return false;
    }
    if (is_text_node(manual) && strcmp(manual->text, "remote") == 0) {
        fault_at(reading, manual, "\"remote\" is not supported yet");
        return false;
    }
    if (!take_map(reading, manual, "manual relationship's loader", rules, ARRAY_COUNT(rules),
                  values)) {
        return false;
    }
    source->loader_filter = values[0];
    relationship->loader = LOADER_FILTER;
    if (manual->count == 0) {
        fault_at(reading, manual, "a loader is missing: {filter: ...}");
    }
    return values[0] != NULL;
}

static void resolve_relationship(struct reading *reading, struct relationship *relationship,
                                 struct relationship_source *source)
{
    relationship->has_limit = source->limit != NULL && !is_nil_node(source->limit);
    if (relationship->has_limit) {
        relationship->limit = take_natural(reading, source->limit, "limit", 0, INT64_MAX, 0);
    }
    relationship->offset = take_natural(reading, source->offset, "offset", 0, INT64_MAX, 0);
    read_batch(reading, source->batch, &relationship->batch);
    if (!source->sound) {
        return;
    }
    if (source->manual != NULL) {
        source->sound = resolve_manual(reading, relationship, source);
    } else if (relationship->kind == MANY_TO_MANY) {
        source->sound = resolve_through(reading, relationship, source);
    } else {
        refuse_through_options(reading, source, "but on many_to_many");
        source->sound = resolve_direct(reading, relationship, source);
    }
}

static uint64_t take_measure(struct reading *reading, const struct node *node, const char *option,
                             bool (*read)(const struct node *, uint64_t *), const char *example,
                             uint64_t least, uint64_t most, uint64_t otherwise)
{
    uint64_t value;
    char came[DESCRIBE_NODE_MAX];
    if (node == NULL) {
        return otherwise;
    }
    if (!read(node, &value)) {
        fault_at(reading, node, "\"%s\" is %s, got %s", option, example, describe_node(node, came));
        return otherwise;
    }
    if (value < least || value > most) {
        fault_at(reading, node, "\"%s\" is out of range: %s", option, example);
        return otherwise;
    }
    return value;
}

enum { BATCH_KEYS_MAX = 1000000, BATCHES_IN_FLIGHT_MAX = 10000 };
static const uint64_t batch_bytes_max = UINT64_C(1) << 30;
static const uint64_t window_us_max = 60 * 1000000;
static const uint64_t timeout_us_max = UINT64_C(86400) * 1000000;

void read_batch(struct reading *reading, const struct node *node, struct batch_limits *out)
{
    static const struct key_rule rules[] = {{"max_size", false},
                                            {"max_bytes", false},
                                            {"max_in_flight", false},
                                            {"window", false},
                                            {"timeout", false}};
    const struct node *values[ARRAY_COUNT(rules)];
    *out = (struct batch_limits){.max_size = 1000,
                                 .max_bytes = 1024 * 1024,
                                 .max_in_flight = 4,
                                 .window_us = 0,
                                 .timeout_us = 5 * 1000000};
    if (node == NULL || is_nil_node(node) ||
        !take_map(reading, node, "batch", rules, ARRAY_COUNT(rules), values)) {
        return;
    }
    out->max_size =
        (uint32_t)take_natural(reading, values[0], "max_size", 1, BATCH_KEYS_MAX, out->max_size);
    out->max_bytes = take_measure(reading, values[1], "max_bytes", scalar_size,
                                  "a size from 1KiB to 1GiB such as 1MiB", 1024, batch_bytes_max,
                                  out->max_bytes);
    out->max_in_flight = (uint32_t)take_natural(reading, values[2], "max_in_flight", 1,
                                                BATCHES_IN_FLIGHT_MAX, out->max_in_flight);
    out->window_us =
        take_measure(reading, values[3], "window", scalar_duration,
                     "a duration from 0ms to 1m such as 2ms", 0, window_us_max, out->window_us);
    out->timeout_us =
        take_measure(reading, values[4], "timeout", scalar_duration,
                     "a duration from 1ms to 1d such as 5s", 1000, timeout_us_max, out->timeout_us);
}

void read_relationships(struct reading *reading)
{
    struct schema *schema = reading->schema;
    for (unsigned i = 0; i < schema->resource_count && !reading->model->failed; i++) {
        declare_relationships(reading, &schema->resources[i], &reading->sources[i]);
    }
    for (unsigned i = 0; i < schema->resource_count && !reading->model->failed; i++) {
        struct resource *resource = &schema->resources[i];
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            struct relationship *relationship = &resource->relationships[j];
            struct relationship_source *source = &reading->sources[i].relationship_sources[j];
            resolve_relationship(reading, relationship, source);
            if (source->sound) {
                /* Expressions find only what can be followed. */
                name_table_put(&resource->names, relationship->name, relationship->name_size,
                               (uint16_t)(resource->field_count + j));
            }
        }
    }
}

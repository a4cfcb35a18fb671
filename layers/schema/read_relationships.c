#include <stdio.h>
#include <string.h>

#include "layers/schema/reading.h"
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
    PLACE_CACHE,
    PLACE_ACTOR,
    PLACE_SOURCE_FIELDS,
    PLACE_DEPENDS_ON,
    PLACE_QUERY,
    PLACE_RETURNS
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
    [PLACE_CACHE] = {"cache", false},
    [PLACE_ACTOR] = {"actor", false},
    [PLACE_SOURCE_FIELDS] = {"source_fields", false},
    [PLACE_DEPENDS_ON] = {"depends_on", false},
    [PLACE_QUERY] = {"query", false},
    [PLACE_RETURNS] = {"returns", false},
};
static const enum relationship_kind kind_of_place[] = {
    [PLACE_BELONGS_TO] = BELONGS_TO,
    [PLACE_HAS_ONE] = HAS_ONE,
    [PLACE_HAS_MANY] = HAS_MANY,
    [PLACE_MANY_TO_MANY] = MANY_TO_MANY,
};

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
    source->cache = values[PLACE_CACHE];
    source->actor = values[PLACE_ACTOR];
    source->shown_fields = values[PLACE_SOURCE_FIELDS];
    source->depends_on = values[PLACE_DEPENDS_ON];
    source->query = values[PLACE_QUERY];
    source->returns = values[PLACE_RETURNS];
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

bool fields_meet(const struct field *a, const struct field *b)
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
        if (!fields_meet(a, b)) {
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

static void refuse_through_options(struct reading *reading,
                                   const struct relationship_source *source, const char *where)
{
    refuse_option(reading, source->through, "through", where);
    refuse_option(reading, source->source_field_on_through, "source_field_on_through", where);
    refuse_option(reading, source->destination_field_on_through, "destination_field_on_through",
                  where);
}

static void refuse_join_options(struct reading *reading, const struct relationship_source *source)
{
    static const char where[] = "beside manual";
    refuse_option(reading, source->source_field, "source_field", where);
    refuse_option(reading, source->destination_field, "destination_field", where);
    refuse_through_options(reading, source, where);
}

static void resolve_relationship(struct reading *reading, struct relationship *relationship,
                                 struct relationship_source *source)
{
    read_loading(reading, source, relationship);
    if (!source->sound) {
        return;
    }
    if (source->manual != NULL) {
        refuse_join_options(reading, source);
        source->sound = read_manual(reading, source, relationship);
        return;
    }
    refuse_outside_options(reading, source);
    if (relationship->kind == MANY_TO_MANY) {
        source->sound = resolve_through(reading, relationship, source);
    } else {
        refuse_through_options(reading, source, "but on many_to_many");
        source->sound = resolve_direct(reading, relationship, source);
    }
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

#include <stdio.h>
#include <string.h>

#include "layers/schema/reading.h"
#include "protocol/base/check.h"
#include "protocol/base/name.h"
#include "protocol/msgpack/reader.h"

enum { WHAT_MAX = 96 };

/* ---- Resources ---- */

static void read_resource_keys(struct reading *reading, struct resource *resource,
                               struct resource_source *source)
{
    static const struct key_rule rules[] = {
        {"layer", false},       {"primary_key", false},   {"fields", false},  {"identities", false},
        {"indexes", false},     {"relationships", false}, {"policies", true}, {"policy_mode", true},
        {"multitenancy", true}, {"redis", false},         {"ttl", false},     {"max_bytes", false},
        {"eviction", true},     {"snapshot", true},
    };
    const struct node *values[ARRAY_COUNT(rules)];
    if (!take_map(reading, source->body, "resource", rules, ARRAY_COUNT(rules), values)) {
        return;
    }
    source->layer = values[0];
    source->primary_key = values[1];
    source->fields = values[2];
    source->identities = values[3];
    source->indexes = values[4];
    source->relationships = values[5];
    source->redis = values[9];
    source->ttl = values[10];
    source->max_bytes = values[11];
    read_layer(reading, resource, source);
    if (source->fields == NULL) {
        fault_at(reading, source->key, "resource %s needs \"fields:\"", source->key->text);
    }
    source->sound = source->fields != NULL;
}

static void name_resource(struct reading *reading, uint16_t position, const struct node *key)
{
    struct resource *resource = &reading->schema->resources[position];
    resource->schema = reading->schema;
    resource->position = position;
    resource->layout = (uint16_t)reading->schema->number;
    resource->name = arena_text(reading->model, key->text, key->size);
    resource->name_size = (uint8_t)key->size;
    if (resource->name != NULL) {
        name_table_put(&reading->schema->names, resource->name, key->size, position);
    }
}

static void read_version(struct reading *reading, const struct node *root,
                         const struct node *version)
{
    if (version == NULL) {
        fault_at(reading, root, "the schema needs \"version: 1\"");
    } else if (version->kind != NODE_SCALAR || !version->plain || strcmp(version->text, "1") != 0) {
        char came[DESCRIBE_NODE_MAX];
        fault_at(reading, version, "the version is 1, got %s", describe_node(version, came));
    }
}

void read_resources(struct reading *reading, const struct node *root)
{
    static const struct key_rule rules[] = {{"version", false}, {"resources", false}};
    const struct node *values[ARRAY_COUNT(rules)];
    struct schema *schema = reading->schema;
    uint32_t count;
    if (!take_map(reading, root, "schema file", rules, ARRAY_COUNT(rules), values)) {
        return;
    }
    read_version(reading, root, values[0]);
    if (values[1] == NULL) {
        fault_at(reading, root, "the schema needs \"resources:\"");
        return;
    }
    if (!take_names(reading, values[1], "resources", RESOURCES_MAX, &count)) {
        return;
    }
    schema->resources = arena_zero(reading->model, count, sizeof(*schema->resources));
    reading->sources = arena_zero(reading->scratch, count, sizeof(*reading->sources));
    if (schema->resources == NULL || reading->sources == NULL ||
        name_table_init(&schema->names, reading->model, count) != 0) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct node *key = map_key(values[1], i);
        struct resource_source *source = &reading->sources[schema->resource_count];
        if (take_name(reading, key, "a resource")) {
            *source = (struct resource_source){.key = key, .body = map_value(values[1], i)};
            name_resource(reading, schema->resource_count, key);
            read_resource_keys(reading, &schema->resources[schema->resource_count], source);
            schema->resource_count++;
        }
    }
}

/* ---- Fields ---- */

static void refuse_default(struct reading *reading, const struct node *node,
                           const struct field *field, const struct error *error)
{
    bool wants_text = type_value_kind(field->type.kind) == VALUE_TEXT;
    fault_at(reading, node, "the default of %s: %s%s", field->name, error->message,
             wants_text && node->kind == NODE_SCALAR && !is_text_node(node) && !is_nil_node(node)
                 ? " (put it in quotes)"
                 : "");
}

static void read_default(struct reading *reading, const struct node *node, struct field *field)
{
    if (is_nil_node(node)) {
        if (field->required) {
            fault_at(reading, node, "%s is required, so its default cannot be nil", field->name);
        }
        return;
    }
    struct buffer given = BUFFER_INIT, stored = BUFFER_INIT;
    struct error error = ERROR_INIT;
    bool encoded = encode_node(reading, node, &given);
    struct reader in = reader_of(given.bytes, given.size);
    if (given.failed) {
        reading->model->failed = 1;
    } else if (encoded && type_take(&field->type, &in, &stored, &error) != 0) {
        refuse_default(reading, node, field, &error);
    } else if (stored.failed) {
        reading->model->failed = 1;
    } else if (encoded) {
        field->initial = arena_copy(reading->model, stored.bytes, stored.size);
        field->initial_size = (uint32_t)stored.size;
    }
    buffer_release(&given);
    buffer_release(&stored);
}

/* `name: TYPE`, or `name: {type: TYPE, required: true, default: 5}`. */
static bool read_field(struct reading *reading, const struct node *node, struct field *field,
                       const struct node **stored_as)
{
    static const struct key_rule rules[] = {{"type", false},    {"required", false},
                                            {"default", false}, {"enum", false},
                                            {"list", true},     {"stored_as", false}};
    const struct node *values[ARRAY_COUNT(rules)];
    if (node->kind != NODE_MAP) {
        return read_type(reading, node, &field->type);
    }
    if (node->count == 1 && (strcmp(map_key(node, 0)->text, "enum") == 0 ||
                             strcmp(map_key(node, 0)->text, "list") == 0)) {
        return read_type(reading, node, &field->type);
    }
    if (!take_map(reading, node, "field", rules, ARRAY_COUNT(rules), values)) {
        return false;
    }
    *stored_as = values[5];
    if (values[3] != NULL) {
        fault_at(reading, node,
                 "beside other options an enum stands under type: {type: {enum: [...]}, ...}");
        return false;
    }
    if (values[0] == NULL) {
        fault_at(reading, node, "field %s needs a type: {type: integer, ...}", field->name);
        return false;
    }
    if (!read_type(reading, values[0], &field->type)) {
        return false;
    }
    if (field->in_primary_key && !take_boolean(reading, values[1], "required", true)) {
        fault_at(reading, values[1], "%s is of the primary key, so it is always required",
                 field->name);
    }
    field->required = field->in_primary_key || take_boolean(reading, values[1], "required", false);
    if (values[2] != NULL) {
        read_default(reading, values[2], field);
    }
    return true;
}

/* Whether the primary key, as it is written, names the field: asked before the
 * fields are known. */
static bool names_field(const struct node *primary_key, const char *name)
{
    if (primary_key == NULL) {
        return strcmp(name, "id") == 0;
    }
    if (primary_key->kind == NODE_SCALAR) {
        return strcmp(primary_key->text, name) == 0;
    }
    for (uint32_t i = 0; primary_key->kind == NODE_LIST && i < primary_key->count; i++) {
        const struct node *item = primary_key->items[i];
        if (item->kind == NODE_SCALAR && strcmp(item->text, name) == 0) {
            return true;
        }
    }
    return false;
}

static void declare_field(struct reading *reading, struct resource *resource,
                          struct resource_source *source, uint32_t pair)
{
    const struct node *key = map_key(source->fields, pair);
    if (!take_name(reading, key, "a field")) {
        source->sound = false;
        return;
    }
    struct field *field = &resource->fields[resource->field_count];
    field->name = arena_text(reading->model, key->text, key->size);
    if (field->name == NULL) {
        return;
    }
    field->name_size = (uint8_t)key->size;
    field->position = resource->field_count;
    field->stored_as = field->name;
    field->stored_as_size = field->name_size;
    field->name_bytes = encode_name(reading, field->name, &field->name_bytes_size);
    field->in_primary_key = names_field(source->primary_key, field->name);
    field->required = field->in_primary_key;
    name_table_put(&resource->names, field->name, field->name_size, field->position);
    bool sound = read_field(reading, map_value(source->fields, pair), field,
                            &source->stored_as[field->position]);
    if (!sound) {
        /* It is there, but nothing can be said about it. */
        field->type = (struct type){.kind = TYPE_ANY};
        source->sound = false;
    }
    source->field_sound[field->position] = sound;
    resource->field_count++;
}

static void read_resource_fields(struct reading *reading, struct resource *resource,
                                 struct resource_source *source)
{
    uint32_t count, relationships;
    if (source->fields == NULL) {
        return;
    }
    if (!take_names(reading, source->fields, "fields", FIELDS_MAX, &count)) {
        source->sound = false;
        return;
    }
    if (count == 0) {
        fault_at(reading, source->fields, "resource %s needs at least one field", resource->name);
        source->sound = false;
        return;
    }
    relationships = source->relationships != NULL && source->relationships->kind == NODE_MAP
                        ? source->relationships->count
                        : 0;
    if (relationships > RELATIONSHIPS_MAX) {
        relationships = 0;
    }
    resource->fields = arena_zero(reading->model, count, sizeof(*resource->fields));
    source->field_sound = arena_zero(reading->scratch, count, sizeof(bool));
    source->stored_as = arena_zero(reading->scratch, count, sizeof(*source->stored_as));
    if (resource->fields == NULL || source->field_sound == NULL || source->stored_as == NULL ||
        name_table_init(&resource->names, reading->model, count + relationships) != 0) {
        return;
    }
    for (uint32_t i = 0; i < count && !reading->model->failed; i++) {
        declare_field(reading, resource, source, i);
    }
}

/* ---- Primary key, identities, indexes ---- */

static bool check_indexable(struct reading *reading, const struct node *node,
                            const struct resource *resource, const char *what,
                            const struct field_list *list)
{
    bool sound = true;
    for (unsigned i = 0; i < list->count; i++) {
        const struct field *field = &resource->fields[list->fields[i]];
        if (!type_indexable(field->type.kind)) {
            const struct node *place = node->kind == NODE_LIST ? node->items[i] : node;
            fault_at(reading, place,
                     "%s: %s is of type %s; it may be of every type but float, boolean and any",
                     what, field->name, type_name(field->type.kind));
            sound = false;
        }
    }
    return sound;
}

static bool take_key_fields(struct reading *reading, const struct node *node,
                            const struct resource *resource, const char *what,
                            struct field_list *out)
{
    return take_field_list(reading, node, resource, what, out) &&
           check_indexable(reading, node, resource, what, out);
}

static void read_primary_key(struct reading *reading, struct resource *resource,
                             struct resource_source *source)
{
    if (resource->field_count == 0) {
        return;
    }
    if (source->primary_key != NULL) {
        source->sound = take_key_fields(reading, source->primary_key, resource, "primary_key",
                                        &resource->primary_key) &&
                        source->sound;
        return;
    }
    const struct field *field = resource_field(resource, "id", 2);
    if (field == NULL) {
        fault_at(reading, source->key,
                 "resource %s has no field id: name its primary key with \"primary_key:\"",
                 resource->name);
        source->sound = false;
        return;
    }
    resource->primary_key = (struct field_list){.count = 1, .fields = {field->position}};
    if (source->field_sound[field->position] && !type_indexable(field->type.kind)) {
        fault_at(reading, source->key,
                 "the primary key of %s: id is of type %s; it may be of every type but float, "
                 "boolean and any",
                 resource->name, type_name(field->type.kind));
        source->sound = false;
    }
}

static void read_identities(struct reading *reading, struct resource *resource,
                            const struct resource_source *source)
{
    uint32_t count;
    if (!take_names(reading, source->identities, "identities", KEY_LISTS_MAX, &count)) {
        return;
    }
    resource->identities = arena_zero(reading->model, count, sizeof(*resource->identities));
    for (uint32_t i = 0; i < count && resource->identities != NULL; i++) {
        const struct node *key = map_key(source->identities, i);
        struct identity *identity = &resource->identities[resource->identity_count];
        char what[WHAT_MAX];
        snprintf(what, sizeof(what), "identity %.63s", key->text);
        if (!take_name(reading, key, "an identity") ||
            !take_key_fields(reading, map_value(source->identities, i), resource, what,
                             &identity->fields)) {
            continue;
        }
        identity->name = arena_text(reading->model, key->text, key->size);
        resource->identity_count++;
    }
}

static void read_indexes(struct reading *reading, struct resource *resource,
                         const struct resource_source *source)
{
    const struct node *node = source->indexes;
    if (node == NULL || is_nil_node(node)) {
        return;
    }
    if (node->kind != NODE_LIST || node->count > KEY_LISTS_MAX) {
        fault_at(reading, node, "indexes are a list of at most %d lists of fields: [[team_id]]",
                 KEY_LISTS_MAX);
        return;
    }
    resource->indexes = arena_zero(reading->model, node->count, sizeof(*resource->indexes));
    for (uint32_t i = 0; i < node->count && resource->indexes != NULL; i++) {
        const struct node *item = node->items[i];
        if (item->kind != NODE_LIST) {
            fault_at(reading, item, "an index is a list of fields: write [%.63s]",
                     item->kind == NODE_SCALAR ? item->text : "team_id");
        } else if (take_key_fields(reading, item, resource, "index",
                                   &resource->indexes[resource->index_count].fields)) {
            resource->index_count++;
        }
    }
}

void read_fields(struct reading *reading)
{
    struct schema *schema = reading->schema;
    for (unsigned i = 0; i < schema->resource_count && !reading->model->failed; i++) {
        struct resource *resource = &schema->resources[i];
        struct resource_source *source = &reading->sources[i];
        read_resource_fields(reading, resource, source);
        read_primary_key(reading, resource, source);
        if (resource->field_count > 0) {
            read_identities(reading, resource, source);
            read_indexes(reading, resource, source);
        }
    }
}

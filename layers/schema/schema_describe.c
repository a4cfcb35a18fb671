#include "layers/schema/schema_describe.h"

#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

static void write_fields_of(struct buffer *out, const struct resource *resource,
                            const struct field_list *list)
{
    write_array(out, list->count);
    for (unsigned i = 0; i < list->count; i++) {
        write_text(out, resource->fields[list->fields[i]].name);
    }
}

/* A name alone where there is one, else the list of them. */
static void write_names(struct buffer *out, const struct resource *resource,
                        const struct field_list *list)
{
    if (list->count == 1) {
        write_text(out, resource->fields[list->fields[0]].name);
    } else {
        write_fields_of(out, resource, list);
    }
}

static void write_field(struct buffer *out, const struct field *field)
{
    bool is_enum = field->type.kind == TYPE_ENUM;
    write_text(out, field->name);
    write_map(out, 2u + is_enum + (field->initial != NULL));
    write_text(out, "type");
    write_text(out, type_name(field->type.kind));
    if (is_enum) {
        write_text(out, "members");
        write_array(out, field->type.member_count);
        for (unsigned i = 0; i < field->type.member_count; i++) {
            write_text(out, field->type.members[i]);
        }
    }
    write_text(out, "required");
    write_boolean(out, field->required);
    if (field->initial != NULL) {
        write_text(out, "default");
        buffer_append(out, field->initial, field->initial_size);
    }
}

static void write_join(struct buffer *out, const struct relationship *relationship)
{
    write_text(out, "source_field");
    write_names(out, relationship->source, &relationship->source_fields);
    write_text(out, "destination_field");
    write_names(out, relationship->destination, &relationship->destination_fields);
    if (relationship->through != NULL) {
        write_text(out, "through");
        write_text(out, relationship->through->name);
        write_text(out, "source_field_on_through");
        write_names(out, relationship->through, &relationship->through_source);
        write_text(out, "destination_field_on_through");
        write_names(out, relationship->through, &relationship->through_destination);
    }
}

/* Options are the loader's own matter, and may name what is not for all. */
static void write_loader(struct buffer *out, const struct relationship *relationship)
{
    CHECK(relationship->loader != LOADER_JOIN);
    write_text(out, "manual");
    write_map(out, 1);
    if (relationship->loader == LOADER_FILTER) {
        write_text(out, "filter");
        write_text(out, relationship->loader_filter_text);
    } else if (relationship->loader == LOADER_MODULE) {
        write_text(out, "module");
        write_text(out, relationship->module_path);
    } else {
        write_text(out, "remote");
        write_boolean(out, true);
    }
}

static void write_actor(struct buffer *out, const struct relationship *relationship)
{
    write_text(out, "actor");
    if (relationship->actor != ACTOR_SOME) {
        write_text(out, relationship->actor == ACTOR_ALL ? "all" : "none");
        return;
    }
    write_array(out, relationship->actor_fact_count);
    for (unsigned i = 0; i < relationship->actor_fact_count; i++) {
        write_text(out, relationship->actor_facts[i]);
    }
}

/* As in the schema file, each resource with its fields, or alone. */
static void write_dependencies(struct buffer *out, const struct relationship *relationship)
{
    write_text(out, "depends_on");
    if (relationship->dependency_count == 0) {
        write_text(out, "none");
        return;
    }
    write_array(out, relationship->dependency_count);
    for (unsigned i = 0; i < relationship->dependency_count; i++) {
        const struct dependency *dependency = &relationship->dependencies[i];
        if (dependency->fields.count == 0) {
            write_text(out, dependency->resource->name);
        } else {
            write_map(out, 1);
            write_text(out, dependency->resource->name);
            write_names(out, dependency->resource, &dependency->fields);
        }
    }
}

/* What a module or a provider is shown, answers and depends on; how many pairs. */
static uint32_t write_outside(struct buffer *out, const struct relationship *relationship)
{
    uint32_t pairs = 3;
    write_actor(out, relationship);
    write_text(out, "query");
    write_text(out, relationship->hint ? "hint" : "daemon");
    write_text(out, "returns");
    write_text(out, relationship->returns_keys ? "keys" : "records");
    if (relationship->shown_fields != NULL) {
        write_text(out, "source_fields");
        write_array(out, relationship->shown_field_count);
        for (unsigned i = 0; i < relationship->shown_field_count; i++) {
            write_text(out, relationship->source->fields[relationship->shown_fields[i]].name);
        }
        pairs++;
    }
    if (relationship->has_dependencies) {
        write_dependencies(out, relationship);
        pairs++;
    }
    return pairs;
}

static void write_cache(struct buffer *out, const struct relationship *relationship)
{
    write_text(out, "cache");
    write_map(out, 3);
    write_text(out, "ttl_us");
    if (relationship->cache_ttl_us > 0) {
        write_unsigned(out, relationship->cache_ttl_us);
    } else {
        write_nil(out);
    }
    write_text(out, "max_bytes");
    write_unsigned(out, relationship->cache_bytes_max);
    write_text(out, "stale_if_error_us");
    write_unsigned(out, relationship->stale_if_error_us);
}

static uint32_t write_limits(struct buffer *out, const struct relationship *relationship)
{
    uint32_t pairs = 0;
    if (relationship->filter_text != NULL) {
        write_text(out, "filter");
        write_text(out, relationship->filter_text);
        pairs++;
    }
    if (relationship->has_limit) {
        write_text(out, "limit");
        write_unsigned(out, relationship->limit);
        pairs++;
    }
    if (relationship->offset > 0) {
        write_text(out, "offset");
        write_unsigned(out, relationship->offset);
        pairs++;
    }
    return pairs;
}

static void write_relationship(struct buffer *out, const struct relationship *relationship)
{
    write_text(out, relationship->name);
    size_t mark = write_open(out);
    uint32_t pairs = 3;
    write_text(out, "kind");
    write_text(out, relationship_kind_name(relationship->kind));
    write_text(out, "destination");
    write_text(out, relationship->destination->name);
    write_text(out, "cardinality");
    write_text(out, relationship->to_one ? "one" : "many");
    if (!relationship->manual) {
        write_join(out, relationship);
        pairs += relationship->through != NULL ? 5 : 2;
    } else {
        write_loader(out, relationship);
        pairs++;
        if (relationship->loader != LOADER_FILTER) {
            pairs += write_outside(out, relationship);
        }
    }
    if (relationship->cached) {
        write_cache(out, relationship);
        pairs++;
    }
    pairs += write_limits(out, relationship);
    write_close_map(out, mark, pairs);
}

static void write_resource(struct buffer *out, const struct resource *resource)
{
    write_text(out, resource->name);
    write_map(out, 6);
    write_text(out, "layer");
    write_text(out, resource->layer == LAYER_REDIS ? "redis" : "memory");
    write_text(out, "primary_key");
    write_names(out, resource, &resource->primary_key);
    write_text(out, "fields");
    write_map(out, resource->field_count);
    for (unsigned i = 0; i < resource->field_count; i++) {
        write_field(out, &resource->fields[i]);
    }
    write_text(out, "identities");
    write_map(out, resource->identity_count);
    for (unsigned i = 0; i < resource->identity_count; i++) {
        write_text(out, resource->identities[i].name);
        write_fields_of(out, resource, &resource->identities[i].fields);
    }
    write_text(out, "indexes");
    write_array(out, resource->index_count);
    for (unsigned i = 0; i < resource->index_count; i++) {
        write_fields_of(out, resource, &resource->indexes[i].fields);
    }
    write_text(out, "relationships");
    write_map(out, resource->relationship_count);
    for (unsigned i = 0; i < resource->relationship_count; i++) {
        write_relationship(out, &resource->relationships[i]);
    }
}

void schema_describe(const struct schema *schema, struct buffer *out)
{
    write_map(out, 1);
    write_text(out, "resources");
    write_map(out, schema->resource_count);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        write_resource(out, &schema->resources[i]);
    }
}

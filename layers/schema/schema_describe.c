#include "layers/schema/schema_describe.h"

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

static void write_relationship(struct buffer *out, const struct relationship *relationship)
{
    bool manual = relationship->manual;
    bool through = relationship->through != NULL;
    uint32_t pairs = 3u + (manual ? 1u : 2u + (through ? 3u : 0u)) +
                     (relationship->filter_text != NULL) + relationship->has_limit +
                     (relationship->offset > 0);
    write_text(out, relationship->name);
    write_map(out, pairs);
    write_text(out, "kind");
    write_text(out, relationship_kind_name(relationship->kind));
    write_text(out, "destination");
    write_text(out, relationship->destination->name);
    write_text(out, "cardinality");
    write_text(out, relationship->to_one ? "one" : "many");
    if (manual) {
        write_text(out, "manual");
        write_map(out, 1);
        write_text(out, "filter");
        write_text(out, relationship->loader_filter_text);
    } else {
        write_join(out, relationship);
    }
    if (relationship->filter_text != NULL) {
        write_text(out, "filter");
        write_text(out, relationship->filter_text);
    }
    if (relationship->has_limit) {
        write_text(out, "limit");
        write_unsigned(out, relationship->limit);
    }
    if (relationship->offset > 0) {
        write_text(out, "offset");
        write_unsigned(out, relationship->offset);
    }
}

static void write_resource(struct buffer *out, const struct resource *resource)
{
    write_text(out, resource->name);
    write_map(out, 6);
    write_text(out, "layer");
    write_text(out, "memory");
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

/*
 * Schema files: whatever the bytes, schema_read answers a schema whose parts
 * hold together, or lines that say what is wrong, in bounded time and without
 * a leak.
 */
#include <stdint.h>
#include <string.h>

#include "layers/schema/schema_file.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fields(const struct resource *resource, const struct field_list *fields)
{
    CHECK(fields->count > 0 && fields->count <= KEY_FIELDS_MAX);
    for (unsigned i = 0; i < fields->count; i++) {
        CHECK(fields->fields[i] < resource->field_count);
    }
}

static void check_field(const struct resource *resource, const struct field *field)
{
    CHECK(resource_field(resource, field->name, field->name_size) == field);
    CHECK(field->stored_as_size > 0 && strlen(field->stored_as) == field->stored_as_size);
    if (field->initial == NULL) {
        return;
    }
    struct reader in = reader_of(field->initial, field->initial_size);
    CHECK(reader_skip(&in) && in.at == in.end);
}

static void check_loader(const struct relationship *relationship)
{
    CHECK((relationship->loader_filter != NULL) == (relationship->loader == LOADER_FILTER));
    CHECK((relationship->module_path != NULL) == (relationship->loader == LOADER_MODULE));
    if (relationship->loader == LOADER_FILTER) {
        return;
    }
    struct reader in = reader_of(relationship->options, relationship->options_size);
    CHECK(reader_peek(&in) == TOKEN_MAP && reader_skip(&in) && in.at == in.end);
    CHECK((relationship->actor == ACTOR_SOME) == (relationship->actor_fact_count > 0));
    for (unsigned i = 0; i < relationship->shown_field_count; i++) {
        CHECK(relationship->shown_fields[i] < relationship->source->field_count);
    }
    for (unsigned i = 0; i < relationship->dependency_count; i++) {
        const struct dependency *dependency = &relationship->dependencies[i];
        if (dependency->fields.count > 0) {
            check_fields(dependency->resource, &dependency->fields);
            CHECK(dependency->fields.count == relationship->source->primary_key.count);
        }
    }
}

static void check_relationship(const struct relationship *relationship)
{
    const struct resource *source = relationship->source, *destination = relationship->destination;
    CHECK(resource_relationship(source, relationship->name, relationship->name_size) ==
          relationship);
    CHECK(destination != NULL && relationship->full_name != NULL);
    CHECK(relationship->manual == (relationship->loader != LOADER_JOIN));
    if (relationship->manual) {
        check_loader(relationship);
        return;
    }
    check_fields(source, &relationship->source_fields);
    check_fields(destination, &relationship->destination_fields);
    if (relationship->through != NULL) {
        check_fields(relationship->through, &relationship->through_source);
        check_fields(relationship->through, &relationship->through_destination);
    }
}

/* Values and texts in turn, each field of the primary key once. */
static void check_redis_options(const struct resource *resource)
{
    const struct redis_options *redis = resource->redis;
    unsigned values = 0;
    CHECK(redis->home != NULL && redis->key_part_count <= KEY_PARTS_MAX);
    for (unsigned i = 0; i < redis->key_part_count; i++) {
        const struct key_part *part = &redis->key_parts[i];
        CHECK(i == 0 || (part->text == NULL) != (part[-1].text == NULL));
        values += part->text == NULL;
        CHECK(part->text == NULL ? resource->fields[part->field].in_primary_key
                                 : part->size > 0 && strlen(part->text) == part->size);
    }
    CHECK(values == resource->primary_key.count);
    CHECK(redis->only_relata || resource->identity_count == 0);
    CHECK(redis->only_relata || redis->resident || resource->index_count == 0);
}

static void check_resource(const struct resource *resource)
{
    CHECK((resource->layer == LAYER_REDIS) == (resource->redis != NULL));
    if (resource->redis != NULL) {
        check_redis_options(resource);
    }
    CHECK(schema_resource(resource->schema, resource->name, resource->name_size) == resource);
    check_fields(resource, &resource->primary_key);
    for (unsigned i = 0; i < resource->field_count; i++) {
        check_field(resource, &resource->fields[i]);
    }
    for (unsigned i = 0; i < resource->identity_count; i++) {
        check_fields(resource, &resource->identities[i].fields);
    }
    for (unsigned i = 0; i < resource->index_count; i++) {
        check_fields(resource, &resource->indexes[i].fields);
    }
    for (unsigned i = 0; i < resource->relationship_count; i++) {
        check_relationship(&resource->relationships[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct limits limits = LIMITS_DEFAULT;
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    int status = schema_read("f", (const char *)data, size, 1, &limits, &schema, &faults);
    if (status == 0) {
        CHECK(schema != NULL && faults.size == 0);
        for (unsigned i = 0; i < schema->resource_count; i++) {
            check_resource(&schema->resources[i]);
        }
        schema_put(schema);
    } else {
        CHECK(schema == NULL && faults.size > 0 && memcmp(faults.bytes, "f:", 2) == 0 &&
              faults.bytes[faults.size - 1] == '\n');
    }
    buffer_release(&faults);
    return 0;
}

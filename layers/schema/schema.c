#include "layers/schema/schema.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/name.h"
#include "protocol/base/nearest.h"
#include "protocol/base/utf8.h"

struct schema *schema_get(struct schema *schema)
{
    CHECK(schema->references > 0 && schema->references < UINT32_MAX);
    schema->references++;
    return schema;
}

void schema_put(struct schema *schema)
{
    if (schema == NULL) {
        return;
    }
    CHECK(schema->references > 0);
    if (--schema->references == 0) {
        arena_release(&schema->arena);
        heap_free(schema);
    }
}

const struct resource *schema_resource(const struct schema *schema, const char *name, size_t size)
{
    int number = name_table_find(&schema->names, name, size);
    return number < 0 ? NULL : &schema->resources[number];
}

const struct field *resource_field(const struct resource *resource, const char *name, size_t size)
{
    int number = name_table_find(&resource->names, name, size);
    return number < 0 || number >= resource->field_count ? NULL : &resource->fields[number];
}

const struct relationship *resource_relationship(const struct resource *resource, const char *name,
                                                 size_t size)
{
    int number = name_table_find(&resource->names, name, size);
    return number < resource->field_count
               ? NULL
               : &resource->relationships[number - resource->field_count];
}

const struct identity *resource_identity(const struct resource *resource, const char *name,
                                         size_t size)
{
    for (unsigned i = 0; i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        if (strlen(identity->name) == size && memcmp(identity->name, name, size) == 0) {
            return identity;
        }
    }
    return NULL;
}

/* A name from outside, as it may stand in a message: cut, and nothing that is
 * no UTF-8. */
struct shown {
    const char *text;
    int size;
};

static struct shown show(const char *name, size_t size)
{
    enum { SHOWN_MAX = 63 };
    if (size > SHOWN_MAX) {
        size = SHOWN_MAX;
        while (size > 0 && ((uint8_t)name[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    if (!utf8_valid(name, size)) {
        return (struct shown){"(text that is not UTF-8)", 24};
    }
    return (struct shown){name, (int)size};
}

/* "did you mean" as the end of a message, or nothing. */
static const char *hint(const struct nearest *nearest, char out[96])
{
    out[0] = '\0';
    if (nearest->best != NULL) {
        static const char before[] = "; did you mean \"", after[] = "\"?";
        size_t used = sizeof(before) - 1, size = strlen(nearest->best);
        memcpy(out, before, used);
        memcpy(out + used, nearest->best, size);
        memcpy(out + used + size, after, sizeof(after));
    }
    return out;
}

const struct resource *schema_need_resource(const struct schema *schema, const char *name,
                                            size_t size, struct error *error)
{
    const struct resource *resource = schema_resource(schema, name, size);
    if (resource != NULL) {
        return resource;
    }
    struct nearest nearest;
    char hint_text[96];
    nearest_init(&nearest, name, size);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        CHECK(schema->resources != NULL);
        nearest_offer(&nearest, schema->resources[i].name);
    }
    struct shown shown = show(name, size);
    error_set(error, CODE_UNKNOWN_RESOURCE, "there is no resource \"%.*s\"%s", shown.size,
              shown.text, hint(&nearest, hint_text));
    if (shown.text == name && size <= NAME_MAX_BYTES && error != NULL) {
        memcpy(error->resource, name, size);
        error->resource[size] = '\0';
    }
    return NULL;
}

const struct field *resource_need_field(const struct resource *resource, const char *name,
                                        size_t size, enum code code, struct error *error)
{
    const struct field *field = resource_field(resource, name, size);
    if (field != NULL) {
        return field;
    }
    struct nearest nearest;
    char hint_text[96];
    nearest_init(&nearest, name, size);
    for (unsigned i = 0; i < resource->field_count; i++) {
        CHECK(resource->fields != NULL);
        nearest_offer(&nearest, resource->fields[i].name);
    }
    struct shown shown = show(name, size);
    if (resource_relationship(resource, name, size) != NULL) {
        error_set(error, code, "%s.%.*s is a relationship, not a field", resource->name, shown.size,
                  shown.text);
    } else {
        error_set(error, code, "%s has no field \"%.*s\"%s", resource->name, shown.size, shown.text,
                  hint(&nearest, hint_text));
    }
    error_resource(error, resource->name);
    if (shown.text == name && size <= NAME_MAX_BYTES && error != NULL) {
        memcpy(error->field, name, size);
        error->field[size] = '\0';
    }
    return NULL;
}

const struct relationship *resource_need_relationship(const struct resource *resource,
                                                      const char *name, size_t size, enum code code,
                                                      struct error *error)
{
    const struct relationship *relationship = resource_relationship(resource, name, size);
    if (relationship != NULL) {
        return relationship;
    }
    struct nearest nearest;
    char hint_text[96];
    nearest_init(&nearest, name, size);
    for (unsigned i = 0; i < resource->relationship_count; i++) {
        CHECK(resource->relationships != NULL);
        nearest_offer(&nearest, resource->relationships[i].name);
    }
    struct shown shown = show(name, size);
    if (resource_field(resource, name, size) != NULL) {
        error_set(error, code, "%s.%.*s is a field, not a relationship", resource->name, shown.size,
                  shown.text);
    } else {
        error_set(error, code, "%s has no relationship \"%.*s\"%s", resource->name, shown.size,
                  shown.text, hint(&nearest, hint_text));
    }
    error_resource(error, resource->name);
    if (shown.text == name && size <= NAME_MAX_BYTES && error != NULL) {
        memcpy(error->relationship, name, size);
        error->relationship[size] = '\0';
    }
    return NULL;
}

const struct index *resource_index(const struct resource *resource, const struct field_list *fields)
{
    for (unsigned i = 0; i < resource->index_count; i++) {
        const struct index *index = &resource->indexes[i];
        if (index->fields.count >= fields->count &&
            memcmp(index->fields.fields, fields->fields,
                   fields->count * sizeof(fields->fields[0])) == 0) {
            return index;
        }
    }
    return NULL;
}

const char *relationship_kind_name(enum relationship_kind kind)
{
    switch (kind) {
    case BELONGS_TO:
        return "belongs_to";
    case HAS_ONE:
        return "has_one";
    case HAS_MANY:
        return "has_many";
    case MANY_TO_MANY:
        break;
    }
    return "many_to_many";
}

#include "clients/cli/catalog.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/heap.h"

static enum catalog_type type_of(struct relata_value field)
{
    struct relata_value type = relata_value_get(field, "type");
    if (type.bytes == NULL) {
        type = field;
    }
    if (relata_value_is(type, "integer")) {
        return CATALOG_INTEGER;
    }
    return relata_value_is(type, "binary") ? CATALOG_BINARY : CATALOG_OTHER;
}

static void copy_name(char to[CATALOG_NAME_MAX], struct relata_value name)
{
    const char *text = "";
    size_t size = 0;
    relata_value_string(name, &text, &size);
    snprintf(to, CATALOG_NAME_MAX, "%.*s", size < CATALOG_NAME_MAX ? (int)size : 0, text);
}

static void add_key_field(struct catalog_key *key, const struct catalog_resource *resource,
                          struct relata_value name)
{
    if (key->count < CATALOG_KEY_FIELDS_MAX) {
        struct catalog_field *to = &key->fields[key->count++];
        copy_name(to->name, name);
        const struct catalog_field *field = catalog_field(resource, to->name);
        to->type = field != NULL ? field->type : CATALOG_UNKNOWN;
    }
}

/* The names may be a list, or one text. */
static struct catalog_key key_of(const struct catalog_resource *resource, struct relata_value names)
{
    struct catalog_key key = {0};
    if (relata_value_type(names) == RELATA_TYPE_STRING) {
        add_key_field(&key, resource, names);
    }
    struct relata_cursor cursor = relata_items(names);
    for (struct relata_value name; relata_next(&cursor, &name);) {
        add_key_field(&key, resource, name);
    }
    return key;
}

void catalog_resource_init(struct catalog_resource *resource, struct relata_value schema,
                           const char *name)
{
    *resource = (struct catalog_resource){0};
    resource->schema = relata_value_get(relata_value_get(schema, "resources"), name);
    struct relata_value fields = relata_value_get(resource->schema, "fields");
    resource->fields = heap_must((relata_value_count(fields) + 1) * sizeof(struct catalog_field));
    struct relata_cursor cursor = relata_pairs(fields);
    for (struct relata_value key, field; relata_next_pair(&cursor, &key, &field);) {
        struct catalog_field *to = &resource->fields[resource->count++];
        copy_name(to->name, key);
        to->type = type_of(field);
    }
    resource->key = key_of(resource, relata_value_get(resource->schema, "primary_key"));
}

void catalog_resource_release(struct catalog_resource *resource)
{
    heap_free(resource->fields);
    *resource = (struct catalog_resource){0};
}

const struct catalog_field *catalog_field(const struct catalog_resource *resource, const char *name)
{
    for (size_t i = 0; i < resource->count; i++) {
        if (strcmp(resource->fields[i].name, name) == 0) {
            return &resource->fields[i];
        }
    }
    return NULL;
}

struct catalog_key catalog_identity(const struct catalog_resource *resource, const char *identity)
{
    struct relata_value identities = relata_value_get(resource->schema, "identities");
    return key_of(resource, relata_value_get(identities, identity));
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/schema_fixture.h"

#include <string.h>

#include "layers/record.h"
#include "layers/schema/schema_file.h"

struct schema *schema_fixture(const char *yaml)
{
    static const struct limits limits = LIMITS_DEFAULT;
    static uint32_t number = 0;
    struct schema *schema = NULL;
    struct buffer faults = BUFFER_INIT;
    int status = schema_read("schema", yaml, strlen(yaml), ++number, &limits, &schema, &faults);
    if (status != 0) {
        print_error("%.*s", (int)faults.size, (const char *)faults.bytes);
        buffer_release(&faults);
        fail_msg("the schema is refused");
    }
    buffer_release(&faults);
    return schema;
}

const struct resource *fixture_resource(const struct schema *schema, const char *name)
{
    const struct resource *resource = schema_resource(schema, name, strlen(name));
    if (resource == NULL) {
        fail_msg("there is no resource %s", name);
    }
    return resource;
}

const struct field *fixture_field(const struct resource *resource, const char *name)
{
    const struct field *field = resource_field(resource, name, strlen(name));
    if (field == NULL) {
        fail_msg("%s has no field %s", resource->name, name);
    }
    return field;
}

const struct relationship *fixture_relationship(const struct resource *resource, const char *name)
{
    const struct relationship *relationship = resource_relationship(resource, name, strlen(name));
    if (relationship == NULL) {
        fail_msg("%s has no relationship %s", resource->name, name);
    }
    return relationship;
}

struct record *fixture_record(const struct resource *resource, struct arena *arena,
                              const void *msgpack, size_t size)
{
    struct buffer buffer = BUFFER_INIT;
    struct record_draft draft;
    struct record *record = NULL;
    struct error error = ERROR_INIT;
    struct reader in = reader_of(msgpack, size);
    int status = record_draft_init(&draft, resource, arena, &buffer);
    if (status == 0) {
        status = record_draft_take(&draft, &in, &error);
    }
    if (status == 0) {
        status = record_draft_finish(&draft, NULL, &error);
    }
    if (status == 0) {
        status = record_draft_build(&draft, arena, &record, &error);
    }
    buffer_release(&buffer);
    if (status != 0) {
        fail_msg("the record is refused: %s", error.message);
    }
    return record;
}

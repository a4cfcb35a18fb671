#ifndef RELATA_TESTS_LIB_SCHEMA_FIXTURE_H
#define RELATA_TESTS_LIB_SCHEMA_FIXTURE_H

#include "layers/schema/schema.h"

/* A schema from a YAML text; fails the test with the faults printed where it is
 * wrong. The caller ends it with schema_put. */
struct schema *schema_fixture(const char *yaml);

/* The resource, field, relationship of that name; they must be there. */
const struct resource *fixture_resource(const struct schema *schema, const char *name);
const struct field *fixture_field(const struct resource *resource, const char *name);
const struct relationship *fixture_relationship(const struct resource *resource, const char *name);

/* A record of the resource from the arena, from a map of field name to value
 * as MessagePack; checked and completed with defaults as a create would. */
struct record;
struct record *fixture_record(const struct resource *resource, struct arena *arena,
                              const void *msgpack, size_t size);

#endif

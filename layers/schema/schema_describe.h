#ifndef RELATA_LAYERS_SCHEMA_SCHEMA_DESCRIBE_H
#define RELATA_LAYERS_SCHEMA_SCHEMA_DESCRIBE_H

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Writes what the method `schema` answers: {resources: {name: {layer,
 * primary_key, fields, identities, indexes, relationships}}}, for programs that
 * want to know the types. */
void schema_describe(const struct schema *schema, struct buffer *out);

#endif

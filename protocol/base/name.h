#ifndef RELATA_PROTOCOL_BASE_NAME_H
#define RELATA_PROTOCOL_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* Names of resources, fields, relationships, identities, parameters:
 * [A-Za-z_][A-Za-z0-9_]*, at most 63 bytes, none of the reserved words. */
enum { NAME_MAX_BYTES = 63 };

bool name_valid(const char *name, size_t size);
bool name_reserved(const char *name, size_t size);

#endif

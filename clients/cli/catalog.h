#ifndef RELATA_CLIENTS_CLI_CATALOG_H
#define RELATA_CLIENTS_CLI_CATALOG_H

/* What the daemon says of its resources, as far as the command line needs it:
 * of which type a key's and a record's fields are. */

#include <stdbool.h>
#include <stddef.h>

#include "clients/c/relata.h"

/* The types that are written in a way of their own; the others come as JSON has
 * them. CATALOG_UNKNOWN: the resource or field is not there, which is for the
 * daemon to say. */
enum catalog_type { CATALOG_UNKNOWN, CATALOG_INTEGER, CATALOG_BINARY, CATALOG_OTHER };

enum { CATALOG_NAME_MAX = 64, CATALOG_KEY_FIELDS_MAX = 16 };

struct catalog_field {
    char name[CATALOG_NAME_MAX];
    enum catalog_type type;
};

/* Of a primary key or identity. */
struct catalog_key {
    struct catalog_field fields[CATALOG_KEY_FIELDS_MAX];
    size_t count; /* 0: not known */
};

struct catalog_resource {
    struct catalog_field *fields;
    size_t count;
    struct catalog_key key;
    struct relata_value schema; /* what the daemon answered of it */
};

/* Reads one resource out of what `schema` answered. All fields are unknown
 * where it is not there. */
void catalog_resource_init(struct catalog_resource *resource, struct relata_value schema,
                           const char *name);
void catalog_resource_release(struct catalog_resource *resource);

const struct catalog_field *catalog_field(const struct catalog_resource *resource,
                                          const char *name);

/* The key's fields of an identity; count 0 where it is not told. */
struct catalog_key catalog_identity(const struct catalog_resource *resource, const char *identity);

#endif

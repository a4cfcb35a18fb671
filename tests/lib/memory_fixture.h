#ifndef RELATA_TESTS_LIB_MEMORY_FIXTURE_H
#define RELATA_TESTS_LIB_MEMORY_FIXTURE_H

#include <stdint.h>

#include "layers/layer.h"
#include "protocol/base/arena.h"

/* A resource made by hand, for tests of what lies under the schema file.
 * Field 0.. are the primary key's. Everything is in one struct, not moved. */
enum { FIXTURE_FIELDS_MAX = 12, FIXTURE_LISTS_MAX = 8 };

struct memory_fixture {
    struct resource resource;
    struct field fields[FIXTURE_FIELDS_MAX];
    char names[FIXTURE_FIELDS_MAX][8]; /* f0, f1, ... */
    struct identity identities[FIXTURE_LISTS_MAX];
    struct index indexes[FIXTURE_LISTS_MAX];
};

void memory_fixture_init(struct memory_fixture *fixture, const char *name);
/* Answers the field's position. */
uint16_t memory_fixture_field(struct memory_fixture *fixture, enum type_kind kind);
void memory_fixture_primary_key(struct memory_fixture *fixture, unsigned count);
/* Positions, ended by -1. */
void memory_fixture_identity(struct memory_fixture *fixture, const int *fields);
void memory_fixture_index(struct memory_fixture *fixture, const int *fields);

/* A record image of the values, from the arena; and a key's bytes. */
const struct record *memory_fixture_record(const struct memory_fixture *fixture,
                                           struct arena *arena, const struct value *values);
void memory_fixture_key(struct buffer *out, const struct value *values, unsigned count);

struct value memory_fixture_integer(int64_t integer);
struct value memory_fixture_text(const char *text); /* not copied */

#endif

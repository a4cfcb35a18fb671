#ifndef RELATA_TESTS_LIB_STORED_FIXTURE_H
#define RELATA_TESTS_LIB_STORED_FIXTURE_H

#include <stdbool.h>

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"

/* Resources that are at home in Redis, made by hand or at random, and random
 * values for them that look for trouble. */

struct stored_fixture {
    struct memory_fixture base;
    struct redis_options redis;
    char texts[KEY_PARTS_MAX][8];
    char stored_as[FIXTURE_FIELDS_MAX][24];
};

/* A resource "rep" without fields; they are added with memory_fixture_field. */
void stored_fixture_init(struct stored_fixture *fixture);

/* The template's next part. */
void stored_fixture_text(struct stored_fixture *fixture, const char *text);
void stored_fixture_key_field(struct stored_fixture *fixture, uint16_t field);

/* Any number of fields of any type, a primary key of some of them in any order,
 * a template for it in any order. */
void stored_fixture_random(struct stored_fixture *fixture, struct random *random);

/* Appends a value of the type as records store it, not nil. Of `any`: what JSON
 * can tell too, where `json` is set. */
void stored_fixture_value(const struct type *type, struct random *random, bool json,
                          struct buffer *out);

#endif

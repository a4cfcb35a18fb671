#ifndef RELATA_LAYERS_REDIS_KEY_TEXT_H
#define RELATA_LAYERS_REDIS_KEY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/record.h"
#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Keys as text, and back: the names of keys in Redis. Pure.
 *
 * A value is put in as text: integers in decimal, text and enum and uuid as they
 * are, binary as its bytes, datetimes as ISO 8601 in UTC ("2024-05-01T12:00:00Z",
 * with as many digits of a fraction as it needs). */

/* Appends the name of the key whose primary key is `key` (record.h, "Keys"), by
 * the resource's template. Where the template has several fields, `%` and the byte
 * with which each text between two fields begins are percent-encoded in the values, so
 * that two keys never render alike. */
void key_text_append(const struct resource *resource, const uint8_t *key, size_t size,
                     struct buffer *out);

/* The other way: appends the primary key whose name this is. False (and nothing
 * appended) where it is no key of the resource: the template's text differs, or a
 * value is not the text of its type in the one form in which it is written. */
bool key_text_read(const struct resource *resource, const void *name, size_t size,
                   struct buffer *out);

/* The bytes before the first field: what all names of the resource begin with. */
void key_text_prefix(const struct resource *resource, const char **bytes, size_t *size);

/* Appends the pattern for SCAN ... MATCH that all names of the resource match. */
void key_text_pattern(const struct resource *resource, struct buffer *out);

/* One value as text, with all bytes but letters, digits and `-_.` percent-encoded;
 * and back (appends its canonical MessagePack). For the names of index sets and
 * claims, which are the daemon's own. */
void key_text_value(const struct type *type, const uint8_t *value, size_t size, struct buffer *out);
bool key_text_take_value(const struct type *type, const void *text, size_t size,
                         struct buffer *out);

#endif

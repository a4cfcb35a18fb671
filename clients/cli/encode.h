#ifndef RELATA_CLIENTS_CLI_ENCODE_H
#define RELATA_CLIENTS_CLI_ENCODE_H

/* From what a person writes to MessagePack: JSON, keys, records. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "clients/cli/catalog.h"
#include "protocol/base/buffer.h"

/* Any JSON, as it is. */
void encode_json(struct buffer *out, json_t *json);

/* A value for a field: the text of a binary one is base64. False where it is not. */
bool encode_field(struct buffer *out, enum catalog_type type, json_t *json);

/* A record, or changes: an object. `only_known` leaves out what the resource
 * does not have. NULL, or the name of the field that is not base64. */
const char *encode_record(struct buffer *out, const struct catalog_resource *resource,
                          json_t *record, bool only_known);

/* A key from a word: an integer where the field is one, a JSON array or object
 * for a composite key, text otherwise. False where it is no base64. */
bool encode_key(struct buffer *out, const struct catalog_key *key, const char *text, size_t size);

/* A list of keys: `1,2,3`, or a JSON array of keys. *count of them. NULL, or
 * what is wrong. */
const char *encode_keys(struct buffer *out, const struct catalog_key *key, const char *text,
                        size_t *count);

#endif

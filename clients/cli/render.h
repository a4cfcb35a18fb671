#ifndef RELATA_CLIENTS_CLI_RENDER_H
#define RELATA_CLIENTS_CLI_RENDER_H

/* Values as text: JSON for programs, cells of a table for people. */

#include "clients/c/relata.h"
#include "protocol/base/buffer.h"

/* JSON on one line: datetimes as ISO 8601, binary as base64, an error in the
 * place of a value as {"error": {"code", "message"}}. 64-bit integers keep all
 * their digits, floats the fewest that read back the same. */
void render_json(struct buffer *out, struct relata_value value);

/* A JSON string of UTF-8 bytes; what is no UTF-8 becomes U+FFFD. */
void render_json_string(struct buffer *out, const char *text, size_t size);

/* What stands in a table: strings as they are with control characters made
 * visible, nil, `[3]` for a list of three records, JSON for other things. */
void render_cell(struct buffer *out, struct relata_value value);

#endif

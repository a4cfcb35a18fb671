#ifndef RELATA_PROTOCOL_MESSAGE_H
#define RELATA_PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* Writes the frames of MessagePack-RPC, in the shortest encodings (first byte
 * 0x94 or 0x93). */

/* [0, id, method, -- params follow: write an array after it. */
void message_request(struct buffer *out, uint32_t id, const char *method);
/* [2, method, -- params follow. */
void message_notification(struct buffer *out, const char *method);
/* [1, id, nil, -- the result follows. */
void message_result(struct buffer *out, uint32_t id);
/* [1, id, error, nil], whole. `as_map` after hello({errors: "map"}). */
void message_error(struct buffer *out, uint32_t id, const struct error *error, bool as_map);

/* The value of an error alone: the string `code: message`, or the map
 * {code, message, details}, details with what applies. */
void message_error_value(struct buffer *out, const struct error *error, bool as_map);

/* An error in the place of one value: ext type 1 with the map as its payload. */
enum { MESSAGE_ERROR_EXTENSION = 1 };
void message_error_extension(struct buffer *out, const struct error *error);

/* The other way, for clients: an error from what a response carries (a string
 * `code: message`, or the map). What is neither becomes CODE_INTERNAL with a
 * text that shows it. */
void message_error_read(struct error *error, const uint8_t *bytes, size_t size);

#endif

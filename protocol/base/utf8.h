#ifndef RELATA_PROTOCOL_BASE_UTF8_H
#define RELATA_PROTOCOL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"

/* Whether the bytes are UTF-8 as Unicode defines it (no surrogates, shortest
 * forms, up to U+10FFFF). ASCII is checked eight bytes at a time. */
bool utf8_valid(const void *text, size_t size);

/* How many code points valid UTF-8 has. */
size_t utf8_length(const void *text, size_t size);

/* Decodes the code point at the start of valid UTF-8; its bytes in *size. */
uint32_t utf8_decode(const uint8_t *text, size_t left, size_t *size);
void utf8_encode(struct buffer *out, uint32_t code_point);

/* Appends valid UTF-8 in lower or upper case, a code point at a time (Unicode's
 * simple mappings). */
void utf8_lower(struct buffer *out, const void *text, size_t size);
void utf8_upper(struct buffer *out, const void *text, size_t size);

#endif

#ifndef RELATA_CLIENTS_CLI_BASE64_H
#define RELATA_CLIENTS_CLI_BASE64_H

/* Base64 as RFC 4648 has it, with padding. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"

void base64_encode(struct buffer *out, const uint8_t *bytes, size_t size);

/* Padding may be left out. False where the text is none; what was appended is
 * then to be dropped. */
bool base64_decode(struct buffer *out, const char *text, size_t size);

#endif

#ifndef RELATA_LAYERS_REDIS_SCAN_H
#define RELATA_LAYERS_REDIS_SCAN_H

#include <stddef.h>

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Keys that one SCAN looks at, about, where nothing speaks for fewer. */
enum { SCAN_COUNT = 1000 };

/* Appends the SCAN for names of the resource from this cursor on ("0": the first),
 * which looks at `count` keys. Its answer is the next cursor and a list of names, some of which may be none of
 * the resource (key_text_read). Pure. */
void scan_command(const struct resource *resource, const void *cursor, size_t cursor_size,
                  unsigned count, struct buffer *out);

#endif

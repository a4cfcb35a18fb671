#include "layers/redis/scan.h"

#include "layers/redis/key_text.h"
#include "layers/redis/resp.h"

void scan_command(const struct resource *resource, const void *cursor, size_t cursor_size,
                  unsigned count, struct buffer *out)
{
    struct buffer pattern = BUFFER_INIT;
    key_text_pattern(resource, &pattern);
    resp_command(out, 6);
    resp_word_text(out, "SCAN");
    resp_word(out, cursor, cursor_size);
    resp_word_text(out, "MATCH");
    resp_word(out, pattern.bytes, pattern.size);
    resp_word_text(out, "COUNT");
    resp_word_integer(out, count);
    out->failed |= pattern.failed;
    buffer_release(&pattern);
}

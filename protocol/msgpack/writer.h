#ifndef RELATA_PROTOCOL_MSGPACK_WRITER_H
#define RELATA_PROTOCOL_MSGPACK_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"
#include "protocol/base/datetime.h"

/* Writes MessagePack onto a buffer, always in the shortest encoding; floats
 * are 64 bits. Failures are the buffer's, sticky; what is longer than 32 bits
 * can tell is one too. */

/* What the short forms below do not cover. */
void write_integer_long(struct buffer *out, int64_t value);
void write_string_long(struct buffer *out, const void *text, size_t size);
void write_array_long(struct buffer *out, uint32_t count);
void write_map_long(struct buffer *out, uint32_t count);

static inline void write_nil(struct buffer *out)
{
    buffer_byte(out, 0xc0);
}

static inline void write_boolean(struct buffer *out, bool value)
{
    buffer_byte(out, value ? 0xc3 : 0xc2);
}

static inline void write_integer(struct buffer *out, int64_t value)
{
    if (value >= -32 && value <= 127) {
        buffer_byte(out, (uint8_t)value);
    } else {
        write_integer_long(out, value);
    }
}

void write_unsigned(struct buffer *out, uint64_t value);
void write_float(struct buffer *out, double value);

/* `size` bytes, which are to be UTF-8. */
static inline void write_string(struct buffer *out, const void *text, size_t size)
{
    if (size <= 31 && buffer_reserve(out, size + 1)) {
        uint8_t *to = out->bytes + out->size;
        *to = (uint8_t)(0xa0 | size);
        if (size > 0) {
            memcpy(to + 1, text, size);
        }
        out->size += size + 1;
    } else {
        write_string_long(out, text, size);
    }
}

/* Terminated by zero. */
static inline void write_text(struct buffer *out, const char *text)
{
    write_string(out, text, strlen(text));
}

void write_binary(struct buffer *out, const void *bytes, size_t size);

static inline void write_array(struct buffer *out, uint32_t count)
{
    if (count <= 15) {
        buffer_byte(out, (uint8_t)(0x90 | count));
    } else {
        write_array_long(out, count);
    }
}

static inline void write_map(struct buffer *out, uint32_t count)
{
    if (count <= 15) {
        buffer_byte(out, (uint8_t)(0x80 | count));
    } else {
        write_map_long(out, count);
    }
}

void write_extension(struct buffer *out, int8_t type, const void *bytes, size_t size);
void write_datetime(struct buffer *out, const struct datetime *datetime);

/* Encodings into memory of the caller; each answers the bytes used. */
enum { WRITE_HEADER_MAX = 9 };
size_t encode_unsigned(uint8_t out[WRITE_HEADER_MAX], uint64_t value);
size_t encode_integer(uint8_t out[WRITE_HEADER_MAX], int64_t value);
size_t encode_string_header(uint8_t out[WRITE_HEADER_MAX], uint32_t size);
size_t encode_array_header(uint8_t out[WRITE_HEADER_MAX], uint32_t count);
size_t encode_map_header(uint8_t out[WRITE_HEADER_MAX], uint32_t count);

/* A header whose count is known later: leaves room for the largest array (or
 * map) header, and closes by moving what follows to the shortest. The mark is
 * the offset in the buffer. */
size_t write_open(struct buffer *out);
void write_close_array(struct buffer *out, size_t mark, uint32_t count);
void write_close_map(struct buffer *out, size_t mark, uint32_t count);

/* Copies one value, in the shortest encodings (floats in 64 bits, timestamps in
 * their shortest too), maps' keys in the order given.
 * `in` must be well-formed (reader_skip was true). Nested to `levels_max`.
 * 0, or -1 where it is nested deeper. Used for fields of type any. */
struct reader;
int write_shortest(struct buffer *out, struct reader *in, unsigned levels_max);

#endif

#ifndef RELATA_PROTOCOL_BASE_BUFFER_H
#define RELATA_PROTOCOL_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that grow. Errors are sticky: once memory lacked or `max` was reached,
 * `failed` stays set, appends do nothing, and the owner looks once at the end.
 * A zeroed buffer is a valid empty one without a limit. */
struct buffer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t max; /* bytes; 0 is no limit */
    bool failed;
};

#define BUFFER_INIT \
    {               \
        0           \
    }

void buffer_init(struct buffer *buffer, size_t bytes_max);
void buffer_release(struct buffer *buffer);

/* Makes room for `size` more bytes; false (and failed) where that cannot be. */
bool buffer_reserve_slow(struct buffer *buffer, size_t size);

static inline bool buffer_reserve(struct buffer *buffer, size_t size)
{
    return (!buffer->failed && size <= buffer->capacity - buffer->size) ||
           buffer_reserve_slow(buffer, size);
}

static inline void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0 && buffer_reserve(buffer, size)) {
        memcpy(buffer->bytes + buffer->size, bytes, size);
        buffer->size += size;
    }
}

static inline void buffer_byte(struct buffer *buffer, uint8_t byte)
{
    if (buffer_reserve(buffer, 1)) {
        buffer->bytes[buffer->size++] = byte;
    }
}

/* printf onto the end, without the terminating zero. */
void buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes. */
void buffer_consume(struct buffer *buffer, size_t size);

/* Forgets what is after `size`, and a failure with it. */
void buffer_truncate(struct buffer *buffer, size_t size);

#endif

#include "protocol/base/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "protocol/base/check.h"
#include "protocol/base/heap.h"

enum { BUFFER_FIRST_BYTES = 64 };

void buffer_init(struct buffer *buffer, size_t bytes_max)
{
    *buffer = (struct buffer){.max = bytes_max};
}

void buffer_release(struct buffer *buffer)
{
    heap_free(buffer->bytes);
    *buffer = (struct buffer){.max = buffer->max};
}

/* Doubling, so that appending costs a constant on average; never beyond `max`. */
static size_t next_capacity(const struct buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity < BUFFER_FIRST_BYTES ? BUFFER_FIRST_BYTES : buffer->capacity;
    while (capacity < needed) {
        if (capacity > SIZE_MAX / 2) {
            capacity = needed;
            break;
        }
        capacity *= 2;
    }
    if (buffer->max > 0 && capacity > buffer->max) {
        capacity = buffer->max;
    }
    return capacity;
}

bool buffer_reserve_slow(struct buffer *buffer, size_t size)
{
    size_t needed;
    if (buffer->failed) {
        return false;
    }
    if (__builtin_add_overflow(buffer->size, size, &needed) ||
        (buffer->max > 0 && needed > buffer->max)) {
        buffer->failed = true;
        return false;
    }
    if (needed > buffer->capacity) {
        size_t capacity = next_capacity(buffer, needed);
        uint8_t *bytes = heap_resize(buffer->bytes, capacity);
        if (bytes == NULL) {
            buffer->failed = true;
            return false;
        }
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    return true;
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    CHECK(length >= 0);

    size_t size = (size_t)length;
    if (size < sizeof(text)) {
        buffer_append(buffer, text, size);
        return;
    }
    /* Too long for the stack: once more, in place, with room for the zero. */
    if (size == SIZE_MAX || !buffer_reserve(buffer, size + 1)) {
        return;
    }
    va_start(arguments, format);
    vsnprintf((char *)buffer->bytes + buffer->size, size + 1, format, arguments);
    va_end(arguments);
    buffer->size += size;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    CHECK(size <= buffer->size);
    if (size > 0) {
        buffer->size -= size;
        memmove(buffer->bytes, buffer->bytes + size, buffer->size);
    }
}

void buffer_truncate(struct buffer *buffer, size_t size)
{
    CHECK(size <= buffer->size);
    buffer->size = size;
    buffer->failed = false;
}

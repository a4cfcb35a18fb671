#include "protocol/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"

/* What vsnprintf may make before it is cleaned and cut. */
enum { SCRATCH_MAX = 2048 };

/* How many of the bytes at `text` make one code point that may be shown as it
 * is; 0 where it is a control character or no UTF-8. */
static size_t showable(const char *text, size_t left)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (size > left || !utf8_valid(text, size)) {
        return 0;
    }
    /* U+0080..U+009F are control characters too. */
    return first == 0xc2 && (unsigned char)text[1] < 0xa0 ? 0 : size;
}

/* Copies text into `capacity` bytes with its terminating zero; what cannot be
 * shown becomes \n, \t or \x1b; cut where a whole code point no longer fits. */
static void copy_visible(char *out, size_t capacity, const char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        char escape[5];
        const char *piece = text + i;
        size_t taken = showable(piece, size - i);
        size_t piece_size = taken;
        if (taken == 0) {
            const char *format = *piece == '\n' ? "\\n" : *piece == '\t' ? "\\t" : NULL;
            if (format == NULL) {
                snprintf(escape, sizeof(escape), "\\x%02x", (unsigned char)*piece);
                format = escape;
            }
            taken = 1;
            piece = format;
            piece_size = strlen(format);
        }
        if (piece_size >= capacity - used) {
            break;
        }
        memcpy(out + used, piece, piece_size);
        used += piece_size;
        i += taken;
    }
    out[used] = '\0';
}

__attribute__((format(printf, 2, 0))) static size_t
format_scratch(char scratch[SCRATCH_MAX], const char *format, va_list arguments)
{
    int length = vsnprintf(scratch, SCRATCH_MAX, format, arguments);
    if (length < 0) {
        scratch[0] = '\0';
        return 0;
    }
    return length < SCRATCH_MAX ? (size_t)length : SCRATCH_MAX - 1;
}

void error_clear(struct error *error)
{
    error->code = CODE_OK;
    error->message[0] = '\0';
    error->resource[0] = '\0';
    error->field[0] = '\0';
    error->relationship[0] = '\0';
    error->path[0] = '\0';
    error->limit[0] = '\0';
    error->cause[0] = '\0';
    error->outcome[0] = '\0';
    error->key_size = 0;
    error->index = -1;
    error->position = -1;
    error->written = -1;
}

int error_set(struct error *error, enum code code, const char *format, ...)
{
    CHECK(code != CODE_OK);
    if (error == NULL) {
        return -(int)code;
    }
    /* The arguments may stand in the error itself, so they are read first. */
    char scratch[SCRATCH_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t size = format_scratch(scratch, format, arguments);
    va_end(arguments);

    error_clear(error);
    error->code = code;
    copy_visible(error->message, sizeof(error->message), scratch, size);
    return -(int)code;
}

int error_prefix(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return -(int)CODE_INTERNAL;
    }
    char scratch[SCRATCH_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t size = format_scratch(scratch, format, arguments);
    va_end(arguments);

    size_t message_size = strlen(error->message);
    size_t room = SCRATCH_MAX - size;
    size_t kept = message_size < room ? message_size : room;
    memcpy(scratch + size, error->message, kept);
    copy_visible(error->message, sizeof(error->message), scratch, size + kept);
    return -(int)error->code;
}

int error_append(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return -(int)CODE_INTERNAL;
    }
    char scratch[SCRATCH_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t size = format_scratch(scratch, format, arguments);
    va_end(arguments);

    size_t room = sizeof(error->message) - 1;
    size_t most = size < room ? room - size : 0;
    size_t kept = strlen(error->message);
    if (kept > most) {
        char whole[ERROR_MESSAGE_MAX];
        memcpy(whole, error->message, sizeof(whole));
        copy_visible(error->message, most + 1, whole, kept); /* cut between code points */
        kept = strlen(error->message);
    }
    copy_visible(error->message + kept, sizeof(error->message) - kept, scratch, size);
    return -(int)error->code;
}

void error_outcome_unknown(struct error *error)
{
    if (error != NULL && error->outcome[0] == '\0') {
        error_append(error, "; a write may have been done");
        snprintf(error->outcome, sizeof(error->outcome), "unknown");
    }
}

void error_resource(struct error *error, const char *name)
{
    if (error != NULL) {
        copy_visible(error->resource, sizeof(error->resource), name, strlen(name));
    }
}

void error_field(struct error *error, const char *name)
{
    if (error != NULL) {
        copy_visible(error->field, sizeof(error->field), name, strlen(name));
    }
}

void error_relationship(struct error *error, const char *name)
{
    if (error != NULL) {
        copy_visible(error->relationship, sizeof(error->relationship), name, strlen(name));
    }
}

void error_limit(struct error *error, const char *name)
{
    if (error != NULL) {
        copy_visible(error->limit, sizeof(error->limit), name, strlen(name));
    }
}

void error_path(struct error *error, const char *path)
{
    if (error != NULL) {
        copy_visible(error->path, sizeof(error->path), path, strlen(path));
    }
}

void error_key(struct error *error, const void *key, size_t size)
{
    if (error == NULL) {
        return;
    }
    error->key_size = 0;
    if (size > 0 && size <= sizeof(error->key)) {
        memcpy(error->key, key, size);
        error->key_size = (uint16_t)size;
    }
}

int error_limit_hit(struct error *error, enum code code, const char *limit, uint64_t allowed,
                    uint64_t came)
{
    int status = error_set(error, code, "limit %s is %llu, %llu came", limit,
                           (unsigned long long)allowed, (unsigned long long)came);
    error_limit(error, limit);
    return status;
}

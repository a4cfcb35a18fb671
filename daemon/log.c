#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/check.h"
#include "protocol/base/utf8.h"

static struct {
    int descriptor;
    enum log_level level;
    enum log_format format;
} log_to = {.descriptor = STDERR_FILENO, .level = LOG_INFO, .format = LOG_LOGFMT};

static const char *const level_texts[] = {
#define X(name, text) text,
    LOG_LEVELS(X)
#undef X
};
static_assert(ARRAY_COUNT(level_texts) == LOG_LEVEL_COUNT, "a text for every level");

static const char *const format_texts[] = {"logfmt", "json"};
static_assert(ARRAY_COUNT(format_texts) == LOG_FORMAT_COUNT, "a text for every format");

static bool find_text(const char *const *texts, unsigned count, const char *text, size_t size,
                      unsigned *found)
{
    for (unsigned i = 0; i < count; i++) {
        if (strlen(texts[i]) == size && memcmp(texts[i], text, size) == 0) {
            *found = i;
            return true;
        }
    }
    return false;
}

const char *log_level_text(enum log_level level)
{
    return level_texts[level];
}

bool log_level_parse(const char *text, size_t size, enum log_level *out)
{
    unsigned found = 0;
    bool is = find_text(level_texts, LOG_LEVEL_COUNT, text, size, &found);
    if (is) {
        *out = (enum log_level)found;
    }
    return is;
}

const char *log_format_text(enum log_format format)
{
    return format_texts[format];
}

bool log_format_parse(const char *text, size_t size, enum log_format *out)
{
    unsigned found = 0;
    bool is = find_text(format_texts, LOG_FORMAT_COUNT, text, size, &found);
    if (is) {
        *out = (enum log_format)found;
    }
    return is;
}

void log_setup(int descriptor, enum log_level level, enum log_format format)
{
    log_to.descriptor = descriptor;
    log_to.level = level;
    log_to.format = format;
}

/* What must stay free for the line's own end: the brace and the newline. */
enum { LINE_END_MAX = 2 };

/* Appends; where there is no room the line is full and `false` tells it. */
static bool put(struct log_line *line, const char *bytes, size_t size)
{
    if (size > LOG_LINE_MAX - LINE_END_MAX - line->size) {
        return false;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
    return true;
}

static bool put_text(struct log_line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* How many bytes at `text` are one code point that may stand as it is. */
static size_t plain(const char *text, size_t left)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f && first != '"' && first != '\\' ? 1 : 0;
    }
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    return size <= left && utf8_valid(text, size) ? size : 0;
}

static bool put_escaped(struct log_line *line, unsigned char byte)
{
    char escape[8];
    if (byte == '"' || byte == '\\') {
        snprintf(escape, sizeof(escape), "\\%c", byte);
    } else if (byte == '\n') {
        snprintf(escape, sizeof(escape), "\\n");
    } else {
        snprintf(escape, sizeof(escape), "\\u%04x", byte);
    }
    return put_text(line, escape);
}

static bool put_quoted(struct log_line *line, const char *value, size_t size)
{
    bool fits = put_text(line, "\"");
    for (size_t i = 0; fits && i < size;) {
        size_t taken = plain(value + i, size - i);
        fits = taken > 0 ? put(line, value + i, taken) : put_escaped(line, (unsigned char)value[i]);
        i += taken > 0 ? taken : 1;
    }
    return fits && put_text(line, "\"");
}

/* Whether logfmt needs no quotes around it. */
static bool is_bare(const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte <= 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || byte == '=') {
            return false;
        }
    }
    return size > 0;
}

static bool put_key(struct log_line *line, const char *key)
{
    if (line->format == LOG_JSON) {
        return put_text(line, line->size == 0 ? "{\"" : ",\"") && put_text(line, key) &&
               put_text(line, "\":");
    }
    return (line->size == 0 || put_text(line, " ")) && put_text(line, key) && put_text(line, "=");
}

/* A pair is in the line whole or not at all. */
static void pair(struct log_line *line, const char *key, const char *value, size_t size,
                 bool quoted)
{
    size_t start = line->size;
    if (!put_key(line, key) || !(quoted ? put_quoted(line, value, size) : put(line, value, size))) {
        line->size = start;
    }
}

void log_text_sized(struct log_line *line, const char *key, const char *value, size_t size)
{
    if (!line->on) {
        return;
    }
    if (size > LOG_VALUE_MAX) {
        size = LOG_VALUE_MAX;
        /* Not in the midst of a code point. */
        while (size > 0 && ((unsigned char)value[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    pair(line, key, value, size, line->format == LOG_JSON || !is_bare(value, size));
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    log_text_sized(line, key, value, strlen(value));
}

void log_number(struct log_line *line, const char *key, int64_t value)
{
    if (line->on) {
        char text[24];
        int size = snprintf(text, sizeof(text), "%lld", (long long)value);
        pair(line, key, text, (size_t)size, false);
    }
}

static void put_time(struct log_line *line)
{
    struct timespec now;
    struct tm utc;
    char text[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + size, sizeof(text) - size, ".%03ldZ", now.tv_nsec / 1000000);
    log_text(line, "time", text);
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
    line->on = level >= log_to.level;
    line->format = log_to.format;
    line->size = 0;
    if (line->on) {
        put_time(line);
        log_text(line, "level", log_level_text(level));
        log_text(line, "event", event);
    }
}

void log_end(struct log_line *line)
{
    if (!line->on) {
        return;
    }
    CHECK(line->size <= LOG_LINE_MAX - LINE_END_MAX);
    if (line->format == LOG_JSON) {
        line->text[line->size++] = '}';
    }
    line->text[line->size++] = '\n';
    ssize_t written;
    do {
        written = write(log_to.descriptor, line->text, line->size);
    } while (written < 0 && errno == EINTR);
    /* A log that cannot be written has nobody to be told of it. */
}

void log_event(enum log_level level, const char *event, const char *key, const char *format, ...)
{
    struct log_line line;
    log_begin(&line, level, event);
    if (line.on && key != NULL) {
        char value[LOG_VALUE_MAX + 1];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(value, sizeof(value), format, arguments);
        va_end(arguments);
        log_text(&line, key, value);
    }
    log_end(&line);
}

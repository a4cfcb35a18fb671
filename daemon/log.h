#ifndef RELATA_DAEMON_LOG_H
#define RELATA_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The log: one event a line, key=value (logfmt) or a JSON object, written with
 * one write. There is one per process, since it has one standard error. Until
 * log_setup it writes logfmt from level info on to standard error. */

#define LOG_LEVELS(X)     \
    X(DEBUG, "debug")     \
    X(INFO, "info")       \
    X(WARNING, "warning") \
    X(ERROR, "error")

enum log_level {
#define X(name, text) LOG_##name,
    LOG_LEVELS(X)
#undef X
        LOG_LEVEL_COUNT
};

enum log_format { LOG_LOGFMT, LOG_JSON, LOG_FORMAT_COUNT };

/* "debug" ..., "logfmt" and "json"; false where the text is none of them. */
const char *log_level_text(enum log_level level);
bool log_level_parse(const char *text, size_t size, enum log_level *out);
const char *log_format_text(enum log_format format);
bool log_format_parse(const char *text, size_t size, enum log_format *out);

/* Where lines go (a file descriptor that stays the caller's) and which. */
void log_setup(int descriptor, enum log_level level, enum log_format format);

enum { LOG_LINE_MAX = 4096, LOG_VALUE_MAX = 1024 };

/* A line being made. A value longer than LOG_VALUE_MAX is cut, a pair that does
 * not fit the line any more is left out; the line stays well-formed. Keys are
 * the daemon's own: [a-z_]+. Values may be any bytes: what is no UTF-8 and
 * control characters are made visible. */
struct log_line {
    bool on; /* the level is written at all */
    enum log_format format;
    size_t size;
    char text[LOG_LINE_MAX];
};

void log_begin(struct log_line *line, enum log_level level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_text_sized(struct log_line *line, const char *key, const char *value, size_t size);
void log_number(struct log_line *line, const char *key, int64_t value);
void log_end(struct log_line *line);

/* A line with one more pair, or none (key NULL). */
void log_event(enum log_level level, const char *event, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif

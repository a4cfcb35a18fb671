#ifndef RELATA_PROTOCOL_BASE_CODE_H
#define RELATA_PROTOCOL_BASE_CODE_H

/* The codes of errors, as users see them in `code: message`. A function that
 * can fail returns 0 or the negative of one of these; the words for a person
 * stand in a caller-owned `struct error` (error.h). The table makes the enum,
 * the text and the documentation. */
#define RELATA_CODES(X)                                                     \
    X(INVALID_REQUEST, "invalid_request", "the shape of the call is wrong") \
    X(UNKNOWN_METHOD, "unknown_method", "no such method")                   \
    X(UNKNOWN_RESOURCE, "unknown_resource", "no such resource")             \
    X(UNKNOWN_FIELD, "unknown_field", "no such field")                      \
    X(UNKNOWN_RELATIONSHIP, "unknown_relationship", "no such relationship") \
    X(INVALID_VALUE, "invalid_value", "a value does not fit its field")     \
    X(INVALID_FILTER, "invalid_filter", "a filter or sort is wrong")        \
    X(NOT_FOUND, "not_found", "the record is not there")                    \
    X(CONFLICT, "conflict", "a key is taken, or a condition does not hold") \
    X(FORBIDDEN, "forbidden", "this may not be done")                       \
    X(UNAUTHENTICATED, "unauthenticated", "say who you are first")          \
    X(TIMEOUT, "timeout", "the time allowed has passed")                    \
    X(UNAVAILABLE, "unavailable", "a home or a loader cannot be reached")   \
    X(LOADER_FAILED, "loader_failed", "a loader failed")                    \
    X(TOO_LARGE, "too_large", "a limit on size was exceeded")               \
    X(OVERLOADED, "overloaded", "more is waiting than the limits allow")    \
    X(INTERNAL, "internal", "a fault of the daemon's own")

enum code {
    CODE_OK = 0,
#define X(name, text, meaning) CODE_##name,
    RELATA_CODES(X)
#undef X
        CODE_COUNT
};

/* The text of a code ("not_found"); "ok" for CODE_OK. Static storage. */
const char *code_text(enum code code);

/* The code of a text of `size` bytes; CODE_OK where it is none. */
enum code code_from_text(const char *text, unsigned long size);

#endif

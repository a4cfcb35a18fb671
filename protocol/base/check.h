#ifndef RELATA_PROTOCOL_BASE_CHECK_H
#define RELATA_PROTOCOL_BASE_CHECK_H

/* Invariants, checked in release builds too. Never for input: input gets an
 * error. A failed check says what and where, and aborts. */
#define CHECK(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of `type` whose `member` is at `pointer`. */
#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif

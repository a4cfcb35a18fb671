#ifndef RELATA_PROTOCOL_BASE_HEAP_H
#define RELATA_PROTOCOL_BASE_HEAP_H

#include <stddef.h>

/* Memory whose size comes from outside: may answer NULL. In tests it can be
 * told to fail. Memory of fixed, small size whose lack nobody could handle is
 * taken with heap_must. */
void *heap_alloc(size_t size);
void *heap_zero(size_t count, size_t size);
void *heap_resize(void *memory, size_t size);
void heap_free(void *memory);

/* As heap_zero(1, size), but ends the process where there is none. */
void *heap_must(size_t size);

/* For tests: allocation number `count` from now on (0 is the next) fails, once;
 * a negative count never fails again. heap_failed tells whether it did. */
void heap_fail_at(long count);
int heap_failed(void);

#endif

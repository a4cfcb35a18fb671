#include "protocol/base/heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "protocol/base/check.h"

/* Counts down to the allocation that is to fail; negative is never. */
static long allocations_until_failure = -1;
static bool has_failed;

static bool fails_now(void)
{
    if (__builtin_expect(allocations_until_failure < 0, 1)) {
        return false;
    }
    if (allocations_until_failure-- > 0) {
        return false;
    }
    has_failed = true;
    return true;
}

void *heap_alloc(size_t size)
{
    if (fails_now() || size > PTRDIFF_MAX) {
        return NULL;
    }
    return malloc(size > 0 ? size : 1);
}

void *heap_zero(size_t count, size_t size)
{
    size_t total;
    if (fails_now() || __builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX) {
        return NULL;
    }
    return calloc(1, total > 0 ? total : 1);
}

void *heap_resize(void *memory, size_t size)
{
    if (fails_now() || size > PTRDIFF_MAX) {
        return NULL;
    }
    return realloc(memory, size > 0 ? size : 1);
}

void heap_free(void *memory)
{
    free(memory);
}

void *heap_must(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

void heap_fail_at(long count)
{
    allocations_until_failure = count;
    has_failed = false;
}

int heap_failed(void)
{
    return has_failed ? 1 : 0;
}

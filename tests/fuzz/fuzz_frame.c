#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "protocol/msgpack/reader.h"

/* The first four bytes choose the limits and how the rest is cut; the rest is a
 * stream. A frame is found, or refused, in the same way however it arrives, and
 * it is whole where the reader finds a whole value. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum frame_status status;
    size_t size;
    uint64_t least;
};

static struct outcome scan(struct frame_limits limits, const uint8_t *bytes, size_t size,
                           unsigned step)
{
    struct frame_scanner scanner;
    struct outcome outcome;
    frame_scanner_init(&scanner, limits);
    size_t arrived = step > 0 && step < size ? step : size;
    for (;;) {
        uint8_t *copy = malloc(arrived > 0 ? arrived : 1);
        CHECK(copy != NULL);
        memcpy(copy, bytes, arrived);
        outcome.status = frame_scan(&scanner, copy, arrived, &outcome.size);
        outcome.least = scanner.least;
        free(copy);
        if (outcome.status == FRAME_MORE) {
            CHECK(outcome.size > arrived && outcome.size <= limits.bytes_max);
        }
        if (outcome.status != FRAME_MORE || arrived == size) {
            return outcome;
        }
        /* Steps that are not all alike. */
        step = step * 5 % 61 + 1;
        arrived = step < size - arrived ? arrived + step : size;
    }
}

static void compare(struct frame_limits limits, const uint8_t *bytes, size_t size, unsigned step)
{
    while (size > 0) {
        struct outcome once = scan(limits, bytes, size, 0);
        struct outcome cut = scan(limits, bytes, size, step);
        CHECK(once.status == cut.status);
        CHECK(once.size == cut.size);
        CHECK(once.least == cut.least);

        struct reader reader = reader_of(bytes, size);
        bool whole = reader_skip(&reader);
        size_t value_size = (size_t)(reader.at - bytes);
        if (once.status != FRAME_WHOLE) {
            /* Only limits refuse what is whole. */
            CHECK(!whole || once.status == FRAME_TOO_LARGE || once.status == FRAME_TOO_DEEP);
            return;
        }
        CHECK(whole && once.size == value_size && value_size <= limits.bytes_max);
        bytes += once.size;
        size -= once.size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    struct frame_limits limits = {.bytes_max = (uint32_t)(data[0] << 8 | data[1]),
                                  .levels_max = data[2] % (FRAME_LEVELS_MAX + 2)};
    compare(limits, data + 4, size - 4, data[3] % 61 + 1);
    return 0;
}

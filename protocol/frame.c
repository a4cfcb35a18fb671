#include "protocol/frame.h"

#include "protocol/base/check.h"
#include "protocol/msgpack/shape.h"

static void begin(struct frame_scanner *scanner)
{
    scanner->offset = 0;
    scanner->pending = 1;
    scanner->least = 1;
    scanner->level = 0;
    scanner->closes_at[0] = 0;
}

void frame_scanner_init(struct frame_scanner *scanner, struct frame_limits limits)
{
    scanner->limits = limits;
    if (scanner->limits.levels_max > FRAME_LEVELS_MAX) {
        scanner->limits.levels_max = FRAME_LEVELS_MAX;
    }
    begin(scanner);
}

/* A value that is not of a fixed size: its body, and what stands in it. On
 * FRAME_WHOLE the value was taken in; the frame may go on. */
static enum frame_status take_extent(struct frame_scanner *scanner, const uint8_t *bytes,
                                     size_t size)
{
    const uint8_t *at = bytes + scanner->offset;
    enum shape shape = (enum shape)shape_of[*at];
    if (shape == SHAPE_INVALID) {
        return FRAME_INVALID;
    }
    size_t header = shape_header_size[shape];
    if (header - 1 > scanner->limits.bytes_max - scanner->least) {
        scanner->least += header - 1;
        return FRAME_TOO_LARGE;
    }
    if (header > size - scanner->offset) {
        return FRAME_MORE;
    }
    struct extent extent = shape_extent(shape, at);
    uint64_t least = scanner->least - 1 + extent.bytes + extent.items;
    if (least > scanner->limits.bytes_max) {
        scanner->least = least;
        return FRAME_TOO_LARGE;
    }
    if (shape_is_container(shape) && scanner->level == scanner->limits.levels_max) {
        return FRAME_TOO_DEEP;
    }
    scanner->least = least;
    scanner->offset += extent.bytes;
    scanner->pending--;
    if (extent.items > 0) {
        scanner->closes_at[++scanner->level] = scanner->pending;
        scanner->pending += extent.items;
    }
    return FRAME_WHOLE;
}

static void close_levels(struct frame_scanner *scanner)
{
    while (scanner->level > 0 && scanner->pending == scanner->closes_at[scanner->level]) {
        scanner->level--;
    }
}

/* Values of a fixed size, as far as they go in this level: the innermost loop
 * of the daemon, so it runs on locals. */
static bool take_fixed(struct frame_scanner *scanner, const uint8_t *bytes, size_t size)
{
    uint64_t offset = scanner->offset;
    uint64_t pending = scanner->pending;
    uint64_t least = scanner->least;
    const uint64_t closes_at = scanner->closes_at[scanner->level];
    const uint64_t most = scanner->limits.bytes_max;
    while (pending > closes_at && offset < size && least <= most) {
        uint64_t shape = shape_of[bytes[offset]];
        if (shape > SHAPE_FIXED_MAX) {
            break;
        }
        offset += shape;
        least += shape - 1;
        pending--;
    }
    scanner->offset = offset;
    scanner->pending = pending;
    scanner->least = least;
    return least <= most;
}

enum frame_status frame_scan(struct frame_scanner *scanner, const uint8_t *bytes, size_t size,
                             size_t *frame_size)
{
    *frame_size = 0;
    for (;;) {
        if (!take_fixed(scanner, bytes, size)) {
            return FRAME_TOO_LARGE;
        }
        close_levels(scanner);
        if (scanner->pending == 0 && scanner->offset <= size) {
            *frame_size = (size_t)scanner->offset;
            begin(scanner);
            return FRAME_WHOLE;
        }
        if (scanner->pending == 0 || scanner->offset >= size) {
            *frame_size = (size_t)scanner->least;
            return FRAME_MORE;
        }
        if (shape_of[bytes[scanner->offset]] <= SHAPE_FIXED_MAX) {
            continue;
        }
        enum frame_status status = take_extent(scanner, bytes, size);
        if (status == FRAME_MORE) {
            size_t header = shape_header_size[shape_of[bytes[scanner->offset]]];
            *frame_size = (size_t)scanner->least + header - 1;
        }
        if (status != FRAME_WHOLE) {
            return status;
        }
    }
}

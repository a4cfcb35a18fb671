#ifndef RELATA_PROTOCOL_FRAME_H
#define RELATA_PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finds where one MessagePack value ends in bytes that arrive in pieces, with
 * limits on its size and depth checked before anything is allocated: a header
 * that announces more elements than the frame may have bytes is refused at the
 * header. It keeps its place between calls, so no byte is looked at twice. */

enum { FRAME_LEVELS_MAX = 64 };

struct frame_limits {
    uint32_t bytes_max;  /* of the whole frame */
    uint32_t levels_max; /* open arrays and maps; above FRAME_LEVELS_MAX counts as that */
};

enum frame_status {
    FRAME_MORE, /* not whole yet */
    FRAME_WHOLE,
    FRAME_TOO_LARGE,
    FRAME_TOO_DEEP,
    FRAME_INVALID /* the byte 0xc1 */
};

struct frame_scanner {
    struct frame_limits limits;
    uint64_t offset;  /* from the frame's start: where the next header is */
    uint64_t pending; /* values still to come, all levels together */
    uint64_t least;   /* bytes that the frame will have at least; after
                         FRAME_TOO_LARGE, those that were too many */
    uint32_t level;
    uint64_t closes_at[FRAME_LEVELS_MAX + 1]; /* `pending` at which a level is over */
};

void frame_scanner_init(struct frame_scanner *scanner, struct frame_limits limits);

/* Each value still to come counts as one byte, each header byte as it is
 * announced: so a frame is too large as soon as it can no longer be whole within
 * the limit, and what is found does not depend on how the bytes were cut.
 *
 * `bytes` holds the frame from its start, `size` of them so far (more than in
 * the call before, the same frame). On FRAME_WHOLE *frame_size is its length
 * and the scanner is ready for the next frame. After an error it must be
 * initialised again. On FRAME_MORE, *frame_size is how many bytes it will have
 * at least, for the reader to make room. */
enum frame_status frame_scan(struct frame_scanner *scanner, const uint8_t *bytes, size_t size,
                             size_t *frame_size);

#endif

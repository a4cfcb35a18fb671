#include "protocol/msgpack/shape.h"

/* Every first byte there is, from the table of formats in the MessagePack
 * specification. */
const uint8_t shape_of[256] = {
    [0x00 ... 0x7f] = 1, /* positive fixint */
    [0x80 ... 0x8f] = SHAPE_FIXED_MAP,
    [0x90 ... 0x9f] = SHAPE_FIXED_ARRAY,
    /* fixstr */
    [0xa0] = 1,
    [0xa1] = 2,
    [0xa2] = 3,
    [0xa3] = 4,
    [0xa4] = 5,
    [0xa5] = 6,
    [0xa6] = 7,
    [0xa7] = 8,
    [0xa8] = 9,
    [0xa9] = 10,
    [0xaa] = 11,
    [0xab] = 12,
    [0xac] = 13,
    [0xad] = 14,
    [0xae] = 15,
    [0xaf] = 16,
    [0xb0] = 17,
    [0xb1] = 18,
    [0xb2] = 19,
    [0xb3] = 20,
    [0xb4] = 21,
    [0xb5] = 22,
    [0xb6] = 23,
    [0xb7] = 24,
    [0xb8] = 25,
    [0xb9] = 26,
    [0xba] = 27,
    [0xbb] = 28,
    [0xbc] = 29,
    [0xbd] = 30,
    [0xbe] = 31,
    [0xbf] = 32,
    [0xc0] = 1, /* nil */
    [0xc1] = SHAPE_INVALID,
    [0xc2 ... 0xc3] = 1, /* false, true */
    [0xc4] = SHAPE_BODY8,
    [0xc5] = SHAPE_BODY16,
    [0xc6] = SHAPE_BODY32,
    [0xc7] = SHAPE_EXTENSION8,
    [0xc8] = SHAPE_EXTENSION16,
    [0xc9] = SHAPE_EXTENSION32,
    [0xca] = 5, /* float */
    [0xcb] = 9,
    [0xcc] = 2, /* uint */
    [0xcd] = 3,
    [0xce] = 5,
    [0xcf] = 9,
    [0xd0] = 2, /* int */
    [0xd1] = 3,
    [0xd2] = 5,
    [0xd3] = 9,
    [0xd4] = 3, /* fixext */
    [0xd5] = 4,
    [0xd6] = 6,
    [0xd7] = 10,
    [0xd8] = 18,
    [0xd9] = SHAPE_BODY8,
    [0xda] = SHAPE_BODY16,
    [0xdb] = SHAPE_BODY32,
    [0xdc] = SHAPE_ARRAY16,
    [0xdd] = SHAPE_ARRAY32,
    [0xde] = SHAPE_MAP16,
    [0xdf] = SHAPE_MAP32,
    [0xe0 ... 0xff] = 1, /* negative fixint */
};

const uint8_t shape_header_size[SHAPE_COUNT] = {
    [0 ... SHAPE_FIXED_MAX] = 1, [SHAPE_INVALID] = 1,    [SHAPE_FIXED_ARRAY] = 1,
    [SHAPE_FIXED_MAP] = 1,       [SHAPE_BODY8] = 2,      [SHAPE_BODY16] = 3,
    [SHAPE_BODY32] = 5,          [SHAPE_EXTENSION8] = 2, [SHAPE_EXTENSION16] = 3,
    [SHAPE_EXTENSION32] = 5,     [SHAPE_ARRAY16] = 3,    [SHAPE_ARRAY32] = 5,
    [SHAPE_MAP16] = 3,           [SHAPE_MAP32] = 5,
};

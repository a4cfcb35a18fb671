#ifndef RELATA_TESTS_LIB_MSGPACK_RANDOM_H
#define RELATA_TESTS_LIB_MSGPACK_RANDOM_H

#include <stdint.h>
#include <string.h>

#include "protocol/base/buffer.h"
#include "tests/lib/random.h"

/* Random MessagePack in any legal encoding, the long ones too, made without the
 * writer under test. */

static inline void random_big_endian(struct buffer *out, uint64_t value, unsigned bytes)
{
    while (bytes > 0) {
        bytes--;
        buffer_byte(out, (uint8_t)(value >> (8 * bytes)));
    }
}

/* A header of 8, 16 or 32 bits behind `format8`, `format8` + 1 or + 2. */
static inline void random_sized(struct random *random, struct buffer *out, unsigned format8,
                                uint32_t value)
{
    unsigned least = value <= 0xff ? 0 : value <= 0xffff ? 1 : 2;
    unsigned which = least + (unsigned)random_below(random, 3 - least);
    buffer_byte(out, (uint8_t)(format8 + which));
    random_big_endian(out, value, 1u << which);
}

static inline void random_bytes(struct random *random, struct buffer *out, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        buffer_byte(out, (uint8_t)random_next(random));
    }
}

static inline void random_string(struct random *random, struct buffer *out, size_t size)
{
    if (size <= 31 && random_below(random, 2) == 0) {
        buffer_byte(out, (uint8_t)(0xa0 | size));
    } else {
        random_sized(random, out, 0xd9, (uint32_t)size);
    }
    for (size_t i = 0; i < size; i++) {
        buffer_byte(out, (uint8_t)('a' + random_below(random, 26)));
    }
}

static inline void random_scalar(struct random *random, struct buffer *out)
{
    /* The fixed formats, with the bytes that follow each. */
    static const uint8_t formats[][2] = {
        {0xc0, 0}, {0xc2, 0}, {0xc3, 0}, {0xca, 4}, {0xcb, 8}, {0xcc, 1},
        {0xcd, 2}, {0xce, 4}, {0xcf, 8}, {0xd0, 1}, {0xd1, 2}, {0xd2, 4},
        {0xd3, 8}, {0xd4, 2}, {0xd5, 3}, {0xd6, 5}, {0xd7, 9}, {0xd8, 17},
    };
    size_t which = random_below(random, sizeof(formats) / sizeof(*formats) + 4);
    size_t size =
        random_below(random, 8) == 0 ? random_below(random, 400) : random_below(random, 9);
    switch (which) {
    case 0:
        buffer_byte(out, (uint8_t)random_below(random, 128));
        break;
    case 1:
        buffer_byte(out, (uint8_t)(0xe0 + random_below(random, 32)));
        break;
    case 2:
        random_string(random, out, size);
        break;
    case 3:
        if (random_below(random, 2) == 0) {
            random_sized(random, out, 0xc4, (uint32_t)size);
        } else {
            random_sized(random, out, 0xc7, (uint32_t)size);
            size++;
        }
        random_bytes(random, out, size);
        break;
    default:
        buffer_byte(out, formats[which - 4][0]);
        random_bytes(random, out, formats[which - 4][1]);
    }
}

static inline void random_container(struct random *random, struct buffer *out, unsigned fixed,
                                    unsigned format16, uint32_t count)
{
    uint64_t which = random_below(random, 3);
    if (which == 0 && count <= 15) {
        buffer_byte(out, (uint8_t)(fixed | count));
    } else if (which <= 1) {
        buffer_byte(out, (uint8_t)format16);
        random_big_endian(out, count, 2);
    } else {
        buffer_byte(out, (uint8_t)(format16 + 1));
        random_big_endian(out, count, 4);
    }
}

/* One value of up to `levels` arrays and maps within each other. */
static inline void random_value(struct random *random, struct buffer *out, unsigned levels)
{
    if (levels == 0 || random_below(random, 3) > 0) {
        random_scalar(random, out);
        return;
    }
    uint32_t count = (uint32_t)random_below(random, random_below(random, 10) == 0 ? 20 : 5);
    bool map = random_below(random, 2) == 0;
    random_container(random, out, map ? 0x80 : 0x90, map ? 0xde : 0xdc, count);
    for (uint32_t i = 0; i < (map ? 2 * count : count); i++) {
        random_value(random, out, levels - 1);
    }
}

#endif

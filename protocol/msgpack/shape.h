#ifndef RELATA_PROTOCOL_MSGPACK_SHAPE_H
#define RELATA_PROTOCOL_MSGPACK_SHAPE_H

#include <stddef.h>
#include <stdint.h>

/* What the first byte of a MessagePack value tells about its extent, and big
 * endian numbers. Shared by what reads values and by what finds their end.
 *
 * A shape up to SHAPE_FIXED_MAX is how many bytes the value has in all, header
 * and body, with nothing in it. The others need a look at more bytes. */
enum shape {
    SHAPE_FIXED_MAX = 63,
    SHAPE_INVALID, /* the byte 0xc1 */
    SHAPE_FIXED_ARRAY,
    SHAPE_FIXED_MAP,
    SHAPE_BODY8, /* strings and binaries, by the bytes of their size */
    SHAPE_BODY16,
    SHAPE_BODY32,
    SHAPE_EXTENSION8,
    SHAPE_EXTENSION16,
    SHAPE_EXTENSION32,
    SHAPE_ARRAY16,
    SHAPE_ARRAY32,
    SHAPE_MAP16,
    SHAPE_MAP32,
    SHAPE_COUNT
};

extern const uint8_t shape_of[256];

/* How many bytes the header of a shape has, without the type of an extension,
 * which counts as body. 1 for those that are fixed. */
extern const uint8_t shape_header_size[SHAPE_COUNT];

static inline uint16_t load16(const uint8_t *at)
{
    uint16_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return __builtin_bswap16(value);
}

static inline uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return __builtin_bswap32(value);
}

static inline uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return __builtin_bswap64(value);
}

static inline void store16(uint8_t *at, uint16_t value)
{
    value = __builtin_bswap16(value);
    __builtin_memcpy(at, &value, sizeof(value));
}

static inline void store32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    __builtin_memcpy(at, &value, sizeof(value));
}

static inline void store64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    __builtin_memcpy(at, &value, sizeof(value));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are swapped to big endian");

/* The extent of a value whose header is whole: the bytes of header and body,
 * and how many values stand in it after them. */
struct extent {
    uint64_t bytes;
    uint64_t items;
};

static inline struct extent shape_extent(enum shape shape, const uint8_t *at)
{
    switch (shape) {
    case SHAPE_FIXED_ARRAY:
        return (struct extent){1, *at & 0x0fu};
    case SHAPE_FIXED_MAP:
        return (struct extent){1, (uint64_t)2 * (*at & 0x0f)};
    case SHAPE_BODY8:
        return (struct extent){(uint64_t)2 + at[1], 0};
    case SHAPE_BODY16:
        return (struct extent){(uint64_t)3 + load16(at + 1), 0};
    case SHAPE_BODY32:
        return (struct extent){(uint64_t)5 + load32(at + 1), 0};
    case SHAPE_EXTENSION8:
        return (struct extent){(uint64_t)3 + at[1], 0};
    case SHAPE_EXTENSION16:
        return (struct extent){(uint64_t)4 + load16(at + 1), 0};
    case SHAPE_EXTENSION32:
        return (struct extent){(uint64_t)6 + load32(at + 1), 0};
    case SHAPE_ARRAY16:
        return (struct extent){3, load16(at + 1)};
    case SHAPE_ARRAY32:
        return (struct extent){5, load32(at + 1)};
    case SHAPE_MAP16:
        return (struct extent){3, (uint64_t)2 * load16(at + 1)};
    case SHAPE_MAP32:
        return (struct extent){5, (uint64_t)2 * load32(at + 1)};
    case SHAPE_INVALID:
    case SHAPE_FIXED_MAX:
    case SHAPE_COUNT:
        break;
    }
    return (struct extent){shape, 0};
}

static inline int shape_is_container(enum shape shape)
{
    return shape == SHAPE_FIXED_ARRAY || shape == SHAPE_FIXED_MAP || shape >= SHAPE_ARRAY16;
}

#endif

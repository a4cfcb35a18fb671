#include "clients/cli/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buffer *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 3) {
        size_t here = size - i < 3 ? size - i : 3;
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= here > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= here > 2 ? (uint32_t)bytes[i + 2] : 0;
        for (size_t digit = 0; digit < 4; digit++) {
            bool is_padding = digit > here;
            uint32_t bits = (group >> (18 - 6 * digit)) & 63;
            buffer_byte(out, is_padding ? (uint8_t)'=' : (uint8_t)digits[bits]);
        }
    }
}

static int digit_value(char digit)
{
    const char *found = digit == '\0' ? NULL : strchr(digits, digit);
    return found == NULL ? -1 : (int)(found - digits);
}

bool base64_decode(struct buffer *out, const char *text, size_t size)
{
    if (size % 4 == 0) {
        for (int i = 0; i < 2 && size > 0 && text[size - 1] == '='; i++) {
            size--;
        }
    }
    if (size % 4 == 1) {
        return false;
    }
    uint32_t group = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < size; i++) {
        int value = digit_value(text[i]);
        if (value < 0) {
            return false;
        }
        group = (group << 6 | (uint32_t)value) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buffer_byte(out, (uint8_t)(group >> bits & 0xff));
        }
    }
    /* Bits that belong to no byte must be 0: one text for one content. */
    return (group & ((1u << bits) - 1)) == 0;
}

#include "protocol/base/utf8.h"

#include <locale.h>
#include <string.h>
#include <wctype.h>

#include "protocol/base/check.h"

static const uint64_t high_bits = 0x8080808080808080u;

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static bool continues(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* How long the well-formed sequence of several bytes at `at` is; 0 where it is
 * none. The bounds of the second byte are from Unicode's table 3-7: they keep
 * out long forms, surrogates and what is beyond U+10FFFF. */
static size_t sequence_size(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0xc2 || first > 0xf4 || left < 2) {
        return 0;
    }
    if (first < 0xe0) {
        return continues(at[1]) ? 2 : 0;
    }
    uint8_t lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < lowest || at[1] > highest || left < 3 || !continues(at[2])) {
        return 0;
    }
    if (first < 0xf0) {
        return 3;
    }
    return left >= 4 && continues(at[3]) ? 4 : 0;
}

bool utf8_valid(const void *text, size_t size)
{
    const uint8_t *at = text;
    while (size > 0) {
        while (size >= 8 && (load_word(at) & high_bits) == 0) {
            at += 8;
            size -= 8;
        }
        if (size == 0) {
            break;
        }
        size_t step = *at < 0x80 ? 1 : sequence_size(at, size);
        if (step == 0) {
            return false;
        }
        at += step;
        size -= step;
    }
    return true;
}

size_t utf8_length(const void *text, size_t size)
{
    const uint8_t *at = text;
    size_t continuations = 0;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word = load_word(at + i);
        /* Bit 7 set and bit 6 clear, a byte each. */
        uint64_t marks = word & ~(word << 1) & high_bits;
        continuations += (size_t)__builtin_popcountll(marks);
    }
    for (; i < size; i++) {
        continuations += continues(at[i]) ? 1 : 0;
    }
    return size - continuations;
}

uint32_t utf8_decode(const uint8_t *text, size_t left, size_t *size)
{
    CHECK(left > 0);
    uint32_t first = text[0];
    *size = 1;
    if (first < 0x80) {
        return first;
    }
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    CHECK(wanted <= left);
    *size = wanted;
    uint32_t code_point = first & (0x7fu >> wanted);
    for (size_t i = 1; i < wanted; i++) {
        code_point = (code_point << 6) | (text[i] & 0x3fu);
    }
    return code_point;
}

void utf8_encode(struct buffer *out, uint32_t code_point)
{
    CHECK(code_point <= 0x10ffff);
    uint8_t bytes[4];
    size_t size;
    if (code_point < 0x80) {
        bytes[0] = (uint8_t)code_point;
        size = 1;
    } else if (code_point < 0x800) {
        bytes[0] = (uint8_t)(0xc0 | (code_point >> 6));
        bytes[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        size = 2;
    } else if (code_point < 0x10000) {
        bytes[0] = (uint8_t)(0xe0 | (code_point >> 12));
        bytes[1] = (uint8_t)(0x80 | ((code_point >> 6) & 0x3f));
        bytes[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        size = 3;
    } else {
        bytes[0] = (uint8_t)(0xf0 | (code_point >> 18));
        bytes[1] = (uint8_t)(0x80 | ((code_point >> 12) & 0x3f));
        bytes[2] = (uint8_t)(0x80 | ((code_point >> 6) & 0x3f));
        bytes[3] = (uint8_t)(0x80 | (code_point & 0x3f));
        size = 4;
    }
    buffer_append(out, bytes, size);
}

/* The process's own locale is left alone: case must not depend on where the
 * daemon was started. */
static locale_t unicode_locale(void)
{
    static locale_t locale;
    if (locale == (locale_t)0) {
        locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
        if (locale == (locale_t)0) {
            locale = newlocale(LC_CTYPE_MASK, "en_US.UTF-8", (locale_t)0);
        }
        if (locale == (locale_t)0) {
            locale = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
        }
        CHECK(locale != (locale_t)0);
    }
    return locale;
}

static void map_ascii(struct buffer *out, const uint8_t *text, size_t size, uint8_t from)
{
    if (!buffer_reserve(out, size)) {
        return;
    }
    uint8_t *to = out->bytes + out->size;
    for (size_t i = 0; i < size; i++) {
        uint8_t is_letter = (uint8_t)(text[i] - from) < 26;
        to[i] = (uint8_t)(text[i] ^ (is_letter << 5));
    }
    out->size += size;
}

/* Runs of ASCII at once, the rest a code point at a time. `from` is the first
 * letter of the case that changes. */
static void map_case(struct buffer *out, const void *text, size_t size, uint8_t from,
                     wint_t (*map)(wint_t, locale_t))
{
    const uint8_t *at = text;
    const uint8_t *end = at + size;
    while (at < end) {
        const uint8_t *run = at;
        while (run < end && *run < 0x80) {
            run++;
        }
        if (run > at) {
            map_ascii(out, at, (size_t)(run - at), from);
            at = run;
            continue;
        }
        size_t step;
        uint32_t code_point = utf8_decode(at, (size_t)(end - at), &step);
        utf8_encode(out, (uint32_t)map((wint_t)code_point, unicode_locale()));
        at += step;
    }
}

void utf8_lower(struct buffer *out, const void *text, size_t size)
{
    if (size > 0) {
        map_case(out, text, size, 'A', towlower_l);
    }
}

void utf8_upper(struct buffer *out, const void *text, size_t size)
{
    if (size > 0) {
        map_case(out, text, size, 'a', towupper_l);
    }
}

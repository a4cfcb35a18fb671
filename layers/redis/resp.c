#include "layers/redis/resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

/* A value is a line, and what the line announces: bytes (a bulk) or further
 * values. An attribute is read as a list of its pairs and of the reply that it
 * stands before; so it needs no rules of its own.
 *
 * The scan and the reader go through lines with the same code, so that what one
 * takes, the other does not refuse. */

enum {
    LINE_BYTES_MAX = 64 << 10, /* without what ends it */
    VALUE_BYTES_MIN = 3,       /* "_\r\n" */
    REAL_BYTES_MAX = 400,      /* a double in full has some 330 */
    FORMAT_BYTES = 4,          /* "txt:" */
    SHOWN_BYTES_MAX = 60       /* of what came, in messages */
};

/* What the line of a value says, by its first byte. */
enum shape {
    SHAPE_NONE,
    SHAPE_TEXT,
    SHAPE_INTEGER,
    SHAPE_BIG,
    SHAPE_REAL,
    SHAPE_BOOLEAN,
    SHAPE_NIL,
    SHAPE_BULK,
    SHAPE_FORMATTED,
    SHAPE_ITEMS,
    SHAPE_PAIRS,
    SHAPE_ATTRIBUTE
};

static const struct {
    uint8_t shape;
    uint8_t kind;
    bool may_lack; /* a size of -1 is nil */
} types[256] = {
    ['+'] = {SHAPE_TEXT, RESP_TEXT, false},       ['-'] = {SHAPE_TEXT, RESP_ERROR, false},
    [':'] = {SHAPE_INTEGER, RESP_INTEGER, false}, ['('] = {SHAPE_BIG, RESP_TEXT, false},
    [','] = {SHAPE_REAL, RESP_REAL, false},       ['#'] = {SHAPE_BOOLEAN, RESP_BOOLEAN, false},
    ['_'] = {SHAPE_NIL, RESP_NIL, false},         ['$'] = {SHAPE_BULK, RESP_TEXT, true},
    ['!'] = {SHAPE_BULK, RESP_ERROR, false},      ['='] = {SHAPE_FORMATTED, RESP_TEXT, false},
    ['*'] = {SHAPE_ITEMS, RESP_ARRAY, true},      ['~'] = {SHAPE_ITEMS, RESP_ARRAY, false},
    ['>'] = {SHAPE_ITEMS, RESP_PUSH, false},      ['%'] = {SHAPE_PAIRS, RESP_MAP, false},
    ['|'] = {SHAPE_ATTRIBUTE, RESP_MAP, false},
};

struct head {
    enum shape shape;
    enum resp_kind kind;
    const uint8_t *text; /* the line, without its first byte */
    size_t text_size;
    size_t line_size; /* with all of it */
    int64_t integer;  /* what is announced, or the value; -1: a nil */
    uint64_t items;   /* values that belong to this one */
    uint64_t body;    /* bytes behind the line, with what ends them */
};

/* ---- Lines ---- */

static size_t digits_of(const uint8_t *text, size_t size)
{
    size_t count = 0;
    while (count < size && text[count] >= '0' && text[count] <= '9') {
        count++;
    }
    return count;
}

/* As Redis writes integers: no zeros in front, no plus, no "-0". */
static bool integer_read(const uint8_t *text, size_t size, int64_t *out)
{
    bool negative = size > 0 && text[0] == '-';
    size_t start = negative ? 1 : 0;
    size_t digits = digits_of(text + start, size - start);
    if (digits == 0 || digits != size - start || (text[start] == '0' && size > 1)) {
        return false;
    }
    int64_t value = 0;
    for (size_t i = start; i < size; i++) {
        int digit = text[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

static bool same(const uint8_t *bytes, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(bytes, text, size) == 0;
}

static bool big_valid(const uint8_t *text, size_t size)
{
    size_t sign = size > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    return size > sign && digits_of(text + sign, size - sign) == size - sign;
}

/* Decimal only: strtod takes hexadecimal digits and spaces too. */
static bool real_valid(const uint8_t *text, size_t size)
{
    if (size > REAL_BYTES_MAX) {
        return false;
    }
    size_t at = size > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    if (same(text + at, size - at, "inf") || same(text + at, size - at, "nan")) {
        return true;
    }
    size_t digits = digits_of(text + at, size - at);
    at += digits;
    if (at < size && text[at] == '.') {
        at++;
        size_t fraction = digits_of(text + at, size - at);
        at += fraction;
        digits += fraction;
    }
    if (digits == 0) {
        return false;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        at += at < size && (text[at] == '-' || text[at] == '+') ? 1 : 0;
        digits = digits_of(text + at, size - at);
        at += digits;
    }
    return digits > 0 && at == size;
}

/* Takes what a line announces; false where it is no size. How much may be
 * announced is for the callers to say. */
static bool announced(struct head *head, bool may_lack)
{
    if (!integer_read(head->text, head->text_size, &head->integer)) {
        return false;
    }
    if (head->integer < 0) {
        head->kind = RESP_NIL;
        return head->integer == -1 && may_lack;
    }
    uint64_t count = (uint64_t)head->integer;
    if (head->shape == SHAPE_BULK || head->shape == SHAPE_FORMATTED) {
        head->body = count + 2;
        return head->shape == SHAPE_BULK || count >= FORMAT_BYTES;
    }
    /* Less than 2^64, since `count` is less than 2^63. */
    head->items = head->shape == SHAPE_ITEMS ? count : 2 * count;
    head->items += head->shape == SHAPE_ATTRIBUTE ? 1 : 0;
    return true;
}

static bool line_valid(struct head *head, bool may_lack)
{
    const uint8_t *text = head->text;
    size_t size = head->text_size;
    switch (head->shape) {
    case SHAPE_NONE:
        return false;
    case SHAPE_TEXT:
        return true;
    case SHAPE_INTEGER:
        return integer_read(text, size, &head->integer);
    case SHAPE_BIG:
        return big_valid(text, size);
    case SHAPE_REAL:
        return real_valid(text, size);
    case SHAPE_BOOLEAN:
        head->integer = size == 1 && text[0] == 't';
        return size == 1 && (text[0] == 't' || text[0] == 'f');
    case SHAPE_NIL:
        return size == 0;
    case SHAPE_BULK:
    case SHAPE_FORMATTED:
    case SHAPE_ITEMS:
    case SHAPE_PAIRS:
    case SHAPE_ATTRIBUTE:
        return announced(head, may_lack);
    }
    return false;
}

/* Reads the line at `at`, of which `size` bytes are there. `looked` of them are
 * known not to end it; where it is cut, it says of how many that is known now. */
static enum resp_scan_status head_read(struct head *head, const uint8_t *at, size_t size,
                                       size_t *looked)
{
    if (size == 0) {
        return RESP_CUT;
    }
    *head = (struct head){.shape = (enum shape)types[*at].shape,
                          .kind = (enum resp_kind)types[*at].kind,
                          .text = at + 1};
    if (head->shape == SHAPE_NONE) {
        return RESP_BROKEN;
    }
    size_t from = *looked > 0 ? *looked : 1;
    size_t to = size < LINE_BYTES_MAX + 1 ? size : LINE_BYTES_MAX + 1;
    const uint8_t *end = from < to ? memchr(at + from, '\r', to - from) : NULL;
    if (end == NULL) {
        *looked = to;
        return to == LINE_BYTES_MAX + 1 ? RESP_BROKEN : RESP_CUT;
    }
    head->text_size = (size_t)(end - head->text);
    head->line_size = head->text_size + 3;
    if (size < head->line_size) {
        *looked = (size_t)(end - at);
        return RESP_CUT;
    }
    *looked = 0;
    return end[1] == '\n' && line_valid(head, types[*at].may_lack) ? RESP_WHOLE : RESP_BROKEN;
}

/* ---- Scanning ---- */

/* The fault is at byte `from`. */
static enum resp_scan_status broken(const uint8_t *bytes, size_t size, size_t from,
                                    struct error *error)
{
    size_t shown = size - from < SHOWN_BYTES_MAX ? size - from : SHOWN_BYTES_MAX;
    error_set(error, CODE_UNAVAILABLE, "what the server sent is no RESP, at byte %zu: \"%.*s\"",
              from, (int)shown, (const char *)bytes + from);
    return RESP_BROKEN;
}

/* Counts a value that is complete, and those that are complete with it. */
static void value_ends(struct resp_scan *scan)
{
    while (scan->level > 0 && --scan->left[scan->level - 1] == 0) {
        scan->level--;
    }
}

/* False where the value would exceed a limit. */
static bool value_begins(struct resp_scan *scan, const struct head *head, struct error *error)
{
    size_t room = RESP_REPLY_BYTES_MAX - scan->at;
    if (head->line_size + head->body > room ||
        head->items > (room - head->line_size) / VALUE_BYTES_MIN) {
        error_set(error, CODE_UNAVAILABLE, "the server sent a reply of more than %d bytes",
                  RESP_REPLY_BYTES_MAX);
        return false;
    }
    if (head->items > 0 && scan->level == RESP_LEVELS_MAX) {
        error_set(error, CODE_UNAVAILABLE, "the server sent a reply of more than %d levels",
                  RESP_LEVELS_MAX);
        return false;
    }
    scan->at += head->line_size + (size_t)head->body;
    if (head->items > 0) {
        scan->left[scan->level++] = head->items;
    } else {
        value_ends(scan);
    }
    return true;
}

enum resp_scan_status resp_scan_go(struct resp_scan *scan, const uint8_t *bytes, size_t size,
                                   struct error *error)
{
    while (size > 0 && scan->at <= size) {
        /* Every line and every bulk ends alike, so that nothing has to be
         * remembered of a bulk that was cut. */
        if (scan->at > 0 && memcmp(bytes + scan->at - 2, "\r\n", 2) != 0) {
            return broken(bytes, size, scan->at - 2, error);
        }
        if (scan->at > 0 && scan->level == 0) {
            return RESP_WHOLE;
        }
        struct head head;
        enum resp_scan_status status =
            head_read(&head, bytes + scan->at, size - scan->at, &scan->looked);
        if (status == RESP_CUT) {
            return RESP_CUT;
        }
        /* A push stands between replies, never in one. */
        if (status == RESP_BROKEN || (head.kind == RESP_PUSH && scan->level > 0)) {
            return broken(bytes, size, scan->at, error);
        }
        if (!value_begins(scan, &head, error)) {
            return RESP_BROKEN;
        }
    }
    return RESP_CUT;
}

/* ---- Reading ---- */

/* Reads a line with the bytes that it announces, which are all there; false at
 * the end, where nothing more is read. */
static bool reader_head(struct resp_reader *reader, struct head *head)
{
    size_t left = (size_t)(reader->end - reader->at);
    size_t looked = 0;
    if (head_read(head, reader->at, left, &looked) == RESP_WHOLE) {
        left -= head->line_size;
        /* What announces more values than there can be is cut short: nobody
         * makes room for them, or counts to there. */
        if (head->body <= left && head->items <= (left - head->body) / VALUE_BYTES_MIN) {
            reader->at += head->line_size + head->body;
            return true;
        }
    }
    reader->at = reader->end;
    return false;
}

static void skip_values(struct resp_reader *reader, uint64_t count)
{
    /* How they nest is of no interest. More values than there can be end it, as
     * above; so the count does not overflow. */
    struct head head;
    while (count > 0 && reader_head(reader, &head)) {
        count += head.items;
        count--;
        if (count > (size_t)(reader->end - reader->at) / VALUE_BYTES_MIN) {
            reader->at = reader->end;
        }
    }
}

static double real_of(const struct head *head)
{
    char text[REAL_BYTES_MAX + 1];
    memcpy(text, head->text, head->text_size);
    text[head->text_size] = '\0';
    return strtod(text, NULL);
}

static struct resp_token token_of(const struct head *head)
{
    struct resp_token token = {.kind = head->kind};
    switch (head->shape) {
    case SHAPE_TEXT:
    case SHAPE_BIG:
        token.bytes = head->text;
        token.size = head->text_size;
        break;
    case SHAPE_INTEGER:
    case SHAPE_BOOLEAN:
        token.integer = head->integer;
        break;
    case SHAPE_REAL:
        token.real = real_of(head);
        break;
    case SHAPE_BULK:
    case SHAPE_FORMATTED:
        if (head->kind != RESP_NIL) {
            size_t format = head->shape == SHAPE_FORMATTED ? FORMAT_BYTES : 0;
            token.bytes = head->text + head->text_size + 2 + format;
            token.size = (size_t)head->integer - format;
        }
        break;
    case SHAPE_ITEMS:
    case SHAPE_PAIRS:
        token.count = head->kind != RESP_NIL ? (uint64_t)head->integer : 0;
        break;
    case SHAPE_NONE:
    case SHAPE_NIL:
    case SHAPE_ATTRIBUTE:
        break;
    }
    return token;
}

struct resp_token resp_next(struct resp_reader *reader)
{
    struct head head;
    while (reader_head(reader, &head)) {
        if (head.shape != SHAPE_ATTRIBUTE) {
            return token_of(&head);
        }
        skip_values(reader, head.items - 1);
    }
    return (struct resp_token){.kind = RESP_END};
}

void resp_skip(struct resp_reader *reader)
{
    skip_values(reader, 1);
}

bool resp_is(const struct resp_token *token, const char *text)
{
    return token->kind == RESP_TEXT && same(token->bytes, token->size, text);
}

bool resp_begins(const struct resp_token *token, const char *text)
{
    size_t size = strlen(text);
    return (token->kind == RESP_TEXT || token->kind == RESP_ERROR) && token->size >= size &&
           memcmp(token->bytes, text, size) == 0;
}

static const char *describe_text(const struct resp_token *token, const char *what)
{
    /* A message may describe several tokens at once, so there are several places. */
    static char texts[4][SHOWN_BYTES_MAX + 24];
    static unsigned next;
    char *text = texts[next++ % ARRAY_COUNT(texts)];
    bool long_one = token->size > SHOWN_BYTES_MAX;
    snprintf(text, sizeof(texts[0]), "the %s \"%.*s%s\"", what,
             (int)(long_one ? SHOWN_BYTES_MAX : token->size), (const char *)token->bytes,
             long_one ? "..." : "");
    return text;
}

const char *resp_describe(const struct resp_token *token)
{
    switch (token->kind) {
    case RESP_NIL:
        return "nil";
    case RESP_TEXT:
        return describe_text(token, "text");
    case RESP_ERROR:
        return describe_text(token, "error");
    case RESP_INTEGER:
        return "an integer";
    case RESP_REAL:
        return "a real number";
    case RESP_BOOLEAN:
        return "a boolean";
    case RESP_ARRAY:
        return "an array";
    case RESP_MAP:
        return "a map";
    case RESP_PUSH:
        return "a push";
    case RESP_END:
        return "nothing";
    }
    return "nothing";
}

/* ---- Commands ---- */

enum { INTEGER_DIGITS_MAX = 20 };

/* The digits of `value` behind `sign`, from `text` on; how many bytes. */
static size_t digits_write(char text[INTEGER_DIGITS_MAX + 1], char sign, uint64_t value)
{
    char digits[INTEGER_DIGITS_MAX];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    size_t size = 0;
    if (sign != '\0') {
        text[size++] = sign;
    }
    while (count > 0) {
        text[size++] = digits[--count];
    }
    return size;
}

static void write_head(struct buffer *out, char type, uint64_t count)
{
    char text[INTEGER_DIGITS_MAX + 3];
    size_t size = digits_write(text, type, count);
    text[size++] = '\r';
    text[size++] = '\n';
    buffer_append(out, text, size);
}

void resp_command(struct buffer *out, size_t words)
{
    write_head(out, '*', words);
}

void resp_word(struct buffer *out, const void *bytes, size_t size)
{
    write_head(out, '$', size);
    buffer_append(out, bytes, size);
    buffer_append(out, "\r\n", 2);
}

void resp_word_text(struct buffer *out, const char *text)
{
    resp_word(out, text, strlen(text));
}

void resp_word_integer(struct buffer *out, int64_t integer)
{
    char text[INTEGER_DIGITS_MAX + 1];
    uint64_t magnitude = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    size_t size = digits_write(text, integer < 0 ? '-' : '\0', magnitude);
    resp_word(out, text, size);
}

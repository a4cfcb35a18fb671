#include "layers/query/expr_lex.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/name.h"
#include "protocol/base/utf8.h"

enum { NUMBER_BYTES_MAX = 400 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->size ? lexer->text[lexer->at + ahead] : '\0';
}

static void fail(struct lexeme *out)
{
    out->kind = LEXEME_BAD;
}

/* ---- Names ---- */

static const struct {
    const char *text;
    enum lexeme_kind kind;
} words[] = {
    {"and", LEXEME_AND},       {"or", LEXEME_OR},         {"not", LEXEME_NOT},
    {"in", LEXEME_IN},         {"true", LEXEME_TRUE},     {"false", LEXEME_FALSE},
    {"nil", LEXEME_NIL},       {"parent", LEXEME_PARENT}, {"actor", LEXEME_ACTOR},
    {"tenant", LEXEME_TENANT}, {"exists", LEXEME_EXISTS},
};

static size_t name_size(const struct lexer *lexer, size_t from)
{
    size_t end = from;
    while (end < lexer->size && (is_letter(lexer->text[end]) || is_digit(lexer->text[end]))) {
        end++;
    }
    return end - from;
}

static void lex_name(struct lexer *lexer, struct lexeme *out)
{
    out->kind = LEXEME_NAME;
    out->text = lexer->text + lexer->at;
    out->text_size = name_size(lexer, lexer->at);
    lexer->at += out->text_size;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strlen(words[i].text) == out->text_size &&
            memcmp(words[i].text, out->text, out->text_size) == 0) {
            out->kind = words[i].kind;
        }
    }
    if (out->text_size > NAME_MAX_BYTES) {
        context_fail(lexer->context, out->at, "a name of %zu bytes, at most %d are possible",
                     out->text_size, NAME_MAX_BYTES);
        fail(out);
    }
}

static void lex_param(struct lexer *lexer, struct lexeme *out)
{
    out->kind = LEXEME_PARAM;
    out->text = lexer->text + lexer->at + 1;
    out->text_size = name_size(lexer, lexer->at + 1);
    lexer->at += 1 + out->text_size;
    if (out->text_size == 0 || is_digit(out->text[0]) || out->text_size > NAME_MAX_BYTES) {
        context_fail(lexer->context, out->at, "expected a param's name behind $");
        fail(out);
    }
}

/* ---- Numbers ---- */

static size_t skip_digits(const struct lexer *lexer, size_t at)
{
    while (at < lexer->size && is_digit(lexer->text[at])) {
        at++;
    }
    return at;
}

static void lex_float(struct lexer *lexer, struct lexeme *out, size_t end)
{
    char digits[NUMBER_BYTES_MAX + 1];
    size_t size = end - lexer->at;
    out->kind = LEXEME_FLOAT;
    if (size <= NUMBER_BYTES_MAX) {
        memcpy(digits, lexer->text + lexer->at, size);
        digits[size] = '\0';
        out->real = strtod(digits, NULL);
    }
    if (size > NUMBER_BYTES_MAX || !isfinite(out->real)) {
        context_fail(lexer->context, out->at, "this number is too large");
        fail(out);
    }
}

static void lex_integer(struct lexer *lexer, struct lexeme *out, size_t end)
{
    out->kind = LEXEME_INTEGER;
    out->natural = 0;
    for (size_t i = lexer->at; i < end; i++) {
        uint64_t digit = (uint64_t)(lexer->text[i] - '0');
        if (__builtin_mul_overflow(out->natural, 10u, &out->natural) ||
            __builtin_add_overflow(out->natural, digit, &out->natural)) {
            out->natural = UINT64_MAX;
            return;
        }
    }
}

static void lex_number(struct lexer *lexer, struct lexeme *out)
{
    size_t end = skip_digits(lexer, lexer->at);
    bool whole = true;
    if (end + 1 < lexer->size && lexer->text[end] == '.' && is_digit(lexer->text[end + 1])) {
        end = skip_digits(lexer, end + 1);
        whole = false;
    }
    if (end < lexer->size && (lexer->text[end] == 'e' || lexer->text[end] == 'E')) {
        size_t digits = end + 1;
        if (digits < lexer->size && (lexer->text[digits] == '+' || lexer->text[digits] == '-')) {
            digits++;
        }
        if (skip_digits(lexer, digits) > digits) {
            end = skip_digits(lexer, digits);
            whole = false;
        }
    }
    if (whole) {
        lex_integer(lexer, out, end);
    } else {
        lex_float(lexer, out, end);
    }
    lexer->at = end;
    if (end < lexer->size && is_letter(lexer->text[end]) && out->kind != LEXEME_BAD) {
        context_fail(lexer->context, end, "a letter right behind a number");
        fail(out);
    }
}

/* ---- Texts ---- */

static int hex_digit(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Four hexadecimal digits at the lexer's place, or -1. */
static int32_t lex_hex(struct lexer *lexer)
{
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(peek(lexer, i));
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    lexer->at += 4;
    return value;
}

/* Behind `\u`. Two surrogates are one character, as in JSON; one alone is none. */
static int32_t lex_code_point(struct lexer *lexer)
{
    int32_t first = lex_hex(lexer);
    if (first < 0xd800 || first > 0xdfff) {
        return first;
    }
    if (first > 0xdbff || peek(lexer, 0) != '\\' || peek(lexer, 1) != 'u') {
        return -1;
    }
    lexer->at += 2;
    int32_t second = lex_hex(lexer);
    if (second < 0xdc00 || second > 0xdfff) {
        return -1;
    }
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
}

/* Behind a backslash; false where it is no escape. */
static bool lex_escape(struct lexer *lexer, struct buffer *out)
{
    char c = peek(lexer, 0);
    lexer->at++;
    switch (c) {
    case 'n':
        buffer_byte(out, '\n');
        return true;
    case 't':
        buffer_byte(out, '\t');
        return true;
    case '"':
    case '\'':
    case '\\':
        buffer_byte(out, (uint8_t)c);
        return true;
    case 'u': {
        int32_t code_point = lex_code_point(lexer);
        if (code_point >= 0) {
            utf8_encode(out, (uint32_t)code_point);
        }
        return code_point >= 0;
    }
    default:
        return false;
    }
}

static void lex_text(struct lexer *lexer, struct lexeme *out)
{
    char quote = lexer->text[lexer->at++];
    /* Escapes never make a text longer. */
    size_t room = lexer->size - lexer->at;
    uint8_t *bytes = arena_alloc(lexer->context->arena, room + 1);
    if (bytes == NULL) {
        context_no_memory(lexer->context);
        fail(out);
        return;
    }
    struct buffer text = {.bytes = bytes, .capacity = room + 1, .max = room + 1};
    out->kind = LEXEME_TEXT;
    while (lexer->at < lexer->size && lexer->text[lexer->at] != quote) {
        size_t start = lexer->at;
        if (lexer->text[lexer->at++] != '\\') {
            buffer_byte(&text, (uint8_t)lexer->text[start]);
        } else if (!lex_escape(lexer, &text)) {
            context_fail(lexer->context, start,
                         "no such escape, there are \\n \\t \\\" \\' \\\\ and \\uXXXX");
            fail(out);
            return;
        }
    }
    if (lexer->at >= lexer->size) {
        context_fail(lexer->context, out->at, "the text that begins here has no end");
        fail(out);
        return;
    }
    lexer->at++;
    out->text = (const char *)text.bytes;
    out->text_size = text.size;
}

/* ---- Signs ---- */

static int sign_of_two(char first, char second)
{
    if (second != '=') {
        return 0;
    }
    switch (first) {
    case '=':
        return SIGN_EQUAL;
    case '!':
        return SIGN_NOT_EQUAL;
    case '<':
        return SIGN_LESS_EQUAL;
    case '>':
        return SIGN_GREATER_EQUAL;
    default:
        return 0;
    }
}

static void lex_sign(struct lexer *lexer, struct lexeme *out)
{
    char c = peek(lexer, 0);
    int both = sign_of_two(c, peek(lexer, 1));
    out->kind = LEXEME_SIGN;
    if (both != 0) {
        out->sign = both;
        lexer->at += 2;
        return;
    }
    if (c != '\0' && strchr("<>+-*/%()[],.", c) != NULL) {
        out->sign = (uint8_t)c;
        lexer->at++;
        return;
    }
    static const struct {
        const char *came;
        const char *meant;
    } hints[] = {{"=", "=="}, {"!", "not"}, {"&", "and"}, {"|", "or"}};
    for (size_t i = 0; i < ARRAY_COUNT(hints); i++) {
        if (c == hints[i].came[0]) {
            context_fail(lexer->context, out->at, "no such operator, did you mean \"%s\"?",
                         hints[i].meant);
        }
    }
    size_t size = 0;
    if ((uint8_t)c >= 0x80) {
        utf8_decode((const uint8_t *)lexer->text + lexer->at, lexer->size - lexer->at, &size);
    }
    context_fail(lexer->context, out->at, "unexpected \"%.*s\"", size > 0 ? (int)size : 1,
                 lexer->text + lexer->at);
    fail(out);
}

void lexer_next(struct lexer *lexer, struct lexeme *out)
{
    while (lexer->at < lexer->size && is_blank(lexer->text[lexer->at])) {
        lexer->at++;
    }
    *out = (struct lexeme){.at = lexer->at};
    if (lexer->context->status != 0) {
        fail(out);
        return;
    }
    char c = peek(lexer, 0);
    if (lexer->at >= lexer->size) {
        out->kind = LEXEME_END;
    } else if (is_letter(c)) {
        lex_name(lexer, out);
    } else if (is_digit(c)) {
        lex_number(lexer, out);
    } else if (c == '"' || c == '\'') {
        lex_text(lexer, out);
    } else if (c == '$') {
        lex_param(lexer, out);
    } else {
        lex_sign(lexer, out);
    }
    out->size = lexer->at - out->at;
}

#include "clients/cli/render.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/base64.h"
#include "protocol/base/datetime.h"
#include "protocol/base/utf8.h"

static void append_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* --- Strings ------------------------------------------------------------------ */

/* The bytes of the code point at `text`; 0 where there is none. */
static size_t code_point_size(const char *text, size_t left)
{
    unsigned char first = (unsigned char)*text;
    size_t size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    return size <= left && utf8_valid(text, size) ? size : 0;
}

static bool escape_short(struct buffer *out, char character)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *found = character == '\0' ? NULL : strchr(from, character);
    if (found == NULL) {
        return false;
    }
    buffer_byte(out, '\\');
    buffer_byte(out, (uint8_t)to[found - from]);
    return true;
}

void render_json_string(struct buffer *out, const char *text, size_t size)
{
    buffer_byte(out, '"');
    for (size_t i = 0; i < size;) {
        size_t taken = code_point_size(text + i, size - i);
        if (taken == 0) {
            append_text(out, "\xef\xbf\xbd");
            taken = 1;
        } else if (escape_short(out, text[i])) {
            /* It is written. */
        } else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            buffer_printf(out, "\\u%04x", (unsigned char)text[i]);
        } else {
            buffer_append(out, text + i, taken);
        }
        i += taken;
    }
    buffer_byte(out, '"');
}

/* A string for a terminal: no control character reaches it. */
static void render_visible(struct buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t taken = code_point_size(text + i, size - i);
        unsigned char first = (unsigned char)text[i];
        bool is_c1 = taken == 2 && first == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
        if (taken == 0) {
            append_text(out, "\xef\xbf\xbd");
            taken = 1;
        } else if (first == '\n' || first == '\t' || first == '\r') {
            escape_short(out, text[i]);
        } else if (first < 0x20 || first == 0x7f || is_c1) {
            buffer_printf(out, "\\x%02x", is_c1 ? (unsigned char)text[i + 1] : first);
        } else {
            buffer_append(out, text + i, taken);
        }
        i += taken;
    }
}

/* --- Numbers and moments --------------------------------------------------------- */

static void render_float(struct buffer *out, double number)
{
    if (!isfinite(number)) {
        append_text(out, "null");
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    append_text(out, text);
    if (strpbrk(text, ".e") == NULL) {
        append_text(out, ".0");
    }
}

static void render_datetime(struct buffer *out, struct relata_value value)
{
    struct datetime datetime = {0};
    relata_value_datetime(value, &datetime.seconds, &datetime.nanoseconds);
    char text[DATETIME_TEXT_MAX];
    buffer_append(out, text, datetime_format(&datetime, text));
}

static void render_error_json(struct buffer *out, struct relata_value value)
{
    struct relata_error error;
    relata_value_error(value, &error);
    append_text(out, "{\"error\":{\"code\":\"");
    append_text(out, relata_code_text((int)error.code));
    append_text(out, "\",\"message\":");
    render_json_string(out, error.message, strlen(error.message));
    append_text(out, "}}");
}

/* What is neither a container nor a string. */
static void render_scalar(struct buffer *out, struct relata_value value)
{
    int64_t integer = 0;
    uint64_t natural = 0;
    double real = 0;
    bool boolean = false;
    if (relata_value_integer(value, &integer)) {
        buffer_printf(out, "%" PRId64, integer);
    } else if (relata_value_unsigned(value, &natural)) {
        buffer_printf(out, "%" PRIu64, natural);
    } else if (relata_value_float(value, &real)) {
        render_float(out, real);
    } else if (relata_value_boolean(value, &boolean)) {
        append_text(out, boolean ? "true" : "false");
    } else {
        append_text(out, "null");
    }
}

/* --- JSON ------------------------------------------------------------------------- */

/* Answers are nested to FRAME_LEVELS_MAX at most, so recursion has an end. */
static void render_array(struct buffer *out, struct relata_value value)
{
    struct relata_cursor cursor = relata_items(value);
    const char *before = "";
    buffer_byte(out, '[');
    for (struct relata_value item; relata_next(&cursor, &item); before = ",") {
        append_text(out, before);
        render_json(out, item);
    }
    buffer_byte(out, ']');
}

/* JSON's keys are strings: others become the text of their JSON. */
static void render_map_key(struct buffer *out, struct relata_value key)
{
    const char *text;
    size_t size;
    if (relata_value_string(key, &text, &size)) {
        render_json_string(out, text, size);
        return;
    }
    struct buffer json = BUFFER_INIT;
    render_json(&json, key);
    render_json_string(out, (const char *)json.bytes, json.size);
    buffer_release(&json);
}

static void render_map(struct buffer *out, struct relata_value value)
{
    struct relata_cursor cursor = relata_pairs(value);
    const char *before = "";
    buffer_byte(out, '{');
    for (struct relata_value key, item; relata_next_pair(&cursor, &key, &item); before = ",") {
        append_text(out, before);
        render_map_key(out, key);
        buffer_byte(out, ':');
        render_json(out, item);
    }
    buffer_byte(out, '}');
}

void render_json(struct buffer *out, struct relata_value value)
{
    const char *text = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    switch (relata_value_type(value)) {
    case RELATA_TYPE_STRING:
        relata_value_string(value, &text, &size);
        render_json_string(out, text, size);
        break;
    case RELATA_TYPE_BINARY:
        relata_value_binary(value, &bytes, &size);
        buffer_byte(out, '"');
        base64_encode(out, bytes, size);
        buffer_byte(out, '"');
        break;
    case RELATA_TYPE_ARRAY:
        render_array(out, value);
        break;
    case RELATA_TYPE_MAP:
        render_map(out, value);
        break;
    case RELATA_TYPE_DATETIME:
        buffer_byte(out, '"');
        render_datetime(out, value);
        buffer_byte(out, '"');
        break;
    case RELATA_TYPE_ERROR:
        render_error_json(out, value);
        break;
    case RELATA_TYPE_NONE:
    case RELATA_TYPE_NIL:
    case RELATA_TYPE_BOOLEAN:
    case RELATA_TYPE_INTEGER:
    case RELATA_TYPE_UNSIGNED:
    case RELATA_TYPE_FLOAT:
    case RELATA_TYPE_EXTENSION:
        render_scalar(out, value);
        break;
    }
}

/* --- Cells ------------------------------------------------------------------------ */

static void render_error_cell(struct buffer *out, struct relata_value value)
{
    struct relata_error error;
    relata_value_error(value, &error);
    append_text(out, relata_code_text((int)error.code));
    append_text(out, ": ");
    append_text(out, error.message);
}

static void render_json_cell(struct buffer *out, struct relata_value value)
{
    struct buffer json = BUFFER_INIT;
    render_json(&json, value);
    render_visible(out, (const char *)json.bytes, json.size);
    buffer_release(&json);
}

void render_cell(struct buffer *out, struct relata_value value)
{
    const char *text = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum relata_type type = relata_value_type(value);
    enum relata_type first = relata_value_type(relata_value_at(value, 0));
    if (relata_value_string(value, &text, &size)) {
        render_visible(out, text, size);
    } else if (relata_value_binary(value, &bytes, &size)) {
        base64_encode(out, bytes, size);
    } else if (type == RELATA_TYPE_NIL) {
        append_text(out, "nil");
    } else if (type == RELATA_TYPE_DATETIME) {
        render_datetime(out, value);
    } else if (type == RELATA_TYPE_ERROR) {
        render_error_cell(out, value);
    } else if (type == RELATA_TYPE_ARRAY && first == RELATA_TYPE_MAP) {
        buffer_printf(out, "[%zu]", relata_value_count(value));
    } else {
        render_json_cell(out, value);
    }
}

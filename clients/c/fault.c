#include "clients/c/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"

/* The public codes are the protocol's, by name and number. */
#define X(name, text, meaning) \
    _Static_assert((int)RELATA_CODE_##name == (int)CODE_##name, "relata.h has the code " text);
RELATA_CODES(X)
#undef X
_Static_assert((int)RELATA_CODE_INTERNAL + 1 == (int)CODE_COUNT, "relata.h has every code");

#define COPY_TEXT(to, from)                                          \
    do {                                                             \
        _Static_assert(sizeof(to) >= sizeof(from), "the text fits"); \
        memcpy((to), (from), sizeof(from));                          \
    } while (0)

int fault_give(struct relata_error *out, const struct error *in)
{
    CHECK(in->code != CODE_OK);
    if (out == NULL) {
        return -(int)in->code;
    }
    out->code = (enum relata_code)in->code;
    COPY_TEXT(out->message, in->message);
    COPY_TEXT(out->resource, in->resource);
    COPY_TEXT(out->field, in->field);
    COPY_TEXT(out->relationship, in->relationship);
    COPY_TEXT(out->path, in->path);
    COPY_TEXT(out->limit, in->limit);
    COPY_TEXT(out->outcome, in->outcome);
    COPY_TEXT(out->key, in->key);
    out->key_size = in->key_size;
    out->index = in->index;
    out->position = in->position;
    return -(int)in->code;
}

int fault_set(struct relata_error *out, enum code code, const char *format, ...)
{
    char text[ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    struct error error = ERROR_INIT;
    error_set(&error, code, "%s", text);
    return fault_give(out, &error);
}

int fault_unknown(struct relata_error *out, enum code code, const char *text)
{
    struct error error = ERROR_INIT;
    error_set(&error, code, "%s", text);
    error_outcome_unknown(&error);
    return fault_give(out, &error);
}

const char *relata_code_text(int code)
{
    int positive = code < 0 && code > -(int)CODE_COUNT ? -code : code;
    return positive >= 0 && positive < (int)CODE_COUNT ? code_text((enum code)positive) : "unknown";
}

const char *relata_version(void)
{
    return RELATA_VERSION;
}

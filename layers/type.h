#ifndef RELATA_LAYERS_TYPE_H
#define RELATA_LAYERS_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/value.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* The types of fields: a table, a row a type, so that a new type is a row. */
enum type_kind {
    TYPE_INTEGER,
    TYPE_FLOAT,
    TYPE_BOOLEAN,
    TYPE_STRING,
    TYPE_BINARY,
    TYPE_DATETIME,
    TYPE_UUID,
    TYPE_ENUM,
    TYPE_ANY,
    TYPE_COUNT
};

struct type {
    enum type_kind kind;
    uint16_t member_count;      /* of an enum */
    const char *const *members; /* terminated texts, in the schema's order */
};

/* "integer", "datetime", ... */
const char *type_name(enum type_kind kind);
/* TYPE_COUNT where the word is none. */
enum type_kind type_from_name(const char *name, size_t size);

/* Whether fields of the type may stand in keys, identities and indexes. */
bool type_indexable(enum type_kind kind);

/* Which kind of value the type's values are. */
enum value_kind type_value_kind(enum type_kind kind);

/* Takes one value from outside, not nil, and appends its canonical encoding
 * (the form that records store and answers carry): equal values of one type
 * have equal bytes (but for `any` and for -0.0, which is stored as 0.0).
 * Takes what CONTRACT 2 says: an integer for a float, a float with an integer's
 * value for an integer, ISO 8601 text for a datetime, a uuid in any case, bin
 * for str where it is UTF-8, str for bin.
 * 0, or -CODE_INVALID_VALUE with "expected an integer, got \"abc\"" (the caller
 * prefixes and names the field). The reader is past the value in each case. */
int type_take(const struct type *type, struct reader *in, struct buffer *out, struct error *error);

/* How deep lists and maps within a value of type any may nest. */
enum { TYPE_ANY_LEVELS_MAX = 32 };

/* Reads what type_take stored; nil too. `size` bytes are the value's own. */
void type_load(const struct type *type, const uint8_t *bytes, size_t size, struct value *out);

/* Reads text as the type (datetime, uuid, enum and the text types; else false).
 * For comparisons with text from anywhere. The uuid's lower-case text is put
 * into `room`, which must live as long as *out. */
enum { TYPE_UUID_TEXT = 36 };
bool type_read_text(const struct type *type, const char *text, size_t size,
                    char room[TYPE_UUID_TEXT], struct value *out);

#endif

#ifndef RELATA_LAYERS_VALUE_H
#define RELATA_LAYERS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"
#include "protocol/base/datetime.h"

/* A decoded value, as expressions and indexes work with it. Texts point into
 * the record, the schema or the request that they come from; a value owns
 * nothing. Text, uuid and enum are all VALUE_TEXT: they compare alike. */
enum value_kind {
    VALUE_NIL,
    VALUE_BOOLEAN,
    VALUE_INTEGER,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_BINARY,
    VALUE_DATETIME,
    VALUE_ANY, /* MessagePack, in the shortest encodings */
    VALUE_LIST /* of literals: the right side of `in` */
};

struct value {
    enum value_kind kind;
    uint32_t size; /* bytes of text, binary, any; items of a list */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const uint8_t *bytes;
        struct datetime datetime;
        const struct value *items;
    };
};

static inline struct value value_nil(void)
{
    return (struct value){.kind = VALUE_NIL};
}

/* Order of two values of one kind, or of an integer and a float (by value,
 * exactly, also beyond 2^53). Text by code point, which is by bytes; false
 * before true; binary by bytes. Neither may be nil, any or a list. <0, 0, >0. */
int value_compare(const struct value *a, const struct value *b);

/* Equality; of `any` too: maps unordered, integers and floats by value. */
bool value_equal(const struct value *a, const struct value *b);

/* For messages: `"open"`, 5, nil; cut to some 60 bytes. */
void value_describe(const struct value *value, char *out, size_t out_size);

/* Appends the value's MessagePack. */
void value_write(struct buffer *out, const struct value *value);

#endif

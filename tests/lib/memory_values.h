#ifndef RELATA_TESTS_LIB_MEMORY_VALUES_H
#define RELATA_TESTS_LIB_MEMORY_VALUES_H

#include <stdbool.h>

#include "layers/layer.h"
#include "layers/type.h"
#include "layers/value.h"

/* Values for tests against a model, which knows them as small codes: the order
 * of codes is the order of values, and the extremes of each type are among
 * the MEMORY_CODES first. Texts are static. */
enum { MEMORY_NIL = -1, MEMORY_CODES = 12, MEMORY_TEXT_CODES = 500 };

void memory_values_init(void);

/* Of an ordinary field; MEMORY_NIL is nil. */
struct value memory_value(enum type_kind kind, int code);

/* Of a key's field: no extremes, but more codes. */
struct value memory_key_value(enum type_kind kind, int code);

/* A row of the model, and a range over it. */
struct memory_row {
    bool present;
    int code[8]; /* by field; the key's first */
};

struct memory_bounds {
    int equal[KEY_FIELDS_MAX];
    int lower, upper;
};

bool memory_in_range(const struct range *range, const struct memory_bounds *bounds,
                     const struct memory_row *row);
/* By the fields, nil last, then by the key. */
int memory_row_compare(const struct field_list *fields, unsigned key_count,
                       const struct memory_row *a, const struct memory_row *b);

#endif

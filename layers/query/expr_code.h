#ifndef RELATA_LAYERS_QUERY_EXPR_CODE_H
#define RELATA_LAYERS_QUERY_EXPR_CODE_H

#include "layers/query/expr_ast.h"

/* The flat code of an expression. It works on one truth at hand, a stack of
 * truths for `and` and `or`, and a stack of values. Truths are ordered, so that
 * `and` is the least, `or` the greatest, and `not` what is left to TRUTH_TRUE. */

enum truth { TRUTH_FALSE, TRUTH_NIL, TRUTH_TRUE };

enum instruction_code {
    /* Make a truth from the record's own field, in place. */
    CODE_FIELD_INTEGER,  /* op, integer */
    CODE_FIELD_BYTES,    /* (in)equality of stored forms: op, pointer: stored_form */
    CODE_FIELD_CONSTANT, /* op, pointer: struct value */
    CODE_FIELD_IN,       /* pointer: struct item_list */
    CODE_FIELD_IS_NIL,
    CODE_FIELD_BOOLEAN,
    /* Push a value. */
    CODE_VALUE,      /* pointer: struct value */
    CODE_FIELD,      /* field, target: scopes out, pointer: struct resource */
    CODE_STEP_FIELD, /* field, target: the step */
    CODE_FACT,       /* pointer: name, target: size */
    CODE_TENANT,
    CODE_NOW,
    /* Change the value on top, or two to one. */
    CODE_CAST, /* pointer: struct type */
    CODE_NEGATE,
    CODE_ARITHMETIC, /* op */
    CODE_LENGTH,
    CODE_LOWER,
    CODE_UPPER,
    /* Make a truth from values. */
    CODE_COMPARE,  /* op */
    CODE_IN,       /* pointer: struct item_list */
    CODE_IN_VALUE, /* pointer: struct type of the left or NULL; op: of a fact */
    CODE_IS_NIL,
    CODE_TEXT_MATCH, /* op: enum function */
    CODE_TRUTH_OF,   /* a boolean value */
    CODE_VALUE_OF,   /* push the truth as a value */
    CODE_TRUTH,      /* integer: the truth */
    /* Logic. They jump to target once the outcome is certain. */
    CODE_NOT,
    CODE_AND_FIRST,
    CODE_AND_NEXT,
    CODE_AND_LAST,
    CODE_OR_FIRST,
    CODE_OR_NEXT,
    CODE_OR_LAST,
    /* Related records; these may stop. */
    CODE_STEP,     /* target: the step */
    CODE_EXISTS,   /* target: the step */
    CODE_END,      /* the truth is the outcome */
    CODE_END_VALUE /* the value on top is */
};

struct stored_form {
    uint32_t size;
    uint8_t bytes[];
};

struct instruction {
    uint8_t code;
    uint8_t op;
    uint16_t field;
    uint32_t target;
    union {
        int64_t integer;
        const void *pointer;
    };
};

static inline uint8_t truth_of(bool condition)
{
    return condition ? TRUTH_TRUE : TRUTH_FALSE;
}

static inline uint8_t truth_of_order(uint8_t op, int order)
{
    uint8_t is = order < 0 ? COMPARE_LESS : order == 0 ? COMPARE_EQUAL : COMPARE_GREATER;
    return truth_of((op & is) != 0);
}

/* What instructions do with values (expr_value.c). They answer truths. */
uint8_t value_compares(uint8_t op, const struct value *a, const struct value *b);
uint8_t value_is_in(const struct item_list *list, const struct value *value);
/* A list that is known only when it runs; `type` is the value's, or NULL. */
uint8_t value_is_in_value(const struct value *value, const struct value *list,
                          const struct type *type, bool fact);
uint8_t value_matches(enum function function, const struct value *text, const struct value *part);
/* The length of the value takes its place. */
void value_length(struct value *value);

_Static_assert(sizeof(struct instruction) == 16, "four to a cache line");

#endif

#include <math.h>

#include "layers/query/walk.h"

/* The values that the terms of a plan have in a search: what a float means for a
 * field of integers. */

/* 2^63: the first float above all integers; -2^63 is the lowest integer. */
static const double integers_end = 9223372036854775808.0;

static struct value integer_value(int64_t integer)
{
    return (struct value){.kind = VALUE_INTEGER, .integer = integer};
}

static bool equal_to_float(struct term_value *out, double real)
{
    if (real != floor(real) || real >= integers_end || real < -integers_end) {
        return false;
    }
    out->value = integer_value((int64_t)real);
    return true;
}

/* x > 2.5 is x > 2, x >= 2.5 is x >= 3. */
static bool above_float(struct term_value *out, enum conjunct_operator operator, double real)
{
    double bound = operator== CONJUNCT_GREATER ? floor(real) : ceil(real);
    if (bound >= integers_end) {
        return false;
    }
    if (bound < -integers_end) {
        *out = (struct term_value){CONJUNCT_GREATER_EQUAL, integer_value(INT64_MIN)};
        return true;
    }
    *out = (struct term_value){operator, integer_value((int64_t)bound)};
    return true;
}

/* x < 2.5 is x < 3, x <= 2.5 is x <= 2. */
static bool below_float(struct term_value *out, enum conjunct_operator operator, double real)
{
    double bound = operator== CONJUNCT_LESS ? ceil(real) : floor(real);
    if (bound < -integers_end) {
        return false;
    }
    if (bound >= integers_end) {
        *out = (struct term_value){CONJUNCT_LESS_EQUAL, integer_value(INT64_MAX)};
        return true;
    }
    *out = (struct term_value){operator, integer_value((int64_t)bound)};
    return true;
}

static bool set_from_float(struct term_value *out, enum conjunct_operator operator, double real)
{
    if (isnan(real)) {
        return false;
    }
    switch (operator) {
    case CONJUNCT_EQUAL:
    case CONJUNCT_IN:
        return equal_to_float(out, real);
    case CONJUNCT_GREATER:
    case CONJUNCT_GREATER_EQUAL:
        return above_float(out, operator, real);
    case CONJUNCT_LESS:
    case CONJUNCT_LESS_EQUAL:
        return below_float(out, operator, real);
    case CONJUNCT_STARTS_WITH:
        return false;
    }
    return false;
}

bool term_value_set(struct term_value *out, const struct field *field,
                    enum conjunct_operator operator, const struct value * value)
{
    *out = (struct term_value){.operator= operator, .value = * value };
    if (operator== CONJUNCT_IN) {
        return value->kind == VALUE_LIST && value->size > 0;
    }
    enum value_kind wanted = type_value_kind(field->type.kind);
    if (wanted == VALUE_INTEGER && value->kind == VALUE_FLOAT) {
        return set_from_float(out, operator, value->real);
    }
    bool integer_for_float = wanted == VALUE_FLOAT && value->kind == VALUE_INTEGER;
    return value->kind == wanted || integer_for_float;
}

#include "tests/lib/memory_values.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "tests/lib/memory_fixture.h"

static char texts[MEMORY_TEXT_CODES][40];
static char uuids[MEMORY_TEXT_CODES][40];

void memory_values_init(void)
{
    for (unsigned i = 0; i < ARRAY_COUNT(texts); i++) {
        /* None differ in the first eight bytes. */
        snprintf(texts[i], sizeof(texts[i]), "common prefix %04u", i);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(uuids); i++) {
        snprintf(uuids[i], sizeof(uuids[i]), "%08x-0000-4000-8000-%012u", i / 7, i);
    }
}

struct value memory_value(enum type_kind kind, int code)
{
    if (code == MEMORY_NIL) {
        return value_nil();
    }
    switch (kind) {
    case TYPE_INTEGER:
        if (code == 0) {
            return memory_fixture_integer(INT64_MIN);
        }
        return memory_fixture_integer(code == MEMORY_CODES - 1 ? INT64_MAX
                                                               : (int64_t)(code - 6) * 100);
    case TYPE_STRING:
        return code == 0 ? memory_fixture_text("") : memory_fixture_text(texts[code]);
    case TYPE_UUID:
        return memory_fixture_text(uuids[code]);
    case TYPE_DATETIME: {
        int64_t seconds = code / 3 - 2;
        if (code == 0) {
            seconds = -(1LL << 40);
        } else if (code >= MEMORY_CODES - 2 && code < MEMORY_CODES) {
            seconds = (1LL << 40) + code;
        }
        return (struct value){
            .kind = VALUE_DATETIME,
            .datetime = {.seconds = seconds, .nanoseconds = (uint32_t)(code % 3) * 1000}};
    }
    default:
        check_failed("the type is used in keys", __FILE__, __LINE__);
    }
}

/* Keys use a plain mapping, as they have more codes. */
struct value memory_key_value(enum type_kind kind, int code)
{
    if (kind == TYPE_INTEGER) {
        return memory_fixture_integer(code * 3 - 100);
    }
    if (kind == TYPE_DATETIME) {
        return (struct value){.kind = VALUE_DATETIME,
                              .datetime = {.seconds = code, .nanoseconds = 5}};
    }
    return memory_value(kind, code);
}

bool memory_in_range(const struct range *range, const struct memory_bounds *bounds,
                     const struct memory_row *row)
{
    const struct field_list *fields = &range->index->fields;
    for (unsigned i = 0; i < range->equal_count; i++) {
        if (row->code[fields->fields[i]] != bounds->equal[i]) {
            return false;
        }
    }
    if (!range->has_lower && !range->has_upper) {
        return true;
    }
    int code = row->code[fields->fields[range->equal_count]];
    if (code == MEMORY_NIL) {
        return false;
    }
    bool low =
        !range->has_lower || code > bounds->lower || (code == bounds->lower && !range->lower_open);
    bool high =
        !range->has_upper || code < bounds->upper || (code == bounds->upper && !range->upper_open);
    return low && high;
}

int memory_row_compare(const struct field_list *fields, unsigned key_count,
                       const struct memory_row *a, const struct memory_row *b)
{
    for (unsigned i = 0; i < fields->count; i++) {
        int left =
            a->code[fields->fields[i]] == MEMORY_NIL ? INT32_MAX : a->code[fields->fields[i]];
        int right =
            b->code[fields->fields[i]] == MEMORY_NIL ? INT32_MAX : b->code[fields->fields[i]];
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    for (unsigned i = 0; i < key_count; i++) {
        if (a->code[i] != b->code[i]) {
            return a->code[i] < b->code[i] ? -1 : 1;
        }
    }
    return 0;
}

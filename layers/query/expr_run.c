#include "layers/query/expr_run.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/limits.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/shape.h"

enum { ROOM_FIRST_BYTES = 256 };

/* ---- Comparing ---- */

static inline uint8_t truth_of(bool condition)
{
    return condition ? TRUTH_TRUE : TRUTH_FALSE;
}

static inline uint8_t truth_of_order(uint8_t op, int order)
{
    uint8_t is = order < 0 ? COMPARE_LESS : order == 0 ? COMPARE_EQUAL : COMPARE_GREATER;
    return truth_of((op & is) != 0);
}

static bool is_number(const struct value *value)
{
    return value->kind == VALUE_INTEGER || value->kind == VALUE_FLOAT;
}

static bool holds_others(const struct value *value)
{
    return value->kind == VALUE_ANY || value->kind == VALUE_LIST;
}

static bool have_order(const struct value *a, const struct value *b)
{
    return (a->kind == b->kind && !holds_others(a)) || (is_number(a) && is_number(b));
}

static uint8_t compare(uint8_t op, const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_NIL || b->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    if (have_order(a, b)) {
        return truth_of_order(op, value_compare(a, b));
    }
    bool equality = op == COMPARE_EQUAL || op == COMPARE_NOT_EQUAL;
    if ((holds_others(a) || holds_others(b)) && equality) {
        return truth_of(value_equal(a, b) == (op == COMPARE_EQUAL));
    }
    /* Two facts of different types. */
    return TRUTH_NIL;
}

/* An integer as records store it; false where the field is nil. */
static inline bool load_integer(const uint8_t *at, int64_t *out)
{
    uint8_t first = at[0];
    if (first < 0x80 || first >= 0xe0) {
        *out = (int8_t)first;
        return true;
    }
    switch (first) {
    case 0xcc:
        *out = at[1];
        return true;
    case 0xcd:
        *out = load16(at + 1);
        return true;
    case 0xce:
        *out = load32(at + 1);
        return true;
    case 0xcf:
    case 0xd3:
        *out = (int64_t)load64(at + 1);
        return true;
    case 0xd0:
        *out = (int8_t)at[1];
        return true;
    case 0xd1:
        *out = (int16_t)load16(at + 1);
        return true;
    case 0xd2:
        *out = (int32_t)load32(at + 1);
        return true;
    default:
        return false;
    }
}

static uint8_t compare_stored(uint8_t op, const struct stored_form *form, const uint8_t *bytes,
                              uint32_t size)
{
    if (bytes[0] == 0xc0) {
        return TRUTH_NIL;
    }
    bool equal = size == form->size && memcmp(bytes, form->bytes, size) == 0;
    return truth_of(equal == (op == COMPARE_EQUAL));
}

static bool find_item(const struct item_list *list, const struct value *value)
{
    if (!list->sorted) {
        for (uint32_t i = 0; i < list->count; i++) {
            if (value_equal(value, &list->items[i])) {
                return true;
            }
        }
        return false;
    }
    uint32_t from = 0, to = list->count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (!have_order(value, &list->items[middle])) {
            return false;
        }
        int order = value_compare(value, &list->items[middle]);
        if (order == 0) {
            return true;
        }
        from = order > 0 ? middle + 1 : from;
        to = order < 0 ? middle : to;
    }
    return false;
}

static uint8_t is_in(const struct item_list *list, const struct value *value)
{
    if (list->count == 0 && !list->has_nil) {
        return TRUTH_FALSE;
    }
    if (value->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    if (find_item(list, value)) {
        return TRUTH_TRUE;
    }
    return list->has_nil ? TRUTH_NIL : TRUTH_FALSE;
}

/* A list that is known only now. An item of a fact that is of another type is
 * nil, as the fact itself would be; in a field of type any it is just unequal. */
static uint8_t is_in_value(const struct value *value, const struct value *list,
                           const struct type *type, bool fact)
{
    struct reader in = reader_of(list->bytes, list->kind == VALUE_ANY ? list->size : 0);
    struct token array = reader_next(&in);
    bool nil = false;
    if (array.kind != TOKEN_ARRAY) {
        return TRUTH_NIL;
    }
    if (array.count > 0 && value->kind == VALUE_NIL) {
        return TRUTH_NIL;
    }
    for (uint32_t i = 0; i < array.count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        char room[TYPE_UUID_TEXT];
        CHECK(reader_value(&in, &bytes, &size));
        struct value item;
        type_load(type_of_kind(TYPE_ANY), bytes, size, &item);
        if (item.kind != VALUE_NIL && type != NULL && type->kind != TYPE_ANY) {
            struct reader one = reader_of(bytes, size);
            struct token token = reader_next(&one);
            if (value_from_token(&token, &item)) {
                value_cast(&item, type, room);
            }
            if (item.kind == VALUE_NIL && !fact) {
                continue;
            }
        }
        nil = nil || item.kind == VALUE_NIL;
        if (item.kind != VALUE_NIL && value_equal(value, &item)) {
            return TRUTH_TRUE;
        }
    }
    return nil ? TRUTH_NIL : TRUTH_FALSE;
}

static uint8_t match_text(enum function function, const struct value *text,
                          const struct value *part)
{
    if (text->kind != VALUE_TEXT || part->kind != VALUE_TEXT) {
        return TRUTH_NIL;
    }
    if (part->size > text->size) {
        return TRUTH_FALSE;
    }
    if (part->size == 0) {
        return TRUTH_TRUE;
    }
    if (function == FUNCTION_CONTAINS) {
        return truth_of(memmem(text->bytes, text->size, part->bytes, part->size) != NULL);
    }
    uint32_t from = function == FUNCTION_ENDS_WITH ? text->size - part->size : 0;
    return truth_of(memcmp(text->bytes + from, part->bytes, part->size) == 0);
}

/* ---- Making values ---- */

static void take_length(struct value *value)
{
    struct value length = {.kind = VALUE_INTEGER, .integer = value->size};
    if (value->kind == VALUE_ANY) {
        struct reader in = reader_of(value->bytes, value->size);
        struct token token = reader_next(&in);
        if (token.kind == TOKEN_ARRAY) {
            length.integer = token.count;
            *value = length;
            return;
        }
        if (!value_from_token(&token, value)) {
            *value = value_nil();
        }
        length.integer = value->size;
    }
    if (value->kind == VALUE_TEXT) {
        length.integer = (int64_t)utf8_length(value->bytes, value->size);
    } else if (value->kind != VALUE_BINARY) {
        length = value_nil();
    }
    *value = length;
}

/* Room until the next record; NULL (error set) where memory lacks. What was
 * given before stays where it is. */
static uint8_t *take_room(struct expr_run *run, size_t size)
{
    if (size > run->room_size - run->room_used) {
        size_t next = run->room_size > 0 ? run->room_size * 2 : ROOM_FIRST_BYTES;
        next = next < size ? size : next;
        uint8_t *room = arena_alloc(run->arena, next);
        if (room == NULL) {
            error_set(run->eval->error, CODE_OVERLOADED, "no memory for the texts of a filter");
            return NULL;
        }
        run->room = room;
        run->room_size = next;
        run->room_used = 0;
    }
    uint8_t *room = run->room + run->room_used;
    run->room_used += size;
    return room;
}

static bool change_case(struct expr_run *run, struct value *value, bool upper)
{
    if (value->kind != VALUE_TEXT) {
        *value = value_nil();
        return true;
    }
    if (value->size == 0) {
        return true;
    }
    /* No code point's other case has more than twice its bytes. */
    size_t size = 2 * (size_t)value->size;
    uint8_t *room = take_room(run, size);
    if (room == NULL) {
        return false;
    }
    struct buffer out = {.bytes = room, .capacity = size, .max = size};
    (upper ? utf8_upper : utf8_lower)(&out, value->bytes, value->size);
    CHECK(!out.failed);
    run->room_used -= size - out.size;
    *value = (struct value){.kind = VALUE_TEXT, .size = (uint32_t)out.size, .bytes = out.bytes};
    return true;
}

static bool cast(struct expr_run *run, struct value *value, const struct type *type)
{
    uint8_t *room = NULL;
    if (type->kind == TYPE_UUID && (room = take_room(run, TYPE_UUID_TEXT)) == NULL) {
        return false;
    }
    value_cast(value, type, (char *)room);
    return true;
}

static void load_outer_field(const struct expr_records *records,
                             const struct instruction *instruction, struct value *out)
{
    const struct expr_records *from = records_out(records, instruction->target);
    if (from == NULL || from->record == NULL) {
        *out = value_nil();
        return;
    }
    record_load(from->record, instruction->pointer, instruction->field, out);
}

static void load_step_field(const struct expr_run *run, const struct instruction *instruction,
                            struct value *out)
{
    const struct record *record = run->steps[instruction->target].found;
    if (record == NULL) {
        *out = value_nil();
        return;
    }
    record_load(record, instruction->pointer, instruction->field, out);
}

/* ---- The machine ---- */

static enum run_status park(struct expr_run *run, const struct instruction *at, struct value *value,
                            uint8_t *truth, enum run_status status)
{
    run->at = at;
    run->value = value;
    run->truth = truth;
    return status;
}

/* One switch that reads top to bottom; `value` and `truth` are one above the
 * tops of the stacks, `t` is the truth at hand. */
static enum run_status execute(struct expr_run *run, uint64_t *budget)
{
    const struct resource *resource = run->expr->resource;
    const unsigned field_count = resource->field_count;
    const struct record *record = run->records->record;
    const struct instruction *code = run->expr->code;
    const struct instruction *at = run->at;
    struct value *value = run->value;
    uint8_t *truth = run->truth;
    uint8_t t = TRUTH_NIL;
    for (;; at++) {
        const uint8_t *bytes;
        uint32_t size;
        struct value loaded;
        switch ((enum instruction_code)at->code) {
        case CODE_FIELD_INTEGER: {
            int64_t integer;
            bytes = record_field(record, field_count, at->field, &size);
            t = !load_integer(bytes, &integer)
                    ? TRUTH_NIL
                    : truth_of_order(at->op, (integer > at->integer) - (integer < at->integer));
            break;
        }
        case CODE_FIELD_BYTES:
            bytes = record_field(record, field_count, at->field, &size);
            t = compare_stored(at->op, at->pointer, bytes, size);
            break;
        case CODE_FIELD_CONSTANT:
            record_load(record, resource, at->field, &loaded);
            t = compare(at->op, &loaded, at->pointer);
            break;
        case CODE_FIELD_IN:
            record_load(record, resource, at->field, &loaded);
            t = is_in(at->pointer, &loaded);
            break;
        case CODE_FIELD_IS_NIL:
            bytes = record_field(record, field_count, at->field, &size);
            t = truth_of(bytes[0] == 0xc0);
            break;
        case CODE_FIELD_BOOLEAN:
            bytes = record_field(record, field_count, at->field, &size);
            t = bytes[0] == 0xc0 ? TRUTH_NIL : truth_of(bytes[0] == 0xc3);
            break;
        case CODE_VALUE:
            *value++ = *(const struct value *)at->pointer;
            break;
        case CODE_FIELD:
            load_outer_field(run->records, at, value++);
            break;
        case CODE_STEP_FIELD:
            load_step_field(run, at, value++);
            break;
        case CODE_FACT:
            value_fact(run->eval, at->pointer, at->target, value++);
            break;
        case CODE_TENANT:
            *value++ = run->eval->tenant;
            break;
        case CODE_NOW:
            *value++ = (struct value){.kind = VALUE_DATETIME, .datetime = run->eval->now};
            break;
        case CODE_CAST:
            if (!cast(run, value - 1, at->pointer)) {
                return park(run, at, value, truth, RUN_FAILED);
            }
            break;
        case CODE_NEGATE:
            value_negate(value - 1);
            break;
        case CODE_ARITHMETIC:
            value--;
            value_arithmetic((char)at->op, value - 1, value, value - 1);
            break;
        case CODE_LENGTH:
            take_length(value - 1);
            break;
        case CODE_LOWER:
        case CODE_UPPER:
            if (!change_case(run, value - 1, at->code == CODE_UPPER)) {
                return park(run, at, value, truth, RUN_FAILED);
            }
            break;
        case CODE_COMPARE:
            value -= 2;
            t = compare(at->op, value, value + 1);
            break;
        case CODE_IN:
            value--;
            t = is_in(at->pointer, value);
            break;
        case CODE_IN_VALUE:
            value -= 2;
            t = is_in_value(value, value + 1, at->pointer, at->op != 0);
            break;
        case CODE_IS_NIL:
            value--;
            t = truth_of(value->kind == VALUE_NIL);
            break;
        case CODE_TEXT_MATCH:
            value -= 2;
            t = match_text((enum function)at->op, value, value + 1);
            break;
        case CODE_TRUTH_OF:
            value--;
            t = value->kind == VALUE_BOOLEAN ? truth_of(value->boolean) : TRUTH_NIL;
            break;
        case CODE_VALUE_OF:
            *value = t == TRUTH_NIL
                         ? value_nil()
                         : (struct value){.kind = VALUE_BOOLEAN, .boolean = t == TRUTH_TRUE};
            value++;
            break;
        case CODE_TRUTH:
            t = (uint8_t)at->integer;
            break;
        case CODE_NOT:
            t = (uint8_t)(TRUTH_TRUE - t);
            break;
        case CODE_AND_FIRST:
            if (t == TRUTH_FALSE) {
                at = code + at->target - 1;
            } else {
                *truth++ = t;
            }
            break;
        case CODE_AND_NEXT:
            if (t == TRUTH_FALSE) {
                truth--;
                at = code + at->target - 1;
            } else if (t < truth[-1]) {
                truth[-1] = t;
            }
            break;
        case CODE_AND_LAST:
            truth--;
            t = t < *truth ? t : *truth;
            break;
        case CODE_OR_FIRST:
            if (t == TRUTH_TRUE) {
                at = code + at->target - 1;
            } else {
                *truth++ = t;
            }
            break;
        case CODE_OR_NEXT:
            if (t == TRUTH_TRUE) {
                truth--;
                at = code + at->target - 1;
            } else if (t > truth[-1]) {
                truth[-1] = t;
            }
            break;
        case CODE_OR_LAST:
            truth--;
            t = t > *truth ? t : *truth;
            break;
        case CODE_STEP:
            if (run->steps[at->target].status != STEP_KNOWN) {
                enum run_status status = step_go(run, &run->steps[at->target], budget);
                if (status != RUN_DONE) {
                    return park(run, at, value, truth, status);
                }
            }
            break;
        case CODE_EXISTS: {
            bool found;
            enum run_status status = exists_go(run, &run->steps[at->target], budget, &found);
            if (status != RUN_DONE) {
                return park(run, at, value, truth, status);
            }
            t = truth_of(found);
            break;
        }
        case CODE_END:
            run->at_hand = t;
            return RUN_DONE;
        case CODE_END_VALUE:
            run->value = value;
            run->at_hand = UINT8_MAX;
            return RUN_DONE;
        }
    }
}

/* ---- The face ---- */

struct expr_run *expr_run_create(struct arena *arena, const struct expr *expr, struct eval *eval)
{
    struct expr_run *run = arena_zero(arena, 1, sizeof(*run));
    if (run == NULL) {
        return NULL;
    }
    run->expr = expr;
    run->eval = eval;
    run->arena = arena;
    run->values = arena_alloc(arena, (expr->values_max + 1) * sizeof(struct value));
    run->truths = arena_alloc(arena, expr->truths_max + 1);
    if (run->values == NULL || run->truths == NULL ||
        (expr->step_count > 0 && steps_create(run) != 0)) {
        return NULL;
    }
    return run;
}

static inline void begin(struct expr_run *run, const struct expr_records *records)
{
    run->records = records;
    run->at = run->expr->code;
    run->value = run->values;
    run->truth = run->truths;
    run->room_used = 0;
}

void expr_run_start(struct expr_run *run, const struct expr_records *records)
{
    if (run->under_way) {
        steps_stop(run);
    } else {
        steps_reset(run);
    }
    begin(run, records);
    run->under_way = true;
}

enum run_status expr_run_go(struct expr_run *run, uint64_t *budget, struct value *out)
{
    CHECK(run->under_way);
    enum run_status status = execute(run, budget);
    if (status != RUN_DONE) {
        return status;
    }
    run->under_way = false;
    if (run->at_hand == UINT8_MAX) {
        *out = run->value[-1];
    } else if (run->at_hand == TRUTH_NIL) {
        *out = value_nil();
    } else {
        *out = (struct value){.kind = VALUE_BOOLEAN, .boolean = run->at_hand == TRUTH_TRUE};
    }
    return RUN_DONE;
}

void expr_run_stop(struct expr_run *run)
{
    if (run->under_way) {
        steps_stop(run);
        run->under_way = false;
    }
}

bool expr_test_simple(const struct expr *expr, struct expr_run *run,
                      const struct expr_records *records)
{
    uint64_t budget = 0;
    CHECK(expr == run->expr && expr->step_count == 0);
    begin(run, records);
    return execute(run, &budget) == RUN_DONE && run->at_hand == TRUTH_TRUE;
}

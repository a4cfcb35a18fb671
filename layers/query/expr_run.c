#include "layers/query/expr_run.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/limits.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/shape.h"

enum { ROOM_FIRST_BYTES = 256 };

/* ---- Comparing ---- */

/* An integer as records store it; false where the field is nil. */
static inline bool load_integer(const uint8_t *at, int64_t *out)
{
    uint8_t first = at[0];
    if (first < 0x80 || first >= 0xe0) {
        *out = first < 0x80 ? first : first - 0x100;
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
        *out = at[1] < 0x80 ? at[1] : at[1] - 0x100;
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

/* ---- Making values ---- */

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

/* The instructions that push a value. */
static void push(const struct expr_run *run, const struct instruction *at, struct value *out)
{
    switch (at->code) {
    case CODE_VALUE:
        *out = *(const struct value *)at->pointer;
        return;
    case CODE_FIELD:
        load_outer_field(run->records, at, out);
        return;
    case CODE_STEP_FIELD:
        load_step_field(run, at, out);
        return;
    case CODE_FACT:
        value_fact(run->eval, at->pointer, at->target, out);
        return;
    case CODE_TENANT:
        *out = run->eval->tenant;
        return;
    default:
        *out = (struct value){.kind = VALUE_DATETIME, .datetime = run->eval->now};
        return;
    }
}

/* Those that change the value (for arithmetic, with the one above it); false
 * where memory lacks. */
static bool change(struct expr_run *run, const struct instruction *at, struct value *value)
{
    switch (at->code) {
    case CODE_CAST:
        return cast(run, value, at->pointer);
    case CODE_NEGATE:
        value_negate(value);
        return true;
    case CODE_ARITHMETIC:
        value_arithmetic((char)at->op, value, value + 1, value);
        return true;
    case CODE_LENGTH:
        value_length(value);
        return true;
    default:
        return change_case(run, value, at->code == CODE_UPPER);
    }
}

/* Those that make a truth of a value. */
static uint8_t judge_one(const struct instruction *at, const struct value *value)
{
    if (at->code == CODE_IN) {
        return value_is_in(at->pointer, value);
    }
    if (at->code == CODE_IS_NIL) {
        return truth_of(value->kind == VALUE_NIL);
    }
    return value->kind == VALUE_BOOLEAN ? truth_of(value->boolean) : TRUTH_NIL;
}

/* Those that make a truth of two values. */
static uint8_t judge_two(const struct instruction *at, const struct value *a, const struct value *b)
{
    switch (at->code) {
    case CODE_COMPARE:
        return value_compares(at->op, a, b);
    case CODE_IN_VALUE:
        return value_is_in_value(a, b, at->pointer, at->op != 0);
    default:
        return value_matches((enum function)at->op, a, b);
    }
}

/* Those that make a truth of the record's own field. */
static inline uint8_t judge_field(const struct instruction *at, const struct resource *resource,
                                  const struct record *record)
{
    uint32_t size;
    int64_t integer;
    struct value loaded;
    if (at->code == CODE_FIELD_CONSTANT || at->code == CODE_FIELD_IN) {
        record_load(record, resource, at->field, &loaded);
        return at->code == CODE_FIELD_IN ? value_is_in(at->pointer, &loaded)
                                         : value_compares(at->op, &loaded, at->pointer);
    }
    const uint8_t *bytes = record_field(record, resource->field_count, at->field, &size);
    switch (at->code) {
    case CODE_FIELD_INTEGER:
        return !load_integer(bytes, &integer)
                   ? TRUTH_NIL
                   : truth_of_order(at->op, (integer > at->integer) - (integer < at->integer));
    case CODE_FIELD_BYTES:
        return compare_stored(at->op, at->pointer, bytes, size);
    case CODE_FIELD_IS_NIL:
        return truth_of(bytes[0] == 0xc0);
    default:
        return bytes[0] == 0xc0 ? TRUTH_NIL : truth_of(bytes[0] == 0xc3);
    }
}

/* Those that look at related records; exists makes a truth. */
static enum run_status follow(struct expr_run *run, const struct instruction *at, uint64_t *budget,
                              uint8_t *truth)
{
    struct step_state *state = &run->steps[at->target];
    if (at->code == CODE_STEP) {
        return state->status == STEP_KNOWN ? RUN_DONE : step_go(run, state, budget);
    }
    bool found;
    enum run_status status = exists_go(run, state, budget, &found);
    *truth = truth_of(found);
    return status;
}

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
    const struct record *record = run->records->record;
    const struct instruction *code = run->expr->code;
    const struct instruction *at = run->at;
    struct value *value = run->value;
    uint8_t *truth = run->truth;
    uint8_t t = TRUTH_NIL; /* never needed across a stop */
    enum run_status status;
    for (;; at++) {
        switch ((enum instruction_code)at->code) {
        case CODE_FIELD_INTEGER:
        case CODE_FIELD_BYTES:
        case CODE_FIELD_CONSTANT:
        case CODE_FIELD_IN:
        case CODE_FIELD_IS_NIL:
        case CODE_FIELD_BOOLEAN:
            t = judge_field(at, resource, record);
            break;
        case CODE_VALUE:
        case CODE_FIELD:
        case CODE_STEP_FIELD:
        case CODE_FACT:
        case CODE_TENANT:
        case CODE_NOW:
            push(run, at, value++);
            break;
        case CODE_CAST:
        case CODE_NEGATE:
        case CODE_ARITHMETIC:
        case CODE_LENGTH:
        case CODE_LOWER:
        case CODE_UPPER:
            value -= at->code == CODE_ARITHMETIC;
            if (!change(run, at, value - 1)) {
                return park(run, at, value, truth, RUN_FAILED);
            }
            break;
        case CODE_COMPARE:
        case CODE_IN_VALUE:
        case CODE_TEXT_MATCH:
            value -= 2;
            t = judge_two(at, value, value + 1);
            break;
        case CODE_IN:
        case CODE_IS_NIL:
        case CODE_TRUTH_OF:
            value--;
            t = judge_one(at, value);
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
        case CODE_EXISTS:
            status = follow(run, at, budget, &t);
            if (status != RUN_DONE) {
                return park(run, at, value, truth, status);
            }
            break;
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

#include "layers/query/expr_code.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* From the tree to the code. Recursion is as deep as the tree, which is bounded
 * when it is built. */
struct generator {
    struct context *context;
    struct instruction *code;
    size_t count;
    size_t capacity;
    struct step *steps;
    size_t step_count;
    size_t step_capacity;
    uint32_t values, values_max; /* on the stack at this place, and at most */
    uint32_t truths, truths_max;
};

static void generate_value(struct generator *generator, const struct node *node);
static void generate_truth(struct generator *generator, const struct node *node);

static struct instruction *emit(struct generator *generator, enum instruction_code code)
{
    static struct instruction nowhere; /* written to once memory lacked, never read */
    void *items = generator->code;
    if (arena_grow(generator->context->arena, &items, generator->count, &generator->capacity,
                   sizeof(struct instruction)) != 0) {
        context_no_memory(generator->context);
        return &nowhere;
    }
    generator->code = items;
    struct instruction *out = &generator->code[generator->count++];
    *out = (struct instruction){.code = (uint8_t)code};
    return out;
}

static void emit_pointer(struct generator *generator, enum instruction_code code,
                         const void *pointer)
{
    emit(generator, code)->pointer = pointer;
}

static void pushed(struct generator *generator)
{
    if (++generator->values > generator->values_max) {
        generator->values_max = generator->values;
    }
}

static void popped(struct generator *generator, uint32_t count)
{
    CHECK(generator->values >= count || generator->context->status != 0);
    generator->values -= count;
}

/* ---- Steps ---- */

static uint32_t add_step(struct generator *generator, const struct step *step)
{
    for (size_t i = 0; i < generator->step_count && !step->exists; i++) {
        const struct step *have = &generator->steps[i];
        if (!have->exists && have->relationship == step->relationship && have->up == step->up &&
            have->base == step->base) {
            return (uint32_t)i;
        }
    }
    void *items = generator->steps;
    if (arena_grow(generator->context->arena, &items, generator->step_count,
                   &generator->step_capacity, sizeof(struct step)) != 0) {
        context_no_memory(generator->context);
        return 0;
    }
    generator->steps = items;
    generator->steps[generator->step_count] = *step;
    return (uint32_t)generator->step_count++;
}

/* Walks the path; answers its last step, or -1 where it has none. A record that
 * was looked up once for this record is not looked up again. */
static int32_t generate_steps(struct generator *generator, const struct path *path)
{
    int32_t base = -1;
    for (unsigned i = 0; i < path->hop_count; i++) {
        const struct step step = {
            .relationship = path->hops[i], .up = base < 0 ? path->up : 0, .base = base};
        base = (int32_t)add_step(generator, &step);
        emit(generator, CODE_STEP)->target = (uint32_t)base;
    }
    return base;
}

static void generate_exists(struct generator *generator, const struct node *node)
{
    int32_t base = generate_steps(generator, &node->exists.path);
    const struct step step = {.relationship = node->exists.relationship,
                              .up = base < 0 ? node->exists.path.up : 0,
                              .base = base,
                              .exists = true,
                              .filter = node->exists.filter};
    emit(generator, CODE_EXISTS)->target = add_step(generator, &step);
}

/* ---- Values ---- */

static void generate_field(struct generator *generator, const struct node *node)
{
    int32_t step = generate_steps(generator, &node->ref.path);
    struct instruction *out = emit(generator, step < 0 ? CODE_FIELD : CODE_STEP_FIELD);
    out->field = node->ref.field->position;
    out->target = step < 0 ? node->ref.path.up : (uint32_t)step;
    out->pointer = node->ref.path.resource;
    pushed(generator);
}

static void generate_call_value(struct generator *generator, const struct node *node)
{
    generate_value(generator, node->operand[0]);
    switch ((enum function)node->op) {
    case FUNCTION_LENGTH:
        emit(generator, CODE_LENGTH);
        return;
    case FUNCTION_LOWER:
        emit(generator, CODE_LOWER);
        return;
    case FUNCTION_UPPER:
        emit(generator, CODE_UPPER);
        return;
    case FUNCTION_IS_NIL:
    case FUNCTION_CONTAINS:
    case FUNCTION_STARTS_WITH:
    case FUNCTION_ENDS_WITH:
    case FUNCTION_COUNT:
        break;
    }
    CHECK(!"conditions are no values");
}

/* Whether the node makes a truth rather than a value. */
static bool is_condition(const struct node *node)
{
    switch (node->kind) {
    case NODE_COMPARE:
    case NODE_IN:
    case NODE_EXISTS:
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        return true;
    case NODE_CALL:
        return node->op <= FUNCTION_ENDS_WITH;
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FIELD:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
    case NODE_CAST:
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
        break;
    }
    return false;
}

static void generate_plain_value(struct generator *generator, const struct node *node)
{
    switch (node->kind) {
    case NODE_LITERAL:
        emit_pointer(generator, CODE_VALUE, &node->value);
        pushed(generator);
        return;
    case NODE_FIELD:
        generate_field(generator, node);
        return;
    case NODE_FACT: {
        struct instruction *out = emit(generator, CODE_FACT);
        out->pointer = node->fact.name;
        out->target = (uint32_t)node->fact.size;
        pushed(generator);
        return;
    }
    case NODE_TENANT:
    case NODE_NOW:
        emit(generator, node->kind == NODE_NOW ? CODE_NOW : CODE_TENANT);
        pushed(generator);
        return;
    case NODE_CAST:
        generate_value(generator, node->operand[0]);
        emit_pointer(generator, CODE_CAST, node->type);
        return;
    case NODE_NEGATE:
        generate_value(generator, node->operand[0]);
        emit(generator, CODE_NEGATE);
        return;
    case NODE_ARITHMETIC:
        generate_value(generator, node->operand[0]);
        generate_value(generator, node->operand[1]);
        emit(generator, CODE_ARITHMETIC)->op = node->op;
        popped(generator, 1);
        return;
    case NODE_CALL:
        generate_call_value(generator, node);
        return;
    case NODE_LIST:
    case NODE_COMPARE:
    case NODE_IN:
    case NODE_EXISTS:
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        break;
    }
    CHECK(!"no value");
}

static void generate_value(struct generator *generator, const struct node *node)
{
    if (!is_condition(node)) {
        generate_plain_value(generator, node);
        return;
    }
    generate_truth(generator, node);
    emit(generator, CODE_VALUE_OF);
    pushed(generator);
}

/* ---- Truths ---- */

static bool is_own_field(const struct node *node)
{
    return node->kind == NODE_FIELD && node->ref.path.up == 0 && node->ref.path.hop_count == 0;
}

static uint8_t mirrored(uint8_t op)
{
    return (uint8_t)((op & COMPARE_EQUAL) | ((op & COMPARE_LESS) != 0 ? COMPARE_GREATER : 0) |
                     ((op & COMPARE_GREATER) != 0 ? COMPARE_LESS : 0));
}

/* The literal as a record of that field would store it; NULL where equal values
 * may have other bytes. */
static const struct stored_form *stored_form(struct generator *generator, const struct type *type,
                                             const struct value *literal)
{
    struct value value = *literal;
    if (type->kind == TYPE_ANY || value.kind != type_value_kind(type->kind)) {
        return NULL;
    }
    if (value.kind == VALUE_FLOAT && value.real == 0) {
        value.real = 0; /* -0.0 is stored as 0.0 */
    }
    struct buffer bytes = BUFFER_INIT;
    value_write(&bytes, &value);
    struct stored_form *form =
        bytes.failed ? NULL : arena_alloc(generator->context->arena, sizeof(*form) + bytes.size);
    if (form != NULL) {
        form->size = (uint32_t)bytes.size;
        memcpy(form->bytes, bytes.bytes, bytes.size);
    } else {
        context_no_memory(generator->context);
    }
    buffer_release(&bytes);
    return form;
}

/* `field == literal` and its like, which is most of what is asked: one instruction. */
static void generate_own_compare(struct generator *generator, const struct node *field,
                                 const struct value *literal, uint8_t op)
{
    const struct type *type = &field->ref.field->type;
    const struct stored_form *form = NULL;
    bool integers = type->kind == TYPE_INTEGER && literal->kind == VALUE_INTEGER;
    if (!integers && (op == COMPARE_EQUAL || op == COMPARE_NOT_EQUAL)) {
        form = stored_form(generator, type, literal);
    }
    struct instruction *out = emit(generator, integers       ? CODE_FIELD_INTEGER
                                              : form != NULL ? CODE_FIELD_BYTES
                                                             : CODE_FIELD_CONSTANT);
    out->op = op;
    out->field = field->ref.field->position;
    if (integers) {
        out->integer = literal->integer;
    } else {
        out->pointer = form != NULL ? (const void *)form : literal;
    }
}

static bool is_nil_literal(const struct node *node)
{
    return node->kind == NODE_LITERAL && node->value.kind == VALUE_NIL;
}

static void generate_compare(struct generator *generator, const struct node *node)
{
    const struct node *left = node->operand[0];
    const struct node *right = node->operand[1];
    if (is_nil_literal(left) || is_nil_literal(right)) {
        emit(generator, CODE_TRUTH)->integer = TRUTH_NIL;
    } else if (is_own_field(left) && right->kind == NODE_LITERAL) {
        generate_own_compare(generator, left, &right->value, node->op);
    } else if (is_own_field(right) && left->kind == NODE_LITERAL) {
        generate_own_compare(generator, right, &left->value, mirrored(node->op));
    } else {
        generate_value(generator, left);
        generate_value(generator, right);
        emit(generator, CODE_COMPARE)->op = node->op;
        popped(generator, 2);
    }
}

static void generate_in(struct generator *generator, const struct node *node)
{
    const struct node *left = node->in.left;
    if (node->in.list != NULL && is_own_field(left)) {
        struct instruction *out = emit(generator, CODE_FIELD_IN);
        out->field = left->ref.field->position;
        out->pointer = node->in.list;
        return;
    }
    generate_value(generator, left);
    if (node->in.list != NULL) {
        emit_pointer(generator, CODE_IN, node->in.list);
        popped(generator, 1);
        return;
    }
    generate_value(generator, node->in.right);
    struct instruction *out = emit(generator, CODE_IN_VALUE);
    out->pointer = left->type;
    out->op = node->in.right->type == NULL;
    popped(generator, 2);
}

static void generate_call_truth(struct generator *generator, const struct node *node)
{
    if (node->op == FUNCTION_IS_NIL && is_own_field(node->operand[0])) {
        emit(generator, CODE_FIELD_IS_NIL)->field = node->operand[0]->ref.field->position;
        return;
    }
    generate_value(generator, node->operand[0]);
    if (node->op == FUNCTION_IS_NIL) {
        emit(generator, CODE_IS_NIL);
        popped(generator, 1);
        return;
    }
    generate_value(generator, node->operand[1]);
    emit(generator, CODE_TEXT_MATCH)->op = node->op;
    popped(generator, 2);
}

/* c1 FIRST c2 NEXT ... cn LAST; each of the first jumps behind the last once
 * the outcome is certain. Their targets are put in when that place is known. */
static void generate_logic(struct generator *generator, const struct node *node)
{
    bool and = node->kind == NODE_AND;
    size_t count = node->list.count;
    size_t begin = generator->count;
    if (count == 0) {
        emit(generator, CODE_TRUTH)->integer = and? TRUTH_TRUE : TRUTH_FALSE;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        generate_truth(generator, node->list.items[i]);
        if (count == 1) {
            return;
        }
        if (i == 0) {
            emit(generator, and? CODE_AND_FIRST : CODE_OR_FIRST)->target = UINT32_MAX;
            if (++generator->truths > generator->truths_max) {
                generator->truths_max = generator->truths;
            }
        } else if (i + 1 < count) {
            emit(generator, and? CODE_AND_NEXT : CODE_OR_NEXT)->target = UINT32_MAX;
        } else {
            emit(generator, and? CODE_AND_LAST : CODE_OR_LAST);
            generator->truths--;
        }
    }
    /* Inner ones have theirs already. */
    for (size_t i = begin; i < generator->count; i++) {
        struct instruction *at = &generator->code[i];
        if (at->code >= CODE_AND_FIRST && at->code <= CODE_OR_LAST && at->target == UINT32_MAX) {
            at->target = (uint32_t)generator->count;
        }
    }
}

static void generate_truth(struct generator *generator, const struct node *node)
{
    if (generator->context->status != 0) {
        return;
    }
    switch (node->kind) {
    case NODE_COMPARE:
        generate_compare(generator, node);
        return;
    case NODE_IN:
        generate_in(generator, node);
        return;
    case NODE_EXISTS:
        generate_exists(generator, node);
        return;
    case NODE_NOT:
        generate_truth(generator, node->operand[0]);
        emit(generator, CODE_NOT);
        return;
    case NODE_AND:
    case NODE_OR:
        generate_logic(generator, node);
        return;
    case NODE_CALL:
        if (is_condition(node)) {
            generate_call_truth(generator, node);
            return;
        }
        break;
    case NODE_FIELD:
        if (is_own_field(node) && node->type->kind == TYPE_BOOLEAN) {
            emit(generator, CODE_FIELD_BOOLEAN)->field = node->ref.field->position;
            return;
        }
        break;
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
    case NODE_CAST:
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
        break;
    }
    generate_value(generator, node);
    emit(generator, CODE_TRUTH_OF);
    popped(generator, 1);
}

const struct expr *expr_generate(struct context *context, const struct node *root)
{
    struct generator generator = {.context = context};
    if (context->status != 0 || root == NULL) {
        return NULL;
    }
    /* A path, for a sort, yields its value; everything else a truth. */
    bool truth = is_condition(root) || root->type == NULL || root->type->kind == TYPE_BOOLEAN;
    if (truth) {
        generate_truth(&generator, root);
        emit(&generator, CODE_END);
    } else {
        generate_value(&generator, root);
        emit(&generator, CODE_END_VALUE);
    }
    struct expr *expr = arena_alloc(context->arena, sizeof(*expr));
    if (expr == NULL) {
        context_no_memory(context);
    }
    if (expr == NULL || context->status != 0) {
        return NULL;
    }
    *expr = (struct expr){
        .resource = context->scope->resource,
        .root = root,
        .code = generator.code,
        .steps = generator.steps,
        .step_count = (uint32_t)generator.step_count,
        .values_max = generator.values_max,
        .truths_max = generator.truths_max,
    };
    return expr;
}

#include "layers/query/expr_ast.h"

#include <string.h>

#include "protocol/base/check.h"

/* What an expression looks at, and which parts of its top-level `and` a planner
 * can serve. Walks of the tree, whose height is bounded. */

/* ---- Uses ---- */

struct walk {
    struct arena *arena;
    struct expr_uses *out;
    size_t relationships_capacity;
    size_t fields_capacity;
    size_t parents_capacity;
    uint16_t *fields;
    uint16_t *parents;
    bool failed;
};

static void walk_node(struct walk *walk, const struct node *node, unsigned depth);

static void add_relationship(struct walk *walk, const struct relationship *relationship)
{
    struct expr_uses *out = walk->out;
    for (size_t i = 0; i < out->relationship_count; i++) {
        if (out->relationships[i] == relationship) {
            return;
        }
    }
    void *items = out->relationships;
    if (arena_grow(walk->arena, &items, out->relationship_count, &walk->relationships_capacity,
                   sizeof(struct relationship *)) != 0) {
        walk->failed = true;
        return;
    }
    out->relationships = items;
    out->relationships[out->relationship_count++] = relationship;
}

static void add_position(struct walk *walk, uint16_t **list, size_t *count, size_t *capacity,
                         uint16_t position)
{
    for (size_t i = 0; i < *count; i++) {
        CHECK(*list != NULL);
        if ((*list)[i] == position) {
            return;
        }
    }
    void *items = *list;
    if (arena_grow(walk->arena, &items, *count, capacity, sizeof(uint16_t)) != 0) {
        walk->failed = true;
        return;
    }
    *list = items;
    (*list)[(*count)++] = position;
}

/* A field of the record `up` scopes out, seen `depth` scopes (of exists) in. */
static void add_field(struct walk *walk, unsigned up, unsigned depth, uint16_t position)
{
    struct expr_uses *out = walk->out;
    if (up == depth) {
        add_position(walk, &walk->fields, &out->field_count, &walk->fields_capacity, position);
    } else if (up == depth + 1) {
        add_position(walk, &walk->parents, &out->parent_field_count, &walk->parents_capacity,
                     position);
    }
}

static void add_path(struct walk *walk, const struct path *path, unsigned depth)
{
    walk->out->parent = walk->out->parent || path->up > depth;
    for (unsigned i = 0; i < path->hop_count; i++) {
        add_relationship(walk, path->hops[i]);
    }
}

/* A relationship that starts from the record reads its source fields there; a
 * manual one may read any. */
static void add_sources(struct walk *walk, const struct relationship *relationship, unsigned up,
                        unsigned depth)
{
    if (relationship->manual || relationship->filter != NULL) {
        for (unsigned i = 0; i < relationship->source->field_count; i++) {
            add_field(walk, up, depth, (uint16_t)i);
        }
        return;
    }
    for (unsigned i = 0; i < relationship->source_fields.count; i++) {
        add_field(walk, up, depth, relationship->source_fields.fields[i]);
    }
}

static void walk_exists(struct walk *walk, const struct node *node, unsigned depth)
{
    const struct path *path = &node->exists.path;
    add_path(walk, path, depth);
    add_sources(walk, path->hop_count > 0 ? path->hops[0] : node->exists.relationship, path->up,
                depth);
    add_relationship(walk, node->exists.relationship);
    if (node->exists.filter != NULL) {
        walk_node(walk, node->exists.filter->root, depth + 1);
    }
}

static void walk_field(struct walk *walk, const struct node *node, unsigned depth)
{
    const struct path *path = &node->ref.path;
    add_path(walk, path, depth);
    if (path->hop_count > 0) {
        add_sources(walk, path->hops[0], path->up, depth);
    } else {
        add_field(walk, path->up, depth, node->ref.field->position);
    }
}

static void walk_node(struct walk *walk, const struct node *node, unsigned depth)
{
    switch (node->kind) {
    case NODE_LITERAL:
    case NODE_LIST:
        return;
    case NODE_FIELD:
        walk_field(walk, node, depth);
        return;
    case NODE_FACT:
        walk->out->actor = true;
        return;
    case NODE_TENANT:
        walk->out->tenant = true;
        return;
    case NODE_NOW:
        walk->out->now = true;
        return;
    case NODE_CAST:
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
    case NODE_CALL:
    case NODE_COMPARE:
    case NODE_NOT:
        walk_node(walk, node->operand[0], depth);
        if (node->operand[1] != NULL) {
            walk_node(walk, node->operand[1], depth);
        }
        return;
    case NODE_IN:
        walk_node(walk, node->in.left, depth);
        if (node->in.right != NULL) {
            walk_node(walk, node->in.right, depth);
        }
        return;
    case NODE_EXISTS:
        walk_exists(walk, node, depth);
        return;
    case NODE_AND:
    case NODE_OR:
        for (size_t i = 0; i < node->list.count; i++) {
            walk_node(walk, node->list.items[i], depth);
        }
        return;
    }
}

int expr_uses(const struct expr *expr, struct arena *arena, struct expr_uses *out)
{
    *out = (struct expr_uses){0};
    struct walk walk = {.arena = arena, .out = out};
    walk_node(&walk, expr->root, 0);
    out->fields = walk.fields;
    out->parent_fields = walk.parents;
    return walk.failed ? -CODE_OVERLOADED : 0;
}

/* ---- Conjuncts ---- */

/* Whether it can be known without the record. */
static bool is_operand(const struct node *node)
{
    switch (node->kind) {
    case NODE_LITERAL:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
        return true;
    case NODE_FIELD:
        return node->ref.path.up > 0 && node->ref.path.hop_count == 0;
    case NODE_CAST:
    case NODE_NEGATE:
        return is_operand(node->operand[0]);
    case NODE_ARITHMETIC:
        return is_operand(node->operand[0]) && is_operand(node->operand[1]);
    case NODE_LIST:
    case NODE_CALL:
    case NODE_COMPARE:
    case NODE_IN:
    case NODE_EXISTS:
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        break;
    }
    return false;
}

static bool is_indexable_field(const struct node *node)
{
    return node->kind == NODE_FIELD && node->ref.path.up == 0 && node->ref.path.hop_count == 0 &&
           node->ref.field->type.kind != TYPE_ANY;
}

static bool operator_of(uint8_t comparison, bool mirrored, enum conjunct_operator *out)
{
    switch ((enum comparison)comparison) {
    case COMPARE_EQUAL:
        *out = CONJUNCT_EQUAL;
        return true;
    case COMPARE_LESS:
        *out = mirrored ? CONJUNCT_GREATER : CONJUNCT_LESS;
        return true;
    case COMPARE_LESS_EQUAL:
        *out = mirrored ? CONJUNCT_GREATER_EQUAL : CONJUNCT_LESS_EQUAL;
        return true;
    case COMPARE_GREATER:
        *out = mirrored ? CONJUNCT_LESS : CONJUNCT_GREATER;
        return true;
    case COMPARE_GREATER_EQUAL:
        *out = mirrored ? CONJUNCT_LESS_EQUAL : CONJUNCT_GREATER_EQUAL;
        return true;
    case COMPARE_NOT_EQUAL:
        break;
    }
    return false;
}

static bool compare_conjunct(const struct node *node, struct conjunct *out)
{
    for (int i = 0; i < 2; i++) {
        const struct node *field = node->operand[i];
        const struct node *operand = node->operand[1 - i];
        if (is_indexable_field(field) && is_operand(operand)) {
            out->field = field->ref.field->position;
            out->operand = operand;
            return operator_of(node->op, i == 1, &out->operator);
        }
    }
    return false;
}

/* `active` alone is `active == true`, `not active` is `active == false`. */
static bool boolean_conjunct(const struct node *field, bool is, struct conjunct *out)
{
    static const struct node literals[2] = {
        {.kind = NODE_LITERAL, .value = {.kind = VALUE_BOOLEAN, .boolean = false}},
        {.kind = NODE_LITERAL, .value = {.kind = VALUE_BOOLEAN, .boolean = true}},
    };
    if (!is_indexable_field(field) || field->type->kind != TYPE_BOOLEAN) {
        return false;
    }
    *out = (struct conjunct){field->ref.field->position, CONJUNCT_EQUAL, &literals[is]};
    return true;
}

static bool to_conjunct(const struct node *node, struct conjunct *out)
{
    switch (node->kind) {
    case NODE_COMPARE:
        return compare_conjunct(node, out);
    case NODE_IN:
        if (!is_indexable_field(node->in.left) ||
            (node->in.list == NULL && !is_operand(node->in.right))) {
            return false;
        }
        *out = (struct conjunct){node->in.left->ref.field->position, CONJUNCT_IN, node};
        return true;
    case NODE_CALL:
        if (node->op != FUNCTION_STARTS_WITH || !is_indexable_field(node->operand[0]) ||
            !is_operand(node->operand[1])) {
            return false;
        }
        *out = (struct conjunct){node->operand[0]->ref.field->position, CONJUNCT_STARTS_WITH,
                                 node->operand[1]};
        return true;
    case NODE_FIELD:
        return boolean_conjunct(node, true, out);
    case NODE_NOT:
        return boolean_conjunct(node->operand[0], false, out);
    case NODE_LITERAL:
    case NODE_LIST:
    case NODE_FACT:
    case NODE_TENANT:
    case NODE_NOW:
    case NODE_CAST:
    case NODE_NEGATE:
    case NODE_ARITHMETIC:
    case NODE_EXISTS:
    case NODE_AND:
    case NODE_OR:
        break;
    }
    return false;
}

size_t expr_conjuncts(const struct expr *expr, struct conjunct *out, size_t most)
{
    const struct node *root = expr->root;
    const struct node *const *parts = &root;
    size_t count = 1;
    size_t found = 0;
    if (root->kind == NODE_AND) {
        parts = (const struct node *const *)root->list.items;
        count = root->list.count;
    }
    for (size_t i = 0; i < count; i++) {
        struct conjunct conjunct;
        if (to_conjunct(parts[i], &conjunct)) {
            if (found < most) {
                out[found] = conjunct;
            }
            found++;
        }
    }
    return found < most ? found : most;
}

bool expr_equals_parent(const struct expr *expr, uint16_t parent_field, uint16_t *field)
{
    struct conjunct conjuncts[16];
    size_t count = expr == NULL ? 0 : expr_conjuncts(expr, conjuncts, 16);
    for (size_t i = 0; i < count; i++) {
        const struct node *operand = conjuncts[i].operand;
        if (conjuncts[i].operator== CONJUNCT_EQUAL && operand->kind == NODE_FIELD &&
            operand->ref.path.up == 1 && operand->ref.path.hop_count == 0 &&
            operand->ref.field->position == parent_field) {
            *field = conjuncts[i].field;
            return true;
        }
    }
    return false;
}

/* ---- Operands ---- */

static void operand_value(const struct node *node, struct eval *eval,
                          const struct expr_records *outer, struct value *out)
{
    struct value right;
    switch (node->kind) {
    case NODE_LITERAL:
        *out = node->value;
        return;
    case NODE_FACT:
        value_fact(eval, node->fact.name, node->fact.size, out);
        return;
    case NODE_TENANT:
        *out = eval->tenant;
        return;
    case NODE_NOW:
        *out = (struct value){.kind = VALUE_DATETIME, .datetime = eval->now};
        return;
    case NODE_FIELD:
        for (unsigned i = 1; i < node->ref.path.up && outer != NULL; i++) {
            outer = outer->outer;
        }
        if (outer != NULL && outer->record != NULL) {
            record_load(outer->record, node->ref.path.resource, node->ref.field->position, out);
        }
        return;
    case NODE_CAST: {
        operand_value(node->operand[0], eval, outer, out);
        bool uuid = node->type->kind == TYPE_UUID && out->kind != VALUE_NIL;
        char *room = uuid ? arena_alloc(eval->arena, TYPE_UUID_TEXT) : NULL;
        if (uuid && room == NULL) {
            *out = value_nil();
            return;
        }
        value_cast(out, node->type, room);
        return;
    }
    case NODE_NEGATE:
        operand_value(node->operand[0], eval, outer, out);
        value_negate(out);
        return;
    case NODE_ARITHMETIC:
        operand_value(node->operand[0], eval, outer, out);
        right = value_nil();
        operand_value(node->operand[1], eval, outer, &right);
        value_arithmetic((char)node->op, out, &right, out);
        return;
    case NODE_LIST:
    case NODE_CALL:
    case NODE_COMPARE:
    case NODE_IN:
    case NODE_EXISTS:
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        break;
    }
    CHECK(!"no operand");
}

/* A list that is known only now, each item as the field's type; what cannot be
 * read so equals nothing. */
static void list_value(const struct node *in, struct eval *eval, const struct expr_records *outer,
                       struct value *out)
{
    struct value list = value_nil();
    operand_value(in->in.right, eval, outer, &list);
    *out = value_nil();
    struct reader reader = reader_of(list.bytes, list.kind == VALUE_ANY ? list.size : 0);
    struct token array = reader_next(&reader);
    if (array.kind != TOKEN_ARRAY) {
        return;
    }
    bool uuid = in->in.left->type->kind == TYPE_UUID;
    struct value *items = arena_alloc(eval->arena, (array.count + 1) * sizeof(struct value));
    char *room = uuid ? arena_alloc(eval->arena, (array.count + 1) * (size_t)TYPE_UUID_TEXT) : NULL;
    if (items == NULL || (uuid && room == NULL)) {
        return;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < array.count; i++) {
        const uint8_t *bytes;
        size_t size;
        CHECK(reader_value(&reader, &bytes, &size));
        struct reader one = reader_of(bytes, size);
        struct token token = reader_next(&one);
        if (value_from_token(&token, &items[count])) {
            value_cast(&items[count], in->in.left->type,
                       uuid ? room + (size_t)count * TYPE_UUID_TEXT : NULL);
            count += items[count].kind != VALUE_NIL;
        }
    }
    *out = (struct value){.kind = VALUE_LIST, .size = count, .items = items};
}

void expr_operand(const struct conjunct *conjunct, struct eval *eval,
                  const struct expr_records *outer, struct value *out)
{
    const struct node *node = conjunct->operand;
    *out = value_nil();
    if (node->kind != NODE_IN) {
        operand_value(node, eval, outer, out);
    } else if (node->in.list != NULL) {
        *out = (struct value){
            .kind = VALUE_LIST, .size = node->in.list->count, .items = node->in.list->items};
    } else {
        list_value(node, eval, outer, out);
    }
}

#include <string.h>

#include "layers/schema/reading.h"
#include "layers/schema/scalar.h"
#include "protocol/base/check.h"

/* Types that a field may say, and those that are reserved. */
static const char *const later_types[] = {"decimal", "date"};

static bool read_type_name(struct reading *reading, const struct node *node, struct type *out)
{
    char came[DESCRIBE_NODE_MAX], hint[DID_YOU_MEAN_MAX];
    if (!is_text_node(node)) {
        fault_at(reading, node, "a type is a word such as integer or string, got %s",
                 describe_node(node, came));
        return false;
    }
    for (size_t i = 0; i < ARRAY_COUNT(later_types); i++) {
        if (strcmp(node->text, later_types[i]) == 0) {
            fault_at(reading, node, "the type %s is not supported yet", later_types[i]);
            return false;
        }
    }
    enum type_kind kind = type_from_name(node->text, node->size);
    if (kind == TYPE_ENUM) {
        fault_at(reading, node, "an enum lists its members: write {enum: [open, closed]}");
        return false;
    }
    if (kind != TYPE_COUNT) {
        *out = (struct type){.kind = kind};
        return true;
    }
    if (strcmp(node->text, "list") == 0) {
        fault_at(reading, node, "lists are not supported yet");
        return false;
    }
    struct nearest nearest;
    nearest_init(&nearest, node->text, node->size);
    for (unsigned i = 0; i < TYPE_COUNT; i++) {
        nearest_offer(&nearest, type_name((enum type_kind)i));
    }
    fault_at(reading, node,
             "there is no type \"%.63s\"%s (types are integer, float, boolean, string, binary, "
             "datetime, uuid, {enum: [...]}, any)",
             node->text, did_you_mean(&nearest, hint));
    return false;
}

static bool is_taken(const struct type *type, const char *member)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        if (strcmp(type->members[i], member) == 0) {
            return true;
        }
    }
    return false;
}

/* Enough for any list that a person reads; keeps the checks for twins short. */
enum { ENUM_MEMBERS_MAX = 1000 };

static bool read_members(struct reading *reading, const struct node *node, struct type *out)
{
    char came[DESCRIBE_NODE_MAX];
    if (node->kind != NODE_LIST || node->count == 0 || node->count > ENUM_MEMBERS_MAX) {
        fault_at(reading, node, "an enum is a list of 1 to %d texts, got %s", ENUM_MEMBERS_MAX,
                 node->kind == NODE_LIST ? (node->count == 0 ? "none" : "more")
                                         : describe_node(node, came));
        return false;
    }
    const char **members = arena_zero(reading->model, node->count, sizeof(*members));
    if (members == NULL) {
        return false;
    }
    *out = (struct type){.kind = TYPE_ENUM, .members = members};
    bool sound = true;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct node *item = node->items[i];
        if (!is_text_node(item)) {
            fault_at(reading, item, "a member of an enum is text%s, got %s",
                     item->kind == NODE_SCALAR ? " (put it in quotes)" : "",
                     describe_node(item, came));
            sound = false;
        } else if (is_taken(out, item->text)) {
            fault_at(reading, item, "\"%.63s\" stands in the enum twice", item->text);
            sound = false;
        } else {
            members[out->member_count++] = arena_text(reading->model, item->text, item->size);
            if (reading->model->failed) {
                return false;
            }
        }
    }
    return sound;
}

bool read_type(struct reading *reading, const struct node *node, struct type *out)
{
    static const struct key_rule rules[] = {{"enum", false}, {"list", true}};
    const struct node *values[ARRAY_COUNT(rules)];
    if (node->kind != NODE_MAP) {
        return read_type_name(reading, node, out);
    }
    if (!take_map(reading, node, "type", rules, ARRAY_COUNT(rules), values)) {
        return false;
    }
    if (values[0] == NULL) {
        if (node->count == 0) {
            fault_at(reading, node, "a type is a word, or {enum: [...]}, got an empty map");
        }
        return false;
    }
    return read_members(reading, values[0], out);
}

#include <stdio.h>
#include <string.h>

#include "layers/schema/reading.h"

/* `depends_on`: the resources whose writes change what a loader answers, and
 * for which sources. */

enum { WHAT_MAX = 128, DEPENDENCIES_MAX = 256 };

struct depending {
    struct reading *reading;
    struct relationship *relationship;
    struct dependency *items;
    uint16_t count;
    char what[WHAT_MAX];
};

/* Values of the fields are to be primary keys of the source. */
static bool names_sources(const struct depending *depending, const struct node *node,
                          const struct dependency *dependency)
{
    const struct resource *source = depending->relationship->source, *of = dependency->resource;
    const struct field_list *key = &source->primary_key, *fields = &dependency->fields;
    if (!depending->reading->sources[source->position].sound) {
        return true; /* Which is told already. */
    }
    if (fields->count != key->count) {
        fault_at(depending->reading, node,
                 "%s: %u field%s of %s cannot name a source, whose primary key has %u: name as "
                 "many, in its order",
                 depending->what, fields->count, fields->count == 1 ? "" : "s", of->name,
                 key->count);
        return false;
    }
    for (unsigned i = 0; i < key->count; i++) {
        const struct field *a = &of->fields[fields->fields[i]];
        const struct field *b = &source->fields[key->fields[i]];
        if (!fields_meet(a, b)) {
            fault_at(depending->reading, node,
                     "%s: %s.%s (%s) cannot name a source by %s.%s (%s): their types differ",
                     depending->what, of->name, a->name, type_name(a->type.kind), source->name,
                     b->name, type_name(b->type.kind));
            return false;
        }
    }
    return true;
}

/* Without fields a resource says all that it can; it stands alone then. */
static bool repeats(const struct dependency *a, const struct dependency *b)
{
    return a->resource == b->resource && (a->fields.count == 0 || b->fields.count == 0 ||
                                          memcmp(&a->fields, &b->fields, sizeof(a->fields)) == 0);
}

static void add_dependency(struct depending *depending, const struct node *name,
                           const struct node *fields)
{
    struct reading *reading = depending->reading;
    struct dependency added = {.resource = take_resource(reading, name, depending->what)};
    if (added.resource == NULL || depending->count == DEPENDENCIES_MAX) {
        return;
    }
    if (fields != NULL &&
        (added.resource->field_count == 0 ||
         !take_field_list(reading, fields, added.resource, depending->what, &added.fields) ||
         !names_sources(depending, fields, &added))) {
        return;
    }
    for (unsigned i = 0; i < depending->count; i++) {
        if (repeats(&depending->items[i], &added)) {
            fault_at(reading, name, "%s: %s stands in it twice", depending->what,
                     added.resource->name);
            return;
        }
    }
    depending->items[depending->count++] = added;
}

/* `team`, or `{ticket: representative_id}`. */
static void add_dependencies(struct depending *depending, const struct node *node)
{
    struct reading *reading = depending->reading;
    uint32_t count;
    if (node->kind == NODE_SCALAR) {
        add_dependency(depending, node, NULL);
    } else if (node->kind == NODE_LIST || node->count == 0) {
        fault_at(reading, node,
                 "%s: expected a resource, or a resource with the fields that name a source, such "
                 "as {ticket: representative_id}",
                 depending->what);
    } else if (take_names(reading, node, depending->what, DEPENDENCIES_MAX, &count)) {
        for (uint32_t i = 0; i < count; i++) {
            add_dependency(depending, map_key(node, i), map_value(node, i));
        }
    }
}

void read_dependencies(struct reading *reading, const struct node *node,
                       struct relationship *relationship)
{
    struct depending depending = {.reading = reading, .relationship = relationship};
    if (node == NULL) {
        return;
    }
    relationship->has_dependencies = true;
    snprintf(depending.what, sizeof(depending.what), "depends_on of relationship %s",
             relationship->name);
    if ((is_text_node(node) && strcmp(node->text, "none") == 0) ||
        !take_list(reading, node, depending.what,
                   "none, or a list such as [{ticket: representative_id}, team]", 1,
                   DEPENDENCIES_MAX)) {
        return;
    }
    depending.items = arena_zero(reading->model, DEPENDENCIES_MAX, sizeof(*depending.items));
    for (uint32_t i = 0; depending.items != NULL && i < node->count; i++) {
        add_dependencies(&depending, node->items[i]);
    }
    relationship->dependencies = depending.items;
    relationship->dependency_count = depending.count;
}

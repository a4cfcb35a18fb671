#include "layers/query/expr_ast.h"

#include "protocol/base/nearest.h"

static const struct expr_scope *scope_of(const struct context *context, unsigned up)
{
    const struct expr_scope *scope = context->scope;
    for (unsigned i = 0; i < up && scope != NULL; i++) {
        scope = scope->outer;
    }
    return scope;
}

void path_here(const struct context *context, struct path *out)
{
    *out = (struct path){.resource = context->scope->resource};
}

bool path_parent(struct context *context, struct path *path, size_t at)
{
    const struct expr_scope *scope = scope_of(context, path->up + 1u);
    if (scope == NULL) {
        context_fail(context, at,
                     path->up == 0 ? "parent means nothing here: there is no record outside"
                                   : "there are not so many records outside");
        return false;
    }
    path->up++;
    path->resource = scope->resource;
    return true;
}

void fail_unknown_name(struct context *context, const struct path *path, const char *name,
                       size_t size, size_t at)
{
    const struct resource *resource = path->resource;
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    for (unsigned i = 0; i < resource->field_count; i++) {
        nearest_offer(&nearest, resource->fields[i].name);
    }
    for (unsigned i = 0; i < resource->relationship_count; i++) {
        nearest_offer(&nearest, resource->relationships[i].name);
    }
    bool failed_before = context->status != 0;
    context_fail(context, at, "%s has no field or relationship \"%.*s\"%s%s%s", resource->name,
                 (int)(size < NAME_SHOWN_MAX ? size : NAME_SHOWN_MAX), name,
                 nearest.best != NULL ? ", did you mean \"" : "",
                 nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "\"?" : "");
    if (!failed_before) {
        error_resource(context->error, resource->name);
    }
}

/* What a loader outside would answer is not known while a filter runs. */
static bool is_followed(struct context *context, const struct relationship *relationship, size_t at)
{
    bool failed_before = context->status != 0;
    bool module = relationship->loader == LOADER_MODULE;
    if (!module && relationship->loader != LOADER_REMOTE) {
        return true;
    }
    context_fail(context, at,
                 "%s is filled by a %s, which filters and sorts cannot ask: they follow ordinary "
                 "relationships and filter loaders; load it instead",
                 relationship->full_name, module ? "module" : "remote loader");
    if (!failed_before) {
        error_resource(context->error, relationship->source->name);
        error_relationship(context->error, relationship->name);
    }
    return false;
}

const struct relationship *path_relationship(struct context *context, const struct path *path,
                                             const char *name, size_t size, size_t at)
{
    const struct relationship *found = resource_relationship(path->resource, name, size);
    if (found != NULL) {
        return is_followed(context, found, at) ? found : NULL;
    }
    if (resource_field(path->resource, name, size) != NULL) {
        context_fail(context, at, "%s.%.*s is a field, expected a relationship",
                     path->resource->name, (int)size, name);
    } else {
        fail_unknown_name(context, path, name, size, at);
    }
    return NULL;
}

bool path_follow(struct context *context, struct path *path, const char *name, size_t size,
                 size_t at)
{
    const struct relationship *relationship = path_relationship(context, path, name, size, at);
    if (relationship == NULL) {
        return false;
    }
    if (!relationship->to_one) {
        context_fail(context, at, "%s leads to many records: ask exists(%s, ...)",
                     relationship->full_name, relationship->name);
        return false;
    }
    const struct relationship **hops =
        arena_alloc(context->arena, (path->hop_count + 1u) * sizeof(struct relationship *));
    if (hops == NULL) {
        context_no_memory(context);
        return false;
    }
    for (unsigned i = 0; i < path->hop_count; i++) {
        hops[i] = path->hops[i];
    }
    hops[path->hop_count] = relationship;
    path->hops = hops;
    path->hop_count++;
    path->resource = relationship->destination;
    /* A step is a part of the filter within another. */
    if (path->hop_count > context_levels_max(context)) {
        context_limit(context, "filter_levels", context_levels_max(context), path->hop_count);
    }
    return context->status == 0;
}

struct node *build_field(struct context *context, const struct path *path, const char *name,
                         size_t size, size_t at)
{
    const struct field *field = resource_field(path->resource, name, size);
    if (field != NULL) {
        struct node *node = build_node(context, NODE_FIELD, &field->type, at);
        if (node != NULL) {
            node->ref.path = *path;
            node->ref.field = field;
        }
        return node;
    }
    const struct relationship *relationship = resource_relationship(path->resource, name, size);
    if (relationship == NULL) {
        fail_unknown_name(context, path, name, size, at);
        return NULL;
    }
    if (!is_followed(context, relationship, at)) {
        return NULL;
    }
    if (relationship->to_one) {
        return context_fail(context, at, "%s is a relationship: name a field of it, as in %s.%s",
                            relationship->full_name, relationship->name,
                            relationship->destination->fields[0].name);
    }
    return context_fail(context, at, "%s leads to many records: ask exists(%s, ...)",
                        relationship->full_name, relationship->name);
}

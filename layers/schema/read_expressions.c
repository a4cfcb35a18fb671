#include <stdio.h>
#include <string.h>

#include "layers/query/expr.h"
#include "layers/query/order.h"
#include "layers/schema/circles.h"
#include "layers/schema/reading.h"
#include "protocol/base/check.h"

/* Filters and sorts are compiled once all resources and relationships are
 * known. Where the resources at either end are not sound they are left alone,
 * since they would be blamed for what is wrong elsewhere. */

struct place {
    struct reading *reading;
    const struct relationship *relationship;
    const char *option;
    struct expr_scope outer;
    struct expr_scope scope;
    struct expr_compiler compiler;
};

static void place_init(struct place *place, struct reading *reading,
                       const struct relationship *relationship, const char *option, bool has_parent)
{
    *place = (struct place){.reading = reading, .relationship = relationship, .option = option};
    place->outer = (struct expr_scope){.resource = relationship->source};
    place->scope = (struct expr_scope){.resource = relationship->destination,
                                       .outer = has_parent ? &place->outer : NULL};
    place->compiler = (struct expr_compiler){.arena = reading->model,
                                             .limits = reading->limits,
                                             .scope = &place->scope,
                                             .in_schema = true};
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool names_word(const char *text, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == text || !is_word(at[-1])) && !is_word(at[size])) {
            return true;
        }
    }
    return false;
}

/* An expression that names a field or relationship which is itself at fault is
 * not to blame for not finding it. */
static bool names_unsound(const struct reading *reading, const char *text)
{
    for (unsigned i = 0; i < reading->schema->resource_count; i++) {
        const struct resource *resource = &reading->schema->resources[i];
        const struct resource_source *source = &reading->sources[i];
        for (unsigned j = 0; j < resource->field_count; j++) {
            if (!source->field_sound[j] && names_word(text, resource->fields[j].name)) {
                return true;
            }
        }
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            if (!source->relationship_sources[j].sound &&
                names_word(text, resource->relationships[j].name)) {
                return true;
            }
        }
    }
    return false;
}

static void refuse_expression(const struct place *place, const struct node *node,
                              const struct error *error)
{
    struct reading *reading = place->reading;
    uint32_t column = node->column;
    if (!faults_open(&reading->faults)) {
        reading->faults.total++;
        return;
    }
    if (error->code == CODE_OVERLOADED) {
        reading->model->failed = 1;
        return;
    }
    if (names_unsound(reading, node->text)) {
        return;
    }
    if (error->position >= 0) {
        column = document_column(reading->text, reading->size, node, (size_t)error->position);
    }
    faults_add(&reading->faults, node->line, column, "the %s of %s: %s", place->option,
               place->relationship->full_name, error->message);
}

/* The text of an expression: what `true` or `5` stand for is the expression's
 * matter, not YAML's. */
static bool take_expression(const struct place *place, const struct node *node, const char *example)
{
    if (node->kind == NODE_SCALAR && !is_nil_node(node) && strlen(node->text) == node->size) {
        return true;
    }
    char came[DESCRIBE_NODE_MAX];
    fault_at(place->reading, node, "the %s of %s is a text such as %s, got %s", place->option,
             place->relationship->full_name, example, describe_node(node, came));
    return false;
}

static const struct expr *compile_filter(const struct place *place, const struct node *node)
{
    const struct expr *expr = NULL;
    struct error error = ERROR_INIT;
    if (take_expression(place, node, "status == \"open\"") &&
        expr_compile_text(&place->compiler, node->text, node->size, &expr, &error) != 0) {
        refuse_expression(place, node, &error);
        expr = NULL;
    }
    return expr;
}

static const struct order *compile_order_text(const struct place *place, const struct node *node)
{
    const struct order *order = NULL;
    struct error error = ERROR_INIT;
    if (take_expression(place, node, "-created_at") &&
        order_compile_text(&place->compiler, node->text, node->size, &order, &error) != 0) {
        refuse_expression(place, node, &error);
        order = NULL;
    }
    return order;
}

static const struct order *compile_order(const struct place *place, const struct node *node)
{
    if (node->kind != NODE_LIST) {
        return compile_order_text(place, node);
    }
    if (node->count > ORDER_ITEMS_MAX) {
        fault_at(place->reading, node, "the sort of %s has %u items, at most %d are taken",
                 place->relationship->full_name, node->count, ORDER_ITEMS_MAX);
        return NULL;
    }
    const struct order *order = NULL;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct order *item = compile_order_text(place, node->items[i]);
        order = item == NULL ? order : order_merge(place->compiler.arena, order, item);
    }
    return order;
}

static void compile_relationship(struct reading *reading, struct relationship *relationship,
                                 const struct relationship_source *source)
{
    struct place place;
    if (source->filter != NULL) {
        place_init(&place, reading, relationship, "filter", true);
        relationship->filter = compile_filter(&place, source->filter);
        relationship->filter_text =
            arena_text(reading->model, source->filter->text, source->filter->size);
    }
    if (source->loader_filter != NULL) {
        place_init(&place, reading, relationship, "manual filter", true);
        relationship->loader_filter = compile_filter(&place, source->loader_filter);
        relationship->loader_filter_text =
            arena_text(reading->model, source->loader_filter->text, source->loader_filter->size);
    }
    if (source->sort != NULL) {
        place_init(&place, reading, relationship, "sort", false);
        relationship->order = compile_order(&place, source->sort);
    }
}

/* ---- What reads what ---- */

/* By the relationships' numbers. */
struct reads {
    struct reading *reading;
    struct circles circles;
    const struct relationship **relationships;
    const struct relationship_source **sources;
    bool *now; /* its answers change with the time */
};

static void note_uses(struct reads *reads, const struct relationship *relationship,
                      const struct expr *expr)
{
    struct expr_uses uses;
    if (expr == NULL || expr_uses(expr, reads->reading->scratch, &uses) != 0) {
        return;
    }
    reads->now[relationship->number] |= uses.now;
    for (size_t i = 0; i < uses.relationship_count; i++) {
        circles_add(&reads->circles, relationship->number, uses.relationships[i]->number);
    }
}

static void note_relationship(struct reads *reads, const struct relationship *relationship,
                              const struct relationship_source *source)
{
    reads->relationships[relationship->number] = relationship;
    reads->sources[relationship->number] = source;
    note_uses(reads, relationship, relationship->filter);
    note_uses(reads, relationship, relationship->loader_filter);
    for (unsigned i = 0; relationship->order != NULL && i < relationship->order->count; i++) {
        note_uses(reads, relationship, relationship->order->items[i].path);
    }
}

static void refuse_circles(struct reads *reads)
{
    uint32_t members[CIRCLE_SHOWN_MAX];
    size_t count;
    while ((count = circles_next(&reads->circles, members, CIRCLE_SHOWN_MAX)) > 0) {
        char text[ERROR_MESSAGE_MAX] = "";
        size_t used = 0, shown = count < CIRCLE_SHOWN_MAX ? count : CIRCLE_SHOWN_MAX;
        for (size_t i = 0; i < shown && used < sizeof(text); i++) {
            int more = snprintf(text + used, sizeof(text) - used, "%s reads ",
                                reads->relationships[members[i]]->full_name);
            used += more > 0 ? (size_t)more : 0;
        }
        fault_at(reads->reading, reads->sources[members[0]]->key,
                 "relationships may not read each other in a circle: %s%s%s", text,
                 count > shown ? "... reads " : "", reads->relationships[members[0]]->full_name);
    }
}

/* A kept answer would not change when the time does. */
static void refuse_clocked_caches(struct reads *reads)
{
    circles_spread(&reads->circles, reads->now);
    for (uint32_t i = 0; i < reads->circles.count; i++) {
        const struct relationship *relationship = reads->relationships[i];
        if (relationship->cached && reads->now[i]) {
            fault_at(reads->reading, reads->sources[i]->cache,
                     "%s cannot be cached, since a filter that it follows uses now(): leave cache "
                     "out, or ask for the time in the caller's filter",
                     relationship->full_name);
        }
    }
}

static void check_reads(struct reading *reading)
{
    struct schema *schema = reading->schema;
    uint32_t count = schema->relationship_count;
    struct reads reads = {.reading = reading};
    reads.relationships = arena_zero(reading->scratch, count, sizeof(struct relationship *));
    reads.sources = arena_zero(reading->scratch, count, sizeof(struct relationship_source *));
    reads.now = arena_zero(reading->scratch, count, sizeof(*reads.now));
    if (reads.relationships == NULL || reads.sources == NULL || reads.now == NULL ||
        circles_init(&reads.circles, reading->scratch, count) != 0) {
        return;
    }
    for (unsigned i = 0; i < schema->resource_count; i++) {
        const struct resource *resource = &schema->resources[i];
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            note_relationship(&reads, &resource->relationships[j],
                              &reading->sources[i].relationship_sources[j]);
        }
    }
    refuse_clocked_caches(&reads);
    refuse_circles(&reads);
}

void read_expressions(struct reading *reading)
{
    struct schema *schema = reading->schema;
    for (unsigned i = 0; i < schema->resource_count; i++) {
        struct resource *resource = &schema->resources[i];
        for (unsigned j = 0; j < resource->relationship_count; j++) {
            struct relationship *relationship = &resource->relationships[j];
            const struct relationship_source *source = &reading->sources[i].relationship_sources[j];
            if (reading->model->failed || reading->scratch->failed) {
                return;
            }
            if (source->sound && reading->sources[i].sound &&
                reading->sources[relationship->destination->position].sound) {
                compile_relationship(reading, relationship, source);
            }
        }
    }
    check_reads(reading);
}

#include "layers/query/expr_shown.h"

#include <string.h>

#include "layers/query/expr_known.h"
#include "layers/query/expr_print.h"

/* A part of a filter is shown in three steps: whether it may be shown at all
 * (is_hidden); what it says once the caller is known (know_condition); and its text.
 * A part that has no text is left out like a hidden one: the daemon applies the
 * filter itself, so leaving out is slower, never wrong. */

/* Longer texts are params, so that the filter stays readable and within
 * filter_bytes. */
enum { TEXT_WRITTEN_MAX = 256 };

/* ---- What is hidden ---- */

static bool is_fact_shown(const struct relationship *relationship, const struct node *fact)
{
    for (unsigned i = 0; i < relationship->actor_fact_count; i++) {
        const char *name = relationship->actor_facts[i];
        if (strlen(name) == fact->fact.size &&
            memcmp(name, fact->fact.name, fact->fact.size) == 0) {
            return relationship->actor == ACTOR_SOME;
        }
    }
    return relationship->actor == ACTOR_ALL;
}

/* `depth` counts the filters of exists around it: `parent` is hidden only where
 * it means the source. */
static bool is_hidden(const struct expr_shown *shown, const struct node *node, unsigned depth)
{
    bool hidden = node->kind == NODE_FACT && !is_fact_shown(shown->relationship, node);
    if (node->kind == NODE_FIELD) {
        hidden = node->ref.path.up > depth;
    } else if (node->kind == NODE_EXISTS) {
        hidden = node->exists.path.up > depth;
        depth++;
    }
    const struct node *part;
    for (size_t i = 0; !hidden && (part = node_part(node, i)) != NULL; i++) {
        hidden = is_hidden(shown, part, depth);
    }
    return hidden;
}

/* ---- The text ---- */

static void write_part(struct expr_shown *shown, const struct node *part)
{
    struct printer printer = {.text = shown->text,
                              .params = shown->params,
                              .param_count = shown->param_count,
                              .text_max = TEXT_WRITTEN_MAX};
    if (shown->text->size > 0) {
        buffer_append(shown->text, " and ", 5);
    }
    print_part(&printer, part);
    shown->param_count = printer.param_count;
}

static bool is_true(const struct node *node)
{
    return node->kind == NODE_LITERAL && node->value.kind == VALUE_BOOLEAN && node->value.boolean;
}

static void show_part(struct expr_shown *shown, const struct expr *filter, const struct node *part)
{
    struct knowing knowing;
    if (is_hidden(shown, part, 0)) {
        shown->dropped = true;
        return;
    }
    knowing_init(&knowing, shown->eval, filter->resource);
    struct node *root = arena_copy(shown->eval->arena, part, sizeof(*part));
    struct node *said = root != NULL ? know_condition(&knowing, root) : NULL;
    if (said == NULL) {
        shown->dropped = true;
        shown->text->failed |= knowing.context.status != -CODE_INVALID_FILTER;
    } else if (!is_true(said)) {
        write_part(shown, said);
    }
}

void expr_show(struct expr_shown *shown, const struct expr *filter)
{
    if (filter == NULL) {
        return;
    }
    const struct node *root = filter->root;
    if (root->kind != NODE_AND) {
        show_part(shown, filter, root);
        return;
    }
    for (size_t i = 0; i < root->list.count; i++) {
        show_part(shown, filter, root->list.items[i]);
    }
}

/* ---- Sorts ---- */

static void put(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

static const char *signs_of(const struct order_item *item)
{
    if (item->descending) {
        return item->nils_first ? "-" : "--";
    }
    return item->nils_first ? "++" : "";
}

void order_print(const struct order *order, struct buffer *out)
{
    for (unsigned i = 0; i < order->count; i++) {
        const struct order_item *item = &order->items[i];
        put(out, i > 0 ? "," : "");
        put(out, signs_of(item));
        const struct path *path = item->path != NULL ? &item->path->root->ref.path : NULL;
        for (unsigned hop = 0; path != NULL && hop < path->hop_count; hop++) {
            put(out, path->hops[hop]->name);
            put(out, ".");
        }
        put(out, item->name);
    }
}

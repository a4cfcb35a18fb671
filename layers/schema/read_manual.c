#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "layers/schema/reading.h"
#include "protocol/base/check.h"

/* Manual relationships: who fills them, and for those who do it outside, a
 * module or a remote provider, what they are shown, answer and depend on. */

enum {
    WHAT_MAX = 128,
    ACTOR_FACTS_MAX = 64,
    /* A batch carries the options, within what clients take. */
    OPTIONS_LEVELS_MAX = 16,
    OPTIONS_BYTES_MAX = 64 * 1024
};

/* ---- Loaders ---- */

static void read_options(struct reading *reading, const struct node *node,
                         struct relationship *relationship)
{
    static const uint8_t none[] = {0x80};
    struct buffer options = BUFFER_INIT;
    char came[DESCRIBE_NODE_MAX];
    relationship->options = arena_copy(reading->model, none, sizeof(none));
    relationship->options_size = sizeof(none);
    if (node == NULL || is_nil_node(node)) {
        return;
    }
    if (node->kind != NODE_MAP) {
        fault_at(reading, node, "options are a map, got %s", describe_node(node, came));
        return;
    }
    if (node->height > OPTIONS_LEVELS_MAX) {
        fault_at(reading, node, "options have at most %d lists and maps within each other, got %u",
                 OPTIONS_LEVELS_MAX, node->height);
        return;
    }
    bool encoded = encode_node(reading, node, &options);
    if (options.failed) {
        reading->model->failed = 1;
    } else if (encoded && options.size > OPTIONS_BYTES_MAX) {
        fault_at(reading, node, "options have at most %d bytes in all, got %zu", OPTIONS_BYTES_MAX,
                 options.size);
    } else if (encoded) {
        relationship->options = arena_copy(reading->model, options.bytes, options.size);
        relationship->options_size = (uint32_t)options.size;
    }
    buffer_release(&options);
}

/* Seen from the schema file's folder. There is always a slash in it, so that
 * nobody looks for the file where libraries are. */
static const char *resolve_path(const struct reading *reading, const struct node *node)
{
    const char *slash = strrchr(reading->name, '/');
    const char *folder = slash != NULL ? reading->name : "./";
    size_t folder_size = slash != NULL ? (size_t)(slash - reading->name) + 1 : 2;
    if (node->text[0] == '/') {
        folder_size = 0;
    }
    char *path = arena_alloc(reading->model, folder_size + node->size + 1);
    if (path != NULL) {
        memcpy(path, folder, folder_size);
        memcpy(path + folder_size, node->text, (size_t)node->size + 1);
    }
    return path;
}

static bool take_module(struct reading *reading, const struct node *node,
                        const struct node *options, struct relationship *relationship)
{
    char came[DESCRIBE_NODE_MAX];
    relationship->loader = LOADER_MODULE;
    read_options(reading, options, relationship);
    if (!is_text_node(node) || node->size == 0) {
        fault_at(reading, node, "a module is the path of a shared object, got %s",
                 describe_node(node, came));
        return false;
    }
    relationship->module_path = resolve_path(reading, node);
    if (relationship->module_path != NULL && strlen(relationship->module_path) >= PATH_MAX) {
        fault_at(reading, node, "the module's path is too long: at most %d bytes", PATH_MAX - 1);
        return false;
    }
    return relationship->module_path != NULL;
}

/* `remote: {options: {...}}`; the loader is known even where they are wrong. */
static bool take_remote(struct reading *reading, const struct node *node,
                        const struct node *options, struct relationship *relationship)
{
    static const struct key_rule rules[] = {{"options", false}};
    const struct node *values[ARRAY_COUNT(rules)] = {NULL};
    relationship->loader = LOADER_REMOTE;
    if (options != NULL) {
        fault_at(reading, options,
                 "the options of a remote loader stand under it: {remote: {options: {...}}}");
    }
    if (!is_nil_node(node)) {
        take_map(reading, node, "remote loader", rules, ARRAY_COUNT(rules), values);
    }
    read_options(reading, values[0], relationship);
    return true;
}

static bool take_filter(struct reading *reading, const struct node *node,
                        const struct node *options, struct relationship_source *source,
                        struct relationship *relationship)
{
    relationship->loader = LOADER_FILTER;
    source->loader_filter = node;
    refuse_option(reading, options, "options", "beside a filter");
    return true;
}

static bool refuse_manual(struct reading *reading, const struct node *manual)
{
    char came[DESCRIBE_NODE_MAX], hint[DID_YOU_MEAN_MAX] = "";
    struct nearest nearest;
    if (is_text_node(manual)) {
        nearest_init(&nearest, manual->text, manual->size);
        nearest_offer(&nearest, "remote");
        did_you_mean(&nearest, hint);
    }
    fault_at(reading, manual,
             "manual is {filter: ...}, {module: ...}, {remote: ...} or the word remote, got %s%s",
             describe_node(manual, came), hint);
    return false;
}

static bool take_loader(struct reading *reading, struct relationship_source *source,
                        struct relationship *relationship)
{
    enum { FILTER, MODULE, REMOTE, OPTIONS };
    static const struct key_rule rules[] = {
        {"filter", false}, {"module", false}, {"remote", false}, {"options", false}};
    const struct node *values[ARRAY_COUNT(rules)];
    const struct node *manual = source->manual;
    if (is_text_node(manual) && strcmp(manual->text, "remote") == 0) {
        relationship->loader = LOADER_REMOTE;
        read_options(reading, NULL, relationship);
        return true;
    }
    if (manual->kind != NODE_MAP) {
        return refuse_manual(reading, manual);
    }
    if (!take_map(reading, manual, "manual relationship's loader", rules, ARRAY_COUNT(rules),
                  values)) {
        return false;
    }
    unsigned loaders = 0;
    for (unsigned i = FILTER; i <= REMOTE; i++) {
        loaders += values[i] != NULL;
    }
    if (loaders > 1) {
        fault_at(reading, manual, "a manual relationship has only one of filter, module, remote");
        return false;
    }
    if (loaders == 0) {
        /* What is there may be a misspelt one, which was told. */
        if (manual->count == (values[OPTIONS] != NULL ? 1u : 0u)) {
            fault_at(reading, manual,
                     "a loader is missing: {filter: ...}, {module: ...} or {remote: ...}");
        }
        return false;
    }
    if (values[FILTER] != NULL) {
        return take_filter(reading, values[FILTER], values[OPTIONS], source, relationship);
    }
    return values[MODULE] != NULL
               ? take_module(reading, values[MODULE], values[OPTIONS], relationship)
               : take_remote(reading, values[REMOTE], values[OPTIONS], relationship);
}

/* ---- What loaders outside are shown ---- */

static bool is_word(const struct node *node, const char *word)
{
    return is_text_node(node) && strcmp(node->text, word) == 0;
}

static bool has_fact(const struct relationship *relationship, const char *name)
{
    for (unsigned i = 0; i < relationship->actor_fact_count; i++) {
        if (strcmp(relationship->actor_facts[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void read_facts(struct reading *reading, const struct node *list,
                       struct relationship *relationship)
{
    const char **facts = arena_zero(reading->model, list->count, sizeof(*facts));
    if (facts == NULL) {
        return;
    }
    relationship->actor = ACTOR_SOME;
    relationship->actor_facts = facts;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct node *node = list->items[i];
        if (node->kind != NODE_SCALAR) {
            fault_at(reading, node, "actor: expected the name of a fact such as role, got %s",
                     node->kind == NODE_LIST ? "a list" : "a map");
        } else if (!take_name(reading, node, "a fact of the actor")) {
            continue;
        } else if (has_fact(relationship, node->text)) {
            fault_at(reading, node, "actor: %s stands in it twice", node->text);
        } else {
            const char *name = arena_text(reading->model, node->text, node->size);
            if (name == NULL) {
                return;
            }
            facts[relationship->actor_fact_count++] = name;
        }
    }
}

static void read_actor(struct reading *reading, const struct relationship_source *source,
                       struct relationship *relationship)
{
    const struct node *node = source->actor;
    if (node == NULL) {
        fault_at(reading, source->key,
                 "relationship %s: say \"actor:\", what its loader is shown of who asks: none, "
                 "all, or a list of facts such as [id, role]",
                 relationship->name);
    } else if (is_word(node, "all")) {
        relationship->actor = ACTOR_ALL;
    } else if (is_word(node, "none")) {
        relationship->actor = ACTOR_NONE;
    } else if (take_list(reading, node, "actor", "none, all, or a list of facts such as [id, role]",
                         1, ACTOR_FACTS_MAX)) {
        read_facts(reading, node, relationship);
    }
}

static void mark_fields(bool *shown, const struct field_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        shown[list->fields[i]] = true;
    }
}

/* What is marked, in schema order. */
static void keep_shown(struct reading *reading, const bool *shown,
                       struct relationship *relationship)
{
    unsigned all = relationship->source->field_count;
    uint16_t *fields = arena_zero(reading->model, all, sizeof(*fields));
    if (fields == NULL) {
        return;
    }
    for (unsigned i = 0; i < all; i++) {
        if (shown[i]) {
            fields[relationship->shown_field_count++] = (uint16_t)i;
        }
    }
    relationship->shown_fields = fields;
}

static void read_shown_fields(struct reading *reading, const struct node *node,
                              struct relationship *relationship)
{
    const struct resource *source = relationship->source;
    char what[WHAT_MAX];
    if (node == NULL) {
        return;
    }
    snprintf(what, sizeof(what), "source_fields of relationship %s", relationship->name);
    bool *shown = arena_zero(reading->scratch, source->field_count, sizeof(*shown));
    bool *named = arena_zero(reading->scratch, source->field_count, sizeof(*named));
    if (shown == NULL || named == NULL ||
        !take_list(reading, node, what, "a list of fields", 0, FIELDS_MAX)) {
        return;
    }
    mark_fields(shown, &source->primary_key);
    for (uint32_t i = 0; i < node->count; i++) {
        const struct field *field = take_field(reading, node->items[i], source, what);
        if (field != NULL && named[field->position]) {
            fault_at(reading, node->items[i], "%s: %s stands in it twice", what, field->name);
        } else if (field != NULL) {
            named[field->position] = true;
            shown[field->position] = true;
        }
    }
    keep_shown(reading, shown, relationship);
}

/* ---- All of it ---- */

static void read_outside(struct reading *reading, const struct relationship_source *source,
                         struct relationship *relationship)
{
    read_actor(reading, source, relationship);
    read_shown_fields(reading, source->shown_fields, relationship);
    read_dependencies(reading, source->depends_on, relationship);
    relationship->hint = take_choice(reading, source->query, "query", "daemon", "hint");
    relationship->returns_keys =
        take_choice(reading, source->returns, "returns", "records", "keys");
}

void refuse_outside_options(struct reading *reading, const struct relationship_source *source)
{
    static const char where[] = "but with a module or remote loader";
    refuse_option(reading, source->actor, "actor", where);
    refuse_option(reading, source->shown_fields, "source_fields", where);
    refuse_option(reading, source->depends_on, "depends_on", where);
    refuse_option(reading, source->query, "query", where);
    refuse_option(reading, source->returns, "returns", where);
}

bool read_manual(struct reading *reading, struct relationship_source *source,
                 struct relationship *relationship)
{
    relationship->manual = true;
    if (relationship->kind != HAS_ONE && relationship->kind != HAS_MANY) {
        fault_at(reading, source->key, "manual stands on a has_one or has_many, %s is %s",
                 relationship->name, relationship_kind_name(relationship->kind));
        return false;
    }
    bool known = take_loader(reading, source, relationship);
    if (relationship->loader == LOADER_FILTER) {
        refuse_outside_options(reading, source);
    } else if (relationship->loader != LOADER_JOIN) {
        read_outside(reading, source, relationship);
    }
    return known;
}

#include "layers/schema/document.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/utf8.h"

/* One list or map that is being read. */
struct level {
    struct node *node;
    size_t count; /* nodes in it so far: a map's keys and values each count */
    size_t capacity;
};

struct anchor {
    const char *name;
    struct node *node;
};

struct loader {
    yaml_parser_t parser;
    const char *text;
    size_t size;
    struct arena *arena;
    struct faults *faults;
    struct level levels[DOCUMENT_LEVELS_MAX];
    size_t depth;
    struct anchor *anchors;
    size_t anchor_count;
    size_t anchor_capacity;
    struct node *root;
};

static const char too_deep[] = "lists and maps are nested too deep, at most 48 levels";

static uint32_t place(size_t from_zero)
{
    return from_zero < UINT32_MAX ? (uint32_t)from_zero + 1 : UINT32_MAX;
}

static int refuse(struct loader *loader, const yaml_mark_t *mark, const char *message)
{
    faults_add(loader->faults, place(mark->line), place(mark->column), "%s", message);
    return -CODE_INVALID_REQUEST;
}

/* ---- Nodes ---- */

static struct node *make_node(struct loader *loader, enum node_kind kind, const yaml_mark_t *mark)
{
    struct node *node = arena_zero(loader->arena, 1, sizeof(*node));
    if (node != NULL) {
        node->kind = kind;
        node->line = place(mark->line);
        node->column = place(mark->column);
        node->position = mark->index;
    }
    return node;
}

static int remember_anchor(struct loader *loader, const yaml_char_t *name, struct node *node,
                           const yaml_mark_t *mark)
{
    if (name == NULL) {
        return 0;
    }
    if (loader->anchor_count == DOCUMENT_ANCHORS_MAX) {
        return refuse(loader, mark, "too many anchors, at most 1024 are taken");
    }
    void *anchors = loader->anchors;
    const char *text = arena_text(loader->arena, (const char *)name, strlen((const char *)name));
    if (text == NULL || arena_grow(loader->arena, &anchors, loader->anchor_count,
                                   &loader->anchor_capacity, sizeof(struct anchor)) != 0) {
        return -CODE_OVERLOADED;
    }
    loader->anchors = anchors;
    loader->anchors[loader->anchor_count++] = (struct anchor){.name = text, .node = node};
    return 0;
}

static struct node *find_anchor(const struct loader *loader, const char *name)
{
    /* A name that is given again means the last one before the alias. */
    for (size_t i = loader->anchor_count; i-- > 0;) {
        if (strcmp(loader->anchors[i].name, name) == 0) {
            return loader->anchors[i].node;
        }
    }
    return NULL;
}

/* Puts a node where it belongs: into what is open, or as the root. */
static int place_node(struct loader *loader, struct node *node, const yaml_mark_t *mark)
{
    if (loader->depth == 0) {
        loader->root = node;
        return 0;
    }
    struct level *level = &loader->levels[loader->depth - 1];
    if (level->node->kind == NODE_MAP && level->count % 2 == 0 && node->kind != NODE_SCALAR) {
        return refuse(loader, mark, "a key must be text, not a list or a map");
    }
    void *items = level->node->items;
    if (arena_grow(loader->arena, &items, level->count, &level->capacity, sizeof(struct node *)) !=
        0) {
        return -CODE_OVERLOADED;
    }
    level->node->items = items;
    level->node->items[level->count++] = node;
    return 0;
}

static bool is_core_text_tag(const yaml_char_t *tag)
{
    return strcmp((const char *)tag, YAML_STR_TAG) == 0 || strcmp((const char *)tag, "!") == 0;
}

static int add_scalar(struct loader *loader, const yaml_event_t *event)
{
    const yaml_char_t *tag = event->data.scalar.tag;
    if (tag != NULL && !is_core_text_tag(tag)) {
        return refuse(loader, &event->start_mark, "tags are not taken: write the value as it is");
    }
    struct node *node = make_node(loader, NODE_SCALAR, &event->start_mark);
    if (node == NULL) {
        return -CODE_OVERLOADED;
    }
    /* The text is bounded by the document. */
    node->size = (uint32_t)event->data.scalar.length;
    node->text = arena_text(loader->arena, (const char *)event->data.scalar.value, node->size);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && tag == NULL;
    if (node->text == NULL) {
        return -CODE_OVERLOADED;
    }
    int status = remember_anchor(loader, event->data.scalar.anchor, node, &event->start_mark);
    return status != 0 ? status : place_node(loader, node, &event->start_mark);
}

static int open_level(struct loader *loader, enum node_kind kind, const yaml_char_t *anchor,
                      const yaml_char_t *tag, const yaml_mark_t *mark)
{
    if (tag != NULL) {
        return refuse(loader, mark, "tags are not taken: write the value as it is");
    }
    if (loader->depth == DOCUMENT_LEVELS_MAX) {
        return refuse(loader, mark, too_deep);
    }
    struct node *node = make_node(loader, kind, mark);
    if (node == NULL) {
        return -CODE_OVERLOADED;
    }
    node->open = true;
    int status = remember_anchor(loader, anchor, node, mark);
    if (status == 0) {
        status = place_node(loader, node, mark);
    }
    if (status == 0) {
        loader->levels[loader->depth++] = (struct level){.node = node};
    }
    return status;
}

static int add_alias(struct loader *loader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct node *node = find_anchor(loader, name);
    if (node == NULL) {
        faults_add(loader->faults, place(event->start_mark.line), place(event->start_mark.column),
                   "there is no anchor \"&%s\" before this alias", name);
        return -CODE_INVALID_REQUEST;
    }
    if (node->open) {
        return refuse(loader, &event->start_mark, "an alias may not stand within what it names");
    }
    return place_node(loader, node, &event->start_mark);
}

/* ---- Keys given twice ---- */

static int compare_keys(const struct node *a, const struct node *b)
{
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->text, b->text, common);
    if (order == 0) {
        order = (a->size > b->size) - (a->size < b->size);
    }
    if (order == 0) {
        int left = (int)scalar_resolve(a).kind, right = (int)scalar_resolve(b).kind;
        order = (left > right) - (left < right);
    }
    return order;
}

static int compare_keys_and_places(const void *a, const void *b)
{
    const struct node *left = *(const struct node *const *)a;
    const struct node *right = *(const struct node *const *)b;
    int order = compare_keys(left, right);
    return order != 0 ? order
                      : (left->position > right->position) - (left->position < right->position);
}

static int check_keys(struct loader *loader, const struct node *map)
{
    if (map->count < 2) {
        return 0;
    }
    const struct node **keys = arena_zero(loader->arena, map->count, sizeof(struct node *));
    if (keys == NULL) {
        return -CODE_OVERLOADED;
    }
    for (uint32_t i = 0; i < map->count; i++) {
        keys[i] = map->items[(size_t)i * 2];
    }
    qsort(keys, map->count, sizeof(struct node *), compare_keys_and_places);
    for (uint32_t i = 1; i < map->count; i++) {
        if (compare_keys(keys[i - 1], keys[i]) == 0) {
            faults_add(loader->faults, keys[i]->line, keys[i]->column,
                       "\"%.63s\" is given twice, first on line %u", keys[i]->text,
                       keys[i - 1]->line);
        }
    }
    return 0;
}

static int close_level(struct loader *loader)
{
    CHECK(loader->depth > 0);
    struct level *level = &loader->levels[--loader->depth];
    struct node *node = level->node;
    node->open = false;
    node->count = (uint32_t)(node->kind == NODE_MAP ? level->count / 2 : level->count);
    for (size_t i = 0; i < level->count; i++) {
        uint16_t height = node->items[i]->height;
        node->height = height > node->height ? height : node->height;
    }
    node->height++;
    if (loader->depth + node->height > DOCUMENT_LEVELS_MAX) {
        faults_add(loader->faults, node->line, node->column, "%s", too_deep);
        return -CODE_INVALID_REQUEST;
    }
    return node->kind == NODE_MAP ? check_keys(loader, node) : 0;
}

/* ---- The document ---- */

/* 1 at the end of the stream. */
static int take_event(struct loader *loader, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        return 1;
    case YAML_DOCUMENT_START_EVENT:
        return loader->root == NULL
                   ? 0
                   : refuse(loader, &event->start_mark, "a schema file is one YAML document only");
    case YAML_SCALAR_EVENT:
        return add_scalar(loader, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_level(loader, NODE_LIST, event->data.sequence_start.anchor,
                          event->data.sequence_start.tag, &event->start_mark);
    case YAML_MAPPING_START_EVENT:
        return open_level(loader, NODE_MAP, event->data.mapping_start.anchor,
                          event->data.mapping_start.tag, &event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_level(loader);
    case YAML_ALIAS_EVENT:
        return add_alias(loader, event);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

/* A fault at a byte, counted in lines and code points. */
static void refuse_byte(struct faults *faults, const char *text, size_t offset, const char *problem)
{
    uint32_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if (((uint8_t)text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    faults_add(faults, line, column, "this is not YAML: %s", problem);
}

static void report_problem(struct loader *loader)
{
    const yaml_parser_t *parser = &loader->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "it cannot be read";
    uint32_t line = place(parser->problem_mark.line), column = place(parser->problem_mark.column);
    if (parser->error == YAML_MEMORY_ERROR) {
        loader->arena->failed = 1;
    } else if (parser->error == YAML_READER_ERROR) {
        size_t offset =
            parser->problem_offset < loader->size ? parser->problem_offset : loader->size;
        refuse_byte(loader->faults, loader->text, offset, problem);
    } else if (parser->context != NULL) {
        faults_add(loader->faults, line, column, "this is not YAML: %s, %s that begins on line %u",
                   problem, parser->context, place(parser->context_mark.line));
    } else {
        faults_add(loader->faults, line, column, "this is not YAML: %s", problem);
    }
}

static int read_events(struct loader *loader)
{
    int status = 0;
    while (status == 0) {
        yaml_event_t event;
        if (!yaml_parser_parse(&loader->parser, &event)) {
            report_problem(loader);
            return -CODE_INVALID_REQUEST;
        }
        status = take_event(loader, &event);
        yaml_event_delete(&event);
    }
    return status < 0 ? status : 0;
}

/* How many bytes of code points the text begins with before it stops being UTF-8. */
static size_t utf8_end(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t step = 1;
        while (step <= 4 && step <= size - at && !utf8_valid(text + at, step)) {
            step++;
        }
        if (step > 4 || step > size - at) {
            break;
        }
        at += step;
    }
    return at;
}

const struct node *document_read(const char *text, size_t size, struct arena *arena,
                                 struct faults *faults)
{
    if (size > DOCUMENT_BYTES_MAX) {
        faults_add(faults, 1, 1, "the file has %zu bytes, at most %d are read", size,
                   DOCUMENT_BYTES_MAX);
        return NULL;
    }
    if (!utf8_valid(text, size)) {
        refuse_byte(faults, text, utf8_end(text, size), "it is not UTF-8");
        return NULL;
    }
    struct loader *loader = arena_zero(arena, 1, sizeof(*loader));
    if (loader == NULL || !yaml_parser_initialize(&loader->parser)) {
        arena->failed = 1;
        return NULL;
    }
    loader->text = text;
    loader->size = size;
    loader->arena = arena;
    loader->faults = faults;
    yaml_parser_set_encoding(&loader->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&loader->parser, (const unsigned char *)text, size);
    int status = read_events(loader);
    yaml_parser_delete(&loader->parser);
    if (status != 0 || arena->failed) {
        return NULL;
    }
    if (loader->root == NULL) {
        faults_add(faults, 1, 1, "the file is empty: expected \"version: 1\" and \"resources:\"");
    }
    return loader->root;
}

uint32_t document_column(const char *text, size_t size, const struct node *scalar, size_t position)
{
    size_t at = 0, width;
    for (size_t i = 0; i < scalar->position && at < size; i++) {
        utf8_decode((const uint8_t *)text + at, size - at, &width);
        at += width;
    }
    size_t quote = at < size && (text[at] == '"' || text[at] == '\'') ? 1 : 0;
    at += quote;
    if (at > size || size - at < scalar->size ||
        memcmp(text + at, scalar->text, scalar->size) != 0) {
        return scalar->column;
    }
    return scalar->column + (uint32_t)(quote + position);
}

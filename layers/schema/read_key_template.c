#include <string.h>

#include "layers/schema/reading.h"
#include "protocol/base/check.h"

/* The names of a resource's keys in Redis, as a template: "rep:{id}". Each field
 * of the primary key stands in it once, and nothing else does, so that no two
 * records have one name; `{{` and `}}` are braces. */

struct template
{
    struct reading *reading;
    const struct node *node;
    const struct resource *resource;
    struct redis_options *options;
    char text[KEY_TEMPLATE_BYTES_MAX]; /* what came since the last value */
    uint32_t text_size;
    const struct field *last; /* the last value */
    bool beside;              /* nothing stands between it and what comes */
    uint16_t seen_count;
    uint16_t seen[KEY_FIELDS_MAX]; /* fields */
    bool sound;
};

/* The column of a byte of the text, where it can be told. */
static uint32_t column_of(const struct template *template, size_t at)
{
    size_t position = 0;
    for (size_t i = 0; i < at; i++) {
        position += ((unsigned char)template->node->text[i] & 0xc0) != 0x80;
    }
    return document_column(template->reading->text, template->reading->size, template->node,
                           position);
}

#define FAULT(template, at, ...)                                                                 \
    ((template)->sound = false, faults_add(&(template)->reading->faults, (template)->node->line, \
                                           column_of(template, at), __VA_ARGS__))

static bool has_seen(const struct template *template, const struct field *field)
{
    for (unsigned i = 0; i < template->seen_count; i++) {
        if (template->seen[i] == field->position) {
            return true;
        }
    }
    return false;
}

static void add_part(struct template *template, const struct key_part *part)
{
    struct redis_options *options = template->options;
    CHECK(options->key_part_count < KEY_PARTS_MAX);
    options->key_parts[options->key_part_count++] = *part;
}

/* The text since the last value, as one part. */
static void end_text(struct template *template)
{
    if (template->text_size > 0) {
        add_part(template,
                 &(struct key_part){.text = arena_text(template->reading->model, template->text,
                                                       template->text_size),
                                    .size = template->text_size});
        template->text_size = 0;
    }
}

/* What stands between two values tells where the first one ends. */
static void check_between(struct template *template, const struct field *field, size_t at)
{
    if (template->beside) {
        FAULT(template, at,
              "the key of %s: {%s} and {%s} stand side by side, so that nobody can tell where one "
              "ends: put text between them, such as {%s}:{%s}",
              template->resource->name, template->last->name, field->name, template->last->name,
              field->name);
    } else if (template->last != NULL && memchr(template->text, '%', template->text_size) != NULL) {
        FAULT(template, at,
              "the key of %s: between {%s} and {%s} stands a %%, which is for escapes in values: "
              "put other text there, such as {%s}:{%s}",
              template->resource->name, template->last->name, field->name, template->last->name,
              field->name);
    }
}

static void add_value(struct template *template, const struct field *field)
{
    end_text(template);
    add_part(template, &(struct key_part){.field = field->position});
    template->seen[template->seen_count++] = field->position;
    template->last = field;
    template->beside = true;
}

/* The field between two braces. */
static void take_value(struct template *template, const char *name, size_t size, size_t at)
{
    const struct resource *resource = template->resource;
    const struct field *field = resource_field(resource, name, size);
    struct error error = ERROR_INIT;
    if (size == 0) {
        FAULT(template, at,
              "the key of %s: {} names no field: write {%s}, or {{}} for the braces themselves",
              resource->name, resource->fields[resource->primary_key.fields[0]].name);
    } else if (field == NULL) {
        resource_need_field(resource, name, size, CODE_UNKNOWN_FIELD, &error);
        FAULT(template, at, "the key of %s: %s (braces that are no value are written {{ and }})",
              resource->name, error.message);
    } else if (!field->in_primary_key) {
        FAULT(template, at,
              "the key of %s: %s is not of the primary key: only its fields stand in the key, each "
              "once",
              resource->name, field->name);
    } else if (has_seen(template, field)) {
        FAULT(template, at, "the key of %s: {%s} stands in it twice: write it once", resource->name,
              field->name);
    } else {
        check_between(template, field, at);
        add_value(template, field);
        return;
    }
    template->beside = false;
}

static void add_byte(struct template *template, char byte)
{
    CHECK(template->text_size < KEY_TEMPLATE_BYTES_MAX);
    template->text[template->text_size++] = byte;
    template->beside = false;
}

/* Reads what begins at a brace; answers where it ends. */
static size_t take_brace(struct template *template, size_t at)
{
    const char *text = template->node->text;
    char brace = text[at];
    if (text[at + 1] == brace) {
        add_byte(template, brace);
        return at + 2;
    }
    if (brace == '}') {
        FAULT(template, at, "the key of %s: this } closes nothing: write }} for a brace",
              template->resource->name);
        return at + 1;
    }
    size_t name_size = strcspn(text + at + 1, "{}");
    if (text[at + 1 + name_size] != '}') {
        FAULT(template, at,
              "the key of %s: this { is not closed: write {%s} for a value, {{ for a brace",
              template->resource->name,
              template->resource->fields[template->resource->primary_key.fields[0]].name);
        return at + 1 + name_size;
    }
    take_value(template, text + at + 1, name_size, at);
    return at + 1 + name_size + 1;
}

static void refuse_missing(struct template *template)
{
    const struct resource *resource = template->resource;
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        const struct field *field = &resource->fields[resource->primary_key.fields[i]];
        if (!has_seen(template, field)) {
            fault_at(template->reading, template->node,
                     "the key of %s lacks {%s}: each field of the primary key stands in it, or two "
                     "records would have one name",
                     resource->name, field->name);
            template->sound = false;
        }
    }
}

/* "rep:{id}", "seat:{team_id}:{rep_id}". */
static void use_default(struct template *template)
{
    const struct resource *resource = template->resource;
    memcpy(template->text, resource->name, resource->name_size);
    template->text_size = resource->name_size;
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        add_byte(template, ':');
        add_value(template, &resource->fields[resource->primary_key.fields[i]]);
    }
}

static bool is_template(struct reading *reading, const struct node *node,
                        const struct resource *resource)
{
    char came[DESCRIBE_NODE_MAX];
    if (!is_text_node(node)) {
        fault_at(reading, node, "the key of %s is a text such as \"%s:{%s}\"%s, got %s",
                 resource->name, resource->name,
                 resource->fields[resource->primary_key.fields[0]].name,
                 node->kind == NODE_MAP ? " (in quotes)" : "", describe_node(node, came));
        return false;
    }
    if (node->size > KEY_TEMPLATE_BYTES_MAX) {
        fault_at(reading, node, "the key of %s has at most %d bytes, this has %u", resource->name,
                 KEY_TEMPLATE_BYTES_MAX, node->size);
        return false;
    }
    return true;
}

bool read_key_template(struct reading *reading, const struct node *node,
                       const struct resource *resource, struct redis_options *options)
{
    struct template template = {
        .reading = reading, .node = node, .resource = resource, .options = options, .sound = true};
    if (node == NULL) {
        use_default(&template);
        return true;
    }
    if (!is_template(reading, node, resource)) {
        return false;
    }
    for (size_t at = 0; at < node->size;) {
        if (node->text[at] == '{' || node->text[at] == '}') {
            at = take_brace(&template, at);
        } else {
            add_byte(&template, node->text[at++]);
        }
    }
    end_text(&template);
    if (template.sound) { /* else what lacks may be what was meant there */
        refuse_missing(&template);
    }
    if (!template.sound) {
        options->key_part_count = 0;
    }
    return template.sound;
}

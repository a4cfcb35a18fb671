#include "layers/schema/reading.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/name.h"
#include "protocol/msgpack/writer.h"

/* ---- Faults ---- */

void fault_at(struct reading *reading, const struct node *node, const char *format, ...)
{
    char text[ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    faults_add(&reading->faults, node->line, node->column, "%s", text);
}

const char *describe_node(const struct node *node, char out[DESCRIBE_NODE_MAX])
{
    if (node->kind != NODE_SCALAR) {
        snprintf(out, DESCRIBE_NODE_MAX, "%s", node->kind == NODE_LIST ? "a list" : "a map");
    } else if (scalar_resolve(node).kind == SCALAR_NIL) {
        snprintf(out, DESCRIBE_NODE_MAX, "nothing");
    } else if (scalar_resolve(node).kind == SCALAR_TEXT) {
        snprintf(out, DESCRIBE_NODE_MAX, "\"%.63s\"", node->text);
    } else {
        snprintf(out, DESCRIBE_NODE_MAX, "%.63s", node->text);
    }
    return out;
}

const char *did_you_mean(const struct nearest *nearest, char out[DID_YOU_MEAN_MAX])
{
    out[0] = '\0';
    if (nearest->best != NULL) {
        snprintf(out, DID_YOU_MEAN_MAX, "; did you mean \"%.63s\"?", nearest->best);
    }
    return out;
}

/* ---- Shapes ---- */

/* Aliases let a small file say much: what is read is counted, long texts by
 * their length. */
enum { VISIT_BYTES = 16 };

static bool visit(struct reading *reading, const struct node *node, uint64_t count)
{
    if (!reading->exhausted && reading->visits_left >= count) {
        reading->visits_left -= count;
        return true;
    }
    if (!reading->exhausted) {
        reading->exhausted = true;
        fault_at(reading, node,
                 "the schema is too large: more than %d keys and items, aliases followed",
                 READING_VISITS_MAX);
    }
    return false;
}

bool is_nil_node(const struct node *node)
{
    return node->kind == NODE_SCALAR && scalar_resolve(node).kind == SCALAR_NIL;
}

bool is_text_node(const struct node *node)
{
    return node->kind == NODE_SCALAR && scalar_resolve(node).kind == SCALAR_TEXT &&
           strlen(node->text) == node->size;
}

static const struct key_rule *find_rule(const struct key_rule *rules, size_t count,
                                        const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rules[i].name, name) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static void refuse_key(struct reading *reading, const struct node *key, const char *of,
                       const struct key_rule *rules, size_t count)
{
    if (!faults_open(&reading->faults)) {
        reading->faults.total++;
        return;
    }
    char expected[300] = "", hint[DID_YOU_MEAN_MAX];
    size_t used = 0;
    struct nearest nearest;
    nearest_init(&nearest, key->text, key->size);
    for (size_t i = 0; i < count; i++) {
        nearest_offer(&nearest, rules[i].name);
        if (!rules[i].later && used < sizeof(expected)) {
            int more = snprintf(expected + used, sizeof(expected) - used, "%s%s",
                                used > 0 ? ", " : "", rules[i].name);
            used += more > 0 ? (size_t)more : 0;
        }
    }
    fault_at(reading, key, "a %s has no \"%.63s\"%s (it has %s)", of, key->text,
             did_you_mean(&nearest, hint), expected);
}

bool take_map(struct reading *reading, const struct node *node, const char *of,
              const struct key_rule *rules, size_t count, const struct node **values)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = NULL;
    }
    if (node->kind != NODE_MAP) {
        char came[DESCRIBE_NODE_MAX];
        fault_at(reading, node, "a %s is a map, got %s", of, describe_node(node, came));
        return false;
    }
    if (!visit(reading, node, node->count)) {
        return false;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        const struct node *key = map_key(node, i);
        const struct key_rule *rule = find_rule(rules, count, key->text);
        if (rule == NULL) {
            refuse_key(reading, key, of, rules, count);
        } else if (rule->later) {
            fault_at(reading, key, "\"%s\" is not supported yet", rule->name);
        } else {
            values[rule - rules] = map_value(node, i);
        }
    }
    return true;
}

bool take_names(struct reading *reading, const struct node *node, const char *of, size_t most,
                uint32_t *count)
{
    *count = 0;
    if (node == NULL || is_nil_node(node)) {
        return true;
    }
    if (node->kind != NODE_MAP) {
        char came[DESCRIBE_NODE_MAX];
        fault_at(reading, node, "%s are a map of their names, got %s", of,
                 describe_node(node, came));
        return false;
    }
    if (node->count > most) {
        fault_at(reading, node, "too many %s: %u, at most %zu", of, node->count, most);
        return false;
    }
    if (!visit(reading, node, node->count)) {
        return false;
    }
    *count = node->count;
    return true;
}

bool take_name(struct reading *reading, const struct node *key, const char *of)
{
    if (is_text_node(key) && name_valid(key->text, key->size)) {
        return true;
    }
    char came[DESCRIBE_NODE_MAX];
    describe_node(key, came);
    if (name_reserved(key->text, key->size)) {
        fault_at(reading, key, "the name of %s may not be the word %.63s: choose another", of,
                 key->text);
    } else if (key->size > NAME_MAX_BYTES) {
        fault_at(reading, key, "the name of %s has at most %d bytes, this has %u", of,
                 NAME_MAX_BYTES, key->size);
    } else {
        fault_at(reading, key,
                 "the name of %s is made of letters, digits and _, and begins with no digit, got "
                 "%s",
                 of, came);
    }
    return false;
}

bool take_boolean(struct reading *reading, const struct node *node, const char *of, bool otherwise)
{
    if (node == NULL) {
        return otherwise;
    }
    if (node->kind == NODE_SCALAR && scalar_resolve(node).kind == SCALAR_BOOLEAN) {
        return scalar_resolve(node).boolean;
    }
    char came[DESCRIBE_NODE_MAX];
    fault_at(reading, node, "\"%s\" is true or false, got %s", of, describe_node(node, came));
    return otherwise;
}

uint64_t take_natural(struct reading *reading, const struct node *node, const char *of,
                      uint64_t least, uint64_t most, uint64_t otherwise)
{
    if (node == NULL) {
        return otherwise;
    }
    if (node->kind == NODE_SCALAR) {
        struct scalar scalar = scalar_resolve(node);
        if (scalar.kind == SCALAR_INTEGER && scalar.integer >= 0 &&
            (uint64_t)scalar.integer >= least && (uint64_t)scalar.integer <= most) {
            return (uint64_t)scalar.integer;
        }
    }
    char came[DESCRIBE_NODE_MAX];
    describe_node(node, came);
    if (most >= INT64_MAX) {
        fault_at(reading, node, "\"%s\" is an integer from %" PRIu64 ", got %s", of, least, came);
    } else {
        fault_at(reading, node, "\"%s\" is an integer from %" PRIu64 " to %" PRIu64 ", got %s", of,
                 least, most, came);
    }
    return otherwise;
}

unsigned take_word(struct reading *reading, const struct node *node, const char *of,
                   const char *const *words, unsigned count)
{
    char came[DESCRIBE_NODE_MAX], hint[DID_YOU_MEAN_MAX], expected[120] = "";
    struct nearest nearest;
    size_t used = 0;
    if (node == NULL) {
        return 0;
    }
    bool is_text = is_text_node(node);
    nearest_init(&nearest, is_text ? node->text : "", is_text ? node->size : 0);
    for (unsigned i = 0; i < count; i++) {
        if (is_text && strcmp(node->text, words[i]) == 0) {
            return i;
        }
        nearest_offer(&nearest, words[i]);
        const char *join = i == 0 ? "" : i + 1 < count ? ", " : " or ";
        int more = snprintf(expected + used, sizeof(expected) - used, "%s%s", join, words[i]);
        used += more > 0 ? (size_t)more : 0;
        CHECK(used < sizeof(expected));
    }
    fault_at(reading, node, "\"%s\" is %s, got %s%s", of, expected, describe_node(node, came),
             did_you_mean(&nearest, hint));
    return 0;
}

bool take_choice(struct reading *reading, const struct node *node, const char *of,
                 const char *first, const char *second)
{
    const char *const words[] = {first, second};
    return take_word(reading, node, of, words, ARRAY_COUNT(words)) == 1;
}

bool take_list(struct reading *reading, const struct node *node, const char *what,
               const char *expected, size_t least, size_t most)
{
    if (node->kind != NODE_LIST || node->count < least) {
        char came[DESCRIBE_NODE_MAX];
        fault_at(reading, node, "%s: expected %s, got %s", what, expected,
                 node->kind == NODE_LIST ? "an empty list" : describe_node(node, came));
        return false;
    }
    if (node->count > most) {
        fault_at(reading, node, "%s: at most %zu items, got %u", what, most, node->count);
        return false;
    }
    return visit(reading, node, node->count);
}

uint64_t take_measure(struct reading *reading, const struct node *node,
                      const struct measure *measure, uint64_t otherwise)
{
    uint64_t value;
    char came[DESCRIBE_NODE_MAX];
    if (node == NULL) {
        return otherwise;
    }
    if (!measure->read(node, &value)) {
        fault_at(reading, node, "\"%s\" is %s, got %s", measure->option, measure->expected,
                 describe_node(node, came));
        return otherwise;
    }
    if (value < measure->least || value > measure->most) {
        fault_at(reading, node, "\"%s\" is out of range: %s", measure->option, measure->expected);
        return otherwise;
    }
    return value;
}

void refuse_option(struct reading *reading, const struct node *node, const char *option,
                   const char *where)
{
    if (node != NULL) {
        fault_at(reading, node, "%s means nothing %s: leave it out", option, where);
    }
}

/* ---- Resources and fields by their names ---- */

const struct resource *take_resource(struct reading *reading, const struct node *node,
                                     const char *what)
{
    char came[DESCRIBE_NODE_MAX];
    struct error error = ERROR_INIT;
    if (!is_text_node(node)) {
        fault_at(reading, node, "%s: expected the name of a resource, got %s", what,
                 describe_node(node, came));
        return NULL;
    }
    const struct resource *resource = schema_resource(reading->schema, node->text, node->size);
    if (resource == NULL) {
        if (faults_open(&reading->faults)) {
            schema_need_resource(reading->schema, node->text, node->size, &error);
        }
        fault_at(reading, node, "%s: %s", what, error.message);
    }
    return resource;
}

const struct field *take_field(struct reading *reading, const struct node *node,
                               const struct resource *resource, const char *what)
{
    char came[DESCRIBE_NODE_MAX];
    if (!is_text_node(node)) {
        fault_at(reading, node, "%s: expected a field of %s, got %s", what, resource->name,
                 describe_node(node, came));
        return NULL;
    }
    const struct field *field = resource_field(resource, node->text, node->size);
    if (field == NULL) {
        struct error error = ERROR_INIT;
        if (faults_open(&reading->faults)) {
            resource_need_field(resource, node->text, node->size, CODE_UNKNOWN_FIELD, &error);
        }
        fault_at(reading, node, "%s: %s", what, error.message);
    }
    return field;
}

static bool has_field(const struct field_list *list, uint16_t field)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (list->fields[i] == field) {
            return true;
        }
    }
    return false;
}

static bool take_field_name(struct reading *reading, const struct node *node,
                            const struct resource *resource, const char *what,
                            struct field_list *out)
{
    const struct field *field = take_field(reading, node, resource, what);
    if (field == NULL) {
        return false;
    }
    if (has_field(out, field->position)) {
        fault_at(reading, node, "%s: %s stands in it twice", what, field->name);
        return false;
    }
    out->fields[out->count++] = field->position;
    return reading->sources[resource->position].field_sound[field->position];
}

bool take_field_list(struct reading *reading, const struct node *node,
                     const struct resource *resource, const char *what, struct field_list *out)
{
    *out = (struct field_list){0};
    if (node->kind == NODE_SCALAR) {
        return take_field_name(reading, node, resource, what, out);
    }
    if (node->kind != NODE_LIST || node->count == 0) {
        char came[DESCRIBE_NODE_MAX];
        fault_at(reading, node, "%s: expected a field of %s or a list of them, got %s", what,
                 resource->name,
                 node->kind == NODE_LIST ? "an empty list" : describe_node(node, came));
        return false;
    }
    if (node->count > KEY_FIELDS_MAX) {
        fault_at(reading, node, "%s: at most %d fields, got %u", what, KEY_FIELDS_MAX, node->count);
        return false;
    }
    if (!visit(reading, node, node->count)) {
        return false;
    }
    bool sound = true;
    for (uint32_t i = 0; i < node->count; i++) {
        sound = take_field_name(reading, node->items[i], resource, what, out) && sound;
    }
    return sound;
}

/* ---- Encodings ---- */

const uint8_t *encode_name(struct reading *reading, const char *name, uint32_t *size)
{
    uint8_t bytes[WRITE_HEADER_MAX + NAME_MAX_BYTES];
    size_t name_size = strlen(name);
    CHECK(name_size <= NAME_MAX_BYTES);
    size_t header = encode_string_header(bytes, (uint32_t)name_size);
    memcpy(bytes + header, name, name_size);
    *size = (uint32_t)(header + name_size);
    return arena_copy(reading->model, bytes, *size);
}

static bool encode_scalar(struct reading *reading, const struct node *node, struct buffer *out)
{
    struct scalar scalar = scalar_resolve(node);
    switch (scalar.kind) {
    case SCALAR_NIL:
        write_nil(out);
        return true;
    case SCALAR_BOOLEAN:
        write_boolean(out, scalar.boolean);
        return true;
    case SCALAR_INTEGER:
        write_integer(out, scalar.integer);
        return true;
    case SCALAR_FLOAT:
        write_float(out, scalar.real);
        return true;
    case SCALAR_TEXT:
        if (!visit(reading, node, node->size / VISIT_BYTES)) {
            return false;
        }
        write_string(out, node->text, node->size);
        return true;
    case SCALAR_BEYOND:
        break;
    }
    fault_at(reading, node, "integers have 64 bits with sign, got %.63s", node->text);
    return false;
}

/* As deep as a document may nest, DOCUMENT_LEVELS_MAX; what is shared is
 * written again each time, and counted. */
bool encode_node(struct reading *reading, const struct node *node, struct buffer *out)
{
    if (node->kind == NODE_SCALAR) {
        return encode_scalar(reading, node, out);
    }
    uint32_t items = node->kind == NODE_MAP ? node->count * 2 : node->count;
    if (!visit(reading, node, items)) {
        return false;
    }
    if (node->kind == NODE_MAP) {
        write_map(out, node->count);
    } else {
        write_array(out, node->count);
    }
    for (uint32_t i = 0; i < items; i++) {
        if (out->failed || !encode_node(reading, node->items[i], out)) {
            return false;
        }
    }
    return true;
}

const char *join_names(struct arena *arena, const char *first, const char *second)
{
    size_t first_size = strlen(first), second_size = strlen(second);
    char *out = arena_alloc(arena, first_size + second_size + 2);
    if (out != NULL) {
        memcpy(out, first, first_size);
        out[first_size] = '.';
        memcpy(out + first_size + 1, second, second_size + 1);
    }
    return out;
}

#include <stdlib.h>
#include <string.h>

#include "layers/redis/encoding.h"
#include "layers/schema/reading.h"
#include "layers/schema/scalar.h"
#include "protocol/base/check.h"
#include "protocol/base/name.h"

/* Where a resource's records are at home, and for those in Redis: in which one,
 * under which names and in which form. */

enum { STORED_AS_BYTES_MAX = 255 };

static const uint64_t kib = 1024, mib = UINT64_C(1) << 20, gib = UINT64_C(1) << 30;
static const uint64_t millisecond_us = 1000;
static const uint64_t day_us = UINT64_C(86400) * 1000000;

/* ---- The layer ---- */

void read_layer(struct reading *reading, struct resource *resource, struct resource_source *source)
{
    static const char *const layers[] = {"memory", "redis"};
    size_t before = reading->faults.total;
    unsigned layer = take_word(reading, source->layer, "layer", layers, ARRAY_COUNT(layers));
    resource->layer = layer == 1 ? LAYER_REDIS : LAYER_MEMORY;
    source->layer_sound = reading->faults.total == before;
}

/* ---- Layer memory ---- */

static void refuse_later(struct reading *reading, const struct node *body, const char *name)
{
    for (uint32_t i = 0; i < body->count; i++) {
        if (strcmp(map_key(body, i)->text, name) == 0) {
            fault_at(reading, map_key(body, i), "\"%s\" is not supported yet", name);
        }
    }
}

static void refuse_redis(struct reading *reading, const struct resource *resource,
                         const struct resource_source *source)
{
    if (source->redis != NULL) {
        fault_at(reading, source->redis,
                 "redis is for layer: redis: say that too, or leave redis out");
    }
    if (source->ttl != NULL) {
        refuse_later(reading, source->body, "ttl");
    }
    if (source->max_bytes != NULL) {
        refuse_later(reading, source->body, "max_bytes");
    }
    for (unsigned i = 0; i < resource->field_count; i++) {
        if (source->stored_as[i] != NULL) {
            fault_at(reading, source->stored_as[i],
                     "stored_as is for layer: redis, where other programs may know the field by "
                     "another name: leave it out");
        }
    }
}

/* ---- Names of fields ---- */

/* Of Unicode, in UTF-8: those below U+0020, and U+007F to U+009F. */
static bool has_control_characters(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7f) {
            return true;
        }
        if (byte == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0) {
            return true;
        }
    }
    return false;
}

static void read_stored_as(struct reading *reading, const struct node *node, struct field *field)
{
    char came[DESCRIBE_NODE_MAX];
    if (!is_text_node(node)) {
        fault_at(reading, node, "stored_as is the name of %s in Redis, as text%s, got %s",
                 field->name,
                 node->kind == NODE_SCALAR && !is_nil_node(node) ? " (put it in quotes)" : "",
                 describe_node(node, came));
    } else if (node->size == 0 || node->size > STORED_AS_BYTES_MAX) {
        fault_at(reading, node, "stored_as has 1 to %d bytes, this has %u", STORED_AS_BYTES_MAX,
                 node->size);
    } else if (has_control_characters(node->text, node->size)) {
        fault_at(reading, node, "stored_as may not have control characters in it");
    } else {
        field->stored_as = arena_text(reading->model, node->text, node->size);
        field->stored_as_size = (uint16_t)node->size;
    }
}

/* Where a fault of a field's stored name is told. */
static const struct node *place_of(const struct resource_source *source, const struct field *field)
{
    if (source->stored_as[field->position] != NULL) {
        return source->stored_as[field->position];
    }
    for (uint32_t i = 0; i < source->fields->count; i++) {
        if (strcmp(map_key(source->fields, i)->text, field->name) == 0) {
            return map_key(source->fields, i);
        }
    }
    return source->fields;
}

static int compare_stored(const void *a, const void *b)
{
    const struct field *left = *(const struct field *const *)a;
    const struct field *right = *(const struct field *const *)b;
    int order = strcmp(left->stored_as, right->stored_as);
    return order != 0 ? order : (int)left->position - (int)right->position;
}

/* Each stored name is one field's, and none is the daemon's own. */
static void check_stored(struct reading *reading, const struct resource *resource,
                         const struct resource_source *source)
{
    const struct field **fields =
        arena_zero(reading->scratch, resource->field_count, sizeof(struct field *));
    if (fields == NULL || reading->model->failed) {
        return;
    }
    for (unsigned i = 0; i < resource->field_count; i++) {
        fields[i] = &resource->fields[i];
        if (strcmp(fields[i]->stored_as, ENCODING_MARK) == 0) {
            fault_at(reading, place_of(source, fields[i]),
                     "%s is stored as " ENCODING_MARK
                     ", which the daemon keeps for itself: give it another stored_as",
                     fields[i]->name);
        }
    }
    qsort(fields, resource->field_count, sizeof(*fields), compare_stored);
    for (unsigned i = 1; i < resource->field_count; i++) {
        const struct field *first = fields[i - 1], *second = fields[i];
        if (strcmp(first->stored_as, second->stored_as) == 0) {
            bool given = source->stored_as[second->position] != NULL;
            fault_at(reading, place_of(source, given ? second : first),
                     "%s and %s are both stored as \"%s\": give one of them another stored_as",
                     first->name, second->name, second->stored_as);
        }
    }
}

static void read_stored_names(struct reading *reading, struct resource *resource,
                              const struct resource_source *source)
{
    for (unsigned i = 0; i < resource->field_count; i++) {
        if (source->stored_as[i] != NULL) {
            read_stored_as(reading, source->stored_as[i], &resource->fields[i]);
        }
    }
    check_stored(reading, resource, source);
}

/* ---- Options ---- */

static const char *read_use(struct reading *reading, const struct node *node)
{
    static const char otherwise[] = "main";
    if (node == NULL || !take_name(reading, node, "a Redis, as the configuration has it,")) {
        return otherwise;
    }
    return arena_text(reading->model, node->text, node->size);
}

static void read_cache_bounds(struct reading *reading, const struct resource_source *source,
                              struct redis_options *options)
{
    static const char resident[] = "beside resident: true, which keeps all records";
    const struct measure ttl = {"ttl", scalar_duration, "a duration from 1ms to 365d such as 30s",
                                millisecond_us, 365 * day_us};
    const struct measure bytes = {"max_bytes", scalar_size,
                                  "a size from 64KiB to 1024GiB such as 64MiB", 64 * kib,
                                  1024 * gib};
    options->cache_bytes_max = 64 * mib;
    if (options->resident) {
        refuse_option(reading, source->ttl, "ttl", resident);
        refuse_option(reading, source->max_bytes, "max_bytes", resident);
        return;
    }
    options->ttl_us = take_measure(reading, source->ttl, &ttl, 0);
    options->cache_bytes_max =
        take_measure(reading, source->max_bytes, &bytes, options->cache_bytes_max);
}

/* Their order is that of enum redis_encoding. */
static const char *const encodings[] = {
    [REDIS_HASH] = "hash", [REDIS_MSGPACK] = "msgpack", [REDIS_JSON] = "json"};

static void read_options(struct reading *reading, struct resource_source *source,
                         struct redis_options *options)
{
    static const struct key_rule rules[] = {{"use", false},      {"key", false},
                                            {"encoding", false}, {"writers", false},
                                            {"resident", false}, {"stale_if_error", false}};
    const struct measure stale = {"stale_if_error", scalar_duration,
                                  "a duration from 0ms to 365d such as 30s", 0, 365 * day_us};
    const struct node *values[ARRAY_COUNT(rules)] = {NULL};
    size_t before = reading->faults.total;
    if (source->redis != NULL && !is_nil_node(source->redis)) {
        take_map(reading, source->redis, "set of redis options", rules, ARRAY_COUNT(rules), values);
    }
    options->home = read_use(reading, values[0]);
    source->redis_key = values[1];
    options->encoding = (enum redis_encoding)take_word(reading, values[2], "encoding", encodings,
                                                       ARRAY_COUNT(encodings));
    options->only_relata = take_choice(reading, values[3], "writers", "anyone", "relata");
    options->resident = take_boolean(reading, values[4], "resident", false);
    options->stale_if_error_us = take_measure(reading, values[5], &stale, 0);
    source->redis_sound = reading->faults.total == before;
}

/* ---- What other writers make impossible ---- */

static void refuse_promises(struct reading *reading, const struct resource *resource,
                            const struct resource_source *source)
{
    if (!source->redis_sound) {
        return;
    }
    if (resource->identity_count > 0 && !resource->redis->only_relata) {
        fault_at(reading, source->identities,
                 "identities in Redis need writers: relata under redis: beside other writers "
                 "nobody can promise that they are unique");
    }
    if (resource->index_count > 0 && finds_by_key_only(resource)) {
        fault_at(reading, source->indexes,
                 "indexes in Redis need writers: relata or resident: true under redis: beside "
                 "other writers they cannot be kept");
    }
}

static void read_redis_of(struct reading *reading, struct resource *resource,
                          struct resource_source *source)
{
    struct redis_options *options = arena_zero(reading->model, 1, sizeof(*options));
    if (options == NULL) {
        return;
    }
    resource->redis = options;
    read_options(reading, source, options);
    read_cache_bounds(reading, source, options);
    read_stored_names(reading, resource, source);
    refuse_promises(reading, resource, source);
    /* A key that names a field which is itself at fault is not to blame. */
    if (source->sound) {
        read_key_template(reading, source->redis_key, resource, options);
    }
}

void read_redis(struct reading *reading)
{
    struct schema *schema = reading->schema;
    for (unsigned i = 0; i < schema->resource_count && !reading->model->failed; i++) {
        struct resource *resource = &schema->resources[i];
        struct resource_source *source = &reading->sources[i];
        if (!source->layer_sound) {
            continue;
        }
        if (resource->layer == LAYER_REDIS) {
            read_redis_of(reading, resource, source);
        } else {
            refuse_redis(reading, resource, source);
        }
    }
}

#ifndef RELATA_LAYERS_SCHEMA_READING_H
#define RELATA_LAYERS_SCHEMA_READING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/schema/document.h"
#include "layers/schema/faults.h"
#include "layers/schema/schema.h"
#include "protocol/base/limits.h"
#include "protocol/base/nearest.h"

/* What the steps of reading a schema file share; internal to this folder. The
 * steps, each over the whole file, so that each finds all declared before it:
 *
 *   document_read          the text as nodes
 *   read_resources         names of resources
 *   read_fields            fields, primary keys, identities, declared indexes
 *   read_relationships     names and kinds, then joins and options
 *   read_expressions       filters, sorts, loaders, and circles among them
 *   derive_indexes         what relationships and loaders need
 *
 * A step that finds a fault tells it and goes on with what is sound. What was
 * not sound is marked, so that it makes no second fault elsewhere. */

/* The nodes that a relationship's later steps need. */
struct relationship_source {
    const struct node *key;
    const struct node *body;
    const struct node *destination; /* the value of has_many etc. */
    const struct node *source_field, *destination_field;
    const struct node *through, *source_field_on_through, *destination_field_on_through;
    const struct node *filter, *sort, *limit, *offset, *manual, *batch;
    const struct node *loader_filter;
    bool sound; /* kind, destination and join are known */
};

struct resource_source {
    const struct node *key;
    const struct node *body;
    const struct node *primary_key, *fields, *identities, *indexes, *relationships;
    struct relationship_source *relationship_sources; /* as the resource's relationships */
    bool *field_sound;                                /* as the resource's fields */
    bool sound;                                       /* fields and primary key are */
};

struct reading {
    const char *text;
    size_t size;
    const struct limits *limits;
    struct schema *schema;
    struct arena *model;   /* the schema's */
    struct arena *scratch; /* dropped at the end */
    struct faults faults;
    struct resource_source *sources; /* as the schema's resources */
    uint64_t visits_left;
    bool exhausted; /* no visits were left, and that was told */
};

/* How many keys and items are read, aliases followed. */
enum { KEY_LISTS_MAX = 256 }; /* identities, or declared indexes, of a resource */
enum { READING_VISITS_MAX = 1000000, READING_BYTES_MAX = 256 * 1024 * 1024 };

/* ---- Faults ---- */

void fault_at(struct reading *reading, const struct node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Text in quotes, or what a node is ("a list"), for "..., got %s". */
enum { DESCRIBE_NODE_MAX = 96 };
const char *describe_node(const struct node *node, char out[DESCRIBE_NODE_MAX]);

/* "; did you mean \"x\"?", or nothing. */
enum { DID_YOU_MEAN_MAX = 96 };
const char *did_you_mean(const struct nearest *nearest, char out[DID_YOU_MEAN_MAX]);

/* ---- Shapes; each tells the fault that it finds ---- */

/* A key that a map may have; `later` ones are refused as not supported yet. */
struct key_rule {
    const char *name;
    bool later;
};

/* Puts the value of each known key where `values` has its place (NULL where it
 * is not given). False where the node is no map. `of` names the map: "resource". */
bool take_map(struct reading *reading, const struct node *node, const char *of,
              const struct key_rule *rules, size_t count, const struct node **values);

bool is_nil_node(const struct node *node);
bool is_text_node(const struct node *node);

/* The pairs of a map of names to anything: nil counts as empty. False where it
 * is no map, or has more than `most`. */
bool take_names(struct reading *reading, const struct node *node, const char *of, size_t most,
                uint32_t *count);

/* Whether a key is a name; `of` says of what: "a field". */
bool take_name(struct reading *reading, const struct node *key, const char *of);

/* A boolean; `otherwise` where it is none or not given. */
bool take_boolean(struct reading *reading, const struct node *node, const char *of, bool otherwise);

/* An integer from `least` to `most`; `otherwise` where it is none or not given. */
uint64_t take_natural(struct reading *reading, const struct node *node, const char *of,
                      uint64_t least, uint64_t most, uint64_t otherwise);

/* One field's name, or a list of them, of the resource. `what` says what for:
 * "the primary key". False where there is a fault (told), or where a field that
 * is named was faulty itself. */
bool take_field_list(struct reading *reading, const struct node *node,
                     const struct resource *resource, const char *what, struct field_list *out);

/* The nodes of a map's pair. */
static inline const struct node *map_key(const struct node *map, uint32_t pair)
{
    return map->items[(size_t)pair * 2];
}

static inline const struct node *map_value(const struct node *map, uint32_t pair)
{
    return map->items[(size_t)pair * 2 + 1];
}

/* The name as MessagePack, in the model. */
const uint8_t *encode_name(struct reading *reading, const char *name, uint32_t *size);

/* Appends a node's value as MessagePack. False (told) where it has none. */
bool encode_node(struct reading *reading, const struct node *node, struct buffer *out);

/* "a.b", in the model. */
const char *join_names(struct arena *arena, const char *first, const char *second);

/* ---- Steps ---- */

void read_resources(struct reading *reading, const struct node *root);
void read_fields(struct reading *reading);
void read_relationships(struct reading *reading);
void read_expressions(struct reading *reading);
/* Only where nothing was wrong. */
void derive_indexes(struct reading *reading);

/* Batch options (CONTRACT 5); NULL for the defaults. */
void read_batch(struct reading *reading, const struct node *node, struct batch_limits *out);

/* The type that a node says; false where it says none (told). */
bool read_type(struct reading *reading, const struct node *node, struct type *out);

#endif

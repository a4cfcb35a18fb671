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
 *   read_redis             what resources with `layer: redis` say besides
 *   read_relationships     names and kinds, then joins, loaders and options
 *   read_expressions       filters, sorts, loaders, and circles among them
 *   check_redis            what Redis could not answer, or would mix up
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
    const struct node *filter, *sort, *limit, *offset, *manual, *batch, *cache;
    const struct node *actor, *shown_fields, *depends_on, *query, *returns;
    const struct node *loader_filter;
    bool sound; /* kind, destination and join are known */
};

struct resource_source {
    const struct node *key;
    const struct node *body;
    const struct node *primary_key, *fields, *identities, *indexes, *relationships;
    const struct node *layer, *redis, *ttl, *max_bytes;
    const struct node *redis_key;                     /* `key` of `redis` */
    const struct node **stored_as;                    /* as the resource's fields */
    struct relationship_source *relationship_sources; /* as the resource's relationships */
    bool *field_sound;                                /* as the resource's fields */
    bool sound;                                       /* fields and primary key are */
    bool layer_sound;                                 /* it is known */
    bool redis_sound;                                 /* so is what `redis` says */
};

struct reading {
    const char *name; /* the file's, as it was given */
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

/* One of two words; true where it is the second. Not given is the first. */
bool take_choice(struct reading *reading, const struct node *node, const char *of,
                 const char *first, const char *second);

/* One of several words, by its position. Not given, and none of them, is the first. */
unsigned take_word(struct reading *reading, const struct node *node, const char *of,
                   const char *const *words, unsigned count);

/* A list of `least` to `most` items, each then read. False where it is none;
 * `expected` says what it would be: "a list of fields". */
bool take_list(struct reading *reading, const struct node *node, const char *what,
               const char *expected, size_t least, size_t most);

/* An option that is a duration or a size. */
struct measure {
    const char *option;
    bool (*read)(const struct node *, uint64_t *); /* scalar_duration, scalar_size */
    const char *expected;                          /* "a duration from 1ms to 1d such as 5s" */
    uint64_t least, most;
};

/* `otherwise` where it is none, out of range, or not given. */
uint64_t take_measure(struct reading *reading, const struct node *node,
                      const struct measure *measure, uint64_t otherwise);

/* The resource, or field of the resource, that a node names; NULL where there
 * is none. `what` says what for. */
const struct resource *take_resource(struct reading *reading, const struct node *node,
                                     const char *what);
const struct field *take_field(struct reading *reading, const struct node *node,
                               const struct resource *resource, const char *what);

/* Refuses an option (NULL where it is not given) that means nothing beside what
 * else is said. */
void refuse_option(struct reading *reading, const struct node *node, const char *option,
                   const char *where);

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
void read_redis(struct reading *reading);
void read_relationships(struct reading *reading);
void read_expressions(struct reading *reading);
void check_redis(struct reading *reading);
/* Only where nothing was wrong. */
void derive_indexes(struct reading *reading);

/* The resource's layer; needed while fields are read, so it comes first. */
void read_layer(struct reading *reading, struct resource *resource, struct resource_source *source);

/* `key` of `redis`; without it the resource's name and the primary key. False
 * where there is a fault (told): the options then have no key. */
bool read_key_template(struct reading *reading, const struct node *node,
                       const struct resource *resource, struct redis_options *options);

/* Whether records are found by their primary key only: Redis is their home,
 * others write there too, and the daemon does not keep them all. */
static inline bool finds_by_key_only(const struct resource *resource)
{
    return resource->redis != NULL && !resource->redis->only_relata && !resource->redis->resident;
}

/* `limit`, `offset`, `batch`, `cache`: what every relationship may say. */
void read_loading(struct reading *reading, const struct relationship_source *source,
                  struct relationship *relationship);

/* `manual` and what stands beside it: the loader, what it is shown, answers and
 * depends on. False where the loader is not known. */
bool read_manual(struct reading *reading, struct relationship_source *source,
                 struct relationship *relationship);

/* `depends_on`; NULL where it is not given. */
void read_dependencies(struct reading *reading, const struct node *node,
                       struct relationship *relationship);

/* Refuses what only modules and remote loaders have. */
void refuse_outside_options(struct reading *reading, const struct relationship_source *source);

/* Whether keys of the two fields can meet: they do by their stored bytes, so
 * texts of all kinds are alike, all else only meets its own type. */
bool fields_meet(const struct field *a, const struct field *b);

/* The type that a node says; false where it says none (told). */
bool read_type(struct reading *reading, const struct node *node, struct type *out);

#endif

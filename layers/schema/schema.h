#ifndef RELATA_LAYERS_SCHEMA_SCHEMA_H
#define RELATA_LAYERS_SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/schema/name_table.h"
#include "layers/type.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"

/* The schema: what a schema file says, checked, resolved and frozen. Nothing
 * in it changes after schema_read; requests keep the schema that they began
 * with. It is counted (get/put) and numbered. All texts are terminated and
 * live in its arena. This header is the model; schema_file.h reads it. */

struct expr;  /* layers/query/expr.h: a compiled expression */
struct order; /* layers/query/order.h: a compiled sort */

enum { FIELDS_MAX = 1024, KEY_FIELDS_MAX = 8, RESOURCES_MAX = 4096, RELATIONSHIPS_MAX = 1024 };

struct field {
    const char *name;
    uint8_t name_size;
    uint16_t position; /* in the resource's fields, schema order */
    struct type type;
    bool required; /* nil is refused; primary key fields always */
    bool in_primary_key;
    const uint8_t *name_bytes; /* the name as MessagePack, for answers in maps */
    uint32_t name_bytes_size;
    const uint8_t *initial; /* the default as MessagePack, NULL where none */
    uint32_t initial_size;
    const char *stored_as; /* its name in Redis; the field's own where none is given */
    uint16_t stored_as_size;
};

struct field_list {
    uint16_t count;
    uint16_t fields[KEY_FIELDS_MAX]; /* positions */
};

struct identity {
    const char *name;
    struct field_list fields; /* unique; nils are distinct */
};

/* An ordered index over the fields; behind them the primary key orders. Those
 * that relationships and filter loaders need are added when the schema is read;
 * an index that is a prefix of another is left out. */
struct index {
    struct field_list fields;
};

/* Who fills a relationship: the daemon from the records, by a join or by an
 * expression; a shared object; a client that offered to be called. */
enum loader_kind { LOADER_JOIN, LOADER_FILTER, LOADER_MODULE, LOADER_REMOTE };

/* Which of the actor's facts a module or a provider is shown. */
enum actor_scope { ACTOR_NONE, ACTOR_ALL, ACTOR_SOME };

/* A resource whose writes change what a loader answers. With fields (as many as
 * the source's primary key has): only for the sources whose primary key they
 * name, before or after the write. Without: for all sources. */
struct dependency {
    const struct resource *resource;
    struct field_list fields;
};

enum relationship_kind { BELONGS_TO, HAS_ONE, HAS_MANY, MANY_TO_MANY };

struct batch_limits {
    uint32_t max_size;      /* keys; default 1000 */
    uint64_t max_bytes;     /* of a batch's keys and source records; 1 MiB */
    uint32_t max_in_flight; /* for each nesting depth; 4 */
    uint64_t window_us;     /* 0 */
    uint64_t timeout_us;    /* 5 s */
};

struct relationship {
    const char *name;
    uint8_t name_size;
    uint16_t position;         /* in the resource's relationships */
    uint32_t number;           /* among all of the schema: loaders are kept by it */
    const char *full_name;     /* "representative.tickets" */
    const uint8_t *name_bytes; /* the name as MessagePack */
    uint32_t name_bytes_size;
    enum relationship_kind kind;
    bool to_one;
    bool manual; /* filled by a loader: all but LOADER_JOIN */
    const struct resource *source;
    const struct resource *destination;
    /* Ordinary relationships: the join. */
    struct field_list source_fields;       /* of the source */
    struct field_list destination_fields;  /* of the destination, same count */
    const struct resource *through;        /* many_to_many, else NULL */
    struct field_list through_source;      /* of through, joins source_fields */
    struct field_list through_destination; /* of through, joins destination_fields */
    /* Manual ones by expression: over the destination, `parent` is the source. */
    const struct expr *loader_filter;
    const char *loader_filter_text;
    /* What the relationship adds to every query (NULL where it does not). */
    const struct expr *filter; /* may use parent */
    const char *filter_text;
    const struct order *order;
    bool has_limit;
    uint64_t limit;
    uint64_t offset;
    struct batch_limits batch;
    /* Manual ones: who is asked, what it is shown, what it answers. */
    enum loader_kind loader;
    const char *module_path; /* LOADER_MODULE: seen from the schema's folder; with a slash */
    const uint8_t *options;  /* MessagePack map; `{}` where none are given */
    uint32_t options_size;
    enum actor_scope actor;
    const char *const *actor_facts; /* ACTOR_SOME */
    uint16_t actor_fact_count;
    const uint16_t *shown_fields; /* `source_fields` with the primary key, in schema order; */
    uint16_t shown_field_count;   /* NULL, 0: the whole source record */
    bool has_dependencies;        /* `depends_on` is given; */
    const struct dependency *dependencies;
    uint16_t dependency_count; /* 0 then: `none` */
    bool hint;                 /* `query: hint` */
    bool returns_keys;         /* `returns: keys` */
    /* The result cache. */
    bool cached;
    uint64_t cache_ttl_us; /* 0: until it is dropped */
    uint64_t cache_bytes_max;
    uint64_t stale_if_error_us; /* 0: never */
};

/* Where a resource's records are at home. */
enum layer_kind { LAYER_MEMORY, LAYER_REDIS };

enum redis_encoding { REDIS_HASH, REDIS_MSGPACK, REDIS_JSON };

/* A part of a key's name in Redis: text, or the value of a primary key field. */
struct key_part {
    const char *text; /* NULL: a value */
    uint32_t size;
    uint16_t field; /* position of the field */
};

enum { KEY_PARTS_MAX = 2 * KEY_FIELDS_MAX + 1, KEY_TEMPLATE_BYTES_MAX = 512 };

/* What `layer: redis` says. */
/* What the names of the layer's own keys begin with; no record's may. */
#define REDIS_OWN_PREFIX "relata:"

struct redis_options {
    const char *home;                         /* `use`: its name in the configuration */
    struct key_part key_parts[KEY_PARTS_MAX]; /* no two texts beside each other, each
                                                  primary key field once, a text
                                                  between any two of them */
    uint16_t key_part_count;
    enum redis_encoding encoding;
    bool only_relata; /* `writers: relata` */
    bool resident;
    uint64_t stale_if_error_us; /* 0: never */
    uint64_t ttl_us;            /* of a cached record; 0: until it is dropped */
    uint64_t cache_bytes_max;   /* of the near-cache */
};

struct resource {
    const char *name;
    uint8_t name_size;
    uint16_t position; /* in the schema */
    enum layer_kind layer;
    const struct redis_options *redis; /* NULL but for LAYER_REDIS */
    struct schema *schema;
    struct field *fields;
    uint16_t field_count;
    struct field_list primary_key;
    struct identity *identities;
    uint16_t identity_count;
    struct index *indexes;
    uint16_t index_count;
    struct relationship *relationships;
    uint16_t relationship_count;
    struct name_table names; /* of the fields, and behind them the relationships:
                                        no relationship has a field's name */
    uint16_t layout;         /* the number that new records carry */
};

struct schema {
    uint32_t number; /* daemon-wide, never used again */
    uint32_t references;
    struct arena arena;
    struct resource *resources;
    uint16_t resource_count;
    uint32_t relationship_count; /* over all resources */
    struct name_table names;     /* of the resources */
};

struct schema *schema_get(struct schema *schema);
void schema_put(struct schema *schema);

/* NULL where there is none. The lookups take names as they come from outside. */
const struct resource *schema_resource(const struct schema *schema, const char *name, size_t size);
const struct field *resource_field(const struct resource *resource, const char *name, size_t size);
const struct relationship *resource_relationship(const struct resource *resource, const char *name,
                                                 size_t size);
const struct identity *resource_identity(const struct resource *resource, const char *name,
                                         size_t size);

/* As above, with the error that users see, near miss included; code as named. */
const struct resource *schema_need_resource(const struct schema *schema, const char *name,
                                            size_t size, struct error *error);
const struct field *resource_need_field(const struct resource *resource, const char *name,
                                        size_t size, enum code code, struct error *error);
const struct relationship *resource_need_relationship(const struct resource *resource,
                                                      const char *name, size_t size, enum code code,
                                                      struct error *error);

/* The index whose first fields are exactly `fields` in this order, or NULL. */
const struct index *resource_index(const struct resource *resource,
                                   const struct field_list *fields);

/* "belongs_to", ... */
const char *relationship_kind_name(enum relationship_kind kind);

#endif

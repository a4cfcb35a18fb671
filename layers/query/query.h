#ifndef RELATA_LAYERS_QUERY_QUERY_H
#define RELATA_LAYERS_QUERY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/query/expr.h"
#include "layers/query/order.h"
#include "layers/schema/schema.h"
#include "protocol/base/arena.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"
#include "protocol/msgpack/reader.h"

/* Queries as callers send them (CONTRACT 3): a map of filter, params, sort,
 * limit, offset, select and load, read into what the engine works with. All
 * of it lives in the arena that it was read into. */

/* The fields that an answer shows, in schema order; the primary key always. */
struct selection {
    bool all;
    uint16_t count;
    const uint16_t *fields; /* positions; NULL where all */
};

struct query {
    const struct resource *resource;
    const struct expr *filter; /* NULL: keep all */
    const struct order *order; /* NULL: by primary key */
    bool has_limit;
    uint64_t limit;
    uint64_t offset;
    struct selection selection;
    struct load_item *loads; /* in the order asked; NULL for none */
    unsigned load_count;
    const char *as; /* a load's other name; NULL for none */
    uint32_t as_size;
};

/* One relationship to load, with the query for its destination. */
struct load_item {
    const struct relationship *relationship;
    const uint8_t *name_bytes; /* under which it stands in the record, as MessagePack */
    uint32_t name_bytes_size;
    struct query query;
    struct load_item *next;
};

/* Relationships that one call may load, all levels together: each is work in
 * the turn that reads the query, and is compared with those beside it. */
#define QUERY_LOADS_MAX 1000

struct query_reader {
    struct arena *arena;
    const struct limits *limits;
    unsigned load_count; /* loads read so far */
};

/* Every field, no filter: what nil means. */
void query_init(struct query *query, const struct resource *resource);

/* Reads a query map (nil is an empty one). `outer` is the source's scope for a
 * load's query (so that `parent` means something), else NULL; `depth` counts
 * loads within loads. 0 or a negative code. */
int query_read(struct query_reader *reader, const struct resource *resource,
               const struct expr_scope *outer, struct reader *in, struct query *out,
               struct error *error);

/* Reads what stands in `select`: a list of field names (nil: all). */
int query_read_select(struct query_reader *reader, const struct resource *resource,
                      struct reader *in, struct selection *out, struct error *error);

/* Reads what stands in `load`: a name, a list of names and maps, or a map. Adds
 * to query->loads. `depth` is 1 for loads of the call itself. */
int query_read_loads(struct query_reader *reader, struct query *query, struct reader *in,
                     unsigned depth, struct error *error);

/* Adds one relationship by name with a query map. */
int query_add_load(struct query_reader *reader, struct query *query, const char *name,
                   size_t name_size, struct reader *map, unsigned depth, struct error *error);

/* A non-negative integer (a float with an integer's value is taken); nil leaves
 * *given false. `what` names it in the error. */
int query_read_natural(struct reader *in, const char *what, bool *given, uint64_t *out,
                       struct error *error);

#endif

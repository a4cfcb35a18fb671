#ifndef RELATA_LAYERS_QUERY_RENDER_H
#define RELATA_LAYERS_QUERY_RENDER_H

#include <stdbool.h>

#include "layers/load/level.h"
#include "layers/query/query.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"

/* Writes records as answers show them, in both shapes: maps of names to values,
 * or rows, whose columns are told once. Values are copied as they are stored. */
struct render {
    struct buffer *out;
    bool rows;
    /* Writes a failed source's error in its place; NULL: it fails the call. */
    void (*write_error)(struct buffer *out, const struct error *error);
};

/* A record alone (`level` NULL), or number `position` of a level with all that
 * was loaded for it. 0, or the code of a failed source with *error set. */
int render_record(const struct render *render, const struct query *query,
                  const struct record *record, const struct level *level, size_t position,
                  struct error *error);

/* What one relationship gave for one source: a record or nil, or a list. */
int render_related(const struct render *render, const struct level_load *load, size_t position,
                   struct error *error);

/* The columns of a query's records: names in schema order, then a triple
 * [name, kind, columns] for each load. */
void render_columns(const struct render *render, const struct query *query);

/* One such triple. */
void render_load_columns(const struct render *render, const struct load_item *item);

#endif

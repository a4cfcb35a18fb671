#ifndef RELATA_CLIENTS_CLI_GRID_H
#define RELATA_CLIENTS_CLI_GRID_H

/* Records as an aligned table, for people. Columns are in the order in which
 * they are first seen; numbers stand to the right; what is too long for the
 * terminal is cut; where even that does not fit, each record is shown with one
 * field a line. It prints nothing itself. */

#include <stdbool.h>
#include <stddef.h>

#include "clients/c/relata.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"

enum { GRID_COLUMNS_MAX = 256 };

struct grid_cell {
    const char *text; /* NULL: the record has no such field */
    size_t size;
    size_t width; /* columns of a terminal */
};

struct grid_column {
    struct grid_cell name;
    size_t width;    /* of the widest cell, and of the name */
    bool is_numeric; /* every cell is a number, or nil */
};

struct grid {
    struct arena arena;
    struct grid_column columns[GRID_COLUMNS_MAX];
    size_t column_count;
    struct grid_cell **rows;
    size_t *row_sizes; /* how many cells each row has */
    size_t row_count;
    size_t capacity;
};

void grid_init(struct grid *grid);
void grid_release(struct grid *grid);

/* A row of a map; of anything else, a row with one column "value". */
void grid_add(struct grid *grid, struct relata_value record);

/* A row with a name before it, in the column `title`. */
void grid_add_named(struct grid *grid, const char *title, struct relata_value name,
                    struct relata_value record);

/* Writes the table, `width_max` columns wide at most, without a last line that
 * counts. */
void grid_write(const struct grid *grid, size_t width_max, struct buffer *out);

/* How many columns of a terminal valid UTF-8 takes. */
size_t grid_text_width(const char *text, size_t size);

#endif

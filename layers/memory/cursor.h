#ifndef RELATA_LAYERS_MEMORY_CURSOR_H
#define RELATA_LAYERS_MEMORY_CURSOR_H

#include <stdint.h>

#include "layers/memory/table.h"

/* The cursors of a table: what store_ops says of scan, range, next, close and
 * estimate. A range gives its records in order, also those that were replaced
 * or removed since it was opened. */

int table_scan(struct store *store, struct store_cursor *cursor);
int table_range(struct store *store, const struct range *range, struct store_cursor *cursor);
const struct record *table_next(struct store_cursor *cursor);
void table_close(struct store_cursor *cursor);
uint64_t table_estimate(struct store *store, const struct range *range, uint64_t most);

/* The moment of the table's oldest open cursor, or UINT64_MAX. */
uint64_t table_oldest_cursor(const struct table *table);

#endif

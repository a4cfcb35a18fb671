#ifndef RELATA_CLIENTS_CLI_RECORDS_H
#define RELATA_CLIENTS_CLI_RECORDS_H

/* Reads records from JSON, one after the other: objects one after the other
 * (JSON lines, or laid out over several lines), one array of objects, or one
 * object whose only list of objects is that of the records. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "clients/cli/catalog.h"

struct records {
    FILE *file;
    const struct catalog_resource *resource; /* whose field is no list of records */
    json_t *list;  /* the array that is being given out; NULL where there is none */
    json_t *whole; /* what it stands in */
    size_t place;  /* in the list */
    uint64_t list_line;
    uint64_t line; /* that is being read, from 1 */
    bool is_first; /* nothing has been read yet */
    char fault[320];
};

void records_init(struct records *records, FILE *file, const struct catalog_resource *resource);
void records_release(struct records *records);

/* The next record, a new reference; NULL at the end, and where `fault` is set.
 * *line is where it stands (that of the list, in a list). */
json_t *records_next(struct records *records, uint64_t *line);

#endif

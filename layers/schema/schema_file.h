#ifndef RELATA_LAYERS_SCHEMA_SCHEMA_FILE_H
#define RELATA_LAYERS_SCHEMA_SCHEMA_FILE_H

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Reads a schema file (YAML 1.2 core, CONTRACT 2) into a frozen schema. Every
 * fault is reported at once, a line each, `FILE:LINE:COL: message`, each saying
 * what would be right; near misses are named. Keys that belong to features that
 * are not there yet are refused with "not supported yet". */

/* The schema in *out with one reference, or -CODE_INVALID_REQUEST (where memory
 * lacks -CODE_OVERLOADED) and the lines in `faults`; then *out stays as it was.
 * At most 100 faults are told, then how many more there are. `name` is the file's, in the
 * lines, and its folder is where the paths in it begin. `number` is the schema's. */
int schema_read(const char *name, const char *text, size_t size, uint32_t number,
                const struct limits *limits, struct schema **out, struct buffer *faults);

/* The same from a file. */
int schema_read_file(const char *path, uint32_t number, const struct limits *limits,
                     struct schema **out, struct buffer *faults);

#endif

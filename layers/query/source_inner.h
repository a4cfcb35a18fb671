#ifndef RELATA_LAYERS_QUERY_SOURCE_INNER_H
#define RELATA_LAYERS_QUERY_SOURCE_INNER_H

#include "layers/query/source.h"

/* What source.c and source_fetch.c know of each other. */

/* The parts of a key as values of the fields that they are to equal. False
 * where nothing can. */
bool source_key_values(const struct resource *resource, const struct field_list *join,
                       const uint8_t *key, size_t size, struct term_value *out);

/* The values of the plan's terms. False where nothing can match. */
bool source_set_values(struct source *source, const struct search_input *input);

/* A key of a record: in place where it is one field, else in the source's room,
 * until the next one. 1, 0 where a field is nil, or -CODE_OVERLOADED. */
int source_take_key(struct source *source, const struct resource *resource,
                    const struct field_list *fields, const struct record *record,
                    const uint8_t **key, size_t *size);

/* Puts a destination into `found` unless it was seen. 0, or a code. */
int source_keep_found(struct source *source, const struct record *record);
void source_forget_found(struct source *source);

/* Follows a through record to the destinations that it names, which are here. */
int source_follow(struct source *source, const struct record *record);

/* ---- source_fetch.c: records that are at home elsewhere ---- */

/* Whether any record of the spec must be fetched. */
bool source_is_elsewhere(const struct source *source);
int source_start_fetch(struct source *source, const struct search_input *input);
enum run_status source_next_fetched(struct source *source, const struct record **record);

/* ---- source_ahead.c: the related records that filters will look at ---- */

/* Which relationships these are; none where all that they lead to is here. */
void source_ahead_init(struct source *source);
/* Asks for what the records of a source lead to, together, so that the filters need not
 * ask for it one by one. True where all of it is there. */
bool source_look_ahead(struct source *source, const struct record *const *records, size_t count);
void source_ahead_end(struct source *source);

#endif

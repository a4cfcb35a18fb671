#ifndef RELATA_LAYERS_REDIS_INDEX_MARKS_H
#define RELATA_LAYERS_REDIS_INDEX_MARKS_H

#include <stdbool.h>
#include <stddef.h>

#include "layers/redis/resp.h"
#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Which indexes and identities of a resource are whole in Redis is said by a hash there:
 *
 *   relata:built:<resource>    ix:<field>,<field>...              <signature>
 *                              id:<identity>:<field>,<field>...   <signature>
 *
 * A mark with another signature (index_signature.h) is made for other sets and claims,
 * and counts as none. Marks that are none of the schema's own are foreign: of an index
 * that it does not have, or that it has otherwise. Pure: commands out, the hash in. */

#define INDEX_MARKS_PREFIX REDIS_OWN_PREFIX "built:"

/* How many a resource keeps: its indexes, and behind them its identities, are numbered
 * so. 0 where others write it too. */
unsigned index_marks_count(const struct resource *resource);

/* Appends the hash's name, and the field in it of one. */
void index_marks_name(const struct resource *resource, struct buffer *out);
void index_marks_field(const struct resource *resource, unsigned number, struct buffer *out);

/* ---- Commands; each appends a whole one ---- */

/* The hash. */
void index_marks_read_command(const struct resource *resource, struct buffer *out);
/* Somebody goes through all records, to enter them: that is told beside the marks, in
 * "reindex:<field>" as "<signature> <run>", where it counts as a mark does for those whose
 * schema is another one, and is taken out by their writes. `run` is a text that nobody else
 * has. */
void index_marks_begin_command(const struct resource *resource, const char *run,
                               struct buffer *out);
/* All of the resource's own are whole, if that still stands there. It answers 1 or 0. */
void index_marks_end_command(const struct resource *resource, const char *run, struct buffer *out);
/* Those are that have no mark, not even another one. It answers the list of those that
 * are marked now: 1 or 0, by number. */
void index_marks_set_absent_command(const struct resource *resource, struct buffer *out);

/* ---- The hash ---- */

struct index_marks {
    bool *whole;      /* by number */
    unsigned absent;  /* own ones that have no mark */
    unsigned other;   /* own ones whose mark has another signature: foreign, too */
    size_t foreign;   /* how many marks are */
    struct buffer of; /* their fields, as words of a command */
};

/* NULL where memory lacks: nothing has to be released then. */
struct index_marks *index_marks_create(const struct resource *resource);
void index_marks_free(struct index_marks *marks);

/* Reads what index_marks_read_command was answered, behind its first token. Once only.
 * False where it is no hash, or memory lacks (marks->of.failed). */
bool index_marks_read(struct index_marks *marks, const struct resource *resource,
                      const struct resp_token *first, struct resp_reader *in);
/* The same of index_marks_set_absent_command. */
bool index_marks_read_absent(struct index_marks *marks, const struct resource *resource,
                             const struct resp_token *first, struct resp_reader *in);

/* Takes the foreign ones out; there must be some. */
void index_marks_remove_command(const struct index_marks *marks, const struct resource *resource,
                                struct buffer *out);
/* They are out. */
void index_marks_removed(struct index_marks *marks);

#endif

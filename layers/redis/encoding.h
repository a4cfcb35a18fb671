#ifndef RELATA_LAYERS_REDIS_ENCODING_H
#define RELATA_LAYERS_REDIS_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/record.h"
#include "layers/redis/resp.h"
#include "layers/schema/schema.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"

/* Records as Redis keeps them: `hash`, `msgpack` and `json` (CONTRACT 7.2; the
 * users' page is docs/redis.md). Pure. Fields that the schema does not know are
 * left alone: they are passed over when a value is read, and kept when it is
 * written, byte for byte. So is what says the same in another form ("1" for true).
 *
 * Of `any` as JSON some comes back otherwise, since JSON cannot tell it: binary as
 * the text of its base64, a timestamp as its ISO 8601 text, a map's name that is no
 * text as its text (that of a list or map as the base64 of its MessagePack). A name
 * that stands twice in it stays so.
 *
 * Resources with `writers: relata` have one field more, whose name is
 * ENCODING_MARK: which write made the record. Index entries name it (index_set.h);
 * a value without it is as good. */

#define ENCODING_MARK "_relata"
enum { ENCODING_MARK_MAX = 64 };

/* What stands in Redis under one key, exactly: what a write compares with. */
struct stored_value {
    bool exists;
    /* json, msgpack: the string. */
    const uint8_t *bytes;
    size_t size;
    /* hash: of each field of the resource, in schema order; bytes NULL where the
     * hash does not have it. Behind them the mark's. */
    struct stored_field {
        const uint8_t *bytes;
        size_t size;
    } * fields;
    /* The mark; size 0 where there is none. */
    const uint8_t *mark;
    size_t mark_size;
    uint32_t unknown_fields; /* that the schema does not know */
    struct record *record;   /* NULL where there is none, or it does not fit */
};

/* Appends the command that reads the key (a Redis key's name): GET, or HGETALL. */
void encoding_read_command(const struct resource *resource, const void *name, size_t size,
                           struct buffer *out);

/* Reads the reply to it. `key` is the primary key that was asked for. *out is in
 * the arena, and copies what it needs of the reply. A value that does not fit the
 * schema (wrong type of key, no map, a value that its field cannot have, a required
 * field that is absent, a primary key field that says another key) is
 * -CODE_INVALID_VALUE: the error names the Redis key, the field and what came, and
 * has resource, field and key as details; *out is filled all the same, but for the
 * record, where the type of key is right. A primary key field that is absent is
 * taken from the key. Absent fields are nil (defaults are for creating). Another
 * error, or what is no reply to the command, is -CODE_UNAVAILABLE. -CODE_OVERLOADED
 * where memory lacks. */
int encoding_read(const struct resource *resource, const uint8_t *key, size_t key_size,
                  struct resp_reader reply, struct arena *arena, struct stored_value *out,
                  struct error *error);

/* ---- Writing ----
 *
 * Every write is a compare-and-set by encoding_script on the exact bytes that
 * were judged: of a string all of it, of a hash the fields that the schema knows
 * and the mark. It takes any number of keys of one slot and changes all or none. */

/* The Lua script. Its KEYS are the names; its ARGV are the deadline (milliseconds
 * since 1970 by the server's clock, "0" for none), then what encoding_change
 * appends for each key in order. It answers 0 when all is done; n > 0 where key
 * number n was not as expected and nothing was done; -1 where the deadline had
 * passed and nothing was done; an error of its own where a key has another type.
 * Keys keep the time to live that they have. */
extern const char encoding_script[];

/* The record as it will be read again (see `any` above): `image` itself where nothing of
 * it changes, else one from the arena. 0; -CODE_OVERLOADED, or -CODE_TOO_LARGE where it
 * exceeds what a record may have. */
int encoding_settle(const struct resource *resource, const struct record *image,
                    struct arena *arena, const struct record **out, struct error *error);

/* Appends the words of one key's change to `out` (as resp_word), and answers how
 * many there are. `before` is what was read (exists false: the key must not
 * exist), `after` the record to be stored, or NULL to remove the key. Of a hash
 * only what differs is set; where nothing does, one field of the primary key is set
 * to what it is. So every key of a call that is done is changed, and gives one
 * notice of client tracking. `mark` NULL: none is written, and one that is there
 * is kept; a mark is text in UTF-8. The primary key's fields are stored like others.
 * Sticky failure in `out`, where memory lacks. */
size_t encoding_change(const struct resource *resource, const struct stored_value *before,
                       const struct record *after, const void *mark, size_t mark_size,
                       struct buffer *out);

#endif

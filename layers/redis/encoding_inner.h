#ifndef RELATA_LAYERS_REDIS_ENCODING_INNER_H
#define RELATA_LAYERS_REDIS_ENCODING_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/redis/encoding.h"
#include "layers/redis/json_reader.h"
#include "protocol/base/buffer.h"

/* What the parts of encoding.h share: encoding.c reads and encoding_write.c
 * writes what is the same for all, encoding_hash.c hashes, encoding_msgpack.c and encoding_json.c
 * the two kinds of documents. Nobody else includes it. */

/* ---- Values, one at a time ---- */

/* How a field's value stands in Redis. `take` appends its canonical MessagePack
 * (nil too) to `out`; 0, or -CODE_INVALID_VALUE with "expected ..., got ...", or
 * -CODE_OVERLOADED. `put` appends how the canonical value is stored. `scratch` is
 * anybody's, and empty before and after. Lack of memory is sticky in buffers. */
struct value_form {
    int (*take)(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *scratch,
                struct buffer *out, struct error *error);
    void (*put)(const struct type *type, const uint8_t *value, size_t size, struct buffer *out);
};

extern const struct value_form hash_form, msgpack_form, json_form;

/* ---- Documents: strings that hold one map ---- */

struct member {
    const uint8_t *name;
    size_t name_size;
    const uint8_t *value; /* as it stands there */
    size_t value_size;
    const uint8_t *whole; /* name and value, with what is between them */
    size_t whole_size;
};

struct document {
    /* Of MessagePack: what is left, and of how many pairs. */
    const uint8_t *at;
    const uint8_t *end;
    uint32_t left;
    struct json_reader json;
    struct buffer name; /* a name that does not stand there as it is */
};

struct document_form {
    const struct value_form *values;
    /* Begins to read. 0, or -CODE_INVALID_VALUE. `document` was zeroed; its name
     * is released by the caller. */
    int (*open)(struct document *document, const uint8_t *bytes, size_t size, struct error *error);
    /* The next member, good until the one after it: 1; 0 at the end; or a negative
     * code. */
    int (*next)(struct document *document, struct member *member, struct error *error);
    /* Writing: `open_map` answers what close_map wants to know; each member is a
     * name followed by put, or the whole of one that was read. */
    size_t (*open_map)(struct buffer *out);
    void (*put_name)(struct buffer *out, uint32_t members, const void *name, size_t size);
    void (*put_whole)(struct buffer *out, uint32_t members, const struct member *member);
    void (*close_map)(struct buffer *out, size_t mark, uint32_t members);
};

extern const struct document_form msgpack_document, json_document;

/* The form of the resource's documents; NULL where they are hashes. */
const struct document_form *document_form(const struct resource *resource);

/* ---- Reading ---- */

/* One value on its way to a record. The first fault stays in `status` and
 * `error`; what was read goes on being noted in *out. */
struct reading {
    const struct resource *resource;
    const uint8_t *key;
    size_t key_size;
    struct arena *arena;
    struct stored_value *out;
    const struct value_form *form;
    struct record_draft draft;
    struct buffer taken; /* the draft's */
    struct buffer scratch;
    unsigned expected; /* the field that likely comes next */
    int status;
    struct error *error;
};

/* The name of a field in Redis. */
const char *stored_name(const struct field *field, size_t *size);

bool is_mark(const void *name, size_t size);

/* Marks are text, as fields of this type are. */
extern const struct type mark_type;

/* The field of that name in Redis, NULL where there is none. *expected is where
 * it is looked for first, and then the position behind it. */
const struct field *find_stored(const struct resource *resource, unsigned *expected,
                                const uint8_t *name, size_t size);

/* Takes a field's value into the draft, unless something has failed already. */
void reading_take(struct reading *reading, const struct field *field, const uint8_t *bytes,
                  size_t size);

/* Lack of memory, as the first fault. */
void reading_lacks(struct reading *reading);

/* A reply that is no value of the key. */
void reading_refuse(struct reading *reading, const struct resp_token *token);

/* Reads the pairs of HGETALL's reply, which `reply` stands behind the head of. */
void hash_read(struct reading *reading, struct resp_reader *reply, uint64_t pairs);

/* ---- Writing ---- */

struct writing {
    const struct resource *resource;
    const struct stored_value *before;
    const struct record *after; /* NULL: the key is removed */
    const void *mark;           /* NULL: it stays as it is */
    size_t mark_size;
    struct buffer *out;    /* words */
    struct buffer scratch; /* of a form */
    struct buffer value;   /* one in another form */
    size_t words;
};

void writing_word(struct writing *writing, const void *bytes, size_t size);
void writing_text(struct writing *writing, const char *text);
void writing_count(struct writing *writing, unsigned count);

/* Whether the value as it stands in Redis is the canonical value already. */
bool writing_is_same(struct writing *writing, const struct value_form *form,
                     const struct type *type, const uint8_t *stored, size_t stored_size,
                     const uint8_t *value, size_t value_size);

/* The words of what a hash must be, and of what it becomes. */
void hash_expect(struct writing *writing);
void hash_change(struct writing *writing);

/* ---- Text ---- */

enum { REAL_TEXT_MAX = 32 };

/* The shortest decimal text that reads as the same number. */
size_t real_write(double real, char out[REAL_TEXT_MAX]);

/* Whole text, no blanks, finite. */
bool real_read(const uint8_t *text, size_t size, double *out);

/* What came, for messages: `"abc"`, cut; or that it is no text. */
void describe_bytes(const uint8_t *bytes, size_t size, char *out, size_t out_size);

/* JSON's strings, and values (encoding_json_write.c). */
void json_put_text(struct buffer *out, const void *text, size_t size);
void json_put(const struct type *type, const uint8_t *value, size_t size, struct buffer *out);

/* The standard alphabet, with `=` at the end. */
void base64_write(struct buffer *out, const uint8_t *bytes, size_t size);
bool base64_read(const uint8_t *text, size_t size, struct buffer *out);

#endif

#ifndef RELATA_LAYERS_RECORD_H
#define RELATA_LAYERS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "layers/schema/schema.h"
#include "layers/value.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/msgpack/reader.h"

/* A record is immutable: its values as MessagePack in schema order, behind a
 * small header and a table of offsets from which a field is found without
 * walking the rest. The values are the bytes that are answered.
 *
 *   size:24 flags:8 | layout:16 | offsets of fields 1..n-1 | values
 *
 * Offsets are from the start of the values (field 0 is at 0), of 1, 2 or 4
 * bytes in the machine's order, as the size of the values needs. Nothing in it
 * needs alignment but the header. `field_count` is always the resource's, and
 * every resource has a field. */
struct record {
    uint32_t size : 24; /* bytes of the values */
    uint32_t flags : 8; /* the layer's own: marks of age and of cursors */
    uint16_t layout;    /* the resource's layout number */
    uint8_t bytes[];
};

enum { RECORD_HEADER_BYTES = 6, RECORD_VALUES_MAX = (1 << 24) - 1 };
_Static_assert(offsetof(struct record, bytes) == RECORD_HEADER_BYTES, "bytes follow the header");

static inline unsigned record_offset_width(uint32_t values_size)
{
    return values_size <= UINT8_MAX ? 1 : values_size <= UINT16_MAX ? 2 : 4;
}

/* Bytes of the table of offsets. */
static inline size_t record_offsets_bytes(const struct record *record, unsigned field_count)
{
    return (size_t)record_offset_width(record->size) * (field_count - 1);
}

/* The values of all fields, `record->size` bytes. */
static inline const uint8_t *record_values(const struct record *record, unsigned field_count)
{
    return record->bytes + record_offsets_bytes(record, field_count);
}

/* Where a field begins within the values; for `field_count` itself, where they end. */
static inline uint32_t record_offset(const struct record *record, unsigned field_count,
                                     unsigned field)
{
    if (field == 0) {
        return 0;
    }
    uint32_t size = record->size;
    if (field == field_count) {
        return size;
    }
    const uint8_t *offsets = record->bytes;
    if (size <= UINT8_MAX) {
        return offsets[field - 1];
    }
    if (size <= UINT16_MAX) {
        uint16_t offset;
        memcpy(&offset, offsets + (size_t)(field - 1) * sizeof(offset), sizeof(offset));
        return offset;
    }
    uint32_t offset;
    memcpy(&offset, offsets + (size_t)(field - 1) * sizeof(offset), sizeof(offset));
    return offset;
}

/* One field's bytes. */
static inline const uint8_t *record_field(const struct record *record, unsigned field_count,
                                          unsigned field, uint32_t *size)
{
    uint32_t offset = record_offset(record, field_count, field);
    *size = record_offset(record, field_count, field + 1) - offset;
    return record_values(record, field_count) + offset;
}

/* One field, decoded. */
void record_load(const struct record *record, const struct resource *resource, unsigned field,
                 struct value *out);

static inline bool record_is_nil(const struct record *record, unsigned field_count, unsigned field)
{
    return record_values(record, field_count)[record_offset(record, field_count, field)] == 0xc0;
}

/* How many bytes the whole takes, header and offsets included. */
static inline size_t record_bytes(const struct record *record, unsigned field_count)
{
    return RECORD_HEADER_BYTES + record_offsets_bytes(record, field_count) + record->size;
}

/* A record under construction: each field's canonical bytes, wherever they
 * lie (in `buffer`, in an old record, in the schema's defaults). The old record
 * must live until the draft is built. */
struct record_draft {
    const struct resource *resource;
    struct buffer *buffer; /* holds what was taken from outside */
    struct record_part {
        const uint8_t *bytes;
        size_t offset; /* in the buffer, where bytes is NULL and size > 0 */
        uint32_t size; /* 0: not given */
    } * parts;         /* one for each field of the resource */
};

/* Parts from the arena, all not given. 0, or -CODE_OVERLOADED. */
int record_draft_init(struct record_draft *draft, const struct resource *resource,
                      struct arena *arena, struct buffer *buffer);

/* Reads a map of field name to value into the draft. Unknown names are
 * unknown_field (with the near miss), a name twice and a value that is no map
 * invalid_request, values that do not fit invalid_value; error details name
 * resource and field. Nil is taken for what is not required. */
int record_draft_take(struct record_draft *draft, struct reader *in, struct error *error);

/* Fills what is not given: from `old` where that is not NULL, else from the
 * defaults, else nil. invalid_value where a required field is then nil. */
int record_draft_finish(struct record_draft *draft, const struct record *old, struct error *error);

/* How many fields have been given so far. */
unsigned record_draft_given(const struct record_draft *draft);

/* The bytes of a field that is given or filled; NULL where it is not yet. */
const uint8_t *record_draft_field(const struct record_draft *draft, unsigned field, uint32_t *size);

/* The record, from the arena. too_large where the values exceed RECORD_VALUES_MAX. */
int record_draft_build(const struct record_draft *draft, struct arena *arena, struct record **out,
                       struct error *error);

/* ---- Keys ----
 * A key is the canonical bytes of its fields' values one after the other, in
 * the order of the field list: what indexes hash and the coalescer compares. */

/* Reads a key as callers give it: the value alone where there is one field;
 * where there are several, the array of the values or the map of them. One
 * field also takes a map or array of one only if the type could not be meant.
 * nil anywhere or a wrong type is invalid_value. Appends to `out`. */
int key_take(const struct resource *resource, const struct field_list *fields, struct reader *in,
             struct buffer *out, struct error *error);

/* Appends the key of a record; false (nothing appended) where a field is nil:
 * a nil never joins. */
bool key_of_record(const struct resource *resource, const struct field_list *fields,
                   const struct record *record, struct buffer *out);

/* Whether the record's fields are exactly this key. No allocation. */
bool key_matches(const struct resource *resource, const struct field_list *fields,
                 const struct record *record, const uint8_t *key, size_t size);

/* Appends the key as answers and errors show it: the value, or the array of
 * the values of a composite one. */
void key_write(struct buffer *out, const struct field_list *fields, const uint8_t *key,
               size_t size);

/* Text for messages: `1`, `"a"`, `[1, 2]`; cut to fit. */
void key_describe(const struct field_list *fields, const uint8_t *key, size_t size, char *out,
                  size_t out_size);

#endif

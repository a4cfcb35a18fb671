#include "layers/redis/index_signature.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/msgpack/writer.h"

/* All of it is written down as MessagePack, in which no two things look alike, and
 * hashed. */

/* To be raised when names or members of sets or claims are made in another way. */
enum { FORMAT = 1 };

static const char *const encodings[] = {
    [REDIS_HASH] = "hash", [REDIS_MSGPACK] = "msgpack", [REDIS_JSON] = "json"};

static void put_fields(const struct resource *resource, const struct field_list *fields,
                       struct buffer *out)
{
    write_array(out, fields->count);
    for (unsigned i = 0; i < fields->count; i++) {
        const struct field *field = &resource->fields[fields->fields[i]];
        write_text(out, field->name);
        write_string(out, field->stored_as, field->stored_as_size);
        write_text(out, type_name(field->type.kind));
    }
}

static void put_template(const struct resource *resource, struct buffer *out)
{
    const struct redis_options *options = resource->redis;
    write_array(out, options->key_part_count);
    for (unsigned i = 0; i < options->key_part_count; i++) {
        const struct key_part *part = &options->key_parts[i];
        if (part->text != NULL) {
            write_string(out, part->text, part->size);
        } else {
            write_array(out, 1); /* a value, which is no text */
            write_text(out, resource->fields[part->field].name);
        }
    }
}

static void put_signature(const struct resource *resource, const char *kind, const char *name,
                          const struct field_list *fields, struct buffer *out)
{
    struct buffer bytes = BUFFER_INIT;
    write_integer(&bytes, FORMAT);
    write_text(&bytes, resource->name);
    put_template(resource, &bytes);
    write_text(&bytes, encodings[resource->redis->encoding]);
    put_fields(resource, &resource->primary_key, &bytes);
    write_text(&bytes, kind);
    write_text(&bytes, name);
    put_fields(resource, fields, &bytes);
    if (bytes.failed) {
        out->failed = true;
    } else {
        buffer_printf(out, "%0*" PRIx64, INDEX_SIGNATURE_BYTES,
                      hash_shared(bytes.bytes, bytes.size));
    }
    buffer_release(&bytes);
}

void index_signature(const struct resource *resource, const struct index *index, struct buffer *out)
{
    put_signature(resource, "index", "", &index->fields, out);
}

void claim_signature(const struct resource *resource, const struct identity *identity,
                     struct buffer *out)
{
    put_signature(resource, "identity", identity->name, &identity->fields, out);
}

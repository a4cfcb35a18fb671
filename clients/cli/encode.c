#include "clients/cli/encode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/base64.h"
#include "protocol/msgpack/writer.h"

/* --- JSON ------------------------------------------------------------------------ */

static void encode_object(struct buffer *out, json_t *object)
{
    const char *name;
    json_t *value;
    write_map(out, (uint32_t)json_object_size(object));
    json_object_foreach(object, name, value)
    {
        write_text(out, name);
        encode_json(out, value);
    }
}

void encode_json(struct buffer *out, json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        encode_object(out, json);
        break;
    case JSON_ARRAY:
        write_array(out, (uint32_t)json_array_size(json));
        for (size_t i = 0; i < json_array_size(json); i++) {
            encode_json(out, json_array_get(json, i));
        }
        break;
    case JSON_STRING:
        write_string(out, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        write_integer(out, json_integer_value(json));
        break;
    case JSON_REAL:
        write_float(out, json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        write_boolean(out, json_is_true(json));
        break;
    case JSON_NULL:
        write_nil(out);
        break;
    }
}

/* --- Fields and records ------------------------------------------------------------- */

static bool encode_binary(struct buffer *out, const char *text, size_t size)
{
    struct buffer bytes = BUFFER_INIT;
    bool decoded = base64_decode(&bytes, text, size);
    if (decoded) {
        write_binary(out, bytes.bytes, bytes.size);
    }
    out->failed = out->failed || bytes.failed;
    buffer_release(&bytes);
    return decoded;
}

bool encode_field(struct buffer *out, enum catalog_type type, json_t *json)
{
    if (type == CATALOG_BINARY && json_is_string(json)) {
        return encode_binary(out, json_string_value(json), json_string_length(json));
    }
    encode_json(out, json);
    return true;
}

const char *encode_record(struct buffer *out, const struct catalog_resource *resource,
                          json_t *record, bool only_known)
{
    const char *name;
    json_t *value;
    size_t mark = write_open(out);
    uint32_t count = 0;
    json_object_foreach(record, name, value)
    {
        const struct catalog_field *field = catalog_field(resource, name);
        if (field == NULL && only_known) {
            continue;
        }
        write_text(out, name);
        if (!encode_field(out, field == NULL ? CATALOG_UNKNOWN : field->type, value)) {
            return name;
        }
        count++;
    }
    write_close_map(out, mark, count);
    return NULL;
}

/* --- Keys ---------------------------------------------------------------------------- */

/* False where the text is no integer of 64 bits, from its first to its last byte. */
static bool read_integer(const char *text, size_t size, int64_t *value)
{
    char room[24];
    /* strtoll would skip blanks in front. */
    if (size == 0 || size >= sizeof(room) || strchr("+-0123456789", text[0]) == NULL) {
        return false;
    }
    memcpy(room, text, size);
    room[size] = '\0';
    char *end;
    errno = 0;
    long long number = strtoll(room, &end, 10);
    *value = number;
    return errno == 0 && end == room + size;
}

static bool encode_scalar_key(struct buffer *out, enum catalog_type type, const char *text,
                              size_t size)
{
    int64_t number;
    switch (type) {
    case CATALOG_BINARY:
        return encode_binary(out, text, size);
    case CATALOG_INTEGER:
    case CATALOG_UNKNOWN:
        if (read_integer(text, size, &number)) {
            write_integer(out, number);
            return true;
        }
        break;
    case CATALOG_OTHER:
        break;
    }
    write_string(out, text, size);
    return true;
}

/* The array or object of a composite key. */
static bool encode_composite(struct buffer *out, const struct catalog_key *key, json_t *json)
{
    if (json_is_object(json)) {
        encode_json(out, json);
        return true;
    }
    write_array(out, (uint32_t)json_array_size(json));
    for (size_t i = 0; i < json_array_size(json); i++) {
        enum catalog_type type = i < key->count ? key->fields[i].type : CATALOG_UNKNOWN;
        if (!encode_field(out, type, json_array_get(json, i))) {
            return false;
        }
    }
    return true;
}

static bool encode_json_key(struct buffer *out, const struct catalog_key *key, json_t *json)
{
    if (json_is_array(json) || json_is_object(json)) {
        return encode_composite(out, key, json);
    }
    return encode_field(out, key->count > 0 ? key->fields[0].type : CATALOG_UNKNOWN, json);
}

bool encode_key(struct buffer *out, const struct catalog_key *key, const char *text, size_t size)
{
    bool may_be_composite = key->count != 1 && size > 0 && (text[0] == '[' || text[0] == '{');
    json_t *json = may_be_composite ? json_loadb(text, size, 0, NULL) : NULL;
    if (json == NULL) {
        enum catalog_type type = key->count == 1 ? key->fields[0].type : CATALOG_UNKNOWN;
        return encode_scalar_key(out, type, text, size);
    }
    bool encoded = encode_composite(out, key, json);
    json_decref(json);
    return encoded;
}

static const char *encode_json_keys(struct buffer *out, const struct catalog_key *key,
                                    const char *text, size_t *count)
{
    json_t *json = json_loads(text, 0, NULL);
    if (!json_is_array(json)) {
        json_decref(json);
        return "the keys are no JSON array";
    }
    const char *fault = NULL;
    *count = json_array_size(json);
    write_array(out, (uint32_t)*count);
    for (size_t i = 0; i < *count && fault == NULL; i++) {
        if (!encode_json_key(out, key, json_array_get(json, i))) {
            fault = "a key is no base64";
        }
    }
    json_decref(json);
    return fault;
}

const char *encode_keys(struct buffer *out, const struct catalog_key *key, const char *text,
                        size_t *count)
{
    if (text[0] == '[') {
        return encode_json_keys(out, key, text, count);
    }
    size_t mark = write_open(out);
    *count = 0;
    for (const char *at = text; at != NULL && text[0] != '\0';) {
        const char *comma = strchr(at, ',');
        size_t size = comma == NULL ? strlen(at) : (size_t)(comma - at);
        if (!encode_key(out, key, at, size)) {
            return "a key is no base64";
        }
        ++*count;
        at = comma == NULL ? NULL : comma + 1;
    }
    write_close_array(out, mark, (uint32_t)*count);
    return NULL;
}

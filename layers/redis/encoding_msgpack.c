#include "layers/redis/encoding_inner.h"

#include "layers/type.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* A string with one map of names to values as on the wire. */

static int take(const struct type *type, const uint8_t *bytes, size_t size, struct buffer *scratch,
                struct buffer *out, struct error *error)
{
    (void)scratch;
    struct reader in = reader_of(bytes, size);
    if (reader_peek(&in) == TOKEN_NIL) {
        write_nil(out);
        return 0;
    }
    return type_take(type, &in, out, error);
}

static void put(const struct type *type, const uint8_t *value, size_t size, struct buffer *out)
{
    (void)type;
    buffer_append(out, value, size);
}

const struct value_form msgpack_form = {.take = take, .put = put};

static int refuse_cut(struct error *error)
{
    return error_set(error, CODE_INVALID_VALUE,
                     "expected a map as MessagePack, got one that is cut short");
}

static int open_document(struct document *document, const uint8_t *bytes, size_t size,
                         struct error *error)
{
    struct reader in = reader_of(bytes, size);
    struct token token = reader_next(&in);
    if (token.kind != TOKEN_MAP) {
        char came[100];
        describe_bytes(bytes, size, came, sizeof(came));
        return error_set(error, CODE_INVALID_VALUE, "expected a map as MessagePack, got %s (%s)",
                         token.kind == TOKEN_INVALID ? "no value" : token_describe(&token), came);
    }
    document->at = in.at;
    document->end = in.end;
    document->left = token.count;
    return 0;
}

static int next(struct document *document, struct member *member, struct error *error)
{
    size_t left = (size_t)(document->end - document->at);
    if (document->left == 0) {
        return left == 0
                   ? 0
                   : error_set(error, CODE_INVALID_VALUE,
                               "expected one map as MessagePack, got %zu bytes behind it", left);
    }
    struct reader in = reader_of(document->at, left);
    struct reader name = in;
    member->whole = document->at;
    /* A name that is no text is nobody's; it is passed over with all that is in it. */
    member->name = (const uint8_t *)reader_name(&name, &member->name_size);
    member->name_size = member->name != NULL ? member->name_size : 0;
    if (!reader_skip(&in) || !reader_value(&in, &member->value, &member->value_size)) {
        return refuse_cut(error);
    }
    member->whole_size = (size_t)(in.at - document->at);
    document->at = in.at;
    document->left--;
    return 1;
}

static void put_name(struct buffer *out, uint32_t members, const void *name, size_t size)
{
    (void)members;
    write_string(out, name, size);
}

static void put_whole(struct buffer *out, uint32_t members, const struct member *member)
{
    (void)members;
    buffer_append(out, member->whole, member->whole_size);
}

const struct document_form msgpack_document = {
    .values = &msgpack_form,
    .open = open_document,
    .next = next,
    .open_map = write_open,
    .put_name = put_name,
    .put_whole = put_whole,
    .close_map = write_close_map,
};

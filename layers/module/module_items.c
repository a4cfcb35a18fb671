#include <stdlib.h>
#include <string.h>

#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"

/* MessagePack for modules, over the daemon's own reader and writer. */

enum { ERROR_EXTENSION = 1 }; /* the protocol's: an error in the place of a value */

/* ---- Reading ---- */

static void take_extension(const struct token *token, struct relata_item *out)
{
    struct datetime moment;
    out->kind = RELATA_ITEM_OTHER;
    if (token_datetime(token, &moment)) {
        out->kind = RELATA_ITEM_DATETIME;
        out->seconds = moment.seconds;
        out->nanoseconds = moment.nanoseconds;
    }
}

static void take_bytes(int kind, const uint8_t *bytes, size_t size, struct relata_item *out)
{
    out->kind = kind;
    out->bytes = bytes;
    out->size = size;
}

/* `token` has been read; `inside` is what follows its header, `end` its end. */
static void take_token(const struct token *token, const uint8_t *inside, const uint8_t *end,
                       struct relata_item *out)
{
    switch (token->kind) {
    case TOKEN_INVALID:
    case TOKEN_NIL:
        break;
    case TOKEN_BOOLEAN:
        out->kind = RELATA_ITEM_BOOLEAN;
        out->boolean = token->boolean;
        break;
    case TOKEN_INTEGER:
        out->kind = RELATA_ITEM_INTEGER;
        out->integer = token->integer;
        break;
    case TOKEN_UNSIGNED:
        out->kind = RELATA_ITEM_OTHER;
        break;
    case TOKEN_FLOAT:
        out->kind = RELATA_ITEM_FLOAT;
        out->real = token->real;
        break;
    case TOKEN_STRING:
        take_bytes(RELATA_ITEM_TEXT, token->bytes, token->size, out);
        break;
    case TOKEN_BINARY:
        take_bytes(RELATA_ITEM_BINARY, token->bytes, token->size, out);
        break;
    case TOKEN_ARRAY:
        take_bytes(RELATA_ITEM_ARRAY, inside, (size_t)(end - inside), out);
        out->count = token->count;
        break;
    case TOKEN_MAP:
        take_bytes(RELATA_ITEM_MAP, inside, (size_t)(end - inside), out);
        out->count = token->count;
        break;
    case TOKEN_EXTENSION:
        take_extension(token, out);
        break;
    }
}

int module_item_take(struct reader *in, struct relata_item *out)
{
    *out = (struct relata_item){.kind = RELATA_ITEM_NIL};
    if (in->at == in->end) {
        return RELATA_MODULE_ABSENT;
    }
    const uint8_t *start = in->at;
    struct reader head = *in;
    struct token token = reader_next(&head);
    if (!reader_skip(in)) {
        return RELATA_MODULE_INVALID;
    }
    out->raw = start;
    out->raw_size = (size_t)(in->at - start);
    take_token(&token, head.at, in->at, out);
    return RELATA_MODULE_OK;
}

static int host_item(const struct relata_host *host, const void *bytes, size_t size,
                     struct relata_item *item)
{
    (void)host;
    struct reader in = reader_of(bytes, size);
    int status = module_item_take(&in, item);
    if (status == RELATA_MODULE_OK && in.at != in.end) {
        *item = (struct relata_item){.kind = RELATA_ITEM_NIL};
        status = RELATA_MODULE_INVALID;
    }
    return status == RELATA_MODULE_ABSENT ? RELATA_MODULE_INVALID : status;
}

static int host_next(const struct relata_host *host, struct relata_reader *reader,
                     struct relata_item *item)
{
    (void)host;
    struct reader in = reader_of(reader->at, reader->left);
    int status = module_item_take(&in, item);
    if (status == RELATA_MODULE_OK) {
        reader->at = in.at;
        reader->left = (size_t)(in.end - in.at);
    }
    return status;
}

static int host_get(const struct relata_host *host, const struct relata_item *map, const char *name,
                    struct relata_item *item)
{
    struct relata_reader in = {map->bytes, map->size};
    size_t size = strlen(name);
    for (uint32_t i = 0; map->kind == RELATA_ITEM_MAP && i < map->count; i++) {
        struct relata_item key;
        int status = host_next(host, &in, &key);
        status = status == RELATA_MODULE_OK ? host_next(host, &in, item) : status;
        if (status != RELATA_MODULE_OK) {
            break;
        }
        bool named = key.kind == RELATA_ITEM_TEXT || key.kind == RELATA_ITEM_BINARY;
        if (named && key.size == size && memcmp(key.bytes, name, size) == 0) {
            return RELATA_MODULE_OK;
        }
    }
    *item = (struct relata_item){.kind = RELATA_ITEM_NIL};
    return RELATA_MODULE_ABSENT;
}

/* ---- Writing ---- */

/* The module's bytes as a buffer, and back: the same memory. */
static struct buffer open_bytes(const struct relata_bytes *bytes)
{
    return (struct buffer){.bytes = bytes->bytes,
                           .size = bytes->size,
                           .capacity = bytes->capacity,
                           .failed = bytes->failed != 0};
}

static void close_bytes(struct relata_bytes *bytes, const struct buffer *buffer)
{
    *bytes = (struct relata_bytes){.bytes = buffer->bytes,
                                   .size = buffer->size,
                                   .capacity = buffer->capacity,
                                   .failed = buffer->failed};
}

void module_bytes_append(struct relata_bytes *out, const void *bytes, size_t size)
{
    struct buffer buffer = open_bytes(out);
    buffer_append(&buffer, bytes, size);
    close_bytes(out, &buffer);
}

static void host_write_nil(struct relata_bytes *out)
{
    module_bytes_append(out, "\xc0", 1);
}

static void host_write_boolean(struct relata_bytes *out, int boolean)
{
    module_bytes_append(out, boolean ? "\xc3" : "\xc2", 1);
}

static void host_write_integer(struct relata_bytes *out, int64_t integer)
{
    struct buffer buffer = open_bytes(out);
    write_integer(&buffer, integer);
    close_bytes(out, &buffer);
}

static void host_write_float(struct relata_bytes *out, double real)
{
    struct buffer buffer = open_bytes(out);
    write_float(&buffer, real);
    close_bytes(out, &buffer);
}

static void host_write_text(struct relata_bytes *out, const char *text, size_t size)
{
    struct buffer buffer = open_bytes(out);
    write_string(&buffer, text, size == SIZE_MAX ? strlen(text) : size);
    close_bytes(out, &buffer);
}

static void host_write_binary(struct relata_bytes *out, const void *bytes, size_t size)
{
    struct buffer buffer = open_bytes(out);
    write_binary(&buffer, bytes, size);
    close_bytes(out, &buffer);
}

static void host_write_datetime(struct relata_bytes *out, int64_t seconds, uint32_t nanoseconds)
{
    struct buffer buffer = open_bytes(out);
    struct datetime moment = {.seconds = seconds, .nanoseconds = nanoseconds};
    if (nanoseconds > 999999999) {
        buffer.failed = true;
    } else {
        write_datetime(&buffer, &moment);
    }
    close_bytes(out, &buffer);
}

static void host_write_array(struct relata_bytes *out, uint32_t count)
{
    struct buffer buffer = open_bytes(out);
    write_array(&buffer, count);
    close_bytes(out, &buffer);
}

static void host_write_map(struct relata_bytes *out, uint32_t count)
{
    struct buffer buffer = open_bytes(out);
    write_map(&buffer, count);
    close_bytes(out, &buffer);
}

static void host_write_error(struct relata_bytes *out, const char *code, const char *message)
{
    struct buffer map = BUFFER_INIT;
    struct buffer buffer = open_bytes(out);
    write_map(&map, 2);
    write_text(&map, "code");
    write_text(&map, code);
    write_text(&map, "message");
    write_text(&map, message);
    if (map.failed) {
        buffer.failed = true;
    } else {
        write_extension(&buffer, ERROR_EXTENSION, map.bytes, map.size);
    }
    buffer_release(&map);
    close_bytes(out, &buffer);
}

static void host_clear(struct relata_bytes *bytes)
{
    bytes->size = 0;
    bytes->failed = 0;
}

static void host_release(struct relata_bytes *bytes)
{
    struct buffer buffer = open_bytes(bytes);
    buffer_release(&buffer);
    *bytes = (struct relata_bytes){0};
}

void module_items_fill(struct relata_host *host)
{
    host->item = host_item;
    host->next = host_next;
    host->get = host_get;
    host->write_nil = host_write_nil;
    host->write_boolean = host_write_boolean;
    host->write_integer = host_write_integer;
    host->write_float = host_write_float;
    host->write_text = host_write_text;
    host->write_binary = host_write_binary;
    host->write_datetime = host_write_datetime;
    host->write_array = host_write_array;
    host->write_map = host_write_map;
    host->write_raw = module_bytes_append;
    host->write_error = host_write_error;
    host->clear = host_clear;
    host->release = host_release;
}

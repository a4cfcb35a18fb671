#include <string.h>

#include "layers/redis/encoding.h"
#include "layers/redis/key_text.h"
#include "protocol/base/check.h"

/* The first byte chooses the encoding, the rest is what stands in Redis: a string,
 * or a hash's names and values with a zero behind each. What can be read can be
 * written again without a change, and is then read as the same record. The bytes
 * are tried as the name of a key, too. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const members[] = {"open", "closed"};

#define FIELD(at, text, a_kind, ...)                                               \
    {                                                                              \
        .name = (text), .name_size = sizeof(text) - 1, .position = (at), .type = { \
            .kind = (a_kind),                                                      \
            ##__VA_ARGS__                                                          \
        }                                                                          \
    }

static struct field fields[] = {
    FIELD(0, "id", TYPE_INTEGER),
    FIELD(1, "org", TYPE_STRING),
    FIELD(2, "ratio", TYPE_FLOAT),
    FIELD(3, "done", TYPE_BOOLEAN),
    FIELD(4, "scan", TYPE_BINARY),
    FIELD(5, "at", TYPE_DATETIME),
    FIELD(6, "ref", TYPE_UUID),
    FIELD(7, "kind", TYPE_ENUM, .member_count = 2, .members = members),
    FIELD(8, "more", TYPE_ANY),
};

static struct redis_options redis = {
    .key_parts = {{.text = "rep:", .size = 4},
                  {.field = 1},
                  {.text = ":", .size = 1},
                  {.field = 0}},
    .key_part_count = 4,
};

static const struct resource resource = {
    .name = "rep",
    .name_size = 3,
    .layer = LAYER_REDIS,
    .redis = &redis,
    .fields = fields,
    .field_count = ARRAY_COUNT(fields),
    .primary_key = {.count = 2, .fields = {1, 0}},
};

static const uint8_t key[] = {0xa1, 'a', 1};

static int read_back(struct arena *arena, const struct buffer *reply, struct stored_value *value,
                     struct record **record)
{
    struct error error = ERROR_INIT;
    int status = encoding_read(&resource, key, sizeof(key),
                               resp_reader_of(reply->bytes, reply->size), arena, value, &error);
    *record = value->record;
    CHECK(status == 0 || (status == -CODE_INVALID_VALUE && error.message[0] != '\0'));
    return status;
}

static void put_hash(struct buffer *reply, const uint8_t *data, size_t size)
{
    size_t words = 0;
    struct buffer body = BUFFER_INIT;
    while (size > 0) {
        const uint8_t *end = memchr(data, 0, size);
        size_t word = end != NULL ? (size_t)(end - data) : size;
        resp_word(&body, data, word);
        words++;
        word += end != NULL ? 1 : 0;
        data += word;
        size -= word;
    }
    if (words % 2 != 0) {
        resp_word(&body, "", 0);
        words++;
    }
    buffer_printf(reply, "*%zu\r\n", words);
    buffer_append(reply, body.bytes, body.size);
    buffer_release(&body);
}

/* The document that the last word of a change is. */
static void put_last(struct buffer *reply, const struct buffer *words, size_t count)
{
    struct resp_reader in = resp_reader_of(words->bytes, words->size);
    while (count > 1) {
        resp_skip(&in);
        count--;
    }
    struct resp_token last = resp_next(&in);
    CHECK(last.kind == RESP_TEXT && in.at == in.end);
    buffer_truncate(reply, 0);
    resp_word(reply, last.bytes, last.size);
}

static void write_again(struct arena *arena, struct buffer *reply, const struct stored_value *value,
                        const struct record *record)
{
    struct buffer words = BUFFER_INIT;
    size_t count = encoding_change(&resource, value, record, "m", 1, &words);
    CHECK(!words.failed);
    if (redis.encoding != REDIS_HASH) {
        struct stored_value again;
        struct record *same;
        put_last(reply, &words, count);
        CHECK(read_back(arena, reply, &again, &same) == 0 && same != NULL);
        size_t bytes = record_bytes(record, resource.field_count);
        CHECK(bytes == record_bytes(same, resource.field_count));
        CHECK(memcmp(record, same, bytes) == 0);
        CHECK(again.unknown_fields == value->unknown_fields && again.mark_size == 1);
    }
    buffer_release(&words);
}

static void try_name(const uint8_t *data, size_t size)
{
    struct buffer read = BUFFER_INIT, name = BUFFER_INIT;
    if (key_text_read(&resource, data, size, &read)) {
        key_text_append(&resource, read.bytes, read.size, &name);
        CHECK(name.size == size && memcmp(name.bytes, data, size) == 0);
    }
    buffer_release(&read);
    buffer_release(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.max = 0};
    struct buffer reply = BUFFER_INIT;
    struct stored_value value;
    struct record *record;
    if (size == 0) {
        return 0;
    }
    redis.encoding = (enum redis_encoding)(data[0] % 3);
    if (redis.encoding == REDIS_HASH) {
        put_hash(&reply, data + 1, size - 1);
    } else {
        resp_word(&reply, data + 1, size - 1);
    }
    if (read_back(&arena, &reply, &value, &record) == 0 && record != NULL) {
        write_again(&arena, &reply, &value, record);
    }
    try_name(data + 1, size - 1);
    buffer_release(&reply);
    arena_release(&arena);
    return 0;
}

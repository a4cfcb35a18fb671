#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/encoding.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/stored_fixture.h"

/* Records of random resources are written by the words of encoding_change, which a
 * plain model of the script carries out, and read again. */

enum { PAIRS_MAX = 64, TEXT_MAX = 8000 };

struct text {
    size_t size;
    uint8_t bytes[TEXT_MAX];
};

/* What is in Redis under one key. */
struct model {
    bool exists;
    struct text text;
    struct text names[PAIRS_MAX];
    struct text values[PAIRS_MAX];
    unsigned pairs;
};

static void text_set(struct text *text, const void *bytes, size_t size)
{
    CHECK(size <= TEXT_MAX);
    memcpy(text->bytes, bytes, size);
    text->size = size;
}

static bool text_is(const struct text *text, const struct resp_token *word)
{
    return text->size == word->size && memcmp(text->bytes, word->bytes, word->size) == 0;
}

static int model_find(const struct model *model, const struct resp_token *name)
{
    for (unsigned i = 0; i < model->pairs; i++) {
        if (text_is(&model->names[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

static void model_set(struct model *model, const struct resp_token *name,
                      const struct resp_token *value)
{
    int at = model_find(model, name);
    if (at < 0) {
        at = (int)model->pairs++;
        CHECK(at < PAIRS_MAX);
        text_set(&model->names[at], name->bytes, name->size);
    }
    text_set(&model->values[at], value->bytes, value->size);
}

static void model_drop(struct model *model, const struct resp_token *name)
{
    int at = model_find(model, name);
    CHECK(at >= 0);
    model->pairs--;
    model->names[at] = model->names[model->pairs];
    model->values[at] = model->values[model->pairs];
}

static struct resp_token word_of(struct resp_reader *words)
{
    struct resp_token word = resp_next(words);
    CHECK(word.kind == RESP_TEXT);
    return word;
}

static unsigned number_of(struct resp_reader *words)
{
    struct resp_token word = word_of(words);
    char text[24];
    snprintf(text, sizeof(text), "%.*s", (int)word.size, (const char *)word.bytes);
    return (unsigned)strtoul(text, NULL, 10);
}

static bool model_has(const struct model *model, struct resp_reader *words)
{
    bool same = true;
    unsigned there = number_of(words);
    for (unsigned i = 0; i < there; i++) {
        struct resp_token name = word_of(words), value = word_of(words);
        int at = model_find(model, &name);
        same &= at >= 0 && text_is(&model->values[at], &value);
    }
    for (unsigned absent = number_of(words); absent > 0; absent--) {
        struct resp_token name = word_of(words);
        same &= model_find(model, &name) < 0;
    }
    return same;
}

static bool model_is(const struct model *model, struct resp_reader *words)
{
    struct resp_token kind = word_of(words);
    if (resp_is(&kind, "none")) {
        return !model->exists;
    }
    if (resp_is(&kind, "text")) {
        struct resp_token text = word_of(words);
        return model->exists && text_is(&model->text, &text);
    }
    CHECK(resp_is(&kind, "hash"));
    return model_has(model, words) && model->exists;
}

static void model_become(struct model *model, struct resp_reader *words)
{
    struct resp_token kind = word_of(words);
    model->exists = !resp_is(&kind, "remove");
    if (resp_is(&kind, "text")) {
        struct resp_token text = word_of(words);
        text_set(&model->text, text.bytes, text.size);
    } else if (resp_is(&kind, "hash")) {
        for (unsigned sets = number_of(words); sets > 0; sets--) {
            struct resp_token name = word_of(words), value = word_of(words);
            model_set(model, &name, &value);
        }
        for (unsigned gone = number_of(words); gone > 0; gone--) {
            struct resp_token name = word_of(words);
            model_drop(model, &name);
        }
    } else {
        model->pairs = 0;
    }
}

/* ---- A place of one resource and one key ---- */

struct place {
    struct stored_fixture stored;
    const struct resource *resource;
    struct model model;
    struct arena arena;
    struct buffer key;
    struct buffer words;
    struct buffer reply;
    struct stored_value value;
    struct record *record;
    uint32_t unknown;
    struct error error;
};

static struct place *place_open(struct random *random)
{
    struct place *w = heap_must(sizeof(*w));
    stored_fixture_random(&w->stored, random);
    w->stored.redis.encoding = (enum redis_encoding)random_below(random, 3);
    w->resource = &w->stored.base.resource;
    for (unsigned i = 0; i < w->resource->primary_key.count; i++) {
        const struct field *field = &w->resource->fields[w->resource->primary_key.fields[i]];
        stored_fixture_value(&field->type, random, true, &w->key);
    }
    return w;
}

static void place_close(struct place *w)
{
    arena_release(&w->arena);
    buffer_release(&w->key);
    buffer_release(&w->words);
    buffer_release(&w->reply);
    heap_free(w);
}

static void make_reply(struct place *w, struct random *random)
{
    const struct model *model = &w->model;
    buffer_truncate(&w->reply, 0);
    if (w->stored.redis.encoding != REDIS_HASH) {
        if (model->exists) {
            resp_word(&w->reply, model->text.bytes, model->text.size);
        } else {
            buffer_append(&w->reply, "$-1\r\n", 5);
        }
        return;
    }
    if (random_below(random, 2) == 0) {
        buffer_printf(&w->reply, "%%%u\r\n", model->pairs);
    } else {
        buffer_printf(&w->reply, "*%u\r\n", 2 * model->pairs);
    }
    unsigned first = model->pairs > 0 ? (unsigned)random_below(random, model->pairs) : 0;
    for (unsigned i = 0; i < model->pairs; i++) {
        unsigned at = (first + i) % model->pairs;
        resp_word(&w->reply, model->names[at].bytes, model->names[at].size);
        resp_word(&w->reply, model->values[at].bytes, model->values[at].size);
    }
}

static int read_reply(struct place *w)
{
    int status = encoding_read(w->resource, w->key.bytes, w->key.size,
                               resp_reader_of(w->reply.bytes, w->reply.size), &w->arena, &w->value,
                               &w->error);
    w->record = w->value.record;
    return status;
}

static void read_model(struct place *w, struct random *random)
{
    w->error = (struct error)ERROR_INIT;
    make_reply(w, random);
    if (read_reply(w) != 0) {
        fail_msg("it is refused: %s", w->error.message);
    }
    assert_int_equal(w->value.exists, w->model.exists);
    assert_int_equal(w->value.unknown_fields, w->unknown);
}

/* ---- Fields that nobody knows ---- */

static void add_to_hash(struct model *model, struct random *random)
{
    char name[24], value[24];
    struct resp_token words[2] = {{.bytes = (uint8_t *)name}, {.bytes = (uint8_t *)value}};
    words[0].size = (size_t)snprintf(name, sizeof(name), "zz%u", model->pairs);
    words[1].size =
        (size_t)snprintf(value, sizeof(value), "%llx\xff", (unsigned long long)random_next(random));
    model_set(model, &words[0], &words[1]);
}

static const char json_unknown[] = "\"z\\u007a\\n\" :\t[1.50, {\"a\":\"}\\\"\"} ,1e5]";
static const char msgpack_unknown[] = "\xd9\x02zz\xdc\x00\x02\xcd\x00\x01\xd4\x05\x06";

static void add_to_json(struct text *text)
{
    struct text old = *text;
    bool empty = old.size == 2;
    text->size = (size_t)snprintf((char *)text->bytes, TEXT_MAX, " { %s%s", json_unknown,
                                  empty ? "" : " , ");
    CHECK(text->size + old.size <= TEXT_MAX);
    memcpy(text->bytes + text->size, old.bytes + 1, old.size - 1);
    text->size += old.size - 1;
}

static void add_to_msgpack(struct text *text)
{
    struct reader in = reader_of(text->bytes, text->size);
    struct buffer out = BUFFER_INIT;
    struct token token = reader_next(&in);
    write_map(&out, token.count + 1);
    buffer_append(&out, msgpack_unknown, sizeof(msgpack_unknown) - 1);
    buffer_append(&out, in.at, (size_t)(in.end - in.at));
    text_set(text, out.bytes, out.size);
    buffer_release(&out);
}

static void add_unknown(struct place *w, struct random *random)
{
    if (!w->model.exists || w->unknown > 0) {
        return;
    }
    w->unknown++;
    switch (w->stored.redis.encoding) {
    case REDIS_HASH:
        add_to_hash(&w->model, random);
        break;
    case REDIS_MSGPACK:
        add_to_msgpack(&w->model.text);
        break;
    case REDIS_JSON:
        add_to_json(&w->model.text);
        break;
    }
}

static bool has_piece(const struct text *text, const char *piece, size_t size)
{
    return memmem(text->bytes, text->size, piece, size) != NULL;
}

static void unknown_is_there(const struct place *w)
{
    if (w->unknown == 0 || !w->model.exists) {
        return;
    }
    const struct text *text = &w->model.text;
    bool kept = false;
    switch (w->stored.redis.encoding) {
    case REDIS_HASH:
        for (unsigned i = 0; i < w->model.pairs; i++) {
            kept |= has_piece(&w->model.names[i], "zz", 2);
        }
        break;
    case REDIS_MSGPACK:
        kept = has_piece(text, msgpack_unknown, sizeof(msgpack_unknown) - 1);
        break;
    case REDIS_JSON:
        kept = has_piece(text, json_unknown, sizeof(json_unknown) - 1);
        break;
    }
    assert_true(kept);
}

/* ---- Random writes ---- */

/* Some fields of `old` stay, where there is one. */
static struct record *random_record(struct place *w, struct random *random,
                                    const struct record *old)
{
    struct buffer buffer = BUFFER_INIT;
    struct record_draft draft;
    struct record *record = NULL;
    bool json = w->stored.redis.encoding != REDIS_MSGPACK;
    unsigned count = w->resource->field_count;
    struct reader key = reader_of(w->key.bytes, w->key.size);
    CHECK(record_draft_init(&draft, w->resource, &w->arena, &buffer) == 0);
    for (unsigned i = 0; i < w->resource->primary_key.count; i++) {
        struct record_part *part = &draft.parts[w->resource->primary_key.fields[i]];
        size_t size;
        CHECK(reader_value(&key, &part->bytes, &size));
        part->size = (uint32_t)size;
    }
    for (unsigned i = 0; i < count; i++) {
        struct record_part *part = &draft.parts[i];
        const struct field *field = &w->resource->fields[i];
        if (part->size > 0) {
            continue;
        }
        if (old != NULL && random_below(random, 2) == 0) {
            part->bytes = record_field(old, count, i, &part->size);
            continue;
        }
        part->offset = buffer.size;
        if (!field->required && random_below(random, 4) == 0) {
            write_nil(&buffer);
        } else {
            stored_fixture_value(&field->type, random, json, &buffer);
        }
        part->size = (uint32_t)(buffer.size - part->offset);
    }
    CHECK(record_draft_build(&draft, &w->arena, &record, NULL) == 0);
    buffer_release(&buffer);
    return record;
}

static bool same_record(const struct resource *resource, const struct record *a,
                        const struct record *b)
{
    size_t size = record_bytes(a, resource->field_count);
    return size == record_bytes(b, resource->field_count) && memcmp(a, b, size) == 0;
}

static void write_once(struct place *w, struct random *random)
{
    static const char *const marks[] = {NULL, "", "d1:5", "m\"\\"};
    const char *mark = marks[random_below(random, ARRAY_COUNT(marks))];
    size_t mark_size = mark != NULL ? strlen(mark) : 0;
    struct stored_value before = w->value;
    const struct record *after =
        random_below(random, 6) == 0 ? NULL : random_record(w, random, w->record);
    after = after != NULL && w->record != NULL && random_below(random, 6) == 0 ? w->record : after;
    buffer_truncate(&w->words, 0);
    encoding_change(w->resource, &before, after, mark, mark_size, &w->words);
    assert_false(w->words.failed);
    struct resp_reader words = resp_reader_of(w->words.bytes, w->words.size);
    assert_true(model_is(&w->model, &words));
    model_become(&w->model, &words);
    assert_ptr_equal(words.at, words.end);
    unknown_is_there(w);
    w->unknown = w->model.exists ? w->unknown : 0;
    read_model(w, random);
    if (after == NULL) {
        assert_null(w->record);
        return;
    }
    assert_true(same_record(w->resource, w->record, after));
    /* A mark that is not given stays. */
    const void *expected = mark != NULL ? mark : (const void *)before.mark;
    size_t size = mark != NULL ? mark_size : before.mark_size;
    assert_int_equal(w->value.mark_size, size);
    assert_true(size == 0 || memcmp(w->value.mark, expected, size) == 0);
    /* Who had read what was there before does not get through any more. */
    struct resp_reader again = resp_reader_of(w->words.bytes, w->words.size);
    if (!before.exists) {
        assert_false(model_is(&w->model, &again));
    }
}

static void records_come_back(void **state)
{
    (void)state;
    struct random random = random_start("records_come_back");
    for (int round = 0; round < 1500; round++) {
        struct place *w = place_open(&random);
        for (int i = 0; i < 8; i++) {
            write_once(w, &random);
            if (random_below(&random, 3) == 0) {
                add_unknown(w, &random);
                read_model(w, &random);
            }
        }
        place_close(w);
    }
}

/* Whatever the bytes, they are read or refused with the error that says so. */
static void damaged_values(void **state)
{
    (void)state;
    struct random random = random_start("damaged_values");
    unsigned refused = 0;
    for (int round = 0; round < 20000; round++) {
        struct place *w = place_open(&random);
        write_once(w, &random);
        struct text *text = &w->model.text;
        if (w->model.pairs > 0) {
            text = &w->model.values[random_below(&random, w->model.pairs)];
        }
        for (int i = 0; i < 3 && text->size > 0; i++) {
            uint8_t byte = (uint8_t) "{}[]\",:\\0\xc0\xff\x80\xdf"[random_below(&random, 13)];
            text->bytes[random_below(&random, text->size)] = byte;
        }
        w->error = (struct error)ERROR_INIT;
        make_reply(w, &random);
        int status = read_reply(w);
        if (status != 0) {
            refused++;
            assert_int_equal(status, -CODE_INVALID_VALUE);
            assert_int_equal(w->error.code, CODE_INVALID_VALUE);
            assert_string_equal(w->error.resource, "rep");
            assert_non_null(strstr(w->error.message, " in Redis: "));
            assert_null(w->record);
        }
        place_close(w);
    }
    assert_true(refused > 0);
}

/* ---- Memory ---- */

static void reading_without_memory(struct place *w)
{
    struct arena arena = {.max = 0};
    const struct record *expected =
        arena_copy(&arena, w->record, record_bytes(w->record, w->resource->field_count));
    int status;
    long count = 0;
    do {
        arena_release(&w->arena);
        heap_fail_at(count++);
        status = read_reply(w);
        bool failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_true(status != 0 || same_record(w->resource, w->record, expected));
        if (status != 0) {
            assert_true(failed);
            assert_int_equal(status, -CODE_OVERLOADED);
            assert_null(w->record);
        } else if (!failed) {
            break;
        }
    } while (count < 1000);
    assert_int_equal(status, 0);
    arena_release(&arena);
}

static void changing_without_memory(struct place *w, const struct record *after)
{
    struct buffer whole = BUFFER_INIT;
    encoding_change(w->resource, &w->value, after, "m", 1, &whole);
    for (long count = 0; count < 1000; count++) {
        struct buffer out = BUFFER_INIT;
        heap_fail_at(count);
        encoding_change(w->resource, &w->value, after, "m", 1, &out);
        bool failed = heap_failed() != 0;
        heap_fail_at(-1);
        assert_true(failed ? out.failed : out.size == whole.size);
        assert_true(failed || memcmp(out.bytes, whole.bytes, out.size) == 0);
        buffer_release(&out);
        if (!failed) {
            break;
        }
    }
    buffer_release(&whole);
}

static void memory_that_lacks(void **state)
{
    (void)state;
    struct random random = random_start("memory_that_lacks");
    for (int round = 0; round < 200; round++) {
        struct place *w = place_open(&random);
        while (!w->model.exists) {
            write_once(w, &random);
        }
        add_unknown(w, &random);
        read_model(w, &random);
        reading_without_memory(w);
        changing_without_memory(w, random_record(w, &random, w->record));
        place_close(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(damaged_values),
        cmocka_unit_test(memory_that_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

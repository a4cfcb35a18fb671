#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/encoding.h"
#include "layers/redis/json_reader.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/stored_fixture.h"

/* A resource with a field of each type. Its key is 1, "rep:1" in Redis. */
struct fixture {
    struct stored_fixture stored;
    const struct resource *resource;
    struct arena arena;
    struct buffer reply;
    struct buffer words;
    struct stored_value value;
    struct record *record;
    struct error error;
    char shown[1000];
};

static const char *const members[] = {"open", "closed"};
static const uint8_t key[] = {1};

static const char *const names[] = {"id", "ratio", "done", "name", "scan",
                                    "at", "ref",   "kind", "more"};

static void open_world(struct fixture *f, enum redis_encoding encoding)
{
    static const enum type_kind kinds[] = {TYPE_INTEGER, TYPE_FLOAT,  TYPE_BOOLEAN,
                                           TYPE_STRING,  TYPE_BINARY, TYPE_DATETIME,
                                           TYPE_UUID,    TYPE_ENUM,   TYPE_ANY};
    memset(f, 0, sizeof(*f));
    f->error = (struct error)ERROR_INIT;
    stored_fixture_init(&f->stored);
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct field *field =
            &f->stored.base.fields[memory_fixture_field(&f->stored.base, kinds[i])];
        field->name = names[i];
        field->name_size = (uint8_t)strlen(names[i]);
    }
    f->stored.base.fields[7].type.members = members;
    f->stored.base.fields[7].type.member_count = ARRAY_COUNT(members);
    memory_fixture_primary_key(&f->stored.base, 1);
    stored_fixture_text(&f->stored, "rep:");
    stored_fixture_key_field(&f->stored, 0);
    f->stored.redis.encoding = encoding;
    f->resource = &f->stored.base.resource;
}

static void close_world(struct fixture *f)
{
    arena_release(&f->arena);
    buffer_release(&f->reply);
    buffer_release(&f->words);
}

static void stored_as(struct fixture *f, unsigned field, const char *name)
{
    f->stored.base.fields[field].stored_as = name;
    f->stored.base.fields[field].stored_as_size = (uint16_t)strlen(name);
}

static int read_reply(struct fixture *f, const void *reply, size_t size)
{
    f->error = (struct error)ERROR_INIT;
    int status = encoding_read(f->resource, key, sizeof(key), resp_reader_of(reply, size),
                               &f->arena, &f->value, &f->error);
    f->record = f->value.record;
    return status;
}

/* "id=1 name="x"", without what is nil. */
static const char *show(struct fixture *f)
{
    size_t used = 0;
    f->shown[0] = '\0';
    for (unsigned i = 0; f->record != NULL && i < f->resource->field_count; i++) {
        struct value value;
        char text[128];
        uint32_t size;
        record_load(f->record, f->resource, i, &value);
        if (value.kind == VALUE_NIL) {
            continue;
        }
        struct buffer json = BUFFER_INIT;
        struct reader in =
            reader_of(record_field(f->record, f->resource->field_count, i, &size), 0);
        in.end = in.at + size;
        msgpack_to_json(&in, &json);
        value_describe(&value, text, sizeof(text));
        used += (size_t)snprintf(
            f->shown + used, sizeof(f->shown) - used, "%s%s=%s", used > 0 ? " " : "", names[i],
            value.kind == VALUE_ANY ? (buffer_byte(&json, 0), (const char *)json.bytes) : text);
        buffer_release(&json);
    }
    return f->shown;
}

/* The reply to HGETALL: texts, NULL at the end. */
static int read_hash(struct fixture *f, const char *const *texts)
{
    size_t count = 0;
    while (texts[count] != NULL) {
        count++;
    }
    buffer_truncate(&f->reply, 0);
    buffer_printf(&f->reply, "%%%zu\r\n", count / 2);
    for (; *texts != NULL; texts++) {
        resp_word(&f->reply, *texts, strlen(*texts));
    }
    return read_reply(f, f->reply.bytes, f->reply.size);
}

static int read_text(struct fixture *f, const void *text, size_t size)
{
    buffer_truncate(&f->reply, 0);
    resp_word(&f->reply, text, size);
    return read_reply(f, f->reply.bytes, f->reply.size);
}

static int read_json(struct fixture *f, const char *json)
{
    return read_text(f, json, strlen(json));
}

/* MessagePack of the JSON. */
static int read_msgpack(struct fixture *f, const char *json)
{
    struct buffer bytes = BUFFER_INIT;
    json_to_msgpack(json, &bytes);
    int status = read_text(f, bytes.bytes, bytes.size);
    buffer_release(&bytes);
    return status;
}

static void expect_record(struct fixture *f, int status, const char *shown)
{
    if (status != 0) {
        fail_msg("it is refused: %s", f->error.message);
    }
    assert_string_equal(show(f), shown);
    assert_true(f->value.exists);
}

static void expect_fault(struct fixture *f, int status, enum code code, const char *message)
{
    assert_null(f->record);
    assert_string_equal(f->error.message, message);
    assert_int_equal(status, -(int)code);
    assert_int_equal(f->error.code, code);
    assert_string_equal(f->error.resource, "rep");
    assert_int_equal(f->error.key_size, 1);
    assert_int_equal(f->error.key[0], 1);
}

static void bad(struct fixture *f, int status, const char *message)
{
    expect_fault(f, status, CODE_INVALID_VALUE, message);
    assert_true(f->value.exists);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- Replies ---- */

static void commands(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    encoding_read_command(f.resource, "rep:1", 5, &f.words);
    static const char hash[] = "*2\r\n$7\r\nHGETALL\r\n$5\r\nrep:1\r\n";
    assert_int_equal(f.words.size, strlen(hash));
    assert_memory_equal(f.words.bytes, hash, strlen(hash));
    buffer_truncate(&f.words, 0);
    f.stored.redis.encoding = REDIS_JSON;
    encoding_read_command(f.resource, "rep:1", 5, &f.words);
    static const char text[] = "*2\r\n$3\r\nGET\r\n$5\r\nrep:1\r\n";
    assert_int_equal(f.words.size, strlen(text));
    assert_memory_equal(f.words.bytes, text, strlen(text));
    close_world(&f);
}

static void what_is_absent(void **state)
{
    (void)state;
    static const char *const hashes[] = {"%0\r\n", "*0\r\n", "_\r\n"};
    static const char *const strings[] = {"$-1\r\n", "_\r\n"};
    struct fixture f;
    open_world(&f, REDIS_HASH);
    for (unsigned i = 0; i < ARRAY_COUNT(hashes); i++) {
        assert_int_equal(read_reply(&f, hashes[i], strlen(hashes[i])), 0);
        assert_true(f.record == NULL && !f.value.exists);
    }
    f.stored.redis.encoding = REDIS_MSGPACK;
    for (unsigned i = 0; i < ARRAY_COUNT(strings); i++) {
        assert_int_equal(read_reply(&f, strings[i], strlen(strings[i])), 0);
        assert_true(f.record == NULL && !f.value.exists);
    }
    close_world(&f);
}

static int read_raw(struct fixture *f, const char *reply)
{
    return read_reply(f, reply, strlen(reply));
}

static void errors_and_other_replies(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    expect_fault(&f, read_raw(&f, "-WRONGTYPE Operation against a key\r\n"), CODE_INVALID_VALUE,
                 "rep:1 in Redis is no hash: WRONGTYPE Operation against a key");
    assert_false(f.value.exists);
    expect_fault(&f, read_raw(&f, "-LOADING Redis is loading\r\n"), CODE_UNAVAILABLE,
                 "rep:1 in Redis cannot be read: LOADING Redis is loading");
    expect_fault(&f, read_raw(&f, ":5\r\n"), CODE_UNAVAILABLE,
                 "rep:1 in Redis: expected a hash, got an integer");
    expect_fault(&f, read_raw(&f, "*2\r\n$2\r\nid\r\n:1\r\n"), CODE_UNAVAILABLE,
                 "rep:1 in Redis: expected a hash, got an integer");
    f.stored.redis.encoding = REDIS_JSON;
    expect_fault(&f, read_raw(&f, "-WRONGTYPE x\r\n"), CODE_INVALID_VALUE,
                 "rep:1 in Redis is no string: WRONGTYPE x");
    assert_int_equal(read_raw(&f, "*1\r\n:5\r\n"), -CODE_UNAVAILABLE);
    assert_int_equal(encoding_read(f.resource, key, 1, resp_reader_of((const uint8_t *)"-X\r\n", 4),
                                   &f.arena, &f.value, NULL),
                     -CODE_UNAVAILABLE);
    close_world(&f);
}

/* ---- Hashes ---- */

static void hashes_are_read(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    expect_record(
        &f,
        read_hash(&f, WORDS("id", "1", "ratio", "-1.5e3", "done", "true", "name", "Ann", "scan",
                            "\xff", "at", "2024-05-01T14:00:00+02:00", "ref",
                            "00000000-0000-4000-8000-00000000ABCD", "kind", "open", "more",
                            "{\"a\": [1, null, true, 2.0]}")),
        "id=1 ratio=-1500.0 done=true name=\"Ann\" scan=binary of 1 bytes at=2024-05-01T12:00:00Z "
        "ref=\"00000000-0000-4000-8000-00000000abcd\" kind=\"open\" more={\"a\":[1,null,true,2]}");
    assert_int_equal(f.value.unknown_fields, 0);
    assert_int_equal(f.value.fields[3].size, 3);
    assert_memory_equal(f.value.fields[3].bytes, "Ann", 3);
    expect_record(&f, read_hash(&f, WORDS("done", "1", "at", "-5", "more", "null", "name", "")),
                  "id=1 done=true name=\"\" at=1969-12-31T23:59:55Z");
    assert_null(f.value.fields[0].bytes);
    assert_non_null(f.value.fields[3].bytes);
    expect_record(&f, read_hash(&f, WORDS("zz", "1", "done", "0", "Name", "x", "", "y")),
                  "id=1 done=false");
    assert_int_equal(f.value.unknown_fields, 3);
    expect_record(&f, read_raw(&f, "*4\r\n$4\r\nname\r\n$1\r\nx\r\n$1\r\nq\r\n$0\r\n\r\n"),
                  "id=1 name=\"x\"");
    /* Seconds, whatever their size: as Date.now() of JavaScript has them they are a far day. */
    expect_record(&f, read_hash(&f, WORDS("at", "1714564800000")),
                  "id=1 at=+56302-05-26T00:00:00Z");
    close_world(&f);
}

static void names_in_redis_are_the_schema_s(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    stored_as(&f, 3, "Full Name");
    expect_record(&f, read_hash(&f, WORDS("Full Name", "x", "name", "y")), "id=1 name=\"x\"");
    assert_int_equal(f.value.unknown_fields, 1);
    bad(&f, read_hash(&f, WORDS("Full Name", "\xff")),
        "rep:1 in Redis: rep.name (there \"Full Name\"): expected a string, got text that is not "
        "UTF-8");
    assert_string_equal(f.error.field, "name");
    /* As a schema has it where the name is no other. */
    stored_as(&f, 3, "name");
    bad(&f, read_hash(&f, WORDS("name", "\xff")),
        "rep:1 in Redis: rep.name: expected a string, got text that is not UTF-8");
    close_world(&f);
}

static void hashes_that_do_not_fit(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    bad(&f, read_hash(&f, WORDS("name", "x", "id", "abc", "zz", "1")),
        "rep:1 in Redis: rep.id: expected an integer, got \"abc\"");
    assert_string_equal(f.error.field, "id");
    /* What is there is noted all the same. */
    assert_memory_equal(f.value.fields[0].bytes, "abc", 3);
    assert_memory_equal(f.value.fields[3].bytes, "x", 1);
    assert_int_equal(f.value.unknown_fields, 1);
    bad(&f, read_hash(&f, WORDS("id", "007")),
        "rep:1 in Redis: rep.id: expected an integer, got \"007\"");
    bad(&f, read_hash(&f, WORDS("id", "9223372036854775808")),
        "rep:1 in Redis: rep.id: expected an integer, got \"9223372036854775808\"");
    bad(&f, read_hash(&f, WORDS("id", "2")),
        "rep:1 in Redis: rep.id: expected 1 as the key says, got 2");
    static const char *const floats[] = {"", " 1", "1 ", "nan", "inf", "0x1", "1e999", "1,5", "-"};
    for (unsigned i = 0; i < ARRAY_COUNT(floats); i++) {
        assert_int_equal(read_hash(&f, WORDS("ratio", floats[i])), -CODE_INVALID_VALUE);
    }
    bad(&f, read_hash(&f, WORDS("ratio", "x")),
        "rep:1 in Redis: rep.ratio: expected a number, got \"x\"");
    bad(&f, read_hash(&f, WORDS("done", "yes")),
        "rep:1 in Redis: rep.done: expected true or false, got \"yes\"");
    bad(&f, read_hash(&f, WORDS("kind", "clsed")),
        "rep:1 in Redis: rep.kind: expected one of open, closed, got \"clsed\" (did you mean "
        "closed?)");
    bad(&f, read_hash(&f, WORDS("at", "yesterday")),
        "rep:1 in Redis: rep.at: expected a datetime (ISO 8601 text, or whole seconds since 1970), "
        "got \"yesterday\"");
    bad(&f, read_hash(&f, WORDS("at", "1714564800.5")),
        "rep:1 in Redis: rep.at: expected a datetime (ISO 8601 text, or whole seconds since 1970), "
        "got \"1714564800.5\"");
    assert_int_equal(read_hash(&f, WORDS("ref", "0")), -CODE_INVALID_VALUE);
    bad(&f, read_hash(&f, WORDS("more", "{\"a\"}")),
        "rep:1 in Redis: rep.more: expected JSON, got \"}\"");
    f.stored.base.fields[3].required = true;
    bad(&f, read_hash(&f, WORDS("done", "1")),
        "rep:1 in Redis: rep.name: expected a value, since it is required, got none");
    close_world(&f);
}

static void defaults_are_for_creating(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    f.stored.base.fields[3].initial = (const uint8_t *)"\xa1z";
    f.stored.base.fields[3].initial_size = 2;
    expect_record(&f, read_hash(&f, WORDS("done", "1")), "id=1 done=true");
    close_world(&f);
}

/* ---- Documents ---- */

static void json_is_read(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_JSON);
    expect_record(
        &f,
        read_json(&f, " {\"id\": 1.0, \"ratio\": 12345678901234567890, \"done\": false,"
                      "\"name\": \"\\u00fc\\\"\", \"scan\": \"/wA=\", \"at\": "
                      "\"2024-05-01\", \"kind\": null, \"more\": [{\"a\": \"b\"}, 1.5]} \n"),
        "id=1 ratio=1.2345678901234567e+19 done=false name=\"ü\"\" scan=binary of 2 bytes "
        "at=2024-05-01T00:00:00Z more=[{\"a\":\"b\"},1.5]");
    /* A name with an escape is the same name; what is unknown may be of any size. */
    expect_record(
        &f, read_json(&f, "{\"n\\u0061me\":\"x\",\"big\":[18446744073709551616,{}],\"a\\nb\":{}}"),
        "id=1 name=\"x\"");
    assert_int_equal(f.value.unknown_fields, 2);
    expect_record(&f, read_json(&f, "{}"), "id=1");
    assert_int_equal(f.value.size, 2);
    assert_memory_equal(f.value.bytes, "{}", 2);
    close_world(&f);
}

static void json_that_does_not_fit(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_JSON);
    bad(&f, read_json(&f, "hello"), "rep:1 in Redis: expected a JSON object, got \"hello\"");
    bad(&f, read_json(&f, ""), "rep:1 in Redis: expected a JSON object, got the end of the text");
    bad(&f, read_json(&f, "[1]"), "rep:1 in Redis: expected a JSON object, got \"[1]\"");
    bad(&f, read_json(&f, "{\"name\":5}"), "rep:1 in Redis: rep.name: expected a string, got 5");
    bad(&f, read_json(&f, "{\"id\":\"1\"}"),
        "rep:1 in Redis: rep.id: expected an integer, got \"1\"");
    bad(&f, read_json(&f, "{\"id\":18446744073709551616}"),
        "rep:1 in Redis: rep.id: expected an integer within 64 bits, got "
        "\"18446744073709551616\"");
    bad(&f, read_json(&f, "{\"done\":true,\"done\":true}"),
        "rep:1 in Redis: rep.done: expected it once, it stands twice");
    bad(&f, read_json(&f, "{\"scan\":\"/w\"}"),
        "rep:1 in Redis: rep.scan: expected binary as base64, got \"/w\"");
    bad(&f, read_json(&f, "{\"scan\":5}"),
        "rep:1 in Redis: rep.scan: expected binary as base64, got an integer");
    bad(&f, read_json(&f, "{\"at\":\"soon\"}"),
        "rep:1 in Redis: rep.at: expected a datetime (ISO 8601 text), got \"soon\"");
    bad(&f, read_json(&f, "{\"at\":1714564800}"),
        "rep:1 in Redis: rep.at: expected a datetime (ISO 8601 text), got an integer");
    bad(&f, read_json(&f, "{\"done\":{\"a\":1},\"name\":6}"),
        "rep:1 in Redis: rep.done: expected true or false, got a map");
    bad(&f, read_json(&f, "{\"ratio\":1e999}"),
        "rep:1 in Redis: rep.ratio: expected a number that a float can be, got \"1e999\"");
    bad(&f, read_json(&f, "{\"name\":\"\\ud800\"}"),
        "rep:1 in Redis: rep.name: expected Unicode, without half of a surrogate pair, got "
        "\"\"\\ud800\"\"");
    bad(&f, read_json(&f, "{\"id\":2}"),
        "rep:1 in Redis: rep.id: expected 1 as the key says, got 2");
    static const char *const broken[] = {
        "{",           "{\"a\"",      "{\"a\":",
        "{\"a\":1",    "{\"a\":1,}",  "{,}",
        "{\"a\":1 2}", "{\"a\":1}x",  "{\"a\":}",
        "{a:1}",       "{\"a\":tru}", "{\"a\":[}",
        "{\"a\":[}]}", "{\"a\":1}{}", "{\"a\":\"\\\"}",
        "{\"\\x\":1}", "{\"a\" 1}",   "{\"a\":\"\xff\"}",
        "{\"a\":01}",  "{\"a\":]}",   "{\"name\":\"x}",
    };
    for (unsigned i = 0; i < ARRAY_COUNT(broken); i++) {
        if (read_json(&f, broken[i]) != -CODE_INVALID_VALUE || f.record != NULL) {
            fail_msg("%s is taken", broken[i]);
        }
    }
    close_world(&f);
}

static void json_nests_as_deep_as_any_may(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_JSON);
    for (unsigned depth = 30; depth < 40; depth++) {
        struct buffer json = BUFFER_INIT;
        buffer_printf(&json, "{\"zz\":[[[[[[[[[[]]]]]]]]]],\"more\":");
        for (unsigned i = 0; i < depth; i++) {
            buffer_byte(&json, '[');
        }
        for (unsigned i = 0; i < depth; i++) {
            buffer_byte(&json, ']');
        }
        buffer_byte(&json, '}');
        int status = read_text(&f, json.bytes, json.size);
        assert_int_equal(status, depth <= TYPE_ANY_LEVELS_MAX ? 0 : -CODE_INVALID_VALUE);
        if (status != 0) {
            bad(&f, status,
                "rep:1 in Redis: rep.more: expected at most 32 levels of lists and maps");
        }
        buffer_release(&json);
    }
    close_world(&f);
}

/* What the schema does not know is gone through all the same. */
static void json_that_nests_too_deep_says_so(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_JSON);
    for (unsigned depth = JSON_READER_LEVELS_MAX - 1; depth <= JSON_READER_LEVELS_MAX; depth++) {
        struct buffer json = BUFFER_INIT;
        buffer_printf(&json, "{\"zz\":");
        for (unsigned i = 0; i < depth; i++) {
            buffer_byte(&json, '[');
        }
        for (unsigned i = 0; i < depth; i++) {
            buffer_byte(&json, ']');
        }
        buffer_byte(&json, '}');
        int status = read_text(&f, json.bytes, json.size);
        if (depth < JSON_READER_LEVELS_MAX) {
            assert_int_equal(status, 0);
        } else {
            bad(&f, status,
                "rep:1 in Redis: expected JSON of at most 1024 levels, its own object included, "
                "got one that is nested deeper");
        }
        buffer_release(&json);
    }
    close_world(&f);
}

static void msgpack_is_read(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_MSGPACK);
    expect_record(&f,
                  read_msgpack(&f, "{'id': 1, 'ratio': 2, 'name': 'x', 'zz': {'a': [1]}, 5: 6,"
                                   "'at': '2024-05-01', 'more': {'a': 1}, 'kind': null}"),
                  "id=1 ratio=2.0 name=\"x\" at=2024-05-01T00:00:00Z more={\"a\":1}");
    assert_int_equal(f.value.unknown_fields, 2);
    /* Names as bin. */
    expect_record(&f, read_text(&f, "\x81\xc4\x04name\xc4\x01x", 10), "id=1 name=\"x\"");
    close_world(&f);
}

static void msgpack_that_does_not_fit(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_MSGPACK);
    bad(&f, read_text(&f, "hello", 5),
        "rep:1 in Redis: expected a map as MessagePack, got an integer (\"hello\")");
    bad(&f, read_text(&f, "", 0),
        "rep:1 in Redis: expected a map as MessagePack, got no value (\"\")");
    bad(&f, read_text(&f, "\x81\xa4name", 6),
        "rep:1 in Redis: expected a map as MessagePack, got one that is cut short");
    bad(&f, read_text(&f, "\x81\xa4name\xa5x", 8),
        "rep:1 in Redis: expected a map as MessagePack, got one that is cut short");
    bad(&f, read_text(&f, "\x80\x80", 2),
        "rep:1 in Redis: expected one map as MessagePack, got 1 bytes behind it");
    bad(&f, read_msgpack(&f, "{'done': 'x'}"),
        "rep:1 in Redis: rep.done: expected true or false, got \"x\"");
    bad(&f, read_msgpack(&f, "{'done': true, 'done': true}"),
        "rep:1 in Redis: rep.done: expected it once, it stands twice");
    f.stored.base.fields[3].required = true;
    bad(&f, read_msgpack(&f, "{'name': null}"),
        "rep:1 in Redis: rep.name: expected a value, since it is required, got nil");
    close_world(&f);
}

static void values_larger_than_a_record(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    size_t size = RECORD_VALUES_MAX + 1;
    char *large = heap_must(size + 1);
    memset(large, 'x', size);
    assert_int_equal(read_hash(&f, WORDS("name", large)), -CODE_INVALID_VALUE);
    assert_non_null(strstr(f.error.message, "rep.name: expected at most 16777215 bytes"));
    large[size / 2] = '\0';
    assert_int_equal(read_hash(&f, WORDS("name", large, "scan", large, "more", "1")),
                     -CODE_INVALID_VALUE);
    assert_non_null(strstr(f.error.message, "rep:1 in Redis: the values of the record"));
    assert_int_equal(f.error.code, CODE_INVALID_VALUE);
    heap_free(large);
    close_world(&f);
}

static void names_of_keys_are_shown(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_JSON);
    f.stored.base.fields[0].type.kind = TYPE_BINARY;
    struct buffer long_key = BUFFER_INIT;
    char bytes[200];
    memset(bytes, 'k', sizeof(bytes));
    bytes[0] = '\0';
    bytes[1] = '\xff';
    write_binary(&long_key, bytes, sizeof(bytes));
    buffer_truncate(&f.reply, 0);
    resp_word(&f.reply, "x", 1);
    assert_int_equal(encoding_read(f.resource, long_key.bytes, long_key.size,
                                   resp_reader_of(f.reply.bytes, f.reply.size), &f.arena, &f.value,
                                   &f.error),
                     -CODE_INVALID_VALUE);
    assert_non_null(strstr(f.error.message, "rep: \\xffkkk"));
    assert_non_null(strstr(f.error.message, "kk... in Redis: expected a JSON object"));
    assert_int_equal(f.error.key_size, 0);
    buffer_release(&long_key);
    close_world(&f);
}

/* ---- Marks ---- */

static void expect_mark(const struct fixture *f, const char *mark)
{
    assert_int_equal(f->value.mark_size, strlen(mark));
    assert_true(*mark == '\0' || memcmp(f->value.mark, mark, strlen(mark)) == 0);
}

static void marks_are_read(void **state)
{
    (void)state;
    char json[200];
    struct fixture f;
    open_world(&f, REDIS_HASH);
    assert_int_equal(read_hash(&f, WORDS("id", "1", "_relata", "d1:7")), 0);
    expect_mark(&f, "d1:7");
    assert_int_equal(f.value.unknown_fields, 0);
    assert_int_equal(f.value.fields[9].size, 4);
    f.stored.redis.encoding = REDIS_JSON;
    assert_int_equal(read_json(&f, "{\"_relata\":\"d1:7\"}"), 0);
    expect_mark(&f, "d1:7");
    assert_int_equal(f.value.unknown_fields, 0);
    assert_int_equal(read_json(&f, "{\"_relata\":5}"), 0);
    expect_mark(&f, "");
    snprintf(json, sizeof(json), "{\"_relata\":\"%065d\"}", 1);
    assert_int_equal(read_json(&f, json), 0);
    expect_mark(&f, "");
    assert_int_equal(read_json(&f, "{\"name\":5,\"_relata\":\"d1:7\"}"), -CODE_INVALID_VALUE);
    expect_mark(&f, "d1:7");
    f.stored.redis.encoding = REDIS_MSGPACK;
    assert_int_equal(read_msgpack(&f, "{'_relata': 'd1:7'}"), 0);
    expect_mark(&f, "d1:7");
    assert_int_equal(read_msgpack(&f, "{'_relata': null}"), 0);
    expect_mark(&f, "");
    close_world(&f);
}

/* ---- Changes ---- */

/* The words of a change, with blanks between. */
static void expect_words(struct fixture *f, const struct stored_value *before, const char *mark,
                         const char *expected)
{
    char shown[2000];
    size_t used = 0, words = 0;
    buffer_truncate(&f->words, 0);
    size_t count = encoding_change(f->resource, before, f->record, mark,
                                   mark != NULL ? strlen(mark) : 0, &f->words);
    struct resp_reader in = resp_reader_of(f->words.bytes, f->words.size);
    for (struct resp_token word = resp_next(&in); word.kind == RESP_TEXT; word = resp_next(&in)) {
        used += (size_t)snprintf(shown + used, sizeof(shown) - used, "%s%.*s", words > 0 ? " " : "",
                                 (int)word.size, (const char *)word.bytes);
        words++;
    }
    assert_string_equal(shown, expected);
    assert_int_equal(words, count);
    assert_false(f->words.failed);
}

static void set_record(struct fixture *f, const char *json)
{
    struct fixture other;
    open_world(&other, REDIS_JSON);
    assert_int_equal(read_json(&other, json), 0);
    f->record = arena_copy(&f->arena, other.record, record_bytes(other.record, 9));
    close_world(&other);
}

static void hashes_are_changed(void **state)
{
    (void)state;
    static const struct stored_value none = {.exists = false};
    struct fixture f;
    open_world(&f, REDIS_HASH);
    set_record(&f,
               "{\"ratio\":1,\"done\":true,\"name\":\"x\",\"scan\":\"YQ==\",\"at\":\"2024-05-01\","
               "\"kind\":\"open\",\"more\":[1,\"a\",{\"b\":2.0}]}");
    expect_words(&f, &none, NULL,
                 "none hash 8 id 1 ratio 1 done true name x scan a at 2024-05-01T00:00:00Z kind "
                 "open more [1,\"a\",{\"b\":2.0}] 0");
    /* Only what differs; what says the same in another form stays. */
    assert_int_equal(read_hash(&f, WORDS("id", "1", "done", "1", "ratio", "1.00", "name", "x", "zz",
                                         "5", "ref", "00000000-0000-4000-8000-00000000abcd")),
                     0);
    struct stored_value before = f.value;
    set_record(&f, "{\"ratio\":1,\"done\":true,\"name\":\"y\"}");
    expect_words(&f, &before, NULL,
                 "hash 5 id 1 ratio 1.00 done 1 name x ref 00000000-0000-4000-8000-00000000abcd 5 "
                 "scan at kind more _relata hash 1 name y 1 ref");
    expect_words(&f, &before, "m1",
                 "hash 5 id 1 ratio 1.00 done 1 name x ref 00000000-0000-4000-8000-00000000abcd 5 "
                 "scan at kind more _relata hash 2 name y _relata m1 1 ref");
    f.record = NULL;
    expect_words(&f, &before, NULL,
                 "hash 5 id 1 ratio 1.00 done 1 name x ref 00000000-0000-4000-8000-00000000abcd 5 "
                 "scan at kind more _relata remove");
    expect_words(&f, &none, NULL, "none remove");
    close_world(&f);
}

/* Nothing differs: the key is compared, and changed, all the same. */
static void a_hash_that_stays_as_it_is(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_HASH);
    assert_int_equal(read_hash(&f, WORDS("_relata", "m1", "id", "1")), 0);
    struct stored_value before = f.value;
    expect_words(&f, &before, NULL,
                 "hash 2 id 1 _relata m1 8 ratio done name scan at ref kind more hash 1 id 1 0");
    expect_words(&f, &before, "m1",
                 "hash 2 id 1 _relata m1 8 ratio done name scan at ref kind more hash 1 id 1 0");
    expect_words(
        &f, &before, "m2",
        "hash 2 id 1 _relata m1 8 ratio done name scan at ref kind more hash 1 _relata m2 0");
    /* The primary key's fields are stored like others. */
    assert_int_equal(read_hash(&f, WORDS("zz", "1")), 0);
    before = f.value;
    expect_words(&f, &before, NULL,
                 "hash 0 10 id ratio done name scan at ref kind more _relata hash 1 id 1 0");
    close_world(&f);
}

static void json_is_changed(void **state)
{
    (void)state;
    static const struct stored_value none = {.exists = false};
    struct fixture f;
    open_world(&f, REDIS_JSON);
    stored_as(&f, 3, "na\"me");
    set_record(&f, "{\"name\":\"\\u0001\\\\\\n\\u00fc\",\"scan\":\"/+AA\",\"ratio\":3,"
                   "\"at\":\"2024-05-01T00:00:00.5Z\",\"more\":{\"x\":[]}}");
    expect_words(&f, &none, "m\"1",
                 "none text {\"id\":1,\"ratio\":3.0,\"done\":null,\"na\\\"me\":\"\\u0001\\\\\\u000a"
                 "ü\",\"scan\":\"/+AA\",\"at\":\"2024-05-01T00:00:00.500Z\",\"ref\":null,"
                 "\"kind\":null,\"more\":{\"x\":[]},\"_relata\":\"m\\\"1\"}");
    static const char *const there =
        "{ \"zz\" : [1.50, 99999999999999999999] , \"ratio\":3,\"more\" "
        ":1, \"_relata\": \"m0\", \"done\":true }";
    char expected[1000];
    assert_int_equal(read_json(&f, there), 0);
    struct stored_value before = f.value;
    set_record(&f, "{\"ratio\":3.0,\"kind\":\"open\"}");
    snprintf(expected, sizeof(expected),
             "text %s text {\"zz\" : [1.50, 99999999999999999999],\"ratio\":3,\"more\":null,"
             "\"_relata\": \"m0\",\"done\":null,\"id\":1,\"kind\":\"open\"}",
             there);
    expect_words(&f, &before, NULL, expected);
    snprintf(expected, sizeof(expected),
             "text %s text {\"zz\" : [1.50, 99999999999999999999],\"ratio\":3,\"more\":null,"
             "\"_relata\":\"m1\",\"done\":null,\"id\":1,\"kind\":\"open\"}",
             there);
    expect_words(&f, &before, "m1", expected);
    f.record = NULL;
    snprintf(expected, sizeof(expected), "text %s remove", there);
    expect_words(&f, &before, "m1", expected);
    close_world(&f);
}

/* What JSON cannot tell, within a value of type any. */
static void any_in_json(void **state)
{
    (void)state;
    static const struct stored_value none = {.exists = false};
    struct fixture f;
    struct buffer given = BUFFER_INIT;
    open_world(&f, REDIS_MSGPACK);
    write_map(&given, 1);
    write_text(&given, "more");
    write_map(&given, 8);
    write_integer(&given, 5);
    write_binary(&given, "a", 1);
    write_nil(&given);
    write_datetime(&given, &(struct datetime){.seconds = 0});
    write_boolean(&given, true);
    write_array(&given, 0);
    write_float(&given, 1.5);
    write_nil(&given);
    write_array(&given, 1);
    write_integer(&given, 1);
    write_integer(&given, 2);
    write_binary(&given, "k", 1);
    write_integer(&given, 3);
    write_string(&given, "a\0b", 3);
    write_integer(&given, 4);
    write_datetime(&given, &(struct datetime){.seconds = 1});
    write_map(&given, 0);
    assert_int_equal(read_text(&f, given.bytes, given.size), 0);
    f.stored.redis.encoding = REDIS_JSON;
    expect_words(&f, &none, NULL,
                 "none text {\"id\":1,\"ratio\":null,\"done\":null,\"name\":null,\"scan\":null,"
                 "\"at\":null,\"ref\":null,\"kind\":null,\"more\":{\"5\":\"YQ==\",\"null\":"
                 "\"1970-01-01T00:00:00Z\",\"true\":[],\"1.5\":null,\"kQE=\":2,\"aw==\":3,"
                 "\"a\\u0000b\":4,\"1970-01-01T00:00:01Z\":{}}}");
    /* What will be read again is told before it is written; then nothing changes any more. */
    static const enum redis_encoding encodings[] = {REDIS_JSON, REDIS_HASH};
    for (size_t i = 0; i < ARRAY_COUNT(encodings); i++) {
        const struct record *settled, *again;
        f.stored.redis.encoding = encodings[i];
        assert_int_equal(encoding_settle(f.resource, f.record, &f.arena, &settled, &f.error), 0);
        assert_ptr_not_equal(settled, f.record);
        assert_int_equal(encoding_settle(f.resource, settled, &f.arena, &again, &f.error), 0);
        assert_ptr_equal(again, settled);
        struct value more;
        record_load(settled, f.resource, 8, &more);
        struct reader in = reader_of(more.bytes, more.size);
        assert_int_equal(reader_next(&in).count, 8);
        assert_int_equal(reader_next(&in).kind, TOKEN_STRING); /* "5" */
        assert_int_equal(reader_next(&in).kind, TOKEN_STRING); /* "YQ==" */
    }
    const struct record *same;
    f.stored.redis.encoding = REDIS_MSGPACK;
    assert_int_equal(encoding_settle(f.resource, f.record, &f.arena, &same, &f.error), 0);
    assert_ptr_equal(same, f.record);
    buffer_release(&given);
    close_world(&f);
}

static void msgpack_is_changed(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, REDIS_MSGPACK);
    /* A float as an integer stays; an unknown name, and one that is no text, too. */
    static const char there[] = "\x85\x05\x06\xa5ratio\x03\xa2zz\xcd\x00\x01\xc4\x04name\xa1x"
                                "\xa7_relata\xa2m0";
    assert_int_equal(read_text(&f, there, sizeof(there) - 1), 0);
    struct stored_value before = f.value;
    set_record(&f, "{\"ratio\":3,\"name\":\"y\",\"kind\":\"open\"}");
    size_t count = encoding_change(f.resource, &before, f.record, "m1", 2, &f.words);
    assert_int_equal(count, 4);
    struct resp_reader in = resp_reader_of(f.words.bytes, f.words.size);
    resp_skip(&in);
    struct resp_token word = resp_next(&in);
    assert_int_equal(word.size, sizeof(there) - 1);
    assert_memory_equal(word.bytes, there, word.size);
    resp_skip(&in);
    word = resp_next(&in);
    static const char after[] = "\x87\x05\x06\xa5ratio\x03\xa2zz\xcd\x00\x01\xa4name\xa1y"
                                "\xa7_relata\xa2m1\xa2id\x01\xa4kind\xa4open";
    assert_int_equal(word.size, sizeof(after) - 1);
    assert_memory_equal(word.bytes, after, word.size);
    close_world(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(what_is_absent),
        cmocka_unit_test(errors_and_other_replies),
        cmocka_unit_test(hashes_are_read),
        cmocka_unit_test(names_in_redis_are_the_schema_s),
        cmocka_unit_test(hashes_that_do_not_fit),
        cmocka_unit_test(defaults_are_for_creating),
        cmocka_unit_test(json_is_read),
        cmocka_unit_test(json_that_does_not_fit),
        cmocka_unit_test(json_nests_as_deep_as_any_may),
        cmocka_unit_test(json_that_nests_too_deep_says_so),
        cmocka_unit_test(msgpack_is_read),
        cmocka_unit_test(msgpack_that_does_not_fit),
        cmocka_unit_test(values_larger_than_a_record),
        cmocka_unit_test(names_of_keys_are_shown),
        cmocka_unit_test(marks_are_read),
        cmocka_unit_test(hashes_are_changed),
        cmocka_unit_test(a_hash_that_stays_as_it_is),
        cmocka_unit_test(json_is_changed),
        cmocka_unit_test(any_in_json),
        cmocka_unit_test(msgpack_is_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

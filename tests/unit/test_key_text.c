#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/decimal.h"
#include "layers/redis/key_text.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/stored_fixture.h"

static const char *const members[] = {"open", "closed"};

/* The key "<a>:<b>", of an integer and a string, or one field alone. */
static void pair(struct stored_fixture *f, enum type_kind a, enum type_kind b)
{
    stored_fixture_init(f);
    memory_fixture_field(&f->base, a);
    memory_fixture_field(&f->base, b);
    memory_fixture_primary_key(&f->base, 2);
    stored_fixture_text(f, "rep:");
    stored_fixture_key_field(f, 0);
    stored_fixture_text(f, ":");
    stored_fixture_key_field(f, 1);
}

static void single(struct stored_fixture *f, enum type_kind kind)
{
    stored_fixture_init(f);
    memory_fixture_field(&f->base, kind);
    f->base.fields[0].type.members = members;
    f->base.fields[0].type.member_count = kind == TYPE_ENUM ? 2 : 0;
    memory_fixture_primary_key(&f->base, 1);
    stored_fixture_text(f, "rep:");
    stored_fixture_key_field(f, 0);
}

static void expect(const struct buffer *out, const void *bytes, size_t size)
{
    assert_false(out->failed);
    assert_int_equal(out->size, size);
    assert_memory_equal(out->bytes, bytes, size);
}

/* The key's name is this text, and read again it is the key. */
static void expect_name(const struct stored_fixture *f, const struct buffer *key, const char *name)
{
    struct buffer out = BUFFER_INIT;
    key_text_append(&f->base.resource, key->bytes, key->size, &out);
    expect(&out, name, strlen(name));
    buffer_truncate(&out, 0);
    assert_true(key_text_read(&f->base.resource, name, strlen(name), &out));
    expect(&out, key->bytes, key->size);
    buffer_release(&out);
}

static void expect_none(const struct stored_fixture *f, const char *name, size_t size)
{
    struct buffer out = BUFFER_INIT;
    buffer_byte(&out, 7);
    if (key_text_read(&f->base.resource, name, size, &out)) {
        fail_msg("%.*s is read", (int)size, name);
    }
    expect(&out, "\x07", 1);
    buffer_release(&out);
}

static void refuse_all(const struct stored_fixture *f, const char *const *names)
{
    for (; *names != NULL; names++) {
        expect_none(f, *names, strlen(*names));
    }
}

static void values_of_every_type(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct buffer key = BUFFER_INIT;
    single(&f, TYPE_INTEGER);
    write_integer(&key, -70);
    expect_name(&f, &key, "rep:-70");
    refuse_all(&f,
               (const char *const[]){"rep:007", "rep:+7", "rep:", "rep:-0", "rep:7 ", "rep:0x1",
                                     "rep:9223372036854775808", "rep:-", "re:7", "rep", "", NULL});
    single(&f, TYPE_UUID);
    buffer_truncate(&key, 0);
    write_text(&key, "00000000-0000-4000-8000-00000000abcd");
    expect_name(&f, &key, "rep:00000000-0000-4000-8000-00000000abcd");
    refuse_all(&f,
               (const char *const[]){"rep:00000000-0000-4000-8000-00000000ABCD", "rep:0", NULL});
    single(&f, TYPE_ENUM);
    buffer_truncate(&key, 0);
    write_text(&key, "closed");
    expect_name(&f, &key, "rep:closed");
    refuse_all(&f, (const char *const[]){"rep:Closed", "rep:close", "rep:", NULL});
    single(&f, TYPE_DATETIME);
    buffer_truncate(&key, 0);
    write_datetime(&key, &(struct datetime){.seconds = 1714564800, .nanoseconds = 500000000});
    expect_name(&f, &key, "rep:2024-05-01T12:00:00.500Z");
    refuse_all(&f, (const char *const[]){"rep:2024-05-01T12:00:00.5Z", "rep:2024-05-01",
                                         "rep:2024-05-01T12:00:00+00:00", NULL});
    buffer_release(&key);
}

static void a_value_alone_stands_as_it_is(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct buffer key = BUFFER_INIT;
    single(&f, TYPE_STRING);
    stored_fixture_text(&f, ":x");
    write_text(&key, "a%3A:x ü{}");
    expect_name(&f, &key, "rep:a%3A:x ü{}:x");
    buffer_truncate(&key, 0);
    write_text(&key, "");
    expect_name(&f, &key, "rep::x");
    refuse_all(&f, (const char *const[]){"rep:", "rep:x", "rep:a:y", "rep:\xff:x", ":x", NULL});
    single(&f, TYPE_BINARY);
    buffer_truncate(&key, 0);
    write_binary(&key, "\xff%", 2);
    expect_name(&f, &key, "rep:\xff%");
    buffer_release(&key);
}

static void several_values_are_kept_apart(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct buffer key = BUFFER_INIT;
    pair(&f, TYPE_STRING, TYPE_DATETIME);
    write_text(&key, "a:b%/");
    write_datetime(&key, &(struct datetime){.seconds = 0});
    expect_name(&f, &key, "rep:a%3Ab%25/:1970-01-01T00%3A00%3A00Z");
    pair(&f, TYPE_STRING, TYPE_STRING);
    refuse_all(&f,
               (const char *const[]){"rep:a", "rep:a:b:c", "rep:a%3a:b", "rep:a%2:b", "rep:a:b%",
                                     "rep:a:b%3", "rep:a%41:b", "rep:a%:b", "rep:%FF:b", NULL});
    buffer_truncate(&key, 0);
    write_text(&key, "");
    write_text(&key, "");
    expect_name(&f, &key, "rep::");
    buffer_release(&key);
}

/* Of a longer text between two values only the first byte is kept out of them. */
static void others_names_are_read(void **state)
{
    (void)state;
    static const char id[] = "550e8400-e29b-41d4-a716-446655440000";
    struct stored_fixture f;
    struct buffer key = BUFFER_INIT;
    stored_fixture_init(&f);
    memory_fixture_field(&f.base, TYPE_INTEGER);
    memory_fixture_field(&f.base, TYPE_UUID);
    memory_fixture_primary_key(&f.base, 2);
    stored_fixture_text(&f, "user:");
    stored_fixture_key_field(&f, 0);
    stored_fixture_text(&f, ":note:");
    stored_fixture_key_field(&f, 1);
    write_integer(&key, 212);
    write_text(&key, id);
    expect_name(&f, &key, "user:212:note:550e8400-e29b-41d4-a716-446655440000");
    refuse_all(&f,
               (const char *const[]){"user:212:nota:550e8400-e29b-41d4-a716-446655440000",
                                     "user:2%312:note:550e8400-e29b-41d4-a716-446655440000",
                                     "user:212:note::550e8400-e29b-41d4-a716-446655440000", NULL});
    buffer_release(&key);
}

/* The template's fields stand in another order than the key's. */
static void the_order_of_the_template_is_its_own(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct buffer key = BUFFER_INIT;
    stored_fixture_init(&f);
    memory_fixture_field(&f.base, TYPE_INTEGER);
    memory_fixture_field(&f.base, TYPE_STRING);
    memory_fixture_primary_key(&f.base, 2);
    stored_fixture_text(&f, "{");
    stored_fixture_key_field(&f, 1);
    stored_fixture_text(&f, "}:");
    stored_fixture_key_field(&f, 0);
    write_integer(&key, 5);
    write_text(&key, "t}{");
    expect_name(&f, &key, "{t%7D{}:5");
    buffer_release(&key);
}

static void prefixes_and_patterns(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct buffer out = BUFFER_INIT;
    const char *bytes;
    size_t size;
    pair(&f, TYPE_STRING, TYPE_STRING);
    key_text_prefix(&f.base.resource, &bytes, &size);
    assert_int_equal(size, 4);
    assert_memory_equal(bytes, "rep:", 4);
    key_text_pattern(&f.base.resource, &out);
    expect(&out, "rep:*:*", 7);
    buffer_truncate(&out, 0);
    stored_fixture_init(&f);
    memory_fixture_field(&f.base, TYPE_STRING);
    memory_fixture_primary_key(&f.base, 1);
    stored_fixture_key_field(&f, 0);
    stored_fixture_text(&f, "*?[]\\^-");
    key_text_prefix(&f.base.resource, &bytes, &size);
    assert_int_equal(size, 0);
    key_text_pattern(&f.base.resource, &out);
    expect(&out, "*\\*\\?\\[\\]\\\\\\^\\-", 15);
    buffer_release(&out);
}

static void values_for_names_of_our_own(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT, value = BUFFER_INIT;
    struct type type = {.kind = TYPE_STRING};
    write_text(&value, "a-_.Z9 :ü");
    key_text_value(&type, value.bytes, value.size, &out);
    expect(&out, "a-_.Z9%20%3A%C3%BC", 18);
    buffer_truncate(&out, 0);
    assert_true(key_text_take_value(&type, "a-_.Z9%20%3A%C3%BC", 18, &out));
    expect(&out, value.bytes, value.size);
    buffer_truncate(&out, 0);
    static const char *const wrong[] = {" ", "%2", "%61", "%c3%BC", "%C3", ":", NULL};
    for (const char *const *text = wrong; *text != NULL; text++) {
        assert_false(key_text_take_value(&type, *text, strlen(*text), &out));
        assert_int_equal(out.size, 0);
    }
    type.kind = TYPE_FLOAT;
    assert_false(key_text_take_value(&type, "1", 1, &out));
    type.kind = TYPE_INTEGER;
    assert_false(key_text_take_value(&type, "01", 2, &out));
    buffer_release(&out);
    buffer_release(&value);
}

static void random_key(const struct stored_fixture *f, struct random *random, struct buffer *out)
{
    const struct field_list *key = &f->base.resource.primary_key;
    buffer_truncate(out, 0);
    for (unsigned i = 0; i < key->count; i++) {
        stored_fixture_value(&f->base.fields[key->fields[i]].type, random, true, out);
    }
}

/* Enough of SCAN's MATCH for our own patterns: a star takes one byte more where
 * what comes behind it does not match. */
static bool matches(const struct buffer *pattern, const struct buffer *name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, star_n = 0;
    while (p < pattern->size || n < name->size) {
        bool escaped = p < pattern->size && pattern->bytes[p] == '\\';
        if (p < pattern->size && pattern->bytes[p] == '*') {
            star = p++;
            star_n = n;
        } else if (p < pattern->size && n < name->size &&
                   pattern->bytes[escaped ? p + 1 : p] == name->bytes[n]) {
            p += escaped ? 2 : 1;
            n++;
        } else if (star != SIZE_MAX && star_n < name->size) {
            p = star + 1;
            n = ++star_n;
        } else {
            return false;
        }
    }
    return true;
}

static bool same(const struct buffer *a, const struct buffer *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

/* A name with a byte changed, put in or taken out is another key's, or none's. */
static void damage(const struct stored_fixture *f, struct random *random, const struct buffer *name,
                   struct buffer *other)
{
    struct buffer key = BUFFER_INIT, again = BUFFER_INIT;
    size_t at = random_below(random, name->size + 1);
    uint64_t drop = random_below(random, 2);
    buffer_truncate(other, 0);
    buffer_append(other, name->bytes, at);
    if (random_below(random, 3) > 0) {
        buffer_byte(other, (uint8_t) ":%5AF2{}/0"[random_below(random, 10)]);
    }
    at += at + drop <= name->size ? drop : 0;
    buffer_append(other, name->bytes + at, name->size - at);
    if (key_text_read(&f->base.resource, other->bytes, other->size, &key)) {
        key_text_append(&f->base.resource, key.bytes, key.size, &again);
        assert_true(same(&again, other));
    } else {
        assert_int_equal(key.size, 0);
    }
    buffer_release(&key);
    buffer_release(&again);
}

static void names_tell_random_keys(void **state)
{
    (void)state;
    struct random random = random_start("names_tell_random_keys");
    struct buffer key = BUFFER_INIT, name = BUFFER_INIT, back = BUFFER_INIT, pattern = BUFFER_INIT;
    for (int round = 0; round < 2000; round++) {
        struct stored_fixture f;
        stored_fixture_random(&f, &random);
        buffer_truncate(&pattern, 0);
        key_text_pattern(&f.base.resource, &pattern);
        for (int i = 0; i < 20; i++) {
            random_key(&f, &random, &key);
            buffer_truncate(&name, 0);
            buffer_truncate(&back, 0);
            key_text_append(&f.base.resource, key.bytes, key.size, &name);
            /* Who can be read again is not written like another. */
            assert_true(key_text_read(&f.base.resource, name.bytes, name.size, &back));
            assert_true(same(&key, &back));
            assert_true(matches(&pattern, &name));
            damage(&f, &random, &name, &back);
        }
    }
    buffer_release(&key);
    buffer_release(&name);
    buffer_release(&back);
    buffer_release(&pattern);
}

static void random_values_alone(void **state)
{
    (void)state;
    struct random random = random_start("random_values_alone");
    struct buffer value = BUFFER_INIT, text = BUFFER_INIT, back = BUFFER_INIT;
    for (int round = 0; round < 20000; round++) {
        enum type_kind kind = (enum type_kind)random_below(&random, TYPE_COUNT);
        struct type type = {.kind = kind, .member_count = 2, .members = members};
        if (!type_indexable(kind)) {
            continue;
        }
        buffer_truncate(&value, 0);
        buffer_truncate(&text, 0);
        buffer_truncate(&back, 0);
        stored_fixture_value(&type, &random, true, &value);
        key_text_value(&type, value.bytes, value.size, &text);
        for (size_t i = 0; i < text.size; i++) {
            assert_true(text.bytes[i] == '%' || strchr("-_.", text.bytes[i]) != NULL ||
                        (text.bytes[i] >= '0' && text.bytes[i] <= '9') ||
                        ((text.bytes[i] | 32) >= 'a' && (text.bytes[i] | 32) <= 'z'));
        }
        assert_true(key_text_take_value(&type, text.bytes, text.size, &back));
        assert_true(same(&value, &back));
    }
    buffer_release(&value);
    buffer_release(&text);
    buffer_release(&back);
}

static void lack_of_memory_stays_to_be_seen(void **state)
{
    (void)state;
    struct stored_fixture f;
    pair(&f, TYPE_STRING, TYPE_STRING);
    static const char name[] = "rep:a%3Ab:c";
    struct type type = {.kind = TYPE_STRING};
    heap_fail_at(0);
    struct buffer out = BUFFER_INIT;
    assert_false(key_text_read(&f.base.resource, name, strlen(name), &out));
    assert_true(heap_failed() && out.failed);
    buffer_release(&out);
    heap_fail_at(0);
    out = (struct buffer)BUFFER_INIT;
    assert_false(key_text_take_value(&type, "a%3A", 4, &out));
    assert_true(heap_failed() && out.failed);
    buffer_release(&out);
    heap_fail_at(0);
    out = (struct buffer)BUFFER_INIT;
    key_text_append(&f.base.resource, (const uint8_t *)"\xa1x\xa1y", 4, &out);
    assert_true(heap_failed() && out.failed);
    buffer_release(&out);
    heap_fail_at(-1);
}

static void decimals(void **state)
{
    (void)state;
    char text[DECIMAL_TEXT_MAX];
    int64_t integer = 0;
    assert_int_equal(decimal_write(INT64_MIN, text), 20);
    assert_true(decimal_read(text, 20, &integer));
    assert_true(integer == INT64_MIN);
    assert_false(decimal_read("-9223372036854775809", 20, &integer));
    assert_true(decimal_read("0", 1, &integer));
    assert_false(decimal_read("00", 2, &integer));
    assert_false(decimal_read("", 0, &integer));
    assert_false(decimal_read("1.0", 3, &integer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type),
        cmocka_unit_test(a_value_alone_stands_as_it_is),
        cmocka_unit_test(several_values_are_kept_apart),
        cmocka_unit_test(others_names_are_read),
        cmocka_unit_test(the_order_of_the_template_is_its_own),
        cmocka_unit_test(prefixes_and_patterns),
        cmocka_unit_test(values_for_names_of_our_own),
        cmocka_unit_test(names_tell_random_keys),
        cmocka_unit_test(random_values_alone),
        cmocka_unit_test(lack_of_memory_stays_to_be_seen),
        cmocka_unit_test(decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

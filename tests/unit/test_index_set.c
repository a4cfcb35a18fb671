#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/index_set.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/memory_fixture.h"

/* Index sets and claims as names and bytes: what they look like, and what damaged
 * ones are taken for. test_index_set_random.c has what holds for all values. */

/* ---- Made by hand ---- */

enum { NAME, AGE, AT, BLOB, FIELDS };

struct hand {
    struct memory_fixture fixture;
    struct arena arena;
    struct buffer out;
};

static int setup(void **state)
{
    static struct hand hand;
    hand = (struct hand){0};
    memory_fixture_init(&hand.fixture, "thing");
    memory_fixture_field(&hand.fixture, TYPE_STRING);
    memory_fixture_field(&hand.fixture, TYPE_INTEGER);
    memory_fixture_field(&hand.fixture, TYPE_DATETIME);
    memory_fixture_field(&hand.fixture, TYPE_BINARY);
    memory_fixture_primary_key(&hand.fixture, 1);
    memory_fixture_index(&hand.fixture, (int[]){NAME, -1});
    memory_fixture_index(&hand.fixture, (int[]){AGE, NAME, -1});
    memory_fixture_index(&hand.fixture, (int[]){NAME, AT, BLOB, -1});
    memory_fixture_index(&hand.fixture, (int[]){AT, -1});
    memory_fixture_identity(&hand.fixture, (int[]){AGE, NAME, -1});
    arena_init(&hand.arena, 0);
    hand.out = (struct buffer)BUFFER_INIT;
    *state = &hand;
    return 0;
}

static int teardown(void **state)
{
    struct hand *hand = *state;
    arena_release(&hand->arena);
    buffer_release(&hand->out);
    return 0;
}

static const struct record *thing(struct hand *hand, const char *name, struct value age)
{
    struct value values[FIELDS] = {memory_fixture_text(name), age, value_nil(), value_nil()};
    return memory_fixture_record(&hand->fixture, &hand->arena, values);
}

static void expect_text(struct buffer *out, const char *expected)
{
    buffer_byte(out, 0);
    assert_false(out->failed);
    assert_string_equal((const char *)out->bytes, expected);
    buffer_truncate(out, 0);
}

static void test_names(void **state)
{
    struct hand *hand = *state;
    const struct resource *resource = &hand->fixture.resource;
    const struct index *indexes = hand->fixture.indexes;
    const struct record *record = thing(hand, "a:b,{c}%", memory_fixture_integer(-5));
    assert_true(index_set_name(resource, &indexes[0], record, &hand->out));
    expect_text(&hand->out, "relata:ix:thing:f0:a%3Ab%2C%7Bc%7D%25");
    assert_true(index_set_name(resource, &indexes[1], record, &hand->out));
    expect_text(&hand->out, "relata:ix:thing:f1,f0:-5");
    assert_false(index_set_name(resource, &indexes[3], record, &hand->out));
    assert_int_equal(hand->out.size, 0); /* nil: in no set */
    record = thing(hand, "", value_nil());
    assert_true(index_set_name(resource, &indexes[0], record, &hand->out));
    expect_text(&hand->out, "relata:ix:thing:f0:");
    assert_false(index_set_name(resource, &indexes[1], record, &hand->out));
    struct range range = {
        .index = &indexes[1], .equal_count = 1, .equal = {memory_fixture_integer(7)}};
    index_set_name_of_range(resource, &range, &hand->out);
    expect_text(&hand->out, "relata:ix:thing:f1,f0:7");
}

static void test_names_of_nothing(void **state)
{
    static const char *const names[] = {"",
                                        "relata:",
                                        "relata:ix:thing",
                                        "relata:ix:thing:f0",
                                        "relata:ix:thin:f0:a",
                                        "relata:ix:things:f0:a",
                                        "relata:ix:thing:f9:a",
                                        "relata:ix:thing:f1:5",
                                        "relata:ix:thing:f1,f0:",
                                        "relata:ix:thing:f1,f0:05",
                                        "relata:ix:thing:f1,f0:5 ",
                                        "relata:ix:thing:f1,f0:5:a",
                                        "relata:ix:thing:f1,f0:99999999999999999999",
                                        "relata:ix:thing:f0:a:b",
                                        "relata:ix:thing:f0:%",
                                        "relata:ix:thing:f0:%3",
                                        "relata:ix:thing:f0:%3a",
                                        "relata:ix:thing:f0:%41",
                                        "relata:ix:thing:f0:%FF",
                                        "relata:ix:thing:f2:yesterday",
                                        "relata:id:thing:unique:1:a",
                                        "xrelata:ix:thing:f0:a"};
    struct hand *hand = *state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const struct index *index =
            index_set_of_name(&hand->fixture.resource, names[i], strlen(names[i]), &hand->out);
        if (index != NULL) {
            fail_msg("\"%s\" is taken for a set's name", names[i]);
        }
        assert_int_equal(hand->out.size, 0);
    }
}

/* The bounds of all that a set may have, of none, and of what lies before nils. */
static void test_bounds(void **state)
{
    struct hand *hand = *state;
    const struct resource *resource = &hand->fixture.resource;
    struct range range = {
        .index = &hand->fixture.indexes[1], .equal_count = 1, .equal = {memory_fixture_integer(1)}};
    index_set_lower(resource, &range, &hand->out);
    expect_text(&hand->out, "-");
    index_set_upper(resource, &range, &hand->out);
    expect_text(&hand->out, "+");
    range.has_lower = true;
    range.lower = memory_fixture_text("b");
    index_set_lower(resource, &range, &hand->out);
    assert_int_equal(hand->out.size, 5);
    assert_memory_equal(hand->out.bytes, "[\1b\0\1", 5);
    buffer_truncate(&hand->out, 0);
    index_set_upper(resource, &range, &hand->out);
    expect_text(&hand->out, "(\2");
    range.lower_open = true;
    index_set_lower(resource, &range, &hand->out);
    assert_memory_equal(hand->out.bytes, "[\1b\0\2", 5);
    buffer_truncate(&hand->out, 0);
    range.has_lower = false;
    range.has_upper = true;
    range.upper = memory_fixture_text("");
    index_set_lower(resource, &range, &hand->out);
    expect_text(&hand->out, "[\1");
    index_set_upper(resource, &range, &hand->out);
    assert_memory_equal(hand->out.bytes, "(\1\0\2", 4);
}

static void test_damaged_members(void **state)
{
    struct hand *hand = *state;
    const struct resource *resource = &hand->fixture.resource;
    const struct index *index = &hand->fixture.indexes[2];
    struct value values[FIELDS] = {
        memory_fixture_text("key"),
        memory_fixture_integer(1),
        {.kind = VALUE_DATETIME, .datetime = {.seconds = 5}},
        {.kind = VALUE_BINARY, .size = 2, .bytes = (const uint8_t *)"\0z"}};
    const struct record *record = memory_fixture_record(&hand->fixture, &hand->arena, values);
    struct store_key key, mark;
    index_set_member(resource, index, record, "mark", 4, &hand->out);
    size_t whole = hand->out.size - 4;
    assert_true(
        index_set_take_member(resource, index, hand->out.bytes, hand->out.size, &key, &mark));
    assert_int_equal(key.size, 4);
    assert_memory_equal(key.bytes, "\xa3key", 4);
    assert_int_equal(mark.size, 4);
    assert_memory_equal(mark.bytes, "mark", 4);
    for (size_t size = 0; size < whole; size++) {
        assert_false(index_set_take_member(resource, index, hand->out.bytes, size, &key, &mark));
    }
    assert_true(index_set_take_member(resource, index, hand->out.bytes, whole, &key, &mark));
    assert_int_equal(mark.size, 0);
    for (unsigned tag = 0; tag < 256; tag++) {
        hand->out.bytes[0] = (uint8_t)tag;
        bool taken = index_set_take_member(resource, index, hand->out.bytes, whole, &key, &mark);
        assert_true(tag == 1 || tag == 2 || !taken);
    }
}

static void test_claims(void **state)
{
    struct hand *hand = *state;
    const struct resource *resource = &hand->fixture.resource;
    struct buffer key = BUFFER_INIT;
    struct store_key owner, mark;
    struct value values[] = {memory_fixture_integer(-1), memory_fixture_text("a:{b}")};
    memory_fixture_key(&key, values, 2);
    claim_name(resource, &hand->fixture.identities[0], key.bytes, key.size, &hand->out);
    expect_text(&hand->out, "relata:id:thing:unique:-1:a%3A%7Bb%7D");
    buffer_release(&key);
    static const uint8_t value[] = "\xa3keydaemon-1-2";
    assert_true(claim_take(resource, value, sizeof(value) - 1, &owner, &mark));
    assert_int_equal(owner.size, 4);
    assert_memory_equal(mark.bytes, "daemon-1-2", 10);
    assert_int_equal(mark.size, 10);
    for (size_t size = 0; size < 4; size++) {
        assert_false(claim_take(resource, value, size, &owner, &mark));
    }
    assert_true(claim_take(resource, value, 4, &owner, &mark));
    assert_int_equal(mark.size, 0);
    assert_false(claim_take(resource, (const uint8_t *)"\xc1", 1, &owner, &mark));
}

/* ---- Marks ---- */

static void test_marks(void **state)
{
    (void)state;
    static const struct {
        const char *mark;
        uint64_t time_ms;
    } rows[] = {
        {"", 0},
        {"-", 0},
        {"1", 0},
        {"a-b-", 0},
        {"a-b-c", 12},
        {"x-y-1f", 31},
        {"-1", 1},
        {"1-1--1", 1},
        {"1-1-1G", 0},
        {"1-1-1F", 0},
        {"1-1- 1", 0},
        {"1-1-0", 0},
        {"1-1-ffffffffffff", UINT64_C(0xffffffffffff)},
        {"1-1-1ffffffffffff", 0},
        {"1-1-000000000001", 1},
        {"1-1-0000000000001", 0},
    };
    char mark[MARK_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_true(mark_time_ms(rows[i].mark, strlen(rows[i].mark)) == rows[i].time_ms);
    }
    assert_true(mark_time_ms("1-1-1\0", 6) == 0);
    size_t size = mark_make(mark, 0x1a2b, 0x10, 1700000000000);
    assert_int_equal(size, strlen(mark));
    assert_string_equal(mark, "0000000000001a2b-10-18bcfe56800");
    assert_true(mark_time_ms(mark, size) == 1700000000000);
    size = mark_make(mark, UINT64_MAX, UINT64_MAX, UINT64_MAX); /* fits */
    assert_true(size < MARK_MAX && mark_time_ms(mark, size) == 0);
}

/* ---- No memory ---- */

/* Whatever lacks, the buffers tell; half a name is never taken for a whole one. */
static bool try_all(struct hand *hand, const struct record *record)
{
    const struct resource *resource = &hand->fixture.resource;
    const struct index *index = &hand->fixture.indexes[0];
    const struct range range = {
        .index = index, .equal_count = 1, .equal = {memory_fixture_text("name")}};
    struct buffer out[4] = {BUFFER_INIT, BUFFER_INIT, BUFFER_INIT, BUFFER_INIT};
    index_set_name(resource, index, record, &out[0]);
    index_set_name_of_range(resource, &range, &out[1]);
    index_set_member(resource, index, record, "m", 1, &out[2]);
    static const char name[] = "relata:ix:thing:f0:name";
    bool found = index_set_of_name(resource, name, sizeof(name) - 1, &out[3]) != NULL;
    bool failed = !found;
    for (size_t i = 0; i < ARRAY_COUNT(out); i++) {
        failed |= out[i].failed;
    }
    assert_true(failed || out[0].size == sizeof(name) - 1);
    assert_true(failed || memcmp(out[0].bytes, out[1].bytes, out[0].size) == 0);
    assert_true(failed || out[3].size == 5);
    for (size_t i = 0; i < ARRAY_COUNT(out); i++) {
        buffer_release(&out[i]);
    }
    return !failed;
}

static void test_without_memory(void **state)
{
    struct hand *hand = *state;
    const struct record *record = thing(hand, "name", value_nil());
    bool whole = false;
    long count = 0;
    for (; !whole; count++) {
        heap_fail_at(count);
        whole = try_all(hand, record);
        heap_fail_at(-1);
    }
    assert_true(count > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_of_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_claims, setup, teardown),
        cmocka_unit_test(test_marks),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

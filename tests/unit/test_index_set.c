#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/index_set.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"
#include "tests/lib/stored_fixture.h"

/* Index sets and claims as names and bytes: members sort as records do, bounds take
 * what a range keeps and nothing else, and what was put together comes apart again. */

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

static void test_built_names(void **state)
{
    struct hand *hand = *state;
    const struct resource *resource = &hand->fixture.resource;
    index_built_name(resource, &hand->out);
    expect_text(&hand->out, "relata:built:thing");
    index_built_field(resource, &hand->fixture.indexes[0], &hand->out);
    expect_text(&hand->out, "ix:f0");
    index_built_field(resource, &hand->fixture.indexes[2], &hand->out);
    expect_text(&hand->out, "ix:f0,f2,f3");
    claim_built_field(resource, &hand->fixture.identities[0], &hand->out);
    expect_text(&hand->out, "id:unique:f1,f0");
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

/* ---- Random ---- */

enum { ROUNDS = 150, RECORDS = 24, POOL = 5, RANGES = 40, INDEX_FIELDS_MAX = 4 };

struct bed {
    struct random random;
    struct memory_fixture fixture;
    struct arena arena;
    /* Values of each field, as MessagePack and decoded; few, so that many are alike. */
    struct buffer bytes[FIXTURE_FIELDS_MAX][POOL];
    struct value values[FIXTURE_FIELDS_MAX][POOL];
    const struct record *records[RECORDS];
    struct buffer members[RECORDS];
};

static struct bed bed;

static const char *const members[] = {"open", "closed", "in-between", ""};

static const enum type_kind indexable[] = {TYPE_INTEGER,  TYPE_STRING, TYPE_BINARY,
                                           TYPE_DATETIME, TYPE_UUID,   TYPE_ENUM};

/* A value that is near another one: a text that begins with it, a number beside it. */
static void put_neighbour(const struct type *type, const struct value *value, struct buffer *out)
{
    uint8_t text[400];
    switch (type->kind) {
    case TYPE_INTEGER:
        write_integer(out, value->integer == INT64_MAX ? INT64_MAX : value->integer + 1);
        return;
    case TYPE_DATETIME: {
        struct datetime next = value->datetime;
        next.nanoseconds = next.nanoseconds == 999999999 ? 0 : 999999999;
        write_datetime(out, &next);
        return;
    }
    case TYPE_STRING:
    case TYPE_BINARY: {
        uint32_t size = value->size < sizeof(text) - 2 ? value->size : sizeof(text) - 2;
        if (size > 0) {
            memcpy(text, value->bytes, size);
        }
        text[size++] = random_below(&bed.random, 2) == 0 ? 0 : 1;
        if (type->kind == TYPE_BINARY) {
            text[size++] = random_below(&bed.random, 2) == 0 ? 0xff : 0;
            write_binary(out, text, size);
        } else {
            write_string(out, text, size);
        }
        return;
    }
    default:
        stored_fixture_value(type, &bed.random, false, out);
        return;
    }
}

static void make_pool(unsigned field)
{
    const struct type *type = &bed.fixture.fields[field].type;
    for (unsigned i = 0; i < POOL; i++) {
        struct buffer *bytes = &bed.bytes[field][i];
        buffer_truncate(bytes, 0);
        if (i > 0 && random_below(&bed.random, 2) == 0) {
            put_neighbour(type, &bed.values[field][i - 1], bytes);
        } else {
            stored_fixture_value(type, &bed.random, false, bytes);
        }
        type_load(type, bytes->bytes, bytes->size, &bed.values[field][i]);
    }
}

static void make_resource(void)
{
    struct random *random = &bed.random;
    memory_fixture_init(&bed.fixture, "thing");
    unsigned keys = 1 + (unsigned)random_below(random, 2);
    unsigned count = keys + 4;
    int fields[INDEX_FIELDS_MAX + 1];
    for (unsigned i = 0; i < count; i++) {
        enum type_kind kind = indexable[random_below(random, ARRAY_COUNT(indexable))];
        uint16_t field = memory_fixture_field(&bed.fixture, kind);
        if (kind == TYPE_ENUM) {
            bed.fixture.fields[field].type.members = members;
            bed.fixture.fields[field].type.member_count = ARRAY_COUNT(members);
        }
    }
    memory_fixture_primary_key(&bed.fixture, keys);
    for (unsigned i = 0; i < 2; i++) {
        unsigned index_fields = 1 + (unsigned)random_below(random, INDEX_FIELDS_MAX);
        unsigned at = (unsigned)random_below(random, count);
        for (unsigned j = 0; j < index_fields; j++) {
            fields[j] = (int)((at + j) % count);
        }
        fields[index_fields] = -1;
        memory_fixture_index(&bed.fixture, fields);
    }
}

static const struct record *make_record(void)
{
    const struct resource *resource = &bed.fixture.resource;
    struct value values[FIXTURE_FIELDS_MAX];
    for (unsigned i = 0; i < resource->field_count; i++) {
        bool nil = i >= resource->primary_key.count && random_below(&bed.random, 4) == 0;
        values[i] = nil ? value_nil() : bed.values[i][random_below(&bed.random, POOL)];
    }
    return memory_fixture_record(&bed.fixture, &bed.arena, values);
}

static void make_bed(void)
{
    make_resource();
    for (unsigned i = 0; i < bed.fixture.resource.field_count; i++) {
        make_pool(i);
    }
    for (unsigned i = 0; i < RECORDS; i++) {
        bed.records[i] = make_record();
    }
}

/* As records are ordered: field by field, nil behind all values. */
static int compare_fields(const struct index *index, const struct record *a, const struct record *b)
{
    const struct resource *resource = &bed.fixture.resource;
    for (unsigned i = 1; i < index->fields.count; i++) {
        struct value left, right;
        record_load(a, resource, index->fields.fields[i], &left);
        record_load(b, resource, index->fields.fields[i], &right);
        if (left.kind == VALUE_NIL || right.kind == VALUE_NIL) {
            if (left.kind != right.kind) {
                return left.kind == VALUE_NIL ? 1 : -1;
            }
            continue;
        }
        int order = value_compare(&left, &right);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

static int compare_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t size = a_size < b_size ? a_size : b_size;
    int order = size == 0 ? 0 : memcmp(a, b, size);
    return order != 0 ? order : a_size < b_size ? -1 : a_size > b_size;
}

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

static void check_order(const struct index *index)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        for (unsigned j = 0; j < RECORDS; j++) {
            int order = compare_fields(index, bed.records[i], bed.records[j]);
            int bytes = compare_bytes(bed.members[i].bytes, bed.members[i].size,
                                      bed.members[j].bytes, bed.members[j].size);
            assert_true(order == 0 || sign(order) == sign(bytes));
        }
    }
}

static void check_members(const struct index *index)
{
    const struct resource *resource = &bed.fixture.resource;
    struct store_key key, mark;
    struct buffer expected = BUFFER_INIT;
    for (unsigned i = 0; i < RECORDS; i++) {
        struct buffer *member = &bed.members[i];
        buffer_truncate(member, 0);
        index_set_member(resource, index, bed.records[i], "m-1-2", 5, member);
        assert_true(
            index_set_take_member(resource, index, member->bytes, member->size, &key, &mark));
        buffer_truncate(&expected, 0);
        assert_true(key_of_record(resource, &resource->primary_key, bed.records[i], &expected));
        assert_int_equal(key.size, expected.size);
        assert_memory_equal(key.bytes, expected.bytes, key.size);
        assert_int_equal(mark.size, 5);
        assert_memory_equal(mark.bytes, "m-1-2", 5);
    }
    buffer_release(&expected);
}

/* A set's name tells the index and the value again. */
static void check_names(const struct index *index)
{
    const struct resource *resource = &bed.fixture.resource;
    unsigned first = index->fields.fields[0];
    struct buffer name = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    for (unsigned i = 0; i < RECORDS; i++) {
        const struct record *record = bed.records[i];
        bool nil = record_is_nil(record, resource->field_count, first);
        buffer_truncate(&name, 0);
        buffer_truncate(&value, 0);
        assert_int_equal(index_set_name(resource, index, record, &name), !nil);
        if (nil) {
            assert_int_equal(name.size, 0);
            continue;
        }
        const struct index *found = index_set_of_name(resource, name.bytes, name.size, &value);
        uint32_t size;
        const uint8_t *bytes = record_field(record, resource->field_count, first, &size);
        assert_non_null(found);
        assert_int_equal(found->fields.count, index->fields.count);
        assert_memory_equal(found->fields.fields, index->fields.fields,
                            index->fields.count * sizeof(index->fields.fields[0]));
        assert_int_equal(value.size, size);
        assert_memory_equal(value.bytes, bytes, size);
    }
    buffer_release(&name);
    buffer_release(&value);
}

/* ---- Ranges ---- */

static struct value pick(unsigned field)
{
    return bed.values[field][random_below(&bed.random, POOL)];
}

/* From a text to the least that is above all that begin with it, as searches do. */
static void make_prefix(struct range *range, unsigned field)
{
    struct value prefix = pick(field);
    prefix.size = (uint32_t)random_below(&bed.random, prefix.size + 1u);
    range->has_lower = true;
    range->lower = prefix;
    while (prefix.size > 0 && prefix.bytes[prefix.size - 1] == 0xff) {
        prefix.size--;
    }
    if (prefix.size > 0) {
        uint8_t *end = arena_copy(&bed.arena, prefix.bytes, prefix.size);
        assert_non_null(end);
        end[prefix.size - 1]++;
        prefix.bytes = end;
        range->has_upper = true;
        range->upper_open = true;
        range->upper = prefix;
    }
}

static void make_range(struct range *range, const struct index *index)
{
    unsigned count = index->fields.count;
    *range = (struct range){.index = index};
    range->equal_count = (uint16_t)(1 + random_below(&bed.random, count));
    for (unsigned i = 0; i < range->equal_count; i++) {
        range->equal[i] = pick(index->fields.fields[i]);
    }
    if (range->equal_count == count) {
        return;
    }
    unsigned field = index->fields.fields[range->equal_count];
    enum value_kind kind = type_value_kind(bed.fixture.fields[field].type.kind);
    if ((kind == VALUE_TEXT || kind == VALUE_BINARY) && random_below(&bed.random, 3) == 0) {
        make_prefix(range, field);
        return;
    }
    range->has_lower = random_below(&bed.random, 2) == 0;
    range->has_upper = random_below(&bed.random, 2) == 0;
    range->lower_open = range->has_lower && random_below(&bed.random, 2) == 0;
    range->upper_open = range->has_upper && random_below(&bed.random, 2) == 0;
    range->lower = range->has_lower ? pick(field) : value_nil();
    range->upper = range->has_upper ? pick(field) : value_nil();
}

/* As ZRANGEBYLEX has it. */
static bool is_above(const struct buffer *bound, const struct buffer *member)
{
    if (bound->size == 1 && bound->bytes[0] == '-') {
        return true;
    }
    int order = compare_bytes(member->bytes, member->size, bound->bytes + 1, bound->size - 1);
    assert_true(bound->bytes[0] == '[' || bound->bytes[0] == '(');
    return order > 0 || (order == 0 && bound->bytes[0] == '[');
}

static bool is_below(const struct buffer *bound, const struct buffer *member)
{
    if (bound->size == 1 && bound->bytes[0] == '+') {
        return true;
    }
    int order = compare_bytes(member->bytes, member->size, bound->bytes + 1, bound->size - 1);
    assert_true(bound->bytes[0] == '[' || bound->bytes[0] == '(');
    return order < 0 || (order == 0 && bound->bytes[0] == '[');
}

/* How many records the range keeps; each of them, and no other, is in its set and
 * between its bounds. */
static unsigned check_range(const struct range *range)
{
    const struct resource *resource = &bed.fixture.resource;
    struct buffer set = BUFFER_INIT, lower = BUFFER_INIT, upper = BUFFER_INIT, own = BUFFER_INIT;
    unsigned kept = 0;
    index_set_name_of_range(resource, range, &set);
    index_set_lower(resource, range, &lower);
    index_set_upper(resource, range, &upper);
    for (unsigned i = 0; i < RECORDS; i++) {
        buffer_truncate(&own, 0);
        bool in_set = index_set_name(resource, range->index, bed.records[i], &own) &&
                      compare_bytes(own.bytes, own.size, set.bytes, set.size) == 0;
        bool given =
            in_set && is_above(&lower, &bed.members[i]) && is_below(&upper, &bed.members[i]);
        bool keeps = range_keeps(range, resource, bed.records[i]);
        if (given != keeps) {
            fail_msg("record %u: the range %s it, the set does not agree", i,
                     keeps ? "keeps" : "does not keep");
        }
        kept += keeps;
    }
    buffer_release(&set);
    buffer_release(&lower);
    buffer_release(&upper);
    buffer_release(&own);
    return kept;
}

static void test_random(void **state)
{
    (void)state;
    bed.random = random_start("index set");
    arena_init(&bed.arena, 0);
    unsigned kept = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_bed();
        for (unsigned i = 0; i < bed.fixture.resource.index_count; i++) {
            const struct index *index = &bed.fixture.indexes[i];
            check_members(index);
            check_order(index);
            check_names(index);
            for (unsigned j = 0; j < RANGES; j++) {
                struct range range;
                make_range(&range, index);
                kept += check_range(&range);
            }
        }
        arena_reset(&bed.arena);
    }
    assert_true(kept > ROUNDS * RANGES / 4);
    for (unsigned i = 0; i < RECORDS; i++) {
        buffer_release(&bed.members[i]);
    }
    for (unsigned i = 0; i < FIXTURE_FIELDS_MAX; i++) {
        for (unsigned j = 0; j < POOL; j++) {
            buffer_release(&bed.bytes[i][j]);
        }
    }
    arena_release(&bed.arena);
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
        cmocka_unit_test_setup_teardown(test_built_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_of_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_claims, setup, teardown),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_random),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

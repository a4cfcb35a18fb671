#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/index_set.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/random.h"
#include "tests/lib/stored_fixture.h"

/* Index sets of random resources and records: members sort as records do, bounds take
 * what a range keeps and nothing else, and what was put together comes apart again. */

/* ---- Resources and records ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

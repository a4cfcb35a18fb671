#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "layers/value.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"

static struct value integer(int64_t number)
{
    return (struct value){.kind = VALUE_INTEGER, .integer = number};
}

static struct value real(double number)
{
    return (struct value){.kind = VALUE_FLOAT, .real = number};
}

static struct value text(const char *bytes)
{
    return (struct value){
        .kind = VALUE_TEXT, .size = (uint32_t)strlen(bytes), .bytes = (const uint8_t *)bytes};
}

static struct value any_of(const struct buffer *buffer)
{
    return (struct value){
        .kind = VALUE_ANY, .size = (uint32_t)buffer->size, .bytes = buffer->bytes};
}

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

static int compare(struct value a, struct value b)
{
    int order = sign(value_compare(&a, &b));
    assert_int_equal(order, -sign(value_compare(&b, &a)));
    assert_int_equal(order == 0, value_equal(&a, &b));
    return order;
}

static void integers_and_floats_compare_by_value(void **state)
{
    (void)state;
    assert_int_equal(compare(integer(1), real(1.0)), 0);
    assert_int_equal(compare(integer(1), real(1.5)), -1);
    assert_int_equal(compare(integer(-1), real(-1.5)), 1);
    /* 2^53 + 1 is no float: the nearest one is 2^53. */
    assert_int_equal(compare(integer(9007199254740993), real(9007199254740992.0)), 1);
    assert_int_equal(compare(integer(INT64_MAX), real(9223372036854775808.0)), -1);
    assert_int_equal(compare(integer(INT64_MIN), real(-9223372036854775808.0)), 0);
    assert_int_equal(compare(integer(INT64_MAX), real(9223372036854774784.0)), 1);
    assert_int_equal(compare(integer(INT64_MIN), real(-1e300)), 1);
    assert_int_equal(compare(integer(0), real(-0.0)), 0);
    assert_int_equal(compare(integer(0), real(INFINITY)), -1);
}

static void comparison_agrees_with_wider_numbers(void **state)
{
    (void)state;
    struct random random = random_start("value");
    for (int i = 0; i < 200000; i++) {
        int64_t whole = (int64_t)random_magnitude(&random);
        whole = random_below(&random, 2) ? whole : -(int64_t)((uint64_t)whole >> 1);
        double near = (double)whole;
        for (uint64_t steps = random_below(&random, 4); steps > 0; steps--) {
            near = nextafter(near, random_below(&random, 2) ? INFINITY : -INFINITY);
        }
        /* The long double of this machine holds every 64 bit integer. */
        long double left = whole, right = near;
        int expected = (left > right) - (left < right);
        assert_int_equal(compare(integer(whole), real(near)), expected);
    }
}

static void texts_compare_by_code_point(void **state)
{
    (void)state;
    assert_int_equal(compare(text("a"), text("b")), -1);
    assert_int_equal(compare(text("a"), text("ab")), -1);
    assert_int_equal(compare(text(""), text("")), 0);
    assert_int_equal(compare(text("Z"), text("a")), -1);
    /* U+FFFF before U+10000, though UTF-16 would have it otherwise. */
    assert_int_equal(compare(text("\xef\xbf\xbf"), text("\xf0\x90\x80\x80")), -1);
}

static void other_kinds_compare_in_their_order(void **state)
{
    (void)state;
    struct value no = {.kind = VALUE_BOOLEAN, .boolean = false};
    struct value yes = {.kind = VALUE_BOOLEAN, .boolean = true};
    assert_int_equal(compare(no, yes), -1);
    struct value early = {.kind = VALUE_DATETIME, .datetime = {5, 1}};
    struct value late = {.kind = VALUE_DATETIME, .datetime = {5, 2}};
    assert_int_equal(compare(early, late), -1);
    struct value low = {.kind = VALUE_BINARY, .size = 2, .bytes = (const uint8_t *)"\0a"};
    struct value high = {.kind = VALUE_BINARY, .size = 2, .bytes = (const uint8_t *)"\xff\0"};
    assert_int_equal(compare(low, high), -1);
}

static void values_of_different_kinds_are_not_equal(void **state)
{
    (void)state;
    struct value some = text("1"), number = integer(1), nil = value_nil();
    struct value binary = {.kind = VALUE_BINARY, .size = 1, .bytes = (const uint8_t *)"1"};
    assert_false(value_equal(&some, &number));
    assert_false(value_equal(&some, &binary));
    assert_false(value_equal(&some, &nil));
    assert_true(value_equal(&nil, &nil));
}

/* ---- any ---- */

static void any_equals_what_it_holds(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    write_integer(&buffer, 5);
    struct value any = any_of(&buffer), five = integer(5), five_real = real(5.0), six = integer(6);
    assert_true(value_equal(&any, &five));
    assert_true(value_equal(&five_real, &any));
    assert_false(value_equal(&any, &six));
    buffer_truncate(&buffer, 0);
    write_array(&buffer, 2);
    write_integer(&buffer, 5);
    write_text(&buffer, "a");
    struct value items[] = {real(5.0), text("a")};
    struct value list = {.kind = VALUE_LIST, .size = 2, .items = items};
    any = any_of(&buffer);
    assert_true(value_equal(&any, &list));
    items[1] = text("b");
    assert_false(value_equal(&any, &list));
    buffer_release(&buffer);
}

/* A random value, written twice: the second time with the pairs of maps in
 * another order and integers as floats; with `spoil` above 0, one of the
 * scalars differs in the second. */
struct twins {
    struct random *random;
    struct buffer *first;
    struct buffer *second;
    int scalars;
    int spoil; /* the number of the scalar that differs, -1 for none */
};

static void write_scalar_twins(struct twins *twins)
{
    int64_t number = (int64_t)random_below(twins->random, 1000);
    bool spoiled = twins->scalars++ == twins->spoil;
    if (random_below(twins->random, 2)) {
        char name[32];
        snprintf(name, sizeof(name), "t%d", (int)number);
        write_text(twins->first, name);
        write_text(twins->second, spoiled ? "other" : name);
    } else {
        write_integer(twins->first, number);
        write_float(twins->second, (double)number + (spoiled ? 0.5 : 0));
    }
}

static void write_twins(struct twins *twins, int levels)
{
    uint64_t choice = random_below(twins->random, 4);
    uint32_t count = (uint32_t)random_below(twins->random, 5);
    if (levels == 0 || choice < 2) {
        write_scalar_twins(twins);
    } else if (choice == 2) {
        write_array(twins->first, count);
        write_array(twins->second, count);
        for (uint32_t i = 0; i < count; i++) {
            write_twins(twins, levels - 1);
        }
    } else {
        /* Each pair is written into a buffer of its own, to come in reverse. */
        struct buffer pairs[5] = {BUFFER_INIT};
        struct buffer *second = twins->second;
        write_map(twins->first, count);
        write_map(second, count);
        for (uint32_t i = 0; i < count; i++) {
            twins->second = &pairs[i];
            write_integer(twins->first, i);
            write_integer(&pairs[i], i);
            write_twins(twins, levels - 1);
        }
        for (uint32_t i = count; i-- > 0;) {
            buffer_append(second, pairs[i].bytes, pairs[i].size);
            buffer_release(&pairs[i]);
        }
        twins->second = second;
    }
}

static void maps_are_unordered_and_numbers_equal_by_value(void **state)
{
    (void)state;
    struct random random = random_start("any");
    struct buffer first = BUFFER_INIT, second = BUFFER_INIT;
    for (int i = 0; i < 20000; i++) {
        buffer_truncate(&first, 0);
        buffer_truncate(&second, 0);
        int spoil = (int)random_below(&random, 12) - 1;
        struct twins twins = {
            .random = &random, .first = &first, .second = &second, .spoil = spoil};
        write_twins(&twins, 4);
        struct value a = any_of(&first), b = any_of(&second);
        bool same = spoil < 0 || spoil >= twins.scalars;
        assert_int_equal(value_equal(&a, &b), same);
        assert_true(value_equal(&a, &a));
    }
    buffer_release(&first);
    buffer_release(&second);
}

/* ---- Messages and encodings ---- */

static void assert_described(struct value value, const char *expected)
{
    char out[128];
    value_describe(&value, out, sizeof(out));
    assert_string_equal(out, expected);
}

static void descriptions_are_for_people(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    assert_described(value_nil(), "nil");
    assert_described(integer(-5), "-5");
    assert_described(real(0.1), "0.1");
    assert_described(real(2), "2.0");
    assert_described(real(1.0 / 3), "0.3333333333333333");
    assert_described(text("open"), "\"open\"");
    assert_described((struct value){.kind = VALUE_DATETIME, .datetime = {0, 0}},
                     "1970-01-01T00:00:00Z");
    write_map(&buffer, 0);
    assert_described(any_of(&buffer), "a map");
    buffer_release(&buffer);
}

static void long_texts_are_cut_between_code_points(void **state)
{
    (void)state;
    char long_text[200], out[128];
    for (size_t i = 0; i < sizeof(long_text); i += 2) {
        memcpy(long_text + i, "\xc3\xa4", 2);
    }
    long_text[59] = 'x';
    struct value value = {
        .kind = VALUE_TEXT, .size = sizeof(long_text), .bytes = (const uint8_t *)long_text};
    long_text[58] = 'x';
    value_describe(&value, out, sizeof(out));
    assert_int_equal(strlen(out), 60 + strlen("\"...\""));
    long_text[0] = 'x';
    long_text[1] = (char)0xc3;
    for (size_t i = 2; i + 1 < 60; i += 2) {
        memcpy(long_text + i, "\xa4\xc3", 2);
    }
    memcpy(long_text + 60, "\xa4", 1);
    value_describe(&value, out, sizeof(out));
    assert_int_equal(strlen(out), 59 + strlen("\"...\""));
}

static void values_are_written_as_messagepack(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    struct value items[] = {value_nil(), integer(300), text("a"), real(0.5)};
    struct value list = {.kind = VALUE_LIST, .size = 4, .items = items};
    value_write(&buffer, &list);
    static const uint8_t expected[] = {0x94, 0xc0, 0xcd, 0x01, 0x2c, 0xa1, 'a', 0xcb,
                                       0x3f, 0xe0, 0,    0,    0,    0,    0,   0};
    assert_int_equal(buffer.size, sizeof(expected));
    assert_memory_equal(buffer.bytes, expected, sizeof(expected));
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_and_floats_compare_by_value),
        cmocka_unit_test(comparison_agrees_with_wider_numbers),
        cmocka_unit_test(texts_compare_by_code_point),
        cmocka_unit_test(other_kinds_compare_in_their_order),
        cmocka_unit_test(values_of_different_kinds_are_not_equal),
        cmocka_unit_test(any_equals_what_it_holds),
        cmocka_unit_test(maps_are_unordered_and_numbers_equal_by_value),
        cmocka_unit_test(descriptions_are_for_people),
        cmocka_unit_test(long_texts_are_cut_between_code_points),
        cmocka_unit_test(values_are_written_as_messagepack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

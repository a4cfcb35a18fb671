/* The store against a plain model: rows in an array, searched one by one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/memory/memory.h"
#include "layers/memory/table.h"
#include "protocol/base/check.h"
#include "tests/lib/memory_fixture.h"
#include "tests/lib/memory_values.h"
#include "tests/lib/random.h"

enum {
    NIL = MEMORY_NIL,
    KEYS = 160,
    UNIQUE_CODES = 400, /* of the identity's, so that some are equal */
    CURSORS = 5,
    PINS = 4,
    PINNED = 3,
    EVENTS_MAX = 64,
    STEPS = 2500
};

/* After the key: integer, string, datetime, uuid, serial, padding. */
enum { X, Y, Z, W, SERIAL, PADDING, PLAIN_FIELDS };

struct expected_event {
    int old_serial, new_serial; /* NIL where there is none */
};

struct open_cursor {
    bool open;
    bool ranged;
    struct store_cursor cursor;
    struct range range;
    struct memory_row rows[KEYS]; /* what it is to give: for ranges in order */
    unsigned count;
    unsigned given;
};

struct open_pin {
    bool taken;
    struct pin pin;
    const struct record *records[PINNED];
    struct memory_row rows[PINNED];
    unsigned count;
};

struct bed {
    struct random random;
    struct memory_fixture fixture;
    unsigned key_count;
    enum type_kind key_types[2];
    struct world world;
    struct memory *memory;
    struct store *store;
    struct write_listener listener;
    struct memory_row rows[KEYS];
    struct memory_row saved[KEYS];
    struct expected_event events[EVENTS_MAX];
    unsigned event_count, event_seen;
    uint64_t last_sequence;
    struct open_cursor cursors[CURSORS];
    struct open_pin pins[PINS];
    int serial;
    struct arena arena;
};

static char padding_text[3000];

static void values_of(const struct bed *bed, const struct memory_row *row, struct value *out)
{
    static const enum type_kind kinds[] = {TYPE_INTEGER, TYPE_STRING, TYPE_DATETIME, TYPE_UUID};
    for (unsigned i = 0; i < bed->key_count; i++) {
        out[i] = memory_key_value(bed->key_types[i], row->code[i]);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        out[bed->key_count + i] = memory_value(kinds[i], row->code[bed->key_count + i]);
    }
    out[bed->key_count + SERIAL] = memory_fixture_integer(row->code[bed->key_count + SERIAL]);
    int padding = row->code[bed->key_count + PADDING];
    out[bed->key_count + PADDING] = (struct value){
        .kind = VALUE_TEXT, .size = (uint32_t)padding, .bytes = (uint8_t *)padding_text};
}

static int serial_of(const struct bed *bed, const struct memory_row *row)
{
    return row->code[bed->key_count + SERIAL];
}

static int record_serial(const struct bed *bed, const struct record *record)
{
    struct value value;
    record_load(record, &bed->fixture.resource, bed->key_count + SERIAL, &value);
    return (int)value.integer;
}

/* The record is the row, field by field. */
static void assert_is(const struct bed *bed, const struct record *record,
                      const struct memory_row *row)
{
    struct value wanted[2 + PLAIN_FIELDS];
    values_of(bed, row, wanted);
    assert_non_null(record);
    assert_int_equal(record_serial(bed, record), serial_of(bed, row));
    for (unsigned i = 0; i < bed->fixture.resource.field_count; i++) {
        struct value value;
        record_load(record, &bed->fixture.resource, i, &value);
        assert_int_equal(value.kind, wanted[i].kind);
        if (value.kind != VALUE_NIL) {
            assert_int_equal(value_compare(&value, &wanted[i]), 0);
        }
    }
}

static const struct record *find_row(struct bed *bed, const struct memory_row *row)
{
    struct value values[2 + PLAIN_FIELDS];
    values_of(bed, row, values);
    struct buffer key = BUFFER_INIT;
    memory_fixture_key(&key, values, bed->key_count);
    const struct record *found = bed->store->ops->find(bed->store, key.bytes, key.size);
    buffer_release(&key);
    return found;
}

static void check_all_found(struct bed *bed)
{
    unsigned count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        const struct record *found = find_row(bed, &bed->rows[i]);
        if (bed->rows[i].present) {
            assert_is(bed, found, &bed->rows[i]);
            count++;
        } else {
            assert_null(found);
        }
    }
    assert_int_equal(bed->store->counters.records, count);
}

/* ---- Changes ---- */

static int random_code(struct bed *bed, int codes)
{
    return random_below(&bed->random, 6) == 0 ? NIL
                                              : (int)random_below(&bed->random, (uint64_t)codes);
}

static void random_fields(struct bed *bed, struct memory_row *row, bool all)
{
    int *code = &row->code[bed->key_count];
    for (unsigned i = X; i <= W; i++) {
        if (all || random_below(&bed->random, 3) == 0) {
            code[i] = random_code(bed, i == W ? UNIQUE_CODES : MEMORY_CODES);
        }
    }
    code[SERIAL] = ++bed->serial;
    code[PADDING] = (int)random_below(
        &bed->random, random_below(&bed->random, 30) == 0 ? sizeof(padding_text) : 200);
}

/* Which row, other than `self`, has an identity that this one would have. */
static bool identity_taken(const struct bed *bed, const struct memory_row *row, unsigned self)
{
    const struct resource *resource = &bed->fixture.resource;
    for (unsigned n = 0; n < resource->identity_count; n++) {
        const struct field_list *fields = &resource->identities[n].fields;
        for (unsigned i = 0; i < KEYS; i++) {
            bool same = i != self && bed->rows[i].present;
            for (unsigned f = 0; f < fields->count && same; f++) {
                int code = row->code[fields->fields[f]];
                same = code != NIL && code == bed->rows[i].code[fields->fields[f]];
            }
            if (same) {
                return true;
            }
        }
    }
    return false;
}

static void expect_event(struct bed *bed, int old_serial, int new_serial)
{
    CHECK(bed->event_count < EVENTS_MAX);
    bed->events[bed->event_count++] = (struct expected_event){old_serial, new_serial};
}

static void on_write(struct write_listener *listener, const struct write_event *event)
{
    struct bed *bed = CONTAINER_OF(listener, struct bed, listener);
    assert_true(bed->event_seen < bed->event_count);
    const struct expected_event *expected = &bed->events[bed->event_seen++];
    assert_int_equal(event->old != NULL ? record_serial(bed, event->old) : NIL,
                     expected->old_serial);
    assert_int_equal(event->new != NULL ? record_serial(bed, event->new) : NIL,
                     expected->new_serial);
    assert_true(event->sequence > bed->last_sequence);
    assert_ptr_equal(event->resource, &bed->fixture.resource);
    bed->last_sequence = event->sequence;
}

static void change_one(struct bed *bed)
{
    struct store *store = bed->store;
    unsigned at = (unsigned)random_below(&bed->random, KEYS);
    struct memory_row *row = &bed->rows[at];
    const struct record *old = find_row(bed, row);
    assert_int_equal(old != NULL, row->present);
    if (old != NULL && random_below(&bed->random, 3) == 0) {
        assert_int_equal(store->ops->remove(store, old, NULL), 0);
        expect_event(bed, serial_of(bed, row), NIL);
        row->present = false;
        assert_null(find_row(bed, row));
        return;
    }
    struct memory_row next = *row;
    random_fields(bed, &next, old == NULL);
    struct value values[2 + PLAIN_FIELDS];
    values_of(bed, &next, values);
    const struct record *image = memory_fixture_record(&bed->fixture, &bed->arena, values);
    const struct record *stored = NULL;
    struct error error = ERROR_INIT;
    bool create_taken = old != NULL && random_below(&bed->random, 10) == 0;
    int rc = store->ops->put(store, create_taken ? NULL : old, image, &stored, &error);
    if (create_taken || identity_taken(bed, &next, at)) {
        assert_int_equal(rc, -CODE_CONFLICT);
        assert_int_equal(error.code, CODE_CONFLICT);
        assert_true(error.key_size > 0);
        return;
    }
    assert_int_equal(rc, 0);
    next.present = true;
    assert_is(bed, stored, &next);
    expect_event(bed, old != NULL ? serial_of(bed, row) : NIL, serial_of(bed, &next));
    *row = next;
    assert_ptr_equal(find_row(bed, row), stored);
}

static void transact(struct bed *bed)
{
    memcpy(bed->saved, bed->rows, sizeof(bed->rows));
    bed->event_count = 0;
    bed->event_seen = 0;
    bed->store->ops->begin(bed->store);
    for (uint64_t n = 1 + random_below(&bed->random, 6); n > 0; n--) {
        change_one(bed);
    }
    if (random_below(&bed->random, 4) == 0) {
        bed->store->ops->rollback(bed->store);
        memcpy(bed->rows, bed->saved, sizeof(bed->rows));
        assert_int_equal(bed->event_seen, 0);
    } else {
        bed->store->ops->commit(bed->store);
        assert_int_equal(bed->event_seen, bed->event_count);
    }
    arena_reset(&bed->arena);
}

/* ---- Ranges ---- */

static int field_codes(const struct bed *bed, uint16_t field)
{
    return field == bed->key_count + W ? UNIQUE_CODES : MEMORY_CODES;
}

static struct value field_value(const struct bed *bed, uint16_t field, int code)
{
    return memory_value(bed->fixture.fields[field].type.kind, code);
}

static void random_range(struct bed *bed, struct range *range, struct memory_bounds *bounds)
{
    memset(range, 0, sizeof(*range));
    range->index =
        &bed->fixture.indexes[random_below(&bed->random, bed->fixture.resource.index_count)];
    const struct field_list *fields = &range->index->fields;
    range->equal_count = (uint16_t)random_below(&bed->random, fields->count + 1U);
    for (unsigned i = 0; i < range->equal_count; i++) {
        int codes = field_codes(bed, fields->fields[i]);
        bounds->equal[i] = (int)random_below(&bed->random, (uint64_t)codes);
        range->equal[i] = field_value(bed, fields->fields[i], bounds->equal[i]);
    }
    if (range->equal_count < fields->count) {
        uint16_t field = fields->fields[range->equal_count];
        uint64_t codes = (uint64_t)field_codes(bed, field);
        range->has_lower = random_below(&bed->random, 2) == 0;
        range->has_upper = random_below(&bed->random, 2) == 0;
        range->lower_open = random_below(&bed->random, 2) == 0;
        range->upper_open = random_below(&bed->random, 2) == 0;
        bounds->lower = (int)random_below(&bed->random, codes);
        bounds->upper = (int)random_below(&bed->random, codes);
        range->lower = field_value(bed, field, bounds->lower);
        range->upper = field_value(bed, field, bounds->upper);
    }
    range->reverse = random_below(&bed->random, 2) == 0;
}

static void expect_range(struct bed *bed, struct open_cursor *open,
                         const struct memory_bounds *bounds)
{
    open->count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        if (!bed->rows[i].present || !memory_in_range(&open->range, bounds, &bed->rows[i])) {
            continue;
        }
        unsigned at = open->count++;
        while (at > 0) {
            int order = memory_row_compare(&open->range.index->fields, bed->key_count,
                                           &open->rows[at - 1], &bed->rows[i]);
            if ((open->range.reverse ? -order : order) < 0) {
                break;
            }
            open->rows[at] = open->rows[at - 1];
            at--;
        }
        open->rows[at] = bed->rows[i];
    }
}

/* ---- Cursors and pins ---- */

static void cursor_open(struct bed *bed, struct open_cursor *open)
{
    open->open = true;
    open->given = 0;
    open->count = 0;
    open->ranged = random_below(&bed->random, 2) == 0;
    if (open->ranged) {
        struct memory_bounds bounds = {0};
        random_range(bed, &open->range, &bounds);
        expect_range(bed, open, &bounds);
        uint64_t estimate = bed->store->ops->estimate(bed->store, &open->range, 7);
        assert_true(estimate >= (open->count < 7 ? open->count : 7));
        assert_int_equal(bed->store->ops->range(bed->store, &open->range, &open->cursor), 0);
        return;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        if (bed->rows[i].present) {
            open->rows[open->count++] = bed->rows[i];
        }
    }
    assert_int_equal(bed->store->ops->scan(bed->store, &open->cursor), 0);
}

static void cursor_step(struct bed *bed, struct open_cursor *open, uint64_t steps)
{
    while (steps-- > 0 && open->open) {
        const struct record *record = bed->store->ops->next(&open->cursor);
        if (record == NULL) {
            assert_int_equal(open->given, open->count);
            assert_null(bed->store->ops->next(&open->cursor));
            bed->store->ops->close(&open->cursor);
            open->open = false;
            return;
        }
        assert_true(open->given < open->count);
        if (open->ranged) {
            assert_is(bed, record, &open->rows[open->given++]);
            continue;
        }
        unsigned at = open->given;
        while (at < open->count && serial_of(bed, &open->rows[at]) != record_serial(bed, record)) {
            at++;
        }
        assert_true(at < open->count);
        assert_is(bed, record, &open->rows[at]);
        struct memory_row row = open->rows[at];
        open->rows[at] = open->rows[open->given];
        open->rows[open->given++] = row;
    }
}

static void cursor_any(struct bed *bed)
{
    struct open_cursor *open = &bed->cursors[random_below(&bed->random, CURSORS)];
    if (!open->open) {
        cursor_open(bed, open);
    } else if (random_below(&bed->random, 12) == 0) {
        bed->store->ops->close(&open->cursor);
        open->open = false;
    }
    cursor_step(bed, open, random_below(&bed->random, 40));
}

static void pin_check(struct bed *bed, struct open_pin *pin)
{
    for (unsigned i = 0; i < pin->count; i++) {
        assert_is(bed, pin->records[i], &pin->rows[i]);
    }
}

static void pin_any(struct bed *bed)
{
    struct open_pin *pin = &bed->pins[random_below(&bed->random, PINS)];
    if (pin->taken) {
        pin_check(bed, pin);
        pin_put(&pin->pin);
        pin->taken = false;
        return;
    }
    pin_take(&bed->world, &pin->pin);
    pin->taken = true;
    pin->count = 0;
    for (unsigned i = 0; i < PINNED; i++) {
        const struct memory_row *row = &bed->rows[random_below(&bed->random, KEYS)];
        if (row->present) {
            pin->records[pin->count] = find_row(bed, row);
            pin->rows[pin->count++] = *row;
        }
    }
}

static void check_identities(struct bed *bed)
{
    const struct memory_row *row = &bed->rows[random_below(&bed->random, KEYS)];
    int code = row->code[bed->key_count + W];
    if (!row->present || code == NIL) {
        return;
    }
    struct value value = memory_value(TYPE_UUID, code);
    struct buffer key = BUFFER_INIT;
    memory_fixture_key(&key, &value, 1);
    assert_is(bed,
              bed->store->ops->find_identity(bed->store, &bed->fixture.identities[0], key.bytes,
                                             key.size),
              row);
    buffer_release(&key);
}

/* ---- The run ---- */

static void bed_init(struct bed *bed, const enum type_kind *key_types, unsigned key_count)
{
    memory_fixture_init(&bed->fixture, "thing");
    bed->key_count = key_count;
    for (unsigned i = 0; i < key_count; i++) {
        bed->key_types[i] = key_types[i];
        memory_fixture_field(&bed->fixture, key_types[i]);
    }
    static const enum type_kind plain[] = {TYPE_INTEGER, TYPE_STRING,  TYPE_DATETIME,
                                           TYPE_UUID,    TYPE_INTEGER, TYPE_STRING};
    for (unsigned i = 0; i < ARRAY_COUNT(plain); i++) {
        memory_fixture_field(&bed->fixture, plain[i]);
    }
    int x = (int)key_count + X, y = x + 1, z = x + 2, w = x + 3;
    memory_fixture_primary_key(&bed->fixture, key_count);
    memory_fixture_identity(&bed->fixture, (int[]){w, -1});
    memory_fixture_identity(&bed->fixture, (int[]){x, y, z, -1});
    memory_fixture_index(&bed->fixture, (int[]){x, -1});
    memory_fixture_index(&bed->fixture, (int[]){y, z, -1});
    memory_fixture_index(&bed->fixture, (int[]){z, x, -1});
    memory_fixture_index(&bed->fixture, (int[]){w, -1});
    memory_fixture_index(&bed->fixture, (int[]){x, y, z, -1});

    world_init(&bed->world);
    bed->listener.on_write = on_write;
    world_listen(&bed->world, &bed->listener);
    bed->memory = memory_create_sized(&bed->world, (uint64_t)64 * 1024 * 1024);
    assert_non_null(bed->memory);
    bed->store = memory_table_create(bed->memory, &bed->fixture.resource);
    assert_non_null(bed->store);
    for (unsigned i = 0; i < KEYS; i++) {
        bed->rows[i].code[0] = (int)i;
        if (key_count == 2) {
            bed->rows[i].code[0] = (int)i / 10;
            bed->rows[i].code[1] = (int)i % 10;
        }
    }
}

static void bed_release(struct bed *bed)
{
    for (unsigned i = 0; i < CURSORS; i++) {
        cursor_step(bed, &bed->cursors[i], UINT64_MAX);
    }
    for (unsigned i = 0; i < PINS; i++) {
        if (bed->pins[i].taken) {
            pin_check(bed, &bed->pins[i]);
            pin_put(&bed->pins[i].pin);
        }
    }
    while (memory_turn(bed->memory)) {
    }
    struct table *table = table_of(bed->store);
    assert_int_equal(table->garbage.count, 0);
    assert_int_equal(table->orders[0].dead, 0);
    table_check(table);
    check_all_found(bed);

    /* All go; then nothing is left, not even in the slabs. */
    bed->event_count = 0;
    bed->event_seen = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        const struct record *record = find_row(bed, &bed->rows[i]);
        if (record != NULL) {
            bed->event_count = 0;
            bed->event_seen = 0;
            bed->store->ops->begin(bed->store);
            expect_event(bed, serial_of(bed, &bed->rows[i]), NIL);
            assert_int_equal(bed->store->ops->remove(bed->store, record, NULL), 0);
            bed->store->ops->commit(bed->store);
        }
    }
    while (memory_turn(bed->memory)) {
    }
    assert_int_equal(table->records.bytes, 0);
    assert_int_equal(table->orders[0].bytes, 0);
    memory_table_free(bed->store);
    memory_free(bed->memory);
    arena_release(&bed->arena);
}

static void run(const char *name, const enum type_kind *key_types, unsigned key_count)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    bed->random = random_start(name);
    bed_init(bed, key_types, key_count);
    for (unsigned i = 0; i < STEPS; i++) {
        switch (random_below(&bed->random, 8)) {
        case 0:
        case 1:
        case 2:
            transact(bed);
            break;
        case 3:
        case 4:
            cursor_any(bed);
            break;
        case 5:
            pin_any(bed);
            break;
        case 6:
            check_identities(bed);
            break;
        default:
            (void)memory_turn(bed->memory);
            break;
        }
        if (i % 100 == 0) {
            check_all_found(bed);
            table_check(table_of(bed->store));
        }
    }
    bed_release(bed);
    free(bed);
}

static void test_integer_key(void **state)
{
    (void)state;
    run("integer key", (enum type_kind[]){TYPE_INTEGER}, 1);
}

static void test_string_key(void **state)
{
    (void)state;
    run("string key", (enum type_kind[]){TYPE_STRING}, 1);
}

static void test_composite_key(void **state)
{
    (void)state;
    run("composite key", (enum type_kind[]){TYPE_UUID, TYPE_INTEGER}, 2);
}

static void test_datetime_key(void **state)
{
    (void)state;
    run("datetime key", (enum type_kind[]){TYPE_DATETIME}, 1);
}

int main(void)
{
    memory_values_init();
    memset(padding_text, 'p', sizeof(padding_text));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integer_key),
        cmocka_unit_test(test_string_key),
        cmocka_unit_test(test_composite_key),
        cmocka_unit_test(test_datetime_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

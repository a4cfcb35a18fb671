#include "layers/memory/order_key.h"

#include <math.h>
#include <string.h>

#include "protocol/base/check.h"

static bool has_field(const struct order_key *key, uint16_t field)
{
    for (unsigned i = 0; i < key->count; i++) {
        if (key->fields[i] == field) {
            return true;
        }
    }
    return false;
}

void order_key_init(struct order_key *key, const struct resource *resource,
                    const struct field_list *fields)
{
    CHECK(fields->count > 0 && fields->count <= KEY_FIELDS_MAX);
    memset(key, 0, sizeof(*key));
    key->resource = resource;
    for (unsigned i = 0; i < fields->count; i++) {
        CHECK(type_indexable(resource->fields[fields->fields[i]].type.kind));
        key->fields[key->count++] = fields->fields[i];
    }
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        if (!has_field(key, resource->primary_key.fields[i])) {
            key->fields[key->count++] = resource->primary_key.fields[i];
        }
    }
    key->integer = resource->fields[key->fields[0]].type.kind == TYPE_INTEGER;
}

/* ---- Prefixes ---- */

static uint64_t prefix_of_integer(int64_t integer)
{
    return (uint64_t)integer ^ (1ULL << 63);
}

/* A bound between integers has the prefix of the integer below it. */
static uint64_t prefix_of_real(double real)
{
    double below = floor(real);
    if (!(below >= -0x1p63)) {
        return 0;
    }
    return below >= 0x1p63 ? UINT64_MAX : prefix_of_integer((int64_t)below);
}

static uint64_t prefix_of_bytes(const uint8_t *bytes, uint32_t size)
{
    uint8_t first[8] = {0};
    memcpy(first, bytes, size < sizeof(first) ? size : sizeof(first));
    uint64_t prefix;
    memcpy(&prefix, first, sizeof(prefix));
    return __builtin_bswap64(prefix);
}

/* 34 bits of seconds (1697 to 2242 exactly) and 30 of nanoseconds. */
static uint64_t prefix_of_datetime(const struct datetime *datetime)
{
    const int64_t half = 1LL << 33;
    if (datetime->seconds < -half) {
        return 0;
    }
    if (datetime->seconds >= half) {
        return UINT64_MAX;
    }
    return (uint64_t)(datetime->seconds + half) << 30 | datetime->nanoseconds;
}

uint64_t order_prefix(const struct value *value)
{
    switch (value->kind) {
    case VALUE_NIL:
        return UINT64_MAX;
    case VALUE_INTEGER:
        return prefix_of_integer(value->integer);
    case VALUE_FLOAT:
        return prefix_of_real(value->real);
    case VALUE_TEXT:
    case VALUE_BINARY:
        return value->size == 0 ? 0 : prefix_of_bytes(value->bytes, value->size);
    case VALUE_DATETIME:
        return prefix_of_datetime(&value->datetime);
    case VALUE_BOOLEAN:
    case VALUE_ANY:
    case VALUE_LIST:
        break;
    }
    check_failed("values of the kind stand in indexes", __FILE__, __LINE__);
}

/* ---- Targets ---- */

void order_target_init(struct order_target *target, const struct order_key *key,
                       const struct value *values, uint8_t count, const struct value *last,
                       int8_t tie)
{
    memset(target, 0, sizeof(*target));
    target->values = values;
    target->count = count;
    target->last = last;
    target->tie = tie;
    const struct value *first = count > 0 ? &values[0] : last;
    if (first == NULL) {
        /* Before, or after, everything; ties are then decided by `tie` alone. */
        target->prefix = tie > 0 ? 0 : UINT64_MAX;
        return;
    }
    target->prefix = order_prefix(first);
    target->exact = key->integer && first->kind == VALUE_INTEGER && target->prefix != UINT64_MAX;
}

void order_target_of_record(struct order_target *target, const struct order_key *key,
                            const struct record *record, uint32_t reference,
                            struct value room[KEY_FIELDS_MAX * 2])
{
    for (unsigned i = 0; i < key->count; i++) {
        record_load(record, key->resource, key->fields[i], &room[i]);
    }
    order_target_init(target, key, room, key->count, NULL, 0);
    target->reference = reference;
}

/* ---- Comparing ---- */

static int compare_with_nil(const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_NIL || b->kind == VALUE_NIL) {
        return (a->kind == VALUE_NIL ? 1 : 0) - (b->kind == VALUE_NIL ? 1 : 0);
    }
    return value_compare(a, b);
}

int order_compare_tie(const struct order_key *key, const struct record *record, uint32_t reference,
                      const struct order_target *target)
{
    unsigned count = target->count + (target->last != NULL ? 1U : 0U);
    for (unsigned i = target->exact ? 1 : 0; i < count; i++) {
        const struct value *wanted = i < target->count ? &target->values[i] : target->last;
        struct value value;
        record_load(record, key->resource, key->fields[i], &value);
        int order = compare_with_nil(&value, wanted);
        if (order != 0) {
            return order;
        }
    }
    if (target->tie != 0) {
        return target->tie;
    }
    return (reference > target->reference ? 1 : 0) - (reference < target->reference ? 1 : 0);
}

bool order_same(const struct resource *resource, const struct field_list *fields,
                const struct record *a, const struct record *b)
{
    for (unsigned i = 0; i < fields->count; i++) {
        uint32_t a_size;
        uint32_t b_size;
        const uint8_t *a_bytes = record_field(a, resource->field_count, fields->fields[i], &a_size);
        const uint8_t *b_bytes = record_field(b, resource->field_count, fields->fields[i], &b_size);
        if (a_size != b_size || memcmp(a_bytes, b_bytes, a_size) != 0) {
            return false;
        }
    }
    return true;
}

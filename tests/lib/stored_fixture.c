#include "tests/lib/stored_fixture.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

static const char *const members[] = {"open", "closed", "on: hold %", "ü{}"};

void stored_fixture_init(struct stored_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    memory_fixture_init(&fixture->base, "rep");
    fixture->base.resource.layer = LAYER_REDIS;
    fixture->base.resource.redis = &fixture->redis;
}

void stored_fixture_text(struct stored_fixture *fixture, const char *text)
{
    unsigned position = fixture->redis.key_part_count++;
    CHECK(position < KEY_PARTS_MAX);
    snprintf(fixture->texts[position], sizeof(fixture->texts[position]), "%s", text);
    fixture->redis.key_parts[position] = (struct key_part){
        .text = fixture->texts[position], .size = (uint32_t)strlen(fixture->texts[position])};
}

void stored_fixture_key_field(struct stored_fixture *fixture, uint16_t field)
{
    unsigned position = fixture->redis.key_part_count++;
    CHECK(position < KEY_PARTS_MAX);
    fixture->redis.key_parts[position] = (struct key_part){.field = field};
}

static void shuffle(struct random *random, uint16_t *items, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        uint64_t other = random_below(random, i);
        uint16_t item = items[i - 1];
        items[i - 1] = items[other];
        items[other] = item;
    }
}

static void random_field(struct stored_fixture *fixture, struct random *random, bool key)
{
    static const char *const names[] = {"", "Id", "na\"me\\", "ünïcode", "a b", "\x01"};
    enum type_kind kind;
    do {
        kind = (enum type_kind)random_below(random, TYPE_COUNT);
    } while (key && !type_indexable(kind));
    uint16_t position = memory_fixture_field(&fixture->base, kind);
    struct field *field = &fixture->base.fields[position];
    field->required = key || random_below(random, 4) == 0;
    field->in_primary_key = key;
    if (kind == TYPE_ENUM) {
        field->type.members = members;
        field->type.member_count = ARRAY_COUNT(members);
    }
    if (random_below(random, 2) == 0) {
        char *stored = fixture->stored_as[position];
        snprintf(stored, sizeof(fixture->stored_as[position]), "%s%u",
                 names[random_below(random, ARRAY_COUNT(names))], position);
        field->stored_as = stored;
        field->stored_as_size = (uint16_t)strlen(stored);
    }
}

static void random_template(struct stored_fixture *fixture, struct random *random)
{
    static const char *const between[] = {":", "/", "::", "}:{", "A", "5", "F%", "-", "2", ":%25"};
    static const char *const outer[] = {"rep:", "{", "%", "*[?]\\", "5", "ü", ":"};
    struct field_list key = fixture->base.resource.primary_key;
    shuffle(random, key.fields, key.count);
    if (random_below(random, 4) > 0) {
        stored_fixture_text(fixture, outer[random_below(random, ARRAY_COUNT(outer))]);
    }
    for (unsigned i = 0; i < key.count; i++) {
        if (i > 0) {
            stored_fixture_text(fixture, between[random_below(random, ARRAY_COUNT(between))]);
        }
        stored_fixture_key_field(fixture, key.fields[i]);
    }
    if (random_below(random, 3) == 0) {
        stored_fixture_text(fixture, outer[random_below(random, ARRAY_COUNT(outer))]);
    }
}

void stored_fixture_random(struct stored_fixture *fixture, struct random *random)
{
    stored_fixture_init(fixture);
    unsigned count = 1 + (unsigned)random_below(random, FIXTURE_FIELDS_MAX);
    unsigned keys = 1 + (unsigned)random_below(random, count < 4 ? count : 4);
    for (unsigned i = 0; i < count; i++) {
        random_field(fixture, random, i < keys);
    }
    struct field_list *key = &fixture->base.resource.primary_key;
    memory_fixture_primary_key(&fixture->base, keys);
    shuffle(random, key->fields, keys);
    random_template(fixture, random);
}

/* ---- Values ---- */

static void random_text(struct random *random, struct buffer *out)
{
    static const char *const pieces[] = {
        ":",    "%",
        "%3A",  "/",
        "{",    "}",
        "\"",   "\\",
        "\n",   "\x01",
        "\x7f", "ü",
        "€",    "\xf0\x9f\x98\x80",
        "5",    "A",
        "F",    "a long piece",
        "-",    " ",
    };
    uint8_t bytes[120];
    size_t size = 0;
    uint64_t count =
        random_below(random, 3) == 0 ? random_below(random, 10) : random_below(random, 3);
    for (uint64_t i = 0; i < count; i++) {
        const char *piece = pieces[random_below(random, ARRAY_COUNT(pieces))];
        memcpy(bytes + size, piece, strlen(piece));
        size += strlen(piece);
        if (random_below(random, 10) == 0) {
            bytes[size++] = '\0';
        }
    }
    write_string(out, bytes, size);
}

static void random_binary(struct random *random, struct buffer *out)
{
    uint8_t bytes[300];
    size_t size = random_below(random, random_below(random, 8) == 0 ? sizeof(bytes) : 6);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = random_below(random, 4) == 0 ? (uint8_t) "\0:%\""[random_below(random, 4)]
                                                : (uint8_t)random_next(random);
    }
    write_binary(out, bytes, size);
}

static int64_t random_integer(struct random *random)
{
    static const int64_t borders[] = {0, -1, 127, 128, -32, -33, INT64_MAX, INT64_MIN, 255, 65536};
    if (random_below(random, 3) == 0) {
        return borders[random_below(random, ARRAY_COUNT(borders))];
    }
    return (int64_t)random_magnitude(random);
}

static double random_real(struct random *random)
{
    static const double reals[] = {0.0,   1.0, -2.5, 0.1, 1e22, 1e-300, 1.7976931348623157e308,
                                   5e-324};
    uint64_t bits = random_next(random);
    double real;
    memcpy(&real, &bits, sizeof(real));
    bool usual = random_below(random, 2) == 0 || !(real - real == 0);
    real = usual ? reals[random_below(random, ARRAY_COUNT(reals))] : real;
    return real == 0 ? 0.0 : real;
}

static void random_datetime(struct random *random, struct buffer *out)
{
    static const uint32_t scales[] = {1, 1000, 1000000};
    struct datetime datetime = {.seconds = (int64_t)random_below(random, 4000000000u)};
    if (random_below(random, 4) == 0) {
        datetime.seconds = random_integer(random);
    }
    if (random_below(random, 2) == 0) {
        uint32_t scale = scales[random_below(random, ARRAY_COUNT(scales))];
        datetime.nanoseconds = (uint32_t)random_below(random, 1000000000u / scale) * scale;
    }
    write_datetime(out, &datetime);
}

static void random_uuid(struct random *random, struct buffer *out)
{
    char text[TYPE_UUID_TEXT + 1];
    snprintf(text, sizeof(text), "%08x-%04x-%04x-%04x-%012llx", (unsigned)random_next(random),
             (unsigned)random_below(random, 65536), (unsigned)random_below(random, 65536),
             (unsigned)random_below(random, 65536),
             (unsigned long long)random_below(random, 1LL << 48));
    write_string(out, text, TYPE_UUID_TEXT);
}

static void random_any(struct random *random, bool json, unsigned levels, struct buffer *out)
{
    uint64_t kind = random_below(random, levels > 0 ? 10 : 8);
    uint32_t count = (uint32_t)random_below(random, random_below(random, 8) == 0 ? 20 : 4);
    switch (kind) {
    case 0:
        write_nil(out);
        return;
    case 1:
        write_boolean(out, random_below(random, 2) == 0);
        return;
    case 2:
        write_integer(out, random_integer(random));
        return;
    case 3:
        write_float(out, random_real(random));
        return;
    case 4:
    case 5:
        random_text(random, out);
        return;
    case 6:
        json ? random_text(random, out) : random_binary(random, out);
        return;
    case 7:
        json ? random_text(random, out) : random_datetime(random, out);
        return;
    default:
        break;
    }
    kind == 8 ? write_array(out, count) : write_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        if (kind == 9) {
            /* Names that differ, since JSON keeps one of each. */
            char name[24];
            snprintf(name, sizeof(name), "%u\"\\\n", i);
            write_text(out, name);
        }
        random_any(random, json, levels - 1, out);
    }
}

void stored_fixture_value(const struct type *type, struct random *random, bool json,
                          struct buffer *out)
{
    size_t before = out->size;
    switch (type->kind) {
    case TYPE_INTEGER:
        write_integer(out, random_integer(random));
        return;
    case TYPE_FLOAT:
        write_float(out, random_real(random));
        return;
    case TYPE_BOOLEAN:
        write_boolean(out, random_below(random, 2) == 0);
        return;
    case TYPE_STRING:
        random_text(random, out);
        return;
    case TYPE_BINARY:
        random_binary(random, out);
        return;
    case TYPE_DATETIME:
        random_datetime(random, out);
        return;
    case TYPE_UUID:
        random_uuid(random, out);
        return;
    case TYPE_ENUM:
        write_text(out, type->members[random_below(random, type->member_count)]);
        return;
    case TYPE_ANY:
        do {
            buffer_truncate(out, before);
            random_any(random, json, 3, out);
        } while (out->bytes[before] == 0xc0);
        return;
    case TYPE_COUNT:
        break;
    }
    CHECK(false);
}

#include "tests/lib/memory_fixture.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"

void memory_fixture_init(struct memory_fixture *fixture, const char *name)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->resource.name = name;
    fixture->resource.name_size = (uint8_t)strlen(name);
    fixture->resource.fields = fixture->fields;
    fixture->resource.identities = fixture->identities;
    fixture->resource.indexes = fixture->indexes;
    fixture->resource.layout = 1;
}

uint16_t memory_fixture_field(struct memory_fixture *fixture, enum type_kind kind)
{
    uint16_t position = fixture->resource.field_count++;
    CHECK(position < FIXTURE_FIELDS_MAX);
    snprintf(fixture->names[position], sizeof(fixture->names[position]), "f%u", position % 100U);
    fixture->fields[position] = (struct field){
        .name = fixture->names[position],
        .name_size = (uint8_t)strlen(fixture->names[position]),
        .position = position,
        .type = {.kind = kind},
    };
    return position;
}

void memory_fixture_primary_key(struct memory_fixture *fixture, unsigned count)
{
    fixture->resource.primary_key.count = (uint16_t)count;
    for (unsigned i = 0; i < count; i++) {
        fixture->resource.primary_key.fields[i] = (uint16_t)i;
        fixture->fields[i].in_primary_key = true;
        fixture->fields[i].required = true;
    }
}

static struct field_list list_of(const int *fields)
{
    struct field_list list = {0};
    for (; *fields >= 0; fields++) {
        CHECK(list.count < KEY_FIELDS_MAX);
        list.fields[list.count++] = (uint16_t)*fields;
    }
    return list;
}

void memory_fixture_identity(struct memory_fixture *fixture, const int *fields)
{
    CHECK(fixture->resource.identity_count < FIXTURE_LISTS_MAX);
    struct identity *identity = &fixture->identities[fixture->resource.identity_count++];
    identity->name = "unique";
    identity->fields = list_of(fields);
}

void memory_fixture_index(struct memory_fixture *fixture, const int *fields)
{
    CHECK(fixture->resource.index_count < FIXTURE_LISTS_MAX);
    fixture->indexes[fixture->resource.index_count++].fields = list_of(fields);
}

const struct record *memory_fixture_record(const struct memory_fixture *fixture,
                                           struct arena *arena, const struct value *values)
{
    struct buffer buffer = BUFFER_INIT;
    struct record_draft draft;
    struct record *record;
    CHECK(record_draft_init(&draft, &fixture->resource, arena, &buffer) == 0);
    for (unsigned i = 0; i < fixture->resource.field_count; i++) {
        draft.parts[i].offset = buffer.size;
        value_write(&buffer, &values[i]);
        draft.parts[i].size = (uint32_t)(buffer.size - draft.parts[i].offset);
    }
    CHECK(record_draft_build(&draft, arena, &record, NULL) == 0);
    buffer_release(&buffer);
    return record;
}

void memory_fixture_key(struct buffer *out, const struct value *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        value_write(out, &values[i]);
    }
}

struct value memory_fixture_integer(int64_t integer)
{
    return (struct value){.kind = VALUE_INTEGER, .integer = integer};
}

struct value memory_fixture_text(const char *text)
{
    return (struct value){
        .kind = VALUE_TEXT, .size = (uint32_t)strlen(text), .bytes = (const uint8_t *)text};
}

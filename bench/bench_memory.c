/* What the memory layer costs by itself: nanoseconds an operation, bytes a
 * record, at 1,000,000 records with 200 bytes of values. Takes another count
 * as its argument. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layers/memory/memory.h"
#include "protocol/base/arena.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

enum { FIELDS = 10, NAME_BYTES = 29, GROUP = 20, TRANSACTION = 1000 };

struct bed {
    struct resource resource;
    struct field fields[FIELDS];
    struct index indexes[2];
    struct world world;
    struct memory *memory;
    struct store *store;
    uint64_t count;
    uint64_t sum; /* of what was read, so that nothing is left out */
};

/* Of processor time, as the machine may have other work. */
static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t scatter(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

static void report(const char *what, uint64_t started, uint64_t operations)
{
    double ns = (double)(now_ns() - started) / (double)operations;
    printf("%-44s %8.1f ns\n", what, ns);
}

/* id, group_id, seven texts, and one that fills up to 200 bytes. */
static void bed_init(struct bed *bed, unsigned index_count)
{
    memset(bed, 0, sizeof(*bed));
    bed->resource = (struct resource){.name = "thing", .fields = bed->fields, .layout = 1};
    bed->resource.field_count = FIELDS;
    for (unsigned i = 0; i < FIELDS; i++) {
        bed->fields[i].name = "field";
        bed->fields[i].position = (uint16_t)i;
        bed->fields[i].type.kind = i < 2 ? TYPE_INTEGER : TYPE_STRING;
    }
    bed->resource.primary_key = (struct field_list){.count = 1, .fields = {0}};
    bed->indexes[0].fields = (struct field_list){.count = 1, .fields = {1}};
    bed->indexes[1].fields = (struct field_list){.count = 1, .fields = {2}};
    bed->resource.indexes = bed->indexes;
    bed->resource.index_count = (uint16_t)index_count;
    world_init(&bed->world);
    bed->memory = memory_create(&bed->world);
    CHECK(bed->memory != NULL);
    bed->store = memory_table_create(bed->memory, &bed->resource);
    CHECK(bed->store != NULL);
}

static void bed_release(struct bed *bed)
{
    memory_table_free(bed->store);
    memory_free(bed->memory);
}

static const struct record *image(const struct bed *bed, struct arena *arena, struct buffer *buffer,
                                  uint64_t id)
{
    static const char filler[256] = {0};
    char text[NAME_BYTES];
    struct record_draft draft;
    struct record *record;
    arena_reset(arena);
    buffer_truncate(buffer, 0);
    CHECK(record_draft_init(&draft, &bed->resource, arena, buffer) == 0);
    for (unsigned i = 0; i < FIELDS; i++) {
        size_t before = buffer->size;
        if (i == 0) {
            write_integer(buffer, (int64_t)id);
        } else if (i == 1) {
            write_integer(buffer, (int64_t)(scatter(id) % (bed->count / GROUP + 1)));
        } else if (i < FIELDS - 1) {
            int size =
                snprintf(text, sizeof(text), "%u/%016llx", i, (unsigned long long)scatter(id + i));
            write_string(buffer, text, (size_t)size);
        } else {
            write_string(buffer, filler, 200 - buffer->size - 2);
        }
        draft.parts[i].offset = before;
        draft.parts[i].size = (uint32_t)(buffer->size - before);
    }
    CHECK(buffer->size == 200);
    CHECK(record_draft_build(&draft, arena, &record, NULL) == 0);
    return record;
}

static void turns(struct bed *bed)
{
    while (memory_turn(bed->memory)) {
    }
}

static const struct record *find(const struct bed *bed, uint64_t id)
{
    uint8_t key[WRITE_HEADER_MAX];
    size_t size = encode_integer(key, (int64_t)id);
    return bed->store->ops->find(bed->store, key, size);
}

static void load(struct bed *bed)
{
    struct arena arena = {0};
    struct buffer buffer = BUFFER_INIT;
    const struct record *stored;
    uint64_t images = 0;
    uint64_t started = now_ns();
    for (uint64_t id = 0; id < bed->count; id++) {
        bed->sum += image(bed, &arena, &buffer, id)->size;
    }
    images = now_ns() - started;
    started = now_ns();
    for (uint64_t id = 0; id < bed->count; id++) {
        if (id % TRANSACTION == 0) {
            bed->store->ops->begin(bed->store);
        }
        CHECK(bed->store->ops->put(bed->store, NULL, image(bed, &arena, &buffer, id), &stored,
                                   NULL) == 0);
        if (id % TRANSACTION == TRANSACTION - 1 || id == bed->count - 1) {
            bed->store->ops->commit(bed->store);
            (void)memory_turn(bed->memory);
        }
    }
    report("create", started + images, bed->count);
    turns(bed);
    printf("%-44s %8.1f bytes\n", "  taken from the system, a record",
           (double)memory_bytes(bed->memory) / (double)bed->count);
    printf("%-44s %8.1f bytes\n", "  counted, a record",
           (double)bed->store->counters.bytes / (double)bed->count);
    arena_release(&arena);
    buffer_release(&buffer);
}

static void measure_find_many(struct bed *bed)
{
    enum { KEYS = 100 };
    uint8_t bytes[KEYS][WRITE_HEADER_MAX];
    struct store_key keys[KEYS];
    const struct record *found[KEYS];
    uint64_t started = now_ns();
    uint64_t calls = bed->count / KEYS;
    for (uint64_t call = 0; call < calls; call++) {
        for (unsigned i = 0; i < KEYS; i++) {
            uint64_t id = scatter(call * KEYS + i) % bed->count;
            size_t size = encode_integer(bytes[i], (int64_t)id);
            keys[i] = (struct store_key){bytes[i], size};
        }
        store_find_many(bed->store, keys, KEYS, found);
        for (unsigned i = 0; i < KEYS; i++) {
            bed->sum += found[i]->size;
        }
    }
    report("find, at random, 100 in one call", started, calls * KEYS);
}

static void measure_find(struct bed *bed)
{
    uint64_t started = now_ns();
    for (uint64_t i = 0; i < bed->count; i++) {
        bed->sum += find(bed, scatter(i) % bed->count)->size;
    }
    report("find, at random", started, bed->count);
    measure_find_many(bed);
    started = now_ns();
    for (uint64_t i = 0; i < bed->count; i++) {
        bed->sum += find(bed, scatter(i) % 1000)->size;
    }
    report("find, among 1000 warm ones", started, bed->count);
    started = now_ns();
    for (uint64_t i = 0; i < bed->count; i++) {
        bed->sum += find(bed, bed->count + i) == NULL ? 1 : 0;
    }
    report("find, absent", started, bed->count);
}

static void measure_scan(struct bed *bed)
{
    struct store_cursor cursor;
    const struct record *record;
    uint64_t started = now_ns();
    CHECK(bed->store->ops->scan(bed->store, &cursor) == 0);
    while ((record = bed->store->ops->next(&cursor)) != NULL) {
        uint32_t size;
        bed->sum += *record_field(record, FIELDS, 1, &size);
    }
    bed->store->ops->close(&cursor);
    report("scan, a record with one field looked at", started, bed->count);
}

static void measure_join(struct bed *bed)
{
    struct store_cursor cursor;
    const struct record *record;
    uint64_t groups = bed->count / GROUP;
    uint64_t records = 0;
    uint64_t started = now_ns();
    for (uint64_t i = 0; i < groups; i++) {
        struct range range = {.index = &bed->indexes[0], .equal_count = 1};
        range.equal[0] =
            (struct value){.kind = VALUE_INTEGER, .integer = (int64_t)(scatter(i) % groups)};
        CHECK(bed->store->ops->range(bed->store, &range, &cursor) == 0);
        while ((record = bed->store->ops->next(&cursor)) != NULL) {
            bed->sum += record->size;
            records++;
        }
        bed->store->ops->close(&cursor);
    }
    report("join by equality, a source of 20 records", started, groups);
    report("join by equality, a record", started, records);
}

static void measure_replace(struct bed *bed)
{
    struct arena arena = {0};
    struct buffer buffer = BUFFER_INIT;
    const struct record *stored;
    uint64_t count = bed->count / 4;
    uint64_t started = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        bed->sum += image(bed, &arena, &buffer, i)->size;
    }
    uint64_t images = now_ns() - started;
    started = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = scatter(i + 7) % bed->count;
        const struct record *old = find(bed, id);
        bed->store->ops->begin(bed->store);
        CHECK(bed->store->ops->put(bed->store, old, image(bed, &arena, &buffer, id), &stored,
                                   NULL) == 0);
        bed->store->ops->commit(bed->store);
        if (i % 64 == 0) {
            (void)memory_turn(bed->memory);
        }
    }
    report("find and replace", started + images, count);
    turns(bed);
    arena_release(&arena);
    buffer_release(&buffer);
}

static void measure_remove(struct bed *bed)
{
    uint64_t started = now_ns();
    for (uint64_t i = 0; i < bed->count; i++) {
        bed->store->ops->begin(bed->store);
        CHECK(bed->store->ops->remove(bed->store, find(bed, i), NULL) == 0);
        bed->store->ops->commit(bed->store);
        if (i % 64 == 0) {
            (void)memory_turn(bed->memory);
        }
    }
    turns(bed);
    report("remove", started, bed->count);
}

static void run(uint64_t count, unsigned index_count)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    CHECK(bed != NULL);
    bed_init(bed, index_count);
    bed->count = count;
    printf("%llu records of 200 bytes, a primary key and %u ordered indexes\n",
           (unsigned long long)count, index_count);
    load(bed);
    measure_find(bed);
    measure_scan(bed);
    if (index_count > 0) {
        measure_join(bed);
    }
    measure_replace(bed);
    measure_remove(bed);
    printf("(%llu)\n", (unsigned long long)bed->sum);
    bed_release(bed);
    free(bed);
}

int main(int argument_count, char **arguments)
{
    uint64_t count = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 1000000;
    if (count < 1000) {
        fprintf(stderr, "usage: %s [RECORDS], at least 1000\n", arguments[0]);
        return 1;
    }
    run(count, 0);
    run(count, 2);
    return 0;
}

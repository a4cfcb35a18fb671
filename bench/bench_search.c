/* What searches cost for each record that they visit: the relationship loads'
 * range, a scan with a filter, a sorted limit, and a sort of everything with its
 * longest slice. Usage: bench_search [RECORDS] */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layers/memory/memory.h"
#include "layers/query/search.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

enum { PER_SOURCE = 8, BATCH = 100, SLICE = 20000 };

static const char *const yaml =
    "version: 1\n"
    "resources:\n"
    "  source:\n"
    "    fields: {id: integer}\n"
    "    relationships:\n"
    "      items: {has_many: item}\n"
    "      urgent: {has_many: item, filter: priority > 5}\n"
    "  item:\n"
    "    fields: {id: integer, source_id: integer, priority: integer, subject: string}\n"
    "    relationships: {source: {belongs_to: source}}\n";

static struct schema *schema;
static struct world world;
static struct memory *memory;
static struct store *stores[2];
static struct error error = ERROR_INIT;
static struct arena request;
static struct eval eval = {.stores = stores, .arena = &request, .error = &error};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct resource *resource_named(const char *name)
{
    const struct resource *resource = schema_resource(schema, name, strlen(name));
    CHECK(resource != NULL);
    return resource;
}

static void put(struct store *store, const struct buffer *map)
{
    struct arena arena = {0};
    struct buffer buffer = BUFFER_INIT;
    struct record_draft draft;
    struct record *record;
    const struct record *stored;
    struct reader in = reader_of(map->bytes, map->size);
    CHECK(record_draft_init(&draft, store->resource, &arena, &buffer) == 0);
    CHECK(record_draft_take(&draft, &in, &error) == 0);
    CHECK(record_draft_finish(&draft, NULL, &error) == 0);
    CHECK(record_draft_build(&draft, &arena, &record, &error) == 0);
    store->ops->begin(store);
    CHECK(store->ops->put(store, NULL, record, &stored, &error) == 0);
    store->ops->commit(store);
    arena_release(&arena);
    buffer_release(&buffer);
}

static void put_item(uint64_t i, uint64_t count)
{
    struct buffer map = BUFFER_INIT;
    char subject[24];
    snprintf(subject, sizeof(subject), "%llx", (unsigned long long)(i * 0x9e3779b97f4a7c15u >> 32));
    write_map(&map, 4);
    write_text(&map, "id");
    write_integer(&map, (int64_t)i);
    write_text(&map, "source_id");
    write_integer(&map, (int64_t)(i % (count / PER_SOURCE)));
    write_text(&map, "priority");
    write_integer(&map, (int64_t)(i * 7 % 10));
    write_text(&map, "subject");
    write_text(&map, subject);
    put(stores[resource_named("item")->position], &map);
    buffer_release(&map);
}

static void fill(uint64_t count)
{
    static const struct limits limits = LIMITS_DEFAULT;
    struct buffer faults = BUFFER_INIT;
    CHECK(schema_read("bench", yaml, strlen(yaml), 1, &limits, &schema, &faults) == 0);
    world_init(&world);
    memory = memory_create(&world);
    CHECK(memory != NULL);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        stores[i] = memory_table_create(memory, &schema->resources[i]);
        CHECK(stores[i] != NULL);
    }
    for (uint64_t i = 0; i < count; i++) {
        put_item(i, count);
        if (i % 1000 == 0) {
            memory_turn(memory);
        }
    }
    while (memory_turn(memory)) {
    }
    eval.steps_left = eval.steps_max = UINT64_MAX;
}

/* A hundred sources after each other, as a batch of loads does it. */
static void bench_loads(const char *name, uint64_t count)
{
    const struct resource *source = resource_named("source");
    const struct relationship *items = resource_relationship(source, name, strlen(name));
    uint64_t found = 0, began = now_ns(), random = 1;
    for (unsigned round = 0; round < 2000; round++) {
        struct search_spec spec;
        CHECK(search_relationship_spec(items, &request, &spec) == 0);
        struct search *search = search_create(&spec, &eval);
        CHECK(search != NULL);
        for (unsigned i = 0; i < BATCH; i++) {
            uint8_t key[WRITE_HEADER_MAX];
            const struct record *const *records;
            size_t records_count;
            uint64_t budget = SLICE;
            random = random * 6364136223846793005u + 1442695040888963407u;
            struct search_input input = {
                .key = key,
                .key_size = encode_integer(key, (int64_t)((random >> 33) % (count / PER_SOURCE)))};
            CHECK(search_start(search, &input) == 0);
            CHECK(search_run(search, &budget, &records, &records_count) == RUN_DONE);
            found += records_count;
        }
        arena_reset(&request);
    }
    printf("%-34s %6.1f ns a record\n", name, (double)(now_ns() - began) / (double)found);
}

static void bench_read(const char *name, const char *filter, const char *order, uint64_t limit)
{
    static const struct limits limits = LIMITS_DEFAULT;
    const struct resource *item = resource_named("item");
    struct expr_scope scope = {.resource = item};
    struct expr_compiler compiler = {.arena = &request, .limits = &limits, .scope = &scope};
    struct search_spec spec = {.resource = item, .has_limit = limit > 0, .limit = limit};
    if (filter != NULL) {
        spec.filter_count = 1;
        CHECK(expr_compile_text(&compiler, filter, strlen(filter), &spec.filters[0], &error) == 0);
    }
    if (order != NULL) {
        CHECK(order_compile_text(&compiler, order, strlen(order), &spec.order, &error) == 0);
    }
    CHECK(search_plan(&spec, &request) == 0);
    struct search *search = search_create(&spec, &eval);
    const struct search_input input = {0};
    const struct record *const *records;
    size_t found;
    uint64_t longest = 0, began = now_ns(), slice, budget;
    enum run_status status;
    CHECK(search != NULL && search_start(search, &input) == 0);
    do {
        budget = SLICE;
        slice = now_ns();
        status = search_run(search, &budget, &records, &found);
        slice = now_ns() - slice;
        longest = slice > longest ? slice : longest;
    } while (status == RUN_MORE);
    CHECK(status == RUN_DONE);
    printf("%-34s %6.1f ns a record, %zu found, longest slice %.2f ms\n", name,
           (double)(now_ns() - began) / (double)stores[item->position]->counters.records, found,
           (double)longest / 1e6);
    arena_release(&request);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    if (count < PER_SOURCE) {
        count = PER_SOURCE;
    }
    fill(count);
    bench_loads("items", count);
    bench_loads("urgent", count);
    bench_read("scan, filter, 1 in 10", "priority == 3", NULL, 0);
    bench_read("scan, filter, limit 20", "priority > 3", NULL, 20);
    bench_read("scan, sort subject, limit 20", NULL, "subject", 20);
    bench_read("scan, sort priority, limit 20", NULL, "-priority", 20);
    bench_read("scan, all by primary key", NULL, NULL, 0);
    bench_read("scan, all by subject", NULL, "subject", 0);
    bench_read("scan, all by priority, subject", NULL, "priority,subject", 0);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        memory_table_free(stores[i]);
    }
    memory_free(memory);
    schema_put(schema);
    arena_release(&request);
    return 0;
}

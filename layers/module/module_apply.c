#include <string.h>
#include <time.h>

#include "layers/module/module_inner.h"
#include "layers/query/query.h"
#include "layers/query/render.h"
#include "layers/query/search.h"
#include "layers/record.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* A query over records that a module has in memory: what the daemon does to
 * answers, for modules that must do it earlier. All in one call: what it costs
 * is the module's. */

struct application {
    struct module_instance *instance;
    const struct resource *resource;
    struct arena arena;
    struct eval eval;
    struct query query;
    struct search_spec spec;
    struct record_draft draft;
    struct buffer taken;
    const struct record **records;
    size_t count;
};

static int no_memory(struct application *apply)
{
    return error_set(&apply->instance->problem, CODE_OVERLOADED, "no memory to apply a query");
}

static void open_eval(struct application *apply, const struct module_batch *open)
{
    const struct relations *relations = apply->instance->relation->owner;
    uint64_t steps = relations->shared->limits->filter_steps;
    struct outside_identity identity;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    outside_identity(open->batch, &identity);
    apply->eval =
        (struct eval){.stores = relations->stores,
                      .arena = &apply->arena,
                      .actor = identity.actor,
                      .actor_size = identity.actor_size,
                      .now = {.seconds = now.tv_sec, .nanoseconds = (uint32_t)now.tv_nsec},
                      .steps_left = steps,
                      .steps_max = steps,
                      .error = &apply->instance->problem};
    if (identity.tenant != NULL) {
        struct reader in = reader_of(identity.tenant, identity.tenant_size);
        eval_take_tenant(&apply->eval, &in);
    }
}

static int read_query(struct application *apply, struct reader in)
{
    struct error *error = &apply->instance->problem;
    struct query_reader reader = {.arena = &apply->arena, .limits = module_limits(apply->instance)};
    query_init(&apply->query, apply->resource);
    int status = query_read(&reader, apply->resource, NULL, &in, &apply->query, error);
    if (status < 0) {
        return status;
    }
    const struct query *query = &apply->query;
    if (query->loads != NULL) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "records in memory are filtered, sorted and cut; nothing is loaded");
    }
    apply->spec = (struct search_spec){.resource = apply->resource,
                                       .filters = {query->filter},
                                       .filter_count = query->filter != NULL,
                                       .order = query->order,
                                       .has_limit = query->has_limit,
                                       .limit = query->limit,
                                       .offset = query->offset};
    return search_plan(&apply->spec, &apply->arena) < 0 ? no_memory(apply) : 0;
}

/* ---- Records ---- */

/* What a record does not have is nil; without its primary key it is none. */
static int fill_absent(struct application *apply)
{
    const struct resource *resource = apply->resource;
    for (unsigned i = 0; i < resource->field_count; i++) {
        struct record_part *part = &apply->draft.parts[i];
        if (part->size == 0) {
            part->bytes = (const uint8_t *)"\xc0";
            part->size = 1;
        }
        uint32_t size = 0;
        if (resource->fields[i].in_primary_key &&
            record_draft_field(&apply->draft, i, &size)[0] == 0xc0) {
            return error_set(&apply->instance->problem, CODE_INVALID_VALUE,
                             "a %s without its primary key (%s)", resource->name,
                             resource->fields[i].name);
        }
    }
    return 0;
}

static int take_record(struct application *apply, struct reader *in, struct record **out)
{
    struct error *error = &apply->instance->problem;
    apply->taken.size = 0;
    memset(apply->draft.parts, 0, sizeof *apply->draft.parts * apply->resource->field_count);
    int status = record_draft_take(&apply->draft, in, error);
    if (status == 0 && apply->taken.failed) {
        status = no_memory(apply);
    }
    if (status == 0) {
        status = fill_absent(apply);
    }
    return status < 0 ? status : record_draft_build(&apply->draft, &apply->arena, out, error);
}

static int take_records(struct application *apply, struct reader in)
{
    struct token list = reader_next(&in);
    if (list.kind != TOKEN_ARRAY) {
        return error_set(&apply->instance->problem, CODE_INVALID_REQUEST,
                         "records: expected a list of maps, got %s", token_describe(&list));
    }
    apply->records = arena_zero(&apply->arena, list.count + 1u, sizeof(struct record *));
    if (apply->records == NULL ||
        record_draft_init(&apply->draft, apply->resource, &apply->arena, &apply->taken) < 0) {
        return no_memory(apply);
    }
    for (uint32_t i = 0; i < list.count; i++) {
        struct record *record = NULL;
        int status = take_record(apply, &in, &record);
        if (status < 0) {
            error_prefix(&apply->instance->problem, "record %u: ", i);
            return status;
        }
        apply->records[apply->count++] = record;
    }
    return 0;
}

/* ---- The search ---- */

static int render_found(struct application *apply, const struct record *const *records,
                        size_t count, struct relata_bytes *out)
{
    struct buffer list = BUFFER_INIT;
    const struct render render = {.out = &list};
    write_array(&list, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        render_record(&render, &apply->query, records[i], NULL, 0, NULL);
    }
    bool failed = list.failed;
    if (!failed) {
        module_bytes_append(out, list.bytes, list.size);
    }
    buffer_release(&list);
    return failed || out->failed ? no_memory(apply) : 0;
}

static int run(struct application *apply, struct relata_bytes *out)
{
    const struct search_input input = {.list = apply->records,
                                       .list_count = apply->count,
                                       .keep_order = apply->query.order == NULL};
    struct search *search = search_create(&apply->spec, &apply->eval);
    if (search == NULL) {
        return no_memory(apply);
    }
    int status = search_start(search, &input);
    if (status < 0) {
        return status;
    }
    const struct record *const *records = NULL;
    size_t count = 0;
    enum run_status ran;
    do {
        uint64_t budget = UINT64_MAX;
        ran = search_run(search, &budget, &records, &count);
    } while (ran == RUN_MORE);
    status = ran == RUN_FAILED ? -(int)apply->instance->problem.code
                               : render_found(apply, records, count, out);
    search_stop(search);
    return status;
}

/* ---- The host's function ---- */

static const struct resource *find_resource(struct module_instance *instance, const char *name)
{
    const struct relation *relation = instance->relation;
    return name == NULL ? relation->relationship->destination
                        : schema_need_resource(relation->owner->schema, name, strlen(name),
                                               &instance->problem);
}

/* The bytes that are given, where they are one whole value. */
static int check_value(struct module_instance *instance, const char *what,
                       const struct relata_bytes *value)
{
    struct reader in = reader_of(value->bytes, value->size);
    if (value->failed) {
        return error_set(&instance->problem, CODE_OVERLOADED, "%s: memory lacked for it", what);
    }
    return reader_skip(&in) && in.at == in.end
               ? 0
               : error_set(&instance->problem, CODE_INVALID_REQUEST,
                           "%s: this is no MessagePack value", what);
}

static int apply_to(struct application *apply, struct reader query, struct reader records,
                    struct relata_bytes *out)
{
    int status = read_query(apply, query);
    if (status == 0) {
        status = take_records(apply, records);
    }
    return status < 0 ? status : run(apply, out);
}

int module_apply(const struct relata_host *host, uint64_t number, const char *resource,
                 const struct relata_bytes *query, const struct relata_bytes *records,
                 struct relata_bytes *out)
{
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    const struct module_batch *open = module_find_batch(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    struct application apply = {.instance = instance,
                                .resource = find_resource(instance, resource)};
    arena_init(&apply.arena, 0);
    if (apply.resource != NULL && check_value(instance, "query", query) == 0 &&
        check_value(instance, "records", records) == 0) {
        open_eval(&apply, open);
        apply_to(&apply, reader_of(query->bytes, query->size),
                 reader_of(records->bytes, records->size), out);
    }
    buffer_release(&apply.taken);
    arena_release(&apply.arena);
    return module_problem(instance);
}

#include <string.h>

#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* What a module is told of a batch. */

static int no_memory(struct module_instance *instance)
{
    error_set(&instance->problem, CODE_OVERLOADED, "no memory to show a batch");
    return RELATA_MODULE_NO_MEMORY;
}

/* The open batch, or NULL with the number to answer. */
static struct module_batch *open_batch(const struct relata_host *host, uint64_t number, int *status)
{
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        *status = RELATA_MODULE_WRONG_THREAD;
        return NULL;
    }
    *status = RELATA_MODULE_GONE;
    return module_find_batch(instance, number);
}

static int item_of(const struct buffer *bytes, struct relata_item *item)
{
    struct reader in = reader_of(bytes->bytes, bytes->size);
    int status = module_item_take(&in, item);
    CHECK(status == RELATA_MODULE_OK);
    return status;
}

/* ---- Sources ---- */

int module_sources(const struct relata_host *host, uint64_t number, struct relata_item *list)
{
    int status = 0;
    struct module_batch *open = open_batch(host, number, &status);
    *list = (struct relata_item){.kind = RELATA_ITEM_NIL};
    if (open == NULL) {
        return status;
    }
    if (!open->has_sources) {
        buffer_truncate(&open->sources, 0);
        outside_sources(open->instance->relation, open->batch, 0, open->batch->count,
                        &open->sources);
        open->has_sources = !open->sources.failed;
    }
    return open->has_sources ? item_of(&open->sources, list) : no_memory(open->instance);
}

static bool is_shown(const struct relationship *relationship, unsigned position)
{
    if (relationship->shown_fields == NULL) {
        return true;
    }
    for (unsigned i = 0; i < relationship->shown_field_count; i++) {
        if (relationship->shown_fields[i] == position) {
            return true;
        }
    }
    return false;
}

static int field_position(struct module_instance *instance, const char *name)
{
    const struct relationship *relationship = instance->relation->relationship;
    const struct field *field = resource_field(relationship->source, name, strlen(name));
    if (field == NULL || !is_shown(relationship, field->position)) {
        error_set(&instance->problem, CODE_UNKNOWN_FIELD, "%s.%s: %s", relationship->source->name,
                  name, field == NULL ? "there is no such field" : "source_fields leaves it out");
        return RELATA_MODULE_ABSENT;
    }
    return field->position;
}

int module_field_position(const struct relata_host *host, const char *name)
{
    struct module_instance *instance = module_of_host(host);
    return instance == NULL ? RELATA_MODULE_WRONG_THREAD : field_position(instance, name);
}

int module_source_at(const struct relata_host *host, uint64_t number, size_t source, int position,
                     struct relata_item *value)
{
    int status = 0;
    struct module_batch *open = open_batch(host, number, &status);
    *value = (struct relata_item){.kind = RELATA_ITEM_NIL};
    if (open == NULL) {
        return status;
    }
    const struct relationship *relationship = open->instance->relation->relationship;
    const struct resource *resource = relationship->source;
    if (source >= open->batch->count || position < 0 || position >= resource->field_count ||
        !is_shown(relationship, (unsigned)position)) {
        error_set(&open->instance->problem, CODE_INVALID_REQUEST,
                  "source %zu of %zu, field %d of %u: there is none, or it is not shown", source,
                  open->batch->count, position, resource->field_count);
        return RELATA_MODULE_ABSENT;
    }
    uint32_t size = 0;
    const uint8_t *bytes = record_field(outside_source(open->batch, source), resource->field_count,
                                        (unsigned)position, &size);
    struct reader in = reader_of(bytes, size);
    status = module_item_take(&in, value);
    CHECK(status == RELATA_MODULE_OK);
    return status;
}

int module_source_field(const struct relata_host *host, uint64_t number, size_t source,
                        const char *name, struct relata_item *value)
{
    *value = (struct relata_item){.kind = RELATA_ITEM_NIL};
    int position = module_field_position(host, name);
    return position < 0 ? position : module_source_at(host, number, source, position, value);
}

/* ---- Context ---- */

int64_t module_time_left_ms(const struct relata_host *host, uint64_t number)
{
    int status = 0;
    const struct module_batch *open = open_batch(host, number, &status);
    if (open == NULL) {
        return status;
    }
    uint64_t now_us = open->instance->owner->host->clock_us();
    uint64_t deadline_us = open->batch->deadline_us;
    if (deadline_us == 0) {
        return INT64_MAX;
    }
    return deadline_us > now_us ? (int64_t)((deadline_us - now_us) / 1000) : 0;
}

int module_context(const struct relata_host *host, uint64_t number, struct relata_item *map)
{
    int status = 0;
    struct module_batch *open = open_batch(host, number, &status);
    *map = (struct relata_item){.kind = RELATA_ITEM_NIL};
    if (open == NULL) {
        return status;
    }
    if (!open->has_context) {
        int64_t left_ms = module_time_left_ms(host, number);
        uint64_t timeout_ms = left_ms == INT64_MAX ? 0 : left_ms > 0 ? (uint64_t)left_ms : 1;
        buffer_truncate(&open->context, 0);
        outside_context(open->batch, timeout_ms, true, &open->context);
        open->has_context = !open->context.failed;
    }
    return open->has_context ? item_of(&open->context, map) : no_memory(open->instance);
}

int module_set_data(const struct relata_host *host, uint64_t number, void *data)
{
    int status = 0;
    struct module_batch *open = open_batch(host, number, &status);
    if (open == NULL) {
        return status;
    }
    open->data = data;
    return RELATA_MODULE_OK;
}

void *module_data(const struct relata_host *host, uint64_t number)
{
    int status = 0;
    const struct module_batch *open = open_batch(host, number, &status);
    return open == NULL ? NULL : open->data;
}

/* ---- The query ---- */

/* Which part an entry of the query is. */
static unsigned part_of(const struct relata_item *name)
{
    static const struct {
        const char *name;
        unsigned part;
    } parts[] = {{"filter", RELATA_QUERY_FILTER},
                 {"params", RELATA_QUERY_FILTER},
                 {"sort", RELATA_QUERY_SORT},
                 {"limit", RELATA_QUERY_LIMIT},
                 {"select", RELATA_QUERY_SELECT}};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (name->size == strlen(parts[i].name) &&
            memcmp(name->bytes, parts[i].name, name->size) == 0) {
            return parts[i].part;
        }
    }
    return 0;
}

int module_query(const struct relata_host *host, uint64_t number, unsigned parts,
                 struct relata_bytes *out)
{
    struct relata_item context;
    struct relata_item query;
    int status = module_context(host, number, &context);
    if (status != RELATA_MODULE_OK) {
        return status;
    }
    CHECK(host->get(host, &context, "query", &query) == RELATA_MODULE_OK);
    struct buffer kept = BUFFER_INIT;
    struct relata_reader in = {query.bytes, query.size};
    uint32_t count = 0;
    size_t mark = write_open(&kept);
    for (uint32_t i = 0; i < query.count; i++) {
        struct relata_item name;
        struct relata_item value;
        CHECK(host->next(host, &in, &name) == RELATA_MODULE_OK &&
              host->next(host, &in, &value) == RELATA_MODULE_OK);
        if ((part_of(&name) & parts) != 0) {
            buffer_append(&kept, name.raw, name.raw_size);
            buffer_append(&kept, value.raw, value.raw_size);
            count++;
        }
    }
    write_close_map(&kept, mark, count);
    bool failed = kept.failed;
    if (!failed) {
        module_bytes_append(out, kept.bytes, kept.size);
    }
    buffer_release(&kept);
    return failed || out->failed ? no_memory(module_of_host(host)) : RELATA_MODULE_OK;
}

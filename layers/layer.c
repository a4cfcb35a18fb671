#include "layers/layer.h"

#include "protocol/base/check.h"

void world_init(struct world *world)
{
    world->sequence = 0;
    list_init(&world->listeners);
    list_init(&world->pins);
}

void world_listen(struct world *world, struct write_listener *listener)
{
    CHECK(listener->on_write != NULL);
    list_append(&world->listeners, &listener->link);
}

void world_publish(struct world *world, const struct write_event *event)
{
    CHECK(event->sequence > 0 && event->sequence <= world->sequence);
    LIST_EACH(node, &world->listeners)
    {
        struct write_listener *listener = CONTAINER_OF(node, struct write_listener, link);
        listener->on_write(listener, event);
    }
}

uint64_t world_advance(struct world *world)
{
    return ++world->sequence;
}

void pin_take(struct world *world, struct pin *pin)
{
    pin->sequence = world->sequence;
    list_append(&world->pins, &pin->link);
}

void pin_put(struct pin *pin)
{
    list_remove(&pin->link);
}

uint64_t world_oldest_pin(const struct world *world)
{
    if (list_empty(&world->pins)) {
        return UINT64_MAX;
    }
    return CONTAINER_OF(world->pins.next, struct pin, link)->sequence;
}

void store_find_many(struct store *store, const struct store_key *keys, size_t count,
                     const struct record **out)
{
    if (store->ops->find_many != NULL) {
        store->ops->find_many(store, keys, count, out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = store->ops->find(store, keys[i].bytes, keys[i].size);
    }
}

int store_taken(const struct resource *resource, const struct identity *identity,
                const uint8_t *key, size_t size, struct error *error)
{
    if (error == NULL) {
        return -CODE_CONFLICT;
    }
    const struct field_list *fields = identity != NULL ? &identity->fields : &resource->primary_key;
    char text[320]; /* more than details hold of a key */
    key_describe(fields, key, size, text, sizeof(text));
    /* The field's name where it is one: what the details say, the message says. */
    const char *field = fields->count == 1 ? resource->fields[fields->fields[0]].name : "";
    const char *space = fields->count == 1 ? " " : "";
    if (identity != NULL) {
        error_set(error, CODE_CONFLICT, "another %s has the identity %s (%s%s%s) already",
                  resource->name, identity->name, field, space, text);
    } else {
        error_set(error, CODE_CONFLICT, "a %s with the primary key %s%s%s is there already",
                  resource->name, field, space, text);
    }
    error_resource(error, resource->name);
    if (fields->count == 1) {
        error_field(error, resource->fields[fields->fields[0]].name);
    }
    struct buffer shown = BUFFER_INIT;
    key_write(&shown, fields, key, size);
    if (!shown.failed) {
        error_key(error, shown.bytes, shown.size);
    }
    buffer_release(&shown);
    return -CODE_CONFLICT;
}

/* ---- Elsewhere ---- */

int fetch_start(struct fetch *fetch, struct error *error)
{
    const struct asker *asker = &fetch->asker;
    CHECK(fetch->store->remote && !fetch->begun);
    if (asker->task == NULL) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "records of %s are not in memory, and cannot be waited for here",
                         fetch->store->resource->name);
    }
    fetch->done = false;
    fetch->count = 0;
    fetch->records = NULL;
    fetch->errors = NULL;
    error_clear(&fetch->error);
    int status = fetch->store->home->fetch(fetch, error);
    if (status < 0) {
        return status;
    }
    fetch->begun = true;
    if (!fetch->done) {
        task_wait(asker->task);
    }
    return 0;
}

void fetch_finish(struct fetch *fetch)
{
    CHECK(!fetch->done);
    fetch->done = true;
    if (fetch->begun) {
        task_wake(fetch->asker.tasks, fetch->asker.task);
    }
}

void fetch_end(struct fetch *fetch)
{
    if (!fetch->begun) {
        return;
    }
    fetch->begun = false;
    if (!fetch->done) {
        task_wake(fetch->asker.tasks, fetch->asker.task);
    }
    fetch->store->home->fetch_end(fetch);
}

static bool above(const struct range *range, const struct value *value)
{
    int order = value_compare(value, &range->lower);
    return order > 0 || (order == 0 && !range->lower_open);
}

static bool below(const struct range *range, const struct value *value)
{
    int order = value_compare(value, &range->upper);
    return order < 0 || (order == 0 && !range->upper_open);
}

bool range_keeps(const struct range *range, const struct resource *resource,
                 const struct record *record)
{
    const struct field_list *fields = &range->index->fields;
    struct value value;
    for (unsigned i = 0; i < range->equal_count; i++) {
        record_load(record, resource, fields->fields[i], &value);
        if (value.kind == VALUE_NIL || value_compare(&value, &range->equal[i]) != 0) {
            return false;
        }
    }
    if (!range->has_lower && !range->has_upper) {
        return true;
    }
    record_load(record, resource, fields->fields[range->equal_count], &value);
    return value.kind != VALUE_NIL && (!range->has_lower || above(range, &value)) &&
           (!range->has_upper || below(range, &value));
}

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

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/layer.h"
#include "protocol/base/check.h"

static unsigned calls;
static uint64_t seen[4];

static void first_listener(struct write_listener *listener, const struct write_event *event)
{
    (void)listener;
    assert_int_equal(calls % 2, 0);
    seen[calls++] = event->sequence;
}

static void second_listener(struct write_listener *listener, const struct write_event *event)
{
    (void)listener;
    assert_int_equal(calls % 2, 1);
    seen[calls++] = event->sequence;
}

static void test_listeners_in_order(void **state)
{
    (void)state;
    struct world world;
    struct write_listener first = {.on_write = first_listener};
    struct write_listener second = {.on_write = second_listener};
    world_init(&world);
    world_listen(&world, &first);
    world_listen(&world, &second);
    calls = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct write_event event = {.sequence = world_advance(&world)};
        world_publish(&world, &event);
    }
    assert_int_equal(calls, 4);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 1);
    assert_int_equal(seen[3], 2);
}

static void test_pins(void **state)
{
    (void)state;
    struct world world;
    struct pin early, late;
    world_init(&world);
    assert_true(world_oldest_pin(&world) == UINT64_MAX);
    world_advance(&world);
    pin_take(&world, &early);
    world_advance(&world);
    pin_take(&world, &late);
    assert_int_equal(world_oldest_pin(&world), 1);
    pin_put(&early);
    assert_int_equal(world_oldest_pin(&world), 2);
    pin_put(&early); /* twice does no harm */
    pin_put(&late);
    assert_true(world_oldest_pin(&world) == UINT64_MAX);
}

static const struct record *find_one(struct store *store, const uint8_t *key, size_t size)
{
    (void)store;
    return size == 1 ? (const struct record *)(const void *)key : NULL;
}

static void test_find_many_without_the_layers_help(void **state)
{
    (void)state;
    static const struct store_ops ops = {.find = find_one};
    struct store store = {.ops = &ops};
    uint8_t bytes[8] __attribute__((aligned(8))) = {1, 2};
    struct store_key keys[] = {{bytes, 1}, {bytes, 2}};
    const struct record *found[2];
    store_find_many(&store, keys, 2, found);
    assert_ptr_equal(found[0], bytes);
    assert_null(found[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_in_order),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_find_many_without_the_layers_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

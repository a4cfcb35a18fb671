#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "layers/engine/engine.h"
#include "layers/redis/redis.h"
#include "protocol/base/check.h"
#include "tests/lib/schema_fixture.h"

/* What a reload may change of where records are, and how they are kept there. */

#define HEAD   "version: 1\nresources:\n  a:\n    primary_key: [x, y]\n"
#define FIELDS "    fields: {x: integer, y: integer, n: {type: string, stored_as: nn}}\n"
#define REDIS  "    layer: redis\n"

static const char before[] =
    HEAD FIELDS REDIS "    ttl: 5s\n    max_bytes: 1MiB\n"
                      "    redis: {key: 'a:{x}:{y}', stale_if_error: 1s, writers: relata}\n";

static int use(struct engine *engine, const char *text, struct error *error)
{
    struct schema *schema = schema_fixture(text);
    int status = engine_use_schema(engine, schema, error);
    schema_put(schema);
    return status;
}

static uint64_t clock_us(void)
{
    return 1;
}

static void enter(void *context)
{
    (void)context;
}

static void log_nothing(void *context, const char *event, const char *home, const char *text,
                        bool bad)
{
    (void)context;
    (void)event;
    (void)home;
    (void)text;
    (void)bad;
}

/* Two homes that are never opened. */
static struct redis *make_homes(uv_loop_t *loop)
{
    static const struct home_options options[] = {
        {.name = "main", .is_unix = true, .host = "nowhere", .timeout_us = 1000000},
        {.name = "other", .is_unix = true, .host = "nowhere", .timeout_us = 1000000}};
    const struct home_world world = {
        .loop = loop, .clock_us = clock_us, .enter = enter, .log = log_nothing};
    struct redis *redis = redis_create(options, ARRAY_COUNT(options), &world);
    assert_non_null(redis);
    return redis;
}

static void layers_stay(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *changes; /* NULL: that is taken */
    } cases[] = {
        {before, NULL},
        /* Bounds of the near-cache, and fields in another order. */
        {HEAD FIELDS REDIS "    ttl: 6s\n    redis: {writers: relata, key: 'a:{x}:{y}'}\n", NULL},
        {HEAD
         "    fields: {n: {type: string, stored_as: nn}, m: string, y: integer, x: integer}\n" REDIS
         "    redis: {writers: relata}\n",
         NULL},
        {HEAD "    fields: {x: integer, y: integer, n: string}\n", "layer"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, use: other}\n", "redis: use"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, key: 'b:{x}:{y}'}\n", "redis: key"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, key: 'a:{y}:{x}'}\n", "redis: key"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, key: 'a:{x}:{y}:'}\n", "redis: key"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, key: '{x}:{y}:b'}\n", "redis: key"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, encoding: json}\n", "redis: encoding"},
        {HEAD FIELDS REDIS, "redis: writers"},
        {HEAD FIELDS REDIS "    redis: {writers: relata, resident: true}\n", "redis: resident"},
        {HEAD "    fields: {x: integer, y: integer, n: string}\n" REDIS
              "    redis: {writers: relata}\n",
         "stored_as"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct limits limits = LIMITS_DEFAULT;
        struct engine *engine = engine_create(&limits);
        struct error error = ERROR_INIT;
        char says[200];
        assert_non_null(engine);
        uv_loop_t loop;
        assert_int_equal(uv_loop_init(&loop), 0);
        struct redis *redis = make_homes(&loop);
        engine_use_redis(engine, redis);
        assert_int_equal(use(engine, before, &error), 0);
        int status = use(engine, cases[i].text, &error);
        if (cases[i].changes == NULL) {
            assert_int_equal(status, 0);
        } else {
            snprintf(says, sizeof(says),
                     "%s would change its %s, which is possible at a restart only",
                     strcmp(cases[i].changes, "stored_as") == 0 ? "a.n" : "a", cases[i].changes);
            assert_int_equal(status, -CODE_INVALID_REQUEST);
            assert_string_equal(error.message, says);
        }
        engine_close(engine);
        while (engine_turn(engine, 1)) {
        }
        engine_free(engine);
        redis_free(redis);
        assert_int_equal(uv_loop_close(&loop), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

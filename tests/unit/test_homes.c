#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "daemon/homes.h"
#include "tests/lib/schema_fixture.h"

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  rep: {layer: redis, fields: {id: integer}}\n"
                           "  ticket: {layer: redis, fields: {id: integer}, redis: {use: second}}\n"
                           "  team: {fields: {id: integer}}\n";

static void read_homes(struct config *config, const char *text)
{
    struct buffer faults = BUFFER_INIT;
    config_defaults(config);
    strcpy(config->schema, "s.yaml");
    assert_int_equal(config_read(config, "c.yaml", text, strlen(text), &faults), 0);
    buffer_release(&faults);
}

static void assert_check(const char *text, const char *says)
{
    struct config config;
    struct buffer faults = BUFFER_INIT;
    struct schema *schema = schema_fixture(yaml);
    read_homes(&config, text);
    int status = homes_check(&config, schema, &faults);
    buffer_byte(&faults, '\0');
    assert_string_equal((const char *)faults.bytes, says);
    assert_int_equal(status, says[0] == '\0' ? 0 : -CODE_INVALID_REQUEST);
    buffer_release(&faults);
    schema_put(schema);
}

#define FIRST  "main: {url: redis://a}"
#define SECOND "second: {url: redis://b}"

static void each_redis_must_be_known(void **state)
{
    (void)state;
    assert_check("redis: {" FIRST ", " SECOND ", unused: {url: redis://c}}", "");
    assert_check("redis: {" SECOND "}",
                 "s.yaml: resource rep uses the Redis \"main\", which the configuration does not "
                 "name: redis: {main: {url: redis://127.0.0.1:6379}}\n");
    assert_check("redis: {" FIRST ", secnod: {url: redis://b}}",
                 "s.yaml: resource ticket uses the Redis \"second\", which the configuration does "
                 "not name; did you mean \"secnod\"?\n");
    assert_check("", "s.yaml: resource rep uses the Redis \"main\", which the configuration does "
                     "not name: redis: {main: {url: redis://127.0.0.1:6379}}\n"
                     "s.yaml: resource ticket uses the Redis \"second\", which the configuration "
                     "does not name: redis: {second: {url: redis://127.0.0.1:6379}}\n");
}

static void new_ones_wait_for_the_next_start(void **state)
{
    (void)state;
    struct config config, started;
    struct buffer faults = BUFFER_INIT;
    struct schema *schema = schema_fixture(yaml);
    read_homes(&config, "redis: {" FIRST ", " SECOND "}");
    read_homes(&started, "redis: {" SECOND ", " FIRST "}");
    assert_int_equal(homes_check_started(&config, &started, schema, &faults), 0);
    assert_int_equal(faults.size, 0);
    read_homes(&started, "redis: {" FIRST "}");
    assert_int_equal(homes_check_started(&config, &started, schema, &faults),
                     -CODE_INVALID_REQUEST);
    buffer_byte(&faults, '\0');
    assert_string_equal((const char *)faults.bytes,
                        "s.yaml: resource ticket uses the Redis \"second\", which is new in the "
                        "configuration: redis takes effect at the next start\n");
    buffer_release(&faults);
    schema_put(schema);
}

static void differences_are_seen(void **state)
{
    (void)state;
    static const char base[] = "redis: {main: {url: 'redis://u:p@h:1/2'}, " SECOND "}";
    static const char *const others[] = {
        "",
        "redis: {" SECOND "}",
        "redis: {main: {url: 'redis://u:p@h:1/2'}, " SECOND ", third: {url: redis://c}}",
        "redis: {mine: {url: 'redis://u:p@h:1/2'}, " SECOND "}",
        "redis: {main: {url: 'redis://u:p@i:1/2'}, " SECOND "}",
        "redis: {main: {url: 'redis://u:p@h:2/2'}, " SECOND "}",
        "redis: {main: {url: 'redis://u:p@h:1/3'}, " SECOND "}",
        "redis: {main: {url: 'redis://v:p@h:1/2'}, " SECOND "}",
        "redis: {main: {url: 'redis://u:q@h:1/2'}, " SECOND "}",
        "redis: {main: {url: 'redis://u:p@h:1', cluster: true}, " SECOND "}",
        "redis: {main: {url: 'redis://u:p@h:1/2', timeout: 2s}, " SECOND "}",
        "redis: {main: {url: 'unix://u:p@/h?db=2'}, " SECOND "}",
    };
    struct config a, b;
    read_homes(&a, base);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        read_homes(&b, others[i]);
        if (homes_same(&a, &b) || homes_same(&b, &a)) {
            fail_msg("%s is not the same", others[i]);
        }
    }
    read_homes(&b, "redis: {" SECOND ", main: {url: 'redis://u:p@h:1/2', timeout: 1s}}");
    assert_true(homes_same(&a, &b));
    read_homes(&b, "");
    homes_copy(&b, &a);
    assert_true(homes_same(&a, &b));
    assert_int_equal(b.home_count, 2);
    assert_non_null(homes_find(&b, "second"));
    assert_null(homes_find(&b, "third"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_redis_must_be_known),
        cmocka_unit_test(new_ones_wait_for_the_next_start),
        cmocka_unit_test(differences_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "clients/c/endpoint.h"

static void takes_addresses_apart(void **state)
{
    (void)state;
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse(&endpoint, "unix:/run/x.sock", NULL), 0);
    assert_true(endpoint.is_unix);
    assert_string_equal(endpoint.path, "/run/x.sock");
    assert_int_equal(endpoint_parse(&endpoint, "tcp:localhost:7000", NULL), 0);
    assert_false(endpoint.is_unix);
    assert_string_equal(endpoint.host, "localhost");
    assert_string_equal(endpoint.port, "7000");
    assert_int_equal(endpoint_parse(&endpoint, "tcp:[::1]:65535", NULL), 0);
    assert_string_equal(endpoint.host, "::1");
    assert_string_equal(endpoint.port, "65535");
}

static void takes_the_environment(void **state)
{
    (void)state;
    struct endpoint endpoint;
    unsetenv("RELATA_ADDRESS");
    assert_int_equal(endpoint_parse(&endpoint, NULL, NULL), 0);
    assert_string_equal(endpoint.text, RELATA_ADDRESS_DEFAULT);
    setenv("RELATA_ADDRESS", "tcp:h:1", 1);
    assert_int_equal(endpoint_parse(&endpoint, NULL, NULL), 0);
    assert_string_equal(endpoint.host, "h");
    unsetenv("RELATA_ADDRESS");
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    char long_path[200] = "unix:/";
    memset(long_path + 6, 'a', sizeof(long_path) - 7);
    const char *const wrong[] = {"x",         "unix:",      "tcp:",        "tcp:host",
                                 "tcp:host:", "tcp:host:0", "tcp:host:x",  "tcp:host:65536",
                                 "tcp::1",    "tcp:[]:1",   "tcp:host:-1", "http://host:1",
                                 long_path,   "TCP:host:1", "tcp:host:1 "};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct endpoint endpoint;
        struct relata_error error = {.code = RELATA_CODE_OK};
        assert_int_equal(endpoint_parse(&endpoint, wrong[i], &error), -RELATA_CODE_INVALID_REQUEST);
        assert_int_equal(error.code, RELATA_CODE_INVALID_REQUEST);
        assert_true(error.message[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_addresses_apart),
        cmocka_unit_test(takes_the_environment),
        cmocka_unit_test(refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

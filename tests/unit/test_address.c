#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "daemon/address.h"
#include "protocol/base/check.h"

static void expect(const char *text, const char *folder, const char *formatted)
{
    struct address address;
    struct error error = ERROR_INIT;
    char out[ADDRESS_TEXT_MAX];
    assert_int_equal(address_parse(&address, text, strlen(text), folder, &error), 0);
    address_format(&address, out);
    assert_string_equal(out, formatted);
}

static void test_good(void **state)
{
    (void)state;
    expect("unix:/run/relata/relata.sock", "/etc", "unix:/run/relata/relata.sock");
    expect("unix:a.sock", NULL, "unix:a.sock");
    expect("unix:a.sock", "", "unix:a.sock");
    expect("unix:a.sock", "/etc/relata", "unix:/etc/relata/a.sock");
    expect("unix:a.sock", "/", "unix:/a.sock");
    expect("tcp:127.0.0.1:7450", NULL, "tcp:127.0.0.1:7450");
    expect("tcp:127.1.2.3:0", NULL, "tcp:127.1.2.3:0");
    expect("tcp:localhost:65535", NULL, "tcp:127.0.0.1:65535");
    expect("tcp:[::1]:80", NULL, "tcp:[::1]:80");
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"", "unix:PATH or tcp:HOST:PORT"},
        {"/run/x.sock", "unix:PATH"},
        {"unix:", "needs a path"},
        {"tcp:", "needs a host and a port"},
        {"tcp:localhost", "needs a host and a port"},
        {"tcp:localhost:", "0 to 65535"},
        {"tcp:localhost:65536", "0 to 65535"},
        {"tcp:localhost:-1", "0 to 65535"},
        {"tcp:localhost:123456", "0 to 65535"},
        {"tcp:::1:80", "in brackets"},
        {"tcp:0.0.0.0:80", "not supported yet"},
        {"tcp:10.0.0.1:80", "not supported yet"},
        {"tcp:[::]:80", "not supported yet"},
        {"tcp:example.org:80", "no IP address"},
        {"tcp::80", "no IP address"},
        {"tcp:1111111111111111111111111111111111111111111111111111111:80", "no IP address"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct address address;
        struct error error = ERROR_INIT;
        int status = address_parse(&address, cases[i].text, strlen(cases[i].text), NULL, &error);
        assert_int_equal(status, -CODE_INVALID_VALUE);
        if (strstr(error.message, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].text, error.message);
        }
    }
}

/* The longest path that the kernel takes is taken, one more is not cut. */
static void test_long_paths(void **state)
{
    (void)state;
    enum { LONGEST = 5 + ADDRESS_PATH_MAX - 1 };
    char text[LONGEST + 2] = {0};
    struct address address;
    struct error error = ERROR_INIT;
    char out[ADDRESS_TEXT_MAX];
    memset(text, 'x', LONGEST + 1);
    for (size_t i = 0; i < 6; i++) {
        text[i] = "unix:/"[i];
    }
    assert_int_equal(address_parse(&address, text, LONGEST, NULL, &error), 0);
    assert_int_equal(strlen(address.path), ADDRESS_PATH_MAX - 1);
    address_format(&address, out);
    assert_int_equal(strlen(out), LONGEST);
    assert_int_equal(address_parse(&address, text, LONGEST + 1, NULL, &error), -CODE_INVALID_VALUE);
    assert_int_equal(address_parse(&address, "unix:x", 6, text + 5, &error), -CODE_INVALID_VALUE);
    assert_int_equal(address_parse(&address, "unix:a\0b", 8, NULL, &error), -CODE_INVALID_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

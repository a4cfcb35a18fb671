#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/scan.h"
#include "tests/lib/stored_fixture.h"

/* The words that are sent, as they go over the wire. */

static void expect(const void *cursor, size_t size, const char *bytes)
{
    struct stored_fixture f;
    struct buffer out = BUFFER_INIT;
    stored_fixture_init(&f);
    memory_fixture_field(&f.base, TYPE_INTEGER);
    memory_fixture_primary_key(&f.base, 1);
    stored_fixture_text(&f, "r[1]:");
    stored_fixture_key_field(&f, 0);
    scan_command(&f.base.resource, cursor, size, SCAN_COUNT, &out);
    assert_false(out.failed);
    assert_int_equal(out.size, strlen(bytes));
    assert_memory_equal(out.bytes, bytes, out.size);
    buffer_release(&out);
}

static void test_command(void **state)
{
    (void)state;
    expect("0", 1,
           "*6\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$8\r\nr\\[1\\]:*\r\n"
           "$5\r\nCOUNT\r\n$4\r\n1000\r\n");
    expect("18446744073709551615", 20,
           "*6\r\n$4\r\nSCAN\r\n$20\r\n18446744073709551615\r\n$5\r\nMATCH\r\n$8\r\nr\\[1\\]:*\r\n"
           "$5\r\nCOUNT\r\n$4\r\n1000\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_command)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

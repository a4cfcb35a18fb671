#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/home_url.h"
#include "protocol/base/check.h"
#include "tests/lib/random.h"

static void urls_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        struct home_options says;
    } cases[] = {
        {"redis://127.0.0.1", {.host = "127.0.0.1", .port = 6379}},
        {"redis://cache.example:1/", {.host = "cache.example", .port = 1}},
        {"redis://h_1-a:65535/15", {.host = "h_1-a", .port = 65535, .database = 15}},
        {"redis://h/2147483647", {.host = "h", .port = 6379, .database = INT32_MAX}},
        {"redis://me@h", {.host = "h", .port = 6379, .user = "me"}},
        {"redis://me:se:cret@h:7", {.host = "h", .port = 7, .user = "me", .password = "se:cret"}},
        {"redis://:secret@h", {.host = "h", .port = 6379, .password = "secret"}},
        {"redis://:@h", {.host = "h", .port = 6379}},
        {"redis://u%3A:a%2Fb%40%25%c3%A4@h/3",
         {.host = "h", .port = 6379, .database = 3, .user = "u:", .password = "a/b@%\xc3\xa4"}},
        {"redis://:p@ss@h", {.host = "h", .port = 6379, .password = "p@ss"}},
        {"redis://[::1]", {.host = "::1", .port = 6379}},
        {"redis://u:p@[2001:db8::7]:6380/1",
         {.host = "2001:db8::7", .port = 6380, .database = 1, .user = "u", .password = "p"}},
        {"unix:///run/r.sock", {.is_unix = true, .host = "/run/r.sock"}},
        {"unix:///r%20%3f.sock?db=4", {.is_unix = true, .host = "/r ?.sock", .database = 4}},
        {"redis+unix://u:p@/a/b@c",
         {.is_unix = true, .host = "/a/b@c", .user = "u", .password = "p"}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct home_options *says = &cases[i].says;
        struct home_options out = {.name = "main", .cluster = true, .timeout_us = 5};
        struct error error = ERROR_INIT;
        memset(out.host, 'x', sizeof(out.host));
        memset(out.user, 'x', sizeof(out.user));
        memset(out.password, 'x', sizeof(out.password));
        if (home_url_read(&out, cases[i].url, strlen(cases[i].url), &error) != 0) {
            fail_msg("%s: %s", cases[i].url, error.message);
        }
        assert_int_equal(out.is_unix, says->is_unix);
        assert_string_equal(out.host, says->host);
        assert_int_equal(out.port, says->port);
        assert_string_equal(out.user, says->user);
        assert_string_equal(out.password, says->password);
        assert_int_equal(out.database, says->database);
        assert_string_equal(out.name, "main");
        assert_true(out.cluster);
        assert_int_equal(out.timeout_us, 5);
    }
}

#define ESCAPES "(in a user or password, write / as %2F, ? as %3F, # as %23)"

static void faults_say_what_would_be_right(void **state)
{
    (void)state;
    static const char start[] = "it must begin with redis:// or unix://, such as "
                                "redis://127.0.0.1:6379";
    static const char port[] = "its port must be a number from 1 to 65535 " ESCAPES;
    static const char host[] =
        "its host must be a name, an IPv4 address, or an IPv6 address in brackets";
    static const char brackets[] = "in its brackets must stand an IPv6 address, such as [::1]";
    static const char number[] = "its database must be a number from 0";
    static const char path[] = "behind unix:// must stand the whole path of a socket, such as "
                               "unix:///run/redis/redis.sock";
    static const struct {
        const char *url;
        const char *says;
    } cases[] = {
        {"", start},
        {"127.0.0.1:6379", start},
        {"REDIS://h", start},
        {"redis:/h", start},
        {"http://h", start},
        {"rediss://:secret@h",
         "rediss:// means TLS, which is not spoken here: run a proxy that speaks it on this host, "
         "and name that one, such as redis://127.0.0.1:6379"},
        {"redis://", "it has no host: write redis://127.0.0.1:6379"},
        {"redis:///0", "it has no host: write redis://127.0.0.1:6379"},
        {"redis://u:secret@", "it has no host: write redis://127.0.0.1:6379"},
        {"redis://:6379", "it has no host: write redis://127.0.0.1:6379"},
        {"redis://a b", host},
        {"redis://a%41", host},
        {"redis://::1", "it has no host: write redis://127.0.0.1:6379"},
        {"redis://fe80::1", port},
        {"redis://[::1", brackets},
        {"redis://[]", brackets},
        {"redis://[127.0.0.1]", brackets},
        {"redis://[secret]:1", brackets},
        {"redis://[::1]6379",
         "behind the brackets of its host may only stand a port, such as :6379"},
        {"redis://[::1]:", port},
        {"redis://h:", port},
        {"redis://h:0", port},
        {"redis://h:65536", port},
        {"redis://h:99999999999999999999", port},
        {"redis://h:1x", port},
        {"redis://:secret", "it has no host: write redis://127.0.0.1:6379"},
        {"redis://user:secret", port},
        {"redis://:sec/ret@h",
         "it has an @ behind its first /, ? or #: in a user or password, write / as %2F, ? as "
         "%3F, # as %23"},
        {"redis://h/x", number},
        {"redis://h/-1", number},
        {"redis://h/1/2", number},
        {"redis://h/2147483648", number},
        {"redis://h/1?timeout=5",
         "it has no options behind a ? or #: cluster and timeout stand beside it, the database "
         "behind a /"},
        {"redis://h#1",
         "it has no options behind a ? or #: cluster and timeout stand beside it, the database "
         "behind a /"},
        {"redis://:secret%@h",
         "in its password a % is not followed by two hexadecimal digits: write %25 for a %"},
        {"redis://secret%4@h",
         "in its user a % is not followed by two hexadecimal digits: write %25 for a %"},
        {"redis://secret%4g@h",
         "in its user a % is not followed by two hexadecimal digits: write %25 for a %"},
        {"redis://:secret%00@h", "its password may not have a zero byte"},
        {"unix://", path},
        {"unix:///", path},
        {"unix://run/r.sock", path},
        {"unix://:secret@run/r.sock", path},
        {"unix:///a%0", "in its path a % is not followed by two hexadecimal digits: write %25 for "
                        "a %"},
        {"unix:///a?db=", number},
        {"unix:///a?db=1&password=secret", number},
        {"unix:///a?password=secret", "behind the ? may only stand the database, such as ?db=0"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct home_options out = {.port = 0};
        struct error error = ERROR_INIT;
        int status = home_url_read(&out, cases[i].url, strlen(cases[i].url), &error);
        if (status != -CODE_INVALID_VALUE || strcmp(error.message, cases[i].says) != 0) {
            fail_msg("%s: %d, %s", cases[i].url, status, error.message);
        }
        assert_null(strstr(error.message, "sec"));
    }
}

/* Reads what has `size` bytes of `fill` between two texts. */
static int read_long(const char *before, char fill, size_t size, const char *after,
                     struct error *error)
{
    char url[2048];
    size_t at = (size_t)snprintf(url, sizeof(url), "%s", before);
    memset(url + at, fill, size);
    at += size;
    at += (size_t)snprintf(url + at, sizeof(url) - at, "%s", after);
    struct home_options out = {.port = 0};
    return home_url_read(&out, url, at, error);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
        size_t most;
        const char *says;
    } cases[] = {
        {"redis://", "", HOME_HOST_MAX - 1, "its host has more than 255 bytes"},
        {"redis://", "@h", HOME_WORD_MAX - 1, "its user has more than 511 bytes"},
        {"redis://:", "@h", HOME_WORD_MAX - 1, "its password has more than 511 bytes"},
        {"unix:///", "", 106, "its path has more than 107 bytes"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = ERROR_INIT;
        assert_int_equal(read_long(cases[i].before, 'a', cases[i].most, cases[i].after, &error), 0);
        assert_int_equal(read_long(cases[i].before, 'a', cases[i].most + 1, cases[i].after, &error),
                         -CODE_INVALID_VALUE);
        assert_string_equal(error.message, cases[i].says);
    }
}

/* A URL made of known parts says these parts, whatever is in user and password;
 * one that was damaged is read, or refused without any of its words. */
static void made_up_urls_are_read_back(void **state)
{
    (void)state;
    struct random random = random_start("home_url");
    for (int round = 0; round < 20000; round++) {
        char user[20] = "", password[20] = "", url[256];
        size_t size = (size_t)snprintf(url, sizeof(url), "redis://");
        for (int part = 0; part < 2; part++) {
            char *word = part == 0 ? user : password;
            uint64_t length = random_below(&random, sizeof(user));
            for (uint64_t i = 0; i < length; i++) {
                word[i] = (char)(random_below(&random, 255) + 1);
                size += (size_t)snprintf(url + size, sizeof(url) - size, "%%%02x",
                                         (unsigned char)word[i]);
            }
            url[size++] = part == 0 ? ':' : '@';
        }
        uint32_t port = (uint32_t)random_below(&random, 65535) + 1;
        uint32_t database = (uint32_t)random_below(&random, 100);
        size += (size_t)snprintf(url + size, sizeof(url) - size, "there:%u/%u", port, database);
        struct home_options out = {.port = 0};
        struct error error = ERROR_INIT;
        assert_int_equal(home_url_read(&out, url, size, &error), 0);
        assert_string_equal(out.user, user);
        assert_string_equal(out.password, password);
        assert_int_equal(out.port, port);
        assert_int_equal(out.database, database);
        url[random_below(&random, size)] = (char)random_next(&random);
        if (home_url_read(&out, url, random_below(&random, size + 1), &error) != 0) {
            assert_true(error.message[0] != '\0');
            assert_null(strstr(error.message, "there:"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read),
        cmocka_unit_test(faults_say_what_would_be_right),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(made_up_urls_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

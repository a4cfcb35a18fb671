#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"
#include "protocol/base/heap.h"

/* `redis` in the configuration. */

static char folder[] = "/tmp/relata-test-XXXXXX";
static char name[64];

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof(name), "%s/c.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int read_text(struct config *config, const char *text, struct buffer *faults)
{
    config_defaults(config);
    int status = config_read(config, name, text, strlen(text), faults);
    buffer_byte(faults, '\0');
    return status;
}

static void assert_read(struct config *config, const char *text)
{
    struct buffer faults = BUFFER_INIT;
    if (read_text(config, text, &faults) != 0) {
        fail_msg("%s: %s", text, (const char *)faults.bytes);
    }
    buffer_release(&faults);
}

static void write_file(const char *file, const char *text, size_t size, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, file);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, size, out), size);
    fclose(out);
}

static void test_homes(void **state)
{
    (void)state;
    struct config config;
    static const char *const none[] = {"", "redis:", "redis: {}"};
    for (size_t i = 0; i < ARRAY_COUNT(none); i++) {
        assert_read(&config, none[i]);
        assert_int_equal(config.home_count, 0);
    }
    assert_read(&config, "redis:\n"
                         "  main: {url: 'redis://me:secret@10.0.0.7:7000/3'}\n"
                         "  other_1: {url: unix:///run/r.sock, timeout: 250ms, cluster: false}\n"
                         "  wide: {url: 'redis://[::1]', cluster: true}\n");
    assert_int_equal(config.home_count, 3);
    const struct home_options *home = &config.homes[0];
    assert_string_equal(home->name, "main");
    assert_false(home->is_unix);
    assert_string_equal(home->host, "10.0.0.7");
    assert_int_equal(home->port, 7000);
    assert_string_equal(home->user, "me");
    assert_string_equal(home->password, "secret");
    assert_int_equal(home->database, 3);
    assert_false(home->cluster);
    assert_int_equal(home->timeout_us, 1000000);
    home = &config.homes[1];
    assert_string_equal(home->name, "other_1");
    assert_true(home->is_unix);
    assert_string_equal(home->host, "/run/r.sock");
    assert_int_equal(home->timeout_us, 250000);
    assert_true(config.homes[2].cluster);
}

static void test_url_elsewhere(void **state)
{
    (void)state;
    struct config config;
    char path[128], text[300];
    setenv("RELATA_TEST_URL", "redis://:secret@here:1/2", 1);
    assert_read(&config, "redis: {main: {url_env: RELATA_TEST_URL}}");
    assert_string_equal(config.homes[0].host, "here");
    assert_string_equal(config.homes[0].password, "secret");
    assert_int_equal(config.homes[0].database, 2);
    unsetenv("RELATA_TEST_URL");

    /* Beside the configuration, and anywhere. */
    write_file("url", " redis://there\r\n\n", 17, path);
    assert_read(&config, "redis: {main: {url_file: url}}");
    assert_string_equal(config.homes[0].host, "there");
    snprintf(text, sizeof(text), "redis: {main: {url_file: %s}}", path);
    assert_read(&config, text);
    assert_string_equal(config.homes[0].host, "there");
    unlink(path);
}

/* Not even where the URL was put into the wrong place is any of it told. */
static void test_faults(void **state)
{
    (void)state;
    char url[128], bad[128], zero[128], large[128];
    static char much[5000];
    memset(much, 'x', sizeof(much));
    write_file("none", "", 0, url);
    write_file("bad", "redis://:secret@h/x", 19, bad);
    write_file("zero", "redis://h\0secret", 16, zero);
    write_file("large", much, sizeof(much), large);
    setenv("RELATA_TEST_URL", "rediss://:secret@here", 1);
    setenv("RELATA_TEST_EMPTY", "", 1);
    static const struct {
        const char *text;
        const char *says; /* @ is the folder */
    } cases[] = {
        {"redis: [x]", "1:8: redis must be a map of names, such as {main: {url: "
                       "redis://127.0.0.1:6379}}\n"},
        {"redis: {main: redis://:secret@h}",
         "1:15: redis.main must be a map, such as {url: redis://127.0.0.1:6379}\n"},
        {"redis: {main: }", "1:15: redis.main must be a map, such as"},
        {"redis: {'redis://:secret@h': {}}",
         "1:9: a name under redis must be letters, digits and _, at most 63 bytes, with no digit "
         "at its begin, and no word such as and, or, not, in, true, false\n"},
        {"redis: {or: {url: redis://h}}", "1:9: a name under redis must be letters"},
        {"redis: {main: {}}", "1:15: redis.main needs one of url, url_env and url_file\n"},
        {"redis: {main: {url: redis://h, url_env: X}}",
         "1:15: redis.main needs only one of url, url_env and url_file\n"},
        {"redis: {main: {ulr: redis://:secret@h}}",
         "1:16: \"ulr\" is no key of redis.main; did you mean \"url\"?\n"},
        {"redis: {main: {'redis://:secret@h': , url: redis://h}}",
         "1:16: redis.main has the keys url, url_env, url_file, cluster and timeout only\n"},
        {"redis: {main: {url: [a]}}", "1:21: url must be text, got a list\n"},
        {"redis: {main: {url: }}", "1:21: url must be text, got nothing\n"},
        {"redis: {main: {url: ''}}", "1:21: url must be text, got an empty text\n"},
        {"redis: {main: {url: \"redis://:secret\\0@h\"}}",
         "1:21: url must be text, got text with a zero byte\n"},
        {"redis: {main: {url: 'rediss://:secret@h'}}",
         "1:21: url is no URL of a Redis: rediss:// means TLS, which is not spoken here"},
        {"redis: {main: {url: 'redis://:secret@h:x'}}",
         "1:21: url is no URL of a Redis: its port must be a number from 1 to 65535"},
        {"redis: {main: {url_env: 'redis://:secret@h'}}",
         "1:25: url_env must be the name of an environment variable, such as REDIS_URL\n"},
        {"redis: {main: {url_env: 1X}}", "1:25: url_env must be the name of"},
        {"redis: {main: {url_env: {}}}", "1:25: url_env must be the name of"},
        {"redis: {main: {url_env: RELATA_TEST_NONE}}",
         "1:25: url_env: the environment variable RELATA_TEST_NONE is not set\n"},
        {"redis: {main: {url_env: RELATA_TEST_EMPTY}}",
         "1:25: url_env: the environment variable RELATA_TEST_EMPTY is not set\n"},
        {"redis: {main: {url_env: RELATA_TEST_URL}}",
         "1:25: url_env: what RELATA_TEST_URL holds is no URL of a Redis: rediss:// means TLS"},
        {"redis: {main: {url_file: 'redis://:secret@h'}}",
         "1:26: url_file must be the path of a file that holds the URL\n"},
        {"redis: {main: {url_file: [x]}}", "1:26: url_file must be the path of a file"},
        {"redis: {main: {url_file: }}", "1:26: url_file must be text, got nothing\n"},
        {"redis: {main: {url_file: nowhere}}",
         "1:26: url_file: cannot read @/nowhere: No such file or directory\n"},
        {"redis: {main: {url_file: none}}",
         "1:26: url_file: what @/none holds is no URL of a Redis: it must begin with redis://"},
        {"redis: {main: {url_file: bad}}",
         "1:26: url_file: what @/bad holds is no URL of a Redis: its database must be"},
        {"redis: {main: {url_file: zero}}",
         "1:26: url_file: @/zero holds more than a URL of at most 4095 bytes\n"},
        {"redis: {main: {url_file: large}}", "1:26: url_file: @/large holds more than a URL"},
        {"redis: {main: {url: redis://h, timeout: 0s}}",
         "1:41: timeout must be a duration from 1us to 366d, such as 30s, got \"0s\"\n"},
        {"redis: {main: {url: redis://h, timeout: 5}}",
         "1:41: timeout must be a duration from 1us to 366d, such as 30s, got 5\n"},
        {"redis: {main: {url: redis://h, timeout: 'redis://:secret@h'}}",
         "1:41: timeout must be a duration from 1us to 366d, such as 30s, got another text\n"},
        {"redis: {main: {url: redis://h, cluster: 1}}",
         "1:41: cluster must be true or false, got 1\n"},
        {"redis: {main: {url: redis://h, cluster: yes}}",
         "1:41: cluster must be true or false, got \"yes\"\n"},
        {"redis: {main: {url: redis://h, cluster: {}}}",
         "1:41: cluster must be true or false, got a map\n"},
        {"redis: {main: {url: redis://h, cluster: 'redis://:secret@h'}}",
         "1:41: cluster must be true or false, got another text\n"},
        {"redis: {main: {url: redis://h/1, cluster: true}}",
         "1:43: with cluster: true the database of the URL must be 0, since a Cluster has no "
         "other\n"},
        {"redis: {a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}, i: {}, j: {}, k: {}, "
         "l: {}, m: {}, n: {}, o: {}, p: {}, q: {}}",
         "1:8: redis must have at most 16 names, this has 17\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config config;
        struct buffer faults = BUFFER_INIT;
        char says[500];
        const char *at = strchr(cases[i].says, '@');
        size_t before = at != NULL ? (size_t)(at - cases[i].says) : strlen(cases[i].says);
        snprintf(says, sizeof(says), "%s:%.*s%s%s", name, (int)before, cases[i].says,
                 at != NULL ? folder : "", at != NULL ? at + 1 : "");
        int status = read_text(&config, cases[i].text, &faults);
        const char *told = (const char *)faults.bytes;
        if (status != -CODE_INVALID_REQUEST || strncmp(told, says, strlen(says)) != 0 ||
            strstr(told, "secret") != NULL) {
            fail_msg("%s: %d, %s instead of %s", cases[i].text, status, told, says);
        }
        buffer_release(&faults);
    }
    unsetenv("RELATA_TEST_URL");
    unsetenv("RELATA_TEST_EMPTY");
    unlink(url);
    unlink(bad);
    unlink(zero);
    unlink(large);
}

static void test_as_many_as_there_may_be(void **state)
{
    (void)state;
    struct config config;
    struct buffer text = BUFFER_INIT;
    buffer_printf(&text, "redis:\n");
    for (int i = 0; i < HOMES_MAX; i++) {
        buffer_printf(&text, "  r%d: {url: redis://h:%d}\n", i, i + 1);
    }
    buffer_byte(&text, '\0');
    assert_read(&config, (const char *)text.bytes);
    assert_int_equal(config.home_count, HOMES_MAX);
    assert_string_equal(config.homes[HOMES_MAX - 1].name, "r15");
    assert_int_equal(config.homes[HOMES_MAX - 1].port, HOMES_MAX);
    buffer_release(&text);
}

static void test_without_memory(void **state)
{
    (void)state;
    char path[128];
    write_file("url", "redis://h\n", 10, path);
    bool failed = true;
    for (long at = 0; failed; at++) {
        struct config config;
        struct buffer faults = BUFFER_INIT;
        config_defaults(&config);
        static const char text[] = "redis: {main: {url_file: url}}";
        heap_fail_at(at);
        int status = config_read(&config, name, text, strlen(text), &faults);
        failed = heap_failed();
        heap_fail_at(-1);
        assert_int_equal(status, failed ? -CODE_INVALID_REQUEST : 0);
        buffer_release(&faults);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_homes),          cmocka_unit_test(test_url_elsewhere),
        cmocka_unit_test(test_faults),         cmocka_unit_test(test_as_many_as_there_may_be),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

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

static int read_text(struct config *config, const char *text, struct buffer *faults)
{
    config_defaults(config);
    int status = config_read(config, "/etc/relata/relata.yaml", text, strlen(text), faults);
    buffer_byte(faults, '\0');
    return status;
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n\n  # at all", "log: {}\nlimits:\n"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct config config;
        struct buffer faults = BUFFER_INIT;
        assert_int_equal(read_text(&config, texts[i], &faults), 0);
        assert_string_equal(config.listen[0].path, "/run/relata/relata.sock");
        assert_true(config.listen_is_default);
        assert_int_equal(config.socket_mode, 0660);
        assert_int_equal(config.limits.frame_bytes, 16 << 20);
        assert_int_equal(config.timeout_us, 30000000);
        assert_int_equal(config.log_level, LOG_INFO);
        assert_string_equal(config.schema, "");
        buffer_release(&faults);
    }
}

static void test_everything(void **state)
{
    (void)state;
    struct config config;
    struct buffer faults = BUFFER_INIT;
    assert_int_equal(read_text(&config,
                               "listen: [unix:a.sock, tcp:127.0.0.1:7450]\n"
                               "socket_mode: 0600\n"
                               "schema: ../schema.yaml\n"
                               "limits: {frame_bytes: 1MiB, keys_per_call: 10, nesting: 64}\n"
                               "timeout: 5s\n"
                               "client_stall_timeout: 250ms\n"
                               "shutdown_timeout: 1m\n"
                               "log: {level: warning, format: json}\n",
                               &faults),
                     0);
    assert_int_equal(config.listen_count, 2);
    assert_string_equal(config.listen[0].path, "/etc/relata/a.sock");
    assert_int_equal(config.listen[1].port, 7450);
    assert_false(config.listen_is_default);
    assert_int_equal(config.socket_mode, 0600);
    assert_string_equal(config.schema, "/etc/relata/../schema.yaml");
    assert_int_equal(config.limits.frame_bytes, 1 << 20);
    assert_int_equal(config.limits.keys_per_call, 10);
    assert_int_equal(config.limits.nesting, 64);
    assert_int_equal(config.limits.load_depth, 8);
    assert_int_equal(config.timeout_us, 5000000);
    assert_int_equal(config.client_stall_us, 250000);
    assert_int_equal(config.shutdown_us, 60000000);
    assert_int_equal(config.log_level, LOG_WARNING);
    assert_int_equal(config.log_format, LOG_JSON);
    buffer_release(&faults);

    assert_int_equal(read_text(&config, "listen: unix:/x\nschema: /s\nsocket_mode: 0o666", &faults),
                     0);
    assert_string_equal(config.listen[0].path, "/x");
    assert_string_equal(config.schema, "/s");
    assert_int_equal(config.socket_mode, 0666);
    buffer_release(&faults);
}

#define AT "/etc/relata/relata.yaml:"

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"listne: [unix:a]", AT "1:1: \"listne\" is no key of the configuration; did you mean "
                                "\"listen\"?\n"},
        {"zzz: 1", AT "1:1: \"zzz\" is no key of the configuration\n"},
        {"auth: {}", AT "1:1: auth: not supported yet\n"},
        {"[1]", AT "1:1: the configuration must be a map\n"},
        {"log: [x]", AT "1:6: log must be a map\n"},
        {"log: {level: loud}", AT "1:14: level must be debug, info, warning or error\n"},
        {"log: {format: [json]}", AT "1:15: format must be logfmt or json\n"},
        {"listen: []", AT "1:9: listen must be a list of addresses"},
        {"listen: [[a]]", AT "1:10: an address of listen must be text, got a list\n"},
        {"listen: [tcp:1.2.3.4:5]", AT "1:10: 1.2.3.4 can be reached from other hosts"},
        {"socket_mode: 0888", AT "1:14: socket_mode must be"},
        {"socket_mode: 01777", AT "1:14: socket_mode must be"},
        {"socket_mode: 0o", AT "1:14: socket_mode must be"},
        {"socket_mode: {}", AT "1:14: socket_mode must be"},
        {"schema: []", AT "1:9: schema must be text, got a list\n"},
        {"schema: \"a\\0b\"", AT "1:9: schema must be text, got text with a zero byte\n"},
        {"timeout: 5",
         AT "1:10: timeout must be a duration from 1us to 366d, such as 30s, got 5\n"},
        {"timeout: 0s", AT "1:10: timeout must be a duration"},
        {"timeout: 400d", AT "1:10: timeout must be a duration"},
        {"limits: {frame_byts: 1}", AT "1:10: \"frame_byts\" is no key of limits; did you mean "
                                       "\"frame_bytes\"?\n"},
        {"limits: {frame_bytes: 2GiB}", AT "1:23: frame_bytes must be a size from 1024 to "
                                           "1073741824, such as 16MiB\n"},
        {"limits: {nesting: 65}", AT "1:19: nesting must be an integer from 4 to 64\n"},
        {"limits: {connections: 0}", AT "1:23: connections must be an integer from 1 to "},
        {"limits: {connections: -1}", AT "1:23: connections must be"},
        {"log: {level: info, level: info}", "given twice"},
        {"a: b: c", "this is not YAML"},
        {"log: {level: x}\ntimeout: y", AT "2:10: timeout"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config config;
        struct buffer faults = BUFFER_INIT;
        int status = read_text(&config, cases[i].text, &faults);
        if (status != -CODE_INVALID_REQUEST ||
            strstr((const char *)faults.bytes, cases[i].says) == NULL) {
            fail_msg("%s: %d, %s", cases[i].text, status, (const char *)faults.bytes);
        }
        buffer_release(&faults);
    }
}

/* Every limit of the table can be set, and is the one that was set. */
static void test_every_limit(void **state)
{
    (void)state;
    struct config config;
    struct buffer faults = BUFFER_INIT;
    struct buffer text = BUFFER_INIT;
    buffer_printf(&text, "limits:\n");
#define X(name, value, meaning) buffer_printf(&text, "  " #name ": %llu\n", (value)-1ULL);
    RELATA_LIMITS(X)
#undef X
    buffer_byte(&text, '\0');
    assert_int_equal(read_text(&config, (const char *)text.bytes, &faults), 0);
#define X(name, value, meaning) assert_int_equal(config.limits.name, (value)-1);
    RELATA_LIMITS(X)
#undef X
    buffer_release(&text);
    buffer_release(&faults);
}

static void test_without_memory(void **state)
{
    (void)state;
    static const char text[] = "listen: [unix:a, unix:b]\nlog: {level: debug}\nlimts: {}\n";
    struct config config;
    int failed;
    long count = 0;
    do {
        struct buffer faults = BUFFER_INIT;
        config_defaults(&config);
        heap_fail_at(count++);
        int status = config_read(&config, "c.yaml", text, strlen(text), &faults);
        failed = heap_failed();
        heap_fail_at(-1);
        assert_int_equal(status, -CODE_INVALID_REQUEST);
        buffer_release(&faults);
    } while (failed);
    assert_true(count > 1);
}

static void test_load(void **state)
{
    (void)state;
    struct config config;
    struct buffer faults = BUFFER_INIT;
    char folder[] = "/tmp/relata-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/c.yaml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("schema: s.yaml\nlisten: [unix:file.sock]\nlog: {level: error}\n", file);
    fclose(file);

    struct arguments arguments = {.config = {path, "--config"}};
    assert_int_equal(config_load(&config, &arguments, &faults), 0);
    assert_true(strncmp(config.schema, folder, strlen(folder)) == 0);
    assert_int_equal(config.log_level, LOG_ERROR);

    arguments.schema = (struct argument){"other.yaml", "--schema"};
    arguments.log_level = (struct argument){"debug", "RELATA_LOG_LEVEL"};
    arguments.listen[0] = (struct argument){"tcp:[::1]:5,", "--listen"};
    arguments.listen_sizes[0] = 11;
    arguments.listen_count = 1;
    assert_int_equal(config_load(&config, &arguments, &faults), 0);
    assert_string_equal(config.schema, "other.yaml");
    assert_int_equal(config.log_level, LOG_DEBUG);
    assert_int_equal(config.listen_count, 1);
    assert_int_equal(config.listen[0].port, 5);

    arguments.log_level.text = "loud";
    arguments.listen_sizes[0] = 3;
    assert_int_equal(config_load(&config, &arguments, &faults), -CODE_INVALID_REQUEST);
    buffer_byte(&faults, '\0');
    assert_non_null(strstr((const char *)faults.bytes, "RELATA_LOG_LEVEL: must be debug"));
    assert_non_null(strstr((const char *)faults.bytes, "--listen: \"tcp\" is no address"));
    buffer_release(&faults);

    unlink(path);
    assert_int_equal(config_load(&config, &arguments, &faults), -CODE_INVALID_REQUEST);
    buffer_byte(&faults, '\0');
    assert_non_null(strstr((const char *)faults.bytes, "No such file"));
    buffer_release(&faults);
    rmdir(folder);

    struct arguments nothing = {0};
    assert_int_equal(config_load(&config, &nothing, &faults), -CODE_INVALID_REQUEST);
    buffer_byte(&faults, '\0');
    assert_non_null(strstr((const char *)faults.bytes, "there is no schema"));
    buffer_release(&faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_everything),
        cmocka_unit_test(test_faults),         cmocka_unit_test(test_every_limit),
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "daemon/arguments.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* The environment of a test: name and value in turn, ended by NULL. */
static const char *const *variables;

static const char *environment(const char *name)
{
    for (const char *const *at = variables; at != NULL && *at != NULL; at += 2) {
        if (strcmp(at[0], name) == 0) {
            return at[1];
        }
    }
    return NULL;
}

enum { WORDS_MAX = 24 };

/* The words, split at blanks, as a command line. */
static int read_words(struct arguments *arguments, char *words, struct buffer *faults)
{
    char *argv[WORDS_MAX] = {(char[]){"relatad"}};
    int argc = 1;
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    return arguments_read(arguments, argc, argv, environment, faults);
}

static void test_flags_over_environment(void **state)
{
    (void)state;
    static const char *const given[] = {"RELATA_CONFIG",
                                        "env.yaml",
                                        "RELATA_SCHEMA",
                                        "",
                                        "RELATA_LISTEN",
                                        "unix:a,unix:b",
                                        "RELATA_LOG_LEVEL",
                                        "debug",
                                        "RELATA_LOG_FORMAT",
                                        "json",
                                        NULL};
    struct arguments arguments;
    struct buffer faults = BUFFER_INIT;
    variables = given;
    assert_int_equal(read_words(&arguments, (char[]){""}, &faults), 0);
    assert_string_equal(arguments.config.text, "env.yaml");
    assert_string_equal(arguments.config.from, "RELATA_CONFIG");
    assert_null(arguments.schema.text); /* empty is not given */
    assert_int_equal(arguments.listen_count, 2);
    assert_int_equal(arguments.listen_sizes[0], 6);
    assert_memory_equal(arguments.listen[1].text, "unix:b", 7);
    assert_string_equal(arguments.log_level.text, "debug");
    assert_string_equal(arguments.log_format.text, "json");

    assert_int_equal(read_words(&arguments,
                                (char[]){"--config c --schema=s --listen unix:x --listen unix:y,z"},
                                &faults),
                     0);
    assert_string_equal(arguments.config.text, "c");
    assert_string_equal(arguments.config.from, "--config");
    assert_string_equal(arguments.schema.text, "s");
    assert_int_equal(arguments.listen_count, 2);
    assert_string_equal(arguments.listen[1].text, "unix:y,z"); /* a path may have commas */
    assert_int_equal(arguments.listen_sizes[1], 8);
    assert_false(arguments.check || arguments.version || arguments.help);

    assert_int_equal(read_words(&arguments, (char[]){"--check --version --help"}, &faults), 0);
    assert_true(arguments.check && arguments.version && arguments.help);
    assert_int_equal(faults.size, 0);
    buffer_release(&faults);
}

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *says;
    } cases[] = {
        {"--shcema x", "--shcema: there is no such flag; did you mean --schema?\n"},
        {"--quux=3", "--quux: there is no such flag; --help tells them\n"},
        {"-x", "-x: there is no such flag; --help tells them\n"},
        {"--schema", "--schema: needs a value\n"},
        {"--check=1", "--check=1: takes no value\n"},
        {"stray", "stray: only flags are taken; --help tells them\n"},
        {"--shcema=x --schema", "--shcema: there is no such flag; did you mean --schema?\n"
                                "--schema: needs a value\n"},
    };
    variables = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arguments arguments;
        struct buffer faults = BUFFER_INIT;
        char words[128];
        snprintf(words, sizeof(words), "%s", cases[i].words);
        assert_int_equal(read_words(&arguments, words, &faults), -CODE_INVALID_REQUEST);
        buffer_byte(&faults, '\0');
        if (strstr((const char *)faults.bytes, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].words, (const char *)faults.bytes);
        }
        buffer_release(&faults);
    }
}

static void test_too_many_addresses(void **state)
{
    (void)state;
    static const char *const given[] = {"RELATA_LISTEN", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", NULL};
    struct arguments arguments;
    struct buffer faults = BUFFER_INIT;
    variables = given;
    assert_int_equal(read_words(&arguments, (char[]){""}, &faults), -CODE_INVALID_REQUEST);
    assert_int_equal(arguments.listen_count, ARGUMENTS_LISTEN_MAX);
    buffer_release(&faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_over_environment),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_too_many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

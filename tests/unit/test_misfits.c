#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/redis/misfits.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* Records that are left out, and why; a random run against a plain array. */

enum { KEYS = 30, RIVALS_MAX = 64 };

static struct misfits misfits;

static int setup(void **state)
{
    (void)state;
    hash_seed(3);
    misfits_init(&misfits);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_at(-1);
    misfits_release(&misfits);
    return 0;
}

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

static bool put(const char *key, const char *message, const char *rival)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_INVALID_VALUE, "%s", message);
    error_resource(&error, "team");
    error_field(&error, "name");
    error_key(&error, key, strlen(key));
    return misfits_put(&misfits, bytes(key), strlen(key), &error, bytes(rival), strlen(rival));
}

static const struct error *find(const char *key)
{
    return misfits_find(&misfits, bytes(key), strlen(key));
}

static void on_rival(void *context, const uint8_t *key, size_t size)
{
    char *out = context;
    size_t used = strlen(out);
    snprintf(out + used, RIVALS_MAX - used, "%.*s ", (int)size, (const char *)key);
}

static const char *of_rival(const char *rival, char out[RIVALS_MAX])
{
    out[0] = '\0';
    misfits_each_of_rival(&misfits, bytes(rival), strlen(rival), on_rival, out);
    return out;
}

static void says_why(void **state)
{
    char out[RIVALS_MAX];
    (void)state;
    assert_null(find("a"));
    assert_string_equal(of_rival("b", out), "");
    assert_true(put("a", "not so", ""));
    assert_true(put("c", "twice", "b"));
    const struct error *error = find("a");
    assert_int_equal(error->code, CODE_INVALID_VALUE);
    assert_string_equal(error->message, "not so");
    assert_string_equal(error->resource, "team");
    assert_string_equal(error->field, "name");
    assert_int_equal(error->key_size, 1);
    assert_int_equal(error->key[0], 'a');
    assert_int_equal(error->index, -1);
    assert_string_equal(find("c")->message, "twice");
    assert_true(misfits_has_rival(&misfits, bytes("c"), 1));
    assert_false(misfits_has_rival(&misfits, bytes("a"), 1));
    assert_false(misfits_has_rival(&misfits, bytes("b"), 1));
    assert_string_equal(of_rival("b", out), "c ");
    assert_string_equal(of_rival("a", out), "");
    assert_true(put("c", "otherwise", "")); /* replaced */
    assert_string_equal(of_rival("b", out), "");
    assert_int_equal(misfits_count(&misfits), 2);
    misfits_remove(&misfits, bytes("a"), 1);
    misfits_remove(&misfits, bytes("a"), 1);
    assert_null(find("a"));
    misfits_clear(&misfits);
    assert_null(find("c"));
    heap_fail_at(0);
    assert_false(put("d", "no room", "e"));
    assert_null(find("d"));
}

static void is_an_array_at_random(void **state)
{
    struct random random = random_start("is_an_array_at_random");
    int rivals[KEYS]; /* -1: none; -2: it is not left out */
    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        rivals[i] = -2;
    }
    for (unsigned round = 0; round < 20000; round++) {
        char key[8], rival[8] = "", out[RIVALS_MAX];
        unsigned which = (unsigned)random_below(&random, KEYS);
        snprintf(key, sizeof key, "%u", which);
        unsigned action = (unsigned)random_below(&random, 3);
        if (action == 0) {
            rivals[which] = (int)random_below(&random, 4) - 1;
            if (rivals[which] >= 0) {
                snprintf(rival, sizeof rival, "r%d", rivals[which]);
            }
            assert_true(put(key, key, rival));
        } else if (action == 1) {
            misfits_remove(&misfits, bytes(key), strlen(key));
            rivals[which] = -2;
        } else {
            const struct error *error = find(key);
            assert_int_equal(error != NULL, rivals[which] != -2);
            if (error != NULL) {
                assert_string_equal(error->message, key);
            }
        }
        size_t count = 0, left_out = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            count += rivals[i] == 1;
            left_out += rivals[i] != -2;
        }
        assert_int_equal(misfits_count(&misfits), left_out);
        if (count <= 15) {
            size_t words = 0;
            for (const char *at = of_rival("r1", out); *at != '\0'; at++) {
                words += *at == ' ';
            }
            assert_int_equal(words, count);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(is_an_array_at_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/index_marks.h"
#include "layers/redis/index_signature.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/schema_fixture.h"

/* The hash of marks: its names, the commands on it, and what it says. */

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  thing:\n"
                           "    layer: redis\n"
                           "    redis: {writers: relata}\n"
                           "    fields: {id: integer, a: string, b: integer}\n"
                           "    indexes: [[a], [b, a]]\n"
                           "    identities: {one: [b, a]}\n"
                           "  open: {layer: redis, fields: {id: integer, a: string}}\n";

enum { FIRST, SECOND, CLAIM, COUNT };

struct world {
    struct schema *schema;
    const struct resource *thing;
    const struct resource *open;
    char signatures[COUNT][INDEX_SIGNATURE_BYTES + 1];
    struct buffer out;
    struct buffer reply;
};

static int setup(void **state)
{
    static struct world world;
    world = (struct world){.schema = schema_fixture(yaml)};
    world.thing = fixture_resource(world.schema, "thing");
    world.open = fixture_resource(world.schema, "open");
    for (unsigned i = 0; i < COUNT; i++) {
        if (i == CLAIM) {
            claim_signature(world.thing, &world.thing->identities[0], &world.out);
        } else {
            index_signature(world.thing, &world.thing->indexes[i], &world.out);
        }
        memcpy(world.signatures[i], world.out.bytes, INDEX_SIGNATURE_BYTES);
        buffer_truncate(&world.out, 0);
    }
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    buffer_release(&world->out);
    buffer_release(&world->reply);
    schema_put(world->schema);
    return 0;
}

static void expect_text(struct buffer *out, const char *expected)
{
    buffer_byte(out, 0);
    assert_false(out->failed);
    assert_string_equal((const char *)out->bytes, expected);
    buffer_truncate(out, 0);
}

/* The command's words, each behind a space. */
static void expect_words(struct buffer *out, const char *expected)
{
    struct buffer text = BUFFER_INIT;
    struct resp_reader in = resp_reader_of(out->bytes, out->size);
    struct resp_token list = resp_next(&in);
    assert_false(out->failed);
    assert_int_equal(list.kind, RESP_ARRAY);
    for (uint64_t i = 0; i < list.count; i++) {
        struct resp_token word = resp_next(&in);
        assert_int_equal(word.kind, RESP_TEXT);
        buffer_byte(&text, ' ');
        buffer_append(&text, word.bytes, word.size);
    }
    assert_ptr_equal(in.at, in.end);
    expect_text(&text, expected);
    buffer_release(&text);
    buffer_truncate(out, 0);
}

static void test_names(void **state)
{
    struct world *world = *state;
    index_marks_name(world->thing, &world->out);
    expect_text(&world->out, "relata:built:thing");
    index_marks_field(world->thing, FIRST, &world->out);
    expect_text(&world->out, "ix:a");
    index_marks_field(world->thing, SECOND, &world->out);
    expect_text(&world->out, "ix:b,a");
    index_marks_field(world->thing, CLAIM, &world->out);
    expect_text(&world->out, "id:one:b,a");
    assert_int_equal(index_marks_count(world->thing), COUNT);
    assert_int_equal(index_marks_count(world->open), 0);
}

/* Behind the head, the command's name and its script: scripts are tested where there is
 * a server (test_index_marks.py, test_reindex.py). */
static void expect_script(struct buffer *out, const char *expected)
{
    struct buffer rest = BUFFER_INIT;
    struct resp_reader in = resp_reader_of(out->bytes, out->size);
    uint64_t count = resp_next(&in).count;
    struct resp_token verb = resp_next(&in);
    assert_true(resp_is(&verb, "EVAL"));
    resp_skip(&in);
    resp_command(&rest, count - 2);
    buffer_append(&rest, in.at, (size_t)(in.end - in.at));
    expect_words(&rest, expected);
    buffer_release(&rest);
    buffer_truncate(out, 0);
}

static void test_commands(void **state)
{
    struct world *world = *state;
    char marks[200];
    char expected[400];
    snprintf(marks, sizeof marks, "ix:a %s ix:b,a %s id:one:b,a %s", world->signatures[FIRST],
             world->signatures[SECOND], world->signatures[CLAIM]);
    index_marks_read_command(world->thing, &world->out);
    expect_words(&world->out, " HGETALL relata:built:thing");
    index_marks_begin_command(world->thing, "run", &world->out);
    snprintf(expected, sizeof expected,
             " HSET relata:built:thing reindex:ix:a %s run reindex:ix:b,a %s run"
             " reindex:id:one:b,a %s run",
             world->signatures[FIRST], world->signatures[SECOND], world->signatures[CLAIM]);
    expect_words(&world->out, expected);
    index_marks_end_command(world->thing, "run", &world->out);
    snprintf(expected, sizeof expected, " 1 relata:built:thing run %s", marks);
    expect_script(&world->out, expected);
    index_marks_set_absent_command(world->thing, &world->out);
    snprintf(expected, sizeof expected, " 1 relata:built:thing %s", marks);
    expect_script(&world->out, expected);
}

/* ---- The hash ---- */

/* Puts the words of a reply: a map of RESP3, or the array that it is in RESP2. */
static void reply(struct world *world, bool map, size_t count, const char *const *words)
{
    buffer_truncate(&world->reply, 0);
    buffer_printf(&world->reply, "%c%zu\r\n", map ? '%' : '*', map ? count / 2 : count);
    for (size_t i = 0; i < count; i++) {
        resp_word_text(&world->reply, words[i]);
    }
}

static bool read_reply(const struct world *world, const struct resource *resource,
                       struct index_marks *marks)
{
    struct resp_reader in = resp_reader_of(world->reply.bytes, world->reply.size);
    struct resp_token first = resp_next(&in);
    return index_marks_read(marks, resource, &first, &in);
}

static void test_reading(void **state)
{
    struct world *world = *state;
    const char *words[] = {
        "ix:a",   world->signatures[FIRST], "ix:b",     world->signatures[SECOND],
        "ix:b,a", world->signatures[FIRST], "id:one:b", "1"};
    for (int map = 0; map < 2; map++) {
        struct index_marks *marks = index_marks_create(world->thing);
        reply(world, map == 1, ARRAY_COUNT(words), words);
        assert_true(read_reply(world, world->thing, marks));
        assert_true(marks->whole[FIRST]);
        assert_false(marks->whole[SECOND]);
        assert_false(marks->whole[CLAIM]);
        assert_int_equal(marks->absent, 1);
        assert_int_equal(marks->other, 1);
        assert_int_equal(marks->foreign, 3);
        index_marks_remove_command(marks, world->thing, &world->out);
        expect_words(&world->out, " HDEL relata:built:thing ix:b ix:b,a id:one:b");
        index_marks_removed(marks);
        assert_int_equal(marks->absent, 2);
        assert_int_equal(marks->foreign, 0);
        index_marks_free(marks);
    }
}

static void test_nothing_and_all(void **state)
{
    struct world *world = *state;
    const char *words[] = {"id:one:b,a", world->signatures[CLAIM], "ix:a", world->signatures[0],
                           "ix:b,a",     world->signatures[SECOND]};
    struct index_marks *marks = index_marks_create(world->thing);
    reply(world, true, 0, NULL);
    assert_true(read_reply(world, world->thing, marks));
    assert_int_equal(marks->absent, COUNT);
    assert_int_equal(marks->foreign, 0);
    index_marks_free(marks);

    marks = index_marks_create(world->thing);
    reply(world, true, ARRAY_COUNT(words), words);
    assert_true(read_reply(world, world->thing, marks));
    assert_int_equal(marks->absent + marks->foreign, 0);
    assert_true(marks->whole[FIRST] && marks->whole[SECOND] && marks->whole[CLAIM]);
    index_marks_free(marks);

    /* Where others write too, nothing is one's own. */
    marks = index_marks_create(world->open);
    assert_true(read_reply(world, world->open, marks));
    assert_int_equal(marks->absent, 0);
    assert_int_equal(marks->foreign, COUNT);
    index_marks_free(marks);
}

static void test_a_reindex_under_way(void **state)
{
    struct world *world = *state;
    char own[64];
    char other[64];
    snprintf(own, sizeof own, "%s run", world->signatures[FIRST]);
    snprintf(other, sizeof other, "%s run", world->signatures[SECOND]);
    const char *words[] = {"reindex:ix:a", own, "reindex:ix:b,a", own,   "reindex:ix:b", own,
                           "reindex:",     own, "reindex:ix:a",   "run", "reindex:ix:a", other};
    struct index_marks *marks = index_marks_create(world->thing);
    reply(world, true, ARRAY_COUNT(words), words);
    assert_true(read_reply(world, world->thing, marks));
    assert_int_equal(marks->absent, COUNT);
    assert_int_equal(marks->other, 0);
    assert_int_equal(marks->foreign, ARRAY_COUNT(words) / 2 - 1);
    assert_false(marks->whole[FIRST]);
    index_marks_free(marks);
}

static void test_what_is_no_hash(void **state)
{
    static const char *const replies[] = {"+OK\r\n",           ":1\r\n",
                                          "*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n:1\r\n",
                                          "%1\r\n_\r\n_\r\n",  "_\r\n"};
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(replies); i++) {
        struct index_marks *marks = index_marks_create(world->thing);
        buffer_truncate(&world->reply, 0);
        buffer_append(&world->reply, replies[i], strlen(replies[i]));
        assert_false(read_reply(world, world->thing, marks));
        assert_false(marks->of.failed);
        index_marks_free(marks);
    }
}

static bool read_absent(const struct world *world, struct index_marks *marks, const char *text)
{
    struct resp_reader in = resp_reader_of((const uint8_t *)text, strlen(text));
    struct resp_token first = resp_next(&in);
    return index_marks_read_absent(marks, world->thing, &first, &in);
}

static void test_what_was_absent(void **state)
{
    const struct world *world = *state;
    struct index_marks *marks = index_marks_create(world->thing);
    assert_false(read_absent(world, marks, "+OK\r\n"));
    assert_false(read_absent(world, marks, "*2\r\n:1\r\n:1\r\n"));
    assert_true(read_absent(world, marks, "*3\r\n:1\r\n:0\r\n:1\r\n"));
    assert_true(marks->whole[FIRST] && !marks->whole[SECOND] && marks->whole[CLAIM]);
    index_marks_free(marks);
}

static bool all_of_it(struct world *world)
{
    struct buffer out = BUFFER_INIT;
    struct index_marks *marks = index_marks_create(world->thing);
    bool done = marks != NULL && read_reply(world, world->thing, marks);
    if (done) {
        index_marks_remove_command(marks, world->thing, &out);
        index_marks_set_absent_command(world->thing, &out);
        index_marks_begin_command(world->thing, "run", &out);
        index_marks_end_command(world->thing, "run", &out);
        index_marks_read_command(world->thing, &out);
        done = !out.failed;
    }
    index_marks_free(marks);
    buffer_release(&out);
    return done;
}

static void test_no_memory(void **state)
{
    struct world *world = *state;
    const char *words[] = {"ix:a",         world->signatures[FIRST], "ix:c", "1", "ix:b,a", "1",
                           "reindex:ix:a", world->signatures[FIRST]};
    reply(world, true, ARRAY_COUNT(words), words);
    bool failed = true;
    for (long at = 0; failed; at++) {
        assert_true(at < 200);
        heap_fail_at(at);
        bool done = all_of_it(world);
        failed = heap_failed() == 1;
        heap_fail_at(-1);
        assert_int_equal(done, !failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_and_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reindex_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/schema/document.h"
#include "protocol/base/heap.h"

struct fixture {
    struct arena arena;
    struct faults faults;
    struct buffer text;
    struct buffer printed;
};

static int open_fixture(void **state)
{
    struct fixture *f = heap_must(sizeof(*f));
    f->faults.arena = &f->arena;
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    buffer_release(&f->text);
    buffer_release(&f->printed);
    heap_free(f);
    return 0;
}

static const struct node *read_bytes(struct fixture *f, const char *text, size_t size)
{
    f->faults = (struct faults){.arena = &f->arena};
    return document_read(text, size, &f->arena, &f->faults);
}

static const struct node *read_text(struct fixture *f, const char *text)
{
    return read_bytes(f, text, strlen(text));
}

static void assert_fault(struct fixture *f, const char *text, const char *expected)
{
    (void)read_text(f, text);
    buffer_truncate(&f->printed, 0);
    faults_print(&f->faults, "f", &f->printed);
    buffer_byte(&f->printed, 0);
    assert_string_equal((const char *)f->printed.bytes, expected);
}

static void nodes_have_their_places(void **state)
{
    struct fixture *f = *state;
    const struct node *root = read_text(f, "a: 1\n\xc3\xa4: {b: [x, 'y']}\n");
    assert_int_equal(root->kind, NODE_MAP);
    assert_int_equal(root->count, 2);
    assert_string_equal(root->items[0]->text, "a");
    const struct node *inner = root->items[3];
    assert_int_equal(inner->kind, NODE_MAP);
    const struct node *list = inner->items[1];
    assert_int_equal(list->kind, NODE_LIST);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->items[1]->line, 2);
    assert_int_equal(list->items[1]->column, 12);
    assert_false(list->items[1]->plain);
    assert_true(list->items[0]->plain);
}

static void aliases_share_nodes(void **state)
{
    struct fixture *f = *state;
    const struct node *root = read_text(f, "a: &x [1]\nb: *x\nc: &x 2\nd: *x\n");
    assert_ptr_equal(root->items[1], root->items[3]);
    assert_string_equal(root->items[7]->text, "2");
}

static void what_is_no_document_is_told_with_its_place(void **state)
{
    struct fixture *f = *state;
    assert_fault(f, "", "f:1:1: the file is empty: expected \"version: 1\" and \"resources:\"\n");
    assert_fault(f, "a: *b", "f:1:4: there is no anchor \"&b\" before this alias\n");
    assert_fault(f, "a: &b [*b]", "f:1:8: an alias may not stand within what it names\n");
    assert_fault(f, "a: 1\n---\nb: 1", "f:2:1: a schema file is one YAML document only\n");
    assert_fault(f, "a: !!int 1", "f:1:4: tags are not taken: write the value as it is\n");
    assert_fault(f, "a: !x {}", "f:1:4: tags are not taken: write the value as it is\n");
    assert_fault(f, "? [a]\n: b", "f:1:3: a key must be text, not a list or a map\n");
    assert_fault(f, "a: 1\nb: \xc3\xa4\xff", "f:2:5: this is not YAML: it is not UTF-8\n");
    assert_fault(f, "a: 1\nb: \x01",
                 "f:2:4: this is not YAML: control characters are not allowed\n");
    assert_fault(f, "a: [1",
                 "f:2:1: this is not YAML: did not find expected ',' or ']', while parsing a flow "
                 "sequence that begins on line 1\n");
}

static void keys_stand_once(void **state)
{
    struct fixture *f = *state;
    assert_fault(f, "b: {a: 1, 'a': 2}\nc: 1\nb: 2\n",
                 "f:1:11: \"a\" is given twice, first on line 1\n"
                 "f:3:1: \"b\" is given twice, first on line 1\n");
    /* An integer and a text are two keys. */
    assert_fault(f, "{1: a, '1': b}", "");
}

static void a_text_tag_is_text(void **state)
{
    struct fixture *f = *state;
    const struct node *root = read_text(f, "!!str 5");
    assert_non_null(root);
    assert_false(root->plain);
}

static void depth_is_bounded_also_by_aliases(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < DOCUMENT_LEVELS_MAX; i++) {
        buffer_byte(&f->text, '[');
    }
    for (int i = 0; i < DOCUMENT_LEVELS_MAX; i++) {
        buffer_byte(&f->text, ']');
    }
    assert_non_null(read_bytes(f, (const char *)f->text.bytes, f->text.size));
    buffer_truncate(&f->text, 0);
    for (int i = 0; i <= DOCUMENT_LEVELS_MAX; i++) {
        buffer_byte(&f->text, '[');
    }
    assert_null(read_bytes(f, (const char *)f->text.bytes, f->text.size));
    assert_int_equal(f->faults.items[0].column, DOCUMENT_LEVELS_MAX + 1);
    buffer_truncate(&f->text, 0);
    buffer_printf(&f->text, "- &a0 []\n");
    for (int i = 1; i < DOCUMENT_LEVELS_MAX; i++) {
        buffer_printf(&f->text, "- &a%d [*a%d]\n", i, i - 1);
    }
    assert_null(read_bytes(f, (const char *)f->text.bytes, f->text.size));
    assert_int_equal(f->faults.total, 1);
}

static void size_and_anchors_are_bounded(void **state)
{
    struct fixture *f = *state;
    char *large = heap_must(DOCUMENT_BYTES_MAX + 1);
    memset(large, ' ', DOCUMENT_BYTES_MAX + 1);
    assert_null(read_bytes(f, large, DOCUMENT_BYTES_MAX + 1));
    assert_int_equal(f->faults.total, 1);
    heap_free(large);
    for (int i = 0; i <= DOCUMENT_ANCHORS_MAX; i++) {
        buffer_printf(&f->text, "- &a%d x\n", i);
    }
    assert_null(read_bytes(f, (const char *)f->text.bytes, f->text.size));
    assert_int_equal(f->faults.items[0].line, DOCUMENT_ANCHORS_MAX + 1);
}

static void places_within_scalars_are_found(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "\xc3\xa4: [abc, 'def', \"g\\u0068i\", &x jkl]\nb: 'x\n\n  y'\n";
    const struct node *root = read_text(f, text);
    const struct node *list = root->items[1];
    assert_int_equal(document_column(text, strlen(text), list->items[0], 2), 5 + 2);
    assert_int_equal(document_column(text, strlen(text), list->items[1], 2), 10 + 1 + 2);
    /* Escapes, anchors and folded lines: the scalar's own column. */
    assert_int_equal(document_column(text, strlen(text), list->items[2], 2), 17);
    assert_int_equal(document_column(text, strlen(text), list->items[3], 2), 29);
    assert_int_equal(document_column(text, strlen(text), root->items[3], 2), 4);
}

static void failing_memory_marks_the_arena(void **state)
{
    (void)state;
    static const char text[] = "a: &x [1, 2]\nb: {c: *x, d: \"e\"}\n";
    const struct node *root = NULL;
    for (long i = 0; root == NULL; i++) {
        struct arena arena = {0};
        struct faults faults = {.arena = &arena};
        heap_fail_at(i);
        root = document_read(text, strlen(text), &arena, &faults);
        assert_int_equal(root == NULL, heap_failed());
        assert_int_equal(root == NULL, arena.failed);
        arena_release(&arena);
    }
    heap_fail_at(-1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(nodes_have_their_places),
        TEST(aliases_share_nodes),
        TEST(what_is_no_document_is_told_with_its_place),
        TEST(keys_stand_once),
        TEST(a_text_tag_is_text),
        TEST(depth_is_bounded_also_by_aliases),
        TEST(size_and_anchors_are_bounded),
        TEST(places_within_scalars_are_found),
        TEST(failing_memory_marks_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

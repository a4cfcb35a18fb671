#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "layers/redis/index_signature.h"
#include "protocol/base/check.h"
#include "protocol/base/hash.h"
#include "protocol/base/heap.h"
#include "tests/lib/schema_fixture.h"

/* What a signature tells apart, and what it does not. */

enum { WORD = INDEX_SIGNATURE_BYTES + 1 };

struct signatures {
    char index[WORD];
    char identity[WORD];
};

static const char usual[] =
    "    redis: {writers: relata, key: 'app:{id}'}\n"
    "    fields: {id: integer, a: string, b: integer, c: {enum: [x, y]}, d: any}\n"
    "    indexes: [[a, b, c]]\n"
    "    identities: {one: [b]}\n";

static void put(struct buffer *bytes, char out[WORD])
{
    assert_false(bytes->failed);
    assert_int_equal(bytes->size, INDEX_SIGNATURE_BYTES);
    snprintf(out, WORD, "%.*s", (int)bytes->size, (const char *)bytes->bytes);
    assert_int_equal(strspn(out, "0123456789abcdef"), INDEX_SIGNATURE_BYTES);
    buffer_truncate(bytes, 0);
}

/* Of the resource that is described so. */
static struct signatures signatures_of(const char *name, const char *text)
{
    struct signatures signatures = {0};
    struct buffer bytes = BUFFER_INIT;
    char yaml[1024];
    snprintf(yaml, sizeof yaml, "version: 1\nresources:\n  %s:\n    layer: redis\n%s", name, text);
    struct schema *schema = schema_fixture(yaml);
    const struct resource *resource = fixture_resource(schema, name);
    assert_int_equal(resource->index_count, 1);
    assert_int_equal(resource->identity_count, 1);
    index_signature(resource, &resource->indexes[0], &bytes);
    put(&bytes, signatures.index);
    claim_signature(resource, &resource->identities[0], &bytes);
    put(&bytes, signatures.identity);
    schema_put(schema);
    buffer_release(&bytes);
    return signatures;
}

/* A description in which one text stands in another one's place. */
struct change {
    const char *from;
    const char *to;
    bool of_index;
    bool of_identity;
};

static void changed(const struct change *change, char *out, size_t size)
{
    const char *at = strstr(usual, change->from);
    assert_non_null(at);
    snprintf(out, size, "%.*s%s%s", (int)(at - usual), usual, change->to,
             at + strlen(change->from));
}

static void test_what_it_tells_apart(void **state)
{
    static const struct change changes[] = {
        {"app:{id}", "{id}", true, true},
        {"app:{id}", "app:{id}:", true, true},
        {"relata,", "relata, encoding: json,", true, true},
        {"relata,", "relata, encoding: msgpack,", true, true},
        {"id: integer", "id: string", true, true},
        {"id: integer", "id: {type: integer, stored_as: number}", true, true},
        {"a: string", "a: binary", true, false},
        {"a: string", "a: {type: string, stored_as: aa}", true, false},
        {"b: integer", "b: datetime", true, true},
        {"b: integer", "b: {type: integer, stored_as: bb}", true, true},
        {"c: {enum: [x, y]}", "c: string", true, false},
        {"[a, b, c]", "[a, c, b]", true, false},
        {"[a, b, c]", "[a, b]", true, false},
        {"one: [b]", "two: [b]", false, true},
        {"one: [b]", "one: [a]", false, true},
        {"one: [b]", "one: [b, a]", false, true},
        /* What says nothing of them. */
        {"[x, y]", "[y, x, z]", false, false},
        {"d: any", "d: any, e: string", false, false},
        {"d: any", "d: {type: any, stored_as: dd}", false, false},
        {"a: string", "a: {type: string, required: true}", false, false},
        {"relata,", "relata, resident: true,", false, false},
        {"relata,", "relata, use: other,", false, false},
    };
    struct signatures first = signatures_of("thing", usual);
    char text[1024];
    (void)state;
    assert_string_not_equal(first.index, first.identity);
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        changed(&changes[i], text, sizeof text);
        struct signatures other = signatures_of("thing", text);
        if ((strcmp(first.index, other.index) != 0) != changes[i].of_index ||
            (strcmp(first.identity, other.identity) != 0) != changes[i].of_identity) {
            fail_msg("%s in the place of %s", changes[i].to, changes[i].from);
        }
    }
}

static void test_keys_of_several_fields(void **state)
{
    static const char one[] = "    redis: {writers: relata, key: '{a}:{b}'}\n"
                              "    primary_key: [a, b]\n"
                              "    fields: {a: string, b: string, c: string}\n"
                              "    indexes: [[c]]\n"
                              "    identities: {one: [c]}\n";
    static const char two[] = "    redis: {writers: relata, key: '{b}:{a}'}\n"
                              "    primary_key: [a, b]\n"
                              "    fields: {a: string, b: string, c: string}\n"
                              "    indexes: [[c]]\n"
                              "    identities: {one: [c]}\n";
    struct signatures first = signatures_of("thing", one);
    struct signatures second = signatures_of("thing", two);
    (void)state;
    assert_string_not_equal(first.index, second.index);
    assert_string_not_equal(first.identity, second.identity);
    assert_string_not_equal(first.index, signatures_of("other", one).index);
}

/* Daemons compare them: it is no matter of the process, nor of its seed. */
static void test_the_same_everywhere(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        hash_seed(seed);
        struct signatures signatures = signatures_of("thing", usual);
        assert_string_equal(signatures.index, "3499fd7a010d6589");
        assert_string_equal(signatures.identity, "ba68b90b7e322f91");
    }
}

static void test_no_memory(void **state)
{
    struct schema *schema;
    char yaml[1024];
    (void)state;
    snprintf(yaml, sizeof yaml, "version: 1\nresources:\n  thing:\n    layer: redis\n%s", usual);
    schema = schema_fixture(yaml);
    const struct resource *resource = fixture_resource(schema, "thing");
    bool failed = true;
    for (long at = 0; failed; at++) {
        struct buffer bytes = BUFFER_INIT;
        assert_true(at < 100);
        heap_fail_at(at);
        index_signature(resource, &resource->indexes[0], &bytes);
        failed = heap_failed() == 1;
        heap_fail_at(-1);
        assert_int_equal(bytes.failed, failed);
        buffer_release(&bytes);
    }
    schema_put(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_tells_apart),
        cmocka_unit_test(test_keys_of_several_fields),
        cmocka_unit_test(test_the_same_everywhere),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

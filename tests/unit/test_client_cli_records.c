#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "clients/cli/catalog.h"
#include "clients/cli/encode.h"
#include "clients/cli/records.h"
#include "clients/cli/render.h"
#include "protocol/msgpack/writer.h"

/* What is read from files and words, under a schema. */

static const char schema_json[] =
    "{\"resources\": {"
    "\"note\": {\"primary_key\": \"id\", \"identities\": {\"slug\": [\"slug\"]}, \"fields\": {"
    "\"id\": {\"type\": \"integer\"}, \"slug\": {\"type\": \"string\"},"
    "\"blob\": {\"type\": \"binary\"}, \"tags\": {\"type\": \"any\"}}},"
    "\"pair\": {\"primary_key\": [\"a\", \"b\"], \"fields\": {"
    "\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"binary\"}}},"
    "\"text\": {\"primary_key\": [\"id\"], \"fields\": {\"id\": {\"type\": \"string\"}}}}}";

static struct buffer schema;

static int start(void **state)
{
    (void)state;
    json_t *json = json_loads(schema_json, 0, NULL);
    assert_non_null(json);
    encode_json(&schema, json);
    json_decref(json);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    buffer_release(&schema);
    return 0;
}

static struct catalog_resource resource_of(const char *name)
{
    struct catalog_resource resource;
    catalog_resource_init(&resource, (struct relata_value){schema.bytes, schema.size}, name);
    return resource;
}

static void assert_shows(const struct buffer *value, const char *json)
{
    struct buffer out = BUFFER_INIT;
    render_json(&out, (struct relata_value){value->bytes, value->size});
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, json);
    buffer_release(&out);
}

/* --- Keys ------------------------------------------------------------------------- */

static void assert_key(const char *resource_name, const char *text, const char *json)
{
    struct catalog_resource resource = resource_of(resource_name);
    struct buffer out = BUFFER_INIT;
    assert_true(encode_key(&out, &resource.key, text, strlen(text)));
    assert_shows(&out, json);
    buffer_release(&out);
    catalog_resource_release(&resource);
}

static void assert_keys(const char *resource_name, const char *text, const char *json, size_t count)
{
    struct catalog_resource resource = resource_of(resource_name);
    struct buffer out = BUFFER_INIT;
    size_t came;
    assert_null(encode_keys(&out, &resource.key, text, &came));
    assert_int_equal(came, count);
    assert_shows(&out, json);
    buffer_release(&out);
    catalog_resource_release(&resource);
}

static void writes_keys_as_their_fields_are(void **state)
{
    (void)state;
    assert_key("note", "7", "7");
    assert_key("note", "-9223372036854775808", "-9223372036854775808");
    /* What is no integer is for the daemon to refuse. */
    assert_key("note", "9223372036854775808", "\"9223372036854775808\"");
    assert_key("note", "7x", "\"7x\"");
    assert_key("note", " 7", "\" 7\"");
    assert_key("text", "7", "\"7\"");
    assert_key("text", "[7]", "\"[7]\"");
    assert_key("pair", "[7, \"aGk=\"]", "[7,\"aGk=\"]");
    assert_key("nothing", "7", "7");
    assert_key("nothing", "x", "\"x\"");
    assert_keys("note", "1,2,1", "[1,2,1]", 3);
    assert_keys("note", "[1, 2]", "[1,2]", 2);
    assert_keys("note", "", "[]", 0);
    assert_keys("text", "1,a", "[\"1\",\"a\"]", 2);
    assert_keys("text", "[\"a,b\"]", "[\"a,b\"]", 1);
    assert_keys("pair", "[[1, \"aGk=\"], [2, \"\"]]", "[[1,\"aGk=\"],[2,\"\"]]", 2);

    struct catalog_resource resource = resource_of("note");
    struct catalog_key slug = catalog_identity(&resource, "slug");
    assert_int_equal(slug.count, 1);
    assert_int_equal(slug.fields[0].type, CATALOG_OTHER);
    assert_int_equal(catalog_identity(&resource, "none").count, 0);
    catalog_resource_release(&resource);
}

static void binary_fields_take_base64(void **state)
{
    (void)state;
    struct catalog_resource resource = resource_of("note");
    json_t *record =
        json_loads("{\"id\":1,\"blob\":\"aGk=\",\"tags\":\"aGk=\",\"x\":[1.5,null]}", 0, NULL);
    struct buffer out = BUFFER_INIT;
    assert_null(encode_record(&out, &resource, record, false));
    struct relata_value value = {out.bytes, out.size};
    assert_int_equal(relata_value_type(relata_value_get(value, "blob")), RELATA_TYPE_BINARY);
    assert_int_equal(relata_value_type(relata_value_get(value, "tags")), RELATA_TYPE_STRING);
    assert_int_equal(relata_value_count(value), 4);
    buffer_truncate(&out, 0);
    assert_null(encode_record(&out, &resource, record, true));
    value = (struct relata_value){out.bytes, out.size};
    assert_int_equal(relata_value_count(value), 3);
    assert_int_equal(relata_value_type(relata_value_get(value, "x")), RELATA_TYPE_NONE);
    buffer_truncate(&out, 0);
    json_object_set_new(record, "blob", json_string("!"));
    assert_string_equal(encode_record(&out, &resource, record, false), "blob");
    json_decref(record);
    buffer_release(&out);
    catalog_resource_release(&resource);
}

/* --- Files ------------------------------------------------------------------------- */

/* The ids that a text gives, with the lines where they stand, as "1@1 2@3"; and
 * the fault. */
static void assert_records(const char *text, const char *expected, const char *fault)
{
    struct catalog_resource resource = resource_of("note");
    char *copy = strdup(text);
    FILE *file = fmemopen(copy, strlen(text) + (text[0] == '\0' ? 1 : 0), "r");
    assert_non_null(file);
    struct records records;
    struct buffer out = BUFFER_INIT;
    uint64_t line;
    json_t *record;
    records_init(&records, file, &resource);
    while (text[0] != '\0' && (record = records_next(&records, &line)) != NULL) {
        buffer_printf(&out, "%s%lld@%llu", out.size > 0 ? " " : "",
                      (long long)json_integer_value(json_object_get(record, "id")),
                      (unsigned long long)line);
        json_decref(record);
    }
    buffer_byte(&out, 0);
    assert_string_equal((const char *)out.bytes, expected);
    if (fault == NULL) {
        assert_string_equal(records.fault, "");
    } else {
        assert_non_null(strstr(records.fault, fault));
    }
    records_release(&records);
    buffer_release(&out);
    fclose(file);
    free(copy);
    catalog_resource_release(&resource);
}

static void reads_records_in_every_form(void **state)
{
    (void)state;
    assert_records("", "", NULL);
    assert_records(" \n\n ", "", NULL);
    assert_records("{\"id\":1}\n{\"id\":2}\n", "1@1 2@2", NULL);
    assert_records("{\"id\":1}{\"id\":2}", "1@1 2@1", NULL);
    assert_records("\n{\n\"id\": 1\n}\n\n{\"id\":2}", "1@2 2@6", NULL);
    assert_records("[{\"id\":1},\n{\"id\":2}]", "1@1 2@1", NULL);
    assert_records("[]", "", NULL);
    assert_records("{\"3166-1\": [{\"id\":1},{\"id\":2}]}", "1@1 2@1", NULL);
    assert_records("{\"version\": 3, \"list\": [{\"id\":1}]}", "1@1", NULL);
    /* A field of the resource is no list of records, nor is a list of others. */
    assert_records("{\"id\":1,\"tags\":[{\"id\":5}]}", "1@1", NULL);
    assert_records("{\"id\":1,\"list\":[5]}", "1@1", NULL);
    assert_records("{\"id\":1,\"a\":[{}],\"b\":[{}]}", "1@1", NULL);
}

static void tells_where_it_is_no_json(void **state)
{
    (void)state;
    assert_records("{\"id\":1}\n{\"id\":2\n", "1@1", "line ");
    assert_records("{\"id\":1}\n\n{\"id\" 2}\n", "1@1", "line 3:");
    assert_records("{\"id\":1}\n{\n\"id\": x}\n", "1@1", "line 3:");
    assert_records("[{\"id\":1}", "", "line ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_keys_as_their_fields_are),
        cmocka_unit_test(binary_fields_take_base64),
        cmocka_unit_test(reads_records_in_every_form),
        cmocka_unit_test(tells_where_it_is_no_json),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

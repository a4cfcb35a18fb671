#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "layers/schema/schema.h"
#include "tests/lib/schema_fixture.h"

static const char yaml[] = "version: 1\n"
                           "resources:\n"
                           "  team:\n"
                           "    fields: {id: integer, name: string}\n"
                           "    identities: {name: [name]}\n"
                           "    indexes: [[name, id]]\n"
                           "    relationships: {members: {has_many: person}}\n"
                           "  person:\n"
                           "    fields: {id: integer, team_id: integer}\n";

static int open_schema(void **state)
{
    *state = schema_fixture(yaml);
    return 0;
}

static int close_schema(void **state)
{
    schema_put(*state);
    return 0;
}

static void names_are_found(void **state)
{
    const struct schema *schema = *state;
    const struct resource *team = schema_resource(schema, "team", 4);
    assert_ptr_equal(team, &schema->resources[0]);
    assert_null(schema_resource(schema, "tea", 3));
    assert_null(schema_resource(schema, "teams", 5));
    assert_ptr_equal(resource_field(team, "name", 4), &team->fields[1]);
    assert_null(resource_field(team, "members", 7));
    assert_ptr_equal(resource_relationship(team, "members", 7), &team->relationships[0]);
    assert_null(resource_relationship(team, "name", 4));
    assert_null(resource_relationship(team, "nobody", 6));
    assert_ptr_equal(resource_identity(team, "name", 4), &team->identities[0]);
    assert_null(resource_identity(team, "id", 2));
}

static void what_is_missing_is_told_with_the_near_miss(void **state)
{
    const struct schema *schema = *state;
    const struct resource *team = schema_resource(schema, "team", 4);
    struct error error = ERROR_INIT;
    assert_null(schema_need_resource(schema, "taem", 4, &error));
    assert_int_equal(error.code, CODE_UNKNOWN_RESOURCE);
    assert_string_equal(error.message, "there is no resource \"taem\"; did you mean \"team\"?");
    assert_string_equal(error.resource, "taem");
    assert_null(schema_need_resource(schema, "x", 1, &error));
    assert_string_equal(error.message, "there is no resource \"x\"");
    assert_null(resource_need_field(team, "nmae", 4, CODE_INVALID_FILTER, &error));
    assert_int_equal(error.code, CODE_INVALID_FILTER);
    assert_string_equal(error.message, "team has no field \"nmae\"; did you mean \"name\"?");
    assert_string_equal(error.field, "nmae");
    assert_null(resource_need_field(team, "members", 7, CODE_UNKNOWN_FIELD, &error));
    assert_string_equal(error.message, "team.members is a relationship, not a field");
    assert_null(resource_need_relationship(team, "name", 4, CODE_UNKNOWN_RELATIONSHIP, &error));
    assert_string_equal(error.message, "team.name is a field, not a relationship");
    assert_null(resource_need_relationship(team, "member", 6, CODE_UNKNOWN_RELATIONSHIP, &error));
    assert_string_equal(error.message,
                        "team has no relationship \"member\"; did you mean \"members\"?");
    assert_string_equal(error.relationship, "member");
}

static void names_from_outside_may_be_anything(void **state)
{
    const struct schema *schema = *state;
    struct error error = ERROR_INIT;
    char name[500];
    for (size_t i = 0; i < sizeof(name); i += 2) {
        memcpy(name + i, "\xc3\xa4", 2);
    }
    assert_null(schema_need_resource(schema, name, sizeof(name), &error));
    assert_int_equal(error.resource[0], 0);
    assert_null(schema_need_resource(schema, "\xff\xfe", 2, &error));
    assert_string_equal(error.message, "there is no resource \"(text that is not UTF-8)\"");
    assert_null(schema_need_resource(schema, "", 0, &error));
    assert_null(schema_need_resource(schema, "x", 1, NULL));
}

static void an_index_serves_what_it_begins_with(void **state)
{
    const struct schema *schema = *state;
    const struct resource *team = schema_resource(schema, "team", 4);
    struct field_list name = {.count = 1, .fields = {1}}, both = {.count = 2, .fields = {1, 0}};
    struct field_list id = {.count = 1, .fields = {0}};
    struct field_list more = {.count = 3, .fields = {1, 0, 0}};
    assert_ptr_equal(resource_index(team, &name), &team->indexes[0]);
    assert_ptr_equal(resource_index(team, &both), &team->indexes[0]);
    assert_null(resource_index(team, &id));
    assert_null(resource_index(team, &more));
}

static void it_lives_while_it_is_referred_to(void **state)
{
    (void)state;
    struct schema *schema = schema_fixture(yaml);
    assert_ptr_equal(schema_get(schema), schema);
    schema_put(schema);
    assert_non_null(schema_resource(schema, "team", 4));
    schema_put(schema);
    schema_put(NULL);
}

static void kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(relationship_kind_name(BELONGS_TO), "belongs_to");
    assert_string_equal(relationship_kind_name(HAS_ONE), "has_one");
    assert_string_equal(relationship_kind_name(HAS_MANY), "has_many");
    assert_string_equal(relationship_kind_name(MANY_TO_MANY), "many_to_many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(what_is_missing_is_told_with_the_near_miss),
        cmocka_unit_test(names_from_outside_may_be_anything),
        cmocka_unit_test(an_index_serves_what_it_begins_with),
        cmocka_unit_test(it_lives_while_it_is_referred_to),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, open_schema, close_schema);
}

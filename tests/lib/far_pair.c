#include "tests/lib/far_pair.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/base/check.h"

static const char yaml[] =
    "version: 1\n"
    "resources:\n"
    "  team:\n"
    "    fields: {id: integer, name: string, level: integer}\n"
    "    identities: {name: [name]}\n"
    "    relationships:\n"
    "      people: {has_many: person, sort: name}\n"
    "      chief: {has_one: person, sort: -level}\n"
    "  person:\n"
    "    fields: {id: integer, name: string, team_id: integer, level: integer}\n"
    "    indexes: [[name], [team_id, level]]\n"
    "    relationships:\n"
    "      team: {belongs_to: team}\n"
    "      tickets: {has_many: ticket}\n"
    "      latest: {has_one: ticket, sort: -at}\n"
    "      urgent: {has_many: ticket, filter: priority > parent.level}\n"
    "      of_team: {has_many: ticket, filter: person.team.level >= priority, sort: -priority}\n"
    "      newest: {has_many: ticket, sort: -at, limit: 2}\n"
    "      skills: {many_to_many: skill, through: person_skill}\n"
    "      notes: {many_to_many: note, through: person_skill,\n"
    "              destination_field_on_through: skill_id, destination_field: skill_id}\n"
    "      above:\n"
    "        has_many: ticket\n"
    "        manual: {filter: person_id == parent.id and priority > parent.team.level}\n"
    "      peers:\n"
    "        has_many: person\n"
    "        manual: {filter: 'team_id == parent.team_id and exists(tickets, priority > 3)'}\n"
    "  ticket:\n"
    "    fields:\n"
    "      id: integer\n"
    "      person_id: integer\n"
    "      priority: integer\n"
    "      status: {enum: [closed, open]}\n"
    "      at: datetime\n"
    "      subject: string\n"
    "    indexes: [[person_id, priority], [status, at], [subject]]\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n"
    "  skill:\n"
    "    fields: {id: integer, code: string, team_id: integer}\n"
    "    identities: {code: [code], both: [team_id, code]}\n"
    "    relationships:\n"
    "      people: {many_to_many: person, through: person_skill}\n"
    "      team: {belongs_to: team}\n"
    "      notes: {has_many: note}\n"
    "  person_skill:\n"
    "    primary_key: [person_id, skill_id]\n"
    "    fields: {person_id: integer, skill_id: integer, since: datetime}\n"
    "    relationships:\n"
    "      person: {belongs_to: person}\n"
    "      skill: {belongs_to: skill}\n"
    "  note:\n"
    "    fields: {id: string, skill_id: integer, text: string}\n"
    "    indexes: [[text, skill_id]]\n"
    "    relationships:\n"
    "      skill: {belongs_to: skill}\n";

const char *const far_resources[] = {"team",         "person", "ticket", "skill",
                                     "person_skill", "note",   NULL};

/* ---- The pair ---- */

void far_pair_open(struct far_pair *pair, const char *test)
{
    *pair = (struct far_pair){.random = random_start(test)};
    engine_fixture_open(&pair->near, yaml);
    engine_fixture_open(&pair->far, yaml);
    far_home_open(&pair->home, &pair->far, &pair->random);
}

void far_pair_close(struct far_pair *pair)
{
    far_home_close(&pair->home);
    engine_fixture_close(&pair->near);
    engine_fixture_close(&pair->far);
}

void far_pair_move(struct far_pair *pair, unsigned percent)
{
    for (unsigned i = 0; far_resources[i] != NULL; i++) {
        if (random_below(&pair->random, 100) < percent) {
            far_home_move(&pair->home, far_resources[i]);
        }
    }
}

bool far_is_refused(const char *answer)
{
    return strstr(answer, "no key and no index leads to") != NULL;
}

static unsigned below(struct random *random, unsigned count)
{
    return (unsigned)random_below(random, count);
}

/* A number, or null now and then. */
static const char *maybe(struct random *random, char out[16], unsigned count)
{
    if (below(random, 6) == 0) {
        return "null";
    }
    snprintf(out, 16, "%u", below(random, count) + 1);
    return out;
}

static void create_both(struct far_pair *pair, const char *params)
{
    char *near = fixture_call(&pair->near, "upsert", params);
    char *far = fixture_call(&pair->far, "upsert", params);
    assert_string_equal(near, far);
    assert_null(strstr(near, "invalid"));
    free(near);
    free(far);
}

static void fill_people(struct far_pair *pair)
{
    struct random *random = &pair->random;
    char params[400], a[16], b[16];
    for (unsigned i = 1; i <= FAR_TEAMS; i++) {
        snprintf(params, sizeof(params), "['team', {'id': %u, 'name': 't%u', 'level': %s}]", i, i,
                 maybe(random, a, 5));
        create_both(pair, params);
    }
    for (unsigned i = 1; i <= FAR_PERSONS; i++) {
        snprintf(params, sizeof(params),
                 "['person', {'id': %u, 'name': 'p%u', 'team_id': %s, 'level': %s}]", i,
                 below(random, 4), maybe(random, a, FAR_TEAMS + 1), maybe(random, b, 5));
        create_both(pair, params);
    }
    for (unsigned i = 1; i <= FAR_TICKETS; i++) {
        snprintf(params, sizeof(params),
                 "['ticket', {'id': %u, 'person_id': %s, 'priority': %s, 'status': '%s', "
                 "'at': '2026-01-%02u', 'subject': 's%u%u'}]",
                 i, maybe(random, a, FAR_PERSONS + 1), maybe(random, b, 6),
                 below(random, 2) == 0 ? "open" : "closed", 1 + below(random, 28), below(random, 3),
                 below(random, 3));
        create_both(pair, params);
    }
}

void far_pair_fill(struct far_pair *pair)
{
    struct random *random = &pair->random;
    char params[400], a[16];
    fill_people(pair);
    for (unsigned i = 1; i <= FAR_SKILLS; i++) {
        snprintf(params, sizeof(params), "['skill', {'id': %u, 'code': 'c%u', 'team_id': %s}]", i,
                 i, maybe(random, a, FAR_TEAMS));
        create_both(pair, params);
    }
    for (unsigned i = 0; i < FAR_PERSONS * 2; i++) {
        snprintf(params, sizeof(params), "['person_skill', {'person_id': %u, 'skill_id': %u}]",
                 1 + below(random, FAR_PERSONS), 1 + below(random, FAR_SKILLS + 1));
        create_both(pair, params);
    }
    for (unsigned i = 0; i < FAR_SKILLS * 2; i++) {
        snprintf(params, sizeof(params), "['note', {'id': 'n%u', 'skill_id': %s, 'text': 'x%u'}]",
                 i, maybe(random, a, FAR_SKILLS + 1), below(random, 3));
        create_both(pair, params);
    }
}

/* ---- Random calls ---- */

/* Text that is put together; what does not fit ends the test. */
struct writer_text {
    struct random *random;
    char *out;
    size_t size;
};

static void put(struct writer_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct writer_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->out + text->size, FAR_PARAMS_MAX - text->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && text->size + (size_t)size < FAR_PARAMS_MAX);
    text->size += (size_t)size;
}

enum { TEAM, PERSON, TICKET, SKILL, PERSON_SKILL, NOTE, RESOURCES };

static const struct {
    const char *filters[14]; /* with one number, which is random */
    const char *sorts[5];
    const char *relationships[11];
    unsigned destinations[10];
} shapes[RESOURCES] = {
    [TEAM] = {{"id == %u", "name == \"t%u\"", "id in [1, %u, 3]", "level > %u",
               "exists(people, level > %u)", "id == %u or name == \"t1\"",
               "name in [\"t1\", \"t%u\"]", "id in [1, 2, 3] and exists(people.tickets, id > %u)"},
              {"name", "-level", "level, name"},
              {"people", "chief"},
              {PERSON, PERSON}},
    [PERSON] = {{"id == %u", "team_id == %u", "team_id == %u and level > 1", "team_id in [1, %u]",
                 "name == \"p%u\"", "starts_with(name, \"p%u\")",
                 "team_id == %u and team.level > 2",
                 "id in [1, 2, 3, 4, %u] and team.name == \"t1\"",
                 "team_id == %u and exists(tickets, priority > parent.level)",
                 "name == \"p%u\" and exists(skills, code == \"c1\")",
                 "id in [1, 2, 3, %u] and exists(skills.team, level > 1)",
                 "id in [1, 5, %u] and latest.priority > 2",
                 "team_id == %u and exists(notes, text == \"x1\")", "level > %u"},
                {"name", "team.name, -name", "-level", "latest.at", "-id"},
                {"team", "tickets", "latest", "urgent", "of_team", "newest", "skills", "notes",
                 "above", "peers"},
                {TEAM, TICKET, TICKET, TICKET, TICKET, TICKET, SKILL, NOTE, TICKET, PERSON}},
    [TICKET] = {{"id == %u", "person_id == %u", "person_id == %u and priority >= 3",
                 "person_id == %u and priority > 1 and priority < 5",
                 "person_id in [1, 2, %u] and priority <= 3",
                 "status == \"open\" and priority > %u",
                 "status in [\"open\", \"closed\"] and person.level > %u", "subject == \"s1%u\"",
                 "starts_with(subject, \"s%u\")", "person_id == %u and person.team.level > 1",
                 "status == \"closed\" and at > \"2026-01-0%u\"",
                 "person_id == %u and exists(person.skills, team_id > 1)", "id in [%u, 7, 9, 11]",
                 "person_id == %u and is_nil(priority)"},
                {"-priority", "at", "person.name, -at", "person.team.level", "subject"},
                {"person"},
                {PERSON}},
    [SKILL] = {{"id == %u", "code == \"c%u\"", "team_id == %u and code == \"c1\"",
                "code in [\"c1\", \"c%u\"]", "id in [1, 2, 3] and exists(people, team_id == %u)",
                "id in [1, 2, 3, 4] and team.level > %u", "team_id == %u"},
               {"code", "-team.name"},
               {"people", "team", "notes"},
               {PERSON, TEAM, NOTE}},
    [PERSON_SKILL] = {{"person_id == %u", "skill_id == %u", "person_id == %u and skill_id == 2",
                       "person_id in [1, %u] and person.level > 1",
                       "skill_id == %u and person.team.name == \"t1\""},
                      {"skill_id", "-skill.code", "person.name"},
                      {"person", "skill"},
                      {PERSON, SKILL}},
    [NOTE] = {{"id == \"n%u\"", "text == \"x%u\"", "text == \"x1\" and skill_id > %u",
               "skill_id == %u", "text == \"x%u\" and skill.team.level > 1",
               "skill_id == %u and exists(skill.people, level > 2)"},
              {"text", "-skill.code"},
              {"skill"},
              {SKILL}},
};

static unsigned list_count(const char *const *list, unsigned most)
{
    unsigned count = 0;
    while (count < most && list[count] != NULL) {
        count++;
    }
    return count;
}

#define CHOOSE(text, list) (list)[below((text)->random, list_count(list, ARRAY_COUNT(list)))]

static void put_filter(struct writer_text *text, unsigned resource)
{
    char filter[200];
    const char *format = CHOOSE(text, shapes[resource].filters);
    /* Each has at most one number in it. */
    const char *hole = strstr(format, "%u");
    snprintf(filter, sizeof(filter), "%.*s%u%s", (int)(hole != NULL ? hole - format : 0), format,
             below(text->random, 6), hole != NULL ? hole + 2 : format);
    put(text, "%s", hole != NULL ? filter : format);
}

static void put_query(struct writer_text *text, unsigned resource, bool filtered, unsigned depth);

static void put_loads(struct writer_text *text, unsigned resource, unsigned depth)
{
    const char *const *list = shapes[resource].relationships;
    unsigned count = list_count(list, ARRAY_COUNT(shapes[resource].relationships));
    unsigned first = below(text->random, count);
    unsigned most = below(text->random, 2) + 1;
    put(text, "{");
    for (unsigned i = 0; i < most && i < count; i++) {
        unsigned at = (first + i) % count;
        put(text, "%s'%s': ", i > 0 ? ", " : "", list[at]);
        put_query(text, shapes[resource].destinations[at], below(text->random, 3) == 0, depth);
    }
    put(text, "}");
}

static void put_query(struct writer_text *text, unsigned resource, bool filtered, unsigned depth)
{
    const char *between = "";
    put(text, "{");
    if (filtered) {
        put(text, "'filter': '");
        put_filter(text, resource);
        put(text, "'");
        between = ", ";
    }
    if (below(text->random, 3) == 0) {
        put(text, "%s'sort': '%s'", between, CHOOSE(text, shapes[resource].sorts));
        between = ", ";
    }
    if (below(text->random, 3) == 0) {
        put(text, "%s'limit': %u", between, below(text->random, 4));
        between = ", ";
    }
    if (below(text->random, 5) == 0) {
        put(text, "%s'offset': %u", between, below(text->random, 3));
        between = ", ";
    }
    if (depth > 0 && below(text->random, 2) == 0) {
        put(text, "%s'load': ", between);
        put_loads(text, resource, depth - 1);
    }
    put(text, "}");
}

static void put_key(struct writer_text *text, unsigned resource)
{
    unsigned number = below(text->random, resource == TICKET ? FAR_TICKETS + 2 : 10);
    if (resource == PERSON_SKILL) {
        put(text, "[%u, %u]", number, 1 + below(text->random, FAR_SKILLS));
    } else if (resource == NOTE) {
        put(text, "'n%u'", number);
    } else {
        put(text, "%u", number);
    }
}

static void put_keys(struct writer_text *text, unsigned resource)
{
    unsigned count = below(text->random, 6);
    put(text, "[");
    for (unsigned i = 0; i < count; i++) {
        put(text, "%s", i > 0 ? ", " : "");
        put_key(text, resource);
    }
    put(text, "]");
}

/* Of a get: by the primary key, or an identity. */
static void put_get(struct writer_text *text, unsigned resource, bool many)
{
    const char *separator = "";
    bool by_code = resource == SKILL && below(text->random, 2) == 0;
    if (by_code) {
        put(text, many ? "['c%u', 'none', 'c1']" : "'c%u'", below(text->random, 8));
    } else if (many) {
        put_keys(text, resource);
    } else {
        put_key(text, resource);
    }
    put(text, ", {");
    if (by_code) {
        put(text, "'identity': 'code'");
        separator = ", ";
    }
    if (below(text->random, 2) == 0) {
        put(text, "%s'load': ", separator);
        put_loads(text, resource, 1);
        separator = ", ";
    }
    put(text, "%s'shape': '%s'}", separator, below(text->random, 2) == 0 ? "rows" : "map");
}

const char *far_random_read(struct random *random, char params[FAR_PARAMS_MAX])
{
    static const char *const methods[] = {"get", "get_many", "read", "count", "load"};
    struct writer_text text = {.random = random, .out = params};
    unsigned resource = below(random, RESOURCES);
    unsigned method = below(random, 8);
    method = method < ARRAY_COUNT(methods) ? method : 2;
    put(&text, "['%s', ", far_resources[resource]);
    switch (method) {
    case 0:
    case 1:
        put_get(&text, resource, method == 1);
        break;
    case 2:
    case 3:
        put_query(&text, resource, below(random, 10) > 0, method == 2 ? 2 : 0);
        put(&text, below(random, 8) == 0 ? ", {'fresh': true}" : ", {}");
        break;
    default:
        put_keys(&text, resource);
        put(&text, ", ");
        put_loads(&text, resource, 2);
        break;
    }
    put(&text, "]");
    return methods[method];
}

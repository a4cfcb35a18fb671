#include "layers/query/query.h"

#include <math.h>
#include <string.h>

#include "protocol/base/name.h"
#include "protocol/base/nearest.h"
#include "protocol/msgpack/writer.h"

/* The keys of a query map. `as` is for loads only; the last ones are reserved. */
#define QUERY_KEYS(X) X(filter) X(params) X(sort) X(limit) X(offset) X(select) X(load) X(as)

enum query_key {
#define X(name) KEY_##name,
    QUERY_KEYS(X)
#undef X
        KEY_COUNT
};

static const char *const key_names[KEY_COUNT] = {
#define X(name) #name,
    QUERY_KEYS(X)
#undef X
};

static const char *const reserved_names[] = {"after", "before", "page", "aggregates", "distinct"};

/* The parts of a query map, found in one pass, since `params` may stand behind
 * the filter that uses it. */
struct query_parts {
    struct reader at[KEY_COUNT];
    bool given[KEY_COUNT];
};

static bool same_name(const char *text, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(text, name, size) == 0;
}

void query_init(struct query *query, const struct resource *resource)
{
    *query = (struct query){.resource = resource, .selection = {.all = true}};
}

int query_read_natural(struct reader *in, const char *what, bool *given, uint64_t *out,
                       struct error *error)
{
    struct token token = reader_next(in);
    *given = token.kind != TOKEN_NIL;
    switch (token.kind) {
    case TOKEN_NIL:
        return 0;
    case TOKEN_INTEGER:
        if (token.integer < 0) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "%s: expected an integer of 0 or more, got %lld", what,
                             (long long)token.integer);
        }
        *out = (uint64_t)token.integer;
        return 0;
    case TOKEN_UNSIGNED:
        *out = token.natural;
        return 0;
    case TOKEN_FLOAT:
        if (token.real >= 0 && token.real < 9.2e18 && floor(token.real) == token.real) {
            *out = (uint64_t)token.real;
            return 0;
        }
        break;
    case TOKEN_INVALID:
    case TOKEN_BOOLEAN:
    case TOKEN_STRING:
    case TOKEN_BINARY:
    case TOKEN_ARRAY:
    case TOKEN_MAP:
    case TOKEN_EXTENSION:
        break;
    }
    return error_set(error, CODE_INVALID_REQUEST, "%s: expected an integer of 0 or more, got %s",
                     what, token_describe(&token));
}

static int unknown_key(const char *name, size_t size, bool in_load, struct error *error)
{
    for (size_t i = 0; i < sizeof reserved_names / sizeof *reserved_names; i++) {
        if (same_name(name, size, reserved_names[i])) {
            return error_set(error, CODE_INVALID_REQUEST, "query: %s is not supported yet",
                             reserved_names[i]);
        }
    }
    if (same_name(name, size, "as") && !in_load) {
        return error_set(
            error, CODE_INVALID_REQUEST,
            "query: as names a loaded relationship, and stands in a load's query only");
    }
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    for (int key = 0; key < KEY_COUNT; key++) {
        nearest_offer(&nearest, key_names[key]);
    }
    int shown = size > 64 ? 64 : (int)size;
    return nearest.best != NULL
               ? error_set(error, CODE_INVALID_REQUEST, "query: unknown key %.*s, did you mean %s?",
                           shown, name, nearest.best)
               : error_set(error, CODE_INVALID_REQUEST,
                           "query: unknown key %.*s, expected filter, params, sort, limit, offset, "
                           "select or load",
                           shown, name);
}

static int find_parts(struct reader *in, bool in_load, struct query_parts *parts,
                      struct error *error)
{
    *parts = (struct query_parts){0};
    struct token map = reader_next(in);
    if (map.kind == TOKEN_NIL) {
        return 0;
    }
    if (map.kind != TOKEN_MAP) {
        return error_set(error, CODE_INVALID_REQUEST, "query: expected a map, got %s",
                         token_describe(&map));
    }
    for (uint32_t i = 0; i < map.count; i++) {
        size_t size = 0;
        const char *name = reader_name(in, &size);
        if (name == NULL) {
            return error_set(error, CODE_INVALID_REQUEST, "query: expected names as keys");
        }
        int key = 0;
        while (key < KEY_COUNT && !same_name(name, size, key_names[key])) {
            key++;
        }
        if (key == KEY_COUNT || (key == KEY_as && !in_load)) {
            return unknown_key(name, size, in_load, error);
        }
        if (parts->given[key]) {
            return error_set(error, CODE_INVALID_REQUEST, "query: %s is given twice",
                             key_names[key]);
        }
        const uint8_t *value = NULL;
        size_t value_size = 0;
        if (!reader_value(in, &value, &value_size)) {
            return error_set(error, CODE_INVALID_REQUEST, "query: cut short");
        }
        parts->at[key] = reader_of(value, value_size);
        parts->given[key] = true;
    }
    return 0;
}

int query_read_select(struct query_reader *reader, const struct resource *resource,
                      struct reader *in, struct selection *out, struct error *error)
{
    struct token list = reader_next(in);
    *out = (struct selection){.all = true};
    if (list.kind == TOKEN_NIL) {
        return 0;
    }
    if (list.kind != TOKEN_ARRAY) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "select: expected a list of field names, got %s", token_describe(&list));
    }
    bool *chosen = arena_zero(reader->arena, resource->field_count, sizeof *chosen);
    uint16_t *fields = arena_zero(reader->arena, resource->field_count, sizeof *fields);
    if (chosen == NULL || fields == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the query");
    }
    for (unsigned i = 0; i < resource->primary_key.count; i++) {
        chosen[resource->primary_key.fields[i]] = true;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        size_t size = 0;
        const char *name = reader_name(in, &size);
        if (name == NULL) {
            return error_set(error, CODE_INVALID_REQUEST, "select: expected names of fields");
        }
        const struct field *field =
            resource_need_field(resource, name, size, CODE_UNKNOWN_FIELD, error);
        if (field == NULL) {
            return -CODE_UNKNOWN_FIELD;
        }
        chosen[field->position] = true;
    }
    uint16_t count = 0;
    for (uint16_t i = 0; i < resource->field_count; i++) {
        if (chosen[i]) {
            fields[count++] = i;
        }
    }
    *out =
        (struct selection){.all = count == resource->field_count, .count = count, .fields = fields};
    return 0;
}

/* The name under which a load stands in the record: no other load's, no field's. */
static int name_load(struct query_reader *reader, const struct query *query, struct load_item *item,
                     struct error *error)
{
    const struct relationship *relationship = item->relationship;
    const char *name = relationship->name;
    uint32_t size = relationship->name_size;
    if (item->query.as != NULL) {
        name = item->query.as;
        size = item->query.as_size;
        if (resource_field(query->resource, name, size) != NULL) {
            return error_set(error, CODE_INVALID_REQUEST, "as: %s has a field named %.*s",
                             query->resource->name, (int)size, name);
        }
    }
    uint8_t header[WRITE_HEADER_MAX];
    size_t header_size = encode_string_header(header, size);
    uint8_t *bytes = arena_alloc(reader->arena, header_size + size);
    if (bytes == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the query");
    }
    memcpy(bytes, header, header_size);
    memcpy(bytes + header_size, name, size);
    item->name_bytes = bytes;
    item->name_bytes_size = (uint32_t)(header_size + size);
    for (const struct load_item *other = query->loads; other != NULL; other = other->next) {
        if (other->name_bytes_size == item->name_bytes_size &&
            memcmp(other->name_bytes, bytes, item->name_bytes_size) == 0) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "load: %.*s is loaded twice; `as` gives one of them another name",
                             (int)size, name);
        }
    }
    return 0;
}

static int query_read_at(struct query_reader *reader, const struct resource *resource,
                         const struct expr_scope *outer, struct reader *in, unsigned depth,
                         struct query *out, struct error *error);

int query_add_load(struct query_reader *reader, struct query *query, const char *name,
                   size_t name_size, struct reader *map, unsigned depth, struct error *error)
{
    if (depth > reader->limits->load_depth) {
        return error_limit_hit(error, CODE_TOO_LARGE, "load_depth", reader->limits->load_depth,
                               depth);
    }
    if (reader->load_count == QUERY_LOADS_MAX) {
        return error_set(error, CODE_TOO_LARGE,
                         "load: a call loads at most %d relationships, all levels together",
                         QUERY_LOADS_MAX);
    }
    reader->load_count++;
    const struct relationship *relationship = resource_need_relationship(
        query->resource, name, name_size, CODE_UNKNOWN_RELATIONSHIP, error);
    if (relationship == NULL) {
        return -CODE_UNKNOWN_RELATIONSHIP;
    }
    struct load_item *item = arena_zero(reader->arena, 1, sizeof *item);
    if (item == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for the query");
    }
    item->relationship = relationship;
    const struct expr_scope source = {.resource = query->resource};
    int status = query_read_at(reader, relationship->destination, &source, map, depth + 1,
                               &item->query, error);
    if (status < 0) {
        error_prefix(error, "load %s: ", relationship->name);
        if (error->relationship[0] == '\0') {
            error_relationship(error, relationship->name);
        }
        return status;
    }
    status = name_load(reader, query, item, error);
    if (status < 0) {
        return status;
    }
    struct load_item **end = &query->loads;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = item;
    query->load_count++;
    return 0;
}

static int read_load_map(struct query_reader *reader, struct query *query, uint32_t count,
                         struct reader *in, unsigned depth, struct error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t size = 0;
        const char *name = reader_name(in, &size);
        if (name == NULL) {
            return error_set(error, CODE_INVALID_REQUEST,
                             "load: expected names of relationships as keys");
        }
        int status = query_add_load(reader, query, name, size, in, depth, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

/* One element of a load: a name, or a map of names to queries. */
static int read_load_element(struct query_reader *reader, struct query *query, struct reader *in,
                             unsigned depth, struct error *error)
{
    struct reader before = *in;
    struct token token = reader_next(in);
    if (token.kind == TOKEN_STRING || token.kind == TOKEN_BINARY) {
        struct reader none = reader_of("\xc0", 1);
        return query_add_load(reader, query, (const char *)token.bytes, token.size, &none, depth,
                              error);
    }
    if (token.kind == TOKEN_MAP) {
        return read_load_map(reader, query, token.count, in, depth, error);
    }
    *in = before;
    return error_set(error, CODE_INVALID_REQUEST,
                     "load: expected a relationship's name, a list of names and maps, or a map of "
                     "names to queries, got %s",
                     token_describe(&token));
}

int query_read_loads(struct query_reader *reader, struct query *query, struct reader *in,
                     unsigned depth, struct error *error)
{
    struct reader before = *in;
    struct token token = reader_next(in);
    if (token.kind == TOKEN_NIL) {
        return 0;
    }
    if (token.kind != TOKEN_ARRAY) {
        *in = before;
        return read_load_element(reader, query, in, depth, error);
    }
    for (uint32_t i = 0; i < token.count; i++) {
        int status = read_load_element(reader, query, in, depth, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static int read_as(struct query_parts *parts, struct query *out, struct error *error)
{
    struct token token = reader_next(&parts->at[KEY_as]);
    if (token.kind == TOKEN_NIL) {
        return 0;
    }
    if ((token.kind != TOKEN_STRING && token.kind != TOKEN_BINARY) ||
        !name_valid((const char *)token.bytes, token.size)) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "as: expected a name ([A-Za-z_][A-Za-z0-9_]*, at most 63 bytes), got %s",
                         token.kind == TOKEN_STRING ? "another text" : token_describe(&token));
    }
    out->as = (const char *)token.bytes;
    out->as_size = token.size;
    return 0;
}

static int read_filter_and_sort(struct query_reader *reader, struct query_parts *parts,
                                const struct expr_scope *scope, struct query *out,
                                struct error *error)
{
    struct expr_compiler compiler = {
        .arena = reader->arena, .limits = reader->limits, .scope = scope};
    int status = 0;
    if (parts->given[KEY_params] && reader_peek(&parts->at[KEY_params]) != TOKEN_NIL) {
        if (reader_peek(&parts->at[KEY_params]) != TOKEN_MAP) {
            struct token token = reader_next(&parts->at[KEY_params]);
            return error_set(error, CODE_INVALID_REQUEST, "params: expected a map, got %s",
                             token_describe(&token));
        }
        compiler.params = parts->at[KEY_params].at;
        compiler.params_size = (size_t)(parts->at[KEY_params].end - parts->at[KEY_params].at);
    }
    if (parts->given[KEY_filter]) {
        status = expr_compile(&compiler, &parts->at[KEY_filter], &out->filter, error);
    }
    if (status == 0 && parts->given[KEY_sort]) {
        status = order_compile(&compiler, &parts->at[KEY_sort], &out->order, error);
    }
    return status;
}

static int query_read_at(struct query_reader *reader, const struct resource *resource,
                         const struct expr_scope *outer, struct reader *in, unsigned depth,
                         struct query *out, struct error *error)
{
    query_init(out, resource);
    struct query_parts parts;
    int status = find_parts(in, outer != NULL, &parts, error);
    if (status < 0) {
        return status;
    }
    const struct expr_scope scope = {.resource = resource, .outer = outer};
    bool given = false;
    status = read_filter_and_sort(reader, &parts, &scope, out, error);
    if (status == 0 && parts.given[KEY_limit]) {
        status =
            query_read_natural(&parts.at[KEY_limit], "limit", &out->has_limit, &out->limit, error);
    }
    if (status == 0 && parts.given[KEY_offset]) {
        status = query_read_natural(&parts.at[KEY_offset], "offset", &given, &out->offset, error);
    }
    if (status == 0 && parts.given[KEY_select]) {
        status = query_read_select(reader, resource, &parts.at[KEY_select], &out->selection, error);
    }
    if (status == 0 && parts.given[KEY_as]) {
        status = read_as(&parts, out, error);
    }
    if (status == 0 && parts.given[KEY_load]) {
        status = query_read_loads(reader, out, &parts.at[KEY_load], depth, error);
    }
    return status;
}

int query_read(struct query_reader *reader, const struct resource *resource,
               const struct expr_scope *outer, struct reader *in, struct query *out,
               struct error *error)
{
    return query_read_at(reader, resource, outer, in, 1, out, error);
}

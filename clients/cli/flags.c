#include <stdio.h>
#include <string.h>

#include "clients/cli/commands.h"
#include "clients/cli/encode.h"

static json_t *split_names(const char *text)
{
    json_t *names = json_array();
    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t size = comma == NULL ? strlen(at) : (size_t)(comma - at);
        if (size > 0) {
            json_array_append_new(names, json_stringn(at, size));
        }
        at = comma == NULL ? NULL : comma + 1;
    }
    return names;
}

json_t *command_names(const char *what, const char *text)
{
    return text[0] == '[' || text[0] == '{' ? cli_json(what, text) : split_names(text);
}

/* Sets a member from a flag's value; false after it has said what is wrong. */
static bool set_json(json_t *object, const struct args *args, enum args_flag flag)
{
    if (!args_has(args, flag)) {
        return true;
    }
    char what[64];
    snprintf(what, sizeof(what), "--%s", args_name(flag));
    json_t *json = cli_json(what, args->values[flag]);
    return json != NULL && json_object_set_new(object, args_name(flag), json) == 0;
}

static bool set_names(json_t *object, const struct args *args, enum args_flag flag)
{
    if (!args_has(args, flag)) {
        return true;
    }
    char what[64];
    snprintf(what, sizeof(what), "--%s", args_name(flag));
    json_t *json = command_names(what, args->values[flag]);
    return json != NULL && json_object_set_new(object, args_name(flag), json) == 0;
}

static void set_text(json_t *object, const struct args *args, enum args_flag flag)
{
    if (args_has(args, flag)) {
        json_object_set_new(object, args_name(flag), json_string(args->values[flag]));
    }
}

/* What the flag holds is an object whose members are taken over. */
static bool set_all(json_t *object, const struct args *args, enum args_flag flag)
{
    if (!args_has(args, flag)) {
        return true;
    }
    char what[64];
    snprintf(what, sizeof(what), "--%s", args_name(flag));
    json_t *json = cli_json(what, args->values[flag]);
    if (json != NULL && !json_is_object(json)) {
        cli_usage("%s wants a JSON object", what);
    }
    bool is_set = json_is_object(json) && json_object_update(object, json) == 0;
    json_decref(json);
    return is_set;
}

static int finish(json_t *object, bool is_good, struct buffer *out)
{
    if (is_good && json_object_size(object) > 0) {
        encode_json(out, object);
    }
    json_decref(object);
    return is_good ? CLI_DONE : CLI_USAGE;
}

int command_query(const struct args *args, const char *filter, struct buffer *out)
{
    json_t *query = json_object();
    bool is_good = set_all(query, args, ARGS_QUERY);
    if (filter != NULL && filter[0] == '{') {
        json_t *map = cli_json("the filter", filter);
        is_good = is_good && map != NULL && json_object_set_new(query, "filter", map) == 0;
    } else if (filter != NULL) {
        json_object_set_new(query, "filter", json_string(filter));
    }
    is_good = is_good && set_json(query, args, ARGS_PARAMS) && set_json(query, args, ARGS_LIMIT) &&
              set_json(query, args, ARGS_OFFSET) && set_names(query, args, ARGS_SELECT) &&
              set_names(query, args, ARGS_LOAD);
    set_text(query, args, ARGS_SORT);
    return finish(query, is_good, out);
}

int command_options(const struct args *args, struct buffer *out)
{
    json_t *options = json_object();
    bool is_good = set_all(options, args, ARGS_OPTIONS) && set_names(options, args, ARGS_SELECT) &&
                   set_names(options, args, ARGS_LOAD) && set_json(options, args, ARGS_PARAMS);
    set_text(options, args, ARGS_IDENTITY);
    set_text(options, args, ARGS_IF);
    return finish(options, is_good, out);
}

/* The options of a call whose query has select, load and params already. */
int command_plain_options(const struct args *args, struct buffer *out)
{
    json_t *options = json_object();
    bool is_good = set_all(options, args, ARGS_OPTIONS);
    return finish(options, is_good, out);
}

int command_load_options(const struct args *args, struct buffer *out)
{
    json_t *options = json_object();
    bool is_good = set_all(options, args, ARGS_OPTIONS) && set_json(options, args, ARGS_QUERY);
    return finish(options, is_good, out);
}

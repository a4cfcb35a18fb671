#include "clients/c/relata.h"

#include "clients/c/fault.h"
#include "clients/c/params.h"

enum { VALUES_MAX = 3 };

/* The method of a resource with values after it: those at the end that are
 * RELATA_NONE are left out. */
static int call_resource(struct relata_client *client, const char *method, const char *resource,
                         const struct relata_value values[VALUES_MAX], struct relata_reply **reply,
                         struct relata_error *error)
{
    size_t count = VALUES_MAX;
    while (count > 0 && values[count - 1].bytes == NULL) {
        count--;
    }
    struct relata_params params;
    params_init(&params);
    relata_params_string(&params, resource);
    for (size_t i = 0; i < count; i++) {
        relata_params_value(&params, values[i]);
    }
    int status = relata_call(client, method, &params, reply, error);
    params_release(&params);
    return status;
}

/* The same where the caller may not want the answer. */
static int call_and_drop(struct relata_client *client, const char *method, const char *resource,
                         const struct relata_value values[VALUES_MAX], struct relata_reply **reply,
                         struct relata_error *error)
{
    struct relata_reply *got;
    int status = call_resource(client, method, resource, values, &got, error);
    if (status == 0 && reply != NULL) {
        *reply = got;
    } else if (status == 0) {
        relata_reply_free(got);
    }
    return status;
}

static int call_counting(struct relata_client *client, const char *method, const char *resource,
                         const struct relata_value values[VALUES_MAX], int64_t *count,
                         struct relata_error *error)
{
    struct relata_reply *got;
    int status = call_resource(client, method, resource, values, &got, error);
    if (status != 0) {
        return status;
    }
    int64_t number;
    if (!relata_value_integer(relata_reply_value(got), &number)) {
        status = fault_set(error, CODE_INTERNAL, "%s answered no count", method);
    } else if (count != NULL) {
        *count = number;
    }
    relata_reply_free(got);
    return status;
}

int relata_get(struct relata_client *client, const char *resource, struct relata_value key,
               struct relata_value options, struct relata_reply **reply, struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {key, options};
    return call_resource(client, "get", resource, values, reply, error);
}

int relata_get_many(struct relata_client *client, const char *resource, struct relata_value keys,
                    struct relata_value options, struct relata_reply **reply,
                    struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {keys, options};
    return call_resource(client, "get_many", resource, values, reply, error);
}

int relata_read(struct relata_client *client, const char *resource, struct relata_value query,
                struct relata_value options, struct relata_reply **reply,
                struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {query, options};
    return call_resource(client, "read", resource, values, reply, error);
}

int relata_count(struct relata_client *client, const char *resource, struct relata_value query,
                 struct relata_value options, int64_t *count, struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {query, options};
    return call_counting(client, "count", resource, values, count, error);
}

int relata_load(struct relata_client *client, const char *resource, struct relata_value keys,
                struct relata_value loads, struct relata_value options, struct relata_reply **reply,
                struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {keys, loads, options};
    return call_resource(client, "load", resource, values, reply, error);
}

int relata_create(struct relata_client *client, const char *resource, struct relata_value record,
                  struct relata_value options, struct relata_reply **reply,
                  struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {record, options};
    return call_and_drop(client, "create", resource, values, reply, error);
}

int relata_upsert(struct relata_client *client, const char *resource, struct relata_value record,
                  struct relata_value options, struct relata_reply **reply,
                  struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {record, options};
    return call_and_drop(client, "upsert", resource, values, reply, error);
}

int relata_update(struct relata_client *client, const char *resource, struct relata_value key,
                  struct relata_value changes, struct relata_value options,
                  struct relata_reply **reply, struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {key, changes, options};
    return call_and_drop(client, "update", resource, values, reply, error);
}

int relata_destroy(struct relata_client *client, const char *resource, struct relata_value key,
                   struct relata_value options, struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {key, options};
    return call_and_drop(client, "destroy", resource, values, NULL, error);
}

int relata_create_many(struct relata_client *client, const char *resource,
                       struct relata_value records, struct relata_value options, int64_t *count,
                       struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {records, options};
    return call_counting(client, "create_many", resource, values, count, error);
}

int relata_upsert_many(struct relata_client *client, const char *resource,
                       struct relata_value records, struct relata_value options, int64_t *count,
                       struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {records, options};
    return call_counting(client, "upsert_many", resource, values, count, error);
}

int relata_destroy_many(struct relata_client *client, const char *resource,
                        struct relata_value keys, struct relata_value options, int64_t *count,
                        struct relata_error *error)
{
    const struct relata_value values[VALUES_MAX] = {keys, options};
    return call_counting(client, "destroy_many", resource, values, count, error);
}

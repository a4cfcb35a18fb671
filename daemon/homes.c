#include "daemon/homes.h"

#include <string.h>

#include "protocol/base/code.h"
#include "protocol/base/nearest.h"

const struct home_options *homes_find(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->home_count; i++) {
        if (strcmp(config->homes[i].name, name) == 0) {
            return &config->homes[i];
        }
    }
    return NULL;
}

static void refuse(const struct config *config, const struct resource *resource,
                   struct buffer *faults)
{
    const char *name = resource->redis->home;
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (unsigned i = 0; i < config->home_count; i++) {
        nearest_offer(&nearest, config->homes[i].name);
    }
    buffer_printf(faults,
                  "%s: resource %s uses the Redis \"%s\", which the configuration does not ",
                  config->schema, resource->name, name);
    if (nearest.best != NULL) {
        buffer_printf(faults, "name; did you mean \"%s\"?\n", nearest.best);
    } else {
        buffer_printf(faults, "name: redis: {%s: {url: redis://127.0.0.1:6379}}\n", name);
    }
}

int homes_check(const struct config *config, const struct schema *schema, struct buffer *faults)
{
    int status = 0;
    for (unsigned i = 0; i < schema->resource_count; i++) {
        const struct resource *resource = &schema->resources[i];
        if (resource->redis != NULL && homes_find(config, resource->redis->home) == NULL) {
            refuse(config, resource, faults);
            status = -(int)CODE_INVALID_REQUEST;
        }
    }
    return status;
}

int homes_check_started(const struct config *config, const struct config *started,
                        const struct schema *schema, struct buffer *faults)
{
    int status = 0;
    for (unsigned i = 0; i < schema->resource_count; i++) {
        const struct resource *resource = &schema->resources[i];
        if (resource->redis != NULL && homes_find(started, resource->redis->home) == NULL) {
            buffer_printf(faults,
                          "%s: resource %s uses the Redis \"%s\", which is new in the "
                          "configuration: redis takes effect at the next start\n",
                          config->schema, resource->name, resource->redis->home);
            status = -(int)CODE_INVALID_REQUEST;
        }
    }
    return status;
}

static bool same_home(const struct home_options *a, const struct home_options *b)
{
    return a->is_unix == b->is_unix && strcmp(a->host, b->host) == 0 && a->port == b->port &&
           strcmp(a->user, b->user) == 0 && strcmp(a->password, b->password) == 0 &&
           a->database == b->database && a->cluster == b->cluster && a->timeout_us == b->timeout_us;
}

bool homes_same(const struct config *a, const struct config *b)
{
    for (unsigned i = 0; i < a->home_count; i++) {
        const struct home_options *other = homes_find(b, a->homes[i].name);
        if (other == NULL || !same_home(&a->homes[i], other)) {
            return false;
        }
    }
    return a->home_count == b->home_count;
}

void homes_copy(struct config *to, const struct config *from)
{
    memcpy(to->homes, from->homes, sizeof(to->homes));
    to->home_count = from->home_count;
}

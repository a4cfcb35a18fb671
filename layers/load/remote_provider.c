#include <stdio.h>
#include <string.h>

#include "layers/load/remote_inner.h"
#include "protocol/base/heap.h"

/* Who provides what. There are few names and few providers of each, and a look
 * through them is made for a batch, not for a key: so they are lists. */

struct remote_name *name_find(const struct remote *remote, const char *text)
{
    LIST_EACH(node, &remote->names)
    {
        struct remote_name *name = CONTAINER_OF(node, struct remote_name, link);
        if (strcmp(name->text, text) == 0) {
            return name;
        }
    }
    return NULL;
}

static struct remote_name *name_open(struct remote *remote, const char *text)
{
    struct remote_name *name = name_find(remote, text);
    if (name != NULL) {
        return name;
    }
    name = heap_zero(1, sizeof *name);
    if (name == NULL) {
        return NULL;
    }
    name->text = heap_alloc(strlen(text) + 1);
    if (name->text == NULL) {
        heap_free(name);
        return NULL;
    }
    memcpy(name->text, text, strlen(text) + 1);
    list_init(&name->providers);
    for (uint32_t depth = 0; depth < REMOTE_DEPTHS; depth++) {
        list_init(&name->waiting[depth]);
    }
    list_append(&remote->names, &name->link);
    return name;
}

static struct provider *provider_find(const struct caller *caller, const struct remote_name *name)
{
    LIST_EACH(node, &caller->providers)
    {
        struct provider *provider = CONTAINER_OF(node, struct provider, of_caller);
        if (provider->name == name) {
            return provider;
        }
    }
    return NULL;
}

static struct provider *provider_open(struct caller *caller, struct remote_name *name)
{
    struct provider *provider = provider_find(caller, name);
    if (provider != NULL) {
        return provider;
    }
    provider = heap_zero(1, sizeof *provider);
    if (provider != NULL) {
        provider->caller = caller;
        provider->name = name;
        list_init(&provider->link);
        list_init(&provider->calls);
        list_append(&caller->providers, &provider->of_caller);
    }
    return provider;
}

static bool provides(const struct provider *provider)
{
    return !list_empty(&provider->link);
}

static void stop_providing(struct provider *provider)
{
    if (provides(provider)) {
        list_remove(&provider->link);
        provider->name->provider_count--;
    }
}

void provider_settle(struct provider *provider)
{
    if (!provides(provider) && list_empty(&provider->calls)) {
        list_remove(&provider->of_caller);
        heap_free(provider);
    }
}

int remote_provide(struct remote *remote, struct caller *caller,
                   const struct relationship *relationship, const struct provide_limits *limits,
                   struct error *error)
{
    if (relationship->loader != LOADER_REMOTE) {
        error_set(error, CODE_INVALID_REQUEST,
                  "%s is not filled by providers: its schema says no `manual: remote`",
                  relationship->full_name);
        error_resource(error, relationship->source->name);
        error_relationship(error, relationship->name);
        return -CODE_INVALID_REQUEST;
    }
    struct remote_name *name = name_open(remote, relationship->full_name);
    struct provider *provider = name == NULL ? NULL : provider_open(caller, name);
    if (provider == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for another provider");
    }
    provider->limits = *limits;
    if (!provides(provider)) {
        list_append(&name->providers, &provider->link);
        name->provider_count++;
    }
    name_stir(remote, name);
    return 0;
}

bool remote_unprovide(struct remote *remote, struct caller *caller,
                      const struct relationship *relationship)
{
    struct remote_name *name = name_find(remote, relationship->full_name);
    struct provider *provider = name == NULL ? NULL : provider_find(caller, name);
    if (provider == NULL || !provides(provider)) {
        return false;
    }
    stop_providing(provider);
    provider_settle(provider);
    name_stir(remote, name);
    return true;
}

void remote_caller_gone(struct remote *remote, struct caller *caller, struct remote_call *too_large,
                        uint64_t now_us)
{
    /* First it must not be chosen any more, for none of its relationships. */
    LIST_EACH(node, &caller->providers)
    {
        stop_providing(CONTAINER_OF(node, struct provider, of_caller));
    }
    while (!list_empty(&caller->providers)) {
        struct provider *provider =
            CONTAINER_OF(caller->providers.next, struct provider, of_caller);
        name_stir(remote, provider->name);
        while (!list_empty(&provider->calls)) {
            struct remote_call *call = CONTAINER_OF(provider->calls.next, struct remote_call, link);
            caller->cancel(caller, call);
            part_take_back(part_of(call));
            if (call == too_large) {
                part_halve(part_of(call), provider, now_us);
            } else {
                part_try_elsewhere(part_of(call), provider, CODE_UNAVAILABLE);
            }
        }
        provider_settle(provider);
    }
    remote_expire(remote, now_us);
}

size_t remote_providers(const struct remote *remote, const struct relationship *relationship)
{
    const struct remote_name *name = name_find(remote, relationship->full_name);
    return name == NULL ? 0 : name->provider_count;
}

/* ---- Who is next ---- */

static size_t in_flight_max(const struct provider *provider,
                            const struct relationship *relationship)
{
    uint64_t max = provider->limits.max_in_flight > 0 ? provider->limits.max_in_flight
                                                      : relationship->batch.max_in_flight;
    return max > 0 ? max : 1;
}

size_t provider_size_max(const struct provider *provider, const struct relationship *relationship)
{
    uint64_t max =
        provider->limits.max_size > 0 ? provider->limits.max_size : relationship->batch.max_size;
    return max > 0 ? max : 1;
}

struct provider *provider_choose(struct remote_name *name, const struct relationship *relationship,
                                 uint32_t depth, uint64_t avoid, bool *any)
{
    struct provider *best = NULL;
    *any = false;
    LIST_EACH(node, &name->providers)
    {
        struct provider *provider = CONTAINER_OF(node, struct provider, link);
        if (avoid != 0 && provider->caller->id == avoid) {
            continue;
        }
        *any = true;
        if (provider->out[depth] < in_flight_max(provider, relationship) &&
            (best == NULL || provider->out[depth] < best->out[depth])) {
            best = provider;
        }
    }
    return best;
}

void provider_describe(const struct provider *provider, char *text, size_t size)
{
    const struct caller *caller = provider->caller;
    bool named = caller->name != NULL && caller->name[0] != '\0';
    snprintf(text, size, "%s%sconnection %llu%s", named ? caller->name : "", named ? " (" : "",
             (unsigned long long)caller->id, named ? ")" : "");
}

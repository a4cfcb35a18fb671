#include <string.h>

#include "layers/engine/engine_inner.h"
#include "layers/load/outside.h"

/* What a call's options mean, and keeping its bytes: those that are read later
 * must not lie in the connection's buffer. */

static int keep_bytes(struct call *call, struct reader *reader)
{
    if (reader->at == NULL) {
        return 0;
    }
    size_t size = (size_t)(reader->end - reader->at);
    const uint8_t *bytes = arena_copy(&call->arena, reader->at, size);
    if (bytes == NULL) {
        return call_no_memory(call);
    }
    *reader = reader_of(bytes, size);
    return 0;
}

int call_keep_request(struct call *call)
{
    int status = 0;
    for (unsigned i = 0; status == 0 && i < CALL_PARAMS_MAX; i++) {
        status = keep_bytes(call, &call->params[i]);
    }
    for (unsigned i = 0; status == 0 && i < OPTION_COUNT; i++) {
        status = keep_bytes(call, &call->options.at[i]);
    }
    return status;
}

static int read_actor(struct call *call)
{
    if (!options_given(&call->options, OPTION_ACTOR)) {
        return 0;
    }
    struct reader in = call->options.at[OPTION_ACTOR];
    struct token token = reader_next(&in);
    if (token.kind != TOKEN_MAP) {
        return error_set(&call->error, CODE_INVALID_REQUEST,
                         "actor: expected a map of facts, got %s", token_describe(&token));
    }
    call->eval.actor = call->options.at[OPTION_ACTOR].at;
    call->eval.actor_size =
        (uint32_t)(call->options.at[OPTION_ACTOR].end - call->options.at[OPTION_ACTOR].at);
    return 0;
}

static int read_tenant(struct call *call)
{
    if (!options_given(&call->options, OPTION_TENANT)) {
        return 0;
    }
    struct reader in = call->options.at[OPTION_TENANT];
    struct reader again = in;
    if (eval_take_tenant(&call->eval, &in)) {
        return 0;
    }
    struct token token = reader_next(&again);
    return error_set(&call->error, CODE_INVALID_REQUEST,
                     "tenant: expected a text or an integer, got %s", token_describe(&token));
}

static int read_timeout(struct call *call, uint64_t now_us)
{
    uint64_t endless_us = UINT64_MAX / 2;
    uint64_t timeout_us = call->kind == CALL_REINDEX ? endless_us : call->timeout_us;
    if (options_given(&call->options, OPTION_TIMEOUT_MS)) {
        bool given = false;
        uint64_t timeout_ms = 0;
        struct reader in = call->options.at[OPTION_TIMEOUT_MS];
        int status = query_read_natural(&in, "timeout_ms", &given, &timeout_ms, &call->error);
        if (status < 0) {
            return status;
        }
        timeout_us = timeout_ms > endless_us / 1000 ? endless_us : timeout_ms * 1000;
    }
    call->deadline_us = now_us + timeout_us;
    return 0;
}

/* A loader's read: as whoever the batch is loaded for. */
static void take_parent(struct call *call)
{
    struct outside_identity identity;
    outside_identity(call->parent, &identity);
    call->eval.actor = identity.actor;
    call->eval.actor_size = identity.actor_size;
    call->authorize = identity.authorize;
    if (identity.tenant != NULL) {
        struct reader in = reader_of(identity.tenant, identity.tenant_size);
        eval_take_tenant(&call->eval, &in);
    }
}

int call_read_options(struct call *call, uint64_t now_us)
{
    static const char *const shapes[] = {"map", "rows", NULL};
    unsigned shape = 0;
    int status = read_timeout(call, now_us);
    if (status == 0) {
        status = options_word(&call->options, OPTION_SHAPE, shapes, &shape, &call->error);
    }
    if (status == 0) {
        status = options_boolean(&call->options, OPTION_FRESH, false, &call->fresh, &call->error);
    }
    if (status == 0) {
        status =
            options_boolean(&call->options, OPTION_AUTHORIZE, true, &call->authorize, &call->error);
    }
    if (status == 0) {
        status = read_actor(call);
    }
    if (status == 0) {
        status = read_tenant(call);
    }
    if (status == 0 && call->parent != NULL) {
        take_parent(call);
    }
    call->rows = shape == 1;
    return status;
}

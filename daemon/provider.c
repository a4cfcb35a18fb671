#include "daemon/provider.h"

#include <string.h>

#include "layers/query/query.h"
#include "layers/schema/schema.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"

static struct client *client_of(struct caller *caller)
{
    return CONTAINER_OF(caller, struct client, caller);
}

static struct remote *remote_of(const struct dispatch *dispatch)
{
    return engine_remote(dispatch->engine);
}

/* ---- The caller ---- */

static int send_call(struct caller *caller, const char *method, const uint8_t *params, size_t size,
                     struct remote_call *call)
{
    struct client *client = client_of(caller);
    struct buffer *output = &client->output;
    uint32_t id = 0;
    if (output->failed || session_call(&client->session, call, &id) < 0) {
        return -CODE_OVERLOADED;
    }
    size_t start = output->size;
    message_request(output, id, method);
    buffer_append(output, params, size);
    if (output->failed) {
        buffer_truncate(output, start);
        session_cancel(&client->session, id);
        return -CODE_OVERLOADED;
    }
    call->tag = id;
    client->wake(client);
    return 0;
}

static void cancel_call(struct caller *caller, struct remote_call *call)
{
    void *known = session_cancel(&client_of(caller)->session, call->tag);
    CHECK(known == call || known == NULL);
}

void provider_init(struct client *client)
{
    client->caller = (struct caller){
        .id = client->id, .name = client->name, .call = send_call, .cancel = cancel_call};
    list_init(&client->caller.providers);
}

bool provider_is(const struct client *client)
{
    return !list_empty(&client->caller.providers);
}

/* ---- What comes from it ---- */

void provider_answered(struct dispatch *dispatch, struct client *client,
                       const struct message *message)
{
    struct remote_call *call = message->call;
    bool failed = message->error_size != 1 || message->error[0] != 0xc0;
    (void)client;
    if (message->size > dispatch->limits->provider_answer_bytes) {
        remote_ended_too_large(remote_of(dispatch), call, dispatch->now_us);
        return;
    }
    remote_ended(remote_of(dispatch), call, failed ? message->error : NULL, message->error_size,
                 message->result, message->result_size, dispatch->now_us);
}

/* The frame may be cut short; the envelope of a response is [1, id, ... */
struct remote_call *provider_broken_call(struct client *client, const uint8_t *bytes, size_t size)
{
    static const size_t headers[] = {[0xc] = 3, [0xd] = 5};
    size_t header = size == 0 || bytes[0] < 0xdc ? 1 : headers[bytes[0] & 0xf];
    if (size <= header) {
        return NULL;
    }
    struct reader in = reader_of(bytes + header, size - header);
    struct token kind = reader_next(&in);
    struct token id = reader_next(&in);
    if (kind.kind != TOKEN_INTEGER || kind.integer != 1 || id.kind != TOKEN_INTEGER ||
        id.integer < 0 || id.integer > UINT32_MAX) {
        return NULL;
    }
    return session_cancel(&client->session, (uint32_t)id.integer);
}

void provider_gone(struct dispatch *dispatch, struct client *client, struct remote_call *too_large)
{
    if (provider_is(client)) {
        remote_caller_gone(remote_of(dispatch), &client->caller, too_large, dispatch->now_us);
        CHECK(!provider_is(client));
    }
}

/* ---- The methods ---- */

static const struct relationship *find(const struct dispatch *dispatch, struct reader in,
                                       struct error *error)
{
    const struct schema *schema = engine_schema(dispatch->engine);
    size_t size = 0;
    const char *name = in.at == NULL ? NULL : reader_name(&in, &size);
    const char *dot = name == NULL ? NULL : memchr(name, '.', size);
    if (dot == NULL) {
        error_set(error, CODE_INVALID_REQUEST,
                  "expected a relationship's name, such as \"representative.tickets\"");
        return NULL;
    }
    size_t resource_size = (size_t)(dot - name);
    const struct resource *resource = schema_need_resource(schema, name, resource_size, error);
    return resource == NULL
               ? NULL
               : resource_need_relationship(resource, dot + 1, size - resource_size - 1,
                                            CODE_UNKNOWN_RELATIONSHIP, error);
}

static int read_limit(const struct options *options, enum option option, const char *what,
                      uint64_t *out, struct error *error)
{
    bool given = false;
    if (!options_given(options, option)) {
        return 0;
    }
    struct reader in = options->at[option];
    int status = query_read_natural(&in, what, &given, out, error);
    if (status == 0 && given && *out == 0) {
        status = error_set(error, CODE_INVALID_REQUEST, "%s: expected 1 or more, got 0", what);
    }
    return status;
}

/* Responses may be larger than requests; those are looked at when they are whole. */
static void allow_large_frames(const struct dispatch *dispatch, struct client *client)
{
    uint64_t bytes = dispatch->limits->provider_answer_bytes;
    struct frame_limits *limits = &client->session.scanner.limits;
    if (bytes > limits->bytes_max) {
        limits->bytes_max = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    }
}

int provider_provide(struct dispatch *dispatch, struct client *client, struct reader name,
                     const struct options *options, struct error *error)
{
    struct provide_limits limits = {0};
    const struct relationship *relationship = find(dispatch, name, error);
    if (relationship == NULL) {
        return error_prefix(error, "provide: ");
    }
    int status = read_limit(options, OPTION_MAX_SIZE, "max_size", &limits.max_size, error);
    if (status == 0) {
        status = read_limit(options, OPTION_MAX_IN_FLIGHT, "max_in_flight", &limits.max_in_flight,
                            error);
    }
    if (status == 0) {
        status = remote_provide(remote_of(dispatch), &client->caller, relationship, &limits, error);
    }
    if (status < 0) {
        return error_prefix(error, "provide: ");
    }
    allow_large_frames(dispatch, client);
    return 0;
}

int provider_unprovide(struct dispatch *dispatch, struct client *client, struct reader name,
                       struct error *error)
{
    const struct relationship *relationship = find(dispatch, name, error);
    if (relationship == NULL) {
        return error_prefix(error, "unprovide: ");
    }
    if (!remote_unprovide(remote_of(dispatch), &client->caller, relationship)) {
        error_set(error, CODE_INVALID_REQUEST, "unprovide: this connection does not provide %s",
                  relationship->full_name);
        error_resource(error, relationship->source->name);
        error_relationship(error, relationship->name);
        return -CODE_INVALID_REQUEST;
    }
    return 0;
}

#include "daemon/dispatch.h"

#include <stddef.h>
#include <string.h>

#include "daemon/answers.h"
#include "layers/engine/call.h"
#include "layers/engine/options.h"
#include "layers/load/remote.h"
#include "layers/query/query.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/nearest.h"
#include "protocol/message.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* A request that the engine works on. Those that are answered at once use the
 * same room, so that there is one way only; rooms are kept for use again. */
struct request {
    struct call call;
    struct list link; /* in client->requests, or in dispatch->idle */
    struct dispatch *dispatch;
    struct client *client;
    uint32_t id;
    bool answered; /* false for notifications: nobody waits */
    uint64_t work_bytes;
};

enum { IDLE_REQUESTS_MAX = 256 };

struct method {
    const char *name;
    unsigned params;  /* beside the options */
    uint32_t options; /* bits */
    /* Answers at once; NULL: the engine's, by kind. */
    int (*answer)(struct dispatch *dispatch, struct client *client, const struct params *params,
                  const struct options *options, struct buffer *out, struct error *error);
    enum call_kind kind;
    bool changes; /* also executed as a notification */
};

static const struct method methods[] = {
#define X(call, text, count, bits) \
    {.name = (text),               \
     .params = (count),            \
     .options = (bits),            \
     .kind = CALL_##call,          \
     .changes = CALL_##call >= CALL_CREATE},
    RELATA_CALLS(X)
#undef X
        {.name = "ping", .answer = answer_ping},
    {.name = "hello",
     .options = OPTION_BIT(CLIENT) | OPTION_BIT(TOKEN) | OPTION_BIT(ERRORS),
     .answer = answer_hello,
     .changes = true},
    {.name = "schema", .answer = answer_schema},
    {.name = "stats", .answer = answer_stats},
    {.name = "provide",
     .params = 1,
     .options = OPTION_BIT(MAX_SIZE) | OPTION_BIT(MAX_IN_FLIGHT),
     .answer = answer_provide,
     .changes = true},
    {.name = "unprovide", .params = 1, .answer = answer_unprovide, .changes = true},
};

/* Names that are taken, and answer clearly. */
static const char *const later_methods[] = {"changed",    "watch",   "snapshot",
                                            "atomically", "explain", "aggregate"};

/* ---- Rooms of requests ---- */

void dispatch_init(struct dispatch *dispatch, struct engine *engine, const struct limits *limits,
                   struct daemon_counters *counters, struct work *work)
{
    *dispatch = (struct dispatch){.engine = engine,
                                  .limits = limits,
                                  .counters = counters,
                                  .work = work,
                                  .timeout_us = 30 * UINT64_C(1000000)};
    list_init(&dispatch->idle);
}

static void request_free(struct request *request)
{
    call_release(&request->call);
    heap_free(request);
}

void dispatch_release(struct dispatch *dispatch)
{
    while (!list_empty(&dispatch->idle)) {
        struct request *request = CONTAINER_OF(dispatch->idle.next, struct request, link);
        list_remove(&request->link);
        request_free(request);
    }
}

static struct request *request_get(struct dispatch *dispatch)
{
    if (!list_empty(&dispatch->idle)) {
        struct request *request = CONTAINER_OF(dispatch->idle.next, struct request, link);
        list_remove(&request->link);
        dispatch->idle_count--;
        return request;
    }
    struct request *request = heap_zero(1, sizeof *request);
    if (request != NULL) {
        list_init(&request->link);
        call_init(&request->call);
        request->dispatch = dispatch;
    }
    return request;
}

static void request_put(struct request *request)
{
    struct dispatch *dispatch = request->dispatch;
    struct batch *parent = request->call.parent;
    call_end(&request->call);
    request->call.parent = NULL;
    remote_batch_put(engine_remote(dispatch->engine), parent);
    list_remove(&request->link);
    dispatch->work->bytes -= request->work_bytes;
    request->work_bytes = 0;
    if (dispatch->idle_count >= IDLE_REQUESTS_MAX) {
        request_free(request);
        return;
    }
    list_append(&dispatch->idle, &request->link);
    dispatch->idle_count++;
}

/* ---- Answers ---- */

static void answer_error(struct dispatch *dispatch, struct client *client, uint32_t id,
                         const struct error *error)
{
    CHECK(error->code != CODE_OK);
    dispatch->counters->errors[error->code]++;
    message_error(&client->output, id, error, client->errors_as_map);
}

void dispatch_refuse(struct dispatch *dispatch, struct client *client, uint32_t id,
                     const struct error *error)
{
    answer_error(dispatch, client, id, error);
}

/* The response frame of a call that is ready, or of its error. */
static void answer_call(struct request *request)
{
    struct client *client = request->client;
    struct call *call = &request->call;
    if (!request->answered) {
        return;
    }
    size_t start = client->output.size;
    message_result(&client->output, request->id);
    if (call_render(call, &client->output) < 0) {
        buffer_truncate(&client->output, start);
        answer_error(request->dispatch, client, request->id, &call->error);
    }
}

static void leave_client(struct request *request)
{
    struct client *client = request->client;
    if (request->answered) {
        session_end(&client->session, request->id);
    }
    list_remove(&request->link);
    client->request_count--;
}

/* The engine's answer to a call that took turns. */
static void on_done(struct call *call)
{
    struct request *request = CONTAINER_OF(call, struct request, call);
    struct client *client = request->client;
    answer_call(request);
    leave_client(request);
    request_put(request);
    client->wake(client);
}

/* ---- Requests ---- */

static const struct method *find_method(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        const char *known = methods[i].name;
        if (known[0] == name[0] && strlen(known) == size && memcmp(known, name, size) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

static void unknown_method(const char *name, size_t size, struct error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(later_methods); i++) {
        if (strlen(later_methods[i]) == size && memcmp(later_methods[i], name, size) == 0) {
            error_set(error, CODE_INVALID_REQUEST, "%s is not supported yet", later_methods[i]);
            return;
        }
    }
    struct nearest nearest;
    nearest_init(&nearest, name, size);
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        nearest_offer(&nearest, methods[i].name);
    }
    int shown = size > 64 ? 64 : (int)size;
    error_set(error, CODE_UNKNOWN_METHOD, "no method %.*s%s%s%s", shown, name,
              nearest.best != NULL ? ", did you mean " : "",
              nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "?" : "");
}

/* Splits the parameters; the options come last, behind as many as the method
 * has, and any may be left out from the end. */
static int split_params(const struct method *method, const struct message *message,
                        struct params *params, struct options *options, struct error *error)
{
    *params = (struct params){0};
    *options = (struct options){0};
    if (message->params_size == 0) {
        return 0;
    }
    struct reader in = reader_of(message->params, message->params_size);
    struct token list = reader_next(&in);
    unsigned takes = method->params + 1;
    if (list.count > takes) {
        return error_set(error, CODE_INVALID_REQUEST, "%s: expected at most %u parameters, got %u",
                         method->name, takes, list.count);
    }
    for (unsigned i = 0; i < list.count; i++) {
        const uint8_t *bytes = NULL;
        size_t size = 0;
        if (!reader_value(&in, &bytes, &size)) {
            return error_set(error, CODE_INVALID_REQUEST, "%s: parameters are cut short",
                             method->name);
        }
        params->at[i] = reader_of(bytes, size);
    }
    if (list.count <= method->params) {
        return 0;
    }
    return options_read(&params->at[method->params], method->options, method->name, options, error);
}

/* A call that takes turns: it is its client's now, its id in use. */
static int stay(struct request *request)
{
    struct client *client = request->client;
    if (request->answered && session_begin(&client->session, request->id) < 0) {
        return error_set(&request->call.error, CODE_OVERLOADED, "no memory for the request");
    }
    list_append(&client->requests, &request->link);
    client->request_count++;
    request->work_bytes = request->call.arena.total;
    request->dispatch->work->bytes += request->work_bytes;
    return 0;
}

/* The option `batch`: the call is made for a batch that is out at its client,
 * and takes actor, tenant and authorize from that. */
static int find_parent(struct dispatch *dispatch, struct client *client,
                       const struct options *options, struct batch **out, struct error *error)
{
    static const struct {
        enum option option;
        const char *name;
    } taken[] = {
        {OPTION_ACTOR, "actor"}, {OPTION_TENANT, "tenant"}, {OPTION_AUTHORIZE, "authorize"}};
    bool given = false;
    uint64_t number = 0;
    *out = NULL;
    if (!options_given(options, OPTION_BATCH)) {
        return 0;
    }
    struct reader in = options->at[OPTION_BATCH];
    int status = query_read_natural(&in, "batch", &given, &number, error);
    for (size_t i = 0; status == 0 && i < ARRAY_COUNT(taken); i++) {
        if (options_given(options, taken[i].option)) {
            status =
                error_set(error, CODE_INVALID_REQUEST,
                          "%s: does not stand beside batch, from which it is taken", taken[i].name);
        }
    }
    if (status < 0) {
        return status;
    }
    *out = remote_batch_at(engine_remote(dispatch->engine), &client->caller, number);
    return *out != NULL
               ? 0
               : error_set(error, CODE_FORBIDDEN, "batch: no batch %llu is out at this connection",
                           (unsigned long long)number);
}

/* At the end only those calls are taken that others may wait for. */
static bool is_drained(const struct client *client, const struct options *options,
                       struct error *error)
{
    if (!client->draining || options_given(options, OPTION_BATCH) ||
        client->session.calls.count > 0) {
        return false;
    }
    error_set(error, CODE_UNAVAILABLE, "the daemon is stopping");
    return true;
}

static void refuse_call(struct dispatch *dispatch, struct client *client,
                        const struct message *message, const struct error *error)
{
    if (message->kind == MESSAGE_REQUEST) {
        answer_error(dispatch, client, message->id, error);
    }
}

static void start_call(struct dispatch *dispatch, struct client *client,
                       const struct method *method, const struct message *message,
                       const struct params *params, const struct options *options)
{
    struct error error = ERROR_INIT;
    struct batch *parent = NULL;
    if (is_drained(client, options, &error) ||
        find_parent(dispatch, client, options, &parent, &error) < 0) {
        refuse_call(dispatch, client, message, &error);
        return;
    }
    struct request *request = request_get(dispatch);
    if (request == NULL) {
        remote_batch_put(engine_remote(dispatch->engine), parent);
        error_set(&error, CODE_OVERLOADED, "no memory for the request");
        refuse_call(dispatch, client, message, &error);
        return;
    }
    struct call *call = &request->call;
    call->parent = parent;
    request->client = client;
    request->id = message->id;
    request->answered = message->kind == MESSAGE_REQUEST;
    call->engine = dispatch->engine;
    call->kind = method->kind;
    memcpy(call->params, params->at, method->params * sizeof *call->params);
    call->options = *options;
    call->origin = client->id;
    call->timeout_us = dispatch->timeout_us;
    call->write_error = client->errors_as_map ? message_error_extension : NULL;
    call->done = on_done;
    int status = call_start(call, dispatch->now_us);
    if (status == CALL_LATER && stay(request) == 0) {
        return;
    }
    answer_call(request);
    request_put(request);
}

/* The shortest way for the most frequent request: get(resource, key). */
static bool get_at_once(struct dispatch *dispatch, struct client *client,
                        const struct message *message)
{
    struct reader in = reader_of(message->params, message->params_size);
    if (message->params_size == 0 || reader_next(&in).count != 2) {
        return false;
    }
    size_t name_size = 0;
    const char *name = reader_name(&in, &name_size);
    if (name == NULL) {
        return false;
    }
    size_t start = client->output.size;
    message_result(&client->output, message->id);
    if (call_get_at_once(dispatch->engine, client->id, name, name_size, in, &client->output)) {
        return true;
    }
    buffer_truncate(&client->output, start);
    return false;
}

static void answer_here(struct dispatch *dispatch, struct client *client,
                        const struct method *method, const struct message *message,
                        const struct params *params, const struct options *options)
{
    struct error error = ERROR_INIT;
    size_t start = client->output.size;
    message_result(&client->output, message->id);
    int status = method->answer(dispatch, client, params, options, &client->output, &error);
    if (status < 0 || message->kind != MESSAGE_REQUEST) {
        buffer_truncate(&client->output, start);
    }
    if (status < 0 && message->kind == MESSAGE_REQUEST) {
        answer_error(dispatch, client, message->id, &error);
    }
}

void dispatch_message(struct dispatch *dispatch, struct client *client,
                      const struct message *message)
{
    dispatch->counters->requests++;
    bool waited_for = message->kind == MESSAGE_REQUEST;
    if (waited_for && !client->draining && message->method_size == 3 &&
        memcmp(message->method, "get", 3) == 0 && get_at_once(dispatch, client, message)) {
        return;
    }
    struct error error = ERROR_INIT;
    struct params params;
    struct options options;
    const struct method *method =
        message->method_size == 0 ? NULL : find_method(message->method, message->method_size);
    if (method == NULL) {
        unknown_method(message->method, message->method_size, &error);
    } else if (!waited_for && !method->changes) {
        return;
    } else if (split_params(method, message, &params, &options, &error) == 0) {
        if (method->answer != NULL) {
            answer_here(dispatch, client, method, message, &params, &options);
        } else {
            start_call(dispatch, client, method, message, &params, &options);
        }
        return;
    }
    if (waited_for) {
        answer_error(dispatch, client, message->id, &error);
    }
}

void dispatch_end_client(struct dispatch *dispatch, struct client *client,
                         const struct error *error)
{
    while (!list_empty(&client->requests)) {
        struct request *request = CONTAINER_OF(client->requests.next, struct request, link);
        /* An id that a second request used is answered already, for both. */
        if (request->answered && session_end(&client->session, request->id)) {
            answer_error(dispatch, client, request->id, error);
        }
        leave_client(request);
        request_put(request);
    }
}

void dispatch_drop_client(struct dispatch *dispatch, struct client *client)
{
    (void)dispatch;
    while (!list_empty(&client->requests)) {
        struct request *request = CONTAINER_OF(client->requests.next, struct request, link);
        leave_client(request);
        request_put(request);
    }
}

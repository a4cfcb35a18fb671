#include "daemon/answers.h"

#include <string.h>

#include "daemon/provider.h"
#include "layers/schema/schema.h"
#include "layers/schema/schema_describe.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

int answer_ping(struct dispatch *dispatch, struct client *client, const struct params *params,
                const struct options *options, struct buffer *out, struct error *error)
{
    (void)params;
    (void)dispatch;
    (void)client;
    (void)options;
    (void)error;
    write_text(out, "pong");
    return 0;
}

static int take_client_name(struct client *client, const struct options *options,
                            struct error *error)
{
    if (!options_given(options, OPTION_CLIENT)) {
        return 0;
    }
    struct reader in = options->at[OPTION_CLIENT];
    size_t size = 0;
    const char *name = reader_name(&in, &size);
    if (name == NULL) {
        return error_set(error, CODE_INVALID_REQUEST, "hello: client: expected a text");
    }
    size = size < sizeof client->name ? size : sizeof client->name - 1;
    memcpy(client->name, name, size);
    client->name[size] = '\0';
    return 0;
}

static void write_limits(struct buffer *out, const struct limits *limits)
{
    uint32_t count = 0;
#define X(name, value, meaning) count++;
    RELATA_LIMITS(X)
#undef X
    write_map(out, count);
#define X(name, value, meaning) \
    write_text(out, #name);     \
    write_unsigned(out, limits->name);
    RELATA_LIMITS(X)
#undef X
}

int answer_hello(struct dispatch *dispatch, struct client *client, const struct params *params,
                 const struct options *options, struct buffer *out, struct error *error)
{
    (void)params;
    static const char *const forms[] = {"string", "map", NULL};
    unsigned form = 0;
    int status = options_word(options, OPTION_ERRORS, forms, &form, error);
    if (status == 0) {
        status = take_client_name(client, options, error);
    }
    if (status < 0) {
        return status;
    }
    if (options_given(options, OPTION_ERRORS)) {
        client->errors_as_map = form == 1;
    }
    const struct schema *schema = engine_schema(dispatch->engine);
    write_map(out, 5);
    write_text(out, "server");
    write_text(out, "relata");
    write_text(out, "version");
    write_text(out, RELATA_VERSION);
    write_text(out, "protocol");
    write_unsigned(out, 1);
    write_text(out, "resources");
    write_array(out, schema->resource_count);
    for (unsigned i = 0; i < schema->resource_count; i++) {
        write_text(out, schema->resources[i].name);
    }
    write_text(out, "limits");
    write_limits(out, dispatch->limits);
    return 0;
}

int answer_schema(struct dispatch *dispatch, struct client *client, const struct params *params,
                  const struct options *options, struct buffer *out, struct error *error)
{
    (void)params;
    (void)client;
    (void)options;
    (void)error;
    schema_describe(engine_schema(dispatch->engine), out);
    return 0;
}

static void write_pair(struct buffer *out, const char *name, uint64_t value)
{
    write_text(out, name);
    write_unsigned(out, value);
}

static void write_errors(struct buffer *out, const struct daemon_counters *counters)
{
    uint32_t count = 0;
    for (int code = 1; code < CODE_COUNT; code++) {
        count += counters->errors[code] > 0;
    }
    write_text(out, "errors");
    write_map(out, count);
    for (int code = 1; code < CODE_COUNT; code++) {
        if (counters->errors[code] > 0) {
            write_pair(out, code_text((enum code)code), counters->errors[code]);
        }
    }
}

int answer_stats(struct dispatch *dispatch, struct client *client, const struct params *params,
                 const struct options *options, struct buffer *out, struct error *error)
{
    (void)params;
    (void)client;
    (void)options;
    (void)error;
    const struct daemon_counters *counters = dispatch->counters;
    write_map(out, 1 + ENGINE_STATS_PAIRS);
    engine_stats(dispatch->engine, out);
    write_text(out, "daemon");
    write_map(out, 8);
    write_pair(out, "uptime_ms", (dispatch->now_us - counters->started_us) / 1000);
    write_pair(out, "connections", counters->connections);
    write_pair(out, "requests", counters->requests);
    write_errors(out, counters);
    write_pair(out, "bytes_in", counters->bytes_in);
    write_pair(out, "bytes_out", counters->bytes_out);
    write_pair(out, "memory_bytes", engine_memory_bytes(dispatch->engine));
    write_pair(out, "loop_lag_us", counters->loop_lag_us);
    return 0;
}

int answer_provide(struct dispatch *dispatch, struct client *client, const struct params *params,
                   const struct options *options, struct buffer *out, struct error *error)
{
    write_boolean(out, true);
    return provider_provide(dispatch, client, params->at[0], options, error);
}

int answer_unprovide(struct dispatch *dispatch, struct client *client, const struct params *params,
                     const struct options *options, struct buffer *out, struct error *error)
{
    (void)options;
    write_boolean(out, true);
    return provider_unprovide(dispatch, client, params->at[0], error);
}

#include "daemon/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "daemon/config.h"
#include "daemon/dispatch.h"
#include "daemon/home_links.h"
#include "daemon/homes.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/modules.h"
#include "daemon/notify.h"
#include "daemon/server.h"
#include "daemon/version.h"
#include "layers/engine/engine.h"
#include "layers/schema/schema_file.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Descriptors that are not connections: files, listeners, the loop's own. */
enum { OTHER_DESCRIPTORS = 32 };

enum { SIGNALS_COUNT = 3 };

struct daemon {
    const struct arguments *arguments;
    struct config config;
    struct limits limits; /* in force: the engine and dispatch read them here */
    struct daemon_counters counters;
    struct work work;
    struct engine *engine;
    struct daemon_modules modules;
    struct daemon_homes home_links;
    struct dispatch dispatch;
    struct loop loop;
    struct server server;
    uv_signal_t signals[SIGNALS_COUNT];
    uint32_t schema_number;
    bool stopping;
    int status;
};

/* --- Schema and configuration ----------------------------------------------- */

static void print_faults(const struct buffer *faults)
{
    if (faults->size > 0) {
        fwrite(faults->bytes, 1, faults->size, stderr);
    }
}

/* Configuration and schema; faults of both are told. */
static int load(const struct arguments *arguments, struct config *config, uint32_t number,
                struct schema **schema, struct buffer *faults)
{
    int status = config_load(config, arguments, faults);
    *schema = NULL;
    if (config->schema[0] != '\0') {
        int schema_status =
            schema_read_file(config->schema, number, &config->limits, schema, faults);
        status = status != 0 ? status : schema_status;
    }
    if (status == 0) {
        status = homes_check(config, *schema, faults);
    }
    if (status != 0 && *schema != NULL) {
        schema_put(*schema);
        *schema = NULL;
    }
    CHECK((status == 0) == (*schema != NULL));
    return status;
}

int daemon_check(const struct arguments *arguments)
{
    struct config config;
    struct schema *schema;
    struct buffer faults = BUFFER_INIT;
    int status = load(arguments, &config, 1, &schema, &faults);
    if (status == 0) {
        status = daemon_modules_check(schema, &faults) == 0 ? 0 : 1;
        schema_put(schema);
    }
    print_faults(&faults);
    buffer_release(&faults);
    return status == 0 ? 0 : 1;
}

/* As many descriptors as may be. Where they are too few for the limit, the
 * limit is what they are enough for: then it is the daemon that turns clients
 * away, and says so. */
static void fit_connections(struct daemon *daemon)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return;
    }
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) {
        return;
    }
    uint64_t allowed = files.rlim_cur > OTHER_DESCRIPTORS ? files.rlim_cur - OTHER_DESCRIPTORS : 1;
    if (allowed < daemon->limits.connections) {
        daemon->limits.connections = allowed;
        log_event(LOG_WARNING, "few_descriptors", "connections", "%llu",
                  (unsigned long long)allowed);
    }
}

/* What takes effect at once, at the start and on reload. */
static void use_config(struct daemon *daemon)
{
    const struct config *config = &daemon->config;
    daemon->limits = config->limits;
    daemon->dispatch.timeout_us = config->timeout_us;
    server_set_stall(&daemon->server, config->client_stall_us);
    log_setup(STDERR_FILENO, config->log_level, config->log_format);
    fit_connections(daemon);
}

/* --- Reload ----------------------------------------------------------------- */

static void log_faults(const struct buffer *faults)
{
    const char *at = (const char *)faults->bytes;
    size_t left = faults->size;
    while (left > 0) {
        const char *end = memchr(at, '\n', left);
        size_t size = end != NULL ? (size_t)(end - at) : left;
        struct log_line line;
        log_begin(&line, LOG_ERROR, "reload_refused");
        log_text_sized(&line, "fault", at, size);
        log_end(&line);
        size_t used = end != NULL ? size + 1 : size;
        at += used;
        left -= used;
    }
}

static bool same_addresses(const struct config *a, const struct config *b)
{
    return a->listen_count == b->listen_count && a->socket_mode == b->socket_mode &&
           memcmp(a->listen, b->listen, a->listen_count * sizeof(a->listen[0])) == 0;
}

/* A Redis is the same until the next start: the schema has to do with those that
 * there are. */
static bool keep_homes(const struct daemon *daemon, struct config *config,
                       const struct schema *schema)
{
    struct buffer faults = BUFFER_INIT;
    bool changed = !homes_same(config, &daemon->config);
    bool possible = homes_check_started(config, &daemon->config, schema, &faults) == 0;
    homes_copy(config, &daemon->config);
    if (changed) {
        log_event(LOG_WARNING, "reload_incomplete", "reason",
                  "redis takes effect at the next start");
    }
    log_faults(&faults);
    buffer_release(&faults);
    return possible;
}

static bool homes_keep_indexes(const struct daemon *daemon, const struct schema *schema,
                               struct error *error)
{
    const struct redis *redis = daemon->home_links.redis;
    return redis == NULL || redis_check_schema(redis, schema, error) == 0;
}

/* Takes over what was read, or leaves all as it is and says why. */
static void take_reloaded(struct daemon *daemon, struct config *config, struct schema *schema)
{
    struct error error = ERROR_INIT;
    if (!keep_homes(daemon, config, schema)) {
        return;
    }
    if (!homes_keep_indexes(daemon, schema, &error) ||
        engine_use_schema(daemon->engine, schema, &error) != 0) {
        log_event(LOG_ERROR, "reload_refused", "fault", "%s: %s", config->schema, error.message);
        return;
    }
    if (!same_addresses(config, &daemon->config)) {
        log_event(LOG_WARNING, "reload_incomplete", "reason",
                  "listen and socket_mode take effect at the next start");
    }
    daemon->config = *config;
    use_config(daemon);
    struct log_line line;
    log_begin(&line, LOG_INFO, "reloaded");
    log_text(&line, "schema", config->schema);
    log_number(&line, "resources", schema->resource_count);
    log_end(&line);
}

static void reload(struct daemon *daemon)
{
    struct buffer faults = BUFFER_INIT;
    struct config *config = heap_must(sizeof(*config));
    struct schema *schema;
    notify_reloading();
    if (load(daemon->arguments, config, ++daemon->schema_number, &schema, &faults) == 0) {
        take_reloaded(daemon, config, schema);
        schema_put(schema);
    } else {
        log_faults(&faults);
    }
    notify_ready();
    heap_free(config);
    buffer_release(&faults);
}

/* --- The end ---------------------------------------------------------------- */

static void stop(struct daemon *daemon, int signal_number)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "stopping");
    log_text(&line, "signal", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    log_number(&line, "connections", (int64_t)daemon->server.connection_count);
    log_end(&line);
    notify_stopping();
    daemon->stopping = true;
    server_stop(&daemon->server, daemon->config.shutdown_us);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct daemon *daemon = handle->data;
    loop_enter(&daemon->loop);
    if (signal_number == SIGHUP) {
        if (!daemon->stopping) {
            reload(daemon);
        }
    } else if (!daemon->stopping) {
        stop(daemon, signal_number);
    } else if (daemon->server.connection_count > 0) {
        daemon->status = 1;
        server_abort(&daemon->server);
    }
}

/* --- The start -------------------------------------------------------------- */

static void start_signals(struct daemon *daemon)
{
    static const int numbers[SIGNALS_COUNT] = {SIGTERM, SIGINT, SIGHUP};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SIGNALS_COUNT; i++) {
        CHECK(uv_signal_init(&daemon->loop.uv, &daemon->signals[i]) == 0);
        daemon->signals[i].data = daemon;
        CHECK(uv_signal_start(&daemon->signals[i], on_signal, numbers[i]) == 0);
        uv_unref((uv_handle_t *)&daemon->signals[i]);
    }
}

/* All is done: a signal that comes while the handlers are taken down changes
 * nothing any more. */
static void block_signals(void)
{
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGHUP);
    CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
}

static int listen_all(struct daemon *daemon)
{
    const struct config *config = &daemon->config;
    for (unsigned i = 0; i < config->listen_count; i++) {
        struct error error = ERROR_INIT;
        if (server_listen(&daemon->server, &config->listen[i], config->socket_mode, &error) != 0) {
            if (config->listen_is_default) {
                error_prefix(&error, "no --listen is given, and the default is not possible: ");
            }
            log_event(LOG_ERROR, "start_failed", "reason", "%s", error.message);
            return -1;
        }
    }
    return 0;
}

static void say_ready(struct daemon *daemon)
{
    char addresses[SERVER_LISTENERS_MAX * ADDRESS_TEXT_MAX];
    size_t size = 0;
    for (unsigned i = 0; i < daemon->server.listener_count; i++) {
        char text[ADDRESS_TEXT_MAX];
        address_format(&daemon->server.listeners[i].address, text);
        size += (size_t)snprintf(addresses + size, sizeof(addresses) - size, "%s%s",
                                 i > 0 ? "," : "", text);
    }
    struct log_line line;
    log_begin(&line, LOG_INFO, "ready");
    log_text_sized(&line, "addresses", addresses, size);
    log_text(&line, "version", DAEMON_VERSION);
    log_text(&line, "schema", daemon->config.schema);
    log_number(&line, "resources", engine_schema(daemon->engine)->resource_count);
    log_end(&line);
    notify_ready();
}

/* Everything but the loop; the schema is the engine's afterwards. */
static int open_engine(struct daemon *daemon, struct schema *schema)
{
    struct error error = ERROR_INIT;
    daemon->limits = daemon->config.limits;
    daemon->engine = engine_create(&daemon->limits);
    if (daemon->engine == NULL) {
        log_event(LOG_ERROR, "start_failed", "reason", "there is no memory");
        return -1;
    }
    engine_use_clock(daemon->engine, loop_now_us);
    if (daemon_homes_create(&daemon->home_links, &daemon->config, &daemon->loop, daemon->engine) !=
            0 ||
        daemon_modules_create(&daemon->modules, daemon->engine) != 0) {
        log_event(LOG_ERROR, "start_failed", "reason", "there is no memory");
        engine_free(daemon->engine);
        daemon_homes_free(&daemon->home_links);
        return -1;
    }
    if (engine_use_schema(daemon->engine, schema, &error) != 0) {
        log_event(LOG_ERROR, "start_failed", "reason", "%s", error.message);
        engine_free(daemon->engine);
        daemon_homes_free(&daemon->home_links);
        daemon_modules_free(&daemon->modules);
        return -1;
    }
    daemon->counters.started_us = loop_now_us();
    dispatch_init(&daemon->dispatch, daemon->engine, &daemon->limits, &daemon->counters,
                  &daemon->work);
    return 0;
}

/* Before anybody is answered: what is at home elsewhere is connected to. */
static int open_homes(struct daemon *daemon)
{
    struct error error = ERROR_INIT;
    if (daemon_homes_start(&daemon->home_links, &daemon->stopping, &error) != 0) {
        log_event(LOG_ERROR, "start_failed", "reason", "%s", error.message);
        return -1;
    }
    return 0;
}

/* From the first listener to the last connection. */
static void serve(struct daemon *daemon)
{
    start_signals(daemon);
    server_init(&daemon->server, &daemon->loop, daemon->config.client_stall_us);
    use_config(daemon);
    if (open_homes(daemon) == 0 && !daemon->stopping && listen_all(daemon) == 0) {
        say_ready(daemon);
    } else if (!daemon->stopping) {
        daemon->status = 1;
        server_stop(&daemon->server, daemon->config.shutdown_us);
    }
    loop_run(&daemon->loop);
    daemon_homes_stop(&daemon->home_links);
    block_signals();
    for (int i = 0; i < SIGNALS_COUNT; i++) {
        uv_close((uv_handle_t *)&daemon->signals[i], NULL);
    }
}

static void close_engine(struct daemon *daemon)
{
    engine_close(daemon->engine);
    uint64_t now_us = loop_now_us();
    while (engine_turn(daemon->engine, now_us)) {
        now_us = loop_now_us();
    }
    dispatch_release(&daemon->dispatch);
    engine_free(daemon->engine);
    daemon_homes_free(&daemon->home_links);
    daemon_modules_free(&daemon->modules);
}

static int run(struct daemon *daemon, struct schema *schema)
{
    if (open_engine(daemon, schema) != 0) {
        return 1;
    }
    int status = loop_open(&daemon->loop, &daemon->dispatch);
    if (status != 0) {
        log_event(LOG_ERROR, "start_failed", "reason", "the event loop: %s", uv_strerror(status));
        daemon->status = 1;
    } else {
        daemon_modules_start(&daemon->modules, &daemon->loop);
        serve(daemon);
        daemon_modules_stop(&daemon->modules);
        loop_close(&daemon->loop);
    }
    bool served = daemon->stopping;
    close_engine(daemon);
    if (served) {
        log_event(LOG_INFO, "stopped", NULL, "%s", "");
    }
    return daemon->status;
}

int daemon_run(const struct arguments *arguments)
{
    struct schema *schema;
    struct buffer faults = BUFFER_INIT;
    struct daemon *daemon = heap_must(sizeof(*daemon));
    daemon->arguments = arguments;
    daemon->schema_number = 1;
    int status = load(arguments, &daemon->config, daemon->schema_number, &schema, &faults);
    print_faults(&faults);
    buffer_release(&faults);
    if (status == 0) {
        log_setup(STDERR_FILENO, daemon->config.log_level, daemon->config.log_format);
        status = run(daemon, schema);
        schema_put(schema);
    }
    heap_free(daemon);
    return status == 0 ? 0 : 1;
}

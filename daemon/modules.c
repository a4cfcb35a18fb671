#include "daemon/modules.h"

#include "daemon/log.h"
#include "daemon/module_files.h"
#include "protocol/base/check.h"

/* ---- What modules need of the daemon ---- */

static void run(struct daemon_modules *modules)
{
    loop_enter(modules->loop);
    modules_turn(modules->modules, loop_now_us());
}

static void on_async(uv_async_t *async)
{
    run(async->data);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

/* From any thread: what is posted while there is no loop is called when there
 * is one, or dropped when its module is closed. */
static void wake(void *context)
{
    struct daemon_modules *modules = context;
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    if (modules->running) {
        CHECK(uv_async_send(&modules->async) == 0);
    }
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
}

/* The timer counts whole milliseconds, so it is rounded up. */
static void set_timer(struct daemon_modules *modules)
{
    if (modules->at_us == 0) {
        CHECK(uv_timer_stop(&modules->timer) == 0);
        return;
    }
    uint64_t now_us = loop_now_us();
    uint64_t wait_us = modules->at_us > now_us ? modules->at_us - now_us : 0;
    uv_update_time(&modules->loop->uv);
    CHECK(uv_timer_start(&modules->timer, on_timer, (wait_us + 999) / 1000, 0) == 0);
}

static void wake_at(void *context, uint64_t at_us)
{
    struct daemon_modules *modules = context;
    bool same = modules->at_us == at_us && at_us == 0;
    modules->at_us = at_us;
    if (modules->running && !same) {
        set_timer(modules);
    }
}

static void say(void *context, enum module_log_level level, const char *event, const char *module,
                const char *relationship, const char *text)
{
    static const enum log_level levels[] = {[MODULE_LOG_INFO] = LOG_INFO,
                                            [MODULE_LOG_WARNING] = LOG_WARNING,
                                            [MODULE_LOG_ERROR] = LOG_ERROR};
    (void)context;
    struct log_line line;
    log_begin(&line, levels[level], event);
    log_text(&line, "module", module);
    log_text(&line, "relationship", relationship);
    log_text(&line, "text", text);
    log_end(&line);
}

/* ---- Their life ---- */

int daemon_modules_create(struct daemon_modules *modules, struct engine *engine)
{
    *modules = (struct daemon_modules){.host = {.context = modules,
                                                .clock_us = loop_now_us,
                                                .wake = wake,
                                                .wake_at = wake_at,
                                                .log = say}};
    modules->modules = modules_create(engine, &module_files, &modules->host);
    if (modules->modules == NULL) {
        return -1;
    }
    CHECK(pthread_mutex_init(&modules->lock, NULL) == 0);
    engine_use_modules(engine, modules_loaders(modules->modules));
    return 0;
}

void daemon_modules_free(struct daemon_modules *modules)
{
    modules_free(modules->modules);
    CHECK(pthread_mutex_destroy(&modules->lock) == 0);
}

/* Modules alone are no reason for the loop to go on. */
void daemon_modules_start(struct daemon_modules *modules, struct loop *loop)
{
    modules->loop = loop;
    CHECK(uv_async_init(&loop->uv, &modules->async, on_async) == 0);
    CHECK(uv_timer_init(&loop->uv, &modules->timer) == 0);
    modules->async.data = modules;
    modules->timer.data = modules;
    uv_unref((uv_handle_t *)&modules->async);
    uv_unref((uv_handle_t *)&modules->timer);
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    modules->running = true;
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
    set_timer(modules);
    wake(modules);
}

void daemon_modules_stop(struct daemon_modules *modules)
{
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    modules->running = false;
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
    uv_close((uv_handle_t *)&modules->async, NULL);
    uv_close((uv_handle_t *)&modules->timer, NULL);
}

/* ---- Looking only ---- */

size_t daemon_modules_check(const struct schema *schema, struct buffer *faults)
{
    size_t count = 0;
    for (unsigned r = 0; r < schema->resource_count; r++) {
        const struct resource *resource = &schema->resources[r];
        for (unsigned i = 0; i < resource->relationship_count; i++) {
            const struct relationship *relationship = &resource->relationships[i];
            struct error error = ERROR_INIT;
            if (relationship->loader == LOADER_MODULE &&
                module_check(&module_files, relationship->module_path, &error) < 0) {
                buffer_printf(faults, "%s: %s\n", relationship->full_name, error.message);
                count++;
            }
        }
    }
    return count;
}

#include "daemon/home_links.h"

#include "daemon/log.h"
#include "protocol/base/check.h"

enum { START_WAIT_US = 10 * 1000 * 1000, STOP_WAIT_US = 1000 * 1000, TICK_MS = 10 };

static void on_enter(void *context)
{
    loop_enter(context);
}

static void on_log(void *context, const char *event, const char *home, const char *text, bool bad)
{
    struct log_line line;
    (void)context;
    log_begin(&line, bad ? LOG_WARNING : LOG_INFO, event);
    log_text(&line, "home", home);
    log_text(&line, "reason", text);
    log_end(&line);
}

int daemon_homes_create(struct daemon_homes *homes, const struct config *config, struct loop *loop,
                        struct engine *engine)
{
    *homes = (struct daemon_homes){.loop = loop};
    if (config->home_count == 0) {
        return 0;
    }
    const struct home_world world = {.loop = &loop->uv,
                                     .clock_us = loop_now_us,
                                     .context = loop,
                                     .enter = on_enter,
                                     .log = on_log};
    homes->redis = redis_create(config->homes, config->home_count, &world);
    if (homes->redis == NULL) {
        return -1;
    }
    engine_use_redis(engine, homes->redis);
    return 0;
}

void daemon_homes_free(struct daemon_homes *homes)
{
    if (homes->redis != NULL) {
        redis_free(homes->redis);
    }
}

/* ---- Running the loop until something has happened ---- */

static void on_tick(uv_timer_t *timer)
{
    struct daemon_homes *homes = timer->data;
    loop_enter(homes->loop);
}

static void timer_start(struct daemon_homes *homes)
{
    CHECK(uv_timer_init(&homes->loop->uv, &homes->timer) == 0);
    homes->timer.data = homes;
    CHECK(uv_timer_start(&homes->timer, on_tick, TICK_MS, TICK_MS) == 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct daemon_homes *homes = handle->data;
    homes->timer_closed = true;
}

static void timer_stop(struct daemon_homes *homes)
{
    homes->timer_closed = false;
    uv_close((uv_handle_t *)&homes->timer, on_timer_closed);
    while (!homes->timer_closed) {
        uv_run(&homes->loop->uv, UV_RUN_NOWAIT);
    }
}

int daemon_homes_start(struct daemon_homes *homes, const bool *stopping, struct error *error)
{
    if (homes->redis == NULL) {
        return 0;
    }
    int status = redis_open(homes->redis, error);
    if (status < 0) {
        return -1;
    }
    uint64_t until_us = loop_now_us() + START_WAIT_US;
    timer_start(homes);
    while (!redis_is_settled(homes->redis) && !*stopping && loop_now_us() < until_us) {
        uv_run(&homes->loop->uv, UV_RUN_ONCE);
    }
    timer_stop(homes);
    return redis_check(homes->redis, error) < 0 ? -1 : 0;
}

static void on_closed(void *context)
{
    struct daemon_homes *homes = context;
    homes->closed = true;
}

void daemon_homes_stop(struct daemon_homes *homes)
{
    if (homes->redis == NULL) {
        return;
    }
    timer_start(homes);
    redis_close(homes->redis, STOP_WAIT_US, on_closed, homes);
    while (!homes->closed) {
        uv_run(&homes->loop->uv, UV_RUN_ONCE);
    }
    timer_stop(homes);
}

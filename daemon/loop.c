#include "daemon/loop.h"

#include "protocol/base/check.h"

/* loop_lag_us tells the longest turn of the last one to two periods. */
enum { LAG_PERIOD_US = 10 * 1000 * 1000 };

/* A buffer that has grown beyond this is not kept. */
enum { SPARE_BYTES_MAX = 1 << 20 };

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task))
{
    list_init(&task->node);
    task->run = run;
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->node);
}

uint64_t loop_now_us(void)
{
    return uv_hrtime() / 1000;
}

void loop_enter(struct loop *loop)
{
    if (!loop->in_turn) {
        loop->in_turn = true;
        loop->began_us = loop_now_us();
        loop->dispatch->now_us = loop->began_us;
    }
}

static void add(struct list *list, struct loop_task *task)
{
    list_remove(&task->node);
    list_append(list, &task->node);
}

void loop_again(struct loop *loop, struct loop_task *task)
{
    add(&loop->again, task);
}

void loop_at_end(struct loop *loop, struct loop_task *task)
{
    add(&loop->at_end, task);
}

/* Each task of the list once; what they add is for the next time. */
static void run_tasks(struct list *list)
{
    struct list now;
    list_init(&now);
    list_move_all(&now, list);
    while (!list_empty(&now)) {
        struct loop_task *task = CONTAINER_OF(now.next, struct loop_task, node);
        list_remove(&task->node);
        task->run(task);
    }
}

static void note_lag(struct loop *loop, uint64_t now_us)
{
    if (now_us - loop->period_began_us > LAG_PERIOD_US) {
        loop->longest_us[1] = loop->longest_us[0];
        loop->longest_us[0] = 0;
        loop->period_began_us = now_us;
    }
    uint64_t took_us = now_us - loop->began_us;
    if (took_us > loop->longest_us[0]) {
        loop->longest_us[0] = took_us;
    }
    uint64_t before_us = loop->longest_us[1];
    loop->dispatch->counters->loop_lag_us =
        loop->longest_us[0] > before_us ? loop->longest_us[0] : before_us;
}

static void on_idle(uv_idle_t *idle)
{
    /* Its being active is what keeps the loop from waiting. */
    loop_enter(idle->data);
}

static void on_timer(uv_timer_t *timer)
{
    /* The work is done at the end of the turn that it woke. */
    loop_enter(timer->data);
}

/* The loop must wake in time for the engine's next deadline; the timer counts
 * whole milliseconds, so it is rounded up. */
static void set_timer(struct loop *loop, uint64_t now_us)
{
    uint64_t next_us = engine_next_us(loop->dispatch->engine);
    if (next_us == 0) {
        CHECK(uv_timer_stop(&loop->timer) == 0);
        return;
    }
    uint64_t wait_us = next_us > now_us ? next_us - now_us : 0;
    uv_update_time(&loop->uv);
    CHECK(uv_timer_start(&loop->timer, on_timer, (wait_us + 999) / 1000, 0) == 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    loop_enter(loop);
    loop->turns++;

    run_tasks(&loop->again);
    if (uv_is_active((uv_handle_t *)&loop->idle)) {
        /* Long work is under way: what is answered already is written before its
         * next slice, not behind it. */
        run_tasks(&loop->at_end);
    }
    loop->dispatch->now_us = loop_now_us();
    bool more = engine_turn(loop->dispatch->engine, loop->dispatch->now_us);
    run_tasks(&loop->at_end);

    /* Writing may have let connections go on, and their ends may have
     * dirtied others: nobody waits for the next event to be served. */
    more = more || !list_empty(&loop->again) || !list_empty(&loop->at_end);
    uint64_t now_us = loop_now_us();
    note_lag(loop, now_us);
    set_timer(loop, now_us);
    CHECK((more ? uv_idle_start(&loop->idle, on_idle) : uv_idle_stop(&loop->idle)) == 0);
    loop->in_turn = false;
}

int loop_open(struct loop *loop, struct dispatch *dispatch)
{
    loop->dispatch = dispatch;
    loop->in_turn = false;
    loop->turns = 0;
    loop->longest_us[0] = loop->longest_us[1] = 0;
    loop->period_began_us = loop_now_us();
    loop->spare_count = 0;
    list_init(&loop->again);
    list_init(&loop->at_end);
    int status = uv_loop_init(&loop->uv);
    if (status < 0) {
        return status;
    }
    CHECK(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    CHECK(uv_idle_init(&loop->uv, &loop->idle) == 0);
    CHECK(uv_timer_init(&loop->uv, &loop->timer) == 0);
    loop->prepare.data = loop;
    loop->idle.data = loop;
    loop->timer.data = loop;
    CHECK(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    /* The turn alone is no reason to go on: when the last listener and
     * connection are gone, the loop ends. */
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->timer);
    loop_enter(loop);
    return 0;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_close(struct loop *loop)
{
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(list_empty(&loop->again) && list_empty(&loop->at_end));
    CHECK(uv_loop_close(&loop->uv) == 0);
    while (loop->spare_count > 0) {
        buffer_release(&loop->spares[--loop->spare_count]);
    }
}

void loop_take_buffer(struct loop *loop, struct buffer *buffer)
{
    CHECK(buffer->bytes == NULL);
    if (loop->spare_count > 0) {
        size_t max = buffer->max;
        *buffer = loop->spares[--loop->spare_count];
        buffer->max = max;
    }
}

void loop_give_buffer(struct loop *loop, struct buffer *buffer)
{
    if (buffer->bytes == NULL || buffer->failed || buffer->capacity > SPARE_BYTES_MAX ||
        loop->spare_count == LOOP_SPARES_MAX) {
        buffer_release(buffer);
        return;
    }
    buffer->size = 0;
    loop->spares[loop->spare_count++] = *buffer;
    buffer_init(buffer, buffer->max);
}

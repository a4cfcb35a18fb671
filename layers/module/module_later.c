#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* What happens later: timers, and what a module's own threads post. A post is
 * the one thing that other threads touch, under modules->lock. */

struct module_timer {
    struct deadline deadline;
    struct list link; /* in instance->timers */
    struct module_instance *instance;
    uint64_t number;
    relata_later *later;
    void *data;
};

struct module_posted {
    struct list link; /* in modules->posts */
    struct module_instance *instance;
    relata_later *later;
    void *data;
};

/* ---- Timers ---- */

static void say_next(struct modules *modules)
{
    uint64_t at_us = 0;
    const struct deadline *first = deadlines_first(&modules->timers, &at_us);
    modules->host->wake_at(modules->host->context, first == NULL ? 0 : at_us);
}

static void timer_free(struct module_timer *timer)
{
    deadlines_remove(&timer->instance->owner->timers, &timer->deadline);
    list_remove(&timer->link);
    heap_free(timer);
}

uint64_t module_after(const struct relata_host *host, uint64_t ms, relata_later *later, void *data)
{
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return 0;
    }
    struct modules *modules = instance->owner;
    uint64_t now_us = modules->host->clock_us();
    uint64_t wait_us = ms > UINT64_MAX / 4000 ? UINT64_MAX / 4 : ms * 1000;
    struct module_timer *timer = heap_zero(1, sizeof *timer);
    if (timer == NULL) {
        return 0;
    }
    timer->instance = instance;
    timer->later = later;
    timer->data = data;
    timer->number = ++modules->timer_number;
    list_init(&timer->link);
    if (deadlines_add(&modules->timers, &timer->deadline, now_us + wait_us) < 0) {
        heap_free(timer);
        return 0;
    }
    list_append(&instance->timers, &timer->link);
    say_next(modules);
    return timer->number;
}

void module_forget(const struct relata_host *host, uint64_t number)
{
    const struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return;
    }
    LIST_EACH(node, &instance->timers)
    {
        struct module_timer *timer = CONTAINER_OF(node, struct module_timer, link);
        if (timer->number == number) {
            timer_free(timer);
            say_next(instance->owner);
            return;
        }
    }
}

static void call_later(struct module_instance *instance, relata_later *later, void *data,
                       const char *what)
{
    uint64_t since_us = module_enter(instance);
    later(data);
    module_leave(instance, what, since_us);
}

/* Those that are due now; what they set for at once is for the next time. */
static void run_timers(struct modules *modules, uint64_t now_us)
{
    uint64_t last = modules->timer_number;
    for (;;) {
        uint64_t at_us = 0;
        struct deadline *first = deadlines_first(&modules->timers, &at_us);
        if (first == NULL || at_us > now_us) {
            return;
        }
        struct module_timer *timer = CONTAINER_OF(first, struct module_timer, deadline);
        if (timer->number > last) {
            return;
        }
        struct module_instance *instance = timer->instance;
        relata_later *later = timer->later;
        void *data = timer->data;
        timer_free(timer);
        call_later(instance, later, data, "a timer");
    }
}

/* ---- Posts ---- */

int module_post(const struct relata_host *host, relata_later *later, void *data)
{
    struct module_instance *instance = module_self(host);
    struct modules *modules = instance->owner;
    struct module_posted *posted = heap_zero(1, sizeof *posted);
    if (posted == NULL) {
        return RELATA_MODULE_NO_MEMORY;
    }
    *posted = (struct module_posted){.instance = instance, .later = later, .data = data};
    list_init(&posted->link);
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    list_append(&modules->posts, &posted->link);
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
    modules->host->wake(modules->host->context);
    return RELATA_MODULE_OK;
}

/* The oldest, of an instance or (NULL) of any; NULL where there is none. */
static struct module_posted *take_posted(struct modules *modules,
                                         const struct module_instance *instance)
{
    struct module_posted *found = NULL;
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    LIST_EACH(node, &modules->posts)
    {
        struct module_posted *posted = CONTAINER_OF(node, struct module_posted, link);
        if (instance == NULL || posted->instance == instance) {
            list_remove(&posted->link);
            found = posted;
            break;
        }
    }
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
    return found;
}

static size_t count_posts(struct modules *modules)
{
    size_t count = 0;
    CHECK(pthread_mutex_lock(&modules->lock) == 0);
    LIST_EACH(node, &modules->posts)
    {
        count++;
    }
    CHECK(pthread_mutex_unlock(&modules->lock) == 0);
    return count;
}

static void run_posts(struct modules *modules, const struct module_instance *of)
{
    size_t left = count_posts(modules);
    while (left-- > 0) {
        struct module_posted *posted = take_posted(modules, of);
        if (posted == NULL) {
            return;
        }
        struct module_posted was = *posted;
        heap_free(posted);
        call_later(was.instance, was.later, was.data, "what was posted");
    }
}

void module_posts_run(struct module_instance *instance)
{
    run_posts(instance->owner, instance);
}

void module_later_drop(struct module_instance *instance)
{
    struct modules *modules = instance->owner;
    struct module_posted *posted = NULL;
    while ((posted = take_posted(modules, instance)) != NULL) {
        heap_free(posted);
    }
    while (!list_empty(&instance->timers)) {
        timer_free(CONTAINER_OF(instance->timers.next, struct module_timer, link));
    }
    say_next(modules);
}

void modules_turn(struct modules *modules, uint64_t now_us)
{
    run_posts(modules, NULL);
    run_timers(modules, now_us);
    say_next(modules);
}

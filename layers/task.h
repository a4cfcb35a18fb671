#ifndef RELATA_LAYERS_TASK_H
#define RELATA_LAYERS_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/list.h"

/* Work that may be too long for one turn: it is run in slices, in turn with all
 * other tasks. Embedded in whoever does the work. A task that waits for records
 * from elsewhere is left out of the queue until all of them are there. */
struct task {
    struct list link;
    uint32_t waits; /* for so many things (task_wait, task_wake) */
    bool parked;    /* is left out of the queue because it waits */
    /* Goes on until it is done or *budget (visited records, or what costs about
     * as much) is used up. It is taken out of the queue before it runs, and put
     * back at the end where it answers false. True when it is done: it may have
     * freed itself. */
    bool (*run)(struct task *task, uint64_t *budget);
};

/* The tasks of an engine, first in first out. */
struct task_queue {
    struct list tasks;
};

static inline void task_queue_init(struct task_queue *queue)
{
    list_init(&queue->tasks);
}

static inline void task_init(struct task *task, bool (*run)(struct task *, uint64_t *))
{
    list_init(&task->link);
    task->waits = 0;
    task->parked = false;
    task->run = run;
}

static inline void task_submit(struct task_queue *queue, struct task *task)
{
    list_append(&queue->tasks, &task->link);
}

/* Into the queue, or left out of it while it waits. */
static inline void task_requeue(struct task_queue *queue, struct task *task)
{
    task->parked = task->waits > 0;
    if (!task->parked) {
        task_submit(queue, task);
    }
}

/* One thing more, or less, that it waits for. */
static inline void task_wait(struct task *task)
{
    task->waits++;
}

static inline void task_wake(struct task_queue *queue, struct task *task)
{
    if (--task->waits == 0 && task->parked) {
        task_requeue(queue, task);
    }
}

/* Takes it out, wherever it is. */
static inline void task_withdraw(struct task *task)
{
    task->parked = false;
    list_remove(&task->link);
}

#endif

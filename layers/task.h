#ifndef RELATA_LAYERS_TASK_H
#define RELATA_LAYERS_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/list.h"

/* Work that may be too long for one turn: it is run in slices, in turn with all
 * other tasks. Embedded in whoever does the work. */
struct task {
    struct list link;
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
    task->run = run;
}

static inline void task_submit(struct task_queue *queue, struct task *task)
{
    list_append(&queue->tasks, &task->link);
}

/* Takes it out, wherever it is. */
static inline void task_withdraw(struct task *task)
{
    list_remove(&task->link);
}

#endif

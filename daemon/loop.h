#ifndef RELATA_DAEMON_LOOP_H
#define RELATA_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/dispatch.h"
#include "protocol/base/buffer.h"
#include "protocol/base/list.h"

/* The event loop and its turn. A turn is what happens between two waits of the
 * loop: reads and timers first, and before it would wait again
 *   1. tasks of loop_again, each once: what an earlier turn left over
 *   2. engine_turn: batches go out, sliced work goes on, calls answer
 *   3. tasks of loop_at_end: answers are written, once per connection
 * Where the engine or a task has more to do, the loop polls without waiting. */

/* Something to be done in a turn; embedded in what does it. It is in one list
 * at most, and taken out of it before `run` is called. */
struct loop_task {
    struct list node;
    void (*run)(struct loop_task *task);
};

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task));
void loop_task_cancel(struct loop_task *task);

enum { LOOP_READ_BYTES = 65536, LOOP_TAIL_BYTES = 4096, LOOP_SPARES_MAX = 64 };

struct loop {
    uv_loop_t uv;
    struct dispatch *dispatch;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t timer;
    struct list again;
    struct list at_end;
    bool in_turn; /* something has happened since the last wait */
    uint64_t began_us;
    uint64_t turns;
    /* The longest turn of this period and of the one before. */
    uint64_t longest_us[2];
    uint64_t period_began_us;
    /* Output buffers that nobody uses, so that an idle connection holds none. */
    struct buffer spares[LOOP_SPARES_MAX];
    unsigned spare_count;
    /* All connections read into the same bytes, one after the other; an
     * unfinished frame of up to LOOP_TAIL_BYTES is put in front of what comes. */
    uint8_t read_bytes[LOOP_TAIL_BYTES + LOOP_READ_BYTES];
};

/* 0, or a negative error of libuv. `dispatch` is the caller's, and outlives it. */
int loop_open(struct loop *loop, struct dispatch *dispatch);

/* Runs until no handle is active. */
void loop_run(struct loop *loop);

/* Closes the turn's own handles; everybody else's must be closing already.
 * Runs until all are closed, and checks that none was left behind. */
void loop_close(struct loop *loop);

/* To be called first in every callback that libuv makes: it notes when the turn
 * began and sets dispatch->now_us. */
void loop_enter(struct loop *loop);

/* The time as of now, not as of the turn's start. */
uint64_t loop_now_us(void);

/* `task` runs in the next turn, without waiting. From a task it is the next
 * turn, from elsewhere the end of this one. */
void loop_again(struct loop *loop, struct loop_task *task);

/* `task` runs at the end of this turn. */
void loop_at_end(struct loop *loop, struct loop_task *task);

/* An output buffer from the spares (or an empty one), and back, emptied. */
void loop_take_buffer(struct loop *loop, struct buffer *buffer);
void loop_give_buffer(struct loop *loop, struct buffer *buffer);

#endif

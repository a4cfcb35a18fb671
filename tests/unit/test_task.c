#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/task.h"
#include "protocol/base/check.h"

/* Tasks that wait: out of the queue while they do, and back in it once all that they
 * wait for is there. The test plays the engine: it takes a task out and runs it. */

struct worker {
    struct task task;
    unsigned runs;
    unsigned waits_per_run; /* what each run asks for */
    bool done;
};

static struct task_queue queue;

static bool run(struct task *task, uint64_t *budget)
{
    struct worker *worker = CONTAINER_OF(task, struct worker, task);
    *budget -= 1;
    worker->runs++;
    for (unsigned i = 0; i < worker->waits_per_run; i++) {
        task_wait(task);
    }
    return worker->done;
}

static void worker_init(struct worker *worker, unsigned waits_per_run)
{
    *worker = (struct worker){.waits_per_run = waits_per_run};
    task_init(&worker->task, run);
}

/* Runs the first of the queue, as the engine does. False where there is none. */
static bool run_first(void)
{
    uint64_t budget = 10;
    if (list_empty(&queue.tasks)) {
        return false;
    }
    struct task *task = CONTAINER_OF(queue.tasks.next, struct task, link);
    list_remove(&task->link);
    if (!task->run(task, &budget)) {
        task_requeue(&queue, task);
    }
    return true;
}

static int setup(void **state)
{
    (void)state;
    task_queue_init(&queue);
    return 0;
}

static void test_in_turn(void **state)
{
    (void)state;
    static struct worker a, b;
    worker_init(&a, 0);
    worker_init(&b, 0);
    task_submit(&queue, &a.task);
    task_submit(&queue, &b.task);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(run_first());
    }
    assert_int_equal(a.runs, 3);
    assert_int_equal(b.runs, 2);
    a.done = true;
    b.done = true;
    assert_true(run_first());
    assert_true(run_first());
    assert_false(run_first());
}

static void test_parks_until_all_is_there(void **state)
{
    (void)state;
    static struct worker worker;
    worker_init(&worker, 3);
    task_submit(&queue, &worker.task);
    assert_true(run_first());
    assert_true(worker.task.parked);
    assert_false(run_first());
    task_wake(&queue, &worker.task);
    task_wake(&queue, &worker.task);
    assert_false(run_first());
    task_wake(&queue, &worker.task);
    assert_false(worker.task.parked);
    worker.done = true;
    worker.waits_per_run = 0;
    assert_true(run_first());
    assert_int_equal(worker.runs, 2);
    assert_false(run_first());
}

/* What is there before the run ends does not park it; nor does it come twice. */
static void test_woken_before_it_parks(void **state)
{
    (void)state;
    static struct worker worker;
    worker_init(&worker, 0);
    task_wait(&worker.task);
    task_wait(&worker.task);
    task_wake(&queue, &worker.task);
    task_wake(&queue, &worker.task);
    assert_false(run_first()); /* was never in the queue: nobody put it in */
    task_requeue(&queue, &worker.task);
    assert_false(worker.task.parked);
    worker.done = true;
    assert_true(run_first());
    assert_false(run_first());
}

/* One that waits for one thing, and was not left out yet: the wait is told when
 * it is put back. */
static void test_waits_before_it_is_queued(void **state)
{
    (void)state;
    static struct worker worker;
    worker_init(&worker, 0);
    worker.done = true;
    task_wait(&worker.task);
    task_requeue(&queue, &worker.task);
    assert_false(run_first());
    task_wake(&queue, &worker.task);
    assert_true(run_first());
    assert_int_equal(worker.runs, 1);
}

static void test_withdrawn_while_parked(void **state)
{
    (void)state;
    static struct worker worker;
    worker_init(&worker, 2);
    task_submit(&queue, &worker.task);
    assert_true(run_first());
    task_withdraw(&worker.task);
    task_wake(&queue, &worker.task);
    task_wake(&queue, &worker.task);
    assert_int_equal(worker.task.waits, 0);
    assert_false(run_first()); /* what comes late brings it back no more */
    assert_int_equal(worker.runs, 1);
}

static void test_withdrawn_from_the_queue(void **state)
{
    (void)state;
    static struct worker a, b;
    worker_init(&a, 0);
    worker_init(&b, 0);
    b.done = true;
    task_submit(&queue, &a.task);
    task_submit(&queue, &b.task);
    task_withdraw(&a.task);
    task_withdraw(&a.task); /* twice does no harm */
    assert_true(run_first());
    assert_false(run_first());
    assert_int_equal(a.runs, 0);
    assert_int_equal(b.runs, 1);
    a.done = true;
    task_submit(&queue, &a.task); /* and may come again */
    assert_true(run_first());
    assert_int_equal(a.runs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_in_turn, setup),
        cmocka_unit_test_setup(test_parks_until_all_is_there, setup),
        cmocka_unit_test_setup(test_woken_before_it_parks, setup),
        cmocka_unit_test_setup(test_waits_before_it_is_queued, setup),
        cmocka_unit_test_setup(test_withdrawn_while_parked, setup),
        cmocka_unit_test_setup(test_withdrawn_from_the_queue, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <string.h>

#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Reads of a module through the daemon. The happy path is module_read ->
 * call_start -> on_done (rendered at once) -> read_deliver, a task, so that a
 * module is called back neither from inside its own call nor from inside an
 * engine's. Possible failures are: what the call answers; and the end of the
 * batch, which takes all its reads along. */

/* What a read may take where the batch has no deadline. */
enum { READ_TIMEOUT_US = 30000000 };

/* Reads of a batch take turns as those of a connection: not one that exists. */
#define READ_ORIGIN (UINT64_C(1) << 63)

struct module_read {
    struct call call;
    struct list link; /* in open->reads */
    struct task task;
    struct module_batch *open;
    relata_read_done *done;
    void *data;
    struct buffer answer;
    bool failed;
};

static void read_free(struct module_read *read)
{
    read->open->read_count--;
    list_remove(&read->link);
    task_withdraw(&read->task);
    call_end(&read->call);
    call_release(&read->call);
    buffer_release(&read->answer);
    heap_free(read);
}

void module_reads_drop(struct module_batch *open)
{
    while (!list_empty(&open->reads)) {
        read_free(CONTAINER_OF(open->reads.next, struct module_read, link));
    }
}

/* ---- The answer ---- */

static void read_failed(struct module_read *read)
{
    read->failed = true;
    buffer_truncate(&read->answer, 0);
}

static void render(struct module_read *read)
{
    if (read->call.error.code != CODE_OK || call_render(&read->call, &read->answer) < 0) {
        read_failed(read);
    } else if (read->answer.failed) {
        error_set(&read->call.error, CODE_OVERLOADED, "no memory for the answer");
        read_failed(read);
    }
}

/* The records are of this turn, so they are rendered in it. */
static void read_ready(struct module_read *read)
{
    render(read);
    task_submit(read->open->instance->relation->owner->shared->tasks, &read->task);
}

static void on_done(struct call *call)
{
    read_ready(CONTAINER_OF(call, struct module_read, call));
}

/* The read leaves the batch before the module is called, which may end the batch. */
static bool read_deliver(struct task *task, uint64_t *budget)
{
    struct module_read *read = CONTAINER_OF(task, struct module_read, task);
    struct module_batch *open = read->open;
    struct module_instance *instance = open->instance;
    *budget -= *budget > 0;
    if (open->state != MODULE_BATCH_OPEN) {
        return true; /* it waits for the end of the batch */
    }
    struct error error = read->call.error;
    struct buffer answer = read->answer;
    struct relata_result result = {.struct_size = sizeof result};
    relata_read_done *done = read->done;
    void *data = read->data;
    if (read->failed) {
        result.code = code_text(error.code);
        result.message = error.message;
    } else {
        struct reader in = reader_of(answer.bytes, answer.size);
        CHECK(module_item_take(&in, &result.value) == RELATA_MODULE_OK);
    }
    read->answer = (struct buffer){0};
    read_free(read);
    uint64_t since_us = module_enter(instance);
    done(data, open->batch->number, &result);
    module_leave(instance, "the callback of a read", since_us);
    buffer_release(&answer);
    return true;
}

/* ---- The call ---- */

static int find_kind(struct module_instance *instance, const char *method, enum call_kind *kind)
{
    static const enum call_kind reading[] = {CALL_GET, CALL_GET_MANY, CALL_READ, CALL_COUNT,
                                             CALL_LOAD};
    for (size_t i = 0; i < ARRAY_COUNT(reading); i++) {
        if (strcmp(call_kind_name(reading[i]), method) == 0) {
            *kind = reading[i];
            return 0;
        }
    }
    return error_set(&instance->problem, CODE_UNKNOWN_METHOD,
                     "a module reads by get, get_many, read, count and load, not by %s", method);
}

/* Who asks is the batch's to say: the options that would say it are not taken. */
static int take_params(struct module_instance *instance, struct call *call, const void *params,
                       size_t size)
{
    struct error *error = &instance->problem;
    const char *method = call_kind_name(call->kind);
    uint32_t allowed = call_kind_options(call->kind) & ~(OPTION_BIT(ACTOR) | OPTION_BIT(AUTHORIZE) |
                                                         OPTION_BIT(TENANT) | OPTION_BIT(BATCH));
    unsigned count = call_kind_params(call->kind);
    struct reader in = reader_of(params, size);
    struct reader whole = in;
    struct token list = reader_next(&in);
    if (!reader_skip(&whole) || whole.at != whole.end || list.kind != TOKEN_ARRAY ||
        list.count > count + 1) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "%s: expected an array of at most %u parameters", method, count + 1);
    }
    for (unsigned i = 0; i < list.count; i++) {
        const uint8_t *bytes = NULL;
        size_t value_size = 0;
        CHECK(reader_value(&in, &bytes, &value_size));
        struct reader value = reader_of(bytes, value_size);
        if (i < count) {
            call->params[i] = value;
            continue;
        }
        int status = options_read(&value, allowed, method, &call->options, error);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static uint64_t time_left_us(const struct module_batch *open, uint64_t now_us)
{
    uint64_t deadline_us = open->batch->deadline_us;
    if (deadline_us == 0) {
        return READ_TIMEOUT_US;
    }
    return deadline_us > now_us ? deadline_us - now_us : 0;
}

static struct module_read *read_create(struct module_batch *open, enum call_kind kind)
{
    struct module_instance *instance = open->instance;
    struct module_read *read = heap_zero(1, sizeof *read);
    if (read == NULL) {
        error_set(&instance->problem, CODE_OVERLOADED, "no memory for a module's read");
        return NULL;
    }
    task_init(&read->task, read_deliver);
    call_init(&read->call);
    buffer_init(&read->answer, module_limits(instance)->answer_bytes);
    read->open = open;
    read->call.engine = instance->owner->engine;
    read->call.kind = kind;
    read->call.origin = READ_ORIGIN | open->batch->number;
    read->call.parent = open->batch;
    read->call.done = on_done;
    open->read_count++;
    list_append(&open->reads, &read->link);
    return read;
}

bool module_may_read(struct module_instance *instance, const struct module_batch *open)
{
    if (open->read_count < MODULE_READS_MAX) {
        return true;
    }
    error_set(&instance->problem, CODE_TOO_LARGE,
              "a batch has at most %d reads and commands at a time", MODULE_READS_MAX);
    return false;
}

int module_read(const struct relata_host *host, uint64_t number, const char *method,
                const void *params, size_t params_size, relata_read_done *done, void *data)
{
    enum call_kind kind = CALL_GET;
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    struct module_batch *open = module_find_batch(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    if (find_kind(instance, method, &kind) < 0) {
        return module_problem(instance);
    }
    if (!module_may_read(instance, open)) {
        return module_problem(instance);
    }
    struct module_read *read = read_create(open, kind);
    if (read == NULL) {
        return module_problem(instance);
    }
    uint64_t now_us = relations_clock(instance->relation->owner->shared);
    read->done = done;
    read->data = data;
    read->call.timeout_us = time_left_us(open, now_us);
    if (take_params(instance, &read->call, params, params_size) < 0) {
        read_free(read);
        return module_problem(instance);
    }
    if (call_start(&read->call, now_us) != CALL_LATER) {
        read_ready(read);
    }
    return RELATA_MODULE_OK;
}

#include "layers/module/module_inner.h"
#include "layers/redis/redis.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* Raw Redis commands of a module. The happy path is module_redis -> redis_raw_send ->
 * on_reply (kept) -> command_deliver, a task, as in module_read.c. Possible failures
 * are: what redis_raw_send sees at once, what it tells later, and the end of the
 * batch, which forgets its commands. */

struct module_command {
    struct list link; /* in open->commands */
    struct task task;
    struct module_batch *open;
    struct redis_raw *raw; /* NULL once it has ended */
    relata_read_done *done;
    void *data;
    struct error error;
    struct buffer value;
};

static void command_free(struct module_command *command)
{
    command->open->read_count--;
    list_remove(&command->link);
    task_withdraw(&command->task);
    if (command->raw != NULL) {
        redis_raw_forget(command->raw);
    }
    buffer_release(&command->value);
    heap_free(command);
}

void module_commands_drop(struct module_batch *open)
{
    while (!list_empty(&open->commands)) {
        command_free(CONTAINER_OF(open->commands.next, struct module_command, link));
    }
}

/* The command leaves the batch before the module is called, which may end the batch. */
static bool command_deliver(struct task *task, uint64_t *budget)
{
    struct module_command *command = CONTAINER_OF(task, struct module_command, task);
    struct module_batch *open = command->open;
    struct module_instance *instance = open->instance;
    *budget -= *budget > 0;
    if (open->state != MODULE_BATCH_OPEN) {
        return true; /* it waits for the end of the batch */
    }
    struct error error = command->error;
    struct buffer value = command->value;
    struct relata_result result = {.struct_size = sizeof result};
    relata_read_done *done = command->done;
    void *data = command->data;
    if (error.code != CODE_OK) {
        result.code = code_text(error.code);
        result.message = error.message;
    } else {
        struct reader in = reader_of(value.bytes, value.size);
        CHECK(module_item_take(&in, &result.value) == RELATA_MODULE_OK);
    }
    command->value = (struct buffer)BUFFER_INIT;
    command_free(command);
    uint64_t since_us = module_enter(instance);
    done(data, open->batch->number, &result);
    module_leave(instance, "the callback of a command", since_us);
    buffer_release(&value);
    return true;
}

static void on_reply(void *context, const struct error *error, struct buffer *value)
{
    struct module_command *command = context;
    command->raw = NULL;
    command->error = *error;
    command->value = *value;
    *value = (struct buffer)BUFFER_INIT;
    task_submit(command->open->instance->relation->owner->shared->tasks, &command->task);
}

static int send_command(struct module_command *command, const struct relata_redis_command *asked)
{
    struct module_instance *instance = command->open->instance;
    struct redis *redis = engine_redis(instance->owner->engine);
    struct redis_raw_command raw = {.home = asked->home != NULL ? asked->home : "",
                                    .arguments = asked->arguments,
                                    .arguments_size = asked->arguments_size,
                                    .key = asked->key,
                                    .key_size = asked->key_size};
    if (redis == NULL) {
        return error_set(&instance->problem, CODE_INVALID_REQUEST,
                         "the configuration names no Redis");
    }
    return redis_raw_send(redis, &raw, on_reply, command, &command->raw, &instance->problem);
}

int module_redis(const struct relata_host *host, uint64_t number,
                 const struct relata_redis_command *asked, relata_read_done *done, void *data)
{
    /* The members that it had from the beginning. */
    const size_t least = offsetof(struct relata_redis_command, key_size) + sizeof asked->key_size;
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    struct module_batch *open = module_find_batch(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    if (asked->struct_size < least) {
        error_set(&instance->problem, CODE_INVALID_REQUEST, "a Redis command lacks its size");
        return module_problem(instance);
    }
    if (!module_may_read(instance, open)) {
        return module_problem(instance);
    }
    struct module_command *command = heap_zero(1, sizeof *command);
    if (command == NULL) {
        error_set(&instance->problem, CODE_OVERLOADED, "no memory for a Redis command");
        return module_problem(instance);
    }
    task_init(&command->task, command_deliver);
    command->open = open;
    command->done = done;
    command->data = data;
    list_init(&command->link);
    list_append(&open->commands, &command->link);
    open->read_count++;
    if (send_command(command, asked) < 0) {
        command_free(command);
    }
    return module_problem(instance);
}

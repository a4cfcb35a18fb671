#include <stdio.h>

#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* Answers of modules. What is wrong with one is told to the module at once, to
 * the log, and to those who wait. */

/* An answer that nobody waits for: the second one, or one that came too late. */
static struct module_batch *batch_to_answer(struct module_instance *instance, uint64_t number)
{
    struct module_batch *open = module_find_batch(instance, number);
    if (open == NULL) {
        module_log(instance, MODULE_LOG_WARNING, "module_answered_late",
                   "an answer for batch %llu came too late, or is the second one",
                   (unsigned long long)number);
    }
    return open;
}

/* The batch fails with the instance's problem, which gets the module's name. */
static int fail_batch(struct module_batch *open)
{
    struct module_instance *instance = open->instance;
    open->error = instance->problem;
    error_prefix(&open->error, "module %s: ", instance->name);
    error_relationship(&open->error, instance->relation->loader.name);
    open->failed = true;
    module_log(instance, MODULE_LOG_WARNING, "module_failed", "%s", instance->problem.message);
    module_batch_answered(open);
    return module_problem(instance);
}

/* Bounded, and one whole value. */
static int check_bytes(struct module_instance *instance, const void *bytes, size_t size,
                       uint64_t before)
{
    uint64_t allowed = module_limits(instance)->provider_answer_bytes;
    struct reader in = reader_of(bytes, size);
    if (size > allowed || before > allowed - size) {
        return error_limit_hit(&instance->problem, CODE_TOO_LARGE, "provider_answer_bytes", allowed,
                               before + size);
    }
    if (!reader_skip(&in) || in.at != in.end) {
        return error_set(&instance->problem, CODE_LOADER_FAILED,
                         "the answer is no MessagePack value (%zu bytes)", size);
    }
    return 0;
}

int module_answer(const struct relata_host *host, uint64_t number, const void *bytes, size_t size)
{
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    struct module_batch *open = batch_to_answer(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    struct error *problem = &instance->problem;
    int status = 0;
    if (open->answered != NULL) {
        status = error_set(problem, CODE_LOADER_FAILED,
                           "a batch is answered as a whole, after some of its sources were "
                           "answered singly");
    }
    if (status == 0) {
        status = check_bytes(instance, bytes, size, 0);
    }
    if (status == 0) {
        struct reader in = reader_of(bytes, size);
        status = outside_take(instance->relation, open->batch, 0, open->batch->count, &in, problem);
    }
    if (status < 0) {
        return fail_batch(open);
    }
    module_batch_answered(open);
    return RELATA_MODULE_OK;
}

/* ---- One source ---- */

static int mark_answered(struct module_batch *open, size_t source)
{
    struct module_instance *instance = open->instance;
    struct batch *batch = open->batch;
    if (source >= batch->count) {
        return error_set(&instance->problem, CODE_INVALID_REQUEST,
                         "source %zu is answered, the batch has %zu", source, batch->count);
    }
    if (open->answered == NULL) {
        open->answered = arena_zero(&batch->arena, batch->count, sizeof *open->answered);
    }
    if (open->answered == NULL) {
        return error_set(&instance->problem, CODE_OVERLOADED, "no memory for a module's answer");
    }
    if (open->answered[source]) {
        return error_set(&instance->problem, CODE_NOT_FOUND, "source %zu is answered twice",
                         source);
    }
    open->answered[source] = true;
    open->answered_count++;
    return 0;
}

static int take_one(struct module_batch *open, size_t source, const void *bytes, size_t size)
{
    struct module_instance *instance = open->instance;
    int status = check_bytes(instance, bytes, size, open->answered_bytes);
    if (status < 0) {
        return status;
    }
    open->answered_bytes += size;
    struct buffer list = BUFFER_INIT;
    write_array(&list, 1);
    buffer_append(&list, bytes, size);
    if (list.failed) {
        status = error_set(&instance->problem, CODE_OVERLOADED, "no memory for a module's answer");
    } else {
        struct reader in = reader_of(list.bytes, list.size);
        status = outside_take(instance->relation, open->batch, source, 1, &in, &instance->problem);
    }
    buffer_release(&list);
    return status;
}

int module_answer_one(const struct relata_host *host, uint64_t number, size_t source,
                      const void *bytes, size_t size)
{
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    struct module_batch *open = batch_to_answer(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    if (mark_answered(open, source) < 0) {
        module_log(instance, MODULE_LOG_WARNING, "module_failed", "%s", instance->problem.message);
        return module_problem(instance);
    }
    if (take_one(open, source, bytes, size) < 0) {
        outside_fail(instance->relation, open->batch, source, 1, &instance->problem);
        module_log(instance, MODULE_LOG_WARNING, "module_failed", "%s", instance->problem.message);
    }
    int answer = module_problem(instance);
    if (open->answered_count == open->batch->count) {
        module_batch_answered(open);
    }
    return answer;
}

int module_fail_one(const struct relata_host *host, uint64_t number, size_t source,
                    const char *code, const char *message)
{
    struct relata_bytes bytes = {0};
    host->write_error(&bytes, code, message);
    int status = bytes.failed ? RELATA_MODULE_NO_MEMORY
                              : module_answer_one(host, number, source, bytes.bytes, bytes.size);
    host->release(&bytes);
    return status;
}

int module_fail(const struct relata_host *host, uint64_t number, const char *message)
{
    /* Often it is the last problem's, which goes with the next call. */
    char text[ERROR_MESSAGE_MAX];
    snprintf(text, sizeof text, "%s", message);
    struct module_instance *instance = module_of_host(host);
    if (instance == NULL) {
        return RELATA_MODULE_WRONG_THREAD;
    }
    struct module_batch *open = batch_to_answer(instance, number);
    if (open == NULL) {
        return RELATA_MODULE_GONE;
    }
    error_set(&instance->problem, CODE_LOADER_FAILED, "%s", text);
    fail_batch(open);
    error_clear(&instance->problem);
    return RELATA_MODULE_OK;
}

#include "layers/module/module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "layers/module/module_inner.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* The happy path of a batch is module_start -> the module's load -> an answer ->
 * batch_finish. Possible failures are: no memory for the batch (it fails at
 * once), a wrong answer or none in time (the module's error), and the
 * coalescer's cancel, after which the module is told to forget the batch; its
 * memory goes in batch_finish in each case, since reads may still look at it. */

/* A call of a module that holds the loop for longer is named in the log. */
enum { MODULE_SLOW_US = 10000 };

enum { LOG_PERIOD_US = 1000000, LOG_LINES_MAX = 5 };

/* ---- Instances ---- */

static bool on_thread(const struct modules *modules)
{
    return pthread_equal(modules->thread, pthread_self()) != 0;
}

struct module_instance *module_self(const struct relata_host *host)
{
    const struct module_instance *instance = (const struct module_instance *)(const void *)host;
    CHECK(instance->magic == MODULE_MAGIC);
    return instance->self;
}

struct module_instance *module_of_host(const struct relata_host *host)
{
    struct module_instance *instance = module_self(host);
    if (!on_thread(instance->owner)) {
        return NULL;
    }
    error_clear(&instance->problem);
    return instance;
}

static struct module_instance *instance_of(const struct modules *modules,
                                           const struct relation *relation)
{
    LIST_EACH(node, &modules->instances)
    {
        struct module_instance *instance = CONTAINER_OF(node, struct module_instance, link);
        if (instance->relation == relation) {
            return instance;
        }
    }
    return NULL;
}

int module_problem(struct module_instance *instance)
{
    static const struct {
        enum code code;
        int number;
    } numbers[] = {{CODE_OK, RELATA_MODULE_OK},
                   {CODE_OVERLOADED, RELATA_MODULE_NO_MEMORY},
                   {CODE_TOO_LARGE, RELATA_MODULE_TOO_MUCH},
                   {CODE_NOT_FOUND, RELATA_MODULE_GONE}};
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        if (instance->problem.code == numbers[i].code) {
            return numbers[i].number;
        }
    }
    return RELATA_MODULE_INVALID;
}

/* ---- The log, and who holds the loop ---- */

static bool log_has_room(struct module_instance *instance, uint64_t now_us)
{
    if (now_us - instance->log_period_us > LOG_PERIOD_US) {
        instance->log_period_us = now_us;
        instance->log_lines = 0;
    }
    return instance->log_lines++ < LOG_LINES_MAX;
}

void module_log(struct module_instance *instance, enum module_log_level level, const char *event,
                const char *format, ...)
{
    const struct module_host *host = instance->owner->host;
    if (!log_has_room(instance, host->clock_us())) {
        instance->log_left_out++;
        return;
    }
    char text[ERROR_MESSAGE_MAX + 64];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (instance->log_left_out > 0 && used >= 0 && (size_t)used < sizeof text) {
        snprintf(text + used, sizeof text - (size_t)used, " (%u more lines were left out)",
                 instance->log_left_out);
        instance->log_left_out = 0;
    }
    host->log(host->context, level, event, instance->name, instance->relation->loader.name, text);
}

uint64_t module_enter(struct module_instance *instance)
{
    CHECK(!instance->owner->entered);
    instance->owner->entered = true;
    return instance->owner->host->clock_us();
}

void module_leave(struct module_instance *instance, const char *function, uint64_t since_us)
{
    instance->owner->entered = false;
    uint64_t took_us = instance->owner->host->clock_us() - since_us;
    if (took_us > MODULE_SLOW_US) {
        module_log(instance, MODULE_LOG_WARNING, "module_slow", "%s held the daemon for %llu ms",
                   function, (unsigned long long)took_us / 1000);
    }
}

/* ---- The functions of the host that are no module's of their own ---- */

static const char *host_problem(const struct relata_host *host)
{
    const struct module_instance *instance = module_self(host);
    return on_thread(instance->owner) ? instance->problem.message
                                      : "called from another thread than the daemon's";
}

static void host_log(const struct relata_host *host, int level, const char *text)
{
    char kept[ERROR_MESSAGE_MAX]; /* it may be the last problem's */
    snprintf(kept, sizeof kept, "%s", text);
    struct module_instance *instance = module_of_host(host);
    if (instance != NULL) {
        enum module_log_level known = level <= RELATA_LOG_INFO      ? MODULE_LOG_INFO
                                      : level == RELATA_LOG_WARNING ? MODULE_LOG_WARNING
                                                                    : MODULE_LOG_ERROR;
        module_log(instance, known, "module_says", "%s", kept);
    }
}

static void fill_host(struct relata_host *host)
{
    *host = (struct relata_host){.struct_size = sizeof *host,
                                 .abi_major = RELATA_MODULE_ABI_MAJOR,
                                 .abi_minor = RELATA_MODULE_ABI_MINOR,
                                 .problem = host_problem,
                                 .log = host_log,
                                 .sources = module_sources,
                                 .field_position = module_field_position,
                                 .source_at = module_source_at,
                                 .source_field = module_source_field,
                                 .context = module_context,
                                 .time_left_ms = module_time_left_ms,
                                 .set_data = module_set_data,
                                 .data = module_data,
                                 .query = module_query,
                                 .apply = module_apply,
                                 .read = module_read,
                                 .answer = module_answer,
                                 .answer_one = module_answer_one,
                                 .fail_one = module_fail_one,
                                 .fail = module_fail,
                                 .after = module_after,
                                 .forget = module_forget,
                                 .post = module_post,
                                 .redis = module_redis};
    module_items_fill(host);
}

/* ---- Opening ---- */

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The variable that a module exports, where it is one of this daemon's kind. */
static int find_module(const struct module_files *files, const char *path, void *library,
                       const struct relata_module **out, struct error *error)
{
    /* The members of the first major version that a module cannot do without. */
    const size_t least = offsetof(struct relata_module, close) + sizeof(void *);
    const struct relata_module *module = files->symbol(files->context, library, "relata_module");
    if (module == NULL) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "%s exports no relata_module: it is no module of Relata", path);
    }
    if (module->abi_major != RELATA_MODULE_ABI_MAJOR) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "%s is built for version %u.%u of the module interface, this daemon has "
                         "%d.%d: build it against this version's relata_module.h",
                         path, module->abi_major, module->abi_minor, RELATA_MODULE_ABI_MAJOR,
                         RELATA_MODULE_ABI_MINOR);
    }
    if (module->struct_size < least || module->open == NULL || module->load == NULL) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "%s: its relata_module lacks its size, open or load", path);
    }
    *out = module;
    return 0;
}

int module_check(const struct module_files *files, const char *path, struct error *error)
{
    void *library = NULL;
    const struct relata_module *module = NULL;
    int status = files->open(files->context, path, &library, error);
    if (status < 0) {
        return status;
    }
    status = find_module(files, path, library, &module, error);
    files->close(files->context, library);
    return status;
}

/* The module's own part. What it refuses with is its own words. */
static int open_module(struct module_instance *instance, struct error *error)
{
    const struct relationship *relationship = instance->relation->relationship;
    char reason[ERROR_MESSAGE_MAX / 2] = "";
    struct relata_opening opening = {.struct_size = sizeof opening,
                                     .resource = relationship->source->name,
                                     .relationship = relationship->name,
                                     .destination = relationship->destination->name,
                                     .error = reason,
                                     .error_size = sizeof reason};
    struct reader options = reader_of(relationship->options, relationship->options_size);
    module_item_take(&options, &opening.options);
    uint64_t since_us = module_enter(instance);
    int refused = instance->module->open(&instance->host, &opening, &instance->state);
    module_leave(instance, "open", since_us);
    if (refused == 0) {
        return 0;
    }
    reason[sizeof reason - 1] = '\0';
    return error_set(error, CODE_INVALID_REQUEST, "%s: the module %s refuses: %s",
                     relationship->full_name, relationship->module_path,
                     reason[0] != '\0' ? reason : "it does not say why");
}

static struct module_instance *instance_create(struct modules *modules, struct relation *relation)
{
    struct module_instance *instance = heap_zero(1, sizeof *instance);
    if (instance == NULL) {
        return NULL;
    }
    fill_host(&instance->host);
    instance->magic = MODULE_MAGIC;
    instance->self = instance;
    instance->owner = modules;
    instance->relation = relation;
    snprintf(instance->name, sizeof instance->name, "%s",
             file_name(relation->relationship->module_path));
    list_init(&instance->batches);
    list_init(&instance->timers);
    list_append(&modules->instances, &instance->link);
    return instance;
}

static void instance_free(struct module_instance *instance)
{
    struct modules *modules = instance->owner;
    module_later_drop(instance);
    if (instance->library != NULL) {
        modules->files->close(modules->files->context, instance->library);
    }
    list_remove(&instance->link);
    instance->magic = 0;
    heap_free(instance);
}

static int modules_open(void *context, struct relation *relation, struct error *error)
{
    struct modules *modules = context;
    const struct module_files *files = modules->files;
    const char *path = relation->relationship->module_path;
    struct module_instance *instance = instance_create(modules, relation);
    if (instance == NULL) {
        return error_set(error, CODE_OVERLOADED, "%s: no memory for its module",
                         relation->relationship->full_name);
    }
    int status = files->open(files->context, path, &instance->library, error);
    if (status == 0) {
        status = find_module(files, path, instance->library, &instance->module, error);
    }
    if (status < 0) {
        error_prefix(error, "%s: ", relation->relationship->full_name);
    } else {
        status = open_module(instance, error);
    }
    if (status < 0) {
        instance_free(instance);
    }
    return status;
}

static void modules_close(void *context, struct relation *relation)
{
    struct module_instance *instance = instance_of(context, relation);
    CHECK(instance != NULL && list_empty(&instance->batches));
    module_posts_run(instance);
    if (instance->module->close != NULL) {
        uint64_t since_us = module_enter(instance);
        instance->module->close(instance->state);
        module_leave(instance, "close", since_us);
    }
    instance_free(instance);
}

/* ---- Batches ---- */

struct module_batch *module_find_batch(struct module_instance *instance, uint64_t number)
{
    LIST_EACH(node, &instance->batches)
    {
        struct module_batch *open = CONTAINER_OF(node, struct module_batch, link);
        if (open->batch->number == number) {
            return open;
        }
    }
    error_set(&instance->problem, CODE_NOT_FOUND,
              "batch %llu is not out: it has been answered or cancelled",
              (unsigned long long)number);
    return NULL;
}

/* The end of every batch. Letting go of what it holds may close the relation,
 * and with it the module: nothing of them is touched afterwards. */
static bool batch_finish(struct task *task, uint64_t *budget)
{
    struct module_batch *open = CONTAINER_OF(task, struct module_batch, finish);
    struct module_instance *instance = open->instance;
    struct relation *relation = instance->relation;
    struct relations_owner *shared = relation->owner->shared;
    struct engine *engine = instance->owner->engine;
    struct realm *realm = open->realm;
    *budget -= *budget < open->batch->count ? *budget : open->batch->count;
    module_reads_drop(open);
    module_commands_drop(open);
    buffer_release(&open->context);
    buffer_release(&open->sources);
    relation_let_go(relation);
    if (open->failed) {
        struct error error = open->error;
        coalescer_fail(shared->coalescer, open->batch, &error, relations_clock(shared));
    } else {
        coalescer_complete(shared->coalescer, open->batch, relations_clock(shared));
    }
    engine_let_go(engine, realm);
    return true;
}

static void end_batch(struct module_batch *open, enum module_batch_state state)
{
    open->state = state;
    list_remove(&open->link);
    task_submit(open->instance->relation->owner->shared->tasks, &open->finish);
}

void module_batch_answered(struct module_batch *open)
{
    CHECK(open->state == MODULE_BATCH_OPEN);
    end_batch(open, MODULE_BATCH_ANSWERED);
}

static void modules_start(void *context, struct relation *relation, struct batch *batch)
{
    struct relations_owner *shared = relation->owner->shared;
    struct module_instance *instance = instance_of(context, relation);
    if (outside_open(relation, batch, sizeof(struct module_batch)) < 0) {
        struct error error = ERROR_INIT;
        error_set(&error, CODE_OVERLOADED, "%s: no memory for a batch", relation->loader.name);
        coalescer_fail(shared->coalescer, batch, &error, relations_clock(shared));
        return;
    }
    struct module_batch *open = outside_extra(batch);
    open->instance = instance;
    open->batch = batch;
    open->realm = engine_hold(relation);
    task_init(&open->finish, batch_finish);
    list_init(&open->reads);
    list_init(&open->commands);
    buffer_init(&open->context, 0);
    buffer_init(&open->sources, 0);
    list_append(&instance->batches, &open->link);
    relation_hold(relation);
    uint64_t since_us = module_enter(instance);
    instance->module->load(instance->state, batch->number, batch->count);
    module_leave(instance, "load", since_us);
}

/* The coalescer has failed the batch; where it is answered already, the answer
 * only comes too late by a task. It is given back in batch_finish. */
static bool modules_cancel(void *context, struct relation *relation, struct batch *batch)
{
    (void)context;
    (void)relation;
    struct module_batch *open = outside_extra(batch);
    struct module_instance *instance = open->instance;
    if (open->state != MODULE_BATCH_OPEN) {
        return false;
    }
    end_batch(open, MODULE_BATCH_CANCELLED);
    module_log(instance, MODULE_LOG_WARNING, "module_cancelled",
               "batch %llu of %zu was not answered", (unsigned long long)batch->number,
               batch->count);
    if (instance->module->cancel != NULL) {
        uint64_t since_us = module_enter(instance);
        instance->module->cancel(instance->state, batch->number, open->data);
        module_leave(instance, "cancel", since_us);
    }
    return false;
}

/* ---- All modules ---- */

struct modules *modules_create(struct engine *engine, const struct module_files *files,
                               const struct module_host *host)
{
    struct modules *modules = heap_zero(1, sizeof *modules);
    if (modules == NULL) {
        return NULL;
    }
    modules->engine = engine;
    modules->files = files;
    modules->host = host;
    modules->loaders = (struct outside_loaders){.context = modules,
                                                .open = modules_open,
                                                .close = modules_close,
                                                .start = modules_start,
                                                .cancel = modules_cancel};
    modules->thread = pthread_self();
    list_init(&modules->instances);
    list_init(&modules->posts);
    CHECK(pthread_mutex_init(&modules->lock, NULL) == 0);
    return modules;
}

void modules_free(struct modules *modules)
{
    CHECK(list_empty(&modules->instances) && list_empty(&modules->posts));
    deadlines_release(&modules->timers);
    CHECK(pthread_mutex_destroy(&modules->lock) == 0);
    heap_free(modules);
}

const struct outside_loaders *modules_loaders(const struct modules *modules)
{
    return &modules->loaders;
}

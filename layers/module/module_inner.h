#ifndef RELATA_LAYERS_MODULE_MODULE_INNER_H
#define RELATA_LAYERS_MODULE_MODULE_INNER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/engine/call.h"
#include "layers/engine/engine.h"
#include "layers/load/deadlines.h"
#include "layers/load/outside.h"
#include "layers/module/module.h"
#include "layers/module/relata_module.h"
#include "protocol/base/list.h"

/* What the sources of this folder share.
 *
 *   module.c         opening and closing, the batch's way through a module
 *   module_answer.c  answers
 *   module_batch.c   what a module is told of a batch
 *   module_apply.c   a query over records in memory
 *   module_read.c    reads through the daemon
 *   module_redis.c   raw Redis commands
 *   module_later.c   timers, and what other threads post
 *   module_items.c   MessagePack for modules; knows nothing of the others */

enum { MODULE_MAGIC = 0x6d6f6475, MODULE_NAME_MAX = 128, MODULE_READS_MAX = 1000 };

struct modules {
    struct engine *engine;
    const struct module_files *files;
    const struct module_host *host;
    struct outside_loaders loaders;
    struct list instances;
    pthread_t thread;
    bool entered; /* a module's code runs */
    struct deadlines timers;
    uint64_t timer_number;
    pthread_mutex_t lock; /* of posts alone */
    struct list posts;
};

/* A module opened for one relationship. */
struct module_instance {
    struct relata_host host; /* first: it is cast back */
    uint32_t magic;
    struct module_instance *self; /* what modules have is a constant */
    struct modules *owner;
    struct relation *relation;
    const struct relata_module *module;
    void *library;
    void *state;
    char name[MODULE_NAME_MAX]; /* the file's, without its folder */
    struct list link;
    struct list batches; /* open ones */
    struct list timers;
    struct error problem;   /* of the last function of the host */
    uint64_t log_period_us; /* when the period began in which so many lines were logged */
    unsigned log_lines;
    unsigned log_left_out;
};

enum module_batch_state { MODULE_BATCH_OPEN, MODULE_BATCH_ANSWERED, MODULE_BATCH_CANCELLED };

/* A batch at a module; lives in the batch's arena. */
struct module_batch {
    struct list link; /* in instance->batches while open */
    struct module_instance *instance;
    struct batch *batch;
    struct realm *realm; /* held: it may outlive all who wait for it */
    struct task finish;
    enum module_batch_state state;
    bool failed;
    struct error error; /* where failed */
    bool *answered;     /* each source; NULL until one is answered singly */
    size_t answered_count;
    uint64_t answered_bytes;
    struct list reads;
    struct list commands; /* to Redis */
    size_t read_count;    /* of both */
    bool has_context;
    bool has_sources;
    struct buffer context;
    struct buffer sources;
    void *data;
};

/* ---- module.c ---- */

/* From any thread. */
struct module_instance *module_self(const struct relata_host *host);
/* NULL where it is another thread than the daemon's. Clears the problem. */
struct module_instance *module_of_host(const struct relata_host *host);
/* The batch where it is open, else NULL with the problem set. */
struct module_batch *module_find_batch(struct module_instance *instance, uint64_t number);

/* Around the module's code: who holds the thread for long is named in the log. */
uint64_t module_enter(struct module_instance *instance);
void module_leave(struct module_instance *instance, const char *function, uint64_t since_us);

/* At most a few lines a second for an instance. */
void module_log(struct module_instance *instance, enum module_log_level level, const char *event,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The batch is answered, or failed: it ends in a task. */
void module_batch_answered(struct module_batch *open);

static inline const struct limits *module_limits(const struct module_instance *instance)
{
    return instance->relation->owner->shared->limits;
}

/* Sets the problem from its error's code. Answers the number for the module. */
int module_problem(struct module_instance *instance);

/* ---- module_answer.c ---- */

int module_answer(const struct relata_host *host, uint64_t number, const void *bytes, size_t size);
int module_answer_one(const struct relata_host *host, uint64_t number, size_t source,
                      const void *bytes, size_t size);
int module_fail_one(const struct relata_host *host, uint64_t number, size_t source,
                    const char *code, const char *message);
int module_fail(const struct relata_host *host, uint64_t number, const char *message);

/* ---- module_batch.c ---- */

int module_sources(const struct relata_host *host, uint64_t number, struct relata_item *list);
int module_field_position(const struct relata_host *host, const char *name);
int module_source_at(const struct relata_host *host, uint64_t number, size_t source, int position,
                     struct relata_item *value);
int module_source_field(const struct relata_host *host, uint64_t number, size_t source,
                        const char *name, struct relata_item *value);
int module_context(const struct relata_host *host, uint64_t number, struct relata_item *map);
int64_t module_time_left_ms(const struct relata_host *host, uint64_t number);
int module_set_data(const struct relata_host *host, uint64_t number, void *data);
void *module_data(const struct relata_host *host, uint64_t number);
int module_query(const struct relata_host *host, uint64_t number, unsigned parts,
                 struct relata_bytes *out);

/* ---- module_apply.c ---- */

int module_apply(const struct relata_host *host, uint64_t number, const char *resource,
                 const struct relata_bytes *query, const struct relata_bytes *records,
                 struct relata_bytes *out);

/* ---- module_read.c ---- */

int module_read(const struct relata_host *host, uint64_t number, const char *method,
                const void *params, size_t params_size, relata_read_done *done, void *data);
/* Ends the reads of a batch; none is called back. */
void module_reads_drop(struct module_batch *open);

/* Whether one more read or command may go out; else the problem is set. */
bool module_may_read(struct module_instance *instance, const struct module_batch *open);

/* ---- module_redis.c ---- */

int module_redis(const struct relata_host *host, uint64_t number,
                 const struct relata_redis_command *asked, relata_read_done *done, void *data);
/* Ends the commands of a batch; none is called back. */
void module_commands_drop(struct module_batch *open);

/* ---- module_later.c ---- */

uint64_t module_after(const struct relata_host *host, uint64_t ms, relata_later *later, void *data);
void module_forget(const struct relata_host *host, uint64_t number);
int module_post(const struct relata_host *host, relata_later *later, void *data);
/* Calls what an instance posted so far; and forgets what it posted and waits for. */
void module_posts_run(struct module_instance *instance);
void module_later_drop(struct module_instance *instance);

/* ---- module_items.c ---- */

/* Takes the next value. OK, ABSENT at the end, INVALID. */
int module_item_take(struct reader *in, struct relata_item *out);
/* The functions that read and write MessagePack. */
void module_items_fill(struct relata_host *host);
/* Appends to bytes of a module. */
void module_bytes_append(struct relata_bytes *out, const void *bytes, size_t size);

#endif

#include "layers/engine/engine_inner.h"
#include "layers/redis/redis.h"
#include "protocol/msgpack/writer.h"

/* reindex: builds what a resource has in Redis beside its records. It goes through
 * all of them, for as long as that takes, and goes on where nobody waits for it any
 * more. */

struct reindexing {
    struct call *call;
    struct redis_reindex *out; /* NULL once it is over */
    uint64_t records;
    uint64_t misfits;
    struct error error;
};

static void on_reindexed(void *context, uint64_t records, uint64_t misfits,
                         const struct error *error)
{
    struct reindexing *reindexing = context;
    reindexing->out = NULL;
    reindexing->records = records;
    reindexing->misfits = misfits;
    if (error != NULL) {
        reindexing->error = *error;
    }
    task_wake(&reindexing->call->engine->tasks, &reindexing->call->task);
}

static int start(struct call *call)
{
    if (call->resource->redis == NULL) {
        error_set(&call->error, CODE_INVALID_REQUEST,
                  "reindex: the records of %s are not in Redis: there is nothing to build",
                  call->resource->name);
        error_resource(&call->error, call->resource->name);
        return -CODE_INVALID_REQUEST;
    }
    struct reindexing *reindexing = arena_zero(&call->arena, 1, sizeof *reindexing);
    if (reindexing == NULL) {
        return call_no_memory(call);
    }
    reindexing->call = call;
    error_clear(&reindexing->error);
    int status = redis_reindex_start(call_store(call), on_reindexed, reindexing, &reindexing->out,
                                     &call->error);
    if (status < 0) {
        return status;
    }
    call->reindexing = reindexing;
    task_wait(&call->task);
    return CALL_LATER;
}

int call_reindex(struct call *call)
{
    const struct reindexing *reindexing = call->reindexing;
    if (reindexing == NULL) {
        return start(call);
    }
    if (reindexing->error.code != CODE_OK) {
        call->error = reindexing->error;
        error_prefix(&call->error, "%s: ", call->resource->name);
        error_resource(&call->error, call->resource->name);
        return -(int)call->error.code;
    }
    call->answer = ANSWER_REINDEXED;
    return CALL_READY;
}

void call_render_reindexed(const struct call *call, struct buffer *out)
{
    write_map(out, 2);
    write_text(out, "records");
    write_unsigned(out, call->reindexing->records);
    write_text(out, "misfits");
    write_unsigned(out, call->reindexing->misfits);
}

void call_reindex_end(struct call *call)
{
    struct reindexing *reindexing = call->reindexing;
    call->reindexing = NULL;
    if (reindexing != NULL && reindexing->out != NULL) {
        redis_reindex_forget(reindexing->out);
    }
}

#include "layers/load/remote.h"

#include "layers/load/outside.h"
#include "layers/load/remote_inner.h"
#include "protocol/base/heap.h"

/* The happy path is remote_start -> parts_send -> remote_ended -> remote_settle.
 * Possible failures are: nobody provides (unavailable at once), the provider
 * answers an error or something misshapen (loader_failed), is late or goes (once
 * elsewhere, else timeout or unavailable), answers too much (halved), there is
 * no memory (overloaded), and the coalescer's cancel, after which the batch is
 * forgotten. */

struct remote *remote_create(struct coalescer *coalescer, const struct limits *limits)
{
    struct remote *remote = heap_zero(1, sizeof *remote);
    if (remote != NULL) {
        remote->coalescer = coalescer;
        remote->limits = limits;
        list_init(&remote->names);
        list_init(&remote->finished);
    }
    return remote;
}

void remote_free(struct remote *remote)
{
    if (remote == NULL) {
        return;
    }
    CHECK(remote->jobs == 0 && list_empty(&remote->finished));
    while (!list_empty(&remote->names)) {
        struct remote_name *name = CONTAINER_OF(remote->names.next, struct remote_name, link);
        CHECK(list_empty(&name->providers));
        list_remove(&name->link);
        heap_free(name->text);
        heap_free(name);
    }
    deadlines_release(&remote->deadlines);
    buffer_release(&remote->params);
    heap_free(remote);
}

void name_stir(struct remote *remote, struct remote_name *name)
{
    name->restless = true;
    remote->restless = true;
}

/* ---- The ends of batches ---- */

static void job_leave(struct job *job)
{
    list_remove(&job->link);
    job->remote->jobs--;
}

/* Completing may call anybody, also remote_cancel for another batch: so the
 * list is looked at anew each time. */
void remote_settle(struct remote *remote, uint64_t now_us)
{
    while (!list_empty(&remote->finished)) {
        struct job *job = CONTAINER_OF(remote->finished.next, struct job, link);
        job_leave(job);
        if (job->failed) {
            coalescer_fail(remote->coalescer, job->batch, &job->error, now_us);
        } else {
            coalescer_complete(remote->coalescer, job->batch, now_us);
        }
    }
}

static void fail_at_once(struct remote *remote, struct relation *relation, struct batch *batch,
                         enum code code, const char *reason, uint64_t now_us)
{
    const struct relationship *relationship = relation->relationship;
    struct error error = ERROR_INIT;
    error_set(&error, code, "%s: %s", relationship->full_name, reason);
    error_resource(&error, relationship->source->name);
    error_relationship(&error, relationship->name);
    coalescer_fail(remote->coalescer, batch, &error, now_us);
}

/* ---- The loader ---- */

static void job_open(struct job *job, struct part *whole)
{
    list_init(&job->link);
    list_init(&job->parts);
    list_init(&whole->waiting);
    list_init(&whole->call.link);
    whole->job = job;
    whole->count = job->batch->count;
    list_append(&job->parts, &whole->link);
    list_append(&job->name->waiting[job->batch->depth], &whole->waiting);
    job->remote->jobs++;
}

void remote_start(struct remote *remote, struct relation *relation, struct batch *batch,
                  uint64_t now_us)
{
    CHECK(batch->depth < REMOTE_DEPTHS);
    struct remote_name *name = name_find(remote, relation->relationship->full_name);
    if (name == NULL || name->provider_count == 0) {
        fail_at_once(remote, relation, batch, CODE_UNAVAILABLE, "no client provides it", now_us);
        return;
    }
    struct part *whole = NULL;
    if (outside_open(relation, batch, sizeof(struct job)) < 0 ||
        (whole = arena_zero(&batch->arena, 1, sizeof *whole)) == NULL) {
        fail_at_once(remote, relation, batch, CODE_OVERLOADED, "no memory for a batch", now_us);
        return;
    }
    struct job *job = outside_extra(batch);
    job->remote = remote;
    job->name = name;
    job->relation = relation;
    job->batch = batch;
    job_open(job, whole);
    parts_send(remote, name, batch->depth, now_us);
    remote_settle(remote, now_us);
}

bool remote_cancel(struct remote *remote, struct relation *relation, struct batch *batch)
{
    (void)relation;
    struct job *job = outside_extra(batch);
    CHECK(job->remote == remote && job->batch == batch);
    while (!list_empty(&job->parts)) {
        struct part *part = CONTAINER_OF(job->parts.next, struct part, link);
        struct provider *provider = part->call.provider;
        if (provider != NULL) {
            provider->caller->cancel(provider->caller, &part->call);
            part_take_back(part);
            provider_settle(provider);
        }
        deadlines_remove(&remote->deadlines, &part->deadline);
        list_remove(&part->waiting);
        list_remove(&part->link);
    }
    name_stir(remote, job->name);
    job_leave(job);
    return true;
}

/* ---- Answers ---- */

/* After a call has ended there is room for what waits. */
static void go_on(struct remote *remote, struct remote_name *name, uint32_t depth, uint64_t now_us)
{
    parts_send(remote, name, depth, now_us);
    remote_settle(remote, now_us);
}

void remote_ended(struct remote *remote, struct remote_call *call, const uint8_t *error,
                  size_t error_size, const uint8_t *result, size_t result_size, uint64_t now_us)
{
    struct part *part = part_of(call);
    struct provider *provider = call->provider;
    struct remote_name *name = part->job->name;
    uint32_t depth = part->job->batch->depth;
    CHECK(provider != NULL);
    part_take_back(part);
    if (error != NULL) {
        part_take_error(part, provider, error, error_size);
    } else {
        part_take_answer(part, provider, result, result_size);
    }
    provider_settle(provider);
    go_on(remote, name, depth, now_us);
}

void remote_ended_too_large(struct remote *remote, struct remote_call *call, uint64_t now_us)
{
    struct part *part = part_of(call);
    struct provider *provider = call->provider;
    struct remote_name *name = part->job->name;
    uint32_t depth = part->job->batch->depth;
    CHECK(provider != NULL);
    part_take_back(part);
    part_halve(part, provider, now_us);
    provider_settle(provider);
    go_on(remote, name, depth, now_us);
}

struct batch *remote_batch_at(struct remote *remote, const struct caller *caller, uint64_t number)
{
    LIST_EACH(node, &caller->providers)
    {
        const struct provider *provider = CONTAINER_OF(node, struct provider, of_caller);
        LIST_EACH(out, &provider->calls)
        {
            struct batch *batch = part_of(CONTAINER_OF(out, struct remote_call, link))->job->batch;
            if (batch->number == number) {
                coalescer_keep(remote->coalescer, batch);
                return batch;
            }
        }
    }
    return NULL;
}

void remote_batch_put(struct remote *remote, struct batch *batch)
{
    if (batch != NULL) {
        coalescer_let_go(remote->coalescer, batch);
    }
}

/* ---- Time ---- */

static void expire_late(struct remote *remote, uint64_t now_us)
{
    for (;;) {
        uint64_t at_us = 0;
        struct deadline *deadline = deadlines_first(&remote->deadlines, &at_us);
        if (deadline == NULL || at_us > now_us) {
            return;
        }
        deadlines_remove(&remote->deadlines, deadline);
        part_expire(CONTAINER_OF(deadline, struct part, deadline));
    }
}

static void send_restless(struct remote *remote, uint64_t now_us)
{
    remote->restless = false;
    LIST_EACH(node, &remote->names)
    {
        struct remote_name *name = CONTAINER_OF(node, struct remote_name, link);
        for (uint32_t depth = 0; name->restless && depth < REMOTE_DEPTHS; depth++) {
            parts_send(remote, name, depth, now_us);
        }
        name->restless = false;
    }
}

void remote_expire(struct remote *remote, uint64_t now_us)
{
    expire_late(remote, now_us);
    if (remote->restless) {
        send_restless(remote, now_us);
    }
    remote_settle(remote, now_us);
}

uint64_t remote_next_us(const struct remote *remote)
{
    uint64_t at_us = 0;
    if (remote->restless) {
        return 1; /* at once */
    }
    return deadlines_first(&remote->deadlines, &at_us) != NULL ? at_us : 0;
}

#include <string.h>

#include "layers/load/outside.h"
#include "layers/load/remote_inner.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

static const struct relationship *relationship_of(const struct part *part)
{
    return part->job->relation->relationship;
}

/* ---- The end of a part ---- */

/* The job is ended by remote_settle once its last part is done. */
static void part_done(struct part *part)
{
    struct job *job = part->job;
    CHECK(part->call.provider == NULL);
    deadlines_remove(&job->remote->deadlines, &part->deadline);
    list_remove(&part->waiting);
    list_remove(&part->link);
    if (list_empty(&job->parts)) {
        list_append(&job->remote->finished, &job->link);
    }
}

void part_fail(struct part *part, const struct error *error)
{
    struct job *job = part->job;
    struct error named = *error;
    error_resource(&named, relationship_of(part)->source->name);
    error_relationship(&named, relationship_of(part)->name);
    if (part->count == job->batch->count) {
        job->failed = true;
        job->error = named;
    } else {
        outside_fail(job->relation, job->batch, part->from, part->count, &named);
    }
    part_done(part);
}

static void fail_without_memory(struct part *part)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_OVERLOADED, "%s: no memory for a batch",
              relationship_of(part)->full_name);
    part_fail(part, &error);
}

/* ---- Sending ---- */

void part_take_back(struct part *part)
{
    struct provider *provider = part->call.provider;
    struct job *job = part->job;
    CHECK(provider != NULL && provider->out[job->batch->depth] > 0);
    provider->out[job->batch->depth]--;
    list_remove(&part->call.link);
    part->call.provider = NULL;
    deadlines_remove(&job->remote->deadlines, &part->deadline);
}

/* First in the queue: it has waited already. */
static void wait_first(struct part *part)
{
    struct job *job = part->job;
    struct list *waiting = &job->name->waiting[job->batch->depth];
    list_append(waiting->next, &part->waiting);
}

/* Splits a part behind its first `count` keys; the rest is a part of its own,
 * not waiting yet. NULL where memory lacks. */
static struct part *part_split(struct part *part, size_t count)
{
    struct job *job = part->job;
    CHECK(count > 0 && count < part->count);
    struct part *rest = arena_alloc(&job->batch->arena, sizeof *rest);
    if (rest == NULL) {
        return NULL;
    }
    *rest = (struct part){.job = job,
                          .from = part->from + count,
                          .count = part->count - count,
                          .tried = part->tried,
                          .avoid = part->avoid,
                          .error = part->error};
    list_init(&rest->waiting);
    list_init(&rest->call.link);
    list_append(&job->parts, &rest->link);
    part->count = count;
    return rest;
}

/* [resource, relationship, records, options, context] */
static void write_params(struct part *part)
{
    const struct relationship *relationship = relationship_of(part);
    struct job *job = part->job;
    struct buffer *out = &job->remote->params;
    uint64_t timeout_us = relationship->batch.timeout_us;
    out->size = 0;
    out->failed = false;
    write_array(out, 5);
    write_text(out, relationship->source->name);
    write_text(out, relationship->name);
    outside_sources(job->relation, job->batch, part->from, part->count, out);
    if (relationship->options_size > 0) {
        buffer_append(out, relationship->options, relationship->options_size);
    } else {
        write_map(out, 0);
    }
    outside_context(job->batch, timeout_us > 0 ? (timeout_us + 999) / 1000 : 0, true, out);
}

static int begin_attempt(struct part *part, struct provider *provider, uint64_t now_us)
{
    struct remote *remote = part->job->remote;
    uint64_t timeout_us = relationship_of(part)->batch.timeout_us;
    deadlines_remove(&remote->deadlines, &part->deadline);
    write_params(part);
    if (remote->params.failed) {
        buffer_release(&remote->params);
        return -CODE_OVERLOADED;
    }
    if (timeout_us > 0 &&
        deadlines_add(&remote->deadlines, &part->deadline, now_us + timeout_us) < 0) {
        return -CODE_OVERLOADED;
    }
    int status = provider->caller->call(provider->caller, "load_relationship", remote->params.bytes,
                                        remote->params.size, &part->call);
    if (status < 0) {
        deadlines_remove(&remote->deadlines, &part->deadline);
    }
    return status;
}

/* The part leaves the queue; what is too much for the provider stays in it. */
static void part_send(struct part *part, struct provider *provider, uint64_t now_us)
{
    size_t size_max = provider_size_max(provider, relationship_of(part));
    struct list *behind = part->waiting.next;
    list_remove(&part->waiting);
    if (part->count > size_max) {
        struct part *rest = part_split(part, size_max);
        if (rest == NULL) {
            fail_without_memory(part);
            return;
        }
        list_append(behind, &rest->waiting);
    }
    /* Who was asked last is asked again last. */
    list_remove(&provider->link);
    list_append(&provider->name->providers, &provider->link);
    if (begin_attempt(part, provider, now_us) < 0) {
        fail_without_memory(part);
        return;
    }
    part->call.provider = provider;
    list_append(&provider->calls, &part->call.link);
    provider->out[part->job->batch->depth]++;
}

/* Nobody can be asked: what was tried before tells why. */
static void fail_unasked(struct part *part)
{
    struct error error = ERROR_INIT;
    if (part->error.code != CODE_OK) {
        part_fail(part, &part->error);
        return;
    }
    error_set(&error, CODE_UNAVAILABLE, "%s: no client provides it",
              relationship_of(part)->full_name);
    part_fail(part, &error);
}

void parts_send(struct remote *remote, struct remote_name *name, uint32_t depth, uint64_t now_us)
{
    (void)remote;
    struct list *waiting = &name->waiting[depth];
    struct list *before = waiting;
    while (before->next != waiting) {
        struct part *part = CONTAINER_OF(before->next, struct part, waiting);
        bool any = false;
        struct provider *provider =
            provider_choose(name, relationship_of(part), depth, part->avoid, &any);
        if (provider != NULL) {
            part_send(part, provider, now_us);
        } else if (!any && !part->halved) {
            fail_unasked(part);
        } else {
            before = before->next;
        }
    }
}

/* ---- Answers ---- */

void part_take_answer(struct part *part, const struct provider *provider, const uint8_t *bytes,
                      size_t size)
{
    struct job *job = part->job;
    struct error error = ERROR_INIT;
    struct reader in = reader_of(bytes, size);
    if (outside_take(job->relation, job->batch, part->from, part->count, &in, &error) == 0) {
        part_done(part);
        return;
    }
    char text[PROVIDER_TEXT_MAX];
    provider_describe(provider, text, sizeof text);
    error_prefix(&error, "provider %s: ", text);
    part_fail(part, &error);
}

static bool is_name(const char *name, size_t size, const char *expected)
{
    return name != NULL && size == strlen(expected) && memcmp(name, expected, size) == 0;
}

void part_take_error(struct part *part, const struct provider *provider, const uint8_t *bytes,
                     size_t size)
{
    struct reader in = reader_of(bytes, size);
    struct token whole = reader_next(&in);
    struct token message = whole;
    struct token code = {.kind = TOKEN_NIL};
    for (uint32_t i = 0; whole.kind == TOKEN_MAP && i < whole.count; i++) {
        size_t name_size = 0;
        const char *name = reader_name(&in, &name_size);
        struct reader value = in;
        if (is_name(name, name_size, "message")) {
            message = reader_next(&value);
        } else if (is_name(name, name_size, "code")) {
            code = reader_next(&value);
        }
        reader_skip(&in);
    }
    char text[PROVIDER_TEXT_MAX];
    struct error error = ERROR_INIT;
    provider_describe(provider, text, sizeof text);
    if (message.kind == TOKEN_STRING || message.kind == TOKEN_BINARY) {
        size_t shown = message.size < ERROR_MESSAGE_MAX ? message.size : ERROR_MESSAGE_MAX;
        error_set(&error, CODE_LOADER_FAILED, "%s: provider %s: %.*s",
                  relationship_of(part)->full_name, text, (int)shown, (const char *)message.bytes);
    } else {
        error_set(&error, CODE_LOADER_FAILED,
                  "%s: provider %s: answered an error that has no text, but is %s",
                  relationship_of(part)->full_name, text, token_describe(&whole));
    }
    if (code.kind == TOKEN_STRING && code.size < sizeof error.cause) {
        memcpy(error.cause, code.bytes, code.size);
        error.cause[code.size] = '\0';
    }
    part_fail(part, &error);
}

/* ---- Again ---- */

void part_try_elsewhere(struct part *part, const struct provider *provider, enum code code)
{
    const struct relationship *relationship = relationship_of(part);
    struct error error = ERROR_INIT;
    char text[PROVIDER_TEXT_MAX];
    provider_describe(provider, text, sizeof text);
    if (code == CODE_TIMEOUT) {
        error_set(&error, code, "%s: provider %s did not answer within %llu ms",
                  relationship->full_name, text,
                  (unsigned long long)relationship->batch.timeout_us / 1000);
    } else {
        error_set(&error, code, "%s: provider %s has gone while it worked on the batch",
                  relationship->full_name, text);
    }
    if (part->tried) {
        part_fail(part, &error);
        return;
    }
    part->tried = true;
    part->halved = false;
    part->avoid = provider->caller->id;
    part->error = error;
    wait_first(part);
}

/* A half may wait for a provider as long as an attempt may take: where the
 * connection had to be closed, its client is likely to come back. */
static void half_wait(struct part *part, uint64_t now_us)
{
    struct remote *remote = part->job->remote;
    uint64_t timeout_us = relationship_of(part)->batch.timeout_us;
    part->tried = false;
    part->avoid = 0;
    part->halved = timeout_us > 0 &&
                   deadlines_add(&remote->deadlines, &part->deadline, now_us + timeout_us) == 0;
    wait_first(part);
}

void part_halve(struct part *part, const struct provider *provider, uint64_t now_us)
{
    const struct limits *limits = part->job->remote->limits;
    struct error error = ERROR_INIT;
    char text[PROVIDER_TEXT_MAX];
    provider_describe(provider, text, sizeof text);
    error_set(&error, CODE_TOO_LARGE,
              "%s: provider %s: the answer for %zu source%s is larger than the limit "
              "provider_answer_bytes, %llu",
              relationship_of(part)->full_name, text, part->count, part->count == 1 ? "" : "s",
              (unsigned long long)limits->provider_answer_bytes);
    error_limit(&error, "provider_answer_bytes");
    if (part->count == 1) {
        part_fail(part, &error);
        return;
    }
    part->error = error;
    struct part *rest = part_split(part, part->count / 2);
    if (rest == NULL) {
        fail_without_memory(part);
        return;
    }
    half_wait(rest, now_us);
    half_wait(part, now_us);
}

void part_expire(struct part *part)
{
    struct provider *provider = part->call.provider;
    struct job *job = part->job;
    name_stir(job->remote, job->name);
    if (provider == NULL) {
        part->halved = false; /* it waits no longer than others do */
        return;
    }
    provider->caller->cancel(provider->caller, &part->call);
    part_take_back(part);
    part_try_elsewhere(part, provider, CODE_TIMEOUT);
    provider_settle(provider);
}

#include <assert.h>
#include <stddef.h>

#include "layers/load/load_step.h"
#include "layers/load/outside.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* The happy path is collect -> ask (a part or several) -> on_part for each ->
 * ready. Possible failures are: no memory, and a part that the coalescer refuses
 * (limits); the parts before it are cancelled when the step is released. */

/* Keys of the level that went to the coalescer together. */
struct load_part {
    struct load load; /* first: loads are cast back */
    struct load_step *step;
    struct load_part *next;
    size_t from, to; /* of step->answers: those that are `asked` */
    bool loading;    /* the coalescer has it */
    bool loaded;     /* its answers are held */
};

static int no_memory(struct load_step *step)
{
    return error_set(step->loads->eval->error, CODE_OVERLOADED,
                     "no memory for the loads of this call");
}

/* ---- Keys ---- */

static bool key_of_source(const struct load_step *step, const struct record *record,
                          struct buffer *out)
{
    const struct relationship *relationship = step->relation->relationship;
    return relationship->manual ? key_of_record(relationship->source,
                                                &relationship->source->primary_key, record, out)
                                : search_relationship_key(relationship, record, out);
}

int load_keys_open(struct load_step *step)
{
    struct loads *loads = step->loads;
    struct arena *arena = loads->eval->arena;
    size_t count = step->level->count;
    step->key_of = arena_alloc(arena, count * sizeof *step->key_of);
    step->answers = arena_alloc(arena, count * sizeof *step->answers);
    relation_shown(step->relation, loads->eval, loads->authorize, &step->out->item->query,
                   step->level->made_up ? loads->number : 0, &step->shown);
    bool lacking = count > 0 && (step->key_of == NULL || step->answers == NULL);
    return lacking || step->shown.failed || unique_keys_init(&step->unique, count) < 0
               ? no_memory(step)
               : 0;
}

/* The key of one source, and which key of the step it is. */
static bool collect_one(struct load_step *step, size_t at)
{
    struct buffer *bytes = &step->key_bytes;
    const struct record *record = step->level->records[at];
    size_t start = bytes->size;
    step->key_of[at] = LOAD_NO_KEY;
    if (!key_of_source(step, record, bytes)) {
        return !bytes->failed;
    }
    if (bytes->failed || bytes->size > UINT32_MAX) {
        return false;
    }
    size_t size = bytes->size - start;
    uint32_t count = (uint32_t)step->answer_count;
    step->key_of[at] = unique_keys_add(&step->unique, bytes->bytes, start, size, count);
    if (step->key_of[at] < count) {
        buffer_truncate(bytes, start); /* asked before in this level */
        return true;
    }
    step->answers[step->answer_count++] =
        (struct key_answer){.start = (uint32_t)start, .size = (uint32_t)size, .source = record};
    return true;
}

static int collect(struct load_step *step, uint64_t *budget)
{
    for (; step->collected < step->level->count; step->collected++) {
        if (*budget == 0) {
            return LOAD_KEYS_MORE;
        }
        --*budget;
        if (!collect_one(step, step->collected)) {
            return no_memory(step);
        }
    }
    unique_keys_release(&step->unique);
    return 0;
}

/* ---- The cache ---- */

static void take_cached(struct load_step *step, struct key_answer *answer, bool stale,
                        uint64_t now_us)
{
    answer->cached =
        result_cache_find(step->relation->cache, step->shown.bytes, step->shown.size,
                          step->key_bytes.bytes + answer->start, answer->size, stale, now_us);
    if (answer->cached != NULL) {
        /* The same shape: kept apart, since the cache knows no relations. */
        static_assert(sizeof(struct cached_result) == sizeof(struct related_records),
                      "a cached result is related records");
        answer->records = (const struct related_records *)(const void *)answer->cached;
        answer->error = NULL;
        step->relation->loader.counters.cache_hits++;
    }
}

/* ---- Answers ---- */

/* The loader's answers; a failed one may be served from an older good one, but
 * not for a `fresh` call, which goes past the cache. */
static void take_answers(struct load_part *part)
{
    struct load_step *step = part->step;
    size_t next = 0;
    for (size_t i = part->from; i < part->to; i++) {
        struct key_answer *answer = &step->answers[i];
        if (!answer->asked) {
            continue;
        }
        const struct load_answer *loaded = &part->load.answers[next++];
        answer->records = loaded->value;
        answer->error = loaded->error;
        if (answer->error != NULL && step->relation->cache != NULL && !step->loads->fresh &&
            step->relation->relationship->stale_if_error_us > 0) {
            take_cached(step, answer, true, relations_clock(step->loads->relations->shared));
        }
    }
}

static bool ready_run(struct task *task, uint64_t *budget)
{
    (void)budget;
    struct load_step *step = CONTAINER_OF(task, struct load_step, ready_task);
    step->ready(step);
    return true;
}

static void become_ready(struct load_step *step)
{
    task_init(&step->ready_task, ready_run);
    task_submit(step->loads->relations->shared->tasks, &step->ready_task);
}

static bool all_asked(const struct load_step *step)
{
    return step->collected == step->level->count && step->asked == step->answer_count;
}

static void on_part(struct load *load)
{
    struct load_part *part = (struct load_part *)load;
    struct load_step *step = part->step;
    part->loading = false;
    part->loaded = true;
    take_answers(part);
    if (--step->parts_missing == 0 && all_asked(step) && !step->failed) {
        step->ready(step);
    }
}

const struct related_records *load_keys_answer(const struct load_step *step, size_t at,
                                               const struct error **error)
{
    uint32_t key = step->key_of[at];
    if (key == LOAD_NO_KEY) {
        return NULL;
    }
    *error = step->answers[key].error;
    return *error != NULL ? NULL : step->answers[key].records;
}

/* ---- Asking ---- */

/* Sends the keys of a part. Parts of one load count as one in the counters. */
static int send_part(struct load_part *part, const struct load_key *keys, size_t count,
                     uint64_t now_us)
{
    struct load_step *step = part->step;
    struct loads *loads = step->loads;
    part->load = (struct load){.loader = &step->relation->loader,
                               .origin = loads->origin,
                               .shown = step->shown.bytes,
                               .shown_size = (uint32_t)step->shown.size,
                               .depth = loads->parent != NULL ? loads->parent->depth + 1 : 0,
                               .parent = loads->parent,
                               .fresh = loads->fresh,
                               .deadline_us = loads->deadline_us,
                               .done = on_part};
    int status = coalescer_load(loads->relations->shared->coalescer, &part->load, keys, count,
                                now_us, loads->eval->error);
    if (status == 0) {
        part->loading = true;
        step->parts_missing++;
        step->relation->loader.counters.loads -= part->next != NULL;
    }
    return status;
}

/* What the cache has needs no loader; `fresh` goes past it. The clock is asked:
 * the last turn may have been long ago. */
static size_t gather(struct load_step *step, size_t to, struct load_key *keys)
{
    bool looks =
        step->relation->cache != NULL && !step->loads->fresh && relation_is_current(step->relation);
    uint64_t now_us = looks ? relations_clock(step->loads->relations->shared) : 0;
    bool manual = step->relation->relationship->manual;
    size_t count = 0;
    for (; step->asked < to; step->asked++) {
        struct key_answer *answer = &step->answers[step->asked];
        if (looks) {
            take_cached(step, answer, false, now_us);
        }
        answer->asked = answer->cached == NULL;
        if (answer->asked) {
            keys[count++] = (struct load_key){.bytes = step->key_bytes.bytes + answer->start,
                                              .size = answer->size,
                                              .source = answer->source,
                                              .source_size = manual ? answer->source->size : 0};
        } else {
            /* The coalescer counts what comes to it; these were asked for too. */
            step->relation->loader.counters.keys++;
        }
    }
    return count;
}

static int ask(struct load_step *step, uint64_t *budget, uint64_t now_us)
{
    size_t left = step->answer_count - step->asked;
    size_t most = *budget < left ? (size_t)*budget : left;
    struct load_part *part = arena_zero(step->loads->eval->arena, 1, sizeof *part);
    struct load_key *keys = heap_zero(most + 1, sizeof *keys);
    if (part == NULL || keys == NULL) {
        heap_free(keys);
        return no_memory(step);
    }
    *budget -= most;
    part->step = step;
    part->from = step->asked;
    part->next = step->parts;
    size_t count = gather(step, step->asked + most, keys);
    part->to = step->asked;
    int status = 0;
    if (count > 0) {
        status = send_part(part, keys, count, now_us);
        step->parts = status == 0 ? part : step->parts;
    }
    heap_free(keys);
    return status;
}

int load_keys_run(struct load_step *step, uint64_t *budget, uint64_t now_us)
{
    int status = all_asked(step) ? 0 : collect(step, budget);
    while (status == 0 && step->asked < step->answer_count) {
        status = *budget == 0 ? LOAD_KEYS_MORE : ask(step, budget, now_us);
    }
    step->failed = status < 0;
    if (status == 0 && step->parts == NULL) {
        step->relation->loader.counters.loads++;
    }
    if (status == 0 && step->parts_missing == 0) {
        become_ready(step);
    }
    return status;
}

void load_keys_release(struct load_step *step)
{
    struct coalescer *coalescer = step->loads->relations->shared->coalescer;
    if (step->ready_task.run != NULL) {
        task_withdraw(&step->ready_task);
    }
    for (struct load_part *part = step->parts; part != NULL; part = part->next) {
        if (part->loading) {
            load_cancel(coalescer, &part->load);
        } else if (part->loaded) {
            load_release(coalescer, &part->load);
        }
    }
    for (size_t i = 0; i < step->answer_count; i++) {
        if (step->answers[i].cached != NULL) {
            cached_result_put(step->relation->cache, step->answers[i].cached);
        }
    }
    unique_keys_release(&step->unique);
    buffer_release(&step->shown);
    buffer_release(&step->key_bytes);
}

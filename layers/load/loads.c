#include "layers/load/loads.h"

#include <stddef.h>

#include "layers/load/level.h"
#include "layers/load/load_step.h"
#include "layers/load/outside.h"
#include "layers/load/unique.h"
#include "protocol/base/check.h"

/* The happy path of one item (a relationship of a level) is
 *
 *   step_start -> [keys, sliced] -> on_answers -> [cut, sliced] -> step_finish
 *                                                                   |
 *                    the items of the next level, in the same way <-+
 *
 * and when no step is pending, `done`. Possible failures are: no memory, a load
 * that the coalescer refuses (limits), a cut that fails (filter_steps); each
 * fails the whole. A key that failed fails its source alone: it stands as an
 * error in the level, and rendering decides what that means. */

/* Levels of so many records are asked for at once; larger ones go to the queue. */
enum { KEYS_AT_ONCE = 2000 };

static void step_failed(struct load_step *step);
static int level_start(struct loads *loads, struct level *level, uint64_t now_us);

static int no_memory(struct loads *loads)
{
    return error_set(loads->eval->error, CODE_OVERLOADED, "no memory for the loads of this call");
}

/* ---- The cut: what the daemon applies of the query, for each source ---- */

static uint64_t smaller_limit(const struct relationship *relationship, const struct query *query,
                              bool *has_limit)
{
    uint64_t limit = UINT64_MAX;
    if (relationship->has_limit) {
        limit = relationship->limit;
    }
    if (query->has_limit && query->limit < limit) {
        limit = query->limit;
    }
    if (relationship->to_one && limit > 1) {
        limit = 1;
    }
    *has_limit = limit != UINT64_MAX;
    return limit;
}

/* Filters are and-ed, the caller's sort comes first, then the relationship's;
 * the smaller limit; offsets add up. */
static int make_cut(struct load_step *step)
{
    struct arena *arena = step->loads->eval->arena;
    const struct relationship *relationship = step->relation->relationship;
    const struct query *query = &step->out->item->query;
    struct search_spec *spec = &step->spec;
    *spec = (struct search_spec){.resource = relationship->destination};
    spec->limit = smaller_limit(relationship, query, &spec->has_limit);
    spec->offset = relationship->offset + query->offset < query->offset
                       ? UINT64_MAX
                       : relationship->offset + query->offset;
    if (step->relation->filter_per_source) {
        spec->filters[spec->filter_count++] = relationship->filter;
    }
    if (query->filter != NULL) {
        spec->filters[spec->filter_count++] = query->filter;
    }
    if (query->order != NULL) {
        spec->order = order_merge(arena, query->order, relationship->order);
        if (spec->order == NULL) {
            return -CODE_OVERLOADED;
        }
    } else if (relationship->loader == LOADER_MODULE || relationship->loader == LOADER_REMOTE) {
        spec->order = relationship->order; /* those from records are in it already */
    }
    step->searching_needed = spec->filter_count > 0 || spec->order != NULL;
    if (!step->searching_needed) {
        return 0;
    }
    int status = search_plan(spec, arena);
    step->search = status < 0 ? NULL : search_create(spec, step->loads->eval);
    return step->search == NULL ? -CODE_OVERLOADED : 0;
}

/* Offset and limit alone need no search: a part of the loader's answer. */
static void cut_plainly(const struct load_step *step, const struct related_records *answer,
                        struct loaded *out)
{
    size_t offset = step->spec.offset < answer->count ? (size_t)step->spec.offset : answer->count;
    size_t count = answer->count - offset;
    if (step->spec.has_limit && step->spec.limit < count) {
        count = (size_t)step->spec.limit;
    }
    out->records = answer->records + offset;
    out->count = count;
}

/* Cuts source `at` by a search over the loader's answer. */
static enum run_status cut_by_search(struct load_step *step, const struct related_records *answer,
                                     uint64_t *budget, struct loaded *out)
{
    if (!step->searching) {
        step->source = (struct expr_records){.record = step->level->records[step->at]};
        step->input = (struct search_input){.outer = &step->source,
                                            .list = answer->records,
                                            .list_count = answer->count,
                                            .keep_order = true};
        if (search_start(step->search, &step->input) < 0) {
            return RUN_FAILED;
        }
        step->searching = true;
    }
    enum run_status status = search_run(step->search, budget, &out->records, &out->count);
    step->searching = status == RUN_MORE;
    return status;
}

static int step_finish(struct load_step *step);

static bool cut_run(struct task *task, uint64_t *budget)
{
    struct load_step *step = CONTAINER_OF(task, struct load_step, task);
    step->loads->eval->asker.task = task;
    for (; step->at < step->level->count; step->at++) {
        if (*budget == 0) {
            return false;
        }
        --*budget;
        struct loaded *out = &step->out->results[step->at];
        const struct related_records *answer = load_keys_answer(step, step->at, &out->error);
        if (answer == NULL || answer->count == 0) {
            continue;
        }
        if (!step->searching_needed) {
            cut_plainly(step, answer, out);
            continue;
        }
        enum run_status status = cut_by_search(step, answer, budget, out);
        if (status == RUN_MORE) {
            return false;
        }
        if (status == RUN_FAILED) {
            step_failed(step);
            return true;
        }
    }
    if (step_finish(step) < 0) {
        step_failed(step);
    }
    return true;
}

/* ---- Steps ---- */

static void pending_end(struct loads *loads)
{
    CHECK(loads->pending > 0);
    if (--loads->pending == 0) {
        task_withdraw(&loads->finish);
        task_submit(loads->relations->shared->tasks, &loads->finish);
    }
}

static void step_failed(struct load_step *step)
{
    step->loads->failed = true;
    CHECK(step->loads->eval->error->code != CODE_OK);
    pending_end(step->loads);
}

/* The next level: the union of the related records, each once. */
static int make_next_level(struct load_step *step, struct level *next)
{
    struct arena *arena = step->loads->eval->arena;
    size_t total = 0;
    for (size_t i = 0; i < step->level->count; i++) {
        total += step->out->results[i].count;
    }
    const struct record **records = arena_alloc(arena, total * sizeof *records);
    uint32_t *positions = arena_alloc(arena, total * sizeof *positions);
    struct unique_pointers unique;
    if ((total > 0 && (records == NULL || positions == NULL)) || total >= UINT32_MAX ||
        unique_pointers_init(&unique, total) < 0) {
        return -CODE_OVERLOADED;
    }
    uint32_t count = 0;
    for (size_t i = 0; i < step->level->count; i++) {
        struct loaded *loaded = &step->out->results[i];
        loaded->positions = positions;
        for (size_t j = 0; j < loaded->count; j++) {
            uint32_t position = unique_pointers_add(&unique, loaded->records[j], count);
            if (position == count) {
                records[count++] = loaded->records[j];
            }
            *positions++ = position;
        }
    }
    unique_pointers_release(&unique);
    next->records = records;
    next->count = count;
    next->made_up = step->relation->relationship->loader >= LOADER_MODULE &&
                    !step->relation->relationship->returns_keys;
    next->query = &step->out->item->query;
    return 0;
}

static int step_finish(struct load_step *step)
{
    struct loads *loads = step->loads;
    if (step->out->item->query.loads != NULL) {
        struct level *next = arena_zero(loads->eval->arena, 1, sizeof *next);
        if (next == NULL || make_next_level(step, next) < 0) {
            return no_memory(loads);
        }
        step->out->next = next;
        int status = level_start(loads, next, loads->relations->shared->now_us);
        if (status < 0) {
            return status;
        }
    }
    pending_end(loads);
    return 0;
}

static bool fetched_run(struct task *task, uint64_t *budget)
{
    struct load_step *step = CONTAINER_OF(task, struct load_step, task);
    if (load_fetch_take(step) < 0) {
        step_failed(step);
        return true;
    }
    task->run = cut_run;
    return cut_run(task, budget);
}

static void on_answers(struct load_step *step)
{
    task_init(&step->task, cut_run);
    int status = load_fetch(step);
    if (status < 0) {
        step_failed(step);
        return;
    }
    if (status == LOAD_FETCH_LATER) {
        step->task.run = fetched_run;
    }
    task_requeue(step->loads->relations->shared->tasks, &step->task);
}

static bool keys_run(struct task *task, uint64_t *budget)
{
    struct load_step *step = CONTAINER_OF(task, struct load_step, task);
    int status = load_keys_run(step, budget, step->loads->relations->shared->now_us);
    if (status == LOAD_KEYS_MORE) {
        return false;
    }
    if (status < 0) {
        step_failed(step);
    }
    return true;
}

/* A level of ordinary size is asked for at once. */
static int step_ask(struct load_step *step, uint64_t now_us)
{
    uint64_t budget = (uint64_t)2 * KEYS_AT_ONCE; /* each key is collected, and asked for */
    if (step->level->count <= KEYS_AT_ONCE) {
        return load_keys_run(step, &budget, now_us);
    }
    task_init(&step->task, keys_run);
    task_submit(step->loads->relations->shared->tasks, &step->task);
    return 0;
}

static int step_start(struct loads *loads, struct level *level, struct level_load *out,
                      uint64_t now_us)
{
    struct arena *arena = loads->eval->arena;
    struct load_step *step = arena_zero(arena, 1, sizeof *step);
    if (step == NULL) {
        return no_memory(loads);
    }
    step->loads = loads;
    step->level = level;
    step->out = out;
    step->relation = relations_find(loads->relations, out->item->relationship);
    list_init(&step->link);
    list_append(&loads->items, &step->link);
    task_init(&step->task, cut_run);
    step->ready = on_answers;
    out->results = arena_zero(arena, level->count, sizeof *out->results);
    if ((level->count > 0 && out->results == NULL) || make_cut(step) < 0) {
        return no_memory(loads);
    }
    if (level->count == 0) {
        loads->pending++;
        int status = step_finish(step);
        loads->pending -= status < 0; /* whoever started it has failed, not this one */
        return status;
    }
    int status = load_keys_open(step);
    if (status == 0) {
        status = step_ask(step, now_us);
    }
    CHECK(status <= 0); /* at once, or in the queue */
    loads->pending += status == 0;
    return status;
}

static int level_start(struct loads *loads, struct level *level, uint64_t now_us)
{
    const struct query *query = level->query;
    level->loads = arena_zero(loads->eval->arena, query->load_count, sizeof *level->loads);
    if (level->loads == NULL) {
        return no_memory(loads);
    }
    size_t i = 0;
    for (const struct load_item *item = query->loads; item != NULL; item = item->next, i++) {
        level->loads[i].item = item;
        int status = step_start(loads, level, &level->loads[i], now_us);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static bool finish_run(struct task *task, uint64_t *budget)
{
    (void)budget;
    struct loads *loads = CONTAINER_OF(task, struct loads, finish);
    task_withdraw(task);
    loads->done(loads);
    return true;
}

int loads_start(struct loads *loads, struct level *level, uint64_t now_us)
{
    list_init(&loads->items);
    task_init(&loads->finish, finish_run);
    loads->failed = false;
    loads->pending = 1; /* the start itself, so that it does not finish in mid-way */
    int status = level_start(loads, level, now_us);
    if (status == 0) {
        pending_end(loads);
    }
    return status;
}

static void step_release(struct load_step *step)
{
    list_remove(&step->link);
    task_withdraw(&step->task);
    if (step->search != NULL) {
        search_stop(step->search);
    }
    fetch_end(&step->fetch);
    load_keys_release(step);
}

void loads_release(struct loads *loads)
{
    task_withdraw(&loads->finish);
    while (!list_empty(&loads->items)) {
        step_release(CONTAINER_OF(loads->items.next, struct load_step, link));
    }
}

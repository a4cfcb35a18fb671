#include "layers/load/loads.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "layers/load/level.h"
#include "layers/load/outside.h"
#include "layers/load/unique.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* The happy path of one item (a relationship of a level) is
 *
 *   step_start -> coalescer_load -> on_loaded -> [cut, sliced] -> step_finish
 *                                                                   |
 *                    the items of the next level, in the same way <-+
 *
 * and when no step is pending, `done`. Possible failures are: no memory, a load
 * that the coalescer refuses (limits), a cut that fails (filter_steps); each
 * fails the whole. A key that failed fails its source alone: it stands as an
 * error in the level, and rendering decides what that means. */

struct load_step {
    struct load load; /* first: loads are cast back */
    struct task task; /* the cut */
    struct list link; /* in loads->items */
    struct loads *loads;
    struct relation *relation;
    struct level *level;
    struct level_load *out;
    bool loading;               /* the coalescer has it */
    bool loaded;                /* its answers are held */
    uint32_t *key_of;           /* a source's key, NO_KEY where nothing joins */
    struct key_answer *answers; /* of the keys, each once */
    size_t answer_count;
    struct buffer shown; /* what the loader is shown: with a key, the cache's key */
    struct buffer key_bytes;
    /* The cut: what is applied for each source. */
    bool searching_needed; /* a filter or a sort of the caller's, or per source */
    struct search_spec spec;
    struct search *search;
    struct search_input input;
    struct expr_records source;
    bool searching;
    size_t at; /* the source being cut */
};

/* The answer of one key: the loader's, or a cached one. */
struct key_answer {
    const struct related_records *records;
    const struct error *error;
    const struct cached_result *cached; /* held until loads_release */
    uint32_t start;                     /* of the key in key_bytes */
    uint32_t size;
    const struct record *source;
    bool asked; /* of the loader */
};

enum { NO_KEY = UINT32_MAX };

static void step_failed(struct load_step *step);
static int level_start(struct loads *loads, struct level *level, uint64_t now_us);

static int no_memory(struct loads *loads)
{
    return error_set(loads->eval->error, CODE_OVERLOADED, "no memory for the loads of this call");
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

/* The keys of a level's records, each once; key_of leads from a record to its
 * key. */
static int collect_keys(struct load_step *step)
{
    const struct level *level = step->level;
    struct buffer *bytes = &step->key_bytes;
    struct unique_keys unique;
    if (unique_keys_init(&unique, level->count) < 0) {
        return -CODE_OVERLOADED;
    }
    for (size_t i = 0; i < level->count; i++) {
        size_t start = bytes->size;
        step->key_of[i] = NO_KEY;
        if (!key_of_source(step, level->records[i], bytes)) {
            continue;
        }
        if (bytes->failed || bytes->size > UINT32_MAX) {
            break;
        }
        size_t size = bytes->size - start;
        uint32_t count = (uint32_t)step->answer_count;
        step->key_of[i] = unique_keys_add(&unique, bytes->bytes, start, size, count);
        if (step->key_of[i] < count) {
            buffer_truncate(bytes, start); /* asked before in this level */
            continue;
        }
        step->answers[step->answer_count++] = (struct key_answer){
            .start = (uint32_t)start, .size = (uint32_t)size, .source = level->records[i]};
    }
    unique_keys_release(&unique);
    return bytes->failed || bytes->size > UINT32_MAX ? -CODE_OVERLOADED : 0;
}

static const struct cached_result *find_cached(const struct load_step *step,
                                               const struct key_answer *answer, bool stale,
                                               uint64_t now_us)
{
    return result_cache_find(step->relation->cache, step->shown.bytes, step->shown.size,
                             step->key_bytes.bytes + answer->start, answer->size, stale, now_us);
}

static void take_cached(struct load_step *step, struct key_answer *answer, bool stale,
                        uint64_t now_us)
{
    answer->cached = find_cached(step, answer, stale, now_us);
    if (answer->cached != NULL) {
        /* The same shape: kept apart, since the cache knows no relations. */
        static_assert(sizeof(struct cached_result) == sizeof(struct related_records),
                      "a cached result is related records");
        answer->records = (const struct related_records *)(const void *)answer->cached;
        answer->error = NULL;
        step->relation->loader.counters.cache_hits++;
    }
}

/* What the cache has needs no loader; `fresh` goes past it. The clock is asked:
 * the last turn may have been long ago. */
static size_t ask_cache(struct load_step *step)
{
    bool looks = step->relation->cache != NULL && !step->loads->fresh;
    uint64_t now_us = looks ? relations_clock(step->loads->relations->shared) : 0;
    size_t missing = 0;
    for (size_t i = 0; i < step->answer_count; i++) {
        struct key_answer *answer = &step->answers[i];
        if (looks) {
            take_cached(step, answer, false, now_us);
        }
        answer->asked = answer->cached == NULL;
        missing += answer->asked;
    }
    return missing;
}

/* The loader's answers; a failed one may be served from an older good one, but
 * not for a `fresh` call, which goes past the cache. */
static void take_answers(struct load_step *step)
{
    size_t next = 0;
    for (size_t i = 0; i < step->answer_count; i++) {
        struct key_answer *answer = &step->answers[i];
        if (!answer->asked) {
            continue;
        }
        const struct load_answer *loaded = &step->load.answers[next++];
        answer->records = loaded->value;
        answer->error = loaded->error;
        if (answer->error != NULL && step->relation->cache != NULL && !step->loads->fresh) {
            take_cached(step, answer, true, relations_clock(step->loads->relations->shared));
        }
    }
}

/* Of a loader that answers keys, only the keys are shared, joined and cached: the
 * records are those of this moment. */
static int fetch_records(struct load_step *step)
{
    int status = 0;
    if (!step->relation->relationship->returns_keys) {
        return 0;
    }
    for (size_t i = 0; status == 0 && i < step->answer_count; i++) {
        struct key_answer *answer = &step->answers[i];
        if (answer->records != NULL) {
            status =
                outside_fetch_again(step->relation, step->loads->eval->arena, &answer->records);
        }
    }
    return status < 0 ? no_memory(step->loads) : 0;
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

/* The answer of source `at`, NULL where it has none (or the error is noted). */
static const struct related_records *answer_of(struct load_step *step, size_t at)
{
    uint32_t key = step->key_of[at];
    if (key == NO_KEY) {
        return NULL;
    }
    step->out->results[at].error = step->answers[key].error;
    return step->answers[key].error != NULL ? NULL : step->answers[key].records;
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
    for (; step->at < step->level->count; step->at++) {
        struct loaded *out = &step->out->results[step->at];
        const struct related_records *answer = answer_of(step, step->at);
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

static void on_loaded(struct load *load)
{
    struct load_step *step = (struct load_step *)load;
    step->loading = false;
    step->loaded = true;
    take_answers(step);
    if (fetch_records(step) < 0) {
        step_failed(step);
        return;
    }
    task_submit(step->loads->relations->shared->tasks, &step->task);
}

/* Sends the keys that the cache did not have to the coalescer. */
static int ask_loader(struct load_step *step, size_t missing, uint64_t now_us)
{
    struct loads *loads = step->loads;
    struct load_key *keys = heap_zero(missing, sizeof *keys);
    if (keys == NULL) {
        return no_memory(loads);
    }
    bool manual = step->relation->relationship->manual;
    size_t count = 0;
    for (size_t i = 0; i < step->answer_count; i++) {
        const struct key_answer *answer = &step->answers[i];
        if (answer->asked) {
            keys[count++] = (struct load_key){.bytes = step->key_bytes.bytes + answer->start,
                                              .size = answer->size,
                                              .source = answer->source,
                                              .source_size = manual ? answer->source->size : 0};
        }
    }
    step->load.loader = &step->relation->loader;
    step->load.origin = loads->origin;
    step->load.shown = step->shown.bytes;
    step->load.shown_size = (uint32_t)step->shown.size;
    step->load.fresh = loads->fresh;
    step->load.parent = loads->parent;
    step->load.depth = loads->parent != NULL ? loads->parent->depth + 1 : 0;
    step->load.deadline_us = loads->deadline_us;
    step->load.done = on_loaded;
    int status = coalescer_load(loads->relations->shared->coalescer, &step->load, keys, count,
                                now_us, loads->eval->error);
    step->loading = status == 0;
    if (status == 0) {
        /* The coalescer counts what comes to it; the cache's were asked for too. */
        step->relation->loader.counters.keys += step->answer_count - count;
    }
    heap_free(keys);
    return status;
}

static int step_load(struct load_step *step, uint64_t now_us)
{
    struct loads *loads = step->loads;
    relation_shown(step->relation, loads->eval, loads->authorize, &step->out->item->query,
                   step->level->made_up ? loads->number : 0, &step->shown);
    if (collect_keys(step) < 0 || step->shown.failed) {
        return no_memory(loads);
    }
    size_t missing = ask_cache(step);
    if (missing > 0 || step->relation->cache == NULL) {
        return ask_loader(step, missing, now_us);
    }
    step->relation->loader.counters.loads++;
    step->relation->loader.counters.keys += step->answer_count;
    if (fetch_records(step) < 0) {
        return -CODE_OVERLOADED;
    }
    task_submit(loads->relations->shared->tasks, &step->task);
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
    step->key_of = arena_alloc(arena, level->count * sizeof *step->key_of);
    step->answers = arena_alloc(arena, level->count * sizeof *step->answers);
    out->results = arena_zero(arena, level->count, sizeof *out->results);
    if (level->count > 0 &&
        (step->key_of == NULL || step->answers == NULL || out->results == NULL)) {
        return no_memory(loads);
    }
    if (make_cut(step) < 0) {
        return no_memory(loads);
    }
    if (level->count == 0) {
        loads->pending++;
        return step_finish(step);
    }
    int status = step_load(step, now_us);
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
    struct coalescer *coalescer = step->loads->relations->shared->coalescer;
    list_remove(&step->link);
    task_withdraw(&step->task);
    if (step->search != NULL) {
        search_stop(step->search);
    }
    if (step->loading) {
        load_cancel(coalescer, &step->load);
    } else if (step->loaded) {
        load_release(coalescer, &step->load);
    }
    for (size_t i = 0; i < step->answer_count; i++) {
        if (step->answers[i].cached != NULL) {
            cached_result_put(step->relation->cache, step->answers[i].cached);
        }
    }
    buffer_release(&step->shown);
    buffer_release(&step->key_bytes);
}

void loads_release(struct loads *loads)
{
    task_withdraw(&loads->finish);
    while (!list_empty(&loads->items)) {
        step_release(CONTAINER_OF(loads->items.next, struct load_step, link));
    }
}

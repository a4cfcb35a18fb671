#include "layers/query/search.h"

#include <string.h>

#include "layers/query/pile.h"
#include "layers/query/plan.h"
#include "layers/query/sorter.h"
#include "layers/query/source.h"
#include "protocol/base/check.h"
#include "protocol/base/code.h"

/* The happy path is
 *
 *   WALKING ──end──► SORTING ──► CUTTING ──► IDLE
 *      ▲  │                                   ▲
 *      │  └── came in order: nothing to sort ─┘
 *      └─ ORDERING: what came "in order" is handed to the sorter after all
 *
 * Records go through the filters into `plain` where they come in the order that
 * is wanted (or none is), and into the sorter else. Each state may stop with
 * RUN_MORE and goes on where it was. A range that was left alone gives records
 * that were replaced meanwhile at its end, so its order cannot be relied on any
 * more, nor can it be cut short: ORDERING. Possible failures are filter_steps
 * and memory; they end the search. */

enum {
    CONVERT_SLICE = 2, /* records handed to the sorter for one of the budget */
    CUT_SLICE = 8      /* results put in place for one of the budget */
};

enum search_phase { SEARCH_IDLE, SEARCH_ORDERING, SEARCH_WALKING, SEARCH_SORTING, SEARCH_CUTTING };

struct search {
    const struct search_spec *spec;
    struct eval *eval;
    struct search_input input;
    enum search_phase phase;
    struct source source;
    /* The record under examination, and how far. */
    const struct record *current;
    struct expr_records records;
    unsigned stage; /* filters, then paths of the order */
    bool running;   /* the run of that stage is stopped in the midst */
    struct expr_run *runs[SEARCH_FILTERS_MAX];
    bool simple[SEARCH_FILTERS_MAX];
    unsigned covered; /* filters that the way to the records makes true, by bit */
    struct expr_run **path_runs;
    struct value *path_values;
    /* What passed. */
    uint64_t need;     /* results wanted with those skipped; UINT64_MAX for all */
    bool ordered;      /* into the sorter, not into `plain` */
    bool in_doubt;     /* a range was left alone */
    struct pile plain; /* of pointers to records */
    struct sorter sorter;
    size_t at; /* of ORDERING and CUTTING */
    const struct record **results;
    size_t result_count;
    const struct record **transient; /* results of earlier searches, to be overwritten */
    size_t transient_capacity;
    uint64_t counted;
};

/* ---- Room ---- */

static int create_runs(struct search *search)
{
    struct eval *eval = search->eval;
    const struct plan *plan = search->spec->plan;
    for (unsigned i = 0; i < search->spec->filter_count; i++) {
        const struct expr *filter = search->spec->filters[i];
        search->simple[i] = expr_is_simple(filter);
        search->runs[i] = expr_run_create(eval->arena, filter, eval);
        if (search->runs[i] == NULL) {
            return -CODE_OVERLOADED;
        }
    }
    if (plan->path_count == 0) {
        return 0;
    }
    search->path_runs = arena_zero(eval->arena, plan->path_count, sizeof(void *));
    search->path_values = arena_zero(eval->arena, plan->path_count, sizeof(*search->path_values));
    unsigned path = 0;
    for (unsigned i = 0; search->path_values != NULL && i < plan->key_count; i++) {
        if (plan->keys[i].path == NULL) {
            continue;
        }
        search->path_runs[path] = expr_run_create(eval->arena, plan->keys[i].path, eval);
        if (search->path_runs[path++] == NULL) {
            return -CODE_OVERLOADED;
        }
    }
    return search->path_values != NULL ? 0 : -CODE_OVERLOADED;
}

struct search *search_create(const struct search_spec *spec, struct eval *eval)
{
    CHECK(spec->plan != NULL);
    struct search *search = arena_zero(eval->arena, 1, sizeof(*search));
    if (search == NULL) {
        return NULL;
    }
    search->spec = spec;
    search->eval = eval;
    pile_init(&search->plain, sizeof(void *), eval->arena);
    sorter_init(&search->sorter, spec->resource, spec->plan->keys, spec->plan->key_count,
                eval->arena);
    if (source_init(&search->source, spec, eval) != 0 || create_runs(search) != 0) {
        return NULL;
    }
    return search;
}

/* ---- Beginning and ending ---- */

static bool comes_in_order(const struct search *search)
{
    const struct source *source = &search->source;
    if (search->spec->unordered || source->kind == SOURCE_NOTHING) {
        return true;
    }
    if (source->kind == SOURCE_LIST) {
        return search->input.keep_order && search->spec->order == NULL;
    }
    return source->kind == SOURCE_WALK && access_fully_ordered(source->access, search->spec->plan);
}

/* A list's order decides between equals, which a heap would not keep. */
static size_t heap_size(const struct search *search)
{
    bool heap = search->need <= SORTER_MOST_MAX && search->source.kind != SOURCE_LIST;
    return heap ? (size_t)search->need : 0;
}

int search_start(struct search *search, const struct search_input *input)
{
    const struct search_spec *spec = search->spec;
    search_stop(search);
    search->input = *input;
    search->records.outer = input->outer;
    search->current = NULL;
    search->plain.count = 0;
    search->counted = 0;
    search->in_doubt = false;
    search->need = UINT64_MAX;
    if (spec->has_limit && __builtin_add_overflow(spec->limit, spec->offset, &search->need)) {
        search->need = UINT64_MAX;
    }
    int code = source_start(&search->source, &search->input);
    if (code != 0) {
        return code;
    }
    search->covered = search->source.kind == SOURCE_WALK ? search->source.access->covered : 0;
    search->ordered = !comes_in_order(search);
    if (search->ordered) {
        sorter_start(&search->sorter, heap_size(search));
    }
    search->phase = SEARCH_WALKING;
    return 0;
}

static struct expr_run *stage_run(const struct search *search)
{
    unsigned filters = search->spec->filter_count;
    return search->stage < filters ? search->runs[search->stage]
                                   : search->path_runs[search->stage - filters];
}

void search_stop(struct search *search)
{
    if (search->phase == SEARCH_IDLE) {
        return;
    }
    if (search->running) {
        expr_run_stop(stage_run(search));
        search->running = false;
    }
    source_stop(&search->source);
    search->phase = SEARCH_IDLE;
}

/* ---- Judging one record ---- */

/* Goes on with the run of this stage. */
static enum run_status run_stage(struct search *search, uint64_t *budget, struct value *out)
{
    struct expr_run *run = stage_run(search);
    if (!search->running) {
        expr_run_start(run, &search->records);
        search->running = true;
    }
    enum run_status status = expr_run_go(run, budget, out);
    if (status == RUN_DONE) {
        search->running = false;
    }
    return status;
}

static enum run_status pass_filters(struct search *search, uint64_t *budget, bool *kept)
{
    *kept = true;
    for (; *kept && search->stage < search->spec->filter_count; search->stage++) {
        unsigned i = search->stage;
        if (search->covered & 1u << i) {
            continue;
        }
        if (search->simple[i]) {
            *kept = expr_test_simple(search->spec->filters[i], search->runs[i], &search->records);
            continue;
        }
        struct value value;
        enum run_status status = run_stage(search, budget, &value);
        if (status != RUN_DONE) {
            return status;
        }
        *kept = value.kind == VALUE_BOOLEAN && value.boolean;
    }
    return RUN_DONE;
}

static enum run_status take_paths(struct search *search, uint64_t *budget)
{
    unsigned filters = search->spec->filter_count;
    for (; search->stage < filters + search->spec->plan->path_count; search->stage++) {
        enum run_status status =
            run_stage(search, budget, &search->path_values[search->stage - filters]);
        if (status != RUN_DONE) {
            return status;
        }
    }
    return RUN_DONE;
}

static enum run_status take_record(struct search *search, uint64_t *budget)
{
    if (*budget == 0) {
        return RUN_MORE;
    }
    enum run_status status = source_next(&search->source, budget, &search->current);
    if (status != RUN_DONE || search->current == NULL) {
        return status;
    }
    if (!source_visit(&search->source)) {
        return RUN_FAILED;
    }
    *budget -= *budget > 0;
    search->records.record = search->current;
    search->records.asked_ahead = search->source.asked_ahead;
    search->stage = 0;
    return RUN_DONE;
}

/* Whether a record has the search's key, where its way does not see to that. */
static bool joins(const struct search *search, const struct record *record)
{
    const struct search_spec *spec = search->spec;
    switch (search->source.kind) {
    case SOURCE_WALK:
        return walk_joins(&search->source.walk, record);
    case SOURCE_FETCH:
        return spec->join == NULL || spec->through != NULL ||
               key_matches(spec->resource, spec->join, record, search->input.key,
                           search->input.key_size);
    case SOURCE_NOTHING:
    case SOURCE_LIST:
    case SOURCE_THROUGH:
        break;
    }
    return true;
}

/* The next record that passes; NULL at the end. */
static enum run_status next_kept(struct search *search, uint64_t *budget, bool with_paths,
                                 const struct record **record)
{
    for (;;) {
        enum run_status status = RUN_DONE;
        bool kept = true;
        if (search->current == NULL) {
            status = take_record(search, budget);
            if (status != RUN_DONE || search->current == NULL) {
                *record = NULL;
                return status;
            }
            kept = joins(search, search->current);
        }
        if (kept) {
            status = pass_filters(search, budget, &kept);
        }
        if (kept && status == RUN_DONE && with_paths) {
            status = take_paths(search, budget);
        }
        if (status != RUN_DONE) {
            return status;
        }
        *record = search->current;
        search->current = NULL;
        if (kept) {
            return RUN_DONE;
        }
    }
}

/* ---- Keeping ---- */

static int keep_plain(struct search *search, const struct record *record)
{
    const struct record **place = pile_push(&search->plain);
    if (place == NULL) {
        return source_lacks_memory(&search->source);
    }
    *place = record;
    return 0;
}

static const struct record *plain_at(const struct search *search, size_t at)
{
    const struct record *const *place = pile_at(&search->plain, at);
    return *place;
}

/* Where records come in the order of the leading keys, one that is behind the
 * last that is kept by those alone has only such behind it. */
static bool nothing_better(const struct search *search, const struct record *record)
{
    const struct source *source = &search->source;
    return source->kind == SOURCE_WALK && source->access->ordered > 0 && !search->in_doubt &&
           sorter_beyond(&search->sorter, record, source->access->ordered);
}

/* *full is set where no further record can matter. */
static int keep(struct search *search, const struct record *record, bool *full)
{
    if (!search->ordered) {
        int code = keep_plain(search, record);
        *full = search->plain.count >= search->need;
        return code;
    }
    int code = sorter_add(&search->sorter, record, search->path_values);
    if (code < 0) {
        return source_lacks_memory(&search->source);
    }
    *full = code == SORTER_REJECTED && nothing_better(search, record);
    return 0;
}

static enum run_status walk(struct search *search, uint64_t *budget)
{
    bool full = false;
    while (!full) {
        const struct record *record;
        enum run_status status = next_kept(search, budget, true, &record);
        if (status != RUN_DONE) {
            return status;
        }
        if (record == NULL) {
            break;
        }
        if (keep(search, record, &full) != 0) {
            return RUN_FAILED;
        }
    }
    source_stop(&search->source);
    search->at = 0;
    search->results = NULL;
    search->phase = SEARCH_SORTING;
    return RUN_DONE;
}

/* A cursor is left alone. */
static void doubt(struct search *search)
{
    const struct source *source = &search->source;
    if (source->kind != SOURCE_WALK || source->access->kind != ACCESS_RANGES) {
        return;
    }
    search->in_doubt = true;
    if (!search->ordered && !search->spec->unordered) {
        search->ordered = true;
        search->at = 0;
        search->phase = SEARCH_ORDERING;
        sorter_start(&search->sorter, heap_size(search));
    }
}

static enum run_status order_plain(struct search *search, uint64_t *budget)
{
    while (search->at < search->plain.count) {
        if (*budget == 0) {
            return RUN_MORE;
        }
        --*budget;
        for (unsigned i = 0; i < CONVERT_SLICE && search->at < search->plain.count; i++) {
            if (sorter_add(&search->sorter, plain_at(search, search->at++), NULL) < 0) {
                source_lacks_memory(&search->source);
                return RUN_FAILED;
            }
        }
    }
    search->plain.count = 0;
    search->phase = SEARCH_WALKING;
    return RUN_DONE;
}

/* ---- Cutting ---- */

static size_t cut_count(const struct search *search, size_t found)
{
    const struct search_spec *spec = search->spec;
    size_t count = found > spec->offset ? found - (size_t)spec->offset : 0;
    return spec->has_limit && count > spec->limit ? (size_t)spec->limit : count;
}

/* A place for the results; NULL where the arena lacks memory. */
static const struct record **take_results(struct search *search)
{
    size_t count = search->result_count;
    bool transient = search->input.transient;
    if (transient && count <= search->transient_capacity) {
        return search->transient;
    }
    size_t capacity = transient ? count * 2 : count;
    const struct record **results = arena_alloc(search->eval->arena, capacity * sizeof(void *));
    if (transient && results != NULL) {
        search->transient = results;
        search->transient_capacity = capacity;
    }
    return results;
}

static enum run_status sort(struct search *search, uint64_t *budget)
{
    enum run_status status = RUN_DONE;
    size_t found = search->plain.count;
    if (search->ordered) {
        found = search->sorter.items.count;
        status = sorter_sort(&search->sorter, budget);
    }
    search->result_count = cut_count(search, found);
    if (status == RUN_DONE && search->result_count > 0) {
        search->results = take_results(search);
        status = search->results != NULL ? RUN_DONE : RUN_FAILED;
    }
    if (status == RUN_FAILED) {
        source_lacks_memory(&search->source);
    } else if (status == RUN_DONE) {
        search->phase = SEARCH_CUTTING;
    }
    return status;
}

static enum run_status cut(struct search *search, uint64_t *budget)
{
    while (search->at < search->result_count) {
        size_t end = search->result_count;
        if (end - search->at > CUT_SLICE) {
            if (*budget == 0) {
                return RUN_MORE;
            }
            --*budget;
            end = search->at + CUT_SLICE;
        }
        for (; search->at < end; search->at++) {
            size_t at = (size_t)search->spec->offset + search->at;
            search->results[search->at] =
                search->ordered ? sorter_at(&search->sorter, at) : plain_at(search, at);
        }
    }
    search->phase = SEARCH_IDLE;
    return RUN_DONE;
}

static enum run_status go_on(struct search *search, uint64_t *budget)
{
    enum run_status status = RUN_DONE;
    while (status == RUN_DONE && search->phase != SEARCH_IDLE) {
        switch (search->phase) {
        case SEARCH_ORDERING:
            status = order_plain(search, budget);
            break;
        case SEARCH_WALKING:
            status = walk(search, budget);
            break;
        case SEARCH_SORTING:
            status = sort(search, budget);
            break;
        case SEARCH_CUTTING:
            status = cut(search, budget);
            break;
        case SEARCH_IDLE:
            break;
        }
    }
    return status;
}

/* ---- The face ---- */

/* What each way of going on does where it does not end. */
static enum run_status stopped(struct search *search, enum run_status status)
{
    if (status == RUN_FAILED) {
        search_stop(search);
    } else if (status == RUN_MORE && search->phase == SEARCH_WALKING) {
        doubt(search);
    }
    return status;
}

enum run_status search_run(struct search *search, uint64_t *budget,
                           const struct record *const **records, size_t *count)
{
    *records = NULL;
    *count = 0;
    if (search->spec->has_limit && search->spec->limit == 0) {
        search_stop(search);
        return RUN_DONE;
    }
    enum run_status status = go_on(search, budget);
    if (status != RUN_DONE) {
        return stopped(search, status);
    }
    *records = search->results;
    *count = search->result_count;
    return RUN_DONE;
}

enum run_status search_count(struct search *search, uint64_t *budget, uint64_t *count)
{
    const struct search_spec *spec = search->spec;
    *count = 0;
    if (spec->filter_count == 0 && spec->join == NULL && search->source.kind == SOURCE_WALK) {
        *count = search->source.walk.store->counters.records;
        search_stop(search);
        return RUN_DONE;
    }
    for (;;) {
        const struct record *record;
        enum run_status status = next_kept(search, budget, false, &record);
        if (status == RUN_FAILED) {
            search_stop(search);
        }
        if (status != RUN_DONE) {
            return status;
        }
        if (record == NULL) {
            break;
        }
        search->counted++;
    }
    *count = search->counted;
    search_stop(search);
    return RUN_DONE;
}

enum run_status search_next(struct search *search, uint64_t *budget, const struct record **record)
{
    enum run_status status = next_kept(search, budget, false, record);
    if (status == RUN_FAILED || (status == RUN_DONE && *record == NULL)) {
        search_stop(search);
    }
    return status;
}

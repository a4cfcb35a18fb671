#include "layers/load/load_step.h"
#include "layers/load/outside.h"
#include "protocol/base/check.h"

/* The happy path is load_fetch, where the records are here; else load_fetch ->
 * (the step's task waits) -> load_fetch_take. Possible failures are no memory, and
 * what the records' home answers. */

static int no_memory(struct load_step *step)
{
    return error_set(step->loads->eval->error, CODE_OVERLOADED,
                     "no memory for the loads of this call");
}

static int fetch_here(struct load_step *step)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < step->answer_count; i++) {
        struct key_answer *answer = &step->answers[i];
        if (answer->records != NULL) {
            status =
                outside_fetch_again(step->relation, step->loads->eval->arena, &answer->records);
        }
    }
    return status < 0 ? no_memory(step) : 0;
}

/* The primary keys of all that was answered, in its order. */
static int take_keys(struct load_step *step, struct store_key **out, size_t *count)
{
    struct arena *arena = step->loads->eval->arena;
    const struct resource *resource = step->relation->relationship->destination;
    struct buffer bytes = BUFFER_INIT;
    size_t total = 0;
    for (size_t i = 0; i < step->answer_count; i++) {
        total += step->answers[i].records != NULL ? step->answers[i].records->count : 0;
    }
    struct store_key *keys = arena_alloc(arena, (total + 1) * sizeof *keys);
    *out = keys;
    *count = 0;
    for (size_t i = 0; keys != NULL && i < step->answer_count; i++) {
        const struct related_records *records = step->answers[i].records;
        for (size_t j = 0; records != NULL && j < records->count; j++) {
            bytes.size = 0;
            CHECK(key_of_record(resource, &resource->primary_key, records->records[j], &bytes));
            keys[*count].size = bytes.size;
            keys[(*count)++].bytes = arena_copy(arena, bytes.bytes, bytes.size);
        }
    }
    bool lacks = bytes.failed || arena->failed || keys == NULL;
    buffer_release(&bytes);
    return lacks ? no_memory(step) : 0;
}

int load_fetch(struct load_step *step)
{
    struct eval *eval = step->loads->eval;
    const struct relationship *relationship = step->relation->relationship;
    struct store *store = step->loads->relations->stores[relationship->destination->position];
    if (!relationship->returns_keys) {
        return 0;
    }
    int status = store_ready(store, eval->error);
    if (status < 0 || !store->remote) {
        return status < 0 ? status : fetch_here(step);
    }
    struct store_key *keys;
    size_t count;
    status = take_keys(step, &keys, &count);
    if (status < 0) {
        return status;
    }
    eval->asker.task = &step->task;
    step->fetch = (struct fetch){
        .store = store, .asker = eval->asker, .kind = FETCH_KEYS, .keys = keys, .asked = count};
    status = fetch_start(&step->fetch, eval->error);
    if (status < 0) {
        return status;
    }
    return step->fetch.done ? load_fetch_take(step) : LOAD_FETCH_LATER;
}

/* The records of one answer; one that failed fails its source. */
static int take_answer(struct load_step *step, struct key_answer *answer, size_t from)
{
    struct arena *arena = step->loads->eval->arena;
    const struct fetch *fetch = &step->fetch;
    size_t count = answer->records->count;
    struct related_records *now = arena_zero(arena, 1, sizeof *now);
    const struct record **records = arena_alloc(arena, (count + 1) * sizeof *records);
    if (now == NULL || records == NULL) {
        return no_memory(step);
    }
    for (size_t i = from; i < from + count; i++) {
        if (fetch->errors != NULL && fetch->errors[i] != NULL) {
            answer->error = fetch->errors[i];
        }
        if (fetch->records[i] != NULL) {
            records[now->count++] = fetch->records[i];
        }
    }
    now->records = records;
    answer->records = now;
    return 0;
}

int load_fetch_take(struct load_step *step)
{
    const struct fetch *fetch = &step->fetch;
    size_t from = 0;
    if (fetch->error.code != CODE_OK) {
        *step->loads->eval->error = fetch->error;
        return -(int)fetch->error.code;
    }
    for (size_t i = 0; i < step->answer_count; i++) {
        struct key_answer *answer = &step->answers[i];
        size_t count = answer->records != NULL ? answer->records->count : 0;
        if (count > 0 && take_answer(step, answer, from) < 0) {
            return -CODE_OVERLOADED;
        }
        from += count;
    }
    return 0;
}

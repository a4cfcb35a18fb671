/* A module that does what its option `do` says, good or bad. Where nothing else
 * is said, each source with the primary key n gets tickets n*10+1, n*10+2 and
 * n*10+3 of priorities 1, 2 and 3. */
#include <relata_module.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICKETS = 3, WORD_MAX = 32 };

struct state {
    const struct relata_host *host;
    char word[WORD_MAX];
    unsigned parts;
    uint64_t timer;
    pthread_t thread;
    int has_thread;
    int code;       /* what a function answered on another thread */
    uint64_t batch; /* the last one */
    size_t count;
};

static int is(const struct state *state, const char *word)
{
    return strcmp(state->word, word) == 0;
}

static int64_t id_of(const struct state *state, uint64_t batch, size_t source)
{
    struct relata_item id;
    state->host->source_field(state->host, batch, source, "id", &id);
    return id.integer;
}

static void write_ticket(const struct state *state, int64_t id, int64_t priority,
                         struct relata_bytes *out)
{
    const struct relata_host *host = state->host;
    host->write_map(out, 2);
    host->write_text(out, "id", SIZE_MAX);
    host->write_integer(out, id);
    host->write_text(out, "priority", SIZE_MAX);
    if (is(state, "wrong_type") && id / 10 == 2) {
        host->write_text(out, "high", SIZE_MAX);
    } else {
        host->write_integer(out, priority);
    }
}

static void write_source(const struct state *state, uint64_t batch, size_t source,
                         struct relata_bytes *out)
{
    int64_t id = id_of(state, batch, source);
    if (is(state, "error_in_list") && id == 2) {
        state->host->write_error(out, "no_luck", "this one went wrong");
        return;
    }
    state->host->write_array(out, TICKETS);
    for (int64_t i = 1; i <= TICKETS; i++) {
        if (is(state, "keys")) {
            state->host->write_integer(out, id * 10 + i);
        } else {
            write_ticket(state, id * 10 + i, i, out);
        }
    }
}

static int answer_list(const struct state *state, uint64_t batch, size_t count)
{
    struct relata_bytes list = {0};
    state->host->write_array(&list, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        write_source(state, batch, i, &list);
    }
    int code = state->host->answer(state->host, batch, list.bytes, list.size);
    state->host->release(&list);
    return code;
}

/* The key as a text, one that nobody asked for, and the last source left out. */
static void answer_map(const struct state *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = state->host;
    struct relata_bytes map = {0};
    host->write_map(&map, (uint32_t)count);
    for (size_t i = 0; i + 1 < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%lld", (long long)id_of(state, batch, i));
        host->write_text(&map, key, SIZE_MAX);
        write_source(state, batch, i, &map);
    }
    host->write_integer(&map, 987654);
    host->write_text(&map, "nobody looks at this", SIZE_MAX);
    host->answer(host, batch, map.bytes, map.size);
    host->release(&map);
}

static void answer_singly(const struct state *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = state->host;
    struct relata_bytes one = {0};
    for (size_t i = count; i > 0; i--) {
        host->clear(&one);
        write_source(state, batch, i - 1, &one);
        if (is(state, "error_one") && id_of(state, batch, i - 1) == 2) {
            host->fail_one(host, batch, i - 1, "no_luck", "this one went wrong");
            continue;
        }
        host->answer_one(host, batch, i - 1, one.bytes, one.size);
        if (is(state, "one_twice")) {
            host->answer_one(host, batch, i - 1, one.bytes, one.size);
        }
        if (is(state, "mixed")) {
            answer_list(state, batch, count);
            break;
        }
    }
    host->answer_one(host, batch, count, one.bytes, one.size);
    host->release(&one);
}

/* ---- Later ---- */

static void answer_late(void *data)
{
    const struct state *state = data;
    answer_list(state, state->batch, state->count);
}

static void say_never(void *data)
{
    const struct state *state = data;
    state->host->log(state->host, RELATA_LOG_ERROR, "what was forgotten is called");
}

static void *run_thread(void *data)
{
    struct state *state = data;
    struct relata_item list;
    state->code = state->host->answer(state->host, state->batch, "\x90", 1);
    state->code += 100 * state->host->sources(state->host, state->batch, &list);
    state->host->post(state->host, answer_late, state);
    return NULL;
}

static void join(struct state *state)
{
    if (state->has_thread) {
        pthread_join(state->thread, NULL);
        state->has_thread = 0;
    }
}

static void start_thread(struct state *state)
{
    join(state);
    state->has_thread = pthread_create(&state->thread, NULL, run_thread, state) == 0;
}

/* ---- Showing what is told: a ticket whose `seen` has it ---- */

static void open_seen(const struct state *state, int64_t id, struct relata_bytes *out)
{
    state->host->write_map(out, 2);
    state->host->write_text(out, "id", SIZE_MAX);
    state->host->write_integer(out, id);
    state->host->write_text(out, "seen", SIZE_MAX);
}

static void show(const struct state *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = state->host;
    struct relata_bytes list = {0};
    struct relata_item item;
    host->write_array(&list, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        open_seen(state, (int64_t)i + 1, &list);
        if (is(state, "show_query")) {
            host->query(host, batch, state->parts, &list);
        } else if (is(state, "show_sources")) {
            host->sources(host, batch, &item);
            host->write_raw(&list, item.raw, item.raw_size);
        } else if (is(state, "show_position")) {
            host->write_integer(&list, host->field_position(host, "threshold"));
        } else {
            host->context(host, batch, &item);
            struct relata_item actor;
            host->get(host, &item, "actor", &actor);
            host->write_array(&list, 2);
            host->write_raw(&list, actor.kind == RELATA_ITEM_NIL ? (const void *)"\xc0" : actor.raw,
                            actor.kind == RELATA_ITEM_NIL ? 1 : actor.raw_size);
            int64_t left = host->time_left_ms(host, batch);
            host->write_boolean(&list, left > 0 && left <= 5000);
        }
    }
    host->answer(host, batch, list.bytes, list.size);
    host->release(&list);
}

/* ---- Reading and applying ---- */

static void write_bad(const struct state *state, struct relata_bytes *out)
{
    const struct relata_host *host = state->host;
    host->write_map(out, 1);
    host->write_text(out, "filter", SIZE_MAX);
    host->write_text(out, "prioritty > 1", SIZE_MAX);
}

static void apply_each(const struct state *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = state->host;
    struct relata_bytes query = {0};
    struct relata_bytes records = {0};
    struct relata_bytes kept = {0};
    if (is(state, "apply_wrong")) {
        write_bad(state, &query);
    } else {
        host->query(host, batch, state->parts, &query);
    }
    for (size_t i = 0; i < count; i++) {
        host->clear(&records);
        host->clear(&kept);
        write_source(state, batch, i, &records);
        if (host->apply(host, batch, NULL, &query, &records, &kept) == RELATA_MODULE_OK) {
            host->answer_one(host, batch, i, kept.bytes, kept.size);
        } else {
            host->fail_one(host, batch, i, "cannot_apply", host->problem(host));
        }
    }
    host->release(&query);
    host->release(&records);
    host->release(&kept);
}

/* One read of many: the last one to come back answers. */
static void on_read(void *data, uint64_t batch, const struct relata_result *result)
{
    const struct state *state = data;
    const struct relata_host *host = state->host;
    if (result->code != NULL) {
        char text[512];
        snprintf(text, sizeof text, "%s: %s", result->code, result->message);
        host->fail(host, batch, text);
        return;
    }
    struct relata_bytes list = {0};
    host->write_array(&list, (uint32_t)state->count);
    for (size_t i = 0; i < state->count; i++) {
        open_seen(state, (int64_t)i + 1, &list);
        host->write_raw(&list, result->value.raw, result->value.raw_size);
    }
    host->answer(host, batch, list.bytes, list.size);
    host->release(&list);
}

/* The option `read` is the parameters, `method` how. */
static struct relata_bytes read_method;
static struct relata_bytes read_params;

static void read_through(struct state *state, uint64_t batch)
{
    const struct relata_host *host = state->host;
    char method[WORD_MAX];
    snprintf(method, sizeof method, "%.*s", (int)read_method.size, (const char *)read_method.bytes);
    unsigned times = is(state, "read_many") ? 1001 : 1;
    for (unsigned i = 0; i < times; i++) {
        if (host->read(host, batch, method, read_params.bytes, read_params.size, on_read, state) !=
            RELATA_MODULE_OK) {
            host->fail(host, batch, host->problem(host));
            return;
        }
    }
    if (is(state, "read_and_answer")) {
        answer_list(state, batch, state->count);
    }
}

static void hold(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t until = now.tv_sec * 1000 + now.tv_nsec / 1000000 + 15;
    while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < until) {
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
}

/* ---- The module ---- */

static void misbehave(struct state *state, uint64_t batch, size_t count)
{
    const struct relata_host *host = state->host;
    if (is(state, "twice")) {
        answer_list(state, batch, count);
        answer_list(state, batch, count);
        host->after(host, 1, answer_late, state);
    } else if (is(state, "short")) {
        answer_list(state, batch, count - 1);
    } else if (is(state, "text")) {
        host->answer(host, batch, "\xa5hello", 6);
    } else if (is(state, "junk")) {
        host->answer(host, batch, "\x92\x01", 2);
    } else if (is(state, "fail")) {
        host->fail(host, batch, "the telescope is cloudy");
    } else if (is(state, "slow")) {
        hold();
        answer_list(state, batch, count);
    }
}

static void load(void *data, uint64_t batch, size_t count)
{
    struct state *state = data;
    const struct relata_host *host = state->host;
    state->batch = batch;
    state->count = count;
    if (is(state, "map")) {
        answer_map(state, batch, count);
    } else if (is(state, "one") || is(state, "one_twice") || is(state, "mixed") ||
               is(state, "error_one")) {
        answer_singly(state, batch, count);
    } else if (is(state, "later")) {
        host->after(host, 2, answer_late, state);
        host->forget(host, host->after(host, 1, say_never, state));
    } else if (is(state, "thread")) {
        start_thread(state);
    } else if (strncmp(state->word, "show", 4) == 0) {
        show(state, batch, count);
    } else if (strncmp(state->word, "apply", 5) == 0) {
        apply_each(state, batch, count);
    } else if (strncmp(state->word, "read", 4) == 0) {
        read_through(state, batch);
    } else if (is(state, "list") || is(state, "keys") || is(state, "wrong_type") ||
               is(state, "error_in_list")) {
        answer_list(state, batch, count);
    } else if (is(state, "never") || is(state, "after_cancel")) {
        host->set_data(host, batch, state);
    } else {
        misbehave(state, batch, count);
    }
}

static void cancel(void *data, uint64_t batch, void *of_batch)
{
    const struct state *state = data;
    char text[80];
    snprintf(text, sizeof text, "cancel has %s", of_batch == data ? "its data" : "no data");
    state->host->log(state->host, RELATA_LOG_INFO, text);
    if (is(state, "after_cancel")) {
        answer_list(state, batch, 1);
    }
}

static int open(const struct relata_host *host, const struct relata_opening *opening, void **data)
{
    struct relata_item item;
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL) {
        return -1;
    }
    state->host = host;
    if (host->get(host, &opening->options, "do", &item) == RELATA_MODULE_OK) {
        snprintf(state->word, sizeof state->word, "%.*s", (int)item.size, (const char *)item.bytes);
    }
    host->get(host, &opening->options, "parts", &item);
    state->parts = item.kind == RELATA_ITEM_INTEGER ? (unsigned)item.integer : RELATA_QUERY_ALL;
    if (host->get(host, &opening->options, "read", &item) == RELATA_MODULE_OK) {
        host->write_raw(&read_params, item.raw, item.raw_size);
        host->get(host, &opening->options, "method", &item);
        host->write_raw(&read_method, item.bytes, item.size);
    }
    *data = state;
    if (is(state, "refuse")) {
        snprintf(opening->error, opening->error_size, "%s.%s is not for me", opening->resource,
                 opening->relationship);
        free(state);
        return -1;
    }
    return 0;
}

static void close_module(void *data)
{
    struct state *state = data;
    join(state);
    if (is(state, "thread")) {
        char text[80];
        snprintf(text, sizeof text, "on the thread: %d", state->code);
        state->host->log(state->host, RELATA_LOG_INFO, text);
    }
    state->host->release(&read_params);
    state->host->release(&read_method);
    free(state);
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = "behaves", .open = open,
    .load = load,         .cancel = cancel,  .close = close_module};

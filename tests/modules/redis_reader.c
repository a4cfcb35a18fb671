/* A module that sends the Redis command of its options, `times` times, and shows what
 * came: each source gets one ticket, whose `seen` has the reply, or [code, message].
 * The option `do` says what else: `answer` answers before anything comes, `never`
 * does not answer, `thread` sends it from another thread, `no_size` and `no_batch` do
 * not say which size and which batch. */
#include <relata_module.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64 };

struct state {
    const struct relata_host *host;
    char word[WORD_MAX];
    char home[WORD_MAX];
    char key[WORD_MAX];
    struct relata_bytes arguments;
    int64_t times;
};

struct wanted {
    const struct state *state;
    size_t count;
    int64_t left;
};

static void answer(const struct state *state, uint64_t batch, size_t count, const void *seen,
                   size_t size)
{
    const struct relata_host *host = state->host;
    struct relata_bytes list = {0};
    host->write_array(&list, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        host->write_map(&list, 2);
        host->write_text(&list, "id", SIZE_MAX);
        host->write_integer(&list, (int64_t)i + 1);
        host->write_text(&list, "seen", SIZE_MAX);
        host->write_raw(&list, seen, size);
    }
    host->answer(host, batch, list.bytes, list.size);
    host->release(&list);
}

/* The last one answers. */
static void on_reply(void *data, uint64_t batch, const struct relata_result *result)
{
    struct wanted *wanted = data;
    const struct state *state = wanted->state;
    const struct relata_host *host = state->host;
    if (strcmp(state->word, "never") == 0) {
        host->log(host, RELATA_LOG_INFO, "a reply has come");
        return;
    }
    if (--wanted->left > 0) {
        return;
    }
    if (result->code == NULL) {
        answer(state, batch, wanted->count, result->value.raw, result->value.raw_size);
    } else {
        struct relata_bytes failure = {0};
        host->write_array(&failure, 2);
        host->write_text(&failure, result->code, SIZE_MAX);
        host->write_text(&failure, result->message, SIZE_MAX);
        answer(state, batch, wanted->count, failure.bytes, failure.size);
        host->release(&failure);
    }
    free(wanted);
}

static int is(const struct state *state, const char *word)
{
    return strcmp(state->word, word) == 0;
}

struct sending {
    const struct state *state;
    uint64_t batch;
    const struct relata_redis_command *command;
    struct wanted *wanted;
    int code;
};

static void *send_one(void *data)
{
    struct sending *sending = data;
    const struct relata_host *host = sending->state->host;
    sending->code = host->redis(host, sending->batch, sending->command, on_reply, sending->wanted);
    return NULL;
}

static int send_it(struct sending *sending)
{
    pthread_t thread;
    if (!is(sending->state, "thread")) {
        send_one(sending);
    } else if (pthread_create(&thread, NULL, send_one, sending) == 0) {
        pthread_join(thread, NULL);
    }
    return sending->code;
}

static void load(void *data, uint64_t batch, size_t count)
{
    const struct state *state = data;
    const struct relata_host *host = state->host;
    struct relata_redis_command command = {.struct_size = sizeof command,
                                           .home = state->home,
                                           .arguments = state->arguments.bytes,
                                           .arguments_size = state->arguments.size};
    struct wanted *wanted = calloc(1, sizeof *wanted);
    if (wanted == NULL) {
        host->fail(host, batch, "no memory");
        return;
    }
    *wanted = (struct wanted){.state = state, .count = count, .left = state->times};
    host->set_data(host, batch, wanted);
    if (state->key[0] != '\0') {
        command.key = state->key;
        command.key_size = strlen(state->key);
    }
    if (is(state, "no_size")) {
        command.struct_size = 0;
    }
    struct sending sending = {.state = state,
                              .batch = is(state, "no_batch") ? 0 : batch,
                              .command = &command,
                              .wanted = wanted};
    for (int64_t i = 0; i < state->times; i++) {
        int code = send_it(&sending);
        if (code != RELATA_MODULE_OK) {
            char text[640];
            snprintf(text, sizeof text, "%d after %lld: %s", code, (long long)i,
                     host->problem(host));
            host->fail(host, batch, text);
            free(wanted);
            return;
        }
    }
    if (is(state, "answer")) {
        answer(state, batch, count, "\xc0", 1);
        free(wanted);
    }
}

static void cancel(void *data, uint64_t batch, void *of_batch)
{
    const struct state *state = data;
    (void)batch;
    state->host->log(state->host, RELATA_LOG_INFO, "the batch is cancelled");
    free(of_batch);
}

static void take_text(const struct relata_host *host, const struct relata_item *options,
                      const char *name, char out[WORD_MAX])
{
    struct relata_item item;
    if (host->get(host, options, name, &item) == RELATA_MODULE_OK) {
        snprintf(out, WORD_MAX, "%.*s", (int)item.size, (const char *)item.bytes);
    }
}

static int open(const struct relata_host *host, const struct relata_opening *opening, void **data)
{
    struct relata_item item;
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL || !RELATA_HOST_HAS(host, redis)) {
        free(state);
        return -1;
    }
    state->host = host;
    snprintf(state->home, sizeof state->home, "main");
    take_text(host, &opening->options, "do", state->word);
    take_text(host, &opening->options, "home", state->home);
    take_text(host, &opening->options, "key", state->key);
    host->get(host, &opening->options, "times", &item);
    state->times = item.kind == RELATA_ITEM_INTEGER ? item.integer : 1;
    if (host->get(host, &opening->options, "command", &item) == RELATA_MODULE_OK) {
        host->write_raw(&state->arguments, item.raw, item.raw_size);
    }
    *data = state;
    return 0;
}

static void close_module(void *data)
{
    struct state *state = data;
    state->host->release(&state->arguments);
    free(state);
}

RELATA_MODULE_EXPORT const struct relata_module relata_module = {
    RELATA_MODULE_HEADER, .name = "redis_reader", .open = open,
    .load = load,         .cancel = cancel,       .close = close_module};

#include "tests/lib/home_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/redis/slots.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"

static uint64_t clock_us(void)
{
    return uv_hrtime() / 1000;
}

static void on_enter(void *context)
{
    struct home_fixture *f = context;
    assert_non_null(f->calls);
}

static void append(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(char *text, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, HOME_NOTES_MAX - used, format, arguments);
    va_end(arguments);
}

static void on_log(void *context, const char *event, const char *home, const char *text, bool bad)
{
    struct home_fixture *f = context;
    assert_string_equal(home, "main");
    append(f->log, "%s%s: %s\n", bad ? "!" : "", event, text);
}

static void on_notice(struct home_listener *listener, enum home_lane lane, const uint8_t *key,
                      size_t size)
{
    struct home_fixture *f = CONTAINER_OF(listener, struct home_fixture, listener);
    append(f->notes, "!%d:%.*s ", (int)lane, key == NULL ? 1 : (int)size,
           key == NULL ? "*" : (const char *)key);
}

static void on_lost(struct home_listener *listener, enum home_lane lane)
{
    struct home_fixture *f = CONTAINER_OF(listener, struct home_fixture, listener);
    append(f->notes, "lost%d ", (int)lane);
}

static void on_ready(struct home_listener *listener, enum home_lane lane)
{
    struct home_fixture *f = CONTAINER_OF(listener, struct home_fixture, listener);
    append(f->notes, "ready%d ", (int)lane);
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
}

/* A home alone does not keep the loop going: something must. */
void home_fixture_turn(struct home_fixture *f)
{
    assert_int_equal(uv_timer_start(&f->patience, on_patience, 1, 1), 0);
    uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(uv_timer_stop(&f->patience), 0);
}

uint64_t home_fixture_until_ms(void)
{
    return (uv_hrtime() / 1000000) + HOME_WAIT_MS;
}

void home_fixture_wait(struct home_fixture *f, uint64_t until_ms, const char *what)
{
    if (uv_hrtime() / 1000000 > until_ms) {
        fail_msg("%s never came; told: %s; log: %s", what, f->notes, f->log);
    }
    home_fixture_turn(f);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct home_fixture *f = prepare->data;
    f->turns++;
    if (f->home != NULL && !f->closed) {
        home_flush(f->home);
    }
}

void home_fixture_init(struct home_fixture *f, const struct redis_fixture *server)
{
    memset(f, 0, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->patience), 0);
    assert_int_equal(uv_prepare_init(&f->loop, &f->prepare), 0);
    f->prepare.data = f;
    assert_int_equal(uv_prepare_start(&f->prepare, on_prepare), 0);
    uv_unref((uv_handle_t *)&f->prepare);
    f->calls = calloc(HOME_CALLS_MAX, sizeof(struct home_call));
    assert_non_null(f->calls);
    f->options = (struct home_options){
        .name = "main", .host = "127.0.0.1", .port = server->port, .timeout_us = 2000000};
}

void home_fixture_create(struct home_fixture *f)
{
    const struct home_world world = {
        .loop = &f->loop, .clock_us = clock_us, .context = f, .enter = on_enter, .log = on_log};
    f->home = home_create(&f->options, &world);
    assert_non_null(f->home);
    f->listener.on_notice = on_notice;
    f->listener.on_lost = on_lost;
    f->listener.on_ready = on_ready;
    home_listen(f->home, &f->listener);
}

void home_fixture_open(struct home_fixture *f)
{
    struct error error = ERROR_INIT;
    if (f->home == NULL) {
        home_fixture_create(f);
    }
    assert_int_equal(home_open(f->home, &error), 0);
    HOME_WAIT_FOR(f, strcmp(home_fixture_word(f, "state"), "up") == 0);
    assert_true(home_is_settled(f->home));
}

static void on_closed(struct home *home, void *context)
{
    struct home_fixture *f = context;
    assert_ptr_equal(home, f->home);
    assert_false(f->closed);
    f->closed = true;
}

void home_fixture_close(struct home_fixture *f, uint64_t wait_us)
{
    if (f->home != NULL) {
        home_unlisten(&f->listener);
        home_close(f->home, wait_us, on_closed, f);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_true(f->closed);
        home_free(f->home);
    }
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_close((uv_handle_t *)&f->prepare, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (size_t i = 0; i < f->call_count; i++) {
        assert_true(f->calls[i].done);
        buffer_release(&f->calls[i].bytes);
    }
    free(f->calls);
    f->calls = NULL;
}

/* ---- Commands ---- */

static void on_done(struct home_command *command, const struct home_answer *answer)
{
    struct home_call *call = CONTAINER_OF(command, struct home_call, command);
    assert_false(call->done);
    call->done = true;
    call->outcome = answer->outcome;
    call->turn = call->fixture->turns;
    call->fixture->done_count++;
    if (answer->outcome != HOME_ANSWERED) {
        call->error = answer->error;
        assert_int_equal(answer->error.code, CODE_UNAVAILABLE);
        assert_memory_equal(answer->error.message, "redis main: ", 12);
        assert_string_equal(answer->error.outcome,
                            answer->outcome == HOME_UNKNOWN ? "unknown" : "");
        return;
    }
    assert_int_equal(answer->error.code, CODE_OK);
    call->cover = answer->cover;
    struct resp_reader reply = answer->reply;
    struct resp_token token = resp_next(&reply);
    if (token.kind == RESP_NIL) {
        snprintf(call->reply, HOME_REPLY_MAX, "nil");
    } else if (token.kind == RESP_INTEGER) {
        snprintf(call->reply, HOME_REPLY_MAX, "%lld", (long long)token.integer);
    } else {
        size_t size = token.size < HOME_REPLY_MAX ? token.size : HOME_REPLY_MAX - 1;
        snprintf(call->reply, HOME_REPLY_MAX, "%.*s", (int)size, (const char *)token.bytes);
    }
}

struct home_call *home_fixture_send(struct home_fixture *f, enum home_lane lane, const char *words)
{
    assert_true(f->call_count < HOME_CALLS_MAX);
    struct home_call *call = &f->calls[f->call_count++];
    size_t count = 1;
    for (const char *at = words; *at != '\0'; at++) {
        count += *at == ' ' ? 1 : 0;
    }
    resp_command(&call->bytes, count);
    for (size_t i = 0; i < count; i++) {
        size_t size = strcspn(words, " ");
        resp_word(&call->bytes, words, size);
        call->command.slot = i == 1 ? slot_of_key(words, size) : call->command.slot;
        words += size + (i + 1 < count ? 1 : 0);
    }
    call->fixture = f;
    call->command.bytes = call->bytes.bytes;
    call->command.size = call->bytes.size;
    call->command.node = HOME_NODE_OF_SLOT;
    call->command.lane = lane;
    call->command.done = on_done;
    home_send(f->home, &call->command);
    assert_false(call->done);
    return call;
}

const char *home_fixture_ask(struct home_fixture *f, enum home_lane lane, const char *words)
{
    const struct home_call *call = home_fixture_send(f, lane, words);
    HOME_WAIT_FOR(f, call->done);
    if (call->outcome != HOME_ANSWERED) {
        fail_msg("%s: %s", words, call->error.message);
    }
    return call->reply;
}

uint64_t home_fixture_cover(const struct home_fixture *f, const char *key)
{
    return home_cover(f->home, HOME_KEYS, slot_of_key(key, strlen(key)));
}

/* ---- Stats ---- */

static struct token find(const struct home_fixture *f, struct buffer *out, const char *name)
{
    home_stats(f->home, out);
    assert_false(out->failed);
    struct reader in = reader_of(out->bytes, out->size);
    struct token map = reader_next(&in);
    assert_int_equal(map.kind, TOKEN_MAP);
    struct token found = {.kind = TOKEN_INVALID};
    for (uint32_t i = 0; i < map.count; i++) {
        struct token key = reader_next(&in);
        struct token value = reader_next(&in);
        assert_false(in.failed);
        if (key.size == strlen(name) && memcmp(key.bytes, name, key.size) == 0) {
            found = value;
        }
    }
    assert_ptr_equal(in.at, in.end);
    assert_int_not_equal(found.kind, TOKEN_INVALID);
    return found;
}

uint64_t home_fixture_count(const struct home_fixture *f, const char *name)
{
    struct buffer out = BUFFER_INIT;
    struct token value = find(f, &out, name);
    assert_int_equal(value.kind, TOKEN_INTEGER);
    buffer_release(&out);
    return (uint64_t)value.integer;
}

const char *home_fixture_word(const struct home_fixture *f, const char *name)
{
    static char word[32];
    struct buffer out = BUFFER_INIT;
    struct token value = find(f, &out, name);
    snprintf(word, sizeof(word), "%.*s", (int)value.size, (const char *)value.bytes);
    buffer_release(&out);
    return word;
}

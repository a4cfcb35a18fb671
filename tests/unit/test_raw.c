#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "layers/redis/home_inner.h"
#include "layers/redis/redis.h"
#include "layers/redis/redis_inner.h"
#include "layers/redis/resp.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/limits.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/json_msgpack.h"
#include "tests/lib/random.h"

/* Raw commands with a server of the test's own, which answers what the test wants;
 * a real one is in tests/integration/test_modules_redis.py. */

enum { PEERS_MAX = 16, CALLS_MAX = 2000, PATIENCE_US = 10000000 };

struct call {
    struct redis_raw *raw;
    unsigned done;
    unsigned turn; /* how many were done before */
    struct error error;
    struct buffer value;
};

static struct fixture {
    uv_loop_t loop;
    uv_timer_t patience;
    int listener;
    int peers[PEERS_MAX];
    struct buffer inputs[PEERS_MAX];
    size_t peer_count;
    bool is_silent;
    bool is_deaf;         /* to all but the first connection */
    struct buffer reply;  /* to each command */
    struct buffer heard;  /* the last command, as it came */
    unsigned heard_count; /* commands that are none of the daemon's own */
    char log[4096];
    struct home_options options;
    struct limits limits;
    struct world world;
    struct redis *redis;
    bool closed;
    struct call calls[CALLS_MAX];
    unsigned call_count;
    unsigned done_count;
} f;

/* ---- The server ---- */

static void say(int peer, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t written = send(peer, at, size, MSG_NOSIGNAL);
        if (written <= 0) {
            assert_true(errno == EPIPE || errno == ECONNRESET);
            return;
        }
        at += written;
        size -= (size_t)written;
    }
}

static bool begins(const struct buffer *bytes, const char *text)
{
    return bytes->size >= strlen(text) && memcmp(bytes->bytes, text, strlen(text)) == 0;
}

static void answer(int peer, const struct buffer *command)
{
    if (begins(command, "*2\r\n$5\r\nHELLO")) {
        say(peer, "%0\r\n", 4);
    } else if (begins(command, "*1\r\n$4\r\nPING") || begins(command, "*2\r\n$4\r\nINFO") ||
               begins(command, "*4\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING")) {
        say(peer, "+OK\r\n", 5);
    } else {
        f.heard_count++;
        buffer_truncate(&f.heard, 0);
        buffer_append(&f.heard, command->bytes, command->size);
        if (!f.is_silent) {
            say(peer, f.reply.bytes, f.reply.size);
        }
    }
}

static void serve(size_t peer)
{
    uint8_t bytes[65536];
    struct buffer *input = &f.inputs[peer];
    ssize_t count = recv(f.peers[peer], bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) {
        buffer_append(input, bytes, (size_t)count);
    }
    struct error error = ERROR_INIT;
    struct resp_scan scan = {0};
    while (input->size > 0 &&
           resp_scan_go(&scan, input->bytes, input->size, &error) == RESP_WHOLE) {
        struct buffer command = {.bytes = input->bytes, .size = scan.at};
        answer(f.peers[peer], &command);
        buffer_consume(input, scan.at);
        scan = (struct resp_scan){0};
    }
}

static void pump(void)
{
    int peer = accept4(f.listener, NULL, NULL, 0);
    if (peer >= 0) {
        assert_true(f.peer_count < PEERS_MAX);
        f.peers[f.peer_count++] = peer;
    }
    for (size_t i = 0; i < f.peer_count; i++) {
        if (i == 0 || !f.is_deaf) {
            serve(i);
        }
    }
}

static void hang_up(void)
{
    for (size_t i = 0; i < f.peer_count; i++) {
        close(f.peers[i]);
        buffer_release(&f.inputs[i]);
        f.inputs[i] = (struct buffer)BUFFER_INIT;
    }
    f.peer_count = 0;
}

static void reply_with(const char *resp)
{
    buffer_truncate(&f.reply, 0);
    buffer_append(&f.reply, resp, strlen(resp));
}

/* ---- The daemon's side ---- */

static uint64_t clock_us(void)
{
    return uv_hrtime() / 1000;
}

static void on_enter(void *context)
{
    assert_ptr_equal(context, &f);
}

static void on_log(void *context, const char *event, const char *home, const char *text, bool bad)
{
    size_t used = strlen(f.log);
    (void)context;
    (void)bad;
    snprintf(f.log + used, sizeof f.log - used, "%s %s: %s\n", event, home, text);
}

static void on_idle(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(void)
{
    pump();
    home_flush(f.redis->homes[0]);
    uv_run(&f.loop, UV_RUN_ONCE);
}

static void wait_on(uint64_t until_us, const char *what)
{
    if (clock_us() > until_us) {
        fail_msg("%s never came; the log: %s", what, f.log);
    }
    turn();
}

#define WAIT_FOR(condition)                           \
    do {                                              \
        uint64_t until_us = clock_us() + PATIENCE_US; \
        while (!(condition)) {                        \
            wait_on(until_us, #condition);            \
        }                                             \
    } while (0)

static void listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    f.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f.listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(f.listener, PEERS_MAX), 0);
    assert_int_equal(getsockname(f.listener, (struct sockaddr *)&address, &size), 0);
    f.options = (struct home_options){.name = "main",
                                      .host = "127.0.0.1",
                                      .port = ntohs(address.sin_port),
                                      .timeout_us = 2000000};
}

static void create(void)
{
    const struct home_world world = {
        .loop = &f.loop, .clock_us = clock_us, .context = &f, .enter = on_enter, .log = on_log};
    struct error error = ERROR_INIT;
    f.redis = redis_create(&f.options, 1, &world);
    assert_non_null(f.redis);
    redis_attach(f.redis, &(struct redis_engine){.world = &f.world, .limits = &f.limits});
    assert_int_equal(redis_open(f.redis, &error), 0);
    WAIT_FOR(redis_is_settled(f.redis));
}

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    f.limits = (struct limits)LIMITS_DEFAULT;
    assert_int_equal(uv_loop_init(&f.loop), 0);
    assert_int_equal(uv_timer_init(&f.loop, &f.patience), 0);
    assert_int_equal(uv_timer_start(&f.patience, on_idle, 1, 1), 0);
    listen_somewhere();
    reply_with("+OK\r\n");
    create();
    return 0;
}

static void on_closed(void *context)
{
    (void)context;
    f.closed = true;
}

static void close_all(void)
{
    redis_close(f.redis, 0, on_closed, NULL);
    while (!f.closed) {
        pump();
        uv_run(&f.loop, UV_RUN_ONCE);
    }
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_at(-1);
    if (!f.closed) {
        close_all();
    }
    redis_free(f.redis);
    uv_close((uv_handle_t *)&f.patience, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f.loop), 0);
    hang_up();
    close(f.listener);
    for (unsigned i = 0; i < f.call_count; i++) {
        buffer_release(&f.calls[i].value);
    }
    buffer_release(&f.reply);
    buffer_release(&f.heard);
    return 0;
}

static void on_done(void *context, const struct error *error, struct buffer *value)
{
    struct call *call = context;
    assert_int_equal(call->done, 0);
    call->done = 1;
    call->turn = f.done_count++;
    call->error = *error;
    call->value = *value;
    *value = (struct buffer)BUFFER_INIT;
}

static int send_bytes(const char *home, const void *bytes, size_t size, struct call **out,
                      struct error *error)
{
    assert_true(f.call_count < CALLS_MAX);
    struct call *call = &f.calls[f.call_count++];
    const struct redis_raw_command command = {
        .home = home, .arguments = bytes, .arguments_size = size};
    *out = call;
    int status = redis_raw_send(f.redis, &command, on_done, call, &call->raw, error);
    assert_int_equal(call->done, 0);
    return status;
}

static int send_json(const char *home, const char *words, struct call **out, struct error *error)
{
    struct buffer bytes = BUFFER_INIT;
    json_to_msgpack(words, &bytes);
    int status = send_bytes(home, bytes.bytes, bytes.size, out, error);
    buffer_release(&bytes);
    return status;
}

static struct call *send_words(const char *words)
{
    struct call *call = NULL;
    struct error error = ERROR_INIT;
    if (send_json("main", words, &call, &error) != 0) {
        fail_msg("%s: %s", words, error.message);
    }
    return call;
}

static struct call *ask(const char *words)
{
    struct call *call = send_words(words);
    WAIT_FOR(call->done);
    return call;
}

/* ---- Commands ---- */

static void words_leave_as_they_are(void **state)
{
    (void)state;
    const uint8_t given[] = {0x94, 0xa3, 'S', 'E', 'T', 0xc4, 2, 0xff, 0, 0xd0, 0x80, 0xa0};
    const char expected[] = "*4\r\n$3\r\nSET\r\n$2\r\n\xff\0\r\n$4\r\n-128\r\n$0\r\n\r\n";
    struct call *call = NULL;
    struct error error = ERROR_INIT;
    assert_int_equal(send_bytes("main", given, sizeof given, &call, &error), 0);
    WAIT_FOR(call->done);
    assert_int_equal(call->error.code, CODE_OK);
    assert_int_equal(f.heard.size, sizeof expected - 1);
    assert_memory_equal(f.heard.bytes, expected, sizeof expected - 1);
}

static void the_first_ones_wait_for_the_link(void **state)
{
    (void)state;
    assert_int_equal(f.peer_count, 1);
    struct call *calls[10];
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        calls[i] = send_words("['GET', 'a']");
    }
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        WAIT_FOR(calls[i]->done);
        assert_int_equal(calls[i]->error.code, CODE_OK);
        assert_int_equal(calls[i]->turn, i);
    }
    assert_int_equal(f.peer_count, 2);
    assert_int_equal(ask("['GET', 'a']")->error.code, CODE_OK);
    assert_int_equal(f.peer_count, 2);
    assert_int_equal(f.heard_count, 11);
}

static void what_is_wrong_is_told_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *home;
        const char *words;
        const char *message;
    } cases[] = {
        {"other", "['PING']", "the configuration names no Redis \"other\""},
        {"", "['PING']", "the configuration names no Redis \"\""},
        {"main", "[]", "expected an array of at least one word"},
        {"main", "'PING'", "expected an array of at least one word"},
        {"main", "{'PING': 1}", "expected an array of at least one word"},
        {"main", "['GET', null]",
         "word 2 of a Redis command: expected a string, a binary or an "
         "integer, got nil"},
        {"main", "['GET', ['a', 'b'], 'c']", "word 2 of a Redis command: "},
        {"main", "[1.5]", "word 1 of a Redis command: "},
        {"main", "['Multi']", "multi cannot be sent: it changes the connection"},
        {"main", "['SELECT', 1]", "select cannot be sent: it changes"},
        {"main", "['CLIENT', 'Tracking', 'ON']", "client tracking cannot be sent: it changes"},
        {"main", "['client', 'reply', 'off']", "client reply cannot be sent: it changes"},
        {"main", "['SSUBSCRIBE', 'a']", "ssubscribe cannot be sent: it has no single reply"},
        {"main", "['MONITOR']", "monitor cannot be sent: it has no single reply"},
        {"main", "['BLPOP', 'a', 0]", "blpop cannot be sent: it waits"},
        {"main", "['XREAD', 'COUNT', 1, 'block', 0, 'STREAMS', 'a', 0]",
         "XREAD with BLOCK cannot be sent: it waits"},
        {"main", "['XREADGROUP', 'GROUP', 'g', 'c', 'BLOCK', 0, 'STREAMS', 'a', '>']",
         "XREADGROUP with BLOCK cannot be sent: it waits"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct call *call = NULL;
        struct error error = ERROR_INIT;
        assert_int_equal(send_json(cases[i].home, cases[i].words, &call, &error),
                         -CODE_INVALID_REQUEST);
        if (strstr(error.message, cases[i].message) == NULL) {
            fail_msg("expected %s, got %s", cases[i].message, error.message);
        }
    }
    struct call *call = NULL;
    struct error error = ERROR_INIT;
    assert_int_equal(send_bytes("main", "\x92\xa1", 2, &call, &error), -CODE_INVALID_REQUEST);
    assert_int_equal(send_bytes("main", "\x91\xa1x\xc0", 4, &call, &error), -CODE_INVALID_REQUEST);
    assert_int_equal(send_bytes("main", NULL, 0, &call, &error), -CODE_INVALID_REQUEST);
    ask("['XREAD', 'STREAMS', 'block', 0]");
    ask("['CLIENT', 'ID']");
    assert_int_equal(f.heard_count, 2);
    assert_int_equal(f.done_count, 2);
}

static void commands_are_bounded(void **state)
{
    (void)state;
    struct call *call = NULL;
    struct error error = ERROR_INIT;
    f.limits.frame_bytes = 20;
    assert_int_equal(send_json("main", "['ECHO', 'something that is long']", &call, &error),
                     -CODE_TOO_LARGE);
    assert_string_equal(error.limit, "frame_bytes");
    ask("['ECHO', 'short']");
}

/* ---- Replies ---- */

static void replies_become_values(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        const char *json;
    } cases[] = {{"_\r\n", "null"},
                 {"$-1\r\n", "null"},
                 {"*-1\r\n", "null"},
                 {"+OK\r\n", "\"OK\""},
                 {"$0\r\n\r\n", "\"\""},
                 {"$3\r\na;b\r\n", "\"a;b\""},
                 {"$2\r\n\xff\xfe\r\n", "{\"bin\":2}"},
                 {"=7\r\ntxt:abc\r\n", "\"abc\""},
                 {":-5\r\n", "-5"},
                 {":9223372036854775807\r\n", "9223372036854775807"},
                 {"(123456789012345678901\r\n", "\"123456789012345678901\""},
                 {",1.5\r\n", "1.5"},
                 {"#t\r\n", "true"},
                 {"#f\r\n", "false"},
                 {"*0\r\n", "[]"},
                 {"~2\r\n:1\r\n*1\r\n+a\r\n", "[1,[\"a\"]]"},
                 {"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n_\r\n%0\r\n", "{\"a\":1,\"b\":[null,{}]}"},
                 {"*2\r\n-ERR one\r\n!5\r\nERR 2\r\n", "[{\"error\":\"ERR one\"},"
                                                       "{\"error\":\"ERR 2\"}]"},
                 {"*2\r\n|1\r\n+ttl\r\n:9\r\n:1\r\n:2\r\n", "[1,2]"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        reply_with(cases[i].reply);
        struct call *call = ask("['GET', 'a']");
        assert_int_equal(call->error.code, CODE_OK);
        struct buffer json = BUFFER_INIT;
        struct reader in = reader_of(call->value.bytes, call->value.size);
        msgpack_to_json(&in, &json);
        buffer_byte(&json, 0);
        assert_string_equal((const char *)json.bytes, cases[i].json);
        assert_ptr_equal(in.at, in.end);
        buffer_release(&json);
    }
}

static void errors_of_redis_are_told(void **state)
{
    (void)state;
    reply_with("-WRONGTYPE Operation against a key\r\n");
    struct call *call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_LOADER_FAILED);
    assert_string_equal(call->error.message, "WRONGTYPE Operation against a key");
    char text[1200] = "-ERR ";
    memset(text + 5, 'x', 1000);
    memcpy(text + 1005, "\r\n", 3);
    reply_with(text);
    call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_LOADER_FAILED);
    assert_true(strlen(call->error.message) < ERROR_MESSAGE_MAX);
    reply_with("-LOADING Redis is loading the dataset in memory\r\n");
    call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_UNAVAILABLE);
    assert_non_null(strstr(call->error.message, "; the command was not executed"));
}

static void replies_are_bounded(void **state)
{
    (void)state;
    f.limits.provider_answer_bytes = 16;
    reply_with("$10\r\n0123456789\r\n");
    struct call *call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_TOO_LARGE);
    assert_string_equal(call->error.limit, "provider_answer_bytes");
    reply_with("$9\r\n012345678\r\n");
    assert_int_equal(ask("['GET', 'a']")->error.code, CODE_OK);
}

/* ---- Random replies, beside what they are to become ---- */

struct model {
    struct random random;
    struct buffer value;
    char text[64];
};

static void add_leaf(struct model *m)
{
    uint64_t number = random_next(&m->random) >> random_below(&m->random, 64);
    size_t size = (size_t)random_below(&m->random, sizeof m->text);
    memset(m->text, 'a' + (int)random_below(&m->random, 26), sizeof m->text);
    switch (random_below(&m->random, 6)) {
    case 0:
        buffer_printf(&f.reply, ":%lld\r\n", (long long)number);
        write_integer(&m->value, (int64_t)number);
        break;
    case 1:
        buffer_printf(&f.reply, "$%zu\r\n%.*s\r\n", size, (int)size, m->text);
        write_string(&m->value, m->text, size);
        break;
    case 2:
        m->text[0] = (char)0x80;
        buffer_printf(&f.reply, "$%zu\r\n%.*s\r\n", size + 1, (int)size + 1, m->text);
        write_binary(&m->value, m->text, size + 1);
        break;
    case 3:
        buffer_printf(&f.reply, ",%.17g\r\n", (double)number / 8);
        write_float(&m->value, (double)number / 8);
        break;
    case 4:
        buffer_printf(&f.reply, "#%c\r\n", number % 2 == 0 ? 'f' : 't');
        write_boolean(&m->value, number % 2 != 0);
        break;
    default:
        buffer_printf(&f.reply, "_\r\n");
        write_nil(&m->value);
    }
}

/* How many values follow. */
static uint64_t add_value(struct model *m, unsigned level)
{
    static const char kinds[] = "*~%";
    if (level == RESP_LEVELS_MAX || random_below(&m->random, 3) > 0) {
        add_leaf(m);
        return 0;
    }
    uint32_t count = (uint32_t)random_below(&m->random, random_below(&m->random, 8) == 0 ? 40 : 4);
    char kind = kinds[random_below(&m->random, 3)];
    buffer_printf(&f.reply, "%c%u\r\n", kind, count);
    if (kind == '%') {
        write_map(&m->value, count);
        return (uint64_t)count * 2;
    }
    write_array(&m->value, count);
    return count;
}

static void add_tree(struct model *m)
{
    uint64_t left[RESP_LEVELS_MAX + 1] = {1};
    unsigned level = 0;
    unsigned size = 0;
    for (;;) {
        while (left[level] == 0) {
            if (level-- == 0) {
                return;
            }
        }
        left[level]--;
        uint64_t count = add_value(m, size++ < 2000 ? level : RESP_LEVELS_MAX);
        if (count > 0) {
            left[++level] = count;
        }
    }
}

static void random_replies_become_what_they_are(void **state)
{
    (void)state;
    struct model m = {.random = random_start("random_replies_become_what_they_are")};
    for (unsigned i = 0; i < 1000; i++) {
        buffer_truncate(&f.reply, 0);
        buffer_truncate(&m.value, 0);
        add_tree(&m);
        const struct call *call = ask("['GET', 'a']");
        assert_int_equal(call->error.code, CODE_OK);
        assert_int_equal(call->value.size, m.value.size);
        assert_memory_equal(call->value.bytes, m.value.bytes, m.value.size);
    }
    buffer_release(&m.value);
}

/* ---- What goes wrong ---- */

static void a_link_that_breaks(void **state)
{
    (void)state;
    ask("['GET', 'a']");
    f.is_silent = true;
    struct call *call = send_words("['INCR', 'a']");
    WAIT_FOR(f.heard_count == 2);
    close(f.listener);
    hang_up();
    WAIT_FOR(call->done);
    assert_int_equal(call->error.code, CODE_UNAVAILABLE);
    assert_memory_equal(call->error.message, "redis main: ", 12);
    assert_non_null(strstr(call->error.message, "; the command may have been executed"));
    assert_string_equal(call->error.outcome, "unknown");
    call = ask("['INCR', 'a']");
    assert_int_equal(call->error.code, CODE_UNAVAILABLE);
    assert_non_null(strstr(call->error.message, "; the command was not executed"));
    assert_string_equal(call->error.outcome, "");
}

static void a_first_link_that_cannot_be_opened(void **state)
{
    (void)state;
    close(f.listener);
    struct call *calls[] = {send_words("['GET', 'a']"), send_words("['GET', 'b']")};
    for (unsigned i = 0; i < 2; i++) {
        WAIT_FOR(calls[i]->done);
        assert_int_equal(calls[i]->error.code, CODE_UNAVAILABLE);
        assert_non_null(strstr(calls[i]->error.message, "; the command was not executed"));
        assert_non_null(strstr(calls[i]->error.message, "connection refused"));
        assert_int_equal(calls[i]->turn, i);
    }
    assert_null(strstr(f.log, "redis_lost")); /* the other link is up */
}

static void a_server_that_is_silent(void **state)
{
    (void)state;
    f.redis->homes[0]->options.timeout_us = 100000;
    f.is_silent = true;
    const struct call *call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_UNAVAILABLE);
    assert_non_null(strstr(call->error.message, "no answer within the time allowed"));
    assert_string_equal(call->error.outcome, "unknown");
}

static void a_link_that_nobody_greets(void **state)
{
    (void)state;
    f.redis->homes[0]->options.timeout_us = 100000;
    f.is_deaf = true;
    const struct call *call = ask("['GET', 'a']");
    assert_int_equal(call->error.code, CODE_UNAVAILABLE);
    assert_non_null(strstr(call->error.message, "; the command was not executed"));
    assert_int_equal(f.heard_count, 0);
    f.is_deaf = false;
    uint64_t lost_us = 0;
    WAIT_FOR(home_is_up(f.redis->homes[0], HOME_RAW, 0, &lost_us));
    assert_int_equal(ask("['GET', 'a']")->error.code, CODE_OK);
}

static void what_is_forgotten_is_not_told(void **state)
{
    (void)state;
    const struct call *early = send_words("['GET', 'a']");
    redis_raw_forget(early->raw); /* while the link is opened */
    ask("['GET', 'b']");
    f.is_silent = true;
    const struct call *late = send_words("['GET', 'c']");
    WAIT_FOR(f.heard_count == 3);
    redis_raw_forget(late->raw);
    hang_up();
    f.is_silent = false;
    uint64_t lost_us = 0;
    WAIT_FOR(!home_is_up(f.redis->homes[0], HOME_RAW, 0, &lost_us));
    WAIT_FOR(home_is_up(f.redis->homes[0], HOME_RAW, 0, &lost_us));
    assert_int_equal(ask("['GET', 'd']")->error.code, CODE_OK);
    assert_int_equal(early->done, 0);
    assert_int_equal(late->done, 0);
}

static void the_end(void **state)
{
    (void)state;
    const struct call *waits = send_words("['GET', 'a']");
    close_all();
    assert_int_equal(waits->done, 1);
    assert_int_equal(waits->error.code, CODE_UNAVAILABLE);
    struct call *call = NULL;
    struct error error = ERROR_INIT;
    assert_int_equal(send_json("main", "['GET', 'a']", &call, &error), -CODE_UNAVAILABLE);
    assert_non_null(strstr(error.message, "closing"));
}

static void memory_may_lack(void **state)
{
    (void)state;
    ask("['GET', 'a']");
    reply_with("*3\r\n:1\r\n$3\r\nabc\r\n%1\r\n+a\r\n,1.5\r\n");
    const char *words = "\x92\xa3GET\xa1x";
    unsigned refused = 0;
    unsigned failed = 0;
    for (long at = 0; at < 12; at++) {
        struct call *call = NULL;
        struct error error = ERROR_INIT;
        heap_fail_at(at);
        int status = send_bytes("main", words, strlen(words), &call, &error);
        if (status < 0) {
            heap_fail_at(-1);
            assert_int_equal(status, -CODE_OVERLOADED);
            refused++;
            continue;
        }
        WAIT_FOR(call->done);
        heap_fail_at(-1);
        enum code code = call->error.code;
        assert_true(code == CODE_OK || code == CODE_OVERLOADED || code == CODE_UNAVAILABLE);
        failed += code == CODE_OVERLOADED;
    }
    assert_true(refused >= 2);
    assert_true(failed >= 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(words_leave_as_they_are),
        T(the_first_ones_wait_for_the_link),
        T(what_is_wrong_is_told_at_once),
        T(commands_are_bounded),
        T(replies_become_values),
        T(errors_of_redis_are_told),
        T(replies_are_bounded),
        T(random_replies_become_what_they_are),
        T(a_link_that_breaks),
        T(a_first_link_that_cannot_be_opened),
        T(a_server_that_is_silent),
        T(a_link_that_nobody_greets),
        T(what_is_forgotten_is_not_told),
        T(the_end),
        T(memory_may_lack),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

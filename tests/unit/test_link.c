#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "layers/redis/link.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "tests/lib/random.h"

/* A link with a server of the test's own at the other end, which says exactly what
 * the test wants; what a real one says is in tests/integration/test_home.c. */

enum { COMMANDS_MAX = 600, NOTES_MAX = 4096, PATIENCE_MS = 5000 };

#define HELLO      "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
#define HELLO_SAYS "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"
#define PING       "*1\r\n$4\r\nPING\r\n"
#define INFO       "*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n"
#define INFO_TEXT  "# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n"
#define INFO_SAYS  "$55\r\n" INFO_TEXT "\r\n"
#define TRACKING   "*4\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$6\r\nOPTOUT\r\n"
#define GET        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"

struct fixture {
    uv_loop_t loop;
    uv_timer_t patience;
    int listener;
    int peer;
    struct home_options options;
    struct link_settings settings;
    struct link link;
    uint64_t now_us;
    unsigned ups;
    unsigned downs;
    struct error error;
    char notes[NOTES_MAX]; /* notices and answers, in the order in which they came */
    size_t note_size;
    bool only_counts; /* notices */
    unsigned notices;
    unsigned rests;
    bool close_when_done;
    bool send_when_done;
};

struct sent {
    struct link_command command;
    struct fixture *f;
    char name;
    enum link_outcome outcome;
    unsigned calls;
};

static struct fixture *fixture;
static struct sent sents[COMMANDS_MAX];
static unsigned sent_count;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(fixture->notes + fixture->note_size, NOTES_MAX - fixture->note_size,
                         format, arguments);
    va_end(arguments);
    assert_true(size >= 0 && fixture->note_size + (size_t)size < NOTES_MAX);
    fixture->note_size += (size_t)size;
}

static void on_enter(void *context)
{
    assert_ptr_equal(context, fixture);
}

static void on_up(struct link *link)
{
    assert_int_equal(link->state, LINK_UP);
    fixture->ups++;
}

static void on_down(struct link *link, const struct error *error)
{
    assert_int_equal(link->state, LINK_IDLE);
    fixture->downs++;
    fixture->error = *error;
}

static void on_notice(struct link *link, const uint8_t *key, size_t size)
{
    (void)link;
    fixture->notices++;
    if (fixture->only_counts) {
        return;
    }
    if (key == NULL) {
        note("!all ");
    } else {
        note("!%.*s ", (int)size, (const char *)key);
    }
}

static void on_rest(struct link *link)
{
    assert_true(link_is_up(link) || link->state == LINK_GREETING);
    fixture->rests++;
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fixture = f;
    sent_count = 0;
    memset(sents, 0, sizeof(sents));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->patience), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(f->listener >= 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(f->listener, 4), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&address, &size), 0);
    f->peer = -1;
    f->options = (struct home_options){.name = "main",
                                       .host = "127.0.0.1",
                                       .port = ntohs(address.sin_port),
                                       .timeout_us = 2000000};
    f->settings = (struct link_settings){.options = &f->options, .tracking = LINK_TRACKS_READS};
    f->now_us = 1000000;
    link_init(&f->link);
    f->link.loop = &f->loop;
    f->link.context = f;
    f->link.enter = on_enter;
    f->link.on_up = on_up;
    f->link.on_down = on_down;
    f->link.on_notice = on_notice;
    f->link.on_rest = on_rest;
    *state = f;
    return 0;
}

/* The loop must be empty after the link is: nothing is left behind. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    heap_fail_at(-1);
    link_close(&f->link);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->link.state, LINK_IDLE);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    close(f->listener);
    if (f->peer >= 0) {
        close(f->peer);
    }
    for (unsigned i = 0; i < sent_count; i++) {
        assert_int_equal(sents[i].calls, 1);
    }
    free(f);
    return 0;
}

/* A link alone does not keep the loop going: something must. */
static void turn(struct fixture *f)
{
    assert_int_equal(uv_timer_start(&f->patience, on_patience, 1, 1), 0);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_timer_stop(&f->patience), 0);
    link_go_on(&f->link);
}

static uint64_t until_ms(void)
{
    return (uv_hrtime() / 1000000) + PATIENCE_MS;
}

static void wait_for_more(struct fixture *f, uint64_t end_ms, const char *what)
{
    if (uv_hrtime() / 1000000 > end_ms) {
        fail_msg("%s never came: %s", what, f->notes);
    }
    assert_int_equal(uv_timer_start(&f->patience, on_patience, 1, 1), 0);
    uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(uv_timer_stop(&f->patience), 0);
    link_go_on(&f->link);
}

#define WAIT_FOR(f, condition)                                                                 \
    for (uint64_t end_ms = until_ms(); !(condition); wait_for_more((f), end_ms, #condition)) { \
    }

static void open_link(struct fixture *f)
{
    struct error error = ERROR_INIT;
    assert_int_equal(link_open(&f->link, &f->settings, f->now_us, &error), 0);
}

static bool accept_peer(struct fixture *f)
{
    const int yes = 1;
    if (f->peer < 0) {
        f->peer = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK);
        if (f->peer >= 0) {
            assert_int_equal(setsockopt(f->peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), 0);
        }
    }
    return f->peer >= 0;
}

static void accept_link(struct fixture *f)
{
    open_link(f);
    assert_int_equal(fcntl(f->listener, F_SETFL, O_NONBLOCK), 0);
    WAIT_FOR(f, accept_peer(f));
}

static size_t read_some(struct fixture *f, char *out, size_t size)
{
    ssize_t count = read(f->peer, out, size);
    assert_true(count > 0 || (count < 0 && errno == EAGAIN));
    return count > 0 ? (size_t)count : 0;
}

/* Exactly these bytes come next. */
static void expect(struct fixture *f, const char *bytes)
{
    size_t size = strlen(bytes);
    size_t at = 0;
    char got[2048] = "";
    assert_true(size < sizeof(got));
    WAIT_FOR(f, (at += read_some(f, got + at, size - at)) == size);
    assert_string_equal(got, bytes);
}

static void say(struct fixture *f, const char *bytes)
{
    size_t size = strlen(bytes);
    assert_int_equal(write(f->peer, bytes, size), size);
}

/* As say, where the link may be gone already. */
static void try_say(struct fixture *f, const char *bytes)
{
    ssize_t written = write(f->peer, bytes, strlen(bytes));
    assert_true(written > 0 || errno == EPIPE || errno == ECONNRESET);
}

static void be_up(struct fixture *f)
{
    accept_link(f);
    expect(f, HELLO);
    say(f, HELLO_SAYS);
    expect(f, PING TRACKING INFO);
    say(f, "+PONG\r\n+OK\r\n" INFO_SAYS);
    WAIT_FOR(f, f->ups == 1);
}

static void send_one(struct fixture *f, char name);

static void on_done(struct link_command *command, enum link_outcome outcome,
                    struct resp_reader reply)
{
    struct sent *sent = CONTAINER_OF(command, struct sent, command);
    struct fixture *f = sent->f;
    struct resp_token token = resp_next(&reply);
    sent->calls++;
    sent->outcome = outcome;
    if (outcome != LINK_ANSWERED) {
        note("%c:%s ", sent->name, outcome == LINK_LOST ? "lost" : "unsent");
    } else if (token.kind == RESP_INTEGER) {
        note("%c=%d ", sent->name, (int)token.integer);
    } else {
        note("%c=%.*s ", sent->name, (int)token.size, (const char *)token.bytes);
    }
    if (f->close_when_done) {
        link_close(&f->link);
    }
    if (f->send_when_done && link_is_up(&f->link)) {
        f->send_when_done = false;
        send_one(f, 'z');
        link_flush(&f->link);
    }
}

static struct sent *prepare(struct fixture *f, char name)
{
    assert_true(sent_count < COMMANDS_MAX);
    struct sent *sent = &sents[sent_count++];
    *sent = (struct sent){.f = f, .name = name};
    sent->command.deadline_us = f->now_us + 1000000;
    sent->command.done = on_done;
    return sent;
}

static void send_one(struct fixture *f, char name)
{
    struct sent *sent = prepare(f, name);
    assert_int_equal(link_send(&f->link, &sent->command, GET, strlen(GET)), 0);
}

static void expect_down(struct fixture *f, const char *why)
{
    WAIT_FOR(f, f->downs == 1);
    if (strstr(f->error.message, why) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", why, f->error.message);
    }
    assert_int_equal(f->error.code, CODE_UNAVAILABLE);
}

/* ---- Greetings ---- */

static void greets(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    assert_false(f->link.tracking_refused);
    assert_true(f->link.lease.cover != 0);
    assert_string_equal(f->link.eviction_policy, "allkeys-lru");
    assert_true(f->link.eviction_bounded);
    assert_int_equal(f->link.commands, 0);
    assert_int_equal(f->link.writes, 0);
    uint64_t cover = f->link.lease.cover;
    link_renew(&f->link);
    assert_true(f->link.lease.cover > cover);
}

static void greets_with_all(void **state)
{
    struct fixture *f = *state;
    struct buffer prefixes = BUFFER_INIT;
    resp_word_text(&prefixes, "PREFIX");
    resp_word_text(&prefixes, "a:");
    resp_word_text(&prefixes, "PREFIX");
    resp_word_text(&prefixes, "b:");
    snprintf(f->options.user, HOME_WORD_MAX, "me");
    snprintf(f->options.password, HOME_WORD_MAX, "secret");
    f->options.database = 3;
    f->settings.tracking = LINK_TRACKS_PREFIXES;
    f->settings.prefixes = &prefixes;
    f->settings.prefix_count = 2;
    accept_link(f);
    expect(f, "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n");
    say(f, HELLO_SAYS);
    expect(f, PING "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
                   "*8\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$5\r\nBCAST\r\n"
                   "$6\r\nPREFIX\r\n$2\r\na:\r\n$6\r\nPREFIX\r\n$2\r\nb:\r\n" INFO);
    say(f, "+PONG\r\n+OK\r\n+OK\r\n-NOPERM no INFO for you\r\n");
    WAIT_FOR(f, f->ups == 1);
    assert_string_equal(f->link.eviction_policy, "");
    assert_false(f->link.eviction_bounded);
    assert_true(f->link.lease.cover != 0);
    buffer_release(&prefixes);
}

static void logs_in_without_a_password(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.user, HOME_WORD_MAX, "me");
    f->settings.tracking = LINK_UNTRACKED;
    accept_link(f);
    expect(f, "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$0\r\n\r\n");
    say(f, HELLO_SAYS);
    expect(f, PING INFO);
    say(f, "+PONG\r\n" INFO_SAYS);
    WAIT_FOR(f, f->ups == 1);
    assert_false(f->link.tracking_refused);
    assert_int_equal(f->link.lease.cover, 0);
}

static void speaks_resp2(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.password, HOME_WORD_MAX, "secret");
    accept_link(f);
    expect(f, "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\nsecret\r\n");
    say(f, "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'secret'\r\n");
    expect(f, "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n" PING INFO);
    say(f, "+OK\r\n+PONG\r\n-ERR unknown\r\n");
    WAIT_FOR(f, f->ups == 1);
    assert_true(f->link.tracking_refused);
    assert_non_null(strstr(f->link.tracking_error, "RESP3"));
    assert_null(strstr(f->link.tracking_error, "secret"));
    assert_int_equal(f->link.lease.cover, 0);
    send_one(f, 'a');
    link_flush(&f->link);
    expect(f, GET);
    say(f, "$-1\r\n");
    WAIT_FOR(f, sents[0].calls == 1);
}

static void is_refused(void **state)
{
    struct fixture *f = *state;
    accept_link(f);
    expect(f, HELLO);
    say(f, "-NOAUTH HELLO must be called with the client already authenticated\r\n");
    expect_down(f, "it asks for a password: NOAUTH");
    assert_int_equal(f->ups, 0);
}

static void has_wrong_password(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.password, HOME_WORD_MAX, "secret");
    accept_link(f);
    WAIT_FOR(f, f->link.state == LINK_GREETING);
    say(f, "-WRONGPASS it is not secret\r\n");
    expect_down(f, "the password was refused: ");
    assert_null(strstr(f->error.message, "secret"));
}

static void has_wrong_resp2_password(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.password, HOME_WORD_MAX, "secret");
    accept_link(f);
    WAIT_FOR(f, f->link.state == LINK_GREETING);
    say(f, "-NOPROTO sorry\r\n");
    WAIT_FOR(f, f->link.greetings == 3);
    say(f, "-ERR invalid password\r\n-NOAUTH no\r\n-NOAUTH no\r\n");
    expect_down(f, "the password was refused: ERR invalid password");
}

static void is_loading(void **state)
{
    struct fixture *f = *state;
    accept_link(f);
    expect(f, HELLO);
    say(f, HELLO_SAYS);
    expect(f, PING TRACKING INFO);
    say(f, "-LOADING Redis is loading\r\n+OK\r\n" INFO_SAYS);
    expect_down(f, "it cannot serve: LOADING");
    assert_int_equal(f->ups, 0);
}

static void lacks_the_database(void **state)
{
    struct fixture *f = *state;
    f->options.database = 99;
    accept_link(f);
    expect(f, HELLO);
    say(f, HELLO_SAYS);
    WAIT_FOR(f, f->link.greetings == 4);
    say(f, "+PONG\r\n-ERR DB index is out of range\r\n+OK\r\n" INFO_SAYS);
    expect_down(f, "database 99: ERR DB index");
}

static void refuses_tracking(void **state)
{
    struct fixture *f = *state;
    accept_link(f);
    expect(f, HELLO);
    say(f, HELLO_SAYS);
    expect(f, PING TRACKING INFO);
    say(f, "-NOPERM no PING\r\n-NOPERM no CLIENT\r\n" INFO_SAYS);
    WAIT_FOR(f, f->ups == 1);
    assert_true(f->link.tracking_refused);
    assert_string_equal(f->link.tracking_error, "NOPERM no CLIENT");
    assert_int_equal(f->link.lease.cover, 0);
}

/* ---- Commands and notices ---- */

static void answers_in_order(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    for (int i = 0; i < 4; i++) {
        send_one(f, (char)('a' + i));
    }
    link_flush(&f->link);
    assert_int_equal(f->link.writes, 1);
    assert_int_equal(f->link.commands, 4);
    expect(f, GET GET GET GET);
    const char *says =
        ":1\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\nk1\r\n$2\r\nk2\r\n"
        "-ERR no\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\nx\r\n"
        "$1\r\ny\r\n>2\r\n$10\r\ninvalidate\r\n$1\r\nx\r\n$1\r\nv\r\n_\r\n";
    /* Each byte alone. */
    for (size_t i = 0; says[i] != '\0'; i++) {
        assert_int_equal(write(f->peer, says + i, 1), 1);
        turn(f);
    }
    WAIT_FOR(f, sents[3].calls == 1);
    assert_string_equal(f->notes, "a=1 !k1 !k2 b=ERR no !all c=v d= ");
    assert_int_equal(f->link.ignored, 2);
}

static void loses_what_was_sent(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    send_one(f, 'b');
    link_flush(&f->link);
    send_one(f, 'c');
    expect(f, GET GET);
    say(f, ":1\r\n");
    WAIT_FOR(f, sents[0].calls == 1);
    close(f->peer);
    f->peer = -1;
    expect_down(f, "it closed the connection");
    assert_string_equal(f->notes, "a=1 b:lost c:unsent ");
    assert_int_equal(f->link.lease.cover, 0);
}

static void breaks_at_an_answer_to_nothing(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    say(f, "-ERR max number of clients reached\r\n");
    expect_down(f, "max number of clients reached");
    assert_string_equal(f->notes, "a:unsent ");
}

static void breaks_at_broken_bytes(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    link_flush(&f->link);
    say(f, "HTTP/1.1 400 Bad Request\r\n");
    expect_down(f, "its bytes are no answer");
    assert_string_equal(f->notes, "a:lost ");
}

static void asks(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    struct sent *sent = prepare(f, 'a');
    sent->command.asking = true;
    assert_int_equal(link_send(&f->link, &sent->command, GET, strlen(GET)), 0);
    send_one(f, 'b');
    link_flush(&f->link);
    expect(f, "*1\r\n$6\r\nASKING\r\n" GET GET);
    say(f, "+OK\r\n:1\r\n:2\r\n");
    WAIT_FOR(f, sents[1].calls == 1);
    assert_string_equal(f->notes, "a=1 b=2 ");
}

static void sends_from_an_answer(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    f->send_when_done = true;
    send_one(f, 'a');
    send_one(f, 'b');
    link_flush(&f->link);
    say(f, ":1\r\n:2\r\n");
    expect(f, GET GET GET);
    say(f, ":3\r\n");
    WAIT_FOR(f, sents[2].calls == 1);
    assert_string_equal(f->notes, "a=1 b=2 z=3 ");
}

static void closes_from_an_answer(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    f->close_when_done = true;
    send_one(f, 'a');
    send_one(f, 'b');
    link_flush(&f->link);
    say(f, ":1\r\n:2\r\n");
    WAIT_FOR(f, f->downs == 1);
    assert_string_equal(f->notes, "a=1 b:lost ");
    assert_int_equal(f->error.code, CODE_OK);
}

/* More than a socket takes at once: it goes out as the peer reads. */
static void sends_much(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 8 << 20 };
    be_up(f);
    char *bytes = malloc(BYTES);
    char *got = malloc(BYTES + sizeof(GET));
    assert_non_null(bytes);
    assert_non_null(got);
    memset(bytes, 'x', BYTES);
    struct sent *sent = prepare(f, 'a');
    assert_int_equal(link_send(&f->link, &sent->command, bytes, BYTES), 0);
    link_flush(&f->link);
    assert_true(f->link.writing);
    send_one(f, 'b');
    link_flush(&f->link);
    assert_false(sents[1].command.sent);
    size_t all = BYTES + strlen(GET);
    size_t at = 0;
    WAIT_FOR(f, (at += read_some(f, got + at, all - at)) == all);
    assert_memory_equal(got, bytes, BYTES);
    say(f, ":1\r\n:2\r\n");
    WAIT_FOR(f, sents[1].calls == 1);
    assert_int_equal(f->link.writes, 2);
    struct sent large = {.f = f};
    assert_int_equal(link_send(&f->link, &large.command, bytes, (size_t)LINK_OUTPUT_MAX + 1),
                     -CODE_OVERLOADED);
    free(bytes);
    free(got);
}

/* ---- Time ---- */

static void tick(struct fixture *f, uint64_t us)
{
    f->now_us += us;
    link_tick(&f->link, f->now_us);
    link_flush(&f->link);
}

/* One notice of many keys, as a script or a burst makes it: a part in each turn, and
 * what comes behind it in its order. */
static void hears_much_in_parts(void **state)
{
    enum { KEYS = 5000, PART = 1000 };
    static char bytes[64 + (KEYS * 8)];
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    link_flush(&f->link);
    expect(f, GET);
    int size = snprintf(bytes, sizeof(bytes), ">2\r\n$10\r\ninvalidate\r\n*%d\r\n", KEYS);
    for (int i = 0; i < KEYS; i++) {
        size += snprintf(bytes + size, sizeof(bytes) - (size_t)size, "$2\r\nkk\r\n");
    }
    say(f, bytes);
    say(f, ":7\r\n");
    f->only_counts = true;
    unsigned most = 0;
    for (uint64_t end_ms = until_ms(); f->note_size == 0;) {
        unsigned before = f->notices;
        unsigned rests = f->rests;
        wait_for_more(f, end_ms, "the answer");
        /* A turn may read for the first time, and then go on at once. */
        unsigned parts = f->rests - rests > 1 ? 2 : 1;
        most = f->notices - before > most * parts ? (f->notices - before) / parts : most;
    }
    assert_int_equal(f->notices, KEYS);
    assert_in_range(most, 1, PART);
    assert_in_range(f->rests, (KEYS / PART) - 1, 2 * KEYS / PART);
    assert_string_equal(f->notes, "a=7 ");
}

/* More than is read at once: the rest is read in later turns. */
static void reads_on_after_a_rest(void **state)
{
    enum { KEYS = 30000 };
    static const char notice[] = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nkk\r\n";
    static char bytes[KEYS * sizeof(notice)];
    struct fixture *f = *state;
    be_up(f);
    f->only_counts = true;
    size_t size = 0;
    for (int i = 0; i < KEYS; i++) {
        size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, "%s", notice);
    }
    size_t at = 0;
    for (uint64_t end_ms = until_ms(); f->notices < KEYS;) {
        ssize_t written = write(f->peer, bytes + at, size - at);
        at += written > 0 ? (size_t)written : 0;
        wait_for_more(f, end_ms, "the notices");
    }
    assert_int_equal(at, size);
    assert_true(f->rests > 0);
}

static void closes_at_rest(void **state)
{
    static char bytes[(2000 * 8) + 64];
    struct fixture *f = *state;
    be_up(f);
    int size = snprintf(bytes, sizeof(bytes), ">2\r\n$10\r\ninvalidate\r\n*2000\r\n");
    for (int i = 0; i < 2000; i++) {
        size += snprintf(bytes + size, sizeof(bytes) - (size_t)size, "$2\r\nkk\r\n");
    }
    say(f, bytes);
    f->only_counts = true;
    assert_int_equal(uv_timer_start(&f->patience, on_patience, 1, 1), 0);
    for (uint64_t end_ms = until_ms(); f->rests == 0;) {
        assert_true(uv_hrtime() / 1000000 < end_ms);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(uv_timer_stop(&f->patience), 0);
    link_close(&f->link);
    link_go_on(&f->link);
    WAIT_FOR(f, f->downs == 1);
    assert_int_equal(f->notices, 1000);
    /* The next session begins afresh. */
    close(f->peer);
    f->peer = -1;
    f->ups = 0;
    be_up(f);
    f->only_counts = false;
    say(f, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nend\r\n");
    WAIT_FOR(f, f->note_size > 0);
    assert_string_equal(f->notes, "!end ");
}

static void pings(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    uint64_t cover = f->link.lease.cover;
    assert_int_equal(lease_cover(&f->link.lease, f->now_us), cover);
    tick(f, LEASE_PING_US - 1);
    tick(f, 1);
    send_one(f, 'a');
    link_flush(&f->link);
    tick(f, LEASE_PING_US);
    expect(f, PING GET PING);
    tick(f, LEASE_US - (2 * LEASE_PING_US));
    assert_int_equal(lease_cover(&f->link.lease, f->now_us), 0);
    say(f, "+PONG\r\n:1\r\n");
    WAIT_FOR(f, sents[0].calls == 1);
    assert_int_equal(lease_cover(&f->link.lease, f->now_us), cover);
    assert_int_equal(f->link.commands, 1);
    assert_int_equal(f->link.writes, 1);
}

static void pings_are_bounded(void **state)
{
    struct fixture *f = *state;
    f->options.timeout_us = 100 * (uint64_t)1000000;
    be_up(f);
    for (unsigned i = 0; i < 3 * LEASE_PINGS_MAX; i++) {
        tick(f, LEASE_PING_US);
    }
    char got[4096];
    size_t size = 0;
    WAIT_FOR(f, (size += read_some(f, got + size, sizeof(got) - size)) ==
                    strlen(PING) * LEASE_PINGS_MAX);
    assert_int_equal(f->link.state, LINK_UP);
    for (unsigned i = 0; i < LEASE_PINGS_MAX; i++) {
        say(f, "+PONG\r\n");
    }
    WAIT_FOR(f, list_empty(&f->link.waiting));
    tick(f, LEASE_PING_US);
    expect(f, PING);
}

static void has_a_deadline_to_connect(void **state)
{
    struct fixture *f = *state;
    accept_link(f);
    tick(f, f->options.timeout_us);
    assert_int_not_equal(f->link.state, LINK_CLOSING);
    tick(f, 1);
    expect_down(f, "not connected within 2000 ms");
    assert_int_equal(f->link.timeouts, 1);
}

static void has_deadlines(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    link_flush(&f->link);
    send_one(f, 'b');
    tick(f, 2000000);
    assert_int_equal(f->link.state, LINK_UP);
    tick(f, 1);
    expect_down(f, "no answer within the time allowed");
    assert_string_equal(f->notes, "a:lost b:lost ");
    assert_int_equal(f->link.timeouts, 1);
}

/* What comes before an answer is a sign of life, and so is a part of it. */
static void gives_time_to_who_is_talking(void **state)
{
    static const char parts[][40] = {">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", "$3\r\nx",
                                     "y"};
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    link_flush(&f->link);
    expect(f, GET);
    for (unsigned i = 0; i < ARRAY_COUNT(parts); i++) {
        tick(f, 1900000);
        say(f, parts[i]);
        WAIT_FOR(f, f->link.heard_us == f->now_us);
        assert_int_equal(f->link.state, LINK_UP);
    }
    tick(f, 1900000);
    say(f, "z\r\n");
    WAIT_FOR(f, f->note_size > strlen("!k "));
    assert_string_equal(f->notes, "!k a=xyz ");
    send_one(f, 'b');
    link_flush(&f->link);
    tick(f, 2000001);
    tick(f, 1);
    expect_down(f, "no answer within the time allowed");
}

/* The answer is there, but the loop stood still and has not read it. */
static void outlives_a_long_turn(void **state)
{
    struct fixture *f = *state;
    be_up(f);
    send_one(f, 'a');
    send_one(f, 'b');
    link_flush(&f->link);
    expect(f, GET GET);
    say(f, ":1\r\n");
    tick(f, 5000000);
    assert_int_equal(f->link.state, LINK_UP);
    WAIT_FOR(f, sents[0].calls == 1);
    /* The other one has not come; slow turns alone do not save it. */
    tick(f, 5000000);
    expect_down(f, "no answer within the time allowed");
    assert_string_equal(f->notes, "a=1 b:lost ");
}

/* ---- Addresses ---- */

static void is_not_there(void **state)
{
    struct fixture *f = *state;
    close(f->listener);
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    open_link(f);
    expect_down(f, "connecting: connection refused");
}

static void goes_by_name(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.host, HOME_HOST_MAX, "localhost");
    be_up(f);
}

static void goes_to_another_node(void **state)
{
    struct fixture *f = *state;
    char host[] = "127.0.0.1";
    f->settings.host = host;
    f->settings.port = f->options.port;
    f->options.port = 1;
    be_up(f);
    assert_int_equal(f->link.port, f->settings.port);
}

static void has_no_such_name(void **state)
{
    struct fixture *f = *state;
    struct error error = ERROR_INIT;
    snprintf(f->options.host, HOME_HOST_MAX, "not a name..");
    open_link(f);
    expect_down(f, "its name is not known");
    f->options.is_unix = true;
    memset(f->options.host, 'x', 200);
    f->options.host[200] = '\0';
    assert_int_equal(link_open(&f->link, &f->settings, f->now_us, &error), -CODE_UNAVAILABLE);
    assert_non_null(strstr(error.message, "too long"));
    snprintf(f->options.host, HOME_HOST_MAX, "no/such/socket");
    f->downs = 0;
    open_link(f);
    expect_down(f, "no/such/socket: connecting: no such file");
}

/* ---- Ends ---- */

static void closes_in_each_state(void **state)
{
    struct fixture *f = *state;
    link_close(&f->link);
    assert_int_equal(f->downs, 0);
    for (unsigned turns = 0; f->ups == 0; turns++) {
        f->downs = 0;
        open_link(f);
        assert_int_equal(fcntl(f->listener, F_SETFL, O_NONBLOCK), 0);
        for (unsigned i = 0; i < turns; i++) {
            turn(f);
            if (accept_peer(f) && f->link.state == LINK_GREETING) {
                try_say(f, f->link.greetings == 1 ? HELLO_SAYS : "+PONG\r\n");
            }
        }
        if (f->link.state == LINK_GREETING && f->link.greetings == 0) {
            break;
        }
        link_close(&f->link);
        link_close(&f->link);
        WAIT_FOR(f, f->downs == 1);
        assert_int_equal(f->error.code, CODE_OK);
        while (accept_peer(f)) {
            close(f->peer);
            f->peer = -1;
        }
        assert_true(turns < 1000);
    }
}

static void closes_while_resolving(void **state)
{
    struct fixture *f = *state;
    snprintf(f->options.host, HOME_HOST_MAX, "localhost");
    open_link(f);
    assert_int_equal(f->link.state, LINK_RESOLVING);
    link_close(&f->link);
    WAIT_FOR(f, f->downs == 1);
    assert_int_equal(f->error.code, CODE_OK);
}

/* Wherever memory lacks, the link breaks with words, or comes up. */
static void lacks_memory(void **state)
{
    struct fixture *f = *state;
    bool failed = true;
    for (long count = 0; failed; count++) {
        f->ups = f->downs = 0;
        accept_link(f);
        heap_fail_at(count);
        bool said[2] = {false, false};
        while (f->ups == 0 && f->downs == 0) {
            turn(f);
            if (f->link.state == LINK_GREETING && f->link.greetings == 1 && !said[0]) {
                said[0] = true;
                try_say(f, HELLO_SAYS);
            } else if (f->link.state == LINK_GREETING && f->link.greetings == 3 && !said[1]) {
                said[1] = true;
                try_say(f, "+PONG\r\n+OK\r\n" INFO_SAYS);
            }
        }
        struct sent *sent = prepare(f, 'a');
        bool is_sent = f->ups == 1 && link_send(&f->link, &sent->command, GET, strlen(GET)) == 0;
        sent->calls = is_sent ? 0 : 1;
        failed = heap_failed();
        heap_fail_at(-1);
        link_close(&f->link);
        WAIT_FOR(f, f->link.state == LINK_IDLE);
        close(f->peer);
        f->peer = -1;
        f->note_size = 0;
    }
}

/* Answers and notices in random pieces come in the order in which they were said. */
static void says_at_random(void **state)
{
    struct fixture *f = *state;
    struct random random = random_start("says_at_random");
    be_up(f);
    char expected[NOTES_MAX] = "";
    size_t expected_size = 0;
    char says[NOTES_MAX * 8];
    size_t size = 0;
    unsigned answered = 0;
    for (unsigned i = 0; i < 200; i++) {
        send_one(f, (char)('a' + i % 26));
    }
    link_flush(&f->link);
    while (answered < 200) {
        unsigned number = (unsigned)random_below(&random, 100);
        if (random_below(&random, 3) == 0) {
            size += (size_t)sprintf(says + size, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\n%02u\r\n",
                                    number);
            expected_size += (size_t)sprintf(expected + expected_size, "!%02u ", number);
        } else {
            size += (size_t)sprintf(says + size, ":%u\r\n", number);
            expected_size +=
                (size_t)sprintf(expected + expected_size, "%c=%u ", 'a' + answered % 26, number);
            answered++;
        }
    }
    for (size_t at = 0; at < size;) {
        size_t piece = 1 + random_below(&random, 60);
        piece = piece < size - at ? piece : size - at;
        assert_int_equal(write(f->peer, says + at, piece), piece);
        at += piece;
        turn(f);
    }
    WAIT_FOR(f, sents[199].calls == 1);
    assert_string_equal(f->notes, expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(greets),
        TEST(greets_with_all),
        TEST(logs_in_without_a_password),
        TEST(speaks_resp2),
        TEST(is_refused),
        TEST(has_wrong_password),
        TEST(has_wrong_resp2_password),
        TEST(is_loading),
        TEST(lacks_the_database),
        TEST(refuses_tracking),
        TEST(answers_in_order),
        TEST(loses_what_was_sent),
        TEST(breaks_at_an_answer_to_nothing),
        TEST(breaks_at_broken_bytes),
        TEST(asks),
        TEST(sends_from_an_answer),
        TEST(closes_from_an_answer),
        TEST(sends_much),
        TEST(hears_much_in_parts),
        TEST(reads_on_after_a_rest),
        TEST(closes_at_rest),
        TEST(pings),
        TEST(pings_are_bounded),
        TEST(has_a_deadline_to_connect),
        TEST(has_deadlines),
        TEST(gives_time_to_who_is_talking),
        TEST(outlives_a_long_turn),
        TEST(is_not_there),
        TEST(goes_by_name),
        TEST(goes_to_another_node),
        TEST(has_no_such_name),
        TEST(closes_in_each_state),
        TEST(closes_while_resolving),
        TEST(lacks_memory),
        TEST(says_at_random),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/connection.h"
#include "daemon/log.h"
#include "daemon/provider.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/message.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "tests/lib/random.h"

/* A connection over a socketpair, with a dispatch of the test's own in the
 * place of the real one: "ping" answers at once, "wait" when it is told to,
 * "big" with many bytes. */

enum { BIG_BYTES = 100000, TURNS_MAX = 20000 };

struct waiting {
    struct list link;
    uint32_t id;
};

static struct loop loop;
static struct dispatch dispatcher;
static struct limits limits;
static struct daemon_counters counters;
static struct work work;
static struct connection *connection;
static int peer;
static uv_timer_t listener; /* stands for one: it keeps the loop alive */
static size_t executed;
static bool closed;
static bool providing;
static bool gone;
static size_t responses;
static struct remote_call *broken_call;

/* --- The other rooms -------------------------------------------------------- */

bool engine_turn(struct engine *engine, uint64_t now_us)
{
    (void)engine;
    (void)now_us;
    return false;
}

uint64_t engine_next_us(const struct engine *engine)
{
    (void)engine;
    return 0;
}

void dispatch_refuse(struct dispatch *dispatch, struct client *client, uint32_t id,
                     const struct error *error)
{
    assert_ptr_equal(dispatch, &dispatcher);
    message_error(&client->output, id, error, false);
}

static void answer(struct client *client, uint32_t id, size_t size)
{
    static const char bytes[BIG_BYTES] = {0};
    message_result(&client->output, id);
    write_binary(&client->output, bytes, size);
}

static void begin_waiting(struct client *client, uint32_t id)
{
    struct error error;
    struct waiting *waiting = heap_alloc(sizeof(*waiting));
    if (waiting == NULL || session_begin(&client->session, id) != 0) {
        heap_free(waiting);
        error_set(&error, CODE_OVERLOADED, "no memory");
        message_error(&client->output, id, &error, false);
        return;
    }
    waiting->id = id;
    list_init(&waiting->link);
    list_append(&client->requests, &waiting->link);
    client->request_count++;
}

void dispatch_message(struct dispatch *dispatch, struct client *client,
                      const struct message *message)
{
    assert_ptr_equal(dispatch, &dispatcher);
    assert_true(dispatch->now_us > 0);
    executed++;
    if (message->kind != MESSAGE_REQUEST) {
        return;
    }
    if (memcmp(message->method, "wait", 4) == 0) {
        begin_waiting(client, message->id);
    } else {
        answer(client, message->id, memcmp(message->method, "big", 3) == 0 ? BIG_BYTES : 4);
    }
}

static void end_all(struct client *client, const struct error *error)
{
    while (!list_empty(&client->requests)) {
        struct waiting *waiting = CONTAINER_OF(client->requests.next, struct waiting, link);
        bool in_use = session_end(&client->session, waiting->id);
        if (error != NULL && in_use) {
            message_error(&client->output, waiting->id, error, false);
        }
        list_remove(&waiting->link);
        client->request_count--;
        heap_free(waiting);
    }
}

void dispatch_end_client(struct dispatch *dispatch, struct client *client,
                         const struct error *error)
{
    assert_ptr_equal(dispatch, &dispatcher);
    assert_string_equal(error->outcome, "unknown");
    end_all(client, error);
}

void dispatch_drop_client(struct dispatch *dispatch, struct client *client)
{
    assert_ptr_equal(dispatch, &dispatcher);
    end_all(client, NULL);
}

/* The connection's client provides while a test says so. */
void provider_init(struct client *client)
{
    list_init(&client->caller.providers);
}

bool provider_is(const struct client *client)
{
    (void)client;
    return providing;
}

void provider_answered(struct dispatch *dispatch, struct client *client,
                       const struct message *message)
{
    assert_ptr_equal(dispatch, &dispatcher);
    assert_ptr_equal(client, &connection->client);
    assert_int_equal(message->kind, MESSAGE_RESPONSE);
    responses++;
}

struct remote_call *provider_broken_call(struct client *client, const uint8_t *bytes, size_t size)
{
    uint32_t id = 0;
    assert_true(size > 1 && bytes[1] == 0x01);
    return session_take_call(&client->session, &id);
}

void provider_gone(struct dispatch *dispatch, struct client *client, struct remote_call *too_large)
{
    assert_ptr_equal(dispatch, &dispatcher);
    assert_ptr_equal(client, &connection->client);
    if (too_large != NULL) {
        broken_call = too_large;
    }
    gone = true;
    providing = false;
}

/* --- A connection ----------------------------------------------------------- */

static void on_closed(struct connection *ended, void *context)
{
    assert_ptr_equal(ended, connection);
    assert_ptr_equal(context, &peer);
    assert_false(closed);
    closed = true;
    connection_free(ended);
}

static void turns(unsigned count)
{
    while (count-- > 0) {
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    }
}

static void on_never(uv_timer_t *timer)
{
    (void)timer;
    fail();
}

static void open_connection(void)
{
    int ends[2];
    limits = (struct limits)LIMITS_DEFAULT;
    dispatcher = (struct dispatch){.limits = &limits, .counters = &counters, .work = &work};
    executed = 0;
    closed = false;
    providing = false;
    gone = false;
    responses = 0;
    broken_call = NULL;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(loop_open(&loop, &dispatcher), 0);
    assert_int_equal(uv_timer_init(&loop.uv, &listener), 0);
    assert_int_equal(uv_timer_start(&listener, on_never, UINT64_C(3600000), 0), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    peer = ends[0];
    connection = connection_create(&loop, 1, false, on_closed, &peer);
    assert_int_equal(uv_pipe_open(&connection->socket.pipe, ends[1]), 0);
    connection_start(connection);
}

/* Whatever state it is in; nothing may be left. */
static void close_all(void)
{
    if (!closed) {
        connection_close(connection);
        connection_close(connection);
    }
    turns(5);
    assert_true(closed);
    assert_int_equal(work.bytes, 0);
    uv_close((uv_handle_t *)&listener, NULL);
    loop_close(&loop);
    close(peer);
}

static void put_request(struct buffer *out, uint32_t id, const char *method)
{
    message_request(out, id, method);
    write_array(out, 0);
}

static void send_bytes(const struct buffer *bytes)
{
    assert_int_equal(send(peer, bytes->bytes, bytes->size, MSG_NOSIGNAL), bytes->size);
}

static void send_request(uint32_t id, const char *method)
{
    struct buffer out = BUFFER_INIT;
    put_request(&out, id, method);
    send_bytes(&out);
    buffer_release(&out);
}

/* Reads what there is; true at the end of the stream. */
static bool receive(struct buffer *in)
{
    for (;;) {
        assert_true(buffer_reserve(in, 1 << 16));
        ssize_t size = recv(peer, in->bytes + in->size, 1 << 16, 0);
        if (size <= 0) {
            return size == 0;
        }
        in->size += (size_t)size;
    }
}

struct answers {
    size_t results;
    size_t errors;
    uint32_t last_id;
    char last_error[256];
};

static struct answers read_answers(const struct buffer *in)
{
    struct answers answers = {0};
    struct reader reader = reader_of(in->bytes, in->size);
    while (reader.at < reader.end) {
        assert_int_equal(reader_next(&reader).count, 4);
        assert_int_equal(reader_next(&reader).integer, 1);
        answers.last_id = (uint32_t)reader_next(&reader).integer;
        struct token error = reader_next(&reader);
        if (error.kind == TOKEN_STRING) {
            size_t size = error.size < 255 ? error.size : 255;
            memcpy(answers.last_error, error.bytes, size);
            answers.last_error[size] = '\0';
            answers.errors++;
        } else {
            answers.results++;
        }
        assert_true(reader_skip(&reader));
    }
    return answers;
}

/* Turns until there are as many answers, or until the end for SIZE_MAX. */
static struct answers await_answers(size_t count)
{
    struct buffer in = BUFFER_INIT;
    for (unsigned i = 0;; i++) {
        assert_true(i < TURNS_MAX);
        turns(1);
        bool end = receive(&in);
        /* A frame may be cut: only whole ones are looked at. */
        struct frame_scanner scanner;
        frame_scanner_init(&scanner, (struct frame_limits){1 << 30, 8});
        size_t whole = 0, frames = 0, size;
        while (whole < in.size &&
               frame_scan(&scanner, in.bytes + whole, in.size - whole, &size) == FRAME_WHOLE) {
            whole += size;
            frames++;
        }
        if (end || frames >= count) {
            assert_true(whole == in.size);
            struct answers answers = read_answers(&in);
            buffer_release(&in);
            return answers;
        }
    }
}

/* --- Tests ------------------------------------------------------------------ */

static void test_answers(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    for (uint32_t i = 0; i < 3000; i++) {
        put_request(&out, i, "ping");
    }
    send_bytes(&out);
    turns(1);
    assert_in_range(executed, 1, TURN_FRAMES_MAX); /* its share of a turn */
    assert_int_equal(await_answers(3000).results, 3000);
    assert_int_equal(counters.bytes_in, out.size);
    assert_int_equal(connection->input.capacity + connection->client.output.capacity, 0);
    buffer_release(&out);
    close_all();
}

static void test_pending_answers_after_half_close(void **state)
{
    (void)state;
    open_connection();
    send_request(1, "wait");
    send_request(2, "ping");
    shutdown(peer, SHUT_WR);
    assert_int_equal(await_answers(1).last_id, 2);
    turns(5);
    assert_false(closed);
    struct error error;
    error_set(&error, CODE_TIMEOUT, "too late");
    end_all(&connection->client, &error);
    connection->client.wake(&connection->client);
    struct answers answers = await_answers(SIZE_MAX);
    assert_int_equal(answers.last_id, 1);
    assert_string_equal(answers.last_error, "timeout: too late");
    assert_true(closed);
    close_all();
}

static void test_broken_session(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    put_request(&out, 1, "wait");
    put_request(&out, 2, "wait");
    write_array(&out, 4);
    write_integer(&out, 0);
    write_integer(&out, 3);
    write_nil(&out); /* no method */
    write_nil(&out);
    put_request(&out, 4, "ping"); /* never executed */
    send_bytes(&out);
    struct answers answers = await_answers(SIZE_MAX);
    assert_int_equal(answers.errors, 3);
    assert_non_null(strstr(answers.last_error, "unavailable: "));
    assert_int_equal(executed, 2);
    assert_int_equal(connection->state, CONNECTION_LINGERING);
    /* It goes on listening, to nothing, for a while. */
    send_bytes(&out);
    turns(3);
    assert_int_equal(executed, 2);
    assert_true(connection_watched(connection));
    connection_tick(connection, loop_now_us(), 1);
    assert_int_equal(connection->state, CONNECTION_LINGERING);
    connection_tick(connection, loop_now_us() + LINGER_US + 1, 1);
    assert_int_equal(connection->state, CONNECTION_CLOSING);
    buffer_release(&out);
    close_all();
}

static void test_waits_for_a_slow_client(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    for (uint32_t i = 0; i < 200; i++) {
        put_request(&out, i, "big");
    }
    send_bytes(&out);
    turns(50);
    assert_true(connection->blocked);
    assert_in_range(executed, 1, OUTPUT_HIGH_BYTES / BIG_BYTES + 8);
    assert_in_range(work.bytes, OUTPUT_HIGH_BYTES / 2, 2 * OUTPUT_HIGH_BYTES);
    size_t before = executed;
    turns(50);
    assert_int_equal(executed, before);
    assert_int_equal(await_answers(200).results, 200);
    assert_int_equal(executed, 200);
    assert_false(connection->blocked);
    buffer_release(&out);
    close_all();
}

static void test_closes_a_stalled_client(void **state)
{
    (void)state;
    static const uint64_t stall_us = 1000;
    open_connection();
    struct buffer out = BUFFER_INIT, in = BUFFER_INIT;
    for (uint32_t i = 0; i < 20; i++) {
        put_request(&out, i, "big");
    }
    send_bytes(&out);
    turns(20);
    assert_true(connection_watched(connection));
    connection_tick(connection, 1000000, stall_us);
    connection_tick(connection, 1000000 + stall_us - 1, stall_us);
    assert_int_equal(connection->state, CONNECTION_OPEN);
    /* It takes some: it has its time again. */
    receive(&in);
    turns(1);
    connection_tick(connection, 1000000 + stall_us, stall_us);
    connection_tick(connection, 1000000 + 2 * stall_us - 1, stall_us);
    assert_int_equal(connection->state, CONNECTION_OPEN);
    connection_tick(connection, 1000000 + 2 * stall_us, stall_us);
    assert_int_equal(connection->state, CONNECTION_CLOSING);
    buffer_release(&out);
    buffer_release(&in);
    close_all();
}

static void test_refuses_what_is_too_much(void **state)
{
    (void)state;
    open_connection();
    limits.requests_waiting_per_connection = 3;
    for (uint32_t i = 1; i <= 4; i++) {
        send_request(i, "wait");
    }
    struct answers answers = await_answers(1);
    assert_int_equal(answers.last_id, 4);
    assert_non_null(strstr(answers.last_error, "overloaded: "));
    assert_non_null(strstr(answers.last_error, "requests_waiting_per_connection"));
    assert_int_equal(connection->client.request_count, 3);

    limits.requests_waiting_per_connection = 100;
    work.bytes += limits.work_bytes + 1;
    send_request(5, "ping");
    answers = await_answers(1);
    assert_non_null(strstr(answers.last_error, "work_bytes"));
    work.bytes -= limits.work_bytes + 1;
    send_request(5, "ping");
    assert_int_equal(await_answers(1).results, 1);
    close_all();
}

/* A call of ours, as dispatch's provider makes them; any address is one. */
static uint32_t call_out(void)
{
    static int call;
    uint32_t id = 0;
    assert_int_equal(session_call(&connection->client.session, &call, &id), 0);
    return id;
}

static void put_response(struct buffer *out, uint32_t id, size_t size)
{
    static const char bytes[4 * BIG_BYTES] = {0};
    message_result(out, id);
    write_binary(out, bytes, size);
}

static void test_never_pauses_a_provider(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    providing = true;
    for (uint32_t i = 0; i < 100; i++) {
        put_request(&out, i, "big");
    }
    put_response(&out, call_out(), 10);
    send_bytes(&out);
    turns(50);
    assert_int_equal(responses, 1);
    assert_false(connection->blocked);
    assert_in_range(executed, 1, OUTPUT_HIGH_BYTES / BIG_BYTES + 8);
    struct answers answers = await_answers(100);
    assert_int_equal(answers.results, executed);
    assert_int_equal(answers.errors, 100 - executed);
    assert_non_null(strstr(answers.last_error, "overloaded: "));
    /* What even refusals would take is too much. */
    limits.work_bytes = OUTPUT_HIGH_BYTES;
    out.size = 0;
    for (uint32_t i = 0; i < 100; i++) {
        put_request(&out, i, "big");
    }
    send_bytes(&out);
    turns(50);
    assert_true(connection->blocked);
    buffer_release(&out);
    close_all();
    assert_true(gone);
}

/* Its answers may be larger than its requests. */
static void test_larger_frames_of_a_provider(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    providing = true;
    limits.frame_bytes = 1000;
    connection->client.session.scanner.limits.bytes_max = 2 * BIG_BYTES;
    put_response(&out, call_out(), BIG_BYTES);
    put_request(&out, 1, "ping");
    send_bytes(&out);
    assert_int_equal(await_answers(1).results, 1);
    assert_int_equal(responses, 1);
    out.size = 0;
    message_request(&out, 2, "ping");
    write_array(&out, 1);
    write_binary(&out, (const char[1000]){0}, 1000);
    send_bytes(&out);
    struct answers answers = await_answers(SIZE_MAX);
    assert_int_equal(answers.last_id, 2);
    assert_non_null(strstr(answers.last_error, "frame_bytes"));
    assert_true(gone);
    assert_null(broken_call);
    buffer_release(&out);
    close_all();
}

static void test_too_large_an_answer(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    providing = true;
    connection->client.session.scanner.limits.bytes_max = BIG_BYTES;
    put_response(&out, call_out(), (size_t)2 * BIG_BYTES);
    out.size = 100; /* what announces it is enough */
    send_bytes(&out);
    struct answers answers = await_answers(SIZE_MAX);
    assert_int_equal(answers.results + answers.errors, 0);
    assert_non_null(broken_call);
    assert_int_equal(responses, 0);
    buffer_release(&out);
    close_all();
}

/* It goes on answering, also what has arrived, until connection_end. */
static void test_drains_a_provider(void **state)
{
    (void)state;
    open_connection();
    providing = true;
    struct buffer out = BUFFER_INIT;
    send_request(1, "ping");
    connection_drain(connection);
    assert_false(connection->client.draining);
    assert_int_equal(await_answers(1).results, 1);
    assert_true(connection->client.draining);
    uint32_t id = call_out();
    assert_false(connection_idle(connection));
    put_response(&out, id, 10);
    send_bytes(&out);
    turns(5);
    assert_int_equal(responses, 1);
    assert_true(connection_idle(connection));
    connection_end(connection);
    assert_int_equal(await_answers(SIZE_MAX).results, 0);
    buffer_release(&out);
    close_all();
}

static void test_ends_in_order(void **state)
{
    (void)state;
    open_connection();
    struct buffer out = BUFFER_INIT;
    for (uint32_t i = 0; i < 2500; i++) {
        put_request(&out, i, i == 7 ? "wait" : "ping");
    }
    send_bytes(&out);
    /* Nothing is read yet, but all has arrived. */
    connection_end(connection);
    connection_end(connection);
    assert_int_equal(await_answers(2499).results, 2499);
    assert_int_equal(connection->state, CONNECTION_ENDING);
    connection_give_up(connection);
    struct answers answers = await_answers(SIZE_MAX);
    assert_int_equal(answers.last_id, 7);
    assert_non_null(strstr(answers.last_error, "unavailable: "));
    assert_int_equal(executed, 2500);
    buffer_release(&out);
    close_all();
}

static void test_vanishes(void **state)
{
    (void)state;
    open_connection();
    send_request(1, "wait");
    for (uint32_t i = 2; i < 100; i++) {
        send_request(i, "big");
    }
    turns(3);
    close(peer);
    for (unsigned i = 0; !closed; i++) {
        assert_true(i < TURNS_MAX);
        turns(1);
    }
    peer = -1;
    close_all();
}

/* Closed from outside after each number of turns: nothing is left behind. */
static void test_closed_at_each_step(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 12; steps++) {
        open_connection();
        struct buffer out = BUFFER_INIT;
        put_request(&out, 1, "wait");
        for (uint32_t i = 2; i < 40; i++) {
            put_request(&out, i, "big");
        }
        send_bytes(&out);
        turns(steps);
        close_all();
        buffer_release(&out);
    }
}

/* Each allocation fails once: it answers or it closes, and nothing is left. */
static void test_without_memory(void **state)
{
    (void)state;
    int failed;
    long count = 0;
    do {
        open_connection();
        struct buffer out = BUFFER_INIT, in = BUFFER_INIT;
        put_request(&out, 1, "wait");
        message_request(&out, 2, "ping");
        write_array(&out, 1);
        static const char text[20000] = {0};
        write_binary(&out, text, sizeof(text));
        put_request(&out, 3, "big");
        heap_fail_at(count++);
        for (size_t at = 0; at < out.size && !closed; at += 6000) {
            size_t size = out.size - at < 6000 ? out.size - at : 6000;
            (void)send(peer, out.bytes + at, size, MSG_NOSIGNAL);
            turns(2);
        }
        turns(3);
        failed = heap_failed();
        heap_fail_at(-1);
        receive(&in);
        buffer_release(&in);
        buffer_release(&out);
        close_all();
    } while (failed);
    assert_true(count > 4);
}

/* However a stream is cut, and whatever limits its pace, each request is
 * answered once. */
static void test_random_cuts(void **state)
{
    (void)state;
    struct random random = random_start("connection");
    for (int round = 0; round < 60; round++) {
        open_connection();
        struct buffer out = BUFFER_INIT, in = BUFFER_INIT;
        uint32_t count = (uint32_t)random_below(&random, 300) + 1;
        for (uint32_t i = 0; i < count; i++) {
            static const char text[9000] = {0};
            message_request(&out, i, random_below(&random, 20) == 0 ? "big" : "ping");
            write_array(&out, 1);
            uint64_t most = random_below(&random, 10) == 0 ? sizeof(text) : 50;
            write_binary(&out, text, (size_t)random_below(&random, most));
        }
        size_t most = (size_t)random_below(&random, 20000) + 1;
        for (size_t at = 0; at < out.size;) {
            size_t left = out.size - at;
            size_t size = (size_t)random_below(&random, most) + 1;
            ssize_t sent = send(peer, out.bytes + at, size < left ? size : left, MSG_NOSIGNAL);
            at += sent > 0 ? (size_t)sent : 0;
            if (sent < 0 || random_below(&random, 2) == 0) {
                turns(1);
                receive(&in);
            }
        }
        for (unsigned i = 0; executed < count || work.bytes > 0; i++) {
            assert_true(i < TURNS_MAX);
            turns(1);
            receive(&in);
        }
        receive(&in);
        assert_int_equal(read_answers(&in).results, count);
        buffer_release(&in);
        buffer_release(&out);
        close_all();
    }
}

static int reset(void **state)
{
    (void)state;
    counters = (struct daemon_counters){0};
    work = (struct work){0};
    return 0;
}

int main(void)
{
    log_setup(STDERR_FILENO, LOG_ERROR, LOG_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_answers, reset),
        cmocka_unit_test_setup(test_pending_answers_after_half_close, reset),
        cmocka_unit_test_setup(test_broken_session, reset),
        cmocka_unit_test_setup(test_waits_for_a_slow_client, reset),
        cmocka_unit_test_setup(test_closes_a_stalled_client, reset),
        cmocka_unit_test_setup(test_refuses_what_is_too_much, reset),
        cmocka_unit_test_setup(test_never_pauses_a_provider, reset),
        cmocka_unit_test_setup(test_larger_frames_of_a_provider, reset),
        cmocka_unit_test_setup(test_too_large_an_answer, reset),
        cmocka_unit_test_setup(test_drains_a_provider, reset),
        cmocka_unit_test_setup(test_ends_in_order, reset),
        cmocka_unit_test_setup(test_vanishes, reset),
        cmocka_unit_test_setup(test_closed_at_each_step, reset),
        cmocka_unit_test_setup(test_without_memory, reset),
        cmocka_unit_test_setup(test_random_cuts, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

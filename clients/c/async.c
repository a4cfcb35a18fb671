#include "clients/c/relata.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "clients/c/expiries.h"
#include "clients/c/dial.h"
#include "clients/c/fault.h"
#include "clients/c/wire.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"

/* The happy path is: the first turn of the loop resolves the host (tcp by name
 * only) and connects; the output, which begins with the greeting, is written
 * once a turn by the idle handle; answers call back as they are read; close
 * closes the handles, and the last of them frees the client.
 *
 *   state       what is under way                 next
 *   RESOLVING   uv_getaddrinfo, or the first turn CONNECTING
 *   CONNECTING  uv_*_connect, address by address  OPEN
 *   OPEN        reading, writing                  -
 *   any         (a failure: see fail)             BROKEN
 *   any         (relata_async_close)              CLOSING
 *
 * Possible failures are: nobody there, a lost connection, a faulty answer, a
 * greeting refused or late. Each ends in fail(), which is only ever called from
 * the loop: it answers all that waits, and leaves the handles to close. */

enum async_state { RESOLVING, CONNECTING, OPEN, BROKEN, CLOSING };

struct async_call {
    struct expiry expiry;
    uint32_t id;
    relata_async_answer *answer;
    void *data;
};

struct relata_async {
    uint32_t magic;
    enum async_state state;
    unsigned handles; /* that are not closed yet */
    bool resolving;
    bool socket_open; /* initialised, and not closed or closing */
    bool write_out;
    bool hello_waits; /* the greeting is not answered */
    uv_loop_t *loop;
    struct endpoint endpoint;
    struct wire_options options;

    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses; /* all that were found */
    struct addrinfo *address;   /* the one that is tried */

    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } socket;
    uv_connect_t connect;
    uv_idle_t idle;   /* active while something is to be begun or written this turn */
    uv_timer_t timer; /* at the first deadline */
    uint64_t timer_at_ms;

    struct wire wire;
    struct buffer writing; /* what the write under way holds */
    uv_write_t write;

    struct expiries expiries; /* of all calls that wait */
    struct async_call hello;  /* waits as a call does */
    uint8_t *greeting;        /* what it answered */
    size_t greeting_size;
    struct relata_error cause; /* why it is broken */

    relata_async_ready *ready;
    void *ready_data;
    relata_async_closed *closed;
    void *closed_data;
};

enum {
    ASYNC_MAGIC = 0x72656c61,
    /* A larger buffer is given back when it is written. */
    WRITING_KEPT_BYTES = 1 << 20
};

static struct relata_async *async_of(void *data)
{
    struct relata_async *async = data;
    CHECK(async->magic == ASYNC_MAGIC);
    return async;
}

/* --- Calls that wait ---------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

/* Sets the timer where the first deadline is earlier than what it is set to. */
static void set_timer(struct relata_async *async)
{
    const struct expiry *first = expiries_first(&async->expiries);
    if (first == NULL || async->state >= BROKEN) {
        return;
    }
    if (uv_is_active((const uv_handle_t *)&async->timer) && async->timer_at_ms <= first->at_ms) {
        return;
    }
    /* The loop's own clock may stand still for long; a timer that comes too
     * early sets itself again. */
    async->timer_at_ms = first->at_ms;
    uv_timer_start(&async->timer, on_timer, (uint64_t)clock_left_ms(first->at_ms) + 1, 0);
}

/* Takes a call out and calls back; the call is gone then. */
static void answer_call(struct relata_async *async, struct async_call *call,
                        struct relata_value result, const struct relata_error *error)
{
    expiries_remove(&async->expiries, &call->expiry);
    if (call == &async->hello) {
        async->hello_waits = false;
        if (async->ready != NULL) {
            async->ready(async, error, async->ready_data);
        }
        return;
    }
    relata_async_answer *answer = call->answer;
    void *data = call->data;
    heap_free(call);
    answer(data, result, error);
}

/* Answers all that waits with one error; calls made meanwhile are refused. */
static void end_calls(struct relata_async *async, const struct relata_error *error)
{
    if (async->hello_waits) {
        answer_call(async, &async->hello, RELATA_NONE, error);
    }
    for (struct expiry *first; (first = expiries_first(&async->expiries)) != NULL;) {
        answer_call(async, CONTAINER_OF(first, struct async_call, expiry), RELATA_NONE, error);
    }
}

/* Only from the loop, since it calls back. */
static void fail(struct relata_async *async, const struct relata_error *cause)
{
    if (async->state >= BROKEN) {
        return;
    }
    async->state = BROKEN;
    async->cause = *cause;
    uv_timer_stop(&async->timer);
    uv_idle_stop(&async->idle);
    if (async->socket_open) {
        uv_read_stop(&async->socket.stream);
    }
    struct relata_error error = *cause;
    end_calls(async, &error);
}

static void fail_with(struct relata_async *async, int status, const char *what)
{
    struct relata_error error;
    char text[400];
    snprintf(text, sizeof(text), "%.200s %s: %s", async->endpoint.text, what, uv_strerror(status));
    if (async->state == OPEN) {
        fault_unknown(&error, CODE_UNAVAILABLE, text);
    } else {
        fault_set(&error, CODE_UNAVAILABLE, "%s", text);
    }
    fail(async, &error);
}

static void on_timer(uv_timer_t *timer)
{
    struct relata_async *async = async_of(timer->data);
    uint64_t now_ms = clock_ms();
    struct expiry *first;
    while ((first = expiries_first(&async->expiries)) != NULL && first->at_ms <= now_ms) {
        struct async_call *call = CONTAINER_OF(first, struct async_call, expiry);
        struct relata_error error;
        if (call == &async->hello) {
            fault_set(&error, CODE_TIMEOUT, "%.200s did not greet within %llu ms",
                      async->endpoint.text, (unsigned long long)async->options.connect_ms);
            fail(async, &error);
            return;
        }
        session_cancel(&async->wire.session, call->id);
        fault_unknown(&error, CODE_TIMEOUT, "no answer came in time");
        answer_call(async, call, RELATA_NONE, &error);
        if (async->state >= BROKEN) {
            return;
        }
    }
    set_timer(async);
}

/* --- In ----------------------------------------------------------------------------- */

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct relata_async *async = async_of(handle->data);
    size_t size = 0;
    uint8_t *room = wire_room(&async->wire, &size);
    /* No room makes libuv call back with UV_ENOBUFS. */
    *buffer = uv_buf_init((char *)room, room == NULL ? 0 : (unsigned)size);
}

/* The greeting's answer: kept for relata_async_hello. */
static void take_greeting(struct relata_async *async, const struct message *message)
{
    struct relata_error error;
    struct relata_value value = {message->result, message->result_size};
    if (wire_failed(message)) {
        wire_answer_error((struct relata_value){message->error, message->error_size}, &error);
        fail(async, &error);
        return;
    }
    async->greeting = heap_alloc(value.size);
    if (async->greeting == NULL) {
        fault_set(&error, CODE_OVERLOADED, "there is no memory for the greeting");
        fail(async, &error);
        return;
    }
    memcpy(async->greeting, value.bytes, value.size);
    async->greeting_size = value.size;
    wire_greeted(&async->wire, &async->options, value);
    answer_call(async, &async->hello, RELATA_NONE, NULL);
}

static void take_answer(struct relata_async *async, const struct message *message)
{
    struct async_call *call = message->call;
    if (call == &async->hello) {
        take_greeting(async, message);
    } else if (wire_failed(message)) {
        struct relata_error error;
        wire_answer_error((struct relata_value){message->error, message->error_size}, &error);
        answer_call(async, call, RELATA_NONE, &error);
    } else {
        struct relata_value value = {message->result, message->result_size};
        answer_call(async, call, value, NULL);
    }
}

static void want_output(struct relata_async *async);

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    struct relata_async *async = async_of(stream->data);
    if (size < 0) {
        fail_with(async, (int)size, "is lost");
        return;
    }
    wire_filled(&async->wire, (size_t)size);
    struct message message;
    struct relata_error error;
    int status = 0;
    while (async->state == OPEN && (status = wire_next(&async->wire, &message, &error)) > 0) {
        take_answer(async, &message);
    }
    if (status < 0) {
        snprintf(error.outcome, sizeof(error.outcome), "unknown");
        fail(async, &error);
    }
    /* A refusal of what the daemon asked may stand there. */
    want_output(async);
}

/* --- Out ---------------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle);

/* Has the output written in this turn, or in the next one before the loop waits. */
static void want_output(struct relata_async *async)
{
    if (async->state == OPEN && !async->write_out && async->wire.output.size > 0) {
        uv_idle_start(&async->idle, on_idle);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct relata_async *async = async_of(write->data);
    async->write_out = false;
    if (async->writing.capacity > WRITING_KEPT_BYTES) {
        buffer_release(&async->writing);
    }
    buffer_truncate(&async->writing, 0);
    if (status < 0) {
        fail_with(async, status, "is lost");
        return;
    }
    want_output(async);
}

static void write_output(struct relata_async *async)
{
    struct buffer empty = async->writing;
    async->writing = async->wire.output;
    async->wire.output = empty;
    uv_buf_t buffer = uv_buf_init((char *)async->writing.bytes, (unsigned)async->writing.size);
    async->write.data = async;
    async->write_out = true;
    int status = uv_write(&async->write, &async->socket.stream, &buffer, 1, on_written);
    if (status != 0) {
        async->write_out = false;
        fail_with(async, status, "is lost");
    }
}

/* --- Connecting --------------------------------------------------------------------- */

static void try_address(struct relata_async *async);

static void finish_close(struct relata_async *async);

static void on_address_given_up(uv_handle_t *handle)
{
    struct relata_async *async = async_of(handle->data);
    async->handles--;
    if (async->state == CONNECTING) {
        async->address = async->address->ai_next;
        try_address(async);
    } else if (async->state == CLOSING) {
        finish_close(async);
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct relata_async *async = async_of(connect->data);
    if (async->state != CONNECTING) {
        return;
    }
    if (status != 0 && async->address != NULL && async->address->ai_next != NULL) {
        async->socket_open = false;
        uv_close(&async->socket.handle, on_address_given_up);
        return;
    }
    if (status == 0) {
        status = uv_read_start(&async->socket.stream, on_room, on_read);
    }
    if (status != 0) {
        fail_with(async, status, "cannot be reached");
        return;
    }
    async->state = OPEN;
    want_output(async);
}

static void socket_ready(struct relata_async *async)
{
    async->socket.handle.data = async;
    async->socket_open = true;
    async->handles++;
    async->connect.data = async;
}

static void try_address(struct relata_async *async)
{
    uv_tcp_init(async->loop, &async->socket.tcp);
    socket_ready(async);
    uv_tcp_nodelay(&async->socket.tcp, 1);
    int status =
        uv_tcp_connect(&async->connect, &async->socket.tcp, async->address->ai_addr, on_connected);
    if (status != 0) {
        on_connected(&async->connect, status);
    }
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct relata_async *async = async_of(resolve->data);
    async->resolving = false;
    async->addresses = found;
    async->address = found;
    if (async->state == CLOSING) {
        finish_close(async);
    } else if (status != 0) {
        fail_with(async, status, "cannot be reached");
    } else if (async->state == RESOLVING) {
        async->state = CONNECTING;
        try_address(async);
    }
}

static void begin(struct relata_async *async)
{
    const struct endpoint *endpoint = &async->endpoint;
    if (endpoint->is_unix) {
        async->state = CONNECTING;
        uv_pipe_init(async->loop, &async->socket.pipe, 0);
        socket_ready(async);
        uv_pipe_connect(&async->connect, &async->socket.pipe, endpoint->path, on_connected);
        return;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    async->resolve.data = async;
    int status = uv_getaddrinfo(async->loop, &async->resolve, on_resolved, endpoint->host,
                                endpoint->port, &hints);
    if (status != 0) {
        fail_with(async, status, "cannot be reached");
        return;
    }
    async->resolving = true;
}

static void on_idle(uv_idle_t *idle)
{
    struct relata_async *async = async_of(idle->data);
    uv_idle_stop(idle);
    if (async->state == RESOLVING) {
        begin(async);
    } else if (async->state == OPEN && !async->write_out && async->wire.output.size > 0) {
        write_output(async);
    }
}

/* --- Life --------------------------------------------------------------------------- */

static void free_async(struct relata_async *async)
{
    wire_release(&async->wire);
    buffer_release(&async->writing);
    expiries_release(&async->expiries);
    heap_free(async->greeting);
    if (async->addresses != NULL) {
        uv_freeaddrinfo(async->addresses);
    }
    async->magic = 0;
    heap_free(async);
}

/* The greeting is queued before anything else. */
static int queue_hello(struct relata_async *async, struct relata_error *error)
{
    int status = wire_greet(&async->wire, &async->options, &async->hello, &async->hello.id, error);
    if (status != 0) {
        return status;
    }
    async->hello.expiry.at_ms = clock_ms() + async->options.connect_ms;
    if (expiries_add(&async->expiries, &async->hello.expiry) != 0) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for a client");
    }
    async->hello_waits = true;
    async->options.client = NULL;
    async->options.token = NULL;
    return 0;
}

int relata_async_connect(struct uv_loop_s *loop, const char *address,
                         const struct relata_options *options, relata_async_ready *ready,
                         void *data, struct relata_async **async, struct relata_error *error)
{
    struct relata_async *made = heap_zero(1, sizeof(*made));
    if (made == NULL) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for a client");
    }
    made->magic = ASYNC_MAGIC;
    made->loop = loop;
    made->options = wire_options_of(options);
    made->ready = ready;
    made->ready_data = data;
    wire_init(&made->wire, &made->options);
    buffer_init(&made->writing, made->wire.output.max);
    int status = endpoint_parse(&made->endpoint, address, error);
    if (status == 0) {
        status = queue_hello(made, error);
    }
    if (status != 0) {
        free_async(made);
        return status;
    }
    uv_idle_init(loop, &made->idle);
    uv_timer_init(loop, &made->timer);
    made->idle.data = made;
    made->timer.data = made;
    made->handles = 2;
    uv_idle_start(&made->idle, on_idle);
    set_timer(made);
    *async = made;
    return 0;
}

int relata_async_call(struct relata_async *async, const char *method,
                      const struct relata_params *params, uint64_t timeout_ms,
                      relata_async_answer *answer, void *data, struct relata_error *error)
{
    if (async->state >= BROKEN) {
        return fault_set(error, CODE_UNAVAILABLE, "%s",
                         async->state == BROKEN ? async->cause.message : "the client is closed");
    }
    if (async->wire.output.size >= async->options.output_bytes) {
        return fault_set(error, CODE_OVERLOADED, "%zu bytes of calls wait to be sent",
                         async->wire.output.size);
    }
    struct async_call *call = heap_zero(1, sizeof(*call));
    if (call == NULL) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for a call");
    }
    call->answer = answer;
    call->data = data;
    call->expiry.at_ms = clock_ms() + (timeout_ms > 0 ? timeout_ms : async->options.call_ms);
    if (expiries_add(&async->expiries, &call->expiry) != 0) {
        heap_free(call);
        return fault_set(error, CODE_OVERLOADED, "there is no memory for a call");
    }
    int status = wire_call(&async->wire, method, params, call, &call->id, error);
    if (status != 0) {
        expiries_remove(&async->expiries, &call->expiry);
        heap_free(call);
        return status;
    }
    set_timer(async);
    want_output(async);
    return 0;
}

size_t relata_async_outstanding(const struct relata_async *async)
{
    return async->expiries.count - (async->hello_waits ? 1 : 0);
}

struct relata_value relata_async_hello(const struct relata_async *async)
{
    return (struct relata_value){async->greeting, async->greeting_size};
}

/* --- Closing ------------------------------------------------------------------------ */

static void finish_close(struct relata_async *async)
{
    if (async->handles > 0 || async->resolving) {
        return;
    }
    relata_async_closed *closed = async->closed;
    void *data = async->closed_data;
    free_async(async);
    if (closed != NULL) {
        closed(data);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct relata_async *async = async_of(handle->data);
    async->handles--;
    struct relata_error error;
    fault_unknown(&error, CODE_UNAVAILABLE, "the client was closed");
    end_calls(async, &error);
    finish_close(async);
}

void relata_async_close(struct relata_async *async, relata_async_closed *closed, void *data)
{
    if (async == NULL || async->state == CLOSING) {
        return;
    }
    async->state = CLOSING;
    async->closed = closed;
    async->closed_data = data;
    if (async->resolving) {
        uv_cancel((uv_req_t *)&async->resolve);
    }
    uv_close((uv_handle_t *)&async->idle, on_handle_closed);
    uv_close((uv_handle_t *)&async->timer, on_handle_closed);
    if (async->socket_open) {
        async->socket_open = false;
        uv_close(&async->socket.handle, on_handle_closed);
    }
}

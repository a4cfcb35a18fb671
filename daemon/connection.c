#include "daemon/connection.h"

#include <string.h>
#include <sys/ioctl.h>

#include "daemon/connection_inner.h"
#include "daemon/log.h"
#include "daemon/provider.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/frame.h"
#include "protocol/msgpack/reader.h"

enum { CLOCK_EVERY_FRAMES = 8 };

struct connection *connection_from(void *data)
{
    struct connection *connection = data;
    CHECK(connection->magic == CONNECTION_MAGIC);
    return connection;
}

static const struct limits *limits_of(const struct connection *connection)
{
    return connection->loop->dispatch->limits;
}

/* --- The end ---------------------------------------------------------------- */

static void on_close(uv_handle_t *handle)
{
    struct connection *connection = connection_from(handle->data);
    loop_enter(connection->loop);
    connection->closed(connection, connection->context);
}

void connection_close(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSING) {
        return;
    }
    connection->state = CONNECTION_CLOSING;
    provider_gone(connection->loop->dispatch, &connection->client, NULL);
    dispatch_drop_client(connection->loop->dispatch, &connection->client);
    loop_task_cancel(&connection->again);
    loop_task_cancel(&connection->at_end);
    uv_close(&connection->socket.handle, on_close);
}

static void stop_reading(struct connection *connection)
{
    if (connection->reading) {
        connection->reading = false;
        CHECK(uv_read_stop(&connection->socket.stream) == 0);
    }
}

static void start_reading(struct connection *connection);

/* All is answered and written: the last word is said. */
static void finish(struct connection *connection)
{
    if (!connection->broken || connection->ended || connection->last_call) {
        connection_close(connection);
        return;
    }
    connection->state = CONNECTION_LINGERING;
    connection->deadline_us = loop_now_us() + LINGER_US;
    buffer_release(&connection->input);
    connection_account(connection);
    uv_os_fd_t descriptor;
    CHECK(uv_fileno(&connection->socket.handle, &descriptor) == 0);
    /* Nothing is queued in libuv, so this needs no request of its own. A
     * failure means that the other end is gone: the read will tell. */
    (void)shutdown(descriptor, SHUT_WR);
    start_reading(connection);
}

void connection_finish_if_done(struct connection *connection)
{
    if (connection->state == CONNECTION_ENDING && connection->client.request_count == 0 &&
        connection_unsent(connection) == 0 && !connection->writing) {
        finish(connection);
    }
}

/* From here on nothing is executed; the end comes with the last answer. */
static void begin_end(struct connection *connection)
{
    connection->state = CONNECTION_ENDING;
    stop_reading(connection);
    loop_task_cancel(&connection->again);
    loop_at_end(connection->loop, &connection->at_end);
    provider_gone(connection->loop->dispatch, &connection->client, NULL);
}

/* The session cannot go on: `message` is the faulty frame, where it has an id. */
static void break_off(struct connection *connection, const struct message *message,
                      const struct error *error)
{
    struct dispatch *dispatch = connection->loop->dispatch;
    struct client *client = &connection->client;
    connection_log_closed(connection, LOG_INFO, error->message);
    connection->broken = true;
    begin_end(connection);
    if (message->kind == MESSAGE_REQUEST) {
        dispatch_refuse(dispatch, client, message->id, error);
    }
    struct error pending = ERROR_INIT;
    error_set(&pending, CODE_UNAVAILABLE, "the connection is closed because of another message: %s",
              error->message);
    error_outcome_unknown(&pending);
    dispatch_end_client(dispatch, client, &pending);
}

/* --- Frames in -------------------------------------------------------------- */

/* Whether this turn's share is used up. */
static bool turn_used(struct connection *connection)
{
    struct loop *loop = connection->loop;
    if (connection->turn != loop->turns) {
        connection->turn = loop->turns;
        connection->turn_frames = 0;
        connection->turn_began_us = loop_now_us();
    }
    if (connection->turn_frames >= TURN_FRAMES_MAX) {
        return true;
    }
    return ++connection->turn_frames % CLOCK_EVERY_FRAMES == 0 &&
           loop_now_us() - connection->turn_began_us > TURN_US_MAX;
}

/* Whether a request must be refused because too much is under way. */
static bool overloaded(struct connection *connection, struct error *error)
{
    const struct limits *limits = limits_of(connection);
    size_t waiting = connection->client.request_count;
    if (waiting >= limits->requests_waiting_per_connection) {
        error_limit_hit(error, CODE_OVERLOADED, "requests_waiting_per_connection",
                        limits->requests_waiting_per_connection, waiting + 1);
        return true;
    }
    /* Others wait until their output is taken; who provides must not. */
    size_t unsent = connection_unsent(connection);
    if (unsent > OUTPUT_HIGH_BYTES) {
        error_set(error, CODE_OVERLOADED,
                  "%zu bytes of answers wait to be taken; take them, then ask again", unsent);
        return true;
    }
    uint64_t bytes = connection->loop->dispatch->work->bytes;
    if (bytes > limits->work_bytes) {
        error_limit_hit(error, CODE_OVERLOADED, "work_bytes", limits->work_bytes, bytes);
        return true;
    }
    return false;
}

static void execute(struct connection *connection, const struct message *message)
{
    struct dispatch *dispatch = connection->loop->dispatch;
    struct error error;
    if (message->kind == MESSAGE_RESPONSE) {
        provider_answered(dispatch, &connection->client, message);
    } else if (message->size > limits_of(connection)->frame_bytes) {
        error_limit_hit(&error, CODE_TOO_LARGE, "frame_bytes", limits_of(connection)->frame_bytes,
                        message->size);
        break_off(connection, message, &error);
    } else if (message->kind == MESSAGE_REQUEST && overloaded(connection, &error)) {
        dispatch_refuse(dispatch, &connection->client, message->id, &error);
    } else {
        dispatch_message(dispatch, &connection->client, message);
    }
}

/* Nothing more is executed until its output is taken. Who provides is never
 * made to wait, since others wait for it: its requests are refused instead, up
 * to a point. */
static bool must_wait(struct connection *connection)
{
    size_t unsent = connection_unsent(connection);
    if (unsent <= OUTPUT_HIGH_BYTES) {
        return false;
    }
    if (provider_is(&connection->client) && unsent <= limits_of(connection)->work_bytes) {
        return false;
    }
    connection->blocked = true;
    return true;
}

/* What came is no frame. An answer that was too large is told to those who wait
 * for it. */
static void take_broken(struct connection *connection, const uint8_t *bytes, size_t size,
                        const struct message *message, const struct error *error)
{
    struct client *client = &connection->client;
    if (error->code == CODE_TOO_LARGE && strcmp(error->limit, "frame_bytes") == 0) {
        provider_gone(connection->loop->dispatch, client,
                      provider_broken_call(client, bytes, size));
    }
    break_off(connection, message, error);
}

/* Executes the frames in `bytes` until they are used up, or this connection
 * must wait. Answers how many bytes are done with; *more tells whether there
 * may be whole frames in what is left. */
static size_t execute_frames(struct connection *connection, const uint8_t *bytes, size_t size,
                             bool *more)
{
    struct client *client = &connection->client;
    size_t done = 0;
    *more = false;
    if (client->output.bytes == NULL) {
        loop_take_buffer(connection->loop, &client->output);
    }
    while (done < size) {
        if (must_wait(connection) || turn_used(connection)) {
            *more = true;
            break;
        }
        struct message message;
        struct error error;
        size_t used = 0;
        enum session_status status =
            session_next(&client->session, bytes + done, size - done, &used, &message, &error);
        done += used;
        if (status == SESSION_MORE) {
            break;
        }
        if (status == SESSION_BROKEN) {
            take_broken(connection, bytes + done, size - done, &message, &error);
            return size;
        }
        execute(connection, &message);
        if (connection->broken) {
            return size;
        }
    }
    return done;
}

/* After frames were executed: what comes next. */
static void go_on(struct connection *connection, bool more)
{
    struct loop *loop = connection->loop;
    if (connection->client.output.size > 0) {
        loop_at_end(loop, &connection->at_end);
    } else {
        loop_give_buffer(loop, &connection->client.output);
    }
    if (connection->state == CONNECTION_OPEN) {
        if (more) {
            stop_reading(connection);
            if (!connection->blocked) {
                loop_again(loop, &connection->again);
            }
        } else if (connection->last_call && connection->arrived == 0) {
            begin_end(connection);
        } else {
            start_reading(connection);
        }
    }
    connection_account(connection);
}

/* Goes on with what is in `input`. */
static void on_again(struct loop_task *task)
{
    struct connection *connection = CONTAINER_OF(task, struct connection, again);
    bool more;
    size_t done =
        execute_frames(connection, connection->input.bytes, connection->input.size, &more);
    buffer_consume(&connection->input, done);
    if (connection->input.size == 0) {
        buffer_release(&connection->input);
    }
    go_on(connection, more);
}

/* --- Bytes in --------------------------------------------------------------- */

/* A frame that is not whole yet has no place to grow to. Its id may be known. */
static void refuse_growing(struct connection *connection)
{
    struct error error;
    uint64_t under_way = connection->loop->dispatch->work->bytes;
    uint64_t allowed = limits_of(connection)->work_bytes;
    if (under_way > allowed) {
        error_limit_hit(&error, CODE_OVERLOADED, "work_bytes", allowed, under_way);
    } else {
        error_set(&error, CODE_OVERLOADED, "there is no memory for the request");
    }
    struct message message = {.kind = MESSAGE_NOTIFICATION};
    const uint8_t *bytes = connection->input.bytes;
    if (connection->input.size > 1 && bytes[0] == 0x94 && bytes[1] == 0x00) {
        struct reader reader = reader_of(bytes + 2, connection->input.size - 2);
        struct token token = reader_next(&reader);
        if (token.kind == TOKEN_INTEGER && token.integer >= 0 && token.integer <= UINT32_MAX) {
            message.kind = MESSAGE_REQUEST;
            message.id = (uint32_t)token.integer;
        }
    }
    break_off(connection, &message, &error);
}

/* Room for what comes: the loop's bytes, or behind an unfinished frame that is
 * too long to be moved each time. It grows as bytes arrive, never by what a
 * frame announces. */
static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct connection *connection = connection_from(handle->data);
    struct loop *loop = connection->loop;
    struct buffer *input = &connection->input;
    if (input->size <= LOOP_TAIL_BYTES) {
        *out = uv_buf_init((char *)loop->read_bytes + LOOP_TAIL_BYTES, LOOP_READ_BYTES);
        return;
    }
    size_t room = input->size < LOOP_READ_BYTES ? input->size : LOOP_READ_BYTES;
    uint64_t allowed = limits_of(connection)->work_bytes;
    if (loop->dispatch->work->bytes > allowed || !buffer_reserve(input, room)) {
        *out = uv_buf_init(NULL, 0);
        return;
    }
    *out = uv_buf_init((char *)input->bytes + input->size, (unsigned)room);
}

/* Keeps what was not executed for later. */
static void keep(struct connection *connection, const uint8_t *bytes, size_t size)
{
    buffer_append(&connection->input, bytes, size);
    if (connection->input.failed && connection->state == CONNECTION_OPEN) {
        connection_log_closed(connection, LOG_WARNING, "no memory for its requests");
        connection_close(connection);
    }
}

static void take_bytes(struct connection *connection, const uv_buf_t *buffer, size_t size)
{
    struct loop *loop = connection->loop;
    struct buffer *input = &connection->input;
    bool more;
    loop->dispatch->counters->bytes_in += size;
    connection->arrived -= size < connection->arrived ? size : connection->arrived;
    if ((uint8_t *)buffer->base != loop->read_bytes + LOOP_TAIL_BYTES) {
        input->size += size;
        size_t done = execute_frames(connection, input->bytes, input->size, &more);
        buffer_consume(input, done);
    } else {
        uint8_t *bytes = loop->read_bytes + LOOP_TAIL_BYTES - input->size;
        if (input->size > 0) {
            memcpy(bytes, input->bytes, input->size);
            size += input->size;
            input->size = 0;
        }
        size_t done = execute_frames(connection, bytes, size, &more);
        keep(connection, bytes + done, size - done);
    }
    if (input->size == 0) {
        buffer_release(input);
    }
    connection->client.draining |= connection->drains && connection->arrived == 0;
    if (connection->state != CONNECTION_CLOSING) {
        go_on(connection, more);
    }
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct connection *connection = connection_from(stream->data);
    loop_enter(connection->loop);
    if (connection->state == CONNECTION_LINGERING) {
        if (size < 0) {
            connection_close(connection);
        }
        return;
    }
    CHECK(connection->state == CONNECTION_OPEN || size <= 0);
    if (size > 0) {
        take_bytes(connection, buffer, (size_t)size);
    } else if (size == UV_EOF) {
        /* The other end may still listen to the answers. What has been read
         * is executed already, or waits in on_again. */
        connection->ended = true;
        stop_reading(connection);
        begin_end(connection);
    } else if (size == UV_ENOBUFS) {
        refuse_growing(connection);
    } else if (size < 0) {
        connection_close(connection);
    }
}

static void start_reading(struct connection *connection)
{
    if (!connection->reading && !connection->ended) {
        connection->reading = true;
        int status = uv_read_start(&connection->socket.stream, on_allocate, on_read);
        CHECK(status == 0);
    }
}

/* --- From outside ----------------------------------------------------------- */

/* An answer came later. */
static void on_wake(struct client *client)
{
    struct connection *connection = CONTAINER_OF(client, struct connection, client);
    if (connection->state != CONNECTION_CLOSING) {
        loop_at_end(connection->loop, &connection->at_end);
    }
}

static void init_socket(struct connection *connection, bool is_tcp)
{
    uv_loop_t *uv = &connection->loop->uv;
    int status = is_tcp ? uv_tcp_init(uv, &connection->socket.tcp)
                        : uv_pipe_init(uv, &connection->socket.pipe, 0);
    CHECK(status == 0);
    connection->socket.handle.data = connection;
}

struct connection *connection_create(struct loop *loop, uint64_t id, bool is_tcp,
                                     void (*closed)(struct connection *, void *), void *context)
{
    /* Small, and libuv would stop listening if a connection were not accepted. */
    struct connection *connection = heap_must(sizeof(*connection));
    const struct limits *limits = loop->dispatch->limits;
    struct frame_limits frame = {.bytes_max = (uint32_t)limits->frame_bytes,
                                 .levels_max = (uint32_t)limits->nesting};
    /* It takes no memory before the first request is marked. */
    CHECK(session_init(&connection->client.session, frame) == 0);
    connection->magic = CONNECTION_MAGIC;
    connection->client.id = id;
    connection->client.wake = on_wake;
    provider_init(&connection->client);
    list_init(&connection->client.requests);
    connection->loop = loop;
    loop_task_init(&connection->again, on_again);
    loop_task_init(&connection->at_end, connection_at_end);
    list_init(&connection->node);
    connection->turn = UINT64_MAX;
    connection->closed = closed;
    connection->context = context;
    buffer_init(&connection->client.output, OUTPUT_BYTES_MAX);
    init_socket(connection, is_tcp);
    return connection;
}

void connection_free(struct connection *connection)
{
    CHECK(connection->magic == CONNECTION_MAGIC && !connection->writing);
    CHECK(connection->client.request_count == 0);
    buffer_release(&connection->input);
    loop_give_buffer(connection->loop, &connection->client.output);
    connection_account(connection);
    session_release(&connection->client.session);
    connection->magic = 0;
    heap_free(connection);
}

void connection_start(struct connection *connection)
{
    start_reading(connection);
}

/* Looks at what has arrived and is not read yet. */
static void count_arrived(struct connection *connection)
{
    uv_os_fd_t descriptor;
    int arrived = 0;
    if (uv_fileno(&connection->socket.handle, &descriptor) == 0 &&
        ioctl(descriptor, FIONREAD, &arrived) == 0 && arrived > 0) {
        connection->arrived = (size_t)arrived;
    }
}

void connection_drain(struct connection *connection)
{
    count_arrived(connection);
    connection->drains = true;
    connection->client.draining = connection->arrived == 0;
}

void connection_end(struct connection *connection)
{
    if (connection->state == CONNECTION_LINGERING) {
        connection_close(connection);
    }
    if (connection->state != CONNECTION_OPEN || connection->last_call) {
        return;
    }
    connection->last_call = true; /* and it does not linger */
    count_arrived(connection);
    /* What has arrived is read and executed first, in go_on comes the end. */
    if (connection->arrived == 0 && list_empty(&connection->again.node) && !connection->blocked) {
        begin_end(connection);
    }
}

void connection_give_up(struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN && connection->state != CONNECTION_ENDING) {
        return;
    }
    struct error error;
    error_set(&error, CODE_UNAVAILABLE, "the daemon is stopping");
    error_outcome_unknown(&error);
    connection->last_call = true;
    begin_end(connection);
    dispatch_end_client(connection->loop->dispatch, &connection->client, &error);
}

void connection_tick(struct connection *connection, uint64_t now_us, uint64_t stall_us)
{
    if (!connection_watched(connection)) {
        return;
    }
    if (connection->writing) {
        size_t unsent = connection->socket.stream.write_queue_size;
        if (connection->deadline_us == UINT64_MAX || unsent != connection->unsent) {
            connection->unsent = unsent;
            connection->deadline_us = now_us + stall_us;
            return;
        }
    }
    if (now_us >= connection->deadline_us) {
        if (connection->writing) {
            connection_log_closed(connection, LOG_WARNING, "it takes no answers");
        }
        connection_close(connection);
    }
}

#include <string.h>

#include "daemon/connection_inner.h"
#include "daemon/log.h"
#include "protocol/base/check.h"

/* Bytes out: one write for all that a turn answered, and what the connection
 * holds meanwhile. */

size_t connection_unsent(const struct connection *connection)
{
    return connection->client.output.size +
           (connection->writing ? connection->socket.stream.write_queue_size : 0);
}

/* Keeps the daemon's count of bytes under way. */
void connection_account(struct connection *connection)
{
    size_t now = connection->input.size + connection->client.output.size + connection->sending.size;
    struct work *work = connection->loop->dispatch->work;
    CHECK(work->bytes >= connection->accounted);
    work->bytes += now;
    work->bytes -= connection->accounted;
    connection->accounted = now;
}

/* Why a connection ended that its client did not end. */
void connection_log_closed(const struct connection *connection, enum log_level level,
                           const char *reason)
{
    struct log_line line;
    log_begin(&line, level, "connection_closed");
    log_number(&line, "connection", (int64_t)connection->client.id);
    if (connection->client.name[0] != '\0') {
        log_text(&line, "client", connection->client.name);
    }
    log_text(&line, "reason", reason);
    log_number(&line, "pending", (int64_t)connection->client.request_count);
    log_end(&line);
}

/* Some output is gone: who waited for that goes on. */
static void drained(struct connection *connection)
{
    if (connection->blocked && connection_unsent(connection) < OUTPUT_LOW_BYTES) {
        connection->blocked = false;
        if (connection->state == CONNECTION_OPEN) {
            loop_again(connection->loop, &connection->again);
        }
    }
    connection_finish_if_done(connection);
}

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = connection_from(write->data);
    struct loop *loop = connection->loop;
    loop_enter(loop);
    connection->writing = false;
    if (status == 0) {
        loop->dispatch->counters->bytes_out += connection->sending.size;
    }
    loop_give_buffer(loop, &connection->sending);
    if (connection->state == CONNECTION_CLOSING) {
        return;
    }
    connection_account(connection);
    if (status < 0) {
        connection_close(connection);
    } else {
        loop_at_end(loop, &connection->at_end);
    }
}

/* What the kernel does not take at once goes out as it can. */
static void write_rest(struct connection *connection, size_t written)
{
    connection->sending = connection->client.output;
    buffer_init(&connection->client.output, OUTPUT_BYTES_MAX);
    buffer_consume(&connection->sending, written);
    struct buffer *sending = &connection->sending;
    uv_buf_t rest = uv_buf_init((char *)sending->bytes, (unsigned)sending->size);
    connection->write.data = connection;
    connection->writing = true;
    connection->unsent = 0;
    connection->deadline_us = UINT64_MAX;
    int status = uv_write(&connection->write, &connection->socket.stream, &rest, 1, on_written);
    if (status < 0) {
        connection->writing = false;
        connection_close(connection);
    }
}

/* The end of a turn: one write for all that it answered. */
void connection_at_end(struct loop_task *task)
{
    struct connection *connection = CONTAINER_OF(task, struct connection, at_end);
    struct buffer *output = &connection->client.output;
    if (output->failed) {
        connection_log_closed(connection, LOG_WARNING, "no memory for its answers");
        connection_close(connection);
        return;
    }
    if (output->size > 0 && !connection->writing) {
        uv_buf_t all = uv_buf_init((char *)output->bytes, (unsigned)output->size);
        int written = uv_try_write(&connection->socket.stream, &all, 1);
        if (written < 0 && written != UV_EAGAIN) {
            connection_close(connection);
            return;
        }
        size_t done = written > 0 ? (size_t)written : 0;
        connection->loop->dispatch->counters->bytes_out += done;
        if (done == output->size) {
            loop_give_buffer(connection->loop, output);
        } else {
            write_rest(connection, done);
        }
    }
    if (connection->state != CONNECTION_CLOSING) {
        connection_account(connection);
        drained(connection);
    }
}

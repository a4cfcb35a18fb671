#include "clients/c/relata.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clients/c/dial.h"
#include "clients/c/fault.h"
#include "clients/c/wire.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/list.h"

/* An answer that has come: its bytes are a copy of its own, so that it may
 * outlive the connection. */
struct relata_reply {
    struct list link; /* in client->arrived until it is received */
    uint32_t id;
    bool failed;
    size_t size;
    uint8_t bytes[];
};

struct relata_client {
    int fd;
    bool alive;
    struct relata_error lost; /* why it is no longer alive */
    struct wire_options options;
    struct wire wire;
    size_t sent;           /* of wire.output, by the socket already */
    struct list arrived;   /* of struct relata_reply, oldest first */
    struct id_set replies; /* the same by id */
    uint32_t dropped;      /* a call whose answer there was no memory for; else 0 */
    struct relata_reply *hello;
};

/* Calls have no state of their own here; the session wants a pointer. */
static char a_call;

enum { FLUSH_BYTES = 64 << 10 };

/* --- The socket ----------------------------------------------------------------- */

static void lose_with(struct relata_client *client, const struct relata_error *why)
{
    if (client->alive) {
        client->alive = false;
        client->lost = *why;
        client->sent = 0;
        buffer_release(&client->wire.output);
    }
}

static void lose(struct relata_client *client, const char *why)
{
    struct relata_error error;
    fault_set(&error, CODE_UNAVAILABLE, "the connection is lost: %s", why);
    lose_with(client, &error);
}

static int lost(const struct relata_client *client, struct relata_error *error)
{
    return fault_set(error, CODE_UNAVAILABLE, "%s", client->lost.message);
}

static size_t queued(const struct relata_client *client)
{
    return client->wire.output.size - client->sent;
}

/* Writes what the socket takes now. */
static void push(struct relata_client *client)
{
    struct buffer *output = &client->wire.output;
    while (client->alive && queued(client) > 0) {
        ssize_t size = send(client->fd, output->bytes + client->sent, queued(client), MSG_NOSIGNAL);
        if (size >= 0) {
            client->sent += (size_t)size;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            lose(client, strerror(errno));
        }
    }
    /* Moved only when the smaller part is left, so that it stays cheap. */
    if (client->sent >= output->size / 2) {
        buffer_consume(output, client->sent);
        client->sent = 0;
    }
}

/* Keeps an answer until it is received. False where memory lacks. */
static bool keep(struct relata_client *client, const struct message *message)
{
    bool failed = wire_failed(message);
    size_t size = failed ? message->error_size : message->result_size;
    struct relata_reply *reply = heap_alloc(sizeof(*reply) + size);
    if (reply == NULL) {
        return false;
    }
    reply->id = message->id;
    reply->failed = failed;
    reply->size = size;
    memcpy(reply->bytes, failed ? message->error : message->result, size);
    if (id_set_add(&client->replies, reply->id, reply) != 0) {
        heap_free(reply);
        return false;
    }
    list_append(&client->arrived, &reply->link);
    return true;
}

static void take_messages(struct relata_client *client)
{
    struct message message;
    struct relata_error error;
    int status;
    while ((status = wire_next(&client->wire, &message, &error)) > 0) {
        if (!keep(client, &message)) {
            client->dropped = message.id;
            lose(client, "there is no memory for an answer");
            return;
        }
    }
    if (status < 0) {
        lose_with(client, &error);
    }
}

/* Reads what the socket has now. */
static void pull(struct relata_client *client)
{
    size_t room;
    uint8_t *to = wire_room(&client->wire, &room);
    if (to == NULL) {
        lose(client, "there is no memory for an answer");
        return;
    }
    ssize_t size = recv(client->fd, to, room, 0);
    if (size > 0) {
        wire_filled(&client->wire, (size_t)size);
        take_messages(client);
    } else if (size == 0) {
        lose(client, "the daemon closed it");
    } else if (errno != EAGAIN && errno != EINTR) {
        lose(client, strerror(errno));
    }
}

/* Waits for the socket once, writes and reads. False when the deadline has passed. */
static bool turn(struct relata_client *client, uint64_t deadline_ms)
{
    push(client);
    if (!client->alive) {
        return true;
    }
    short wanted = queued(client) > 0 ? POLLIN | POLLOUT : POLLIN;
    struct pollfd poll_fd = {.fd = client->fd, .events = wanted};
    int ready = poll(&poll_fd, 1, clock_left_ms(deadline_ms));
    if (ready == 0) {
        return false;
    }
    if (ready < 0) {
        if (errno != EINTR) {
            lose(client, strerror(errno));
        }
        return true;
    }
    if ((poll_fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        pull(client);
    }
    return true;
}

/* --- Life ------------------------------------------------------------------------- */

static int greet(struct relata_client *client, uint64_t deadline_ms, struct relata_error *error);

int relata_connect(const char *address, const struct relata_options *options,
                   struct relata_client **client, struct relata_error *error)
{
    struct endpoint endpoint;
    int status = endpoint_parse(&endpoint, address, error);
    if (status != 0) {
        return status;
    }
    struct relata_client *made = heap_zero(1, sizeof(*made));
    if (made == NULL) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for a client");
    }
    made->fd = -1;
    made->options = wire_options_of(options);
    wire_init(&made->wire, &made->options);
    list_init(&made->arrived);

    uint64_t deadline_ms = clock_ms() + made->options.connect_ms;
    status = dial(&endpoint, deadline_ms, &made->fd, error);
    if (status == 0) {
        made->alive = true;
        status = greet(made, deadline_ms, error);
    }
    if (status != 0) {
        relata_close(made);
        return status;
    }
    /* Nothing of the caller's is kept. */
    made->options.client = NULL;
    made->options.token = NULL;
    *client = made;
    return 0;
}

void relata_close(struct relata_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->fd >= 0) {
        close(client->fd);
    }
    while (!list_empty(&client->arrived)) {
        struct relata_reply *reply = CONTAINER_OF(client->arrived.next, struct relata_reply, link);
        list_remove(&reply->link);
        heap_free(reply);
    }
    id_set_release(&client->replies);
    wire_release(&client->wire);
    relata_reply_free(client->hello);
    heap_free(client);
}

bool relata_alive(const struct relata_client *client)
{
    return client->alive;
}

struct relata_value relata_hello(const struct relata_client *client)
{
    return relata_reply_value(client->hello);
}

struct relata_value relata_reply_value(const struct relata_reply *reply)
{
    return (struct relata_value){reply->bytes, reply->size};
}

void relata_reply_free(struct relata_reply *reply)
{
    heap_free(reply);
}

/* --- Calls ------------------------------------------------------------------------ */

int relata_send(struct relata_client *client, const char *method,
                const struct relata_params *params, uint32_t *id, struct relata_error *error)
{
    uint64_t deadline_ms = 0;
    while (client->alive && queued(client) >= client->options.output_bytes) {
        if (deadline_ms == 0) {
            deadline_ms = clock_ms() + client->options.call_ms;
        }
        if (!turn(client, deadline_ms)) {
            return fault_set(error, CODE_TIMEOUT,
                             "%zu bytes of calls are queued, and the daemon takes none for %llu ms",
                             queued(client), (unsigned long long)client->options.call_ms);
        }
    }
    if (!client->alive) {
        return lost(client, error);
    }
    int status = wire_call(&client->wire, method, params, &a_call, id, error);
    if (status == 0 && queued(client) >= FLUSH_BYTES) {
        push(client);
    }
    return status;
}

int relata_flush(struct relata_client *client, struct relata_error *error)
{
    push(client);
    return client->alive ? 0 : lost(client, error);
}

/* The reply that has come: of `id`, or the oldest where that is 0. */
static struct relata_reply *take(struct relata_client *client, uint32_t id)
{
    if (list_empty(&client->arrived)) {
        return NULL;
    }
    struct relata_reply *reply = CONTAINER_OF(client->arrived.next, struct relata_reply, link);
    if (id == 0) {
        id_set_remove(&client->replies, reply->id, NULL);
    } else {
        void *found;
        if (!id_set_remove(&client->replies, id, &found)) {
            return NULL;
        }
        reply = found;
    }
    list_remove(&reply->link);
    return reply;
}

/* A call that was out when the connection was lost: it is received as that. */
static int receive_lost(struct relata_client *client, uint32_t *id, struct relata_error *error)
{
    if (client->dropped != 0 && (*id == 0 || *id == client->dropped)) {
        *id = client->dropped;
        client->dropped = 0;
        return fault_unknown(error, (enum code)client->lost.code, client->lost.message);
    }
    void *call = *id != 0 ? session_cancel(&client->wire.session, *id)
                          : session_take_call(&client->wire.session, id);
    CHECK(call != NULL);
    return fault_unknown(error, (enum code)client->lost.code, client->lost.message);
}

static int receive_reply(struct relata_reply *got, uint32_t *id, struct relata_reply **reply,
                         struct relata_error *error)
{
    *id = got->id;
    if (!got->failed) {
        *reply = got;
        return 0;
    }
    int status = wire_answer_error(relata_reply_value(got), error);
    relata_reply_free(got);
    return status;
}

/* Whether the call (0: any) was sent and neither answered nor given up. */
static bool is_out(const struct relata_client *client, uint32_t id)
{
    const struct id_set *calls = &client->wire.session.calls;
    if (id == 0) {
        return calls->count > 0 || client->dropped != 0;
    }
    return id == client->dropped || id_set_has(calls, id);
}

static int receive(struct relata_client *client, uint32_t *id, uint64_t deadline_ms,
                   struct relata_reply **reply, struct relata_error *error)
{
    for (;;) {
        struct relata_reply *got = take(client, *id);
        if (got != NULL) {
            return receive_reply(got, id, reply, error);
        }
        if (!is_out(client, *id)) {
            return fault_set(error, CODE_INVALID_REQUEST, "no such call is out");
        }
        if (!client->alive) {
            return receive_lost(client, id, error);
        }
        if (!turn(client, deadline_ms)) {
            return fault_unknown(error, CODE_TIMEOUT, "no answer came in time");
        }
    }
}

int relata_receive(struct relata_client *client, uint32_t *id, struct relata_reply **reply,
                   struct relata_error *error)
{
    return receive(client, id, clock_ms() + client->options.call_ms, reply, error);
}

void relata_forget(struct relata_client *client, uint32_t id)
{
    if (id == 0) {
        return;
    }
    client->dropped = client->dropped == id ? 0 : client->dropped;
    session_cancel(&client->wire.session, id);
    relata_reply_free(take(client, id));
}

size_t relata_outstanding(const struct relata_client *client)
{
    size_t dropped = client->dropped != 0 ? 1 : 0;
    return (size_t)client->wire.session.calls.count + client->replies.count + dropped;
}

int relata_call(struct relata_client *client, const char *method,
                const struct relata_params *params, struct relata_reply **reply,
                struct relata_error *error)
{
    uint32_t id = 0;
    int status = relata_send(client, method, params, &id, error);
    if (status != 0) {
        return status;
    }
    status = relata_receive(client, &id, reply, error);
    if (status == -CODE_TIMEOUT) {
        relata_forget(client, id);
    }
    return status;
}

static int greet(struct relata_client *client, uint64_t deadline_ms, struct relata_error *error)
{
    uint32_t id;
    int status = wire_greet(&client->wire, &client->options, &a_call, &id, error);
    if (status != 0) {
        return status;
    }
    status = receive(client, &id, deadline_ms, &client->hello, error);
    if (status == 0) {
        wire_greeted(&client->wire, &client->options, relata_hello(client));
    }
    return status;
}

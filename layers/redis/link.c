#include "layers/redis/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "layers/redis/link_inner.h"
#include "protocol/base/check.h"

/* The happy path is link_open -> on_resolved -> on_connected -> link_greet ->
 * link_greeted -> (link_send, link_flush, on_read, ...) -> link_close -> on_closed.
 * Possible failures are a name that is not found (on_resolved), an address that
 * does not answer (on_connected: the next one is tried, by way of on_closed), a
 * fault of the socket (on_written, link_write), what comes in (link_input.c), a refusal
 * (link_greeting.c), and time (link_tick). Each ends in link_fail, whose on_closed or on_resolved ends all
 * commands and tells the owner. */

enum {
    KEEPALIVE_S = 15,
    PATH_MAX_BYTES = 107, /* of a unix socket */
    LATE_US = 500 * 1000, /* between two ticks: the loop has stood still */
    WHY_MAX = 400
};

static void connect_next(struct link *link);

void link_init(struct link *link)
{
    *link = (struct link){.state = LINK_IDLE};
    list_init(&link->waiting);
    error_clear(&link->fault);
}

struct link *link_enter(void *data)
{
    struct link *link = data;
    if (link->enter != NULL) {
        link->enter(link->context);
    }
    return link;
}

/* ---- The end ---- */

static void end_commands(struct link *link)
{
    while (!list_empty(&link->waiting)) {
        struct link_command *command = CONTAINER_OF(link->waiting.next, struct link_command, link);
        list_remove(&command->link);
        command->done(command, command->sent ? LINK_LOST : LINK_UNSENT, resp_reader_of(NULL, 0));
    }
}

static void forget_addresses(struct link *link)
{
    if (link->resolved != NULL) {
        uv_freeaddrinfo(link->resolved);
    }
    link->resolved = NULL;
    link->next = NULL;
}

/* Nothing of libuv's is under way any more. */
static void finish(struct link *link)
{
    end_commands(link);
    forget_addresses(link);
    buffer_release(&link->output);
    buffer_release(&link->sending);
    buffer_release(&link->input);
    link->state = LINK_IDLE;
    struct error fault = link->fault;
    link->on_down(link, &fault);
}

static void on_closed(uv_handle_t *handle)
{
    struct link *link = link_enter(handle->data);
    link->handle_open = false;
    CHECK(!link->writing);
    if (link->state == LINK_CONNECTING) {
        connect_next(link);
    } else {
        CHECK(link->state == LINK_CLOSING);
        finish(link);
    }
}

static void close_socket(struct link *link)
{
    if (link->handle_open && !uv_is_closing(&link->socket.handle)) {
        uv_close(&link->socket.handle, on_closed);
    }
}

static void begin_closing(struct link *link)
{
    if (link->state == LINK_RESOLVING) {
        /* Where it cannot be taken back any more, its end is waited for. */
        (void)uv_cancel((uv_req_t *)&link->resolving);
    }
    link->state = LINK_CLOSING;
    lease_end(&link->lease);
    close_socket(link);
}

void link_fail(struct link *link, const char *format, ...)
{
    if (link->state == LINK_IDLE || link->state == LINK_CLOSING) {
        return;
    }
    char why[WHY_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    if (link->port == 0) {
        error_set(&link->fault, CODE_UNAVAILABLE, "%s: %s", link->host, why);
    } else {
        error_set(&link->fault, CODE_UNAVAILABLE, "%s:%u: %s", link->host, link->port, why);
    }
    begin_closing(link);
}

void link_close(struct link *link)
{
    if (link->state != LINK_IDLE) {
        error_clear(&link->fault);
    }
    if (link->state != LINK_IDLE && link->state != LINK_CLOSING) {
        begin_closing(link);
    }
}

/* ---- Bytes out ---- */

static void mark_sent(struct link *link)
{
    for (struct list *at = link->waiting.prev; at != &link->waiting; at = at->prev) {
        struct link_command *command = CONTAINER_OF(at, struct link_command, link);
        if (command->sent) {
            break;
        }
        command->sent = true;
    }
    if (link->fresh > 0) {
        link->writes++;
        link->commands += link->fresh;
        link->fresh = 0;
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct link *link = link_enter(request->data);
    link->writing = false;
    buffer_release(&link->sending);
    if (link->state == LINK_CLOSING) {
        return;
    }
    if (status < 0) {
        link_fail(link, "writing: %s", uv_strerror(status));
    } else {
        link_write(link);
    }
}

/* What the kernel does not take at once goes out as it can. */
static void write_rest(struct link *link, size_t written)
{
    link->sending = link->output;
    buffer_init(&link->output, 0);
    uv_buf_t rest = uv_buf_init((char *)link->sending.bytes + written,
                                (unsigned)(link->sending.size - written));
    link->writing_request.data = link;
    link->writing = true;
    int status = uv_write(&link->writing_request, &link->socket.stream, &rest, 1, on_written);
    if (status < 0) {
        link->writing = false;
        link_fail(link, "writing: %s", uv_strerror(status));
    }
}

void link_write(struct link *link)
{
    if (link->output.size == 0 || link->writing) {
        return;
    }
    uv_buf_t all = uv_buf_init((char *)link->output.bytes, (unsigned)link->output.size);
    int written = uv_try_write(&link->socket.stream, &all, 1);
    if (written < 0 && written != UV_EAGAIN) {
        link_fail(link, "writing: %s", uv_strerror(written));
        return;
    }
    mark_sent(link);
    size_t done = written > 0 ? (size_t)written : 0;
    if (done < link->output.size) {
        write_rest(link, done);
    } else if (link->output.capacity > LINK_KEPT_BYTES) {
        buffer_release(&link->output);
    } else {
        link->output.size = 0;
    }
}

void link_flush(struct link *link)
{
    if (link->state == LINK_GREETING || link->state == LINK_UP) {
        link_write(link);
    }
}

static bool put(struct link *link, struct link_command *command, size_t before)
{
    if (link->output.failed) {
        buffer_truncate(&link->output, before);
        return false;
    }
    uint64_t due_us = link->now_us + link->settings.options->timeout_us;
    command->due_us = command->deadline_us > due_us ? command->deadline_us : due_us;
    command->before = 0;
    command->sent = false;
    list_append(&link->waiting, &command->link);
    return true;
}

int link_send(struct link *link, struct link_command *command, const void *bytes, size_t size)
{
    CHECK(link->state == LINK_UP);
    size_t before = link->output.size;
    if (size > LINK_OUTPUT_MAX || before + link->sending.size > LINK_OUTPUT_MAX - size) {
        return -CODE_OVERLOADED;
    }
    bool untracked = command->untracked && !command->asking && !link->tracking_refused &&
                     link->settings.tracking == LINK_TRACKS_READS;
    if (command->asking) {
        resp_command(&link->output, 1);
        resp_word_text(&link->output, "ASKING");
    } else if (untracked) {
        resp_command(&link->output, 3);
        resp_word_text(&link->output, "CLIENT");
        resp_word_text(&link->output, "CACHING");
        resp_word_text(&link->output, "NO");
    }
    buffer_append(&link->output, bytes, size);
    if (!put(link, command, before)) {
        return -CODE_OVERLOADED;
    }
    command->before = command->asking || untracked ? 1 : 0;
    link->fresh++;
    return 0;
}

void link_step_put(struct link *link, struct link_step *step, size_t before,
                   void (*done)(struct link_command *command, enum link_outcome outcome,
                                struct resp_reader reply))
{
    step->owner = link;
    step->command.asking = false;
    step->command.untracked = false;
    step->command.done = done;
    step->command.deadline_us = link->now_us + link->settings.options->timeout_us;
    if (!put(link, &step->command, before)) {
        link_fail(link, "no memory");
    }
}

/* ---- Time ---- */

static void on_pong(struct link_command *command, enum link_outcome outcome,
                    struct resp_reader reply)
{
    struct link *link = CONTAINER_OF(command, struct link_step, command)->owner;
    (void)reply;
    /* Whatever it is, an answer in its turn proves what a pong would. */
    if (outcome == LINK_ANSWERED) {
        lease_pong(&link->lease);
    }
}

static void ping(struct link *link)
{
    if (link->lease.cover == 0 || link->now_us < link->pinged_us + LEASE_PING_US ||
        !lease_ping(&link->lease, link->now_us)) {
        return;
    }
    link->pinged_us = link->now_us;
    struct link_step *step = &link->pings[link->ping_next];
    link->ping_next = (link->ping_next + 1) % LEASE_PINGS_MAX;
    size_t before = link->output.size;
    resp_command(&link->output, 1);
    resp_word_text(&link->output, "PING");
    link_step_put(link, step, before, on_pong);
}

static void watch_deadline(struct link *link)
{
    uint64_t timeout_us = link->settings.options->timeout_us;
    if (link->state != LINK_UP) {
        if (link->now_us - link->opened_us > timeout_us) {
            link->timeouts++;
            link_fail(link, "not connected within %llu ms",
                      (unsigned long long)(timeout_us / 1000));
        }
        return;
    }
    if (list_empty(&link->waiting)) {
        return;
    }
    const struct link_command *oldest = CONTAINER_OF(link->waiting.next, struct link_command, link);
    /* Much may be on its way before its answer: what counts is that something comes. */
    if (link->now_us > oldest->due_us && link->now_us > link->heard_us + timeout_us) {
        link->timeouts++;
        link_fail(link, "no answer within the time allowed");
    }
}

void link_tick(struct link *link, uint64_t now_us)
{
    if (link->state == LINK_IDLE || link->state == LINK_CLOSING) {
        return;
    }
    /* After the loop has stood still, answers may have come that nobody has read yet:
     * they are given one round. */
    link->late = !link->late && now_us - link->now_us > LATE_US;
    link->now_us = now_us;
    if (!link->late) {
        watch_deadline(link);
    }
    if (link->state == LINK_UP) {
        ping(link);
    }
}

/* ---- The session ---- */

/* Numbers of sessions: of the whole process, so that none is ever met again. */
static uint64_t covers;

void link_greeted(struct link *link)
{
    link->state = LINK_UP;
    if (link->tracked_us != 0) {
        link->last_cover = ++covers;
        lease_begin(&link->lease, link->last_cover, link->tracked_us);
    }
    link->on_up(link);
}

void link_renew(struct link *link)
{
    if (link->lease.cover != 0) {
        link->last_cover = ++covers;
        link->lease.cover = link->last_cover;
    }
}

/* ---- The beginning ---- */

static void on_connected(uv_connect_t *request, int status)
{
    struct link *link = link_enter(request->data);
    if (link->state == LINK_CLOSING) {
        return;
    }
    if (status == 0) {
        status = link_read_start(link);
    }
    if (status == 0) {
        forget_addresses(link);
        link->state = LINK_GREETING;
        link_greet(link);
    } else if (link->next != NULL) {
        close_socket(link);
    } else {
        link_fail(link, "connecting: %s", uv_strerror(status));
    }
}

static void socket_opened(struct link *link)
{
    link->handle_open = true;
    link->socket.handle.data = link;
    link->connecting.data = link;
    uv_unref(&link->socket.handle);
}

/* An address at which it cannot even be tried is passed over like one that does
 * not answer; the last one's fault is told. */
static void connect_tcp(struct link *link, const struct sockaddr *address)
{
    CHECK(uv_tcp_init(link->loop, &link->socket.tcp) == 0);
    socket_opened(link);
    int status = uv_tcp_connect(&link->connecting, &link->socket.tcp, address, on_connected);
    if (status == 0) {
        /* Without these it works too. */
        (void)uv_tcp_nodelay(&link->socket.tcp, 1);
        (void)uv_tcp_keepalive(&link->socket.tcp, 1, KEEPALIVE_S);
    } else if (link->next != NULL) {
        close_socket(link);
    } else {
        link_fail(link, "connecting: %s", uv_strerror(status));
    }
}

static void connect_next(struct link *link)
{
    const struct addrinfo *address = link->next;
    CHECK(address != NULL);
    link->next = address->ai_next;
    connect_tcp(link, address->ai_addr);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct link *link = link_enter(request->data);
    link->resolved = found;
    if (link->state == LINK_CLOSING) {
        finish(link);
    } else if (status < 0 || found == NULL) {
        /* There is no socket yet whose end would be told. */
        link->state = LINK_CONNECTING;
        link_fail(link, "its name is not known: %s",
                  status < 0 ? uv_strerror(status) : "no address");
        finish(link);
    } else {
        link->state = LINK_CONNECTING;
        link->next = found;
        connect_next(link);
    }
}

static int open_by_name(struct link *link, struct error *error)
{
    struct sockaddr_storage address;
    if (uv_ip4_addr(link->host, link->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(link->host, link->port, (struct sockaddr_in6 *)&address) == 0) {
        link->state = LINK_CONNECTING;
        connect_tcp(link, (struct sockaddr *)&address);
        return 0;
    }
    char port[8];
    snprintf(port, sizeof(port), "%u", link->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    link->resolving.data = link;
    int status =
        uv_getaddrinfo(link->loop, &link->resolving, on_resolved, link->host, port, &hints);
    if (status < 0) {
        return error_set(error, CODE_UNAVAILABLE, "%s: its name cannot be looked up: %s",
                         link->host, uv_strerror(status));
    }
    link->state = LINK_RESOLVING;
    return 0;
}

static void open_by_path(struct link *link)
{
    CHECK(uv_pipe_init(link->loop, &link->socket.pipe, 0) == 0);
    socket_opened(link);
    link->state = LINK_CONNECTING;
    uv_pipe_connect(&link->connecting, &link->socket.pipe, link->host, on_connected);
}

int link_open(struct link *link, const struct link_settings *settings, uint64_t now_us,
              struct error *error)
{
    CHECK(link->state == LINK_IDLE && list_empty(&link->waiting));
    const struct home_options *options = settings->options;
    bool is_unix = settings->host == NULL && options->is_unix;
    const char *host = settings->host != NULL ? settings->host : options->host;
    if (strlen(host) >= (is_unix ? PATH_MAX_BYTES + 1 : sizeof(link->host))) {
        return error_set(error, CODE_UNAVAILABLE, "%s: too long for an address", host);
    }
    link->settings = *settings;
    snprintf(link->host, sizeof(link->host), "%s", host);
    link->port = is_unix ? 0 : settings->host != NULL ? settings->port : options->port;
    link->scan = (struct resp_scan){0};
    link->opened_us = link->now_us = link->heard_us = now_us;
    link->pinged_us = now_us;
    link->tracked_us = 0;
    link->late = false;
    link->resting = false;
    link->taken = 0;
    link->keys_left = 0;
    link->fresh = 0;
    link->tracking_refused = false;
    link->tracking_error[0] = '\0';
    error_clear(&link->fault);
    if (is_unix) {
        open_by_path(link);
        return 0;
    }
    return open_by_name(link, error);
}

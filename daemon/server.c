#include "daemon/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/provider.h"
#include "protocol/base/check.h"

enum { BACKLOG = 1024, WATCH_MS_MAX = 1000, WATCH_MS_MIN = 20, FAILED_LOG_US = 1000 * 1000 };

/* For a client to take its last answers in, when time is up. */
enum { LAST_WORDS_MS = 500 };

/* --- Connections ------------------------------------------------------------ */

static void end_if_empty(struct server *server)
{
    if (server->stopping && server->connection_count == 0 &&
        !uv_is_closing((uv_handle_t *)&server->watch)) {
        uv_close((uv_handle_t *)&server->watch, NULL);
        uv_close((uv_handle_t *)&server->patience, NULL);
    }
}

static void on_closed(struct connection *connection, void *context)
{
    struct server *server = context;
    list_remove(&connection->node);
    connection_free(connection);
    CHECK(server->connection_count > 0);
    server->connection_count--;
    server->loop->dispatch->counters->connections = server->connection_count;
    if (server->connection_count < server->loop->dispatch->limits->connections) {
        server->full_told = false;
    }
    end_if_empty(server);
}

/* Providers are ended last, together, since others wait for what they answer. */
static void end_if_idle(struct server *server)
{
    LIST_EACH(node, &server->connections)
    {
        if (!connection_idle(CONTAINER_OF(node, struct connection, node))) {
            return;
        }
    }
    LIST_EACH(node, &server->connections)
    {
        connection_end(CONTAINER_OF(node, struct connection, node));
    }
}

static void on_watch(uv_timer_t *timer)
{
    struct server *server = timer->data;
    loop_enter(server->loop);
    if (server->stopping) {
        end_if_idle(server);
    }
    uint64_t now_us = server->loop->dispatch->now_us;
    LIST_EACH(node, &server->connections)
    {
        struct connection *connection = CONTAINER_OF(node, struct connection, node);
        connection_tick(connection, now_us, server->stall_us);
    }
}

/* Connections to look after are looked after a few times in the time that they
 * are given. */
static void start_watch(struct server *server)
{
    uint64_t every_ms = server->stall_us / 1000 / 8;
    if (every_ms > WATCH_MS_MAX) {
        every_ms = WATCH_MS_MAX;
    } else if (every_ms < WATCH_MS_MIN) {
        every_ms = WATCH_MS_MIN;
    }
    CHECK(uv_timer_start(&server->watch, on_watch, every_ms, every_ms) == 0);
}

/* Whether there is room; told once, until there is room again. */
static bool is_full(struct server *server)
{
    uint64_t limit = server->loop->dispatch->limits->connections;
    if (server->connection_count < limit) {
        return false;
    }
    if (!server->full_told) {
        server->full_told = true;
        log_event(LOG_WARNING, "connections_full", "limit", "%llu", (unsigned long long)limit);
    }
    return true;
}

static void log_failed_accept(struct server *server, int status)
{
    uint64_t now_us = server->loop->dispatch->now_us;
    if (server->failed_us == 0 || now_us - server->failed_us > FAILED_LOG_US) {
        server->failed_us = now_us;
        log_event(LOG_ERROR, "accept_failed", "reason", "%s", uv_strerror(status));
    }
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    struct server *server = listener->server;
    bool is_tcp = listener->address.kind == ADDRESS_TCP;
    loop_enter(server->loop);
    if (status < 0) {
        /* Out of descriptors: libuv has accepted and closed it, so that the
         * loop does not spin. */
        log_failed_accept(server, status);
        return;
    }
    bool full = is_full(server);
    struct connection *connection =
        connection_create(server->loop, ++server->last_id, is_tcp, on_closed, server);
    list_append(&server->connections, &connection->node);
    server->connection_count++;
    server->loop->dispatch->counters->connections = server->connection_count;
    status = uv_accept(stream, &connection->socket.stream);
    if (status < 0 || full) {
        if (status < 0) {
            log_failed_accept(server, status);
        }
        connection_close(connection);
        return;
    }
    if (is_tcp) {
        (void)uv_tcp_nodelay(&connection->socket.tcp, 1);
    }
    log_event(LOG_DEBUG, "connection_opened", "connection", "%llu",
              (unsigned long long)connection->client.id);
    connection_start(connection);
}

/* --- Listening -------------------------------------------------------------- */

static int refuse(struct error *error, const struct address *address, const char *reason)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(address, text);
    return error_set(error, CODE_UNAVAILABLE, "cannot listen at %s: %s", text, reason);
}

/* Whether somebody listens at the socket file. A full backlog is somebody. */
static bool somebody_answers(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    static_assert(sizeof(name.sun_path) == ADDRESS_PATH_MAX, "a path of an address fits");
    memcpy(name.sun_path, path, strlen(path) + 1);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return true;
    }
    int status = connect(descriptor, (const struct sockaddr *)&name, sizeof(name));
    bool answers = status == 0 || errno != ECONNREFUSED;
    close(descriptor);
    return answers;
}

/* Makes room for the socket file, where that does nobody harm. */
static int clear_path(const struct address *address, struct error *error)
{
    struct stat found;
    if (lstat(address->path, &found) != 0) {
        return errno == ENOENT ? 0 : refuse(error, address, strerror(errno));
    }
    if (!S_ISSOCK(found.st_mode)) {
        return refuse(error, address, "there is a file that is no socket");
    }
    if (somebody_answers(address->path)) {
        return refuse(error, address, "another process listens there");
    }
    if (unlink(address->path) != 0) {
        return refuse(error, address, strerror(errno));
    }
    log_event(LOG_INFO, "stale_socket_removed", "path", "%s", address->path);
    return 0;
}

/* The folder of the socket, locked against other daemons that look for a stale
 * socket in it at the same time. The lock ends with the descriptor. */
static int lock_folder(const struct address *address, int *descriptor, struct error *error)
{
    char folder[ADDRESS_PATH_MAX] = ".";
    const char *slash = strrchr(address->path, '/');
    if (slash != NULL) {
        size_t size = slash == address->path ? 1 : (size_t)(slash - address->path);
        memcpy(folder, address->path, size);
        folder[size] = '\0';
    }
    *descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*descriptor < 0) {
        char reason[ADDRESS_PATH_MAX + 128];
        snprintf(reason, sizeof(reason), "the folder %s: %s", folder, strerror(errno));
        return refuse(error, address, reason);
    }
    if (flock(*descriptor, LOCK_EX) != 0) {
        int failure = errno;
        close(*descriptor);
        return refuse(error, address, strerror(failure));
    }
    return 0;
}

static int listen_unix(struct listener *listener, unsigned socket_mode, struct error *error)
{
    const struct address *address = &listener->address;
    int lock;
    int status = lock_folder(address, &lock, error);
    if (status != 0) {
        return status;
    }
    status = clear_path(address, error);
    if (status != 0) {
        goto err_after_lock;
    }
    int failure = uv_pipe_bind(&listener->socket.pipe, address->path);
    if (failure == 0 && chmod(address->path, (mode_t)socket_mode) != 0) {
        failure = uv_translate_sys_error(errno);
    }
    if (failure == 0) {
        failure = uv_listen(&listener->socket.stream, BACKLOG, on_connection);
    }
    if (failure != 0) {
        status = refuse(error, address, uv_strerror(failure));
    }
err_after_lock:
    close(lock);
    return status;
}

static int bind_tcp(struct listener *listener)
{
    struct address *address = &listener->address;
    struct sockaddr_storage name;
    int length = sizeof(name);
    bool six = strchr(address->host, ':') != NULL;
    int status = six ? uv_ip6_addr(address->host, address->port, (struct sockaddr_in6 *)&name)
                     : uv_ip4_addr(address->host, address->port, (struct sockaddr_in *)&name);
    if (status == 0) {
        status = uv_tcp_bind(&listener->socket.tcp, (const struct sockaddr *)&name, 0);
    }
    if (status == 0) {
        status = uv_listen(&listener->socket.stream, BACKLOG, on_connection);
    }
    if (status == 0) {
        status = uv_tcp_getsockname(&listener->socket.tcp, (struct sockaddr *)&name, &length);
    }
    if (status == 0) {
        address->port = ntohs(six ? ((struct sockaddr_in6 *)&name)->sin6_port
                                  : ((struct sockaddr_in *)&name)->sin_port);
    }
    return status;
}

static int listen_tcp(struct listener *listener, struct error *error)
{
    int failure = bind_tcp(listener);
    return failure == 0 ? 0 : refuse(error, &listener->address, uv_strerror(failure));
}

int server_listen(struct server *server, const struct address *address, unsigned socket_mode,
                  struct error *error)
{
    if (server->listener_count == SERVER_LISTENERS_MAX) {
        return refuse(error, address, "there are too many addresses");
    }
    struct listener *listener = &server->listeners[server->listener_count];
    uv_loop_t *uv = &server->loop->uv;
    bool is_tcp = address->kind == ADDRESS_TCP;
    listener->server = server;
    listener->address = *address;
    CHECK((is_tcp ? uv_tcp_init(uv, &listener->socket.tcp)
                  : uv_pipe_init(uv, &listener->socket.pipe, 0)) == 0);
    listener->socket.handle.data = listener;
    /* From here on it is closed with the others, also where it failed. */
    server->listener_count++;
    return is_tcp ? listen_tcp(listener, error) : listen_unix(listener, socket_mode, error);
}

/* --- Life ------------------------------------------------------------------- */

void server_init(struct server *server, struct loop *loop, uint64_t stall_us)
{
    *server = (struct server){.loop = loop, .stall_us = stall_us};
    list_init(&server->connections);
    CHECK(uv_timer_init(&loop->uv, &server->watch) == 0);
    CHECK(uv_timer_init(&loop->uv, &server->patience) == 0);
    server->watch.data = server;
    server->patience.data = server;
    start_watch(server);
    /* The watch is no reason for the loop to go on. Patience, once started, is:
     * a connection that only waits for its answers is none to libuv. */
    uv_unref((uv_handle_t *)&server->watch);
}

void server_set_stall(struct server *server, uint64_t stall_us)
{
    server->stall_us = stall_us;
    start_watch(server);
}

/* First what is under way is answered as it is, then the rest is cut off. */
static void on_patience(uv_timer_t *timer)
{
    struct server *server = timer->data;
    loop_enter(server->loop);
    if (server->overdue) {
        server_abort(server);
        return;
    }
    server->overdue = true;
    log_event(LOG_WARNING, "stop_overdue", "connections", "%zu", server->connection_count);
    LIST_EACH(node, &server->connections)
    {
        connection_give_up(CONTAINER_OF(node, struct connection, node));
    }
    CHECK(uv_timer_start(&server->patience, on_patience, LAST_WORDS_MS, 0) == 0);
}

void server_stop(struct server *server, uint64_t patience_us)
{
    CHECK(!server->stopping);
    server->stopping = true;
    for (unsigned i = 0; i < server->listener_count; i++) {
        uv_close(&server->listeners[i].socket.handle, NULL);
    }
    CHECK(uv_timer_start(&server->patience, on_patience, patience_us / 1000, 0) == 0);
    CHECK(uv_timer_start(&server->watch, on_watch, WATCH_MS_MIN, WATCH_MS_MIN) == 0);
    LIST_EACH(node, &server->connections)
    {
        struct connection *connection = CONTAINER_OF(node, struct connection, node);
        if (provider_is(&connection->client)) {
            connection_drain(connection);
        } else {
            connection_end(connection);
        }
    }
    end_if_empty(server);
}

void server_abort(struct server *server)
{
    LIST_EACH(node, &server->connections)
    {
        connection_close(CONTAINER_OF(node, struct connection, node));
    }
}

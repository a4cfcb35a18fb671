#include "tests/lib/redis_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "layers/redis/resp.h"

enum { PATIENCE_MS = 60000, STEP_MS = 5, WORDS_MAX = 64 };

static void must(const struct redis_fixture *server, bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "redis-server in %s: %s: %s\n", server->folder, what, strerror(errno));
        abort();
    }
}

static void wait_a_step(void)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    nanosleep(&step, NULL);
}

/* ---- Starting and ending ---- */

/* Whether the port can be had now; 0: any, which is then in *port. */
static bool is_free(const struct redis_fixture *server, uint16_t *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server, fd >= 0, "socket");
    bool free = bind(fd, (struct sockaddr *)&address, size) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    *port = ntohs(address.sin_port);
    close(fd);
    return free;
}

/* A Cluster's node listens at a second port too, which lies so much higher. */
static uint16_t free_port(const struct redis_fixture *server)
{
    enum { BUS = 10000 };
    for (;;) {
        uint16_t port = 0;
        bool found = is_free(server, &port) && port < UINT16_MAX - BUS;
        uint16_t bus = (uint16_t)(port + BUS);
        if (found && is_free(server, &bus)) {
            return port;
        }
    }
}

/* In the new process: never returns. */
_Noreturn static void execute(const struct redis_fixture *server, const char *const *options)
{
    char port[8];
    char log[REDIS_PATH_MAX];
    snprintf(port, sizeof(port), "%u", server->port);
    snprintf(log, sizeof(log), "%s/log", server->folder);
    const char *all[WORDS_MAX] = {"redis-server",
                                  "--port",
                                  port,
                                  "--bind",
                                  "127.0.0.1",
                                  "--dir",
                                  server->folder,
                                  "--logfile",
                                  log,
                                  "--unixsocket",
                                  server->socket_path,
                                  "--save",
                                  "",
                                  "--appendonly",
                                  "no",
                                  "--repl-diskless-sync-delay",
                                  "0"};
    size_t count = 0;
    while (all[count] != NULL) {
        count++;
    }
    for (; options != NULL && *options != NULL && count < WORDS_MAX - 1; options++) {
        all[count++] = *options;
    }
    union {
        const char **in;
        char **out;
    } argv = {.in = all};
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, STDOUT_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv.out[0], argv.out);
    _exit(127);
}

static int try_connect(const struct redis_fixture *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server, fd >= 0, "socket");
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server->socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

void redis_fixture_start(struct redis_fixture *server, const char *const *options)
{
    if (server->port == 0) {
        *server = (struct redis_fixture){.folder = "/tmp/relata-redis-XXXXXX"};
        must(server, mkdtemp(server->folder) != NULL, "mkdtemp");
        snprintf(server->socket_path, sizeof(server->socket_path), "%s/sock", server->folder);
        server->port = free_port(server);
    }
    unlink(server->socket_path);
    server->pid = fork();
    must(server, server->pid >= 0, "fork");
    if (server->pid == 0) {
        execute(server, options);
    }
    int fd = -1;
    for (int waited_ms = 0; (fd = try_connect(server)) < 0; waited_ms += STEP_MS) {
        int status;
        must(server, waitpid(server->pid, &status, WNOHANG) == 0, "it ended at once");
        must(server, waited_ms < PATIENCE_MS, "it does not listen");
        wait_a_step();
    }
    close(fd);
}

void redis_fixture_kill(struct redis_fixture *server, int signal)
{
    int status;
    if (server->pid != 0) {
        kill(server->pid, signal);
        kill(server->pid, SIGCONT);
        must(server, waitpid(server->pid, &status, 0) == server->pid, "its end");
        server->pid = 0;
    }
}

void redis_fixture_stop(struct redis_fixture *server)
{
    static const char *const files[] = {"log", "sock", "nodes.conf", "dump.rdb"};
    char path[REDIS_PATH_MAX];
    redis_fixture_kill(server, SIGKILL);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && server->port != 0; i++) {
        snprintf(path, sizeof(path), "%s/%s", server->folder, files[i]);
        unlink(path);
    }
    if (server->port != 0) {
        rmdir(server->folder);
    }
    server->port = 0;
}

/* ---- Speaking ---- */

static void write_all(const struct redis_fixture *server, int fd, const struct buffer *bytes)
{
    for (size_t at = 0; at < bytes->size;) {
        ssize_t written = write(fd, bytes->bytes + at, bytes->size - at);
        must(server, written > 0, "writing");
        at += (size_t)written;
    }
}

static void read_reply(const struct redis_fixture *server, int fd, struct buffer *reply)
{
    struct resp_scan scan = {0};
    struct error error = ERROR_INIT;
    enum resp_scan_status status = RESP_CUT;
    while (status == RESP_CUT) {
        must(server, buffer_reserve(reply, REDIS_REPLY_MAX), "memory");
        ssize_t count = read(fd, reply->bytes + reply->size, REDIS_REPLY_MAX);
        must(server, count > 0, "reading");
        reply->size += (size_t)count;
        status = resp_scan_go(&scan, reply->bytes, reply->size, &error);
    }
    must(server, status == RESP_WHOLE, error.message);
}

static void show(struct resp_reader reply, struct buffer *out)
{
    for (;;) {
        struct resp_token token = resp_next(&reply);
        if (token.kind == RESP_END) {
            break;
        }
        if (token.kind == RESP_ARRAY || token.kind == RESP_MAP || token.kind == RESP_PUSH) {
            continue;
        }
        if (out->size > 0) {
            buffer_byte(out, '\n');
        }
        if (token.kind == RESP_NIL) {
            buffer_printf(out, "nil");
        } else if (token.kind == RESP_INTEGER) {
            buffer_printf(out, "%lld", (long long)token.integer);
        } else {
            buffer_append(out, token.bytes, token.size);
        }
    }
    buffer_byte(out, '\0');
}

static void put_words(struct buffer *out, const char *words)
{
    size_t count = 1;
    for (const char *at = words; *at != '\0'; at++) {
        count += *at == ' ' ? 1 : 0;
    }
    resp_command(out, count);
    for (; count > 0; count--) {
        size_t size = strcspn(words, " ");
        resp_word(out, words, size);
        words += size + (count > 1 ? 1 : 0);
    }
}

const char *redis_fixture_say(const struct redis_fixture *server, const char *words)
{
    static char answer[REDIS_REPLY_MAX];
    struct buffer bytes = BUFFER_INIT;
    struct buffer reply = BUFFER_INIT;
    struct buffer text = BUFFER_INIT;
    int fd = try_connect(server);
    must(server, fd >= 0, "connecting");
    put_words(&bytes, words);
    write_all(server, fd, &bytes);
    read_reply(server, fd, &reply);
    close(fd);
    show(resp_reader_of(reply.bytes, reply.size), &text);
    snprintf(answer, sizeof(answer), "%s", (const char *)text.bytes);
    buffer_release(&bytes);
    buffer_release(&reply);
    buffer_release(&text);
    return answer;
}

/* ---- A Cluster ---- */

__attribute__((format(printf, 3, 4))) static void await(const struct redis_fixture *server,
                                                        const char *what, const char *format, ...)
{
    char words[REDIS_PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    for (int waited_ms = 0; strstr(redis_fixture_say(server, words), what) == NULL;
         waited_ms += STEP_MS) {
        must(server, waited_ms < PATIENCE_MS, words);
        wait_a_step();
    }
}

void redis_fixture_join(const struct redis_fixture *servers, size_t count, size_t masters)
{
    enum { SLOTS = 16384 };
    char words[REDIS_PATH_MAX];
    char text[REDIS_PATH_MAX];
    for (size_t i = 0; i < masters; i++) {
        snprintf(words, sizeof(words), "CLUSTER ADDSLOTSRANGE %zu %zu", i * SLOTS / masters,
                 (i + 1) * SLOTS / masters - 1);
        must(&servers[i], strcmp(redis_fixture_say(&servers[i], words), "OK") == 0, words);
        snprintf(words, sizeof(words), "CLUSTER SET-CONFIG-EPOCH %zu", i + 1);
        redis_fixture_say(&servers[i], words);
    }
    for (size_t i = 1; i < count; i++) {
        snprintf(words, sizeof(words), "CLUSTER MEET 127.0.0.1 %u", servers[0].port);
        redis_fixture_say(&servers[i], words);
    }
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "cluster_known_nodes:%zu", count);
        await(&servers[i], text, "CLUSTER INFO");
        await(&servers[i], "cluster_slots_ok:16384", "CLUSTER INFO");
        await(&servers[i], "cluster_state:ok", "CLUSTER INFO");
    }
    if (count > masters) {
        char id[64];
        snprintf(id, sizeof(id), "%s", redis_fixture_say(&servers[0], "CLUSTER MYID"));
        await(&servers[count - 1], "OK", "CLUSTER REPLICATE %s", id);
        await(&servers[count - 1], "master_link_status:up", "INFO replication");
        await(&servers[0], "state=online", "INFO replication");
    }
}

#include "tests/lib/fake_daemon.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/limits.h"
#include "protocol/message.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"
#include "protocol/session.h"

enum { HELD_MAX = 4096 };

/* One connection, in a process of its own. */
struct peer {
    int fd;
    struct session session;
    struct buffer input;
    struct buffer output;
    uint32_t held[HELD_MAX];
    struct buffer held_params[HELD_MAX];
    size_t held_count;
    uint32_t asked; /* the request that waits for the client's answer */
};

static bool named(const struct message *message, const char *name)
{
    return message->method_size == strlen(name) &&
           memcmp(message->method, name, message->method_size) == 0;
}

static bool contains(const struct message *message, const char *text)
{
    return message->params != NULL &&
           memmem(message->params, message->params_size, text, strlen(text)) != NULL;
}

static void answer_hello(struct peer *peer, const struct message *message)
{
    if (contains(message, "mute")) {
        return;
    }
    if (contains(message, "bad")) {
        struct error error = ERROR_INIT;
        error_set(&error, CODE_UNAUTHENTICATED, "the token is not known");
        message_error(&peer->output, message->id, &error, true);
        return;
    }
    message_result(&peer->output, message->id);
    write_map(&peer->output, 2);
    write_text(&peer->output, "server");
    write_text(&peer->output, "fake");
    write_text(&peer->output, "limits");
    write_map(&peer->output, 1);
    write_text(&peer->output, "answer_bytes");
    write_integer(&peer->output, contains(message, "small") ? 1000 : 64 << 20);
}

static void answer_params(struct peer *peer, uint32_t id, const uint8_t *params, size_t size)
{
    message_result(&peer->output, id);
    buffer_append(&peer->output, params, size);
}

static void hold(struct peer *peer, const struct message *message)
{
    if (peer->held_count == HELD_MAX) {
        _exit(1);
    }
    peer->held[peer->held_count] = message->id;
    buffer_append(&peer->held_params[peer->held_count++], message->params, message->params_size);
}

static void release(struct peer *peer, const struct message *message)
{
    while (peer->held_count > 0) {
        struct buffer *params = &peer->held_params[--peer->held_count];
        answer_params(peer, peer->held[peer->held_count], params->bytes, params->size);
        buffer_release(params);
    }
    message_result(&peer->output, message->id);
    write_boolean(&peer->output, true);
}

static void answer_large(struct peer *peer, const struct message *message)
{
    struct reader in = reader_of(message->params, message->params_size);
    reader_next(&in);
    size_t size = (size_t)reader_next(&in).integer;
    char *text = malloc(size + 1);
    if (text == NULL) {
        _exit(1);
    }
    memset(text, 'x', size);
    message_result(&peer->output, message->id);
    write_string(&peer->output, text, size);
    free(text);
}

static void ask(struct peer *peer, const struct message *message)
{
    uint32_t id;
    peer->asked = message->id;
    session_call(&peer->session, peer, &id);
    message_request(&peer->output, id, "load_relationship");
    write_array(&peer->output, 0);
    message_notification(&peer->output, "noise");
    write_array(&peer->output, 0);
}

static void handle_request(struct peer *peer, const struct message *message)
{
    struct error error = ERROR_INIT;
    if (named(message, "hello")) {
        answer_hello(peer, message);
    } else if (named(message, "echo")) {
        answer_params(peer, message->id, message->params, message->params_size);
    } else if (named(message, "refuse")) {
        error_set(&error, CODE_CONFLICT, "it is taken");
        error.index = 3;
        message_error(&peer->output, message->id, &error, true);
    } else if (named(message, "hold")) {
        hold(peer, message);
    } else if (named(message, "release")) {
        release(peer, message);
    } else if (named(message, "large")) {
        answer_large(peer, message);
    } else if (named(message, "ask")) {
        ask(peer, message);
    } else if (named(message, "junk")) {
        buffer_byte(&peer->output, 0xc1);
    } else if (named(message, "vanish")) {
        _exit(0);
    }
}

static void send_output(struct peer *peer)
{
    for (size_t sent = 0; sent < peer->output.size;) {
        ssize_t size =
            send(peer->fd, peer->output.bytes + sent, peer->output.size - sent, MSG_NOSIGNAL);
        if (size < 0) {
            _exit(0);
        }
        sent += (size_t)size;
    }
    buffer_truncate(&peer->output, 0);
}

static void take_messages(struct peer *peer)
{
    struct message message;
    struct error error;
    size_t used;
    enum session_status status;
    while ((status = session_next(&peer->session, peer->input.bytes, peer->input.size, &used,
                                  &message, &error)) == SESSION_MESSAGE) {
        if (message.kind == MESSAGE_REQUEST) {
            handle_request(peer, &message);
        } else if (message.kind == MESSAGE_RESPONSE) {
            answer_params(peer, peer->asked, message.error, message.error_size);
        }
        send_output(peer);
        buffer_consume(&peer->input, used);
    }
    if (status == SESSION_BROKEN) {
        _exit(1);
    }
    buffer_consume(&peer->input, used);
}

_Noreturn static void serve(int fd)
{
    static struct peer peer;
    peer.fd = fd;
    session_init(&peer.session, (struct frame_limits){1u << 30, FRAME_LEVELS_MAX});
    for (;;) {
        buffer_reserve(&peer.input, 1 << 16);
        ssize_t size = recv(fd, peer.input.bytes + peer.input.size, 1 << 16, 0);
        if (size <= 0) {
            _exit(0);
        }
        peer.input.size += (size_t)size;
        take_messages(&peer);
    }
}

_Noreturn static void accept_all(int listener)
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0 && fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve(fd);
        }
        close(fd);
    }
}

static void must(bool condition, const char *what)
{
    if (!condition) {
        perror(what);
        abort();
    }
}

void fake_daemon_start(struct fake_daemon *fake)
{
    *fake = (struct fake_daemon){.folder = "/tmp/relata-fake-XXXXXX"};
    must(mkdtemp(fake->folder) != NULL, "mkdtemp");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", fake->folder);
    snprintf(fake->address, sizeof(fake->address), "unix:%.60s", address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(listener >= 0, "socket");
    must(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    must(listen(listener, 64) == 0, "listen");
    fake->pid = fork();
    must(fake->pid >= 0, "fork");
    if (fake->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        accept_all(listener);
    }
    close(listener);
}

void fake_daemon_stop(struct fake_daemon *fake)
{
    char path[80];
    kill(fake->pid, SIGKILL);
    waitpid(fake->pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/socket", fake->folder);
    unlink(path);
    rmdir(fake->folder);
}

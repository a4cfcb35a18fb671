#include "clients/c/dial.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clients/c/fault.h"

uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int clock_left_ms(uint64_t deadline_ms)
{
    uint64_t now = clock_ms();
    if (now >= deadline_ms) {
        return 0;
    }
    return deadline_ms - now > INT_MAX ? INT_MAX : (int)(deadline_ms - now);
}

static int fail(const struct endpoint *endpoint, int reason, struct relata_error *error)
{
    if (reason == ETIMEDOUT) {
        return fault_set(error, CODE_TIMEOUT, "%s did not take the connection in time",
                         endpoint->text);
    }
    return fault_set(error, CODE_UNAVAILABLE, "%s cannot be reached: %s", endpoint->text,
                     strerror(reason));
}

/* Waits until a connect() under way is over. Its errno, or 0. */
static int finish_connect(int fd, uint64_t deadline_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int ready;
    do {
        ready = poll(&poll_fd, 1, clock_left_ms(deadline_ms));
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        return errno;
    }
    if (ready == 0) {
        return ETIMEDOUT;
    }
    int reason = 0;
    socklen_t size = sizeof(reason);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &size) != 0 ? errno : reason;
}

/* One attempt. *fd is set where 0 is answered, else an errno. */
static int attempt(int family, const struct sockaddr *address, socklen_t size, uint64_t deadline_ms,
                   int *fd)
{
    int opened = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0) {
        return errno;
    }
    int reason = 0;
    while (connect(opened, address, size) != 0) {
        reason = errno;
        if (reason == EINPROGRESS || reason == EINTR) {
            reason = finish_connect(opened, deadline_ms);
            break;
        }
        if (reason != EAGAIN || clock_left_ms(deadline_ms) == 0) {
            break;
        }
        /* A unix socket's queue is full: there is nothing to wait for but time. */
        poll(NULL, 0, 1);
        reason = 0;
    }
    if (reason != 0) {
        close(opened);
        return reason == EAGAIN ? ETIMEDOUT : reason;
    }
    *fd = opened;
    return 0;
}

static int dial_unix(const struct endpoint *endpoint, uint64_t deadline_ms, int *fd,
                     struct relata_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof(address.sun_path) == ENDPOINT_PATH_MAX, "a path fits");
    memcpy(address.sun_path, endpoint->path, sizeof(address.sun_path));
    int reason =
        attempt(AF_UNIX, (const struct sockaddr *)&address, sizeof(address), deadline_ms, fd);
    return reason == 0 ? 0 : fail(endpoint, reason, error);
}

/* Every address of the host in turn: "localhost" has two. */
static int dial_tcp(const struct endpoint *endpoint, uint64_t deadline_ms, int *fd,
                    struct relata_error *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int status = getaddrinfo(endpoint->host, endpoint->port, &hints, &found);
    if (status != 0) {
        return fault_set(error, CODE_UNAVAILABLE, "%s cannot be reached: %s", endpoint->text,
                         gai_strerror(status));
    }
    int reason = ENOENT;
    for (struct addrinfo *at = found; at != NULL && reason != 0; at = at->ai_next) {
        reason = attempt(at->ai_family, at->ai_addr, at->ai_addrlen, deadline_ms, fd);
    }
    freeaddrinfo(found);
    if (reason != 0) {
        return fail(endpoint, reason, error);
    }
    int on = 1;
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return 0;
}

int dial(const struct endpoint *endpoint, uint64_t deadline_ms, int *fd, struct relata_error *error)
{
    return endpoint->is_unix ? dial_unix(endpoint, deadline_ms, fd, error)
                             : dial_tcp(endpoint, deadline_ms, fd, error);
}

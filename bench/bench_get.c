/* One thread that asks a server for records of 200 bytes as fast as it answers:
 * `get` of relatad, or GET of redis-server, through one engine, so that the two
 * can be compared. Each connection sends `pipeline` requests at once and the
 * next ones when all are answered. Prints one line of JSON.
 *
 *   bench_get (relata|redis) SOCKET load RECORDS
 *   bench_get (relata|redis) SOCKET check RECORDS
 *   bench_get (relata|redis) SOCKET run RECORDS CONNECTIONS PIPELINE MILLISECONDS
 *
 * `check` compares every byte of every answer with what it must be; `run` looks
 * at the size of answers and at the start of each. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/delays.h"
#include "bench/target.h"
#include "protocol/base/check.h"

enum { LOAD_BATCH = 1000, CONNECTIONS_MAX = 1000, PIPELINE_MAX = 1000, EVENTS_MAX = 64 };

struct connection {
    int fd;
    uint64_t sent_ns;
    uint8_t *in;
    size_t in_size;
};

static const struct target *target;
static uint32_t records;
static unsigned pipeline;
static size_t answer_size;
static struct buffer out;
static struct delays delays;
static uint64_t random_state = 88172645463325252u;

_Noreturn static void usage(void)
{
    fprintf(stderr, "bench_get (relata|redis) SOCKET (load|check|run) RECORDS"
                    " [CONNECTIONS PIPELINE MILLISECONDS]\n");
    exit(2);
}

static uint32_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % records;
}

/* Sends `out`, receives as many bytes as are expected, and compares. */
static void exchange(int fd, const struct buffer *expected)
{
    uint8_t *answer = malloc(expected->size);
    CHECK(answer != NULL);
    target_send(fd, out.bytes, out.size);
    target_receive(fd, answer, expected->size);
    if (memcmp(answer, expected->bytes, expected->size) != 0) {
        fprintf(stderr, "bench_get: %s answered something else: %.*s\n", target->name,
                (int)(expected->size < 300 ? expected->size : 300), (const char *)answer);
        exit(1);
    }
    free(answer);
}

static void for_all_records(int fd,
                            void (*put)(uint32_t first, uint32_t count, struct buffer *expected))
{
    struct buffer expected = BUFFER_INIT;
    for (uint32_t first = 0; first < records; first += LOAD_BATCH) {
        uint32_t left = records - first;
        buffer_truncate(&out, 0);
        buffer_truncate(&expected, 0);
        put(first, left < LOAD_BATCH ? left : LOAD_BATCH, &expected);
        exchange(fd, &expected);
    }
    buffer_release(&expected);
}

static void put_load(uint32_t first, uint32_t count, struct buffer *expected)
{
    target->put_load(&out, first, count);
    target->put_loaded(expected, count);
}

static void put_check(uint32_t first, uint32_t count, struct buffer *expected)
{
    for (uint32_t i = 0; i < count; i++) {
        target->put_get(&out, i, first + i);
        target->put_answer(expected, i, first + i);
    }
}

/* --- Running ------------------------------------------------------------------ */

static void send_requests(struct connection *connection)
{
    buffer_truncate(&out, 0);
    for (unsigned i = 0; i < pipeline; i++) {
        target->put_get(&out, i, random_number());
    }
    connection->in_size = 0;
    connection->sent_ns = delays_now_ns();
    target_send(connection->fd, out.bytes, out.size);
}

/* Each answer must begin where it should, which an error would not. */
static void look_at_answers(const struct connection *connection)
{
    for (unsigned i = 0; i < pipeline; i++) {
        const uint8_t *answer = connection->in + i * answer_size;
        if (memcmp(answer, connection->in, 2) != 0 || (*answer != 0x94 && *answer != '$')) {
            fprintf(stderr, "bench_get: %s answered an error\n", target->name);
            exit(1);
        }
    }
}

/* True when all answers are there. */
static bool receive_answers(struct connection *connection)
{
    size_t wanted = pipeline * answer_size;
    ssize_t received = recv(connection->fd, connection->in + connection->in_size,
                            wanted - connection->in_size, MSG_DONTWAIT);
    CHECK(received > 0);
    connection->in_size += (size_t)received;
    if (connection->in_size < wanted) {
        return false;
    }
    look_at_answers(connection);
    delays_add(&delays, delays_now_ns() - connection->sent_ns, pipeline);
    return true;
}

/* Until the end, and then until nothing is out. */
static void turn_around(int poll, size_t out_count, uint64_t end_ns)
{
    struct epoll_event events[EVENTS_MAX];
    while (out_count > 0) {
        int ready = epoll_wait(poll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!receive_answers(connection)) {
                continue;
            }
            if (delays_now_ns() < end_ns) {
                send_requests(connection);
            } else {
                out_count--;
            }
        }
    }
}

static void run(const char *path, size_t count, uint64_t milliseconds)
{
    static struct connection connections[CONNECTIONS_MAX];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        struct connection *connection = &connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        connection->fd = target_connect(path);
        connection->in = malloc(pipeline * answer_size);
        CHECK(connection->in != NULL);
        CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event) == 0);
    }
    uint64_t start_ns = delays_now_ns();
    for (size_t i = 0; i < count; i++) {
        send_requests(&connections[i]);
    }
    turn_around(poll, count, start_ns + milliseconds * 1000000);
    double seconds = (double)(delays_now_ns() - start_ns) / 1e9;
    printf("{\"per_second\": %.0f, \"requests\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           (double)delays.total / seconds, (unsigned long long)delays.total,
           delays_us(&delays, 0.5), delays_us(&delays, 0.99));
    for (size_t i = 0; i < count; i++) {
        close(connections[i].fd);
        free(connections[i].in);
    }
    close(poll);
}

static unsigned number_of(const char *text, unsigned long max)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*end != '\0' || number == 0 || number > max) {
        usage();
    }
    return (unsigned)number;
}

int main(int argc, char **argv)
{
    if (argc < 5 || (target = target_named(argv[1])) == NULL) {
        usage();
    }
    const char *path = argv[2];
    const char *what = argv[3];
    records = number_of(argv[4], 100000000);
    target->put_answer(&out, 0, 0);
    answer_size = out.size;
    if (strcmp(what, "run") == 0 && argc == 8) {
        pipeline = number_of(argv[6], PIPELINE_MAX);
        run(path, number_of(argv[5], CONNECTIONS_MAX), number_of(argv[7], 3600000));
    } else if ((strcmp(what, "load") == 0 || strcmp(what, "check") == 0) && argc == 5) {
        int fd = target_connect(path);
        for_all_records(fd, *what == 'l' ? put_load : put_check);
        close(fd);
    } else {
        usage();
    }
    buffer_release(&out);
    return 0;
}

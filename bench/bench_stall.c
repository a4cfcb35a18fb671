/* Whether one caller's long reads hold up the others: one connection counts all
 * records by a filter that no index serves, again and again, while another one
 * sends a ping every two milliseconds. Prints one line of JSON.
 *
 *   bench_stall SOCKET RECORDS MILLISECONDS [quiet]
 *
 * `quiet` sends the pings alone, for comparison. The records are those of
 * bench_get. A ping that is still out when the next one is due takes its place. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/delays.h"
#include "bench/target.h"
#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

enum { PING_EVERY_NS = 2000000 };

struct scans {
    int fd;
    uint32_t records;
    struct buffer request;
    struct buffer expected;
    uint64_t sent_ns;
    uint64_t took_ns;
    unsigned done;
};

/* Keeps the records of one in 26 first letters behind the eight digits. */
static void scans_init(struct scans *scans, const char *path, uint32_t records)
{
    *scans = (struct scans){.fd = target_connect(path), .records = records};
    struct buffer *out = &scans->request;
    write_array(out, 4);
    write_integer(out, 0);
    write_integer(out, 1);
    write_text(out, "count");
    write_array(out, 2);
    write_text(out, "item");
    write_map(out, 1);
    write_text(out, "filter");
    write_text(out, "ends_with(text, 'cc')");

    write_array(&scans->expected, 4);
    write_integer(&scans->expected, 1);
    write_integer(&scans->expected, 1);
    write_nil(&scans->expected);
    write_integer(&scans->expected, (records + 23) / 26);
}

static void scans_send(struct scans *scans)
{
    scans->sent_ns = delays_now_ns();
    target_send(scans->fd, scans->request.bytes, scans->request.size);
}

static void scans_receive(struct scans *scans)
{
    uint8_t answer[32] = {0};
    target_receive(scans->fd, answer, scans->expected.size);
    if (memcmp(answer, scans->expected.bytes, scans->expected.size) != 0) {
        fprintf(stderr, "bench_stall: the count is wrong\n");
        exit(1);
    }
    scans->took_ns += delays_now_ns() - scans->sent_ns;
    scans->done++;
}

static void sleep_until(uint64_t ns)
{
    struct timespec when = {.tv_sec = (time_t)(ns / 1000000000),
                            .tv_nsec = (long)(ns % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

/* Each ping's time counts from when it was due. */
static void ping(int fd, uint64_t due_ns, struct delays *delays)
{
    static const uint8_t request[] = {0x94, 0, 1, 0xa4, 'p', 'i', 'n', 'g', 0x90};
    static const uint8_t expected[] = {0x94, 1, 1, 0xc0, 0xa4, 'p', 'o', 'n', 'g'};
    uint8_t answer[sizeof(expected)];
    target_send(fd, request, sizeof(request));
    target_receive(fd, answer, sizeof(answer));
    CHECK(memcmp(answer, expected, sizeof(expected)) == 0);
    delays_add(delays, delays_now_ns() - due_ns, 1);
}

static bool is_answered(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, 0) == 1;
}

int main(int argc, char **argv)
{
    static struct delays delays;
    if (argc < 4) {
        fprintf(stderr, "bench_stall SOCKET RECORDS MILLISECONDS [quiet]\n");
        return 2;
    }
    bool is_quiet = argc == 5;
    struct scans scans;
    scans_init(&scans, argv[1], (uint32_t)strtoul(argv[2], NULL, 10));
    int fd = target_connect(argv[1]);
    uint64_t start_ns = delays_now_ns();
    uint64_t end_ns = start_ns + strtoull(argv[3], NULL, 10) * 1000000;
    if (!is_quiet) {
        scans_send(&scans);
    }
    for (uint64_t due_ns = start_ns; due_ns < end_ns; due_ns += PING_EVERY_NS) {
        if (due_ns < delays_now_ns()) {
            continue;
        }
        sleep_until(due_ns);
        ping(fd, due_ns, &delays);
        if (!is_quiet && is_answered(scans.fd)) {
            scans_receive(&scans);
            scans_send(&scans);
        }
    }
    if (!is_quiet) {
        scans_receive(&scans);
    }
    printf("{\"pings\": %llu, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f, "
           "\"scans\": %u, \"scan_ms\": %.1f}\n",
           (unsigned long long)delays.total, delays_us(&delays, 0.5), delays_us(&delays, 0.99),
           (double)delays.max_ns / 1000, scans.done,
           scans.done > 0 ? (double)scans.took_ns / scans.done / 1e6 : 0);
    close(fd);
    close(scans.fd);
    buffer_release(&scans.request);
    buffer_release(&scans.expected);
    return 0;
}

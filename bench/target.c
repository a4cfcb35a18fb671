#include "bench/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/check.h"
#include "protocol/msgpack/writer.h"

/* What an id's five bytes and a text's two bytes of header leave. */
enum { TEXT_BYTES = TARGET_RECORD_BYTES - 5 - 2 };

static void put_record(struct buffer *out, uint32_t number)
{
    char text[TEXT_BYTES + 1];
    snprintf(text, sizeof(text), "%08x", number * 2654435761u);
    memset(text + 8, 'a' + (int)(number % 26), TEXT_BYTES - 8);
    write_map(out, 2);
    write_text(out, "id");
    write_integer(out, (int64_t)TARGET_ID_FIRST + number);
    write_text(out, "text");
    write_string(out, text, TEXT_BYTES);
}

/* --- Relata ---------------------------------------------------------------- */

static void put_response(struct buffer *out, uint32_t slot)
{
    write_array(out, 4);
    write_integer(out, 1);
    write_integer(out, (int64_t)TARGET_ID_FIRST + slot);
    write_nil(out);
}

static void relata_put_get(struct buffer *out, uint32_t slot, uint32_t number)
{
    write_array(out, 4);
    write_integer(out, 0);
    write_integer(out, (int64_t)TARGET_ID_FIRST + slot);
    write_text(out, "get");
    write_array(out, 2);
    write_text(out, "item");
    write_integer(out, (int64_t)TARGET_ID_FIRST + number);
}

static void relata_put_answer(struct buffer *out, uint32_t slot, uint32_t number)
{
    put_response(out, slot);
    put_record(out, number);
}

static void relata_put_load(struct buffer *out, uint32_t first, uint32_t count)
{
    write_array(out, 4);
    write_integer(out, 0);
    write_integer(out, TARGET_ID_FIRST);
    write_text(out, "create_many");
    write_array(out, 2);
    write_text(out, "item");
    write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        put_record(out, first + i);
    }
}

static void relata_put_loaded(struct buffer *out, uint32_t count)
{
    put_response(out, 0);
    write_integer(out, count);
}

/* --- Redis ------------------------------------------------------------------ */

static void redis_put_key(struct buffer *out, uint32_t number)
{
    char key[24];
    int size = snprintf(key, sizeof(key), "item:%u", (unsigned)TARGET_ID_FIRST + number);
    buffer_printf(out, "$%d\r\n%s\r\n", size, key);
}

static void redis_put_value(struct buffer *out, uint32_t number)
{
    struct buffer record = BUFFER_INIT;
    put_record(&record, number);
    buffer_printf(out, "$%zu\r\n", record.size);
    buffer_append(out, record.bytes, record.size);
    buffer_append(out, "\r\n", 2);
    buffer_release(&record);
}

static void redis_put_get(struct buffer *out, uint32_t slot, uint32_t number)
{
    (void)slot; /* answers come in the order of the requests */
    buffer_printf(out, "*2\r\n$3\r\nGET\r\n");
    redis_put_key(out, number);
}

static void redis_put_answer(struct buffer *out, uint32_t slot, uint32_t number)
{
    (void)slot;
    redis_put_value(out, number);
}

static void redis_put_load(struct buffer *out, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        buffer_printf(out, "*3\r\n$3\r\nSET\r\n");
        redis_put_key(out, first + i);
        redis_put_value(out, first + i);
    }
}

static void redis_put_loaded(struct buffer *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        buffer_append(out, "+OK\r\n", 5);
    }
}

/* --- Both -------------------------------------------------------------------- */

const struct target *target_named(const char *name)
{
    static const struct target targets[] = {
        {"relata", relata_put_get, relata_put_answer, relata_put_load, relata_put_loaded},
        {"redis", redis_put_get, redis_put_answer, redis_put_load, redis_put_loaded},
    };
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        if (strcmp(targets[i].name, name) == 0) {
            return &targets[i];
        }
    }
    return NULL;
}

_Noreturn static void fail(const char *what)
{
    perror(what);
    exit(1);
}

int target_connect(const char *path)
{
    static const struct timespec pause = {.tv_nsec = 10000000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket");
    }
    for (int tries = 0; connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0; tries++) {
        if (tries == 1000) {
            fail(path);
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

void target_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("send");
        }
        at += sent;
        size -= (size_t)sent;
    }
}

void target_receive(int fd, void *bytes, size_t size)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t received = recv(fd, at, size, 0);
        if (received <= 0) {
            fail("recv");
        }
        at += received;
        size -= (size_t)received;
    }
}

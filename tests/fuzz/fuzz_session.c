#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/message.h"
#include "protocol/msgpack/reader.h"
#include "protocol/session.h"

/* The first two bytes choose how the rest is cut and which requests stay
 * unanswered; the rest is what the other end sends. The same messages come out
 * and the same fault is found however it arrives. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_OUT = 8 };

struct run {
    struct session session;
    struct buffer log;
    uint8_t pending_mask; /* requests whose id has all of these bits stay open */
};

static bool stands_in(const void *piece, size_t piece_size, const uint8_t *bytes, size_t size)
{
    uintptr_t at = (uintptr_t)piece, start = (uintptr_t)bytes;
    return piece_size == 0 ||
           (at >= start && piece_size <= size && at - start <= size - piece_size);
}

static void check_value(const uint8_t *bytes, size_t size)
{
    struct reader reader = reader_of(bytes, size);
    CHECK(reader_skip(&reader) && reader.at == reader.end);
}

static void take_message(struct run *run, const struct message *message)
{
    buffer_printf(&run->log, "%d %u ", message->kind, message->id);
    buffer_append(&run->log, message->method, message->method_size);
    buffer_append(&run->log, message->params, message->params_size);
    if (message->kind == MESSAGE_RESPONSE) {
        check_value(message->error, message->error_size);
        check_value(message->result, message->result_size);
        CHECK(message->call == run);
        struct error error = ERROR_INIT;
        message_error_read(&error, message->error, message->error_size);
        buffer_printf(&run->log, "%d %s", error.code, error.message);
    } else if (message->params_size > 0) {
        check_value(message->params, message->params_size);
    }
    if (message->kind == MESSAGE_REQUEST &&
        (message->id & run->pending_mask) == run->pending_mask) {
        CHECK(session_begin(&run->session, message->id) == 0);
    }
}

/* All messages of what has arrived and is not used yet; how much was used. */
static size_t drain(struct run *run, const uint8_t *bytes, size_t size)
{
    size_t done = 0;
    enum session_status status = SESSION_MESSAGE;
    while (status == SESSION_MESSAGE) {
        size_t used;
        struct message message;
        struct error error = ERROR_INIT;
        status = session_next(&run->session, bytes + done, size - done, &used, &message, &error);
        CHECK(used <= size - done);
        if (status == SESSION_MESSAGE) {
            CHECK(stands_in(message.method, message.method_size, bytes, size));
            CHECK(stands_in(message.params, message.params_size, bytes, size));
            take_message(run, &message);
        } else if (status == SESSION_BROKEN) {
            CHECK(error.code != CODE_OK && message.method == NULL);
            buffer_printf(&run->log, "broken %d %s", error.code, error.message);
        }
        done += used;
    }
    return done;
}

static void forget_id(void *context, uint32_t id)
{
    (void)id;
    size_t *count = context;
    (*count)++;
}

/* `step` 0 is all at once. */
static void feed(struct run *run, const uint8_t *bytes, size_t size, unsigned step)
{
    session_init(&run->session, (struct frame_limits){.bytes_max = 4096, .levels_max = 8});
    for (int i = 0; i < CALLS_OUT; i++) {
        uint32_t id;
        CHECK(session_call(&run->session, run, &id) == 0);
    }
    size_t done = 0, arrived = 0;
    while (arrived < size && !run->session.broken) {
        arrived = step > 0 && step < size - arrived ? arrived + step : size;
        uint8_t *unread = malloc(arrived - done);
        CHECK(unread != NULL);
        memcpy(unread, bytes + done, arrived - done);
        done += drain(run, unread, arrived - done);
        free(unread);
        step = step > 0 ? step * 5 % 61 + 1 : 0;
    }
    size_t working = session_working(&run->session), ended = 0;
    buffer_printf(&run->log, " at %zu", done);
    session_end_all(&run->session, forget_id, &ended);
    CHECK(ended == working);
    session_release(&run->session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct run whole = {.pending_mask = data[1]}, cut = {.pending_mask = data[1]};
    feed(&whole, data + 2, size - 2, 0);
    feed(&cut, data + 2, size - 2, data[0] % 61 + 1);
    CHECK(whole.log.size == cut.log.size);
    CHECK(memcmp(whole.log.bytes, cut.log.bytes, whole.log.size) == 0);
    buffer_release(&whole.log);
    buffer_release(&cut.log);
    return 0;
}

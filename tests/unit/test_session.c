#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "protocol/base/heap.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"
#include "protocol/session.h"
#include "tests/lib/msgpack_random.h"

static const struct frame_limits roomy = {.bytes_max = 1 << 20, .levels_max = 32};

/* What a session made of its first bytes. */
struct outcome {
    enum session_status status;
    size_t used;
    struct message message;
    struct error error;
};

static struct outcome next_of(struct session *session, const void *bytes, size_t size)
{
    struct outcome outcome = {.error = ERROR_INIT};
    outcome.status =
        session_next(session, bytes, size, &outcome.used, &outcome.message, &outcome.error);
    return outcome;
}

static struct outcome first_of(const void *bytes, size_t size)
{
    struct session session;
    assert_int_equal(session_init(&session, roomy), 0);
    struct outcome outcome = next_of(&session, bytes, size);
    assert_int_equal(session.broken, outcome.status == SESSION_BROKEN);
    session_release(&session);
    return outcome;
}

#define FIRST_OF(text)         first_of(text, sizeof(text) - 1)
#define NEXT_OF(session, text) next_of(session, text, sizeof(text) - 1)

/* --- What is taken -------------------------------------------------------------- */

static void takes_requests(void **state)
{
    (void)state;
    static const char bytes[] = "\x94\x00\x07\xa3get\x92\xa6ticket\x01 and more";
    struct outcome outcome = FIRST_OF(bytes);
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_int_equal(outcome.used, 16);
    assert_int_equal(outcome.message.kind, MESSAGE_REQUEST);
    assert_int_equal(outcome.message.id, 7);
    assert_ptr_equal(outcome.message.method, bytes + 4);
    assert_int_equal(outcome.message.method_size, 3);
    assert_ptr_equal(outcome.message.params, bytes + 7);
    assert_int_equal(outcome.message.params_size, 9);
}

static void takes_notifications(void **state)
{
    (void)state;
    struct outcome outcome = FIRST_OF("\x93\x02\xa4ping\x90");
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_int_equal(outcome.message.kind, MESSAGE_NOTIFICATION);
    assert_memory_equal(outcome.message.method, "ping", 4);
    assert_int_equal(outcome.message.params_size, 1);
}

/* Every legal encoding of the envelope means the same. */
static void takes_any_encoding(void **state)
{
    (void)state;
    static const char *const arrays[] = {"94", "dc0004", "dd00000004"};
    static const char *const types[] = {
        "00",   "cc00",   "cd0000",     "ce00000000",        "cf0000000000000000",
        "d000", "d10000", "d200000000", "d30000000000000000"};
    static const char *const ids[] = {
        "05",   "cc05",   "cd0005",     "ce00000005",        "cf0000000000000005",
        "d005", "d10005", "d200000005", "d30000000000000005"};
    static const char *const methods[] = {"a16d",   "d9016d",   "da00016d",    "db000000016d",
                                          "c4016d", "c500016d", "c6000000016d"};
    static const char *const params[] = {"90", "dc0000", "dd00000000", "c0"};
    struct random random = random_start("session encodings");
    for (int round = 0; round < 5000; round++) {
        const char *parts[] = {arrays[random_below(&random, 3)], types[random_below(&random, 9)],
                               ids[random_below(&random, 9)], methods[random_below(&random, 7)],
                               params[random_below(&random, 4)]};
        struct buffer buffer = BUFFER_INIT;
        for (size_t i = 0; i < 5; i++) {
            for (const char *hex = parts[i]; *hex != '\0'; hex += 2) {
                char digits[] = {hex[0], hex[1], '\0'};
                buffer_byte(&buffer, (uint8_t)strtoul(digits, NULL, 16));
            }
        }
        struct outcome outcome = first_of(buffer.bytes, buffer.size);
        assert_int_equal(outcome.status, SESSION_MESSAGE);
        assert_int_equal(outcome.used, buffer.size);
        assert_int_equal(outcome.message.kind, MESSAGE_REQUEST);
        assert_int_equal(outcome.message.id, 5);
        assert_int_equal(outcome.message.method_size, 1);
        assert_int_equal(*outcome.message.method, 'm');
        bool nil = strcmp(parts[4], "c0") == 0;
        assert_int_equal(outcome.message.params == NULL, nil);
        assert_int_equal(outcome.message.params_size, nil ? 0 : strlen(parts[4]) / 2);
        buffer_release(&buffer);
    }
}

static void takes_every_id_of_32_bits(void **state)
{
    (void)state;
    assert_int_equal(FIRST_OF("\x94\x00\x00\xa1m\x90").message.id, 0);
    assert_int_equal(FIRST_OF("\x94\x00\xce\xff\xff\xff\xff\xa1m\x90").message.id, UINT32_MAX);
    assert_int_equal(FIRST_OF("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa1m\x90").status,
                     SESSION_BROKEN);
}

static void waits_for_whole_frames(void **state)
{
    (void)state;
    static const char bytes[] = "\x94\x00\x07\xa3get\x91\xa6ticket";
    assert_int_equal(first_of(NULL, 0).status, SESSION_MORE);
    for (size_t size = 0; size < sizeof(bytes) - 1; size++) {
        struct outcome outcome = first_of(bytes, size);
        assert_int_equal(outcome.status, SESSION_MORE);
        assert_int_equal(outcome.used, 0);
    }
}

/* --- What breaks it ----------------------------------------------------------------- */

struct fault {
    const char *bytes;
    size_t size;
    bool has_id; /* 7 */
    const char *says;
};

#define FAULT(text, has_id, says)            \
    {                                        \
        text, sizeof(text) - 1, has_id, says \
    }

static const struct fault faults[] = {
    FAULT("GET / HTTP/1.1\r\n", false, "begins with the byte 0x47"),
    FAULT("\x80", false, "a message is an array"),
    FAULT("\xc0", false, "a message is an array"),
    FAULT("\xc1", false, "a message is an array"),
    FAULT("\x90", false, "an empty one came"),
    FAULT("\x94\x03\x07\xa1m\x90", true, "0, 1 or 2, 3 came"),
    FAULT("\x94\xff\x07\xa1m\x90", true, "0, 1 or 2, -1 came"),
    FAULT("\x94\xc0\x07\xa1m\x90", false, "0, 1 or 2, nil came"),
    FAULT("\x94\xcb\x00\x00\x00\x00\x00\x00\x00\x00\x07\xa1m\x90", false, "a float came"),
    FAULT("\x91\x00", false, "an array of 4, one of 1 came"),
    FAULT("\x92\x00\x07", true, "an array of 4, one of 2 came"),
    FAULT("\x93\x00\x07\xa1m", true, "an array of 4, one of 3 came"),
    FAULT("\x95\x00\x07\xa1m\x90\xc0", true, "an array of 4, one of 5 came"),
    FAULT("\x94\x00\xff\xa1m\x90", false, "from 0 to 4294967295, -1 came"),
    FAULT("\x94\x00\xca\x40\xe0\x00\x00\xa1m\x90", false, "a float came"),
    FAULT("\x94\x00\xc0\xa1m\x90", false, "nil came"),
    FAULT("\x94\x00\xa1\x37\xa1m\x90", false, "a string came"),
    FAULT("\x94\x00\x07\x05\x90", true, "the method must be a string, an integer came"),
    FAULT("\x94\x00\x07\x90\x90", true, "the method must be a string, an array came"),
    FAULT("\x94\x00\x07\xa1m\x80", true, "the params must be an array, a map came"),
    FAULT("\x94\x00\x07\xa1m\xa1p", true, "the params must be an array, a string came"),
    FAULT("\x94\x01\x07\xc0", false, NULL), /* not whole: not judged yet */
    FAULT("\x93\x01\x07\xc0", false, "a response is an array of 4"),
    FAULT("\x94\x01\xc0\xc0\xc0", false, "nil came"),
    FAULT("\x94\x02\x07\xa1m\x90", false, "a notification is an array of 3"),
    FAULT("\x93\x02\x07\x90", false, "the method must be a string"),
    FAULT("\x93\x02\xa1m\x07", false, "the params must be an array"),
    FAULT("\x94\x00\x07\xa1m\x91\xc1", true, "the byte 0xc1 at 6"),
    FAULT("\x94\x00\xc1", false, "the byte 0xc1 at 2"),
};

static void faults_break_it_and_are_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        const struct fault *fault = &faults[i];
        struct outcome outcome = first_of(fault->bytes, fault->size);
        if (fault->says == NULL) {
            assert_int_equal(outcome.status, SESSION_MORE);
            continue;
        }
        if (outcome.status != SESSION_BROKEN ||
            strstr(outcome.error.message, fault->says) == NULL) {
            fail_msg("fault %zu: status %d: %s", i, outcome.status, outcome.error.message);
        }
        assert_int_equal(outcome.error.code, CODE_INVALID_REQUEST);
        assert_int_equal(outcome.message.kind,
                         fault->has_id ? MESSAGE_REQUEST : MESSAGE_NOTIFICATION);
        assert_int_equal(outcome.message.id, fault->has_id ? 7 : 0);
        assert_null(outcome.message.method);
    }
}

static void frames_too_large_are_answered_where_the_id_is_there(void **state)
{
    (void)state;
    struct outcome outcome = FIRST_OF("\x94\x00\x07\xa3get\xdd\xff\xff\xff\xff");
    assert_int_equal(outcome.status, SESSION_BROKEN);
    assert_int_equal(outcome.error.code, CODE_TOO_LARGE);
    assert_string_equal(outcome.error.limit, "frame_bytes");
    assert_non_null(strstr(outcome.error.message, "1048576"));
    assert_int_equal(outcome.message.kind, MESSAGE_REQUEST);
    assert_int_equal(outcome.message.id, 7);

    outcome = FIRST_OF("\x94\x00\xce\x00\x00\x00\x07\xc6\xff\xff\xff\xff");
    assert_int_equal(outcome.message.kind, MESSAGE_REQUEST);
    assert_int_equal(outcome.message.id, 7);

    /* The id is not whole, or there is none. */
    outcome = FIRST_OF("\xdd\xff\xff\xff\xff\x00\xcd\x00");
    assert_int_equal(outcome.status, SESSION_BROKEN);
    assert_int_equal(outcome.error.code, CODE_TOO_LARGE);
    assert_int_equal(outcome.message.kind, MESSAGE_NOTIFICATION);
    outcome = FIRST_OF("\x93\x02\xc6\xff\xff\xff\xff");
    assert_int_equal(outcome.message.kind, MESSAGE_NOTIFICATION);
}

static void frames_too_deep_name_their_limit(void **state)
{
    (void)state;
    char bytes[64] = "\x94\x00\x07\xa1m";
    memset(bytes + 5, '\x91', 40);
    struct outcome outcome = first_of(bytes, 45);
    assert_int_equal(outcome.status, SESSION_BROKEN);
    assert_int_equal(outcome.error.code, CODE_TOO_LARGE);
    assert_string_equal(outcome.error.limit, "nesting");
    assert_non_null(strstr(outcome.error.message, "32"));
    assert_int_equal(outcome.message.id, 7);
}

static void what_came_before_the_fault_is_given_first(void **state)
{
    (void)state;
    static const char bytes[] = "\x94\x00\x01\xa1m\x90\x05\x94\x00\x02\xa1m\x90";
    struct session session;
    session_init(&session, roomy);
    struct outcome outcome = NEXT_OF(&session, bytes);
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_int_equal(outcome.used, 6);
    for (int i = 0; i < 3; i++) {
        outcome = next_of(&session, bytes + 6, sizeof(bytes) - 7);
        assert_int_equal(outcome.status, SESSION_BROKEN);
        assert_int_equal(outcome.used, 0);
        assert_int_equal(outcome.error.code, CODE_INVALID_REQUEST);
        assert_int_equal(outcome.message.kind, MESSAGE_NOTIFICATION);
    }
    session_release(&session);
}

/* --- Ids ---------------------------------------------------------------------------- */

static void count_id(void *context, uint32_t id)
{
    uint32_t *sum = context;
    *sum += id;
}

static void an_id_in_use_breaks_it(void **state)
{
    (void)state;
    struct session session;
    session_init(&session, roomy);
    assert_int_equal(NEXT_OF(&session, "\x94\x00\x07\xa1m\x90").status, SESSION_MESSAGE);
    assert_int_equal(session_begin(&session, 7), 0);
    assert_int_equal(session_begin(&session, 8), 0);
    assert_int_equal(session_working(&session), 2);
    struct outcome outcome = NEXT_OF(&session, "\x94\x00\xcc\x07\xa1n\x90");
    assert_int_equal(outcome.status, SESSION_BROKEN);
    assert_int_equal(outcome.error.code, CODE_INVALID_REQUEST);
    assert_non_null(strstr(outcome.error.message, "the id 7 is in use"));
    assert_int_equal(outcome.message.kind, MESSAGE_REQUEST);
    assert_int_equal(outcome.message.id, 7);
    /* The caller's answer to it was its only one. */
    uint32_t sum = 0;
    session_end_all(&session, count_id, &sum);
    assert_int_equal(sum, 8);
    assert_int_equal(session_working(&session), 0);
    session_release(&session);
}

static void an_answered_id_may_come_again(void **state)
{
    (void)state;
    struct session session;
    session_init(&session, roomy);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(NEXT_OF(&session, "\x94\x00\x07\xa1m\x90").status, SESSION_MESSAGE);
        assert_int_equal(session_begin(&session, 7), 0);
        assert_true(session_end(&session, 7));
        assert_false(session_end(&session, 7));
    }
    /* Answered at once, so never marked. */
    assert_int_equal(NEXT_OF(&session, "\x94\x00\x07\xa1m\x90").status, SESSION_MESSAGE);
    assert_int_equal(NEXT_OF(&session, "\x94\x00\x07\xa1m\x90").status, SESSION_MESSAGE);
    session_release(&session);
}

static void responses_find_their_calls(void **state)
{
    (void)state;
    struct session session;
    int one, two;
    uint32_t first, second;
    session_init(&session, roomy);
    assert_int_equal(session_call(&session, &one, &first), 0);
    assert_int_equal(session_call(&session, &two, &second), 0);
    assert_int_not_equal(first, second);

    struct buffer buffer = BUFFER_INIT;
    message_result(&buffer, second);
    write_text(&buffer, "pong");
    struct outcome outcome = next_of(&session, buffer.bytes, buffer.size);
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_int_equal(outcome.message.kind, MESSAGE_RESPONSE);
    assert_ptr_equal(outcome.message.call, &two);
    assert_int_equal(outcome.message.id, second);
    assert_int_equal(outcome.message.error_size, 1);
    assert_int_equal(*outcome.message.error, 0xc0);
    assert_int_equal(outcome.message.result_size, 5);
    assert_memory_equal(outcome.message.result, "\xa4pong", 5);
    /* It is forgotten: once more is from nobody that is waited for. */
    outcome = next_of(&session, buffer.bytes, buffer.size);
    assert_int_equal(outcome.status, SESSION_MORE);
    assert_int_equal(outcome.used, buffer.size);

    struct error error = ERROR_INIT;
    error_set(&error, CODE_TIMEOUT, "late");
    buffer_truncate(&buffer, 0);
    message_error(&buffer, first, &error, true);
    outcome = next_of(&session, buffer.bytes, buffer.size);
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_ptr_equal(outcome.message.call, &one);
    assert_true(outcome.message.error_size > 10);
    assert_int_equal(outcome.message.result_size, 1);
    struct error read = ERROR_INIT;
    message_error_read(&read, outcome.message.error, outcome.message.error_size);
    assert_int_equal(read.code, CODE_TIMEOUT);
    buffer_release(&buffer);
    session_release(&session);
}

static void responses_that_nobody_waits_for_are_passed_over(void **state)
{
    (void)state;
    struct session session;
    session_init(&session, roomy);
    struct outcome outcome =
        NEXT_OF(&session, "\x94\x01\x05\xc0\x01\x94\x01\x05\xc0\x02\x93\x02\xa1n\x90");
    assert_int_equal(outcome.status, SESSION_MESSAGE);
    assert_int_equal(outcome.message.kind, MESSAGE_NOTIFICATION);
    assert_int_equal(outcome.used, 15);

    int call;
    uint32_t id;
    assert_int_equal(session_call(&session, &call, &id), 0);
    assert_ptr_equal(session_cancel(&session, id), &call);
    assert_null(session_cancel(&session, id));
    struct buffer buffer = BUFFER_INIT;
    message_result(&buffer, id);
    write_nil(&buffer);
    outcome = next_of(&session, buffer.bytes, buffer.size);
    assert_int_equal(outcome.status, SESSION_MORE);
    assert_int_equal(outcome.used, buffer.size);
    buffer_release(&buffer);
    session_release(&session);
}

static void both_ends_have_ids_of_their_own(void **state)
{
    (void)state;
    struct session session;
    int call;
    uint32_t id;
    session_init(&session, roomy);
    assert_int_equal(session_call(&session, &call, &id), 0);
    struct buffer buffer = BUFFER_INIT;
    message_request(&buffer, id, "m");
    write_array(&buffer, 0);
    assert_int_equal(next_of(&session, buffer.bytes, buffer.size).status, SESSION_MESSAGE);
    assert_int_equal(session_begin(&session, id), 0);
    assert_ptr_equal(session_cancel(&session, id), &call);
    assert_true(session_end(&session, id));
    buffer_release(&buffer);
    session_release(&session);
}

static void ids_of_calls_are_fresh_beyond_the_last(void **state)
{
    (void)state;
    struct session session;
    int call;
    uint32_t id;
    session_init(&session, roomy);
    assert_int_equal(session_call(&session, &call, &id), 0);
    assert_int_equal(id, 0);
    session.next_id = UINT32_MAX;
    assert_int_equal(session_call(&session, &call, &id), 0);
    assert_int_equal(id, UINT32_MAX);
    assert_int_equal(session_call(&session, &call, &id), 0);
    assert_int_equal(id, 1);
    int taken = 0;
    while (session_take_call(&session, &id) != NULL) {
        taken++;
    }
    assert_int_equal(taken, 3);
    session_release(&session);
}

static void lack_of_memory_is_overload(void **state)
{
    (void)state;
    struct session session;
    uint32_t id;
    int call;
    session_init(&session, roomy);
    heap_fail_at(0);
    assert_int_equal(session_begin(&session, 1), -CODE_OVERLOADED);
    assert_true(heap_failed());
    assert_int_equal(session_begin(&session, 1), 0);
    heap_fail_at(0);
    assert_int_equal(session_call(&session, &call, &id), -CODE_OVERLOADED);
    heap_fail_at(-1);
    assert_int_equal(session_call(&session, &call, &id), 0);
    assert_int_equal(session_working(&session), 1);
    session_release(&session);
}

/* --- However the bytes are cut --------------------------------------------------------- */

static void random_message(struct random *random, struct buffer *out)
{
    static const char *const methods[] = {"get", "ping", "load_relationship"};
    const char *method = methods[random_below(random, 3)];
    uint32_t id = (uint32_t)random_below(random, 1000);
    switch (random_below(random, 4)) {
    case 0:
        message_notification(out, method);
        break;
    case 1:
        message_result(out, id);
        random_value(random, out, 3);
        return;
    default:
        message_request(out, id, method);
    }
    uint32_t count = (uint32_t)random_below(random, 4);
    write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        random_value(random, out, 3);
    }
}

/* All that a session says of a stream, as text that can be compared. */
static void describe(struct buffer *log, const struct message *message)
{
    buffer_printf(log, "%d %u %.*s ", message->kind, message->id, (int)message->method_size,
                  message->method != NULL ? message->method : "");
    buffer_append(log, message->params, message->params_size);
    buffer_append(log, message->error, message->error_size);
    buffer_append(log, message->result, message->result_size);
}

/* `step` 0 is random steps; the bytes that are not used yet are copied to where
 * they fit exactly, as a reader of sockets would keep them. */
static void run(struct buffer *log, const struct buffer *stream, size_t step, struct random *random)
{
    struct session session;
    session_init(&session, (struct frame_limits){.bytes_max = 1000, .levels_max = 6});
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t id;
        assert_int_equal(session_call(&session, log, &id), 0);
    }
    size_t done = 0, arrived = 0;
    enum session_status status = SESSION_MORE;
    while (status != SESSION_BROKEN && arrived < stream->size) {
        size_t more = step > 0 ? step : 1 + random_below(random, 100);
        arrived = more < stream->size - arrived ? arrived + more : stream->size;
        uint8_t *unread = malloc(arrived - done);
        assert_non_null(unread);
        memcpy(unread, stream->bytes + done, arrived - done);
        size_t base = done;
        do {
            size_t used;
            struct message message;
            struct error error = ERROR_INIT;
            status = session_next(&session, unread + (done - base), arrived - done, &used, &message,
                                  &error);
            done += used;
            if (status == SESSION_MESSAGE) {
                describe(log, &message);
            } else if (status == SESSION_BROKEN) {
                buffer_printf(log, "broken: %s", error.message);
            }
        } while (status == SESSION_MESSAGE);
        free(unread);
    }
    buffer_printf(log, " at %zu", done);
    session_release(&session);
}

static void cuts_change_nothing(void **state)
{
    (void)state;
    struct random random = random_start("session");
    struct buffer stream = BUFFER_INIT, whole = BUFFER_INIT, cut = BUFFER_INIT;
    for (int round = 0; round < 1500; round++) {
        buffer_truncate(&stream, 0);
        uint64_t count = 1 + random_below(&random, 8);
        for (uint64_t i = 0; i < count; i++) {
            random_message(&random, &stream);
        }
        if (random_below(&random, 3) == 0) {
            stream.bytes[random_below(&random, stream.size)] = (uint8_t)random_next(&random);
        }
        buffer_truncate(&whole, 0);
        run(&whole, &stream, stream.size, &random);
        for (size_t step = 0; step < 2; step++) {
            buffer_truncate(&cut, 0);
            run(&cut, &stream, step, &random);
            assert_int_equal(cut.size, whole.size);
            assert_memory_equal(cut.bytes, whole.bytes, whole.size);
        }
    }
    buffer_release(&stream);
    buffer_release(&whole);
    buffer_release(&cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_requests),
        cmocka_unit_test(takes_notifications),
        cmocka_unit_test(takes_any_encoding),
        cmocka_unit_test(takes_every_id_of_32_bits),
        cmocka_unit_test(waits_for_whole_frames),
        cmocka_unit_test(faults_break_it_and_are_explained),
        cmocka_unit_test(frames_too_large_are_answered_where_the_id_is_there),
        cmocka_unit_test(frames_too_deep_name_their_limit),
        cmocka_unit_test(what_came_before_the_fault_is_given_first),
        cmocka_unit_test(an_id_in_use_breaks_it),
        cmocka_unit_test(an_answered_id_may_come_again),
        cmocka_unit_test(responses_find_their_calls),
        cmocka_unit_test(responses_that_nobody_waits_for_are_passed_over),
        cmocka_unit_test(both_ends_have_ids_of_their_own),
        cmocka_unit_test(ids_of_calls_are_fresh_beyond_the_last),
        cmocka_unit_test(lack_of_memory_is_overload),
        cmocka_unit_test(cuts_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "layers/redis/link_inner.h"
#include "protocol/base/check.h"

/* What comes in over a link: answers, each to the oldest command that waits, and
 * notices. The happy path is on_read -> take_message -> take_reply (or take_push, and
 * take_key for each of its keys). Possible failures are a fault of the socket (on_read),
 * bytes that are no RESP (take_message), and a reply that nobody waits for (take_reply). */

enum {
    READ_BYTES = 64 << 10, /* at once, and in one turn of the loop */
    KEYS_PER_TURN = 1000   /* that are told of */
};

/* {>2 "invalidate" [keys]}, or nil for all keys. Other pushes are none of ours. Where
 * its keys begin, if it has any: they are told one by one. */
static const uint8_t *take_push(struct link *link, struct resp_reader in)
{
    struct resp_token push = resp_next(&in);
    struct resp_token kind = push.count == 2 ? resp_next(&in) : push;
    struct resp_token keys = {.kind = RESP_END};
    if (kind.kind == RESP_TEXT && resp_is(&kind, "invalidate")) {
        keys = resp_next(&in);
    }
    if (keys.kind == RESP_ARRAY) {
        link->keys_left = keys.count;
        return in.at;
    }
    if (keys.kind == RESP_NIL) {
        link->on_notice(link, NULL, 0);
    } else {
        link->ignored++;
    }
    return NULL;
}

static void take_key(struct link *link)
{
    const uint8_t *bytes = link->input.bytes + link->taken;
    struct resp_reader in = resp_reader_of(bytes, link->input.size - link->taken);
    struct resp_reader next = in;
    resp_skip(&next);
    struct resp_token key = resp_next(&in);
    link->taken += (size_t)(next.at - bytes);
    link->keys_left--;
    link->keys_told++;
    if (key.kind == RESP_TEXT) {
        link->on_notice(link, key.bytes, key.size);
    }
}

static void take_reply(struct link *link, struct resp_reader reply, const struct resp_token *token)
{
    struct link_command *command = NULL;
    if (!list_empty(&link->waiting)) {
        command = CONTAINER_OF(link->waiting.next, struct link_command, link);
    }
    if (command == NULL || !command->sent) {
        /* What a server says before it hangs up comes like that. */
        link_fail(link, "it answered with %s though nothing was asked", resp_describe(token));
        return;
    }
    static uint64_t moments;
    link->moment = ++moments;
    if (command->before > 0) {
        command->before--;
        return;
    }
    list_remove(&command->link);
    command->done(command, LINK_ANSWERED, reply);
}

/* False where the next message is not whole yet, or never will be. */
static bool take_message(struct link *link)
{
    struct error error = ERROR_INIT;
    const uint8_t *bytes = link->input.bytes + link->taken;
    enum resp_scan_status status =
        resp_scan_go(&link->scan, bytes, link->input.size - link->taken, &error);
    if (status == RESP_BROKEN) {
        link_fail(link, "its bytes are no answer: %s", error.message);
    }
    if (status != RESP_WHOLE) {
        return false;
    }
    struct resp_reader message = resp_reader_of(bytes, link->scan.at);
    struct resp_reader peek = message;
    struct resp_token token = resp_next(&peek);
    const uint8_t *end = message.end;
    link->scan = (struct resp_scan){0};
    if (token.kind == RESP_PUSH) {
        const uint8_t *keys = take_push(link, message);
        end = keys != NULL ? keys : end;
    } else {
        take_reply(link, message, &token);
    }
    link->taken += (size_t)(end - bytes);
    return true;
}

/* Whoever has much to tell is heard a part in each turn. */
static void rest(struct link *link)
{
    if (!link->resting && link->state != LINK_CLOSING) {
        link->resting = true;
        (void)uv_read_stop(&link->socket.stream); /* cannot fail */
        link->on_rest(link);
    }
}

/* Each byte is looked at once, and moved at most once for each read. */
static void take_input(struct link *link)
{
    link->keys_told = 0;
    while (link->state != LINK_CLOSING && link->taken < link->input.size) {
        if (link->keys_left == 0) {
            if (!take_message(link)) {
                break;
            }
        } else if (link->keys_told < KEYS_PER_TURN) {
            take_key(link);
        } else {
            rest(link);
            return;
        }
    }
    buffer_consume(&link->input, link->taken);
    link->taken = 0;
    if (link->input.size == 0 && link->input.capacity > LINK_KEPT_BYTES) {
        buffer_release(&link->input);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct link *link = handle->data;
    (void)suggested;
    bool room = buffer_reserve(&link->input, READ_BYTES);
    *out = room ? uv_buf_init((char *)link->input.bytes + link->input.size, READ_BYTES)
                : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    struct link *link = link_enter(stream->data);
    (void)bytes;
    if (link->state == LINK_CLOSING) {
        return;
    }
    if (count > 0) {
        link->input.size += (size_t)count;
        link->heard_us = link->now_us;
        take_input(link);
        if (count == READ_BYTES) {
            rest(link);
        }
    } else if (count == UV_EOF) {
        link_fail(link, "it closed the connection");
    } else if (count == UV_ENOBUFS) {
        link_fail(link, "no memory for its answer");
    } else if (count < 0) {
        link_fail(link, "reading: %s", uv_strerror((int)count));
    }
}

int link_read_start(struct link *link)
{
    return uv_read_start(&link->socket.stream, on_alloc, on_read);
}

void link_go_on(struct link *link)
{
    if (!link->resting || (link->state != LINK_GREETING && link->state != LINK_UP)) {
        return;
    }
    link->resting = false;
    link->heard_us = link->now_us; /* what is taken now was heard, though nothing was read */
    take_input(link);
    if (link->resting || link->state == LINK_CLOSING) {
        return;
    }
    int status = link_read_start(link);
    if (status < 0) {
        link_fail(link, "reading: %s", uv_strerror(status));
    }
}

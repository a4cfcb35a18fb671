#ifndef RELATA_PROTOCOL_SESSION_H
#define RELATA_PROTOCOL_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/frame.h"
#include "protocol/id_set.h"

/* One end of a MessagePack-RPC connection, pure: bytes in, messages out. It is
 * symmetric: either end may call the other, with its own ids in each direction.
 * It knows no socket, no clock and no record. Both the daemon and librelata are
 * built on it.
 *
 * What it keeps: the scanner's place in a frame, the ids of the other end's
 * requests that are being worked on (to refuse one that is in use), and the
 * ids of its own calls that are out. */

enum message_kind { MESSAGE_REQUEST, MESSAGE_RESPONSE, MESSAGE_NOTIFICATION };

/* Slices are of the bytes given to session_next and live as long as those. */
struct message {
    enum message_kind kind;
    uint32_t id;        /* requests and responses */
    size_t size;        /* bytes of the whole frame */
    const char *method; /* requests and notifications; not terminated */
    size_t method_size;
    const uint8_t *params; /* the params, an array's MessagePack with its header;
                              NULL with size 0 where it was nil (no params) */
    size_t params_size;
    const uint8_t *error; /* responses: one value each */
    size_t error_size;
    const uint8_t *result;
    size_t result_size;
    void *call; /* responses: what session_call was given */
};

struct session {
    struct frame_scanner scanner;
    struct id_set working; /* the other end's requests not answered yet */
    struct id_set calls;   /* our calls that are out, with their pointers */
    uint32_t next_id;
    bool broken;
};

/* Takes no memory until the first session_begin or session_call, and is always
 * 0. `limits.levels_max` counts all containers of a frame, the envelope too. */
int session_init(struct session *session, struct frame_limits limits);
void session_release(struct session *session);

enum session_status {
    SESSION_MORE,    /* nothing whole: keep the bytes from *used on, bring more */
    SESSION_MESSAGE, /* *message is set */
    SESSION_BROKEN   /* the connection must be closed; see below */
};

/* Takes the next message from `bytes` (the unread bytes of the stream). *used
 * tells how many of them are done with (whole frames; also skipped ones, such
 * as responses that nobody waits for).
 *
 * Generous: every legal encoding of numbers and texts, a method as str or bin,
 * params as an array or nil. An id is an integer of 32 bits, in any integer
 * encoding (a float is none).
 *
 * SESSION_BROKEN: `error` says why (invalid_request; too_large with `limit`
 * frame_bytes or nesting). Where the id of a request could be read of the faulty
 * frame, message->kind is MESSAGE_REQUEST with its id, and the caller answers it
 * with `error`; else kind is MESSAGE_NOTIFICATION. message->method is NULL in
 * both. A faulty response or notification names no id: nobody waits for an
 * answer to it. An id that is in use breaks the session too: message->id names
 * it, and the answer that the caller then gives is that id's only one; it is no
 * longer marked, so session_end_all passes it over. After SESSION_BROKEN every
 * call answers SESSION_BROKEN, with an error that says no more than that, and
 * no id.
 *
 * A response to a call of ours forgets the call (message->call is its pointer). */
enum session_status session_next(struct session *session, const uint8_t *bytes, size_t size,
                                 size_t *used, struct message *message, struct error *error);

/* Marks a request as being worked on: it will be answered later. It must not be
 * marked already (session_next gives no message with such an id). Requests that
 * are answered at once, before the next session_next, need not be marked.
 * 0, or -CODE_OVERLOADED where memory lacks. */
int session_begin(struct session *session, uint32_t id);

/* The request is answered: its id may be used again. True if it was marked. */
bool session_end(struct session *session, uint32_t id);

/* How many requests are marked. */
size_t session_working(const struct session *session);

/* Calls each marked id, and forgets all: for what is pending when the
 * connection closes. `each` may end others, they are not called then. */
void session_end_all(struct session *session, void (*each)(void *context, uint32_t id),
                     void *context);

/* Starts a call of our own: a fresh id in *id. The caller writes the request
 * with message_request. `call` is not NULL. 0, or -CODE_OVERLOADED. */
int session_call(struct session *session, void *call, uint32_t *id);

/* Forgets a call; its late response will be ignored. The call's pointer, or NULL. */
void *session_cancel(struct session *session, uint32_t id);

/* Takes out any call that is still out, for ending them all; NULL when none is. */
void *session_take_call(struct session *session, uint32_t *id);

#endif

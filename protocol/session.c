#include "protocol/session.h"

#include "protocol/base/check.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/shape.h"

int session_init(struct session *session, struct frame_limits limits)
{
    *session = (struct session){0};
    frame_scanner_init(&session->scanner, limits);
    return 0;
}

void session_release(struct session *session)
{
    id_set_release(&session->working);
    id_set_release(&session->calls);
}

/* --- The envelope ----------------------------------------------------------- */

enum { TYPE_REQUEST = 0, TYPE_RESPONSE = 1, TYPE_NOTIFICATION = 2 };

/* The array that a frame is. By hand, since the reader takes no array whose
 * items are not there yet, and a faulty frame may be cut short. */
static bool read_envelope(struct reader *in, uint32_t *count)
{
    size_t size = (size_t)(in->end - in->at);
    if (size == 0) {
        return false;
    }
    enum shape shape = (enum shape)shape_of[*in->at];
    if (shape != SHAPE_FIXED_ARRAY && shape != SHAPE_ARRAY16 && shape != SHAPE_ARRAY32) {
        return false;
    }
    if (shape_header_size[shape] > size) {
        return false;
    }
    struct extent extent = shape_extent(shape, in->at);
    in->at += extent.bytes;
    *count = (uint32_t)extent.items;
    return true;
}

static bool read_id(struct reader *in, uint32_t *id)
{
    struct token token = reader_next(in);
    if (token.kind != TOKEN_INTEGER || token.integer < 0 || token.integer > UINT32_MAX) {
        return false;
    }
    *id = (uint32_t)token.integer;
    return true;
}

/* The id that an error about this frame is answered to: that of a request, or
 * of what may have been meant as one. A response's id is one of ours, and an
 * answer to it would be taken for another. */
static bool find_id(const uint8_t *bytes, size_t size, uint32_t *id)
{
    struct reader in = reader_of(bytes, size);
    uint32_t count;
    if (!read_envelope(&in, &count)) {
        return false;
    }
    struct token type = reader_next(&in);
    if (type.kind != TOKEN_INTEGER || type.integer == TYPE_RESPONSE ||
        type.integer == TYPE_NOTIFICATION) {
        return false;
    }
    return read_id(&in, id);
}

/* The fault is in `error`; what stands at `bytes` of its frame may name an id. */
static enum session_status break_session(struct session *session, const uint8_t *bytes, size_t size,
                                         struct message *message)
{
    session->broken = true;
    *message = (struct message){.kind = MESSAGE_NOTIFICATION};
    if (find_id(bytes, size, &message->id)) {
        message->kind = MESSAGE_REQUEST;
        id_set_remove(&session->working, message->id, NULL);
    }
    return SESSION_BROKEN;
}

/* The method and the params, which end a request and a notification. The frame
 * is whole, so the params are what is left of it. */
static int read_call(struct reader *in, struct message *message, struct error *error)
{
    struct token method = reader_next(in);
    if (method.kind != TOKEN_STRING && method.kind != TOKEN_BINARY) {
        return error_set(error, CODE_INVALID_REQUEST, "the method must be a string, %s came",
                         token_describe(&method));
    }
    message->method = (const char *)method.bytes;
    message->method_size = method.size;

    message->params = in->at;
    message->params_size = (size_t)(in->end - in->at);
    enum token_kind kind = reader_peek(in);
    if (kind == TOKEN_NIL) {
        message->params = NULL;
        message->params_size = 0;
    } else if (kind != TOKEN_ARRAY) {
        struct token params = reader_next(in);
        return error_set(error, CODE_INVALID_REQUEST, "the params must be an array, %s came",
                         token_describe(&params));
    }
    return 0;
}

static int read_arity(const char *what, uint32_t expected, uint32_t came, struct error *error)
{
    if (came == expected) {
        return 0;
    }
    return error_set(error, CODE_INVALID_REQUEST, "a %s is an array of %u, one of %u came", what,
                     expected, came);
}

static int read_message_id(struct reader *in, struct message *message, struct error *error)
{
    struct reader before = *in;
    if (read_id(in, &message->id)) {
        return 0;
    }
    struct token token = reader_next(&before);
    if (token.kind == TOKEN_INTEGER) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "the id must be an integer from 0 to 4294967295, %lld came",
                         (long long)token.integer);
    }
    return error_set(error, CODE_INVALID_REQUEST,
                     "the id must be an integer from 0 to 4294967295, %s came",
                     token_describe(&token));
}

static int read_request(const struct session *session, struct reader *in, uint32_t count,
                        struct message *message, struct error *error)
{
    message->kind = MESSAGE_REQUEST;
    int status = read_arity("request", 4, count, error);
    if (status != 0) {
        return status;
    }
    status = read_message_id(in, message, error);
    if (status != 0) {
        return status;
    }
    if (id_set_has(&session->working, message->id)) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "the id %u is in use by a request that is not answered yet", message->id);
    }
    return read_call(in, message, error);
}

static int read_response(struct reader *in, uint32_t count, struct message *message,
                         struct error *error)
{
    message->kind = MESSAGE_RESPONSE;
    int status = read_arity("response", 4, count, error);
    if (status != 0) {
        return status;
    }
    status = read_message_id(in, message, error);
    if (status != 0) {
        return status;
    }
    bool whole = reader_value(in, &message->error, &message->error_size);
    CHECK(whole);
    message->result = in->at;
    message->result_size = (size_t)(in->end - in->at);
    return 0;
}

static int read_notification(struct reader *in, uint32_t count, struct message *message,
                             struct error *error)
{
    message->kind = MESSAGE_NOTIFICATION;
    int status = read_arity("notification", 3, count, error);
    return status != 0 ? status : read_call(in, message, error);
}

/* A whole frame. */
static int read_frame(const struct session *session, const uint8_t *bytes, size_t size,
                      struct message *message, struct error *error)
{
    struct reader in = reader_of(bytes, size);
    uint32_t count = 0;
    bool is_array = read_envelope(&in, &count);
    CHECK(is_array);
    if (count == 0) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "a message is an array of 3 or 4, an empty one came");
    }
    struct token type = reader_next(&in);
    if (type.kind == TOKEN_INTEGER && type.integer == TYPE_REQUEST) {
        return read_request(session, &in, count, message, error);
    }
    if (type.kind == TOKEN_INTEGER && type.integer == TYPE_RESPONSE) {
        return read_response(&in, count, message, error);
    }
    if (type.kind == TOKEN_INTEGER && type.integer == TYPE_NOTIFICATION) {
        return read_notification(&in, count, message, error);
    }
    if (type.kind == TOKEN_INTEGER) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "the type of a message is 0, 1 or 2, %lld came", (long long)type.integer);
    }
    return error_set(error, CODE_INVALID_REQUEST, "the type of a message is 0, 1 or 2, %s came",
                     token_describe(&type));
}

/* --- Frames ----------------------------------------------------------------- */

/* What is no array can be told from its first byte, and need not be waited for. */
static bool starts_array(uint8_t first)
{
    return (first >= 0x90 && first <= 0x9f) || first == 0xdc || first == 0xdd;
}

static void explain_frame(const struct frame_scanner *scanner, enum frame_status status,
                          struct error *error)
{
    const struct frame_limits *limits = &scanner->limits;
    switch (status) {
    case FRAME_TOO_LARGE:
        error_limit_hit(error, CODE_TOO_LARGE, "frame_bytes", limits->bytes_max, scanner->least);
        break;
    case FRAME_TOO_DEEP:
        error_limit_hit(error, CODE_TOO_LARGE, "nesting", limits->levels_max,
                        (uint64_t)limits->levels_max + 1);
        break;
    case FRAME_INVALID:
        error_set(error, CODE_INVALID_REQUEST, "the byte 0xc1 at %llu of a frame is no MessagePack",
                  (unsigned long long)scanner->offset);
        break;
    case FRAME_MORE:
    case FRAME_WHOLE:
        CHECK(false);
    }
}

/* A response that somebody waits for has its call's pointer taken out. */
static bool is_wanted(struct session *session, struct message *message)
{
    return message->kind != MESSAGE_RESPONSE ||
           id_set_remove(&session->calls, message->id, &message->call);
}

enum session_status session_next(struct session *session, const uint8_t *bytes, size_t size,
                                 size_t *used, struct message *message, struct error *error)
{
    *used = 0;
    if (session->broken) {
        error_set(error, CODE_INVALID_REQUEST, "nothing is read after a faulty frame");
        *message = (struct message){.kind = MESSAGE_NOTIFICATION};
        return SESSION_BROKEN;
    }
    while (*used < size) {
        const uint8_t *frame = bytes + *used;
        size_t left = size - *used;
        if (!starts_array(*frame)) {
            error_set(error, CODE_INVALID_REQUEST,
                      "a message is an array, what came begins with the byte 0x%02x", *frame);
            return break_session(session, frame, left, message);
        }
        size_t frame_size;
        enum frame_status status = frame_scan(&session->scanner, frame, left, &frame_size);
        if (status == FRAME_MORE) {
            return SESSION_MORE;
        }
        if (status != FRAME_WHOLE) {
            explain_frame(&session->scanner, status, error);
            return break_session(session, frame, left, message);
        }
        *message = (struct message){0};
        if (read_frame(session, frame, frame_size, message, error) != 0) {
            return break_session(session, frame, frame_size, message);
        }
        message->size = frame_size;
        *used += frame_size;
        if (is_wanted(session, message)) {
            return SESSION_MESSAGE;
        }
    }
    return SESSION_MORE;
}

/* --- Ids -------------------------------------------------------------------- */

int session_begin(struct session *session, uint32_t id)
{
    return id_set_add(&session->working, id, NULL);
}

bool session_end(struct session *session, uint32_t id)
{
    return id_set_remove(&session->working, id, NULL);
}

size_t session_working(const struct session *session)
{
    return session->working.count;
}

void session_end_all(struct session *session, void (*each)(void *context, uint32_t id),
                     void *context)
{
    uint32_t id;
    void *value;
    while (id_set_take(&session->working, &id, &value)) {
        each(context, id);
    }
}

int session_call(struct session *session, void *call, uint32_t *id)
{
    CHECK(call != NULL);
    while (id_set_has(&session->calls, session->next_id)) {
        session->next_id++;
    }
    int status = id_set_add(&session->calls, session->next_id, call);
    if (status == 0) {
        *id = session->next_id++;
    }
    return status;
}

void *session_cancel(struct session *session, uint32_t id)
{
    void *call = NULL;
    id_set_remove(&session->calls, id, &call);
    return call;
}

void *session_take_call(struct session *session, uint32_t *id)
{
    void *call = NULL;
    id_set_take(&session->calls, id, &call);
    return call;
}

#include "clients/c/wire.h"

#include <string.h>

#include "clients/c/fault.h"
#include "clients/c/params.h"
#include "protocol/base/limits.h"
#include "protocol/message.h"
#include "protocol/msgpack/writer.h"

enum {
    CONNECT_MS = 5000,
    CALL_MS = 30000,
    ANSWER_BYTES = 64 << 20,
    OUTPUT_BYTES = 64 << 20,
    /* What stands around a result of exactly answer_bytes. */
    ENVELOPE_BYTES = 4096,
    READ_BYTES = 64 << 10,
    /* A larger buffer is given back when nothing is in it. */
    INPUT_KEPT_BYTES = 1 << 20
};

struct wire_options wire_options_of(const struct relata_options *options)
{
    /* A program built with an older header gives a shorter struct. */
    struct relata_options given = {0};
    if (options != NULL) {
        memcpy(&given, options, options->size < sizeof(given) ? options->size : sizeof(given));
    }
    return (struct wire_options){
        .client = given.client,
        .token = given.token,
        .connect_ms = given.connect_ms > 0 ? given.connect_ms : CONNECT_MS,
        .call_ms = given.call_ms > 0 ? given.call_ms : CALL_MS,
        .answer_bytes = given.answer_bytes,
        .output_bytes = given.output_bytes > 0 ? given.output_bytes : OUTPUT_BYTES,
    };
}

void wire_init(struct wire *wire, const struct wire_options *options)
{
    *wire = (struct wire){0};
    uint32_t answer_bytes = options->answer_bytes > 0 ? options->answer_bytes : ANSWER_BYTES;
    if (answer_bytes < UINT32_MAX - ENVELOPE_BYTES) {
        answer_bytes += ENVELOPE_BYTES;
    }
    session_init(&wire->session, (struct frame_limits){answer_bytes, FRAME_LEVELS_MAX});
    buffer_init(&wire->output, UINT32_MAX); /* libuv counts bytes in 32 bits */
}

void wire_release(struct wire *wire)
{
    session_release(&wire->session);
    buffer_release(&wire->input);
    buffer_release(&wire->output);
}

/* --- In --------------------------------------------------------------------- */

uint8_t *wire_room(struct wire *wire, size_t *size)
{
    struct buffer *input = &wire->input;
    buffer_consume(input, wire->input_at);
    wire->input_at = 0;
    if (input->size == 0 && input->capacity > INPUT_KEPT_BYTES) {
        buffer_release(input);
    }
    if (!buffer_reserve(input, READ_BYTES)) {
        return NULL;
    }
    *size = input->capacity - input->size;
    return input->bytes + input->size;
}

void wire_filled(struct wire *wire, size_t size)
{
    wire->input.size += size;
}

static void refuse(struct wire *wire, const struct message *message)
{
    struct error error = ERROR_INIT;
    error_set(&error, CODE_UNKNOWN_METHOD, "this client answers no calls");
    message_error(&wire->output, message->id, &error, true);
}

int wire_next(struct wire *wire, struct message *message, struct relata_error *error)
{
    for (;;) {
        size_t used;
        struct error fault = ERROR_INIT;
        enum session_status status =
            session_next(&wire->session, wire->input.bytes + wire->input_at,
                         wire->input.size - wire->input_at, &used, message, &fault);
        wire->input_at += used;
        if (status == SESSION_MORE) {
            return 0;
        }
        if (status == SESSION_BROKEN) {
            error_prefix(&fault, "the daemon's answer: ");
            return fault_give(error, &fault);
        }
        if (message->kind == MESSAGE_RESPONSE) {
            return 1;
        }
        if (message->kind == MESSAGE_REQUEST) {
            refuse(wire, message);
        }
    }
}

bool wire_failed(const struct message *message)
{
    return message->error_size != 1 || message->error[0] != 0xc0;
}

int wire_answer_error(struct relata_value value, struct relata_error *error)
{
    struct error inner = ERROR_INIT;
    message_error_read(&inner, value.bytes, value.size);
    return fault_give(error, &inner);
}

/* --- Out -------------------------------------------------------------------- */

static int fresh_id(struct session *session, void *call, uint32_t *id)
{
    int status = session_call(session, call, id);
    if (status == 0 && *id == 0) {
        /* 0 stands for any call in relata.h: the next one is taken. */
        uint32_t zero = *id;
        status = session_call(session, call, id);
        session_cancel(session, zero);
    }
    return status;
}

int wire_call(struct wire *wire, const char *method, const struct relata_params *params, void *call,
              uint32_t *id, struct relata_error *error)
{
    int status = params == NULL ? 0 : params_check(params, error);
    if (status != 0) {
        return status;
    }
    if (fresh_id(&wire->session, call, id) != 0) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for another call");
    }
    size_t before = wire->output.size;
    message_request(&wire->output, *id, method);
    write_array(&wire->output, params == NULL ? 0 : params->count);
    if (params != NULL) {
        buffer_append(&wire->output, params->buffer.bytes, params->buffer.size);
    }
    if (wire->output.failed) {
        buffer_truncate(&wire->output, before);
        session_cancel(&wire->session, *id);
        return fault_set(error, CODE_OVERLOADED, "there is no memory for the call");
    }
    return 0;
}

/* --- The greeting ------------------------------------------------------------- */

int wire_greet(struct wire *wire, const struct wire_options *options, void *call, uint32_t *id,
               struct relata_error *error)
{
    struct relata_params params;
    params_init(&params);
    uint32_t count = 1u + (options->client != NULL) + (options->token != NULL);
    relata_params_map(&params, count);
    relata_params_string(&params, "errors");
    relata_params_string(&params, "map");
    if (options->client != NULL) {
        relata_params_string(&params, "client");
        relata_params_string(&params, options->client);
    }
    if (options->token != NULL) {
        relata_params_string(&params, "token");
        relata_params_string(&params, options->token);
    }
    int status = wire_call(wire, "hello", &params, call, id, error);
    params_release(&params);
    return status;
}

void wire_greeted(struct wire *wire, const struct wire_options *options, struct relata_value hello)
{
    int64_t told;
    struct relata_value limits = relata_value_get(hello, "limits");
    if (options->answer_bytes > 0 ||
        !relata_value_integer(relata_value_get(limits, "answer_bytes"), &told) || told <= 0) {
        return;
    }
    /* The scanner stands between two frames now, so its limit may change. */
    uint32_t most = UINT32_MAX - ENVELOPE_BYTES;
    uint32_t answer_bytes = told < most ? (uint32_t)told : most;
    wire->session.scanner.limits.bytes_max = answer_bytes + ENVELOPE_BYTES;
}

#ifndef RELATA_CLIENTS_C_WIRE_H
#define RELATA_CLIENTS_C_WIRE_H

/* A client's end of a connection, without the socket: the session with its
 * bytes on the way in and out, and the greeting. Both clients, the one that
 * waits and the one on a loop, are built on it. */

#include "clients/c/relata.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/session.h"

/* Options with their defaults filled in. */
struct wire_options {
    const char *client;
    const char *token;
    uint64_t connect_ms;
    uint64_t call_ms;
    uint32_t answer_bytes; /* 0: what the daemon says in its greeting */
    uint32_t output_bytes;
};

struct wire_options wire_options_of(const struct relata_options *options);

struct wire {
    struct session session;
    struct buffer input;
    size_t input_at; /* what is before it has been read */
    struct buffer output;
};

void wire_init(struct wire *wire, const struct wire_options *options);
void wire_release(struct wire *wire);

/* Room for what the socket has: at least 64 KiB at the answer, of *size bytes;
 * NULL where memory lacks. Slices of earlier messages end here. */
uint8_t *wire_room(struct wire *wire, size_t *size);
void wire_filled(struct wire *wire, size_t size);

/* The next answer: 1 with *message, 0 where there is none whole, or a negative
 * code where the connection must be closed. What the daemon calls unasked is
 * refused, onto `output`. */
int wire_next(struct wire *wire, struct message *message, struct relata_error *error);

/* Appends a request to `output`. `params` may be NULL for none. `call` is what
 * the answer's message tells. *id is never 0. */
int wire_call(struct wire *wire, const char *method, const struct relata_params *params, void *call,
              uint32_t *id, struct relata_error *error);

/* Appends the greeting. */
int wire_greet(struct wire *wire, const struct wire_options *options, void *call, uint32_t *id,
               struct relata_error *error);

/* Takes what the greeting answered into account: how large answers may be. */
void wire_greeted(struct wire *wire, const struct wire_options *options, struct relata_value hello);

/* The error of an answer. Answers -code. */
int wire_answer_error(struct relata_value value, struct relata_error *error);

/* Whether a message is an error. */
bool wire_failed(const struct message *message);

#endif

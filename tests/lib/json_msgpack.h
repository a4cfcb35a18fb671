#ifndef RELATA_TESTS_LIB_JSON_MSGPACK_H
#define RELATA_TESTS_LIB_JSON_MSGPACK_H

#include <stdbool.h>

#include "protocol/base/buffer.h"
#include "protocol/msgpack/reader.h"

/* JSON text to MessagePack and back, for tests that want to be read. Strings
 * in single quotes are taken too, so that C needs no backslashes. */
void json_to_msgpack(const char *json, struct buffer *out);

/* Appends JSON; binary and extensions as {"bin": n} and {"ext": type}, where an
 * error extension shows its code as {"error": "code"}. */
void msgpack_to_json(struct reader *in, struct buffer *out);

#endif

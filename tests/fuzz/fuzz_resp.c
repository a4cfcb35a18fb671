#include <stdlib.h>
#include <string.h>

#include "layers/redis/slots.h"
#include "protocol/base/check.h"

/* The first byte chooses how the rest is cut; the rest is what a server sends. A
 * reply is found, or refused, in the same way however it comes; the tokens of a
 * whole one are all of its bytes; of one that is not whole, reading comes to an
 * end all the same. What asks for maps and redirections is given all of it. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum resp_scan_status status;
    size_t at;
};

/* As large as what came, so that a sanitizer sees a byte too far. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    return copy;
}

static struct outcome scan(const uint8_t *bytes, size_t size, unsigned step)
{
    struct resp_scan scan = {0};
    size_t came = step > 0 && step < size ? step : size;
    for (;;) {
        struct error error = ERROR_INIT;
        uint8_t *copy = copy_of(bytes, came);
        enum resp_scan_status status = resp_scan_go(&scan, copy, came, &error);
        free(copy);
        CHECK((error.code != CODE_OK) == (status == RESP_BROKEN));
        CHECK(scan.level <= RESP_LEVELS_MAX && scan.at <= RESP_REPLY_BYTES_MAX);
        CHECK(status != RESP_WHOLE || scan.at <= came);
        if (status != RESP_CUT || came == size) {
            return (struct outcome){.status = status, .at = scan.at};
        }
        /* Steps that are not all alike. */
        step = step * 5 % 61 + 1;
        came = step < size - came ? came + step : size;
    }
}

/* Every byte of it, so that a sanitizer sees those that are not there. */
static void touch(const struct resp_token *token)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < token->size; i++) {
        sum = (uint8_t)(sum ^ token->bytes[i]);
    }
    CHECK(strlen(resp_describe(token)) > 0);
    if (token->kind == RESP_ERROR) {
        struct redirect redirect = redirect_read(token->bytes, token->size);
        CHECK(redirect.slot < SLOTS_COUNT);
        CHECK((redirect.node.port > 0) ==
              (redirect.kind == REDIRECT_MOVED || redirect.kind == REDIRECT_ASK));
    }
}

static void read_whole(const uint8_t *bytes, size_t size)
{
    struct resp_reader in = resp_reader_of(bytes, size);
    for (uint64_t missing = 1; missing > 0; missing--) {
        struct resp_token token = resp_next(&in);
        CHECK(token.kind != RESP_END && in.at <= in.end);
        touch(&token);
        missing += token.kind == RESP_MAP ? 2 * token.count : token.count;
    }
    CHECK(in.at == in.end && resp_next(&in).kind == RESP_END);
    in = resp_reader_of(bytes, size);
    resp_skip(&in);
    CHECK(in.at == in.end);
}

static void read_any(const uint8_t *bytes, size_t size)
{
    struct resp_reader in = resp_reader_of(bytes, size);
    struct resp_token token = resp_next(&in);
    while (token.kind != RESP_END) {
        touch(&token);
        token = resp_next(&in);
    }
    CHECK(in.at == in.end);
    in = resp_reader_of(bytes, size);
    for (const uint8_t *at = NULL; at != in.at;) {
        at = in.at;
        resp_skip(&in);
    }
    CHECK(in.at == in.end);
}

static void read_map(const uint8_t *bytes, size_t size)
{
    static struct slots slots;
    struct error error = ERROR_INIT;
    int status = slots_read(&slots, resp_reader_of(bytes, size), "asked", &error);
    CHECK(status == 0 || (status == -CODE_UNAVAILABLE && error.code == CODE_UNAVAILABLE));
    if (status == 0) {
        CHECK(slots.node_count <= SLOTS_NODES_MAX && slots_same(&slots, &slots));
        for (size_t slot = 0; slot < SLOTS_COUNT; slot++) {
            CHECK(slots.owner[slot] == SLOTS_NO_NODE || slots.owner[slot] < slots.node_count);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    unsigned step = data[0] % 61 + 1;
    data++;
    size--;
    uint8_t *all = copy_of(data, size);
    read_any(all, size);
    read_map(all, size);
    free(all);
    while (size > 0) {
        struct outcome once = scan(data, size, 0);
        struct outcome cut = scan(data, size, step);
        CHECK(once.status == cut.status && once.at == cut.at);
        if (once.status != RESP_WHOLE) {
            return 0;
        }
        CHECK(once.at > 0 && once.at <= size);
        uint8_t *reply = copy_of(data, once.at);
        read_whole(reply, once.at);
        read_map(reply, once.at);
        free(reply);
        data += once.at;
        size -= once.at;
    }
    return 0;
}

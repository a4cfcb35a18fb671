#include "clients/c/params.h"

#include <string.h>

#include "clients/c/fault.h"
#include "protocol/base/heap.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

void params_init(struct relata_params *params)
{
    *params = (struct relata_params){0};
}

void params_release(struct relata_params *params)
{
    buffer_release(&params->buffer);
}

/* What is made where memory lacks: a NULL would be a call without params. It is
 * failed for good and never written to, so that threads may share it. */
static struct relata_params no_memory = {.buffer = {.failed = true}};

struct relata_params *relata_params_create(void)
{
    struct relata_params *params = heap_zero(1, sizeof(*params));
    return params != NULL ? params : &no_memory;
}

void relata_params_free(struct relata_params *params)
{
    if (params != NULL && params != &no_memory) {
        params_release(params);
        heap_free(params);
    }
}

void relata_params_reset(struct relata_params *params)
{
    if (params != &no_memory) {
        buffer_truncate(&params->buffer, 0);
        params->count = 0;
        params->level = 0;
        params->too_deep = false;
    }
}

/* --- Writing ------------------------------------------------------------------ */

/* Room for one more value where the writing stands; NULL where it cannot be. */
static struct buffer *begin(struct relata_params *params)
{
    if (params->too_deep || params->buffer.failed) {
        return NULL;
    }
    if (params->level == 0) {
        params->count++;
    } else {
        params->left[params->level - 1]--;
    }
    return &params->buffer;
}

/* Closes the levels to which nothing is to come any more. */
static void settle(struct relata_params *params)
{
    while (params->level > 0 && params->left[params->level - 1] == 0) {
        params->level--;
    }
}

static void open_level(struct relata_params *params, uint64_t values)
{
    if (values > 0 && params->level == PARAMS_LEVELS_MAX) {
        params->too_deep = true;
    } else if (values > 0) {
        params->left[params->level++] = values;
    }
    settle(params);
}

/* One function for each kind of value without anything in it. */
#define WRITE_ONE(params, writing)          \
    do {                                    \
        struct buffer *out = begin(params); \
        if (out != NULL) {                  \
            writing;                        \
            settle(params);                 \
        }                                   \
    } while (0)

void relata_params_nil(struct relata_params *params)
{
    WRITE_ONE(params, write_nil(out));
}

void relata_params_boolean(struct relata_params *params, bool value)
{
    WRITE_ONE(params, write_boolean(out, value));
}

void relata_params_integer(struct relata_params *params, int64_t value)
{
    WRITE_ONE(params, write_integer(out, value));
}

void relata_params_unsigned(struct relata_params *params, uint64_t value)
{
    WRITE_ONE(params, write_unsigned(out, value));
}

void relata_params_float(struct relata_params *params, double value)
{
    WRITE_ONE(params, write_float(out, value));
}

void relata_params_string(struct relata_params *params, const char *text)
{
    relata_params_text(params, text, strlen(text));
}

void relata_params_text(struct relata_params *params, const char *text, size_t size)
{
    WRITE_ONE(params, write_string(out, text, size));
}

void relata_params_binary(struct relata_params *params, const void *bytes, size_t size)
{
    WRITE_ONE(params, write_binary(out, bytes, size));
}

void relata_params_datetime(struct relata_params *params, int64_t seconds, uint32_t nanoseconds)
{
    struct datetime datetime = {.seconds = seconds, .nanoseconds = nanoseconds};
    WRITE_ONE(params, write_datetime(out, &datetime));
}

void relata_params_value(struct relata_params *params, struct relata_value value)
{
    if (value.bytes == NULL) {
        relata_params_nil(params);
    } else {
        WRITE_ONE(params, buffer_append(out, value.bytes, value.size));
    }
}

void relata_params_array(struct relata_params *params, uint32_t count)
{
    struct buffer *out = begin(params);
    if (out != NULL) {
        write_array(out, count);
        open_level(params, count);
    }
}

void relata_params_map(struct relata_params *params, uint32_t count)
{
    struct buffer *out = begin(params);
    if (out != NULL) {
        write_map(out, count);
        open_level(params, (uint64_t)count * 2);
    }
}

/* --- Looking ------------------------------------------------------------------ */

bool relata_params_complete(const struct relata_params *params)
{
    return !params->buffer.failed && !params->too_deep && params->level == 0;
}

uint32_t relata_params_count(const struct relata_params *params)
{
    return params->count;
}

struct relata_value relata_params_at(const struct relata_params *params, uint32_t index)
{
    if (!relata_params_complete(params)) {
        return RELATA_NONE;
    }
    struct reader in = reader_of(params->buffer.bytes, params->buffer.size);
    struct relata_value value = RELATA_NONE;
    for (uint32_t i = 0; i <= index; i++) {
        if (!reader_value(&in, &value.bytes, &value.size)) {
            return RELATA_NONE;
        }
    }
    return value;
}

int params_check(const struct relata_params *params, struct relata_error *error)
{
    if (params->buffer.failed) {
        return fault_set(error, CODE_OVERLOADED, "there is no memory for the params");
    }
    if (params->too_deep) {
        return fault_set(error, CODE_INVALID_REQUEST,
                         "the params have more than %d arrays and maps within each other",
                         PARAMS_LEVELS_MAX);
    }
    if (params->level > 0) {
        return fault_set(error, CODE_INVALID_REQUEST,
                         "the params end within an array or map: %llu values are missing in it",
                         (unsigned long long)params->left[params->level - 1]);
    }
    return 0;
}

struct relata_value relata_key_integer(uint8_t room[RELATA_KEY_ROOM], int64_t key)
{
    _Static_assert((int)RELATA_KEY_ROOM >= (int)WRITE_HEADER_MAX, "an integer fits");
    return (struct relata_value){room, encode_integer(room, key)};
}

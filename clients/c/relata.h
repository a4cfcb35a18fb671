/* librelata: the C client of Relata.
 *
 * What is in here: values (to read answers), params (to write calls), a client
 * that waits for its answers, and a client on a libuv loop that calls back.
 * This header needs nothing but libc; programs that use the part on libuv
 * include <uv.h> themselves.
 *
 * Rules that hold for all of it:
 *  - Functions that can fail answer 0 or the negative of an enum relata_code,
 *    and then fill `error` (which may be NULL). Results are not touched then.
 *  - There is no global state. Different objects may be used by different
 *    threads at the same time; one object by one thread at a time.
 *  - Names and texts are UTF-8. `_ms` is milliseconds.
 *  - What is created is released with its own function, which takes NULL too.
 *  - Lack of memory is RELATA_CODE_OVERLOADED, never the end of the process. */
#ifndef RELATA_H
#define RELATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RELATA_VERSION_MAJOR 0
#define RELATA_VERSION_MINOR 1
#define RELATA_VERSION_PATCH 0

#pragma GCC visibility push(default)

/* The version of the library that is running, "0.1.0". */
const char *relata_version(void);

/* --- Errors ---------------------------------------------------------------- */

/* The daemon's codes, and the library's own faults told in the same words:
 * invalid_request (a call that was built wrongly), unavailable (no connection,
 * or it was lost), timeout, too_large (an answer), overloaded (no memory). */
enum relata_code {
    RELATA_CODE_OK = 0,
    RELATA_CODE_INVALID_REQUEST,
    RELATA_CODE_UNKNOWN_METHOD,
    RELATA_CODE_UNKNOWN_RESOURCE,
    RELATA_CODE_UNKNOWN_FIELD,
    RELATA_CODE_UNKNOWN_RELATIONSHIP,
    RELATA_CODE_INVALID_VALUE,
    RELATA_CODE_INVALID_FILTER,
    RELATA_CODE_NOT_FOUND,
    RELATA_CODE_CONFLICT,
    RELATA_CODE_FORBIDDEN,
    RELATA_CODE_UNAUTHENTICATED,
    RELATA_CODE_TIMEOUT,
    RELATA_CODE_UNAVAILABLE,
    RELATA_CODE_LOADER_FAILED,
    RELATA_CODE_TOO_LARGE,
    RELATA_CODE_OVERLOADED,
    RELATA_CODE_INTERNAL
};

/* "not_found"; "ok" for 0; "unknown" for what is no code. Takes a code or its
 * negative, as functions answer it. Static storage. */
const char *relata_code_text(int code);

/* Owned by the caller; holds no pointers. Texts are terminated; those that do
 * not apply are empty, numbers that do not apply are -1. */
struct relata_error {
    enum relata_code code;
    char message[480]; /* for a person, without the code in front */
    char resource[64];
    char field[64];
    char relationship[64];
    char path[160];   /* in the map form of a filter: "or.1.status" */
    char limit[64];   /* the name of the limit that was hit */
    char outcome[16]; /* "unknown" where a write may have been done all the same */
    uint8_t key[96];  /* MessagePack of the key in question; see relata_value_of */
    size_t key_size;  /* 0 where there is none */
    int64_t index;    /* of the element in a list that was given, from 0 */
    int64_t position; /* in a filter's text, from 0, in code points */
};

/* --- Values ---------------------------------------------------------------- */

/* One MessagePack value, well-formed, that stands in somebody else's bytes (a
 * reply's, mostly) and is good as long as those. Passed by value; owns nothing.
 * Reading copies nothing: texts point into the same bytes. */
struct relata_value {
    const uint8_t *bytes; /* NULL: no value (RELATA_NONE) */
    size_t size;
};

#ifdef __cplusplus
#define RELATA_NONE (relata_value{})
#else
#define RELATA_NONE ((struct relata_value){NULL, 0})
#endif

enum relata_type {
    RELATA_TYPE_NONE, /* RELATA_NONE */
    RELATA_TYPE_NIL,
    RELATA_TYPE_BOOLEAN,
    RELATA_TYPE_INTEGER,  /* fits int64_t */
    RELATA_TYPE_UNSIGNED, /* above INT64_MAX; the daemon sends none */
    RELATA_TYPE_FLOAT,
    RELATA_TYPE_STRING,
    RELATA_TYPE_BINARY,
    RELATA_TYPE_ARRAY,
    RELATA_TYPE_MAP,
    RELATA_TYPE_DATETIME,
    RELATA_TYPE_ERROR, /* stands where the value would: see relata_value_error */
    RELATA_TYPE_EXTENSION
};

enum relata_type relata_value_type(struct relata_value value);

/* Each is true where the value is of that type and *out was set. An integer is
 * taken for a float too. */
bool relata_value_boolean(struct relata_value value, bool *out);
bool relata_value_integer(struct relata_value value, int64_t *out);
bool relata_value_unsigned(struct relata_value value, uint64_t *out);
bool relata_value_float(struct relata_value value, double *out);

/* A string's bytes; not terminated by zero. */
bool relata_value_string(struct relata_value value, const char **text, size_t *size);
/* Whether it is this string. `text` is terminated. */
bool relata_value_is(struct relata_value value, const char *text);
bool relata_value_binary(struct relata_value value, const uint8_t **bytes, size_t *size);

/* Seconds since 1970 UTC (floored) and nanoseconds 0..999999999. */
bool relata_value_datetime(struct relata_value value, int64_t *seconds, uint32_t *nanoseconds);

/* The error of one key of several, which stands in its place (the rest of the
 * answer is good): true where the value is one. */
bool relata_value_error(struct relata_value value, struct relata_error *error);

/* Items of an array, pairs of a map; 0 for everything else. */
size_t relata_value_count(struct relata_value value);

/* The item of an array, or the value under a name in a map; RELATA_NONE where
 * it is not there. Both walk: to see all items, use a cursor. */
struct relata_value relata_value_at(struct relata_value array, size_t index);
struct relata_value relata_value_get(struct relata_value map, const char *name);

/* Walks the items of an array, or the pairs of a map:
 *
 *     struct relata_cursor cursor = relata_items(list);
 *     for (struct relata_value item; relata_next(&cursor, &item);) { ... }
 *
 * Of a value that has no items, none. */
struct relata_cursor {
    const uint8_t *at;
    const uint8_t *end;
    size_t left;
};

struct relata_cursor relata_items(struct relata_value array);
bool relata_next(struct relata_cursor *cursor, struct relata_value *item);

struct relata_cursor relata_pairs(struct relata_value map);
bool relata_next_pair(struct relata_cursor *cursor, struct relata_value *key,
                      struct relata_value *value);

/* Looks at bytes that come from elsewhere: true where they are exactly one
 * well-formed value, nested to 64 levels. */
bool relata_value_of(const void *bytes, size_t size, struct relata_value *value);

/* --- Params ---------------------------------------------------------------- */

/* Writes MessagePack: the params of a call, or single values. What is written
 * at the top level are the params, one after the other:
 *
 *     relata_params_string(params, "ticket");           // resource
 *     relata_params_map(params, 2);                      // query
 *     relata_params_string(params, "filter");
 *     relata_params_string(params, "status == $status");
 *     relata_params_string(params, "params");
 *     relata_params_map(params, 1);
 *     relata_params_string(params, "status");
 *     relata_params_string(params, "open");
 *
 * Faults (no memory; more than 64 levels) are sticky: the call then fails with
 * them, so one need not look in between. */
struct relata_params;

/* Never NULL: where memory lacks, these are params that have failed already, and
 * a call with them fails with overloaded. */
struct relata_params *relata_params_create(void);
void relata_params_free(struct relata_params *params);
/* Empty again, for the next call; keeps its memory. */
void relata_params_reset(struct relata_params *params);

void relata_params_nil(struct relata_params *params);
void relata_params_boolean(struct relata_params *params, bool value);
void relata_params_integer(struct relata_params *params, int64_t value);
void relata_params_unsigned(struct relata_params *params, uint64_t value);
void relata_params_float(struct relata_params *params, double value);
/* Terminated by zero; and any bytes, which are to be UTF-8. */
void relata_params_string(struct relata_params *params, const char *text);
void relata_params_text(struct relata_params *params, const char *text, size_t size);
void relata_params_binary(struct relata_params *params, const void *bytes, size_t size);
/* Nanoseconds 0..999999999. */
void relata_params_datetime(struct relata_params *params, int64_t seconds, uint32_t nanoseconds);
/* `count` values follow; `count` pairs, key then value. */
void relata_params_array(struct relata_params *params, uint32_t count);
void relata_params_map(struct relata_params *params, uint32_t count);
/* A copy of a value; nil for RELATA_NONE. */
void relata_params_value(struct relata_params *params, struct relata_value value);

/* Whether everything was written, and every array and map is complete. */
bool relata_params_complete(const struct relata_params *params);
/* How many values stand at the top level. */
uint32_t relata_params_count(const struct relata_params *params);
/* One of them, good until the params are changed; RELATA_NONE where it is not
 * there, or the params are not complete. */
struct relata_value relata_params_at(const struct relata_params *params, uint32_t index);

/* An integer key without any params: its bytes are put into `room`. */
enum { RELATA_KEY_ROOM = 9 };
struct relata_value relata_key_integer(uint8_t room[RELATA_KEY_ROOM], int64_t key);

/* --- Options of a connection ------------------------------------------------- */

struct relata_options {
    size_t size;           /* of this struct, set by RELATA_OPTIONS_INIT */
    const char *client;    /* how the daemon's log calls this client; may be NULL */
    const char *token;     /* who it is, where the daemon asks; may be NULL */
    uint64_t connect_ms;   /* until the daemon has greeted; default 5,000 */
    uint64_t call_ms;      /* until an answer is there; default 30,000 */
    uint32_t answer_bytes; /* a larger answer ends the connection; default 64 MiB and some */
    uint32_t output_bytes; /* calls that wait to be sent; default 64 MiB */
};

#define RELATA_OPTIONS_INIT                   \
    {                                         \
        .size = sizeof(struct relata_options) \
    }

/* 0 in the numbers means their default. Addresses are `unix:PATH` and
 * `tcp:HOST:PORT` (`tcp:[::1]:PORT`). NULL stands for the environment's
 * RELATA_ADDRESS, and where that is not set for RELATA_ADDRESS_DEFAULT. */
#define RELATA_ADDRESS_DEFAULT "unix:/run/relata/relata.sock"

/* --- The client that waits --------------------------------------------------- */

struct relata_client;
struct relata_reply;

/* Connects and greets the daemon. `options` may be NULL; nothing of it is kept.
 * unavailable: nobody is there; timeout; invalid_request: the address;
 * unauthenticated: the token. Resolving a host's name may take longer than
 * connect_ms. */
int relata_connect(const char *address, const struct relata_options *options,
                   struct relata_client **client, struct relata_error *error);

/* Closes the connection. What was sent and not received may have been done.
 * Replies stay good. */
void relata_close(struct relata_client *client);

/* False once the connection is lost; every call then answers unavailable. */
bool relata_alive(const struct relata_client *client);

/* What the daemon answered to the greeting: {server, version, protocol,
 * resources, limits}. Good until relata_close. */
struct relata_value relata_hello(const struct relata_client *client);

/* Calls a method and waits. `params` may be NULL for none, and may be used
 * again. The reply is the caller's.
 * An error of the daemon's is answered as the function's own. After timeout or
 * unavailable a write may have been done (error->outcome). */
int relata_call(struct relata_client *client, const char *method,
                const struct relata_params *params, struct relata_reply **reply,
                struct relata_error *error);

/* The result; good until the reply is freed. */
struct relata_value relata_reply_value(const struct relata_reply *reply);
void relata_reply_free(struct relata_reply *reply);

/* Pipelining. relata_send queues a call. What is queued goes out when some
 * 64 KiB have gathered, with relata_flush and with relata_receive. It waits only
 * where output_bytes are queued and the daemon takes none (answers that arrive
 * meanwhile are kept). *id is never 0. */
int relata_send(struct relata_client *client, const char *method,
                const struct relata_params *params, uint32_t *id, struct relata_error *error);

/* Gives the socket what it takes of what is queued, without waiting. */
int relata_flush(struct relata_client *client, struct relata_error *error);

/* Sends what is queued and waits for the answer of the call `*id`; where that
 * is 0, for any, and *id then tells which (0 after a timeout). Answers come in the daemon's order, which need not be that of the
 * calls. Every call is received once: 0 with its reply, or its error;
 * calls that were out when the connection was lost are received as unavailable.
 * timeout (after call_ms without that answer): the call is still out and may be
 * received again, or given up. invalid_request: no such call is out. */
int relata_receive(struct relata_client *client, uint32_t *id, struct relata_reply **reply,
                   struct relata_error *error);

/* Gives a call up: its answer will be dropped. */
void relata_forget(struct relata_client *client, uint32_t id);

/* How many calls were sent and not received. */
size_t relata_outstanding(const struct relata_client *client);

/* --- Methods ------------------------------------------------------------------ */

/* The daemon's methods by name. Values are MessagePack from anywhere: another
 * reply, relata_params_at, relata_key_integer. RELATA_NONE for what is left out
 * (a query, options). All fail as relata_call does. */
int relata_get(struct relata_client *client, const char *resource, struct relata_value key,
               struct relata_value options, struct relata_reply **reply,
               struct relata_error *error);
int relata_get_many(struct relata_client *client, const char *resource, struct relata_value keys,
                    struct relata_value options, struct relata_reply **reply,
                    struct relata_error *error);
int relata_read(struct relata_client *client, const char *resource, struct relata_value query,
                struct relata_value options, struct relata_reply **reply,
                struct relata_error *error);
int relata_count(struct relata_client *client, const char *resource, struct relata_value query,
                 struct relata_value options, int64_t *count, struct relata_error *error);
int relata_load(struct relata_client *client, const char *resource, struct relata_value keys,
                struct relata_value loads, struct relata_value options, struct relata_reply **reply,
                struct relata_error *error);
/* `reply` is the record as stored; it may be NULL where nobody wants it. */
int relata_create(struct relata_client *client, const char *resource, struct relata_value record,
                  struct relata_value options, struct relata_reply **reply,
                  struct relata_error *error);
int relata_upsert(struct relata_client *client, const char *resource, struct relata_value record,
                  struct relata_value options, struct relata_reply **reply,
                  struct relata_error *error);
int relata_update(struct relata_client *client, const char *resource, struct relata_value key,
                  struct relata_value changes, struct relata_value options,
                  struct relata_reply **reply, struct relata_error *error);
int relata_destroy(struct relata_client *client, const char *resource, struct relata_value key,
                   struct relata_value options, struct relata_error *error);
/* *count (may be NULL): how many were written or removed. */
int relata_create_many(struct relata_client *client, const char *resource,
                       struct relata_value records, struct relata_value options, int64_t *count,
                       struct relata_error *error);
int relata_upsert_many(struct relata_client *client, const char *resource,
                       struct relata_value records, struct relata_value options, int64_t *count,
                       struct relata_error *error);
int relata_destroy_many(struct relata_client *client, const char *resource,
                        struct relata_value keys, struct relata_value options, int64_t *count,
                        struct relata_error *error);

/* --- The client on a libuv loop ------------------------------------------------ */

/* All functions are called on the loop's thread. Callbacks come from the loop,
 * never from inside one of these functions, and may call any of them. */
struct relata_async;
struct uv_loop_s; /* uv_loop_t */

/* Once: with error NULL when the daemon has greeted, or with the error. After
 * an error the client is of no use and is to be closed. */
typedef void relata_async_ready(struct relata_async *async, const struct relata_error *error,
                                void *data);

/* Once for each call that was taken: with the result, or with the error (and
 * RELATA_NONE). Both are good until the callback returns. */
typedef void relata_async_answer(void *data, struct relata_value result,
                                 const struct relata_error *error);

/* Once, when nothing of the client is left on the loop. */
typedef void relata_async_closed(void *data);

/* Begins to connect. Calls may be made at once; they are sent right behind the
 * greeting. `ready` may be NULL (calls then tell the error). On failure
 * nothing is created and nothing is called. */
int relata_async_connect(struct uv_loop_s *loop, const char *address,
                         const struct relata_options *options, relata_async_ready *ready,
                         void *data, struct relata_async **async, struct relata_error *error);

/* Calls a method. The params are copied. All calls of one turn of the loop go
 * out in one write. timeout_ms 0 is the connection's call_ms; it counts from
 * now. On failure `answer` is not called: invalid_request (the params),
 * unavailable (closed, or the connection is lost), overloaded (memory, or
 * output_bytes wait to be sent). */
int relata_async_call(struct relata_async *async, const char *method,
                      const struct relata_params *params, uint64_t timeout_ms,
                      relata_async_answer *answer, void *data, struct relata_error *error);

/* How many calls have not been answered. */
size_t relata_async_outstanding(const struct relata_async *async);

/* As relata_hello; RELATA_NONE before `ready`. */
struct relata_value relata_async_hello(const struct relata_async *async);

/* Closes: what has not been answered is answered unavailable, `ready` too where
 * it did not come yet, then `closed` (may be NULL) comes and the client is
 * gone. May be called from any callback, once; NULL does nothing, and then
 * nothing is called. */
void relata_async_close(struct relata_async *async, relata_async_closed *closed, void *data);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

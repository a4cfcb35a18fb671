#include <string.h>
#include <strings.h>

#include "layers/redis/redis_inner.h"
#include "layers/redis/slots.h"
#include "protocol/base/check.h"
#include "protocol/base/heap.h"
#include "protocol/base/limits.h"
#include "protocol/base/utf8.h"
#include "protocol/msgpack/reader.h"
#include "protocol/msgpack/writer.h"

/* Raw commands. The happy path is redis_raw_send -> home_send -> on_answer -> done.
 * Possible failures are: what can be seen of the command (told at once), a home that
 * is not there or goes away, an error of Redis, and a reply that is too large. */

struct redis_raw {
    struct home_command command;
    struct buffer bytes;
    const struct limits *limits;
    redis_raw_done *done; /* NULL: nobody waits any more */
    void *context;
};

enum { WORD_SHOWN_MAX = 32, REASON_MAX = 400 };

/* ---- What is not sent ---- */

/* The link is everybody's, and replies are matched to commands by their order. */
enum offence { LASTS, STREAMS, WAITS };

static const char *const offences[] = {
    [LASTS] = "it changes the connection, which all share (EVAL runs several as one)",
    [STREAMS] = "it has no single reply",
    [WAITS] = "it waits, and all commands behind it would wait too",
};

struct refused {
    const char *name;
    const char *part; /* the second word; NULL: any */
    enum offence offence;
};

static const struct refused refused[] = {
    {"multi", NULL, LASTS},          {"exec", NULL, LASTS},
    {"discard", NULL, LASTS},        {"watch", NULL, LASTS},
    {"unwatch", NULL, LASTS},        {"select", NULL, LASTS},
    {"hello", NULL, LASTS},          {"auth", NULL, LASTS},
    {"quit", NULL, LASTS},           {"reset", NULL, LASTS},
    {"asking", NULL, LASTS},         {"readonly", NULL, LASTS},
    {"readwrite", NULL, LASTS},      {"client", "reply", LASTS},
    {"client", "tracking", LASTS},   {"client", "caching", LASTS},
    {"script", "debug", LASTS},      {"subscribe", NULL, STREAMS},
    {"psubscribe", NULL, STREAMS},   {"ssubscribe", NULL, STREAMS},
    {"unsubscribe", NULL, STREAMS},  {"punsubscribe", NULL, STREAMS},
    {"sunsubscribe", NULL, STREAMS}, {"monitor", NULL, STREAMS},
    {"sync", NULL, STREAMS},         {"psync", NULL, STREAMS},
    {"replconf", NULL, STREAMS},     {"blpop", NULL, WAITS},
    {"brpop", NULL, WAITS},          {"brpoplpush", NULL, WAITS},
    {"blmove", NULL, WAITS},         {"blmpop", NULL, WAITS},
    {"bzpopmin", NULL, WAITS},       {"bzpopmax", NULL, WAITS},
    {"bzmpop", NULL, WAITS},         {"wait", NULL, WAITS},
    {"waitaof", NULL, WAITS},
};

static bool is_word(const struct token *token, const char *word)
{
    bool text = token->kind == TOKEN_STRING || token->kind == TOKEN_BINARY;
    return text && token->size == strlen(word) &&
           strncasecmp((const char *)token->bytes, word, token->size) == 0;
}

/* XREAD and XREADGROUP wait where BLOCK stands before their keys. */
static bool blocks(const struct token *name, struct reader in, uint32_t count)
{
    if (!is_word(name, "xread") && !is_word(name, "xreadgroup")) {
        return false;
    }
    while (count-- > 0) {
        struct token word = reader_next(&in);
        if (is_word(&word, "block")) {
            return true;
        }
        if (is_word(&word, "streams")) {
            return false;
        }
    }
    return false;
}

/* `in` stands behind the head of `count` words. */
static int check_allowed(struct reader in, uint32_t count, struct error *error)
{
    struct token name = reader_next(&in);
    struct reader rest = in;
    struct token part = count > 1 ? reader_next(&in) : (struct token){.kind = TOKEN_NIL};
    if (blocks(&name, rest, count - 1)) {
        return error_set(error, CODE_INVALID_REQUEST, "%.*s with BLOCK cannot be sent: %s",
                         (int)name.size, (const char *)name.bytes, offences[WAITS]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        const struct refused *one = &refused[i];
        if (is_word(&name, one->name) && (one->part == NULL || is_word(&part, one->part))) {
            return error_set(error, CODE_INVALID_REQUEST, "%s%s%s cannot be sent: %s", one->name,
                             one->part != NULL ? " " : "", one->part != NULL ? one->part : "",
                             offences[one->offence]);
        }
    }
    return 0;
}

/* ---- The command ---- */

static int write_word(struct buffer *out, const struct token *word, uint32_t number,
                      struct error *error)
{
    switch (word->kind) {
    case TOKEN_STRING:
    case TOKEN_BINARY:
        resp_word(out, word->bytes, word->size);
        return 0;
    case TOKEN_INTEGER:
        resp_word_integer(out, word->integer);
        return 0;
    default:
        return error_set(error, CODE_INVALID_REQUEST,
                         "word %u of a Redis command: expected a string, a binary or an integer, "
                         "got %s",
                         number, token_describe(word));
    }
}

/* The words as they go to Redis. */
static int write_command(struct buffer *out, const uint8_t *arguments, size_t size,
                         struct error *error)
{
    struct reader in = reader_of(arguments, size);
    struct reader whole = in;
    struct token list = reader_next(&in);
    if (!reader_skip(&whole) || whole.at != whole.end || list.kind != TOKEN_ARRAY ||
        list.count == 0) {
        return error_set(error, CODE_INVALID_REQUEST,
                         "a Redis command: expected an array of at least one word");
    }
    int status = check_allowed(in, list.count, error);
    resp_command(out, list.count);
    for (uint32_t i = 0; i < list.count && status == 0; i++) {
        struct token word = reader_next(&in);
        status = write_word(out, &word, i + 1, error);
    }
    if (status == 0 && out->failed) {
        status = error_set(error, CODE_OVERLOADED, "no memory for a Redis command");
    }
    return status;
}

/* ---- The reply ---- */

static void write_bytes(struct buffer *out, const struct resp_token *token)
{
    if (utf8_valid(token->bytes, token->size)) {
        write_string(out, token->bytes, token->size);
    } else {
        write_binary(out, token->bytes, token->size);
    }
}

/* Both write what is in an array behind its head, so that nothing has to be kept of
 * how they nest. How many values follow. */
static uint64_t write_token(struct buffer *out, const struct resp_token *token)
{
    switch (token->kind) {
    case RESP_TEXT:
        write_bytes(out, token);
        return 0;
    case RESP_ERROR:
        write_map(out, 1);
        write_text(out, "error");
        write_bytes(out, token);
        return 0;
    case RESP_INTEGER:
        write_integer(out, token->integer);
        return 0;
    case RESP_REAL:
        write_float(out, token->real);
        return 0;
    case RESP_BOOLEAN:
        write_boolean(out, token->integer != 0);
        return 0;
    case RESP_ARRAY:
    case RESP_PUSH:
        write_array(out, (uint32_t)token->count);
        return token->count;
    case RESP_MAP:
        write_map(out, (uint32_t)token->count);
        return 2 * token->count;
    case RESP_NIL:
    case RESP_END:
        break;
    }
    write_nil(out);
    return 0;
}

static void take_reply(const struct redis_raw *raw, struct resp_reader reply, struct buffer *value,
                       struct error *error)
{
    uint64_t allowed = raw->limits->provider_answer_bytes;
    uint64_t size = (uint64_t)(reply.end - reply.at);
    struct resp_token token = resp_next(&reply);
    if (token.kind == RESP_ERROR) {
        error_set(error, CODE_LOADER_FAILED, "%.*s",
                  token.size < ERROR_MESSAGE_MAX ? (int)token.size : ERROR_MESSAGE_MAX,
                  (const char *)token.bytes);
        return;
    }
    if (size > allowed) {
        error_limit_hit(error, CODE_TOO_LARGE, "provider_answer_bytes", allowed, size);
        return;
    }
    uint64_t left = write_token(value, &token);
    while (left > 0 && !value->failed) {
        token = resp_next(&reply);
        left += write_token(value, &token);
        left--;
    }
    if (value->failed) {
        error_set(error, CODE_OVERLOADED, "no memory for a reply of Redis");
    }
}

static void take_failure(const struct home_answer *answer, struct error *error)
{
    bool unknown = answer->outcome == HOME_UNKNOWN;
    error_set(error, CODE_UNAVAILABLE, "%.*s; the command %s", REASON_MAX, answer->error.message,
              unknown ? "may have been executed" : "was not executed");
    memcpy(error->outcome, answer->error.outcome, sizeof error->outcome);
}

static void raw_free(struct redis_raw *raw)
{
    buffer_release(&raw->bytes);
    heap_free(raw);
}

static void on_answer(struct home_command *command, const struct home_answer *answer)
{
    struct redis_raw *raw = CONTAINER_OF(command, struct redis_raw, command);
    if (raw->done != NULL) {
        struct error error = ERROR_INIT;
        struct buffer value = BUFFER_INIT;
        if (answer->outcome == HOME_ANSWERED) {
            take_reply(raw, answer->reply, &value, &error);
        } else {
            take_failure(answer, &error);
        }
        raw->done(raw->context, &error, &value);
        buffer_release(&value);
    }
    raw_free(raw);
}

/* ---- Sending ---- */

static struct home *find_home(const struct redis *redis, const char *name, struct error *error)
{
    struct home *home = redis_home(redis, name);
    if (home == NULL) {
        error_set(error, CODE_INVALID_REQUEST,
                  "the configuration names no Redis \"%.*s\": expected a name of its `redis`",
                  HOME_NAME_MAX, name);
    } else if (redis->closed != NULL) {
        error_set(error, CODE_UNAVAILABLE, "redis %s: the daemon is closing it", name);
        home = NULL;
    }
    return home;
}

int redis_raw_send(struct redis *redis, const struct redis_raw_command *command,
                   redis_raw_done *done, void *context, struct redis_raw **out, struct error *error)
{
    uint64_t allowed = redis->engine.limits->frame_bytes;
    struct home *home = find_home(redis, command->home, error);
    if (home == NULL) {
        return -(int)error->code;
    }
    if (command->arguments_size > allowed) {
        return error_limit_hit(error, CODE_TOO_LARGE, "frame_bytes", allowed,
                               command->arguments_size);
    }
    struct redis_raw *raw = heap_zero(1, sizeof *raw);
    if (raw == NULL) {
        return error_set(error, CODE_OVERLOADED, "no memory for a Redis command");
    }
    int status = write_command(&raw->bytes, command->arguments, command->arguments_size, error);
    if (status < 0) {
        raw_free(raw);
        return status;
    }
    raw->limits = redis->engine.limits;
    raw->done = done;
    raw->context = context;
    bool keyed = command->key != NULL && home_is_cluster(home);
    raw->command =
        (struct home_command){.bytes = raw->bytes.bytes,
                              .size = raw->bytes.size,
                              .slot = keyed ? slot_of_key(command->key, command->key_size) : 0,
                              .node = HOME_NODE_OF_SLOT,
                              .lane = HOME_RAW,
                              .done = on_answer};
    *out = raw;
    home_send(home, &raw->command);
    return 0;
}

void redis_raw_forget(struct redis_raw *raw)
{
    raw->done = NULL;
}

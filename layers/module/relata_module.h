#ifndef RELATA_LAYERS_MODULE_RELATA_MODULE_H
#define RELATA_LAYERS_MODULE_RELATA_MODULE_H

/* Modules of Relata: loaders of manual relationships, as C shared objects.
 *
 *   tickets_above_threshold:
 *     has_many: ticket
 *     manual: {module: tickets_above_threshold.so, options: {spare: 1}}
 *     actor: none
 *
 * A module exports one variable, `relata_module`. The daemon opens it once for
 * each relationship that names it (from a private copy of the file, so that the
 * file can be replaced and the schema reloaded while batches are under way),
 * and hands it batches: source records for which it is to find the related
 * records. The module answers a batch from inside `load` or at any later time,
 * with one MessagePack value or source by source. The daemon checks each answer
 * and applies filter, sort, offset, limit and select itself: a module that does
 * not look at the query is slower, never wrong.
 *
 * Build: cc -shared -fPIC -o tickets.so tickets.c   (nothing has to be linked)
 *
 * THREADS. Everything happens on the daemon's one thread: the daemon calls the
 * module there, and the module calls the host there. `post` alone may be called
 * from any thread: it is how a module's own threads hand back their results.
 * Other functions that are called from another thread do nothing and answer
 * RELATA_MODULE_WRONG_THREAD. No call of the module may wait for anything: a call that
 * holds the thread for more than 10 ms is named in the log. No function of the
 * module is called from inside a function of the host.
 *
 * OWNERSHIP. What the host gives (items, texts) is the host's and good until
 * the batch ends, or where it says so until the function returns. What the
 * module gives is copied before the host's function returns. `struct
 * relata_bytes` is the module's, and ends with `release`.
 *
 * A BATCH is known by its number, which is never used again. It ends when it is
 * answered as a whole, when its last source is answered, when it is failed, or
 * when it is cancelled. From then on every function that is given its number
 * answers RELATA_MODULE_GONE and does nothing, and none of its reads is called back:
 * what a module allocated for a batch it frees when it answers it and in
 * `cancel`.
 *
 * ERRORS. Functions of the host answer RELATA_MODULE_OK or a negative number;
 * `problem` says the last one in words. A batch that is answered twice, in the
 * wrong shape, or not at all is the module's error: those who wait for it get
 * `loader_failed` or `timeout` with the names of relationship and module, the
 * log has a line, the daemon goes on. A module is trusted otherwise: it lives in
 * the daemon's memory, and what it breaks there is broken.
 *
 * VERSIONS. The daemon refuses a module of another major version at its start.
 * A later minor version appends functions to `struct relata_host`, and members
 * to other structs that carry their size; it takes nothing away. A module that
 * wants to run under older daemons too asks RELATA_HOST_HAS before it uses what
 * was appended. 1.1 appended `redis`. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RELATA_MODULE_ABI_MAJOR 1
#define RELATA_MODULE_ABI_MINOR 1

/* What the functions of the host answer. */
#define RELATA_MODULE_OK           0
#define RELATA_MODULE_GONE         (-1) /* the batch has ended, or this source was answered */
#define RELATA_MODULE_INVALID      (-2) /* what was given is wrong: `problem` says how */
#define RELATA_MODULE_NO_MEMORY    (-3)
#define RELATA_MODULE_TOO_MUCH     (-4) /* reads at a time, bytes of an answer */
#define RELATA_MODULE_WRONG_THREAD (-5)
#define RELATA_MODULE_ABSENT       (-6) /* no such field, no such entry, no more items */

/* ---- Values ---- */

#define RELATA_ITEM_NIL      0
#define RELATA_ITEM_BOOLEAN  1
#define RELATA_ITEM_INTEGER  2
#define RELATA_ITEM_FLOAT    3
#define RELATA_ITEM_TEXT     4 /* UTF-8, not terminated: string, uuid, enum */
#define RELATA_ITEM_BINARY   5
#define RELATA_ITEM_DATETIME 6
#define RELATA_ITEM_ARRAY    7
#define RELATA_ITEM_MAP      8
#define RELATA_ITEM_OTHER    9 /* an integer above 2^63-1, another extension */

/* One MessagePack value, decoded. */
struct relata_item {
    int32_t kind;
    uint32_t count; /* items of an array, pairs of a map */
    union {
        int32_t boolean;
        int64_t integer;
        double real;
        int64_t seconds; /* of a datetime, since 1970-01-01 UTC */
    };
    uint32_t nanoseconds; /* of a datetime */
    const uint8_t *bytes; /* of a text, of a binary, of what is in an array or map */
    size_t size;
    const uint8_t *raw; /* the whole value as MessagePack: for write_raw */
    size_t raw_size;
};

/* MessagePack values one after the other. To walk an array or a map:
 *
 *   struct relata_reader in = {list.bytes, list.size};
 *   while (host->next(host, &in, &item) == RELATA_MODULE_OK) ...
 *
 * where a map gives name, value, name, value. */
struct relata_reader {
    const uint8_t *at;
    size_t left;
};

/* MessagePack under construction: zeroed before use, freed by `release`. The
 * functions that write append; where memory lacks, `failed` is set and stays,
 * and whatever is given such bytes answers RELATA_MODULE_NO_MEMORY. */
struct relata_bytes {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    int32_t failed;
};

/* ---- What is read through the daemon ---- */

struct relata_result {
    uint32_t struct_size;
    const char *code;         /* NULL where all is well, else "forbidden", "timeout" ... */
    const char *message;      /* for a person */
    struct relata_item value; /* what the call answered; nil where it failed */
};

/* A command to Redis, for `redis`. Zeroed but for what is set. */
struct relata_redis_command {
    uint32_t struct_size;  /* sizeof(struct relata_redis_command) */
    const char *home;      /* a Redis of the daemon's configuration: "main" */
    const void *arguments; /* the command's words, the name first: a MessagePack array of */
    size_t arguments_size; /* texts, binaries and integers */
    const void *key;       /* in a Redis Cluster, the key whose node has it; NULL: any node */
    size_t key_size;
};

/* The result is good until this returns. */
typedef void relata_read_done(void *data, uint64_t batch, const struct relata_result *result);

/* Called later by the daemon's thread. */
typedef void relata_later(void *data);

/* Parts of a query, for `query`. */
#define RELATA_QUERY_FILTER 1u /* with its params */
#define RELATA_QUERY_SORT   2u
#define RELATA_QUERY_LIMIT  4u
#define RELATA_QUERY_SELECT 8u
#define RELATA_QUERY_ALL    15u

#define RELATA_LOG_INFO    1
#define RELATA_LOG_WARNING 2
#define RELATA_LOG_ERROR   3

/* ---- The host ---- */

/* The functions of the daemon, each with the host itself as first parameter.
 * There is one for each opened relationship, good until `close` has returned. */
struct relata_host {
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;

    /* Why the last function answered a negative number: "" where none did. Good
     * until the next call of a function of the host. */
    const char *(*problem)(const struct relata_host *host);
    void (*log)(const struct relata_host *host, int level, const char *text);

    /* -- Reading MessagePack. `get` finds an entry of a map by its name. `item`
     * and `next` are INVALID where the bytes are none. In each case but OK the
     * item is nil. -- */
    int (*item)(const struct relata_host *host, const void *bytes, size_t size,
                struct relata_item *item);
    int (*next)(const struct relata_host *host, struct relata_reader *reader,
                struct relata_item *item);
    int (*get)(const struct relata_host *host, const struct relata_item *map, const char *name,
               struct relata_item *item);

    /* -- Writing MessagePack. An array of `count` is followed by its items, a map
     * of `count` by as many names and values. `write_error` stands in the place
     * of one source's answer. Texts are UTF-8; where `size` is SIZE_MAX they are
     * terminated by zero. -- */
    void (*write_nil)(struct relata_bytes *out);
    void (*write_boolean)(struct relata_bytes *out, int boolean);
    void (*write_integer)(struct relata_bytes *out, int64_t integer);
    void (*write_float)(struct relata_bytes *out, double real);
    void (*write_text)(struct relata_bytes *out, const char *text, size_t size);
    void (*write_binary)(struct relata_bytes *out, const void *bytes, size_t size);
    void (*write_datetime)(struct relata_bytes *out, int64_t seconds, uint32_t nanoseconds);
    void (*write_array)(struct relata_bytes *out, uint32_t count);
    void (*write_map)(struct relata_bytes *out, uint32_t count);
    void (*write_raw)(struct relata_bytes *out, const void *bytes, size_t size);
    void (*write_error)(struct relata_bytes *out, const char *code, const char *message);
    void (*clear)(struct relata_bytes *bytes);   /* empty again, the memory is kept */
    void (*release)(struct relata_bytes *bytes); /* empty again, the memory is given back */

    /* -- The batch. -- */

    /* The source records, `count` of `load`, as an array of maps: whole, or the
     * relationship's `source_fields` with the primary key. */
    int (*sources)(const struct relata_host *host, uint64_t batch, struct relata_item *list);
    /* One field of source number `source`, by name, or faster by the position
     * that `field_position` gives (ABSENT where there is no such field, or it is
     * not shown). */
    int (*field_position)(const struct relata_host *host, const char *name);
    int (*source_at)(const struct relata_host *host, uint64_t batch, size_t source, int position,
                     struct relata_item *value);
    int (*source_field)(const struct relata_host *host, uint64_t batch, size_t source,
                        const char *name, struct relata_item *value);
    /* The map {query: {filter, params, sort, limit, select}, actor, authorize,
     * tenant, timeout_ms, batch}; absent parts are left out, `query` is always
     * there. `actor` has the facts that the relationship declares. */
    int (*context)(const struct relata_host *host, uint64_t batch, struct relata_item *map);
    /* Milliseconds until the batch is cancelled; INT64_MAX where it never is. */
    int64_t (*time_left_ms)(const struct relata_host *host, uint64_t batch);
    /* The module's own pointer for the batch, NULL at first. */
    int (*set_data)(const struct relata_host *host, uint64_t batch, void *data);
    void *(*data)(const struct relata_host *host, uint64_t batch);

    /* -- The query. -- */

    /* Appends the batch's query, with these parts of it and without the others:
     * good for `read` and `apply`. A query of one's own is a map like any. */
    int (*query)(const struct relata_host *host, uint64_t batch, unsigned parts,
                 struct relata_bytes *out);
    /* Appends those of `records` (an array of maps) that the query keeps, sorted,
     * cut and selected as it says. They are records of `resource`; NULL is the
     * relationship's destination. A field that a record does not have is nil. */
    int (*apply)(const struct relata_host *host, uint64_t batch, const char *resource,
                 const struct relata_bytes *query, const struct relata_bytes *records,
                 struct relata_bytes *out);
    /* Reads through the daemon, on behalf of the batch: with its actor's declared
     * facts, its `authorize` and its tenant (under `actor: none` without
     * policies, since the destination's are applied to the answer anyway).
     * `method` is get, get_many, read, count or load, `params` the array of its
     * parameters as on the wire, options last. `done` is called exactly once,
     * later, unless the batch ends before. A load that would wait for this batch
     * fails with `loader_failed`. Up to 1,000 at a time for a batch. */
    int (*read)(const struct relata_host *host, uint64_t batch, const char *method,
                const void *params, size_t params_size, relata_read_done *done, void *data);

    /* -- The answer: one of these ways. -- */

    /* The whole, and the batch ends: a list in the order of the sources, or a map
     * keyed by the source's primary key (a composite key as an array, or as a map
     * of its fields); a source that the map does not have gets nothing. Each
     * answer is a list of destination records (maps), one record, nil, or what
     * write_error writes; under `returns: keys` primary keys stand in the place
     * of records. INVALID where the shape is wrong: then the batch has failed. */
    int (*answer)(const struct relata_host *host, uint64_t batch, const void *bytes, size_t size);
    /* One source's answer; the batch ends when all are answered. */
    int (*answer_one)(const struct relata_host *host, uint64_t batch, size_t source,
                      const void *bytes, size_t size);
    int (*fail_one)(const struct relata_host *host, uint64_t batch, size_t source, const char *code,
                    const char *message);
    /* All that wait for the batch get `loader_failed` with the message. */
    int (*fail)(const struct relata_host *host, uint64_t batch, const char *message);

    /* -- Later. -- */

    /* Calls `later` after so many milliseconds, once. The timer's number, 0 where
     * memory lacks; `forget` takes it back (harmless where it has been called). */
    uint64_t (*after)(const struct relata_host *host, uint64_t ms, relata_later *later, void *data);
    void (*forget)(const struct relata_host *host, uint64_t timer);
    /* From any thread: calls `later` soon on the daemon's thread, in the order
     * posted. Not after `close` has begun: what is posted by then is called
     * before it, what is posted meanwhile is dropped. */
    int (*post)(const struct relata_host *host, relata_later *later, void *data);

    /* -- Appended by 1.1. -- */

    /* Sends one command to Redis, on behalf of the batch, over a connection that all
     * modules share and that is opened for the first command. `done` is called
     * exactly once, later, unless the batch ends before. Commands of one home (in a
     * Cluster: of one node) are executed in the order in which they were sent, and
     * one that was sent is not taken back by the batch's end. Reads and commands
     * together: up to 1,000 at a time for a batch.
     *
     * The result's value is the reply: nil, a text (a binary where it is no UTF-8),
     * an integer, a float, a boolean, an array (sets too) or a map; an error inside
     * an array is a map {error: text}. Its code, where it failed, is
     *   loader_failed  Redis answered an error: `message` is its text
     *   unavailable    Redis was not reached, or did not answer in time: `message`
     *                  says whether the command may have been executed
     *   too_large      the reply has more than limits.provider_answer_bytes
     *
     * INVALID, at once, where the configuration has no such Redis, where the
     * arguments are no such array, and for commands that a connection that others
     * use has no place for: that change its state (MULTI, SELECT ...), have no
     * single reply (SUBSCRIBE, MONITOR ...), or wait (BLPOP, XREAD with BLOCK ...). */
    int (*redis)(const struct relata_host *host, uint64_t batch,
                 const struct relata_redis_command *command, relata_read_done *done, void *data);
};

/* Whether the daemon has a function that a later minor version appended. */
#define RELATA_HOST_HAS(host, function) \
    ((host)->struct_size >= offsetof(struct relata_host, function) + sizeof((host)->function))

/* ---- The module ---- */

/* What `open` is told: texts and options are good until it returns. */
struct relata_opening {
    uint32_t struct_size;
    const char *resource;       /* the sources': "representative" */
    const char *relationship;   /* "tickets_above_threshold" */
    const char *destination;    /* "ticket" */
    struct relata_item options; /* the map of the schema, empty where none is given */
    char *error;                /* room for why `open` refuses */
    size_t error_size;
};

/* Exported under the name `relata_module`:
 *
 *   RELATA_MODULE_EXPORT const struct relata_module relata_module = {
 *       RELATA_MODULE_HEADER, .name = "tickets", .open = open, .load = load};
 */
struct relata_module {
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t struct_size;
    const char *name;

    /* Makes ready for one relationship: at start, and on each reload. 0; anything
     * else refuses the schema, with what stands in opening->error. Keeps `host`;
     * `*state` is given back to the functions below. */
    int (*open)(const struct relata_host *host, const struct relata_opening *opening, void **state);
    /* A batch of `count` sources, never 0. */
    void (*load)(void *state, uint64_t batch, size_t count);
    /* The batch is not wanted any more: its time is up, or the daemon stops. It
     * has ended already. `data` is what set_data kept. May be NULL. */
    void (*cancel)(void *state, uint64_t batch, void *data);
    /* The schema is not used any more. No batch is under way; threads that might
     * post must have ended when it returns. May be NULL. */
    void (*close)(void *state);
};

#define RELATA_MODULE_HEADER                                                    \
    .abi_major = RELATA_MODULE_ABI_MAJOR, .abi_minor = RELATA_MODULE_ABI_MINOR, \
    .struct_size = sizeof(struct relata_module)

#define RELATA_MODULE_EXPORT __attribute__((visibility("default")))

RELATA_MODULE_EXPORT extern const struct relata_module relata_module;

#ifdef __cplusplus
}
#endif

#endif

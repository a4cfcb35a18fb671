#ifndef RELATA_LAYERS_ENGINE_CALL_H
#define RELATA_LAYERS_ENGINE_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/engine/options.h"
#include "layers/layer.h"
#include "layers/load/loads.h"
#include "layers/query/eval.h"
#include "layers/query/query.h"
#include "layers/query/search.h"
#include "layers/redis/redis.h"
#include "layers/task.h"
#include "protocol/base/arena.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"

/* A call: one request that works on records. It goes through
 *
 *   call_start -> [search] -> [loads] -> [long answers are rendered] -> done
 *
 * and is answered by call_render. Each step in brackets may take several turns;
 * where none does, call_start says CALL_READY at once and `done` is not called. */

/* kind, name, parameters beside the options, options that it takes */
#define OPTIONS_ALL_                                                                           \
    (OPTION_BIT(ACTOR) | OPTION_BIT(AUTHORIZE) | OPTION_BIT(TENANT) | OPTION_BIT(TIMEOUT_MS) | \
     OPTION_BIT(BATCH))
#define OPTIONS_READ_   (OPTIONS_ALL_ | OPTION_BIT(FRESH) | OPTION_BIT(SHAPE))
#define OPTIONS_SHOW_   (OPTION_BIT(SELECT) | OPTION_BIT(LOAD))
#define OPTIONS_IF_     (OPTION_BIT(IF) | OPTION_BIT(PARAMS))
#define OPTIONS_STORED_ (OPTIONS_ALL_ | OPTION_BIT(SHAPE) | OPTION_BIT(SELECT))

#define RELATA_CALLS(X)                                                              \
    X(GET, "get", 2, OPTIONS_READ_ | OPTIONS_SHOW_ | OPTION_BIT(IDENTITY))           \
    X(GET_MANY, "get_many", 2, OPTIONS_READ_ | OPTIONS_SHOW_ | OPTION_BIT(IDENTITY)) \
    X(READ, "read", 2, OPTIONS_READ_ | OPTIONS_SHOW_)                                \
    X(COUNT, "count", 2, OPTIONS_ALL_ | OPTION_BIT(FRESH))                           \
    X(LOAD, "load", 3, OPTIONS_READ_ | OPTION_BIT(QUERY))                            \
    X(CREATE, "create", 2, OPTIONS_STORED_)                                          \
    X(UPSERT, "upsert", 2, OPTIONS_STORED_ | OPTIONS_IF_ | OPTION_BIT(IDENTITY))     \
    X(UPDATE, "update", 3, OPTIONS_STORED_ | OPTIONS_IF_)                            \
    X(DESTROY, "destroy", 2, OPTIONS_ALL_ | OPTIONS_IF_)                             \
    X(CREATE_MANY, "create_many", 2, OPTIONS_ALL_)                                   \
    X(UPSERT_MANY, "upsert_many", 2, OPTIONS_ALL_ | OPTION_BIT(IDENTITY))            \
    X(DESTROY_MANY, "destroy_many", 2, OPTIONS_ALL_)                                 \
    X(INVALIDATE, "invalidate", 2, OPTIONS_ALL_)                                     \
    X(REINDEX, "reindex", 1, OPTIONS_ALL_)

enum call_kind {
#define X(name, text, params, options) CALL_##name,
    RELATA_CALLS(X)
#undef X
        CALL_KIND_COUNT
};

enum { CALL_PARAMS_MAX = 3 };

const char *call_kind_name(enum call_kind kind);
unsigned call_kind_params(enum call_kind kind);  /* beside the options */
uint32_t call_kind_options(enum call_kind kind); /* bits */

struct engine;
struct realm;

/* Writes to a home elsewhere take turns; what the same connection asks later must
 * see them (call_order.c). */
struct call_order {
    struct list link; /* in engine->writes while it writes, in engine->held while it waits */
    uint64_t number;  /* by arrival */
    bool held;        /* has not begun: earlier writes of its connection are not done, */
    bool released;    /* or just are: it is about to begin */
    bool writes;
};

enum call_answer {
    ANSWER_RECORD,
    ANSWER_RECORDS,
    ANSWER_RELATED,
    ANSWER_NUMBER,
    ANSWER_TRUE,
    ANSWER_REINDEXED
};

struct call {
    /* Set by the caller before call_start. */
    struct engine *engine;
    enum call_kind kind;
    struct reader params[CALL_PARAMS_MAX]; /* one value each; no bytes where left out */
    struct options options;
    uint64_t origin;      /* the connection */
    uint64_t timeout_us;  /* where the options name none; not of a reindex */
    struct batch *parent; /* the batch that the call works for (a loader's read), or NULL:
                                 then actor, tenant and authorize are that batch's */
    /* Writes a failed source's error in its place; NULL: it fails the call. */
    void (*write_error)(struct buffer *out, const struct error *error);
    /* After CALL_LATER: the call is ready to be rendered, or error is set. Called
     * once, from engine_turn. */
    void (*done)(struct call *call);

    /* The call's own. */
    struct list link; /* in engine->calls, while under way */
    struct realm *realm;
    struct arena arena;
    struct error error; /* code CODE_OK as long as all is well */
    struct eval eval;
    struct pin pin;
    uint64_t deadline_us;
    bool rows;
    bool fresh;
    bool authorize;
    bool loading;
    bool loads_single; /* `load` of one relationship given as a text */
    const struct resource *resource;
    struct query query;
    struct search_spec spec;
    struct search *search;
    /* The answer. */
    enum call_answer answer;
    uint64_t number;
    const struct record *const *records; /* unique ones: the first level */
    size_t record_count;
    const uint32_t *asked; /* for each key: its record's position, or CALL_ABSENT;
                                 NULL: the records themselves, in order */
    size_t asked_count;
    const struct error *const *failures; /* of CALL_FAILED keys */
    struct level level;
    struct loads loads;
    /* Records that are at home elsewhere. */
    struct fetch fetch;      /* of the keys that were asked for */
    bool fetching;           /* it waits for them */
    struct writing *writing; /* a write that is judged here and done there */
    struct reindexing *reindexing;
    struct call_order order;
    struct redis_catch_up catch_up;
    bool catching_up; /* what is resident of homes elsewhere is to be waited for first */
    struct task task;
    struct buffer rendered; /* of long answers */
    size_t rendered_count;
    bool is_rendered;
};

#define CALL_ABSENT UINT32_MAX
#define CALL_FAILED (UINT32_MAX - 1)

enum call_status { CALL_READY = 0, CALL_LATER = 1 };

/* A call's room, used again and again: init once, then start, render and end
 * for each call, release at last. */
void call_init(struct call *call);
void call_release(struct call *call);

/* Begins. CALL_READY, CALL_LATER, or a negative code with call->error set. The
 * bytes of params and options need not outlive it. call_end must follow in the
 * end, whatever it says. */
int call_start(struct call *call, uint64_t now_us);

/* Appends the result. 0, or a negative code with call->error set; then what was
 * appended is taken back. */
int call_render(struct call *call, struct buffer *out);

/* Gives back what the call holds; also in mid-way, then `done` is not called. */
void call_end(struct call *call);

/* The most frequent call of all, without a call: the record of a primary key,
 * as a map, onto `out`. True where that was all there is to do; false where it
 * needs a call (an unknown resource, a wrong key: for the error). */
bool call_get_at_once(struct engine *engine, uint64_t origin, const char *resource,
                      size_t resource_size, struct reader key, struct buffer *out);

#endif

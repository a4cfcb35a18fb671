#ifndef RELATA_LAYERS_REDIS_REDIS_H
#define RELATA_LAYERS_REDIS_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/load/coalescer.h"
#include "layers/redis/home.h"
#include "layers/redis/home_options.h"

/* The redis layer: records whose home is Redis or a Redis Cluster, with a near-cache
 * that is kept coherent, or with the whole resource in memory (`resident`). This is
 * its whole public face; stores see it through store_home_ops (layer.h).
 *
 * How a daemon's caches stay true is told in docs/redis-consistency.md. */

struct redis;

/* What it shares with the rest of the engine. */
struct redis_engine {
    struct world *world;
    struct coalescer *coalescer;
    struct task_queue *tasks;
    const struct limits *limits;
};

/* One home for each of the options; nothing is opened. NULL where memory lacks. */
struct redis *redis_create(const struct home_options *homes, unsigned count,
                           const struct home_world *world);

/* To be called once, before the first store. */
void redis_attach(struct redis *redis, const struct redis_engine *engine);

/* Begins to connect; the loop must be open. 0, or a negative code. */
int redis_open(struct redis *redis, struct error *error);

/* Whether each home has answered or failed to, and what is resident is loaded where
 * its home is there. */
bool redis_is_settled(const struct redis *redis);

/* An eviction policy under which a home might drop index sets or claims that a
 * resource needs: -CODE_INVALID_REQUEST says so. */
int redis_check(const struct redis *redis, struct error *error);
/* The same of resources of a schema that is to come, and that have none yet. */
int redis_check_schema(const struct redis *redis, const struct schema *schema, struct error *error);

/* Waits at most `wait_us` for what is out, then ends it. `closed` comes from the loop. */
void redis_close(struct redis *redis, uint64_t wait_us, void (*closed)(void *context),
                 void *context);
/* After `closed` (or where it never was opened), and when all stores are closed. */
void redis_free(struct redis *redis);

/* The store of a resource with `layer: redis`. Where it is resident, `table` is an
 * empty store in memory without a home, and is what comes back. NULL with the error
 * set: no such home, or no memory. */
struct store *redis_store_open(struct redis *redis, const struct resource *resource,
                               struct store *table, struct error *error);
/* Its calls must have ended. A table is the caller's again, without a home. */
void redis_store_close(struct store *face);
/* As memory_table_adopt, which is the caller's to call for a table. */
void redis_store_adopt(struct store *face, const struct resource *resource);

/* Builds the indexes and claims of a resource (`relata reindex`): goes through all of
 * its keys. One at a time for a resource. `done` is called once, later, with how many
 * records were named, how many values did not fit the schema and were left out, and
 * the error, or NULL. -CODE_INVALID_REQUEST where there is nothing to build,
 * -CODE_CONFLICT where it is being built. */
struct redis_reindex;
typedef void redis_reindexed(void *context, uint64_t records, uint64_t misfits,
                             const struct error *error);
int redis_reindex_start(struct store *face, redis_reindexed *done, void *context,
                        struct redis_reindex **out, struct error *error);
/* `done` is not called any more; it goes on to its end all the same. To be called
 * before that only. */
void redis_reindex_forget(struct redis_reindex *reindex);

/* ---- Raw commands (raw.c) ---- */

/* One command, in the words of whoever sends it, over a link of its own that is
 * opened for the first one. */
struct redis_raw_command {
    const char *home;         /* a name of the configuration */
    const uint8_t *arguments; /* the command's words: a MessagePack array of strings, binaries
                                 and integers; at most limits->frame_bytes */
    size_t arguments_size;
    const void *key; /* whose node of a Cluster has it; NULL: any one's */
    size_t key_size;
};

/* The reply as one MessagePack value: nil, integers, floats, booleans, arrays (sets
 * too) and maps as they are; texts as strings, or as binaries where they are no
 * UTF-8; an error inside an array as a map {error: text}. `value` may be taken over
 * (and zeroed). Where it failed, the error is one of:
 *
 *   CODE_UNAVAILABLE    the home was not reached, or its answer did not come; the
 *                       message (and error.outcome) says whether it may have been
 *                       executed
 *   CODE_LOADER_FAILED  an error of Redis, whose text is the message
 *   CODE_TOO_LARGE      the reply has more than limits->provider_answer_bytes
 *   CODE_OVERLOADED     no memory for it */
typedef void redis_raw_done(void *context, const struct error *error, struct buffer *value);

/* What is given is copied. `done` is called once, later, from the loop; then *out is
 * gone. Else, at once and nothing was sent: -CODE_INVALID_REQUEST (no such home, no
 * words, or a command that would disturb others on the link), -CODE_TOO_LARGE,
 * -CODE_OVERLOADED, or -CODE_UNAVAILABLE while the layer is closing. */
struct redis_raw;
int redis_raw_send(struct redis *redis, const struct redis_raw_command *command,
                   redis_raw_done *done, void *context, struct redis_raw **out,
                   struct error *error);
/* `done` is not called any more; the command goes on to its end all the same. */
void redis_raw_forget(struct redis_raw *raw);

/* Waits until what is resident shows all that was written before: each node that it is
 * loaded from has answered since, and what it told of is read. Embedded. */
struct redis_catch_up {
    struct asker asker;
    struct catching *state; /* NULL: it is not under way */
};

/* Whether a call has to: it is `fresh`, or what is resident does not count as current
 * though its home is up (the daemon was busy, or the network slow). `store` alone, or
 * any (NULL). */
bool redis_must_catch_up(const struct redis *redis, const struct store *store, bool fresh);
/* The asker's task waits. False where memory lacks: then nothing was begun. */
bool redis_catch_up_begin(struct redis *redis, struct redis_catch_up *wait,
                          const struct asker *asker);
/* Ends it, also in mid-way. Idempotent; harmless where it was not begun (zeroed). */
void redis_catch_up_end(struct redis_catch_up *wait);

/* At the end of each of the engine's turns: what was sent leaves, what nobody needs
 * is freed. True where there is more to do at once. */
bool redis_turn(struct redis *redis);

/* The map of homes, by name, for `stats`. */
void redis_stats(const struct redis *redis, struct buffer *out);
uint64_t redis_memory_bytes(const struct redis *redis);

#endif

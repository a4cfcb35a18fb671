#ifndef RELATA_LAYERS_ENGINE_ENGINE_H
#define RELATA_LAYERS_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"
#include "protocol/base/error.h"
#include "protocol/base/limits.h"

/* The engine: the records, the loaders, and the calls that work on them. It
 * never touches a socket or a frame; time is given to it. One per daemon. */

struct engine;

/* NULL where memory lacks. The limits are the engine's to read as long as it
 * lives; they may change. */
struct engine *engine_create(const struct limits *limits);

/* Everything pending must have ended (engine_close, then turns until quiet). */
void engine_free(struct engine *engine);

/* A clock of the same time as engine_turn's, for latencies within a turn. */
void engine_use_clock(struct engine *engine, uint64_t (*clock_us)(void));

/* The loaders of module relationships; before the first schema. They must
 * outlive the engine. Without them schemas that name modules are refused. */
struct outside_loaders;
void engine_use_modules(struct engine *engine, const struct outside_loaders *modules);

/* The redis layer; before the first schema. It must outlive the engine. Without it
 * schemas with `layer: redis` are refused. */
struct redis;
void engine_use_redis(struct engine *engine, struct redis *redis);
struct redis *engine_redis(const struct engine *engine); /* NULL: none */

/* The registry of remote providers, for the daemon to tell who provides, and
 * what its clients answered. */
struct remote *engine_remote(struct engine *engine);

/* What belongs to one schema stays as long as it is held: for a batch that a
 * module works on, which may outlive all calls that wait for it. Letting go of
 * the last hold closes the relation. */
struct realm;
struct relation;
struct realm *engine_hold(const struct relation *relation);
void engine_let_go(struct engine *engine, struct realm *realm);

/* The first schema, or the next one: takes a reference. For a next one, records
 * stay; -CODE_INVALID_REQUEST says why a change is not safe, and the engine
 * goes on as before. Calls under way finish on theirs. */
int engine_use_schema(struct engine *engine, struct schema *schema, struct error *error);
const struct schema *engine_schema(const struct engine *engine);

/* The end of a loop turn: batches go out, sliced work goes on for about
 * 1 ms, finished calls answer, replaced records are freed. True where there is
 * more to do at once: then the loop must not sleep. `now_us` is rising. */
bool engine_turn(struct engine *engine, uint64_t now_us);

/* When engine_turn has to be called at the latest; 0 for never. */
uint64_t engine_next_us(const struct engine *engine);

/* Ends all calls that are under way with `unavailable`. */
void engine_close(struct engine *engine);

/* Writes the maps `relationships`, `resources` and `redis` (the homes) of `stats`,
 * as ENGINE_STATS_PAIRS pairs of a map that the caller opened; and the bytes taken
 * for records and indexes. */
enum { ENGINE_STATS_PAIRS = 3 };
void engine_stats(struct engine *engine, struct buffer *out);
uint64_t engine_memory_bytes(const struct engine *engine);

#endif

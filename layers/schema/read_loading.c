#include "layers/schema/reading.h"
#include "layers/schema/scalar.h"
#include "protocol/base/check.h"

/* How a relationship of any kind is loaded: how many records of each source,
 * in which batches, and how long its results are kept. */

enum { BATCH_KEYS_MAX = 1000000, BATCHES_IN_FLIGHT_MAX = 10000 };

static const uint64_t kib = 1024, mib = UINT64_C(1) << 20, gib = UINT64_C(1) << 30;
static const uint64_t millisecond_us = 1000, second_us = 1000000;
static const uint64_t day_us = UINT64_C(86400) * 1000000;

static void read_batch(struct reading *reading, const struct node *node, struct batch_limits *out)
{
    static const struct key_rule rules[] = {{"max_size", false},
                                            {"max_bytes", false},
                                            {"max_in_flight", false},
                                            {"window", false},
                                            {"timeout", false}};
    const struct measure bytes = {"max_bytes", scalar_size, "a size from 1KiB to 1GiB such as 1MiB",
                                  kib, gib};
    const struct measure window = {"window", scalar_duration,
                                   "a duration from 0ms to 1m such as 2ms", 0, 60 * second_us};
    const struct measure timeout = {"timeout", scalar_duration,
                                    "a duration from 1ms to 1d such as 5s", millisecond_us, day_us};
    const struct node *values[ARRAY_COUNT(rules)];
    *out = (struct batch_limits){
        .max_size = 1000, .max_bytes = mib, .max_in_flight = 4, .timeout_us = 5 * second_us};
    if (node == NULL || is_nil_node(node) ||
        !take_map(reading, node, "batch", rules, ARRAY_COUNT(rules), values)) {
        return;
    }
    out->max_size =
        (uint32_t)take_natural(reading, values[0], "max_size", 1, BATCH_KEYS_MAX, out->max_size);
    out->max_bytes = take_measure(reading, values[1], &bytes, out->max_bytes);
    out->max_in_flight = (uint32_t)take_natural(reading, values[2], "max_in_flight", 1,
                                                BATCHES_IN_FLIGHT_MAX, out->max_in_flight);
    out->window_us = take_measure(reading, values[3], &window, out->window_us);
    out->timeout_us = take_measure(reading, values[4], &timeout, out->timeout_us);
}

static void read_cache(struct reading *reading, const struct node *node,
                       struct relationship *relationship)
{
    static const struct key_rule rules[] = {
        {"ttl", false}, {"max_bytes", false}, {"stale_if_error", false}};
    const struct measure ttl = {"ttl", scalar_duration, "a duration from 1ms to 365d such as 30s",
                                millisecond_us, 365 * day_us};
    const struct measure bytes = {"max_bytes", scalar_size,
                                  "a size from 1KiB to 1024GiB such as 64MiB", kib, 1024 * gib};
    const struct measure stale = {"stale_if_error", scalar_duration,
                                  "a duration from 0ms to 365d such as 30s", 0, 365 * day_us};
    const struct node *values[ARRAY_COUNT(rules)];
    char came[DESCRIBE_NODE_MAX];
    if (node == NULL) {
        return;
    }
    if (node->kind != NODE_MAP) {
        fault_at(reading, node,
                 "a cache is a map such as {ttl: 30s}, or {} for one without ttl, got %s",
                 describe_node(node, came));
        return;
    }
    if (!take_map(reading, node, "cache", rules, ARRAY_COUNT(rules), values)) {
        return;
    }
    relationship->cached = true;
    relationship->cache_ttl_us = take_measure(reading, values[0], &ttl, 0);
    relationship->cache_bytes_max = take_measure(reading, values[1], &bytes, 64 * mib);
    relationship->stale_if_error_us = take_measure(reading, values[2], &stale, 0);
}

void read_loading(struct reading *reading, const struct relationship_source *source,
                  struct relationship *relationship)
{
    relationship->has_limit = source->limit != NULL && !is_nil_node(source->limit);
    if (relationship->has_limit) {
        relationship->limit = take_natural(reading, source->limit, "limit", 0, INT64_MAX, 0);
    }
    relationship->offset = take_natural(reading, source->offset, "offset", 0, INT64_MAX, 0);
    read_batch(reading, source->batch, &relationship->batch);
    read_cache(reading, source->cache, relationship);
}

#ifndef RELATA_PROTOCOL_BASE_LIMITS_H
#define RELATA_PROTOCOL_BASE_LIMITS_H

#include <stdint.h>

/* Every size that comes from outside has a limit. The table makes the struct,
 * the defaults, the names in errors, in `hello` and in the configuration. */
#define RELATA_LIMITS(X)                                                                   \
    X(frame_bytes, 16777216, "bytes of one request")                                       \
    X(answer_bytes, 67108864, "bytes of one answer")                                       \
    X(provider_answer_bytes, 67108864, "bytes of one answer of a provider")                \
    X(nesting, 32, "arrays and maps within each other in one frame")                       \
    X(load_depth, 8, "relationships loaded within each other")                             \
    X(keys_per_call, 100000, "keys in one call")                                           \
    X(records_per_write, 10000, "records in one create_many or upsert_many")               \
    X(filter_bytes, 16384, "bytes of a filter's text or map")                              \
    X(filter_nodes, 1000, "parts of a filter")                                             \
    X(filter_levels, 100, "parts of a filter within each other")                           \
    X(filter_steps, 100000000, "records that the filters of one call visit")               \
    X(keys_waiting_per_connection, 200000, "keys of one connection that wait for loaders") \
    X(keys_waiting_per_relationship, 1000000, "keys of one relationship that wait")        \
    X(connections, 10000, "connections at a time")                                         \
    X(requests_waiting_per_connection, 10000, "requests of one connection not answered")   \
    X(work_bytes, 268435456, "bytes of requests, loader answers and output under way")

struct limits {
#define X(name, value, meaning) uint64_t name;
    RELATA_LIMITS(X)
#undef X
};

#define LIMITS_DEFAULT        \
    {                         \
        RELATA_LIMITS_VALUES_ \
    }
#define X_LIMIT_VALUE_(name, value, meaning) .name = (value),
#define RELATA_LIMITS_VALUES_                RELATA_LIMITS(X_LIMIT_VALUE_)

#endif

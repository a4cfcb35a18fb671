#ifndef RELATA_LAYERS_QUERY_EXPR_SHOWN_H
#define RELATA_LAYERS_QUERY_EXPR_SHOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "layers/query/eval.h"
#include "layers/query/expr.h"
#include "layers/query/order.h"
#include "layers/schema/schema.h"
#include "protocol/base/buffer.h"

/* Filters and sorts as a loader outside is shown them: text that is good to be
 * sent back in a `read`. Conditions that use `parent`, or facts of the actor
 * that the loader is not shown, are left out: parts of the top-level `and`
 * alone, deeper ones with the whole part that they stand in (`dropped` tells
 * that something was). The actor's facts, the tenant and now() are put in as
 * literals; what has no literal, or is nil, becomes a $param. */
struct expr_shown {
    const struct eval *eval;                 /* actor, tenant, now */
    const struct relationship *relationship; /* whose `actor` says which facts are shown */
    struct buffer *text;                     /* filters are appended, with `and` between */
    struct buffer *params;                   /* name and value, pair after pair */
    uint32_t param_count;
    bool dropped;
};

/* Appends one filter (NULL: nothing). Failures are the buffers'. */
void expr_show(struct expr_shown *shown, const struct expr *filter);

/* Appends a sort, as a comma-separated text. */
void order_print(const struct order *order, struct buffer *out);

#endif

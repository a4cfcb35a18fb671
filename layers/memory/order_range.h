#ifndef RELATA_LAYERS_MEMORY_ORDER_RANGE_H
#define RELATA_LAYERS_MEMORY_ORDER_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/memory/order_index.h"

/* A place in a range of an ordered index, in either direction. It survives
 * changes of the index, as long as the record that it gave last stays readable
 * (it need not be in the index any more). Bytes that values point to must live
 * as long as the range; the values themselves are copied. */
struct order_range {
    const struct order_index *index;
    uint64_t version; /* of the index, when leaf, at and limit were right */
    uint32_t leaf;    /* 0: at the end */
    uint32_t last;    /* the record given last; 0 at the start */
    uint16_t at;      /* forward: the next entry; in reverse: one above it */
    uint16_t limit;   /* of the leaf's entries that are in the range */
    uint8_t equal_count;
    bool reverse;
    bool lower_value, upper_value;           /* a value stands behind the equal ones */
    bool lower_after, upper_after;           /* the bound lies after what equals it */
    struct value values[KEY_FIELDS_MAX + 1]; /* the equal ones, lower, upper */
};

void order_range_init(struct order_range *place, const struct order_index *index,
                      const struct range *range);

/* The next reference, dead records' too; 0 at the end. */
uint32_t order_range_next(struct order_range *place);

/* How many entries lie in it, at most `most` counted. */
uint64_t order_range_count(const struct order_range *place, uint64_t most);

#endif

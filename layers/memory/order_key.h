#ifndef RELATA_LAYERS_MEMORY_ORDER_KEY_H
#define RELATA_LAYERS_MEMORY_ORDER_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "layers/record.h"
#include "layers/schema/schema.h"

/* How records compare in an ordered index: by the index's fields, nil after
 * all values, then by the primary key, then (where a dead record and its
 * successor are both in) by reference. The first field's first eight bytes of
 * order stand beside the reference, so that most comparisons touch no record. */
struct order_key {
    const struct resource *resource;
    uint8_t count;                       /* of all fields below */
    uint16_t fields[KEY_FIELDS_MAX * 2]; /* the index's, then the rest of the primary key */
    bool integer;                        /* the first field is one: its prefix says all */
};

void order_key_init(struct order_key *key, const struct resource *resource,
                    const struct field_list *fields);

/* a < b means prefix(a) <= prefix(b); nil is UINT64_MAX. */
uint64_t order_prefix(const struct value *value);

/* What entries are compared with: leading values, and what happens when all
 * of them are equal. */
struct order_target {
    uint64_t prefix;
    const struct value *values; /* the first `count` values */
    const struct value *last;   /* one more behind them, or NULL */
    uint8_t count;
    bool exact; /* an equal prefix is an equal first value */
    int8_t tie; /* -1: equal entries lie before it, 1: after; 0: by reference */
    uint32_t reference;
};

void order_target_init(struct order_target *target, const struct order_key *key,
                       const struct value *values, uint8_t count, const struct value *last,
                       int8_t tie);

/* A record as a target; the values are put into `room`. */
void order_target_of_record(struct order_target *target, const struct order_key *key,
                            const struct record *record, uint32_t reference,
                            struct value room[KEY_FIELDS_MAX * 2]);

/* The comparison of an entry whose prefix equals the target's; <0, 0, >0. */
int order_compare_tie(const struct order_key *key, const struct record *record, uint32_t reference,
                      const struct order_target *target);

/* Whether two records have equal values in the index's own fields. */
bool order_same(const struct resource *resource, const struct field_list *fields,
                const struct record *a, const struct record *b);

#endif

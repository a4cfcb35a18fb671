#ifndef RELATA_CLIENTS_C_PARAMS_H
#define RELATA_CLIENTS_C_PARAMS_H

/* Params as they are inside the library: the values of the top level one after
 * the other, without the header of the array that a frame has around them. */

#include "clients/c/relata.h"
#include "protocol/base/buffer.h"

enum { PARAMS_LEVELS_MAX = 64 };

struct relata_params {
    struct buffer buffer;
    uint32_t count; /* values of the top level, begun or whole */
    uint32_t level; /* open arrays and maps */
    bool too_deep;
    uint64_t left[PARAMS_LEVELS_MAX]; /* values still to come, of each level */
};

void params_init(struct relata_params *params);
void params_release(struct relata_params *params);

/* 0 where the params can be sent. */
int params_check(const struct relata_params *params, struct relata_error *error);

#endif

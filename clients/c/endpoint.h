#ifndef RELATA_CLIENTS_C_ENDPOINT_H
#define RELATA_CLIENTS_C_ENDPOINT_H

/* Where the daemon is: an address as text, taken apart. It resolves nothing. */

#include <stdbool.h>

#include "clients/c/relata.h"

enum { ENDPOINT_PATH_MAX = 108, ENDPOINT_HOST_MAX = 256, ENDPOINT_PORT_MAX = 6 };

struct endpoint {
    bool is_unix;
    char path[ENDPOINT_PATH_MAX]; /* of a unix socket */
    char host[ENDPOINT_HOST_MAX]; /* without brackets */
    char port[ENDPOINT_PORT_MAX];
    char text[ENDPOINT_HOST_MAX + 32]; /* the whole, for messages */
};

/* `address` as relata_connect takes it. 0, or -CODE_INVALID_REQUEST. */
int endpoint_parse(struct endpoint *endpoint, const char *address, struct relata_error *error);

#endif

#ifndef RELATA_LAYERS_REDIS_HOME_OPTIONS_H
#define RELATA_LAYERS_REDIS_HOME_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* What the configuration says of a Redis: `redis: {main: {url: ...}}`. Plain
 * data, for the daemon to fill and the layer to use. */

enum {
    HOMES_MAX = 16,
    HOME_NAME_MAX = 64,
    HOME_HOST_MAX = 256, /* also the path of a unix socket, of at most 107 bytes */
    HOME_WORD_MAX = 512  /* user and password */
};

struct home_options {
    char name[HOME_NAME_MAX];
    bool is_unix;
    char host[HOME_HOST_MAX]; /* or the path */
    uint16_t port;
    char user[HOME_WORD_MAX]; /* empty: none */
    char password[HOME_WORD_MAX];
    uint32_t database;
    bool cluster;
    uint64_t timeout_us; /* of connecting, and of each command */
};

#endif

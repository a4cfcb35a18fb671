#ifndef RELATA_DAEMON_ADDRESS_H
#define RELATA_DAEMON_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/error.h"

/* Where to listen: `unix:PATH`, or `tcp:HOST:PORT` with a loopback host
 * (127.0.0.0/8, [::1], localhost). Nothing is looked up. */

enum address_kind { ADDRESS_UNIX, ADDRESS_TCP };

enum { ADDRESS_PATH_MAX = 108, ADDRESS_HOST_MAX = 46, ADDRESS_TEXT_MAX = 128 };

struct address {
    enum address_kind kind;
    char path[ADDRESS_PATH_MAX]; /* terminated; as long as sun_path can be */
    char host[ADDRESS_HOST_MAX]; /* an IP address in figures, without brackets */
    uint16_t port;               /* 0: any free one */
};

/* A relative PATH is taken from `folder` (NULL or "": from where the process
 * is). 0, or -CODE_INVALID_VALUE saying what would be right. */
int address_parse(struct address *address, const char *text, size_t size, const char *folder,
                  struct error *error);

/* As it is written, `tcp:[::1]:7450`. */
void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX]);

#endif

#ifndef RELATA_LAYERS_REDIS_HOME_URL_H
#define RELATA_LAYERS_REDIS_HOME_URL_H

#include <stddef.h>

#include "layers/redis/home_options.h"
#include "protocol/base/error.h"

/* Where a Redis is, as a URL. Pure.
 *
 *   redis://[user[:password]@]host[:port][/database]    port 6379, database 0
 *   unix://[user[:password]@]/path/to.sock[?db=N]       redis+unix:// is the same
 *
 * The forms are those that Redis' own clients take (IANA's provisional
 * registration of the scheme "redis"; redis-py for unix sockets). User, password
 * and path are percent-decoded; an IPv6 address stands in brackets. What a URL
 * says may be a secret: no message repeats any of it. */

/* Fills is_unix, host, port, user, password and database; leaves the others. 0,
 * or -CODE_INVALID_VALUE with *out half filled. */
int home_url_read(struct home_options *out, const char *text, size_t size, struct error *error);

#endif

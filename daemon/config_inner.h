#ifndef RELATA_DAEMON_CONFIG_INNER_H
#define RELATA_DAEMON_CONFIG_INNER_H

#include <limits.h>
#include <stdbool.h>

#include "daemon/config.h"
#include "layers/schema/document.h"
#include "layers/schema/faults.h"
#include "protocol/base/nearest.h"

/* What the parts of reading the configuration share. */

struct config_reading {
    struct config *config;
    struct faults faults;
    char folder[PATH_MAX]; /* of the file; empty for the process' own */
};

#define FAULT(reading, node, ...) \
    faults_add(&(reading)->faults, (node)->line, (node)->column, __VA_ARGS__)

bool config_is_nil(const struct node *node);

/* What stands there, for a fault: a short plain word or number as it is, and else its
 * kind, since it might be a URL with a password. */
enum { CONFIG_CAME_MAX = 40 };
const char *config_describe(const struct node *node, char out[CONFIG_CAME_MAX]);

/* Text without zero bytes; numbers count as the text that they are. False (told)
 * where it is none. */
bool config_take_text(struct config_reading *reading, const char *key, const struct node *node);

void config_take_duration(struct config_reading *reading, const char *key, const struct node *node,
                          uint64_t *out);

/* A path as seen from the process: relative ones count from the file's folder. */
bool config_take_path(struct config_reading *reading, const char *key, const struct node *node,
                      char out[PATH_MAX]);

/* All of a file, within bounds. 0, or a negative errno. */
int config_read_file(const char *path, struct buffer *text);

void config_unknown_key(struct config_reading *reading, const struct node *key,
                        struct nearest *nearest, const char *of);

/* `redis: {NAME: {...}}`. */
void config_read_redis(struct config_reading *reading, const char *key, const struct node *value);

#endif

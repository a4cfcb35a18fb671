#ifndef RELATA_TESTS_LIB_REDIS_FIXTURE_H
#define RELATA_TESTS_LIB_REDIS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A real redis-server for tests: on a free port of 127.0.0.1 and on a unix socket,
 * in a folder of its own, keeping nothing on disk. It ends with the test, however
 * that ends. What fails here ends the test's process with words. */

enum { REDIS_PATH_MAX = 100, REDIS_REPLY_MAX = 4096 };

struct redis_fixture {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char folder[REDIS_PATH_MAX - 32];
    char socket_path[REDIS_PATH_MAX];
};

/* `options` are further words of its command line, ended by NULL; may be NULL.
 * Where the fixture was started before, it is started anew on the same port. */
void redis_fixture_start(struct redis_fixture *server, const char *const *options);

/* Ends it by a signal, and waits for its end. The folder stays. */
void redis_fixture_kill(struct redis_fixture *server, int signal);

/* As that, and removes the folder. */
void redis_fixture_stop(struct redis_fixture *server);

/* Sends one command over a connection of its own, as somebody else would: words
 * apart by one space. The answer: texts and integers as they are, nil as "nil", of
 * an array the elements one after the other, each on a line. Good until the next. */
const char *redis_fixture_say(const struct redis_fixture *server, const char *words);

/* Makes a Cluster of servers that were started with `--cluster-enabled yes`: the
 * first `masters` get the slots in equal parts, the last server is the first one's
 * replica where there is one more. Waits until all agree. */
void redis_fixture_join(const struct redis_fixture *servers, size_t count, size_t masters);

#endif

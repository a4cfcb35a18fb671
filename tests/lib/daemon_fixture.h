#ifndef RELATA_TESTS_LIB_DAEMON_FIXTURE_H
#define RELATA_TESTS_LIB_DAEMON_FIXTURE_H

#include <sys/types.h>

/* A relatad of a test's own: in a folder under /tmp, on a unix socket there,
 * with the program that RELATAD names. What goes wrong ends the test with the
 * daemon's log; a test that dies takes its daemon along. */
struct daemon_fixture {
    pid_t pid;
    char folder[40];
    char address[80];     /* unix:FOLDER/relata.sock */
    char socket_path[80]; /* FOLDER/relata.sock */
    char schema_path[80];
    char log_path[80]; /* its standard error */
};

/* Starts one with the text of a schema and more arguments (a list ended by
 * NULL, or NULL), and returns when it is ready. */
void daemon_fixture_start(struct daemon_fixture *fixture, const char *schema,
                          const char *const *arguments);

/* The same with a schema file as it is. */
void daemon_fixture_start_file(struct daemon_fixture *fixture, const char *schema_path,
                               const char *const *arguments);

/* Ends it in the orderly way, checks that its exit status is 0, and removes
 * the folder. */
void daemon_fixture_stop(struct daemon_fixture *fixture);

/* What it has written to standard error so far; the caller frees it. */
char *daemon_fixture_log(const struct daemon_fixture *fixture);

#endif

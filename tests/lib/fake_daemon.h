#ifndef RELATA_TESTS_LIB_FAKE_DAEMON_H
#define RELATA_TESTS_LIB_FAKE_DAEMON_H

#include <sys/types.h>

/* A peer for clients that does what no daemon should, in a process of its own
 * on a unix socket. Its methods:
 *
 *   hello    greets; with the token "bad" it answers unauthenticated, with the
 *            token "mute" never, with "small" it says answer_bytes 1000
 *   echo     answers its params
 *   refuse   answers conflict, index 3
 *   hold     is answered with its params when `release` comes, last first
 *   release  answers true, after what is held
 *   silent   is never answered
 *   large    answers a text of as many bytes as it is told
 *   ask      calls the client, and answers with the error that came back
 *   junk     sends what is no MessagePack
 *   vanish   closes the connection
 */
struct fake_daemon {
    pid_t pid;
    char folder[40];
    char address[80];
};

void fake_daemon_start(struct fake_daemon *fake);
void fake_daemon_stop(struct fake_daemon *fake);

#endif

#ifndef RELATA_DAEMON_NOTIFY_H
#define RELATA_DAEMON_NOTIFY_H

/* Tells a service manager how the daemon is, by the protocol of sd_notify(3):
 * one datagram to the socket that NOTIFY_SOCKET names. Without a manager it
 * does nothing; one that does not listen is logged and does no harm. */

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

#endif
